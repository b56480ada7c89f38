//! Exit codes: part of the product, listed in `--help`.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// All well.
    Ok,
    /// The command did its work and the answer is no.
    Failed,
    /// The arguments make no sense.
    Usage,
    /// The broker can't be reached.
    Unavailable,
    /// bridge.toml, or a file it names, has to be corrected.
    Configuration,
    /// No reply in time, as `timeout(1)` says it.
    TimedOut,
    /// What the daemon itself ended with.
    Daemon(u8),
}

impl Exit {
    /// Returns the number; 64 to 78 as in sysexits.h.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Configuration => 78,
            Self::TimedOut => 124,
            Self::Daemon(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
