//! Which job is due when, and where it waits.

use std::collections::HashMap;
use std::time::Instant;

use crate::core::bridge::{JobId, Place};
use crate::core::timetable::Timetable;

/// Jobs for which something is due, each once.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    times: Timetable,
    places: HashMap<JobId, Place>,
}

impl Agenda {
    pub(super) fn insert(&mut self, (at, id): (Instant, JobId), place: Place) {
        self.times.insert(at, id.0);
        self.places.insert(id, place);
    }

    pub(super) fn remove(&mut self, (at, id): (Instant, JobId)) {
        self.times.remove(at, id.0);
        self.places.remove(&id);
    }

    /// Returns when the first is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.times.next()
    }

    /// Takes out the first.
    pub(super) fn pop(&mut self) -> Option<(Instant, JobId, Place)> {
        let (at, number) = self.times.pop()?;
        let id = JobId(number);
        Some((at, id, self.places.remove(&id)?))
    }

    /// Takes out the first if it is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(JobId, Place)> {
        self.next().filter(|at| *at <= now)?;
        self.pop().map(|(_, id, place)| (id, place))
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}
