//! How fast jobs may start: a token bucket, as the time at which it is full, and who may have what
//! of a bucket that is for all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::endpoint::Rate;

/// What a burst lasts, and how long it is remembered who had a token.
const SECOND: Duration = Duration::from_secs(1);

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

    /// Returns when there are more tokens than half of the burst, `None` for at once.
    fn wait_for_half(&self, rate: Rate, now: Instant) -> Option<Instant> {
        let least = self.full?.checked_sub(spare(rate) - reserve(rate))?;
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

/// The tokens of an endpoint. Half of the burst is kept for clients who have not had their turn
/// lately: one that always has more to ask would else leave nothing but a place in the queue.
#[derive(Debug, Default)]
pub(super) struct Common {
    bucket: Bucket,
    /// Who has had a token within the last second, and when the last one.
    recent: HashMap<Arc<str>, Instant>,
}

impl Common {
    /// Returns when there is a token for anybody, `None` for at once.
    pub(super) fn wait(&self, rate: Rate, now: Instant) -> Option<Instant> {
        self.bucket.wait(rate, now)
    }

    /// Returns when there is a token for this client if others take none, `None` for at once.
    pub(super) fn wait_of(&self, name: &str, rate: Rate, now: Instant) -> Option<Instant> {
        let any = self.bucket.wait(rate, now);
        let last = self.recent.get(name)?;
        // The time of one turn for each who wants some, and for one more.
        let turns = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        let turn = *last
            + interval(rate)
                .saturating_mul(turns.saturating_add(1))
                .min(SECOND);
        if turn <= now {
            return any;
        }
        let half = self.bucket.wait_for_half(rate, now)?;
        Some(half.min(turn).max(any.unwrap_or(now)))
    }

    /// Takes a token, which has to be there.
    pub(super) fn take(&mut self, name: &Arc<str>, rate: Rate, now: Instant) {
        self.bucket.take(rate, now);
        self.recent
            .retain(|_, last| now.saturating_duration_since(*last) < SECOND);
        self.recent.insert(Arc::clone(name), now);
    }
}

fn interval(rate: Rate) -> Duration {
    rate.per / rate.count.max(1)
}

/// What may be missing for a token to be there: all but one of the burst.
fn spare(rate: Rate) -> Duration {
    SECOND.saturating_sub(interval(rate))
}

/// Half of the burst: at most what may be missing, nothing if the burst is one token.
fn reserve(rate: Rate) -> Duration {
    let interval = interval(rate);
    let half = (spare(rate) + interval) / 2;
    half.min(spare(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "an `Instant` can be made in no other way"
    )]
    fn half_of_a_burst_is_kept_for_clients_who_had_nothing_lately() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let rate = |count| Rate { count, per: SECOND };
        let greedy: Arc<str> = "greedy".into();
        let mut common = Common::default();
        let mut taken = Vec::new();
        for _ in 0..5 {
            let last = taken.last().copied().unwrap_or(start);
            let next = common.wait_of(&greedy, rate(4), last).unwrap_or(last);
            common.take(&greedy, rate(4), next);
            taken.push(next);
        }
        // Two of the four go at once, then one for each that comes.
        assert_eq!(taken, [at(0), at(0), at(250), at(500), at(750)]);
        let now = at(750);
        assert_eq!(common.wait_of("polite", rate(4), now), None);
        common.take(&"polite".into(), rate(4), now);
        assert_eq!(common.wait_of("another", rate(4), now), None);
        // Where a second brings one, there is nothing to keep.
        let mut common = Common::default();
        common.take(&greedy, rate(1), start);
        assert_eq!(common.wait_of(&greedy, rate(1), at(1000)), None);
    }

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
