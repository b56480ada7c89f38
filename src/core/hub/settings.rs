//! What the owner of a hub sees of it, and may change while it runs.

use std::time::Instant;

use super::{Effect, Hub, Limits, Report};
use crate::core::retained;
use crate::core::subscriptions::FilterTree;
use crate::core::topic::TopicFilter;

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

    /// Puts other limits in force, and other topics that clients may not publish to.
    ///
    /// Nobody is disconnected for it, and no subscription goes: limits hold for what comes from now
    /// on. Only memory is made free at once, surplus sessions without a connection are forgotten, and
    /// so are retained messages that look like the gateway's own now.
    pub fn reconfigure(&mut self, limits: Limits, reserved: Vec<TopicFilter>, now: Instant) {
        self.meter.set_ceiling(limits.memory);
        self.retained.set_limits(retained_limits(&limits));
        self.limits = limits;
        self.reserved = tree(reserved);
        let count = self.retained.expel(&self.reserved);
        if count > 0 {
            self.effects
                .push_back(Effect::Report(Report::Expelled { count }));
        }
        self.make_room();
        self.forget_surplus(now);
    }
}

/// Returns what may be retained.
pub(super) fn retained_limits(limits: &Limits) -> retained::Limits {
    retained::Limits {
        messages: limits.retained_messages,
        bytes: limits.retained_bytes,
    }
}

/// Makes filters quick to look up.
pub(super) fn tree(filters: Vec<TopicFilter>) -> FilterTree<()> {
    let mut tree = FilterTree::default();
    for filter in filters {
        *tree.place(&filter) = Some(());
    }
    tree
}
