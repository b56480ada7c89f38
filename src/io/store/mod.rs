//! What survives a restart: one thread, `store`, that owns the files and waits for the disk.
//!
//! What comes while it waits, and within the commit window, is brought to the disk together. A
//! batch that comes when nothing has been written for that long is written at once. When nothing
//! changes, nothing is written.

mod files;
mod keeper;
mod mounts;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::error;

use crate::core::status::Store as Status;
use crate::core::store::{Change, Key};
use crate::io::clock;

pub(crate) use keeper::Keeper;
pub(crate) use mounts::is_in_memory;

/// Bytes that may wait for the disk; beyond them batches are refused.
const WAITING: usize = 1 << 20;
/// Bytes that are brought to the disk together, about.
const TOGETHER: usize = 256 << 10;
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
    pub(crate) fn start(keeper: Keeper, window: Duration, done: OnDone) -> io::Result<Self> {
        let status = keeper.status().clone();
        let desk = Arc::new(Desk {
            queue: Mutex::new(Queue {
                status,
                ..Queue::default()
            }),
            called: Condvar::new(),
        });
        let mut work = Work {
            desk: Arc::clone(&desk),
            keeper,
            window,
            done,
            last: None,
        };
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .stack_size(STACK)
            .spawn(move || while work.turn() {})?;
        let thread = Some(thread);
        Ok(Self { desk, thread })
    }

    /// Has a batch stored.
    pub(crate) fn commit(&self, changes: Vec<Change>) {
        let mut queue = self.desk.lock();
        let bytes = size(&changes);
        let refused = queue.bytes.saturating_add(bytes) > WAITING && !queue.batches.is_empty();
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
    keeper: Keeper,
    window: Duration,
    done: OnDone,
    /// When a group was begun last.
    last: Option<Instant>,
}

impl Work {
    /// Does what is there, or waits for it; returns whether there may be more.
    fn turn(&mut self) -> bool {
        let mut queue = self.desk.lock();
        let wait = loop {
            if let Some(key) = ready(&mut queue) {
                drop(queue);
                self.load(key);
                return true;
            }
            let wait = match (queue.batches.is_empty(), queue.closing) {
                (true, true) => return false,
                (false, true) => None,
                (false, false) => self.last.and_then(|last| {
                    let past = clock::now().saturating_duration_since(last);
                    self.window.checked_sub(past).filter(|it| !it.is_zero())
                }),
                (true, false) => Some(Duration::MAX),
            };
            queue = match wait {
                None => break queue,
                Some(Duration::MAX) => {
                    let waited = self.desk.called.wait(queue);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
                Some(limit) => {
                    let waited = self.desk.called.wait_timeout(queue, limit);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        };
        queue = wait;
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
        let keeper = &mut self.keeper;
        let results = catch_unwind(AssertUnwindSafe(|| keeper.store(batches)));
        let results = results.unwrap_or_else(|_| {
            error!("a fault of this program ended a write to the store; what it held is refused");
            vec![Err(Arc::from("a fault of the gateway")); count]
        });
        self.desk.lock().status = self.keeper.status().clone();
        for result in results {
            (self.done)(Done::Batch(result));
        }
    }

    fn load(&mut self, key: Key) {
        let keeper = &mut self.keeper;
        let value = catch_unwind(AssertUnwindSafe(|| keeper.load(key)));
        (self.done)(Done::Loaded(key, value.unwrap_or_default()));
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

/// Says what is wrong with a directory that is to hold a store, without making it.
///
/// # Errors
/// Says what is wrong, and what to do.
pub(crate) fn check(directory: &Path) -> Result<(), String> {
    use rustix::fs::{Access, access};
    let shown = directory.display();
    let mut places = directory
        .ancestors()
        .map(|it| match it.as_os_str().is_empty() {
            true => Path::new("."),
            false => it,
        });
    let place = places.find(|it| it.exists());
    let Some(place) = place.filter(|it| it.is_dir()) else {
        return Err(format!("`{shown}` is not a directory; correct directory"));
    };
    access(place, Access::WRITE_OK | Access::EXEC_OK).map_err(|cause| {
        let place = place.display();
        format!(
            "`{place}` can not be written: {cause}; make it writable or correct directory `{shown}`"
        )
    })
}
