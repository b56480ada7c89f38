//! SUBSCRIBE and UNSUBSCRIBE.

use std::sync::Arc;

use super::{Effect, Hub, Report, wake};
use crate::core::packet::{
    Outgoing, RetainHandling, Subscribe, SubscribeOptions, Unsubscribe, reason,
};
use crate::core::session::inbox::Violation;
use crate::core::session::{MEAN_FILTER_COST, Session, SessionId};
use crate::core::subscriptions::{Filter, Subscription};

/// What the subscriptions of a session may cost even while memory is short: as much as a node needs.
const SMALL_COST: usize = 4 << 10;

impl Hub {
    /// Takes in a SUBSCRIBE: answers each filter, then sends retained messages.
    pub(super) fn subscribe(
        &mut self,
        session: SessionId,
        packet: &Subscribe,
    ) -> Result<(), Violation> {
        self.check(session, packet.packet_id, packet.filters.len())?;
        let mut reasons = Vec::with_capacity(packet.filters.len());
        for (text, options) in &packet.filters {
            reasons.push(self.subscribe_to(session, (text, *options), packet.id)?);
        }
        self.answer(session, |_| {
            Some(Outgoing::SubAck(packet.packet_id, reasons))
        });
        Ok(())
    }

    /// Takes in an UNSUBSCRIBE.
    pub(super) fn unsubscribe(
        &mut self,
        session: SessionId,
        packet: &Unsubscribe,
    ) -> Result<(), Violation> {
        self.check(session, packet.packet_id, packet.filters.len())?;
        let filters = packet.filters.iter();
        let reasons = filters
            .map(|text| self.unsubscribe_from(session, text))
            .collect();
        self.answer(session, |_| {
            Some(Outgoing::UnsubAck(packet.packet_id, reasons))
        });
        Ok(())
    }

    fn check(&self, session: SessionId, packet_id: u16, filters: usize) -> Result<(), Violation> {
        if packet_id == 0 {
            let what = "used packet identifier 0";
            return Err(Violation(reason::PROTOCOL_ERROR, what));
        }
        if filters == 0 {
            let what = "sent a SUBSCRIBE or UNSUBSCRIBE without a filter";
            return Err(Violation(reason::PROTOCOL_ERROR, what));
        }
        let own = self.sessions.get(session);
        if own.is_some_and(|own| !own.takes_answer(filters)) {
            let what = "sent more filters in one packet than it takes the answer to";
            return Err(Violation(reason::PACKET_TOO_LARGE, what));
        }
        Ok(())
    }

    fn subscribe_to(
        &mut self,
        session: SessionId,
        (text, options): (&str, SubscribeOptions),
        id: Option<u32>,
    ) -> Result<u8, Violation> {
        let filter = Filter::parse(text);
        let allowed = |own: &Filter| self.limits.allow_topic(own.filter.as_str());
        let Some(filter) = filter.filter(allowed) else {
            return Ok(reason::FILTER_INVALID);
        };
        if filter.group.is_some() && options.no_local {
            let what = "asked for No Local on a shared subscription";
            return Err(Violation(reason::PROTOCOL_ERROR, what));
        }
        let Some(own) = self.sessions.get_mut(session) else {
            return Ok(reason::UNSPECIFIED);
        };
        if !own.grants.may_subscribe(&filter.filter) {
            self.effects.push_back(Effect::Report(Report::Denied {
                client: Arc::clone(&own.client),
                topic: text.to_owned(),
                action: "subscribe to",
            }));
            return Ok(reason::NOT_AUTHORIZED);
        }
        let most = match self.meter.is_tight() {
            true => SMALL_COST,
            false => self.limits.subscriptions.saturating_mul(MEAN_FILTER_COST),
        };
        if !has_room(own, &filter, self.limits.subscriptions, most) {
            return Ok(reason::QUOTA_EXCEEDED);
        }
        let subscription = Subscription {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            id,
        };
        let is_other = self.subscriptions.held(&filter, session) != Some(subscription);
        let is_new = self.subscriptions.insert(&filter, session, subscription);
        if is_other {
            self.unsaved.insert(session, ());
        }
        let wants_retained = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        if filter.group.is_none() && wants_retained {
            let cursor = self.retained.cursor(filter.filter.clone());
            own.outbox.replay(cursor, options.qos, id);
        }
        if is_new {
            own.filter_cost += filter.cost();
            own.filter_charge.set(own.filter_cost);
            own.filters.insert(filter, ());
        }
        Ok(options.qos.level())
    }

    fn unsubscribe_from(&mut self, session: SessionId, text: &str) -> u8 {
        let Some(filter) = Filter::parse(text) else {
            return reason::FILTER_INVALID;
        };
        let Some(own) = self.sessions.get_mut(session) else {
            return reason::UNSPECIFIED;
        };
        if !self.subscriptions.remove(&filter, session) {
            return reason::NO_SUBSCRIPTION;
        }
        self.unsaved.insert(session, ());
        own.remove_filter(&filter);
        wake(own, &mut self.effects);
        reason::SUCCESS
    }
}

/// Whether a session may hold this filter as well, of so many that may cost so much together.
fn has_room(session: &Session, filter: &Filter, most: usize, most_cost: usize) -> bool {
    session.filters.contains(filter)
        || (session.filters.len() < most && session.filter_cost + filter.cost() <= most_cost)
}
