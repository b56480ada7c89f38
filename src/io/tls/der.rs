//! Takes DER elements apart (X.690 §8.1), for the few places that x509-cert doesn't reach.

/// One element and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// Its identifier octet; longer ones are not supported.
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
    let mut out = vec![0x30];
    if contents.len() > 0x7F {
        out.extend(u8::try_from(0x80 | length.len()));
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
        for length in [1, 127, 128, 255, 256, 70_000] {
            let bytes = vec![7; length];
            assert_eq!(contents(&sequence(&bytes)), bytes);
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
