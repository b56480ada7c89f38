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
//!
//! One thread, the event loop, owns all state and never blocks; [`run`] is that thread. Worker
//! threads perform one HTTPS request at a time and decide nothing. One more owns the files of the
//! store, if there is one, and waits for the disk. Checking a slow password hash,
//! computing a client's TLS handshake and reading files again take a thread of their own. Everything between them is bounded.

pub mod cli;
pub mod config;
pub mod core;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod io;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::runtime::{Builder, LocalOptions};

use crate::config::{Config, Rereader};
pub use crate::io::signal::{Shutdown, Stopper};

/// Threads beside the event loop: one for password checks, one for TLS handshakes, one to read
/// files again.
const BLOCKING_THREADS: usize = 3;

/// Why the bridge did not start, or did not end by itself.
#[derive(Debug)]
pub enum RunError {
    /// A loopback address of `[broker] listen` or `--listen` cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// An endpoint cannot be prepared; names it and the file that is wrong.
    Endpoint(String),
    /// The listener with TLS cannot be prepared; names the file that is wrong.
    Tls(String),
    /// Another daemon answers at this socket of `[gateway] status_socket`.
    Running(PathBuf),
    /// The store's directory can not be used; says why and what to do.
    Store(String),
    /// The store, which could not be opened at the start, can be used and holds something: run
    /// again, with the configuration that this reads.
    StoreIsBack(Box<Rereader>),
    /// The system refuses something that the event loop cannot do without.
    System(std::io::Error),
    /// A second signal of this number came before all was finished.
    Interrupted(u8),
}

impl RunError {
    /// Returns the exit code of a process that ends for this reason.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { .. } | Self::Running(_) => 69,
            Self::Endpoint(_) | Self::Tls(_) | Self::Store(_) => 78,
            Self::StoreIsBack(_) | Self::System(_) => 70,
            Self::Interrupted(signal) => 128_u8.saturating_add(*signal),
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, cause } => {
                write!(f, "cannot listen on `{address}`: {}", remedy(cause))
            }
            Self::Endpoint(what) => f.write_str(what),
            Self::Tls(what) => write!(f, "[broker] tls: {what}"),
            Self::Running(path) => write!(
                f,
                "another daemon answers at `{}`; stop it, or choose another [gateway] status_socket",
                path.display()
            ),
            Self::Store(what) => write!(f, "[store] {what}"),
            Self::StoreIsBack(_) => f.write_str("the store can be used now; start again"),
            Self::System(cause) => write!(f, "cannot start the event loop: {cause}"),
            Self::Interrupted(_) => f.write_str("stopped before all requests were finished"),
        }
    }
}

fn remedy(cause: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match cause.kind() {
        ErrorKind::AddrInUse => {
            "another program listens there; stop it or change [broker] listen, --listen or --listen-file"
        }
        ErrorKind::AddrNotAvailable => {
            "no network interface has this address; correct [broker] listen, --listen or \
             --listen-file"
        }
        ErrorKind::PermissionDenied => {
            "not allowed; ports below 1024 need root, choose a higher one in [broker] listen, \
             --listen or --listen-file"
        }
        _ => return format!("{cause}; correct [broker] listen, --listen or --listen-file"),
    }
    .to_owned()
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { cause, .. } | Self::System(cause) => Some(cause),
            Self::Endpoint(_)
            | Self::Tls(_)
            | Self::Running(_)
            | Self::Store(_)
            | Self::StoreIsBack(_)
            | Self::Interrupted(_) => None,
        }
    }
}

/// Is told what listens.
pub(crate) type Ready<'a> = Box<dyn FnOnce(&[SocketAddr]) + 'a>;

/// Runs broker and bridge on the calling thread until `shutdown` says stop.
///
/// `ready` is called once, when the listeners that can be open accept connections, with their
/// addresses. Those that the network reaches open and close later, as users come and go.
///
/// # Errors
/// Says why it did not start, or that it was told to stop at once.
pub fn run(
    config: Config,
    shutdown: Shutdown,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<(), RunError> {
    run_until_stopped(config, shutdown, Box::new(ready))
}

/// [`run`] once, and not again for each kind of `ready`.
fn run_until_stopped(config: Config, shutdown: Shutdown, ready: Ready<'_>) -> Result<(), RunError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build_local(LocalOptions::default())
        .map_err(RunError::System)?;
    let result = runtime.block_on(io::event_loop::run(config, shutdown, ready));
    // A password check that still runs is of no more use to anybody.
    runtime.shutdown_background();
    result
}
