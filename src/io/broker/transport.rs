//! What a session reads from and writes to: a socket, TLS over one, or WebSocket over either.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[cfg(feature = "websocket")]
use super::websocket::{WebSocket, code};
use crate::core::hub::Ended;
use crate::io::tls::accepted::Accepted;

/// A client's connection.
#[derive(Debug)]
pub(super) enum Transport {
    /// MQTT over TCP.
    Plain(TcpStream),
    /// MQTT over TLS.
    Tls(Accepted),
    /// MQTT in WebSocket frames over either.
    #[cfg(feature = "websocket")]
    WebSocket(Box<WebSocket>),
    /// A pipe within a test; one that is faulty panics when it is read at its end.
    #[cfg(test)]
    Pipe {
        stream: tokio::io::DuplexStream,
        faulty: bool,
    },
}

impl Transport {
    /// Returns what a client did wrong below MQTT, which made reading fail.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket(stream) => stream.fault(),
            _ => None,
        }
    }

    /// Returns whether an end can be told below MQTT, so that who speaks none of it hears of it.
    pub(super) fn tells_its_end(&self) -> bool {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket(_) => true,
            _ => false,
        }
    }

    /// Takes note of why the connection ends, to tell it below MQTT where that can be done.
    pub(super) fn note_end(&mut self, ended: Ended) {
        #[cfg(feature = "websocket")]
        if let Self::WebSocket(stream) = self {
            stream.close_with(match ended {
                Ended::TooLarge => code::TOO_LARGE,
                Ended::Malformed | Ended::Protocol => code::PROTOCOL,
                _ => code::NORMAL,
            });
        }
        #[cfg(not(feature = "websocket"))]
        let _ = (self, ended);
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            #[cfg(feature = "websocket")]
            Self::WebSocket(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
            #[cfg(test)]
            Self::Pipe { stream, faulty } => {
                let poll = Pin::new(stream).poll_read(context, buffer);
                if poll.is_pending() && *faulty {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
                poll
            }
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            #[cfg(feature = "websocket")]
            Self::WebSocket(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
            #[cfg(test)]
            Self::Pipe { stream, .. } => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// Used by what frames a session's bytes, never by a session.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            #[cfg(feature = "websocket")]
            Self::WebSocket(stream) => {
                Pin::new(stream.as_mut()).poll_write_vectored(context, slices)
            }
            #[cfg(test)]
            Self::Pipe { stream, .. } => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            #[cfg(feature = "websocket")]
            Self::WebSocket(stream) => Pin::new(stream.as_mut()).poll_flush(context),
            #[cfg(test)]
            Self::Pipe { stream, .. } => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            #[cfg(feature = "websocket")]
            Self::WebSocket(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
            #[cfg(test)]
            Self::Pipe { stream, .. } => Pin::new(stream).poll_shutdown(context),
        }
    }
}
