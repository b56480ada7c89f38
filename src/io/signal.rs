//! SIGTERM, SIGINT and SIGHUP as values, and a stop by hand for programs that embed the bridge.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// Tells [`crate::run`] when to stop.
#[derive(Debug)]
pub struct Shutdown(Source);

#[derive(Debug)]
enum Source {
    Signals,
    Stopper(Arc<Notify>),
}

/// Stops a running bridge: once to finish what is in flight, twice to stop at once.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Notify>);

impl Stopper {
    /// Asks for the stop.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

impl Shutdown {
    /// Stops at SIGTERM and SIGINT, and survives SIGHUP.
    pub fn signals() -> Self {
        Self(Source::Signals)
    }

    /// Stops when told to.
    pub fn by_hand() -> (Self, Stopper) {
        let notify = Arc::new(Notify::new());
        (Self(Source::Stopper(Arc::clone(&notify))), Stopper(notify))
    }

    /// Starts to listen.
    pub(crate) fn listen(self) -> io::Result<Listener> {
        Ok(match self.0 {
            Source::Stopper(notify) => Listener::Stopper(notify),
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
    Stopper(Arc<Notify>),
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
            Self::Stopper(notify) => {
                notify.notified().await;
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
