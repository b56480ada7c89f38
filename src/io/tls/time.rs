//! Times of certificates and revocation lists (RFC 5280 §4.1.2.5).

use crate::io::tls::der::{Element, tag};

/// Returns a Time in seconds since 1970; `None` if it is none, is written without seconds or with
/// a time zone, or is before 1970.
pub(super) fn seconds(time: &Element<'_>) -> Option<u64> {
    let digits = time.contents.strip_suffix(b"Z")?;
    let mut pairs = digits.chunks_exact(2).map(pair);
    let mut next = || pairs.next().flatten();
    let year = match (time.tag, digits.len()) {
        (tag::UTC_TIME, 12) => match next()? {
            year @ 50.. => 1900 + year,
            year => 2000 + year,
        },
        (tag::GENERALIZED_TIME, 14) => next()? * 100 + next()?,
        _ => return None,
    };
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // DER has one form of a length, and the lenient reader takes others too.
    let is_der = time.whole.len() == 2 + time.contents.len();
    if !is_der || year < 1970 || !(1..=last).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let second = (hour * 60 + minute) * 60 + second;
    Some(u64::from(days(year, month, day)) * 86_400 + u64::from(second))
}

fn pair(digits: &[u8]) -> Option<u32> {
    match digits {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
        }
        _ => None,
    }
}

/// Returns the days from 1970-01-01 to a date.
const fn days(year: u32, month: u32, day: u32) -> u32 {
    // Years begin in March, so that a leap day ends its year (H. Hinnant's scheme).
    let (year, month) = match month {
        3.. => (year, month - 3),
        _ => (year - 1, month + 9),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::calendar::iso8601;
    use crate::io::tls::der::element;

    fn read(tag: u8, text: &str) -> Option<String> {
        let der = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        seconds(&element(&der).unwrap()).map(iso8601)
    }

    #[test]
    fn times_are_read_to_the_second() {
        for (tag, text, expected) in [
            (tag::UTC_TIME, "700101000000Z", "1970-01-01T00:00:00Z"),
            (tag::UTC_TIME, "991231235959Z", "1999-12-31T23:59:59Z"),
            (tag::UTC_TIME, "000229123456Z", "2000-02-29T12:34:56Z"),
            (tag::UTC_TIME, "491231235959Z", "2049-12-31T23:59:59Z"),
            (
                tag::GENERALIZED_TIME,
                "21000301000000Z",
                "2100-03-01T00:00:00Z",
            ),
            (
                tag::GENERALIZED_TIME,
                "99991231235959Z",
                "9999-12-31T23:59:59Z",
            ),
        ] {
            assert_eq!(read(tag, text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (tag, text) in [
            (tag::UTC_TIME, "691231235959Z"),
            (tag::UTC_TIME, "7001010000Z"),
            (tag::UTC_TIME, "700101000000+0000"),
            (tag::UTC_TIME, "19700101000000Z"),
            (tag::UTC_TIME, "230229000000Z"),
            (tag::UTC_TIME, "230001000000Z"),
            (tag::UTC_TIME, "231301000000Z"),
            (tag::UTC_TIME, "230100000000Z"),
            (tag::UTC_TIME, "230101240000Z"),
            (tag::UTC_TIME, "230101006000Z"),
            (tag::UTC_TIME, "230101000060Z"),
            (tag::UTC_TIME, "2301010000 0Z"),
            (tag::GENERALIZED_TIME, "21000229000000Z"),
            (tag::GENERALIZED_TIME, "19691231235959Z"),
            (tag::GENERALIZED_TIME, "20230101000000.5Z"),
            (tag::INTEGER, "230101000000Z"),
        ] {
            assert_eq!(read(tag, text), None, "{text}");
        }
        let long = [&[tag::UTC_TIME, 0x81, 13][..], b"230101000000Z"].concat();
        assert_eq!(seconds(&element(&long).unwrap()), None);
    }
}
