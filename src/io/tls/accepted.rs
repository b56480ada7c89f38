//! A client's TLS connection on the event loop.
//!
//! Handshakes are computed on a thread of the pool, one at a time: one takes a router 40 to 65 ms,
//! in which the loop would serve nobody. What follows costs about as much as copying and is done
//! in place.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::io::task::aside;
use crate::io::tls::certificate;
use crate::io::tls::listener::Acceptor;

/// Bytes read at once during a handshake.
const READ: usize = 2048;
/// Plaintext that rustls takes before it has to be written out.
const BUFFER: usize = 16 * 1024;

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Accepted {
    socket: TcpStream,
    tls: Box<ServerConnection>,
    /// Bytes of the caller that are encrypted, and of which it has not been told.
    taken: usize,
}

/// What came of a handshake that failed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The client went away.
    Lost,
    /// Why it was refused.
    Tls(String),
}

impl Accepted {
    /// Performs a handshake; `turns` is shared by all, and says how many compute at a time.
    ///
    /// # Errors
    /// Why there is none. The client has been told by an alert where there was one to send.
    pub(crate) async fn accept(
        mut socket: TcpStream,
        acceptor: &Acceptor,
        turns: &Semaphore,
    ) -> Result<Self, Refused> {
        let tls = acceptor.connection();
        let mut tls = Box::new(tls.map_err(|error| Refused::Tls(error.to_string()))?);
        tls.set_buffer_limit(Some(BUFFER));
        while tls.is_handshaking() {
            let mut flight = Vec::with_capacity(READ);
            let read = socket.read_buf(&mut flight).await;
            if !matches!(read, Ok(1..)) {
                return Err(Refused::Lost);
            }
            let (back, error) = compute(tls, flight, turns).await?;
            tls = back;
            let mut answer = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut answer).map_err(|_| Refused::Lost)?;
            }
            let sent = socket.write_all(&answer).await;
            if let Some(error) = error {
                return Err(Refused::Tls(error.to_string()));
            }
            sent.map_err(|_| Refused::Lost)?;
        }
        Ok(Self {
            socket,
            tls,
            taken: 0,
        })
    }

    /// Returns the common name of the client's certificate: `None` without a certificate,
    /// `Some(None)` if it has no such name.
    pub(crate) fn subject(&self) -> Option<Option<String>> {
        let leaf = self.tls.peer_certificates()?.first()?;
        Some(certificate::subject_name(leaf))
    }

    /// Writes what rustls has ready.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = Polled {
            socket: &mut self.socket,
            context,
        };
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Lets rustls work on what was read. Returns its verdict too, if that is the end.
async fn compute(
    mut tls: Box<ServerConnection>,
    flight: Vec<u8>,
    turns: &Semaphore,
) -> Result<(Box<ServerConnection>, Option<rustls::Error>), Refused> {
    let turn = turns.acquire().await.map_err(|_| Refused::Lost)?;
    let work = aside(move || {
        let mut unread = flight.as_slice();
        let mut verdict = Ok(());
        while !unread.is_empty() && verdict.is_ok() {
            verdict = match tls.read_tls(&mut unread) {
                Ok(_) => tls.process_new_packets().map(|_| ()),
                Err(error) => Err(rustls::Error::General(error.to_string())),
            };
        }
        (tls, verdict.err())
    });
    let result = work.await.map_err(|_| Refused::Lost);
    drop(turn);
    result
}

impl AsyncRead for Accepted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.tls.reader().read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            let mut socket = Polled {
                socket: &mut this.socket,
                context,
            };
            match this.tls.read_tls(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            let verdict = this.tls.process_new_packets();
            // An alert, or the answer to a change of keys. If the socket does not take it now, it
            // goes with what is written next.
            if let Poll::Ready(Err(error)) = this.poll_send(context) {
                return Poll::Ready(Err(error));
            }
            verdict.map_err(io::Error::other)?;
        }
    }
}

impl AsyncWrite for Accepted {
    /// After `Pending`, the next call has to be with the same bytes, and may be with more behind.
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    /// Puts what is given together into one record where it fits.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.taken == 0 {
            ready!(this.poll_send(context))?;
            this.taken = this.tls.writer().write_vectored(slices)?;
        }
        ready!(this.poll_send(context))?;
        Poll::Ready(Ok(std::mem::take(&mut this.taken)))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.tls.send_close_notify();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}

/// A socket as rustls takes it: what would have to be waited for is [`ErrorKind::WouldBlock`], and
/// the task is woken when it can go on.
struct Polled<'a, 'c> {
    socket: &'a mut TcpStream,
    context: &'a mut Context<'c>,
}

impl Read for Polled<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.socket).poll_read(self.context, &mut buffer) {
            Poll::Ready(result) => result.map(|()| buffer.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write(self.context, bytes) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
