//! What the layers beneath ureq share with the request they serve: limits in, facts out.
//!
//! ureq hands neither the request nor its deadline to a connector or transport, and asking it to
//! keep time would copy its configuration for each request. A worker performs one request at a
//! time and all layers run on its thread, so the two ends meet in a thread-local here. It decides
//! nothing.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::core::endpoint::IpVersions;
use crate::core::outcome::Phase;
use crate::io::clock;
use crate::io::tls::client::Handshake;

/// What one exchange may do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// When it began.
    pub(crate) started: Instant,
    /// When it ends, finished or not.
    pub(crate) deadline: Instant,
    /// Connect here instead of looking the host up.
    pub(crate) address: Option<IpAddr>,
    /// Which IP versions to use.
    pub(crate) ip: IpVersions,
    /// Whether addresses that are not public may be connected to.
    pub(crate) private_addresses: bool,
    /// Whether a node or a server has chosen the host, and not the owner.
    pub(crate) foreign_host: bool,
    /// Whether pooled connections are passed over.
    pub(crate) fresh: bool,
}

/// How far an exchange came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// When each phase was entered, in the order of [`PHASES`].
    entered: [Option<Instant>; PHASES.len()],
    /// The phase it is in; `None` before the first.
    pub(crate) phase: Option<Phase>,
    /// Whether its connection had served an earlier exchange.
    pub(crate) reused: bool,
    /// Whether a byte of the request may have left.
    pub(crate) sent: bool,
    /// Whether a byte of the response has arrived.
    pub(crate) received: bool,
    /// Whether the connection ended or broke.
    pub(crate) closed: bool,
    /// The server's address.
    pub(crate) peer: Option<SocketAddr>,
    /// Facts of the handshake, if there was one in this exchange.
    pub(crate) handshake: Option<Arc<Handshake>>,
    /// The chain that a failed handshake presented, leaf first, in DER.
    pub(crate) refused_chain: Vec<Vec<u8>>,
}

/// The phases of an exchange, in order.
pub(crate) const PHASES: [Phase; 5] = [
    Phase::Resolve,
    Phase::Connect,
    Phase::Handshake,
    Phase::Send,
    Phase::Receive,
];

impl Progress {
    /// Returns when `phase` was entered; `None` if it was not.
    pub(crate) fn entered(&self, phase: Phase) -> Option<Instant> {
        let at = PHASES.iter().position(|p| *p == phase)?;
        self.entered.get(at).copied().flatten()
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase == Some(phase) {
            return;
        }
        self.phase = Some(phase);
        let slot = PHASES.iter().position(|p| *p == phase);
        if let Some(entered) = slot.and_then(|at| self.entered.get_mut(at)) {
            *entered = Some(clock::now());
        }
    }
}

/// A number that tells exchanges apart, also those of other threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExchangeId(usize);

struct Exchange {
    id: ExchangeId,
    plan: Plan,
    progress: Progress,
}

thread_local! {
    static CURRENT: RefCell<Option<Exchange>> = const { RefCell::new(None) };
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Begins an exchange on this thread; one that was not ended is forgotten.
pub(crate) fn begin(plan: Plan) {
    let id = ExchangeId(NEXT.fetch_add(1, Ordering::Relaxed));
    let progress = Progress::default();
    CURRENT.with_borrow_mut(|current| {
        *current = Some(Exchange { id, plan, progress });
    });
}

/// Ends this thread's exchange and returns how far it came.
pub(crate) fn end() -> Progress {
    CURRENT
        .take()
        .map(|exchange| exchange.progress)
        .unwrap_or_default()
}

/// Returns the number of this thread's exchange; `None` outside of one.
pub(crate) fn id() -> Option<ExchangeId> {
    CURRENT.with_borrow(|current| current.as_ref().map(|exchange| exchange.id))
}

/// Returns the plan of this thread's exchange. Outside of one everything is overdue already.
pub(crate) fn plan() -> Plan {
    CURRENT.with_borrow(|current| match current {
        Some(exchange) => exchange.plan.clone(),
        None => overdue(),
    })
}

/// Enters a phase and returns the deadline.
pub(crate) fn enter(phase: Phase) -> Instant {
    CURRENT.with_borrow_mut(|current| match current {
        Some(exchange) => {
            exchange.progress.enter(phase);
            exchange.plan.deadline
        }
        None => clock::now(),
    })
}

/// Notes facts of this thread's exchange.
pub(crate) fn note(facts: impl FnOnce(&mut Progress)) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(exchange) = current {
            facts(&mut exchange.progress);
        }
    });
}

/// Returns a copy of how far this thread's exchange has come.
pub(crate) fn so_far() -> Progress {
    CURRENT.with_borrow(|current| {
        current
            .as_ref()
            .map(|exchange| exchange.progress.clone())
            .unwrap_or_default()
    })
}

fn overdue() -> Plan {
    let now = clock::now();
    Plan {
        started: now,
        deadline: now,
        address: None,
        ip: IpVersions::Both,
        private_addresses: false,
        foreign_host: true,
        fresh: true,
    }
}
