//! How many connections there may be: in all, and from one address, and how fast those may come.
//!
//! Programs on this machine are exempt from what is meant for one address, unless the
//! configuration gives a number.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use crate::config::ConnectionLimits;
use crate::io::broker::pace::{Pace, Tally};
use crate::io::clock;

/// Connections from one address, unless the configuration says otherwise.
const PER_ADDRESS: usize = 64;
/// New ones in a second.
const CONNECT_RATE: usize = 20;
/// Addresses without a connection that are remembered for how fast theirs came.
const RESTING: usize = 256;

/// Counts connections.
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    total: usize,
    network: PerAddress,
    loopback: PerAddress,
    addresses: HashMap<IpAddr, Address>,
}

/// What one address may have.
#[derive(Clone, Copy, Debug)]
struct PerAddress {
    most: usize,
    pace: Option<Pace>,
}

#[derive(Debug, Default)]
struct Address {
    connections: usize,
    came: Tally,
}

impl PerAddress {
    /// Takes the configured limits, or these; 0 stands for none.
    fn new(limits: &ConnectionLimits, most: usize, rate: usize) -> Self {
        let most = match limits.per_address.unwrap_or(most) {
            0 => usize::MAX,
            most => most,
        };
        let rate = limits.connect_rate.unwrap_or(rate);
        // All nodes behind an address may come back at once.
        let at_once = rate.max(most.min(PER_ADDRESS));
        let pace = Pace::new(rate, at_once);
        Self { most, pace }
    }
}

/// One connection's place in the count.
pub(super) struct Place {
    pub(super) admission: Rc<RefCell<Admission>>,
    pub(super) address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = clock::now();
        self.admission.borrow_mut().leave(self.address, now);
    }
}

impl Admission {
    /// Counts from nought up to a limit in all.
    pub(super) fn new(limit: usize, connections: &ConnectionLimits) -> Self {
        Self {
            limit,
            total: 0,
            network: PerAddress::new(connections, PER_ADDRESS, CONNECT_RATE),
            loopback: PerAddress::new(connections, 0, 0),
            addresses: HashMap::new(),
        }
    }

    /// Sets other limits for connections that come from now on.
    pub(super) fn set_limits(&mut self, limit: usize, connections: &ConnectionLimits) {
        self.limit = limit;
        self.network = PerAddress::new(connections, PER_ADDRESS, CONNECT_RATE);
        self.loopback = PerAddress::new(connections, 0, 0);
    }

    /// Takes a connection in, or says why there is no place for it.
    pub(super) fn enter(&mut self, address: IpAddr, now: Instant) -> Result<(), &'static str> {
        if self.total >= self.limit {
            return Err("too many connections");
        }
        let address = address.to_canonical();
        let may_have = match address.is_loopback() {
            true => self.loopback,
            false => self.network,
        };
        let own = self.addresses.entry(address).or_default();
        if own.connections >= may_have.most {
            return Err("too many connections from its address");
        }
        if may_have
            .pace
            .is_some_and(|pace| !pace.admit(&mut own.came, now))
        {
            return Err("its address connects too often");
        }
        own.connections += 1;
        self.total += 1;
        Ok(())
    }

    fn leave(&mut self, address: IpAddr, now: Instant) {
        self.total = self.total.saturating_sub(1);
        if let Some(own) = self.addresses.get_mut(&address.to_canonical()) {
            own.connections = own.connections.saturating_sub(1);
        }
        // Those that could come at once again need not be remembered.
        if self.addresses.len() > self.total + RESTING {
            let is_of_use = |own: &Address| own.connections > 0 || !Pace::is_rested(&own.came, now);
            self.addresses.retain(|_, own| is_of_use(own));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn standard(limit: usize) -> Admission {
        Admission::new(limit, &ConnectionLimits::default())
    }

    #[test]
    fn connections_are_limited_in_all_and_per_address() {
        let (mut admission, now) = (standard(100), clock::now());
        for _ in 0..PER_ADDRESS {
            admission.enter(ONE, now).unwrap();
        }
        let crowded = Err("too many connections from its address");
        assert_eq!(admission.enter(ONE, now), crowded);
        for _ in PER_ADDRESS..100 {
            admission.enter(OTHER, now).unwrap();
        }
        assert_eq!(admission.enter(OTHER, now), Err("too many connections"));
        admission.leave(ONE, now);
        admission.enter(ONE, now + Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn an_address_may_not_connect_without_end() {
        let (mut admission, now) = (standard(100), clock::now());
        let mut come_and_go = |at: Instant| {
            let entered = admission.enter(ONE, at);
            if entered.is_ok() {
                admission.leave(ONE, at);
            }
            entered
        };
        for _ in 0..PER_ADDRESS {
            come_and_go(now).unwrap();
        }
        let hasty = Err("its address connects too often");
        assert_eq!(come_and_go(now), hasty);
        let later = now + Duration::from_secs(1);
        for _ in 0..CONNECT_RATE {
            come_and_go(later).unwrap();
        }
        assert_eq!(come_and_go(later), hasty);
    }

    #[test]
    fn addresses_that_left_are_forgotten() {
        let (mut admission, mut now) = (standard(10), clock::now());
        for index in 0..10_000_u32 {
            let address = IpAddr::from(index.to_be_bytes());
            admission.enter(address, now).unwrap();
            admission.leave(address, now);
            now += Duration::from_millis(10);
        }
        assert_eq!(admission.total, 0);
        assert!(admission.addresses.len() <= RESTING + 1);
    }

    #[test]
    fn programs_on_this_machine_are_limited_in_all_only() {
        let (mut admission, now) = (standard(100), clock::now());
        for _ in 0..100 {
            admission.enter(LOCAL, now).unwrap();
        }
        assert_eq!(admission.enter(LOCAL, now), Err("too many connections"));
    }

    #[test]
    fn what_is_configured_holds_for_everybody() {
        let limits = ConnectionLimits {
            per_address: Some(2),
            connect_rate: Some(3),
            ..ConnectionLimits::default()
        };
        let now = clock::now();
        for address in [ONE, LOCAL] {
            let mut admission = Admission::new(100, &limits);
            for _ in 0..2 {
                admission.enter(address, now).unwrap();
            }
            let crowded = Err("too many connections from its address");
            assert_eq!(admission.enter(address, now), crowded);
            admission.leave(address, now);
            admission.enter(address, now).unwrap();
            admission.leave(address, now);
            let hasty = Err("its address connects too often");
            assert_eq!(admission.enter(address, now), hasty);
        }
        let none = ConnectionLimits {
            per_address: Some(0),
            connect_rate: Some(0),
            ..ConnectionLimits::default()
        };
        let mut admission = Admission::new(1000, &none);
        for _ in 0..1000 {
            admission.enter(ONE, now).unwrap();
        }
    }
}
