//! Reads DER as X.690 §10 has it, where each thing can be written in one way only.
//!
//! Decides what is well-formed; what it means is up to the callers.

use std::fmt::Write;

use crate::io::tls::der::{Element, element, tag};

/// Longest identifier that is read, in bytes of its contents.
const LONGEST_OID: usize = 39;

/// Takes one element after the other.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads what these bytes are made of: contents of a SEQUENCE, most often.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Takes the next element, whatever it is.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let found = strict(self.rest)?;
        self.rest = found.rest;
        Some(found)
    }

    /// Takes the next element, which has to have this tag; returns its contents.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any()
            .filter(|found| found.tag == tag)
            .map(|found| found.contents)
    }

    /// Takes the next element if it has this tag; `Some(None)` if it has another or is none.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        match self.rest.first() {
            Some(next) if *next == tag => self.take(tag).map(Some),
            _ => Some(None),
        }
    }

    /// Takes an OBJECT IDENTIFIER; returns its contents.
    pub(crate) fn oid(&mut self) -> Option<&'a [u8]> {
        self.take(tag::OID).filter(|oid| oid_text(oid).is_some())
    }

    /// Takes a BOOLEAN that is false unless it stands there, tagged as given.
    pub(crate) fn flag(&mut self, tag: u8) -> Option<bool> {
        match self.optional(tag)? {
            None | Some([0x00]) => Some(false),
            Some([0xFF]) => Some(true),
            Some(_) => None,
        }
    }

    /// Returns whether nothing is left.
    pub(crate) const fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// `None` if something is left.
    pub(crate) fn done(&self) -> Option<()> {
        self.is_done().then_some(())
    }
}

/// Reads the first element; `None` unless it is as DER has it.
fn strict(bytes: &[u8]) -> Option<Element<'_>> {
    let identifier = identifier_length(bytes)?;
    // From the identifier's last octet on, all look the same.
    let found = element(bytes.get(identifier - 1..)?)?;
    let length = match found.contents.len() {
        0..=0x7F => 1,
        0x80..=0xFF => 2,
        0x100..=0xFFFF => 3,
        0x1_0000..=0xFF_FFFF => 4,
        _ => 5,
    };
    let minimal = found.whole.len() == 1 + length + found.contents.len();
    minimal.then_some(Element {
        tag: *bytes.first()?,
        whole: bytes.get(..bytes.len() - found.rest.len())?,
        ..found
    })
}

/// Returns how many octets the identifier has (X.690 §8.1.2); `None` if it is none, or of a type
/// that no certificate can be made of.
fn identifier_length(bytes: &[u8]) -> Option<usize> {
    /// What says in an identifier's first octet that the number follows.
    const LONG: u8 = 0x1F;
    let (first, more) = bytes.split_first()?;
    match first {
        // UNIVERSAL: those that are neither reserved nor, as UniversalString, out of use.
        0x01..=0x06 | 0x09 | 0x0A | 0x0C | 0x0D | 0x12..=0x18 | 0x1A | 0x1B | 0x1E => Some(1),
        &tag::SEQUENCE | &tag::SET => Some(1),
        0x00..=0x3F => None,
        _ if first & LONG != LONG => Some(1),
        _ => {
            let mut number = 0_u32;
            for (at, byte) in more.iter().enumerate() {
                number = number.checked_mul(0x80)? | u32::from(byte & 0x7F);
                match (number, byte & 0x80) {
                    (0, _) => return None,
                    (_, 0) => return (number >= LONG.into()).then_some(2 + at),
                    _ => {}
                }
            }
            None
        }
    }
}

/// Reads one element with this tag, and nothing behind it; returns its contents.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let contents = reader.take(tag)?;
    reader.done().map(|()| contents)
}

/// Reads elements to the end.
pub(crate) fn all(bytes: &[u8]) -> Option<Vec<Element<'_>>> {
    let (mut reader, mut found) = (Reader::new(bytes), Vec::new());
    while !reader.is_done() {
        found.push(reader.any()?);
    }
    Some(found)
}

/// Reads the contents of an OBJECT IDENTIFIER as text; `None` if they are none, or too long.
pub(crate) fn oid_text(contents: &[u8]) -> Option<String> {
    let (root, more) = contents.split_first()?;
    if *root >= 120 || contents.len() > LONGEST_OID {
        return None;
    }
    let mut text = format!("{}.{}", root / 40, root % 40);
    let mut arc = 0_u32;
    for byte in more {
        arc = arc.checked_mul(0x80)? | u32::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            write!(text, ".{arc}").ok()?;
            arc = 0;
        }
    }
    let whole = more.last().is_none_or(|last| last & 0x80 == 0);
    whole.then_some(text)
}

/// Checks the contents of an INTEGER, of any size and sign.
pub(crate) fn integer(contents: &[u8]) -> Option<()> {
    match contents {
        [] | [0x00, 0x00..=0x7F, ..] | [0xFF, 0x80..=0xFF, ..] => None,
        _ => Some(()),
    }
}

/// Reads the contents of an INTEGER from 0 on.
pub(crate) fn unsigned(contents: &[u8]) -> Option<u32> {
    integer(contents)?;
    let digits = match contents {
        [0x80..=0xFF, ..] => return None,
        [0, digits @ ..] => digits,
        digits => digits,
    };
    let fits = digits.len() <= size_of::<u32>();
    fits.then(|| {
        digits
            .iter()
            .fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
    })
}

/// Reads the contents of a BIT STRING: how many bits of the last octet are unused, and the octets.
pub(crate) fn bits(contents: &[u8]) -> Option<(u8, &[u8])> {
    let (unused, octets) = contents.split_first()?;
    let is_one = *unused == 0 || (*unused < 8 && !octets.is_empty());
    is_one.then_some((*unused, octets))
}

/// Reads the contents of an IA5String.
pub(crate) fn ia5(contents: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(contents).ok();
    text.filter(|text| text.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_written_shorter_is_refused() {
        let long = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        for (bytes, tag) in [
            (&[0x04, 0x01, 0x07][..], 0x04),
            (&long, 0x04),
            (&[0x9F, 0x1F, 0x00], 0x9F),
            (&[0xDF, 0x8F, 0xFF, 0xFF, 0xFF, 0x7F, 0x00], 0xDF),
        ] {
            let read = strict(bytes).unwrap();
            assert_eq!((read.tag, read.whole), (tag, bytes));
        }
        for bytes in [
            &[0x04, 0x81, 0x01, 0x07][..],
            &[0x04, 0x82, 0x00, 0x01, 0x07],
            &[0x04, 0x80, 0x00, 0x00],
            &[0x9F, 0x1E, 0x00],
            &[0x9F, 0x80, 0x1F, 0x00],
            &[0x9F, 0x90, 0x80, 0x80, 0x80, 0x00, 0x00],
            &[0x9F, 0x81],
            &[0x1F, 0x1F, 0x00],
            &[0x24, 0x00],
            &[0x00, 0x00],
            &[],
        ] {
            assert_eq!(strict(bytes), None, "{bytes:02x?}");
        }
    }

    #[test]
    fn identifiers_are_written_with_dots() {
        for (contents, text) in [
            (&[0x2A, 0x86, 0x48][..], Some("1.2.840")),
            (&[0x55], Some("2.5")),
            (&[0x55, 0x80, 0x01], Some("2.5.1")),
            (
                &[0x2A, 0x8F, 0xFF, 0xFF, 0xFF, 0x7F],
                Some("1.2.4294967295"),
            ),
            (&[0x2A, 0x90, 0x80, 0x80, 0x80, 0x00], None),
            (&[0x2A, 0x86], None),
            (&[0x78], None),
            (&[], None),
            (&[0x2A; 40], None),
        ] {
            assert_eq!(oid_text(contents).as_deref(), text, "{contents:02x?}");
        }
    }

    #[test]
    fn integers_have_one_form() {
        for (contents, value) in [
            (&[0x00][..], Some(0)),
            (&[0x7F], Some(127)),
            (&[0x00, 0x80], Some(128)),
            (&[0x00, 0xFF, 0xFF, 0xFF, 0xFF], Some(u32::MAX)),
            (&[0x01, 0x00, 0x00, 0x00, 0x00], None),
            (&[0x00, 0x7F], None),
            (&[0x80], None),
            (&[], None),
        ] {
            assert_eq!(unsigned(contents), value, "{contents:02x?}");
        }
        assert_eq!(integer(&[0x80]), Some(()));
        assert_eq!(integer(&[0xFF, 0x80]), None);
        assert_eq!(integer(&[0xFF, 0x7F]), Some(()));
    }
}
