//! `status`: asks the daemon that runs what it is doing.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cli::Streams;
use crate::cli::exit::Exit;
use crate::config::Config;

/// Longest wait for the daemon.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const LONGEST: u64 = 16 << 20;

/// Arguments of `status`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Print one JSON document, for programs
    #[arg(long)]
    json: bool,
    /// Where the daemon is asked [default: as the configuration says]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Prints what the daemon tells.
pub(super) fn status(
    config: &Path,
    arguments: Arguments,
    streams: &mut Streams<'_>,
) -> io::Result<Exit> {
    let socket = arguments
        .socket
        .unwrap_or_else(|| Config::status_socket(config));
    let question: &[u8] = match arguments.json {
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
    writeln!(streams.err, "{text}")?;
    Ok(exit)
}
