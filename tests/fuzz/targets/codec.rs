//! Bytes to packets and back, for each version, in pieces of any size.
//!
//! The first byte says where the bytes stand in a connection (its two lowest bits: before
//! CONNECT, or after the CONNECT of 3.1, 3.1.1 or 5), how large a packet may be (two bits), and
//! in which pieces the bytes arrive (the upper half).

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use mqtt_https_bridge::core::message::QoS;
use mqtt_https_bridge::core::packet::{
    ConnAck, Connect, Delivery, Grant, Incoming, Outgoing, Publish, Version,
};
use mqtt_https_bridge::core::topic::Topic;
use mqtt_https_bridge::fuzzing::{decode, decode_connect, encode};
use mqtt_https_bridge_fuzz::Input;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let first = usize::from(input.byte());
    let version = (first % 4).checked_sub(1).map(|index| VERSIONS[index]);
    let max_packet = [8, 64, 1024, 65_536][first / 4 % 4];
    let piece = first / 16 + 1;
    let wire = input.rest();

    let whole = read(version, max_packet, wire.chunks(wire.len().max(1)));
    let pieces = read(version, max_packet, wire.chunks(piece));
    assert_eq!(whole, pieces, "pieces of {piece} bytes");
    for version in VERSIONS {
        write_answers(version, wire);
    }
    for packet in &whole.packets {
        if let (Packet::Other(packet), Some(version)) = (packet, whole.version) {
            write_again(version, packet);
        }
    }
});

#[derive(Debug, PartialEq)]
enum Packet {
    Connect(Box<Connect>),
    Other(Incoming),
}

#[derive(Debug, PartialEq)]
struct Reading {
    version: Option<Version>,
    packets: Vec<Packet>,
    /// What was not a packet yet.
    left: Vec<u8>,
    error: Option<String>,
}

fn read<'a>(
    version: Option<Version>,
    max_packet: usize,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Reading {
    let mut buffer = BytesMut::new();
    let mut reading = Reading {
        version,
        packets: Vec::new(),
        left: Vec::new(),
        error: None,
    };
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let before = buffer.len();
            let range = buffer.as_ptr_range();
            match next(reading.version, &mut buffer, max_packet) {
                Ok(Some(packet)) => {
                    let size = before - buffer.len();
                    assert!((2..=max_packet).contains(&size), "{size} bytes: {packet:?}");
                    for bytes in own_bytes(&packet).filter(|bytes| !bytes.is_empty()) {
                        assert!(!range.contains(&bytes.as_ptr()), "pins the read buffer");
                    }
                    if let Packet::Connect(connect) = &packet {
                        reading.version = Some(connect.version);
                    }
                    reading.packets.push(packet);
                }
                Ok(None) => break,
                Err(error) => {
                    reading.error = Some(error);
                    return reading;
                }
            }
        }
        assert!(
            buffer.len() < max_packet.max(5),
            "{} bytes wait",
            buffer.len()
        );
    }
    reading.left = buffer.to_vec();
    reading
}

fn next(
    version: Option<Version>,
    buffer: &mut BytesMut,
    max_packet: usize,
) -> Result<Option<Packet>, String> {
    Ok(match version {
        None => decode_connect(buffer, max_packet)?.map(|it| Packet::Connect(Box::new(it))),
        Some(version) => decode(version, buffer, max_packet)?.map(Packet::Other),
    })
}

/// Returns the bytes that a packet keeps.
fn own_bytes(packet: &Packet) -> impl Iterator<Item = &Bytes> {
    let (payload, properties) = match packet {
        Packet::Connect(connect) => {
            let will = connect.will.as_ref();
            let properties = will.and_then(|will| will.properties.as_ref());
            (will.map(|will| &will.payload), properties)
        }
        Packet::Other(Incoming::Publish(own)) => (Some(&own.payload), own.properties.as_ref()),
        Packet::Other(_) => (None, None),
    };
    let correlation = properties.and_then(|own| own.correlation_data.as_ref());
    payload.into_iter().chain(correlation)
}

/// Sends what was received, and receives it again.
fn write_again(version: Version, packet: &Incoming) {
    match packet {
        Incoming::Publish(publish) => publish_again(version, publish),
        Incoming::PubAck(id, code) => {
            let codes = &[0x00, 0x10, 0x87, 0x90, 0x97];
            acknowledge_again(version, packet, Outgoing::PubAck(*id, *code), codes);
        }
        Incoming::PubRec(id, code) => {
            let codes = &[0x00, 0x10, 0x87, 0x90, 0x97];
            acknowledge_again(version, packet, Outgoing::PubRec(*id, *code), codes);
        }
        Incoming::PubRel(id, code) => {
            acknowledge_again(version, packet, Outgoing::PubRel(*id, *code), &[0x00, 0x92]);
        }
        Incoming::PubComp(id, code) => {
            acknowledge_again(
                version,
                packet,
                Outgoing::PubComp(*id, *code),
                &[0x00, 0x92],
            );
        }
        Incoming::Subscribe(packet) => assert!(packet.packet_id > 0 && !packet.filters.is_empty()),
        Incoming::Unsubscribe(packet) => {
            assert!(packet.packet_id > 0 && !packet.filters.is_empty());
        }
        Incoming::PingReq | Incoming::Disconnect(_) => {}
    }
}

fn publish_again(version: Version, publish: &Publish) {
    assert_eq!(publish.packet_id > 0, publish.qos > QoS::AtMostOnce);
    assert!(!publish.dup || publish.qos > QoS::AtMostOnce);
    // An alias stands for the topic where there is none.
    let names_topic = !publish.topic.is_empty() || publish.alias.is_none();
    let text = if names_topic { &publish.topic } else { "t" };
    let Ok(topic) = Topic::parse(text) else {
        return;
    };
    let delivery = Delivery {
        topic,
        names_topic,
        alias: publish.alias,
        payload: publish.payload.clone(),
        qos: publish.qos,
        packet_id: publish.packet_id,
        dup: publish.dup,
        retain: publish.retain,
        properties: publish.properties.clone(),
        subscription_ids: Vec::new(),
    };
    let size = delivery.wire_bytes();
    let mut buffer = write(version, Outgoing::Publish(delivery));
    if version == Version::V5 {
        assert_eq!(
            buffer.len(),
            size,
            "the size that is compared with the client's limit"
        );
    }
    let again = decode(version, &mut buffer, usize::MAX);
    assert_eq!(again, Ok(Some(Incoming::Publish(publish.clone()))));
    assert!(buffer.is_empty());
}

fn acknowledge_again(version: Version, packet: &Incoming, answer: Outgoing, codes: &[u8]) {
    let (Incoming::PubAck(_, code)
    | Incoming::PubRec(_, code)
    | Incoming::PubRel(_, code)
    | Incoming::PubComp(_, code)) = packet
    else {
        return;
    };
    assert!(
        *code == 0 || version == Version::V5,
        "{packet:?} in {version:?}"
    );
    let mut buffer = write(version, answer);
    let again = decode(version, &mut buffer, usize::MAX).unwrap().unwrap();
    // Codes that the broker does not use become a general one.
    if codes.contains(code) {
        assert_eq!(again, *packet);
    }
    assert!(buffer.is_empty());
}

/// Sends what a client can't: no byte makes the writer fail or lie about the length.
fn write_answers(version: Version, bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let id = u16::from(input.byte()) << 8 | u16::from(input.byte());
    let codes: Vec<u8> = bytes.iter().take(300).copied().collect();
    let is_v5 = version == Version::V5;
    let granted = Grant {
        client_id: input.flag().then(|| "x".repeat(input.below(256))),
        session_expiry: input.flag().then_some(u32::from(id)),
        keep_alive: input.flag().then_some(id),
        receive_maximum: id,
        maximum_packet: u32::from(id),
        topic_alias_maximum: id,
        shared_subscriptions: input.flag(),
    };
    let connack = ConnAck {
        session_present: input.flag(),
        reason: input.byte(),
        grant: input.flag().then_some(granted),
    };
    let (present, refused) = (connack.session_present, connack.reason != 0);
    let connack = write(version, Outgoing::ConnAck(connack));
    assert!(is_v5 || connack.len() == 4, "old clients read four bytes");
    let flags = connack[1 + header_digits(&connack)];
    assert_eq!(flags, u8::from(present && !refused));
    let answers = [
        (Outgoing::SubAck(id, codes.clone()), 0x90),
        (Outgoing::UnsubAck(id, codes), 0xB0),
        (Outgoing::PubAck(id, input.byte()), 0x40),
        (Outgoing::PubRec(id, input.byte()), 0x50),
        (Outgoing::PubRel(id, input.byte()), 0x62),
        (Outgoing::PubComp(id, input.byte()), 0x70),
        (Outgoing::PingResp, 0xD0),
    ];
    for (answer, first) in answers {
        let told = format!("{answer:?}");
        let bytes = write(version, answer);
        assert_eq!(bytes[0], first, "{told}");
        if matches!(first, 0x40..=0xB0) {
            let at = 1 + header_digits(&bytes);
            assert_eq!(bytes[at..at + 2], id.to_be_bytes(), "{told}");
        }
    }
    let farewell = encoded(version, Outgoing::Disconnect(input.byte()));
    assert_eq!(farewell.len(), if is_v5 { 3 } else { 0 });
}

/// Encodes a packet that every version has, and checks the length in its header.
fn write(version: Version, packet: Outgoing) -> BytesMut {
    let bytes = encoded(version, packet);
    let digits = header_digits(&bytes);
    let digit = |at: usize| usize::from(bytes[1 + at] & 0x7F) << (7 * at);
    let length: usize = (0..digits).map(digit).sum();
    assert_eq!(bytes.len(), 1 + digits + length, "{version:?} {bytes:02x?}");
    bytes
}

fn encoded(version: Version, packet: Outgoing) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(version, packet, &mut bytes);
    bytes
}

fn header_digits(bytes: &[u8]) -> usize {
    let more = bytes[1..].iter().take_while(|byte| **byte & 0x80 != 0);
    1 + more.count()
}
