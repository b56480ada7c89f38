//! Times since 1970 as people write them, in UTC.

const SECONDS_A_DAY: u64 = 86_400;

/// Returns the date of a time in seconds since 1970, such as `2015-04-12`.
pub(crate) fn date(seconds: u64) -> String {
    // Days are counted from 0000-03-01, so that a leap day ends its year (H. Hinnant's scheme).
    let days = seconds / SECONDS_A_DAY + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let (month, carry) = match shifted {
        0..=9 => (shifted + 3, 0),
        _ => (shifted - 9, 1),
    };
    let year = era * 400 + year_of_era + carry;
    format!("{year:04}-{month:02}-{day:02}")
}

/// Returns a time in seconds since 1970 as of ISO 8601, such as `2015-04-12T23:59:59Z`; years
/// after 9999 stay at the last second.
pub(crate) fn iso8601(seconds: u64) -> String {
    const LAST: u64 = 253_402_300_799;
    let seconds = seconds.min(LAST);
    let second = seconds % SECONDS_A_DAY;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", date(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (86_400, "1970-01-02"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_428_796_800, "2015-04-12"),
            (4_107_456_000, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
            (253_402_300_799, "9999-12-31"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn time_is_written_in_utc_to_the_second() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_795_444_391, "2026-11-23T14:33:11Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(iso8601(seconds), expected);
        }
    }
}
