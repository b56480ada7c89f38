//! The one loop that owns hub and bridge and executes their decisions.
//!
//! One thread runs it: a task per listener and per client, one that rouses the workers, one for the
//! outcomes that they send back, one for what the store has done, one for the next timeout, one for
//! files that change. It decides nothing but when the process may end.

pub(crate) mod books;
mod gateway;
mod keeper;
mod reconfigure;
pub(crate) mod shared;
mod snapshot;
mod storing;
#[cfg(test)]
pub(crate) mod testing;

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::gateway::{Finished, Gateway};
use self::keeper::{Keeper, Settled, Watched, trusts_bundled};
use self::shared::Shared;
use crate::config::Config;
use crate::core::bridge::Bridge;
use crate::core::endpoint::Endpoint;
use crate::core::hub::{Ended, Hub};
use crate::core::outcome::Outcome;
use crate::core::route::RouteTable;
use crate::io::bell::Bell;
use crate::io::broker::listener::certificates::CertificateWatch;
use crate::io::broker::listener::doors::Doors;
use crate::io::broker::login::Logins;
use crate::io::clock::Wall;
use crate::io::http::workers::{OnFinished, Workers};
use crate::io::password;
use crate::io::signal::{Asked, Listener, Shutdown};
use crate::io::status_socket::{self, Refused, StatusSocket};
use crate::io::store::Done;
use crate::io::task;
use crate::io::trust_watch::TrustWatch;
use crate::{Ready, RunError};

/// How long closing sessions may take to write their last packets.
const CLOSING: Duration = Duration::from_secs(2);
/// How often addresses that could not be listened on are tried again.
const RETRY: Duration = Duration::from_secs(4);
/// Outcomes that are handled before the clients get a turn.
const BATCH: usize = 64;

/// Runs the bridge until it is told to stop.
pub(crate) async fn run(
    config: Config,
    shutdown: Shutdown,
    ready: Ready<'_>,
) -> Result<(), RunError> {
    let mut signals = shutdown.listen().map_err(RunError::System)?;
    let routes = &config.routes.routes;
    let reserved = routes.iter().map(|route| route.reply.filter()).collect();
    let mut hub = Hub::new(config.broker.limits.clone(), reserved);
    let meter = hub.meter().clone();
    let (sender, outcomes) = mpsc::unbounded_channel();
    let held = meter.clone();
    let done: OnFinished = Arc::new(move |id, mut outcome| {
        if let Outcome::Response(response) = &mut outcome {
            response.body = held.hold(std::mem::take(&mut response.body), 0);
        }
        // An error means that the loop is gone, and with it whoever wanted the outcome.
        let _ = sender.send(Finished { id, outcome });
    });
    let trust = TrustWatch::stamps(&config.endpoints);
    let clock = Arc::new(Wall::new(&config.clock));
    let workers = Workers::new(&config.endpoints, &clock, done).map_err(RunError::Endpoint)?;
    let mut bridge = Bridge::new(
        Arc::clone(&config.routes),
        Arc::clone(&config.gateway),
        boot()?,
    )
    .with_meter(meter.clone());
    let settled = Settled::of(&config);
    let logins = Logins::new(&config.broker, config.users);
    let trust = TrustWatch::new(workers.trusting(), &trust);
    let stored = (&mut hub, &mut bridge);
    let (storing, stored) = storing::open(config.store.as_ref(), stored, (&logins, &clock))?;
    let gateway = Gateway::new(hub, bridge, workers, storing, clock);
    let shared = Rc::new(Shared::new(gateway, logins, &config.broker));
    shared.set_stop_timeout(config.stop_timeout);
    let certificates = match &config.broker.tls {
        Some(files) => {
            let watch = CertificateWatch::new(files.clone());
            shared.replace_acceptor(watch.load().map_err(RunError::Tls)?);
            Some(watch)
        }
        None => None,
    };

    // Before anybody hears that the daemon listens: who then asks for the status gets it.
    let _status = match &config.status_socket {
        Some(path) => tell_at(path, &shared)?,
        None => None,
    };
    let doors = Doors::open(&config.broker, &shared)?;
    let addresses = doors.addresses();
    announce(&config.endpoints, &config.routes, &shared);
    if config.endpoints.iter().any(trusts_bundled) {
        shared.with(|gateway, _| gateway.mind_bundled_roots());
    }
    shared.with(Gateway::begin);
    task::spawn(feed(Rc::clone(&shared), outcomes));
    task::spawn(take_in(Rc::clone(&shared), stored));
    task::spawn(rouse(Rc::clone(&shared)));
    task::spawn(watch(Rc::clone(&shared)));
    begin_books((&config.path, config.id), &doors, &shared);
    let watched = Watched {
        trust,
        certificates,
        users: config.users_reader,
        rereader: config.rereader,
    };
    let keeper = Keeper::new(&shared, doors, watched, settled);
    let reload = keeper.reload();
    let listening = task::spawn(keeper.keep());
    ready(&addresses);

    let anew = obey(&mut signals, &reload, &shared).await;
    info!("stopping; requests to finish: {}", shared.pending());
    listening.abort();
    // Awaited, so that the sockets are closed before anybody hears of the stop.
    let _ = listening.await;
    tokio::select! {
        biased;
        () = stop(&shared, shared.stop_timeout()) => {}
        second = signals.stop() => return Err(RunError::Interrupted(second)),
    }
    shared.with(|gateway, _| gateway.storing.close());
    shared.with(|gateway, _| gateway.summary());
    ended(anew, &shared)
}

fn ended(anew: bool, shared: &Shared) -> Result<(), RunError> {
    match anew {
        false => Ok(()),
        true => Err(RunError::StoreIsBack(Box::new(shared.rereader()))),
    }
}

/// Notes for the status what the daemon starts with.
fn begin_books((file, id): (&Path, String), doors: &Doors, shared: &Shared) {
    let heard = shared.logins().let_anybody_hear(snapshot::TOPIC);
    shared.with(|gateway, _| {
        gateway.books.begin(file.display().to_string(), id);
        gateway.books.listeners = doors.listeners();
        gateway.books.set_heard(heard);
    });
}

/// Answers who asks for the status, until what it returns is dropped.
fn tell_at(path: &Path, shared: &Rc<Shared>) -> Result<Option<Telling>, RunError> {
    match StatusSocket::open(path) {
        Ok(socket) => {
            let telling = task::spawn(socket.serve(Rc::clone(shared)));
            Ok(Some(Telling(telling)))
        }
        Err(Refused::InUse) => Err(RunError::Running(path.to_owned())),
        Err(Refused::System(cause)) => {
            status_socket::warn_of_none(path, &cause);
            Ok(None)
        }
    }
}

/// A task that answers who asks for the status.
struct Telling(JoinHandle<()>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Does what signals ask for, until one asks for the stop, or all has to begin anew, which it
/// returns.
async fn obey(signals: &mut Listener, reload: &Bell, shared: &Shared) -> bool {
    loop {
        let asked = tokio::select! {
            biased;
            asked = signals.next() => asked,
            () = shared.anew().rung() => return true,
        };
        match asked {
            Asked::Stop(_) => return false,
            Asked::Reload => {
                info!("reading the configuration again");
                reload.ring();
            }
            Asked::Probe => {
                info!("trying at once what did not work");
                shared.with(Gateway::probe);
            }
        }
    }
}

/// Lets requests finish, then closes the sessions.
async fn stop(shared: &Rc<Shared>, limit: Duration) {
    shared.with(Gateway::stop);
    if timeout(limit, shared.settled()).await.is_err() {
        warn!(
            "gave up waiting after {limit:?}; requests in flight: {}",
            shared.pending()
        );
        shared.with(Gateway::give_up);
    }
    shared.with(|gateway, now| gateway.close_all(Ended::Stopping, now));
    if timeout(CLOSING, shared.empty()).await.is_err() {
        warn!("closed connections that did not take their last packets");
    }
    if timeout(CLOSING, shared.stored()).await.is_err() {
        warn!("the disk takes long to store the last messages; waiting for it");
    }
}

/// Hands outcomes to the bridge, those that are there together.
async fn feed(shared: Rc<Shared>, mut outcomes: mpsc::UnboundedReceiver<Finished>) {
    let mut batch = Vec::new();
    while outcomes.recv_many(&mut batch, BATCH).await > 0 {
        let finished = batch.drain(..);
        guard(&shared, "the handling of an outcome", || {
            shared.with(|gateway, now| gateway.finish(finished, now));
        });
    }
}

/// Hands on what the store has done, in its order.
async fn take_in(shared: Rc<Shared>, mut stored: mpsc::UnboundedReceiver<Done>) {
    let mut batch = Vec::new();
    while stored.recv_many(&mut batch, BATCH).await > 0 {
        let done = batch.drain(..);
        guard(&shared, "the handling of what was stored", || {
            shared.with(|gateway, now| done.for_each(|it| gateway.stored(it, now)));
        });
    }
}

/// Rouses workers once for all jobs that the tasks before it in tokio's queue have started.
///
/// Waking a thread costs more than taking in a message, and whoever is woken takes this processor
/// if it is the only one.
async fn rouse(shared: Rc<Shared>) {
    loop {
        shared.work().rung().await;
        guard(&shared, "the rousing of workers", || shared.rouse_workers());
    }
}

/// Calls hub and bridge back when they asked for it.
async fn watch(shared: Rc<Shared>) {
    loop {
        let due = shared.with(|gateway, _| gateway.arm());
        let rung = shared.alarm().rung();
        match due {
            None => rung.await,
            Some(due) => tokio::select! {
                biased;
                () = rung => {}
                () = tokio::time::sleep_until(due.into()) => {
                    guard(&shared, "the handling of a timeout", || {
                        shared.with(Gateway::time_out);
                    });
                }
            },
        }
    }
}

/// Contains a panic of code that runs for all clients: it is counted and the loop goes on.
fn guard(shared: &Rc<Shared>, place: &str, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        shared.note(|journal, _| journal.panicked(place));
    }
}

/// Runs a task and tells whether it ended by itself; a panic ends it alone.
pub(crate) async fn contain(task: impl Future<Output = ()>) -> bool {
    let mut task = pin!(task);
    std::future::poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
            Ok(poll) => poll.map(|()| true),
            Err(_) => Poll::Ready(false),
        }
    })
    .await
}

/// Tells this start from others in `{message_id}`. Not the time: a router without a battery
/// starts with the same one after each power cut.
fn boot() -> Result<u32, RunError> {
    let without = |_| RunError::System(io::Error::other("no random numbers"));
    password::random().map(u32::from_ne_bytes).map_err(without)
}

fn announce(endpoints: &[Arc<Endpoint>], routes: &RouteTable, shared: &Shared) {
    for endpoint in endpoints {
        if let Some(what) = endpoint.trust.unchecked.describe() {
            warn!("endpoint `{}`: NOT CHECKED: {what}", endpoint.name);
        }
    }
    for route in &routes.routes {
        info!(
            "route `{}`: {} → {} {}",
            route.name,
            route.topic.text,
            route.method.as_str(),
            route.endpoint.url
        );
    }
    info!("who may connect: {}", shared.logins().describe());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on(task: impl Future<Output = bool>) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(task)
    }

    #[test]
    fn two_starts_at_the_same_time_have_different_message_ids() {
        assert_ne!(boot().unwrap(), boot().unwrap());
    }

    #[test]
    fn panic_ends_its_own_task_alone() {
        assert!(block_on(contain(async {})));
        assert!(!block_on(contain(async {
            tokio::task::yield_now().await;
            std::panic::resume_unwind(Box::new("on purpose"));
        })));
    }
}
