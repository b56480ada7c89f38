//! Which job is due when, and where it waits.

use std::collections::HashMap;
use std::time::Instant;

use crate::core::bridge::{JobId, Place};
use crate::core::timetable::Timetable;

/// Places for which memory is kept when none is left; that of a flood is given back.
const KEPT: usize = 64;

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
        self.forget(id);
    }

    /// Returns when the first is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.times.next()
    }

    /// Takes out the first.
    pub(super) fn pop(&mut self) -> Option<(Instant, JobId, Place)> {
        while let Some((at, number)) = self.times.pop() {
            let id = JobId(number);
            if let Some(place) = self.forget(id) {
                return Some((at, id, place));
            }
        }
        None
    }

    /// Takes out the first if it is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(JobId, Place)> {
        while let Some(number) = self.times.pop_due(now) {
            let id = JobId(number);
            if let Some(place) = self.forget(id) {
                return Some((id, place));
            }
        }
        None
    }

    fn forget(&mut self, id: JobId) -> Option<Place> {
        let place = self.places.remove(&id);
        if self.places.is_empty() && self.places.capacity() > KEPT {
            self.places = HashMap::new();
        }
        place
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}
