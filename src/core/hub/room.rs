//! Keeps what all clients take together below the ceiling.

use std::sync::Arc;

use super::{Effect, Hub, Report};
use crate::core::memory::ENTRY;
use crate::core::message::Message;
use crate::core::session::SessionId;

impl Hub {
    /// Counts a message from now on, for as long as anybody keeps it, and makes room for it.
    pub(super) fn weigh(&mut self, mut message: Message) -> Message {
        let properties = message.properties.as_ref();
        let places = properties.map_or(0, |own| own.places());
        let beside = message.bytes() - message.payload.len() + places + ENTRY;
        message.payload = self.meter.hold(message.payload, beside);
        self.make_room();
        message
    }

    /// While there is too much, has the largest queue lose its oldest messages.
    pub(super) fn make_room(&mut self) {
        while self.meter.is_over() {
            let Some(session) = self.largest_queue() else {
                return;
            };
            let Some(own) = self.sessions.get_mut(session) else {
                return;
            };
            let meter = &self.meter;
            own.outbox.lose_oldest(|| meter.is_over());
            if let Some(count) = own.outbox.report(&self.limits) {
                let client = Arc::clone(&own.client);
                self.effects
                    .push_back(Effect::Report(Report::Dropped { client, count }));
            }
        }
    }

    fn largest_queue(&self) -> Option<SessionId> {
        let queues = self.sessions.iter();
        let weights = queues.map(|(id, own)| (own.outbox.weight(), id));
        let largest = weights.max_by_key(|(weight, _)| *weight);
        largest.filter(|(weight, _)| *weight > 0).map(|(_, id)| id)
    }
}
