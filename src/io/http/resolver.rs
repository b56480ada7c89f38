//! Name look-ups: cached, one at a time per name, bounded.
//!
//! getaddrinfo blocks for as long as it likes, so it runs on a few threads of its own and those who
//! ask wait no longer than they may. An answer that is out of date is better than none.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Condvar, PoisonError};
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType};

use crate::core::outcome::{Code, Failure, Phase};
use crate::io::clock;
use crate::io::http::exchange::Plan;
use crate::io::http::failure;
use crate::io::http::pool::{Crew, Duty, Pool};
use crate::io::tls::failure::brief;

/// How long an answer is good.
const FRESH: Duration = Duration::from_secs(60);
/// How long an answer may stand in for one that doesn't come.
const STALE: Duration = Duration::from_secs(3600);
/// How long a failure is not asked about again.
const FAILURE: Duration = Duration::from_secs(5);
/// How long a look-up may take before an answer that is out of date is used.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most names that are remembered.
const MAX_NAMES: usize = 256;
/// Most look-ups at the same time.
const MAX_THREADS: usize = 4;
/// How many of them may be for hosts that nodes or servers have chosen: names that nobody answers
/// for must not hold up those of the owner's endpoints.
const MAX_FOREIGN: usize = 2;
/// How long a look-up thread waits for work before it ends.
const THREAD_IDLE: Duration = Duration::from_secs(10);

/// Why a look-up failed, as the system says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAddress {
    /// The name does not exist, or has no address.
    NotFound,
    /// No name server gave an answer.
    Failed(String),
}

type Answer = Result<Vec<IpAddr>, NoAddress>;
type Lookup = dyn Fn(&str) -> Answer + Send + Sync;

/// The resolver of all endpoints.
pub(crate) struct Resolver {
    pool: Pool<Lookups>,
}

/// What the look-up threads do.
struct Lookups {
    lookup: Box<Lookup>,
    /// Wakes those who wait for an answer.
    answered: Condvar,
}

#[derive(Default)]
struct State {
    names: HashMap<String, Entry>,
    /// Look-ups that have not begun. Each has somebody who waits for it, so there are no more than
    /// workers, however many names they are asked for in turn.
    queue: VecDeque<Wanted>,
    /// Look-ups of foreign hosts that are under way.
    foreign: usize,
}

struct Wanted {
    name: String,
    /// Whether a node or a server has chosen it.
    foreign: bool,
}

#[derive(Default)]
struct Entry {
    addresses: Option<(Vec<IpAddr>, Instant)>,
    failure: Option<(NoAddress, Instant)>,
    /// When the look-up that is under way began.
    asking: Option<Instant>,
    /// A connect failed: ask again though the answer is fresh.
    doubted: bool,
    used: Option<Instant>,
    /// How many wait for its look-up.
    waiting: usize,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// Builds a resolver that asks the system.
    pub(crate) fn new() -> Self {
        Self::with_lookup(Box::new(ask_system))
    }

    fn with_lookup(lookup: Box<Lookup>) -> Self {
        let lookups = Lookups {
            lookup,
            answered: Condvar::new(),
        };
        let pool = Pool::new("lookup".to_owned(), MAX_THREADS, THREAD_IDLE, lookups);
        Self { pool }
    }

    /// Returns the addresses of a name, in the system's order of preference.
    ///
    /// # Errors
    /// `dns.not_found`, `dns.failed`, or `timeout.dns` at the plan's deadline.
    pub(crate) fn resolve(&self, name: &str, plan: &Plan) -> Result<Vec<IpAddr>, Failure> {
        let mut state = self.pool.lock();
        loop {
            let now = clock::now();
            let entry = state.entry(name, now);
            if let Some(settled) = entry.settled(now) {
                return settled.map_err(|error| described(name, &error));
            }
            let asking = entry.asking;
            let began = match asking {
                Some(began) if plan.foreign_host || !state.adopt(name) => began,
                _ => {
                    if asking.is_none() {
                        state.ask(name, plan.foreign_host, now);
                    }
                    drop(state);
                    self.pool.rouse();
                    state = self.pool.lock();
                    continue;
                }
            };
            let stale = state.entry(name, now).stale(now);
            let until = match stale {
                Some(_) => plan.deadline.min(began + PATIENCE),
                None => plan.deadline,
            };
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                if stale.is_none() {
                    state.abandon(name);
                }
                let waited = now.saturating_duration_since(plan.started);
                return stale.ok_or_else(|| failure::timed_out(Some(Phase::Resolve), waited));
            }
            state.entry(name, now).waiting += 1;
            let waited = self.pool.duty().answered.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if let Some(entry) = state.names.get_mut(name) {
                entry.waiting -= 1;
            }
        }
    }

    /// Notes that a name's addresses could not be connected to, so that they are asked for anew.
    pub(crate) fn doubt(&self, name: &str) {
        if let Some(entry) = self.pool.lock().names.get_mut(name) {
            entry.doubted = true;
        }
    }
}

impl State {
    fn entry(&mut self, name: &str, now: Instant) -> &mut Entry {
        if !self.names.contains_key(name) && self.names.len() >= MAX_NAMES {
            let oldest = self
                .names
                .iter()
                .filter(|(_, entry)| entry.asking.is_none() && entry.waiting == 0)
                .min_by_key(|(_, entry)| entry.used)
                .map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.names.remove(&oldest);
            }
        }
        let entry = self.names.entry(name.to_owned()).or_default();
        entry.used = Some(now);
        entry
    }

    /// Puts a look-up into the queue.
    fn ask(&mut self, name: &str, foreign: bool, now: Instant) {
        self.entry(name, now).asking = Some(now);
        let name = name.to_owned();
        self.queue.push_back(Wanted { name, foreign });
    }

    /// Returns where in the queue the next look-up is that may begin.
    fn next(&self) -> Option<usize> {
        let room = self.foreign < MAX_FOREIGN;
        self.queue.iter().position(|it| room || !it.foreign)
    }

    /// Makes a look-up that has not begun one of the owner's own; returns whether it was not.
    fn adopt(&mut self, name: &str) -> bool {
        let mut foreign = self.queue.iter_mut().filter(|it| it.foreign);
        let found = foreign.find(|it| it.name == name);
        found.map(|wanted| wanted.foreign = false).is_some()
    }

    /// Forgets a look-up that has not begun and that nobody waits for any more.
    fn abandon(&mut self, name: &str) {
        let Some(entry) = self.names.get_mut(name).filter(|it| it.waiting == 0) else {
            return;
        };
        if let Some(at) = self.queue.iter().position(|it| it.name == name) {
            self.queue.remove(at);
            entry.asking = None;
        }
    }

    /// Those who wait get the reason why they do so in vain.
    fn give_up(&mut self, error: &io::Error) {
        let now = clock::now();
        while let Some(Wanted { name, .. }) = self.queue.pop_front() {
            let failed = NoAddress::Failed(format!("no thread for the look-up: {error}"));
            if let Some(entry) = self.names.get_mut(&name) {
                entry.settle(Err(failed), now);
            }
        }
    }
}

impl Entry {
    /// Returns what is known well enough not to ask.
    fn settled(&self, now: Instant) -> Option<Answer> {
        let within = |at: &Instant, limit| now.saturating_duration_since(*at) < limit;
        if let Some((addresses, _)) = self
            .addresses
            .as_ref()
            .filter(|(_, at)| !self.doubted && within(at, FRESH))
        {
            return Some(Ok(addresses.clone()));
        }
        let (failure, _) = self
            .failure
            .as_ref()
            .filter(|(_, at)| within(at, FAILURE))?;
        Some(match (failure, self.stale(now)) {
            (NoAddress::Failed(_), Some(stale)) => Ok(stale),
            (failure, _) => Err(failure.clone()),
        })
    }

    fn stale(&self, now: Instant) -> Option<Vec<IpAddr>> {
        self.addresses
            .as_ref()
            .filter(|(_, at)| now.saturating_duration_since(*at) < STALE)
            .map(|(addresses, _)| addresses.clone())
    }

    fn settle(&mut self, answer: Answer, now: Instant) {
        self.asking = None;
        self.doubted = false;
        match answer {
            Ok(addresses) => {
                self.addresses = Some((addresses, now));
                self.failure = None;
            }
            // A name that is gone is gone; a name server that is silent says nothing about it.
            Err(NoAddress::NotFound) => {
                self.addresses = None;
                self.failure = Some((NoAddress::NotFound, now));
            }
            Err(failed) => self.failure = Some((failed, now)),
        }
    }
}

impl Duty for Lookups {
    type Desk = State;
    type Job = Wanted;
    type Report = ();

    fn waiting(state: &State) -> usize {
        let foreign = state.queue.iter().filter(|it| it.foreign).count();
        let room = MAX_FOREIGN.saturating_sub(state.foreign);
        state.queue.len() - foreign + foreign.min(room)
    }

    fn take(state: &mut State) -> Option<Wanted> {
        let wanted = state.queue.remove(state.next()?)?;
        state.foreign += usize::from(wanted.foreign);
        Some(wanted)
    }

    fn perform(&self, pool: &Crew<Self>, wanted: Wanted) {
        let answer = (self.lookup)(&wanted.name);
        let mut state = pool.lock();
        state.foreign -= usize::from(wanted.foreign);
        if let Some(entry) = state.names.get_mut(&wanted.name) {
            entry.settle(answer, clock::now());
        }
        drop(state);
        self.answered.notify_all();
    }

    fn report(&self, (): ()) {}

    fn strand(&self, state: &mut State, error: &io::Error) {
        state.give_up(error);
    }
}

fn described(name: &str, error: &NoAddress) -> Failure {
    match error {
        NoAddress::NotFound => {
            Failure::new(Code::DnsNotFound, brief(&format!("{name} does not exist")))
        }
        NoAddress::Failed(why) => Failure::new(Code::DnsFailed, brief(&format!("{name}: {why}"))),
    }
}

fn ask_system(name: &str) -> Answer {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    match dns_lookup::getaddrinfo(Some(name), None, Some(hints)) {
        Ok(found) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.flatten().map(|info| info.sockaddr.ip()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            if addresses.is_empty() {
                return Err(NoAddress::NotFound);
            }
            Ok(addresses)
        }
        Err(error) => Err(no_address(error)),
    }
}

fn no_address(error: LookupError) -> NoAddress {
    match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => NoAddress::NotFound,
        LookupErrorKind::Again => NoAddress::Failed("no answer from a name server".to_owned()),
        LookupErrorKind::Fail => NoAddress::Failed("the name server refused".to_owned()),
        _ => NoAddress::Failed(io::Error::from(error).to_string()),
    }
}

#[cfg(test)]
mod tests;
