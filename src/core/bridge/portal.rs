//! Tells a captive portal by its work: TLS with several servers fails at the same time.

use std::time::{Duration, Instant};

use crate::core::outcome::Code;

/// Within this time.
const SHORT: Duration = Duration::from_secs(60);

/// Hosts that are remembered.
const HOSTS: usize = 8;

/// The servers with which TLS has failed of late.
#[derive(Debug, Default)]
pub(super) struct Portal {
    failed: Vec<(String, Instant)>,
    told: bool,
}

impl Portal {
    /// Takes in a failure. Returns the hosts, once, when there are several.
    pub(super) fn observe(&mut self, code: Code, host: &str, now: Instant) -> Option<Vec<String>> {
        if !code.as_str().starts_with("tls.") {
            return None;
        }
        let recent = |at: Instant| now.saturating_duration_since(at) <= SHORT;
        self.failed.retain(|(name, at)| name != host && recent(*at));
        self.failed.truncate(HOSTS - 1);
        self.failed.push((host.to_owned(), now));
        if self.told || self.failed.len() < 2 {
            return None;
        }
        self.told = true;
        let hosts = self.failed.iter().map(|(name, _)| name.clone());
        Some(hosts.collect())
    }

    /// Takes note that an endpoint works again: the next time is another one.
    pub(super) fn leave(&mut self) {
        self.failed.clear();
        self.told = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "an `Instant` can be made in no other way"
    )]
    fn several_servers_within_a_minute_are_told_once() {
        let now = Instant::now();
        let later = now + SHORT * 2;
        let mut portal = Portal::default();
        let mut observe = |code, host: &str, now| portal.observe(code, host, now);
        assert_eq!(observe(Code::TlsUnknownIssuer, "a.test", now), None);
        assert_eq!(observe(Code::TlsUnknownIssuer, "a.test", now), None);
        assert_eq!(observe(Code::ConnectRefused, "b.test", now), None);
        assert_eq!(observe(Code::TlsExpired, "b.test", later), None, "too late");
        let told = observe(Code::TlsWrongName, "c.test", later).unwrap();
        assert_eq!(told, ["b.test", "c.test"]);
        assert_eq!(observe(Code::TlsWrongName, "d.test", later), None, "told");
        portal.leave();
        assert_eq!(portal.observe(Code::TlsExpired, "a.test", later), None);
        assert!(portal.observe(Code::TlsExpired, "b.test", later).is_some());
    }
}
