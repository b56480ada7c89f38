//! Hub, bridge and workers joined: what one decides is handed to the other until all is quiet.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;

use crate::core::access::Identity;
use crate::core::bridge::{Action, Bridge, Event, JobId};
use crate::core::hub::{ConnectionId, Effect, Ended, Hub, Limits, Offer};
use crate::core::outcome::Outcome;
use crate::core::packet::{Connect, Incoming, Outgoing};
use crate::io::bell::Bell;
use crate::io::broker::login::Logins;
use crate::io::clock;
use crate::io::http::workers::Workers;
use crate::io::log::journal::Journal;

/// A buffer that grew beyond this is freed after use.
const KEPT_BUFFER: usize = 64 * 1024;

/// What a worker sends back.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The job.
    pub(crate) id: JobId,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// The loop's end of one connection.
#[derive(Default)]
pub(crate) struct Line {
    /// Rings when there are packets to write, or the connection has to go.
    pub(crate) bell: Bell,
    /// Whether the hub wants the connection closed once all is written.
    pub(crate) closing: Cell<bool>,
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
    input: Cell<BytesMut>,
    output: Cell<BytesMut>,
}

impl Shared {
    /// Joins what the tasks share.
    pub(crate) fn new(gateway: Gateway, logins: Logins, limits: &Limits) -> Self {
        Self {
            alarm: Rc::clone(&gateway.alarm),
            progress: Rc::clone(&gateway.progress),
            gateway: RefCell::new(gateway),
            logins,
            max_packet: limits.max_packet,
            connections: limits.clients,
            input: Cell::default(),
            output: Cell::default(),
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

    /// Lends the read buffer that the clients share: an idle client holds none.
    pub(crate) fn take_input(&self) -> BytesMut {
        self.input.take()
    }

    /// Takes the read buffer back.
    pub(crate) fn return_input(&self, buffer: BytesMut) {
        give_back(&self.input, buffer);
    }

    /// Lends the write buffer that the clients share.
    pub(crate) fn take_output(&self) -> BytesMut {
        self.output.take()
    }

    /// Takes the write buffer back.
    pub(crate) fn return_output(&self, buffer: BytesMut) {
        give_back(&self.output, buffer);
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
    last_id: usize,
    alarm: Rc<Bell>,
    armed: Option<Instant>,
    progress: Rc<Bell>,
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
            last_id: 0,
            alarm: Rc::default(),
            armed: None,
            progress: Rc::default(),
            stopping: false,
        }
    }

    /// Returns the log of reports.
    pub(crate) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Enters a client whose credentials were checked.
    pub(crate) fn connect(
        &mut self,
        connect: Connect,
        who: Identity,
        now: Instant,
    ) -> (ConnectionId, Rc<Line>) {
        // Wraps after 2^32 connections on a 32-bit router: none of the first is left by then.
        self.last_id = self.last_id.wrapping_add(1);
        let (id, line) = (ConnectionId(self.last_id), Rc::<Line>::default());
        self.lines.insert(id, Rc::clone(&line));
        self.hub.connect(id, connect, who, now);
        (id, line)
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

    /// Returns the next packet to write to a connection.
    pub(crate) fn next_packet(&mut self, id: ConnectionId, now: Instant) -> Option<Outgoing> {
        self.hub.next_packet(id, now)
    }

    /// Returns how long the connection may stay silent, `None` for ever.
    pub(crate) fn silence(&self, id: ConnectionId) -> Option<std::time::Duration> {
        self.hub.silence(id)
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
        for (&id, line) in &self.lines {
            self.hub.close(id, ended, now);
            line.closing.set(true);
            line.bell.ring();
        }
    }

    /// Executes what hub and bridge have decided, until neither wants anything more.
    fn settle(&mut self, now: Instant) {
        while let Some(effect) = self.hub.next_effect() {
            match effect {
                Effect::Wake(id) => {
                    if let Some(line) = self.lines.get(&id) {
                        line.bell.ring();
                    }
                }
                Effect::Close(id) => {
                    if let Some(line) = self.lines.get(&id) {
                        line.closing.set(true);
                        line.bell.ring();
                    }
                }
                Effect::Offer(offer) => self.offer(offer, now),
                Effect::Report(report) => self.journal.hub(&report, now),
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
