//! What the owner sees of routes and of the messages that wait.

use std::time::{Duration, Instant};

use super::{Bridge, Counters};
use crate::core::bridge::queue::Item;

/// How a route stands, for the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteState {
    /// Its name.
    pub name: String,
    /// Its endpoint's name; `None` if the route is not in the configuration any more.
    pub endpoint: Option<String>,
    /// What came of its messages.
    pub counters: Counters,
    /// For how long the oldest message has waited, in the store or in memory; `None` if none
    /// waits, or if it came while the time was not known.
    pub oldest: Option<Duration>,
    /// What its messages take of the store; `None` for a direct route of which none are there.
    pub share: Option<Share>,
}

/// What a route's messages take of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Bytes.
    pub bytes: usize,
    /// How many these may be; `None` if the route is not there any more, or is direct by now.
    pub max_bytes: Option<usize>,
    /// Whether a message as large as the last would find no room.
    pub is_full: bool,
}

impl Bridge {
    /// Returns how each route stands, in file order, and then those that are not in the
    /// configuration any more and whose messages wait for them.
    pub fn route_states(&self, now: Instant) -> Vec<RouteState> {
        let ages = self.ages(now);
        let gone = self.slots.iter().enumerate().filter(|(_, slot)| {
            let counters = slot.counters;
            slot.route.is_none() && counters.queued + counters.in_flight > 0
        });
        let gone = gone.map(|(at, _)| at);
        let states = self.slot_of.iter().copied().chain(gone).filter_map(|at| {
            let slot = self.slots.get(at)?;
            let endpoint = slot.route.as_ref().map(|route| route.endpoint.name.clone());
            Some(RouteState {
                name: slot.name.clone(),
                endpoint,
                counters: slot.counters,
                oldest: ages.get(at).copied().flatten(),
                share: slot.share(),
            })
        });
        states.collect()
    }

    /// Returns for how long the oldest waiting message of each slot has waited.
    fn ages(&self, now: Instant) -> Vec<Option<Duration>> {
        let mut ages: Vec<Option<Duration>> = vec![None; self.slots.len()];
        let mut note = |slot: usize, age: Option<Duration>| {
            if let Some(oldest) = ages.get_mut(slot) {
                // No age is less than any.
                *oldest = age.max(*oldest);
            }
        };
        let clients = self.queues.iter().flat_map(|queue| queue.clients.values());
        for lane in clients.flat_map(|client| &client.lanes) {
            // What waits in a lane waits in the order in which it came.
            match lane.waiting.front() {
                Some(Item::Direct(waiting)) => {
                    let job = &waiting.job;
                    let left = job.deadline.saturating_duration_since(now);
                    note(lane.slot, Some(job.limits.deadline.saturating_sub(left)));
                }
                Some(Item::Stored(entry)) => note(lane.slot, self.shelf.age(entry, now)),
                None => {}
            }
        }
        for (slot, entry) in self.shelf.between() {
            note(slot, self.shelf.age(entry, now));
        }
        for (at, slot) in self.slots.iter().enumerate() {
            for (_, entry) in &slot.orphans {
                note(at, self.shelf.age(entry, now));
            }
        }
        ages
    }
}
