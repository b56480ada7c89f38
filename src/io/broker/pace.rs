//! How often something may happen: so many times a second, beside a first burst.

use std::time::{Duration, Instant};

/// A rate; what it counts is kept beside it, one [`Tally`] for each client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    interval: Duration,
    burst: Duration,
}

/// When all that happened would have happened at an even pace, `None` before the first.
pub(super) type Tally = Option<Instant>;

impl Pace {
    /// Allows `rate` a second, and so many at once after a rest; `None` for no limit.
    pub(super) fn new(rate: usize, at_once: usize) -> Option<Self> {
        let rate = u32::try_from(rate).ok().filter(|rate| *rate > 0)?;
        let interval = Duration::from_secs(1) / rate;
        let at_once = u32::try_from(at_once.max(1)).unwrap_or(u32::MAX);
        Some(Self {
            interval,
            burst: interval.saturating_mul(at_once),
        })
    }

    /// Takes note of one; returns until when to wait if that was too many.
    pub(super) fn count(&self, tally: &mut Tally, now: Instant) -> Option<Instant> {
        let even = tally.map_or(now, |due| due.max(now)) + self.interval;
        *tally = Some(even);
        (even - now)
            .checked_sub(self.burst)
            .map(|over| now + over)
            .filter(|at| *at > now)
    }

    /// Returns whether one more is not too many, and takes note of it then.
    pub(super) fn admit(&self, tally: &mut Tally, now: Instant) -> bool {
        let mut counted = *tally;
        let admitted = self.count(&mut counted, now).is_none();
        if admitted {
            *tally = counted;
        }
        admitted
    }

    /// Returns whether a tally says no more than none would.
    pub(super) fn is_rested(tally: &Tally, now: Instant) -> bool {
        tally.is_none_or(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock;

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let pace = Pace::new(10, 5).unwrap();
        let (start, mut tally) = (clock::now(), None);
        for _ in 0..5 {
            assert_eq!(pace.count(&mut tally, start), None);
        }
        let tenth = Duration::from_millis(100);
        assert_eq!(pace.count(&mut tally, start), Some(start + tenth));
        assert_eq!(pace.count(&mut tally, start), Some(start + 2 * tenth));
        assert_eq!(pace.count(&mut tally, start + 3 * tenth), None);
        assert!(!Pace::is_rested(&tally, start));
        assert!(Pace::is_rested(&tally, start + 9 * tenth));
    }

    #[test]
    fn what_is_not_admitted_is_not_counted() {
        let pace = Pace::new(1, 1).unwrap();
        let (start, mut tally) = (clock::now(), None);
        assert!(pace.admit(&mut tally, start));
        for _ in 0..100 {
            assert!(!pace.admit(&mut tally, start));
        }
        assert!(pace.admit(&mut tally, start + Duration::from_secs(1)));
    }

    #[test]
    fn nought_is_no_limit() {
        assert!(Pace::new(0, 5).is_none());
    }
}
