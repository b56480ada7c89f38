//! Hub, bridge and workers joined: what one decides is handed to the other until all is quiet.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::core::access::Identity;
use crate::core::bridge::{Action, Bridge, Event, JobId};
use crate::core::hub::{ConnectionId, Effect, Ended, Hub, Limits, Offer};
use crate::core::outcome::Outcome;
use crate::core::packet::{Connect, Incoming, Version};
use crate::io::bell::Bell;
use crate::io::broker::codec;
use crate::io::broker::login::Logins;
use crate::io::clock;
use crate::io::http::workers::Workers;
use crate::io::log::journal::Journal;

/// A buffer that grew beyond this is freed after use.
const KEPT_BUFFER: usize = 128 * 1024;
/// Bytes that wait to be written to one client; beyond it nothing is taken from the hub for it.
///
/// What the hub has for a client is encoded as soon as it is there, so that a burst is bounded by
/// this and not by the number of messages that a session may queue.
const HIGH_WATER: usize = 64 * 1024;

/// What a worker sends back.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The job.
    pub(crate) id: JobId,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// The loop's end of one connection.
pub(crate) struct Line {
    /// Its number.
    pub(crate) id: ConnectionId,
    version: Version,
    /// Rings when there is something to write, or the connection has to go.
    pub(crate) bell: Bell,
    /// Whether the hub wants the connection closed once all is written.
    pub(crate) closing: Cell<bool>,
    /// Whether the hub may have more to write than fitted.
    pub(crate) more: Cell<bool>,
    /// What the socket has not taken yet; without memory when empty.
    pub(crate) output: RefCell<BytesMut>,
}

impl Line {
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

    fn take_output(&self) -> BytesMut {
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
    logins: Logins,
    max_packet: usize,
    connections: usize,
    /// Rings when the next timeout is earlier than the one waited for.
    alarm: Rc<Bell>,
    /// Rings when something that a stop waits for has changed.
    progress: Rc<Bell>,
    buffers: Rc<Buffers>,
}

impl Shared {
    /// Joins what the tasks share.
    pub(crate) fn new(gateway: Gateway, logins: Logins, limits: &Limits) -> Self {
        Self {
            alarm: Rc::clone(&gateway.alarm),
            progress: Rc::clone(&gateway.progress),
            buffers: Rc::clone(&gateway.buffers),
            gateway: RefCell::new(gateway),
            logins,
            max_packet: limits.max_packet,
            connections: limits.clients,
        }
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

    /// Returns who may connect.
    pub(crate) fn logins(&self) -> &Logins {
        &self.logins
    }

    /// Returns the largest packet a client may send, in bytes.
    pub(crate) fn max_packet(&self) -> usize {
        self.max_packet
    }

    /// Returns how many clients may be connected.
    pub(crate) fn max_clients(&self) -> usize {
        self.connections
    }

    /// Returns whether the loop is about to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.gateway.borrow().stopping
    }

    /// Returns the bell of the timeout task.
    pub(crate) fn alarm(&self) -> &Bell {
        &self.alarm
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

/// Hub, bridge, workers and the log of what they report.
pub(crate) struct Gateway {
    hub: Hub,
    bridge: Bridge,
    workers: Workers,
    journal: Journal,
    lines: HashMap<ConnectionId, Rc<Line>>,
    /// Kept between calls for its memory.
    actions: Vec<Action>,
    /// Connections that have something to write, for the same reason.
    roused: Vec<ConnectionId>,
    last_id: usize,
    alarm: Rc<Bell>,
    armed: Option<Instant>,
    progress: Rc<Bell>,
    buffers: Rc<Buffers>,
    stopping: bool,
}

impl Gateway {
    /// Joins the parts.
    pub(crate) fn new(hub: Hub, bridge: Bridge, workers: Workers) -> Self {
        Self {
            hub,
            bridge,
            workers,
            journal: Journal::default(),
            lines: HashMap::new(),
            actions: Vec::new(),
            roused: Vec::new(),
            last_id: 0,
            alarm: Rc::default(),
            armed: None,
            progress: Rc::default(),
            buffers: Rc::default(),
            stopping: false,
        }
    }

    /// Enters a client whose credentials were checked.
    pub(crate) fn connect(&mut self, connect: Connect, who: Identity, now: Instant) -> Rc<Line> {
        // Wraps after 2^32 connections on a 32-bit router: none of the first is left by then.
        self.last_id = self.last_id.wrapping_add(1);
        let id = ConnectionId(self.last_id);
        let line = Rc::new(Line {
            id,
            version: connect.version,
            bell: Bell::default(),
            closing: Cell::new(false),
            more: Cell::new(false),
            output: RefCell::default(),
        });
        self.lines.insert(id, Rc::clone(&line));
        self.hub.connect(id, connect, who, now);
        line
    }

    /// Takes in a packet of a connected client.
    pub(crate) fn receive(&mut self, id: ConnectionId, packet: Incoming, now: Instant) {
        self.hub.receive(id, packet, now);
    }

    /// Tells the hub that a connection has to go.
    pub(crate) fn close(&mut self, id: ConnectionId, ended: Ended, now: Instant) {
        self.hub.close(id, ended, now);
    }

    /// Forgets a connection that is gone.
    pub(crate) fn leave(&mut self, id: ConnectionId, now: Instant) {
        if self.lines.remove(&id).is_some() {
            self.hub.close(id, Ended::Lost, now);
        }
        if self.stopping {
            self.progress.ring();
        }
    }

    /// Encodes what the hub has for a connection, as much as may wait.
    pub(crate) fn fill(&mut self, line: &Line, now: Instant) {
        let mut output = line.output.borrow_mut();
        line.more.set(true);
        while output.len() < HIGH_WATER {
            let Some(packet) = self.hub.next_packet(line.id, now) else {
                line.more.set(false);
                return;
            };
            if output.capacity() == 0 {
                *output = self.buffers.take_output();
            }
            codec::encode(line.version, packet, &mut output);
        }
    }

    /// Takes in outcomes.
    pub(crate) fn finish(&mut self, finished: impl Iterator<Item = Finished>, now: Instant) {
        for Finished { id, outcome } in finished {
            let event = Event::Finished { id, outcome };
            self.bridge.handle(event, now, &mut self.actions);
            self.act(now);
        }
    }

    /// Returns the time at which [`Gateway::time_out`] is due, which the caller waits for.
    pub(crate) fn arm(&mut self) -> Option<Instant> {
        self.armed = self.next_timeout();
        self.armed
    }

    /// Handles the timeouts that are due.
    pub(crate) fn time_out(&mut self, now: Instant) {
        self.armed = None;
        self.hub.handle_timeout(now);
        self.bridge.handle_timeout(now, &mut self.actions);
        self.act(now);
    }

    /// Takes no new jobs from now on.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.bridge.handle(Event::Stop, now, &mut self.actions);
        self.act(now);
    }

    /// Closes all connections.
    pub(crate) fn close_all(&mut self, ended: Ended, now: Instant) {
        let all: Vec<_> = self.lines.keys().copied().collect();
        for id in all {
            self.hub.close(id, ended, now);
        }
    }

    /// Executes what hub and bridge have decided, until neither wants anything more.
    ///
    /// What there is for a client is taken once all is decided, so that its acknowledgement and
    /// the reply leave together, in that order.
    fn settle(&mut self, now: Instant) {
        loop {
            while let Some(effect) = self.hub.next_effect() {
                match effect {
                    Effect::Wake(id) => self.roused.push(id),
                    Effect::Close(id) => {
                        if let Some(line) = self.lines.get(&id) {
                            line.closing.set(true);
                            self.roused.push(id);
                        }
                    }
                    Effect::Offer(offer) => self.offer(offer, now),
                    Effect::Report(report) => self.journal.hub(&report, now),
                }
            }
            let Some(id) = self.roused.pop() else { break };
            if let Some(line) = self.lines.get(&id).map(Rc::clone) {
                self.fill(&line, now);
                line.bell.ring();
            }
        }
        if let Some(next) = self.next_timeout()
            && self.armed.is_none_or(|armed| next < armed)
        {
            self.alarm.ring();
        }
        if self.stopping {
            self.progress.ring();
        }
    }

    fn offer(&mut self, offer: Offer, now: Instant) {
        let event = Event::Message {
            message: offer.message,
            publisher: offer.publisher,
            ticket: offer.ticket,
            unix_time: clock::unix_time().as_secs(),
        };
        self.bridge.handle(event, now, &mut self.actions);
        self.act(now);
    }

    fn act(&mut self, now: Instant) {
        for action in self.actions.drain(..) {
            match action {
                Action::Start(job) => self.workers.start(job),
                Action::Acknowledge(ticket, reason) => self.hub.acknowledge(ticket, reason),
                Action::Publish(message) => self.hub.publish(&message, now),
                Action::Report(report) => self.journal.bridge(&report, now),
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match (self.hub.next_timeout(), self.bridge.next_timeout()) {
            (Some(hub), Some(bridge)) => Some(hub.min(bridge)),
            (hub, bridge) => hub.or(bridge),
        }
    }
}
