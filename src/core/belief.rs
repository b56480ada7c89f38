//! Whether what the wall clock shows is to be believed.
//!
//! A router without a battery shows a time after boot that is plausible and behind: certificates
//! that are good would not be valid yet, and those that have expired would pass.

use std::time::Instant;

/// A jump back by more than this, in seconds, is one to another time; less is a correction.
const CORRECTION: u64 = 3600;

/// What is known of the clock. `S` is a sign that somebody has set it: that it is there counts,
/// and after a jump back, that it is another one.
#[derive(Clone, Debug)]
pub struct Belief<S> {
    /// Whether a sign is needed.
    needs_sign: bool,
    /// The earliest time that can be right, seconds since 1970.
    floor: u64,
    believed: bool,
    /// The latest time that was believed, and when: time goes on where nobody asks for it.
    latest: Option<(u64, Instant)>,
    /// The sign that was there when the clock jumped back: it says nothing of the time since.
    spent: Option<S>,
    jumps: usize,
}

impl<S: PartialEq> Belief<S> {
    /// Knows nothing yet. Times before `floor`, seconds since 1970, are never believed, others at
    /// once or, with `needs_sign`, when there is a sign.
    pub const fn new(floor: u64, needs_sign: bool) -> Self {
        Self {
            needs_sign,
            floor,
            believed: false,
            latest: None,
            spent: None,
            jumps: 0,
        }
    }

    /// Returns whether `now`, what the clock shows in seconds since 1970 at the moment `at`, is to
    /// be believed. `sign` is asked for only if it matters.
    pub fn believes(&mut self, now: u64, at: Instant, sign: impl FnOnce() -> Option<S>) -> bool {
        let can_be = now >= self.floor;
        let expected = self.latest.map(|(latest, then)| {
            let since = at.saturating_duration_since(then);
            latest.saturating_add(since.as_secs())
        });
        let back = now.saturating_add(CORRECTION);
        let jumped = expected.is_some_and(|expected| back < expected);
        if self.believed && can_be && !jumped {
            if expected.is_none_or(|expected| now >= expected) {
                self.latest = Some((now, at));
            }
            return true;
        }
        if self.believed {
            self.jumps = self.jumps.wrapping_add(1);
        }
        self.believed = can_be
            && match (self.needs_sign, self.latest) {
                (false, _) => true,
                (true, None) => sign().is_some(),
                (true, Some(_)) if jumped => self.is_new(sign()),
                // Back where it was.
                (true, Some(_)) => true,
            };
        if self.believed {
            self.latest = Some((now, at));
            self.spent = None;
        }
        self.believed
    }

    /// Returns how often the clock has jumped back from a time that was believed.
    pub const fn jumps(&self) -> usize {
        self.jumps
    }

    /// Returns whether a sign is another one than when the clock jumped back.
    fn is_new(&mut self, sign: Option<S>) -> bool {
        let Some(sign) = sign else { return false };
        match &self.spent {
            Some(spent) => *spent != sign,
            None => {
                self.spent = Some(sign);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FLOOR: u64 = 1_000_000;

    /// Goes through times and signs, and compares what is believed.
    fn goes(needs_sign: bool, steps: &[(u64, Option<u32>, bool, &str)]) -> Belief<u32> {
        let mut belief = Belief::new(FLOOR, needs_sign);
        let at = moment();
        for (now, sign, believed, why) in steps {
            let found = belief.believes(*now, at, || *sign);
            assert_eq!(found, *believed, "{now}: {why}");
        }
        belief
    }

    #[expect(clippy::disallowed_methods, reason = "some moment to count from")]
    fn moment() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_jump_back_is_seen_after_hours_in_which_nobody_asked() {
        let (begin, hour) = (moment(), Duration::from_secs(3600));
        let mut belief: Belief<u32> = Belief::new(FLOOR, false);
        for (hours, now, jumps) in [
            (0, FLOOR, 0),
            (10, FLOOR + 10 * 3600, 0),
            // As after ten hours, and twenty have gone by.
            (20, FLOOR + 10 * 3600, 1),
            (30, FLOOR + 19 * 3600, 1),
            (40, FLOOR + 28 * 3600 - 1, 2),
        ] {
            assert!(belief.believes(now, begin + hour * hours, || None));
            assert_eq!(belief.jumps(), jumps, "after {hours} hours");
        }
    }

    #[test]
    fn a_trusted_clock_is_believed_from_the_floor_on() {
        let belief = goes(
            false,
            &[
                (0, None, false, "1970"),
                (FLOOR - 1, None, false, "before the program was built"),
                (FLOOR, None, true, "then"),
                (FLOOR + 9_000, None, true, "later"),
                (FLOOR + 5_400, None, true, "an hour back is a correction"),
                (
                    FLOOR + 5_399,
                    None,
                    true,
                    "more is another time, trusted too",
                ),
                (FLOOR + 1_800, None, true, "a correction from there"),
                (FLOOR - 1, None, false, "one to what can't be"),
                (FLOOR, None, true, "set again"),
                (u64::MAX, None, true, "the far future"),
            ],
        );
        assert_eq!(belief.jumps(), 2);
    }

    #[test]
    fn other_clocks_need_a_sign_that_they_were_set() {
        let belief = goes(
            true,
            &[
                (FLOOR + 1, None, false, "plausible and maybe behind"),
                (FLOOR + 2, Some(1), true, "somebody has set it"),
                (FLOOR + 20_000, None, true, "that is said once"),
                (FLOOR + 16_400, None, true, "an hour back is a correction"),
                (FLOOR + 300, Some(1), false, "a jump; the sign is of before"),
                (FLOOR + 301, Some(1), false, "still"),
                (FLOOR + 302, None, false, "no sign"),
                (FLOOR + 303, Some(2), true, "another one"),
            ],
        );
        assert_eq!(belief.jumps(), 1);
        goes(
            true,
            &[
                (
                    FLOOR - 2,
                    Some(1),
                    false,
                    "a sign doesn't mend what can't be",
                ),
                (FLOOR + 20_000, Some(1), true, "believed"),
                (FLOOR, Some(1), false, "a jump back"),
                (FLOOR + 19_000, Some(1), true, "back where it was"),
            ],
        );
    }
}
