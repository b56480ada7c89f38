//! How many connections there may be: in all, and from one address.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// Connections from one address; this machine's own are not counted.
const PER_ADDRESS: usize = 64;

/// Counts connections.
#[derive(Debug, Default)]
pub(super) struct Admission {
    limit: usize,
    total: usize,
    per_address: HashMap<IpAddr, usize>,
}

/// One connection's place in the count.
pub(super) struct Place {
    pub(super) admission: Rc<RefCell<Admission>>,
    pub(super) address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.borrow_mut().leave(self.address);
    }
}

impl Admission {
    /// Counts from nought up to a limit in all.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Takes a connection in, or says why there is no place for it.
    pub(super) fn enter(&mut self, address: IpAddr) -> Result<(), &'static str> {
        if self.total >= self.limit {
            return Err("too many connections");
        }
        let address = address.to_canonical();
        if !address.is_loopback() {
            let count = self.per_address.entry(address).or_default();
            if *count >= PER_ADDRESS {
                return Err("too many connections from its address");
            }
            *count += 1;
        }
        self.total += 1;
        Ok(())
    }

    fn leave(&mut self, address: IpAddr) {
        self.total = self.total.saturating_sub(1);
        let address = address.to_canonical();
        if let Some(count) = self.per_address.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_all_and_per_address() {
        let mut admission = Admission::new(100);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..PER_ADDRESS {
            admission.enter(one).unwrap();
        }
        assert_eq!(
            admission.enter(one),
            Err("too many connections from its address")
        );
        for _ in PER_ADDRESS..100 {
            admission.enter(other).unwrap();
        }
        assert_eq!(admission.enter(other), Err("too many connections"));
        admission.leave(one);
        admission.enter(one).unwrap();
    }

    #[test]
    fn addresses_that_left_are_forgotten() {
        let mut admission = Admission::new(10);
        for last in 0..=255 {
            let address = IpAddr::from([10, 0, 0, last]);
            admission.enter(address).unwrap();
            admission.leave(address);
        }
        assert_eq!((admission.total, admission.per_address.len()), (0, 0));
    }

    #[test]
    fn programs_on_this_machine_are_limited_in_all_only() {
        let mut admission = Admission::new(100);
        for _ in 0..100 {
            admission.enter([127, 0, 0, 1].into()).unwrap();
        }
        assert_eq!(
            admission.enter([127, 0, 0, 1].into()),
            Err("too many connections")
        );
    }
}
