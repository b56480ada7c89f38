//! How often a line of one cause may stand in the log.
//!
//! Bounded: past [`ENTRIES`] the causes share one count, so that inventing client IDs neither
//! fills memory nor the log.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// Lines per cause and client in one [`WINDOW`].
const LINES: usize = 5;
/// The cause of which one line is enough: what a client may not do, it tries again and again.
pub(crate) const ONCE: &str = "denied";
/// The time over which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Causes that are told apart at the same time.
const ENTRIES: usize = 256;

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Write it; so many like it were left out since the last one.
    Write {
        /// How many lines were left out.
        suppressed: usize,
    },
    /// Leave it out.
    Suppress,
}

/// Counts lines per cause and client.
#[derive(Debug, Default)]
pub(crate) struct Caps {
    counts: HashMap<u64, Count>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    lines: usize,
}

impl Caps {
    /// Counts a line of `cause` about `client` and decides whether it is written.
    pub(crate) fn count(&mut self, cause: &str, client: &str, now: Instant) -> Line {
        let limit = if cause == ONCE { 1 } else { LINES };
        let key = self.key(cause, client, now);
        let count = self.counts.entry(key).or_insert(Count {
            since: now,
            lines: 0,
        });
        let mut suppressed = 0;
        if now.saturating_duration_since(count.since) >= WINDOW {
            suppressed = count.lines.saturating_sub(limit);
            *count = Count {
                since: now,
                lines: 0,
            };
        }
        count.lines += 1;
        if count.lines > limit {
            Line::Suppress
        } else {
            Line::Write { suppressed }
        }
    }

    fn key(&mut self, cause: &str, client: &str, now: Instant) -> u64 {
        let mut hasher = DefaultHasher::new();
        (cause, client).hash(&mut hasher);
        let key = hasher.finish();
        if self.counts.contains_key(&key) {
            return key;
        }
        if self.counts.len() >= ENTRIES {
            // Entries that still owe their number of left out lines stay a while longer.
            self.counts.retain(|_, count| {
                let age = now.saturating_duration_since(count.since);
                age < WINDOW || (count.lines > 1 && age < 10 * WINDOW)
            });
        }
        if self.counts.len() >= ENTRIES { 0 } else { key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock;

    #[test]
    fn sixth_line_of_a_minute_is_left_out_and_counted() {
        let (mut caps, now) = (Caps::default(), clock::now());
        for _ in 0..5 {
            assert_eq!(
                caps.count("dropped", "a", now),
                Line::Write { suppressed: 0 }
            );
        }
        assert_eq!(caps.count("dropped", "a", now), Line::Suppress);
        assert_eq!(caps.count("dropped", "a", now), Line::Suppress);
        assert_eq!(
            caps.count("dropped", "b", now),
            Line::Write { suppressed: 0 }
        );
        let later = now + WINDOW;
        assert_eq!(
            caps.count("dropped", "a", later),
            Line::Write { suppressed: 2 }
        );
    }

    #[test]
    fn a_denial_is_written_once_a_minute_for_each_client() {
        let (mut caps, now) = (Caps::default(), clock::now());
        let first = Line::Write { suppressed: 0 };
        assert_eq!(caps.count(ONCE, "a", now), first);
        assert_eq!(caps.count(ONCE, "a", now), Line::Suppress);
        assert_eq!(caps.count(ONCE, "b", now), first);
        let later = now + WINDOW;
        assert_eq!(caps.count(ONCE, "a", later), Line::Write { suppressed: 1 });
    }

    #[test]
    fn invented_client_ids_share_one_count_once_the_table_is_full() {
        let (mut caps, now) = (Caps::default(), clock::now());
        let written = (0..10_000)
            .filter(|client| caps.count("dropped", &client.to_string(), now) != Line::Suppress)
            .count();
        assert_eq!(written, ENTRIES + LINES);
        assert!(caps.counts.len() <= ENTRIES + 1);
    }
}
