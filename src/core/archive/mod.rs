//! What of sessions, deliveries and retained messages is in the store, and what waits for it.
//!
//! Gathers the changes of one call of the hub, and decides when an acknowledgement may leave.
//! What is worth storing is the hub's to decide; how values look is `value`'s.

pub(crate) mod value;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::bridge::Ticket;
use crate::core::few::Few;
use crate::core::session::SessionId;
use crate::core::store::{Change, Key, Kind};

/// A value in the store. When it is let go of, the value is deleted with the next batch.
#[derive(Debug)]
pub(crate) struct Record {
    key: Key,
    gone: Gone,
}

/// Keys whose values nobody holds any more.
type Gone = Arc<Mutex<Vec<Key>>>;

impl Record {
    /// Returns where the value is found.
    pub(crate) fn key(&self) -> Key {
        self.key
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let gone = self.gone.lock();
        gone.unwrap_or_else(PoisonError::into_inner).push(self.key);
    }
}

/// A session's delivery, by its number in the store.
pub(crate) type Taken = (SessionId, u64);

/// What is to happen when a batch is on the disk, or can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// A publish, and what the queues of sessions without a connection took of it.
    Publish(Ticket, Vec<Taken>),
    /// PUBREL for a session's delivery of this number: the client may forget the message only
    /// when the store has it that it was received.
    Release(SessionId, u64),
    /// PUBCOMP for a publish: the store must have forgotten the exchange.
    Complete(Ticket),
    /// A session, which is in the store from then on under this number.
    Session(SessionId, u64),
}

/// An acknowledgement that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// For the store; the reason code if all else is done.
    Store(Option<u8>),
    /// For all else; the store has failed at this time.
    Failed(Instant),
    /// For the store; all else has left it with its client at this time.
    Declined(Instant),
}

/// What a publish is to get back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This reason code.
    Settle(u8),
    /// It is left with its client, as was known at this time.
    Refuse(Instant),
    /// Nothing yet.
    Wait,
}

/// Batches for which memory is kept when none waits.
const KEPT: usize = 64;

/// The changes that are gathered, and who waits for those before.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    /// How often what need not be stored at once is stored, `None` if there is no store.
    interval: Option<Duration>,
    gone: Gone,
    /// The latest number given in each kind.
    latest: Few<Kind, u64>,
    changes: Vec<Change>,
    waiters: Vec<Waiter>,
    token: usize,
    waiting: HashMap<usize, Vec<Waiter>>,
    holds: HashMap<Ticket, Hold>,
    clock: Option<(u64, Instant)>,
    /// When to store what need not be stored at once, if there is such.
    due: Option<Instant>,
    /// A batch was refused since all was written the last time.
    unsure: bool,
}

impl Archive {
    /// Begins to store.
    pub(crate) fn open(&mut self, interval: Duration) {
        self.interval = Some(interval);
    }

    /// Returns whether there is a store.
    pub(crate) fn is_open(&self) -> bool {
        self.interval.is_some()
    }

    /// Takes note of the wall clock: seconds since 1970, `None` if it is not known.
    pub(crate) fn set_clock(&mut self, unix_time: Option<u64>, now: Instant) {
        self.clock = unix_time.map(|time| (time, now));
    }

    /// Returns the wall clock's time at an instant, if it is known.
    pub(crate) fn unix_time(&self, at: Instant) -> Option<u64> {
        let (time, now) = self.clock?;
        match at.checked_duration_since(now) {
            Some(later) => time.checked_add(later.as_secs()),
            None => time.checked_sub(now.saturating_duration_since(at).as_secs()),
        }
    }

    /// Takes note that a number is in use.
    pub(crate) fn see(&mut self, key: Key) {
        let latest = self.latest.get(&key.kind).copied().unwrap_or_default();
        self.latest.insert(key.kind, key.id.max(latest));
    }

    /// Takes over what is in the store already.
    pub(crate) fn adopt(&mut self, key: Key) -> Record {
        self.see(key);
        let gone = Arc::clone(&self.gone);
        Record { key, gone }
    }

    /// Makes a place in the store.
    pub(crate) fn make(&mut self, kind: Kind) -> Record {
        let latest = self.latest.get(&kind).copied().unwrap_or_default();
        let id = latest.saturating_add(1);
        self.adopt(Key { kind, id })
    }

    /// Stores a value.
    pub(crate) fn put(&mut self, key: Key, value: Bytes) {
        self.changes.push(Change::Put(key, value));
    }

    /// Has somebody wait for the batch in the making.
    pub(crate) fn wait(&mut self, waiter: Waiter) {
        if let Waiter::Publish(ticket, _) = waiter {
            self.holds.insert(ticket, Hold::Store(None));
        }
        self.waiters.push(waiter);
    }

    /// Returns the batch, `None` if there is nothing to change.
    pub(crate) fn take_batch(&mut self) -> Option<(Vec<Change>, Option<usize>)> {
        self.interval?;
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if self.changes.is_empty() && gone.is_empty() {
            return None;
        }
        let mut changes = std::mem::take(&mut self.changes);
        let writes = !changes.is_empty() || !self.waiters.is_empty();
        changes.extend(gone.drain(..).map(Change::Delete));
        let token = writes.then(|| {
            self.token = self.token.wrapping_add(1);
            let waiters = std::mem::take(&mut self.waiters);
            self.waiting.insert(self.token, waiters);
            self.token
        });
        Some((changes, token))
    }

    /// Returns who waited for a batch.
    pub(crate) fn done(&mut self, token: usize) -> Vec<Waiter> {
        let waiters = self.waiting.remove(&token).unwrap_or_default();
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            // A disk that stood still has let them become many.
            self.waiting = HashMap::new();
        }
        waiters
    }

    /// Decides what a publish gets back when all but the store is done.
    pub(crate) fn settle(&mut self, ticket: Ticket, reason: u8) -> Answer {
        self.proceed(ticket, Hold::Store(Some(reason)), Answer::Settle(reason))
    }

    /// Decides what a publish gets back that all but the store leaves with its client.
    pub(crate) fn decline(&mut self, ticket: Ticket, now: Instant) -> Answer {
        self.proceed(ticket, Hold::Declined(now), Answer::Refuse(now))
    }

    /// Has an answer wait for the store if the publish does.
    fn proceed(&mut self, ticket: Ticket, then: Hold, answer: Answer) -> Answer {
        match self.holds.get_mut(&ticket) {
            None => answer,
            Some(Hold::Failed(at)) => {
                let at = *at;
                self.holds.remove(&ticket);
                Answer::Refuse(at)
            }
            Some(hold) => {
                *hold = then;
                Answer::Wait
            }
        }
    }

    /// Decides what a publish gets back when the store is done.
    pub(crate) fn release(&mut self, ticket: Ticket, stored: Result<(), Instant>) -> Answer {
        match (self.holds.remove(&ticket), stored) {
            (Some(Hold::Store(Some(reason))), Ok(())) => Answer::Settle(reason),
            (Some(Hold::Store(Some(_))), Err(at)) | (Some(Hold::Declined(at)), _) => {
                Answer::Refuse(at)
            }
            (Some(Hold::Store(None)), Err(now)) => {
                self.holds.insert(ticket, Hold::Failed(now));
                Answer::Wait
            }
            (Some(Hold::Failed(_) | Hold::Store(None)) | None, _) => Answer::Wait,
        }
    }

    /// Returns how many publishes have an answer that waits.
    #[cfg(test)]
    pub(crate) fn holds(&self) -> usize {
        self.holds.len()
    }

    /// Plans to store what need not be stored at once.
    pub(crate) fn plan(&mut self, now: Instant) {
        if self.due.is_none() {
            self.due = self.interval.and_then(|interval| now.checked_add(interval));
        }
    }

    /// Plans to write all anew: what was not stored may be anything.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.unsure = true;
        self.plan(now);
    }

    /// Returns when that is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Begins to store what was not. Returns whether all has to be written anew.
    pub(crate) fn begin(&mut self) -> bool {
        self.due = None;
        std::mem::take(&mut self.unsure)
    }
}
