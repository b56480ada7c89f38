//! What becomes of sessions when the users they belong to change.

use std::time::Instant;

use super::Hub;
use crate::core::packet::reason;
use crate::core::session::SessionId;

/// What has become of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Keep,
    /// Password or rights are others: who is connected has to come again with them.
    Change,
    /// There is no such user any more.
    Remove,
}

impl Hub {
    /// Parts with the clients of users that have changed.
    ///
    /// A changed user's clients lose their connections as by any fault, so that wills are
    /// published and sessions wait to be resumed. Of a removed user nothing is left: neither
    /// sessions nor what waits in them, and a will has nobody's rights to be published with.
    pub fn review(&mut self, standing: impl Fn(&str) -> Standing, now: Instant) {
        for (session, standing) in self.affected(standing) {
            self.say_farewell(session, reason::NOT_AUTHORIZED);
            let removed = standing == Standing::Remove;
            if removed && let Some(own) = self.sessions.get_mut(session) {
                own.will = None;
            }
            self.disconnect(session, !removed, now);
            if removed {
                self.end(session, now);
            }
        }
        self.forget_surplus(now);
    }

    fn affected(&self, standing: impl Fn(&str) -> Standing) -> Vec<(SessionId, Standing)> {
        let owned = self
            .sessions
            .iter()
            .filter_map(|(id, own)| Some((id, standing(own.user.as_deref()?))));
        owned
            .filter(|(_, standing)| *standing != Standing::Keep)
            .collect()
    }
}
