//! How much the hub holds, for the fuzz target that checks its bounds.

use super::Hub;

/// Counts of what a hub holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Sessions, with a connection or without.
    pub sessions: usize,
    /// Connected clients.
    pub connections: usize,
    /// Connections that are to be closed and have last packets.
    pub closing: usize,
    /// Sessions without a connection.
    pub offline: usize,
    /// Connections that are gone and whose publishes have no answer yet.
    pub parted: usize,
    /// Sessions for which something is due at some time.
    pub timers: usize,
    /// Retained messages.
    pub retained: usize,
    /// Filters that sessions say they hold.
    pub filters: usize,
    /// Whether nobody holds a subscription.
    pub unsubscribed: bool,
    /// Messages in the longest queue.
    pub queued: usize,
    /// Deliveries in flight to the session that has most.
    pub in_flight: usize,
    /// Publishes of one client that wait for PUBACK, PUBREC or PUBREL.
    pub unfinished: usize,
}

impl Hub {
    /// Counts.
    pub fn census(&self) -> Census {
        let mut census = Census {
            connections: self.connections.len(),
            closing: self.closing.len(),
            offline: self.offline.len(),
            parted: self.parted.len(),
            timers: self.timers.len(),
            retained: self.retained.len(),
            unsubscribed: self.subscriptions.is_empty(),
            ..Census::default()
        };
        for (_, session) in self.sessions.iter() {
            let (queued, in_flight) = session.outbox.len();
            let (pending, received) = session.inbox.unfinished();
            census.sessions += 1;
            census.filters += session.filters.len();
            census.queued = census.queued.max(queued);
            census.in_flight = census.in_flight.max(in_flight);
            census.unfinished = census.unfinished.max(pending).max(received);
        }
        census
    }
}
