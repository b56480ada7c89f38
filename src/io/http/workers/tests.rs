//! Crews with performers that the test controls, and whole workers against a server.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};

use bytes::Bytes;

use super::*;
use crate::core::endpoint::Roots;
use crate::core::outcome::Response;
use crate::core::request::Method;
use crate::io::http::support::certificates::Authority;
use crate::io::http::support::https::{Script, Server};
use crate::io::http::testing::{HOST, LONG, endpoint, job, request};

fn ok() -> Outcome {
    Outcome::Response(Response {
        status: 200,
        content_type: None,
        retry_after: None,
        body: Bytes::new(),
    })
}

/// Performs by calling a function.
struct Performer<F> {
    work: F,
    renewed: Arc<AtomicUsize>,
}

impl<F: Fn(&Job) -> Outcome + Send + Sync> Perform for Performer<F> {
    fn perform(&self, job: &Job) -> Outcome {
        (self.work)(job)
    }

    fn renew(&self) {
        self.renewed.fetch_add(1, Ordering::SeqCst);
    }
}

fn channel() -> (OnFinished, Receiver<(JobId, Outcome)>) {
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let done: OnFinished = Arc::new(move |id, outcome| {
        let _ = sender.lock().unwrap().send((id, outcome));
    });
    (done, receiver)
}

/// A crew of one.
fn crew_that(
    work: impl Fn(&Job) -> Outcome + Send + Sync + 'static,
) -> (Crew, Receiver<(JobId, Outcome)>, Arc<AtomicUsize>) {
    let (done, finished) = channel();
    let renewed = Arc::new(AtomicUsize::new(0));
    let performer = Performer {
        work,
        renewed: Arc::clone(&renewed),
    };
    let mut endpoint = endpoint();
    endpoint.concurrency = 1;
    let crew = crew(&endpoint, Box::new(performer), done);
    (crew, finished, renewed)
}

fn numbered(id: usize) -> Job {
    let mut job = job(&Arc::new(endpoint()), request(Method::Get, 1, "/"), LONG);
    job.id = JobId(id);
    job
}

#[test]
fn a_panic_is_answered_and_the_worker_lives_on() {
    let (crew, finished, renewed) = crew_that(|job| {
        assert_ne!(job.id, JobId(1), "on purpose");
        ok()
    });
    for id in 0..3 {
        crew.lock().push_back(numbered(id));
    }
    crew.rouse();
    let outcomes: Vec<_> = (0..3)
        .map(|_| finished.recv_timeout(LONG).unwrap())
        .collect();
    let panicked = internal("a request panicked; see the log");
    assert_eq!(
        outcomes,
        [(JobId(0), ok()), (JobId(1), panicked), (JobId(2), ok())]
    );
    assert_eq!(renewed.load(Ordering::SeqCst), 1);
    assert_eq!(crew.lock().threads(), 1);
}

#[test]
fn workers_perform_requests_on_their_small_stacks() {
    let authority = Authority::new("test");
    let server = Server::start(&authority.good(&[HOST]), Script::echo());
    let file = authority.root_file();
    let mut endpoint = endpoint();
    endpoint.trust.roots = Roots::Files(vec![file.path().to_owned()]);
    let endpoint = Arc::new(endpoint);
    let (done, finished) = channel();
    let mut workers = Workers::new(&[Arc::clone(&endpoint)], &Arc::default(), done).unwrap();
    for id in 0..8 {
        let mut job = job(&endpoint, request(Method::Get, server.port(), "/"), LONG);
        job.id = JobId(id);
        workers.start(job);
    }
    workers.rouse();
    for _ in 0..8 {
        let (_, outcome) = finished.recv_timeout(LONG).unwrap();
        assert!(matches!(outcome, Outcome::Response(_)), "{outcome:?}");
    }
    assert!(server.counts().connections <= endpoint.concurrency);
}

#[test]
fn an_endpoint_whose_roots_cannot_be_read_is_named() {
    let mut endpoint = endpoint();
    endpoint.trust.roots = Roots::Files(vec!["/nonexistent/ca.pem".into()]);
    let (done, _finished) = channel();
    let error = Workers::new(&[Arc::new(endpoint)], &Arc::default(), done).err();
    assert_eq!(
        error.as_deref(),
        Some(
            "endpoint `test`: roots file `/nonexistent/ca.pem` cannot be read: \
             no such file or directory"
        )
    );
}

#[test]
fn a_job_of_an_unknown_endpoint_is_answered() {
    let (done, finished) = channel();
    let mut workers = Workers::new(&[], &Arc::default(), done).unwrap();
    workers.start(numbered(7));
    let outcome = internal("no workers for endpoint `test`");
    assert_eq!(finished.try_recv(), Ok((JobId(7), outcome)));
}
