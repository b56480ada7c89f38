//! What is sent to one client: a bounded queue, a window of unacknowledged deliveries, and
//! retained messages on their way.
//!
//! Order of service: what was unacknowledged when the session was resumed, retained messages of
//! new subscriptions, the queue. A full queue gives up its oldest message at QoS 0, else its
//! oldest; whatever is given up is counted and reported.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::core::hub::Limits;
use crate::core::message::{Message, Properties, QoS};
use crate::core::packet::{Delivery, Outgoing, Version, reason};
use crate::core::retained::{Cursor, Retained};
use crate::core::topic::TopicFilter;

/// A message on its way to one client.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    /// What is sent.
    pub(crate) message: Message,
    /// QoS of the delivery.
    pub(crate) qos: QoS,
    /// RETAIN as the client is to see it.
    pub(crate) retain: bool,
    /// Subscription Identifiers.
    pub(crate) ids: Vec<u32>,
    /// When it is not to be delivered any more.
    pub(crate) expires: Option<Instant>,
}

/// What the connection allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Protocol version.
    pub(crate) version: Version,
    /// Deliveries at QoS 1 and 2 in flight at most.
    pub(crate) window: usize,
    /// Largest packet the client takes.
    pub(crate) maximum_packet: Option<usize>,
}

/// Retained messages that a subscription still has to get.
#[derive(Debug)]
struct Replay {
    cursor: Cursor,
    qos: QoS,
    id: Option<u32>,
}

/// One client's deliveries.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Outbound>,
    /// Bytes of the queue.
    bytes: usize,
    /// How many of the queue are at QoS 0.
    at_most_once: usize,
    /// How many of the queue can expire.
    expiring: usize,
    /// Sent and not finished, in the order first sent.
    in_flight: VecDeque<InFlight>,
    /// How many of those were sent over this connection: they come first.
    sent: usize,
    last_id: u16,
    replays: VecDeque<Replay>,
    drops: Drops,
}

#[derive(Debug)]
struct InFlight {
    packet_id: u16,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// PUBLISH was sent; PUBACK or PUBREC has to come.
    Published(Outbound),
    /// PUBREL was sent; PUBCOMP has to come.
    Released,
}

/// What was given up and not reported yet.
#[derive(Debug, Default)]
struct Drops {
    count: usize,
    /// One report was made; the next waits until the queue has drained.
    muted: bool,
}

impl Outbox {
    /// Appends a message, making room for it where needed.
    pub(crate) fn push(&mut self, item: Outbound, limits: &Limits, now: Instant) {
        let bytes = item.message.bytes();
        if bytes > limits.queue_bytes {
            self.drops.count += 1;
            return;
        }
        let is_full = |own: &Self| {
            own.queue.len() >= limits.queue_messages
                || own.bytes.saturating_add(bytes) > limits.queue_bytes
        };
        if is_full(self) && self.expiring > 0 {
            self.remove_expired(now);
        }
        while is_full(self) {
            self.drops.count += 1;
            let Some(victim) = self.victim(item.qos) else {
                return;
            };
            self.remove(victim);
        }
        self.append(item);
    }

    /// Lets a subscription get the retained messages of a cursor.
    pub(crate) fn replay(&mut self, cursor: Cursor, qos: QoS, id: Option<u32>) {
        self.stop_replay(cursor.filter());
        self.replays.push_back(Replay { cursor, qos, id });
    }

    /// Stops what [`Outbox::replay`] began for the same filter.
    pub(crate) fn stop_replay(&mut self, filter: &TopicFilter) {
        self.replays.retain(|own| own.cursor.filter() != filter);
    }

    /// Forgets what may not be sent any more. An exchange that the client has begun to finish goes
    /// on: nothing of the message is in it.
    pub(crate) fn retain(&mut self, may_be_sent: impl Fn(&Message) -> bool) {
        let queue = std::mem::take(&mut self.queue);
        (self.bytes, self.at_most_once, self.expiring) = (0, 0, 0);
        for item in queue.into_iter().filter(|own| may_be_sent(&own.message)) {
            self.append(item);
        }
        let (mut index, sent) = (0, self.sent);
        self.in_flight.retain(|own| {
            let keep = match &own.stage {
                Stage::Published(item) => may_be_sent(&item.message),
                Stage::Released => true,
            };
            self.sent -= usize::from(!keep && index < sent);
            index += 1;
            keep
        });
    }

    /// Prepares for a new connection: what is unacknowledged is sent again (MQTT-4.4.0-1).
    pub(crate) fn resume(&mut self) {
        self.sent = 0;
    }

    /// Returns whether [`Outbox::next`] may have something.
    pub(crate) fn is_ready(&self, terms: &Terms) -> bool {
        if self.sent < self.in_flight.len() {
            return self.may_send_again(terms);
        }
        let open = self.in_flight.len() < terms.window;
        match (self.replays.front(), self.queue.front()) {
            (Some(replay), _) => open || replay.qos == QoS::AtMostOnce,
            (None, Some(item)) => open || item.qos == QoS::AtMostOnce,
            (None, None) => false,
        }
    }

    /// Returns the next packet, `None` if there is none or the window is full.
    pub(crate) fn next(
        &mut self,
        terms: &Terms,
        retained: &mut Retained,
        now: Instant,
    ) -> Option<Outgoing> {
        while self.sent < self.in_flight.len() {
            if !self.may_send_again(terms) {
                return None;
            }
            if let Some(packet) = self.send_again(terms, now) {
                return Some(packet);
            }
        }
        loop {
            if !self.is_ready(terms) {
                return None;
            }
            let item = match self.replays.front_mut() {
                Some(_) => self.next_retained(retained, now),
                None => self.pop(),
            };
            let Some(item) = item else { continue };
            if item.expires.is_some_and(|expires| expires <= now) {
                continue;
            }
            if let Some(packet) = self.send(item, terms, now) {
                return Some(packet);
            }
        }
    }

    /// Takes in a PUBACK.
    pub(crate) fn acknowledge(&mut self, packet_id: u16) {
        if let Some(index) = self.find(
            packet_id,
            |stage| matches!(stage, Stage::Published(item) if item.qos == QoS::AtLeastOnce),
        ) {
            self.finish(index);
        }
    }

    /// Takes in a PUBREC. Returns the PUBREL to send, if any.
    pub(crate) fn receive(&mut self, packet_id: u16, code: u8) -> Option<Outgoing> {
        let index = self.find(packet_id, |stage| match stage {
            Stage::Published(item) => item.qos == QoS::ExactlyOnce,
            Stage::Released => true,
        });
        let Some(index) = index else {
            // The client may be stuck with an exchange that this session knows nothing of.
            let unknown = code < reason::UNSPECIFIED;
            return unknown.then_some(Outgoing::PubRel(packet_id, reason::PACKET_ID_NOT_FOUND));
        };
        if code >= reason::UNSPECIFIED {
            self.finish(index);
            return None;
        }
        if let Some(own) = self.in_flight.get_mut(index) {
            own.stage = Stage::Released;
        }
        Some(Outgoing::PubRel(packet_id, reason::SUCCESS))
    }

    /// Takes in a PUBCOMP.
    pub(crate) fn complete(&mut self, packet_id: u16) {
        if let Some(index) = self.find(packet_id, |stage| matches!(stage, Stage::Released)) {
            self.finish(index);
        }
    }

    /// Returns how many messages were dropped, when it is time to say so: at the first, then
    /// once the queue has drained below half.
    pub(crate) fn report(&mut self, limits: &Limits) -> Option<usize> {
        if self.drops.count == 0 && !self.drops.muted {
            return None;
        }
        let drained =
            self.queue.len() * 2 < limits.queue_messages && self.bytes * 2 < limits.queue_bytes;
        if self.drops.muted && !drained {
            return None;
        }
        self.drops.muted = !drained;
        self.unreported()
    }

    /// Returns how many messages were dropped and not reported.
    pub(crate) fn unreported(&mut self) -> Option<usize> {
        match std::mem::take(&mut self.drops.count) {
            0 => None,
            count => Some(count),
        }
    }

    /// Returns how many messages wait, and how many are in flight.
    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.queue.len(), self.in_flight.len())
    }

    fn append(&mut self, item: Outbound) {
        self.bytes += item.message.bytes();
        self.at_most_once += usize::from(item.qos == QoS::AtMostOnce);
        self.expiring += usize::from(item.expires.is_some());
        self.queue.push_back(item);
    }

    /// The index of the message to give up for one at `qos`, `None` for that one itself.
    fn victim(&self, qos: QoS) -> Option<usize> {
        if self.at_most_once > 0 {
            return self.queue.iter().position(|own| own.qos == QoS::AtMostOnce);
        }
        (qos > QoS::AtMostOnce && !self.queue.is_empty()).then_some(0)
    }

    fn remove(&mut self, index: usize) -> Option<Outbound> {
        let item = self.queue.remove(index)?;
        self.bytes -= item.message.bytes();
        self.at_most_once -= usize::from(item.qos == QoS::AtMostOnce);
        self.expiring -= usize::from(item.expires.is_some());
        Some(item)
    }

    fn pop(&mut self) -> Option<Outbound> {
        let item = self.remove(0);
        if self.queue.is_empty() && self.queue.capacity() > 16 {
            self.queue = VecDeque::new();
        }
        item
    }

    fn remove_expired(&mut self, now: Instant) {
        let (mut bytes, mut at_most_once, mut expired) = (0, 0, 0);
        self.queue.retain(|own| {
            let keep = own.expires.is_none_or(|expires| expires > now);
            if !keep {
                bytes += own.message.bytes();
                at_most_once += usize::from(own.qos == QoS::AtMostOnce);
                expired += 1;
            }
            keep
        });
        self.bytes -= bytes;
        self.at_most_once -= at_most_once;
        self.expiring -= expired;
    }

    fn next_retained(&mut self, retained: &mut Retained, now: Instant) -> Option<Outbound> {
        let replay = self.replays.front_mut()?;
        let Some((message, expires)) = retained.next(&mut replay.cursor, now) else {
            self.replays.pop_front();
            return None;
        };
        Some(Outbound {
            qos: message.qos.min(replay.qos),
            message: message.clone(),
            retain: true,
            ids: replay.id.into_iter().collect(),
            expires,
        })
    }

    fn may_send_again(&self, terms: &Terms) -> bool {
        let next = self.in_flight.get(self.sent);
        self.sent < terms.window || next.is_some_and(|own| matches!(own.stage, Stage::Released))
    }

    fn send_again(&mut self, terms: &Terms, now: Instant) -> Option<Outgoing> {
        let own = self.in_flight.get(self.sent)?;
        let packet = match &own.stage {
            Stage::Released => Outgoing::PubRel(own.packet_id, reason::SUCCESS),
            Stage::Published(item) => {
                let delivery = delivery(item.clone(), own.packet_id, true, terms.version, now);
                if is_too_large(&delivery, terms) {
                    self.drops.count += 1;
                    self.in_flight.remove(self.sent);
                    return None;
                }
                Outgoing::Publish(delivery)
            }
        };
        self.sent += 1;
        Some(packet)
    }

    fn send(&mut self, item: Outbound, terms: &Terms, now: Instant) -> Option<Outgoing> {
        if item.qos == QoS::AtMostOnce {
            let delivery = delivery(item, 0, false, terms.version, now);
            return self.unless_too_large(delivery, terms);
        }
        let packet_id = self.free_id()?;
        let kept = item.clone();
        let delivery = delivery(item, packet_id, false, terms.version, now);
        let packet = self.unless_too_large(delivery, terms)?;
        self.last_id = packet_id;
        let stage = Stage::Published(kept);
        self.in_flight.push_back(InFlight { packet_id, stage });
        self.sent = self.in_flight.len();
        Some(packet)
    }

    fn unless_too_large(&mut self, delivery: Delivery, terms: &Terms) -> Option<Outgoing> {
        if is_too_large(&delivery, terms) {
            self.drops.count += 1;
            return None;
        }
        Some(Outgoing::Publish(delivery))
    }

    /// Returns an identifier that is not in use. There is one: the window is smaller than 65,535.
    fn free_id(&self) -> Option<u16> {
        let candidates = (0..=u16::MAX).map(|step| self.last_id.wrapping_add(step).wrapping_add(1));
        let mut usable = candidates.filter(|id| *id != 0);
        usable.find(|id| self.in_flight.iter().all(|own| own.packet_id != *id))
    }

    fn find(&self, packet_id: u16, fits: impl Fn(&Stage) -> bool) -> Option<usize> {
        // What was not sent over this connection can't be acknowledged over it.
        let sent = self.in_flight.iter().take(self.sent);
        let mut sent = sent.enumerate();
        let (index, own) = sent.find(|(_, own)| own.packet_id == packet_id)?;
        fits(&own.stage).then_some(index)
    }

    fn finish(&mut self, index: usize) {
        self.in_flight.remove(index);
        self.sent -= 1;
    }
}

fn is_too_large(delivery: &Delivery, terms: &Terms) -> bool {
    let largest = terms.maximum_packet;
    largest.is_some_and(|largest| delivery.wire_bytes() > largest)
}

fn delivery(item: Outbound, packet_id: u16, dup: bool, version: Version, now: Instant) -> Delivery {
    let is_v5 = version == Version::V5;
    let properties = item.message.properties.filter(|_| is_v5);
    Delivery {
        topic: item.message.topic,
        payload: item.message.payload,
        qos: item.qos,
        packet_id,
        dup,
        retain: item.retain,
        properties: properties.map(|own| remaining(own, item.expires, now)),
        subscription_ids: if is_v5 { item.ids } else { Vec::new() },
    }
}

/// Puts what is left of the expiry interval into the properties (MQTT-3.3.2-6).
fn remaining(
    properties: Arc<Properties>,
    expires: Option<Instant>,
    now: Instant,
) -> Arc<Properties> {
    let (Some(interval), Some(expires)) = (properties.expiry_interval, expires) else {
        return properties;
    };
    // Whole seconds that are left, a begun one counted as whole: what was waited is rounded down.
    let left = expires.saturating_duration_since(now);
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).min(interval);
    if seconds == interval {
        return properties;
    }
    let mut own = Arc::unwrap_or_clone(properties);
    own.expiry_interval = Some(seconds);
    Arc::new(own)
}
