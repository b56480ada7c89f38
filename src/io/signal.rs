//! SIGTERM, SIGINT, SIGHUP and SIGUSR1 as values, and a stop by hand for programs that embed the bridge.

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
    /// Stops at SIGTERM and SIGINT, reads the configuration again at SIGHUP, and tries at SIGUSR1 at
    /// once what did not work.
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
                user: signal(SignalKind::user_defined1())?,
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
        /// SIGUSR1.
        user: Signal,
    },
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To stop; the signal's number, 0 for a [`Stopper`].
    Stop(u8),
    /// To read the configuration again.
    Reload,
    /// To try again at once what did not work.
    Probe,
}

impl Listener {
    /// Waits for the next signal. Dropping the future forgets nothing.
    pub(crate) async fn next(&mut self) -> Asked {
        match self {
            Self::Stopper(stops) => {
                // Closed never; each stop counts once.
                if let Ok(stop) = stops.acquire().await {
                    stop.forget();
                }
                Asked::Stop(0)
            }
            Self::Signals {
                terminate,
                interrupt,
                hang_up,
                user,
            } => tokio::select! {
                _ = terminate.recv() => Asked::Stop(15),
                _ = interrupt.recv() => Asked::Stop(2),
                _ = hang_up.recv() => Asked::Reload,
                _ = user.recv() => Asked::Probe,
            },
        }
    }

    /// Waits for the next reason to stop and returns the signal's number; 0 for a [`Stopper`].
    pub(crate) async fn stop(&mut self) -> u8 {
        loop {
            if let Asked::Stop(number) = self.next().await {
                return number;
            }
        }
    }
}
