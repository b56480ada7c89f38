//! Nodes that ask: each publishes, waits for its reply, and publishes again.
//!
//! They share the machine with what is measured, so they do little else: what they send is made
//! before they start, as far as it is the same each time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::wire;

/// How long a message may take, all in all.
const LONGEST: Duration = Duration::from_millis(50);

/// What each node does.
pub(crate) struct Ask {
    pub(crate) port: u16,
    pub(crate) clients: usize,
    pub(crate) qos: u8,
    /// Topic to publish to: node number and message number are filled in for `{n}` and `{i}`.
    pub(crate) topic: &'static str,
    pub(crate) payload: &'static [u8],
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            port: 0,
            clients: 1,
            qos: 0,
            topic: "nodes/n{n}/post",
            payload: br#"{"t":21.5,"h":40}"#,
        }
    }
}

/// What the nodes saw.
pub(crate) struct Timings {
    pub(crate) total: Duration,
    /// From publish to reply, in no order.
    pub(crate) each: Vec<Duration>,
}

/// Asks `messages` times in all, spread over the nodes.
pub(crate) fn run(ask: &Ask, messages: usize) -> Timings {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut nodes = Vec::new();
        for number in 0..ask.clients {
            nodes.push(Node::connect(ask, number).await);
        }
        let left = Rc::new(Cell::new(messages));
        let start = Instant::now();
        let tasks: Vec<_> = nodes
            .into_iter()
            .map(|node| tokio::task::spawn_local(node.ask_until_done(Rc::clone(&left))))
            .collect();
        let end = start + Duration::from_secs(30) + LONGEST * messages as u32;
        let mut each = Vec::with_capacity(messages);
        for task in tasks {
            let asked = tokio::time::timeout_at(end.into(), task).await;
            each.extend(asked.expect("replies in time").unwrap());
        }
        Timings {
            total: start.elapsed(),
            each,
        }
    })
}

struct Node {
    socket: TcpStream,
    buffer: Vec<u8>,
    qos: u8,
    topic: String,
    payload: &'static [u8],
}

impl Node {
    async fn connect(ask: &Ask, number: usize) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", ask.port)).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut node = Self {
            socket,
            buffer: Vec::new(),
            qos: ask.qos,
            topic: ask.topic.replace("{n}", &number.to_string()),
            payload: ask.payload,
        };
        node.socket
            .write_all(&wire::connect(&format!("load-{number}")))
            .await
            .unwrap();
        assert_eq!(node.packet().await.first, 0x20, "CONNACK");
        let filter = format!("replies/n{number}/#");
        node.socket
            .write_all(&wire::subscribe(&filter, ask.qos))
            .await
            .unwrap();
        assert_eq!(node.packet().await.first, 0x90, "SUBACK");
        node
    }

    async fn ask_until_done(mut self, left: Rc<Cell<usize>>) -> Vec<Duration> {
        let mut each = Vec::new();
        let varies = self.topic.contains("{i}");
        while let Some(rest) = left.get().checked_sub(1) {
            left.set(rest);
            let topic = match varies {
                true => &self.topic.replace("{i}", &rest.to_string()),
                false => &self.topic,
            };
            let packet = wire::publish(topic, self.payload, self.qos, (rest % 65_535) as u16 + 1);
            let start = Instant::now();
            self.socket.write_all(&packet).await.unwrap();
            self.reply().await;
            each.push(start.elapsed());
        }
        each
    }

    async fn reply(&mut self) {
        loop {
            let packet = self.packet().await;
            let Some((topic, packet_id, _)) = packet.as_publish() else {
                continue;
            };
            assert!(!topic.ends_with("/error"), "{topic}: {:?}", packet.body);
            if packet_id != 0 {
                self.socket
                    .write_all(&wire::puback(packet_id))
                    .await
                    .unwrap();
            }
            return;
        }
    }

    async fn packet(&mut self) -> wire::Packet {
        loop {
            if let Some(packet) = wire::split(&mut self.buffer) {
                return packet;
            }
            let read = self.socket.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the broker closed the connection");
        }
    }
}
