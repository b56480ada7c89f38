//! An MQTT broker for small nodes that performs their HTTPS requests for them.
//!
//! ```text
//! listener → session → hub → bridge → RouteTable → Request → job queue → worker → http + tls
//!                      hub ← Reply ← bridge ← Outcome ←──────────────────────────────┘
//! ```
//!
//! * [`core`] decides: pure logic, no sockets, files, threads or clock.
//! * [`config`] turns `bridge.toml` into a validated [`config::Config`], or every error at once.
//! * `io` does what `core` decided; each foreign crate is named in one place of it.
//! * [`cli`] is the command line.

pub mod cli;
pub mod config;
pub mod core;
mod io;
