//! The beginning and the end of connections and sessions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::notice::likely_cause;
use super::{ConnectionId, Effect, Hub, Report, wake};
use crate::core::access::{Grants, Identity, MAX_CLIENT_ID};
use crate::core::few::Few;
use crate::core::memory::{Charge, ENTRY};
use crate::core::message::Message;
use crate::core::packet::{self, ConnAck, Connect, Disconnect, Grant, Outgoing, Version, reason};
use crate::core::session::aliases::Aliases;
use crate::core::session::inbox::{ALIAS_MAXIMUM, Inbox, RECEIVE_MAXIMUM, Violation};
use crate::core::session::outbox::Outbox;
use crate::core::session::rivalry::Rivalry;
use crate::core::session::{Absence, Connection, Control, Link, Session, SessionId, Will};
use crate::core::topic::Topic;

/// Bytes of a will that is taken even while memory is short: as many as there can be sessions.
const SMALL_WILL: usize = 1024;
/// While memory is short, time between two looks for sessions to forget: each looks at all.
const RELIEF: Duration = Duration::from_millis(200);

/// A client is not let in: the MQTT 5 reason code of its CONNACK, or none for closing alone, and
/// what to tell the owner.
///
/// Of 3.x clients, some stop for ever at a CONNACK that is not success, and try again after a
/// mere close. So they get a CONNACK only where trying again is hopeless, and where 3.x has a
/// return code for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    code: Option<u8>,
    why: &'static str,
}

impl Hub {
    /// Lets a client in, or says how to refuse it.
    pub(super) fn admit(
        &mut self,
        id: ConnectionId,
        mut connect: Connect,
        who: Identity,
        now: Instant,
    ) -> Result<(), Refusal> {
        let assigned = self.name_client(&mut connect)?;
        let mut grant = grant(assigned, self.limits.max_packet);
        let keep_alive = self.keep_alive(&connect);
        grant.keep_alive = Some(keep_alive).filter(|seconds| *seconds != connect.keep_alive);
        let maximum_packet = connect.maximum_packet;
        let maximum_packet = maximum_packet.and_then(|max| usize::try_from(max).ok());
        if maximum_packet.is_some_and(|largest| grant.wire_bytes() > largest) {
            let why = "the packets it takes are too small for a CONNACK";
            return Err(refusal(reason::PACKET_TOO_LARGE, why));
        }
        let mut known = self.sessions.find(&connect.client_id);
        if who.owns_client_id {
            known = known.filter(|session| !self.oust(*session, &who, now));
        }
        let holder = known.and_then(|session| self.sessions.get(session));
        if holder.is_some_and(|session| session.user != who.user) {
            let why = "its client ID is in use by another user";
            return Err(refusal(reason::NOT_AUTHORIZED, why));
        }
        let takes_over = holder.is_some_and(|session| session.connection().is_some());
        if !takes_over && self.connections.len() >= self.limits.clients {
            let why = "there are as many clients as the broker may have";
            return Err(unless_older(connect.version, reason::BUSY, why));
        }
        let grants = who.rules.expand(who.user.as_deref(), &connect.client_id);
        let will = match connect.will.take() {
            Some(will) => Some(self.check_will(will, &grants, connect.version)?),
            None => None,
        };
        let rivalry = self.judge(known, who.peer, connect.version, now)?;
        let resumed = known.and_then(|session| self.resume(session, connect.clean_start, now));
        let session_present = resumed.is_some();
        let connection = Connection {
            id,
            version: connect.version,
            keep_alive,
            connect_expiry: connect.session_expiry,
            peer: who.peer,
            window: self.limits.in_flight.min(connect.receive_maximum).max(1),
            quota: connect.receive_maximum.max(1),
            awake: false,
            look_at: None,
        };
        let session = resumed.unwrap_or_else(|| {
            let charge = self.meter.charge(0);
            self.sessions
                .insert(new_session(&connect, who.user, connection, charge))
        });
        self.connections.insert(id, session);
        // They may have changed while the session was without a connection.
        self.grant(session, grants);
        if let Some(own) = self.sessions.get_mut(session) {
            own.reply_packet = who.reply_packet;
            own.will = will;
            own.rivalry = rivalry;
            own.expiry = connect.session_expiry;
            own.maximum_packet = maximum_packet;
            own.aliases = Aliases::new(connect.topic_alias_maximum);
            own.link = Link::Up(connection);
            own.control.push(Outgoing::ConnAck(ConnAck {
                session_present,
                reason: reason::SUCCESS,
                grant: Some(grant),
            }));
            wake(own, &mut self.effects);
        }
        self.save_session(session);
        Ok(())
    }

    /// Ends the session of somebody else, who had the client ID before it was bound to a user.
    fn oust(&mut self, session: SessionId, who: &Identity, now: Instant) -> bool {
        let theirs = self.sessions.get(session).map(|own| &own.user);
        if theirs.is_none_or(|user| *user == who.user) {
            return false;
        }
        self.say_farewell(session, reason::NOT_AUTHORIZED);
        self.disconnect(session, true, now);
        self.end(session, now);
        true
    }

    /// Tells a client that it is not let in.
    pub(super) fn refuse(&mut self, id: ConnectionId, client: Arc<str>, refusal: Refusal) {
        if let Some(reason) = refusal.code {
            let packet = Outgoing::ConnAck(ConnAck {
                session_present: false,
                reason,
                grant: None,
            });
            self.closing.insert(id, VecDeque::from([packet]));
        }
        let why = refusal.why;
        self.effects
            .push_back(Effect::Report(Report::Refused { client, why }));
        self.effects.push_back(Effect::Close(id));
    }

    /// Takes in a DISCONNECT.
    pub(super) fn leave(
        &mut self,
        session: SessionId,
        packet: Disconnect,
        now: Instant,
    ) -> Result<(), Violation> {
        let Some(own) = self.sessions.get_mut(session) else {
            return Ok(());
        };
        let Some(connection) = own.connection().copied() else {
            return Ok(());
        };
        if let Some(expiry) = packet.session_expiry {
            if connection.connect_expiry == 0 && expiry > 0 {
                let what = "asked in DISCONNECT to keep a session that was to end";
                return Err(Violation(reason::PROTOCOL_ERROR, what));
            }
            own.expiry = expiry;
            self.unsaved.insert(session, ());
        }
        self.effects.push_back(Effect::Close(connection.id));
        // Any other reason code leaves the will in force (MQTT-3.1.2-8, MQTT-3.14.4-3).
        self.disconnect(session, packet.reason != reason::SUCCESS, now);
        Ok(())
    }

    /// Parts a session from its connection: publishes, delays or discards the will, and ends the
    /// session if it does not outlive the connection.
    pub(super) fn disconnect(&mut self, session: SessionId, with_will: bool, now: Instant) {
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        let Link::Up(connection) = own.link else {
            return;
        };
        self.connections.remove(&connection.id);
        if let Some(at) = connection.look_at {
            self.timers.remove(at, session.0);
        }
        own.control.drain();
        own.inbox.disconnect();
        if own.inbox.awaited().any(|it| it == connection.id) {
            self.parted.insert(connection.id, session);
        }
        if !with_will {
            own.will = None;
        }
        let delay = own.will.as_ref().map_or(Duration::ZERO, |will| will.delay);
        let due_will = own.will.take_if(|_| delay.is_zero());
        let lasting = match own.expiry {
            u32::MAX => None,
            seconds => now.checked_add(Duration::from_secs(seconds.into())),
        };
        let absence = Absence {
            since: now,
            will_at: own.will.as_ref().and_then(|_| now.checked_add(delay)),
            ends_at: lasting,
        };
        let ends = own.expiry == 0;
        self.save_at_parting(session);
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        own.link = Link::Down(absence);
        self.offline.insert(now, session.0);
        if let Some(due) = absence.due() {
            self.timers.insert(due, session.0);
        }
        if let Some(will) = due_will {
            self.publish_will(session, will, now);
        }
        if ends {
            self.end(session, now);
        }
    }

    /// Forgets sessions without a connection that are too many, see [`Hub::surplus`], or take too
    /// much while memory is short, see [`Hub::burden`].
    pub(super) fn forget_surplus(&mut self, now: Instant) {
        while self.offline.len() > self.limits.offline_sessions
            && let Some(session) = self.surplus()
        {
            self.forget(session, now);
        }
        if !self.meter.is_tight() || self.relieved_at.is_some_and(|at| now < at + RELIEF) {
            return;
        }
        // Well below the mark, so that what comes next does not reach it at once.
        while self.meter.used() > self.meter.ceiling() / 2
            && let Some(session) = self.burden()
        {
            self.forget(session, now);
        }
        self.relieved_at = Some(now);
    }

    fn forget(&mut self, session: SessionId, now: Instant) {
        if let Some(own) = self.sessions.get(session) {
            let client = Arc::clone(&own.client);
            self.effects
                .push_back(Effect::Report(Report::Forgotten { client }));
        }
        self.end(session, now);
    }

    /// Does what is due for a session.
    pub(super) fn time_out(&mut self, session: SessionId, now: Instant) {
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        let Link::Down(absence) = &mut own.link else {
            self.look_at(session, now);
            return;
        };
        if absence.ends_at.is_some_and(|end| end <= now) {
            self.end(session, now);
            return;
        }
        absence.will_at = None;
        if let Some(due) = absence.due() {
            self.timers.insert(due, session.0);
        }
        if let Some(will) = own.will.take() {
            self.publish_will(session, will, now);
        }
    }

    /// Lets a connected client's search for retained messages go on, and gives up what it does
    /// not acknowledge: one message that is too large for it must not hold up all others for ever.
    fn look_at(&mut self, session: SessionId, now: Instant) {
        let patience = self.limits.ack_timeout;
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        let Link::Up(connection) = &mut own.link else {
            return;
        };
        own.outbox.rest();
        let given_up = own.outbox.give_up(patience, connection.version, now);
        connection.look_at = own.outbox.overdue_at(patience);
        if let Some(at) = connection.look_at {
            self.timers.insert(at, session.0);
        }
        let is_exhausted = own.outbox.is_exhausted(connection.quota);
        let client = Arc::clone(&own.client);
        wake(own, &mut self.effects);
        for message in given_up {
            let report = Report::Unacknowledged {
                client: Arc::clone(&client),
                topic: message.topic.to_string(),
                bytes: message.bytes,
                waited: patience,
                cause: likely_cause(message.topic.as_str(), message.bytes),
            };
            self.report(report, now);
        }
        if is_exhausted {
            // Its next connection begins with all of its Receive Maximum (MQTT 5 §4.9).
            let what = "left unacknowledged as many messages as it takes at once";
            self.violate(session, Violation(reason::QUOTA_EXCEEDED, what), now);
        }
    }

    /// Decides whether a client may take a session from one that is connected.
    fn judge(
        &mut self,
        known: Option<SessionId>,
        peer: Option<SocketAddr>,
        version: Version,
        now: Instant,
    ) -> Result<Rivalry, Refusal> {
        let Some(own) = known.and_then(|session| self.sessions.get_mut(session)) else {
            return Ok(Rivalry::default());
        };
        let Some(holder) = own.connection().map(|connection| connection.peer) else {
            return Ok(own.rivalry);
        };
        let host = |address: Option<SocketAddr>| address.map(|it| it.ip().to_canonical());
        let verdict = own.rivalry.judge(host(holder) != host(peer), now);
        let rivalry = own.rivalry;
        if verdict.is_news {
            let client = Arc::clone(&own.client);
            let addresses = [holder, peer];
            self.report(Report::Rivals { client, addresses }, now);
        }
        if verdict.refuse {
            let why = "another client uses its ID, and each has thrown the other out";
            return Err(unless_older(version, reason::BUSY, why));
        }
        Ok(rivalry)
    }

    /// Returns the keep alive that holds: an MQTT 5 client is told if its own is too long for the
    /// idle limit (§3.2.2.3.14). Older ones can't be told, and ping as they said they would.
    fn keep_alive(&self, connect: &Connect) -> u16 {
        let own = connect.keep_alive;
        let Some(idle) = self.limits.idle.filter(|_| connect.version == Version::V5) else {
            return own;
        };
        let longest = u16::try_from(idle.as_secs() * 2 / 3)
            .unwrap_or(u16::MAX)
            .max(1);
        if own == 0 { longest } else { own.min(longest) }
    }

    /// Gives an empty client ID a value. Returns it if it was assigned.
    fn name_client(&mut self, connect: &mut Connect) -> Result<Option<String>, Refusal> {
        if connect.client_id.len() > MAX_CLIENT_ID {
            let why = "its client ID is longer than 256 bytes";
            return Err(refusal(reason::CLIENT_ID_INVALID, why));
        }
        if !connect.client_id.is_empty() {
            return Ok(None);
        }
        let may_be_empty = match connect.version {
            Version::V3_1 => false,
            Version::V3_1_1 => connect.clean_start,
            Version::V5 => true,
        };
        if !may_be_empty {
            let why = "it has no client ID and wants its session kept";
            return Err(refusal(reason::CLIENT_ID_INVALID, why));
        }
        connect.client_id = self.sessions.assign_client_id();
        Ok(Some(connect.client_id.clone()))
    }

    fn check_will(
        &self,
        will: packet::Will,
        grants: &Grants,
        version: Version,
    ) -> Result<Will, Refusal> {
        let topic = Topic::parse(&will.topic)
            .ok()
            .filter(|topic| self.limits.allow_topic(topic.as_str()));
        let Some(topic) = topic else {
            let why = "the topic of its will is not valid";
            return Err(unless_older(version, reason::TOPIC_INVALID, why));
        };
        let message = Message {
            topic,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            properties: will.properties,
        };
        if !grants.may_publish(&message.topic) || self.is_reserved(&message) {
            let why = "it may not publish to the topic of its will";
            return Err(refusal(reason::NOT_AUTHORIZED, why));
        }
        let bytes = message.bytes();
        if bytes > SMALL_WILL && self.meter.is_tight() {
            let why = "memory is short, and its will is large";
            return Err(unless_older(version, reason::QUOTA_EXCEEDED, why));
        }
        let properties = message.properties.as_ref();
        let places = properties.map_or(0, |own| own.places());
        Ok(Will {
            _charge: self.meter.charge(bytes + places + ENTRY),
            message,
            delay: will.delay,
        })
    }

    /// Makes an existing session ready for a new connection, or ends it for a clean start.
    fn resume(&mut self, session: SessionId, clean: bool, now: Instant) -> Option<SessionId> {
        let own = self.sessions.get(session)?;
        if own.connection().is_some() {
            let client = Arc::clone(&own.client);
            self.effects
                .push_back(Effect::Report(Report::TakenOver { client }));
            self.say_farewell(session, reason::TAKEN_OVER);
            self.disconnect(session, true, now);
        }
        if clean {
            self.end(session, now);
        }
        let own = self.sessions.get_mut(session)?;
        own.outbox.resume();
        if let Link::Down(absence) = own.link {
            self.forget_absence(session, &absence);
        }
        Some(session)
    }

    /// Ends a session: with it go its subscriptions and all it had still to send. Its will is
    /// published if that was only delayed (MQTT 5 §3.1.3.2.2).
    pub(super) fn end(&mut self, session: SessionId, now: Instant) {
        let will = self
            .sessions
            .get_mut(session)
            .and_then(|own| own.will.take());
        if let Some(will) = will {
            self.publish_will(session, will, now);
        }
        let Some(mut own) = self.sessions.remove(session) else {
            return;
        };
        for (filter, ()) in own.filters.iter() {
            self.subscriptions.remove(filter, session);
        }
        for connection in own.inbox.awaited() {
            self.parted.remove(&connection);
        }
        if let Link::Down(absence) = &own.link {
            self.forget_absence(session, absence);
        }
        if let Some(count) = own.outbox.unreported() {
            let client = own.client;
            self.effects
                .push_back(Effect::Report(Report::Dropped { client, count }));
        }
    }

    fn forget_absence(&mut self, session: SessionId, absence: &Absence) {
        self.offline.remove(absence.since, session.0);
        if let Some(due) = absence.due() {
            self.timers.remove(due, session.0);
        }
    }
}

const fn refusal(code: u8, why: &'static str) -> Refusal {
    let code = Some(code);
    Refusal { code, why }
}

const fn unless_older(version: Version, code: u8, why: &'static str) -> Refusal {
    match version {
        Version::V3_1 | Version::V3_1_1 => Refusal { code: None, why },
        Version::V5 => refusal(code, why),
    }
}

fn grant(client_id: Option<String>, max_packet: usize) -> Grant {
    Grant {
        client_id,
        session_expiry: None,
        keep_alive: None,
        receive_maximum: RECEIVE_MAXIMUM,
        maximum_packet: u32::try_from(max_packet).unwrap_or(u32::MAX),
        topic_alias_maximum: ALIAS_MAXIMUM,
        shared_subscriptions: true,
    }
}

fn new_session(
    connect: &Connect,
    user: Option<Arc<str>>,
    connection: Connection,
    filter_charge: Charge,
) -> Session {
    Session {
        client: connect.client_id.as_str().into(),
        user,
        reply_packet: None,
        grants: Grants::default(),
        expiry: connect.session_expiry,
        filters: Few::default(),
        filter_cost: 0,
        filter_charge,
        will: None,
        inbox: Inbox::default(),
        outbox: Outbox::default(),
        control: Control::default(),
        maximum_packet: None,
        aliases: Aliases::default(),
        rivalry: Rivalry::default(),
        link: Link::Up(connection),
        record: None,
        stored_id: 0,
        is_stored: false,
    }
}
