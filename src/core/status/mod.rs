//! What the bridge is doing, as plain values from one moment, and its two forms: lines for people
//! and one JSON document.
//!
//! Decides what is shown and how. Who collects the values, and who may see them, is the shell's.

mod json;
mod text;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::core::bridge::{Counters, Share, Standing};

/// Everything at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// Version of the program.
    pub version: &'static str,
    /// Since the start.
    pub uptime: Duration,
    /// Whether it finishes what is in flight and takes on nothing new.
    pub stopping: bool,
    /// What it runs with.
    pub configuration: Configuration,
    /// Why the time is not known; `None` if it is.
    pub clock_unset: Option<String>,
    /// In the order of the configuration.
    pub listeners: Vec<Listener>,
    /// Who is connected.
    pub clients: Clients,
    /// In file order; behind them those that are no longer configured and for which messages wait.
    pub routes: Vec<Route>,
    /// In file order.
    pub endpoints: Vec<Endpoint>,
    /// Those that handshakes have shown, by name.
    pub certificates: Vec<Certificate>,
    /// `None` if nothing is stored.
    pub store: Option<Store>,
    /// What it takes.
    pub memory: Memory,
}

/// Which configuration is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The file.
    pub file: String,
    /// The [`fingerprint`] of its text.
    pub id: String,
    /// How often another has taken its place since the start.
    pub reloads: usize,
    /// What came of the last reload, `None` before the first.
    pub last: Option<Reload>,
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// How long ago.
    pub ago: Duration,
    /// Why all stays as it was, each mistake for itself; empty if the new configuration is in
    /// force.
    pub errors: Vec<String>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens, or is to.
    pub address: SocketAddr,
    /// Whether clients come with TLS.
    pub tls: bool,
    /// Whether they can come at all.
    pub door: Door,
}

/// Whether a listener is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// It accepts connections.
    Open,
    /// Nobody could connect there: there are no users.
    Closed,
    /// Its address can not be listened on; it is tried again.
    Failing,
}

impl Door {
    const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Failing => "failing",
        }
    }
}

/// Clients and their sessions, and what came of connections since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// Connected now.
    pub connected: usize,
    /// Sessions that wait for their clients to come back.
    pub offline: usize,
    /// Connected clients at most.
    pub most: usize,
    /// Connections accepted.
    pub accepted: usize,
    /// Connections closed at once: too many.
    pub turned_away: usize,
    /// CONNECTs refused by their credentials or version.
    pub refused: usize,
    /// Connections closed for breaking the protocol.
    pub violations: usize,
    /// Publishes and subscriptions that the rules forbid.
    pub denied: usize,
    /// Messages dropped from full session queues.
    pub dropped: usize,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// The endpoint that it asks; `None` if it is not in the configuration any more, and messages
    /// wait for it.
    pub endpoint: Option<String>,
    /// What came of its messages. They add up: received = succeeded + failed + queued + in flight
    /// + dropped.
    pub counters: Counters,
    /// How long the oldest message that waits has waited, in memory or in the store; `None` if none
    /// does, or if it came while the time was not known.
    pub oldest: Option<Duration>,
    /// What its messages take of the store; `None` for a direct route.
    pub share: Option<Share>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Where it is, as configured.
    pub url: String,
    /// Requests sent, over new connections and kept ones.
    pub requests: usize,
    /// Handshakes in which the server showed certificates.
    pub full: usize,
    /// Handshakes that resumed an earlier session.
    pub resumed: usize,
    /// Handshakes that failed, and connections with them.
    pub failed: usize,
    /// Whether it works, as far as is known.
    pub standing: Standing,
    /// For how long it has not.
    pub since: Option<Duration>,
    /// How long it is until it is tried again; `None` if it works, or is tried at present.
    pub next_probe: Option<Duration>,
    /// The last request that came to nothing, `None` if all went well so far.
    pub last_error: Option<LastError>,
}

/// A request that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// How long ago.
    pub ago: Duration,
    /// The failure's code.
    pub code: &'static str,
    /// What else is known of it, may be empty.
    pub detail: String,
}

/// A certificate that a handshake has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The host; the endpoint's name for a client certificate of our own.
    pub name: String,
    /// The endpoint at which it was seen last.
    pub endpoint: String,
    /// Whether it is our own.
    pub own: bool,
    /// Whole days that are left, 0 also if it has ended.
    pub days: u64,
    /// When it ends, such as `2026-12-01T09:00:00Z`.
    pub end: String,
}

/// What survives a restart, and what that has cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// Batches on the disk since the start.
    pub batches: u64,
    /// Batches that could not be stored.
    pub refused: u64,
    /// Bytes passed to write since the start.
    pub written: u64,
    /// Calls of fsync and fdatasync since the start.
    pub syncs: u64,
    /// Bytes of values, with their records.
    pub live: usize,
    /// How many these may be; the rest of `max_bytes` is for what is being replaced.
    pub room: usize,
    /// Whether as much as was to be stored last would find no room.
    pub full: bool,
    /// Bytes of all segments.
    pub total: usize,
    /// Segments.
    pub segments: usize,
    /// Values.
    pub values: usize,
    /// Segments and values that could not be read since the start.
    pub damaged: usize,
    /// What the disk said to the last write, `None` if it was done.
    pub trouble: Option<Arc<str>>,
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All that is queued, retained, asked and answered.
    pub used: usize,
    /// How much that may be.
    pub ceiling: usize,
    /// What the process takes in all; `None` where the system does not say.
    pub resident: Option<usize>,
}

const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Works => "works",
        Standing::Paused => "paused",
        Standing::Unreachable => "unreachable",
    }
}

impl Status {
    /// Writes it as one JSON document without line ends.
    pub fn json(&self) -> String {
        json::write(self)
    }

    /// Writes it in aligned lines.
    pub fn text(&self) -> String {
        text::write(self)
    }
}

/// Returns eight hexadecimal digits that tell a text from its other versions; no secret and no
/// proof (FNV-1a, folded).
pub fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

#[cfg(test)]
mod tests;
