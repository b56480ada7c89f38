//! The shell: does what `core` decided, and decides nothing itself.

pub(crate) mod bell;
pub(crate) mod broker;
pub(crate) mod clock;
pub(crate) mod event_loop;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod password;
pub(crate) mod scheduling;
pub(crate) mod signal;
pub(crate) mod status_socket;
pub(crate) mod store;
pub(crate) mod task;
pub(crate) mod tls;
pub(crate) mod trust_watch;
pub(crate) mod users_watch;
pub(crate) mod watch;
