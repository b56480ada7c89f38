//! Chapters 1 and 2: text, flags, packet identifiers, properties.

use crate::mqtt::{Broker, Client, ack, block, packet};
use crate::peer::{BOTH, Connect, Peer, V3, V5, Version};

/// Bytes that are not UTF-8: a stray byte, a surrogate (U+D800), an overlong form.
const ILL_FORMED: [&[u8]; 3] = [&[0xFF], &[0xED, 0xA0, 0x80], &[0xC0, 0xAF]];

/// CONNECTs with this text in each place for text.
fn connects_with(version: Version, text: &[u8]) -> [Vec<u8>; 3] {
    [
        Connect::new(version, text).bytes(),
        Connect::new(version, "c").will(text, "x", 0).bytes(),
        Connect::new(version, "c").user(text, None).bytes(),
    ]
}

/// Packets with this text in each place for text.
fn packets_with(version: Version, text: &[u8]) -> Vec<Vec<u8>> {
    let filters = |first: u8, end: &[u8]| {
        let header: &[u8] = if version == V3 { &[0, 1] } else { &[0, 1, 0] };
        packet(first, &[header, &block(text), end].concat())
    };
    let mut packets = vec![
        version.publish(text, "x", 0, 0),
        filters(0x82, &[0]),
        filters(0xA2, &[]),
    ];
    if version == V5 {
        let user = [&[38][..], &block("k"), &block(text)].concat();
        let name = [&[38][..], &block(text), &block("v")].concat();
        let content_type = [&[3][..], &block(text)].concat();
        let response_topic = [&[8][..], &block(text)].concat();
        for property in [user, name, content_type, response_topic] {
            packets.push(V5.publish_with(&property, "t", "x", (0, 0)));
        }
    }
    packets
}

/// 3.1.1: MQTT-1.5.3-1 MQTT-3.1.3-4 MQTT-3.1.3-10 MQTT-3.1.3-11 MQTT-3.3.2-1 MQTT-3.8.3-1
/// 3.1.1: MQTT-3.10.3-1
/// 5: MQTT-1.5.4-1 MQTT-1.5.7-1 MQTT-3.1.3-4 MQTT-3.1.3-11 MQTT-3.1.3-12 MQTT-3.3.2-1
/// 5: MQTT-3.3.2-13 MQTT-3.3.2-19 MQTT-3.8.3-1 MQTT-3.10.3-1
#[test]
fn ill_formed_text_ends_the_connection() {
    let broker = Broker::start();
    for (version, text) in BOTH
        .into_iter()
        .flat_map(|it| ILL_FORMED.map(|text| (it, text)))
    {
        for connect in connects_with(version, text) {
            let mut client = Client::open(broker.address);
            client.send(&connect);
            client.expect_end();
        }
        for packet in packets_with(version, text) {
            let mut peer = Peer::join(&broker, version, "c");
            peer.send(&packet);
            peer.expect_gone(0x81);
        }
    }
}

/// 3.1.1: MQTT-1.5.3-2 MQTT-4.7.3-2
/// 5: MQTT-1.5.4-2 MQTT-4.7.3-2
#[test]
fn nul_in_text_ends_the_connection() {
    let broker = Broker::start();
    for version in BOTH {
        for connect in connects_with(version, b"a\0b") {
            let mut client = Client::open(broker.address);
            client.send(&connect);
            client.expect_end();
        }
        for (place, packet) in packets_with(version, b"a\0b").iter().enumerate() {
            let mut peer = Peer::join(&broker, version, "c");
            peer.send(packet);
            // Of a topic it is said that it is no topic.
            peer.expect_gone(if place == 0 { 0x90 } else { 0x81 });
        }
    }
}

/// 3.1.1: MQTT-1.5.3-3
/// 5: MQTT-1.5.4-3
#[test]
fn byte_order_mark_is_part_of_the_text() {
    let broker = Broker::start();
    for version in BOTH {
        let mut without = Peer::join(&broker, version, "without");
        without.hear("t", 0);
        let mut with = Peer::join(&broker, version, "with");
        with.hear("\u{FEFF}t", 0);
        with.tell("\u{FEFF}t", "x", 0, 0);
        with.expect_told("\u{FEFF}t", "x", 0, 0);
        without.expect_quiet();
    }
}

/// 3.1.1: MQTT-2.2.2-1 MQTT-2.2.2-2 MQTT-3.6.1-1 MQTT-3.8.1-1 MQTT-3.10.1-1 MQTT-3.14.1-1
/// 5: MQTT-2.1.3-1 MQTT-3.6.1-1 MQTT-3.8.1-1 MQTT-3.10.1-1 MQTT-3.14.1-1 MQTT-3.15.1-1
#[test]
fn reserved_flags_end_the_connection() {
    let broker = Broker::start();
    for version in BOTH {
        let mut packets = vec![
            (ack(0x40, 1), 0),
            (ack(0x50, 1), 0),
            (ack(0x60, 1), 2),
            (ack(0x70, 1), 0),
            (version.subscribe(1, &[("t", 0)]), 2),
            (version.unsubscribe(1, &["t"]), 2),
            (vec![0xC0, 0], 0),
            (vec![0xE0, 0], 0),
        ];
        if version == V5 {
            packets.push((vec![0xF0, 0], 0));
        }
        for (packet, right) in packets {
            for flags in (0..16).filter(|flags| *flags != right) {
                let mut bytes = packet.clone();
                bytes[0] = bytes[0] & 0xF0 | flags;
                let mut peer = Peer::join(&broker, version, "c");
                peer.send(&bytes);
                peer.expect_gone(0x81);
            }
        }
        let mut connect = Connect::new(version, "c").bytes();
        connect[0] |= 1;
        let mut client = Client::open(broker.address);
        client.send(&connect);
        client.expect_end();
    }
}

/// 3.1.1: MQTT-2.3.1-1
/// 5: MQTT-2.2.1-3
#[test]
fn packet_identifier_zero_ends_the_connection() {
    let broker = Broker::start();
    for version in BOTH {
        for packet in [
            version.publish("t", "x", 2, 0),
            version.publish("t", "x", 4, 0),
            version.subscribe(0, &[("t", 0)]),
            version.unsubscribe(0, &["t"]),
        ] {
            let mut peer = Peer::join(&broker, version, "c");
            peer.send(&packet);
            peer.expect_gone(0x81);
        }
    }
}

/// 3.1.1: MQTT-2.3.1-5 MQTT-3.3.1-2 MQTT-4.3.1-1
/// 5: MQTT-2.2.1-2 MQTT-3.3.1-2 MQTT-4.3.1-1
#[test]
fn messages_at_qos_0_carry_neither_packet_identifier_nor_dup() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.hear("t", 0);
        for flags in [0, 2, 4] {
            let mut publisher = Peer::join(&broker, version, "p");
            publisher.tell("t", "x", flags, 7);
            peer.expect_told("t", "x", 0, 0);
        }
        peer.send(&version.publish("t", "x", 8, 0));
        peer.expect_gone(0x81);
    }
}

/// 3.1.1: MQTT-2.3.1-6 MQTT-2.3.1-7 MQTT-3.8.4-1 MQTT-3.8.4-2 MQTT-3.10.4-4
/// 5: MQTT-2.2.1-5 MQTT-2.2.1-6 MQTT-3.8.4-1 MQTT-3.8.4-2 MQTT-3.10.4-4
#[test]
fn acknowledgements_repeat_the_packet_identifier() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        for id in [1, 0x00FF, 0x1234, 0xFFFF] {
            peer.tell("t", "x", 2, id);
            peer.expect(&ack(0x40, id));
            peer.tell("t", "x", 4, id);
            peer.expect(&ack(0x50, id));
            peer.send(&ack(0x62, id));
            peer.expect(&ack(0x70, id));
            peer.send(&version.subscribe(id, &[("u", 1)]));
            peer.expect(&version.suback(id, &[1]));
            peer.send(&version.unsubscribe(id, &["u"]));
            peer.expect(&version.unsuback(id, &[0]));
        }
    }
}

/// 5: MQTT-1.5.5-1 MQTT-2.2.2-1
#[test]
fn lengths_are_as_short_as_can_be_and_stand_where_there_are_no_properties() {
    let broker = Broker::start();
    let mut peer = Peer::join(&broker, V5, "c");
    peer.send(&[0x82, 7, 0, 1, 0, 0, 1, b't', 0]);
    peer.expect(&[0x90, 4, 0, 1, 0, 0]);
    // 4 bytes beside the payload: the topic with its length, the length of no properties.
    for (payload, header) in [
        (123, &[0x30, 127][..]),
        (124, &[0x30, 0x80, 1]),
        (16_379, &[0x30, 0xFF, 0x7F]),
        (16_380, &[0x30, 0x80, 0x80, 1]),
    ] {
        peer.tell("t", &"x".repeat(payload), 0, 0);
        let message = peer.packet();
        assert_eq!(message[..header.len()], *header);
        assert_eq!(message[header.len()..header.len() + 4], [0, 1, b't', 0]);
    }
}
