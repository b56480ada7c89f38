//! A client of either version: the same step as the bytes of one or the other.

use std::ops::{Deref, DerefMut};

use crate::mqtt::{Broker, CLEAN, Client, ack, block, connect_with, packet};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

pub(crate) use Version::{V3, V5};

/// Both versions.
pub(crate) const BOTH: [Version; 2] = [V3, V5];

/// Session Expiry Interval without end.
pub(crate) const FOR_EVER: &[u8] = &[0x11, 0xFF, 0xFF, 0xFF, 0xFF];

/// Content after the length that MQTT 5 puts before properties; nothing in 3.1.1.
fn properties(version: Version, properties: &[u8]) -> Vec<u8> {
    match version {
        V3 => Vec::new(),
        V5 => {
            let mut bytes = vec![u8::try_from(properties.len()).unwrap()];
            bytes.extend_from_slice(properties);
            bytes
        }
    }
}

impl Version {
    /// PUBLISH with DUP (8), QoS (2, 4) and RETAIN (1) as they stand in the first byte.
    pub(crate) fn publish(
        self,
        topic: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
        flags: u8,
        id: u16,
    ) -> Vec<u8> {
        self.publish_with(&[], topic, payload, (flags, id))
    }

    /// The same with properties, which 3.1.1 leaves out.
    pub(crate) fn publish_with(
        self,
        own: &[u8],
        topic: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
        (flags, id): (u8, u16),
    ) -> Vec<u8> {
        let mut body = block(topic);
        if flags & 6 != 0 {
            body.extend(id.to_be_bytes());
        }
        body.extend(properties(self, own));
        body.extend_from_slice(payload.as_ref());
        packet(0x30 | flags, &body)
    }

    /// SUBSCRIBE.
    pub(crate) fn subscribe(self, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
        self.subscribe_with(&[], id, filters)
    }

    /// The same with properties.
    pub(crate) fn subscribe_with(self, own: &[u8], id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        body.extend(properties(self, own));
        for (filter, options) in filters {
            body.extend(block(filter));
            body.push(*options);
        }
        packet(0x82, &body)
    }

    /// UNSUBSCRIBE.
    pub(crate) fn unsubscribe(self, id: u16, filters: &[&str]) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        body.extend(properties(self, &[]));
        body.extend(filters.iter().flat_map(block));
        packet(0xA2, &body)
    }

    /// SUBACK; 3.1.1 knows one code for all failures.
    pub(crate) fn suback(self, id: u16, codes: &[u8]) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        body.extend(properties(self, &[]));
        let codes = codes.iter();
        body.extend(codes.map(|code| if self == V3 { (*code).min(0x80) } else { *code }));
        packet(0x90, &body)
    }

    /// UNSUBACK; 3.1.1 has no codes.
    pub(crate) fn unsuback(self, id: u16, codes: &[u8]) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        if self == V5 {
            body.push(0);
            body.extend_from_slice(codes);
        }
        packet(0xB0, &body)
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP with a reason code that 3.1.1 leaves out.
    pub(crate) fn ack(self, first: u8, id: u16, code: u8) -> Vec<u8> {
        if self == V3 || code == 0 {
            return ack(first, id);
        }
        let [high, low] = id.to_be_bytes();
        packet(first, &[high, low, code, 0])
    }

    /// CONNACK that refuses: with the code of 3.1.1, or that of MQTT 5.
    pub(crate) fn refusal(self, old: u8, new: u8) -> Vec<u8> {
        match self {
            V3 => vec![0x20, 2, 0, old],
            V5 => vec![0x20, 3, 0, new, 0],
        }
    }
}

/// A CONNECT in the making.
#[derive(Clone)]
pub(crate) struct Connect {
    version: Version,
    id: Vec<u8>,
    pub(crate) flags: u8,
    keep_alive: u16,
    properties: Vec<u8>,
    will: Vec<u8>,
    credentials: Vec<u8>,
}

impl Connect {
    /// A clean session without keep alive.
    pub(crate) fn new(version: Version, id: impl AsRef<[u8]>) -> Self {
        Self {
            version,
            id: id.as_ref().to_vec(),
            flags: CLEAN,
            keep_alive: 0,
            properties: Vec::new(),
            will: Vec::new(),
            credentials: Vec::new(),
        }
    }

    /// A session that is resumed and kept.
    pub(crate) fn kept(version: Version, id: impl AsRef<[u8]>) -> Self {
        let connect = Self::new(version, id).property(FOR_EVER);
        Self {
            flags: 0,
            ..connect
        }
    }

    /// Keep Alive in seconds.
    pub(crate) fn keep_alive(self, keep_alive: u16) -> Self {
        Self { keep_alive, ..self }
    }

    /// Adds a property.
    pub(crate) fn property(mut self, bytes: &[u8]) -> Self {
        self.properties.extend_from_slice(bytes);
        self
    }

    /// Adds a will with QoS (8, 16) and RETAIN (32) as they stand in the flags.
    pub(crate) fn will(self, topic: impl AsRef<[u8]>, payload: &str, flags: u8) -> Self {
        self.will_with(&[], topic, payload, flags)
    }

    /// The same with properties.
    pub(crate) fn will_with(
        mut self,
        own: &[u8],
        topic: impl AsRef<[u8]>,
        payload: &str,
        flags: u8,
    ) -> Self {
        self.flags |= 4 | flags;
        self.will = [properties(self.version, own), block(topic), block(payload)].concat();
        self
    }

    /// Adds a user name and perhaps a password.
    pub(crate) fn user(mut self, name: impl AsRef<[u8]>, password: Option<&str>) -> Self {
        self.flags |= 0x80;
        self.credentials.extend(block(name));
        if let Some(password) = password {
            self.flags |= 0x40;
            self.credentials.extend(block(password));
        }
        self
    }

    /// Sets further flags, whatever they promise.
    pub(crate) fn flag(self, flags: u8) -> Self {
        Self {
            flags: self.flags | flags,
            ..self
        }
    }

    /// The packet.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let payload = [
            properties(self.version, &self.properties),
            block(&self.id),
            self.will.clone(),
            self.credentials.clone(),
        ];
        let level = if self.version == V3 { 4 } else { 5 };
        connect_with(level, self.flags, self.keep_alive, &payload.concat())
    }
}

/// A connected client.
pub(crate) struct Peer {
    client: Client,
    /// What it speaks.
    pub(crate) version: Version,
}

impl Deref for Peer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Peer {
    /// Connects with a clean session.
    #[track_caller]
    pub(crate) fn join(broker: &Broker, version: Version, id: &str) -> Self {
        Self::open(broker, &Connect::new(version, id)).0
    }

    /// Connects, expects to be let in, and returns whether there was a session.
    #[track_caller]
    pub(crate) fn open(broker: &Broker, connect: &Connect) -> (Self, bool) {
        let mut client = Client::open(broker.address);
        client.send(&connect.bytes());
        let answer = client.packet();
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:02x?}");
        assert!(answer[2] <= 1, "reserved flags: {answer:02x?}");
        let version = connect.version;
        (Self { client, version }, answer[2] == 1)
    }

    /// Subscribes and expects the QoS to be granted.
    #[track_caller]
    pub(crate) fn hear(&mut self, filter: &str, qos: u8) {
        let (version, options) = (self.version, qos & 3);
        self.send(&version.subscribe(1, &[(filter, qos)]));
        self.expect(&version.suback(1, &[options]));
    }

    /// Publishes.
    pub(crate) fn tell(&mut self, topic: &str, payload: &str, flags: u8, id: u16) {
        let bytes = self.version.publish(topic, payload, flags, id);
        self.send(&bytes);
    }

    /// Publishes at QoS 1 and expects the acknowledgement.
    #[track_caller]
    pub(crate) fn tell_surely(&mut self, topic: &str, payload: &str) {
        self.tell(topic, payload, 2, 99);
        self.expect(&ack(0x40, 99));
    }

    /// Expects a message.
    #[track_caller]
    pub(crate) fn expect_told(&mut self, topic: &str, payload: &str, flags: u8, id: u16) {
        let bytes = self.version.publish(topic, payload, flags, id);
        self.expect(&bytes);
    }

    /// Expects the end of the connection; MQTT 5 says why before.
    #[track_caller]
    pub(crate) fn expect_gone(&mut self, code: u8) {
        if self.version == V5 {
            self.expect(&[0xE0, 1, code]);
        }
        self.expect_end();
    }

    /// Leaves with DISCONNECT.
    pub(crate) fn leave(self) {
        self.client.leave();
    }

    /// Leaves without.
    pub(crate) fn vanish(self) {
        self.client.vanish();
    }
}
