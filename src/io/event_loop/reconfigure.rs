//! Another configuration for hub, bridge and workers that run.

use std::sync::Arc;
use std::time::Instant;

use super::gateway::Gateway;
use super::keeper::trusts_bundled;
use crate::config::Config;
use crate::core::bridge::Event;
use crate::io::http::workers::Prepared;

impl Gateway {
    /// Replaces limits, endpoints, routes and the conditions for the clock. Clients, sessions and
    /// what waits stay.
    pub(super) fn reconfigure(&mut self, config: &Config, endpoints: Prepared, now: Instant) {
        let routes = &config.routes.routes;
        let reserved = routes.iter().map(|route| route.reply.filter()).collect();
        let limits = config.broker.limits.clone();
        self.hub.reconfigure(limits, reserved, now);
        self.workers.adopt(endpoints);
        self.tell_bridge(Event::Routes(Arc::clone(&config.routes)), now);
        self.clock.set_trust(&config.clock);
        self.look_at_clock(now);
        if config.endpoints.iter().any(trusts_bundled) {
            self.mind_bundled_roots();
        }
        self.books.take_over(config.id.clone(), now);
    }

    /// Has what does not work tried at once.
    pub(super) fn probe(&mut self, now: Instant) {
        self.tell_bridge(Event::ProbeNow, now);
    }
}
