//! What the connections of one endpoint came to: handshakes and their cost, requests, whom they
//! met.
//!
//! Counts and keeps; what is worth telling is decided by [`crate::core::certificates`]. Counts
//! stay at the largest number there is: 2^32 on a 32-bit router.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::certificates::{Sighting, Whose};
use crate::core::decimal;
use crate::io::tls::certificate::Certificate;
use crate::io::tls::client::Handshake;
use crate::io::tls::failure::brief;

/// Most handshakes that wait to be looked at; one more is forgotten. The next of that server
/// shows the same.
const MAX_MET: usize = 64;

/// The books of one endpoint, kept by its workers.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    counts: Mutex<Counts>,
    met: Arc<Encounters>,
}

/// What has been counted for one endpoint since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Handshakes in which the server showed certificates.
    pub(crate) full: Handshakes,
    /// Handshakes that resumed an earlier session.
    pub(crate) resumed: Handshakes,
    /// Handshakes that failed, and connections with them.
    pub(crate) failed: usize,
    /// Requests sent, over new connections and kept ones.
    pub(crate) requests: usize,
}

/// Handshakes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handshakes {
    /// How many.
    pub(crate) count: usize,
    /// CPU time that they took, all together.
    pub(crate) cpu: Duration,
}

impl Handshakes {
    fn add(&mut self, cpu: Duration) {
        self.count = self.count.saturating_add(1);
        self.cpu = self.cpu.saturating_add(cpu);
    }
}

impl fmt::Display for Handshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => f.write_str("0"),
            count => {
                let each = self.cpu / u32::try_from(count).unwrap_or(u32::MAX);
                let each = decimal::milliseconds(each, 3);
                write!(f, "{count} of {each} ms CPU")
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.full.count.saturating_add(self.resumed.count);
        write!(
            f,
            "{} requests over {connections} connections; handshakes: {} full, {} resumed, {} failed",
            self.requests, self.full, self.resumed, self.failed
        )
    }
}

impl Ledger {
    /// Opens books; whom they meet is kept in `met`.
    pub(crate) fn new(met: Arc<Encounters>) -> Self {
        let counts = Mutex::default();
        Self { counts, met }
    }

    /// Notes a completed handshake and the CPU time that it took.
    pub(crate) fn complete(&self, encounter: Encounter, cpu: Duration) {
        {
            let mut counts = self.lock();
            match encounter.handshake.resumed {
                true => counts.resumed.add(cpu),
                false => counts.full.add(cpu),
            }
        }
        self.met.push(encounter);
    }

    /// Notes a handshake that failed.
    pub(crate) fn fail(&self) {
        let mut counts = self.lock();
        counts.failed = counts.failed.saturating_add(1);
    }

    /// Notes a request of which a byte may have left.
    pub(crate) fn request(&self) {
        let mut counts = self.lock();
        counts.requests = counts.requests.saturating_add(1);
    }

    /// Returns what has been counted.
    pub(crate) fn counts(&self) -> Counts {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A completed handshake, with whom.
#[derive(Clone, Debug)]
pub(crate) struct Encounter {
    /// Name of the endpoint.
    pub(crate) endpoint: Arc<str>,
    /// Host name or IP address, in lower case.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
    /// Whether a node or a server has chosen the host, and not the owner.
    pub(crate) foreign: bool,
    /// What it settled on.
    pub(crate) handshake: Arc<Handshake>,
    /// The certificate that we show to servers that ask for one.
    pub(crate) own: Option<Arc<Certificate>>,
}

impl Encounter {
    /// Returns the certificates that took part, for the certificate watch.
    pub(crate) fn sightings(&self) -> Vec<Sighting> {
        let sighting = |whose, not_after| Sighting {
            whose,
            endpoint: Arc::clone(&self.endpoint),
            protocol: self.handshake.protocol,
            not_after,
        };
        let server = Whose::Server {
            host: self.host.clone(),
            port: self.port,
            foreign: self.foreign,
        };
        let mut sightings = Vec::with_capacity(2);
        // Where dates are not looked at there may be nothing that has still to end.
        if self.handshake.chain_end > 0 {
            sightings.push(sighting(server, self.handshake.chain_end));
        }
        let own = self.own.as_ref();
        sightings.extend(own.map(|own| sighting(Whose::Own, own.not_after)));
        sightings
    }

    /// Returns who has issued one of them, in a few words.
    pub(crate) fn issuer(&self, whose: &Whose) -> String {
        let issuer = match whose {
            Whose::Own => self.own.as_ref().map(|own| own.issuer.clone()),
            Whose::Server { .. } => {
                let leaf = self.handshake.chain.first();
                let certificate = leaf.and_then(|der| Certificate::read(der));
                certificate.map(|it| it.issuer)
            }
        };
        brief(&issuer.unwrap_or_default())
    }
}

/// Handshakes of all endpoints that nobody has looked at yet.
#[derive(Debug, Default)]
pub(crate) struct Encounters(Mutex<Vec<Encounter>>);

impl Encounters {
    fn push(&self, encounter: Encounter) {
        let mut waiting = self.lock();
        if waiting.len() < MAX_MET {
            waiting.push(encounter);
        }
    }

    /// Takes those that have come since the last call.
    pub(crate) fn take(&self) -> Vec<Encounter> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Encounter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
