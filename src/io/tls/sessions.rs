//! Resumable sessions of one endpoint: bounded, and none outlives the chain it was made with.
//!
//! A resumed handshake shows no certificates, so nobody would notice that they have expired.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use crate::io::clock::Wall;

/// Most servers whose sessions are kept for one endpoint.
const MAX_SERVERS: usize = 16;
/// What rustls keeps of one server, which is how it counts.
const TICKETS: usize = 8;

/// The session store of one endpoint, shared by its workers.
#[derive(Debug)]
pub(crate) struct Sessions {
    kept: ClientSessionMemoryCache,
    ends: Mutex<Ends>,
    clock: Arc<Wall>,
}

/// Until when the chain of each server's last full handshakes is valid, seconds since 1970.
#[derive(Debug)]
struct Ends {
    of: HashMap<ServerName<'static>, u64>,
    /// The clock's era in which they were noted.
    era: usize,
}

impl Sessions {
    /// Makes an empty store.
    pub(crate) fn new(clock: Arc<Wall>) -> Self {
        let ends = Ends {
            of: HashMap::new(),
            era: clock.era(),
        };
        Self {
            kept: ClientSessionMemoryCache::new(MAX_SERVERS * TICKETS),
            ends: Mutex::new(ends),
            clock,
        }
    }

    /// Notes until when the chain of a full handshake is valid.
    ///
    /// A server may have several chains, and nothing says which a session belongs to: while any
    /// of them may be kept, the first end counts for all.
    pub(crate) fn note_end(&self, server: ServerName<'static>, end: u64, now: u64) {
        let mut ends = self.lock();
        if ends.of.len() >= 2 * MAX_SERVERS && !ends.of.contains_key(&server) {
            // Names come from captures at worst. Without its end a session is not resumed, so
            // forgetting costs a full handshake and no more.
            self.forget_all(&mut ends);
        }
        let noted = ends.of.entry(server).or_insert(end);
        *noted = match *noted > now {
            true => end.min(*noted),
            false => end,
        };
    }

    /// Returns until when sessions with a server may be used, in seconds since 1970.
    pub(crate) fn end(&self, server: &ServerName<'_>) -> u64 {
        self.lock().of.get(server).copied().unwrap_or_default()
    }

    /// Returns the ends, after forgetting those of a time that the clock has jumped back from.
    fn lock(&self) -> MutexGuard<'_, Ends> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let era = self.clock.era();
        if ends.era != era {
            ends.era = era;
            self.forget_all(&mut ends);
        }
        ends
    }

    fn forget_all(&self, ends: &mut Ends) {
        for (server, _) in ends.of.drain() {
            self.forget(&server);
        }
    }

    /// Returns whether sessions may be used; if they have had their time they are thrown away, so
    /// that none comes back with the end of a later one.
    fn is_current(&self, server: &ServerName<'_>) -> bool {
        // Asked first: it may find that the clock has jumped.
        let now = self.clock.now();
        let current = now.is_some_and(|now| now.as_secs() < self.end(server));
        if !current {
            self.forget(&server.to_owned());
        }
        current
    }

    fn forget(&self, server: &ServerName<'static>) {
        self.kept.remove_tls12_session(server);
        while self.kept.take_tls13_ticket(server).is_some() {}
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.kept.set_tls12_session(server, value);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        if !self.is_current(server) {
            return None;
        }
        self.kept.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.kept.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.kept.insert_tls13_ticket(server, value);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if !self.is_current(server) {
            return None;
        }
        self.kept.take_tls13_ticket(server)
    }
}
