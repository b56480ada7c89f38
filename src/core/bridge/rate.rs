//! How fast jobs may start: a token bucket, as the time at which it is full.

use std::time::{Duration, Instant};

use crate::core::endpoint::Rate;

/// A bucket of tokens, one for each job. It holds what a second brings, at least one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// When it is full again; `None` before anything was taken.
    full: Option<Instant>,
}

impl Bucket {
    /// Returns when there is a token, `None` for at once.
    pub(super) fn wait(&self, rate: Rate, now: Instant) -> Option<Instant> {
        let least = self.full?.checked_sub(spare(rate))?;
        (least > now).then_some(least)
    }

    /// Takes a token, which has to be there.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) {
        let full = self.full.map_or(now, |full| full.max(now));
        self.full = Some(full + interval(rate));
    }

    /// Returns whether nothing is missing: then it may as well be forgotten.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full.is_none_or(|full| full <= now)
    }
}

fn interval(rate: Rate) -> Duration {
    rate.per / rate.count.max(1)
}

/// What may be missing for a token to be there: all but one of the burst.
fn spare(rate: Rate) -> Duration {
    let interval = interval(rate);
    Duration::from_secs(1).saturating_sub(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "an `Instant` can be made in no other way"
    )]
    fn a_burst_is_what_a_second_brings_and_then_jobs_are_spaced() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let second = Duration::from_secs(1);
        for (count, per, expected) in [
            (4, second, [0, 0, 0, 0, 250, 500]),
            (1, second, [0, 1000, 2000, 3000, 4000, 5000]),
            (120, second * 60, [0, 0, 500, 1000, 1500, 2000]),
            (6, second * 60, [0, 10_000, 20_000, 30_000, 40_000, 50_000]),
        ] {
            let rate = Rate { count, per };
            let mut bucket = Bucket::default();
            let mut now = start;
            for expected in expected {
                now = bucket.wait(rate, now).unwrap_or(now);
                assert_eq!(now, at(expected), "{count} in {per:?}");
                bucket.take(rate, now);
                assert!(!bucket.is_full(now));
            }
            assert!(bucket.is_full(now + per * 10));
        }
    }
}
