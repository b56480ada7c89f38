//! When something is due for things that have numbers.
//!
//! One for all that waits for its time: sessions, connections and jobs each bring their own kind
//! of number, and the tree below is in the program once.

use std::collections::BTreeSet;
use std::time::Instant;

/// Times, each with the number of what it is for; one thing may have several.
#[derive(Debug, Default)]
pub(crate) struct Timetable {
    entries: BTreeSet<(Instant, usize)>,
}

impl Timetable {
    /// Enters a time; once, however often it is entered.
    pub(crate) fn insert(&mut self, at: Instant, number: usize) {
        self.entries.insert((at, number));
    }

    /// Takes a time out, if it is there.
    pub(crate) fn remove(&mut self, at: Instant, number: usize) {
        self.entries.remove(&(at, number));
    }

    /// Returns the earliest time.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// Takes out the earliest entry.
    pub(crate) fn pop(&mut self) -> Option<(Instant, usize)> {
        self.entries.pop_first()
    }

    /// Takes out the earliest entry whose time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        self.next().filter(|at| *at <= now)?;
        self.pop().map(|(_, number)| number)
    }

    /// Returns the numbers, in the order of their times.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().map(|(_, number)| *number)
    }

    /// Returns how many times there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is no time.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "some moment to count from")]
    fn what_is_due_comes_in_order_and_what_is_taken_out_does_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timetable = Timetable::default();
        for (seconds, number) in [(3, 1), (1, 7), (1, 2), (2, 1), (2, 1)] {
            timetable.insert(at(seconds), number);
        }
        timetable.remove(at(3), 9);
        assert_eq!(timetable.len(), 4);
        assert_eq!(timetable.next(), Some(at(1)));
        assert!(timetable.numbers().eq([2, 7, 1, 1]));
        timetable.remove(at(1), 7);
        assert_eq!(timetable.pop_due(at(0)), None);
        assert_eq!(timetable.pop_due(at(2)), Some(2));
        assert_eq!(timetable.pop_due(at(2)), Some(1));
        assert_eq!(timetable.pop_due(at(2)), None, "not yet");
        assert_eq!(timetable.pop(), Some((at(3), 1)));
        assert!(timetable.is_empty());
    }
}
