//! `run`: the daemon itself.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use log::LevelFilter;

use crate::cli::exit::Exit;
use crate::cli::syntax::{Argument, Given, Syntax};
use crate::cli::{Streams, load, print_errors};
use crate::config::{
    Config, Listen, Rereader, Warning, default_socket, listen_address, listen_collision,
};
use crate::{RunError, Shutdown};

/// How `run` is written.
pub(super) const SYNTAX: Syntax = Syntax::new(
    "run",
    "Run broker and bridge until SIGTERM or SIGINT; the default",
    &[
        Argument::option(
            "listen",
            "ADDR:PORT",
            "Listen on this IP address and port instead of those of bridge.toml; may be given \
             several times",
        )
        .several()
        .checked(|text| listen_address(text).map(drop)),
        Argument::option(
            "listen-file",
            "FILE",
            "Listen on the addresses and ports in FILE instead, one a line; its changes are followed",
        )
        .path()
        .excludes("listen"),
    ],
);

/// Reads where to find the addresses that are to be listened on, `None` unless said.
pub(super) fn listen(given: Given<'_>) -> Option<Listen> {
    let texts = given.texts("listen");
    let addresses = texts.iter().filter_map(|text| listen_address(text).ok());
    let addresses: Vec<_> = addresses.collect();
    match given.path("listen-file") {
        Some(file) => Some(Listen::File(file)),
        None => (!addresses.is_empty()).then_some(Listen::At(addresses)),
    }
}

/// Runs until a signal ends it.
pub(super) fn run(
    path: &Path,
    listen: Option<Listen>,
    level: Option<LevelFilter>,
    streams: &mut Streams<'_>,
) -> io::Result<Exit> {
    if let Some(Listen::At(addresses)) = &listen
        && let Some(error) = collision(addresses)
    {
        return streams.refuse(Exit::Usage, format_args!("--listen: {error}"));
    }
    let Some((mut config, warnings)) = load(path, streams)? else {
        return Ok(Exit::Configuration);
    };
    let replaced = listen.map_or(Ok(()), |listen| config.listen_instead(listen));
    if let Err(errors) = replaced {
        return print_errors(&errors, streams).map(|()| Exit::Configuration);
    }
    crate::io::log::init(level.unwrap_or_else(level_from_environment));
    warn_of(&warnings);
    loop {
        let socket = config.status_socket.take();
        config.status_socket = Some(socket.unwrap_or_else(|| default_socket(path)));
        let rereader = match crate::run(config, Shutdown::signals(), |_| {}) {
            Ok(()) => return Ok(Exit::Ok),
            Err(RunError::StoreIsBack(rereader)) => rereader,
            Err(error) => {
                log::error!("{error}");
                return Ok(Exit::Daemon(error.exit_code()));
            }
        };
        let Some(again) = load_again(&rereader) else {
            return Ok(Exit::Configuration);
        };
        config = again;
    }
}

/// Reads the configuration anew, or, if that has mistakes, as it was in force.
fn load_again(rereader: &Rereader) -> Option<Config> {
    for read in [Rereader::read, Rereader::read_named_files] {
        match read(rereader) {
            Ok((config, warnings)) => {
                warn_of(&warnings);
                return Some(config);
            }
            Err(errors) => errors.iter().for_each(|error| log::error!("{error}")),
        }
    }
    None
}

fn warn_of(warnings: &[Warning]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
}

/// Says which addresses get into each other's way.
fn collision(addresses: &[SocketAddr]) -> Option<String> {
    (0..).zip(addresses).find_map(|(index, address)| {
        let before = addresses.get(..index).unwrap_or_default();
        listen_collision(*address, before)
    })
}

/// Takes a plain level from `RUST_LOG`; filters by module are not for owners of routers.
pub(super) fn level_from_environment() -> LevelFilter {
    let level = std::env::var("RUST_LOG").ok();
    let level = level.and_then(|level| level.parse().ok());
    level.unwrap_or(LevelFilter::Info)
}
