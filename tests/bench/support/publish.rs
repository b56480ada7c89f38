//! Nodes that hand over: each publishes at QoS 1 and goes on when it is acknowledged.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::wire;

/// A node that publishes at QoS 1.
pub(crate) struct Node {
    socket: TcpStream,
    buffer: Vec<u8>,
    topic: String,
    sent: u16,
}

impl Node {
    /// Connects.
    pub(crate) fn connect(port: u16, id: &str, topic: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        let limit = Some(Duration::from_secs(60));
        socket.set_read_timeout(limit).unwrap();
        socket.write_all(&wire::connect(id)).unwrap();
        let mut node = Self {
            socket,
            buffer: Vec::new(),
            topic: topic.to_owned(),
            sent: 0,
        };
        assert_eq!(node.packet().first, 0x20, "CONNACK");
        node
    }

    /// Publishes without waiting.
    pub(crate) fn send(&mut self, payload: &[u8]) {
        self.sent = self.sent % 60_000 + 1;
        let packet = wire::publish(&self.topic, payload, 1, self.sent);
        self.socket.write_all(&packet).unwrap();
    }

    /// Waits for the next PUBACK.
    pub(crate) fn acknowledged(&mut self) {
        assert_eq!(self.packet().first, 0x40, "PUBACK");
    }

    /// Publishes so many messages, of which so many may wait for their acknowledgement; returns
    /// how long that took.
    pub(crate) fn publish(&mut self, payload: &[u8], count: usize, window: usize) -> Duration {
        let start = Instant::now();
        for number in 0..count {
            if number >= window {
                self.acknowledged();
            }
            self.send(payload);
        }
        (0..count.min(window)).for_each(|_| self.acknowledged());
        start.elapsed()
    }

    fn packet(&mut self) -> wire::Packet {
        loop {
            if let Some(packet) = wire::split(&mut self.buffer) {
                return packet;
            }
            let mut chunk = [0; 4096];
            let read = self.socket.read(&mut chunk).unwrap();
            assert!(read > 0, "the broker closed the connection");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }
}

/// Lets all nodes publish at once, each so many messages; returns how long that took.
pub(crate) fn together(
    nodes: &mut [Node],
    payload: &[u8],
    (count, window): (usize, usize),
) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for node in nodes {
            scope.spawn(|| node.publish(payload, count, window));
        }
    });
    start.elapsed()
}
