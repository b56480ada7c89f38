//! Durations as decimal numbers of seconds or milliseconds.
//!
//! Without floats: a router has no unit for them, and printing one takes 10 KB of program.

use std::fmt;
use std::time::Duration;

const NANOS_A_SECOND: u64 = 1_000_000_000;
const NANOS_A_MILLISECOND: u64 = 1_000_000;

/// A number with a fixed count of decimal places, rounded half up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    /// In units of the last place.
    scaled: u64,
    places: u8,
}

/// Returns a duration in seconds.
pub(crate) fn seconds(duration: Duration, places: u8) -> Decimal {
    Decimal::of(duration, NANOS_A_SECOND, places)
}

/// Returns a duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration, places: u8) -> Decimal {
    Decimal::of(duration, NANOS_A_MILLISECOND, places)
}

impl Decimal {
    fn of(duration: Duration, unit: u64, places: u8) -> Self {
        // 64 bits of nanoseconds last for 584 years.
        let whole = duration.as_secs().saturating_mul(NANOS_A_SECOND);
        let nanos = whole.saturating_add(duration.subsec_nanos().into());
        let step = (unit / power(places)).max(1);
        Self {
            scaled: nanos.saturating_add(step / 2) / step,
            places,
        }
    }

    /// Leaves out the zeros at the end, and the point with the last of them.
    pub(crate) fn short(mut self) -> Self {
        while self.places > 0 && self.scaled.is_multiple_of(10) {
            self.scaled /= 10;
            self.places -= 1;
        }
        self
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = power(self.places);
        let (whole, part) = (self.scaled / unit, self.scaled % unit);
        match self.places {
            0 => write!(f, "{whole}"),
            places => write!(f, "{whole}.{part:0places$}", places = places.into()),
        }
    }
}

const fn power(places: u8) -> u64 {
    10_u64.pow(places as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_to_the_last_place() {
        let (ms, us) = (Duration::from_millis, Duration::from_micros);
        for (decimal, text) in [
            (seconds(ms(300), 1), "0.3"),
            (seconds(ms(5_049), 1), "5.0"),
            (seconds(ms(5_050), 1), "5.1"),
            (seconds(ms(59_960), 1), "60.0"),
            (seconds(ms(12_500), 0), "13"),
            (milliseconds(us(70), 1), "0.1"),
            (milliseconds(us(1_004), 3), "1.004"),
            (milliseconds(Duration::from_nanos(999_500), 3), "1.000"),
            (milliseconds(us(20), 0), "0"),
            (seconds(ms(12_000), 3).short(), "12"),
            (seconds(ms(1_500), 3).short(), "1.5"),
            (seconds(ms(1), 3).short(), "0.001"),
            (seconds(ms(0), 3).short(), "0"),
            (seconds(ms(100_000), 3).short(), "100"),
        ] {
            assert_eq!(decimal.to_string(), text);
        }
        // Beyond what 64 bits count, but no panic.
        assert_eq!(seconds(Duration::MAX, 0).to_string(), "18446744073");
    }
}
