//! What of the hub's state goes to the store, and when.
//!
//! At once: sessions that outlive their connection, with their subscriptions; what the queue of
//! one without a connection takes, which its publisher's acknowledgement waits for; retained
//! messages at QoS 1 and 2; how far exchanges at QoS 2 are. When a connection ends: what it has
//! not acknowledged. At an interval, and at the stop: retained messages at QoS 0, and what
//! connected clients have not acknowledged then. Where nothing happens nothing is written.
//!
//! Not stored are wills: a restart of the gateway says nothing about its clients.

use std::time::{Duration, Instant};

use super::{ConnectionId, Effect, Hub, wake};
use crate::core::archive::value::{DeliveryValue, SessionValue, Stage};
use crate::core::archive::{Answer, Record, Taken, Waiter};
use crate::core::bridge::Ticket;
use crate::core::few::Few;
use crate::core::message::{Message, QoS};
use crate::core::packet::{Outgoing, Version, reason};
use crate::core::session::keeping::{IDS_PER_WRITE, released};
use crate::core::session::{Link, Session, SessionId};
use crate::core::store::Kind;
use crate::core::subscriptions::Subscriptions;

/// How long a client that can't be told that its message is not stored waits in vain: one that
/// came again at once would only make it worse.
const VAIN: Duration = Duration::from_secs(10);

impl Hub {
    /// Has sessions and retained messages survive a restart: emits [`Effect::Store`] from now on.
    /// What need not be stored at once is stored at this interval.
    pub fn open_store(&mut self, interval: Duration) {
        self.archive.open(interval);
    }

    /// Takes note of the wall clock: seconds since 1970, `None` if it is not known. Without it
    /// what expires does not expire while the gateway is not running.
    pub fn set_clock(&mut self, unix_time: Option<u64>, now: Instant) {
        self.archive.set_clock(unix_time, now);
    }

    /// Stores all that is to survive and is not stored; at the stop, when all connections are
    /// closed.
    pub fn save(&mut self) {
        if !self.archive.is_open() {
            return;
        }
        let anew = self.archive.begin();
        for (id, own) in self.sessions.iter_mut() {
            let Some(record) = own.record.as_ref().map(Record::key) else {
                continue;
            };
            if anew {
                self.unsaved.insert(id, ());
                for (packet_id, received) in own.inbox.received() {
                    let value = received_value(record.id, packet_id);
                    self.archive.put(received.key(), value);
                }
            }
            own.outbox.keep_all(record.id, anew, &mut self.archive);
            if own.outbox.last_id().wrapping_sub(own.stored_id) > IDS_PER_WRITE {
                self.unsaved.insert(id, ());
            }
        }
        self.retained.save_all(anew, &mut self.archive);
    }

    /// Takes note that the changes of an [`Effect::Store`] are on the disk, as are all before them.
    pub fn committed(&mut self, token: usize, _now: Instant) {
        for waiter in self.archive.done(token) {
            match waiter {
                Waiter::Publish(ticket, taken) => {
                    let answer = self.archive.release(ticket, Ok(()));
                    if matches!(answer, Answer::Refuse(_)) {
                        self.take_back(&taken);
                    }
                    self.give(ticket, answer);
                }
                Waiter::Release(session, id) => self.send_release(session, id),
                Waiter::Complete(ticket) => self.send_complete(ticket),
                Waiter::Session(session, id) => {
                    let own = self.sessions.get_mut(session);
                    let is_it = |own: &&mut Session| {
                        own.record.as_ref().is_some_and(|it| it.key().id == id)
                    };
                    if let Some(own) = own.filter(is_it) {
                        own.is_stored = true;
                    }
                }
            }
        }
    }

    /// Takes note that the changes of an [`Effect::Store`] could not be written: none of its batch
    /// is in the store. Those that delete are made with the next batch that can be written.
    ///
    /// Publishes that waited for it are refused, and what queues took of them is taken out again.
    /// What nobody would send again, such as a reply, stays, and is stored with all that is written
    /// anew.
    pub fn not_stored(&mut self, token: usize, now: Instant) {
        self.archive.doubt(now);
        for waiter in self.archive.done(token) {
            match waiter {
                Waiter::Publish(ticket, taken) => {
                    let answer = self.archive.release(ticket, Err(now));
                    self.take_back(&taken);
                    self.give(ticket, answer);
                }
                Waiter::Release(session, id) => self.send_release(session, id),
                Waiter::Complete(ticket) => self.send_complete(ticket),
                Waiter::Session(..) => {}
            }
        }
    }

    /// Takes what was queued of a publish out again: its client sends it another time.
    fn take_back(&mut self, taken: &[Taken]) {
        for (session, id) in taken {
            if let Some(own) = self.sessions.get_mut(*session) {
                own.outbox.discard(*id);
            }
        }
    }

    /// Tells the publisher of a message that it was not taken: with a reason code where it knows
    /// such, else by closing its connection after a while, without an acknowledgement.
    fn refuse_publish(&mut self, ticket: Ticket, now: Instant) {
        let Some(session) = self.publisher(ticket) else {
            return;
        };
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        let present = own.connection().map(|own| (own.id, own.version));
        if let Some((_, Version::V5)) = present {
            self.settle(ticket, reason::QUOTA_EXCEEDED);
            return;
        }
        let present = present.map(|(id, _)| id);
        let waits = own.inbox.forget(ticket, present);
        let doomed = &self.doomed;
        let is_new = |id: &ConnectionId| doomed.numbers().all(|known| known != id.0);
        if let Some(id) = present.filter(|_| waits).filter(is_new)
            && let Some(at) = now.checked_add(VAIN)
        {
            self.doomed.insert(at, id.0);
        }
        self.forget_parted(ticket.connection, session);
    }

    /// Finds the session that a publish came from, as long as it can be told anything.
    pub(super) fn publisher(&self, ticket: Ticket) -> Option<SessionId> {
        let present = self.connections.get(&ticket.connection);
        let parted = || self.parted.get(&ticket.connection);
        present.or_else(parted).copied()
    }

    /// Forgets a connection that ended if nothing of it has to be answered any more.
    pub(super) fn forget_parted(&mut self, connection: ConnectionId, session: SessionId) {
        let own = self.sessions.get(session);
        if own.is_none_or(|own| own.inbox.awaited().all(|it| it != connection)) {
            self.parted.remove(&connection);
        }
    }

    /// Closes connections whose publishes can't be acknowledged.
    pub(super) fn close_doomed(&mut self, now: Instant) {
        while let Some(id) = self.doomed.pop_due(now) {
            if let Some(session) = self.connections.get(&ConnectionId(id)).copied() {
                self.say_farewell(session, reason::QUOTA_EXCEEDED);
                self.disconnect(session, true, now);
            }
        }
    }

    /// Returns the changes that were gathered.
    pub(super) fn take_batch(&mut self) -> Option<Effect> {
        if !self.archive.is_open() {
            self.unsaved = Few::default();
            return None;
        }
        for (id, ()) in std::mem::take(&mut self.unsaved) {
            if let Some(own) = self.sessions.get_mut(id)
                && let Some(record) = &own.record
            {
                own.stored_id = own.outbox.last_id();
                let since = match &own.link {
                    Link::Up(_) => None,
                    Link::Down(absence) => self.archive.unix_time(absence.since),
                };
                let value = session_value(id, own, since, &mut self.subscriptions);
                let key = record.key();
                self.archive.put(key, value.encode());
                self.archive.wait(Waiter::Session(id, key.id));
            }
        }
        let (changes, token) = self.archive.take_batch()?;
        Some(Effect::Store { changes, token })
    }

    /// Gives a session a place in the store, or takes it away, as long as it lasts.
    pub(super) fn save_session(&mut self, session: SessionId) {
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        if own.expiry == 0 || !self.archive.is_open() {
            own.record = None;
        } else if own.record.is_none() {
            own.record = Some(self.archive.make(Kind::Session));
            own.is_stored = false;
            self.unsaved.insert(session, ());
        }
    }

    /// Stores what the client has not acknowledged when its connection ends.
    pub(super) fn save_at_parting(&mut self, session: SessionId) {
        self.save_session(session);
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        if let Some(record) = own.record.as_ref().map(Record::key) {
            own.outbox.keep_all(record.id, false, &mut self.archive);
            if own.expiry != u32::MAX || !own.is_stored {
                self.unsaved.insert(session, ());
            }
        }
    }

    /// Stores a retained message, or plans to.
    pub(super) fn save_retained(&mut self, message: &Message, now: Instant) {
        if !self.archive.is_open() || message.topic.is_reserved() {
        } else if message.qos > QoS::AtMostOnce {
            let topic = message.topic.as_str();
            self.retained.save(topic, &mut self.archive);
        } else {
            self.archive.plan(now);
        }
    }

    /// Stores that a publish at QoS 2 was taken in, with whatever queues take of it.
    pub(super) fn save_received(&mut self, session: SessionId, packet_id: u16) {
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        if let Some(place) = own.record.as_ref().map(Record::key) {
            let record = self.archive.make(Kind::Delivery);
            let value = received_value(place.id, packet_id);
            self.archive.put(record.key(), value);
            own.inbox.keep(packet_id, record);
            if !own.is_stored {
                self.unsaved.insert(session, ());
            }
        }
    }

    /// Takes in a PUBREC: PUBREL waits for the store if the message is stored, so that the
    /// message is never sent again to a client that has let it go.
    pub(super) fn take_in_receipt(
        &mut self,
        session: SessionId,
        (packet_id, code): (u16, u8),
        now: Instant,
    ) {
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        let answer = own.outbox.receive(packet_id, code, now);
        let place = own.record.as_ref().map(Record::key);
        match (answer, place) {
            (Some((_, Some(key))), Some(place)) => {
                self.archive.put(key, released(place.id, packet_id));
                self.archive.wait(Waiter::Release(session, key.id));
            }
            (Some((packet, _)), _) => own.control.push(packet),
            (None, _) => {}
        }
        wake(own, &mut self.effects);
    }

    fn send_complete(&mut self, ticket: Ticket) {
        let Some(session) = self.connections.get(&ticket.connection).copied() else {
            return;
        };
        let packet_id = ticket.packet_id;
        self.answer(session, |_| {
            Some(Outgoing::PubComp(packet_id, reason::SUCCESS))
        });
    }

    fn send_release(&mut self, session: SessionId, id: u64) {
        self.answer(session, |own| own.outbox.confirm(id));
    }

    pub(super) fn give(&mut self, ticket: Ticket, answer: Answer) {
        match answer {
            Answer::Settle(code) => self.settle(ticket, code),
            Answer::Refuse(at) => self.refuse_publish(ticket, at),
            Answer::Wait => {}
        }
    }
}

fn received_value(session: u64, packet_id: u16) -> bytes::Bytes {
    let stage = Stage::Received;
    DeliveryValue {
        session,
        packet_id,
        stage,
    }
    .encode()
}

fn session_value(
    id: SessionId,
    own: &Session,
    since: Option<u64>,
    subscriptions: &mut Subscriptions,
) -> SessionValue {
    let filters = own.filters.iter();
    SessionValue {
        client: own.client.clone(),
        user: own.user.clone(),
        expiry: own.expiry,
        last_id: own.stored_id,
        since,
        filters: filters
            .filter_map(|(filter, ())| Some((filter.clone(), subscriptions.held(filter, id)?)))
            .collect(),
    }
}
