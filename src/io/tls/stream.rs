//! TLS over a blocking socket, with a deadline on every operation.
//!
//! Knows when a connection is at rest and may be used again. What an ending means for the
//! exchange that ran over it is decided by the layer above.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, InvalidMessage};

use crate::core::outcome::Failure;
use crate::io::clock;
use crate::io::tls::client::{Client, Handshake};
use crate::io::tls::failure::{self, Shown};
use crate::io::tls::verifier;

/// Most bytes that a server may send after the handshake without a byte of data among them:
/// tickets and new keys, or a record whose end is still missing. A hundred tickets, or some with
/// all the padding that there may be, stay below it.
const MOST_WITHOUT_DATA: usize = 128 << 10;

/// Why an operation on a stream did not succeed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The deadline passed.
    TimedOut,
    /// TCP ended without TLS having said so, so it may have been cut.
    Cut,
    /// TCP failed.
    Io(io::Error),
    /// TLS failed; judged already.
    Tls(Failure),
}

/// What a handshake that failed leaves behind.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Why it failed.
    pub(crate) fault: Fault,
    /// The chain that was shown and refused, leaf first, in DER.
    pub(crate) chain: Vec<Vec<u8>>,
}

/// An established TLS connection.
#[derive(Debug)]
pub(crate) struct Stream {
    tls: ClientConnection,
    socket: TcpStream,
    read_limit: Option<Duration>,
    write_limit: Option<Duration>,
    asked_for_certificate: bool,
    showed_certificate: bool,
    /// Whether writing has failed. What the server said before it closed can still be read.
    write_broken: bool,
    /// Bytes that came since the last of data.
    without_data: usize,
    /// A TLS failure behind bytes that are still to be read.
    pending: Option<Failure>,
}

impl Stream {
    /// Performs the handshake with the server of that name, a DNS name or IP address.
    ///
    /// # Errors
    /// Why it failed, and the chain if that was the reason.
    pub(crate) fn connect(
        client: &Client,
        name: &str,
        socket: TcpStream,
        deadline: Instant,
    ) -> Result<(Self, Arc<Handshake>), Refused> {
        let unusable = |fault| Refused {
            fault,
            chain: Vec::new(),
        };
        let Ok(server) = ServerName::try_from(name.to_owned()) else {
            let failure = failure::unusable_name(name);
            return Err(unusable(Fault::Tls(failure)));
        };
        let connection = client
            .connection(&server)
            .map_err(|error| unusable(Fault::Tls(failure::classify(&error, &Shown::default()))))?;
        let mut stream = Self {
            tls: connection,
            socket,
            read_limit: None,
            write_limit: None,
            asked_for_certificate: false,
            showed_certificate: false,
            write_broken: false,
            without_data: 0,
            pending: None,
        };
        verifier::begin(deadline);
        let ended = stream.shake_hands(deadline);
        let witness = verifier::take_witness();
        stream.asked_for_certificate = witness.asked;
        stream.showed_certificate = witness.shown;
        match ended {
            Ok(()) => {
                stream.without_data = 0;
                let facts = client.complete(&server, &stream.tls, witness.until);
                Ok((stream, Arc::new(facts)))
            }
            Err(ended) => {
                let shown = Shown {
                    name,
                    chain: &witness.refused,
                    roots: Some(client.roots()),
                    now: witness.now,
                    asked_for_certificate: witness.asked,
                    showed_certificate: witness.shown,
                    established: false,
                };
                let fault = ended.judge(&shown);
                let chain = witness.refused;
                Err(Refused { fault, chain })
            }
        }
    }

    fn shake_hands(&mut self, deadline: Instant) -> Result<(), Ended> {
        while self.tls.is_handshaking() {
            if let Err(ended) = self.flush_records(deadline) {
                // A server that closes says why before it does: look for its alert.
                return match self.receive(deadline) {
                    Err(Ended::Tls(error)) => Err(Ended::Tls(error)),
                    _ => Err(ended),
                };
            }
            if self.tls.is_handshaking() {
                self.receive(deadline)?;
            }
        }
        // The client's last flight, if it has the last one, waits for the request: one packet and
        // one system call instead of two.
        Ok(())
    }

    /// Writes bytes; `Ok` once the system has taken them.
    ///
    /// # Errors
    /// Why they could not be written.
    pub(crate) fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Fault> {
        let shown = self.shown();
        let mut write = || -> Result<(), Ended> {
            while !bytes.is_empty() {
                let taken = self.tls.writer().write(bytes).map_err(Ended::Io)?;
                bytes = bytes.get(taken..).unwrap_or_default();
                self.flush_records(deadline)?;
            }
            Ok(())
        };
        write().map_err(|ended| ended.judge(&shown))
    }

    /// Reads some bytes; `Ok(0)` when the server has closed the connection in due form.
    ///
    /// # Errors
    /// Why nothing could be read.
    pub(crate) fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<usize, Fault> {
        let shown = self.shown();
        loop {
            match self.tls.reader().read(buffer) {
                Ok(count) => {
                    self.without_data = 0;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(Fault::Cut),
                Err(error) => return Err(Fault::Io(error)),
            }
            if let Some(failure) = self.pending.take() {
                return Err(Fault::Tls(failure));
            }
            // Nothing that TLS limits, but work for nothing, until the deadline if we let it.
            if self.without_data > MOST_WITHOUT_DATA {
                return Err(Fault::Tls(failure::without_data(MOST_WITHOUT_DATA)));
            }
            match self.fill(deadline) {
                // rustls reports an end at the next read, after what came before it.
                Ok(()) | Err(Ended::Cut) => {}
                Err(Ended::Tls(error)) => {
                    self.pending = Some(failure::classify(&error, &shown));
                }
                Err(ended) => return Err(ended.judge(&shown)),
            }
        }
    }

    /// Returns whether the connection is at rest: open, and nothing has come that belongs to no
    /// request. Never blocks. Session tickets and key updates are taken in on the way.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        // A server has few reasons to talk now; one that doesn't stop is not worth keeping.
        for _ in 0..8 {
            if !self.is_quiet() {
                return false;
            }
            match self.is_readable() {
                Ok(false) => return true,
                Ok(true) => {}
                Err(_) => return false,
            }
            // There is something to read, so this doesn't block, whatever the socket's timeout.
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        false
    }

    /// Returns whether nothing has come with the last response that belongs to no request, as far
    /// as it has been read.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let quiet = match self.tls.process_new_packets() {
            Ok(state) => state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed(),
            Err(_) => false,
        };
        quiet && !self.write_broken
    }

    fn is_readable(&self) -> io::Result<bool> {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.socket, &mut byte, flags) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what rustls has ready.
    fn flush_records(&mut self, deadline: Instant) -> Result<(), Ended> {
        while self.tls.wants_write() {
            let limit = socket_limit(deadline)?;
            if self.write_limit != Some(limit) {
                self.socket
                    .set_write_timeout(Some(limit))
                    .map_err(Ended::Io)?;
                self.write_limit = Some(limit);
            }
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if is_pause(&error) => {}
                Err(error) => {
                    self.write_broken = true;
                    return Err(Ended::Io(error));
                }
            }
        }
        Ok(())
    }

    /// Reads from the socket once, and sends what rustls has to say to that.
    fn fill(&mut self, deadline: Instant) -> Result<(), Ended> {
        self.receive(deadline)?;
        match self.write_broken {
            true => Ok(()),
            false => self.flush_records(deadline),
        }
    }

    /// Reads from the socket once and lets rustls work on it.
    fn receive(&mut self, deadline: Instant) -> Result<(), Ended> {
        let limit = socket_limit(deadline)?;
        if self.read_limit != Some(limit) {
            self.socket
                .set_read_timeout(Some(limit))
                .map_err(Ended::Io)?;
            self.read_limit = Some(limit);
        }
        let count = match self.tls.read_tls(&mut self.socket) {
            Ok(count) => count,
            Err(error) if is_pause(&error) => return Ok(()),
            // That is rustls, whose buffer is full of a message that has no end yet.
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(Ended::Tls(InvalidMessage::HandshakePayloadTooLarge.into()));
            }
            Err(error) => return Err(Ended::Io(error)),
        };
        self.without_data += count;
        if let Err(error) = self.tls.process_new_packets() {
            // The alert tells the server why; that it arrives is not worth waiting for.
            let _ = self.tls.write_tls(&mut self.socket);
            return Err(Ended::Tls(error));
        }
        match count {
            0 => Err(Ended::Cut),
            _ => Ok(()),
        }
    }

    fn shown(&self) -> Shown<'static> {
        Shown {
            asked_for_certificate: self.asked_for_certificate,
            showed_certificate: self.showed_certificate,
            established: true,
            ..Shown::default()
        }
    }
}

/// A [`Fault`] whose TLS error is not judged yet.
enum Ended {
    TimedOut,
    Cut,
    Io(io::Error),
    Tls(rustls::Error),
}

impl Ended {
    fn judge(self, shown: &Shown<'_>) -> Fault {
        match self {
            Self::TimedOut => Fault::TimedOut,
            Self::Cut => Fault::Cut,
            Self::Io(error) => Fault::Io(error),
            Self::Tls(error) => Fault::Tls(failure::classify(&error, shown)),
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Returns a socket timeout that does not pass the deadline.
///
/// A power of two of milliseconds: it changes seldom, so that most operations need no system call
/// to set it, and whoever wakes early asks again.
fn socket_limit(deadline: Instant) -> Result<Duration, Ended> {
    let left = deadline.saturating_duration_since(clock::now());
    if left.is_zero() {
        return Err(Ended::TimedOut);
    }
    let milliseconds = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
    Ok(Duration::from_millis(1 << milliseconds.ilog2()))
}
