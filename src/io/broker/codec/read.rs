//! From rumqttd's packets to ours: nothing that leaves here points into the read buffer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttd::protocol as mqtt;

use super::DecodeError;
use super::check::Seen;
use super::frame::Frame;
use crate::core::message::{Properties, QoS};
use crate::core::packet::{
    Connect, Disconnect, Incoming, Publish, RetainHandling, Subscribe, SubscribeOptions,
    Unsubscribe, Version, Will,
};

/// Translates a packet of an accepted connection.
pub(super) fn incoming(
    packet: mqtt::Packet,
    frame: Frame,
    seen: Seen,
) -> Result<Incoming, DecodeError> {
    let (id, reason) = (seen.packet_id, seen.reason);
    Ok(match packet {
        mqtt::Packet::Publish(packet, properties) => {
            Incoming::Publish(publish(&packet, properties, frame.flags, id)?)
        }
        mqtt::Packet::PubAck(..) => Incoming::PubAck(id, reason),
        mqtt::Packet::PubRec(..) => Incoming::PubRec(id, reason),
        mqtt::Packet::PubRel(..) => Incoming::PubRel(id, reason),
        mqtt::Packet::PubComp(..) => Incoming::PubComp(id, reason),
        mqtt::Packet::Subscribe(packet, properties) => Incoming::Subscribe(Subscribe {
            packet_id: id,
            id: properties
                .and_then(|properties| properties.id)
                .and_then(|id| u32::try_from(id).ok()),
            filters: packet.filters.into_iter().map(filter).collect(),
        }),
        mqtt::Packet::Unsubscribe(packet, _) => Incoming::Unsubscribe(Unsubscribe {
            packet_id: id,
            filters: packet.filters,
        }),
        mqtt::Packet::PingReq(_) => Incoming::PingReq,
        mqtt::Packet::Disconnect(_, properties) => Incoming::Disconnect(Disconnect {
            reason,
            session_expiry: properties.and_then(|properties| properties.session_expiry_interval),
        }),
        _ => {
            return Err(DecodeError::Malformed(
                "a packet type that clients do not send",
            ));
        }
    })
}

/// Translates CONNECT but for will and credentials.
pub(super) fn connect(
    version: Version,
    packet: mqtt::Connect,
    properties: Option<&mqtt::ConnectProperties>,
) -> Connect {
    let session_expiry = match version {
        Version::V5 => properties
            .and_then(|properties| properties.session_expiry_interval)
            .unwrap_or(0),
        Version::V3_1 | Version::V3_1_1 if packet.clean_session => 0,
        Version::V3_1 | Version::V3_1_1 => u32::MAX,
    };
    Connect {
        version,
        client_id: packet.client_id,
        clean_start: packet.clean_session,
        keep_alive: packet.keep_alive,
        session_expiry,
        receive_maximum: properties
            .and_then(|properties| properties.receive_maximum)
            .unwrap_or(u16::MAX),
        maximum_packet: properties.and_then(|properties| properties.max_packet_size),
        topic_alias_maximum: properties
            .and_then(|properties| properties.topic_alias_max)
            .unwrap_or(0),
        will: None,
        credentials: None,
    }
}

/// Translates a will.
pub(super) fn will(
    will: &mqtt::LastWill,
    properties: Option<mqtt::LastWillProperties>,
) -> Result<Will, DecodeError> {
    let delay = properties
        .as_ref()
        .and_then(|properties| properties.delay_interval)
        .unwrap_or(0);
    Ok(Will {
        topic: text(&will.topic)?,
        payload: own(&will.message),
        qos: qos(will.qos),
        retain: will.retain,
        delay: Duration::from_secs(delay.into()),
        properties: properties.and_then(|properties| {
            shared(Properties {
                payload_format: properties.payload_format_indicator,
                expiry_interval: properties.message_expiry_interval,
                content_type: properties.content_type,
                response_topic: properties.response_topic,
                correlation_data: properties.correlation_data.as_ref().map(own),
                user_properties: properties.user_properties,
            })
        }),
    })
}

/// QoS, DUP and Packet Identifier are private in the reader's type; they come from our own walk.
fn publish(
    packet: &mqtt::Publish,
    properties: Option<mqtt::PublishProperties>,
    flags: u8,
    packet_id: u16,
) -> Result<Publish, DecodeError> {
    Ok(Publish {
        topic: text(&packet.topic)?,
        alias: properties
            .as_ref()
            .and_then(|properties| properties.topic_alias),
        payload: own(&packet.payload),
        qos: match (flags >> 1) & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        },
        packet_id,
        dup: flags & 0b1000 != 0,
        retain: flags & 1 != 0,
        properties: properties.and_then(|properties| {
            shared(Properties {
                payload_format: properties.payload_format_indicator,
                expiry_interval: properties.message_expiry_interval,
                content_type: properties.content_type,
                response_topic: properties.response_topic,
                correlation_data: properties.correlation_data.as_ref().map(own),
                user_properties: properties.user_properties,
            })
        }),
    })
}

/// Returns `None` for properties that say nothing.
fn shared(properties: Properties) -> Option<Arc<Properties>> {
    (properties != Properties::default()).then(|| Arc::new(properties))
}

fn filter(filter: mqtt::Filter) -> (String, SubscribeOptions) {
    let options = SubscribeOptions {
        qos: qos(filter.qos),
        no_local: filter.nolocal,
        retain_as_published: filter.preserve_retain,
        retain_handling: match filter.retain_forward_rule {
            mqtt::RetainForwardRule::OnEverySubscribe => RetainHandling::Send,
            mqtt::RetainForwardRule::OnNewSubscribe => RetainHandling::SendIfNew,
            mqtt::RetainForwardRule::Never => RetainHandling::DoNotSend,
        },
    };
    (filter.path, options)
}

const fn qos(qos: mqtt::QoS) -> QoS {
    match qos {
        mqtt::QoS::AtMostOnce => QoS::AtMostOnce,
        mqtt::QoS::AtLeastOnce => QoS::AtLeastOnce,
        mqtt::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// Copies: a slice would keep the whole read buffer alive for as long as the message lives.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn text(bytes: &Bytes) -> Result<String, DecodeError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(DecodeError::Malformed("text that is not UTF-8")),
    }
}
