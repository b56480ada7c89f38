//! SIGTERM, SIGINT and SIGHUP as values, and a stop by hand for programs that embed the bridge.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;

/// Tells [`crate::run`] when to stop.
#[derive(Debug)]
pub struct Shutdown(Source);

#[derive(Debug)]
enum Source {
    Signals,
    Stopper(Arc<Semaphore>),
}

/// Stops a running bridge: once to finish what is in flight, twice to stop at once.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Semaphore>);

impl Stopper {
    /// Asks for the stop.
    pub fn stop(&self) {
        self.0.add_permits(1);
    }
}

impl Shutdown {
    /// Stops at SIGTERM and SIGINT, and survives SIGHUP.
    pub fn signals() -> Self {
        Self(Source::Signals)
    }

    /// Stops when told to.
    pub fn by_hand() -> (Self, Stopper) {
        let stops = Arc::new(Semaphore::new(0));
        (Self(Source::Stopper(Arc::clone(&stops))), Stopper(stops))
    }

    /// Starts to listen.
    pub(crate) fn listen(self) -> io::Result<Listener> {
        Ok(match self.0 {
            Source::Stopper(stops) => Listener::Stopper(stops),
            Source::Signals => Listener::Signals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hang_up: signal(SignalKind::hangup())?,
            },
        })
    }
}

/// Waits for signals or the [`Stopper`].
#[derive(Debug)]
pub(crate) enum Listener {
    /// Started by [`Shutdown::by_hand`].
    Stopper(Arc<Semaphore>),
    /// Started by [`Shutdown::signals`].
    Signals {
        /// SIGTERM.
        terminate: Signal,
        /// SIGINT.
        interrupt: Signal,
        /// SIGHUP.
        hang_up: Signal,
    },
}

impl Listener {
    /// Waits for the next reason to stop and returns the signal's number; 0 for a [`Stopper`].
    pub(crate) async fn stop(&mut self) -> u8 {
        match self {
            Self::Stopper(stops) => {
                // Closed never; each stop counts once.
                if let Ok(stop) = stops.acquire().await {
                    stop.forget();
                }
                0
            }
            Self::Signals {
                terminate,
                interrupt,
                hang_up,
            } => loop {
                tokio::select! {
                    _ = terminate.recv() => return 15,
                    _ = interrupt.recv() => return 2,
                    _ = hang_up.recv() => log::warn!(
                        "SIGHUP does not reload bridge.toml yet; restart to apply changes"
                    ),
                }
            },
        }
    }
}
