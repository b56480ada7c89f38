//! What is sent to one client: a bounded queue, retained messages on their way, and the
//! [`Window`] of what is not acknowledged.
//!
//! Order of service: what was unacknowledged when the session was resumed, retained messages of
//! new subscriptions, the queue. A full queue gives up its oldest message at QoS 0, else its
//! oldest; whatever is given up is counted and reported.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::access::Grants;
use crate::core::archive::Record;
use crate::core::hub::Limits;
use crate::core::memory::{Charge, ENTRY};
use crate::core::message::{Message, Properties, QoS};
use crate::core::packet::{Delivery, Outgoing, Version, reason};
use crate::core::retained::{Cursor, Retained};
use crate::core::store::Key;
use crate::core::topic::{Topic, TopicFilter};

use super::window::{Again, Window};

/// Retained messages that are looked at for one client before others have their turn: a filter
/// that matches none of thousands must not hold up the broker.
const STEPS: usize = 1000;

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
    /// Its place in a queue.
    pub(crate) _charge: Charge,
    /// Where it is stored, `None` if it is not.
    pub(crate) kept: Option<Arc<Kept>>,
}

/// A delivery that is stored.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Its place in the store.
    pub(crate) record: Record,
    /// Its packet identifier, which it has from then on: whether it was sent is not stored.
    pub(crate) packet_id: u16,
    /// It may have been sent before a restart.
    pub(crate) dup: bool,
}

/// What the connection allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Protocol version.
    pub(crate) version: Version,
    /// Deliveries at QoS 1 and 2 in flight at most.
    pub(crate) window: usize,
    /// The client's Receive Maximum.
    pub(crate) quota: usize,
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
    pub(super) queue: VecDeque<Outbound>,
    /// Bytes of the queue.
    bytes: usize,
    /// How many of the queue are at QoS 0.
    at_most_once: usize,
    /// How many of the queue can expire.
    expiring: usize,
    pub(super) window: Window,
    replays: VecDeque<Replay>,
    /// How many of [`STEPS`] were taken since the last rest.
    steps: usize,
    drops: Drops,
}

/// A message that its client did not acknowledge in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unacknowledged {
    /// Its topic.
    pub(crate) topic: Topic,
    /// Size of its packet.
    pub(crate) bytes: usize,
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
    ///
    /// Returns whether it is in the queue.
    pub(crate) fn push(&mut self, item: Outbound, limits: &Limits, now: Instant) -> bool {
        let bytes = item.message.bytes();
        if bytes > limits.queue_bytes {
            self.drops.count += 1;
            return false;
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
                return false;
            };
            self.remove(victim);
        }
        self.append(item);
        true
    }

    /// Gives up messages, the oldest first, as long as that is needed, but no more than half of
    /// what there is: then another queue may be the largest.
    pub(crate) fn lose_oldest(&mut self, is_needed: impl Fn() -> bool) {
        let half = self.weight() / 2;
        while let Some(victim) = self.victim(QoS::ExactlyOnce) {
            self.remove(victim);
            self.drops.count += 1;
            if self.weight() <= half || !is_needed() {
                break;
            }
        }
    }

    /// Returns what the queue takes, about, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.bytes + self.queue.len() * ENTRY
    }

    /// Returns what is not acknowledged takes, beside the queue.
    pub(crate) fn unacknowledged_weight(&self) -> usize {
        self.window.weight()
    }

    /// Lets a subscription get the retained messages of a cursor.
    pub(crate) fn replay(&mut self, cursor: Cursor, qos: QoS, id: Option<u32>) {
        self.stop_replay(cursor.filter());
        self.replays.push_back(Replay { cursor, qos, id });
    }

    /// Returns whether others are to have their turn before this client's next retained message.
    pub(crate) fn is_tired(&self) -> bool {
        self.steps >= STEPS && !self.replays.is_empty()
    }

    /// Takes note that others have had their turn.
    pub(crate) fn rest(&mut self) {
        self.steps = 0;
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
        self.window.retain(|item| may_be_sent(&item.message));
    }

    /// Prepares for a new connection: what is unacknowledged is sent again (MQTT-4.4.0-1).
    pub(crate) fn resume(&mut self) {
        self.window.resume();
    }

    /// Returns whether [`Outbox::next`] may have something.
    pub(crate) fn is_ready(&self, terms: &Terms) -> bool {
        if self.window.is_behind() {
            return self.window.next_again(terms).is_some();
        }
        let open = self.window.is_open(terms);
        match (self.replays.front(), self.queue.front()) {
            (Some(replay), _) => !self.is_tired() && (open || replay.qos == QoS::AtMostOnce),
            (None, Some(item)) => open || item.qos == QoS::AtMostOnce,
            (None, None) => false,
        }
    }

    /// Returns the next packet, `None` if there is none or the window is full.
    pub(crate) fn next(
        &mut self,
        terms: &Terms,
        (retained, grants): (&mut Retained, &Grants),
        now: Instant,
    ) -> Option<Outgoing> {
        while let Some(again) = self.window.next_again(terms) {
            let packet = match again {
                Again::Release(packet_id) => Outgoing::PubRel(packet_id, reason::SUCCESS),
                Again::Publish(packet_id, item) => {
                    let delivery = delivery(item.clone(), packet_id, true, terms.version, now);
                    if is_too_large(&delivery, terms) {
                        self.drops.count += 1;
                        self.window.skip_again();
                        continue;
                    }
                    Outgoing::Publish(delivery)
                }
            };
            self.window.sent_again(now);
            return Some(packet);
        }
        if self.window.is_behind() {
            return None;
        }
        loop {
            if !self.is_ready(terms) {
                return None;
            }
            let item = match self.replays.front_mut() {
                Some(_) => {
                    let item = self.next_retained(retained, now);
                    item.filter(|own| !grants.withhold(&own.message.topic))
                }
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
        self.window.acknowledge(packet_id);
    }

    /// Takes in a PUBREC. Returns the PUBREL to send, if any, and where the message is stored if
    /// it is: then it has to be stored first that it was received.
    pub(crate) fn receive(
        &mut self,
        packet_id: u16,
        code: u8,
        now: Instant,
    ) -> Option<(Outgoing, Option<Key>)> {
        self.window.receive(packet_id, code, now)
    }

    /// Takes in a PUBCOMP.
    pub(crate) fn complete(&mut self, packet_id: u16) {
        self.window.complete(packet_id);
    }

    /// Returns when the client will have owed an acknowledgement for that long.
    pub(crate) fn overdue_at(&self, patience: Duration) -> Option<Instant> {
        self.window.waiting_since()?.checked_add(patience)
    }

    /// Gives up what the client has owed an acknowledgement for that long, and makes room for
    /// what waits behind it. The messages are the caller's to report.
    pub(crate) fn give_up(
        &mut self,
        patience: Duration,
        version: Version,
        now: Instant,
    ) -> Vec<Unacknowledged> {
        let given_up = std::iter::from_fn(|| self.window.give_up(patience, now));
        let described = given_up.map(|item| Unacknowledged {
            topic: item.message.topic.clone(),
            bytes: delivery(item, 1, false, version, now).wire_bytes()
                - usize::from(version != Version::V5),
        });
        described.collect()
    }

    /// Returns whether so much was given up that the client can't be sent anything more over its
    /// connection, having said that it takes only `quota` at once.
    pub(crate) fn is_exhausted(&self, quota: u16) -> bool {
        self.window.is_exhausted(quota.into())
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
    #[cfg(any(test, fuzzing))]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.queue.len(), self.window.len())
    }

    pub(super) fn append(&mut self, item: Outbound) {
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

    pub(super) fn remove(&mut self, index: usize) -> Option<Outbound> {
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
        let mut left = STEPS.saturating_sub(self.steps);
        let found = retained.next(&mut replay.cursor, &mut left, now);
        self.steps = STEPS - left;
        let Some((message, expires)) = found else {
            if replay.cursor.is_at_end() {
                self.replays.pop_front();
            }
            return None;
        };
        Some(Outbound {
            qos: message.qos.min(replay.qos),
            message: message.clone(),
            retain: true,
            ids: replay.id.into_iter().collect(),
            expires,
            _charge: Charge::default(),
            kept: None,
        })
    }

    fn send(&mut self, item: Outbound, terms: &Terms, now: Instant) -> Option<Outgoing> {
        if item.qos == QoS::AtMostOnce {
            let delivery = delivery(item, 0, false, terms.version, now);
            return self.unless_too_large(delivery, terms);
        }
        let (packet_id, dup) = match &item.kept {
            Some(kept) => (kept.packet_id, kept.dup),
            None => (self.free_id()?, false),
        };
        let kept = item.clone();
        let delivery = delivery(item, packet_id, dup, terms.version, now);
        let packet = self.unless_too_large(delivery, terms)?;
        self.window.push(packet_id, kept, now);
        Some(packet)
    }

    fn unless_too_large(&mut self, delivery: Delivery, terms: &Terms) -> Option<Outgoing> {
        if is_too_large(&delivery, terms) {
            self.drops.count += 1;
            return None;
        }
        Some(Outgoing::Publish(delivery))
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
        names_topic: true,
        alias: None,
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
