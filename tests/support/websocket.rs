//! A WebSocket client by hand: the request and frames are bytes, so that a test can send what no
//! library would.

#![allow(dead_code, reason = "each test binary uses a part")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of tests: what is not as expected has to fail"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::mqtt::Client;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
pub(crate) const FINAL: u8 = 0x80;

/// A request, with more fields.
pub(crate) fn request(more: &str) -> String {
    format!(
        "GET /mqtt HTTP/1.1\r\nHost: router\r\n{more}Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
}

/// One frame of a client; `first` holds FIN and the kind.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = vec![first];
    match u16::try_from(payload.len()) {
        Ok(short @ ..126) => bytes.push(0x80 | u8::try_from(short).unwrap()),
        Ok(long) => {
            bytes.push(0x80 | 126);
            bytes.extend(long.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            bytes.extend(u64::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend(mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A whole message.
pub(crate) fn message(payload: &[u8]) -> Vec<u8> {
    frame(FINAL | BINARY, payload)
}

/// Reads the head of a response, byte by byte so that nothing behind it is taken.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Asks for a WebSocket over an open connection and expects to get it.
pub(crate) fn upgrade(stream: &mut (impl Read + Write), more: &str) {
    stream.write_all(request(more).as_bytes()).unwrap();
    let head = read_head(stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert!(head.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"));
}

/// Opens a WebSocket as a library does, without Origin.
pub(crate) fn open(address: SocketAddr) -> TcpStream {
    let mut stream = Client::socket(address);
    upgrade(&mut stream, "");
    stream
}

/// Reads one frame: its first byte and its payload.
pub(crate) fn read_frame(stream: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    assert_eq!(head[1] & 0x80, 0, "the server does not mask");
    let length = match head[1] {
        126 => {
            let mut long = [0; 2];
            stream.read_exact(&mut long)?;
            usize::from(u16::from_be_bytes(long))
        }
        127 => {
            let mut long = [0; 8];
            stream.read_exact(&mut long)?;
            usize::try_from(u64::from_be_bytes(long)).unwrap()
        }
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok((head[0], payload))
}

#[track_caller]
pub(crate) fn expect_frame(stream: &mut impl Read, first: u8, payload: &[u8]) {
    let found = read_frame(stream).unwrap();
    assert_eq!(found, (first, payload.to_vec()), "{found:02x?}");
}

/// Expects a close frame with a code, and the end behind it.
#[track_caller]
pub(crate) fn expect_close(stream: &mut impl Read, code: u16) {
    expect_frame(stream, FINAL | CLOSE, &code.to_be_bytes());
    expect_end(stream);
}

#[track_caller]
pub(crate) fn expect_end(stream: &mut impl Read) {
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        other => panic!("{other:?} is not the end"),
    }
}

/// A WebSocket that packets travel over: each write is one message.
pub(crate) struct Web<S> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: Read + Write> Web<S> {
    pub(crate) fn new(mut stream: S, more: &str) -> Self {
        upgrade(&mut stream, more);
        let unread = Vec::new();
        Self { stream, unread }
    }
}

impl<S: Read + Write> Read for Web<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.unread.is_empty() {
            match read_frame(&mut self.stream)? {
                (0x82, payload) => self.unread = payload,
                (0x88, _) => return Ok(0),
                (first, _) => panic!("a frame of kind {first:02x}"),
            }
        }
        let count = bytes.len().min(self.unread.len());
        bytes[..count].copy_from_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Ok(count)
    }
}

impl<S: Read + Write> Write for Web<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write_all(&message(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
