//! Which session makes room when too many are without a connection.

use super::Hub;
use crate::core::few::Few;
use crate::core::session::SessionId;

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
}
