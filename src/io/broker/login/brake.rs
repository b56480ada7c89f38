//! Slows whoever tries one password after the other.
//!
//! Counted for each address and user name, so that nobody is locked out by what others at the
//! same address, or elsewhere, do. Bounded: the failure that is longest ago is forgotten for a
//! new one, and how fast an address can make them is the listener's limit.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong passwords that cost nothing: people mistype.
const FREE: u32 = 3;
/// Longest wait. Shorter than a node waits for CONNACK, so that the right one gets its turn.
const LONGEST: Duration = Duration::from_secs(8);
/// After so long without a failure all is forgiven.
const FORGIVEN: Duration = Duration::from_secs(600);
/// Pairs of address and user that are remembered.
const ENTRIES: usize = 1024;

/// Failed logins by address and user.
#[derive(Debug, Default)]
pub(super) struct Brake {
    failures: HashMap<u64, Failures>,
    /// Keyed, so that nobody can choose user names that fall together with others.
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn open_at(&self) -> Instant {
        let Some(doublings) = self.count.checked_sub(FREE) else {
            return self.last;
        };
        let wait = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        self.last + Duration::from_secs(wait).min(LONGEST)
    }
}

impl Brake {
    /// Returns when this user's password may be tried from that address, `None` for now.
    pub(super) fn opens(&self, address: IpAddr, user: &str, now: Instant) -> Option<Instant> {
        let failures = self.failures.get(&self.key(address, user))?;
        Some(failures.open_at()).filter(|at| *at > now)
    }

    /// Takes note of a wrong password.
    pub(super) fn fail(&mut self, address: IpAddr, user: &str, now: Instant) {
        let key = self.key(address, user);
        if self.failures.len() >= ENTRIES && !self.failures.contains_key(&key) {
            self.make_room(now);
        }
        let failures = self.failures.entry(key).or_insert(Failures {
            count: 0,
            last: now,
        });
        if now.saturating_duration_since(failures.last) >= FORGIVEN {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// Takes note of a right password.
    pub(super) fn pass(&mut self, address: IpAddr, user: &str) {
        let key = self.key(address, user);
        self.failures.remove(&key);
    }

    fn make_room(&mut self, now: Instant) {
        let is_recent = |own: &Failures| now.saturating_duration_since(own.last) < FORGIVEN;
        self.failures.retain(|_, own| is_recent(own));
        if self.failures.len() < ENTRIES {
            return;
        }
        let oldest = self.failures.iter().min_by_key(|(_, own)| own.last);
        if let Some(oldest) = oldest.map(|(key, _)| *key) {
            self.failures.remove(&oldest);
        }
    }

    fn key(&self, address: IpAddr, user: &str) -> u64 {
        self.hasher.hash_one((network(address), user))
    }
}

/// Who has one IPv6 address has the whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const SECOND: Duration = Duration::from_secs(1);

    fn wait(brake: &Brake, address: IpAddr, user: &str, now: Instant) -> Duration {
        let opens = brake.opens(address, user, now);
        opens.map_or(Duration::ZERO, |at| at - now)
    }

    #[test]
    fn the_wait_doubles_from_the_third_wrong_password_to_eight_seconds() {
        let (mut brake, now) = (Brake::default(), clock::now());
        let waits = [0, 0, 1, 2, 4, 8, 8, 8];
        for seconds in waits {
            brake.fail(HERE, "kitchen", now);
            assert_eq!(wait(&brake, HERE, "kitchen", now), seconds * SECOND);
        }
        for _ in 0..100 {
            brake.fail(HERE, "kitchen", now);
        }
        assert_eq!(wait(&brake, HERE, "kitchen", now), LONGEST);
        assert_eq!(wait(&brake, HERE, "kitchen", now + LONGEST), Duration::ZERO);
    }

    #[test]
    fn nobody_waits_for_what_others_tried() {
        let (mut brake, now) = (Brake::default(), clock::now());
        for _ in 0..9 {
            brake.fail(HERE, "kitchen", now);
        }
        let other = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(wait(&brake, HERE, "attic", now), Duration::ZERO);
        assert_eq!(wait(&brake, other, "kitchen", now), Duration::ZERO);
        brake.pass(HERE, "kitchen");
        assert_eq!(wait(&brake, HERE, "kitchen", now), Duration::ZERO);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let (mut brake, now) = (Brake::default(), clock::now());
        let address = |last| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        for last in 0..9 {
            brake.fail(address(last), "kitchen", now);
        }
        assert_eq!(wait(&brake, address(77), "kitchen", now), LONGEST);
        let next = IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]);
        assert_eq!(wait(&brake, next, "kitchen", now), Duration::ZERO);
    }

    #[test]
    fn failures_are_forgiven_in_time_and_never_too_many_to_keep() {
        let (mut brake, now) = (Brake::default(), clock::now());
        for _ in 0..9 {
            brake.fail(HERE, "kitchen", now);
        }
        let later = now + FORGIVEN;
        brake.fail(HERE, "kitchen", later);
        assert_eq!(wait(&brake, HERE, "kitchen", later), Duration::ZERO);
        for user in 0..5 * ENTRIES {
            brake.fail(HERE, &user.to_string(), later);
        }
        assert!(brake.failures.len() <= ENTRIES);
    }
}
