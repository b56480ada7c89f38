//! What the owner sees of the messages that wait.

use std::time::Instant;

use super::Bridge;

impl Bridge {
    /// Returns since when the oldest message of each route waits, in file order.
    pub fn waiting_since(&self) -> Vec<Option<Instant>> {
        let mut by_slot: Vec<Option<Instant>> = vec![None; self.slots.len()];
        // Those of one route wait in the order of their deadlines.
        for ((deadline, _), place) in &self.deadlines {
            if let Some(first) = by_slot.get_mut(place.slot) {
                first.get_or_insert(*deadline);
            }
        }
        let routes = self.routes.routes.iter().zip(&self.slot_of);
        let since = routes.map(|(route, slot)| {
            let deadline = (*by_slot.get(*slot)?)?;
            deadline.checked_sub(route.limits.deadline)
        });
        since.collect()
    }
}
