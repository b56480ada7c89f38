//! Which session makes room when too many are without a connection.

use super::Hub;
use crate::core::few::Few;
use crate::core::session::SessionId;

/// The part of all memory that the sessions of one user without a connection may take while it is
/// short, as a divisor.
const SHARE: usize = 4;

impl Hub {
    /// Returns the longest absent session of the user who has most of them, so that nobody who
    /// comes with one client ID after the other pushes out what waits for others. Clients without
    /// a user count as one.
    pub(super) fn surplus(&self) -> Option<SessionId> {
        let user = |session: SessionId| self.sessions.get(session)?.user.as_deref();
        let absent = || self.offline.numbers().map(SessionId);
        let mut counts: Few<Option<&str>, usize> = Few::default();
        for session in absent() {
            let count = counts.get(&user(session)).map_or(1, |count| count + 1);
            counts.insert(user(session), count);
        }
        let most = counts.iter().map(|(_, count)| *count).max();
        absent().find(|session| counts.get(&user(*session)).copied() == most)
    }

    /// Returns, of the user who takes most memory with sessions without a connection (queues apart,
    /// which lose their oldest messages), the one of them that takes most; `None` if that user
    /// takes no more than anybody may.
    ///
    /// Whoever leaves many sessions behind can so not keep all others from being served.
    pub(super) fn burden(&self) -> Option<SessionId> {
        let absent = || {
            let absent = self.offline.numbers().map(SessionId);
            absent.filter_map(|id| Some((id, self.sessions.get(id)?)))
        };
        let mut weights: Few<Option<&str>, usize> = Few::default();
        for (_, own) in absent() {
            let user = own.user.as_deref();
            let weight = weights.get(&user).copied().unwrap_or_default();
            weights.insert(user, weight + own.lasting_weight());
        }
        let heaviest = weights.iter().max_by_key(|(_, weight)| *weight);
        let (user, _) = heaviest.filter(|(_, weight)| *weight > self.meter.ceiling() / SHARE)?;
        let own = absent().filter(|(_, own)| own.user.as_deref() == *user);
        own.max_by_key(|(_, own)| own.lasting_weight())
            .map(|(id, _)| id)
    }
}
