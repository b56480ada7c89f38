//! Order over a change of endpoint: what a client has sent to a route goes to the new endpoint when
//! nothing of it is with the old one any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::core::bridge::queue::{Item, Queue};
use crate::core::bridge::{Action, Bridge};

/// Where the lane of a client and a route has been, and where it is.
#[derive(Debug)]
pub(super) struct Trail {
    client: Arc<str>,
    slot: usize,
    /// Positions in `queues`, the oldest first. Only the first lane has its turns.
    queues: VecDeque<usize>,
}

impl Bridge {
    /// Has the lanes of a route in its new queue wait until those in the old one have ended.
    pub(super) fn hold_back(&mut self, slot: usize, before: usize, present: usize) {
        let queue = self.queues.get(before);
        for client in queue.map(|it| it.holders(slot)).unwrap_or_default() {
            let known = self.trails.iter_mut();
            let mut known = known.filter(|it| it.slot == slot && it.client == client);
            let trail = match known.next() {
                Some(trail) => trail,
                None => {
                    self.trails.push(Trail {
                        client: Arc::clone(&client),
                        slot,
                        queues: VecDeque::from([before]),
                    });
                    let Some(trail) = self.trails.last_mut() else {
                        continue;
                    };
                    trail
                }
            };
            let back = trail.queues.iter().position(|it| *it == present);
            let left = match back {
                // It is where it was before: what came meanwhile waits there too.
                Some(at) => trail.queues.split_off(at + 1),
                None => {
                    trail.queues.push_back(present);
                    VecDeque::new()
                }
            };
            for at in left {
                if let Some(queue) = self.queues.get_mut(at) {
                    queue.set_held(&client, slot, false);
                }
            }
            if let Some(queue) = self.queues.get_mut(present).filter(|_| back.is_none()) {
                queue.set_held(&client, slot, true);
            }
        }
    }

    /// Lets lanes go on for which those in other queues have ended.
    pub(super) fn follow_trails(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let mut at = 0;
        while let Some(trail) = self.trails.get_mut(at) {
            let first = trail.queues.front();
            let first = first.and_then(|first| self.queues.get(*first));
            let is_busy = first.is_some_and(|it| it.holds(&trail.client, trail.slot));
            if trail.queues.len() > 1 && is_busy {
                at += 1;
                continue;
            }
            if trail.queues.len() > 1 {
                trail.queues.pop_front();
                let (client, slot) = (Arc::clone(&trail.client), trail.slot);
                let Some(next) = trail.queues.front().copied() else {
                    continue;
                };
                if let Some(queue) = self.queues.get_mut(next) {
                    queue.set_held(&client, slot, false);
                }
                self.start_waiting(next, now, actions);
            } else {
                self.trails.swap_remove(at);
            }
        }
    }
}

impl Queue {
    /// Returns the clients with a lane to the route.
    fn holders(&self, slot: usize) -> Vec<Arc<str>> {
        let clients = self.clients.iter();
        let mut names: Vec<_> = clients
            .filter(|(_, client)| client.lanes.iter().any(|lane| lane.slot == slot))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        names.sort_unstable();
        names
    }

    fn holds(&self, name: &str, slot: usize) -> bool {
        let client = self.clients.get(name);
        client.is_some_and(|client| client.lanes.iter().any(|lane| lane.slot == slot))
    }

    /// Takes its turns from a lane, which then need not hold anything, or gives them back.
    fn set_held(&mut self, name: &Arc<str>, slot: usize, held: bool) {
        let client = self.clients.entry(Arc::clone(name)).or_default();
        client.with_lane(slot, |lane| lane.held = held);
        self.arrange(name, slot);
        self.forget(name);
    }

    /// Puts a stored message before those that wait.
    pub(super) fn push_front(&mut self, name: &Arc<str>, slot: usize, item: Item) {
        self.stored += usize::from(item.is_stored());
        let client = self.clients.entry(Arc::clone(name)).or_default();
        let delayed = &mut self.delayed;
        client.with_lane(slot, |lane| {
            lane.waiting.push_front(item);
            if let Some(key) = lane.delayed.take() {
                delayed.remove(key);
            }
        });
        self.arrange(name, slot);
    }
}
