//! What the hub wants done: wake-ups, closes, offers to the bridge, lines for the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ConnectionId;
use crate::core::bridge::{Publisher, Ticket};
use crate::core::message::Message;
use crate::core::store::Change;

/// What the shell has to do.
#[derive(Debug)]
pub enum Effect {
    /// The connection has packets to write: see [`Hub::next_packet`](super::Hub::next_packet).
    Wake(ConnectionId),
    /// Write what is left, then close the connection.
    Close(ConnectionId),
    /// A message that may belong to a route; its ticket must come back to
    /// [`Hub::acknowledge`](super::Hub::acknowledge).
    Offer(Offer),
    /// Write changes to the store. Those of one call of the hub, and of what it causes, are one
    /// batch: after a power cut all of them are there or none.
    Store {
        /// The changes, in order.
        changes: Vec<Change>,
        /// Comes back to [`Hub::committed`](super::Hub::committed) or
        /// [`Hub::not_stored`](super::Hub::not_stored), in order; `None` if nobody waits for it.
        token: Option<usize>,
    },
    /// Something the owner of the gateway may want to read in the log.
    Report(Report),
}

/// A client's message (or will) on its way to the bridge.
#[derive(Debug)]
pub struct Offer {
    /// The message.
    pub message: Message,
    /// Who published it.
    pub publisher: Publisher,
    /// What to acknowledge, `None` at QoS 0 and for wills.
    pub ticket: Option<Ticket>,
}

/// An event for the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// A publish or subscription that the access rules forbid.
    Denied {
        /// The client ID.
        client: Arc<str>,
        /// The topic or filter.
        topic: String,
        /// `publish to` or `subscribe to`.
        action: &'static str,
    },
    /// Messages to a session were dropped: its queue was full, or they were larger than its
    /// client takes. Said at the first, then again once the queue has drained below half.
    Dropped {
        /// The client ID.
        client: Arc<str>,
        /// How many since the last report.
        count: usize,
    },
    /// A message that was sent at QoS 1 or 2 was not acknowledged in time and is given up.
    Unacknowledged {
        /// The client ID.
        client: Arc<str>,
        /// The message's topic.
        topic: String,
        /// Size of its packet.
        bytes: usize,
        /// How long it was waited for.
        waited: Duration,
        /// Why, most likely.
        cause: &'static str,
    },
    /// A second client with the same ID took the session over.
    TakenOver {
        /// The client ID.
        client: Arc<str>,
    },
    /// Two clients use one ID, most likely. Said once, and again after they were quiet for a
    /// minute.
    Rivals {
        /// The client ID.
        client: Arc<str>,
        /// Where they come from: who was there, and who came.
        addresses: [Option<SocketAddr>; 2],
    },
    /// A client was not let in.
    Refused {
        /// The client ID as sent, possibly empty.
        client: Arc<str>,
        /// Why.
        why: &'static str,
    },
    /// The client broke the protocol and is disconnected.
    Violation {
        /// The client ID.
        client: Arc<str>,
        /// What it did.
        what: &'static str,
    },
    /// The store of retained messages is full, and this topic's message is not kept. Not said
    /// again before something could be kept.
    RetainedFull {
        /// The topic.
        topic: String,
    },
    /// Retained messages of clients were deleted: only the gateway publishes to their topics now.
    Expelled {
        /// How many.
        count: usize,
    },
    /// Of the user with most sessions without a connection, the one that left first was forgotten:
    /// there were more than [`Limits::offline_sessions`](super::Limits::offline_sessions). Or, while
    /// memory was short, of the user whose take most, the largest one.
    Forgotten {
        /// The client ID.
        client: Arc<str>,
    },
}
