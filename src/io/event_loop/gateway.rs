//! Hub, bridge and workers joined: what one decides is handed to the other until all is quiet.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::books::Books;
use super::shared::{Buffers, HIGH_WATER, Line, SHORT_WATER};
use super::storing::{Answer, Storing, Token};
use crate::core::access::Identity;
use crate::core::bridge::{Action, Bridge, Event, JobId};
use crate::core::calendar::date;
use crate::core::certificates::{Notice, Watch, are_old_roots};
use crate::core::hub::{ConnectionId, Effect, Ended, Hub, Offer, Standing};
use crate::core::outcome::Outcome;
use crate::core::packet::{Connect, Incoming};
use crate::io::bell::Bell;
use crate::io::broker::codec;
use crate::io::clock::{self, Wall};
use crate::io::http::ledger::Counts;
use crate::io::http::workers::Workers;
use crate::io::log::journal::Journal;
use crate::io::store::Done;
use crate::io::tls::roots::BUNDLED_SINCE;

/// How often the clock is looked at while jobs wait for it. Nobody is told when it is set.
const CLOCK_LOOK: Duration = Duration::from_millis(250);

/// What a worker sends back.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The job.
    pub(crate) id: JobId,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// Hub, bridge, workers and the log of what they report.
pub(crate) struct Gateway {
    pub(super) hub: Hub,
    pub(super) bridge: Bridge,
    pub(super) workers: Workers,
    pub(super) storing: Storing,
    pub(super) journal: Journal,
    pub(super) watch: Watch,
    pub(crate) books: Books,
    pub(super) lines: HashMap<ConnectionId, Rc<Line>>,
    /// Kept between calls for its memory.
    actions: Vec<Action>,
    /// Connections that have something to write, for the same reason.
    roused: Vec<ConnectionId>,
    last_id: usize,
    pub(super) alarm: Rc<Bell>,
    pub(super) work: Rc<Bell>,
    armed: Option<Instant>,
    /// Rings when all has to begin anew.
    pub(super) anew: Rc<Bell>,
    pub(super) progress: Rc<Bell>,
    pub(super) buffers: Rc<Buffers>,
    pub(super) stopping: bool,
    pub(super) clock: Arc<Wall>,
    /// Whether the bridge was told that the time is not known.
    clock_unset: bool,
    /// When the bundled roots were published, until their age has been looked at; `None` also if
    /// no endpoint trusts them.
    roots_since: Option<u64>,
    /// When the clock is looked at, while jobs wait for it.
    clock_due: Option<Instant>,
}

impl Gateway {
    /// Joins the parts.
    pub(crate) fn new(
        hub: Hub,
        bridge: Bridge,
        workers: Workers,
        storing: Storing,
        clock: Arc<Wall>,
    ) -> Self {
        Self {
            hub,
            bridge,
            workers,
            storing,
            journal: Journal::default(),
            watch: Watch::default(),
            books: Books::default(),
            lines: HashMap::new(),
            actions: Vec::new(),
            roused: Vec::new(),
            last_id: 0,
            alarm: Rc::default(),
            work: Rc::default(),
            armed: None,
            anew: Rc::default(),
            progress: Rc::default(),
            buffers: Rc::default(),
            stopping: false,
            clock,
            clock_unset: false,
            roots_since: None,
            clock_due: None,
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
            charge: RefCell::new(self.hub.meter().charge(0)),
        });
        self.lines.insert(id, Rc::clone(&line));
        self.books.change();
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

    /// Parts with the clients of users that have changed.
    pub(super) fn review(
        &mut self,
        standing: impl Fn(Option<&str>, &str) -> Standing,
        now: Instant,
    ) {
        self.hub.review(standing, now);
    }

    /// Forgets a connection that is gone.
    pub(crate) fn leave(&mut self, id: ConnectionId, now: Instant) {
        if self.lines.remove(&id).is_some() {
            self.hub.close(id, Ended::Lost, now);
            self.books.change();
        }
        if self.stopping {
            self.progress.ring();
        }
    }

    /// Encodes what the hub has for a connection, as much as may wait.
    pub(crate) fn fill(&mut self, line: &Line, now: Instant) {
        let mut output = line.output.borrow_mut();
        line.more.set(true);
        let limit = match self.hub.meter().is_tight() {
            true => SHORT_WATER,
            false => HIGH_WATER,
        };
        while output.len() < limit {
            let Some(packet) = self.hub.next_packet(line.id, now) else {
                line.more.set(false);
                break;
            };
            if output.capacity() == 0 {
                *output = self.buffers.take_output();
            }
            codec::encode(line.version, packet, &mut output);
        }
        line.charge.borrow_mut().set(output.len());
    }

    /// Lets the workers begin the jobs that were started.
    pub(crate) fn rouse_workers(&mut self) {
        self.workers.rouse();
    }

    /// Takes in outcomes.
    pub(crate) fn finish(&mut self, finished: impl Iterator<Item = Finished>, now: Instant) {
        self.look_at_clock(now);
        for Finished { id, outcome } in finished {
            let event = Event::Finished { id, outcome };
            self.bridge.handle(event, now, &mut self.actions);
            self.act(now);
        }
        self.look_at_certificates(now);
    }

    /// Begins to send what an earlier process has stored.
    pub(super) fn begin(&mut self, now: Instant) {
        self.look_at_clock(now);
        self.bridge.restored(now, &mut self.actions);
        self.act(now);
    }

    /// Takes in what the store has done.
    pub(super) fn stored(&mut self, done: Done, now: Instant) {
        for answer in self.storing.take_in(done) {
            match answer {
                Answer::Hub { token, stored } => match stored {
                    Ok(()) => self.hub.committed(token, now),
                    Err(_) => self.hub.not_stored(token, now),
                },
                Answer::Bridge(event) => {
                    self.bridge.handle(event, now, &mut self.actions);
                    self.act(now);
                }
                Answer::BeginAnew => self.anew.ring(),
            }
        }
    }

    /// Tells of the certificates that handshakes have shown.
    fn look_at_certificates(&mut self, now: Instant) {
        for met in self.workers.take_met() {
            for sighting in met.sightings() {
                let issuer = || met.issuer(&sighting.whose);
                let unix_time = clock::unix_time().as_secs();
                for notice in self.watch.observe(&sighting, unix_time, &issuer) {
                    match notice {
                        Notice::Publish(message) => self.hub.publish(&message, now),
                        Notice::Warn(warning) => self.journal.certificate(&warning, now),
                    }
                }
            }
        }
    }

    /// Writes what was counted; at the end of a run.
    pub(super) fn summary(&mut self) {
        for (endpoint, counts) in self.workers.counts() {
            if counts != Counts::default() {
                self.journal.endpoint(&endpoint.name, &counts);
            }
        }
        self.journal.summary();
    }

    /// Returns the time at which [`Gateway::time_out`] is due, which the caller waits for.
    pub(crate) fn arm(&mut self) -> Option<Instant> {
        self.armed = self.next_timeout();
        self.armed
    }

    /// Has the age of the bundled roots looked at, as soon as the time is known.
    pub(super) fn mind_bundled_roots(&mut self) {
        self.roots_since = Some(BUNDLED_SINCE);
    }

    /// Tells the bridge if the time has become known, or is not known any more.
    pub(crate) fn look_at_clock(&mut self, now: Instant) {
        let time = self.clock.now();
        self.hub.set_clock(time.map(|time| time.as_secs()), now);
        if let (Some(time), Some(since)) = (time, self.roots_since) {
            self.roots_since = None;
            if are_old_roots(since, time.as_secs()) {
                warn!(
                    "the bundled roots are from {}, more than a year old; update this program, or \
                     set roots = \"system\" if the system's are newer",
                    date(since)
                );
            }
        }
        let unset = time.is_none();
        if unset == self.clock_unset {
            return;
        }
        self.clock_unset = unset;
        self.books.change();
        let why = self.why_clock_unset();
        match (why, self.clock.sign()) {
            (None, _) => info!("the clock is believed from now on"),
            (Some(why), Some(file)) => {
                let file = file.display();
                warn!("{why}; requests wait for `{file}`, which is written when it is");
            }
            (Some(why), None) => error!("{why}; set it (NTP), requests wait for that"),
        }
        let event = Event::Clock(why.map(str::to_owned));
        self.bridge.handle(event, now, &mut self.actions);
        self.act(now);
    }

    /// Says why the time is not known, if the bridge was told so.
    pub(super) fn why_clock_unset(&self) -> Option<&'static str> {
        self.clock_unset.then(|| match self.clock.sign() {
            Some(_) => "the gateway's clock has not been set yet",
            None => "the gateway's clock shows a time before this program was built",
        })
    }

    /// Handles the timeouts that are due.
    pub(crate) fn time_out(&mut self, now: Instant) {
        self.armed = None;
        if self.clock_due.is_some_and(|due| due <= now) {
            self.clock_due = None;
            self.look_at_clock(now);
        }
        self.hub.handle_timeout(now);
        self.bridge.handle_timeout(now, &mut self.actions);
        self.act(now);
        self.publish_status(now);
    }

    /// Hands an event to the bridge.
    pub(super) fn tell_bridge(&mut self, event: Event, now: Instant) {
        self.bridge.handle(event, now, &mut self.actions);
        self.act(now);
    }

    /// Takes no new jobs from now on.
    pub(crate) fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.bridge.handle(Event::Stop, now, &mut self.actions);
        self.act(now);
    }

    /// Answers the requests that are with a worker still.
    pub(crate) fn give_up(&mut self, now: Instant) {
        self.bridge.handle(Event::GiveUp, now, &mut self.actions);
        self.act(now);
    }

    /// Closes all connections.
    pub(crate) fn close_all(&mut self, ended: Ended, now: Instant) {
        let all: Vec<_> = self.lines.keys().copied().collect();
        for id in all {
            self.hub.close(id, ended, now);
        }
        if ended == Ended::Stopping {
            self.hub.save();
        }
    }

    /// Executes what hub and bridge have decided, until neither wants anything more.
    ///
    /// What there is for a client is taken once all is decided, so that its acknowledgement and
    /// the reply leave together, in that order.
    pub(super) fn settle(&mut self, now: Instant) {
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
                    Effect::Store { changes, token } => {
                        self.storing.add(changes, token.map(Token::Hub));
                    }
                    Effect::Report(report) => self.journal.hub(&report, now),
                }
            }
            let Some(id) = self.roused.pop() else { break };
            if let Some(line) = self.lines.get(&id).map(Rc::clone) {
                self.fill(&line, now);
                line.bell.ring();
            }
        }
        // All that this turn has decided is stored as one.
        self.storing.flush();
        if self.clock_unset && self.bridge.has_waiting() {
            self.clock_due.get_or_insert(now + CLOCK_LOOK);
        }
        self.books.plan(now);
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
        self.look_at_clock(now);
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
                Action::Start(job) => {
                    self.workers.start(job);
                    self.work.ring();
                }
                Action::Acknowledge(ticket, reason) => self.hub.acknowledge(ticket, reason),
                Action::Refuse(ticket) => self.hub.decline(ticket, now),
                Action::Publish(message) => self.hub.publish(&message, now),
                Action::Store { changes, token } => {
                    self.storing.add(changes, token.map(Token::Bridge));
                }
                Action::Load(key) => self.storing.load(key),
                Action::Report(report) => {
                    self.books.settled(&report, self.bridge.routes(), now);
                    self.journal.bridge(&report, now);
                }
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let hub = self.hub.next_timeout();
        let bridge = self.bridge.next_timeout();
        let due = [hub, bridge, self.clock_due, self.books.due];
        due.into_iter().flatten().min()
    }
}
