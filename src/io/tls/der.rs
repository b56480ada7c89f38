//! Takes DER elements apart (X.690 §8.1).
//!
//! What is here takes what is right or was checked before; [`reader`] is what checks.

pub(crate) mod reader;

/// Tags of universal types.
pub(crate) mod tag {
    /// BOOLEAN.
    pub(crate) const BOOLEAN: u8 = 0x01;
    /// INTEGER.
    pub(crate) const INTEGER: u8 = 0x02;
    /// BIT STRING.
    pub(crate) const BIT_STRING: u8 = 0x03;
    /// OCTET STRING.
    pub(crate) const OCTET_STRING: u8 = 0x04;
    /// OBJECT IDENTIFIER.
    pub(crate) const OID: u8 = 0x06;
    /// UTF8String.
    pub(crate) const UTF8_STRING: u8 = 0x0C;
    /// PrintableString.
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    /// TeletexString.
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    /// IA5String.
    pub(crate) const IA5_STRING: u8 = 0x16;
    /// UTCTime.
    pub(crate) const UTC_TIME: u8 = 0x17;
    /// GeneralizedTime.
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    /// BMPString.
    pub(crate) const BMP_STRING: u8 = 0x1E;
    /// SEQUENCE and SEQUENCE OF.
    pub(crate) const SEQUENCE: u8 = 0x30;
    /// SET OF.
    pub(crate) const SET: u8 = 0x31;
}

/// One element and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// Its identifier octet; of longer ones, which only [`reader`] knows, the first.
    pub(crate) tag: u8,
    /// Identifier, length and contents.
    pub(crate) whole: &'a [u8],
    /// The contents alone.
    pub(crate) contents: &'a [u8],
    /// What follows.
    pub(crate) rest: &'a [u8],
}

/// Reads the first element; `None` if it isn't one or is cut off.
pub(crate) fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let tag = *bytes.first()?;
    let first = usize::from(*bytes.get(1)?);
    let length_bytes = match first {
        0..=0x7F => 0,
        0x81..=0x84 => first & 0x7F,
        _ => return None,
    };
    let start = 2 + length_bytes;
    let length = match length_bytes {
        0 => first,
        _ => bytes
            .get(2..start)?
            .iter()
            .fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
    };
    let end = start.checked_add(length)?;
    Some(Element {
        tag,
        whole: bytes.get(..end)?,
        contents: bytes.get(start..end)?,
        rest: bytes.get(end..)?,
    })
}

/// Reads the contents of the first element; empty if there is none.
pub(crate) fn contents(bytes: &[u8]) -> &[u8] {
    element(bytes)
        .map(|element| element.contents)
        .unwrap_or_default()
}

/// Returns a SEQUENCE of these contents: the outer tag that trust anchors leave out.
pub(crate) fn sequence(contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag::SEQUENCE];
    match contents.len() {
        0 => out.push(0),
        1..=0x7F => {}
        _ => out.extend(u8::try_from(0x80 | length.len())),
    }
    out.extend(length);
    out.extend_from_slice(contents);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_holds_what_it_is_made_of() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let bytes = vec![7; length];
            assert_eq!(element(&sequence(&bytes)).unwrap().contents, bytes);
        }
    }

    #[test]
    fn lengths_of_every_size_are_read_and_none_goes_beyond_the_end() {
        let long = [&[0x30, 0x82, 0x01, 0x00][..], &[7; 256], &[9]].concat();
        let read = element(&long).unwrap();
        assert_eq!((read.tag, read.contents.len()), (0x30, 256));
        assert_eq!((read.whole.len(), read.rest), (260, &[9][..]));
        assert_eq!(contents(&[0x02, 0x01, 0x05, 0xFF]), [5]);
        assert_eq!(contents(&[0x05, 0x00]), [0_u8; 0]);
        for broken in [
            &[][..],
            &[0x30],
            &[0x30, 0x02, 0x01],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x30, 0x82, 0x01],
        ] {
            assert_eq!(element(broken), None, "{broken:02x?}");
        }
    }
}
