//! DER, as much of it as certificates are made of (X.690 §8, §10).

/// BOOLEAN.
pub(super) const BOOLEAN: u8 = 0x01;
/// BIT STRING.
pub(super) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(super) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(super) const OID: u8 = 0x06;
/// UTF8String.
const UTF8: u8 = 0x0c;
/// UTCTime, until 2049.
const UTC_TIME: u8 = 0x17;
/// GeneralizedTime, from 2050 on (RFC 5280 §4.1.2.5).
const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE.
pub(super) const SEQUENCE: u8 = 0x30;
/// SET.
const SET: u8 = 0x31;

/// Returns an element of these parts, which follow each other. 65,535 bytes at most.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let [.., high, low] = contents.len().to_be_bytes();
    let mut out = vec![tag];
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend(contents);
    out
}

/// Returns a SEQUENCE of these parts.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, parts)
}

/// Returns an INTEGER.
pub(super) fn integer(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    // One byte at least, and the sign bit is none of the number's.
    let zeros = bytes.iter().take(3).take_while(|byte| **byte == 0).count();
    let digits = bytes.get(zeros..).unwrap_or_default();
    let sign: &[u8] = match digits {
        [0x80..=0xff, ..] => &[0],
        _ => &[],
    };
    element(0x02, &[sign, digits])
}

/// Returns a name of one common name (RFC 5280 §4.1.2.4).
pub(super) fn name(common: &str) -> Vec<u8> {
    let oid = element(OID, &[&[0x55, 4, 3]]);
    let value = element(UTF8, &[common.as_bytes()]);
    sequence(&[&element(SET, &[&sequence(&[&oid, &value])])])
}

/// Returns a Time, given in seconds since 1970, whose date is `date`, such as `2015-04-12`.
pub(super) fn time(seconds: u64, date: &str) -> Vec<u8> {
    let second = seconds % 86_400;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let digits = date.replace('-', "");
    let text = format!("{digits}{hour:02}{minute:02}{:02}Z", second % 60);
    match text.strip_prefix("20") {
        Some(short) if date < "2050" => element(UTC_TIME, &[short.as_bytes()]),
        _ => element(GENERALIZED_TIME, &[text.as_bytes()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_few_bytes_as_they_can() {
        for (length, start) in [
            (0, vec![4, 0]),
            (127, vec![4, 127]),
            (128, vec![4, 0x81, 128]),
            (255, vec![4, 0x81, 255]),
            (256, vec![4, 0x82, 1, 0]),
            (65_535, vec![4, 0x82, 255, 255]),
        ] {
            let element = element(OCTET_STRING, &[&vec![7; length]]);
            assert_eq!(element[..start.len()], start, "{length}");
            assert_eq!(element.len(), start.len() + length);
        }
    }

    #[test]
    fn integers_are_short_and_positive() {
        for (value, bytes) in [
            (0, vec![2, 1, 0]),
            (127, vec![2, 1, 127]),
            (128, vec![2, 2, 0, 128]),
            (256, vec![2, 2, 1, 0]),
            (u32::MAX, vec![2, 5, 0, 255, 255, 255, 255]),
        ] {
            assert_eq!(integer(value), bytes);
        }
    }

    #[test]
    fn times_have_two_digits_for_the_year_until_2049() {
        let text = |element: Vec<u8>| String::from_utf8(element[2..].to_vec()).unwrap();
        assert_eq!(text(time(1_428_796_800, "2015-04-12")), "150412000000Z");
        assert_eq!(text(time(86_399, "2049-12-31")), "491231235959Z");
        assert_eq!(text(time(3_661, "2100-01-10")), "21000110010101Z");
    }
}
