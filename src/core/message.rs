//! One MQTT application message, independent of protocol version and of who sent it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::topic::Topic;

/// Quality of service (MQTT §4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    /// QoS 0: delivered at most once.
    #[default]
    AtMostOnce,
    /// QoS 1: delivered at least once.
    AtLeastOnce,
    /// QoS 2: delivered exactly once.
    ExactlyOnce,
}

/// A message as it travels through the hub; cloning shares topic, payload and properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic it was published to; an alias is resolved before.
    pub topic: Topic,
    /// Own copy: does not pin a read buffer.
    pub payload: Bytes,
    /// The publisher's QoS.
    pub qos: QoS,
    /// The RETAIN flag as published.
    pub retain: bool,
    /// MQTT 5 properties that travel with the message, `None` when there are none.
    pub properties: Option<Arc<Properties>>,
}

/// MQTT 5 properties that a server forwards (MQTT 5 §3.3.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Payload Format Indicator: 1 says that the payload is UTF-8.
    pub payload_format: Option<u8>,
    /// Message Expiry Interval in seconds, counted from when the message arrived.
    pub expiry_interval: Option<u32>,
    /// Content Type, as the publisher wrote it.
    pub content_type: Option<String>,
    /// Response Topic: where the publisher wants the reply; not yet checked to be a topic.
    pub response_topic: Option<String>,
    /// Correlation Data, returned unchanged with the reply.
    pub correlation_data: Option<Bytes>,
    /// User properties in order, names may repeat.
    pub user_properties: Vec<(String, String)>,
}

impl QoS {
    /// Returns it as the two bits of a packet: 0, 1 or 2.
    pub const fn level(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

impl Message {
    /// Returns the bytes of topic, payload and properties: what it counts against a queue's limit.
    pub fn bytes(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |own| own.bytes());
        self.topic.as_str().len() + self.payload.len() + properties
    }

    /// Returns when it expires if it arrived at `now`, `None` for never.
    pub fn expires(&self, now: Instant) -> Option<Instant> {
        let seconds = self.properties.as_ref()?.expiry_interval?;
        now.checked_add(Duration::from_secs(seconds.into()))
    }
}

impl Properties {
    /// Returns the bytes that user properties take in memory beside their text: an empty one is 5
    /// in a packet, and several times that here.
    pub(crate) fn places(&self) -> usize {
        self.user_properties.len() * size_of::<(String, String)>()
    }

    /// Returns the bytes that the properties take in an MQTT 5 packet, without their length.
    pub fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, |text| 3 + text.len());
        let users = self.user_properties.iter();
        self.payload_format.map_or(0, |_| 2)
            + self.expiry_interval.map_or(0, |_| 5)
            + text(&self.content_type)
            + text(&self.response_topic)
            + self
                .correlation_data
                .as_ref()
                .map_or(0, |bytes| 3 + bytes.len())
            + users
                .map(|(name, value)| 5 + name.len() + value.len())
                .sum::<usize>()
    }
}
