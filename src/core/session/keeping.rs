//! What of one client's deliveries is stored, and in which order.
//!
//! They come back in the order of their numbers. So what is stored late gets a number of its own,
//! and whatever follows it another, higher one.

use std::sync::Arc;
use std::time::Instant;

use crate::core::archive::Archive;
use crate::core::archive::value::{Deliverable, DeliveryValue, Stage};
use crate::core::few::Few;
use crate::core::message::QoS;
use crate::core::packet::Outgoing;
use crate::core::store::Kind;

use super::outbox::{Kept, Outbound, Outbox};

/// How many packet identifiers are left out after a restart: not a part of all, so that some
/// restarts later others are first again.
const SKIPPED: u16 = 20_011;

/// After how many of them the latest is stored anew: long before a restart left out too few.
pub(crate) const IDS_PER_WRITE: u16 = 1 << 13;

impl Outbox {
    /// Returns a packet identifier that is not in use, nor meant for what waits.
    pub(super) fn free_id(&self) -> Option<u16> {
        let queue = &self.queue;
        self.window.free_id(|id| {
            let mut kept = queue.iter().filter_map(|own| own.kept.as_ref());
            kept.any(|own| own.packet_id == id)
        })
    }

    /// Stores a delivery that is about to be queued. Without an identifier left it is not stored.
    pub(crate) fn keep(&mut self, item: &mut Outbound, session: u64, archive: &mut Archive) {
        if let Some(packet_id) = self.free_id() {
            self.window.reserve(packet_id);
            store(item, (session, packet_id), archive);
        }
    }

    /// Stores all that is to be delivered at QoS 1 and 2 and is not stored; what is, only if all
    /// is to be stored `anew`.
    pub(crate) fn keep_all(&mut self, session: u64, anew: bool, archive: &mut Archive) {
        let mut last = 0;
        let mut used = Few::default();
        for (packet_id, item, kept) in self.window.unfinished() {
            used.insert(packet_id, ());
            if let Some(item) = item {
                keep_in_order(item, (session, packet_id), (&mut last, anew), archive);
            } else if let Some(kept) = kept {
                release(kept, (session, packet_id), anew, archive);
            }
        }
        for kept in self.queue.iter().filter_map(|own| own.kept.as_ref()) {
            used.insert(kept.packet_id, ());
        }
        for item in self
            .queue
            .iter_mut()
            .filter(|own| own.qos > QoS::AtMostOnce)
        {
            let kept = item.kept.as_ref().map(|kept| kept.packet_id);
            let packet_id = kept.or_else(|| self.window.free_id(|id| used.contains(&id)));
            let Some(packet_id) = packet_id else { return };
            if kept.is_none() {
                self.window.reserve(packet_id);
                used.insert(packet_id, ());
            }
            keep_in_order(item, (session, packet_id), (&mut last, anew), archive);
        }
    }

    /// Returns the latest packet identifier.
    pub(crate) fn last_id(&self) -> u16 {
        self.window.last_id()
    }

    /// Goes on after a restart where no identifier is that the client may know of: which were
    /// given since `last_id` was stored, nobody knows.
    pub(crate) fn skip_ids(&mut self, last_id: u16) {
        self.window.reserve(last_id.wrapping_add(SKIPPED));
    }

    /// Takes note that the store has it that the client has a message. Returns the PUBREL that
    /// waited for that.
    pub(crate) fn confirm(&mut self, id: u64) -> Option<Outgoing> {
        self.window.confirm(id)
    }

    /// Takes a delivery out of the queue that could not be stored.
    pub(crate) fn discard(&mut self, id: u64) {
        let is_it = |own: &Outbound| {
            let kept = own.kept.as_ref();
            kept.is_some_and(|kept| kept.record.key().id == id)
        };
        if let Some(index) = self.queue.iter().position(is_it) {
            self.remove(index);
        }
    }

    /// Queues a delivery that was stored before a restart.
    pub(crate) fn restore(&mut self, item: Outbound) {
        self.append(item);
    }

    /// Takes up an exchange that was begun before a restart, and that PUBCOMP has to end.
    pub(crate) fn restore_released(&mut self, kept: Kept, now: Instant) {
        let packet_id = kept.packet_id;
        self.window.restore(packet_id, Arc::new(kept), now);
    }
}

/// Stores a delivery whose number would not be higher than the last one's.
fn keep_in_order(
    item: &mut Outbound,
    place: (u64, u16),
    (last, anew): (&mut u64, bool),
    archive: &mut Archive,
) {
    let kept = item.kept.as_ref().map(|kept| kept.record.key());
    match kept {
        Some(key) if key.id > *last => {
            if anew {
                archive.put(key, value(item, place, archive));
            }
        }
        _ => store(item, place, archive),
    }
    *last = item
        .kept
        .as_ref()
        .map_or(*last, |kept| kept.record.key().id);
}

fn store(item: &mut Outbound, place: (u64, u16), archive: &mut Archive) {
    let record = archive.make(Kind::Delivery);
    archive.put(record.key(), value(item, place, archive));
    let dup = item.kept.as_ref().is_some_and(|kept| kept.dup);
    let packet_id = place.1;
    item.kept = Some(Arc::new(Kept {
        record,
        packet_id,
        dup,
    }));
}

fn release(
    kept: &mut Option<Arc<Kept>>,
    (session, packet_id): (u64, u16),
    anew: bool,
    archive: &mut Archive,
) {
    let is_new = kept.is_none();
    let kept = kept.get_or_insert_with(|| {
        let record = archive.make(Kind::Delivery);
        Arc::new(Kept {
            record,
            packet_id,
            dup: false,
        })
    });
    if is_new || anew {
        archive.put(kept.record.key(), released(session, packet_id));
    }
}

/// Returns the value of an exchange that PUBCOMP has to end.
pub(crate) fn released(session: u64, packet_id: u16) -> bytes::Bytes {
    let stage = Stage::Released;
    DeliveryValue {
        session,
        packet_id,
        stage,
    }
    .encode()
}

fn value(item: &Outbound, (session, packet_id): (u64, u16), archive: &Archive) -> bytes::Bytes {
    let stage = Stage::Message(Deliverable {
        message: item.message.clone(),
        qos: item.qos,
        retain: item.retain,
        ids: item.ids.clone(),
        expires: item.expires.and_then(|at| archive.unix_time(at)),
    });
    DeliveryValue {
        session,
        packet_id,
        stage,
    }
    .encode()
}
