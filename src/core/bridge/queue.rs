//! The jobs of one endpoint: how many it takes, and whose turn it is.
//!
//! A lane is what one client sent to one route: strictly in order, one job at a time. Clients
//! with a job to start take turns, and so do the lanes of one client, so a backlog holds up
//! nobody but its own lane.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::core::bridge::{Job, JobId, Pending};
use crate::core::endpoint::Endpoint;
use crate::core::outcome::{Code, Failure};

/// A job and what is needed to answer it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) job: Job,
    pub(super) pending: Pending,
}

/// The jobs of one endpoint, waiting and running.
#[derive(Debug)]
pub(super) struct Queue {
    endpoint: Arc<Endpoint>,
    /// Jobs that wait or run.
    held: usize,
    running: usize,
    /// Clients that hold a job.
    clients: HashMap<Arc<str>, Client>,
    /// Clients with a lane in `ready`, each once, the next one first.
    turns: VecDeque<Arc<str>>,
}

#[derive(Debug, Default)]
struct Client {
    /// Jobs that wait or run.
    held: usize,
    /// Lanes that hold a job: at most as many as the client's share.
    lanes: Vec<Lane>,
    /// Routes whose lane has a job to start and none running, each once, the next one first.
    ready: VecDeque<usize>,
}

#[derive(Debug)]
struct Lane {
    route: usize,
    running: bool,
    waiting: VecDeque<Waiting>,
}

impl Queue {
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            held: 0,
            running: 0,
            clients: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    pub(super) fn serves(&self, endpoint: &Endpoint) -> bool {
        self.endpoint.name == endpoint.name
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

    pub(super) fn push(&mut self, client: Arc<str>, route: usize, waiting: Waiting) {
        self.held += 1;
        let own = self.clients.entry(Arc::clone(&client)).or_default();
        own.held += 1;
        if let Some(lane) = own.lanes.iter_mut().find(|lane| lane.route == route) {
            // It runs or is ready: its turn is arranged for.
            lane.waiting.push_back(waiting);
            return;
        }
        own.lanes.push(Lane {
            route,
            running: false,
            waiting: VecDeque::from([waiting]),
        });
        own.ready.push_back(route);
        if own.ready.len() == 1 {
            self.turns.push_back(client);
        }
    }

    /// Takes the next job to start, `None` when there is none or all workers have one.
    pub(super) fn start_next(&mut self) -> Option<Waiting> {
        if self.running >= self.endpoint.concurrency {
            return None;
        }
        let name = self.turns.pop_front()?;
        let client = self.clients.get_mut(&name)?;
        let route = client.ready.pop_front()?;
        let lane = client.lanes.iter_mut().find(|lane| lane.route == route)?;
        let waiting = lane.waiting.pop_front()?;
        lane.running = true;
        self.running += 1;
        if !client.ready.is_empty() {
            self.turns.push_back(name);
        }
        Some(waiting)
    }

    /// Takes note that the lane's running job is done.
    pub(super) fn finish(&mut self, name: &Arc<str>, route: usize) {
        let Some(client) = self.clients.get_mut(name) else {
            return;
        };
        let lane = client.lanes.iter_mut().find(|lane| lane.route == route);
        let Some(lane) = lane.filter(|lane| lane.running) else {
            return;
        };
        lane.running = false;
        if !lane.waiting.is_empty() {
            client.ready.push_back(route);
            if client.ready.len() == 1 {
                self.turns.push_back(Arc::clone(name));
            }
        }
        self.running -= 1;
        self.release(name, route);
    }

    /// Takes a waiting job out of its lane.
    pub(super) fn remove(&mut self, name: &Arc<str>, route: usize, id: JobId) -> Option<Waiting> {
        let client = self.clients.get_mut(name)?;
        let lane = client.lanes.iter_mut().find(|lane| lane.route == route)?;
        // Deadlines pass in order within a lane, so this is the first one.
        let at = lane.waiting.iter().position(|it| it.job.id == id)?;
        let waiting = lane.waiting.remove(at)?;
        if lane.waiting.is_empty() && !lane.running {
            client.ready.retain(|ready| *ready != route);
            if client.ready.is_empty() {
                self.turns.retain(|turn| turn != name);
            }
        }
        self.release(name, route);
        Some(waiting)
    }

    /// Gives the place of one job free, and forgets lane and client when it was their last.
    fn release(&mut self, name: &Arc<str>, route: usize) {
        self.held -= 1;
        let Some(client) = self.clients.get_mut(name) else {
            return;
        };
        client.held -= 1;
        client
            .lanes
            .retain(|lane| lane.route != route || lane.running || !lane.waiting.is_empty());
        if client.lanes.is_empty() {
            self.clients.remove(name);
        }
    }

    /// Returns whether nothing is held, not even by what has passed.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0 && self.running == 0 && self.clients.is_empty() && self.turns.is_empty()
    }
}
