//! The jobs of one endpoint: how many it takes, and whose turn it is.
//!
//! A lane is what one client sent to one route: strictly in order, one job at a time. Clients
//! with a job to start take turns, and so do the lanes of one client, so a backlog holds up
//! nobody but its own lane. Whose turn it is not yet, by a rate or by the endpoint's circuit, is
//! passed over and keeps its place.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::core::bridge::agenda::Agenda;
use crate::core::bridge::circuit::{Admission, Circuit};
use crate::core::bridge::rate::{Bucket, Common};
use crate::core::bridge::{Job, JobId, Pending, Place};
use crate::core::endpoint::Endpoint;
use crate::core::outcome::{Code, Failure, Outcome};

/// Clients whose rate is remembered before those are forgotten that need not be.
const REMEMBERED: usize = 64;

/// A job and what is needed to answer it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) job: Job,
    pub(super) pending: Pending,
    /// What the last attempt came to.
    pub(super) last: Option<Outcome>,
    /// What it is in the store; `None` for a direct route.
    pub(super) entry: Option<Entry>,
}

/// A message in the store, as far as its turn depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its number in the store; older ones have smaller numbers.
    pub(super) id: u64,
    /// When it came, seconds since 1970; 0 while that is not known.
    pub(super) at: u64,
    /// Bytes of its value.
    pub(super) size: u32,
    /// Attempts in which a connection stood, since the start of the program.
    pub(super) attempts: u16,
    /// All attempts since then.
    pub(super) tries: u16,
}

/// What waits in a lane.
#[derive(Debug)]
pub(super) enum Item {
    /// A request of a direct route.
    Direct(Box<Waiting>),
    /// A message of a stored route.
    Stored(Entry),
}

impl Item {
    pub(super) fn is_stored(&self) -> bool {
        matches!(self, Self::Stored(_))
    }

    fn is_job(&self, id: JobId) -> bool {
        match self {
            Self::Direct(waiting) => waiting.job.id == id,
            Self::Stored(_) => false,
        }
    }
}

/// What is to start.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) item: Item,
    /// Whose it is, and the slot of its route.
    pub(super) client: Arc<str>,
    pub(super) slot: usize,
    /// Whether it finds out how the endpoint stands.
    pub(super) probe: bool,
}

/// The jobs of one endpoint, waiting and running.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) circuit: Circuit,
    /// Jobs of direct routes that wait or run.
    held: usize,
    running: usize,
    /// Messages of stored routes that wait.
    pub(super) stored: usize,
    /// Clients that hold a job.
    pub(super) clients: HashMap<Arc<str>, Client>,
    /// Clients with a lane in `ready`, each once, the next one first.
    turns: VecDeque<Arc<str>>,
    /// Lanes that go on at a time, with the job that waits for it.
    pub(super) delayed: Agenda,
    bucket: Common,
    /// The buckets of clients, as far as they are not full.
    allowances: HashMap<Arc<str>, Bucket>,
    /// When something that was passed over may start.
    wake: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Client {
    /// Jobs of direct routes that wait or run.
    held: usize,
    /// Lanes that hold a job.
    pub(super) lanes: Vec<Lane>,
    /// Slots of the routes whose lane has a job to start and none running, each once, the next
    /// one first.
    ready: VecDeque<usize>,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) slot: usize,
    running: bool,
    /// It waits for the same lane in another queue, see `moves`.
    pub(super) held: bool,
    /// Its key in `delayed`.
    pub(super) delayed: Option<(Instant, JobId)>,
    pub(super) waiting: VecDeque<Item>,
}

impl Client {
    pub(super) fn lane(&mut self, slot: usize) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.slot == slot)
    }

    /// Finds or makes a lane, and changes it.
    pub(super) fn with_lane(&mut self, slot: usize, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.lane(slot) {
            return change(lane);
        }
        let mut lane = Lane {
            slot,
            running: false,
            held: false,
            delayed: None,
            waiting: VecDeque::new(),
        };
        change(&mut lane);
        self.lanes.push(lane);
    }
}

impl Queue {
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            circuit: Circuit::default(),
            held: 0,
            running: 0,
            stored: 0,
            clients: HashMap::new(),
            turns: VecDeque::new(),
            delayed: Agenda::default(),
            bucket: Common::default(),
            allowances: HashMap::new(),
            wake: None,
        }
    }

    pub(super) fn serves(&self, endpoint: &Endpoint) -> bool {
        self.endpoint.name == endpoint.name
    }

    /// Goes on with other settings of its endpoint. How one server stands says nothing of another.
    pub(super) fn serve(&mut self, endpoint: &Arc<Endpoint>) {
        if !self.asks_where(endpoint) {
            self.circuit = Circuit::default();
        }
        self.endpoint = Arc::clone(endpoint);
    }

    /// Returns whether requests to this endpoint, as it is or was configured, go where those of the
    /// queue go now.
    pub(super) fn asks_where(&self, endpoint: &Endpoint) -> bool {
        self.endpoint.url == endpoint.url
            && self.endpoint.address == endpoint.address
            && self.endpoint.redirects == endpoint.redirects
    }

    /// Returns how many jobs run.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Returns whether one more job of the client may be pushed.
    pub(super) fn admit(&self, client: &str) -> Result<(), Failure> {
        let Endpoint { queue, share, .. } = *self.endpoint;
        let own = self.clients.get(client).map_or(0, |client| client.held);
        let detail = if own >= share {
            format!("{share} of this client's requests wait already")
        } else if self.held >= queue {
            format!("{queue} requests wait already")
        } else {
            return Ok(());
        };
        Err(Failure::new(Code::BridgeBusy, detail))
    }

    pub(super) fn push(&mut self, name: &Arc<str>, slot: usize, item: Item) {
        let client = self.clients.entry(Arc::clone(name)).or_default();
        if item.is_stored() {
            self.stored += 1;
        } else {
            self.held += 1;
            client.held += 1;
        }
        client.with_lane(slot, |lane| lane.waiting.push_back(item));
        self.arrange(name, slot);
    }

    /// Gives a lane its turn if it has something to start.
    pub(super) fn arrange(&mut self, name: &Arc<str>, slot: usize) {
        let Some(client) = self.clients.get_mut(name) else {
            return;
        };
        let is_ready = client.ready.contains(&slot);
        let Some(lane) = client.lane(slot) else {
            return;
        };
        let idle = !lane.running && !lane.held;
        let startable = idle && lane.delayed.is_none() && !lane.waiting.is_empty();
        if startable && !is_ready {
            client.ready.push_back(slot);
            if client.ready.len() == 1 {
                self.turns.push_back(Arc::clone(name));
            }
        } else if !startable && is_ready {
            client.ready.retain(|ready| *ready != slot);
            if client.ready.is_empty() {
                self.turns.retain(|turn| turn != name);
            }
        }
    }

    /// Takes the next job to start, `None` when there is none or all workers have one.
    pub(super) fn start_next(&mut self, now: Instant) -> Option<Taken> {
        self.wake = None;
        if self.running >= self.endpoint.concurrency || self.turns.is_empty() {
            return None;
        }
        if let Some(rate) = self.endpoint.conduct.rate
            && let Some(until) = self.bucket.wait(rate, now)
        {
            self.wake = Some(until);
            return None;
        }
        let (turn, at, probe) = self.choose(now)?;
        self.wake = None;
        let name = self.turns.remove(turn)?;
        let client = self.clients.get_mut(&name)?;
        let slot = client.ready.remove(at)?;
        let lane = client.lane(slot)?;
        let item = lane.waiting.pop_front()?;
        lane.running = true;
        self.running += 1;
        self.stored -= usize::from(item.is_stored());
        if !client.ready.is_empty() {
            self.turns.push_back(Arc::clone(&name));
        }
        if let Some(rate) = self.endpoint.conduct.rate {
            self.bucket.take(&name, rate, now);
        }
        if let Some(rate) = self.endpoint.conduct.client_rate {
            if self.allowances.len() >= REMEMBERED {
                self.allowances.retain(|_, bucket| !bucket.is_full(now));
            }
            let bucket = self.allowances.entry(Arc::clone(&name)).or_default();
            bucket.take(rate, now);
        }
        Some(Taken {
            item,
            client: name,
            slot,
            probe,
        })
    }

    /// Finds the first turn that can be taken: its place, that of the lane, and whether it is a
    /// probe. Notes in `wake` when one of those passed over can.
    fn choose(&mut self, now: Instant) -> Option<(usize, usize, bool)> {
        // How the endpoint stands is the same for all direct jobs, and for all stored ones.
        let direct = self.circuit.admits(false, now);
        let stored = self.circuit.admits(true, now);
        for (turn, name) in self.turns.iter().enumerate() {
            if let Some(rate) = self.endpoint.conduct.rate
                && let Some(until) = self.bucket.wait_of(name, rate, now)
            {
                self.wake = sooner(self.wake, Some(until));
                continue;
            }
            if let Some(rate) = self.endpoint.conduct.client_rate
                && let Some(bucket) = self.allowances.get(name)
                && let Some(until) = bucket.wait(rate, now)
            {
                self.wake = sooner(self.wake, Some(until));
                continue;
            }
            let Some(client) = self.clients.get(name) else {
                continue;
            };
            for (at, slot) in client.ready.iter().enumerate() {
                let lane = client.lanes.iter().find(|lane| lane.slot == *slot);
                let Some(item) = lane.and_then(|lane| lane.waiting.front()) else {
                    continue;
                };
                let admission = if item.is_stored() { stored } else { direct };
                match admission {
                    Admission::Start => return Some((turn, at, false)),
                    Admission::Probe => return Some((turn, at, true)),
                    Admission::Wait(until) => self.wake = sooner(self.wake, until),
                }
            }
        }
        None
    }

    /// Takes note that the lane's running job is done; `direct` says of which kind it was.
    pub(super) fn finish(&mut self, name: &Arc<str>, slot: usize, direct: bool) {
        if self.end_run(name, slot) {
            let held = usize::from(direct);
            self.held -= held;
            if let Some(client) = self.clients.get_mut(name) {
                client.held -= held;
            }
            self.arrange(name, slot);
            self.forget(name);
        }
    }

    /// Takes the lane's running job back, to be started again at that time.
    pub(super) fn put_back(&mut self, place: &Place, item: Item, key: (Instant, JobId)) {
        self.end_run(&place.client, place.slot);
        self.stored += usize::from(item.is_stored());
        if let Some(lane) = self.lane(place) {
            lane.waiting.push_front(item);
            lane.delayed = Some(key);
            self.delayed.insert(key, place.clone());
        }
    }

    pub(super) fn lane(&mut self, place: &Place) -> Option<&mut Lane> {
        self.clients.get_mut(&place.client)?.lane(place.slot)
    }

    fn end_run(&mut self, name: &Arc<str>, slot: usize) -> bool {
        let lane = self.clients.get_mut(name).and_then(|it| it.lane(slot));
        let Some(lane) = lane.filter(|lane| lane.running) else {
            return false;
        };
        lane.running = false;
        self.running -= 1;
        true
    }

    /// Lets lanes go on whose time has come.
    pub(super) fn release_delayed(&mut self, now: Instant) {
        while let Some((_, place)) = self.delayed.pop_due(now) {
            if let Some(lane) = self.lane(&place) {
                lane.delayed = None;
            }
            self.arrange(&place.client, place.slot);
        }
    }

    /// Returns when [`Queue::start_next`] may have something that it has not now, without
    /// anything else happening.
    pub(super) fn wake(&self) -> Option<Instant> {
        sooner(self.wake, self.delayed.next())
    }

    /// Takes a waiting job of a direct route out of its lane.
    pub(super) fn remove(
        &mut self,
        name: &Arc<str>,
        slot: usize,
        id: JobId,
    ) -> Option<Box<Waiting>> {
        let lane = self.clients.get_mut(name)?.lane(slot)?;
        // Deadlines pass in order within a lane, so this is among the first.
        let at = lane.waiting.iter().position(|it| it.is_job(id))?;
        let Some(Item::Direct(waiting)) = lane.waiting.remove(at) else {
            return None;
        };
        if let Some(key) = lane.delayed.filter(|(_, first)| *first == id) {
            lane.delayed = None;
            self.delayed.remove(key);
        }
        self.held -= 1;
        if let Some(client) = self.clients.get_mut(name) {
            client.held -= 1;
        }
        self.arrange(name, slot);
        self.forget(name);
        Some(waiting)
    }

    /// Forgets what holds nothing.
    pub(super) fn forget(&mut self, name: &Arc<str>) {
        let Some(client) = self.clients.get_mut(name) else {
            return;
        };
        client
            .lanes
            .retain(|lane| lane.running || lane.held || !lane.waiting.is_empty());
        if client.lanes.is_empty() {
            self.clients.remove(name);
        }
    }

    /// Returns the waiting jobs of direct routes: client, slot and number.
    pub(super) fn direct(&self) -> Vec<(Arc<str>, usize, JobId)> {
        let mut all = Vec::new();
        for (name, client) in &self.clients {
            for lane in &client.lanes {
                for item in &lane.waiting {
                    if let Item::Direct(waiting) = item {
                        all.push((Arc::clone(name), lane.slot, waiting.job.id));
                    }
                }
            }
        }
        all.sort_unstable_by_key(|(_, _, id)| *id);
        all
    }

    /// Returns whether the rate is what keeps a client's jobs from starting.
    pub(super) fn is_slowed(&self, name: &str, now: Instant) -> bool {
        let conduct = &self.endpoint.conduct;
        let all = conduct.rate;
        let all = all.and_then(|rate| self.bucket.wait_of(name, rate, now));
        let own = self.allowances.get(name);
        let own = own.zip(conduct.client_rate);
        all.is_some() || own.is_some_and(|(bucket, rate)| bucket.wait(rate, now).is_some())
    }

    /// Returns whether nothing is held, not even by what has passed.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
            && self.running == 0
            && self.clients.is_empty()
            && self.turns.is_empty()
            && self.delayed.is_empty()
            && self.stored == 0
    }
}

/// Returns the earlier of two times, as far as there are any.
pub(super) fn sooner(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
