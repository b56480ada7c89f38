//! The socket at which the daemon tells what it is doing.
//!
//! Whoever may open the file may ask: it is for its owner and root alone. A client sends one line,
//! `text` or `json`, and gets the answer to its end. Clients that dawdle or are too many are hung
//! up on.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use log::warn;
use rustix::fs::{Access, Mode, access, fchmod};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use crate::io::event_loop::shared::Shared;
use crate::io::task::spawn;

/// Who is answered at the same time.
const CLIENTS: usize = 4;
/// Time for question and answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest question.
const QUESTION: usize = 16;
/// Pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(250);

/// The open socket; its file is removed on drop.
#[derive(Debug)]
pub(crate) struct StatusSocket {
    path: PathBuf,
    listener: UnixListener,
}

/// Why there is no socket.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Another daemon answers there.
    InUse,
    /// The system does not allow it.
    System(io::Error),
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // Nobody is left who could do more about it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl StatusSocket {
    /// Opens a socket for its owner alone, in place of one that nobody listens on any more. Makes
    /// its folder, but not those above. Has to be called within the event loop.
    pub(crate) fn open(path: &Path) -> Result<Self, Refused> {
        if let Some(folder) = path.parent() {
            let made = std::fs::DirBuilder::new().mode(0o700).create(folder);
            if let Err(cause) = made
                && cause.kind() == ErrorKind::NotFound
            {
                return Err(Refused::System(cause));
            }
        }
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(Refused::System(no_socket()));
            }
            match BlockingStream::connect(path) {
                // Full of clients that wait: that is somebody too.
                Ok(_) => return Err(Refused::InUse),
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Err(Refused::InUse),
                Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(Refused::System)?;
                }
                Err(cause) => return Err(Refused::System(cause)),
            }
        }
        let listener = listen(path).map_err(Refused::System)?;
        let path = path.to_owned();
        Ok(Self { path, listener })
    }

    /// Answers for as long as the event loop runs.
    pub(crate) async fn serve(self, shared: Rc<Shared>) {
        let clients = Rc::new(Cell::new(0_usize));
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            if clients.get() >= CLIENTS {
                continue;
            }
            clients.set(clients.get() + 1);
            let (clients, shared) = (Rc::clone(&clients), Rc::clone(&shared));
            spawn(async move {
                // Whoever is late or gone has no answer coming.
                let _ = timeout(LIMIT, answer(stream, &shared)).await;
                clients.set(clients.get().saturating_sub(1));
            });
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Before it has a name, so that at no time anybody else can open it.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(i32::try_from(CLIENTS).unwrap_or(1))?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

async fn answer(mut stream: UnixStream, shared: &Shared) -> io::Result<()> {
    let mut question = Vec::with_capacity(QUESTION);
    while !question.contains(&b'\n') {
        let mut rest = (&mut stream).take((QUESTION - question.len()) as u64);
        if rest.read_buf(&mut question).await? == 0 {
            return Ok(());
        }
    }
    let status = shared.with(|gateway, now| gateway.status(now));
    let text = match question.as_slice() {
        b"json\n" => status.json() + "\n",
        b"text\n" => status.text(),
        _ => "ask `text` or `json`\n".to_owned(),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// Says why there is no status, which keeps nobody from being served.
pub(crate) fn warn_of_none(path: &Path, cause: &io::Error) {
    warn!("{}", why_none(path, cause));
}

/// Says that there is no status, and what to do.
pub(crate) fn why_none(path: &Path, cause: &io::Error) -> String {
    let path = path.display();
    format!(
        "`mqtt-https-bridge status` will not work: `{path}` cannot be listened on: {cause}; \
         choose a place with [gateway] status_socket"
    )
}

/// Returns why no socket could be opened there by this user, without making anything; `None` if one
/// could.
pub(crate) fn check(path: &Path) -> Option<io::Error> {
    if let Ok(found) = std::fs::symlink_metadata(path)
        && !found.file_type().is_socket()
    {
        return Some(no_socket());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The one above it, in which it would be made.
    let above = folder.parent().filter(|it| !it.as_os_str().is_empty());
    let place = match std::fs::symlink_metadata(folder) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => above.unwrap_or(Path::new(".")),
        _ => folder,
    };
    match std::fs::metadata(place) {
        Ok(found) if !found.is_dir() => Some(Errno::NOTDIR.into()),
        Ok(_) => access(place, Access::WRITE_OK | Access::EXEC_OK)
            .err()
            .map(io::Error::from),
        Err(cause) => Some(cause),
    }
}

fn no_socket() -> io::Error {
    io::Error::other("there is a file that is no socket; remove it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::watch::tests::temp_dir::TempDir;

    #[test]
    fn check_says_before_what_keeps_a_socket_from_being_opened_and_makes_nothing() {
        let folder = TempDir::new();
        folder.write("file", "");
        std::fs::create_dir(folder.path().join("there")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
        let cases = [
            ("new.sock", true),
            ("there/new.sock", true),
            ("new/new.sock", true),
            ("none/new/new.sock", false),
            ("file", false),
            ("file/new.sock", false),
            ("there", false),
            ("link", false),
            ("link/new.sock", false),
        ];
        let before = std::fs::read_dir(folder.path()).unwrap().count();
        for (name, well) in cases {
            let why = check(&folder.path().join(name));
            assert_eq!(why.is_none(), well, "{name}: {why:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        for (name, well) in cases {
            let opened = StatusSocket::open(&folder.path().join(name));
            assert_eq!(opened.is_ok(), well, "{name}: {opened:?}");
            drop(opened);
        }
    }
}
