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
    crate::io::log::init(level.unwrap_or_else(level_from_environment));
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

/// Takes a plain level from `RUST_LOG`; filters by module are not for owners of routers.
fn level_from_environment() -> LevelFilter {
    let level = std::env::var("RUST_LOG").ok();
    let level = level.and_then(|level| level.parse().ok());
    level.unwrap_or(LevelFilter::Info)
}
