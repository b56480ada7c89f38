//! How much memory clients take, all together: what is queued, retained, asked and answered.
//!
//! Whatever is kept of a message carries a [`Charge`] for as long as it is kept, by whomever:
//! payloads are shared, so no sum over their holders would be right.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// What one place in a queue or a store takes beside what is in it, about.
pub const ENTRY: usize = 128;

/// Counts bytes against a ceiling. Clones count together.
#[derive(Clone, Debug)]
pub struct Meter {
    used: Arc<AtomicUsize>,
    ceiling: Arc<AtomicUsize>,
}

/// Bytes that are counted until this is dropped; a clone counts them again.
#[derive(Debug, Default)]
pub struct Charge {
    used: Option<Arc<AtomicUsize>>,
    bytes: usize,
}

impl Default for Meter {
    /// Counts without a ceiling.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Meter {
    /// Makes a meter that stands at nought.
    pub fn new(ceiling: usize) -> Self {
        Self {
            used: Arc::default(),
            ceiling: Arc::new(AtomicUsize::new(ceiling)),
        }
    }

    /// Returns how many bytes are counted at present.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns how many bytes may be counted.
    pub fn ceiling(&self) -> usize {
        self.ceiling.load(Ordering::Relaxed)
    }

    /// Sets how many bytes may be counted, for all clones.
    pub fn set_ceiling(&self, ceiling: usize) {
        self.ceiling.store(ceiling, Ordering::Relaxed);
    }

    /// Returns whether more is counted than may be: something has to go.
    pub fn is_over(&self) -> bool {
        self.used() > self.ceiling()
    }

    /// Returns whether three quarters are taken: then no new work is taken on, so that what there
    /// is can be done and told.
    pub fn is_tight(&self) -> bool {
        self.used() > self.ceiling() / 4 * 3
    }

    /// Counts so many bytes.
    pub fn charge(&self, bytes: usize) -> Charge {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            used: Some(Arc::clone(&self.used)),
            bytes,
        }
    }

    /// Counts a payload, and so many bytes beside it, for as long as any clone of it lives.
    pub fn hold(&self, payload: Bytes, beside: usize) -> Bytes {
        let charge = self.charge(payload.len().saturating_add(beside));
        Bytes::from_owner(Held {
            payload,
            _charge: charge,
        })
    }
}

impl Charge {
    /// Counts another number of bytes from now on.
    pub fn set(&mut self, bytes: usize) {
        if let Some(used) = &self.used {
            used.fetch_add(bytes, Ordering::Relaxed);
            used.fetch_sub(self.bytes, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Clone for Charge {
    fn clone(&self) -> Self {
        if let Some(used) = &self.used {
            used.fetch_add(self.bytes, Ordering::Relaxed);
        }
        Self {
            used: self.used.clone(),
            bytes: self.bytes,
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

struct Held {
    payload: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_payload_counts_once_until_its_last_holder_lets_go() {
        let meter = Meter::new(10);
        for payload in [Bytes::from_static(b"12345"), Bytes::new()] {
            let bytes = payload.len() + 3;
            let held = meter.hold(payload.clone(), 3);
            assert_eq!(held, payload);
            let other = held.clone();
            assert_eq!(meter.used(), bytes);
            drop(held);
            assert_eq!(meter.used(), bytes);
            drop(other);
            assert_eq!(meter.used(), 0);
        }
    }

    #[test]
    fn charges_count_each_for_itself_and_may_change() {
        let meter = Meter::new(100);
        let mut charge = meter.charge(60);
        assert!(!meter.is_tight());
        let clone = charge.clone();
        assert!(meter.is_tight() && meter.is_over());
        meter.clone().set_ceiling(1000);
        assert!(!meter.is_tight());
        meter.set_ceiling(100);
        charge.set(1);
        assert_eq!(meter.used(), 61);
        drop(clone);
        drop(charge);
        assert_eq!(meter.used(), 0);
        Charge::default().set(5);
        assert_eq!(Meter::default().used(), 0);
    }
}
