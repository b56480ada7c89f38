//! Which session makes room when too many are without a connection.

use std::collections::HashMap;

use super::Hub;
use crate::core::session::SessionId;

impl Hub {
    /// Returns the longest absent session of the user who has most of them, so that nobody who
    /// comes with one client ID after the other pushes out what waits for others. Clients without
    /// a user count as one.
    pub(super) fn surplus(&self) -> Option<SessionId> {
        let user = |session: SessionId| self.sessions.get(session)?.user.as_deref();
        let absent = || self.offline.iter().map(|(_, session)| *session);
        let mut counts: HashMap<Option<&str>, usize> = HashMap::new();
        for session in absent() {
            *counts.entry(user(session)).or_default() += 1;
        }
        let most = counts.values().max().copied();
        absent().find(|session| counts.get(&user(*session)).copied() == most)
    }
}
