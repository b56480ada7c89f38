//! From segments as they are found on the disk to the log that was committed.
//!
//! What can be read is used, whatever stands before it; what can not is told. The end of an
//! unfinished write is no damage: nobody was told that it is stored.

use std::ops::Range;

use super::chain::{Chain, placed};
use super::format::{self, Found, HEAD, Head};

/// What was found in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What is lost, for a person; `None` if nothing is.
    pub damage: Option<String>,
    /// Bytes of an unfinished write at its end.
    pub torn: usize,
}

/// What a segment is, by its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// To be read, with the bytes of the segment before it; 0 if there was none, `None` if that
    /// can not be told.
    Known(Option<u32>),
    /// Of a program that is newer than this one.
    Newer(u8),
}

/// Looks at the start of the segment of this number.
pub fn look(number: u32, file: &[u8]) -> Format {
    match format::read_head(number, file) {
        Head::Ours { before } => Format::Known(Some(before)),
        Head::Damaged => Format::Known(None),
        Head::Newer(version) => Format::Newer(version),
    }
}

/// Returns the value in bytes that were read from its place; `None` if they are damaged.
pub fn value(key: super::Key, bytes: &[u8]) -> Option<&[u8]> {
    format::read_value(key, bytes)
}

impl Chain {
    /// Takes in a segment, the oldest first. `length` is what the segment after it tells of its
    /// length; `None` if it is the last, 0 if that can not be told.
    pub fn replay(&mut self, number: u32, file: &[u8], length: Option<u32>) -> Reading {
        let told = length.and_then(|it| usize::try_from(it).ok());
        let file = match told {
            // What stands behind it is a write that failed.
            Some(told) if told > 0 => file.get(..told).unwrap_or(file),
            _ => file,
        };
        let mut bad = 0;
        let mut bad_since = None;
        let head = format::read_head(number, file) == Head::Damaged;
        let (mut at, mut end) = (HEAD, HEAD.min(file.len()));
        // Before anything is applied, so that live bytes are counted for it.
        self.push_segment(number, 0, false);
        // Whose first write, head and all, is the last as well.
        let only = |body: &Range<usize>| head && length.is_none() && body.end == file.len();
        while at < file.len() {
            match format::read_frame(number, file, at) {
                Found::Whole(body) if at == HEAD && only(&body) => break,
                Found::Whole(body) => {
                    bad += bad_since.take().map_or(0, |since| at - since);
                    if !self.take_in(number, file, &body) {
                        bad += body.len();
                    }
                    at = body.end;
                    end = at;
                }
                Found::Spoiled(body) => {
                    bad_since.get_or_insert(at);
                    at = body.end.max(at + 1);
                }
                Found::Nothing => {
                    bad_since.get_or_insert(at);
                    at += 1;
                }
            }
        }
        let rest = file.len() - end;
        let is_last = length.is_none();
        // The very first write to it was not finished.
        let unborn = is_last && head && end <= HEAD && bad == 0;
        if !is_last {
            bad += rest;
        }
        let missing = told.unwrap_or_default().saturating_sub(file.len());
        let damage = match (bad, missing) {
            (0, 0) if head && !unborn => Some("its head can not be read, all else can".to_owned()),
            (0, 0) => None,
            (0, missing) => Some(format!("{missing} bytes are missing at its end")),
            (bad, missing) => Some(format!("{} bytes can not be read", bad + missing)),
        };
        let (end, torn) = match (is_last, unborn) {
            (true, true) => (0, file.len()),
            (true, false) => (end, rest),
            // All of it stays where it is.
            (false, _) => (file.len().max(1), 0),
        };
        self.end_last(u32::try_from(end).unwrap_or(u32::MAX));
        if damage.is_some() {
            self.seal();
        }
        Reading { damage, torn }
    }

    /// Applies a frame; returns whether it was one that this program understands.
    fn take_in(&mut self, number: u32, file: &[u8], body: &Range<usize>) -> bool {
        let records = file.get(body.clone()).and_then(format::read_records);
        let Some(records) = records else {
            return false;
        };
        for record in records {
            let place = match record.value {
                Some(value) => placed(number, body.start, value),
                None => None,
            };
            self.apply(record.key, place);
        }
        true
    }
}
