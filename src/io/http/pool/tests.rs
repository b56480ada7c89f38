//! Pools whose duty is a function of the test.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use super::*;
use crate::io::clock;

const LONG: Duration = Duration::from_secs(60);

/// Performs by calling a function, reports on a channel.
struct Calls<F> {
    work: F,
    done: Mutex<Sender<usize>>,
}

impl<F: Fn(usize) + Send + Sync + 'static> Duty for Calls<F> {
    type Desk = VecDeque<usize>;
    type Job = usize;
    type Report = usize;

    fn waiting(queue: &VecDeque<usize>) -> usize {
        queue.len()
    }

    fn take(queue: &mut VecDeque<usize>) -> Option<usize> {
        queue.pop_front()
    }

    fn perform(&self, _: &Crew<Self>, job: usize) -> usize {
        (self.work)(job);
        job
    }

    fn report(&self, job: usize) {
        let _ = self.done.lock().unwrap().send(job);
    }

    fn strand(&self, _: &mut VecDeque<usize>, error: &io::Error) {
        panic!("no thread: {error}");
    }
}

fn pool<F: Fn(usize) + Send + Sync + 'static>(
    size: usize,
    patience: Duration,
    work: F,
) -> (Pool<Calls<F>>, Receiver<usize>) {
    let (done, finished) = mpsc::channel();
    let done = Mutex::new(done);
    let calls = Calls { work, done };
    (
        Pool::new("test".to_owned(), size, patience, calls),
        finished,
    )
}

/// Adds jobs and rouses once.
fn hand<F: Fn(usize) + Send + Sync + 'static>(
    pool: &Pool<Calls<F>>,
    jobs: impl IntoIterator<Item = usize>,
) {
    pool.lock().extend(jobs);
    pool.rouse();
}

fn finished(jobs: &Receiver<usize>) -> usize {
    jobs.recv_timeout(LONG).expect("a wake-up was lost")
}

fn until(reached: impl Fn() -> bool) {
    let limit = clock::now() + LONG;
    while !reached() {
        assert!(clock::now() < limit, "not within a minute");
        thread::yield_now();
    }
}

#[test]
fn each_job_is_done_once() {
    let (pool, jobs) = pool(3, LONG, |_| {});
    hand(&pool, 0..100);
    let mut done: Vec<usize> = (0..100).map(|_| finished(&jobs)).collect();
    done.sort_unstable();
    assert_eq!(done, (0..100).collect::<Vec<_>>());
    assert!(pool.lock().threads() <= 3);
}

#[test]
fn no_more_than_its_size_work_at_once_and_no_fewer() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (arrived, arrivals) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let (arrived, gate) = (Mutex::new(arrived), Mutex::new(gate));
    let (counter, peak) = (Arc::clone(&running), Arc::clone(&most));
    let (pool, jobs) = pool(3, LONG, move |_| {
        let now = counter.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(now, Ordering::SeqCst);
        arrived.lock().unwrap().send(()).unwrap();
        let _ = gate.lock().unwrap().recv_timeout(LONG);
        counter.fetch_sub(1, Ordering::SeqCst);
    });
    hand(&pool, 0..6);
    for _ in 0..3 {
        arrivals.recv_timeout(LONG).unwrap();
    }
    assert_eq!(running.load(Ordering::SeqCst), 3);
    for _ in 0..6 {
        go.send(()).unwrap();
    }
    for _ in 0..6 {
        finished(&jobs);
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(pool.lock().threads(), 3);
}

#[test]
fn one_that_has_nothing_to_do_is_used_before_a_new_one_is_made() {
    let (pool, jobs) = pool(8, LONG, |_| {});
    for id in 0..1000 {
        hand(&pool, [id]);
        // Who reports is idle already.
        assert_eq!(finished(&jobs), id);
    }
    assert_eq!(pool.lock().threads(), 1);
}

#[test]
fn the_one_that_slept_last_is_woken_first() {
    let (pool, jobs) = pool(2, LONG, |job| {
        if job > 0 {
            thread::park_timeout(Duration::from_millis(1));
        }
    });
    hand(&pool, 1..20);
    for _ in 1..20 {
        finished(&jobs);
    }
    until(|| {
        let state = pool.lock();
        state.idle.len() == state.threads
    });
    let last = pool.lock().idle.last().map(Thread::id);
    for _ in 0..100 {
        hand(&pool, [0]);
        finished(&jobs);
        assert_eq!(pool.lock().idle.last().map(Thread::id), last);
    }
}

/// Eight who ask again as soon as they are answered, as nodes do; some of what they ask is roused
/// together and some alone, and threads end and are made anew all the time.
#[test]
fn no_wake_up_is_lost() {
    for (size, patience) in [
        (1, LONG),
        (3, LONG),
        (8, LONG),
        (3, Duration::from_micros(20)),
    ] {
        let (pool, jobs) = pool(size, patience, |job| {
            if job % 3 == 0 {
                thread::yield_now();
            }
        });
        hand(&pool, 0..8);
        for job in 8..1500 {
            finished(&jobs);
            pool.lock().push_back(job);
            let mut more = 0;
            while job % 5 == 0 && jobs.try_recv().is_ok() {
                more += 1;
            }
            pool.lock().extend(std::iter::repeat_n(job, more));
            pool.rouse();
        }
        for _ in 0..8 {
            finished(&jobs);
        }
        assert!(jobs.try_recv().is_err(), "eight were asked, eight answered");
    }
}

#[test]
fn threads_end_when_they_were_idle_for_long_and_when_the_pool_is_dropped() {
    let (pool, jobs) = pool(4, Duration::from_millis(5), |_| {});
    hand(&pool, 0..100);
    for _ in 0..100 {
        finished(&jobs);
    }
    until(|| pool.lock().threads() == 0);
    drop((pool, jobs));
    let (pool, jobs) = self::pool(4, LONG, |_| {});
    hand(&pool, 0..100);
    let crew = Arc::downgrade(&pool.0);
    drop(pool);
    // What waits is done first.
    for _ in 0..100 {
        finished(&jobs);
    }
    until(|| crew.strong_count() == 0);
}
