//! The hub as it was before a restart, as far as it was stored.
//!
//! Whose sessions may come back is the caller's to say. What can't be read stays in the store as
//! it is, counted; what belongs to nobody any more is deleted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Hub, SessionId};
use crate::core::access::Rules;
use crate::core::archive::value::{Deliverable, DeliveryValue, RetainedValue, SessionValue, Stage};
use crate::core::few::Few;
use crate::core::memory::ENTRY;
use crate::core::message::Message;
use crate::core::session::aliases::Aliases;
use crate::core::session::inbox::Inbox;
use crate::core::session::outbox::{Kept, Outbound, Outbox};
use crate::core::session::rivalry::Rivalry;
use crate::core::session::{Absence, Control, Link, Session};
use crate::core::store::{Key, Kind};

/// Returns what a user, or clients without one, may do with a client ID; `None` if there is no
/// such user, or the client ID is another's.
pub type Owner<'o> = &'o dyn Fn(Option<&str>, &str) -> Option<Arc<Rules>>;

/// What came back, and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Sessions.
    pub sessions: usize,
    /// Messages to them, and exchanges with them.
    pub deliveries: usize,
    /// Retained messages.
    pub retained: usize,
    /// Values that can not be read; they are left as they are.
    pub damaged: usize,
    /// Sessions whose user there is no more.
    pub disowned: usize,
    /// Sessions and messages that expired meanwhile.
    pub expired: usize,
    /// Retained messages for which there is no room any more.
    pub surplus: usize,
    /// Retained messages of clients where only the gateway publishes now.
    pub foreign: usize,
    /// Deliveries of sessions that did not come back.
    pub orphans: usize,
}

/// A hub that takes up what is in the store.
pub struct Restoring<'h> {
    hub: &'h mut Hub,
    owner: Owner<'h>,
    now: Instant,
    /// Sessions by their number in the store, in which order they come.
    sessions: Few<u64, SessionId>,
    restored: Restored,
}

impl Restoring<'_> {
    /// Takes up a value: in the order of the keys.
    pub fn add(&mut self, key: Key, value: &[u8]) {
        self.hub.archive.see(key);
        let (hub, restored, now) = (&mut *self.hub, &mut self.restored, self.now);
        let is_read = match key.kind {
            Kind::Session => SessionValue::decode(value).map(|value| {
                let session = hub.restore_session(key, value, self.owner, restored, now);
                if let Some(session) = session {
                    self.sessions.insert(key.id, session);
                }
            }),
            Kind::Delivery => DeliveryValue::decode(value).map(|value| {
                match self.sessions.get(&value.session).copied() {
                    Some(session) => hub.restore_delivery(key, value, session, restored, now),
                    None => {
                        restored.orphans += 1;
                        drop(hub.archive.adopt(key));
                    }
                }
            }),
            Kind::Retained => RetainedValue::decode(value)
                .map(|value| hub.restore_retained(key, value, restored, now)),
            Kind::Counters | Kind::Message => Some(()),
        };
        restored.damaged += usize::from(is_read.is_none());
    }

    /// Ends it, and says what came of it. More sessions than there may be without a connection are
    /// forgotten, which is reported.
    pub fn finish(self) -> Restored {
        self.hub.forget_surplus(self.now);
        self.hub.make_room();
        self.restored
    }
}

impl Hub {
    /// Begins to take up what is in the store: at the start, after [`Hub::open_store`] and
    /// [`Hub::set_clock`], before anybody connects. What a client may not hear any more it does
    /// not get when it resumes its session.
    pub fn restoring<'h>(&'h mut self, owner: Owner<'h>, now: Instant) -> Restoring<'h> {
        Restoring {
            hub: self,
            owner,
            now,
            sessions: Few::default(),
            restored: Restored::default(),
        }
    }

    fn restore_session(
        &mut self,
        key: Key,
        value: SessionValue,
        owner: Owner<'_>,
        restored: &mut Restored,
        now: Instant,
    ) -> Option<SessionId> {
        let record = self.archive.adopt(key);
        let Some(rules) = owner(value.user.as_deref(), &value.client) else {
            restored.disowned += 1;
            return None;
        };
        let absent = self.absent(value.since, now);
        let lasting = Duration::from_secs(value.expiry.into());
        let since = now.checked_sub(absent).unwrap_or(now);
        let ends_at = match value.expiry {
            u32::MAX => None,
            _ => now.checked_add(lasting.saturating_sub(absent)),
        };
        let is_over = ends_at.is_some_and(|end| end <= now);
        if is_over || self.sessions.find(&value.client).is_some() {
            restored.expired += 1;
            return None;
        }
        let absence = Absence {
            since,
            will_at: None,
            ends_at,
        };
        let grants = rules.expand(value.user.as_deref(), &value.client);
        let own = value.filters.iter().map(|(own, _)| (own.clone(), ()));
        let filters: Few<_> = own.collect();
        let filter_cost = filters.iter().map(|(own, ())| own.cost()).sum();
        let mut outbox = Outbox::default();
        outbox.skip_ids(value.last_id);
        let session = Session {
            client: value.client,
            user: value.user,
            reply_packet: None,
            grants,
            expiry: value.expiry,
            filter_charge: self.meter.charge(filter_cost),
            filter_cost,
            filters,
            will: None,
            inbox: Inbox::default(),
            outbox,
            control: Control::default(),
            maximum_packet: None,
            aliases: Aliases::default(),
            rivalry: Rivalry::default(),
            link: Link::Down(absence),
            record: Some(record),
            stored_id: value.last_id,
            is_stored: true,
        };
        let id = self.sessions.insert(session);
        // Where its packet identifiers go on.
        self.unsaved.insert(id, ());
        for (filter, held) in &value.filters {
            self.subscriptions.insert(filter, id, *held);
        }
        self.offline.insert(since, id.0);
        if let Some(due) = absence.due() {
            self.timers.insert(due, id.0);
        }
        restored.sessions += 1;
        Some(id)
    }

    fn restore_delivery(
        &mut self,
        key: Key,
        value: DeliveryValue,
        session: SessionId,
        restored: &mut Restored,
        now: Instant,
    ) {
        let record = self.archive.adopt(key);
        let kept = |record| Kept {
            record,
            packet_id: value.packet_id,
            dup: true,
        };
        restored.deliveries += 1;
        match value.stage {
            Stage::Message(own) => {
                let Deliverable { message, .. } = own;
                let Ok(expires) = self.expiry(&message, own.expires, now) else {
                    restored.deliveries -= 1;
                    restored.expired += 1;
                    return;
                };
                let item = Outbound {
                    message: self.weigh(message),
                    qos: own.qos,
                    retain: own.retain,
                    expires,
                    _charge: self.meter.charge(ENTRY + size_of_val(&*own.ids)),
                    ids: own.ids,
                    kept: Some(Arc::new(kept(record))),
                };
                if let Some(own) = self.sessions.get_mut(session) {
                    own.outbox.restore(item);
                }
            }
            Stage::Released => {
                if let Some(own) = self.sessions.get_mut(session) {
                    own.outbox.restore_released(kept(record), now);
                }
            }
            Stage::Received => {
                if let Some(own) = self.sessions.get_mut(session) {
                    own.inbox.restore(value.packet_id, record);
                }
            }
        }
    }

    fn restore_retained(
        &mut self,
        key: Key,
        value: RetainedValue,
        restored: &mut Restored,
        now: Instant,
    ) {
        let record = self.archive.adopt(key);
        let Ok(expires) = self.expiry(&value.message, value.expires, now) else {
            restored.expired += 1;
            return;
        };
        if !value.own && self.is_reserved(&value.message) {
            restored.foreign += 1;
            return;
        }
        let message = self.weigh(value.message);
        let kept = self
            .retained
            .restore(&message, value.own, expires, record, now);
        if kept {
            restored.retained += 1;
        } else {
            restored.surplus += 1;
        }
    }

    /// Returns for how long somebody has been away, as far as that is known.
    fn absent(&self, since: Option<u64>, now: Instant) -> Duration {
        let away = since.zip(self.archive.unix_time(now));
        let seconds = away.map_or(0, |(since, time)| time.saturating_sub(since));
        Duration::from_secs(seconds)
    }

    /// Returns when a message expires, an error if it has. One of which that is not known begins
    /// its interval anew.
    fn expiry(
        &self,
        message: &Message,
        expires: Option<u64>,
        now: Instant,
    ) -> Result<Option<Instant>, ()> {
        let whole = message.expires(now);
        let known = expires.zip(self.archive.unix_time(now)).zip(whole);
        let Some(((end, time), whole)) = known else {
            return Ok(whole);
        };
        match end.checked_sub(time) {
            None | Some(0) => Err(()),
            // A clock that was set back makes nothing last longer than it was meant to.
            Some(left) => Ok(now
                .checked_add(Duration::from_secs(left))
                .map(|at| at.min(whole))),
        }
    }
}
