//! A whole gateway for a test: the daemon in this process, an HTTPS server that its endpoint
//! trusts, and the replies as nodes read them.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a helper of tests: what is not as expected has to fail"
)]

use std::sync::{Arc, Condvar, Mutex, OnceLock};

use super::certificates::{Authority, Identity, TemporaryFile};
use super::https::{Received, Script, Server, Step, response};
use super::mqtt::{Broker, Client, LIMIT, ack, block, publish};

/// What `{secret.token}` is where `@TOKEN` names its file.
pub(crate) const TOKEN: &str = "hunter2-of-the-owner";

/// The authority of all servers.
pub(crate) fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new("test"))
}

/// What the server's certificate is for.
pub(crate) const NAMES: &[&str] = &["api.test", "*.hosts.test", "localhost", "127.0.0.1"];

/// The daemon and the server behind it.
pub(crate) struct Gateway {
    pub(crate) broker: Broker,
    pub(crate) server: Server,
    _files: [TemporaryFile; 2],
}

impl Gateway {
    /// Starts both with a bridge.toml that begins inside `[broker]`.
    ///
    /// In it `@API` stands for what leads to the server, `@ROOTS` for whom to trust, `@PORT` for
    /// the server's port and `@TOKEN` for the file of a secret.
    pub(crate) fn start(script: Script, text: &str) -> Self {
        Self::serving(&authority().good(NAMES), script, text)
    }

    /// Starts with a server whose certificate ended on 2015-04-12.
    pub(crate) fn expired(script: Script, text: &str) -> Self {
        Self::serving(&authority().expired(NAMES), script, text)
    }

    fn serving(identity: &Identity, script: Script, text: &str) -> Self {
        let server = Server::start(identity, script);
        let root = authority().root_file();
        let token = TemporaryFile::new("token", format!("{TOKEN}\n").as_bytes());
        let port = server.port();
        let api = format!("url = \"https://api.test:{port}\"\naddress = \"127.0.0.1\"\n@ROOTS\n");
        let roots = format!("roots = [\"{}\"]", root.path().display());
        let text = text
            .replace("@API", &api)
            .replace("@ROOTS", &roots)
            .replace("@PORT", &port.to_string())
            .replace("@TOKEN", &token.path().display().to_string());
        Self {
            broker: Broker::with(&text),
            server,
            _files: [root, token],
        }
    }

    /// Starts with one endpoint, `api`, and these routes.
    pub(crate) fn with_routes(script: Script, routes: &str) -> Self {
        Self::start(script, &format!("[endpoint.api]\n@API\n{routes}"))
    }

    /// Connects a 3.1.1 node that hears all replies at QoS 0.
    pub(crate) fn node(&self, id: &str) -> Client {
        let mut client = Client::connect(self.broker.address, id);
        client.subscribe("replies/#", 0);
        client
    }

    /// Publishes as a node and returns topic and payload of the reply.
    pub(crate) fn ask(&self, topic: &str, payload: impl AsRef<[u8]>) -> (String, String) {
        let mut client = self.node("asking");
        client.send(&publish(topic, payload, 0, 0));
        told(&mut client)
    }

    /// Waits until the server has seen so many requests, and returns the last.
    pub(crate) fn request(&self, count: usize) -> Received {
        self.server.wait(|counts| counts.requests >= count);
        self.server.last()
    }
}

/// A PUBLISH as it came.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// The first byte: DUP, QoS and RETAIN.
    pub(crate) first: u8,
    pub(crate) id: u16,
    /// Without their length; empty in 3.x.
    pub(crate) properties: Vec<u8>,
    /// Bytes of the whole packet, as PubSubClient counts them.
    pub(crate) size: usize,
}

impl Published {
    /// The payload as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }

    /// Reads the next packet, which has to be a PUBLISH, and acknowledges it.
    pub(crate) fn next(client: &mut Client, v5: bool) -> Self {
        let packet = client.packet();
        let published = Self::decode(&packet, v5);
        match published.first & 6 {
            0 => {}
            2 => client.send(&ack(0x40, published.id)),
            _ => {
                client.send(&ack(0x50, published.id));
                client.expect(&ack(0x62, published.id));
                client.send(&ack(0x70, published.id));
            }
        }
        published
    }

    fn decode(packet: &[u8], v5: bool) -> Self {
        assert_eq!(packet[0] & 0xF0, 0x30, "{packet:02x?} is no PUBLISH");
        let (_, mut rest) = variable(&packet[1..]);
        let topic = take(&mut rest, 2);
        let length = usize::from(u16::from_be_bytes([topic[0], topic[1]]));
        let topic = String::from_utf8(take(&mut rest, length).to_vec()).unwrap();
        let id = match packet[0] & 6 {
            0 => 0,
            _ => {
                let id = take(&mut rest, 2);
                u16::from_be_bytes([id[0], id[1]])
            }
        };
        let mut properties = Vec::new();
        if v5 {
            let (length, after) = variable(rest);
            rest = after;
            properties = take(&mut rest, length).to_vec();
        }
        Self {
            topic,
            payload: rest.to_vec(),
            first: packet[0],
            id,
            properties,
            size: packet.len(),
        }
    }
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn variable(bytes: &[u8]) -> (usize, &[u8]) {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return (value, &bytes[index + 1..]);
        }
    }
    panic!("{bytes:02x?} has no end");
}

/// Reads a reply of a 3.x connection: topic and payload.
#[track_caller]
pub(crate) fn told(client: &mut Client) -> (String, String) {
    let published = Published::next(client, false);
    let payload = String::from_utf8(published.payload).unwrap();
    (published.topic, payload)
}

/// A topic and a payload, as [`told`] returns them.
pub(crate) fn pair(topic: &str, payload: &str) -> (String, String) {
    (topic.to_owned(), payload.to_owned())
}

/// MQTT 5: Response Topic.
pub(crate) fn response_topic(topic: &str) -> Vec<u8> {
    [vec![8], block(topic)].concat()
}

/// MQTT 5: Correlation Data.
pub(crate) fn correlation(data: &[u8]) -> Vec<u8> {
    [vec![9], block(data)].concat()
}

/// MQTT 5: Content Type.
pub(crate) fn content_type(text: &str) -> Vec<u8> {
    [vec![3], block(text)].concat()
}

/// MQTT 5: the User Property `code`.
pub(crate) fn code(text: &str) -> Vec<u8> {
    [vec![38], block("code"), block(text)].concat()
}

/// CONNECT of 3.1.1 with a user name and the password `right`.
pub(crate) fn login(id: &str, user: &str) -> Vec<u8> {
    let payload = [block(id), block(user), block("right")].concat();
    super::mqtt::connect_with(4, 0xC2, 0, &payload)
}

/// The hash of `right`.
pub(crate) const RIGHT: &str = "$sha256$c2FsdHNhbHQ$FR8UeCMT3/fKTEhhldTae/b+v/u/qEX+413/4joENeU";

/// Holds responses back until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets all responses go.
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// A server that answers `200` with this body once the gate is open.
    pub(crate) fn script(&self, body: &'static str) -> Script {
        let gate = self.clone();
        Script::answering(move |_| {
            let (open, changed) = &*gate.0;
            let waiting = changed.wait_timeout_while(open.lock().unwrap(), LIMIT, |open| !*open);
            drop(waiting.unwrap());
            vec![Step::Send(response("200 OK", &[], body.as_bytes()))]
        })
    }
}
