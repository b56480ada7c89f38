//! CONNECT and CONNACK (§3.1, §3.2): sessions, wills, refusals.

use std::time::{Duration, Instant};

use crate::mqtt::{Broker, CLEAN, Client, PINGREQ, PINGRESP, ack, block, connect_with, packet};
use crate::peer::{BOTH, Connect, FOR_EVER, Peer, V3, V5};

/// A user `kitchen` with the password `right`, and nobody else.
const USERS: &str = r#"
anonymous = "no"
[[user]]
name = "kitchen"
password = "$sha256$c2FsdHNhbHQ$FR8UeCMT3/fKTEhhldTae/b+v/u/qEX+413/4joENeU"
publish = ["nodes/#"]
subscribe = ["nodes/#"]
"#;

/// 3.1.1: MQTT-3.1.0-1
/// 5: MQTT-3.1.0-1
#[test]
fn first_packet_that_is_not_connect_ends_the_connection() {
    let broker = Broker::start();
    for version in BOTH {
        for bytes in [
            version.publish("t", "x", 0, 0),
            ack(0x40, 1),
            ack(0x50, 1),
            ack(0x62, 1),
            ack(0x70, 1),
            version.subscribe(1, &[("t", 0)]),
            version.unsubscribe(1, &["t"]),
            PINGREQ.to_vec(),
            vec![0xE0, 0],
            vec![0xF0, 0],
            vec![0x20, 2, 0, 0],
        ] {
            let mut client = Client::open(broker.address);
            client.send(&bytes);
            client.expect_end();
        }
    }
}

/// 3.1.1: MQTT-3.1.0-2
/// 5: MQTT-3.1.0-2
#[test]
fn second_connect_ends_the_connection() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.send(&Connect::new(version, "c").bytes());
        peer.expect_gone(0x82);
    }
}

/// 3.1.1: MQTT-3.1.2-1
/// 5: MQTT-3.1.2-1
#[test]
fn other_protocol_names_end_the_connection() {
    let broker = Broker::start();
    for level in [4, 5] {
        for name in ["mqtt", "MQTTX", "", "AMQP"] {
            let mut body = block(name);
            body.extend([level, CLEAN, 0, 0]);
            if level == 5 {
                body.push(0);
            }
            body.extend(block("c"));
            let mut client = Client::open(broker.address);
            client.send(&packet(0x10, &body));
            client.expect_end();
        }
    }
}

/// 3.1.1: MQTT-3.1.2-2
/// 5: MQTT-3.1.2-2
#[test]
fn unknown_protocol_level_is_refused() {
    let broker = Broker::start();
    for (level, answer) in [(2, V3.refusal(1, 0)), (6, V5.refusal(0, 0x84))] {
        let mut client = Client::open(broker.address);
        client.send(&connect_with(level, CLEAN, 0, &block("c")));
        client.expect(&answer);
        client.expect_end();
    }
}

/// 3.1.1: MQTT-3.1.2-3 MQTT-3.1.2-11 MQTT-3.1.2-13 MQTT-3.1.2-14 MQTT-3.1.2-15 MQTT-3.1.4-1
/// 5: MQTT-3.1.2-3 MQTT-3.1.2-11 MQTT-3.1.2-12 MQTT-3.1.2-13 MQTT-3.1.4-1
#[test]
fn connect_with_flags_that_do_not_go_together_gets_no_connack() {
    let broker = Broker::start();
    for version in BOTH {
        let plain = Connect::new(version, "c");
        let will = plain.clone().will("t", "x", 0);
        for (connect, why) in [
            (plain.clone().flag(0x01), "the reserved flag"),
            (plain.clone().flag(0x08), "will QoS 1 without a will"),
            (plain.clone().flag(0x10), "will QoS 2 without a will"),
            (plain.flag(0x20), "will retain without a will"),
            (will.flag(0x18), "will QoS 3"),
        ] {
            let mut client = Client::open(broker.address);
            client.send(&connect.bytes());
            assert_eq!(client.next_packet(), None, "{version:?}: {why}");
        }
    }
}

/// 3.1.1: MQTT-3.1.2-9 MQTT-3.1.2-18 MQTT-3.1.2-19 MQTT-3.1.2-20 MQTT-3.1.2-21 MQTT-3.1.3-1
/// 3.1.1: MQTT-3.1.3-3
/// 5: MQTT-3.1.2-9 MQTT-3.1.2-16 MQTT-3.1.2-17 MQTT-3.1.2-18 MQTT-3.1.2-19 MQTT-3.1.3-1
/// 5: MQTT-3.1.3-3
#[test]
fn connect_holds_what_its_flags_announce_and_no_more() {
    let broker = Broker::with(USERS);
    for version in BOTH {
        let mut user = Connect::new(version, "c").user("kitchen", Some("right"));
        let all = user.clone().will("nodes/w", "x", 0);
        let (peer, _) = Peer::open(&broker, &all);
        peer.leave();
        let mut wrong = vec![
            Connect::new(version, "c").flag(0x04),
            Connect::new(version, "c").flag(0x80),
            Connect::new(version, "c").user("kitchen", None).flag(0x40),
        ];
        user.flags &= !0x40;
        wrong.push(user.clone());
        user.flags &= !0x80;
        wrong.push(user);
        let mut without_will = all;
        without_will.flags &= !0x3C;
        wrong.push(without_will);
        for (number, connect) in wrong.iter().enumerate() {
            let mut client = Client::open(broker.address);
            client.send(&connect.bytes());
            assert_eq!(client.next_packet(), None, "{version:?} {number}");
        }
    }
    // Nothing at all where the client ID has to stand.
    for (level, rest) in [(4, &[][..]), (5, &[0])] {
        let mut client = Client::open(broker.address);
        client.send(&connect_with(level, CLEAN, 0, rest));
        client.expect_end();
    }
}

/// 3.1.1: MQTT-3.1.2-22
#[test]
fn password_needs_a_user_name_in_3_1_1_alone() {
    let broker = Broker::with(USERS);
    let password = block("right");
    let mut client = Client::open(broker.address);
    client.send(&connect_with(
        4,
        CLEAN | 0x40,
        0,
        &[block("c"), password.clone()].concat(),
    ));
    client.expect_end();
    let mut client = Client::open(broker.address);
    client.send(&connect_with(
        5,
        CLEAN | 0x40,
        0,
        &[&[0][..], &block("c"), &password].concat(),
    ));
    client.expect(&V5.refusal(0, 0x86));
    client.expect_end();
}

/// 3.1.1: MQTT-3.1.2-4 MQTT-3.1.2-5 MQTT-3.1.3-2 MQTT-3.2.2-2 MQTT-3.2.2-3 MQTT-4.5.0-1
/// 5: MQTT-3.1.2-5 MQTT-3.1.2-6 MQTT-3.1.2-23 MQTT-3.1.3-2 MQTT-3.2.2-3 MQTT-4.5.0-1
#[test]
fn session_that_is_kept_is_resumed_with_what_came_meanwhile() {
    let broker = Broker::start();
    for version in BOTH {
        let connect = Connect::kept(version, format!("{version:?}"));
        let (mut peer, present) = Peer::open(&broker, &connect);
        assert!(!present, "{version:?}");
        peer.hear("t", 2);
        peer.leave();
        let mut publisher = Peer::join(&broker, version, "p");
        publisher.tell_surely("t", "1");
        publisher.tell("t", "2", 4, 5);
        publisher.expect(&ack(0x50, 5));
        let (mut peer, present) = Peer::open(&broker, &connect);
        assert!(present, "{version:?}");
        peer.expect_told("t", "1", 2, 1);
        peer.expect_told("t", "2", 4, 2);
        // Another client ID is another session.
        let (_, present) = Peer::open(&broker, &Connect::kept(version, format!("{version:?}x")));
        assert!(!present);
    }
}

/// 3.1.1: MQTT-3.1.2-6 MQTT-3.1.4-3 MQTT-3.2.2-1
/// 5: MQTT-3.1.2-4 MQTT-3.1.4-4 MQTT-3.2.2-2
#[test]
fn clean_start_discards_the_session() {
    let broker = Broker::start();
    for version in BOTH {
        let (mut peer, _) = Peer::open(&broker, &Connect::kept(version, "c"));
        peer.hear("t", 1);
        peer.leave();
        let mut publisher = Peer::join(&broker, version, "p");
        publisher.tell_surely("t", "x");
        let (mut peer, present) = Peer::open(&broker, &Connect::new(version, "c"));
        assert!(!present);
        publisher.tell_surely("t", "y");
        peer.expect_quiet();
        peer.leave();
        // What was clean does not last either.
        let (mut peer, present) = Peer::open(&broker, &Connect::kept(version, "c"));
        assert!(!present);
        peer.expect_quiet();
        peer.leave();
    }
}

/// 3.1.1: MQTT-3.1.2-7
#[test]
fn retained_messages_outlive_the_session_they_came_from() {
    let broker = Broker::start();
    let mut peer = Peer::join(&broker, V3, "c");
    peer.tell("t", "kept", 1, 0);
    peer.leave();
    let mut peer = Peer::join(&broker, V3, "d");
    peer.hear("t", 0);
    peer.expect_told("t", "kept", 1, 0);
}

/// 3.1.1: MQTT-3.1.2-8 MQTT-3.1.2-10 MQTT-3.1.2-16 MQTT-3.1.2-17
/// 5: MQTT-3.1.2-7 MQTT-3.1.2-8 MQTT-3.1.2-10 MQTT-3.1.2-14 MQTT-3.1.2-15
#[test]
fn will_is_published_once_when_the_connection_breaks() {
    let broker = Broker::start();
    for version in BOTH {
        for (qos, retain) in [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1)] {
            let topic = format!("{version:?}/{qos}/{retain}");
            let mut witness = Peer::join(&broker, version, "witness");
            witness.hear(&topic, 2);
            let connect = Connect::kept(version, "c");
            let will = connect.clone().will(&topic, "gone", qos << 3 | retain << 5);
            Peer::open(&broker, &will).0.vanish();
            witness.expect_told(&topic, "gone", qos << 1, u16::from(qos > 0));
            // It was its connection's, and that one's only.
            Peer::open(&broker, &connect).0.vanish();
            witness.expect_quiet();
            let mut later = Peer::join(&broker, version, "later");
            later.hear(&topic, 0);
            if retain == 1 {
                later.expect_told(&topic, "gone", 1, 0);
            }
            later.expect_quiet();
        }
    }
}

/// 3.1.1: MQTT-3.1.2-12 MQTT-3.14.4-3
/// 5: MQTT-3.14.4-3
#[test]
fn disconnect_discards_the_will() {
    let broker = Broker::start();
    for version in BOTH {
        let mut witness = Peer::join(&broker, version, "witness");
        witness.hear("#", 0);
        let will = Connect::new(version, "c").will("t", "gone", 0);
        Peer::open(&broker, &will).0.leave();
        Peer::open(&broker, &Connect::new(version, "d")).0.vanish();
        witness.expect_quiet();
        if version == V5 {
            let (mut peer, _) = Peer::open(&broker, &will);
            peer.send(&[0xE0, 1, 0x04]);
            witness.expect_told("t", "gone", 0, 0);
        }
    }
}

/// 5: MQTT-3.1.3-9 MQTT-3.1.3-10
#[test]
fn will_waits_for_its_delay_or_the_end_of_the_session_and_not_for_who_comes_back() {
    const DELAY: &[u8] = &[0x18, 0, 0, 0, 1];
    let broker = Broker::start();
    let mut witness = Peer::join(&broker, V5, "witness");
    witness.hear("#", 0);
    let users = [1, 2, 1].map(|number| {
        let value = format!("{number}");
        [&[38][..], &block("k"), &block(value)].concat()
    });
    let own = [DELAY, &users.concat()].concat();
    let lasting = |id| Connect::new(V5, id).property(FOR_EVER);
    let start = Instant::now();
    let delayed = lasting("delayed").will_with(&own, "delayed", "x", 0);
    Peer::open(&broker, &delayed).0.vanish();
    let back = lasting("back").will_with(DELAY, "back", "x", 0);
    Peer::open(&broker, &back).0.vanish();
    let (_back, _) = Peer::open(&broker, &Connect::kept(V5, "back"));
    let ended = Connect::new(V5, "ended").will_with(DELAY, "ended", "x", 0);
    Peer::open(&broker, &ended).0.vanish();
    witness.expect_told("ended", "x", 0, 0);
    let message = V5.publish_with(&users.concat(), "delayed", "x", (0, 0));
    witness.expect(&message);
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    witness.expect_quiet();
}

/// 3.1.1: MQTT-3.1.2-24
/// 5: MQTT-3.1.2-22 MQTT-3.2.2-22
#[test]
fn silent_client_is_disconnected_after_one_and_a_half_keep_alives() {
    let broker = Broker::start();
    let mut witness = Peer::join(&broker, V3, "witness");
    witness.hear("#", 0);
    let start = Instant::now();
    let silent = BOTH.map(|version| {
        let connect = Connect::new(version, format!("{version:?}")).keep_alive(1);
        Peer::open(&broker, &connect.will("w", "gone", 0)).0
    });
    for mut peer in silent {
        peer.expect_gone(0x8D);
        assert!(
            start.elapsed() >= Duration::from_millis(1_450),
            "{:?}",
            start.elapsed()
        );
        // As if the network had failed.
        witness.expect_told("w", "gone", 0, 0);
    }
}

/// 3.1.1: MQTT-3.1.3-5
/// 5: MQTT-3.1.3-5
#[test]
fn client_ids_of_1_to_23_letters_and_digits_are_allowed() {
    let broker = Broker::start();
    for version in BOTH {
        for id in [
            "0",
            "0123456789abcdefghijklm",
            "nopqrstuvwxyzABCDEFGHIJ",
            "KLMNOPQRSTUVWXYZ",
        ] {
            Peer::join(&broker, version, id).leave();
        }
    }
}

/// 3.1.1: MQTT-3.1.3-6 MQTT-3.1.3-8
/// 5: MQTT-3.1.3-6 MQTT-3.1.3-7 MQTT-3.2.2-16
#[test]
fn client_without_an_id_gets_one_of_its_own() {
    let broker = Broker::start();
    let mut first = Peer::join(&broker, V3, "");
    let mut second = Peer::join(&broker, V3, "");
    first.expect_quiet();
    second.expect_quiet();
    let mut client = Client::open(broker.address);
    client.send(&Connect::kept(V3, "").bytes());
    client.expect(&V3.refusal(2, 0));
    client.expect_end();

    let assigned = |clean: u8| {
        let mut client = Client::open(broker.address);
        let mut connect = Connect::new(V5, "");
        connect.flags = clean;
        client.send(&connect.bytes());
        let connack = client.packet();
        assert_eq!(connack[2..4], [0, 0]);
        let place = connack.windows(3).position(|three| *three == [0x12, 0, 21]);
        let id = connack[place.unwrap() + 3..][..21].to_vec();
        (client, String::from_utf8(id).unwrap())
    };
    let ((mut one, first), (_two, second)) = (assigned(CLEAN), assigned(0));
    assert_ne!(first, second);
    // It is known by that name.
    let _taker = Peer::join(&broker, V5, &first);
    one.expect(&[0xE0, 1, 0x8E]);
}

/// 3.1.1: MQTT-3.1.3-9 MQTT-3.2.2-4 MQTT-3.2.2-5
/// 5: MQTT-3.1.3-8 MQTT-3.2.2-6 MQTT-3.2.2-7 MQTT-3.2.2-8 MQTT-3.1.4-2
#[test]
fn refusal_speaks_of_no_session_and_ends_the_connection() {
    let broker = Broker::with(USERS);
    for version in BOTH {
        let kitchen = |password| Connect::kept(version, "c").user("kitchen", Some(password));
        let (peer, _) = Peer::open(&broker, &kitchen("right"));
        peer.leave();
        let long = Connect::kept(version, "x".repeat(257)).user("kitchen", Some("right"));
        for (connect, answer) in [
            (kitchen("wrong"), version.refusal(4, 0x86)),
            (Connect::kept(version, "c"), version.refusal(5, 0x87)),
            (long, version.refusal(2, 0x85)),
            (
                kitchen("right").will("$SYS/x", "x", 0),
                version.refusal(5, 0x87),
            ),
        ] {
            let mut client = Client::open(broker.address);
            client.send(&connect.bytes());
            client.expect(&answer);
            client.expect_end();
        }
    }
}

/// 3.1.1: MQTT-3.1.4-5
/// 5: MQTT-3.1.4-6
#[test]
fn nothing_behind_a_refused_connect_is_processed() {
    let broker = Broker::with(USERS);
    for version in BOTH {
        let wrong = Connect::new(version, "c").user("kitchen", Some("wrong"));
        let mut client = Client::open(broker.address);
        client.send(&[wrong.bytes(), version.publish("nodes/t", "x", 1, 0)].concat());
        client.expect(&version.refusal(4, 0x86));
        client.expect_end();
        let right = Connect::new(version, "c").user("kitchen", Some("right"));
        let (mut peer, _) = Peer::open(&broker, &right);
        peer.hear("nodes/t", 0);
        peer.expect_quiet();
    }
}

/// 3.1.1: MQTT-3.2.2-6
#[test]
fn connection_is_closed_where_no_return_code_fits() {
    let broker = Broker::with("max_clients = 1");
    let _one = Peer::join(&broker, V3, "one");
    let mut two = Client::open(broker.address);
    two.send(&Connect::new(V3, "two").bytes());
    two.expect_end();
}

/// 3.1.1: MQTT-3.1.4-2
/// 5: MQTT-3.1.4-3
#[test]
fn second_connection_of_a_client_ends_the_first() {
    let broker = Broker::start();
    for version in BOTH {
        let mut first = Peer::join(&broker, version, "same");
        let mut second = Peer::join(&broker, version, "same");
        first.expect_gone(0x8E);
        second.expect_quiet();
    }
}

/// 3.1.1: MQTT-3.1.4-4 MQTT-3.2.0-1
/// 5: MQTT-3.1.4-5 MQTT-3.2.0-1 MQTT-3.2.0-2 MQTT-3.2.2-1
#[test]
fn connack_comes_first_and_once() {
    let broker = Broker::start();
    for version in BOTH {
        let mut client = Client::open(broker.address);
        let all = [
            PINGREQ.to_vec(),
            Connect::new(version, "c").bytes(),
            version.subscribe(1, &[("t", 0)]),
            PINGREQ.to_vec(),
        ];
        client.send(&all[1..].concat());
        let connack = client.packet();
        assert_eq!(connack[0], 0x20, "{version:?}");
        assert_eq!(connack[2..4], [0, 0], "{version:?}");
        client.expect(&version.suback(1, &[0]));
        client.expect(&PINGRESP);
        client.expect_quiet();
    }
}

/// 5: MQTT-3.1.2-28 MQTT-3.1.2-29 MQTT-4.12.0-6
#[test]
fn connack_says_what_the_broker_grants_and_no_more() {
    let broker = Broker::with("max_packet = \"64KiB\"");
    // Neither Response Information nor anything of an Authentication Method, whatever is asked.
    for asked in [&[][..], &[25, 0], &[25, 1], &[23, 0], &[23, 1]] {
        let mut client = Client::open(broker.address);
        client.send(&Connect::new(V5, "c").property(asked).bytes());
        let connack = client.packet();
        let granted = [
            &[0x21, 0, 64][..],  // Receive Maximum
            &[0x27, 0, 1, 0, 0], // Maximum Packet Size
            &[0x22, 0, 16],      // Topic Alias Maximum
        ];
        assert_eq!(connack[..5], [0x20, 14, 0, 0, 11]);
        let mut rest = &connack[5..];
        while !rest.is_empty() {
            let own = granted.iter().find(|own| rest.starts_with(own));
            rest = &rest[own.unwrap_or_else(|| panic!("{rest:02x?}")).len()..];
        }
    }
}

/// 5: MQTT-3.1.2-24 MQTT-3.1.2-25
#[test]
fn packets_larger_than_the_client_takes_are_not_sent() {
    let broker = Broker::start();
    let connect = Connect::new(V5, "c").property(&[0x27, 0, 0, 0, 20]);
    let (mut peer, _) = Peer::open(&broker, &connect);
    peer.hear("t", 1);
    let mut publisher = Peer::join(&broker, V3, "p");
    // 1 + 1 + 3 + 2 + 1: type, length, topic, packet identifier, properties.
    for payload in ["0123456789abc", "0123456789ab", "0123456789abcdef", "1"] {
        publisher.tell_surely("t", payload);
    }
    peer.expect_told("t", "0123456789ab", 2, 1);
    peer.expect_told("t", "1", 2, 2);
    peer.expect_quiet();
    let many: Vec<_> = [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o",
    ]
    .map(|filter| (filter, 0))
    .into();
    peer.send(&V5.subscribe(2, &many));
    peer.expect(&V5.suback(2, &[0; 15]));
    peer.send(&V5.subscribe(3, &[&many[..], &[("p", 0)]].concat()));
    peer.expect_gone(0x95);
    for (largest, answer) in [(15, Some(V5.refusal(0, 0x95))), (4, None)] {
        let mut client = Client::open(broker.address);
        client.send(
            &Connect::new(V5, "c")
                .property(&[0x27, 0, 0, 0, largest])
                .bytes(),
        );
        assert_eq!(client.next_packet(), answer);
    }
}

/// 5: MQTT-4.12.0-1
#[test]
fn authentication_method_is_refused() {
    let broker = Broker::start();
    let method = [&[0x15][..], &block("SCRAM-SHA-1")].concat();
    let mut client = Client::open(broker.address);
    client.send(&Connect::new(V5, "c").property(&method).bytes());
    client.expect(&V5.refusal(0, 0x8C));
    client.expect_end();
    // Data without a method is no authentication but an error (§3.1.2.11.10).
    let mut client = Client::open(broker.address);
    let data = Connect::new(V5, "c").property(&[22, 0, 1, b'x']);
    client.send(&data.bytes());
    client.expect_end();
    let mut peer = Peer::join(&broker, V5, "c");
    peer.send(&[0xF0, 0]);
    peer.expect_gone(0x82);
}
