//! One moment of everything, collected in one go on the loop's own thread, so that it adds up.

use std::time::Instant;

use bytes::Bytes;

use super::gateway::Gateway;
use crate::core::message::{Message, QoS};
use crate::core::status::{Clients, Endpoint, Memory, Route, Status};
use crate::core::topic::Topic;
use crate::io::clock;

/// Where the status is published for clients whose rules grant it.
pub(super) const TOPIC: &str = "$bridge/status";

impl Gateway {
    /// Returns what there is now.
    pub(crate) fn status(&self, now: Instant) -> Status {
        let meter = self.hub.meter();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.books.uptime(now),
            stopping: self.stopping,
            configuration: self.books.configuration(now),
            clock_unset: self.why_clock_unset().map(str::to_owned),
            listeners: self.books.listeners.clone(),
            clients: self.clients(),
            routes: self.routes(now),
            endpoints: self.endpoints(now),
            certificates: self.watch.known(clock::unix_time().as_secs()),
            store: self.storing.status(),
            memory: Memory {
                used: meter.used(),
                ceiling: meter.ceiling(),
                resident: resident(),
            },
        }
    }

    /// Publishes it if that is due.
    pub(super) fn publish_status(&mut self, now: Instant) {
        if !self.books.take_due(now) {
            return;
        }
        let Ok(topic) = Topic::parse(TOPIC) else {
            return;
        };
        let message = Message {
            topic,
            payload: Bytes::from(self.status(now).json()),
            qos: QoS::AtMostOnce,
            retain: true,
            properties: None,
        };
        self.hub.publish(&message, now);
    }

    fn clients(&self) -> Clients {
        let (population, counts) = (self.hub.population(), self.journal.counts());
        Clients {
            connected: population.connected,
            offline: population.offline,
            most: population.most,
            accepted: counts.connections,
            turned_away: counts.turned_away,
            refused: counts.refused,
            violations: counts.violations,
            denied: counts.denied,
            dropped: counts.dropped,
        }
    }

    fn routes(&self, now: Instant) -> Vec<Route> {
        let states = self.bridge.route_states(now).into_iter();
        let rows = states.map(|state| Route {
            name: state.name,
            endpoint: state.endpoint,
            counters: state.counters,
            oldest: state.oldest,
            share: state.share,
        });
        rows.collect()
    }

    fn endpoints(&self, now: Instant) -> Vec<Endpoint> {
        let states = self.bridge.endpoints();
        let endpoints = self.workers.counts().map(|(endpoint, counts)| {
            // One that no route names is never asked.
            let state = states.iter().find(|state| state.name == endpoint.name);
            let since = state.and_then(|state| state.since);
            let probe = state.and_then(|state| state.next_probe);
            Endpoint {
                name: endpoint.name.clone(),
                url: endpoint.url.clone(),
                requests: counts.requests,
                full: counts.full.count,
                resumed: counts.resumed.count,
                failed: counts.failed,
                standing: state.map(|state| state.standing).unwrap_or_default(),
                since: since.map(|since| now.saturating_duration_since(since)),
                next_probe: probe.map(|at| at.saturating_duration_since(now)),
                last_error: self.books.last_error(&endpoint.name, now),
            }
        });
        endpoints.collect()
    }
}

/// Returns the memory of the process in bytes, as the kernel counts it; `None` in a jail that does
/// not show it.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: usize = line?.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}
