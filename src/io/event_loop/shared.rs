//! What all tasks of the loop share: the gateway, a line to each client, two buffers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::Semaphore;

use super::gateway::Gateway;
use super::snapshot;
use crate::config::{Broker, Config, ConnectionLimits, Rereader, User};
use crate::core::endpoint::Endpoint;
use crate::core::hub::ConnectionId;
use crate::core::memory::Charge;
use crate::core::packet::Version;
use crate::io::bell::Bell;
use crate::io::broker::login::Logins;
use crate::io::clock;
use crate::io::http::workers::{Prepared, Trusting};
use crate::io::log::journal::Journal;
use crate::io::tls::listener::Acceptor;

/// A buffer that grew beyond this is freed after use.
const KEPT_BUFFER: usize = 128 * 1024;
/// Bytes that wait to be written to one client; beyond it nothing is taken from the hub for it.
///
/// What the hub has for a client is encoded as soon as it is there, so that a burst is bounded by
/// this and not by the number of messages that a session may queue.
pub(super) const HIGH_WATER: usize = 64 * 1024;

/// The same while memory is short.
pub(super) const SHORT_WATER: usize = 4 * 1024;

/// The loop's end of one connection.
pub(crate) struct Line {
    /// Its number.
    pub(crate) id: ConnectionId,
    pub(super) version: Version,
    /// Rings when there is something to write, or the connection has to go.
    pub(crate) bell: Bell,
    /// Whether the hub wants the connection closed once all is written.
    pub(crate) closing: Cell<bool>,
    /// Whether the hub may have more to write than fitted.
    pub(crate) more: Cell<bool>,
    /// What the socket has not taken yet; without memory when empty.
    pub(crate) output: RefCell<BytesMut>,
    /// What `output` takes of the memory for all.
    pub(super) charge: RefCell<Charge>,
}

impl Line {
    /// Takes note that all was written.
    pub(crate) fn emptied(&self) {
        self.charge.borrow_mut().set(0);
    }

    /// Returns whether so much waits to be written that nothing is taken from the client.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.output.borrow().len() >= HIGH_WATER
    }
}

/// One read and one write buffer that all connections use in turn: an idle one holds none.
#[derive(Default)]
pub(crate) struct Buffers {
    input: Cell<BytesMut>,
    output: Cell<BytesMut>,
}

impl Buffers {
    /// Lends the read buffer, or a new one while it is away.
    pub(crate) fn take_input(&self) -> BytesMut {
        self.input.take()
    }

    /// Takes the read buffer back.
    pub(crate) fn return_input(&self, buffer: BytesMut) {
        give_back(&self.input, buffer);
    }

    /// Lends the write buffer, or a new one while it is away.
    pub(super) fn take_output(&self) -> BytesMut {
        self.output.take()
    }

    /// Takes the write buffer back.
    pub(crate) fn return_output(&self, buffer: BytesMut) {
        give_back(&self.output, buffer);
    }
}

/// What all tasks of the loop share. Nothing of it is borrowed across an await.
pub(crate) struct Shared {
    gateway: RefCell<Gateway>,
    logins: RefCell<Rc<Logins>>,
    max_packet: Cell<usize>,
    clients: Cell<usize>,
    connections: Cell<ConnectionLimits>,
    /// How long a stop waits for what is in flight.
    stop_timeout: Cell<Duration>,
    /// How clients are met with TLS, if there is a listener for it.
    acceptor: RefCell<Option<Acceptor>>,
    /// Turns of those who compute a handshake.
    turns: Semaphore,
    /// Rings when the next timeout is earlier than the one waited for.
    alarm: Rc<Bell>,
    /// Rings when there are jobs for the workers.
    work: Rc<Bell>,
    /// Rings when all has to begin anew.
    anew: Rc<Bell>,
    /// Rings when something that a stop waits for has changed.
    progress: Rc<Bell>,
    /// Reads the configuration that is in force once more.
    rereader: RefCell<Rereader>,
    buffers: Rc<Buffers>,
}

impl Shared {
    /// Joins what the tasks share.
    pub(crate) fn new(gateway: Gateway, logins: Logins, broker: &Broker) -> Self {
        Self {
            alarm: Rc::clone(&gateway.alarm),
            work: Rc::clone(&gateway.work),
            anew: Rc::clone(&gateway.anew),
            progress: Rc::clone(&gateway.progress),
            rereader: RefCell::default(),
            buffers: Rc::clone(&gateway.buffers),
            gateway: RefCell::new(gateway),
            logins: RefCell::new(Rc::new(logins)),
            max_packet: Cell::new(broker.limits.max_packet),
            clients: Cell::new(broker.limits.clients),
            connections: Cell::new(broker.connections),
            stop_timeout: Cell::default(),
            acceptor: RefCell::default(),
            turns: Semaphore::new(1),
        }
    }

    /// Returns how clients are met with TLS, as of now, and the turns of those who compute.
    pub(crate) fn tls(&self) -> Option<(Acceptor, &Semaphore)> {
        let acceptor = self.acceptor.borrow().clone()?;
        Some((acceptor, &self.turns))
    }

    /// Meets clients that come with TLS from now on with this certificate.
    pub(crate) fn replace_acceptor(&self, acceptor: Acceptor) {
        self.acceptor.replace(Some(acceptor));
    }

    /// Does something with the gateway, at the present time, and settles what comes of it.
    pub(crate) fn with<R>(&self, run: impl FnOnce(&mut Gateway, Instant) -> R) -> R {
        let now = clock::now();
        let mut gateway = self.gateway.borrow_mut();
        let result = run(&mut gateway, now);
        gateway.settle(now);
        result
    }

    /// Writes to the log; settles nothing.
    pub(crate) fn note(&self, write: impl FnOnce(&mut Journal, Instant)) {
        write(&mut self.gateway.borrow_mut().journal, clock::now());
    }

    /// Returns the buffers that all connections use.
    pub(crate) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Returns how long a connection may stay silent, `None` for ever.
    pub(crate) fn silence(&self, id: ConnectionId) -> Option<Duration> {
        self.gateway.borrow().hub.silence(id)
    }

    /// Returns whether a client of this ID is connected.
    pub(crate) fn is_connected(&self, client: &str) -> bool {
        self.gateway.borrow().hub.is_connected(client)
    }

    /// Returns who may connect, as of now.
    pub(crate) fn logins(&self) -> Rc<Logins> {
        Rc::clone(&self.logins.borrow())
    }

    /// Replaces the users as a whole, and parts with clients of those that changed.
    pub(crate) fn replace_users(&self, users: Vec<User>) {
        let after = self.logins.borrow().with_users(users);
        self.replace_logins(after);
    }

    fn replace_logins(&self, after: Logins) {
        let after = Rc::new(after);
        let before = self.logins.replace(Rc::clone(&after));
        self.with(|gateway, now| {
            gateway.review(|user, client| after.standing(&before, user, client), now);
            let heard = after.let_anybody_hear(snapshot::TOPIC);
            gateway.books.set_heard(heard);
            gateway.books.change();
        });
    }

    /// Returns what prepares endpoints beside the loop; see `Workers::prepare`.
    pub(super) fn prepare(
        &self,
        endpoints: &[Arc<Endpoint>],
    ) -> impl FnOnce() -> Result<Prepared, String> + Send + use<> {
        self.gateway.borrow().workers.prepare(endpoints)
    }

    /// Returns the endpoints whose trust is made of files.
    pub(super) fn trusting(&self) -> Vec<Trusting> {
        self.gateway.borrow().workers.trusting()
    }

    /// Puts another configuration in force, but for what listens and what is watched.
    pub(super) fn reconfigure(&self, config: &Config, endpoints: Prepared) {
        let broker = &config.broker;
        self.max_packet.set(broker.limits.max_packet);
        self.clients.set(broker.limits.clients);
        self.connections.set(broker.connections);
        self.stop_timeout.set(config.stop_timeout);
        // Before the routes: nobody publishes to the new ones by the old rules.
        let users = config.users.clone();
        let after = self.logins.borrow().with_broker(broker, users);
        self.replace_logins(after);
        self.with(|gateway, now| gateway.reconfigure(config, endpoints, now));
    }

    /// Returns how long a stop waits for what is in flight.
    pub(super) fn stop_timeout(&self) -> Duration {
        self.stop_timeout.get()
    }

    /// Sets it.
    pub(super) fn set_stop_timeout(&self, limit: Duration) {
        self.stop_timeout.set(limit);
    }

    /// Returns whether somebody from the network could connect.
    pub(crate) fn lets_network_in(&self) -> bool {
        self.logins.borrow().lets_network_in()
    }

    /// Returns the largest packet a client may send, in bytes.
    pub(crate) fn max_packet(&self) -> usize {
        self.max_packet.get()
    }

    /// Returns how many clients may be connected.
    pub(crate) fn max_clients(&self) -> usize {
        self.clients.get()
    }

    /// Returns what each connection is held to.
    pub(crate) fn connection_limits(&self) -> ConnectionLimits {
        self.connections.get()
    }

    /// Returns whether the loop is about to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.gateway.borrow().stopping
    }

    /// Returns the bell that rings when all has to begin anew.
    pub(super) fn anew(&self) -> &Bell {
        &self.anew
    }

    /// Takes note of the configuration that is in force.
    pub(super) fn set_rereader(&self, rereader: Rereader) {
        self.rereader.replace(rereader);
    }

    /// Returns what reads the configuration once more that is in force.
    pub(super) fn rereader(&self) -> Rereader {
        self.rereader.borrow().clone()
    }

    /// Returns the bell of the timeout task.
    pub(crate) fn alarm(&self) -> &Bell {
        &self.alarm
    }

    /// Returns the bell of the task that rouses workers.
    pub(crate) fn work(&self) -> &Bell {
        &self.work
    }

    /// Lets the workers begin the jobs that were started.
    pub(crate) fn rouse_workers(&self) {
        self.gateway.borrow_mut().rouse_workers();
    }

    /// Returns how many jobs wait or are with a worker.
    pub(crate) fn pending(&self) -> usize {
        self.gateway.borrow().bridge.pending()
    }

    /// Waits until no job is left.
    pub(crate) async fn settled(&self) {
        while self.pending() > 0 {
            self.progress.rung().await;
        }
        // What is acknowledged once it is on the disk still can be.
        self.stored().await;
    }

    /// Waits until all that was to be stored has its answer.
    pub(crate) async fn stored(&self) {
        while self.gateway.borrow().storing.pending() > 0 {
            self.progress.rung().await;
        }
    }

    /// Waits until no connection is left.
    pub(crate) async fn empty(&self) {
        while !self.gateway.borrow().lines.is_empty() {
            self.progress.rung().await;
        }
    }
}

/// Keeps the larger of two buffers, unless it is too large to be kept.
fn give_back(place: &Cell<BytesMut>, mut buffer: BytesMut) {
    let kept = place.take();
    buffer.clear();
    let better = kept.capacity() < buffer.capacity() && buffer.capacity() <= KEPT_BUFFER;
    place.set(if better { buffer } else { kept });
}
