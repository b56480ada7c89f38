//! `run`: the daemon itself.

use std::io;
use std::path::Path;

use log::LevelFilter;

use crate::Shutdown;
use crate::cli::exit::Exit;
use crate::cli::{Streams, load};

/// Runs until a signal ends it.
pub(super) fn run(
    path: &Path,
    level: Option<LevelFilter>,
    streams: &mut Streams<'_>,
) -> io::Result<Exit> {
    let Some((config, warnings)) = load(path, streams)? else {
        return Ok(Exit::Configuration);
    };
    crate::io::log::init(&directives(level));
    for warning in warnings {
        log::warn!("{warning}");
    }
    match crate::run(config, Shutdown::signals(), |_| {}) {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => {
            log::error!("{error}");
            Ok(Exit::Daemon(error.exit_code()))
        }
    }
}

/// Returns what was asked for, else what `RUST_LOG` says, else `info`.
fn directives(level: Option<LevelFilter>) -> String {
    let asked = level.map(|level| level.to_string());
    asked
        .or_else(|| std::env::var("RUST_LOG").ok())
        .filter(|directives| !directives.is_empty())
        .unwrap_or_else(|| "info".into())
}
