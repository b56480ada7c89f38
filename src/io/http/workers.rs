//! Worker threads: perform one request at a time and decide nothing.
//!
//! Each endpoint has a queue and at most `concurrency` threads, which are made when needed and end
//! when idle. How many jobs may wait is the bridge's decision, made before they come here.

mod change;

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::core::bridge::{Job, JobId};
use crate::core::endpoint::Endpoint;
use crate::core::outcome::{Code, Failure, Outcome};
use crate::io::clock::Wall;
use crate::io::http::client::Client;
use crate::io::http::ledger::{Counts, Encounter, Encounters, Ledger};
use crate::io::http::lists::Lists;
use crate::io::http::pool::{self, Duty, Pool};
use crate::io::http::resolver::Resolver;
use crate::io::tls;
use crate::io::tls::client::Surroundings;

pub(crate) use change::Prepared;

/// Called by a worker thread when a job is done, exactly once per job.
pub(crate) type OnFinished = Arc<dyn Fn(JobId, Outcome) + Send + Sync>;

/// How long a worker waits for a job before it ends.
const IDLE: Duration = Duration::from_secs(60);

/// Checks what only shows when an endpoint's roots are read.
///
/// # Errors
/// Names the endpoint, and the file where one is wrong.
pub(crate) fn check(endpoint: &Endpoint) -> Result<(), String> {
    let trust = &endpoint.trust;
    tls::client::Client::load(trust, &Surroundings::default())
        .map(drop)
        .map_err(|error| named(endpoint, &error))
}

/// Builds the client of an endpoint that is alone in its process.
///
/// # Errors
/// Names the file that is wrong.
pub(crate) fn client(endpoint: Arc<Endpoint>, clock: &Arc<Wall>) -> Result<Client, String> {
    let resolver = Arc::new(Resolver::new());
    let surroundings = surroundings(&resolver, clock);
    let tls = tls::client::Client::load(&endpoint.trust, &surroundings)?;
    Ok(Client::new(endpoint, tls, resolver, Arc::default()))
}

fn surroundings(resolver: &Arc<Resolver>, clock: &Arc<Wall>) -> Surroundings {
    let lists = Lists::new(Arc::clone(resolver), Arc::clone(clock));
    Surroundings {
        clock: Arc::clone(clock),
        library: Some(Arc::new(lists)),
    }
}

fn named(endpoint: &Endpoint, error: &str) -> String {
    format!("endpoint `{}`: {error}", endpoint.name)
}

/// The worker threads of all endpoints; started when first needed, at most `concurrency` each.
pub(crate) struct Workers {
    crews: HashMap<String, Arc<Crew>>,
    /// Who got jobs since the last rousing, some several times.
    called: Vec<Arc<Crew>>,
    done: OnFinished,
    ledgers: Vec<(Arc<Endpoint>, Arc<Ledger>)>,
    met: Arc<Encounters>,
    resolver: Arc<Resolver>,
    clock: Arc<Wall>,
}

impl Workers {
    /// Prepares the endpoints: reads the roots of those that name files, starts no thread.
    ///
    /// # Errors
    /// Names an endpoint whose roots cannot be read or parsed, and the file.
    pub(crate) fn new(
        endpoints: &[Arc<Endpoint>],
        clock: &Arc<Wall>,
        done: OnFinished,
    ) -> Result<Self, String> {
        let mut workers = Self {
            crews: HashMap::new(),
            called: Vec::new(),
            done,
            ledgers: Vec::new(),
            met: Arc::default(),
            resolver: Arc::new(Resolver::new()),
            clock: Arc::clone(clock),
        };
        let prepared = workers.prepare(endpoints)()?;
        workers.adopt(prepared);
        Ok(workers)
    }

    /// Returns what has been counted for each endpoint since the start, in file order.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&Endpoint, Counts)> {
        let ledgers = self.ledgers.iter();
        ledgers.map(|(endpoint, ledger)| (&**endpoint, ledger.counts()))
    }

    /// Takes the handshakes that were completed since the last call.
    pub(crate) fn take_met(&self) -> Vec<Encounter> {
        self.met.take()
    }

    /// Returns the files that each endpoint's trust is made of, and what reads them anew.
    pub(crate) fn trusting(&self) -> Vec<Trusting> {
        let crews = self.crews.values();
        let trusting = crews.map(|crew| Trusting {
            files: crew.duty().performer.files(),
            crew: Arc::clone(crew),
        });
        trusting.filter(|it| !it.files.is_empty()).collect()
    }

    /// Gives a job to the workers of its endpoint; [`Workers::rouse`] has to follow.
    pub(crate) fn start(&mut self, job: Job) {
        match self.crews.get(&job.endpoint.name) {
            Some(crew) => {
                crew.lock().push_back(job);
                self.called.push(Arc::clone(crew));
            }
            None => {
                let detail = format!("no workers for endpoint `{}`", job.endpoint.name);
                (self.done)(job.id, internal(&detail));
            }
        }
    }

    /// Sees to it that the jobs given are taken up: by idle workers, or by new ones. Never blocks.
    pub(crate) fn rouse(&mut self) {
        for crew in self.called.drain(..) {
            crew.rouse();
        }
    }
}

/// An endpoint whose trust is made of files.
pub(crate) struct Trusting {
    /// The files.
    pub(crate) files: Vec<PathBuf>,
    crew: Arc<Crew>,
}

impl Trusting {
    /// The endpoint's name.
    pub(crate) fn name(&self) -> &str {
        &self.crew.duty().endpoint
    }

    /// Returns what reads the files, which takes its time. It closes kept connections; with an
    /// error, which names the file that is wrong, all stays as it was.
    pub(crate) fn reload(&self) -> impl FnOnce() -> Result<(), String> + Send + 'static {
        let crew = Arc::clone(&self.crew);
        move || crew.duty().performer.reload()
    }
}

/// What a worker does with a job.
trait Perform: Send + Sync {
    /// Performs the job.
    fn perform(&self, job: &Job) -> Outcome;
    /// Throws away whatever a panic may have left half done.
    fn renew(&self);
    /// Returns the files that trust is made of.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
    /// Reads them anew; see [`Client::reload`].
    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Perform for Client {
    fn perform(&self, job: &Job) -> Outcome {
        Self::perform(self, job)
    }

    fn renew(&self) {
        Self::renew(self);
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files()
    }

    fn reload(&self) -> Result<(), String> {
        Self::reload(self)
    }
}

/// The workers of one endpoint.
type Crew = Pool<Requests>;

fn crew(endpoint: &Endpoint, performer: Box<dyn Perform>, done: OnFinished) -> Crew {
    let requests = Requests {
        endpoint: endpoint.name.clone(),
        performer,
        done,
    };
    let name = format!("https {}", endpoint.name);
    Pool::new(name, endpoint.concurrency, IDLE, requests)
}

/// What the workers of one endpoint do.
struct Requests {
    endpoint: String,
    performer: Box<dyn Perform>,
    done: OnFinished,
}

impl Duty for Requests {
    type Desk = VecDeque<Job>;
    type Job = Job;
    type Report = (JobId, Outcome);

    fn waiting(queue: &VecDeque<Job>) -> usize {
        queue.len()
    }

    fn take(queue: &mut VecDeque<Job>) -> Option<Job> {
        queue.pop_front()
    }

    fn perform(&self, _: &pool::Crew<Self>, job: Job) -> (JobId, Outcome) {
        (job.id, self.outcome(&job))
    }

    fn report(&self, (id, outcome): (JobId, Outcome)) {
        (self.done)(id, outcome);
    }

    fn strand(&self, queue: &mut VecDeque<Job>, error: &io::Error) {
        let name = &self.endpoint;
        log::error!("endpoint `{name}`: no thread for a request: {error}");
        while let Some(job) = queue.pop_front() {
            (self.done)(job.id, internal("no thread for the request"));
        }
    }
}

impl Requests {
    fn outcome(&self, job: &Job) -> Outcome {
        let work = AssertUnwindSafe(|| self.performer.perform(job));
        panic::catch_unwind(work).unwrap_or_else(|payload| {
            // Locks that the panic went through would fail all later requests.
            self.performer.renew();
            log::error!(
                "endpoint `{}`: a request panicked: {}; please report it",
                self.endpoint,
                panic_text(payload.as_ref())
            );
            internal("a request panicked; see the log")
        })
    }
}

fn internal(detail: &str) -> Outcome {
    Outcome::Failure(Failure::new(Code::BridgeInternal, detail))
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&str>().copied();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    literal.or(text).unwrap_or("unknown cause")
}

#[cfg(test)]
mod tests;
