//! The gateway that is tested: the whole daemon on a thread, with a bridge.toml for the cases.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::cases::Case;
use super::server::Place;
use crate::config::Config;
use crate::{RunError, Shutdown, Stopper};

/// Longest wait for the daemon to listen.
const START: Duration = Duration::from_secs(10);

/// A running daemon; it ends when dropped, and with it the folder of its files.
pub(super) struct Gateway {
    /// Where it listens.
    pub(super) address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), RunError>>>,
    _folder: Folder,
}

impl Gateway {
    /// Starts it with an endpoint and a route for each case.
    ///
    /// # Errors
    /// Says why it does not start.
    pub(super) fn start(cases: &[Case], places: &[Place]) -> Result<Self, String> {
        let unwritten = |error: io::Error| {
            let folder = std::env::temp_dir();
            format!(
                "can not write below {}: {error}; set TMPDIR",
                folder.display()
            )
        };
        let folder = Folder::new().map_err(unwritten)?;
        let text = configuration(cases, places, &folder.0).map_err(unwritten)?;
        let path = folder.0.join("bridge.toml");
        let (config, _) = Config::parse(&path, &text, &|_| None).map_err(|errors| {
            let error = errors.first().map(ToString::to_string);
            error.unwrap_or_default()
        })?;
        let (shutdown, stopper) = Shutdown::by_hand();
        let (ready, listening) = mpsc::channel();
        let run = move || {
            crate::run(config, shutdown, |addresses| {
                // Nobody waits any more if this took too long.
                let _ = ready.send(addresses.first().copied());
            })
        };
        let builder = thread::Builder::new().name("bridge".to_owned());
        let thread = builder.spawn(run).map_err(|error| error.to_string())?;
        match listening.recv_timeout(START) {
            Ok(Some(address)) => Ok(Self {
                address,
                stopper,
                thread: Some(thread),
                _folder: folder,
            }),
            _ => {
                stopper.stop();
                Err(match thread.join() {
                    Ok(Err(error)) => error.to_string(),
                    _ => "the bridge did not start".to_owned(),
                })
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Once to finish, twice to do so at once.
        self.stopper.stop();
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The topic that asks the case of this number.
pub(super) fn topic(number: usize) -> String {
    format!("selftest/{number}")
}

/// Writes the cases' files and returns the bridge.toml that names them.
fn configuration(cases: &[Case], places: &[Place], folder: &Path) -> io::Result<String> {
    let mut text = "[gateway]\nname = \"selftest\"\n[broker]\nlisten = [\"127.0.0.1:0\"]\n\
         [defaults]\nreply_packet = 1024\nconcurrency = 1\n\
         retry = { attempts = 1 }\n"
        .to_owned();
    for (number, (case, place)) in cases.iter().zip(places).enumerate() {
        let prefix = format!("{number}-");
        for (name, contents) in &case.files {
            write_private(&folder.join(format!("{prefix}{name}")), contents)?;
        }
        let topic = topic(number);
        // Writing to a String can not fail.
        let _ = write!(
            text,
            "[endpoint.case{number}]\nurl = \"https://{}:{}\"\naddress = \"127.0.0.1\"\n\
             {}\n\
             [[route]]\ntopic = \"{topic}\"\nendpoint = \"case{number}\"\n\
             reply = \"replies/{topic}/{{outcome}}\"\n",
            case.host,
            place.port(),
            case.lines.replace('@', &prefix)
        );
    }
    Ok(text)
}

/// Writes a file that nobody else may read: it may be a key.
fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(contents)
}

/// A new folder, removed with all that is in it when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let random = crate::io::password::generate().map_err(|_| io::ErrorKind::Unsupported)?;
        let path = std::env::temp_dir().join(format!("mqtt-https-bridge-{random:.12}"));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
