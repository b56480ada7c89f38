//! The broker's state: sessions by client ID, take-over, wills, fan-out.
//!
//! Pure: the shell hands in packets with the time and executes the [`Effect`]s that come out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::access::Identity;
use crate::core::bridge::{Publisher, Ticket};
use crate::core::message::Message;
use crate::core::packet::{Connect, Incoming, Outgoing};
use crate::core::topic::TopicFilter;

/// One network connection; never used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub usize);

/// What the broker allows; sizes in bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connected clients at most.
    pub clients: usize,
    /// Largest packet a client may send.
    pub max_packet: usize,
    /// Messages queued for one session, beside those in flight.
    pub queue_messages: usize,
    /// Bytes of topic and payload queued for one session.
    pub queue_bytes: usize,
    /// Deliveries at QoS 1 and 2 in flight to one session.
    pub in_flight: u16,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Effect {
    /// The connection has packets to write: see [`Hub::next_packet`].
    Wake(ConnectionId),
    /// Write what is left, then close the connection.
    Close(ConnectionId),
    /// A message that may belong to a route; its ticket must come back to [`Hub::acknowledge`].
    Offer(Offer),
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
    /// A session's queue was full and messages were dropped, oldest first.
    Dropped {
        /// The client ID.
        client: Arc<str>,
        /// How many since the last report.
        count: usize,
    },
    /// A second client with the same ID took the session over.
    TakenOver {
        /// The client ID.
        client: Arc<str>,
    },
    /// The client broke the protocol and is disconnected.
    Violation {
        /// The client ID.
        client: Arc<str>,
        /// What it did.
        what: &'static str,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Closed or broken by the peer, without DISCONNECT.
    Lost,
    /// Nothing was received for 1.5 × keep alive (MQTT-3.1.2-24).
    KeepAlive,
    /// Bytes that are not MQTT.
    Malformed,
    /// A packet larger than [`Limits::max_packet`].
    TooLarge,
    /// The gateway stops.
    Stopping,
}

/// All sessions, subscriptions and retained messages.
#[derive(Debug)]
pub struct Hub {}

impl Hub {
    /// Makes an empty hub. Clients may not publish to `reserved` topics: replies are the bridge's.
    pub fn new(_limits: Limits, _reserved: Vec<TopicFilter>) -> Self {
        todo!()
    }

    /// Takes in a client whose credentials were checked. The CONNACK, of either kind, is queued
    /// for the connection; after a refusal [`Effect::Close`] follows.
    pub fn connect(&mut self, _id: ConnectionId, _connect: Connect, _who: Identity, _now: Instant) {
        todo!()
    }

    /// Takes in a packet of a connected client.
    pub fn receive(&mut self, _id: ConnectionId, _packet: Incoming, _now: Instant) {
        todo!()
    }

    /// Takes note that a connection is gone or has to go: publishes the will where due.
    pub fn close(&mut self, _id: ConnectionId, _ended: Ended, _now: Instant) {
        todo!()
    }

    /// Acknowledges a publish (PUBACK or PUBREC) with an MQTT 5 reason code; in the order received.
    pub fn acknowledge(&mut self, _ticket: Ticket, _reason: u8) {
        todo!()
    }

    /// Publishes a message of the gateway's own: never offered to the bridge.
    pub fn publish(&mut self, _message: &Message, _now: Instant) {
        todo!()
    }

    /// Returns the next thing for the shell to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        todo!()
    }

    /// Returns the next packet to write to a connection, `None` when there is none now.
    pub fn next_packet(&mut self, _id: ConnectionId, _now: Instant) -> Option<Outgoing> {
        todo!()
    }

    /// Returns how long the connection may stay silent, `None` for ever.
    pub fn silence(&self, _id: ConnectionId) -> Option<Duration> {
        todo!()
    }

    /// Returns when to call [`Hub::handle_timeout`]: delayed wills and session expiry.
    pub fn next_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Publishes delayed wills and forgets expired sessions.
    pub fn handle_timeout(&mut self, _now: Instant) {
        todo!()
    }
}
