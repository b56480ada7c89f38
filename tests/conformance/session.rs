//! PINGREQ, DISCONNECT, the life of a session, errors (§3.12, §3.14, §4.1, §4.2, §4.13).

use std::time::Duration;

use crate::mqtt::{Broker, Client, PINGREQ, PINGRESP, ack, block};
use crate::peer::{BOTH, Connect, Peer, V3, V5};

/// 3.1.1: MQTT-3.12.4-1
/// 5: MQTT-3.12.4-1
#[test]
fn each_pingreq_is_answered() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.send(&PINGREQ.repeat(3));
        for _ in 0..3 {
            peer.expect(&PINGRESP);
        }
    }
}

/// 3.1.1: MQTT-7.1.1-1
/// 5: MQTT-4.2.0-1
#[test]
fn stream_may_be_cut_anywhere() {
    let broker = Broker::start();
    for version in BOTH {
        let mut client = Client::open(broker.address);
        let all = [
            Connect::new(version, "c").bytes(),
            version.subscribe(1, &[("t", 0)]),
            version.publish("t", "x", 2, 1),
            PINGREQ.to_vec(),
        ];
        for byte in all.concat() {
            client.send(&[byte]);
        }
        assert_eq!(client.packet()[0], 0x20);
        client.expect(&version.suback(1, &[0]));
        client.expect_all(&[
            ack(0x40, 1),
            version.publish("t", "x", 0, 0),
            PINGRESP.to_vec(),
        ]);
    }
}

/// 3.1.1: MQTT-4.1.0-1 MQTT-4.1.0-2
/// 5: MQTT-4.1.0-1
#[test]
fn session_lasts_as_long_as_its_connection() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.hear("t", 1);
        let mut publisher = Peer::join(&broker, version, "p");
        for id in 1..=50 {
            publisher.tell_surely("t", "x");
            peer.expect_told("t", "x", 2, id);
            peer.send(&ack(0x40, id));
        }
        peer.expect_quiet();
    }
}

/// 5: MQTT-4.1.0-2
#[test]
fn session_ends_when_its_time_has_passed() {
    let broker = Broker::start();
    let expiring = |seconds| Connect::new(V5, "c").property(&[0x11, 0, 0, 0, seconds]);
    let present = || Peer::open(&broker, &Connect::kept(V5, "c")).1;
    Peer::open(&broker, &expiring(1)).0.leave();
    std::thread::sleep(Duration::from_millis(1_200));
    assert!(!present());
    // DISCONNECT may say otherwise, but not bring back what was to end with the connection.
    for (before, after, lasts) in [(100, 0, false), (1, 100, true)] {
        let (mut peer, _) = Peer::open(&broker, &expiring(before));
        peer.send(&[0xE0, 7, 0, 5, 0x11, 0, 0, 0, after]);
        peer.expect_end();
        assert_eq!(present(), lasts);
    }
    let mut peer = Peer::join(&broker, V5, "d");
    peer.send(&[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 1]);
    peer.expect_gone(0x82);
}

/// 5: MQTT-3.14.0-1 MQTT-3.14.2-1 MQTT-3.14.2-2 MQTT-3.14.4-1 MQTT-3.14.4-2 MQTT-4.13.1-1
/// 5: MQTT-4.13.2-1
#[test]
fn errors_end_the_connection_with_a_reason_and_nothing_after_it() {
    let broker = Broker::with("max_packet = \"1KiB\"");
    let with = |properties: &[u8]| V5.publish_with(properties, "t", "x", (0, 0));
    let user = [&[38][..], &block("k")].concat();
    let cases: [(&str, Vec<u8>, u8); 18] = [
        ("packet type 0", vec![0, 0], 0x81),
        ("CONNACK", vec![0x20, 3, 0, 0, 0], 0x81),
        (
            "a length of five bytes",
            vec![0x30, 0x80, 0x80, 0x80, 0x80, 1],
            0x81,
        ),
        (
            "a topic longer than its packet",
            vec![0x30, 3, 0, 9, b't'],
            0x81,
        ),
        ("PINGREQ with a body", vec![0xC0, 1, 0], 0x81),
        (
            "properties longer than their packet",
            vec![0x30, 4, 0, 1, b't', 9],
            0x81,
        ),
        ("half a property", with(&user), 0x81),
        ("an unknown property", with(&[0x7F, 0]), 0x81),
        ("a property of CONNECT", with(&[33, 0, 1]), 0x81),
        ("a property twice", with(&[1, 1, 1, 1]), 0x82),
        ("payload format 2", with(&[1, 2]), 0x82),
        (
            "subscription identifier 0",
            V5.subscribe_with(&[11, 0], 1, &[("t", 0)]),
            0x82,
        ),
        ("unknown reason code", vec![0x40, 4, 0, 1, 0x42, 0], 0x81),
        ("no topic", V5.publish("", "x", 0, 0), 0x82),
        ("no such topic", V5.publish("#", "x", 0, 0), 0x90),
        (
            "unknown alias",
            V5.publish_with(&[35, 0, 1], "", "x", (0, 0)),
            0x82,
        ),
        ("alias over the maximum", with(&[35, 1, 0]), 0x94),
        ("a packet over the limit", vec![0x30, 0x80, 0x08], 0x95),
    ];
    for (why, bytes, code) in cases {
        let mut peer = Peer::join(&broker, V5, "c");
        // What follows is not looked at, or it would be answered.
        peer.send(&[&bytes[..], &PINGREQ].concat());
        assert_eq!(peer.packet(), [0xE0, 1, code], "{why}");
        peer.expect_end();
        // Before CONNECT there is no DISCONNECT.
        let mut client = Client::open(broker.address);
        client.send(&bytes);
        assert_eq!(client.next_packet(), None, "{why}");
    }
}

/// 5: MQTT-3.2.2-19 MQTT-3.2.2-20 MQTT-3.4.2-2 MQTT-3.4.2-3 MQTT-3.5.2-2 MQTT-3.5.2-3
/// 5: MQTT-3.6.2-2 MQTT-3.6.2-3 MQTT-3.7.2-2 MQTT-3.7.2-3 MQTT-3.9.2-1 MQTT-3.9.2-2
/// 5: MQTT-3.11.2-1 MQTT-3.11.2-2 MQTT-3.14.2-3 MQTT-3.14.2-4
#[test]
fn answers_hold_neither_reason_strings_nor_user_properties() {
    let broker = Broker::with("anonymous_publish = [\"a\"]\nanonymous_subscribe = [\"a\"]");
    let mut client = Client::open(broker.address);
    client.send(&Connect::new(V5, "x".repeat(300)).bytes());
    client.expect(&[0x20, 3, 0, 0x85, 0]);
    let mut peer = Peer::join(&broker, V5, "c");
    let exchanges: [(Vec<u8>, &[u8]); 9] = [
        (V5.publish("b", "x", 2, 1), &[0x40, 4, 0, 1, 0x87, 0]),
        (V5.publish("b", "x", 4, 1), &[0x50, 4, 0, 1, 0x87, 0]),
        (V5.publish("a", "x", 2, 1), &[0x40, 2, 0, 1]),
        (V5.publish("a", "x", 4, 1), &[0x50, 2, 0, 1]),
        (ack(0x62, 1), &[0x70, 2, 0, 1]),
        (ack(0x62, 9), &[0x70, 4, 0, 9, 0x92, 0]),
        (ack(0x50, 9), &[0x62, 4, 0, 9, 0x92, 0]),
        (V5.subscribe(1, &[("b", 0)]), &[0x90, 4, 0, 1, 0, 0x87]),
        (V5.unsubscribe(1, &["b"]), &[0xB0, 4, 0, 1, 0, 0x11]),
    ];
    for (packet, answer) in exchanges {
        peer.send(&packet);
        peer.expect(answer);
    }
    peer.send(&[0xF0, 0]);
    peer.expect(&[0xE0, 1, 0x82]);
}

/// 3.1.1: MQTT-7.0.0-2
#[test]
fn client_that_knows_no_extension_is_served() {
    let broker = Broker::start();
    let mut peer = Peer::join(&broker, V3, "c");
    peer.hear("t", 2);
    peer.tell("t", "x", 0, 0);
    peer.expect_told("t", "x", 0, 0);
    peer.leave();
}
