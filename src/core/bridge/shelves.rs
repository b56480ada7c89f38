//! What of the messages in the store waits in a queue: taking it out before its turn.

use std::sync::Arc;

use crate::core::bridge::queue::{Entry, Item, Lane, Queue};

impl Queue {
    /// Returns whether messages of stored routes wait.
    pub(super) fn has_stored(&self) -> bool {
        self.stored > 0
    }

    /// Takes out the oldest message of a route.
    pub(super) fn pop_oldest(&mut self, slot: usize) -> Option<Entry> {
        let lanes = self.clients.iter().flat_map(|(name, client)| {
            let lanes = client.lanes.iter().filter(|lane| lane.slot == slot);
            lanes.filter_map(move |lane| Some((lane.oldest()?.id, name)))
        });
        let (_, name) = lanes.min()?;
        let name = Arc::clone(name);
        self.pop(&name, slot)
    }

    /// Takes out what has become older than its slot allows, in seconds; dates what has none yet.
    pub(super) fn pop_old(&mut self, time: u64, ages: &[Option<u64>]) -> Vec<(usize, Entry)> {
        let mut old: Vec<(Arc<str>, usize)> = Vec::new();
        for (name, client) in &mut self.clients {
            for lane in &mut client.lanes {
                let Some(most) = ages.get(lane.slot).copied().flatten() else {
                    continue;
                };
                for item in &mut lane.waiting {
                    let Item::Stored(entry) = item else { continue };
                    if entry.at == 0 {
                        entry.at = time;
                    }
                    if time.saturating_sub(entry.at) <= most {
                        break;
                    }
                    old.push((Arc::clone(name), lane.slot));
                }
            }
        }
        let take = |(name, slot): (Arc<str>, usize)| Some((slot, self.pop(&name, slot)?));
        old.into_iter().filter_map(take).collect()
    }

    /// Takes out all messages of a route, in the order of each client.
    pub(super) fn take_stored(&mut self, slot: usize) -> Vec<(Arc<str>, Entry)> {
        let names: Vec<_> = self.clients.keys().cloned().collect();
        let mut taken = Vec::new();
        for name in names {
            while let Some(entry) = self.pop(&name, slot) {
                taken.push((Arc::clone(&name), entry));
            }
        }
        taken.sort_by_key(|(_, entry)| entry.id);
        taken
    }

    /// Lets messages go on at once that wait for another attempt.
    pub(super) fn hurry(&mut self) {
        let mut delayed = std::mem::take(&mut self.delayed);
        while let Some((until, id, place)) = delayed.pop() {
            match self.lane(&place) {
                Some(lane) if lane.is_direct() => self.delayed.insert((until, id), place),
                Some(lane) => {
                    lane.delayed = None;
                    self.arrange(&place.client, place.slot);
                }
                None => {}
            }
        }
    }

    /// Takes the first message out of a lane.
    fn pop(&mut self, name: &Arc<str>, slot: usize) -> Option<Entry> {
        let lane = self.clients.get_mut(name)?.lane(slot)?;
        let at = lane.waiting.iter().position(Item::is_stored)?;
        let Some(Item::Stored(entry)) = lane.waiting.remove(at) else {
            return None;
        };
        self.stored -= 1;
        if let Some(key) = lane.delayed.filter(|_| at == 0) {
            lane.delayed = None;
            self.delayed.remove(key);
        }
        self.arrange(name, slot);
        self.forget(name);
        Some(entry)
    }
}

impl Lane {
    fn oldest(&self) -> Option<&Entry> {
        self.waiting.iter().find_map(|item| match item {
            Item::Stored(entry) => Some(entry),
            Item::Direct(_) => None,
        })
    }

    fn is_direct(&self) -> bool {
        matches!(self.waiting.front(), Some(Item::Direct(_)))
    }
}
