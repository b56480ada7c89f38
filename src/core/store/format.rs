//! How a segment of the log is written: a head, then frames.
//!
//! A frame is what one write and one fsync bring to the disk: one batch or several. Nothing is
//! written after a frame before that is on the disk; so a frame that can not be read is the end of
//! an unfinished write if none follows, and damage if one does.
//!
//! ```text
//! head:    "mhbstore", version, three zeros, number, length of the segment before, checksum
//! frame:   length of the body, checksum of the body, checksum of these with place and number
//! body:    records
//! record:  kind (with PUT if there is a value), id; length, checksum of key and value, value
//! ```
//!
//! Numbers have four bytes, the lowest first; id and length of a record seven bits in each byte,
//! the lowest first.

use std::ops::Range;

use super::crc32::checksum;
use super::{Change, Key, Kind};

/// The version that this program writes, and the newest that it reads.
pub(super) const VERSION: u8 = 1;
/// Bytes of a segment's head, in every version.
pub(super) const HEAD: usize = 24;
/// Bytes of a frame before its body.
pub(super) const FRAME: usize = 12;

const MAGIC: [u8; 8] = *b"mhbstore";
/// Marks records that store a value.
const PUT: u8 = 0x80;

/// What the head of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Of this version.
    Ours {
        /// Bytes of the segment before this one, 0 if there was none.
        before: u32,
    },
    /// Of a version that this program does not know.
    Newer(u8),
    /// Not a head, or that of another segment.
    Damaged,
}

/// Writes the head of a segment.
pub(super) fn write_head(number: u32, before: u32, out: &mut Vec<u8>) {
    let mut head = Vec::with_capacity(HEAD);
    head.extend(MAGIC);
    head.extend([VERSION, 0, 0, 0]);
    head.extend(number.to_le_bytes());
    head.extend(before.to_le_bytes());
    head.extend(checksum(0, &head).to_le_bytes());
    out.extend(head);
}

/// Reads the head of the segment of this number.
pub(super) fn read_head(number: u32, file: &[u8]) -> Head {
    let (Some(head), Some(sum)) = (file.get(..HEAD - 4), number_at(file, HEAD - 4)) else {
        return Head::Damaged;
    };
    if !head.starts_with(&MAGIC) || checksum(0, head) != sum || number_at(head, 12) != Some(number)
    {
        return Head::Damaged;
    }
    match head.get(MAGIC.len()) {
        Some(&VERSION) => Head::Ours {
            before: number_at(head, 16).unwrap_or_default(),
        },
        Some(&version) if version > VERSION => Head::Newer(version),
        _ => Head::Damaged,
    }
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

/// Puts a body in a frame that will stand at `offset` of the segment; `None` if it is too long.
pub(super) fn write_frame(number: u32, offset: u32, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let length = u32::try_from(body.len()).ok()?;
    let sum = checksum(0, body);
    out.extend(length.to_le_bytes());
    out.extend(sum.to_le_bytes());
    out.extend(frame_sum(number, offset, length, sum).to_le_bytes());
    out.extend_from_slice(body);
    Some(())
}

fn frame_sum(number: u32, offset: u32, length: u32, sum: u32) -> u32 {
    [number, offset, length, sum]
        .iter()
        .fold(0, |before, it| checksum(before, &it.to_le_bytes()))
}

/// What stands at a place of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A frame, with the place of its body.
    Whole(Range<usize>),
    /// A frame whose body is not what was written; with its place.
    Spoiled(Range<usize>),
    /// Nothing that can be told to be a frame.
    Nothing,
}

/// Looks for a frame at a place of the segment of this number.
pub(super) fn read_frame(number: u32, file: &[u8], at: usize) -> Found {
    let read = || {
        let length = number_at(file, at)?;
        let sum = number_at(file, at.checked_add(4)?)?;
        let place = u32::try_from(at).ok()?;
        if number_at(file, at.checked_add(8)?)? != frame_sum(number, place, length, sum) {
            return None;
        }
        let start = at.checked_add(FRAME)?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        let body = file.get(start..end)?;
        Some(match checksum(0, body) == sum {
            true => Found::Whole(start..end),
            false => Found::Spoiled(start..end),
        })
    };
    read().unwrap_or(Found::Nothing)
}

/// A record, with the place of its value: the checksum first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Key,
    /// Start of the checksum and length of the value without it; `None` for one that is removed.
    pub(super) value: Option<(usize, usize)>,
}

/// Appends a change; returns the record, with places counted from the start of `out`.
pub(super) fn write_record(change: &Change, out: &mut Vec<u8>) -> Record {
    match change {
        Change::Delete(key) => {
            out.push(code(key.kind));
            write_number(key.id, out);
            Record {
                key: *key,
                value: None,
            }
        }
        Change::Put(key, value) => {
            out.push(code(key.kind) | PUT);
            write_number(key.id, out);
            // A usize has no more than 64 bits.
            write_number(u64::try_from(value.len()).unwrap_or_default(), out);
            let start = out.len();
            out.extend(value_sum(*key, value).to_le_bytes());
            out.extend_from_slice(value);
            Record {
                key: *key,
                value: Some((start, value.len())),
            }
        }
    }
}

/// Returns the bytes that the record of a value takes.
pub(super) fn record_size(key: Key, length: usize) -> usize {
    let bytes = |mut number: u64| {
        let mut count = 1;
        while number > 0x7f {
            number >>= 7;
            count += 1;
        }
        count
    };
    let head = 1 + bytes(key.id) + bytes(u64::try_from(length).unwrap_or_default()) + 4;
    length.saturating_add(head)
}

/// Returns the value from its bytes in a segment, which begin with its checksum; `None` if they
/// are not those that were written for this key.
pub(super) fn read_value(key: Key, bytes: &[u8]) -> Option<&[u8]> {
    let value = bytes.get(4..)?;
    (number_at(bytes, 0)? == value_sum(key, value)).then_some(value)
}

fn value_sum(key: Key, value: &[u8]) -> u32 {
    let sum = checksum(0, &[code(key.kind)]);
    checksum(checksum(sum, &key.id.to_le_bytes()), value)
}

/// Returns the records of a body, with places counted from its start; `None` if it is not one.
pub(super) fn read_records(body: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some(first) = body.get(at) {
        at += 1;
        let kind = kind(first & !PUT)?;
        let id = read_number(body, &mut at)?;
        let mut value = None;
        if first & PUT != 0 {
            let length = usize::try_from(read_number(body, &mut at)?).ok()?;
            value = Some((at, length));
            at = at.checked_add(4)?.checked_add(length)?;
            body.get(..at)?;
        }
        let key = Key { kind, id };
        records.push(Record { key, value });
    }
    Some(records)
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn read_number(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// What stands for a kind on the disk; never changed.
fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Counters => 1,
        Kind::Session => 2,
        Kind::Delivery => 3,
        Kind::Retained => 4,
        Kind::Message => 5,
    }
}

fn kind(code: u8) -> Option<Kind> {
    Some(match code {
        1 => Kind::Counters,
        2 => Kind::Session,
        3 => Kind::Delivery,
        4 => Kind::Retained,
        5 => Kind::Message,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn records_read_as_they_were_written() {
        let ids = [0, 1, 127, 128, u64::MAX];
        let kinds = [1, 2, 3, 4, 5].map(|it| kind(it).unwrap());
        for (kind, id) in kinds.into_iter().flat_map(|kind| ids.map(|id| (kind, id))) {
            let key = Key { kind, id };
            for length in [0, 1, 127, 128, 20_000] {
                let value = vec![7; length];
                let mut body = vec![];
                let put = write_record(&Change::Put(key, Bytes::from(value.clone())), &mut body);
                assert_eq!(body.len(), record_size(key, length));
                let delete = write_record(&Change::Delete(key), &mut body);
                assert_eq!(read_records(&body).unwrap(), [put, delete]);
                let (start, length) = put.value.unwrap();
                let stored = &body[start..start + 4 + length];
                assert_eq!(read_value(key, stored), Some(&value[..]));
                let other = Key { id: id ^ 1, ..key };
                assert_eq!(read_value(other, stored), None);
            }
        }
    }

    #[test]
    fn heads_tell_ours_newer_and_damaged_apart() {
        let mut head = vec![];
        write_head(7, 99, &mut head);
        assert_eq!(head.len(), HEAD);
        assert_eq!(read_head(7, &head), Head::Ours { before: 99 });
        assert_eq!(read_head(8, &head), Head::Damaged);
        assert_eq!(read_head(7, &head[..HEAD - 1]), Head::Damaged);
        let mut newer = head.clone();
        newer[8] = VERSION + 1;
        assert_eq!(read_head(7, &newer), Head::Damaged);
        let sum = checksum(0, &newer[..HEAD - 4]);
        newer[HEAD - 4..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(read_head(7, &newer), Head::Newer(VERSION + 1));
    }
}
