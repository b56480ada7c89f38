//! Messages of stored routes: acknowledged once they are on the disk, sent in order, tried until
//! they succeed, fail for good or become too old.
//!
//! Decides what is stored, sent, given up and deleted. Values stay in the store; of a message that
//! waits there is only an entry in memory, and the value while a small budget lasts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::bridge::queue::{Entry, Item, Waiting};
use crate::core::bridge::value::{self, Kept};
use crate::core::bridge::{Action, Bridge, Job, JobId, Pending, Place, Publisher, Report, Ticket};
use crate::core::message::Message;
use crate::core::outcome::{Code, Failure, Outcome};
use crate::core::packet::reason;
use crate::core::reply::{Address, Composer};
use crate::core::request::Request;
use crate::core::retry::{self, Way};
use crate::core::route::{OnFull, Route, Stored};
use crate::core::store::{Change, Key, Kind};
use crate::core::template::{MessageId, Values};

/// Bytes of values that are kept beside the store.
const CACHE: usize = 256 * 1024;

/// Attempts of a request that this program fails at.
const INTERNAL_ATTEMPTS: u16 = 5;

/// How often it is looked for messages that have become too old.
const SWEEP: Duration = Duration::from_secs(1);

/// What is known of stored messages beside their entries.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// The largest number given to a message in the store.
    last_id: u64,
    /// The largest number given to counters in the store.
    last_counters: u64,
    last_token: usize,
    /// Messages on their way to the disk, by token.
    commits: HashMap<usize, Uncommitted>,
    /// Values, by number.
    cache: HashMap<u64, Bytes>,
    cached: usize,
    /// Values on their way from the disk, by number.
    loading: HashMap<u64, Loading>,
    /// A moment, and what the clock showed then, seconds since 1970. Kept while the clock is
    /// believed, so that its steps make nothing older.
    anchor: Option<(Instant, u64)>,
    /// When it is next looked for what has become too old.
    pub(super) sweep: Option<Instant>,
    /// Whether messages wait for a route that is not there of which the owner was not told.
    pub(super) news: bool,
}

#[derive(Debug)]
struct Uncommitted {
    pending: Pending,
    entry: Entry,
    value: Bytes,
    ticket: Option<Ticket>,
}

/// What becomes of a message once its value is there.
#[derive(Debug)]
enum Loading {
    /// It is sent.
    Send(Place, Entry, JobId),
    /// It is given up, as its route was when that was decided.
    GiveUp(usize, Arc<Route>, Entry, Failure),
}

impl Shelf {
    /// Returns how many messages are on their way to the disk.
    pub(super) fn uncommitted(&self) -> usize {
        self.commits.len()
    }

    /// Returns the bytes of values that are kept beside the store.
    #[cfg(test)]
    pub(super) fn cached_bytes(&self) -> usize {
        self.cached
    }

    /// Returns for how long a message has waited, `None` if it came while the time was not known.
    pub(super) fn age(&self, entry: &Entry, now: Instant) -> Option<Duration> {
        let time = self.now(now).filter(|_| entry.at > 0)?;
        Some(Duration::from_secs(time.saturating_sub(entry.at)))
    }

    /// Returns what waits in no queue, with its slot: it is on its way to the disk, or its value on
    /// its way from there.
    pub(super) fn between(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let commits = self.commits.values();
        let loading = self.loading.values().map(|it| match it {
            Loading::Send(place, entry, _) => (place.slot, entry),
            Loading::GiveUp(slot, _, entry, _) => (*slot, entry),
        });
        let commits = commits.map(|it| (it.pending.slot, &it.entry));
        commits.chain(loading)
    }

    fn now(&self, now: Instant) -> Option<u64> {
        let (at, unix_time) = self.anchor?;
        Some(unix_time + now.saturating_duration_since(at).as_secs())
    }

    fn keep(&mut self, id: u64, value: Bytes) {
        if self.cached + value.len() <= CACHE {
            self.cached += value.len();
            self.cache.insert(id, value);
        }
    }

    fn take(&mut self, id: u64) -> Option<Bytes> {
        let value = self.cache.remove(&id)?;
        self.cached -= value.len();
        Some(value)
    }
}

fn key(id: u64) -> Key {
    let kind = Kind::Message;
    Key { kind, id }
}

impl Bridge {
    /// Notes what the clock shows; `None` while it is not believed, or not at all.
    pub(super) fn note_time(&mut self, unix_time: Option<u64>, now: Instant) {
        match unix_time.filter(|it| *it > 0 && self.clock_unset.is_none()) {
            Some(unix_time) => {
                self.shelf.anchor.get_or_insert((now, unix_time));
            }
            None => self.shelf.anchor = None,
        }
    }

    /// Takes a message for a stored route: has it stored, or refuses it.
    pub(super) fn take_stored(
        &mut self,
        (slot, route, stored): (usize, Arc<Route>, Stored),
        (message, publisher, unix_time): (Message, Publisher, u64),
        ticket: Option<Ticket>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.note_time(Some(unix_time), now);
        self.last = self.last.wrapping_add(1);
        let id = MessageId {
            boot: self.boot,
            number: self.last,
        };
        let kept = Kept {
            route: route.name.clone(),
            id,
            unix_time,
            publisher,
            message,
        };
        let (pending, rendered) = self.prepare(slot, route, kept);
        self.count(slot, |counters| counters.received += 1);
        if let Err(failure) = rendered {
            // It will never be a request: nothing is gained by sending it again.
            actions.extend(ticket.map(|it| Action::Acknowledge(it, reason::SUCCESS)));
            return self.settle_failed(&pending, failure, actions);
        }
        let at = self.shelf.now(now).unwrap_or(0);
        let (publisher, message) = (&pending.publisher, &pending.message);
        let value = Kept::encode(&pending.route.name, (id, at), publisher, message);
        let size = value.as_ref().map_or(usize::MAX, Bytes::len);
        let (Some(value), Ok(short)) = (value, u32::try_from(size)) else {
            return self.refuse(&pending, "it is too large", ticket, actions);
        };
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.wanted = size;
        }
        while self.stored_bytes(slot).saturating_add(size) > stored.max_bytes {
            if stored.on_full == OnFull::Refuse || !self.drop_oldest(slot, actions) {
                let most = stored.max_bytes;
                let why = format!("the route's {most} bytes are taken");
                return self.refuse(&pending, &why, ticket, actions);
            }
        }
        self.shelf.last_id += 1;
        let entry = Entry {
            id: self.shelf.last_id,
            at,
            size: short,
            attempts: 0,
            tries: 0,
        };
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.bytes += size;
            slot.counters.queued += 1;
        }
        self.shelf.last_token = self.shelf.last_token.wrapping_add(1);
        let token = self.shelf.last_token;
        let put = Change::Put(key(entry.id), value.clone());
        let uncommitted = Uncommitted {
            pending,
            entry,
            value,
            ticket,
        };
        self.shelf.commits.insert(token, uncommitted);
        actions.push(Action::Store {
            changes: vec![put],
            token: Some(token),
        });
    }

    fn stored_bytes(&self, slot: usize) -> usize {
        self.slots.get(slot).map_or(0, |slot| slot.bytes)
    }

    /// Answers that a message is not stored, and leaves it with the client.
    fn refuse(
        &mut self,
        pending: &Pending,
        why: &str,
        ticket: Option<Ticket>,
        actions: &mut Vec<Action>,
    ) {
        let failure = Failure::new(Code::BridgeStorage, why);
        self.settle_failed(pending, failure, actions);
        actions.extend(ticket.map(Action::Refuse));
    }

    /// Acknowledges what is on the disk, and lets it wait for its turn.
    pub(super) fn committed(&mut self, token: usize, now: Instant, actions: &mut Vec<Action>) {
        let Some(done) = self.shelf.commits.remove(&token) else {
            return;
        };
        let Uncommitted {
            pending,
            entry,
            value,
            ticket,
        } = done;
        actions.extend(ticket.map(|it| Action::Acknowledge(it, reason::SUCCESS)));
        let wanted = pending.route.stored.and_then(|stored| stored.ack_reply);
        if wanted.unwrap_or(ticket.is_none()) {
            let composer = Composer {
                route: &pending.route,
                address: &pending.address,
                values: self.values(&pending),
            };
            actions.extend(composer.queued().map(Action::Publish));
        }
        self.shelf.keep(entry.id, value);
        self.shelve(pending.slot, &pending.publisher.client, entry);
        self.plan_sweep(now);
        // Its route may have gone elsewhere meanwhile.
        let queue = self.slots.get(pending.slot).map(|slot| slot.queue);
        self.start_waiting(queue.unwrap_or(pending.queue), now, actions);
    }

    /// Answers for what could not be written.
    pub(super) fn not_stored(&mut self, token: usize, why: &str, actions: &mut Vec<Action>) {
        let Some(failed) = self.shelf.commits.remove(&token) else {
            return;
        };
        self.release(failed.pending.slot, failed.entry);
        let slot = failed.pending.slot;
        self.count(slot, |counters| counters.queued -= 1);
        self.refuse(&failed.pending, why, failed.ticket, actions);
    }

    /// Gives the room of a message free.
    fn release(&mut self, slot: usize, entry: Entry) {
        if let Some(slot) = self.slots.get_mut(slot) {
            let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
            slot.bytes = slot.bytes.saturating_sub(size);
        }
    }

    /// Puts a message behind those that wait, or aside while nobody knows where it goes.
    pub(super) fn shelve(&mut self, slot: usize, client: &Arc<str>, entry: Entry) {
        let Some(own) = self.slots.get_mut(slot) else {
            return;
        };
        if own.route.is_none() {
            self.shelf.news |= own.orphans.is_empty();
            own.orphans.push((Arc::clone(client), entry));
        } else if let Some(queue) = self.queues.get_mut(own.queue) {
            queue.push(client, slot, Item::Stored(entry));
        }
    }

    /// Begins to send a message whose lane has its turn.
    pub(super) fn begin(
        &mut self,
        place: Place,
        entry: Entry,
        probe: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.last = self.last.wrapping_add(1);
        let id = JobId(self.last);
        if let Some(queue) = self.queues.get_mut(place.queue).filter(|_| probe) {
            queue.circuit.probe(id);
        }
        match self.shelf.take(entry.id) {
            Some(value) => self.send(&place, (entry, id), Some(&value), now, actions),
            None => {
                let loading = Loading::Send(place, entry, id);
                self.shelf.loading.insert(entry.id, loading);
                actions.push(Action::Load(key(entry.id)));
            }
        }
    }

    /// Goes on with a message whose value has come.
    pub(super) fn loaded(
        &mut self,
        key: Key,
        value: Option<&Bytes>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if key.kind != Kind::Message {
            return;
        }
        match self.shelf.loading.remove(&key.id) {
            Some(Loading::Send(place, entry, id)) => {
                let queue = place.queue;
                self.send(&place, (entry, id), value, now, actions);
                self.start_waiting(queue, now, actions);
            }
            Some(Loading::GiveUp(slot, route, entry, failure)) => {
                self.given_up((slot, route), entry, value, failure, actions);
            }
            None => {}
        }
    }

    fn send(
        &mut self,
        place: &Place,
        (entry, id): (Entry, JobId),
        value: Option<&Bytes>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let slot = self.slots.get(place.slot);
        let stays = slot.filter(|slot| slot.queue == place.queue && !self.stopping);
        let Some(route) = stays.and_then(|slot| slot.route.clone()) else {
            // The route went, or goes elsewhere, while the value came.
            if let Some(queue) = self.queues.get_mut(place.queue) {
                queue.circuit.give_back(id, now);
            }
            return self.put_back(place, entry, id, now);
        };
        let Some(kept) = value.and_then(Kept::decode) else {
            self.count(place.slot, |counters| counters.queued -= 1);
            self.lose(place.slot, entry, actions);
            if let Some(queue) = self.queues.get_mut(place.queue) {
                queue.circuit.give_back(id, now);
                queue.finish(&place.client, place.slot, false);
            }
            return;
        };
        let (mut pending, rendered) = self.prepare(place.slot, route, kept);
        pending.queue = place.queue;
        let request = match rendered {
            Ok(request) => request,
            Err(failure) => {
                self.count(place.slot, |counters| counters.queued -= 1);
                self.settle_failed(&pending, failure, actions);
                self.delete(place.slot, entry, actions);
                if let Some(queue) = self.queues.get_mut(place.queue) {
                    queue.circuit.give_back(id, now);
                    queue.finish(&place.client, place.slot, false);
                }
                return;
            }
        };
        let limits = pending.route.limits;
        let job = Job {
            id,
            endpoint: Arc::clone(&pending.route.endpoint),
            request: Arc::new(request),
            attempt: u32::from(entry.tries) + 1,
            deadline: now + limits.deadline,
            limits,
        };
        actions.push(Action::Start(job.clone()));
        let waiting = Waiting {
            job,
            pending,
            last: None,
            entry: Some(entry),
        };
        self.running.insert(id, Box::new(waiting));
        self.count(place.slot, |counters| {
            counters.queued -= 1;
            counters.in_flight += 1;
        });
    }

    /// Settles where the reply to a message goes, and renders its request.
    fn prepare(
        &self,
        slot: usize,
        route: Arc<Route>,
        kept: Kept,
    ) -> (Pending, Result<Request, Failure>) {
        let values = Values {
            message: &kept.message,
            publisher: &kept.publisher,
            gateway: &self.gateway,
            id: kept.id,
            unix_time: kept.unix_time,
            reply: None,
            mask_secrets: false,
        };
        let resolved = Address::resolve(&route, &self.routes, &values);
        let rendered = match resolved.unusable {
            Some(failure) => Err(failure),
            None => Request::render(&route, &values),
        };
        let pending = Pending {
            queue: self.slots.get(slot).map_or(0, |slot| slot.queue),
            route,
            slot,
            message: kept.message,
            publisher: kept.publisher,
            address: resolved.address,
            id: kept.id,
            unix_time: kept.unix_time,
        };
        (pending, rendered)
    }

    /// Decides what an outcome means for a stored message: it is settled, or waits again.
    pub(super) fn finish_stored(
        &mut self,
        waiting: &Waiting,
        mut entry: Entry,
        outcome: &Outcome,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let place = waiting.pending.place();
        entry.tries = entry.tries.saturating_add(1);
        if Way::of(outcome) == Way::Open {
            entry.attempts = entry.attempts.saturating_add(1);
        }
        if !self.is_worth_it(waiting, entry, outcome) {
            self.settle(&waiting.pending, outcome, actions);
            self.delete(place.slot, entry, actions);
            if let Some(queue) = self.queues.get_mut(place.queue) {
                queue.finish(&place.client, place.slot, false);
            }
            return;
        }
        self.count(place.slot, |counters| counters.queued += 1);
        let after = match outcome {
            Outcome::Response(response) => response.retry_after,
            Outcome::Failure(_) => None,
        };
        let policy = waiting.job.endpoint.conduct.retry;
        let delay = policy.delay(entry.tries.into(), after, self.random());
        self.put_back(&place, entry, waiting.job.id, now + delay);
    }

    /// Puts a message back before those behind it.
    pub(super) fn put_back(&mut self, place: &Place, entry: Entry, id: JobId, until: Instant) {
        let Some(slot) = self.slots.get(place.slot) else {
            return;
        };
        let (known, at) = (slot.route.is_some(), slot.queue);
        if known && at == place.queue {
            if let Some(queue) = self.queues.get_mut(at) {
                let item = Item::Stored(entry);
                queue.put_back(place, item, (until, id));
            }
            return;
        }
        // Its route went elsewhere while it was on its way. Nothing is known of the endpoint there.
        if let Some(queue) = self.queues.get_mut(place.queue) {
            queue.finish(&place.client, place.slot, false);
        }
        match self.queues.get_mut(at).filter(|_| known) {
            Some(queue) => queue.push_front(&place.client, place.slot, Item::Stored(entry)),
            None => self.shelve(place.slot, &place.client, entry),
        }
    }

    /// Returns whether another attempt may end better. Attempts that reach no server are not
    /// counted: an outage takes as long as it takes.
    fn is_worth_it(&self, waiting: &Waiting, entry: Entry, outcome: &Outcome) -> bool {
        let transient = retry::is_transient(outcome, &waiting.pending.route.success);
        let may_pass = match outcome {
            Outcome::Response(_) => false,
            Outcome::Failure(failure) => match failure.code {
                Code::BridgeInternal => entry.tries < INTERNAL_ATTEMPTS,
                Code::ClockUnset | Code::TimeoutQueue | Code::BridgeStopping => true,
                _ => matches!(Way::of(outcome), Way::Closed | Way::Refused),
            },
        };
        let most = waiting.job.endpoint.conduct.retry.attempts;
        let left = most.is_none_or(|most| u32::from(entry.attempts) < most);
        (transient || may_pass) && left
    }

    /// Removes a message that was settled, and stores with it what was counted.
    fn delete(&mut self, slot: usize, entry: Entry, actions: &mut Vec<Action>) {
        self.shelf.take(entry.id);
        self.release(slot, entry);
        let mut changes = vec![Change::Delete(key(entry.id))];
        let last = &mut self.shelf.last_counters;
        if let Some(slot) = self.slots.get_mut(slot) {
            let id = *slot.stored_as.get_or_insert_with(|| {
                *last += 1;
                *last
            });
            let kind = Kind::Counters;
            let value = value::encode_counters(&slot.name, &slot.counters);
            changes.extend(value.map(|value| Change::Put(Key { kind, id }, value)));
        }
        let token = None;
        actions.push(Action::Store { changes, token });
    }

    /// Counts a message of which nothing can be read any more.
    fn lose(&mut self, slot: usize, entry: Entry, actions: &mut Vec<Action>) {
        self.count(slot, |counters| counters.failed += 1);
        self.delete(slot, entry, actions);
        let route = self.slots.get(slot).map(|slot| slot.name.clone());
        actions.push(Action::Report(Report::Lost {
            route: route.unwrap_or_default(),
        }));
    }

    /// Gives up the oldest message of a route that is not on its way; `false` if there is none.
    fn drop_oldest(&mut self, slot: usize, actions: &mut Vec<Action>) -> bool {
        let Some(at) = self.slots.get(slot).map(|slot| slot.queue) else {
            return false;
        };
        let oldest = self.queues.get_mut(at).and_then(|it| it.pop_oldest(slot));
        let Some(entry) = oldest else {
            return false;
        };
        let failure = Failure::new(Code::BridgeDropped, "newer messages needed its room");
        self.part(slot, entry, failure, actions);
        true
    }

    /// Gives up a message that was taken out of its lane. Its room is free at once; it is answered
    /// and deleted when its value has come.
    fn part(&mut self, slot: usize, entry: Entry, failure: Failure, actions: &mut Vec<Action>) {
        let Some(route) = self.slots.get(slot).and_then(|slot| slot.route.clone()) else {
            self.count(slot, |counters| counters.queued -= 1);
            return self.lose(slot, entry, actions);
        };
        if let Some(value) = self.shelf.take(entry.id) {
            self.given_up((slot, route), entry, Some(&value), failure, actions);
            return;
        }
        self.release(slot, entry);
        let entry = Entry { size: 0, ..entry };
        let loading = Loading::GiveUp(slot, route, entry, failure);
        self.shelf.loading.insert(entry.id, loading);
        actions.push(Action::Load(key(entry.id)));
    }

    fn given_up(
        &mut self,
        (slot, route): (usize, Arc<Route>),
        entry: Entry,
        value: Option<&Bytes>,
        failure: Failure,
        actions: &mut Vec<Action>,
    ) {
        self.count(slot, |counters| counters.queued -= 1);
        let Some(kept) = value.and_then(Kept::decode) else {
            return self.lose(slot, entry, actions);
        };
        let (pending, _) = self.prepare(slot, route, kept);
        self.settle_failed(&pending, failure, actions);
        self.delete(slot, entry, actions);
    }

    fn plan_sweep(&mut self, now: Instant) {
        self.shelf.sweep.get_or_insert(now + SWEEP);
    }

    /// Gives up messages that have become too old.
    pub(super) fn sweep(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.shelf.sweep.is_none_or(|sweep| sweep > now) {
            return;
        }
        self.shelf.sweep = None;
        let mut waits = false;
        if let Some(time) = self.shelf.now(now) {
            let ages: Vec<_> = self.slots.iter().map(|slot| slot.max_age()).collect();
            for at in 0..self.queues.len() {
                let queue = self.queues.get_mut(at);
                let old = queue.map(|queue| queue.pop_old(time, &ages));
                for (slot, entry) in old.unwrap_or_default() {
                    let detail = match ages.get(slot).copied().flatten() {
                        Some(most) => format!("waited longer than {most} s"),
                        None => String::new(),
                    };
                    let failure = Failure::new(Code::BridgeExpired, detail);
                    self.part(slot, entry, failure, actions);
                }
            }
        }
        for queue in &self.queues {
            waits |= queue.has_stored();
        }
        if waits {
            // Nothing becomes too old to the second when weeks are allowed.
            let shortest = self.slots.iter().filter_map(|slot| slot.max_age()).min();
            let wait = Duration::from_secs(shortest.unwrap_or(0) / 100);
            self.shelf.sweep = Some(now + wait.clamp(SWEEP, SWEEP * 60));
        }
    }

    /// Takes in what the store holds, in the order of its keys; before anything else. `unix_time`
    /// is what the clock shows, `None` if it is not believed. Returns whether it could be read;
    /// what could not stays where it is, and is not touched.
    pub fn restore(
        &mut self,
        key: Key,
        value: &Bytes,
        unix_time: Option<u64>,
        now: Instant,
    ) -> bool {
        self.note_time(unix_time, now);
        match key.kind {
            Kind::Counters => {
                self.shelf.last_counters = self.shelf.last_counters.max(key.id);
                let Some((name, counters)) = value::decode_counters(value) else {
                    return false;
                };
                let slot = self.slot_named(&name);
                if let Some(slot) = self.slots.get_mut(slot) {
                    slot.stored_as = Some(key.id);
                    slot.counters = counters;
                }
                true
            }
            Kind::Message => {
                self.shelf.last_id = self.shelf.last_id.max(key.id);
                let kept = Kept::decode(value).zip(u32::try_from(value.len()).ok());
                let Some((kept, size)) = kept else {
                    return false;
                };
                let slot = self.slot_named(&kept.route);
                if let Some(slot) = self.slots.get_mut(slot) {
                    slot.bytes += value.len();
                    slot.counters.received += 1;
                    slot.counters.queued += 1;
                }
                let entry = Entry {
                    id: key.id,
                    at: kept.unix_time,
                    size,
                    attempts: 0,
                    tries: 0,
                };
                self.shelve(slot, &kept.publisher.client, entry);
                true
            }
            Kind::Session | Kind::Delivery | Kind::Retained => false,
        }
    }

    /// Takes note that all was restored, and begins to send it.
    pub fn restored(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.shelf.news = true;
        self.report_new_orphans(actions);
        self.plan_sweep(now);
        for at in 0..self.queues.len() {
            self.start_waiting(at, now, actions);
        }
    }

    /// Says which messages wait for a route that is not there, if that is news.
    pub(super) fn report_new_orphans(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::take(&mut self.shelf.news) {
            return;
        }
        let orphaned = self.slots.iter().filter(|slot| !slot.orphans.is_empty());
        actions.extend(orphaned.map(|slot| {
            Action::Report(Report::Orphans {
                route: slot.name.clone(),
                count: slot.orphans.len(),
            })
        }));
    }
}
