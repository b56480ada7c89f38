//! `status`: asks the daemon that runs what it is doing.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::cli::Streams;
use crate::cli::exit::Exit;
use crate::cli::syntax::{Argument, Given, Syntax};
use crate::config::Config;

/// Longest wait for the daemon.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const LONGEST: u64 = 16 << 20;

/// How `status` is written.
pub(super) const SYNTAX: Syntax = Syntax::new(
    "status",
    "Ask the daemon that runs for its clients, routes, endpoints and counters",
    &[
        Argument::flag("json", "Print one JSON document, for programs"),
        Argument::option(
            "socket",
            "PATH",
            "Where the daemon is asked [default: as the configuration says]",
        )
        .path(),
    ],
);

/// Prints what the daemon tells.
pub(super) fn status(
    config: &Path,
    given: Given<'_>,
    streams: &mut Streams<'_>,
) -> io::Result<Exit> {
    let socket = given
        .path("socket")
        .unwrap_or_else(|| Config::status_socket(config));
    let question: &[u8] = match given.flag("json") {
        true => b"json\n",
        false => b"text\n",
    };
    match ask(&socket, question) {
        Ok(answer) if !answer.is_empty() => {
            streams.out.write_all(&answer)?;
            Ok(Exit::Ok)
        }
        Ok(_) => refuse(&socket, &ErrorKind::WouldBlock.into(), streams),
        Err(cause) => refuse(&socket, &cause, streams),
    }
}

fn ask(socket: &Path, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(question)?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(answer)
}

fn refuse(socket: &Path, cause: &io::Error, streams: &mut Streams<'_>) -> io::Result<Exit> {
    let path = socket.display();
    let (exit, text) = match cause.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => (
            Exit::Unavailable,
            format!(
                "no daemon answers at `{path}`; start it, or name its configuration with --config \
                 or its socket with --socket"
            ),
        ),
        ErrorKind::PermissionDenied => (
            Exit::Unavailable,
            format!("`{path}` is not for this user; ask as root or as the daemon's user"),
        ),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => (
            Exit::TimedOut,
            format!("the daemon at `{path}` is busy; ask again"),
        ),
        _ => (
            Exit::Unavailable,
            format!("`{path}` can not be asked: {cause}; see whether the daemon runs"),
        ),
    };
    streams.refuse(exit, text)
}
