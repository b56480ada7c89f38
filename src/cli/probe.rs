//! `probe`: one request as a route would make it, explained.

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use crate::core::endpoint::Roots;

/// What to probe.
#[derive(Clone, Debug)]
pub(crate) struct ProbeOptions {
    /// The server.
    pub(crate) url: String,
    /// Whom to trust.
    pub(crate) roots: Roots,
    /// Connect here instead of looking the name up.
    pub(crate) address: Option<IpAddr>,
    /// Longest wait for each phase.
    pub(crate) timeout: Duration,
}

/// Makes the request and prints what came of it; returns whether it succeeded.
pub(crate) fn probe(_options: &ProbeOptions, _out: &mut dyn Write) -> io::Result<bool> {
    todo!()
}
