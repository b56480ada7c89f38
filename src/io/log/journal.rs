//! What the reports of hub, bridge and listener say to the owner of the gateway, and at which
//! level: what a remote party can trigger is `debug`, a job that failed is `info` and capped, a
//! fault of the gateway is `error` once per change of state.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use log::{Level, debug, error, info, log, log_enabled};

use super::caps::{Caps, Line, ONCE};
use super::{escape, escape_unquoted};
use crate::core::bridge::{Report as BridgeReport, Standing};
use crate::core::certificates::{Warning, Whose};
use crate::core::few::Few;
use crate::core::hub::Report as HubReport;

/// Near misses that are remembered; beyond them none is reported any more.
const NEAR_MISSES: usize = 512;

/// Writes reports, remembering what was said already.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    caps: Caps,
    /// Client and route of each near miss that was reported.
    near_misses: Few<(String, String)>,
    /// The fault each route suffers from at present.
    faults: Few<String, &'static str>,
    counts: Counts,
}

/// What remote parties did that is not worth a line each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections accepted.
    pub(crate) connections: usize,
    /// Connections closed at once: too many.
    pub(crate) turned_away: usize,
    /// CONNECTs refused by their credentials or version.
    pub(crate) refused: usize,
    /// Connections closed for breaking the protocol.
    pub(crate) violations: usize,
    /// Publishes and subscriptions that the rules forbid.
    pub(crate) denied: usize,
    /// Messages dropped from full session queues.
    pub(crate) dropped: usize,
    /// Panics contained.
    pub(crate) panics: usize,
}

impl Journal {
    /// Notes an accepted connection.
    pub(crate) fn accepted(&mut self) {
        self.counts.connections = self.counts.connections.saturating_add(1);
    }

    /// Notes a connection closed at once because there are too many.
    pub(crate) fn turned_away(&mut self, peer: SocketAddr, why: &str, now: Instant) {
        self.counts.turned_away = self.counts.turned_away.saturating_add(1);
        self.capped((Level::Debug, "turned away", ""), now, || {
            format!("{peer}: turned away, {why}")
        });
    }

    /// Notes a CONNECT that was refused before it reached the hub.
    pub(crate) fn refused(&mut self, peer: SocketAddr, why: &str, now: Instant) {
        self.counts.refused = self.counts.refused.saturating_add(1);
        let address = peer.ip().to_string();
        self.capped((Level::Debug, "refused", &address), now, || {
            format!("{peer}: CONNECT refused, {why}")
        });
    }

    /// Notes a client that publishes faster than it may and is read more slowly.
    pub(crate) fn slowed(&mut self, peer: SocketAddr, now: Instant) {
        let address = peer.ip().to_string();
        self.capped((Level::Info, ONCE, &address), now, || {
            format!("{peer}: publishes faster than publish_rate allows, and is read more slowly")
        });
    }

    /// Notes bytes that are not MQTT, or not in time.
    pub(crate) fn violation(&mut self, peer: SocketAddr, what: &str, now: Instant) {
        self.counts.violations = self.counts.violations.saturating_add(1);
        let address = peer.ip().to_string();
        self.capped((Level::Debug, "violation", &address), now, || {
            format!("{peer}: closed, {what}")
        });
    }

    /// Notes a panic that one task was contained in.
    pub(crate) fn panicked(&mut self, place: &str) {
        self.counts.panics = self.counts.panics.saturating_add(1);
        error!("a fault of this program ended {place}; the rest runs on");
    }

    /// Writes what the counts are; at the end of a run.
    pub(crate) fn summary(&self) {
        let counts = self.counts;
        info!(
            "stopped; connections: {} accepted, {} turned away, {} refused, {} broke the protocol; \
             messages: {} denied, {} dropped",
            counts.connections,
            counts.turned_away,
            counts.refused,
            counts.violations,
            counts.denied,
            counts.dropped
        );
    }

    /// Writes what came of the connections of an endpoint; at the end of a run.
    pub(crate) fn endpoint(&self, endpoint: &str, counts: &dyn fmt::Display) {
        info!("endpoint `{}`: {counts}", escape(endpoint));
    }

    /// Warns of a certificate that ends soon: the owner if it is within the owner's reach.
    pub(crate) fn certificate(&mut self, warning: &Warning, now: Instant) {
        let Warning {
            sighting,
            name,
            days,
            end,
        } = warning;
        let (level, what, remedy) = match &sighting.whose {
            Whose::Own => (Level::Warn, "our client certificate for", "replace it"),
            Whose::Server { foreign: false, .. } => {
                (Level::Warn, "the certificate of", "have it renewed")
            }
            Whose::Server { foreign: true, .. } => (
                Level::Info,
                "the certificate of",
                "its owner has to renew it",
            ),
        };
        self.capped((level, "certificate", name), now, || {
            let (name, endpoint) = (escape(name), escape(&sighting.endpoint));
            format!("endpoint `{endpoint}`: {what} `{name}` ends in {days} days, {end}; {remedy}")
        });
    }

    /// Returns the counts.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Writes a report of the hub.
    pub(crate) fn hub(&mut self, report: &HubReport, now: Instant) {
        match report {
            HubReport::Denied {
                client,
                topic,
                action,
            } => {
                self.counts.denied = self.counts.denied.saturating_add(1);
                self.capped((Level::Info, ONCE, client), now, || {
                    format!(
                        "client `{}` may not {action} `{}`; its user's rules do not allow it",
                        escape(client),
                        escape(topic)
                    )
                });
            }
            HubReport::Dropped { client, count } => {
                self.counts.dropped = self.counts.dropped.saturating_add(*count);
                self.capped((Level::Warn, "dropped", client), now, || {
                    format!(
                        "client `{}`: {count} messages dropped: its queue or all memory is full, or \
                         they are too large for it",
                        escape(client)
                    )
                });
            }
            HubReport::TakenOver { client } => {
                self.capped((Level::Debug, "taken over", client), now, || {
                    format!(
                        "client `{}` connected again while connected",
                        escape(client)
                    )
                });
            }
            HubReport::Unacknowledged { client, .. } => {
                self.counts.dropped = self.counts.dropped.saturating_add(1);
                let text = || unacknowledged(report);
                self.capped((Level::Warn, "unacknowledged", client), now, text);
            }
            HubReport::Rivals { client, addresses } => {
                let text = || rivals(client, *addresses);
                self.capped((Level::Warn, "rivals", client), now, text);
            }
            HubReport::RetainedFull { topic } => {
                self.capped((Level::Warn, "retained", ""), now, || {
                    format!(
                        "`{}` is not kept as retained message: there are too many",
                        escape(topic)
                    )
                });
            }
            HubReport::Expelled { count } => {
                self.capped((Level::Warn, "expelled", ""), now, || {
                    format!("{count} retained messages of clients are where replies go now, and are deleted")
                });
            }
            HubReport::Forgotten { client } => {
                self.capped((Level::Info, "forgotten", ""), now, || {
                    format!(
                        "client `{}`: session forgotten; too many clients are away, or take too much memory",
                        escape(client)
                    )
                });
            }
            HubReport::Refused { client, why } => {
                self.counts.refused = self.counts.refused.saturating_add(1);
                self.capped((Level::Debug, "refused", client), now, || {
                    format!("client `{}`: CONNECT refused, {why}", escape(client))
                });
            }
            HubReport::Violation { client, what } => {
                self.counts.violations = self.counts.violations.saturating_add(1);
                self.capped((Level::Debug, "violation", client), now, || {
                    format!("client `{}`: closed, {what}", escape(client))
                });
            }
        }
    }

    /// Writes a report of the bridge.
    pub(crate) fn bridge(&mut self, report: &BridgeReport, now: Instant) {
        match report {
            BridgeReport::Settled {
                route,
                client,
                code,
                status,
                detail,
                gateway_fault,
            } => {
                let failure = Failed {
                    code,
                    status: *status,
                    detail,
                };
                self.settled((route, client), &failure, *gateway_fault, now);
            }
            BridgeReport::NearMiss {
                client,
                topic,
                route,
                expected,
            } => {
                if self.is_new_near_miss(client, route) {
                    info!(
                        "client `{}` published to `{}`, which no route takes; nearest is route \
                         `{}` with topic `{}`",
                        escape(client),
                        escape(topic),
                        escape(route),
                        escape(expected)
                    );
                }
            }
            BridgeReport::Endpoint {
                endpoint,
                standing,
                code,
                detail,
            } => self.fallen((endpoint, *standing), (code, detail), now),
            BridgeReport::EndpointWorks { endpoint, after } => {
                self.capped((Level::Info, "endpoint works", endpoint), now, || {
                    let seconds = after.as_secs();
                    format!(
                        "endpoint `{}` works again, after {seconds} s",
                        escape(endpoint)
                    )
                });
            }
            BridgeReport::Lost { route } => {
                self.capped((Level::Error, "lost", route), now, || lost(route));
            }
            BridgeReport::Orphans { route, count } => {
                let text = || orphans(route, *count);
                self.capped((Level::Warn, "orphans", route), now, text);
            }
            BridgeReport::CaptivePortal { hosts } => {
                self.capped((Level::Warn, "captive portal", ""), now, || portal(hosts));
            }
            BridgeReport::ResponseTopicRefused { client, topic, why } => {
                self.capped((Level::Debug, "response topic", client), now, || {
                    format!(
                        "client `{}`: response topic `{}` not used, {why}",
                        escape(client),
                        escape(topic)
                    )
                });
            }
        }
    }

    /// Writes that an endpoint does not work any more.
    fn fallen(
        &mut self,
        (endpoint, standing): (&str, Standing),
        (code, detail): (&str, &str),
        now: Instant,
    ) {
        let what = match standing {
            Standing::Paused => "paused, its certificate was refused",
            Standing::Unreachable | Standing::Works => "out of reach",
        };
        self.capped((Level::Warn, "endpoint", endpoint), now, || {
            let (endpoint, detail) = (escape(endpoint), escape_unquoted(detail));
            format!("endpoint `{endpoint}`: {what}: {code} - {detail}; it is tried now and then")
        });
    }

    fn settled(
        &mut self,
        (route, client): (&str, &str),
        failure: &Failed<'_>,
        gateway_fault: bool,
        now: Instant,
    ) {
        let code = failure.code;
        if code == "ok" {
            if self.faults.remove(route).is_some() {
                self.capped((Level::Info, "works again", route), now, || {
                    format!("route `{}` works again", escape(route))
                });
            }
            debug!(
                "route `{}`: ok for client `{}`",
                escape(route),
                escape(client)
            );
        } else if gateway_fault {
            if self.faults.insert(route.to_owned(), code) != Some(code) {
                // Capped all the same: nodes can make a queue full and empty by turns.
                self.capped((Level::Error, "fault", route), now, || {
                    format!("route `{}`: {failure}", escape(route))
                });
            }
        } else {
            self.capped((Level::Info, code, client), now, || {
                format!(
                    "route `{}`: {failure}; client `{}`",
                    escape(route),
                    escape(client)
                )
            });
        }
    }

    fn is_new_near_miss(&mut self, client: &str, route: &str) -> bool {
        if self.near_misses.len() >= NEAR_MISSES {
            return false;
        }
        let miss = (client.chars().take(64).collect(), route.to_owned());
        self.near_misses.insert(miss, ()).is_none()
    }

    /// Writes a line unless too many like it were written; says so with the next one.
    fn capped(
        &mut self,
        (level, cause, client): (Level, &'static str, &str),
        now: Instant,
        text: impl FnOnce() -> String,
    ) {
        if !log_enabled!(level) {
            return;
        }
        if let Line::Write { suppressed } = self.caps.count(cause, client, now) {
            log!(level, "{}", text());
            if suppressed > 0 {
                log!(
                    level,
                    "{suppressed} lines like this one were left out before"
                );
            }
        }
    }
}

fn lost(route: &str) -> String {
    let route = escape(route);
    format!("route `{route}`: a stored message could not be read any more; it counts as failed")
}

fn orphans(route: &str, count: usize) -> String {
    format!(
        "{count} stored messages wait for route `{}`, which is not in bridge.toml; they are sent \
         when there is a route of this name",
        escape(route)
    )
}

fn portal(hosts: &[String]) -> String {
    let hosts: Vec<_> = hosts.iter().map(|host| escape(host).to_string()).collect();
    format!(
        "TLS fails with several servers ({}): likely a captive portal or a proxy between answers \
         in their place; open a web page behind this uplink",
        hosts.join(", ")
    )
}

/// Says that a message was given up.
fn unacknowledged(report: &HubReport) -> String {
    let HubReport::Unacknowledged {
        client,
        topic,
        bytes,
        waited,
        cause,
    } = report
    else {
        return String::new();
    };
    format!(
        "client `{}` did not acknowledge a message on `{}` ({bytes} bytes) in {waited:?}, which is \
         given up; most likely {cause}",
        escape(client),
        escape(topic)
    )
}

/// Says that two clients use one ID.
fn rivals(client: &str, addresses: [Option<SocketAddr>; 2]) -> String {
    let show = |address: Option<SocketAddr>| match address {
        Some(address) => address.to_string(),
        None => "somewhere".to_owned(),
    };
    let [there, came] = addresses.map(show);
    format!(
        "client ID `{}` is in use from {there} and from {came}; if these are two nodes, give each \
         its own: the second is not let in while they throw each other out",
        escape(client)
    )
}

/// A failure as it stands in the log: `http.status 404 Not Found`.
struct Failed<'a> {
    code: &'static str,
    status: Option<u16>,
    detail: &'a str,
}

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        match self.detail {
            "" => Ok(()),
            detail => write!(f, " {}", escape_unquoted(detail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock;

    #[test]
    fn near_miss_is_reported_once_per_client_and_route_and_not_without_end() {
        let mut journal = Journal::default();
        assert!(journal.is_new_near_miss("a", "r"));
        assert!(!journal.is_new_near_miss("a", "r"));
        assert!(journal.is_new_near_miss("b", "r"));
        for client in 0..10_000 {
            journal.is_new_near_miss(&client.to_string(), "r");
        }
        assert_eq!(journal.near_misses.len(), NEAR_MISSES);
    }

    #[test]
    fn a_failure_is_written_with_its_status_and_its_detail_as_it_is() {
        let cases = [
            (
                "http.status",
                Some(404),
                "Not Found",
                "http.status 404 Not Found",
            ),
            ("http.status", Some(599), "", "http.status 599"),
            (
                "bridge.bad_request",
                None,
                "`{id}` is empty\n",
                "bridge.bad_request `{id}` is empty\\u{a}",
            ),
        ];
        for (code, status, detail, line) in cases {
            let failure = Failed {
                code,
                status,
                detail,
            };
            assert_eq!(failure.to_string(), line);
        }
    }

    #[test]
    fn what_remote_parties_do_is_counted() {
        let mut journal = Journal::default();
        let (now, peer) = (clock::now(), SocketAddr::from(([127, 0, 0, 1], 1)));
        journal.accepted();
        journal.violation(peer, "x", now);
        journal.refused(peer, "x", now);
        journal.turned_away(peer, "x", now);
        journal.hub(
            &HubReport::Dropped {
                client: "a".into(),
                count: 3,
            },
            now,
        );
        let expected = Counts {
            connections: 1,
            turned_away: 1,
            refused: 1,
            violations: 1,
            denied: 0,
            dropped: 3,
            panics: 0,
        };
        assert_eq!(journal.counts(), expected);
    }
}
