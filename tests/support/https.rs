//! An HTTPS server for tests: good, slow, broken or hostile, as the script says.
//!
//! [`Server::start`] serves an [`Identity`] with a [`Script`]: how each connection is greeted, and
//! which [`Step`]s answer each request. It counts and records what came, binds 127.0.0.1 on any
//! free port, and leaves neither threads nor sockets behind when dropped.

#![allow(
    dead_code,
    reason = "each test binary that includes this uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test support: a panic is the report"
)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use super::certificates::{Authority, Identity};

/// Longest wait of a test for something to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a connection meets before any request.
#[derive(Clone, Debug)]
pub(crate) enum Greeting {
    /// A TLS handshake.
    Tls,
    /// FIN at once.
    Close,
    /// RST at once.
    Reset,
    /// Nothing is read or written.
    Stall,
    /// The ClientHello is read, then nothing.
    StallInHandshake,
    /// The ClientHello is read, then FIN.
    CloseInHandshake,
    /// The ClientHello is read, then RST.
    ResetInHandshake,
    /// These bytes instead of TLS, then FIN.
    Plain(Vec<u8>),
    /// The ClientHello is read; what a server would answer to it goes through this function, and
    /// these steps are taken without TLS.
    Doctored(fn(Vec<u8>) -> Vec<Step>),
    /// These steps are taken without TLS, before anything is read.
    First(Vec<Step>),
    /// What the client says comes back to it.
    Mirror,
}

/// One step of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends these bytes for as long as the client takes them.
    Endlessly(Vec<u8>),
    /// Sends these bytes one by one, so far apart.
    Drip(Vec<u8>, Duration),
    /// Sends nothing until the client goes away.
    Stall,
    /// Neither reads nor sends until the server is dropped.
    Freeze,
    /// Does nothing for this long.
    Pause(Duration),
    /// Sends close_notify and leaves TCP open.
    Notify,
    /// Sends close_notify and FIN.
    Close,
    /// Sends FIN alone: a truncation as far as TLS can tell.
    Cut,
    /// Sends RST.
    Reset,
    /// Sends a fatal TLS alert, then FIN.
    Alert,
    /// Sends bytes that are no part of what TLS encrypts.
    Bare(Vec<u8>),
    /// Takes new keys (TLS 1.3), and asks the client for its own.
    NewKeys,
    /// Reads the next request. Also what happens after the last step.
    Continue,
}

/// A request as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Request line and header, without the empty line.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// Which connection it came over, from 1.
    pub(crate) connection: usize,
    /// How many requests came before it.
    pub(crate) number: usize,
}

impl Received {
    /// Request line without the version, such as `GET /path`.
    pub(crate) fn line(&self) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.rsplit_once(' ').map_or(line, |(line, _)| line)
    }

    /// The value of a header field, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1);
        let mut fields = fields.filter_map(|field| field.split_once(':'));
        fields
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// What has happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections accepted.
    pub(crate) connections: usize,
    /// Handshakes with certificates.
    pub(crate) full: usize,
    /// Handshakes that resumed a session.
    pub(crate) resumed: usize,
    /// Handshakes that failed.
    pub(crate) failed: usize,
    /// Requests read to their end.
    pub(crate) requests: usize,
    /// Requests whose last step has been taken.
    pub(crate) answered: usize,
    /// Connections that have ended.
    pub(crate) ended: usize,
}

type Greet = dyn Fn(usize) -> Greeting + Send + Sync;
type Answer = dyn Fn(&Received) -> Vec<Step> + Send + Sync;

/// What a server does.
#[derive(Clone)]
pub(crate) struct Script {
    greet: Arc<Greet>,
    answer: Arc<Answer>,
    versions: Vec<&'static SupportedProtocolVersion>,
    client_roots: Option<Arc<RootCertStore>>,
    provider: Arc<CryptoProvider>,
    fragment: Option<usize>,
    sliced: bool,
    tickets: bool,
    sessions: bool,
    reads_bodies: bool,
    narrow: bool,
    first_words: Vec<Step>,
}

impl Script {
    /// Answers each request with the steps that the function returns.
    pub(crate) fn answering(
        answer: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self {
            greet: Arc::new(|_| Greeting::Tls),
            answer: Arc::new(answer),
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            client_roots: None,
            provider: Arc::new(ring::default_provider()),
            fragment: None,
            sliced: false,
            tickets: true,
            sessions: true,
            reads_bodies: true,
            narrow: false,
            first_words: Vec::new(),
        }
    }

    /// Answers every request with the same steps.
    pub(crate) fn steps(steps: Vec<Step>) -> Self {
        Self::answering(move |_| steps.clone())
    }

    /// Answers every request with these bytes and keeps the connection.
    pub(crate) fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::steps(vec![Step::Send(bytes.into())])
    }

    /// Answers every request with a complete response and keeps the connection.
    pub(crate) fn fixed(status: &str, body: &str) -> Self {
        Self::bytes(response(status, &[], body.as_bytes()))
    }

    /// Answers with the request's own body, or its request line if it has none.
    pub(crate) fn echo() -> Self {
        Self::answering(|request| {
            let body = match request.body.is_empty() {
                true => request.line().as_bytes().to_vec(),
                false => request.body.clone(),
            };
            let mut answer = response("200 OK", &[], &body);
            if request.line().starts_with("HEAD ") {
                answer.truncate(answer.len() - body.len());
            }
            vec![Step::Send(answer)]
        })
    }

    /// Greets every connection so.
    pub(crate) fn greeting(self, greeting: Greeting) -> Self {
        self.greeting_by(move |_| greeting.clone())
    }

    /// Greets connections by their number, from 1.
    pub(crate) fn greeting_by(
        mut self,
        greet: impl Fn(usize) -> Greeting + Send + Sync + 'static,
    ) -> Self {
        self.greet = Arc::new(greet);
        self
    }

    /// Speaks TLS 1.2 only.
    pub(crate) fn tls12(mut self) -> Self {
        self.versions = vec![&rustls::version::TLS12];
        self
    }

    /// Speaks TLS 1.3 only.
    pub(crate) fn tls13(mut self) -> Self {
        self.versions = vec![&rustls::version::TLS13];
        self
    }

    /// Requires a client certificate of this authority.
    pub(crate) fn requiring_client_certificate(mut self, of: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(of.root().clone()).unwrap();
        self.client_roots = Some(Arc::new(roots));
        self
    }

    /// Encrypts with what this brings.
    pub(crate) fn encrypting_by(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = provider;
        self
    }

    /// Sends no records larger than this, at least 32.
    pub(crate) fn in_records_of(mut self, size: usize) -> Self {
        self.fragment = Some(size);
        self
    }

    /// Sends each byte of the handshake in a record of its own, while nothing is encrypted.
    pub(crate) fn byte_by_byte(mut self) -> Self {
        self.sliced = true;
        self
    }

    /// Answers as soon as the head of a request has come.
    pub(crate) fn without_reading_bodies(mut self) -> Self {
        self.reads_bodies = false;
        self
    }

    /// Keeps the kernel's buffers small, so that a client soon notices when nobody reads: on
    /// loopback they take megabytes otherwise.
    pub(crate) fn narrow(mut self) -> Self {
        self.narrow = true;
        self
    }

    /// Takes these steps before the first request of each connection is read.
    pub(crate) fn speaking_first(mut self, steps: Vec<Step>) -> Self {
        self.first_words = steps;
        self
    }

    /// Offers no session tickets, so that nothing can be resumed in TLS 1.3.
    pub(crate) fn without_tickets(mut self) -> Self {
        self.tickets = false;
        self
    }
}

impl Script {
    /// Keeps nothing that could be resumed, in either version.
    pub(crate) fn without_sessions(mut self) -> Self {
        self.sessions = false;
        self.without_tickets()
    }
}

/// Builds a response with Content-Length and these further header fields.
pub(crate) fn response(status: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in fields {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

/// A redirect to `location`.
pub(crate) fn redirect(status: u16, location: &str) -> Vec<u8> {
    response(
        &format!("{status} Moved"),
        &[("location", location)],
        b"moved",
    )
}

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    script: Script,
    tls: Arc<ServerConfig>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    counts: Counts,
    received: Vec<Received>,
    /// Second handles of the connections that are open.
    sockets: Vec<Option<TcpStream>>,
    threads: Vec<JoinHandle<()>>,
    stopped: bool,
}

impl Server {
    /// Starts a server that presents this identity.
    pub(crate) fn start(identity: &Identity, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if script.narrow {
            let socket = socket2::SockRef::from(&listener);
            socket.set_recv_buffer_size(4096).unwrap();
            socket.set_tcp_mss(536).unwrap();
        }
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            tls: Arc::new(tls_config(identity, &script)),
            script,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.accept(&listener))
        };
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What has happened so far.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.state.lock().unwrap().counts.clone()
    }

    /// All requests so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.state.lock().unwrap().received.clone()
    }

    /// The last request; an empty one if there was none.
    pub(crate) fn last(&self) -> Received {
        self.received().pop().unwrap_or_default()
    }

    /// Waits until the counts are as wanted, and returns them.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub(crate) fn wait(&self, wanted: impl Fn(&Counts) -> bool) -> Counts {
        let state = self.shared.state.lock().unwrap();
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !wanted(&state.counts))
            .unwrap();
        assert!(!waited.timed_out(), "counts stayed {:?}", state.counts);
        state.counts.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().stopped = true;
        self.shared.changed.notify_all();
        // accept() has no timeout; a connection wakes it.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let (sockets, threads) = {
            let mut state = self.shared.state.lock().unwrap();
            let sockets = std::mem::take(&mut state.sockets);
            (sockets, std::mem::take(&mut state.threads))
        };
        for socket in sockets.iter().flatten() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn tls_config(identity: &Identity, script: &Script) -> ServerConfig {
    let provider = Arc::clone(&script.provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&script.versions)
        .unwrap();
    let builder = match &script.client_roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let roots = Arc::clone(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    // Chains that rustls would refuse to serve are what we are here for.
    let key = ring::sign::any_supported_type(&identity.key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(identity.chain.clone(), key);
    let resolver = rustls::sign::SingleCertAndKey::from(certified);
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.max_fragment_size = script.fragment;
    if !script.tickets {
        config.send_tls13_tickets = 0;
    }
    if !script.sessions {
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    config
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((socket, _)) = listener.accept() {
            let mut state = self.state.lock().unwrap();
            if state.stopped {
                return;
            }
            state.counts.connections += 1;
            let number = state.counts.connections;
            state.sockets.push(Some(socket.try_clone().unwrap()));
            let shared = Arc::clone(self);
            let at = state.sockets.len() - 1;
            state.threads.push(thread::spawn(move || {
                // Also after a panic of the script, so that the client isn't left waiting.
                let _end = Release(&shared, at);
                // The client going away is the usual end of a connection.
                let _ = shared.serve(socket, number);
            }));
            self.changed.notify_all();
        }
    }

    /// Closes our second handle of a connection's socket: the other side sees the end, FIN or
    /// RST, when the last one closes.
    fn release(&self, at: usize) {
        let mut state = self.state.lock().unwrap();
        if let Some(socket) = state.sockets.get_mut(at) {
            drop(socket.take());
        }
        state.counts.ended += 1;
        self.changed.notify_all();
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.state.lock().unwrap().counts);
        self.changed.notify_all();
    }

    fn serve(&self, mut socket: TcpStream, number: usize) -> io::Result<()> {
        socket.set_nodelay(true)?;
        match (self.script.greet)(number) {
            Greeting::Tls => return self.serve_tls(socket, number),
            Greeting::Close => {}
            Greeting::Reset => reset(&socket)?,
            Greeting::Stall => linger(&socket)?,
            Greeting::StallInHandshake => {
                read_some(&mut socket)?;
                linger(&socket)?;
            }
            Greeting::CloseInHandshake => read_some(&mut socket)?,
            Greeting::ResetInHandshake => {
                read_some(&mut socket)?;
                reset(&socket)?;
            }
            Greeting::Plain(bytes) => {
                read_some(&mut socket)?;
                socket.write_all(&bytes)?;
            }
            Greeting::Doctored(doctor) => {
                let mut tls = ServerConnection::new(Arc::clone(&self.tls)).unwrap();
                tls.read_tls(&mut socket)?;
                tls.process_new_packets().map_err(io::Error::other)?;
                let mut flight = Vec::new();
                while tls.wants_write() {
                    tls.write_tls(&mut flight)?;
                }
                self.take_bare(&doctor(flight), socket)?;
            }
            Greeting::First(steps) => self.take_bare(&steps, socket)?,
            Greeting::Mirror => {
                let mut back = socket.try_clone()?;
                io::copy(&mut socket, &mut back)?;
            }
        }
        Ok(())
    }

    /// Takes steps without TLS.
    fn take_bare(&self, steps: &[Step], mut socket: TcpStream) -> io::Result<()> {
        for step in steps {
            match step {
                Step::Send(bytes) => socket.write_all(bytes)?,
                Step::Endlessly(bytes) => loop {
                    socket.write_all(bytes)?;
                },
                Step::Drip(bytes, pause) => {
                    for byte in bytes {
                        socket.write_all(&[*byte])?;
                        if self.pause(*pause) {
                            return Ok(());
                        }
                    }
                }
                Step::Stall => linger(&socket)?,
                Step::Cut => {
                    // What is unread would make it an RST.
                    socket.shutdown(Shutdown::Write)?;
                    linger(&socket)?;
                }
                Step::Reset => reset(&socket)?,
                other => panic!("{other:?} needs TLS"),
            }
        }
        Ok(())
    }

    fn serve_tls(&self, socket: TcpStream, number: usize) -> io::Result<()> {
        let mut tls = ServerConnection::new(Arc::clone(&self.tls)).unwrap();
        let mut slicer = Slicer {
            socket,
            slices: self.script.sliced,
        };
        while tls.is_handshaking() {
            if let Err(error) = tls.complete_io(&mut slicer) {
                self.count(|counts| counts.failed += 1);
                return Err(error);
            }
        }
        let socket = slicer.socket;
        match tls.handshake_kind() {
            Some(HandshakeKind::Resumed) => self.count(|counts| counts.resumed += 1),
            _ => self.count(|counts| counts.full += 1),
        }
        let mut stream = StreamOwned::new(tls, socket);
        let mut pending = Vec::new();
        let bodies = self.script.reads_bodies;
        if !self.take_all(&self.script.first_words, &mut stream)? {
            return Ok(());
        }
        while let Some(mut request) = read_request(&mut stream, &mut pending, bodies)? {
            request.connection = number;
            {
                let mut state = self.state.lock().unwrap();
                request.number = state.counts.requests;
                state.counts.requests += 1;
                state.received.push(request.clone());
            }
            self.changed.notify_all();
            let steps = (self.script.answer)(&request);
            let goes_on = self.take_all(&steps, &mut stream);
            self.count(|counts| counts.answered += 1);
            if !goes_on? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_all(&self, steps: &[Step], stream: &mut Stream) -> io::Result<bool> {
        for step in steps {
            if !self.take(step, stream)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes a step; returns whether the connection goes on.
    fn take(&self, step: &Step, stream: &mut Stream) -> io::Result<bool> {
        match step {
            Step::Send(bytes) => {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
            Step::Endlessly(bytes) => loop {
                stream.write_all(bytes)?;
            },
            Step::Drip(bytes, pause) => {
                for byte in bytes {
                    stream.write_all(&[*byte])?;
                    stream.flush()?;
                    if self.pause(*pause) {
                        return Ok(false);
                    }
                }
            }
            Step::Stall => {
                linger(&stream.sock)?;
                return Ok(false);
            }
            Step::Freeze => {
                self.pause(PATIENCE);
                return Ok(false);
            }
            Step::Pause(pause) => return Ok(!self.pause(*pause)),
            Step::Notify => {
                stream.conn.send_close_notify();
                stream.conn.complete_io(&mut stream.sock)?;
            }
            Step::Close => {
                stream.conn.send_close_notify();
                stream.conn.complete_io(&mut stream.sock)?;
                stream.sock.shutdown(Shutdown::Write)?;
                return Ok(false);
            }
            Step::Cut => {
                stream.sock.shutdown(Shutdown::Write)?;
                return Ok(false);
            }
            Step::Reset => {
                reset(&stream.sock)?;
                return Ok(false);
            }
            Step::Alert => {
                // A record that can't be decrypted makes the other side end; ours is to send
                // what only a broken server sends: an alert in the clear.
                stream
                    .sock
                    .write_all(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x50])?;
                return Ok(false);
            }
            Step::Bare(bytes) => stream.sock.write_all(bytes)?,
            Step::NewKeys => {
                let refreshed = stream.conn.refresh_traffic_keys();
                refreshed.map_err(io::Error::other)?;
                stream.conn.complete_io(&mut stream.sock)?;
            }
            Step::Continue => {}
        }
        Ok(true)
    }

    /// Waits; returns whether the server was stopped meanwhile.
    fn pause(&self, pause: Duration) -> bool {
        let state = self.state.lock().unwrap();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, pause, |state| !state.stopped)
            .unwrap();
        state.stopped
    }
}

/// Makes many records of those of a handshake, up to those that are encrypted.
struct Slicer {
    socket: TcpStream,
    slices: bool,
}

impl Read for Slicer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Slicer {
    /// Is given whole records by rustls.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.slices &= record[0] == 0x16;
        if !self.slices {
            return self.socket.write(record);
        }
        let slice = |byte: &u8| [0x16, record[1], record[2], 0, 1, *byte];
        let slices: Vec<_> = record[5..].iter().flat_map(slice).collect();
        self.socket.write_all(&slices)?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Releases a connection when dropped.
struct Release<'a>(&'a Shared, usize);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release(self.1);
    }
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// Reads until the other side goes away or the server stops.
fn linger(mut socket: &TcpStream) -> io::Result<()> {
    let mut scratch = [0; 4096];
    while socket.read(&mut scratch)? > 0 {}
    Ok(())
}

fn read_some(socket: &mut TcpStream) -> io::Result<()> {
    let mut scratch = [0; 4096];
    socket.read(&mut scratch).map(drop)
}

/// Makes the close of the socket an RST.
fn reset(socket: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Reads one request; `None` if the client closed instead.
fn read_request(
    stream: &mut Stream,
    pending: &mut Vec<u8>,
    with_body: bool,
) -> io::Result<Option<Received>> {
    let mut scratch = [0; 16 * 1024];
    let mut more = |pending: &mut Vec<u8>| -> io::Result<bool> {
        let count = stream.read(&mut scratch)?;
        pending.extend_from_slice(&scratch[..count]);
        Ok(count > 0)
    };
    let end = loop {
        match pending.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(at) => break at,
            None if more(pending)? => {}
            None => return Ok(None),
        }
    };
    let head = String::from_utf8_lossy(&pending[..end]).into_owned();
    pending.drain(..end + 4);
    let mut request = Received {
        head,
        ..Received::default()
    };
    if !with_body {
        return Ok(Some(request));
    }
    let length = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while pending.len() < length {
        if !more(pending)? {
            return Ok(None);
        }
    }
    request.body = pending.drain(..length).collect();
    Ok(Some(request))
}
