//! A TLS connection as ureq sees it: deadlines, phases, and whether it may be used again.
//!
//! What ureq writes is kept until it wants to read, so that header and body leave in one record
//! and one packet, with the last flight of the handshake if there was one. A server that answers
//! and closes while we still write gets its answer read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers as _, NextTimeout, Transport};

use crate::core::outcome::{Code, Failure, Phase};
use crate::io::clock::{self, Wall};
use crate::io::http::address;
use crate::io::http::buffers::{Buffers, OUTPUT_SIZE};
use crate::io::http::exchange::{self, ExchangeId};
use crate::io::http::failure;
use crate::io::tls::stream::{Fault, Stream};

/// How long a connection is used, and how long it may lie idle.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(300);

/// One connection, in use or pooled.
#[derive(Debug)]
pub(crate) struct Link {
    stream: Stream,
    buffers: Buffers,
    unsent: Vec<u8>,
    /// Why writing failed, until reading has shown whether there is an answer all the same.
    write_failure: Option<Failure>,
    peer: SocketAddr,
    opened: Instant,
    /// Until when its certificate chain is valid, seconds since 1970.
    not_after: u64,
    clock: Arc<Wall>,
    /// The clock's era in which it was opened.
    era: usize,
    /// The exchange that used it last.
    user: Option<ExchangeId>,
    /// Whether it has ended or broken.
    over: bool,
}

impl Link {
    /// Wraps a stream that this thread's exchange has just opened.
    pub(crate) fn new(stream: Stream, peer: SocketAddr, not_after: u64, clock: Arc<Wall>) -> Self {
        Self {
            stream,
            buffers: Buffers::default(),
            unsent: Vec::new(),
            write_failure: None,
            peer,
            opened: clock::now(),
            not_after,
            era: clock.era(),
            clock,
            user: exchange::id(),
            over: false,
        }
    }

    fn flush(&mut self) -> Result<(), ureq::Error> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let deadline = exchange::enter(Phase::Send);
        let written = self.stream.write(&self.unsent, deadline);
        self.unsent.clear();
        exchange::note(|progress| progress.sent = true);
        match written {
            Ok(()) => Ok(()),
            Err(fault @ (Fault::TimedOut | Fault::Tls(_))) => Err(self.failed(fault)),
            Err(fault @ (Fault::Cut | Fault::Io(_))) => {
                self.write_failure = Some(self.failure(fault));
                Ok(())
            }
        }
    }

    fn failure(&mut self, fault: Fault) -> Failure {
        let timed_out = matches!(fault, Fault::TimedOut);
        self.over = true;
        let progress = exchange::so_far();
        let failure = failure::of_fault(fault, &progress, &exchange::plan(), clock::now());
        exchange::note(|progress| progress.closed |= !timed_out);
        failure
    }

    fn failed(&mut self, fault: Fault) -> ureq::Error {
        failure::carry(self.failure(fault))
    }

    fn begin_use(&mut self) {
        let user = exchange::id();
        if self.user != user {
            self.user = user;
            let peer = self.peer;
            exchange::note(|progress| {
                progress.reused = true;
                progress.peer = Some(peer);
            });
        }
    }
}

impl Transport for Link {
    fn buffers(&mut self) -> &mut dyn ureq::unversioned::transport::Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.begin_use();
        exchange::enter(Phase::Send);
        if self.write_failure.is_some() {
            return Ok(());
        }
        if self.unsent.len() + amount > OUTPUT_SIZE {
            self.flush()?;
        }
        self.unsent.extend_from_slice(self.buffers.written(amount));
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        self.flush()?;
        let deadline = exchange::enter(Phase::Receive);
        if clock::now() >= deadline {
            return Err(self.failed(Fault::TimedOut));
        }
        let room = self.buffers.input_append_buf();
        if room.is_empty() {
            let detail = "a line of the body is longer than 32 KiB";
            return Err(failure::carry(Failure::new(Code::HttpMalformed, detail)));
        }
        let read = self.stream.read(room, deadline);
        match (read, self.write_failure.take()) {
            (Ok(0), None) => {
                self.over = true;
                exchange::note(|progress| progress.closed = true);
                Ok(false)
            }
            (Ok(0) | Err(Fault::Cut | Fault::Io(_)), Some(failure)) => Err(failure::carry(failure)),
            (Ok(count), _) => {
                self.buffers.input_appended(count);
                exchange::note(|progress| progress.received = true);
                Ok(true)
            }
            (Err(fault), _) => Err(self.failed(fault)),
        }
    }

    fn is_open(&mut self) -> bool {
        let plan = exchange::plan();
        let own = self.user == exchange::id();
        let reachable = plan.private_addresses || address::is_public(self.peer.ip());
        let age = clock::now().saturating_duration_since(self.opened);
        // The era last: reading the time may find that the clock has jumped.
        let current = age < MAX_AGE
            && self
                .clock
                .now()
                .is_some_and(|now| now.as_secs() < self.not_after)
            && self.clock.era() == self.era;
        if self.over || !reachable || !current || (plan.fresh && !own) {
            return false;
        }
        // On its way back into the pool the system is not asked: it will be on the way out.
        match own {
            true => self.stream.is_quiet(),
            false => self.stream.is_at_rest(),
        }
    }

    fn is_tls(&self) -> bool {
        true
    }
}
