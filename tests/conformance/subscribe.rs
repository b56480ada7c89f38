//! SUBSCRIBE, UNSUBSCRIBE and what filters mean (§3.8 to §3.11, §4.7, §4.8).

use crate::mqtt::{Broker, Client, PINGREQ, PINGRESP, ack};
use crate::peer::{BOTH, Connect, Peer, V3, V5};

/// 3.1.1: MQTT-3.8.3-3 MQTT-3.10.3-2
/// 5: MQTT-3.8.3-2 MQTT-3.10.3-2
#[test]
fn subscribe_or_unsubscribe_without_a_filter_ends_the_connection() {
    let broker = Broker::start();
    for version in BOTH {
        for packet in [version.subscribe(1, &[]), version.unsubscribe(1, &[])] {
            let mut peer = Peer::join(&broker, version, "c");
            peer.send(&packet);
            peer.expect_gone(0x82);
        }
    }
}

/// 3.1.1: MQTT-3.8.3-4
/// 5: MQTT-3.8.3-5
#[test]
fn reserved_subscription_options_end_the_connection() {
    let broker = Broker::start();
    let old = (0..8)
        .map(|bit| (V3, 1 << bit, 0x81))
        .filter(|(_, options, _)| *options > 2);
    let new = [
        (V5, 0x40, 0x81),
        (V5, 0x80, 0x81),
        (V5, 0x03, 0x82),
        (V5, 0x30, 0x82),
    ];
    let all = old.chain([(V3, 3, 0)]).chain(new);
    for (version, options, code) in all {
        let mut peer = Peer::join(&broker, version, "c");
        peer.send(&version.subscribe(1, &[("t", options)]));
        peer.expect_gone(code);
    }
}

/// 3.1.1: MQTT-3.8.4-3
/// 5: MQTT-3.8.4-3
#[test]
fn subscribing_again_replaces_the_subscription() {
    let broker = Broker::start();
    for version in BOTH {
        let mut publisher = Peer::join(&broker, version, "p");
        publisher.tell("r", "kept", 1 | 2, 1);
        publisher.expect(&ack(0x40, 1));
        let mut peer = Peer::join(&broker, version, "c");
        for qos in [0, 1, 0] {
            peer.hear("r", qos);
            // What is retained is sent each time, and the message that follows once.
            peer.expect_told("r", "kept", 1 | qos << 1, qos.into());
            peer.send(&ack(0x40, 1));
            publisher.tell_surely("r", "x");
            let id = 2 * u16::from(qos);
            peer.expect_told("r", "x", qos << 1, id);
            peer.send(&ack(0x40, 2));
            peer.expect_quiet();
        }
    }
}

/// 3.1.1: MQTT-3.8.4-4 MQTT-3.8.4-5 MQTT-3.9.3-1 MQTT-3.9.3-2
/// 5: MQTT-3.8.4-5 MQTT-3.8.4-6 MQTT-3.8.4-7 MQTT-3.9.3-1 MQTT-3.9.3-2
#[test]
fn one_suback_answers_each_filter_in_order() {
    let broker = Broker::with("anonymous_subscribe = [\"a/#\"]\n");
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        let filters = [
            ("a/2", 2),
            ("b", 1),
            ("a/#/b", 0),
            ("a/0", 0),
            ("a/1", 1),
            ("a/2", 1),
        ];
        peer.send(&version.subscribe(1, &filters));
        peer.expect(&version.suback(1, &[2, 0x87, 0x8F, 0, 1, 1]));
        for (topic, flags) in [("a/0", 0), ("a/1", 2), ("a/2", 2)] {
            let mut publisher = Peer::join(&broker, version, "p");
            publisher.tell(topic, "x", 4, 1);
            let message = peer.packet();
            assert_eq!(message[0], 0x30 | flags, "{topic}");
        }
    }
}

/// 3.1.1: MQTT-3.8.4-6
/// 5: MQTT-3.8.4-8
#[test]
fn delivery_is_at_the_lower_of_both_qos() {
    let broker = Broker::start();
    for version in BOTH {
        for (granted, published) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))) {
            let mut peer = Peer::join(&broker, version, "c");
            peer.hear("t", granted);
            let mut publisher = Peer::join(&broker, version, "p");
            publisher.tell("t", "x", published << 1, 1);
            let qos = granted.min(published);
            peer.expect_told("t", "x", qos << 1, u16::from(qos > 0));
        }
    }
}

/// 3.1.1: MQTT-3.10.4-1 MQTT-3.10.4-2 MQTT-3.10.4-5
/// 5: MQTT-3.10.4-1 MQTT-3.10.4-2 MQTT-3.10.4-5
#[test]
fn unsubscribe_takes_the_filter_it_names_and_is_always_answered() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.hear("a/+", 0);
        for other in ["a/b", "a/#", "A/+", "a/+/", "#", "never"] {
            peer.send(&version.unsubscribe(2, &[other]));
            peer.expect(&version.unsuback(2, &[0x11]));
        }
        peer.tell("a/b", "x", 0, 0);
        peer.expect_told("a/b", "x", 0, 0);
        peer.send(&version.unsubscribe(3, &["a/+"]));
        peer.expect(&version.unsuback(3, &[0]));
        peer.tell("a/b", "x", 0, 0);
        peer.expect_quiet();
    }
}

/// 3.1.1: MQTT-3.10.4-3
/// 5: MQTT-3.10.4-3
#[test]
fn unsubscribe_lets_begun_deliveries_finish() {
    let broker = Broker::start();
    for version in BOTH {
        let connect = Connect::kept(version, format!("{version:?}"));
        let (mut peer, _) = Peer::open(&broker, &connect);
        peer.hear("t", 2);
        let mut publisher = Peer::join(&broker, version, "p");
        publisher.tell("t", "1", 2, 1);
        publisher.tell("t", "2", 4, 2);
        peer.expect_told("t", "1", 2, 1);
        peer.expect_told("t", "2", 4, 2);
        peer.send(&version.unsubscribe(9, &["t"]));
        peer.expect(&version.unsuback(9, &[0]));
        peer.vanish();
        let (mut peer, _) = Peer::open(&broker, &connect);
        peer.expect_told("t", "1", 8 | 2, 1);
        peer.expect_told("t", "2", 8 | 4, 2);
        peer.send(&ack(0x50, 2));
        peer.expect(&ack(0x62, 2));
    }
}

/// 3.1.1: MQTT-3.10.4-6
/// 5: MQTT-3.10.4-6 MQTT-3.11.3-1 MQTT-3.11.3-2
#[test]
fn one_unsuback_answers_each_filter_in_order() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.send(&version.subscribe(1, &[("a", 0), ("b", 0)]));
        peer.expect(&version.suback(1, &[0, 0]));
        peer.send(&version.unsubscribe(2, &["x", "a", "a", "a/#/b", "b"]));
        peer.expect(&version.unsuback(2, &[0x11, 0, 0x11, 0x8F, 0]));
        peer.tell("a", "x", 0, 0);
        peer.tell("b", "x", 0, 0);
        peer.expect_quiet();
    }
}

/// 3.1.1: MQTT-3.3.2-3 MQTT-3.8.3-2 MQTT-4.7.3-4
/// 5: MQTT-3.3.2-3 MQTT-4.7.3-4
#[test]
fn filters_match_as_the_standard_says() {
    let broker = Broker::start();
    let cases: [(&str, &[&str], &[&str]); 12] = [
        ("a/b", &["a/b"], &["a/B", "a/b/", "/a/b", "a"]),
        ("a/#", &["a", "a/", "a/b", "a/b/c"], &["b/a", "/a", "ab"]),
        ("#", &["a", "/", "a/b/c", "é"], &[]),
        ("+", &["a", "é"], &["/a", "a/b", "a/"]),
        ("+/+", &["/a", "a/", "a/b", "/"], &["a", "a/b/c"]),
        ("/+", &["/a", "/"], &["a", "a/b"]),
        ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/d"]),
        ("+/b/#", &["a/b", "a/b/c"], &["a/c", "b"]),
        (
            "sport/tennis/player1/#",
            &["sport/tennis/player1"],
            &["sport/tennis/player2"],
        ),
        (
            "Accounts payable",
            &["Accounts payable"],
            &["ACCOUNTS", "Accounts  payable"],
        ),
        // Composed and decomposed forms of a letter are different topics, and so is full width.
        ("\u{E9}", &["\u{E9}"], &["e\u{301}", "E\u{301}"]),
        ("\u{FF21}/%61", &["\u{FF21}/%61"], &["A/a", "A/%61"]),
    ];
    for version in BOTH {
        for (filter, matching, others) in cases {
            let mut peer = Peer::join(&broker, version, "c");
            peer.hear(filter, 0);
            for topic in others {
                peer.tell(topic, "x", 0, 0);
            }
            peer.expect_quiet();
            for topic in matching {
                peer.tell(topic, "x", 0, 0);
                peer.expect_told(topic, "x", 0, 0);
            }
        }
    }
}

/// 3.1.1: MQTT-4.7.2-1
/// 5: MQTT-4.7.2-1
#[test]
fn leading_wildcards_do_not_reach_the_gateways_own_topics() {
    let broker = Broker::with("anonymous_subscribe = [\"#\", \"$bridge/#\"]");
    for version in BOTH {
        let mut wild = Peer::join(&broker, version, "wild");
        for filter in ["#", "+/#", "+/clients/+"] {
            wild.hear(filter, 0);
        }
        let mut exact = Peer::join(&broker, version, "exact");
        exact.hear("$bridge/+/same/#", 0);
        // Many clients that throw each other out are something to tell.
        let same = || Peer::join(&broker, version, "same");
        let rivals: Vec<_> = std::iter::repeat_with(same).take(11).collect();
        Client::open(broker.address).send(&Connect::new(version, "same").bytes());
        let notice = exact.packet();
        assert!(
            notice
                .windows(20)
                .any(|part| part == b"$bridge/clients/same"),
            "{notice:02x?}"
        );
        wild.expect_quiet();
        drop(rivals);
    }
}

/// 3.1.1: MQTT-4.7.1-2 MQTT-4.7.1-3
/// 5: MQTT-4.7.1-1 MQTT-4.7.1-2
#[test]
fn misplaced_wildcards_are_refused() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        for filter in [
            "a#", "a/#/b", "#/a", "##", "+#", "a+", "a/+b/c", "++", "", "a/b#",
        ] {
            peer.send(&version.subscribe(1, &[(filter, 0)]));
            peer.expect(&version.suback(1, &[0x8F]));
        }
        for topic in ["a", "a/b", "a/b/c"] {
            peer.tell(topic, "x", 0, 0);
        }
        peer.expect_quiet();
    }
}

/// 3.1.1: MQTT-4.7.3-3
/// 5: MQTT-4.7.3-3
#[test]
fn topics_and_filters_have_up_to_65535_bytes() {
    let broker =
        Broker::with("max_packet = \"1MiB\"\nmax_topic = 65535\nqueue = { bytes = \"1MiB\" }");
    let longest = "x".repeat(65_535);
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.hear(&longest, 0);
        peer.tell(&longest, "y", 0, 0);
        peer.expect_told(&longest, "y", 0, 0);
    }
}

/// 5: MQTT-3.8.3-3
#[test]
fn no_local_keeps_ones_own_messages_away() {
    let broker = Broker::start();
    let mut peer = Peer::join(&broker, V5, "c");
    peer.send(&V5.subscribe(1, &[("t", 0b100)]));
    peer.expect(&V5.suback(1, &[0]));
    peer.tell("t", "own", 0, 0);
    peer.expect_quiet();
    Peer::join(&broker, V5, "p").tell("t", "other", 0, 0);
    peer.expect_told("t", "other", 0, 0);
}

/// 5: MQTT-3.8.3-4
#[test]
fn no_local_on_a_shared_subscription_ends_the_connection() {
    let broker = Broker::start();
    let mut peer = Peer::join(&broker, V5, "c");
    peer.send(&V5.subscribe(1, &[("$share/g/t", 0b100)]));
    peer.expect_gone(0x82);
}

/// 5: MQTT-4.8.2-1 MQTT-4.8.2-2 MQTT-4.8.2-3
#[test]
fn shared_subscription_is_served_in_turns_at_the_qos_of_each_member() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        for filter in [
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//t",
            "$share/+/t",
        ] {
            peer.send(&version.subscribe(1, &[(filter, 0)]));
            peer.expect(&version.suback(1, &[0x8F]));
        }
        let mut publisher = Peer::join(&broker, version, "p");
        publisher.tell("t", "kept", 1, 0);
        publisher.expect_quiet();
        let mut members = [0, 1, 2].map(|qos| {
            let mut member = Peer::join(&broker, version, &format!("m{qos}"));
            member.hear("$share/g/t", qos);
            // What is retained is for nobody in particular.
            member.expect_quiet();
            member
        });
        for payload in ["1", "2", "3"] {
            publisher.tell("t", payload, 4, 1);
            publisher.expect(&ack(0x50, 1));
            publisher.send(&ack(0x62, 1));
            publisher.expect(&ack(0x70, 1));
        }
        let mut payloads: Vec<_> = (0..3)
            .map(|qos| {
                let message = members[usize::from(qos)].packet();
                assert_eq!(message[0], 0x30 | qos << 1);
                message[message.len() - 1]
            })
            .collect();
        payloads.sort_unstable();
        assert_eq!(payloads, b"123");
        for mut member in members {
            member.expect_quiet();
        }
    }
}

/// 5: MQTT-4.8.2-4 MQTT-4.8.2-5 MQTT-4.8.2-6
#[test]
fn delivery_to_one_member_is_not_given_to_another() {
    let broker = Broker::start();
    let kept = Connect::kept(V5, "chosen");
    let (mut chosen, _) = Peer::open(&broker, &kept);
    chosen.hear("$share/g/t", 2);
    let mut publisher = Peer::join(&broker, V5, "p");
    publisher.tell("t", "1", 4, 1);
    chosen.expect_told("t", "1", 4, 1);
    let mut other = Peer::join(&broker, V5, "other");
    other.hear("$share/g/t", 2);
    chosen.vanish();
    // It is still its own, and what it refuses is nobody's.
    let (mut chosen, _) = Peer::open(&broker, &kept);
    chosen.expect_told("t", "1", 8 | 4, 1);
    chosen.send(&V5.ack(0x50, 1, 0x80));
    chosen.expect_quiet();
    other.expect_quiet();
    // So it is when its session ends.
    let mut got = None;
    for id in [2, 3] {
        publisher.tell("t", "2", 4, id);
        other.send(&PINGREQ);
        match other.packet() {
            packet if packet == PINGRESP => got = Some(()),
            _ => other.expect(&PINGRESP),
        }
    }
    assert!(got.is_some(), "one of two is the chosen member's");
    chosen.vanish();
    Peer::join(&broker, V5, "chosen").leave();
    other.expect_quiet();
}
