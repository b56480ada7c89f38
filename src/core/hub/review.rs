//! What becomes of sessions when the users they belong to change.

use std::sync::Arc;
use std::time::Instant;

use super::Hub;
use crate::core::access::{Grants, Rules};
use crate::core::packet::reason;
use crate::core::session::SessionId;

/// What has become of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Keep,
    /// Password or rights are others, the rights these: who is connected has to come again.
    Change(Arc<Rules>),
    /// There is no such user any more.
    Remove,
}

impl Hub {
    /// Parts with the clients of users that have changed.
    ///
    /// A changed user's clients lose their connections as by any fault, so that wills are
    /// published and sessions wait to be resumed: with the new rights only. Of a removed user
    /// nothing is left: neither sessions nor what waits in them, and a will has nobody's rights to
    /// be published with. `None` stands for all clients without a user.
    ///
    /// `standing` is asked for the user and the client ID.
    pub fn review(&mut self, standing: impl Fn(Option<&str>, &str) -> Standing, now: Instant) {
        for (session, standing) in self.affected(standing) {
            self.say_farewell(session, reason::NOT_AUTHORIZED);
            match standing {
                Standing::Keep => {}
                Standing::Change(rules) => {
                    self.apply(session, &rules);
                    self.disconnect(session, true, now);
                }
                Standing::Remove => {
                    if let Some(own) = self.sessions.get_mut(session) {
                        own.will = None;
                    }
                    self.disconnect(session, false, now);
                    self.end(session, now);
                }
            }
        }
        self.forget_surplus(now);
    }

    /// Puts new rules in force for a session, whether its client is there or not.
    fn apply(&mut self, session: SessionId, rules: &Rules) {
        let Some(own) = self.sessions.get(session) else {
            return;
        };
        let grants = rules.expand(own.user.as_deref(), &own.client);
        let will = own.will.as_ref();
        let is_denied = will.is_some_and(|will| !grants.may_publish(&will.message.topic));
        self.grant(session, grants);
        if is_denied && let Some(own) = self.sessions.get_mut(session) {
            own.will = None;
        }
    }

    /// Gives a session these rights. What it subscribed to under others, and what waits for it
    /// from there, it does not get any more.
    pub(super) fn grant(&mut self, session: SessionId, grants: Grants) {
        let Some(own) = self.sessions.get_mut(session) else {
            return;
        };
        own.grants = grants;
        let denied = own.drop_denied_filters();
        for filter in &denied {
            self.subscriptions.remove(filter, session);
            self.unsaved.insert(session, ());
        }
    }

    fn affected(
        &self,
        standing: impl Fn(Option<&str>, &str) -> Standing,
    ) -> Vec<(SessionId, Standing)> {
        let owned = self
            .sessions
            .iter()
            .map(|(id, own)| (id, standing(own.user.as_deref(), &own.client)));
        owned
            .filter(|(_, standing)| *standing != Standing::Keep)
            .collect()
    }
}
