use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::core::message::{Properties, QoS};
use crate::core::packet::{
    ConnAck, Delivery, Disconnect, Grant, Publish, RetainHandling, Subscribe, SubscribeOptions,
    Unsubscribe, Will, reason,
};
use crate::core::topic::Topic;

const MAX: usize = 65_536;
const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn decoded(version: Version, bytes: &[u8]) -> Result<Option<Incoming>, DecodeError> {
    decode(version, &mut BytesMut::from(bytes), MAX)
}

fn connected(bytes: &[u8]) -> Result<Option<Connect>, DecodeError> {
    decode_connect(&mut BytesMut::from(bytes), MAX)
}

fn encoded(version: Version, packet: Outgoing) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(version, packet, &mut out);
    out.to_vec()
}

/// Puts the fixed header before a body of less than 128 bytes.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, u8::try_from(body.len()).unwrap()];
    assert!(body.len() < 128);
    bytes.extend_from_slice(body);
    bytes
}

fn publish(topic: &str) -> Publish {
    Publish {
        topic: topic.to_owned(),
        alias: None,
        payload: Bytes::from_static(b"hi"),
        qos: QoS::AtMostOnce,
        packet_id: 0,
        dup: false,
        retain: false,
        properties: None,
    }
}

#[test]
fn connect_tells_the_three_versions_apart() {
    let cases = [
        (&b"\0\x06MQIsdp\x03\x02\0\x0f\0\x01a"[..], Version::V3_1),
        (b"\0\x04MQTT\x04\x02\0\x0f\0\x01a", Version::V3_1_1),
        (b"\0\x04MQTT\x05\x02\0\x0f\0\0\x01a", Version::V5),
    ];
    for (body, version) in cases {
        let expected = Connect {
            version,
            client_id: "a".to_owned(),
            clean_start: true,
            keep_alive: 15,
            session_expiry: 0,
            receive_maximum: 65_535,
            maximum_packet: None,
            topic_alias_maximum: 0,
            will: None,
            credentials: None,
        };
        assert_eq!(connected(&framed(0x10, body)), Ok(Some(expected)));
    }
}

#[test]
fn connect_carries_will_credentials_and_properties() {
    let body = b"\0\x04MQTT\x05\xEE\0\0\
        \x10\x11\0\0\0\x3c\x21\0\x05\x22\0\x07\x27\0\0\x01\0\
        \0\x01c\
        \x07\x18\0\0\0\x02\x01\x01\
        \0\x01w\0\x02go\
        \0\x01u\0\x02\xff\xfe";
    let expected = Connect {
        version: Version::V5,
        client_id: "c".to_owned(),
        clean_start: true,
        keep_alive: 0,
        session_expiry: 60,
        receive_maximum: 5,
        maximum_packet: Some(256),
        topic_alias_maximum: 7,
        will: Some(Will {
            topic: "w".to_owned(),
            payload: Bytes::from_static(b"go"),
            qos: QoS::AtLeastOnce,
            retain: true,
            delay: Duration::from_secs(2),
            properties: Some(Arc::new(Properties {
                payload_format: Some(1),
                ..Properties::default()
            })),
        }),
        credentials: Some(crate::core::packet::Credentials {
            user: "u".to_owned(),
            // A password is binary data, not text.
            password: Bytes::from_static(b"\xff\xfe"),
        }),
    };
    assert_eq!(connected(&framed(0x10, body)), Ok(Some(expected)));
}

#[test]
fn persistent_session_of_3_1_1_never_expires() {
    let connect = connected(&framed(0x10, b"\0\x04MQTT\x04\0\0\0\0\x01a")).unwrap();
    assert_eq!(connect.unwrap().session_expiry, u32::MAX);
}

#[test]
fn empty_user_name_and_password_count_as_none() {
    let connect = connected(&framed(0x10, b"\0\x04MQTT\x04\xC2\0\0\0\x01a\0\0\0\0")).unwrap();
    assert_eq!(connect.unwrap().credentials, None);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn connect_that_breaks_a_rule_is_refused() {
    use DecodeError::{
        Malformed, Protocol, TooLarge, UnsupportedAuthentication, UnsupportedVersion,
    };
    let overrun = Malformed("a field that runs over the end of the packet");
    let cases = [
        (
            framed(0x10, b"\0\x04MQTT\x02\x02\0\0\0\x01a"),
            UnsupportedVersion(Version::V3_1_1),
            "old level",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x06\x02\0\0\0\0\x01a"),
            UnsupportedVersion(Version::V5),
            "future level",
        ),
        (
            framed(0x10, b"\0\x06MQIsdp\x04\x02\0\0\0\x01a"),
            UnsupportedVersion(Version::V3_1_1),
            "3.1's name with 3.1.1's level",
        ),
        (
            framed(0x10, b"\0\x04HTTP\x04\x02\0\0\0\x01a"),
            Malformed("a protocol name other than MQTT"),
            "another protocol",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x04\x03\0\0\0\x01a"),
            Malformed("the reserved connect flag is set"),
            "MQTT-3.1.2-3",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x04\x0A\0\0\0\x01a"),
            Malformed("wrong will flags"),
            "will QoS without will",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x04\x1E\0\0\0\x01a\0\x01w\0\0"),
            Malformed("wrong will flags"),
            "will QoS 3",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x04\x42\0\0\0\x01a\0\x01p"),
            Malformed("a password without a user name"),
            "MQTT-3.1.2-22",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x04\x02\0\0\0\x02a\0"),
            Malformed("a NUL character in text"),
            "MQTT-1.5.3-2",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x04\x02\0\0\0\x01\xff"),
            Malformed("text that is not UTF-8"),
            "MQTT-1.5.3-1",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x04\x02\0\0\0\x09a"),
            overrun,
            "client ID longer than the packet",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x04\x02\0\0\0\x01a!"),
            Malformed("bytes after the end of the packet's fields"),
            "trailing bytes",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x05\x02\0\0\x02\x21\0"),
            overrun,
            "a property cut short",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\x01a"),
            Protocol("a property's value is out of range"),
            "Receive Maximum 0",
        ),
        (
            framed(
                0x10,
                b"\0\x04MQTT\x05\x02\0\0\x06\x21\0\x01\x21\0\x01\0\x01a",
            ),
            Protocol("a property that stands twice"),
            "§2.2.2.2",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x05\x02\0\0\x02\x01\x01\0\x01a"),
            Malformed("a property that does not belong there"),
            "payload format in CONNECT",
        ),
        (
            framed(0x10, b"\0\x04MQTT\x05\x02\0\0\x04\x15\0\x01x\0\x01a"),
            UnsupportedAuthentication,
            "§4.12",
        ),
        (framed(0x10, b""), overrun, "an empty CONNECT"),
        (
            framed(0x11, b"\0\x04MQTT\x04\x02\0\0\0\x01a"),
            Malformed("wrong flags in the fixed header"),
            "MQTT-2.2.2-2",
        ),
        (
            vec![0xC0, 0],
            Malformed("the first packet is not CONNECT"),
            "PINGREQ first",
        ),
        (
            vec![0x20, 2, 0, 0],
            Malformed("a packet type that clients do not send"),
            "CONNACK first",
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            Malformed("wrong flags in the fixed header"),
            "HTTP",
        ),
        (
            vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F],
            TooLarge,
            "256 MB announced",
        ),
        (
            vec![0x10, 0x80, 0x80, 0x80, 0x80, 0x01],
            Malformed("a length of more than four bytes"),
            "MQTT-2.2.3",
        ),
    ];
    for (bytes, error, why) in cases {
        assert_eq!(connected(&bytes), Err(error), "{why}");
    }
}

#[test]
fn incomplete_packets_are_waited_for_and_left_in_the_buffer() {
    let whole = framed(0x30, b"\0\x01ahi");
    for length in 0..whole.len() {
        let mut buffer = BytesMut::from(&whole[..length]);
        assert_eq!(decode(Version::V3_1_1, &mut buffer, MAX), Ok(None));
        assert_eq!(buffer, whole[..length]);
    }
}

#[test]
fn packets_that_arrive_together_are_taken_one_by_one() {
    let mut buffer = BytesMut::from(&[0xC0, 0, 0x30, 5, 0, 1, b'a', b'h', b'i', 0xE0, 0][..]);
    let mut packets = Vec::new();
    while let Some(packet) = decode(Version::V3_1_1, &mut buffer, MAX).unwrap() {
        packets.push(packet);
    }
    let disconnect = Disconnect {
        reason: 0,
        session_expiry: None,
    };
    assert_eq!(
        packets,
        [
            Incoming::PingReq,
            Incoming::Publish(publish("a")),
            Incoming::Disconnect(disconnect)
        ]
    );
}

#[test]
fn limit_counts_the_whole_packet_and_applies_before_it_is_there() {
    let packet = framed(0x30, b"\0\x01ahi");
    let mut buffer = BytesMut::from(&packet[..]);
    let publish = Incoming::Publish(publish("a"));
    assert_eq!(decode(Version::V3_1_1, &mut buffer, 7), Ok(Some(publish)));
    let mut start = BytesMut::from(&packet[..2]);
    assert_eq!(
        decode(Version::V3_1_1, &mut start, 6),
        Err(DecodeError::TooLarge)
    );
}

#[test]
fn publish_keeps_flags_identifier_and_properties() {
    let body = b"\0\x03\xC3\xA9b\x12\x34\
        \x19\x01\x01\x02\0\0\0\x09\x23\0\x03\x08\0\x01r\x09\0\x01\xff\x26\0\x01k\0\x01v\
        !";
    let packet = decoded(Version::V5, &framed(0x3D, body));
    let expected = Publish {
        topic: "éb".to_owned(),
        alias: Some(3),
        payload: Bytes::from_static(b"!"),
        qos: QoS::ExactlyOnce,
        packet_id: 0x1234,
        dup: true,
        retain: true,
        properties: Some(Arc::new(Properties {
            payload_format: Some(1),
            expiry_interval: Some(9),
            content_type: None,
            response_topic: Some("r".to_owned()),
            correlation_data: Some(Bytes::from_static(b"\xff")),
            user_properties: vec![("k".to_owned(), "v".to_owned())],
        })),
    };
    assert_eq!(packet, Ok(Some(Incoming::Publish(expected))));

    // A property length one too short: the reader would follow the value into the payload.
    let mut short = body.to_vec();
    short[7] = 0x18;
    let overrun = DecodeError::Malformed("a field that runs over the end of the packet");
    assert_eq!(decoded(Version::V5, &framed(0x3D, &short)), Err(overrun));
}

#[test]
fn subscriptions_are_read_with_their_options() {
    let v4 = decoded(
        Version::V3_1_1,
        &framed(0x82, b"\0\x07\0\x03a/#\x02\0\x01b\0"),
    );
    let plain = |qos| SubscribeOptions {
        qos,
        ..SubscribeOptions::default()
    };
    let expected = Subscribe {
        packet_id: 7,
        id: None,
        filters: vec![
            ("a/#".to_owned(), plain(QoS::ExactlyOnce)),
            ("b".to_owned(), plain(QoS::AtMostOnce)),
        ],
    };
    assert_eq!(v4, Ok(Some(Incoming::Subscribe(expected))));

    // A user property after the identifier: the reader counts the identifier's length twice.
    let body = b"\0\x07\x0a\x0b\x80\x01\x26\0\x01k\0\x01v\0\x01a\x2D";
    let mut body = body.to_vec();
    body[2] = 10;
    let v5 = decoded(Version::V5, &framed(0x82, &body));
    let expected = Subscribe {
        packet_id: 7,
        id: Some(128),
        filters: vec![(
            "a".to_owned(),
            SubscribeOptions {
                qos: QoS::AtLeastOnce,
                no_local: true,
                retain_as_published: true,
                retain_handling: RetainHandling::DoNotSend,
            },
        )],
    };
    assert_eq!(v5, Ok(Some(Incoming::Subscribe(expected))));
}

#[test]
fn acknowledgements_are_read_in_short_and_long_form() {
    let cases = [
        (framed(0x40, b"\0\x01"), Incoming::PubAck(1, 0)),
        (framed(0x40, b"\0\x01\x10"), Incoming::PubAck(1, 0x10)),
        (framed(0x50, b"\0\x02\x87\0"), Incoming::PubRec(2, 0x87)),
        (
            framed(0x62, b"\0\x03\x92\x04\x1f\0\x01x"),
            Incoming::PubRel(3, 0x92),
        ),
        (framed(0x70, b"\0\x04"), Incoming::PubComp(4, 0)),
        (
            framed(0xA2, b"\0\x05\0\0\x01a"),
            Incoming::Unsubscribe(Unsubscribe {
                packet_id: 5,
                filters: vec!["a".to_owned()],
            }),
        ),
        (
            framed(0xE0, b""),
            Incoming::Disconnect(Disconnect {
                reason: 0,
                session_expiry: None,
            }),
        ),
        (
            framed(0xE0, b"\x04"),
            Incoming::Disconnect(Disconnect {
                reason: reason::WITH_WILL,
                session_expiry: None,
            }),
        ),
        (
            framed(0xE0, b"\0\x05\x11\0\0\0\x07"),
            Incoming::Disconnect(Disconnect {
                reason: 0,
                session_expiry: Some(7),
            }),
        ),
    ];
    for (bytes, packet) in cases {
        assert_eq!(decoded(Version::V5, &bytes), Ok(Some(packet)));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn packet_that_breaks_a_rule_is_refused() {
    let overrun = "a field that runs over the end of the packet";
    let trailing = "bytes after the end of the packet's fields";
    let sent_by_servers = "a packet type that clients do not send";
    let flags = "wrong flags in the fixed header";
    let value = "a value that MQTT does not allow there";
    let cases: Vec<(Version, Vec<u8>, &str, &str)> = vec![
        (
            Version::V5,
            vec![0x20, 3, 0, 0, 0],
            sent_by_servers,
            "CONNACK: unreachable! in the reader",
        ),
        (
            Version::V5,
            vec![0xB0, 4, 0, 1, 0, 0],
            sent_by_servers,
            "UNSUBACK: unreachable! in the reader",
        ),
        (
            Version::V5,
            vec![0x90, 4, 0, 1, 0, 0],
            sent_by_servers,
            "SUBACK",
        ),
        (Version::V3_1_1, vec![0xD0, 0], sent_by_servers, "PINGRESP"),
        (
            Version::V5,
            vec![0xF0, 0],
            "AUTH without an Authentication Method",
            "MQTT-4.12.0-7",
        ),
        (Version::V3_1_1, vec![0x00, 0], sent_by_servers, "type 0"),
        (
            Version::V3_1_1,
            framed(0x10, b"\0\x04MQTT\x04\x02\0\0\0\x01a"),
            "a second CONNECT",
            "MQTT-3.1.0-2",
        ),
        (
            Version::V3_1_1,
            framed(0x36, b"\0\x01a\0\x01"),
            flags,
            "QoS 3",
        ),
        (
            Version::V3_1_1,
            framed(0x38, b"\0\x01a"),
            flags,
            "DUP at QoS 0, MQTT-3.3.1-2",
        ),
        (
            Version::V3_1_1,
            framed(0x80, b"\0\x01\0\x01a\0"),
            flags,
            "SUBSCRIBE without its flag",
        ),
        (
            Version::V3_1_1,
            framed(0x60, b"\0\x01"),
            flags,
            "PUBREL without its flag",
        ),
        (
            Version::V3_1_1,
            framed(0x8A, b"\0\x01\0\x01a\0"),
            flags,
            "DUP of 3.1 in 3.1.1",
        ),
        (
            Version::V3_1_1,
            framed(0x30, b""),
            overrun,
            "PUBLISH without topic",
        ),
        (
            Version::V3_1_1,
            framed(0x30, b"\0\x05a"),
            overrun,
            "topic over the end",
        ),
        (
            Version::V3_1_1,
            framed(0x32, b"\0\x01a"),
            overrun,
            "QoS 1 without identifier",
        ),
        (
            Version::V3_1_1,
            framed(0x32, b"\0\x01a\0\0"),
            "packet identifier 0",
            "MQTT-2.3.1-1",
        ),
        (
            Version::V3_1_1,
            framed(0x30, b"\0\x01\xff"),
            "text that is not UTF-8",
            "topic",
        ),
        (
            Version::V3_1_1,
            framed(0x82, b"\0\x01"),
            "no topic filter",
            "MQTT-3.8.3-3",
        ),
        (
            Version::V3_1_1,
            framed(0x82, b"\0\x01\0\x02a\0\0"),
            "a NUL character in text",
            "MQTT-1.5.3-2",
        ),
        (
            Version::V3_1_1,
            framed(0x82, b"\0\0\0\x01a\0"),
            "packet identifier 0",
            "SUBSCRIBE",
        ),
        (
            Version::V3_1_1,
            framed(0x82, b"\0\x01\0\x01a"),
            overrun,
            "filter without QoS",
        ),
        (
            Version::V3_1_1,
            framed(0x82, b"\0\x01\0\x01a\x03"),
            "wrong subscription options",
            "QoS 3",
        ),
        (
            Version::V3_1_1,
            framed(0x82, b"\0\x01\0\x01a\x05"),
            "reserved subscription options",
            "No Local in 3.1.1",
        ),
        (
            Version::V5,
            framed(0x82, b"\0\x01\0\0\x01a\x30"),
            "wrong subscription options",
            "Retain Handling 3",
        ),
        (
            Version::V5,
            framed(0x82, b"\0\x01\x02\x0b\0\0\x01a\0"),
            "a property's value is out of range",
            "Subscription Identifier 0",
        ),
        (
            Version::V3_1_1,
            framed(0xA2, b"\0\x01"),
            "no topic filter",
            "MQTT-3.10.3-2",
        ),
        (
            Version::V3_1_1,
            framed(0xA2, b"\0"),
            overrun,
            "UNSUBSCRIBE of one byte",
        ),
        (
            Version::V3_1_1,
            framed(0x40, b"\0\x01\0"),
            trailing,
            "reason code in 3.1.1",
        ),
        (
            Version::V3_1_1,
            framed(0x50, b"\0\x01abcdef"),
            trailing,
            "long PUBREC in 3.1.1",
        ),
        (
            Version::V3_1_1,
            framed(0xC0, b"x"),
            trailing,
            "PINGREQ with a body",
        ),
        (
            Version::V3_1_1,
            framed(0xE0, b"\0"),
            trailing,
            "reason code in 3.1.1",
        ),
        (
            Version::V5,
            framed(0x40, b"\0\x01\x42"),
            value,
            "unknown reason code",
        ),
        (
            Version::V5,
            framed(0xE0, b"\x42"),
            value,
            "unknown reason code",
        ),
        (
            Version::V5,
            framed(0x30, b"\0\x01a\x02\x0b\x01"),
            "a Subscription Identifier in PUBLISH",
            "MQTT-3.3.4-6",
        ),
        (
            Version::V5,
            framed(0x30, b"\0\x01a\x06\x08\0\x03r/+"),
            "a property's value is out of range",
            "MQTT-3.3.2-14",
        ),
        (
            Version::V5,
            framed(0x30, b"\0\x01a\x04\x01\x01\x01\x01"),
            "a property that stands twice",
            "§2.2.2.2",
        ),
        (
            Version::V5,
            framed(0x30, b"\0\x01a\x02\x01\x02"),
            "a property's value is out of range",
            "payload format 2",
        ),
        (
            Version::V5,
            framed(0x30, b"\0\x01a\x02\xC8\x02"),
            "a property that does not belong there",
            "identifier beyond the table",
        ),
        (
            Version::V5,
            framed(0x30, b"\0\x01a\x7f"),
            overrun,
            "property length over the end",
        ),
        (
            Version::V5,
            framed(0x30, b"\0\x01a"),
            overrun,
            "no property length",
        ),
    ];
    let protocol_errors = [
        "AUTH without an Authentication Method",
        "a Subscription Identifier in PUBLISH",
        "a property that stands twice",
        "a property's value is out of range",
        "a second CONNECT",
        "no topic filter",
        "wrong subscription options",
    ];
    for (version, bytes, error, why) in cases {
        let error = if protocol_errors.contains(&error) {
            DecodeError::Protocol(error)
        } else {
            DecodeError::Malformed(error)
        };
        assert_eq!(decoded(version, &bytes), Err(error), "{why}: {bytes:02x?}");
    }
}

#[test]
fn dup_of_subscribe_belongs_to_3_1() {
    let subscribe = decoded(Version::V3_1, &framed(0x8A, b"\0\x01\0\x01a\0")).unwrap();
    assert!(matches!(subscribe, Some(Incoming::Subscribe(_))));
}

fn delivery(properties: Option<Properties>) -> Delivery {
    Delivery {
        topic: Topic::parse("é/b").unwrap(),
        names_topic: true,
        alias: None,
        payload: Bytes::from_static(b"hi"),
        qos: QoS::AtLeastOnce,
        packet_id: 9,
        dup: true,
        retain: true,
        properties: properties.map(Arc::new),
        subscription_ids: vec![1, 200],
    }
}

fn all_properties() -> Properties {
    Properties {
        payload_format: Some(1),
        expiry_interval: Some(5),
        content_type: Some("t".to_owned()),
        response_topic: Some("r".to_owned()),
        correlation_data: Some(Bytes::from_static(b"c")),
        user_properties: vec![("k".to_owned(), "v".to_owned())],
    }
}

#[test]
fn properties_are_written_for_mqtt_5_only() {
    let packet = || Outgoing::Publish(delivery(Some(all_properties())));
    let v4 = b"\x3B\x0a\0\x04\xC3\xA9/b\0\x09hi";
    assert_eq!(encoded(Version::V3_1_1, packet()), v4);
    assert_eq!(encoded(Version::V3_1, packet()), v4);
    let v5 = b"\x3B\x2a\0\x04\xC3\xA9/b\0\x09\x1f\
        \x01\x01\x02\0\0\0\x05\x03\0\x01t\x08\0\x01r\x09\0\x01c\x26\0\x01k\0\x01v\
        \x0b\x01\x0b\xC8\x01hi";
    assert_eq!(encoded(Version::V5, packet()), v5);
}

#[test]
fn publish_is_written_as_rumqttd_reads_it() {
    let large = Delivery {
        payload: vec![7; 20_000].into(),
        ..delivery(Some(all_properties()))
    };
    for (version, packet) in [(Version::V3_1_1, large.clone()), (Version::V5, large)] {
        let mut out = BytesMut::new();
        encode(version, Outgoing::Publish(packet), &mut out);
        let Packet::Publish(publish, properties) = parse(version, &mut out).unwrap() else {
            panic!("not a PUBLISH");
        };
        assert!(out.is_empty());
        assert_eq!(publish.payload, vec![7; 20_000]);
        let ids = properties.map(|properties| properties.subscription_identifiers);
        assert_eq!(ids, (version == Version::V5).then(|| vec![1, 200]));
    }
}

#[test]
fn text_too_long_for_mqtt_is_not_written_at_all() {
    let properties = Properties {
        content_type: Some("x".repeat(65_536)),
        ..Properties::default()
    };
    let packet = Outgoing::Publish(delivery(Some(properties)));
    assert_eq!(encoded(Version::V5, packet), b"");
}

#[test]
fn packets_are_written_in_the_form_of_each_version() {
    let grant = Grant {
        client_id: Some("x".to_owned()),
        session_expiry: Some(1),
        keep_alive: Some(2),
        receive_maximum: 3,
        maximum_packet: 4,
        topic_alias_maximum: 5,
        shared_subscriptions: false,
    };
    let accept = Outgoing::ConnAck(ConnAck {
        session_present: true,
        reason: 0,
        grant: Some(grant),
    });
    let v5 = b"\x20\x1c\x01\0\x19\x11\0\0\0\x01\x21\0\x03\x27\0\0\0\x04\x12\0\x01x\x22\0\x05\x2a\0\x13\0\x02";
    assert_eq!(encoded(Version::V5, accept.clone()), v5);
    // PubSubClient reads exactly four bytes.
    assert_eq!(encoded(Version::V3_1_1, accept.clone()), [0x20, 2, 1, 0]);
    assert_eq!(encoded(Version::V3_1, accept), [0x20, 2, 1, 0]);
    let cases: Vec<(Outgoing, &[u8], &[u8])> = vec![
        (
            Outgoing::PubAck(1, 0x87),
            &[0x40, 2, 0, 1],
            &[0x40, 4, 0, 1, 0x87, 0],
        ),
        (Outgoing::PubAck(1, 0), &[0x40, 2, 0, 1], &[0x40, 2, 0, 1]),
        (
            Outgoing::PubRec(1, 0x97),
            &[0x50, 2, 0, 1],
            &[0x50, 4, 0, 1, 0x97, 0],
        ),
        (Outgoing::PubRel(1, 0), &[0x62, 2, 0, 1], &[0x62, 2, 0, 1]),
        (
            Outgoing::PubComp(1, 0x92),
            &[0x70, 2, 0, 1],
            &[0x70, 4, 0, 1, 0x92, 0],
        ),
        (
            Outgoing::SubAck(1, vec![0, 2, 0x87, 0x8F]),
            &[0x90, 6, 0, 1, 0, 2, 0x80, 0x80],
            &[0x90, 7, 0, 1, 0, 0, 2, 0x87, 0x8F],
        ),
        (
            Outgoing::UnsubAck(1, vec![0, 0x11]),
            &[0xB0, 2, 0, 1],
            &[0xB0, 5, 0, 1, 0, 0, 0x11],
        ),
        (Outgoing::PingResp, &[0xD0, 0], &[0xD0, 0]),
        // rumqttd would announce one byte and write two.
        (Outgoing::Disconnect(0x8B), &[], &[0xE0, 1, 0x8B]),
    ];
    for (packet, v4, v5) in cases {
        assert_eq!(encoded(Version::V3_1_1, packet.clone()), v4, "{packet:?}");
        assert_eq!(encoded(Version::V5, packet.clone()), v5, "{packet:?}");
    }
}

#[test]
fn refusals_carry_the_return_code_of_3_1_1_and_the_reason_code_of_5() {
    let cases = [
        (reason::UNSUPPORTED_VERSION, 1),
        (reason::CLIENT_ID_INVALID, 2),
        (reason::UNAVAILABLE, 3),
        (reason::BUSY, 3),
        (reason::QUOTA_EXCEEDED, 3),
        (reason::BAD_CREDENTIALS, 4),
        (reason::NOT_AUTHORIZED, 5),
    ];
    for (reason, code) in cases {
        let refuse = Outgoing::ConnAck(ConnAck {
            session_present: true,
            reason,
            grant: None,
        });
        assert_eq!(encoded(Version::V3_1_1, refuse.clone()), [0x20, 2, 0, code]);
        assert_eq!(encoded(Version::V5, refuse), [0x20, 3, 0, reason, 0]);
    }
}

#[test]
fn every_code_can_be_written_in_every_version() {
    for version in VERSIONS {
        for code in 0..=255 {
            for packet in [
                Outgoing::ConnAck(ConnAck {
                    session_present: false,
                    reason: code,
                    grant: None,
                }),
                Outgoing::PubAck(1, code),
                Outgoing::PubRec(1, code),
                Outgoing::PubRel(1, code),
                Outgoing::PubComp(1, code),
                Outgoing::SubAck(1, vec![code]),
                Outgoing::UnsubAck(1, vec![code]),
            ] {
                assert!(!encoded(version, packet).is_empty());
            }
        }
    }
}

/// A valid packet of each type and form, to be damaged.
fn samples() -> Vec<Vec<u8>> {
    vec![
        framed(0x10, b"\0\x06MQIsdp\x03\xC2\0\x0f\0\x01a\0\x01u\0\x01p"),
        framed(0x10, b"\0\x04MQTT\x04\xF6\0\x0f\0\x01a\0\x01w\0\x01m\0\x01u\0\x01p"),
        framed(0x10, b"\0\x04MQTT\x05\xEE\0\0\x0d\x11\0\0\0\x3c\x21\0\x05\x27\0\0\x01\0\0\x01c\x07\x18\0\0\0\x02\x01\x01\0\x01w\0\x02go\0\x01u\0\x02\xff\xfe"),
        framed(0x30, b"\0\x01ahi"),
        framed(0x3D, b"\0\x03\xC3\xA9b\x12\x34\x19\x01\x01\x02\0\0\0\x09\x23\0\x03\x08\0\x01r\x09\0\x01\xff\x26\0\x01k\0\x01v!"),
        framed(0x40, b"\0\x01\x10\x04\x1f\0\x01x"),
        framed(0x50, b"\0\x01\x87\0"),
        framed(0x62, b"\0\x01\x92\0"),
        framed(0x70, b"\0\x01"),
        framed(0x82, b"\0\x07\0\x03a/#\x02\0\x01b\0"),
        framed(0x82, b"\0\x07\x0a\x0b\x80\x01\x26\0\x01k\0\x01v\0\x01a\x2D"),
        framed(0xA2, b"\0\x05\0\0\x01a\0\x01b"),
        framed(0xC0, b""),
        framed(0xE0, b"\0\x05\x11\0\0\0\x07"),
    ]
}

/// Decodes until nothing more comes out, as a session does, first with CONNECT and then without.
fn decode_all(bytes: &[u8]) {
    let _ = connected(bytes);
    for version in VERSIONS {
        let mut buffer = BytesMut::from(bytes);
        let mut before = usize::MAX;
        while let Ok(Some(_)) = decode(version, &mut buffer, MAX) {
            assert!(buffer.len() < before, "a packet takes bytes off the buffer");
            before = buffer.len();
        }
    }
}

proptest! {
    // A failure becomes a named test above instead of a file of seeds.
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_bytes_make_the_codec_panic(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
        decode_all(&bytes);
    }

    #[test]
    fn no_damage_to_a_packet_makes_the_codec_panic(
        sample in 0..14_usize,
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        cut in any::<usize>(),
        tail in proptest::collection::vec(any::<u8>(), 0..8),
        fit in any::<bool>(),
    ) {
        let mut bytes = samples()[sample].clone();
        for (place, value) in changes {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        bytes.truncate(bytes.len() - cut % bytes.len().min(4));
        bytes.extend_from_slice(&tail);
        if fit && bytes.len() > 1 {
            // The damage then lies inside a packet whose length is right.
            bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
        }
        decode_all(&bytes);
    }

    #[test]
    fn any_delivery_is_written_so_that_it_can_be_read(
        topic in "[^+#\0]{1,20}",
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        text in proptest::option::of("[^\0]{0,200}"),
        ids in proptest::collection::vec(1..268_435_456_u32, 0..4),
        qos in 0..3_u8,
        v5 in any::<bool>(),
        alias in proptest::option::of(1..=u16::MAX),
        names_topic in any::<bool>(),
    ) {
        // Only a client of MQTT 5 gets aliases, and without one the topic is named.
        let alias = alias.filter(|_| v5);
        let names_topic = names_topic || alias.is_none();
        let version = if v5 { Version::V5 } else { Version::V3_1_1 };
        let packet = Delivery {
            topic: Topic::parse(&topic).unwrap(),
            names_topic,
            alias,
            payload: payload.clone().into(),
            qos: [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)],
            packet_id: 77,
            dup: false,
            retain: false,
            properties: Some(Arc::new(Properties {
                content_type: text.clone(),
                ..Properties::default()
            })),
            subscription_ids: ids.clone(),
        };
        let mut out = BytesMut::new();
        let bytes = packet.wire_bytes();
        encode(version, Outgoing::Publish(packet), &mut out);
        prop_assert!(!v5 || out.len() == bytes);
        let Packet::Publish(read, properties) = parse(version, &mut out).unwrap() else {
            panic!("not a PUBLISH");
        };
        prop_assert!(out.is_empty());
        let named = if names_topic { topic.as_bytes() } else { &[] };
        prop_assert_eq!(&read.topic[..], named);
        prop_assert_eq!(&read.payload, &payload);
        let properties = properties.unwrap_or_default();
        prop_assert_eq!(properties.topic_alias, alias);
        prop_assert_eq!(properties.content_type, text.filter(|_| v5));
        let read_ids: Vec<u32> = properties
            .subscription_identifiers
            .iter()
            .map(|&id| u32::try_from(id).unwrap())
            .collect();
        prop_assert_eq!(read_ids, if v5 { ids } else { vec![] });
    }
}

#[test]
fn the_size_of_a_connack_is_what_is_written() {
    let least = Grant {
        receive_maximum: 64,
        maximum_packet: 65_536,
        topic_alias_maximum: 16,
        shared_subscriptions: true,
        ..Grant::default()
    };
    let most = Grant {
        client_id: Some("a".repeat(100)),
        session_expiry: Some(1),
        keep_alive: Some(1),
        shared_subscriptions: false,
        ..least.clone()
    };
    for grant in [Grant::default(), least, most] {
        let expected = grant.wire_bytes();
        let connack = ConnAck {
            session_present: false,
            reason: reason::SUCCESS,
            grant: Some(grant),
        };
        let mut bytes = BytesMut::new();
        encode(Version::V5, Outgoing::ConnAck(connack), &mut bytes);
        assert_eq!(bytes.len(), expected);
    }
}
