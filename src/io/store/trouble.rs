//! Whether the disk takes what is written, and when the log says so.
//!
//! A disk that is nearly full takes what is small and refuses what is large. It is well again only
//! once it has taken as much as it refused, or has room for it; so it does not seem to fall ill
//! and recover with each write. Where it does all the same, few of the lines stand in the log.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::cause;
use crate::io::log::caps::{Caps, Line};

/// Bytes of room beside what was refused that are worth the name.
const SPARE: u64 = 64 << 10;

/// What was refused since the disk took everything the last time.
#[derive(Debug)]
struct Ill {
    why: Arc<str>,
    /// Bytes of the largest write that was refused for want of room, `None` if that was not why.
    wanted: Option<u64>,
}

/// How the disk is.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    ill: Option<Ill>,
    caps: Caps,
}

impl Trouble {
    /// Returns what the disk said, `None` while it takes everything.
    pub(super) fn why(&self) -> Option<Arc<str>> {
        self.ill.as_ref().map(|ill| Arc::clone(&ill.why))
    }

    /// Takes note that a write of so many bytes was refused; returns what the log says of that,
    /// `None` if it knows.
    pub(super) fn refuse(&mut self, cause: &io::Error, bytes: u64, now: Instant) -> Option<Line> {
        let before = self.ill.take();
        let is_news = before.is_none();
        let most = before.and_then(|ill| ill.wanted).unwrap_or(0).max(bytes);
        self.ill = Some(Ill {
            why: cause.to_string().into(),
            wanted: cause::is_full(cause).then_some(most),
        });
        is_news.then(|| self.caps.count("refused", "", now))
    }

    /// Takes note that so many bytes were written. `room` is what the disk has left, as far as it
    /// says. Returns what the log says of it, `None` if nothing.
    pub(super) fn take(&mut self, bytes: u64, room: Option<u64>, now: Instant) -> Option<Line> {
        let wanted = self.ill.as_ref()?.wanted;
        match wanted {
            Some(wanted) if bytes < wanted && !has_room(wanted, room) => None,
            _ => self.recover(now),
        }
    }

    /// Takes note of the room that there is while nothing is written. Only what was wanting of
    /// room is known to be over by it.
    pub(super) fn look(&mut self, room: Option<u64>, now: Instant) -> Option<Line> {
        let wanted = self.ill.as_ref()?.wanted?;
        match has_room(wanted, room) {
            true => self.recover(now),
            false => None,
        }
    }

    fn recover(&mut self, now: Instant) -> Option<Line> {
        self.ill = None;
        Some(self.caps.count("taken", "", now))
    }
}

fn has_room(wanted: u64, room: Option<u64>) -> bool {
    room.is_some_and(|room| room >= wanted.saturating_add(SPARE))
}

/// Returns how many lines like this one were left out, in words, or `None` if it is to be as well.
pub(super) fn left_out(line: Line) -> Option<String> {
    match line {
        Line::Suppress => None,
        Line::Write { suppressed: 0 } => Some(String::new()),
        Line::Write { suppressed } => Some(format!(
            "; so it was {suppressed} times more since the last such line"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::io::Errno;

    use super::*;
    use crate::io::clock;

    fn full() -> io::Error {
        Errno::NOSPC.into()
    }

    #[test]
    fn disk_that_takes_only_what_is_small_stays_full() {
        let (mut trouble, now) = (Trouble::default(), clock::now());
        let said = Some(Line::Write { suppressed: 0 });
        assert_eq!(trouble.refuse(&full(), 8000, now), said);
        for _ in 0..10 {
            assert_eq!(trouble.take(100, Some(4096), now), None);
            assert_eq!(trouble.refuse(&full(), 5000, now), None);
            assert_eq!(trouble.look(Some(4096), now), None);
            assert!(trouble.why().unwrap().contains("No space left"));
        }
        // As much as was refused at most, wherever it found room.
        assert_eq!(trouble.take(7999, None, now), None);
        assert_eq!(trouble.take(8000, None, now), said);
        assert_eq!(trouble.why(), None);
        assert_eq!(trouble.take(8000, None, now), None);
        // Or the disk says that it has room.
        assert_eq!(trouble.refuse(&full(), 8000, now), said);
        assert_eq!(trouble.take(10, Some(8000 + SPARE), now), said);
        assert_eq!(trouble.refuse(&full(), 8000, now), said);
        assert_eq!(trouble.look(Some(8000 + SPARE), now), said);
        assert_eq!(trouble.why(), None);
    }

    #[test]
    fn disk_that_failed_is_well_once_it_takes_anything() {
        let (mut trouble, now) = (Trouble::default(), clock::now());
        let said = Some(Line::Write { suppressed: 0 });
        assert_eq!(trouble.refuse(&full(), 8000, now), said);
        assert_eq!(trouble.refuse(&Errno::IO.into(), 8000, now), None);
        assert_eq!(trouble.look(Some(1 << 30), now), None);
        assert_eq!(trouble.take(1, None, now), said);
    }

    #[test]
    fn disk_that_fails_again_and_again_is_told_five_times_a_minute() {
        let (mut trouble, mut now) = (Trouble::default(), clock::now());
        let mut turns = |count, now| {
            let mut told = Vec::new();
            for _ in 0..count {
                told.extend(trouble.refuse(&Errno::IO.into(), 1, now));
                told.extend(trouble.take(1, None, now));
            }
            told.into_iter().filter_map(left_out).collect::<Vec<_>>()
        };
        assert_eq!(turns(50, now), vec![String::new(); 10]);
        now += Duration::from_secs(60);
        let more = "; so it was 45 times more since the last such line";
        assert_eq!(turns(1, now), [more, more]);
    }
}
