//! What was sent to one client at QoS 1 and 2 and is not finished.
//!
//! Acknowledgements may come in any order. What a client does not acknowledge is given up after a
//! time, for many libraries drop a packet that is too large for them without a word, and what is
//! unacknowledged holds up everything behind it. The client may have it all the same: it goes on
//! counting against the client's Receive Maximum, which is never exceeded (MQTT 5 §4.9).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::few::Few;
use crate::core::memory::ENTRY;
use crate::core::message::QoS;
use crate::core::packet::{Outgoing, reason};
use crate::core::store::Key;

use super::outbox::{Kept, Outbound, Terms};

/// Most deliveries of one connection that may be given up: bounds what is remembered of them.
const MOST_GIVEN_UP: usize = 1024;

/// Deliveries in the order first sent.
#[derive(Debug, Default)]
pub(super) struct Window {
    in_flight: VecDeque<InFlight>,
    /// How many of those were sent over this connection: they come first.
    sent: usize,
    /// Identifiers given up over this connection, which the client has not answered: it counts
    /// them still, and they are in use.
    given_up: Few<u16>,
    last_id: u16,
}

#[derive(Debug)]
struct InFlight {
    packet_id: u16,
    stage: Stage,
    /// When the last packet of the exchange was sent.
    since: Instant,
}

#[derive(Debug)]
enum Stage {
    /// PUBLISH was sent; PUBACK or PUBREC has to come.
    Published(Outbound),
    /// PUBREC came, and PUBCOMP has to.
    Released(Release),
}

/// An exchange whose message the client has.
#[derive(Debug)]
pub(super) struct Release {
    /// Where it is stored, `None` if it is not.
    pub(super) kept: Option<Arc<Kept>>,
    /// PUBREL has to wait: the store may still have the message, and would send it again.
    waits: bool,
}

/// What is to be sent again to a client that came back.
pub(super) enum Again<'w> {
    /// A PUBLISH with its packet identifier.
    Publish(u16, &'w Outbound),
    /// A PUBREL for this packet identifier.
    Release(u16),
}

impl Release {
    fn is(&self, id: u64) -> bool {
        let kept = self.kept.as_ref();
        kept.is_some_and(|kept| kept.record.key().id == id)
    }
}

impl Window {
    /// Returns how many deliveries are unfinished.
    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Returns what the messages that are not acknowledged take, about, in bytes.
    pub(super) fn weight(&self) -> usize {
        let weight = |own: &InFlight| match &own.stage {
            Stage::Published(item) => item.message.bytes() + ENTRY,
            Stage::Released(_) => ENTRY,
        };
        self.in_flight.iter().map(weight).sum()
    }

    /// Prepares for a new connection: what is unacknowledged is sent again (MQTT-4.4.0-1).
    pub(super) fn resume(&mut self) {
        self.sent = 0;
        self.given_up = Few::default();
    }

    /// Returns whether one more may be sent for the first time.
    pub(super) fn is_open(&self, terms: &Terms) -> bool {
        self.has_room(self.in_flight.len(), terms)
    }

    /// Returns whether the client has left unanswered as many as it takes at once: over this
    /// connection it can't be sent anything more.
    pub(super) fn is_exhausted(&self, quota: usize) -> bool {
        self.given_up.len() >= quota.min(MOST_GIVEN_UP)
    }

    /// Returns whether something of an earlier connection is still to be sent again.
    pub(super) fn is_behind(&self) -> bool {
        self.sent < self.in_flight.len()
    }

    /// Returns what is to be sent again next, if the connection lets it.
    pub(super) fn next_again(&self, terms: &Terms) -> Option<Again<'_>> {
        let own = self.in_flight.get(self.sent)?;
        match &own.stage {
            Stage::Released(own) if own.waits => None,
            Stage::Released(_) => Some(Again::Release(own.packet_id)),
            Stage::Published(item) if self.has_room(self.sent, terms) => {
                Some(Again::Publish(own.packet_id, item))
            }
            Stage::Published(_) => None,
        }
    }

    /// Notes that what [`Window::next_again`] returned was sent.
    pub(super) fn sent_again(&mut self, now: Instant) {
        if let Some(own) = self.in_flight.get_mut(self.sent) {
            own.since = now;
            self.sent += 1;
        }
    }

    /// Gives up what [`Window::next_again`] returned.
    pub(super) fn skip_again(&mut self) {
        self.in_flight.remove(self.sent);
    }

    /// Returns an identifier that is not in use, neither here nor by what waits. There is one: the
    /// window is smaller than 65,535.
    pub(super) fn free_id(&self, is_reserved: impl Fn(u16) -> bool) -> Option<u16> {
        let candidates = (0..=u16::MAX).map(|step| self.last_id.wrapping_add(step).wrapping_add(1));
        let mut usable = candidates.filter(|id| *id != 0 && !self.given_up.contains(id));
        usable.find(|id| self.in_flight.iter().all(|own| own.packet_id != *id) && !is_reserved(*id))
    }

    /// Returns the latest identifier.
    pub(super) fn last_id(&self) -> u16 {
        self.last_id
    }

    /// Takes note that an identifier was given to what waits.
    pub(super) fn reserve(&mut self, packet_id: u16) {
        self.last_id = packet_id;
    }

    /// Returns what is unfinished: packet identifier, message unless the client has it, and where
    /// that is stored.
    pub(super) fn unfinished(
        &mut self,
    ) -> impl Iterator<Item = (u16, Option<&mut Outbound>, Option<&mut Option<Arc<Kept>>>)> {
        self.in_flight.iter_mut().map(|own| match &mut own.stage {
            Stage::Published(item) => (own.packet_id, Some(item), None),
            Stage::Released(release) => (own.packet_id, None, Some(&mut release.kept)),
        })
    }

    /// Takes up an exchange that was begun before a restart, and that PUBCOMP has to end.
    pub(super) fn restore(&mut self, packet_id: u16, kept: Arc<Kept>, now: Instant) {
        self.in_flight.push_back(InFlight {
            packet_id,
            stage: Stage::Released(Release {
                kept: Some(kept),
                waits: false,
            }),
            since: now,
        });
    }

    /// Takes note that the store has it that the client has a message. Returns the PUBREL that
    /// waited for that, unless it is still to be sent again with all else.
    pub(super) fn confirm(&mut self, id: u64) -> Option<Outgoing> {
        let mut all = self.in_flight.iter_mut().enumerate();
        let (index, packet_id) = all.find_map(|(index, own)| match &mut own.stage {
            Stage::Released(release) if release.is(id) => {
                release.waits = false;
                Some((index, own.packet_id))
            }
            Stage::Released(_) | Stage::Published(_) => None,
        })?;
        (index < self.sent).then_some(Outgoing::PubRel(packet_id, reason::SUCCESS))
    }

    /// Adds what was sent for the first time.
    pub(super) fn push(&mut self, packet_id: u16, item: Outbound, now: Instant) {
        if item.kept.is_none() {
            self.last_id = packet_id;
        }
        self.in_flight.push_back(InFlight {
            packet_id,
            stage: Stage::Published(item),
            since: now,
        });
        self.sent = self.in_flight.len();
    }

    /// Forgets deliveries that may not be sent any more, and that the client does not have.
    pub(super) fn retain(&mut self, may_be_sent: impl Fn(&Outbound) -> bool) {
        let (mut index, sent) = (0, self.sent);
        self.in_flight.retain(|own| {
            let keep = match &own.stage {
                Stage::Published(item) => may_be_sent(item),
                Stage::Released(_) => true,
            };
            self.sent -= usize::from(!keep && index < sent);
            index += 1;
            keep
        });
    }

    /// Takes in a PUBACK.
    pub(super) fn acknowledge(&mut self, packet_id: u16) {
        self.given_up.remove(&packet_id);
        if let Some(index) = self.find(
            packet_id,
            |stage| matches!(stage, Stage::Published(item) if item.qos == QoS::AtLeastOnce),
        ) {
            self.finish(index);
        }
    }

    /// Takes in a PUBREC. Returns the PUBREL to send, if any, and where the message is stored if
    /// it is: then it has to be stored first that it was received.
    pub(super) fn receive(
        &mut self,
        packet_id: u16,
        code: u8,
        now: Instant,
    ) -> Option<(Outgoing, Option<Key>)> {
        let index = self.find(packet_id, |stage| match stage {
            Stage::Published(item) => item.qos == QoS::ExactlyOnce,
            Stage::Released(_) => true,
        });
        let Some(index) = index else {
            // The client may be stuck with an exchange that this session knows nothing of.
            let unknown = code < reason::UNSPECIFIED;
            if !unknown {
                self.given_up.remove(&packet_id);
            }
            let packet = Outgoing::PubRel(packet_id, reason::PACKET_ID_NOT_FOUND);
            return unknown.then_some((packet, None));
        };
        if code >= reason::UNSPECIFIED {
            self.finish(index);
            return None;
        }
        let own = self.in_flight.get_mut(index)?;
        own.since = now;
        let mut key = None;
        if let Stage::Published(item) = &mut own.stage {
            let kept = item.kept.take();
            key = kept.as_ref().map(|kept| kept.record.key());
            let waits = key.is_some();
            own.stage = Stage::Released(Release { kept, waits });
        }
        Some((Outgoing::PubRel(packet_id, reason::SUCCESS), key))
    }

    /// Takes in a PUBCOMP.
    pub(super) fn complete(&mut self, packet_id: u16) {
        self.given_up.remove(&packet_id);
        if let Some(index) = self.find(packet_id, |stage| matches!(stage, Stage::Released(_))) {
            self.finish(index);
        }
    }

    /// Returns since when the client owes its oldest acknowledgement, `None` if it owes none.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let sent = self.in_flight.iter().take(self.sent);
        sent.map(|own| own.since).min()
    }

    /// Takes out a message that was sent that long ago and has not been acknowledged. What the
    /// client has and did not finish with PUBCOMP is forgotten on the way.
    pub(super) fn give_up(&mut self, patience: Duration, now: Instant) -> Option<Outbound> {
        loop {
            let mut sent = self.in_flight.iter().take(self.sent);
            let index = sent.position(|own| own.since + patience <= now)?;
            self.sent -= 1;
            let own = self.in_flight.remove(index)?;
            self.given_up.insert(own.packet_id, ());
            if let Stage::Published(item) = own.stage {
                return Some(item);
            }
        }
    }

    /// Whether one more PUBLISH may follow so many unfinished deliveries.
    fn has_room(&self, unfinished: usize, terms: &Terms) -> bool {
        unfinished < terms.window && unfinished + self.given_up.len() < terms.quota
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
