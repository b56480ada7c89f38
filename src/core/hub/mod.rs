//! The broker's state: sessions by client ID, take-over, wills, fan-out.
//!
//! Decides who gets what, who may be there, and when a session ends. Pure: the shell hands in
//! packets with the time and executes the [`Effect`]s that come out. Credentials are checked
//! before, bytes are the codec's, and what belongs to a route is the bridge's to decide.
//!
//! The shell pulls [`Hub::next_effect`] until `None` after each call. It calls [`Hub::close`] for
//! each connection that it gives up, and in the end with [`Ended::Lost`] for every one: that is
//! when the last packets of a connection that was to be closed are forgotten, read or not.

#[cfg(any(test, fuzzing))]
mod census;
mod connect;
mod effect;
mod fan_out;
mod notice;
mod publish;
mod restore;
mod review;
mod room;
mod saving;
mod sessions;
mod settings;
mod subscribe;
mod surplus;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::access::Identity;
use crate::core::archive::{Archive, Taken, Waiter};
use crate::core::bridge::Ticket;
use crate::core::few::Few;
use crate::core::memory::Meter;
use crate::core::message::Message;
use crate::core::packet::{Connect, Incoming, Outgoing, Version, reason};
use crate::core::retained::Retained;
use crate::core::session::inbox::Violation;
use crate::core::session::{Link, Session, SessionId};
use crate::core::subscriptions::{FilterTree, MAX_LEVELS, Subscriptions};
use crate::core::timetable::Timetable;
use crate::core::topic::TopicFilter;

#[cfg(any(test, fuzzing))]
pub use census::Census;
pub use effect::{Effect, Offer, Report};
use fan_out::Match;
pub use restore::{Owner, Restored, Restoring};
pub use review::Standing;
use sessions::Sessions;
pub use settings::Population;

/// Time for others after so many retained messages have been looked at for one client.
const REST: Duration = Duration::from_millis(1);

/// One network connection; never used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub usize);

/// What the broker allows; sizes in bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connected clients at most.
    pub clients: usize,
    /// Largest packet a client may send.
    pub max_packet: usize,
    /// Longest topic or topic filter.
    pub topic_bytes: usize,
    /// Most levels of a topic or topic filter, of which 128 are the most.
    pub topic_levels: usize,
    /// Subscriptions of one session.
    pub subscriptions: usize,
    /// Bytes of all that is queued, retained, asked and answered: past it, the largest queue loses
    /// its oldest messages.
    pub memory: usize,
    /// Messages queued for one session, beside those in flight.
    pub queue_messages: usize,
    /// Bytes of topic and payload queued for one session.
    pub queue_bytes: usize,
    /// Deliveries at QoS 1 and 2 in flight to one session.
    pub in_flight: u16,
    /// How long a client may take to acknowledge a delivery before that is given up.
    pub ack_timeout: Duration,
    /// How long a client without keep alive may say nothing, `None` for ever. MQTT 5 clients are
    /// told to say something in time.
    pub idle: Option<Duration>,
    /// Sessions without a connection at most; for another, that one of the user with most of them
    /// is forgotten which left first.
    pub offline_sessions: usize,
    /// Retained messages at most.
    pub retained_messages: usize,
    /// Bytes of retained topics, payloads and properties at most.
    pub retained_bytes: usize,
}

impl Default for Limits {
    /// What a router with 64 MB has room for.
    fn default() -> Self {
        Self {
            clients: 200,
            max_packet: 64 * 1024,
            topic_bytes: 4096,
            topic_levels: MAX_LEVELS,
            subscriptions: 256,
            memory: 8 << 20,
            queue_messages: 100,
            queue_bytes: 64 * 1024,
            in_flight: 20,
            ack_timeout: Duration::from_secs(60),
            idle: None,
            offline_sessions: 1000,
            retained_messages: 10_000,
            retained_bytes: 1024 * 1024,
        }
    }
}

impl Limits {
    /// Returns whether a topic or topic filter is neither too long nor of too many levels.
    pub(crate) fn allow_topic(&self, text: &str) -> bool {
        text.len() <= self.topic_bytes && text.split('/').nth(self.topic_levels).is_none()
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Closed or broken by the peer, without DISCONNECT.
    Lost,
    /// Nothing was received for 1.5 × keep alive (MQTT-3.1.2-24).
    KeepAlive,
    /// Bytes that are not MQTT.
    Malformed,
    /// A packet that MQTT does not allow there.
    Protocol,
    /// A packet larger than [`Limits::max_packet`].
    TooLarge,
    /// The gateway stops.
    Stopping,
}

/// All sessions, subscriptions and retained messages.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    reserved: FilterTree<()>,
    sessions: Sessions,
    connections: HashMap<ConnectionId, SessionId>,
    /// Connections that ended before all they had published at QoS 2 was answered, and the
    /// sessions that wait for that.
    parted: HashMap<ConnectionId, SessionId>,
    /// Last packets of connections that are to be closed.
    closing: Few<ConnectionId, VecDeque<Outgoing>>,
    subscriptions: Subscriptions,
    retained: Retained,
    /// When something is due for a session: its will, its end, an acknowledgement.
    timers: Timetable,
    /// Sessions without a connection, by when they lost it.
    offline: Timetable,
    /// When sessions were last looked through for what to forget while memory is short.
    relieved_at: Option<Instant>,
    effects: VecDeque<Effect>,
    meter: Meter,
    archive: Archive,
    /// Sessions that are to be stored anew.
    unsaved: Few<SessionId>,
    /// Connections to be closed, since what they published could not be stored, and when.
    doomed: Timetable,
    /// Empty between calls; kept so that a publish need not allocate it.
    matches: Vec<Match>,
    /// What the queues of sessions without a connection took of the message that was distributed
    /// last.
    taken: Vec<Taken>,
}

impl Hub {
    /// Makes an empty hub. Clients may not publish to `reserved` topics: replies are the bridge's.
    pub fn new(limits: Limits, reserved: Vec<TopicFilter>) -> Self {
        let meter = Meter::new(limits.memory);
        let retained = Retained::new(settings::retained_limits(&limits));
        let retained = retained.with_meter(meter.clone());
        Self {
            limits,
            reserved: settings::tree(reserved),
            sessions: Sessions::default(),
            connections: HashMap::new(),
            parted: HashMap::new(),
            closing: Few::default(),
            subscriptions: Subscriptions::default(),
            retained,
            timers: Timetable::default(),
            offline: Timetable::default(),
            relieved_at: None,
            effects: VecDeque::new(),
            meter,
            archive: Archive::default(),
            unsaved: Few::default(),
            doomed: Timetable::default(),
            matches: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// Returns what counts the memory that all clients take together.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Takes in a client whose credentials were checked. The CONNACK, of either kind, is queued
    /// for the connection; after a refusal [`Effect::Close`] follows. A refusal for which an older
    /// version has no return code is the [`Effect::Close`] alone.
    pub fn connect(&mut self, id: ConnectionId, connect: Connect, who: Identity, now: Instant) {
        if let Some(session) = self.connections.get(&id) {
            let what = "sent a second CONNECT";
            self.violate(*session, Violation(reason::PROTOCOL_ERROR, what), now);
            return;
        }
        let client = Arc::from(connect.client_id.as_str());
        if let Err(refusal) = self.admit(id, connect, who, now) {
            self.refuse(id, client, refusal);
        }
        self.forget_surplus(now);
    }

    /// Takes in a packet of a connected client.
    pub fn receive(&mut self, id: ConnectionId, packet: Incoming, now: Instant) {
        let Some(session) = self.connections.get(&id).copied() else {
            return;
        };
        if let Err(violation) = self.take_in(session, packet, now) {
            self.violate(session, violation, now);
        } else if self
            .sessions
            .get(session)
            .is_some_and(|own| own.control.is_full())
        {
            let what = "does not read what it is answered";
            self.violate(session, Violation(reason::QUOTA_EXCEEDED, what), now);
        }
        self.forget_surplus(now);
    }

    /// Takes note that a connection is gone or has to go: publishes the will where due, except
    /// when the gateway stops. Unknown connections are ignored. Unless the connection is
    /// [`Ended::Lost`], [`Effect::Close`] follows.
    pub fn close(&mut self, id: ConnectionId, ended: Ended, now: Instant) {
        self.closing.remove(&id);
        let Some(session) = self.connections.get(&id).copied() else {
            return;
        };
        let farewell = match ended {
            Ended::Lost => None,
            Ended::KeepAlive => Some(reason::KEEP_ALIVE_TIMEOUT),
            Ended::Malformed => Some(reason::MALFORMED),
            Ended::Protocol => Some(reason::PROTOCOL_ERROR),
            Ended::TooLarge => Some(reason::PACKET_TOO_LARGE),
            Ended::Stopping => Some(reason::SHUTTING_DOWN),
        };
        if let Some(code) = farewell {
            self.say_farewell(session, code);
        }
        // Nodes are not dead because the gateway is updated.
        self.disconnect(session, ended != Ended::Stopping, now);
        self.forget_surplus(now);
    }

    /// Acknowledges a publish (PUBACK or PUBREC) with an MQTT 5 reason code; in the order received.
    /// A session whose connection is gone hears of it if it comes back and sends a publish at QoS 2
    /// again; for one at QoS 1 it is too late.
    pub fn acknowledge(&mut self, ticket: Ticket, reason: u8) {
        let answer = self.archive.settle(ticket, reason);
        self.give(ticket, answer);
    }

    /// Leaves a publish with its client, which is to send it again. MQTT 5 has a reason code for
    /// that (0x97, quota exceeded); otherwise it is never acknowledged, and the connection is
    /// closed ten seconds later.
    pub fn decline(&mut self, ticket: Ticket, now: Instant) {
        let answer = self.archive.decline(ticket, now);
        self.give(ticket, answer);
    }

    /// Publishes a message of the gateway's own: never offered to the bridge.
    pub fn publish(&mut self, message: &Message, now: Instant) {
        let message = self.weigh(message.clone());
        self.distribute(&message, None, now);
        self.make_room();
    }

    /// Returns the next thing for the shell to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        match self.effects.pop_front() {
            Some(effect) => Some(effect),
            None => self.take_batch(),
        }
    }

    /// Returns the next packet to write to a connection, `None` when there is none now. After a
    /// [`Effect::Wake`] there is no other before this has returned `None`.
    pub fn next_packet(&mut self, id: ConnectionId, now: Instant) -> Option<Outgoing> {
        let Some(session) = self.connections.get(&id) else {
            return self.last_packet(id);
        };
        let own = self.sessions.get_mut(*session)?;
        let packet = own.next_packet(&mut self.retained, now);
        if let Some(count) = own.outbox.report(&self.limits) {
            let client = Arc::clone(&own.client);
            self.effects
                .push_back(Effect::Report(Report::Dropped { client, count }));
        }
        let overdue_at = own.outbox.overdue_at(self.limits.ack_timeout);
        if let Link::Up(connection) = &mut own.link {
            connection.awake &= packet.is_some();
            let tired = packet.is_none() && own.outbox.is_tired();
            let rested_at = now.checked_add(REST).filter(|_| tired);
            let planned = connection.look_at;
            let is_news = |at: &Instant| planned.is_none_or(|planned| tired && *at < planned);
            if let Some(at) = rested_at.or(overdue_at).filter(is_news) {
                self.timers.insert(at, session.0);
                if let Some(planned) = connection.look_at.replace(at) {
                    self.timers.remove(planned, session.0);
                }
            }
        }
        packet
    }

    /// Returns how long the connection may stay silent, `None` for ever.
    pub fn silence(&self, id: ConnectionId) -> Option<Duration> {
        let session = self.sessions.get(*self.connections.get(&id)?)?;
        match u64::from(session.connection()?.keep_alive) {
            0 => self.limits.idle,
            seconds => Some(Duration::from_millis(seconds * 1500)),
        }
    }

    /// Returns when to call [`Hub::handle_timeout`]: delayed wills, session expiry, deliveries that
    /// are not acknowledged, what is not stored at once.
    pub fn next_timeout(&self) -> Option<Instant> {
        let due = [self.timers.next(), self.doomed.next(), self.archive.due()];
        due.into_iter().flatten().min()
    }

    /// Publishes delayed wills, forgets expired sessions, gives up deliveries.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.archive.due().is_some_and(|due| due <= now) {
            self.save();
        }
        self.close_doomed(now);
        while let Some(session) = self.timers.pop_due(now) {
            self.time_out(SessionId(session), now);
        }
    }

    /// Returns whether a client of this ID is connected.
    pub fn is_connected(&self, client: &str) -> bool {
        let session = self.sessions.find(client);
        let session = session.and_then(|session| self.sessions.get(session));
        session.is_some_and(|own| own.connection().is_some())
    }

    /// Reports to the owner: to the log, and to clients that may hear it.
    fn report(&mut self, report: Report, now: Instant) {
        if let Some(message) = notice::notice(&report) {
            self.distribute(&message, None, now);
        }
        self.effects.push_back(Effect::Report(report));
    }

    fn last_packet(&mut self, id: ConnectionId) -> Option<Outgoing> {
        let packet = self.closing.get_mut(&id)?.pop_front();
        if packet.is_none() {
            self.closing.remove(&id);
        }
        packet
    }

    fn take_in(
        &mut self,
        session: SessionId,
        packet: Incoming,
        now: Instant,
    ) -> Result<(), Violation> {
        match packet {
            Incoming::Publish(publish) => return self.take_in_publish(session, publish, now),
            Incoming::Subscribe(subscribe) => return self.subscribe(session, &subscribe),
            Incoming::Unsubscribe(unsubscribe) => return self.unsubscribe(session, &unsubscribe),
            Incoming::Disconnect(packet) => return self.leave(session, packet, now),
            Incoming::PingReq => self.answer(session, |_| Some(Outgoing::PingResp)),
            Incoming::PubAck(id, _) => self.answer(session, |own| {
                own.outbox.acknowledge(id);
                None
            }),
            Incoming::PubRec(id, code) => self.take_in_receipt(session, (id, code), now),
            Incoming::PubRel(id, _) => return self.release(session, id),
            Incoming::PubComp(id, _) => self.answer(session, |own| {
                own.outbox.complete(id);
                None
            }),
        }
        Ok(())
    }

    fn release(&mut self, session: SessionId, packet_id: u16) -> Result<(), Violation> {
        if let Some(own) = self.sessions.get_mut(session) {
            let (code, was_stored) = own.inbox.release(packet_id)?;
            if let Some(connection) = own.connection().filter(|_| was_stored) {
                // After PUBCOMP the identifier may be another message's at once: the store must
                // not take that for this one.
                let connection = connection.id;
                let waiter = Waiter::Complete(Ticket {
                    connection,
                    packet_id,
                });
                self.archive.wait(waiter);
                return Ok(());
            }
            own.control.push(Outgoing::PubComp(packet_id, code));
            wake(own, &mut self.effects);
        }
        Ok(())
    }

    /// Lets a session change, queues its answer, and tells the shell if there is something to
    /// write now.
    fn answer(
        &mut self,
        session: SessionId,
        change: impl FnOnce(&mut Session) -> Option<Outgoing>,
    ) {
        if let Some(own) = self.sessions.get_mut(session) {
            if let Some(packet) = change(own) {
                own.control.push(packet);
            }
            wake(own, &mut self.effects);
        }
    }

    /// Disconnects a client that broke the protocol.
    fn violate(&mut self, session: SessionId, Violation(code, what): Violation, now: Instant) {
        if let Some(own) = self.sessions.get(session) {
            let client = Arc::clone(&own.client);
            self.effects
                .push_back(Effect::Report(Report::Violation { client, what }));
            self.say_farewell(session, code);
            self.disconnect(session, true, now);
        }
    }

    /// Has the connection closed after the answers that wait and a DISCONNECT, which tells MQTT 5
    /// clients why.
    fn say_farewell(&mut self, session: SessionId, code: u8) {
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        if let Link::Up(connection) = &own.link {
            let (id, version) = (connection.id, connection.version);
            let mut last = own.control.drain();
            if version == Version::V5 {
                last.push_back(Outgoing::Disconnect(code));
            }
            self.closing.insert(id, last);
            self.effects.push_back(Effect::Close(id));
        }
    }
}

/// Tells the shell that there is something to write, unless it knows.
fn wake(session: &mut Session, effects: &mut VecDeque<Effect>) {
    if let Link::Up(connection) = &session.link
        && (connection.awake || !session.is_ready())
    {
        return;
    }
    if let Link::Up(connection) = &mut session.link {
        connection.awake = true;
        effects.push_back(Effect::Wake(connection.id));
    }
}
