//! Threads that are made when needed and end when idle.
//!
//! Waking a thread and letting it sleep again costs more than what a small request needs besides.
//! So whoever has jobs puts down all of them before rousing anybody, and a thread looks for its
//! next job before it tells of the last one: jobs that are taken meanwhile wake nobody. The thread
//! that slept last is woken first; often it does not sleep yet.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::io::scheduling::let_others_finish;

/// Enough for a handshake in a debug build; measured by the test that runs one on such a thread.
const STACK: usize = 256 * 1024;

/// What the threads of a pool do.
pub(crate) trait Duty: Send + Sync + Sized + 'static {
    /// What lies under the pool's lock: the jobs that wait, and what they depend on.
    type Desk: Default + Send;
    /// One thing to do.
    type Job;
    /// What came of it.
    type Report;

    /// Returns how many jobs wait that may begin now.
    fn waiting(desk: &Self::Desk) -> usize;
    /// Takes the next job that may begin now.
    fn take(desk: &mut Self::Desk) -> Option<Self::Job>;
    /// Does a job. Must not panic: the thread would be missing from then on.
    fn perform(&self, pool: &Crew<Self>, job: Self::Job) -> Self::Report;
    /// Tells what came of a job, once the thread's next one is known. Must neither panic nor park.
    fn report(&self, report: Self::Report);
    /// Answers the jobs that wait: there is no thread, and none can be had.
    fn strand(&self, desk: &mut Self::Desk, error: &io::Error);
}

/// A number of threads with a common duty. Dropped, it lets them finish what waits and end.
pub(crate) struct Pool<D: Duty>(Arc<Crew<D>>);

impl<D: Duty> Pool<D> {
    /// Prepares at most `size` threads, each of which ends when it was idle for so long.
    pub(crate) fn new(name: String, size: usize, idle: Duration, duty: D) -> Self {
        Self(Arc::new(Crew {
            name,
            size: size.max(1),
            patience: idle,
            duty,
            state: Mutex::new(State {
                desk: D::Desk::default(),
                threads: 0,
                idle: Vec::new(),
                waking: 0,
                closed: false,
            }),
        }))
    }

    /// Does something with what lies under the lock. Who adds a job calls [`Pool::rouse`] after.
    pub(crate) fn lock(&self) -> Desk<'_, D> {
        self.0.lock()
    }

    /// Returns what the threads do.
    pub(crate) fn duty(&self) -> &D {
        &self.0.duty
    }

    /// Sees to it that the jobs that wait are taken. Never blocks.
    pub(crate) fn rouse(&self) {
        loop {
            let call = self.0.lock().call(self.0.size);
            match call {
                None => return,
                Some(Call::Wake(thread)) => thread.unpark(),
                Some(Call::Recruit) => {
                    if let Err(error) = self.0.recruit() {
                        return self.0.not_recruited(&error);
                    }
                }
            }
        }
    }
}

impl<D: Duty> Drop for Pool<D> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.waking += state.idle.len();
        for thread in state.idle.drain(..) {
            thread.unpark();
        }
    }
}

/// What the threads of a pool share.
pub(crate) struct Crew<D: Duty> {
    name: String,
    size: usize,
    patience: Duration,
    duty: D,
    state: Mutex<State<D>>,
}

/// The pool's lock, held.
pub(crate) type Desk<'p, D> = MutexGuard<'p, State<D>>;

/// What lies under the lock: the desk, and who works at it.
pub(crate) struct State<D: Duty> {
    desk: D::Desk,
    threads: usize,
    /// Those who sleep or are about to, the last one last.
    idle: Vec<Thread>,
    /// How many were woken who have not looked yet.
    waking: usize,
    closed: bool,
}

impl<D: Duty> Deref for State<D> {
    type Target = D::Desk;

    fn deref(&self) -> &D::Desk {
        &self.desk
    }
}

impl<D: Duty> DerefMut for State<D> {
    fn deref_mut(&mut self) -> &mut D::Desk {
        &mut self.desk
    }
}

/// How to get somebody to look at what waits.
enum Call {
    Wake(Thread),
    Recruit,
}

/// What a thread does next.
enum Next<J> {
    Job(J),
    Wait,
    End,
}

impl<D: Duty> State<D> {
    #[cfg(test)]
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Decides who is to look at what waits, unless enough are on their way.
    fn call(&mut self, size: usize) -> Option<Call> {
        if self.waking >= D::waiting(&self.desk) {
            return None;
        }
        let call = match self.idle.pop() {
            Some(thread) => Call::Wake(thread),
            None if self.threads < size => {
                self.threads += 1;
                Call::Recruit
            }
            // Everybody is at work, and looks here before sleeping.
            None => return None,
        };
        self.waking += 1;
        Some(call)
    }
}

impl<D: Duty> Crew<D> {
    /// See [`Pool::lock`].
    pub(crate) fn lock(&self) -> Desk<'_, D> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recruit(self: &Arc<Self>) -> io::Result<()> {
        let crew = Arc::clone(self);
        thread::Builder::new()
            .name(self.name.clone())
            .stack_size(STACK)
            .spawn(move || crew.serve())
            .map(drop)
    }

    fn not_recruited(&self, error: &io::Error) {
        let mut state = self.lock();
        state.waking -= 1;
        state.threads -= 1;
        // If there are others they are all at work, and look for more when they are done.
        if state.threads == 0 {
            self.duty.strand(&mut state.desk, error);
        }
    }

    /// Performs jobs until there have been none for a while.
    fn serve(&self) {
        let_others_finish();
        let mut finished = None;
        let mut called = true;
        loop {
            let next = self.next(called);
            called = false;
            // Telling may wake somebody who takes this processor at once.
            if let Some(report) = finished.take() {
                self.duty.report(report);
            }
            match next {
                Next::Job(job) => finished = Some(self.duty.perform(self, job)),
                Next::Wait if self.is_called() => called = true,
                Next::Wait | Next::End => return,
            }
        }
    }

    /// Takes the next job. Who was `called` has looked by that: both under one lock, or somebody
    /// else would be called for the same job.
    fn next(&self, called: bool) -> Next<D::Job> {
        let mut state = self.lock();
        state.waking -= usize::from(called);
        let Some(job) = D::take(&mut state.desk) else {
            if state.closed {
                state.threads -= 1;
                return Next::End;
            }
            state.idle.push(thread::current());
            return Next::Wait;
        };
        Next::Job(job)
    }

    /// Sleeps until somebody calls; returns whether that was so, or it slept for long enough.
    ///
    /// A call that came as the time ran out cuts the next sleep short, and the thread may end then.
    fn is_called(&self) -> bool {
        // Returns at once if the call came before it.
        thread::park_timeout(self.patience);
        let me = thread::current().id();
        let mut state = self.lock();
        match state.idle.iter().position(|idle| idle.id() == me) {
            None => true,
            Some(at) => {
                state.idle.remove(at);
                state.threads -= 1;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
