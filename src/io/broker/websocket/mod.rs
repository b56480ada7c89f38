//! MQTT in WebSocket frames (MQTT 5 §6), as a session takes it: a stream of bytes.
//!
//! Decides nothing of MQTT. Frames and packets need not begin together, so payload passes through
//! as it comes. What a session writes at once becomes one frame, and of it nothing is kept but its
//! header. A library that hands out whole messages, as all well-kept ones do, would keep each in
//! memory of its own, and a packet that never ends would be out of sight of those who count.

mod frame;
mod handshake;

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::frame::{Decoder, End};
use super::transport::Transport;

pub(super) use self::frame::code;
pub(super) use self::handshake::{Gate, accept};

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct WebSocket {
    inner: Transport,
    decoder: Decoder,
    /// The rest of a header or of a control frame, to be written before anything else.
    head: BytesMut,
    /// Payload that the frame begun has still to get.
    left: usize,
    /// The code to close with.
    code: u16,
    /// Whether our close frame is written or on its way.
    is_closed: bool,
    /// What the client did that it may not, once the session knows.
    fault: Option<&'static str>,
}

impl WebSocket {
    /// Speaks over a connection on which a handshake has succeeded.
    pub(super) fn new(inner: Transport) -> Self {
        Self {
            inner,
            decoder: Decoder::default(),
            head: BytesMut::new(),
            left: 0,
            code: code::NORMAL,
            is_closed: false,
            fault: None,
        }
    }

    /// Returns what the client did that it may not, which made reading fail.
    pub(super) fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    /// Closes with this code, unless there is a fault that has one.
    pub(super) fn close_with(&mut self, code: u16) {
        if self.fault.is_none() {
            self.code = code;
        }
    }

    /// Writes control frames; to be called between frames only.
    fn poll_control(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.head.is_empty() {
                match self.decoder.pong.take() {
                    // Nothing may follow a close frame.
                    Some(payload) if !self.is_closed => frame::pong(&payload, &mut self.head),
                    _ => return Poll::Ready(Ok(())),
                }
            }
            match ready!(Pin::new(&mut self.inner).poll_write(context, &self.head))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                count => self.head.advance(count),
            }
        }
    }

    /// Answers a client that closes, as far as that can be done at once.
    fn answer_close(&mut self, context: &mut Context<'_>, code: Option<u16>) {
        if !self.is_closed && self.left == 0 {
            self.is_closed = true;
            frame::close(code, &mut self.head);
            let _ = self.poll_control(context);
        }
        self.is_closed = true;
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let begin = buffer.filled().len();
        loop {
            // Whoever does not take the answer to a ping is not read from either.
            if this.left == 0 {
                ready!(this.poll_control(context))?;
            }
            match this.decoder.end {
                Some(End::Close(code)) => {
                    this.answer_close(context, code);
                    return Poll::Ready(Ok(()));
                }
                Some(End::Fault(code, what)) if this.fault.is_none() => {
                    (this.code, this.fault) = (code, Some(what));
                    return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, what)));
                }
                // Whatever else comes before the client has closed its end.
                Some(End::Fault(..)) => {
                    return Pin::new(&mut this.inner).poll_read(context, buffer);
                }
                None => {}
            }
            ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
            let read = buffer.filled_mut().get_mut(begin..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let count = this.decoder.decode(read);
            buffer.set_filled(begin + count);
            if count > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for WebSocket {
    /// After `Pending`, the next call has to be with the same bytes, and may be with more behind.
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.left == 0 && !bytes.is_empty() {
            ready!(this.poll_control(context))?;
            if this.is_closed {
                return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
            }
            frame::begin(bytes.len(), &mut this.head);
            this.left = bytes.len();
        }
        loop {
            let payload = bytes.get(..this.left).unwrap_or(bytes);
            let slices = [IoSlice::new(&this.head), IoSlice::new(payload)];
            let inner = Pin::new(&mut this.inner);
            let count = ready!(inner.poll_write_vectored(context, &slices))?;
            let of_head = count.min(this.head.len());
            this.head.advance(of_head);
            this.left -= count - of_head;
            if count == 0 || count > of_head {
                return Poll::Ready(Ok(count - of_head));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left == 0 {
            ready!(this.poll_control(context))?;
        }
        Pin::new(&mut this.inner).poll_flush(context)
    }

    /// Sends a close frame, unless one of ours is out or would stand within another frame.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left == 0 {
            ready!(this.poll_control(context))?;
            if !this.is_closed {
                this.is_closed = true;
                frame::close(Some(this.code), &mut this.head);
                ready!(this.poll_control(context))?;
            }
        }
        Pin::new(&mut this.inner).poll_shutdown(context)
    }
}
