//! The one place that reads the clocks.

use std::fmt;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::config::{ClockTrust, Stamp};
use crate::core::belief::Belief;

/// When this program was built, seconds since 1970: no clock that is right shows an earlier time.
const BUILT: &str = env!("BUILT");

/// A wall clock of this process's own: what it showed, and when.
static OWN: OnceLock<(Duration, Instant)> = OnceLock::new();

/// Returns the monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns the wall clock as time since 1970; zero for a clock before that.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads it")]
pub(crate) fn unix_time() -> Duration {
    if let Some((start, since)) = OWN.get() {
        return *start + since.elapsed();
    }
    // Where the system's time has 32 bits, std panics from 2038 on. It would each time.
    static UNREADABLE: AtomicBool = AtomicBool::new(false);
    if UNREADABLE.load(Ordering::Relaxed) {
        return Duration::ZERO;
    }
    let read = catch_unwind(SystemTime::now).unwrap_or_else(|_| {
        UNREADABLE.store(true, Ordering::Relaxed);
        SystemTime::UNIX_EPOCH
    });
    read.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Returns the CPU time that this thread has used, its system calls included.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Returns when this program was built, seconds since 1970.
pub(crate) fn built() -> u64 {
    BUILT.parse().unwrap_or_default()
}

/// The wall clock as far as it is believed, by which certificates are judged.
pub(crate) struct Wall {
    /// The file that says that somebody has set it; `None` if it is trusted without.
    sign: Mutex<Option<PathBuf>>,
    belief: Mutex<Belief<Stamp>>,
    /// How far it is behind the real one.
    #[cfg(test)]
    behind: Mutex<Duration>,
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wall")
    }
}

impl Default for Wall {
    fn default() -> Self {
        Self::new(&ClockTrust::Trusted)
    }
}

impl Wall {
    /// Makes a clock that is trusted so far.
    pub(crate) fn new(trust: &ClockTrust) -> Self {
        let sign = sign_of(trust);
        Self {
            belief: Mutex::new(Belief::new(built(), sign.is_some())),
            sign: Mutex::new(sign),
            #[cfg(test)]
            behind: Mutex::default(),
        }
    }

    /// Believes it under other conditions from now on; nothing changes if they are the same.
    pub(crate) fn set_trust(&self, trust: &ClockTrust) {
        let sign = sign_of(trust);
        let mut known = self.sign.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != sign {
            *self.lock() = Belief::new(built(), sign.is_some());
            *known = sign;
        }
    }

    /// Turns it back by this much against the real one.
    #[cfg(test)]
    pub(crate) fn turn_back(&self, by: Duration) {
        *self.behind.lock().unwrap() = by;
    }

    /// A clock that any time is believed of but those of 1970.
    #[cfg(test)]
    pub(crate) fn since_1971() -> Self {
        Self {
            belief: Mutex::new(Belief::new(365 * 86_400, false)),
            ..Self::default()
        }
    }

    /// Returns the time since 1970, `None` if it is not known.
    pub(crate) fn now(&self) -> Option<Duration> {
        let (now, at) = (unix_time(), now());
        #[cfg(test)]
        let now = now.saturating_sub(*self.behind.lock().unwrap());
        let sign = self.sign();
        let sign = || {
            let stamp = Stamp::of(sign.as_deref()?);
            (stamp != Stamp::default()).then_some(stamp)
        };
        self.lock().believes(now.as_secs(), at, sign).then_some(now)
    }

    /// Returns a number that changes when the clock jumps back: what was judged before was judged
    /// by another time.
    pub(crate) fn era(&self) -> usize {
        self.lock().jumps()
    }

    /// Returns the file that it waits for while it is not believed.
    pub(crate) fn sign(&self) -> Option<PathBuf> {
        let sign = self.sign.lock().unwrap_or_else(PoisonError::into_inner);
        sign.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Belief<Stamp>> {
        self.belief.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the file that says that somebody has set the clock; `None` if it is trusted without.
fn sign_of(trust: &ClockTrust) -> Option<PathBuf> {
    match trust {
        ClockTrust::Trusted => None,
        ClockTrust::SynchronisedFile(file) => Some(file.clone()),
    }
}

/// Replaces the wall clock for the rest of this process by one that shows `start`, in time since
/// 1970, now. The first call counts.
///
/// For `selftest` alone: what it says of certificates must not depend on the machine's clock. A
/// daemon has no way to it, neither by its configuration nor by its environment.
#[cfg(feature = "selftest")]
pub(crate) fn start_own(start: Duration) {
    let _ = OWN.set((start, now()));
}
