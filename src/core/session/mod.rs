//! One client's MQTT protocol: what outlives a connection and what belongs to it.
//!
//! Decides the exchange with one client: `inbox` what its publishes get back, `outbox` what
//! is sent to it and when. Who gets what, and when a session ends, is left to the hub.

pub(crate) mod aliases;
mod control;
pub(crate) mod inbox;
pub(crate) mod keeping;
pub(crate) mod outbox;
pub(crate) mod rivalry;
mod window;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::access::{Grants, Hearing};
use crate::core::archive::Record;
use crate::core::bridge::Publisher;
use crate::core::few::Few;
use crate::core::hub::ConnectionId;
use crate::core::memory::Charge;
use crate::core::message::Message;
use crate::core::packet::{Outgoing, Version, answer_bytes};
use crate::core::retained::Retained;
use crate::core::subscriptions::Filter;

use aliases::Aliases;
pub(crate) use control::Control;
use inbox::Inbox;
use outbox::{Outbox, Terms};
use rivalry::Rivalry;

/// What one subscription may cost on average, see [`Filter::cost`]: bounds a session's memory.
pub(crate) const MEAN_FILTER_COST: usize = 1024;

/// The place of a session in the hub; used again after the session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(crate) usize);

/// One client's session.
#[derive(Debug)]
pub(crate) struct Session {
    /// The client ID.
    pub(crate) client: Arc<str>,
    /// The user it belongs to: nobody else may resume it or take it over.
    pub(crate) user: Option<Arc<str>>,
    /// The user's own `reply_packet`.
    pub(crate) reply_packet: Option<usize>,
    /// What it may do.
    pub(crate) grants: Grants,
    /// Session Expiry Interval in seconds; 0 ends it with its connection, `u32::MAX` never.
    pub(crate) expiry: u32,
    /// What it has subscribed to.
    pub(crate) filters: Few<Filter>,
    /// The costs of its filters together.
    pub(crate) filter_cost: usize,
    /// The same, as part of the memory for all.
    pub(crate) filter_charge: Charge,
    /// The will of its latest connection, until it is published or discarded.
    pub(crate) will: Option<Will>,
    /// What the client's publishes get back.
    pub(crate) inbox: Inbox,
    /// What is sent to the client.
    pub(crate) outbox: Outbox,
    /// Topics that its latest connection knows by number.
    pub(crate) aliases: Aliases,
    /// Packets that go before publishes.
    pub(crate) control: Control,
    /// The client's Maximum Packet Size, as of its latest connection.
    pub(crate) maximum_packet: Option<usize>,
    /// Who else wants it.
    pub(crate) rivalry: Rivalry,
    /// The connection, or since when there is none.
    pub(crate) link: Link,
    /// Its place in the store, `None` if it does not outlive the process.
    pub(crate) record: Option<Record>,
    /// The latest packet identifier that is stored.
    pub(crate) stored_id: u16,
    /// Whether the store has it, in whatever version.
    pub(crate) is_stored: bool,
}

/// A valid will.
#[derive(Debug)]
pub(crate) struct Will {
    /// The message.
    pub(crate) message: Message,
    /// How long after the connection it is published.
    pub(crate) delay: Duration,
    /// What it takes of the memory for all.
    pub(crate) _charge: Charge,
}

/// Whether and how a session is connected.
#[derive(Debug)]
pub(crate) enum Link {
    /// There is a connection.
    Up(Connection),
    /// There is none.
    Down(Absence),
}

/// What is known of a session's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    /// Its number.
    pub(crate) id: ConnectionId,
    /// Protocol version.
    pub(crate) version: Version,
    /// Keep Alive in seconds, 0 for none.
    pub(crate) keep_alive: u16,
    /// Session Expiry Interval as of CONNECT: 0 there may not become more (§3.14.2.2.2).
    pub(crate) connect_expiry: u32,
    /// Where it comes from.
    pub(crate) peer: Option<SocketAddr>,
    /// Deliveries at QoS 1 and 2 in flight at most.
    pub(crate) window: u16,
    /// The client's Receive Maximum, at least 1.
    pub(crate) quota: u16,
    /// The shell knows that there are packets to write.
    pub(crate) awake: bool,
    /// When to look for deliveries that are not acknowledged, or to go on after a rest; `None` if
    /// that is not planned.
    pub(crate) look_at: Option<Instant>,
}

/// What is to happen to a session without a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absence {
    /// When the connection ended.
    pub(crate) since: Instant,
    /// When the will is due, if there is one.
    pub(crate) will_at: Option<Instant>,
    /// When the session ends, `None` for never.
    pub(crate) ends_at: Option<Instant>,
}

impl Absence {
    /// Returns when something is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        match (self.will_at, self.ends_at) {
            (Some(will), Some(end)) => Some(will.min(end)),
            (will, end) => will.or(end),
        }
    }
}

impl Session {
    /// Returns what it takes beside its queue, about, in bytes: the queue loses what is too much,
    /// this stays.
    pub(crate) fn lasting_weight(&self) -> usize {
        self.filter_cost + self.outbox.unacknowledged_weight()
    }

    /// Returns the connection, if there is one.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        match &self.link {
            Link::Up(connection) => Some(connection),
            Link::Down(_) => None,
        }
    }

    /// Takes away the filters that the grants do not cover, with what waits because of them, and
    /// returns them.
    pub(crate) fn drop_denied_filters(&mut self) -> Vec<Filter> {
        let filters = self.filters.iter().map(|(own, ())| own);
        let denied = filters.filter(|own| !self.grants.may_subscribe(&own.filter));
        let denied: Vec<_> = denied.cloned().collect();
        for filter in &denied {
            self.remove_filter(filter);
        }
        if !denied.is_empty() || !self.grants.not_subscribe.is_empty() {
            let grants = &self.grants;
            self.outbox
                .retain(|message| grants.may_hear(&message.topic));
        }
        denied
    }

    /// Takes away a filter that it holds.
    pub(crate) fn remove_filter(&mut self, filter: &Filter) {
        if self.filters.remove(filter).is_some() {
            self.filter_cost -= filter.cost();
            self.filter_charge.set(self.filter_cost);
        }
        if filter.group.is_none() {
            self.outbox.stop_replay(&filter.filter);
        }
    }

    /// Returns whether the client takes an answer with so many reason codes (MQTT-3.1.2-24).
    pub(crate) fn takes_answer(&self, codes: usize) -> bool {
        let largest = self.maximum_packet;
        largest.is_none_or(|largest| answer_bytes(codes) <= largest)
    }

    /// Describes the session as the publisher of a message.
    pub(crate) fn publisher(&self, message: &Message) -> Publisher {
        let properties = message.properties.as_ref();
        let response = properties.and_then(|own| own.response_topic.as_deref());
        Publisher {
            client: Arc::clone(&self.client),
            user: self.user.clone(),
            reply_packet: self.reply_packet,
            maximum_packet: self.maximum_packet,
            hearing: response.map_or(Hearing::Deny, |topic| self.grants.hearing(topic)),
        }
    }

    /// Returns the next packet to write, `None` if there is none now.
    pub(crate) fn next_packet(
        &mut self,
        retained: &mut Retained,
        now: Instant,
    ) -> Option<Outgoing> {
        let terms = self.terms()?;
        if let Some(packet) = self.control.pop() {
            return Some(packet);
        }
        let mut packet = self.outbox.next(&terms, (retained, &self.grants), now)?;
        if let Outgoing::Publish(delivery) = &mut packet {
            self.aliases.apply(delivery, self.maximum_packet);
        }
        Some(packet)
    }

    /// Returns whether [`Session::next_packet`] may have something: then the shell must know.
    pub(crate) fn is_ready(&self) -> bool {
        self.terms()
            .is_some_and(|terms| !self.control.is_empty() || self.outbox.is_ready(&terms))
    }

    fn terms(&self) -> Option<Terms> {
        let connection = self.connection()?;
        Some(Terms {
            version: connection.version,
            window: connection.window.into(),
            quota: connection.quota.into(),
            maximum_packet: self.maximum_packet,
        })
    }
}
