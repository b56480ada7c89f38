//! MQTT control packets as the protocol logic sees them, the same for 3.1, 3.1.1 and 5.
//!
//! The codec in `io::broker` translates bytes to these and back. Topics and filters arrive as
//! text: whether they are valid is decided by the session, which knows the right answer to give.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::core::message::{Properties, QoS};
use crate::core::topic::Topic;

/// Protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1 (protocol name `MQIsdp`, level 3).
    V3_1,
    /// MQTT 3.1.1 (level 4).
    V3_1_1,
    /// MQTT 5 (level 5).
    V5,
}

/// What a client sends after its CONNECT was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK with its reason code; below 0x80 is success.
    PubAck(u16, u8),
    /// PUBREC with its reason code.
    PubRec(u16, u8),
    /// PUBREL with its reason code.
    PubRel(u16, u8),
    /// PUBCOMP with its reason code.
    PubComp(u16, u8),
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe),
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect(Disconnect),
}

/// What the broker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// CONNACK.
    ConnAck(ConnAck),
    /// PUBLISH.
    Publish(Delivery),
    /// PUBACK with an MQTT 5 reason code, left out for older versions.
    PubAck(u16, u8),
    /// PUBREC with an MQTT 5 reason code.
    PubRec(u16, u8),
    /// PUBREL with an MQTT 5 reason code.
    PubRel(u16, u8),
    /// PUBCOMP with an MQTT 5 reason code.
    PubComp(u16, u8),
    /// SUBACK: one MQTT 5 reason code per filter; the codec maps errors to 0x80 for 3.1.1.
    SubAck(u16, Vec<u8>),
    /// UNSUBACK: one MQTT 5 reason code per filter, left out for older versions.
    UnsubAck(u16, Vec<u8>),
    /// PINGRESP.
    PingResp,
    /// DISCONNECT with reason code; MQTT 5 only, the codec writes nothing for older versions.
    Disconnect(u8),
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Protocol version.
    pub version: Version,
    /// Client ID as sent, possibly empty.
    pub client_id: String,
    /// Clean Session (3.x) or Clean Start (5).
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 switches it off.
    pub keep_alive: u16,
    /// Session Expiry Interval in seconds. 3.x: 0 for a clean session, else `u32::MAX`, never.
    pub session_expiry: u32,
    /// Receive Maximum: QoS 1 and 2 deliveries the client takes at once, at least 1.
    pub receive_maximum: u16,
    /// Maximum Packet Size the client accepts, `None` for no limit.
    pub maximum_packet: Option<u32>,
    /// Topic Alias Maximum: how many aliases the client accepts.
    pub topic_alias_maximum: u16,
    /// The will, if any.
    pub will: Option<Will>,
    /// User name and password as sent.
    pub credentials: Option<Credentials>,
}

/// User name and password of a CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub user: String,
    /// The password; empty when only a user name was sent.
    pub password: Bytes,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({:?}, ..)", self.user)
    }
}

/// A will: published when the connection ends without DISCONNECT (§3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Topic as sent, not yet checked.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Will Delay Interval (MQTT 5 §3.1.3.2.2).
    pub delay: Duration,
    /// Properties that travel with it.
    pub properties: Option<Arc<Properties>>,
}

/// PUBLISH from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Topic as sent; empty when an alias stands for it.
    pub topic: String,
    /// Topic Alias.
    pub alias: Option<u16>,
    /// Payload, an own copy.
    pub payload: Bytes,
    /// QoS.
    pub qos: QoS,
    /// Packet Identifier, 0 at QoS 0.
    pub packet_id: u16,
    /// DUP.
    pub dup: bool,
    /// RETAIN.
    pub retain: bool,
    /// Properties that travel with it.
    pub properties: Option<Arc<Properties>>,
}

/// PUBLISH to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Topic.
    pub topic: Topic,
    /// Whether the topic is written; if not, its alias stands for it.
    pub names_topic: bool,
    /// Topic Alias.
    pub alias: Option<u16>,
    /// Payload.
    pub payload: Bytes,
    /// QoS of this delivery.
    pub qos: QoS,
    /// Packet Identifier, 0 at QoS 0.
    pub packet_id: u16,
    /// DUP.
    pub dup: bool,
    /// RETAIN as this subscriber is to see it.
    pub retain: bool,
    /// Properties; Message Expiry Interval is already what is left of it.
    pub properties: Option<Arc<Properties>>,
    /// Identifiers of all matching subscriptions (MQTT 5 §3.3.2.3.8).
    pub subscription_ids: Vec<u32>,
}

impl Delivery {
    /// Returns the size of the whole MQTT 5 packet in bytes, to compare with a client's Maximum
    /// Packet Size (§3.1.2.11.4).
    pub fn wire_bytes(&self) -> usize {
        let ids = self.subscription_ids.iter();
        let ids: usize = ids.map(|id| 1 + varint_bytes(*id as usize)).sum();
        let own = self.properties.as_ref().map_or(0, |own| own.bytes());
        let properties = ids + own + self.alias.map_or(0, |_| 3);
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let topic = 2 + if self.names_topic {
            self.topic.as_str().len()
        } else {
            0
        };
        let rest = topic + packet_id + varint_bytes(properties) + properties + self.payload.len();
        1 + varint_bytes(rest) + rest
    }
}

/// Returns the size of a SUBACK or UNSUBACK of MQTT 5 with so many reason codes.
pub(crate) const fn answer_bytes(codes: usize) -> usize {
    let rest = 3 + codes;
    1 + varint_bytes(rest) + rest
}

/// Returns the length of a Variable Byte Integer (§1.5.5).
const fn varint_bytes(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Packet Identifier.
    pub packet_id: u16,
    /// Subscription Identifier, 1 to 268,435,455.
    pub id: Option<u32>,
    /// Filters as sent with their options, in order.
    pub filters: Vec<(String, SubscribeOptions)>,
}

/// Options of one subscription (MQTT 5 §3.8.3.1); older versions know the QoS only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Highest QoS to deliver at.
    pub qos: QoS,
    /// No Local: not one's own messages.
    pub no_local: bool,
    /// Retain As Published: keep the RETAIN flag.
    pub retain_as_published: bool,
    /// Which retained messages to send at once.
    pub retain_handling: RetainHandling,
}

/// Retain Handling (MQTT 5 §3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// Send at every SUBSCRIBE.
    #[default]
    Send,
    /// Send if the subscription is new.
    SendIfNew,
    /// Do not send.
    DoNotSend,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Packet Identifier.
    pub packet_id: u16,
    /// Filters as sent, in order.
    pub filters: Vec<String>,
}

/// DISCONNECT from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Reason code; 0x04 asks for the will (MQTT 5 §3.14.2.1).
    pub reason: u8,
    /// A new Session Expiry Interval in seconds.
    pub session_expiry: Option<u32>,
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Session Present.
    pub session_present: bool,
    /// MQTT 5 reason code; the codec maps it to a 3.1.1 return code.
    pub reason: u8,
    /// MQTT 5 only: what this broker grants; `None` in a refusal.
    pub grant: Option<Grant>,
}

/// What a CONNACK tells an MQTT 5 client (§3.2.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Assigned Client Identifier.
    pub client_id: Option<String>,
    /// Session Expiry Interval in seconds, when shortened.
    pub session_expiry: Option<u32>,
    /// Server Keep Alive in seconds, when it differs from the client's.
    pub keep_alive: Option<u16>,
    /// Receive Maximum of this broker.
    pub receive_maximum: u16,
    /// Maximum Packet Size of this broker.
    pub maximum_packet: u32,
    /// Topic Alias Maximum of this broker.
    pub topic_alias_maximum: u16,
    /// Whether `$share` is supported.
    pub shared_subscriptions: bool,
}

impl Grant {
    /// Returns the size of the CONNACK with it in bytes, to compare with a client's Maximum Packet
    /// Size (MQTT-3.1.2-24).
    pub fn wire_bytes(&self) -> usize {
        let client_id = self.client_id.as_ref().map_or(0, |id| 3 + id.len());
        let properties = client_id
            + self.session_expiry.map_or(0, |_| 5)
            + self.keep_alive.map_or(0, |_| 3)
            + if self.receive_maximum > 0 { 3 } else { 0 }
            + if self.maximum_packet > 0 { 5 } else { 0 }
            + if self.topic_alias_maximum > 0 { 3 } else { 0 }
            + if self.shared_subscriptions { 0 } else { 2 };
        let rest = 2 + varint_bytes(properties) + properties;
        1 + varint_bytes(rest) + rest
    }
}

/// MQTT 5 reason codes (§2.4) that this broker uses.
pub mod reason {
    /// Success, normal disconnection, granted QoS 0.
    pub const SUCCESS: u8 = 0x00;
    /// Disconnect with will message.
    pub const WITH_WILL: u8 = 0x04;
    /// No matching subscribers.
    pub const NO_SUBSCRIBERS: u8 = 0x10;
    /// No subscription existed.
    pub const NO_SUBSCRIPTION: u8 = 0x11;
    /// Unspecified error.
    pub const UNSPECIFIED: u8 = 0x80;
    /// Malformed packet.
    pub const MALFORMED: u8 = 0x81;
    /// Protocol error.
    pub const PROTOCOL_ERROR: u8 = 0x82;
    /// Unsupported protocol version.
    pub const UNSUPPORTED_VERSION: u8 = 0x84;
    /// Client identifier not valid.
    pub const CLIENT_ID_INVALID: u8 = 0x85;
    /// Bad user name or password.
    pub const BAD_CREDENTIALS: u8 = 0x86;
    /// Not authorized.
    pub const NOT_AUTHORIZED: u8 = 0x87;
    /// Server unavailable.
    pub const UNAVAILABLE: u8 = 0x88;
    /// Server busy.
    pub const BUSY: u8 = 0x89;
    /// Server shutting down.
    pub const SHUTTING_DOWN: u8 = 0x8B;
    /// Bad authentication method.
    pub const BAD_AUTHENTICATION: u8 = 0x8C;
    /// Keep alive timeout.
    pub const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
    /// Session taken over.
    pub const TAKEN_OVER: u8 = 0x8E;
    /// Topic filter invalid.
    pub const FILTER_INVALID: u8 = 0x8F;
    /// Topic name invalid.
    pub const TOPIC_INVALID: u8 = 0x90;
    /// Packet identifier not found.
    pub const PACKET_ID_NOT_FOUND: u8 = 0x92;
    /// Receive maximum exceeded.
    pub const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
    /// Topic alias invalid.
    pub const ALIAS_INVALID: u8 = 0x94;
    /// Packet too large.
    pub const PACKET_TOO_LARGE: u8 = 0x95;
    /// Quota exceeded.
    pub const QUOTA_EXCEEDED: u8 = 0x97;
    /// Shared subscriptions not supported.
    pub const NO_SHARED: u8 = 0x9E;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, length, topic with its length, length of the properties, payload.
    const LEAST: usize = 1 + 1 + 3 + 1 + 3;

    fn delivery(change: impl FnOnce(&mut Delivery)) -> Delivery {
        let mut own = Delivery {
            topic: Topic::parse("t").unwrap(),
            names_topic: true,
            alias: None,
            payload: Bytes::from_static(b"123"),
            qos: QoS::AtMostOnce,
            packet_id: 0,
            dup: false,
            retain: false,
            properties: None,
            subscription_ids: Vec::new(),
        };
        change(&mut own);
        own
    }

    #[test]
    fn the_size_of_a_delivery_counts_every_property() {
        let with = |change: fn(&mut Properties)| {
            let mut own = Properties::default();
            change(&mut own);
            delivery(|delivery| delivery.properties = Some(Arc::new(own)))
        };
        let cases = [
            (with(|_| {}), 0, "none"),
            (
                with(|own| own.payload_format = Some(1)),
                2,
                "payload format",
            ),
            (with(|own| own.expiry_interval = Some(1)), 5, "expiry"),
            (
                with(|own| own.content_type = Some("c".into())),
                4,
                "content type",
            ),
            (
                with(|own| own.response_topic = Some("r".into())),
                4,
                "response topic",
            ),
            (
                with(|own| own.correlation_data = Some(Bytes::from_static(b"d"))),
                4,
                "correlation",
            ),
            (
                with(|own| own.user_properties = vec![("k".into(), "v".into()); 2]),
                14,
                "users",
            ),
        ];
        for (delivery, more, reason) in cases {
            assert_eq!(delivery.wire_bytes(), LEAST + more, "{reason}");
        }
    }

    #[test]
    fn the_size_of_a_delivery_counts_identifiers_and_lengths() {
        let long = Properties {
            content_type: Some("c".repeat(125)),
            ..Properties::default()
        };
        let cases = [
            (delivery(|_| {}), LEAST, "at QoS 0"),
            (
                delivery(|own| own.qos = QoS::ExactlyOnce),
                LEAST + 2,
                "a packet identifier",
            ),
            (
                delivery(|own| own.subscription_ids = vec![1, 128]),
                LEAST + 5,
                "subscriptions",
            ),
            (delivery(|own| own.alias = Some(1)), LEAST + 3, "an alias"),
            (
                delivery(|own| (own.alias, own.names_topic) = (Some(1), false)),
                LEAST + 2,
                "an alias in place of the topic",
            ),
            (
                delivery(|own| own.payload = vec![0; 123].into()),
                2 + 127,
                "one byte of length",
            ),
            (
                delivery(|own| own.payload = vec![0; 124].into()),
                3 + 128,
                "two bytes of length",
            ),
            (
                delivery(|own| own.properties = Some(Arc::new(long))),
                3 + 3 + 2 + 128 + 3,
                "two bytes of length of the properties",
            ),
        ];
        for (delivery, expected, reason) in cases {
            assert_eq!(delivery.wire_bytes(), expected, "{reason}");
        }
    }
}
