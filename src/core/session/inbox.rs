//! What a client's publishes get back: topic aliases, PUBACK, PUBREC and PUBCOMP.
//!
//! Acknowledgements may be given in any order and leave in the order the publishes came
//! (MQTT-4.6.0-2, MQTT-4.6.0-3). What is not acknowledged yet is known by its packet identifier,
//! so that sending it again does not make it another message.

use std::collections::VecDeque;

use crate::core::archive::Record;
use crate::core::bridge::Ticket;
use crate::core::few::Few;
use crate::core::hub::ConnectionId;
use crate::core::message::QoS;
use crate::core::packet::{Outgoing, Version, reason};
use crate::core::session::Control;
use crate::core::topic::Topic;

/// Receive Maximum that MQTT 5 clients are granted.
pub(crate) const RECEIVE_MAXIMUM: u16 = 64;

/// Topic Alias Maximum that MQTT 5 clients are granted.
pub(crate) const ALIAS_MAXIMUM: u16 = 16;

/// Unfinished publishes of a client that can't be told a Receive Maximum, and of all its
/// connections together.
const MAX_UNFINISHED: usize = 1024;

/// A breach of the protocol: reason code and what the client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) u8, pub(crate) &'static str);

/// What a publish at QoS 1 or 2 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A message to take in; it must be settled.
    New,
    /// One that was taken in before.
    Again,
}

/// One client's unfinished publishes.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Topics by alias, from 1; they end with the connection.
    aliases: Vec<Option<Topic>>,
    /// Publishes of this connection without PUBACK or PUBREC, in the order they came.
    pending: VecDeque<Pending>,
    /// QoS 2: what was taken in and not released by PUBREL, and over which connection it came
    /// last. Part of the session (§4.1).
    received: Few<u16, Received>,
}

#[derive(Debug)]
struct Received {
    connection: ConnectionId,
    /// The connection whose ticket has no answer yet: until it has, nobody knows whether the
    /// message is taken. `None` once it is.
    awaits: Option<ConnectionId>,
    /// Where it is stored, `None` if it is not.
    record: Option<Record>,
}

#[derive(Debug)]
struct Pending {
    packet_id: u16,
    qos: QoS,
    reason: Option<u8>,
}

impl Inbox {
    /// Forgets what ends with the connection.
    pub(crate) fn disconnect(&mut self) {
        self.aliases = Vec::new();
        self.pending.clear();
    }

    /// Returns the topic of a publish, resolving and learning its alias.
    pub(crate) fn topic(&mut self, text: &str, alias: Option<u16>) -> Result<Topic, Violation> {
        let Some(alias) = alias else {
            return parse(text);
        };
        if alias == 0 || alias > ALIAS_MAXIMUM {
            return Err(Violation(
                reason::ALIAS_INVALID,
                "used a topic alias above the maximum it was granted",
            ));
        }
        let index = usize::from(alias - 1);
        if text.is_empty() {
            let known = self.aliases.get(index).cloned().flatten();
            return known.ok_or(Violation(
                reason::PROTOCOL_ERROR,
                "used a topic alias that it had not defined",
            ));
        }
        let topic = parse(text)?;
        if self.aliases.len() <= index {
            self.aliases.resize(index + 1, None);
        }
        if let Some(place) = self.aliases.get_mut(index) {
            *place = Some(topic.clone());
        }
        Ok(topic)
    }

    /// Takes in a publish at QoS 1 or 2. One that was taken in before is answered here if it is
    /// settled; else it is answered together with the one that it repeats.
    pub(crate) fn admit(
        &mut self,
        (packet_id, qos): (u16, QoS),
        (connection, version): (ConnectionId, Version),
        control: &mut Control,
    ) -> Result<Arrival, Violation> {
        if packet_id == 0 {
            return Err(Violation(
                reason::PROTOCOL_ERROR,
                "published with packet identifier 0",
            ));
        }
        if self.pending.iter().any(|own| own.packet_id == packet_id) {
            return Ok(Arrival::Again);
        }
        if let Some(last) = self.received.get_mut(&packet_id)
            && qos == QoS::ExactlyOnce
        {
            last.connection = connection;
            let answer = last.awaits.is_none().then_some(reason::SUCCESS);
            self.push(packet_id, qos, answer);
            self.flush(control);
            return Ok(Arrival::Again);
        }
        if self.is_exceeded(connection, version) {
            return Err(Violation(
                reason::RECEIVE_MAXIMUM_EXCEEDED,
                "published more than the receive maximum without waiting",
            ));
        }
        self.push(packet_id, qos, None);
        if qos == QoS::ExactlyOnce {
            let received = Received {
                connection,
                awaits: Some(connection),
                record: None,
            };
            self.received.insert(packet_id, received);
        }
        Ok(Arrival::New)
    }

    /// Takes note of where it is stored that a publish at QoS 2 was taken in.
    pub(crate) fn keep(&mut self, packet_id: u16, record: Record) {
        if let Some(own) = self.received.get_mut(&packet_id) {
            own.record = Some(record);
        }
    }

    /// Takes up a publish at QoS 2 that was taken in before a restart.
    pub(crate) fn restore(&mut self, packet_id: u16, record: Record) {
        let received = Received {
            // No connection has this number: it counts against none.
            connection: ConnectionId(0),
            // It came back together with what was stored of its message.
            awaits: None,
            record: Some(record),
        };
        self.received.insert(packet_id, received);
    }

    /// Returns the publishes at QoS 2 that are taken and not released, and where that is stored.
    pub(crate) fn received(&self) -> impl Iterator<Item = (u16, &Record)> {
        let taken = self.received.iter().filter(|(_, own)| own.awaits.is_none());
        taken.filter_map(|(packet_id, own)| Some((*packet_id, own.record.as_ref()?)))
    }

    /// Returns the connections whose publishes at QoS 2 have no answer yet.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = ConnectionId> {
        self.received.iter().filter_map(|(_, own)| own.awaits)
    }

    /// Gives a publish its reason code; what can leave now over the `present` connection goes to
    /// `control`. One at QoS 2 may have come over an earlier connection, and is answered if it has
    /// been sent again over this one; at QoS 1 what is sent again is another message.
    pub(crate) fn settle(
        &mut self,
        Ticket {
            connection,
            packet_id,
        }: Ticket,
        code: u8,
        present: Option<(ConnectionId, Version)>,
        control: &mut Control,
    ) {
        let is_exchange = self.end_wait(packet_id, connection);
        let Some((present, version)) = present else {
            return;
        };
        if !is_exchange && present != connection {
            return;
        }
        // An MQTT 5 client ends the exchange at such a PUBREC; older ones don't see the code and
        // go on with PUBREL.
        if is_exchange && code >= reason::UNSPECIFIED && version == Version::V5 {
            self.received.remove(&packet_id);
        }
        if let Some(own) = self.waiting(packet_id, is_exchange) {
            own.reason = Some(code);
            self.flush(control);
        }
    }

    /// Forgets a publish that gets no answer: sent again, it is another message. Returns whether
    /// it waits for one over the `present` connection.
    pub(crate) fn forget(
        &mut self,
        Ticket {
            connection,
            packet_id,
        }: Ticket,
        present: Option<ConnectionId>,
    ) -> bool {
        let is_exchange = self.end_wait(packet_id, connection);
        if is_exchange {
            self.received.remove(&packet_id);
        }
        let is_its_own = is_exchange || present == Some(connection);
        is_its_own && self.waiting(packet_id, is_exchange).is_some()
    }

    /// Ends a QoS 2 exchange. Returns the reason code for PUBCOMP, and whether it was stored.
    pub(crate) fn release(&mut self, packet_id: u16) -> Result<(u8, bool), Violation> {
        match self.received.get(&packet_id) {
            Some(own) if own.awaits.is_some() => Err(Violation(
                reason::PROTOCOL_ERROR,
                "released a publish before it was told that it had arrived",
            )),
            Some(_) => {
                let own = self.received.remove(&packet_id);
                let was_stored = own.is_some_and(|own| own.record.is_some());
                Ok((reason::SUCCESS, was_stored))
            }
            None => Ok((reason::PACKET_ID_NOT_FOUND, false)),
        }
    }

    /// Returns how many exchanges are unfinished: (without PUBACK or PUBREC, without PUBREL).
    #[cfg(any(test, fuzzing))]
    pub(crate) fn unfinished(&self) -> (usize, usize) {
        (self.pending.len(), self.received.len())
    }

    /// Returns whether a publish at QoS 2 has waited for the answer to this connection's ticket,
    /// which it does no longer.
    fn end_wait(&mut self, packet_id: u16, connection: ConnectionId) -> bool {
        let own = self.received.get_mut(&packet_id);
        own.is_some_and(|own| own.awaits.take_if(|it| *it == connection).is_some())
    }

    /// Returns what waits for an answer over the present connection.
    fn waiting(&mut self, packet_id: u16, exactly_once: bool) -> Option<&mut Pending> {
        self.pending.iter_mut().find(|own| {
            own.packet_id == packet_id
                && own.reason.is_none()
                && (own.qos == QoS::ExactlyOnce) == exactly_once
        })
    }

    fn push(&mut self, packet_id: u16, qos: QoS, reason: Option<u8>) {
        self.pending.push_back(Pending {
            packet_id,
            qos,
            reason,
        });
    }

    fn flush(&mut self, control: &mut Control) {
        while let Some(first) = self.pending.front() {
            let Some(code) = first.reason else { return };
            control.push(match first.qos {
                QoS::ExactlyOnce => Outgoing::PubRec(first.packet_id, code),
                QoS::AtMostOnce | QoS::AtLeastOnce => Outgoing::PubAck(first.packet_id, code),
            });
            self.pending.pop_front();
        }
    }

    /// Whether one more unfinished publish is too many. A client counts those of its own
    /// connection (§4.9); those left over from earlier ones must be bounded all the same.
    fn is_exceeded(&self, connection: ConnectionId, version: Version) -> bool {
        let pending = self.pending.iter();
        let at_least_once = pending.filter(|own| !self.received.contains(&own.packet_id));
        let at_least_once = at_least_once.count();
        if at_least_once + self.received.len() >= MAX_UNFINISHED {
            return true;
        }
        if version != Version::V5 {
            return false;
        }
        let received = self
            .received
            .iter()
            .filter(|(_, own)| own.connection == connection);
        at_least_once + received.count() >= usize::from(RECEIVE_MAXIMUM)
    }
}

fn parse(text: &str) -> Result<Topic, Violation> {
    if text.is_empty() {
        return Err(Violation(
            reason::PROTOCOL_ERROR,
            "published without a topic",
        ));
    }
    Topic::parse(text).map_err(|_| {
        Violation(
            reason::TOPIC_INVALID,
            "published to a topic that is not valid",
        )
    })
}
