//! The one place that reads the clocks.

use std::time::{Duration, Instant, SystemTime};

/// Returns the monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns the wall clock as time since 1970; zero for a clock before that.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads it")]
pub(crate) fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
