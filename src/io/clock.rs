//! The one place that reads the clocks.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

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
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Returns the CPU time that this thread has used, its system calls included.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
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
