//! From one message to a copy for each session that is to have it.

use std::sync::Arc;
use std::time::Instant;

use super::{Effect, Hub, Report, wake};
use crate::core::memory::ENTRY;
use crate::core::message::{Message, QoS};
use crate::core::retained::Stored;
use crate::core::session::SessionId;
use crate::core::session::outbox::Outbound;
use crate::core::subscriptions::{Fitness, Subscription};

/// One subscription that a message reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    session: SessionId,
    qos: QoS,
    retain_as_published: bool,
    id: Option<u32>,
    /// It is a member's of a shared subscription, which gets a copy of its own (§4.8.2).
    shared: bool,
}

/// Room for matches that is kept between publishes.
const KEPT_MATCHES: usize = 1024;

impl Hub {
    /// Keeps a retained message and gives the message to all its subscribers.
    pub(super) fn distribute(
        &mut self,
        message: &Message,
        publisher: Option<SessionId>,
        now: Instant,
    ) {
        if message.retain && self.retained.store(message, now) == Stored::Full {
            let topic = message.topic.to_string();
            self.effects
                .push_back(Effect::Report(Report::RetainedFull { topic }));
        }
        if message.retain && publisher.is_none() {
            self.retained.set_own(message.topic.as_str());
        }
        if message.retain {
            self.save_retained(message, now);
        }
        self.taken.clear();
        let mut matches = std::mem::take(&mut self.matches);
        self.find_matches(message, publisher, &mut matches);
        let expires = message.expires(now);
        let together = |a: &Match, b: &Match| a.session == b.session && !a.shared && !b.shared;
        for copies in matches.chunk_by(together) {
            self.deliver(message, copies, expires, now);
        }
        matches.clear();
        matches.shrink_to(KEPT_MATCHES);
        self.matches = matches;
    }

    /// Finds the subscriptions that the message reaches, those of one session together.
    fn find_matches(
        &mut self,
        message: &Message,
        publisher: Option<SessionId>,
        matches: &mut Vec<Match>,
    ) {
        let sessions = &self.sessions;
        let fitness = |id, held: &Subscription| match sessions.get(id) {
            Some(own) if own.grants.withhold(&message.topic) => Fitness::Unfit,
            Some(own) if own.connection().is_some() => Fitness::Present,
            Some(_) if held.qos.min(message.qos) > QoS::AtMostOnce => Fitness::Away,
            Some(_) | None => Fitness::Unfit,
        };
        let topic = message.topic.as_str();
        self.subscriptions
            .visit(topic, &fitness, &mut |session, held, shared| {
                if held.no_local && publisher == Some(session) {
                    return;
                }
                matches.push(Match {
                    session,
                    qos: held.qos,
                    retain_as_published: held.retain_as_published,
                    id: held.id,
                    shared,
                });
            });
        matches.sort_by_key(|own| (own.session, own.shared));
    }

    /// Gives one session its copy: at the highest QoS of its overlapping subscriptions, with all
    /// their identifiers (§3.3.4).
    fn deliver(
        &mut self,
        message: &Message,
        matches: &[Match],
        expires: Option<Instant>,
        now: Instant,
    ) {
        let Some(first) = matches.first() else { return };
        let Some(session) = self.sessions.get_mut(first.session) else {
            return;
        };
        let highest = matches.iter().map(|own| own.qos).max().unwrap_or_default();
        let qos = message.qos.min(highest);
        if qos == QoS::AtMostOnce && session.connection().is_none() {
            return;
        }
        if session.grants.withhold(&message.topic) {
            return;
        }
        let ids: Vec<_> = matches.iter().filter_map(|own| own.id).collect();
        let mut item = Outbound {
            message: message.clone(),
            qos,
            retain: message.retain && matches.iter().any(|own| own.retain_as_published),
            expires,
            _charge: self.meter.charge(ENTRY + size_of_val(&*ids)),
            ids,
            kept: None,
        };
        let record = session.record.as_ref().filter(|_| qos > QoS::AtMostOnce);
        if let Some(record) = record {
            if session.connection().is_none() {
                let id = record.key().id;
                session.outbox.keep(&mut item, id, &mut self.archive);
                // Else the message would be nobody's after a power cut.
                if !session.is_stored {
                    self.unsaved.insert(first.session, ());
                }
            } else {
                self.archive.plan(now);
            }
        }
        let id = item.kept.as_ref().map(|kept| kept.record.key().id);
        if session.outbox.push(item, &self.limits, now)
            && let Some(id) = id
        {
            self.taken.push((first.session, id));
        }
        if let Some(count) = session.outbox.report(&self.limits) {
            let client = Arc::clone(&session.client);
            self.effects
                .push_back(Effect::Report(Report::Dropped { client, count }));
        }
        wake(session, &mut self.effects);
    }
}
