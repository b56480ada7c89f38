//! From a PUBLISH or a will to the subscribers and to the bridge.

use std::sync::Arc;
use std::time::Instant;

use super::{Effect, Hub, Offer, Report, wake};
use crate::core::archive::Waiter;
use crate::core::bridge::Ticket;
use crate::core::message::{Message, QoS};
use crate::core::packet::{Publish, reason};
use crate::core::session::inbox::{Arrival, Violation};
use crate::core::session::{SessionId, Will};

impl Hub {
    /// Takes in a PUBLISH.
    pub(super) fn take_in_publish(
        &mut self,
        session: SessionId,
        publish: Publish,
        now: Instant,
    ) -> Result<(), Violation> {
        let Some(own) = self.sessions.get_mut(session) else {
            return Ok(());
        };
        let Some(connection) = own.connection().copied() else {
            return Ok(());
        };
        let topic = own.inbox.topic(&publish.topic, publish.alias)?;
        if !self.limits.allow_topic(topic.as_str()) {
            let what = "published to a topic that is too long or has too many levels";
            return Err(Violation(reason::TOPIC_INVALID, what));
        }
        let packet_id = publish.packet_id;
        if publish.qos > QoS::AtMostOnce {
            let packet = (packet_id, publish.qos);
            let through = (connection.id, connection.version);
            let arrival = own.inbox.admit(packet, through, &mut own.control)?;
            if arrival == Arrival::Again {
                wake(own, &mut self.effects);
                return Ok(());
            }
            if publish.qos == QoS::ExactlyOnce {
                self.save_received(session, packet_id);
            }
        }
        let message = Message {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties,
        };
        let own = self.sessions.get(session);
        let may = own.is_some_and(|own| own.grants.may_publish(&message.topic));
        let ticket = Ticket {
            connection: connection.id,
            packet_id,
        };
        if !may || self.is_reserved(&message) {
            self.deny(session, &message);
            self.settle(ticket, reason::NOT_AUTHORIZED);
            return Ok(());
        }
        let ticket = (publish.qos > QoS::AtMostOnce).then_some(ticket);
        self.accept(session, message, ticket, now);
        Ok(())
    }

    /// Publishes a session's will.
    pub(super) fn publish_will(&mut self, session: SessionId, will: Will, now: Instant) {
        // Since CONNECT the topic may have become one of replies.
        if self.is_reserved(&will.message) {
            self.deny(session, &will.message);
            return;
        }
        self.accept(session, will.message, None, now);
    }

    /// Gives a publish its reason code.
    pub(super) fn settle(&mut self, ticket: Ticket, code: u8) {
        let Some(session) = self.publisher(ticket) else {
            return;
        };
        if let Some(own) = self.sessions.get_mut(session) {
            let present = own.connection().map(|own| (own.id, own.version));
            own.inbox.settle(ticket, code, present, &mut own.control);
            wake(own, &mut self.effects);
        }
        if self.parted.contains_key(&ticket.connection) {
            self.forget_parted(ticket.connection, session);
        }
    }

    /// Whether only the gateway itself publishes there.
    pub(super) fn is_reserved(&self, message: &Message) -> bool {
        message.topic.is_reserved() || self.reserved.matches(message.topic.as_str())
    }

    fn accept(
        &mut self,
        session: SessionId,
        message: Message,
        ticket: Option<Ticket>,
        now: Instant,
    ) {
        let message = self.weigh(message);
        self.distribute(&message, Some(session), now);
        if let Some(ticket) = ticket
            && !self.taken.is_empty()
        {
            let taken = std::mem::take(&mut self.taken);
            self.archive.wait(Waiter::Publish(ticket, taken));
        }
        self.make_room();
        if let Some(own) = self.sessions.get(session) {
            let publisher = own.publisher(&message);
            self.effects.push_back(Effect::Offer(Offer {
                message,
                publisher,
                ticket,
            }));
        }
    }

    fn deny(&mut self, session: SessionId, message: &Message) {
        if let Some(own) = self.sessions.get(session) {
            self.effects.push_back(Effect::Report(Report::Denied {
                client: Arc::clone(&own.client),
                topic: message.topic.to_string(),
                action: "publish to",
            }));
        }
    }
}
