//! What survives a restart: one thread, `store`, that owns the files and waits for the disk.
//!
//! What comes while it waits, and within the commit window, is brought to the disk together. A
//! batch that comes when nothing has been written for that long is written at once. When nothing
//! changes, nothing is written.

mod cause;
mod check;
mod disk;
mod files;
mod keeper;
mod mounts;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::error;

use crate::core::status::Store as Status;
use crate::core::store::{Change, Key};
use crate::io::clock;

pub(crate) use check::check;
pub(crate) use disk::Disk;
pub(crate) use keeper::Keeper;
pub(crate) use mounts::is_in_memory;

/// Bytes that may wait for the disk; beyond them batches are refused.
const WAITING: usize = 1 << 20;
/// Bytes that are brought to the disk together, about.
const TOGETHER: usize = 256 << 10;
/// How often a disk that does not take what it should is tried again by itself.
const RETRY: Duration = Duration::from_secs(30);
/// Stack of the thread.
const STACK: usize = 128 << 10;

/// What came of a batch: why it is not stored, for a person.
pub(crate) type Stored = Result<(), Arc<str>>;

/// What the store has done, in the order in which it was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// The oldest batch that has no answer yet.
    Batch(Stored),
    /// A value that was asked for.
    Loaded(Key, Option<Bytes>),
    /// The store could not be opened, and now it can: it holds what has to be taken up before
    /// anything else, so all has to begin anew.
    Back,
}

/// Is told what the store has done, on the store's thread.
pub(crate) type OnDone = Arc<dyn Fn(Done) + Send + Sync>;

/// A batch on its way.
pub(crate) struct Request {
    changes: Vec<Change>,
    /// Too much waits already: what it removes is removed, the rest is refused.
    refused: bool,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Request>,
    loads: VecDeque<Key>,
    bytes: usize,
    closing: bool,
    status: Status,
}

struct Desk {
    queue: Mutex<Queue>,
    called: Condvar,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop's end of the store.
pub(crate) struct Store {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Starts the thread; `done` is called for each batch and each value, on that thread.
    ///
    /// # Errors
    /// Returns what the system says to another thread.
    pub(crate) fn start(disk: Disk, window: Duration, done: OnDone) -> io::Result<Self> {
        let status = disk.status().clone();
        let desk = Arc::new(Desk {
            queue: Mutex::new(Queue {
                status,
                ..Queue::default()
            }),
            called: Condvar::new(),
        });
        let mut work = Work {
            desk: Arc::clone(&desk),
            disk,
            window,
            done,
            last: None,
            retry: None,
        };
        work.plan_retry();
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .stack_size(STACK)
            .spawn(move || while work.turn() {})?;
        let thread = Some(thread);
        Ok(Self { desk, thread })
    }

    /// Has a batch stored. What is more than may wait is refused, and its values are forgotten at
    /// once: what is to be deleted is deleted all the same.
    pub(crate) fn commit(&self, mut changes: Vec<Change>) {
        let mut queue = self.desk.lock();
        let waiting = queue.bytes.saturating_add(size(&changes));
        let refused = waiting > WAITING && !queue.batches.is_empty();
        if refused {
            changes.retain(|change| matches!(change, Change::Delete(_)));
            changes.shrink_to_fit();
        }
        let bytes = size(&changes);
        let request = Request { changes, refused };
        queue.bytes = queue.bytes.saturating_add(bytes);
        queue.batches.push_back(request);
        self.desk.called.notify_one();
    }

    /// Has a value read, as the batches before have left it.
    pub(crate) fn load(&self, key: Key) {
        self.desk.lock().loads.push_back(key);
        self.desk.called.notify_one();
    }

    /// Returns how the store is.
    pub(crate) fn status(&self) -> Status {
        self.desk.lock().status.clone()
    }

    /// Brings all to the disk that is on its way, and ends the thread.
    pub(crate) fn close(&mut self) {
        self.desk.lock().closing = true;
        self.desk.called.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic was told where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

fn size(changes: &[Change]) -> usize {
    let size = |change: &Change| match change {
        Change::Put(_, value) => value.len().saturating_add(16),
        Change::Delete(_) => 16,
    };
    changes.iter().map(size).fold(0, usize::saturating_add)
}

/// The thread's end.
struct Work {
    desk: Arc<Desk>,
    disk: Disk,
    window: Duration,
    done: OnDone,
    /// When a group was begun last.
    last: Option<Instant>,
    /// When a disk that does not take what it should is tried again.
    retry: Option<Instant>,
}

impl Work {
    /// Does what is there, or waits for it; returns whether there may be more.
    fn turn(&mut self) -> bool {
        let mut queue = self.desk.lock();
        loop {
            if let Some(key) = ready(&mut queue) {
                drop(queue);
                self.load(key);
                return true;
            }
            let due = match (queue.batches.is_empty(), queue.closing) {
                (true, true) => return false,
                (false, true) => break,
                (false, false) => self.last.and_then(|last| last.checked_add(self.window)),
                (true, false) => self.retry,
            };
            let left = due.map(|due| due.saturating_duration_since(clock::now()));
            queue = match (left, queue.batches.is_empty()) {
                (Some(Duration::ZERO), true) => {
                    drop(queue);
                    self.contain("an attempt", Disk::retry);
                    self.note();
                    return true;
                }
                (None | Some(Duration::ZERO), false) => break,
                (None, true) => {
                    let waited = self.desk.called.wait(queue);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
                (Some(left), _) => {
                    let waited = self.desk.called.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let (mut batches, mut bytes) = (Vec::new(), 0_usize);
        while bytes < TOGETHER
            && let Some(request) = queue.batches.pop_front()
        {
            bytes = bytes.saturating_add(size(&request.changes));
            batches.push(request);
        }
        queue.bytes = queue.bytes.saturating_sub(bytes);
        drop(queue);
        self.last = Some(clock::now());
        self.store(batches);
        true
    }

    fn store(&mut self, batches: Vec<Request>) {
        let count = batches.len();
        let results = self.contain("a write", |disk| disk.store(batches));
        let results =
            results.unwrap_or_else(|| vec![Err(Arc::from("a fault of the gateway")); count]);
        self.note();
        for result in results {
            (self.done)(Done::Batch(result));
        }
    }

    /// Shows how the store is, and plans when to try again.
    fn note(&mut self) {
        self.desk.lock().status = self.disk.status().clone();
        let was_planned = self.retry.is_some();
        self.plan_retry();
        if was_planned && self.disk.holds() {
            (self.done)(Done::Back);
        }
    }

    fn plan_retry(&mut self) {
        let later = || clock::now().checked_add(RETRY);
        self.retry = self.disk.is_ill().then(later).flatten();
    }

    fn load(&mut self, key: Key) {
        let value = self.contain("a look", |disk| disk.load(key));
        (self.done)(Done::Loaded(key, value.flatten()));
    }

    /// Does something with the disk; `None` if a fault of this program ended it.
    fn contain<T>(&mut self, what: &str, run: impl FnOnce(&mut Disk) -> T) -> Option<T> {
        let disk = &mut self.disk;
        let result = catch_unwind(AssertUnwindSafe(|| run(disk)));
        if result.is_err() {
            error!("a fault of this program ended {what} at the store; what it held is refused");
        }
        result.ok()
    }
}

/// Takes a value that is to be read off the queue if no batch that waits changes it.
fn ready(queue: &mut Queue) -> Option<Key> {
    let key = *queue.loads.front()?;
    let touches = |change: &Change| match change {
        Change::Put(other, _) | Change::Delete(other) => *other == key,
    };
    let mut changes = queue.batches.iter().flat_map(|it| &it.changes);
    if changes.any(touches) {
        return None;
    }
    queue.loads.pop_front()
}
