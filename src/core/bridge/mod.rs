//! The bridge's state machine: messages and outcomes in, jobs, acknowledgements and replies out.
//!
//! It owns the waiting jobs and decides order, fairness and limits. It knows nothing of sockets,
//! of the hub, or of where messages come from. What becomes of a message is decided in `direct`,
//! of an outcome in `finish`, of an endpoint that fails in `circuit`, whose turn it is in `queue`,
//! and what a new configuration changes in `routes`.

mod agenda;
mod circuit;
mod direct;
mod event;
mod finish;
mod moves;
mod overview;
mod portal;
mod queue;
mod rate;
mod routes;
mod shelves;
mod stored;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::core::memory::Meter;
use crate::core::message::Message;
use crate::core::outcome::{Code, Failure};
use crate::core::packet::reason;
use crate::core::reply::Address;
use crate::core::route::{Route, RouteTable};
use crate::core::template::{MessageId, Values};

use agenda::Agenda;
pub use circuit::Standing;
pub use event::{Action, Counters, EndpointState, Event, Job, JobId, Publisher, Report, Ticket};
use moves::Trail;
pub use overview::{RouteState, Share};
use portal::Portal;
use queue::{Entry, Item, Queue, Waiting};
use stored::Shelf;

/// The state machine.
///
/// Nothing in it grows with what has passed: what it holds is bounded by the endpoints' queues.
#[derive(Debug)]
pub struct Bridge {
    routes: Arc<RouteTable>,
    gateway: Arc<str>,
    boot: u32,
    /// Numbers messages and their jobs.
    last: usize,
    stopping: bool,
    /// Why the time is not known.
    clock_unset: Option<String>,
    /// One per endpoint that is or was configured.
    queues: Vec<Queue>,
    /// One per name of a route that is or was configured.
    slots: Vec<Slot>,
    /// The position in `slots` for each route.
    slot_of: Vec<usize>,
    running: HashMap<JobId, Box<Waiting>>,
    /// Deadlines of waiting jobs.
    deadlines: Agenda,
    /// Lanes that a route has taken to another endpoint before they had ended.
    trails: Vec<Trail>,
    portal: Portal,
    shelf: Shelf,
    meter: Meter,
    /// The state of a generator of random numbers, never zero.
    random: u32,
}

/// What is kept for a route, under its name, while configurations come and go.
#[derive(Debug)]
struct Slot {
    name: String,
    /// The position in `queues` of its endpoint's.
    queue: usize,
    counters: Counters,
    /// The route at present; `None` if there is none of this name.
    route: Option<Arc<Route>>,
    /// Bytes that its messages take of the store.
    bytes: usize,
    /// Bytes that the last message was to take, stored or not.
    wanted: usize,
    /// The number of its counters in the store.
    stored_as: Option<u64>,
    /// Messages in the store that wait for the route to come back.
    orphans: Vec<(Arc<str>, Entry)>,
}

impl Slot {
    /// Returns how old messages may become, in seconds.
    fn max_age(&self) -> Option<u64> {
        let stored = self.route.as_ref()?.stored?;
        Some(stored.max_age.as_secs())
    }

    fn share(&self) -> Option<Share> {
        let stored = self.route.as_ref().and_then(|route| route.stored);
        let max_bytes = stored.map(|stored| stored.max_bytes);
        let share = Share {
            bytes: self.bytes,
            max_bytes,
            is_full: max_bytes.is_some_and(|most| self.bytes.saturating_add(self.wanted) > most),
        };
        (stored.is_some() || self.bytes > 0).then_some(share)
    }
}

/// Where a job waits.
#[derive(Clone, Debug)]
struct Place {
    queue: usize,
    client: Arc<str>,
    slot: usize,
}

/// What is needed to answer a message.
#[derive(Debug)]
struct Pending {
    /// As it was when the message came.
    route: Arc<Route>,
    slot: usize,
    queue: usize,
    message: Message,
    publisher: Publisher,
    address: Address,
    id: MessageId,
    unix_time: u64,
}

impl Pending {
    fn place(&self) -> Place {
        Place {
            queue: self.queue,
            client: Arc::clone(&self.publisher.client),
            slot: self.slot,
        }
    }
}

impl Bridge {
    /// Makes a bridge without jobs.
    ///
    /// `gateway` is the value of `{gateway}`. `boot` tells this start of the program from others
    /// in `{message_id}`: a random number.
    pub fn new(routes: Arc<RouteTable>, gateway: Arc<str>, boot: u32) -> Self {
        let mut bridge = Self {
            routes: Arc::new(RouteTable::new(Vec::new())),
            gateway,
            boot,
            last: 0,
            stopping: false,
            clock_unset: None,
            queues: Vec::new(),
            slots: Vec::new(),
            slot_of: Vec::new(),
            running: HashMap::new(),
            deadlines: Agenda::default(),
            trails: Vec::new(),
            portal: Portal::default(),
            shelf: Shelf::default(),
            meter: Meter::default(),
            random: boot | 1,
        };
        bridge.take_over(routes);
        bridge
    }

    /// Counts the requests that wait, and takes none on while memory is short.
    #[must_use]
    pub fn with_meter(mut self, meter: Meter) -> Self {
        self.meter = meter;
        self
    }

    /// Takes in an event and appends what is to be done to `actions`.
    ///
    /// A message of a direct route, or of none, is acknowledged at once: nothing of it is stored,
    /// and the acknowledgement does not wait for the response. One of a stored route is
    /// acknowledged when it is on the disk.
    pub fn handle(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        self.take_in(event, now, actions);
        self.follow_trails(now, actions);
        self.report_new_orphans(actions);
    }

    fn take_in(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        match event {
            Event::Message {
                message,
                publisher,
                ticket,
                unix_time,
            } => {
                let found = self.routes.first_match(message.topic.as_str());
                let found = found.map(|(at, route)| (at, Arc::clone(route)));
                let stored = found.as_ref().and_then(|(_, route)| route.stored);
                let from = (message, publisher, unix_time);
                if let (Some((at, route)), Some(stored)) = (&found, stored)
                    && let Some(slot) = self.slot_of.get(*at).copied()
                {
                    let to = (slot, Arc::clone(route), stored);
                    return self.take_stored(to, from, ticket, now, actions);
                }
                actions.extend(ticket.map(|it| Action::Acknowledge(it, reason::SUCCESS)));
                match found {
                    None => self.report_near_miss(&from.0, &from.1, actions),
                    Some((at, route)) => self.take(at, route, from, now, actions),
                }
            }
            Event::Finished { id, outcome } => self.finish(id, outcome, now, actions),
            Event::Clock(unset) => {
                self.clock_unset = unset;
                self.note_time(None, now);
                if self.clock_unset.is_none() {
                    self.probe_now(now, actions);
                }
            }
            Event::Committed { token } => self.committed(token, now, actions),
            Event::NotStored { token, why } => self.not_stored(token, &why, actions),
            Event::Loaded { key, value } => self.loaded(key, value.as_ref(), now, actions),
            Event::ProbeNow => self.probe_now(now, actions),
            Event::Routes(routes) => self.replace_routes(routes, now, actions),
            Event::Stop => self.stop(actions),
            Event::GiveUp => self.give_up(now, actions),
        }
    }

    /// Returns when to call [`Bridge::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.next();
        if self.clock_unset.is_some() || self.stopping {
            return deadline;
        }
        let wakes = self.queues.iter().map(Queue::wake);
        wakes.fold(queue::sooner(deadline, self.shelf.sweep), queue::sooner)
    }

    /// Answers waiting jobs whose deadline has passed, with what their last attempt came to or
    /// with `timeout.queue`, and starts those whose time has come.
    pub fn handle_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some((id, place)) = self.deadlines.pop_due(now) {
            if let Some(waiting) = self.withdraw(&place, id) {
                self.settle_late(*waiting, now, actions);
            }
        }
        if self.clock_unset.is_some() || self.stopping {
            return;
        }
        self.sweep(now, actions);
        for at in 0..self.queues.len() {
            let wake = self.queues.get(at).and_then(Queue::wake);
            if wake.is_some_and(|wake| wake <= now) {
                self.start_waiting(at, now, actions);
            }
        }
        self.follow_trails(now, actions);
    }

    /// Returns whether jobs wait.
    pub fn has_waiting(&self) -> bool {
        !self.deadlines.is_empty() || self.queues.iter().any(Queue::has_stored)
    }

    /// Returns how many jobs wait or are with a worker, and how many messages are on their way to
    /// the disk; not those that lie there.
    pub fn pending(&self) -> usize {
        self.deadlines.len() + self.running.len() + self.shelf.uncommitted()
    }

    /// Returns the routes, in file order.
    pub fn routes(&self) -> &RouteTable {
        &self.routes
    }

    /// Returns the counters of each route, in file order.
    pub fn counters(&self) -> Vec<Counters> {
        let slots = self.slot_of.iter().filter_map(|slot| self.slots.get(*slot));
        slots.map(|slot| slot.counters).collect()
    }

    /// Returns how each endpoint stands that a route names.
    pub fn endpoints(&self) -> Vec<EndpointState> {
        let named = |queue: &&Queue| {
            let routes = &self.routes.routes;
            routes.iter().any(|route| queue.serves(&route.endpoint))
        };
        let queues = self.queues.iter().filter(named);
        queues.map(EndpointState::of).collect()
    }

    fn report_near_miss(
        &self,
        message: &Message,
        publisher: &Publisher,
        actions: &mut Vec<Action>,
    ) {
        let topic = message.topic.as_str();
        actions.extend(self.routes.near_miss(topic).map(|route| {
            Action::Report(Report::NearMiss {
                client: Arc::clone(&publisher.client),
                topic: topic.to_owned(),
                route: route.name.clone(),
                expected: route.topic.text.clone(),
            })
        }));
    }

    /// Hands jobs to workers while the endpoint has any to spare.
    fn start_waiting(&mut self, at: usize, now: Instant, actions: &mut Vec<Action>) {
        if self.clock_unset.is_some() || self.stopping {
            return;
        }
        if let Some(queue) = self.queues.get_mut(at) {
            queue.release_delayed(now);
        }
        while let Some(queue) = self.queues.get_mut(at) {
            let Some(taken) = queue.start_next(now) else {
                return;
            };
            let waiting = match taken.item {
                Item::Direct(waiting) => waiting,
                Item::Stored(entry) => {
                    let place = Place {
                        queue: at,
                        client: taken.client,
                        slot: taken.slot,
                    };
                    self.begin(place, entry, taken.probe, now, actions);
                    continue;
                }
            };
            let Waiting { job, pending, .. } = &*waiting;
            self.deadlines.remove((job.deadline, job.id));
            if job.deadline <= now {
                queue.finish(&pending.publisher.client, pending.slot, true);
                self.settle_late(*waiting, now, actions);
                continue;
            }
            if taken.probe {
                queue.circuit.probe(job.id);
            }
            actions.push(Action::Start(job.clone()));
            let (id, slot) = (job.id, pending.slot);
            self.running.insert(id, waiting);
            self.count(slot, |counters| {
                counters.queued -= 1;
                counters.in_flight += 1;
            });
        }
    }

    /// Takes a waiting job out of its queue. Its deadline is the caller's to forget.
    fn withdraw(&mut self, place: &Place, id: JobId) -> Option<Box<Waiting>> {
        let queue = self.queues.get_mut(place.queue)?;
        queue.remove(&place.client, place.slot, id)
    }

    /// Tries endpoints that do not work, whatever the time.
    fn probe_now(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for at in 0..self.queues.len() {
            if let Some(queue) = self.queues.get_mut(at) {
                queue.circuit.probe_now(now);
                queue.hurry();
            }
            self.start_waiting(at, now, actions);
        }
    }

    fn stop(&mut self, actions: &mut Vec<Action>) {
        self.stopping = true;
        while let Some((_, id, place)) = self.deadlines.pop() {
            if let Some(waiting) = self.withdraw(&place, id) {
                self.answer_waiting(*waiting, stopping(), actions);
            }
        }
    }

    fn give_up(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.stop(actions);
        let mut running: Vec<_> = std::mem::take(&mut self.running).into_iter().collect();
        running.sort_unstable_by_key(|(id, _)| *id);
        for (id, waiting) in running {
            let Waiting { pending, entry, .. } = *waiting;
            self.count(pending.slot, |counters| counters.in_flight -= 1);
            if let Some(entry) = entry {
                // It stays in the store, and is sent after the next start.
                self.count(pending.slot, |counters| counters.queued += 1);
                self.put_back(&pending.place(), entry, id, now);
                continue;
            }
            let detail = "no response before the gateway stopped";
            let failure = Failure::new(Code::BridgeStopping, detail);
            self.settle_failed(&pending, failure, actions);
            if let Some(queue) = self.queues.get_mut(pending.queue) {
                queue.finish(&pending.publisher.client, pending.slot, true);
            }
        }
    }

    fn count(&mut self, slot: usize, change: impl FnOnce(&mut Counters)) {
        if let Some(slot) = self.slots.get_mut(slot) {
            change(&mut slot.counters);
        }
    }

    /// Returns the next random number (xorshift).
    fn random(&mut self) -> u32 {
        let mut state = self.random;
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        self.random = state;
        state
    }

    fn values<'a>(&'a self, pending: &'a Pending) -> Values<'a> {
        Values {
            message: &pending.message,
            publisher: &pending.publisher,
            gateway: &self.gateway,
            id: pending.id,
            unix_time: pending.unix_time,
            reply: None,
            mask_secrets: false,
        }
    }
}

fn stopping() -> Failure {
    Failure::new(Code::BridgeStopping, "the gateway is shutting down")
}
