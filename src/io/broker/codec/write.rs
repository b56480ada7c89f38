//! From our packets to bytes, in the form of each version.
//!
//! rumqttd writes what it writes well. PUBLISH is written here, for its type hides its fields and
//! would have to be built from a copy of the payload; so is DISCONNECT, whose length rumqttd gets
//! wrong with a reason code and no properties.

use bytes::{BufMut, BytesMut};
use rumqttd::protocol::{self as mqtt, Packet, Protocol, v4::V4, v5::V5};

use crate::core::message::{Properties, QoS};
use crate::core::packet::{ConnAck, Delivery, Grant, Outgoing, Version, reason};

/// Appends a packet; false if it could not be encoded, with part of it perhaps appended.
pub(super) fn packet(version: Version, packet: Outgoing, out: &mut BytesMut) -> bool {
    let v5 = version == Version::V5;
    let packet = match packet {
        Outgoing::Publish(delivery) => return publish(v5, &delivery, out).is_some(),
        Outgoing::Disconnect(code) => {
            if v5 {
                out.put_slice(&[0xE0, 1, code]);
            }
            return true;
        }
        Outgoing::ConnAck(connack) => {
            let properties = connack.grant.as_ref().filter(|_| v5).map(granted);
            Packet::ConnAck(conn_ack(v5, &connack), properties)
        }
        Outgoing::PubAck(pkid, code) => {
            let reason = if v5 {
                pub_ack(code)
            } else {
                mqtt::PubAckReason::Success
            };
            Packet::PubAck(mqtt::PubAck { pkid, reason }, None)
        }
        Outgoing::PubRec(pkid, code) => {
            let reason = if v5 {
                pub_rec(code)
            } else {
                mqtt::PubRecReason::Success
            };
            Packet::PubRec(mqtt::PubRec { pkid, reason }, None)
        }
        Outgoing::PubRel(pkid, code) => {
            let reason = match code {
                reason::PACKET_ID_NOT_FOUND if v5 => mqtt::PubRelReason::PacketIdentifierNotFound,
                _ => mqtt::PubRelReason::Success,
            };
            Packet::PubRel(mqtt::PubRel { pkid, reason }, None)
        }
        Outgoing::PubComp(pkid, code) => {
            let reason = match code {
                reason::PACKET_ID_NOT_FOUND if v5 => mqtt::PubCompReason::PacketIdentifierNotFound,
                _ => mqtt::PubCompReason::Success,
            };
            Packet::PubComp(mqtt::PubComp { pkid, reason }, None)
        }
        Outgoing::SubAck(pkid, codes) => {
            let return_codes = codes.into_iter().map(|code| sub_ack(v5, code)).collect();
            Packet::SubAck(mqtt::SubAck { pkid, return_codes }, None)
        }
        Outgoing::UnsubAck(pkid, codes) => {
            let reasons = codes.into_iter().map(unsub_ack).collect();
            Packet::UnsubAck(mqtt::UnsubAck { pkid, reasons }, None)
        }
        Outgoing::PingResp => Packet::PingResp(mqtt::PingResp),
    };
    if v5 {
        V5.write(packet, out)
    } else {
        V4.write(packet, out)
    }
    .is_ok()
}

fn publish(v5: bool, delivery: &Delivery, out: &mut BytesMut) -> Option<()> {
    let topic = if delivery.names_topic {
        delivery.topic.as_str().as_bytes()
    } else {
        &[]
    };
    let alias = delivery.alias.filter(|_| v5);
    let properties = delivery.properties.as_deref().filter(|_| v5);
    let ids: &[u32] = if v5 { &delivery.subscription_ids } else { &[] };
    let property_length =
        properties.map_or(0, Properties::bytes) + ids_length(ids) + alias.map_or(0, |_| 3);
    let property_header = if v5 {
        variable_length(property_length)
    } else {
        0
    };
    let id_length = if delivery.qos == QoS::AtMostOnce {
        0
    } else {
        2
    };
    let length =
        2 + topic.len() + id_length + property_header + property_length + delivery.payload.len();

    out.reserve(5 + length);
    let qos = match delivery.qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 0b010,
        QoS::ExactlyOnce => 0b100,
    };
    out.put_u8(0x30 | u8::from(delivery.dup) << 3 | qos | u8::from(delivery.retain));
    put_variable_integer(out, length)?;
    put_block(out, topic)?;
    if delivery.qos != QoS::AtMostOnce {
        out.put_u16(delivery.packet_id);
    }
    if v5 {
        put_variable_integer(out, property_length)?;
        properties.map_or(Some(()), |properties| put_properties(out, properties))?;
        if let Some(alias) = alias {
            out.put_u8(35);
            out.put_u16(alias);
        }
        for &id in ids {
            out.put_u8(11);
            put_variable_integer(out, usize::try_from(id).ok()?)?;
        }
    }
    out.put_slice(&delivery.payload);
    Some(())
}

fn ids_length(ids: &[u32]) -> usize {
    ids.iter()
        .map(|&id| 1 + usize::try_from(id).map_or(4, variable_length))
        .sum()
}

fn put_properties(out: &mut BytesMut, properties: &Properties) -> Option<()> {
    if let Some(format) = properties.payload_format {
        out.put_slice(&[1, format]);
    }
    if let Some(seconds) = properties.expiry_interval {
        out.put_u8(2);
        out.put_u32(seconds);
    }
    if let Some(text) = &properties.content_type {
        out.put_u8(3);
        put_block(out, text.as_bytes())?;
    }
    if let Some(text) = &properties.response_topic {
        out.put_u8(8);
        put_block(out, text.as_bytes())?;
    }
    if let Some(data) = &properties.correlation_data {
        out.put_u8(9);
        put_block(out, data)?;
    }
    for (name, value) in &properties.user_properties {
        out.put_u8(38);
        put_block(out, name.as_bytes())?;
        put_block(out, value.as_bytes())?;
    }
    Some(())
}

/// Appends bytes behind their two-byte length; `None` if there are too many for it.
fn put_block(out: &mut BytesMut, bytes: &[u8]) -> Option<()> {
    out.put_u16(u16::try_from(bytes.len()).ok()?);
    out.put_slice(bytes);
    Some(())
}

/// Appends a Variable Byte Integer; `None` if it is too large for four bytes.
pub(super) fn put_variable_integer(out: &mut BytesMut, value: usize) -> Option<()> {
    let mut rest = value;
    for _ in 0..4 {
        let digit = u8::try_from(rest & 0x7F).ok()?;
        rest >>= 7;
        if rest == 0 {
            out.put_u8(digit);
            return Some(());
        }
        out.put_u8(digit | 0x80);
    }
    None
}

/// Returns how many bytes a Variable Byte Integer takes.
const fn variable_length(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

fn conn_ack(v5: bool, connack: &ConnAck) -> mqtt::ConnAck {
    let code = if v5 {
        conn_ack_5(connack.reason)
    } else {
        conn_ack_3(connack.reason)
    };
    mqtt::ConnAck {
        // MQTT-3.2.2-6: a refusal never speaks of a session.
        session_present: connack.session_present && connack.reason == reason::SUCCESS,
        code,
    }
}

/// The five return codes of 3.x (3.1.1 §3.2.2.3).
fn conn_ack_3(code: u8) -> mqtt::ConnectReturnCode {
    match code {
        reason::SUCCESS => mqtt::ConnectReturnCode::Success,
        reason::UNSUPPORTED_VERSION => mqtt::ConnectReturnCode::RefusedProtocolVersion,
        reason::CLIENT_ID_INVALID => mqtt::ConnectReturnCode::ClientIdentifierNotValid,
        reason::BAD_CREDENTIALS => mqtt::ConnectReturnCode::BadUserNamePassword,
        reason::NOT_AUTHORIZED => mqtt::ConnectReturnCode::NotAuthorized,
        _ => mqtt::ConnectReturnCode::ServiceUnavailable,
    }
}

fn conn_ack_5(code: u8) -> mqtt::ConnectReturnCode {
    match code {
        reason::SUCCESS => mqtt::ConnectReturnCode::Success,
        reason::MALFORMED => mqtt::ConnectReturnCode::MalformedPacket,
        reason::PROTOCOL_ERROR => mqtt::ConnectReturnCode::ProtocolError,
        reason::UNSUPPORTED_VERSION => mqtt::ConnectReturnCode::UnsupportedProtocolVersion,
        reason::CLIENT_ID_INVALID => mqtt::ConnectReturnCode::ClientIdentifierNotValid,
        reason::BAD_CREDENTIALS => mqtt::ConnectReturnCode::BadUserNamePassword,
        reason::NOT_AUTHORIZED => mqtt::ConnectReturnCode::NotAuthorized,
        reason::UNAVAILABLE | reason::SHUTTING_DOWN => mqtt::ConnectReturnCode::ServerUnavailable,
        reason::BUSY => mqtt::ConnectReturnCode::ServerBusy,
        reason::BAD_AUTHENTICATION => mqtt::ConnectReturnCode::BadAuthenticationMethod,
        reason::TOPIC_INVALID => mqtt::ConnectReturnCode::TopicNameInvalid,
        reason::PACKET_TOO_LARGE => mqtt::ConnectReturnCode::PacketTooLarge,
        reason::QUOTA_EXCEEDED => mqtt::ConnectReturnCode::QuotaExceeded,
        _ => mqtt::ConnectReturnCode::UnspecifiedError,
    }
}

fn granted(grant: &Grant) -> mqtt::ConnAckProperties {
    mqtt::ConnAckProperties {
        session_expiry_interval: grant.session_expiry,
        receive_max: (grant.receive_maximum > 0).then_some(grant.receive_maximum),
        max_packet_size: (grant.maximum_packet > 0).then_some(grant.maximum_packet),
        assigned_client_identifier: grant.client_id.clone(),
        topic_alias_max: (grant.topic_alias_maximum > 0).then_some(grant.topic_alias_maximum),
        shared_subscription_available: (!grant.shared_subscriptions).then_some(0),
        server_keep_alive: grant.keep_alive,
        ..mqtt::ConnAckProperties::default()
    }
}

fn pub_ack(code: u8) -> mqtt::PubAckReason {
    match code {
        reason::SUCCESS => mqtt::PubAckReason::Success,
        reason::NO_SUBSCRIBERS => mqtt::PubAckReason::NoMatchingSubscribers,
        reason::NOT_AUTHORIZED => mqtt::PubAckReason::NotAuthorized,
        reason::TOPIC_INVALID => mqtt::PubAckReason::TopicNameInvalid,
        reason::QUOTA_EXCEEDED => mqtt::PubAckReason::QuotaExceeded,
        _ => mqtt::PubAckReason::UnspecifiedError,
    }
}

fn pub_rec(code: u8) -> mqtt::PubRecReason {
    match code {
        reason::SUCCESS => mqtt::PubRecReason::Success,
        reason::NO_SUBSCRIBERS => mqtt::PubRecReason::NoMatchingSubscribers,
        reason::NOT_AUTHORIZED => mqtt::PubRecReason::NotAuthorized,
        reason::TOPIC_INVALID => mqtt::PubRecReason::TopicNameInvalid,
        reason::QUOTA_EXCEEDED => mqtt::PubRecReason::QuotaExceeded,
        _ => mqtt::PubRecReason::UnspecifiedError,
    }
}

fn sub_ack(v5: bool, code: u8) -> mqtt::SubscribeReasonCode {
    match code {
        0 => mqtt::SubscribeReasonCode::QoS0,
        1 => mqtt::SubscribeReasonCode::QoS1,
        2 => mqtt::SubscribeReasonCode::QoS2,
        // 3.1.1 knows one failure, 0x80; 3.1 none, but its clients take it as that too.
        _ if !v5 => mqtt::SubscribeReasonCode::Failure,
        reason::NOT_AUTHORIZED => mqtt::SubscribeReasonCode::NotAuthorized,
        reason::FILTER_INVALID => mqtt::SubscribeReasonCode::TopicFilterInvalid,
        reason::QUOTA_EXCEEDED => mqtt::SubscribeReasonCode::QuotaExceeded,
        reason::NO_SHARED => mqtt::SubscribeReasonCode::SharedSubscriptionsNotSupported,
        _ => mqtt::SubscribeReasonCode::Unspecified,
    }
}

fn unsub_ack(code: u8) -> mqtt::UnsubAckReason {
    match code {
        reason::SUCCESS => mqtt::UnsubAckReason::Success,
        reason::NO_SUBSCRIPTION => mqtt::UnsubAckReason::NoSubscriptionExisted,
        reason::NOT_AUTHORIZED => mqtt::UnsubAckReason::NotAuthorized,
        reason::FILTER_INVALID => mqtt::UnsubAckReason::TopicFilterInvalid,
        _ => mqtt::UnsubAckReason::UnspecifiedError,
    }
}
