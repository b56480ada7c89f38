//! Two nodes with one client ID, each of which throws the other out.
//!
//! MQTT lets the newer connection win, so both would connect for ever and neither would work.
//! After some take-overs in a short time the one that is there stays, until the other gives up
//! or gets a client ID of its own. A node that comes back after its connection broke unnoticed
//! takes its own session over, but not that often.

use std::time::{Duration, Instant};

/// The time in which take-overs are counted, and for which one refusal is remembered.
const WINDOW: Duration = Duration::from_secs(60);
/// What a take-over from another address counts.
const ELSEWHERE: u8 = 10;
/// What one from the same address counts: most often that is the same node.
const SAME: u8 = 2;
/// From here on the newcomer is refused: at the third from another address, at the eleventh from
/// the same.
const LIMIT: u8 = 20;

/// The take-overs of one client ID.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rivalry {
    count: u8,
    until: Option<Instant>,
    told: bool,
}

/// What to do about a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// It is not let in.
    pub(crate) refuse: bool,
    /// The owner has not been told yet, and should be.
    pub(crate) is_news: bool,
}

impl Rivalry {
    /// Judges a client that wants the session of one that is connected; `elsewhere` says that it
    /// comes from another address.
    pub(crate) fn judge(&mut self, elsewhere: bool, now: Instant) -> Verdict {
        if self.until.is_none_or(|until| until <= now) {
            *self = Self {
                until: now.checked_add(WINDOW),
                ..Self::default()
            };
        }
        let weight = if elsewhere { ELSEWHERE } else { SAME };
        self.count = self.count.saturating_add(weight);
        let refuse = self.count > LIMIT;
        if refuse {
            // As long as it tries, the other stays.
            self.until = now.checked_add(WINDOW);
        }
        let is_news =
            (elsewhere || refuse) && !std::mem::replace(&mut self.told, elsewhere || refuse);
        Verdict { refuse, is_news }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to start from"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    /// Judges newcomers at these seconds: `T` takes over, `R` is refused, lower case is no news.
    fn judged(elsewhere: bool, seconds: impl IntoIterator<Item = u32>) -> String {
        let (mut rivalry, start) = (Rivalry::default(), start());
        let verdicts = seconds.into_iter().map(|second| {
            let verdict = rivalry.judge(elsewhere, start + second * SECOND);
            match (verdict.refuse, verdict.is_news) {
                (false, true) => 'T',
                (false, false) => 't',
                (true, true) => 'R',
                (true, false) => 'r',
            }
        });
        verdicts.collect()
    }

    #[test]
    fn third_take_over_from_elsewhere_is_refused_and_the_first_is_told() {
        assert_eq!(judged(true, [0, 5, 10, 15, 60, 110, 165]), "Ttrrrrr");
    }

    #[test]
    fn rivals_that_gave_up_are_forgotten() {
        assert_eq!(judged(true, [0, 5, 10, 70, 71, 72]), "TtrTtr");
    }

    #[test]
    fn node_that_comes_back_now_and_then_is_let_in() {
        assert_eq!(judged(false, (0..30).map(|n| n * 6)), "t".repeat(30));
        assert_eq!(judged(true, (0..9).map(|n| n * 31)), "TtTtTtTtT");
    }

    #[test]
    fn rivals_at_one_address_are_refused_and_told_later() {
        assert_eq!(judged(false, [0; 13]), "ttttttttttRrr");
    }
}
