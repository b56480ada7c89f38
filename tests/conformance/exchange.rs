//! The exchanges of QoS 1 and 2 (§3.4 to §3.7, §4.3, §4.4, §4.9), both ways.

use crate::mqtt::{Broker, ack};
use crate::peer::{BOTH, Connect, Peer, V3, V5};

/// 3.1.1: MQTT-3.3.4-1 MQTT-4.3.2-2
/// 5: MQTT-3.3.4-1 MQTT-3.4.2-1 MQTT-4.3.2-4 MQTT-4.3.2-5
#[test]
fn qos_1_is_acknowledged_each_time_as_a_new_message() {
    let broker = Broker::start();
    for version in BOTH {
        let mut witness = Peer::join(&broker, version, "witness");
        witness.hear("t", 0);
        let mut peer = Peer::join(&broker, version, "c");
        peer.tell("t", "0", 0, 0);
        peer.expect_quiet();
        witness.expect_told("t", "0", 0, 0);
        // After the PUBACK it is another message, whatever DUP says.
        for flags in [2, 8 | 2, 2] {
            peer.tell("t", "1", flags, 7);
            peer.expect(&ack(0x40, 7));
            witness.expect_told("t", "1", 0, 0);
        }
    }
}

/// 3.1.1: MQTT-4.3.3-2
/// 5: MQTT-3.5.2-1 MQTT-3.7.2-1 MQTT-4.3.3-8 MQTT-4.3.3-10 MQTT-4.3.3-11 MQTT-4.3.3-12
#[test]
fn qos_2_is_delivered_once_until_it_is_released() {
    let broker = Broker::start();
    for version in BOTH {
        let mut witness = Peer::join(&broker, version, "witness");
        witness.hear("t", 0);
        let connect = Connect::kept(version, format!("{version:?}"));
        let (mut peer, _) = Peer::open(&broker, &connect);
        for flags in [4, 8 | 4, 4] {
            peer.tell("t", "1", flags, 7);
            peer.expect(&ack(0x50, 7));
        }
        peer.vanish();
        let (mut peer, _) = Peer::open(&broker, &connect);
        peer.tell("t", "1", 8 | 4, 7);
        peer.expect(&ack(0x50, 7));
        peer.send(&ack(0x62, 7));
        peer.expect(&ack(0x70, 7));
        witness.expect_told("t", "1", 0, 0);
        witness.expect_quiet();
        // A PUBREL that nobody waits for is answered all the same.
        peer.send(&ack(0x62, 7));
        peer.expect(&version.ack(0x70, 7, 0x92));
        peer.tell("t", "2", 4, 7);
        peer.expect(&ack(0x50, 7));
        witness.expect_told("t", "2", 0, 0);
    }
}

/// 5: MQTT-4.3.3-9
#[test]
fn refused_qos_2_message_is_done_with() {
    let broker = Broker::with("anonymous_publish = [\"a\"]\n");
    let mut witness = Peer::join(&broker, V5, "witness");
    witness.hear("#", 0);
    let mut peer = Peer::join(&broker, V5, "c");
    peer.tell("b", "x", 4, 7);
    peer.expect(&V5.ack(0x50, 7, 0x87));
    peer.tell("a", "x", 4, 7);
    peer.expect(&ack(0x50, 7));
    witness.expect_told("a", "x", 0, 0);
}

/// 3.1.1: MQTT-2.3.1-4 MQTT-4.3.2-1 MQTT-4.3.3-1 MQTT-4.4.0-1 MQTT-4.6.0-1
/// 5: MQTT-2.2.1-4 MQTT-3.6.2-1 MQTT-4.3.2-1 MQTT-4.3.2-2 MQTT-4.3.2-3 MQTT-4.3.3-1
/// 5: MQTT-4.3.3-2 MQTT-4.3.3-3 MQTT-4.3.3-4 MQTT-4.3.3-5 MQTT-4.3.3-6 MQTT-4.4.0-1
#[test]
fn what_is_unacknowledged_is_sent_again_in_order_with_its_identifier() {
    let broker = Broker::start();
    for version in BOTH {
        let connect = Connect::kept(version, format!("{version:?}"));
        let (mut peer, _) = Peer::open(&broker, &connect);
        peer.hear("t", 2);
        let mut publisher = Peer::join(&broker, version, "p");
        for (id, flags) in [(1, 2), (2, 4), (3, 2), (4, 4), (5, 2)] {
            publisher.tell("t", "x", flags, id);
            publisher.expect(&ack(if flags == 2 { 0x40 } else { 0x50 }, id));
            peer.expect_told("t", "x", flags, id);
        }
        // Nothing is sent again while the connection stands.
        peer.expect_quiet();
        peer.send(&ack(0x40, 3));
        peer.send(&ack(0x50, 2));
        peer.expect(&ack(0x62, 2));
        peer.vanish();
        let (mut peer, _) = Peer::open(&broker, &connect);
        peer.expect_told("t", "x", 8 | 2, 1);
        peer.expect(&ack(0x62, 2));
        peer.expect_told("t", "x", 8 | 4, 4);
        peer.expect_told("t", "x", 8 | 2, 5);
        peer.expect_quiet();
        // Acknowledged in another order.
        peer.send(&ack(0x40, 5));
        peer.send(&ack(0x50, 4));
        peer.expect(&ack(0x62, 4));
        peer.send(&ack(0x70, 4));
        peer.send(&ack(0x70, 2));
        peer.send(&ack(0x40, 1));
        peer.vanish();
        let (mut peer, _) = Peer::open(&broker, &connect);
        peer.expect_quiet();
        publisher.tell("t", "x", 2, 6);
        peer.expect_told("t", "x", 2, 6);
    }
}

/// 5: MQTT-4.4.0-2
#[test]
fn delivery_that_is_acknowledged_with_an_error_is_not_sent_again() {
    let broker = Broker::start();
    let connect = Connect::kept(V5, "c");
    let (mut peer, _) = Peer::open(&broker, &connect);
    peer.hear("t", 2);
    let mut publisher = Peer::join(&broker, V5, "p");
    publisher.tell("t", "1", 2, 1);
    publisher.tell("t", "2", 4, 2);
    peer.expect_told("t", "1", 2, 1);
    peer.expect_told("t", "2", 4, 2);
    peer.send(&V5.ack(0x40, 1, 0x80));
    peer.send(&V5.ack(0x50, 2, 0x97));
    peer.expect_quiet();
    peer.vanish();
    Peer::open(&broker, &connect).0.expect_quiet();
}

/// 3.1.1: MQTT-4.6.0-2 MQTT-4.6.0-3 MQTT-4.6.0-4 MQTT-4.6.0-5 MQTT-4.6.0-6
/// 5: MQTT-4.6.0-5 MQTT-4.6.0-6
#[test]
fn order_is_kept_both_ways() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.hear("t", 2);
        let mut publisher = Peer::join(&broker, version, "p");
        for flags in [0, 2, 4] {
            let numbers: Vec<u16> = (1..=15).collect();
            let all = numbers.iter();
            let all = all.map(|number| version.publish("t", number.to_string(), flags, *number));
            publisher.send(&all.collect::<Vec<_>>().concat());
            for number in &numbers {
                match flags {
                    2 => publisher.expect(&ack(0x40, *number)),
                    4 => publisher.expect(&ack(0x50, *number)),
                    _ => {}
                }
            }
            let mut ids = Vec::new();
            for number in &numbers {
                let message = peer.packet();
                assert!(
                    message.ends_with(number.to_string().as_bytes()),
                    "{message:02x?}"
                );
                if flags > 0 {
                    ids.push(u16::from_be_bytes([message[5], message[6]]));
                }
            }
            // PUBRELs come in the order of the PUBRECs.
            let middle = ids.len() / 2;
            ids.rotate_left(middle);
            for id in &ids {
                peer.send(&ack(if flags == 2 { 0x40 } else { 0x50 }, *id));
            }
            for id in ids.iter().filter(|_| flags == 4) {
                peer.expect(&ack(0x62, *id));
                peer.send(&ack(0x70, *id));
            }
            peer.expect_quiet();
        }
    }
}

/// 5: MQTT-3.3.4-7
#[test]
fn client_that_exceeds_the_receive_maximum_is_told_so() {
    let broker = Broker::start();
    let mut peer = Peer::join(&broker, V5, "c");
    for id in 1..=64 {
        peer.tell("t", "x", 4, id);
        peer.expect(&ack(0x50, id));
    }
    // One that is released makes room for another.
    peer.send(&ack(0x62, 1));
    peer.expect(&ack(0x70, 1));
    peer.tell("t", "x", 4, 65);
    peer.expect(&ack(0x50, 65));
    peer.tell("t", "x", 2, 66);
    peer.expect_gone(0x93);
}

/// 5: MQTT-3.3.4-9 MQTT-3.3.4-10 MQTT-4.9.0-1 MQTT-4.9.0-2 MQTT-4.9.0-3
#[test]
fn receive_maximum_of_the_client_is_kept_and_holds_up_nothing_else() {
    let broker = Broker::start();
    let (mut peer, _) = Peer::open(&broker, &Connect::new(V5, "c").property(&[33, 0, 2]));
    peer.hear("t/1", 1);
    peer.hear("t/2", 2);
    let mut publisher = Peer::join(&broker, V3, "p");
    publisher.tell_surely("t/1", "1");
    publisher.tell("t/2", "2", 4, 1);
    publisher.expect(&ack(0x50, 1));
    publisher.tell_surely("t/1", "3");
    peer.expect_told("t/1", "1", 2, 1);
    peer.expect_told("t/2", "2", 4, 2);
    peer.expect_quiet();
    peer.hear("u", 0);
    peer.tell("u", "x", 2, 9);
    peer.expect(&ack(0x40, 9));
    // PUBREC alone gives nothing back, PUBCOMP does.
    peer.send(&ack(0x50, 2));
    peer.expect(&ack(0x62, 2));
    peer.expect_quiet();
    peer.send(&ack(0x70, 2));
    peer.expect_told("t/1", "3", 2, 3);
}

/// 3.1.1: MQTT-3.3.5-1
/// 5: MQTT-3.3.4-2 MQTT-3.3.4-3 MQTT-3.3.4-4
#[test]
fn overlapping_filters_get_one_copy_at_their_highest_qos() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        for (identifier, filter, qos) in [(1, "a/#", 0), (2, "a/+", 2), (3, "+/b", 1), (4, "x", 2)]
        {
            peer.send(&version.subscribe_with(&[11, identifier], 1, &[(filter, qos)]));
            peer.expect(&version.suback(1, &[qos]));
        }
        let mut publisher = Peer::join(&broker, version, "p");
        publisher.tell("a/b", "x", 4, 1);
        publisher.expect(&ack(0x50, 1));
        let message = peer.packet();
        assert_eq!(message[0], 0x34);
        if version == V5 {
            let mut identifiers = [message[11], message[13], message[15]];
            identifiers.sort_unstable();
            assert_eq!((message[9], identifiers), (6, [1, 2, 3]));
        }
        peer.expect_quiet();
        // What one of the filters takes at a lower QoS is delivered at that.
        publisher.tell("a/b/c", "x", 4, 2);
        let message = peer.packet();
        assert_eq!(message[0], 0x30);
    }
}
