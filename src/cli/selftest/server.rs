//! The self-test's servers: one each case, on 127.0.0.1, good or bad as the case says.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::core::endpoint::TlsVersion;
use crate::io::tls::local::{Accepted, Acceptor};

/// Longest wait for a client to send or take something.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a server's thread: a handshake in a debug build takes 100 KiB.
const STACK: usize = 256 * 1024;

/// What a server does with each connection.
#[derive(Clone)]
pub(super) enum Behaviour {
    /// Shakes hands, then answers requests.
    Tls(Acceptor, Answer),
    /// Reads what the client says first, then sends these bytes and closes.
    Send(Vec<u8>),
    /// Says nothing.
    Silence,
    /// Is not there: the port is nobody's.
    Absence,
}

/// How requests are answered.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// With what the server knows of the connection; it stays open.
    Keep,
    /// The same, but the server closes.
    Close,
    /// With status 404.
    NotFound,
    /// With less than announced; then TCP ends without a word of TLS.
    Truncate,
}

/// A place for a server: its port is known before it serves.
pub(super) struct Place {
    /// A bound socket. It does not listen if the server is to be absent.
    socket: Socket,
    address: SocketAddr,
}

impl Place {
    /// Takes a free port.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn new(behaviour: &Behaviour) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        if !matches!(behaviour, Behaviour::Absence) {
            socket.listen(8)?;
        }
        let address = socket.local_addr()?.as_socket();
        let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { socket, address })
    }

    /// Returns the port.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }
}

/// A server at work; it ends when dropped.
pub(super) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
    /// Keeps the port of an absent server from others.
    _held: Option<Socket>,
}

#[derive(Default)]
struct State {
    stopped: bool,
    /// A second handle of the connection that is served.
    current: Option<TcpStream>,
}

impl Server {
    /// Serves one connection after the other.
    ///
    /// # Errors
    /// If the system has no thread.
    pub(super) fn start(place: Place, behaviour: Behaviour) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let address = place.address;
        let shared = Arc::clone(&state);
        let (thread, held) = match behaviour {
            Behaviour::Absence => (None, Some(place.socket)),
            Behaviour::Tls(..) | Behaviour::Send(_) | Behaviour::Silence => {
                let listener = TcpListener::from(place.socket);
                let builder = thread::Builder::new().stack_size(STACK);
                let serve = move || accept(&listener, &behaviour, &shared);
                (Some(builder.spawn(serve)?), None)
            }
        };
        Ok(Self {
            address,
            state,
            thread,
            _held: held,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        {
            let mut state = lock(&self.state);
            state.stopped = true;
            if let Some(socket) = &state.current {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        // accept() has no time limit; a connection ends it.
        drop(TcpStream::connect(self.address));
        let _ = thread.join();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, behaviour: &Behaviour, state: &Mutex<State>) {
    while let Ok((socket, _)) = listener.accept() {
        {
            let mut state = lock(state);
            if state.stopped {
                return;
            }
            state.current = socket.try_clone().ok();
        }
        // The client's going away is how most connections end.
        let _ = serve(socket, behaviour);
        lock(state).current = None;
    }
}

fn serve(mut socket: TcpStream, behaviour: &Behaviour) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    match behaviour {
        Behaviour::Tls(acceptor, answer) => respond(acceptor.accept(socket)?, *answer),
        Behaviour::Send(bytes) => {
            let _ = socket.read(&mut [0; 2048])?;
            socket.write_all(bytes)
        }
        // Until the client has had enough.
        Behaviour::Silence => io::copy(&mut socket, &mut io::sink()).map(drop),
        Behaviour::Absence => Ok(()),
    }
}

fn respond(mut connection: Accepted, answer: Answer) -> io::Result<()> {
    let version = match connection.version {
        TlsVersion::V1_2 => "TLS 1.2",
        TlsVersion::V1_3 => "TLS 1.3",
    };
    let handshake = match connection.resumed {
        true => "resumed",
        false => "full handshake",
    };
    let mut body = format!("{version}, {handshake}");
    while connection.request()?.is_some() {
        let (status, close) = match answer {
            Answer::Keep => ("200 OK", ""),
            Answer::Close | Answer::Truncate => ("200 OK", "connection: close\r\n"),
            Answer::NotFound => ("404 Not Found", ""),
        };
        let length = match answer {
            Answer::Truncate => 1000,
            Answer::Keep | Answer::Close | Answer::NotFound => body.len(),
        };
        let response =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{close}\r\n{body}");
        connection.send(response.as_bytes())?;
        match answer {
            Answer::Keep | Answer::NotFound => {}
            Answer::Close => return connection.close(),
            Answer::Truncate => return Ok(()),
        }
        body = format!("{version}, connection kept");
    }
    Ok(())
}
