//! What the owner of a hub sees of it.

use super::Hub;

/// How many are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Connected clients.
    pub connected: usize,
    /// Sessions without a connection.
    pub offline: usize,
    /// Connected clients at most.
    pub most: usize,
}

impl Hub {
    /// Counts clients and sessions.
    pub fn population(&self) -> Population {
        Population {
            connected: self.connections.len(),
            offline: self.offline.len(),
            most: self.limits.clients,
        }
    }
}
