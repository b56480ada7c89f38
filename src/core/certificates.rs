//! The certificate watch: what each server has shown, how long it lasts, and when to say so.
//!
//! Learns from handshakes that requests needed anyway, so it knows nothing of a server that nobody
//! asks, and notices that time has passed with the next handshake. Says each thing once: it
//! remembers what it said until the program ends.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::calendar::iso8601;
use crate::core::few::Few;
use crate::core::json::push_string;
use crate::core::message::{Message, QoS};
use crate::core::status;
use crate::core::topic::{Topic, level};

/// Fewer days than these are worth a warning each.
pub const WARN_BELOW: [u64; 3] = [21, 7, 1];
/// Most hosts, of those that nodes or servers have chosen, that are remembered; for one more, the
/// one whose last handshake is longest ago is forgotten. Hosts of bridge.toml are as many as it
/// names.
pub const MAX_FOREIGN: usize = 32;

/// Roots that were published longer ago than this many days may lack new ones, and hold ones that
/// nobody should trust any more.
const OLD_ROOTS: u64 = 365;

const SECONDS_A_DAY: u64 = 86_400;

/// A certificate as a handshake has shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Whose it is.
    pub whose: Whose,
    /// Name of the endpoint.
    pub endpoint: Arc<str>,
    /// Such as `TLS 1.3`.
    pub protocol: &'static str,
    /// When the first certificate of its chain ends, seconds since 1970.
    pub not_after: u64,
}

/// Whose a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A server's.
    Server {
        /// Host name or IP address, in lower case.
        host: String,
        /// The port.
        port: u16,
        /// Whether a node or another server has chosen it, and not the owner.
        foreign: bool,
    },
    /// The client certificate that the gateway shows at the endpoint.
    Own,
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A message for those who may read `$bridge/…`.
    Publish(Message),
    /// A line for the log.
    Warn(Warning),
}

/// A certificate that ends soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which.
    pub sighting: Sighting,
    /// The host with the port, as in the topic; the endpoint's name for our own certificate.
    pub name: String,
    /// Whole days that are left.
    pub days: u64,
    /// When it ends, such as `2026-12-01T09:00:00Z`.
    pub end: String,
}

/// Returns whether roots published then are old now, both in seconds since 1970.
pub fn are_old_roots(published: u64, now: u64) -> bool {
    now.saturating_sub(published) > OLD_ROOTS * SECONDS_A_DAY
}

/// What has been shown and said so far.
#[derive(Debug, Default)]
pub struct Watch {
    /// By topic.
    known: Few<String, Known>,
    /// Counts handshakes, to tell which was earlier.
    last: usize,
}

#[derive(Debug)]
struct Known {
    sighting: Sighting,
    days: u64,
    /// How many of [`WARN_BELOW`] have been said.
    said: usize,
    /// The last handshake's number.
    last: usize,
}

impl Watch {
    /// Takes in a handshake at a time in seconds since 1970 and returns what it gives reason to
    /// say. `issuer` is asked for only if there is something.
    pub fn observe(
        &mut self,
        sighting: &Sighting,
        now: u64,
        issuer: &dyn Fn() -> String,
    ) -> Vec<Notice> {
        self.last = self.last.wrapping_add(1);
        let left = sighting.not_after.saturating_sub(now);
        let days = left / SECONDS_A_DAY;
        let crossed = WARN_BELOW.iter().filter(|limit| days < **limit).count();
        let (topic, name) = sighting.place();
        let before = self.known.get_mut(&topic);
        let said = before.as_ref().map_or(0, |known| known.said);
        if let Some(known) = before {
            known.last = self.last;
            if known.days == days && known.sighting == *sighting {
                return Vec::new();
            }
        }
        let known = Known {
            sighting: sighting.clone(),
            days,
            // A renewed certificate begins anew.
            said: crossed,
            last: self.last,
        };
        self.known.insert(topic.clone(), known);
        let end = iso8601(sighting.not_after);
        let facts = sighting.facts(&issuer(), &end, days);
        let mut notices = Vec::new();
        notices.extend(publish(&topic, &facts, true));
        if let Some(limit) = crossed.checked_sub(1).and_then(|at| WARN_BELOW.get(at))
            && crossed > said
        {
            let facts = format!("{facts},\"fewer_than\":{limit}");
            notices.extend(publish(&format!("{topic}/expiring"), &facts, false));
            notices.push(Notice::Warn(Warning {
                sighting: sighting.clone(),
                name,
                days,
                end,
            }));
        }
        notices.extend(self.forget_surplus());
        notices
    }

    /// Returns what is known of each certificate at a time in seconds since 1970, by name.
    pub fn known(&self, now: u64) -> Vec<status::Certificate> {
        let shown = self.known.iter().map(|(_, known)| {
            let sighting = &known.sighting;
            status::Certificate {
                name: sighting.place().1,
                endpoint: sighting.endpoint.to_string(),
                own: sighting.whose == Whose::Own,
                days: sighting.not_after.saturating_sub(now) / SECONDS_A_DAY,
                end: iso8601(sighting.not_after),
            }
        });
        shown.collect()
    }

    /// Forgets the foreign host whose last handshake is longest ago if there are too many, and
    /// takes back what was retained of it.
    fn forget_surplus(&mut self) -> Option<Notice> {
        let foreign = self.known.iter().filter(|(_, known)| known.is_foreign());
        if foreign.clone().count() <= MAX_FOREIGN {
            return None;
        }
        // Numbers may have wrapped: what counts is how far each is behind.
        let age = |known: &Known| self.last.wrapping_sub(known.last);
        let (topic, _) = foreign.max_by_key(|(_, known)| age(known))?;
        let topic = topic.clone();
        self.known.remove(&topic);
        Some(Notice::Publish(message(&topic, Bytes::new(), true)?))
    }
}

impl Known {
    fn is_foreign(&self) -> bool {
        matches!(self.sighting.whose, Whose::Server { foreign: true, .. })
    }
}

impl Sighting {
    /// Returns the topic of a certificate, and the last level of it as people write it.
    fn place(&self) -> (String, String) {
        match &self.whose {
            Whose::Server { host, port, .. } => {
                let host = match (host.contains(':'), port) {
                    (false, 443) => host.clone(),
                    (false, _) => format!("{host}:{port}"),
                    (true, 443) => format!("[{host}]"),
                    (true, _) => format!("[{host}]:{port}"),
                };
                (format!("$bridge/certificates/{}", level(&host)), host)
            }
            Whose::Own => {
                let name = self.endpoint.to_string();
                (
                    format!("$bridge/client_certificates/{}", level(&name)),
                    name,
                )
            }
        }
    }

    /// Returns the members of the JSON object that tells of it.
    fn facts(&self, issuer: &str, end: &str, days: u64) -> String {
        let quoted = |text: &str| {
            let mut out = Vec::new();
            push_string(text, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        format!(
            "\"endpoint\":{},\"issuer\":{},\"not_after\":\"{end}\",\"days_left\":{days},\
             \"protocol\":\"{}\"",
            quoted(&self.endpoint),
            quoted(issuer),
            self.protocol
        )
    }
}

fn publish(topic: &str, facts: &str, retain: bool) -> Option<Notice> {
    message(topic, format!("{{{facts}}}").into(), retain).map(Notice::Publish)
}

fn message(topic: &str, payload: Bytes, retain: bool) -> Option<Message> {
    Some(Message {
        topic: Topic::parse(topic).ok()?,
        payload,
        qos: QoS::AtLeastOnce,
        retain,
        properties: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-01T00:00:00Z.
    const NOW: u64 = 1_793_491_200;

    fn of(host: &str, port: u16, foreign: bool) -> Whose {
        let host = host.to_owned();
        Whose::Server {
            host,
            port,
            foreign,
        }
    }

    fn sighting(whose: Whose, not_after: u64) -> Sighting {
        Sighting {
            whose,
            endpoint: "posts".into(),
            protocol: "TLS 1.3",
            not_after,
        }
    }

    /// What is said, in a line each.
    fn said(watch: &mut Watch, sighting: &Sighting, now: u64) -> Vec<String> {
        let notices = watch.observe(sighting, now, &|| "CN=Some \"CA\"".to_owned());
        let line = |notice| match notice {
            Notice::Publish(message) => {
                let payload = String::from_utf8(message.payload.to_vec()).unwrap();
                assert!(payload.is_empty() || crate::core::json::is_json(&payload));
                let mark = if message.retain { "retain" } else { "tell" };
                format!("{mark} {} {payload}", message.topic)
            }
            Notice::Warn(warning) => format!("warn {} {}", warning.name, warning.days),
        };
        notices.into_iter().map(line).collect()
    }

    /// The first word and the topic's last level of what is said.
    fn in_short(lines: &[String]) -> Vec<String> {
        let short = |line: &String| {
            let mut words = line.split(' ');
            let (what, topic) = (words.next().unwrap(), words.next().unwrap());
            format!("{what} {}", topic.rsplit('/').next().unwrap())
        };
        lines.iter().map(short).collect()
    }

    #[test]
    fn roots_are_old_after_a_year_and_not_by_a_clock_that_is_behind() {
        let year = 365 * SECONDS_A_DAY;
        assert!(!are_old_roots(NOW, 0), "the clock is behind");
        assert!(!are_old_roots(NOW, NOW + year));
        assert!(are_old_roots(NOW, NOW + year + 1));
    }

    #[test]
    fn a_certificate_is_told_of_once_while_nothing_changes() {
        let mut watch = Watch::default();
        let good = sighting(of("a.example", 443, false), NOW + 90 * SECONDS_A_DAY);
        assert_eq!(
            said(&mut watch, &good, NOW),
            [
                "retain $bridge/certificates/a.example {\"endpoint\":\"posts\",\
              \"issuer\":\"CN=Some \\\"CA\\\"\",\"not_after\":\"2027-01-30T00:00:00Z\",\
              \"days_left\":90,\"protocol\":\"TLS 1.3\"}"
            ]
        );
        assert_eq!(said(&mut watch, &good, NOW), [""; 0], "nothing new");
        let other = Sighting {
            protocol: "TLS 1.2",
            ..good.clone()
        };
        assert_eq!(said(&mut watch, &other, NOW).len(), 1, "another protocol");
        let later = said(&mut watch, &other, NOW + 1);
        assert!(later[0].contains("\"days_left\":89"), "{later:?}");
    }

    #[test]
    fn each_limit_is_said_once_as_time_passes() {
        let mut watch = Watch::default();
        let end = NOW + 30 * SECONDS_A_DAY;
        let one = sighting(of("a.example", 443, false), end);
        let steps: [(u64, &[&str], &str); 9] = [
            (30 * SECONDS_A_DAY, &["retain a.example"], "first seen"),
            (
                21 * SECONDS_A_DAY,
                &["retain a.example"],
                "21 days are not fewer",
            ),
            (
                21 * SECONDS_A_DAY - 1,
                &["retain a.example", "tell expiring", "warn a.example"],
                "fewer than 21",
            ),
            (20 * SECONDS_A_DAY, &[], "the same day"),
            (19 * SECONDS_A_DAY, &["retain a.example"], "said before"),
            (
                6 * SECONDS_A_DAY,
                &["retain a.example", "tell expiring", "warn a.example"],
                "fewer than 7",
            ),
            (
                3600,
                &["retain a.example", "tell expiring", "warn a.example"],
                "fewer than 1",
            ),
            (60, &[], "the last hour"),
            (0, &[], "over: a handshake that is let in all the same"),
        ];
        for (left, expected, why) in steps {
            let lines = said(&mut watch, &one, end - left);
            assert_eq!(in_short(&lines), expected, "{why}");
        }
    }

    #[test]
    fn the_tightest_limit_alone_is_said_and_a_renewed_certificate_begins_anew() {
        let mut watch = Watch::default();
        let short = sighting(of("a.example", 443, false), NOW + 5 * SECONDS_A_DAY);
        let lines = said(&mut watch, &short, NOW);
        assert_eq!(lines.len(), 3);
        assert!(
            lines[1].ends_with("\"protocol\":\"TLS 1.3\",\"fewer_than\":7}"),
            "{lines:?}"
        );
        assert_eq!(lines[2], "warn a.example 5");
        let renewed = sighting(of("a.example", 443, false), NOW + 90 * SECONDS_A_DAY);
        assert_eq!(said(&mut watch, &renewed, NOW).len(), 1);
        let later = NOW + 85 * SECONDS_A_DAY;
        assert_eq!(said(&mut watch, &renewed, later).len(), 3);
    }

    #[test]
    fn the_host_is_one_level_whatever_it_holds() {
        let mut watch = Watch::default();
        let cases = [
            (
                of("a.example", 8443, false),
                "$bridge/certificates/a.example:8443",
            ),
            (
                of("2001:db8::1", 443, false),
                "$bridge/certificates/[2001:db8::1]",
            ),
            (of("::1", 8443, false), "$bridge/certificates/[::1]:8443"),
            (
                of("a/b+#%\0é", 443, true),
                "$bridge/certificates/a%2Fb%2B%23%25%00%C3%A9",
            ),
            (Whose::Own, "$bridge/client_certificates/posts"),
        ];
        for (whose, topic) in cases {
            let lines = said(&mut watch, &sighting(whose, u64::MAX), NOW);
            let found = lines[0].split(' ').nth(1).unwrap();
            assert_eq!(found, topic);
        }
    }

    #[test]
    fn foreign_hosts_are_bounded_and_those_of_the_owner_stay() {
        let mut watch = Watch::default();
        let far = NOW + 90 * SECONDS_A_DAY;
        for number in 0..100 {
            let own = sighting(of(&format!("own{number}"), 443, false), far);
            assert_eq!(said(&mut watch, &own, NOW).len(), 1);
        }
        let foreign = |number: usize| sighting(of(&format!("h{number}"), 443, true), far);
        for number in 0..MAX_FOREIGN {
            assert_eq!(said(&mut watch, &foreign(number), NOW).len(), 1);
        }
        // The first is seen again, so the second is the one to go.
        assert_eq!(said(&mut watch, &foreign(0), NOW), [""; 0]);
        let lines = said(&mut watch, &foreign(1000), NOW);
        assert_eq!(
            lines[1], "retain $bridge/certificates/h1 ",
            "an empty one deletes"
        );
        assert_eq!(lines.len(), 2);
        for number in 2000..3000 {
            said(&mut watch, &foreign(number), NOW);
        }
        assert_eq!(watch.known.len(), 100 + MAX_FOREIGN);
    }
}
