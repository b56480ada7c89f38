//! PUBLISH (§3.3): flags, retained messages, properties, aliases.

use std::time::{Duration, Instant};

use crate::mqtt::{Broker, ack, block};
use crate::peer::{BOTH, Connect, FOR_EVER, Peer, V3, V5};

/// User Property `k` with this value.
fn user_property(value: &str) -> Vec<u8> {
    [&[38][..], &block("k"), &block(value)].concat()
}

/// 3.1.1: MQTT-3.3.1-1 MQTT-3.3.1-3
/// 5: MQTT-3.3.1-1 MQTT-3.3.1-3
#[test]
fn dup_is_set_on_what_is_sent_again_and_not_passed_on() {
    let broker = Broker::start();
    for version in BOTH {
        let connect = Connect::kept(version, format!("{version:?}"));
        let (mut peer, _) = Peer::open(&broker, &connect);
        peer.hear("t", 1);
        let mut publisher = Peer::join(&broker, version, "p");
        publisher.tell("t", "x", 8 | 2, 5);
        publisher.expect(&ack(0x40, 5));
        peer.expect_told("t", "x", 2, 1);
        peer.vanish();
        let (mut peer, _) = Peer::open(&broker, &connect);
        peer.expect_told("t", "x", 8 | 2, 1);
    }
}

/// 3.1.1: MQTT-3.3.1-4
/// 5: MQTT-3.3.1-4
#[test]
fn qos_3_ends_the_connection() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.tell("t", "x", 6, 1);
        peer.expect_gone(0x81);
    }
}

/// 3.1.1: MQTT-3.3.1-5 MQTT-3.3.1-6 MQTT-3.3.1-7 MQTT-3.3.1-8
/// 5: MQTT-3.3.1-5
#[test]
fn last_retained_message_goes_to_new_subscriptions() {
    let broker = Broker::start();
    for version in BOTH {
        for flags in [0, 2, 4] {
            let topic = format!("{version:?}/{flags}");
            let mut peer = Peer::join(&broker, version, "c");
            peer.tell(&topic, "first", 2 | 1, 1);
            peer.expect(&ack(0x40, 1));
            peer.tell(&topic, "second", flags | 1, 2);
            let mut later = Peer::join(&broker, version, "later");
            later.hear(&topic, 2);
            later.expect_told(&topic, "second", flags | 1, u16::from(flags > 0));
            later.expect_quiet();
        }
    }
}

/// 3.1.1: MQTT-3.3.1-9
/// 5: MQTT-3.3.1-12 MQTT-3.3.1-13
#[test]
fn retain_is_cleared_for_who_subscribed_before_unless_it_asked_for_it() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.hear("t", 0);
        let mut as_published = Peer::join(&broker, V5, "d");
        as_published.hear("t", 0b1000);
        for retain in [1, 0] {
            let mut publisher = Peer::join(&broker, version, "p");
            publisher.tell("t", "x", retain, 0);
            peer.expect_told("t", "x", 0, 0);
            as_published.expect_told("t", "x", retain, 0);
        }
        peer.tell("t", "", 1, 0);
    }
}

/// 3.1.1: MQTT-3.3.1-10 MQTT-3.3.1-11 MQTT-3.3.1-12
/// 5: MQTT-3.3.1-6 MQTT-3.3.1-7 MQTT-3.3.1-8
#[test]
fn only_an_empty_message_with_retain_clears_and_is_not_kept() {
    let broker = Broker::start();
    for version in BOTH {
        let mut peer = Peer::join(&broker, version, "c");
        peer.hear("other", 0);
        peer.tell("t", "kept", 1, 0);
        // Without RETAIN nothing of the store changes.
        peer.tell("t", "passing", 0, 0);
        peer.tell("t", "", 0, 0);
        peer.hear("t", 0);
        peer.expect_told("t", "kept", 1, 0);
        peer.tell("t", "", 1, 0);
        peer.expect_told("t", "", 0, 0);
        let mut later = Peer::join(&broker, version, "later");
        later.hear("t", 0);
        later.expect_quiet();
    }
}

/// 5: MQTT-3.3.1-9 MQTT-3.3.1-10 MQTT-3.3.1-11 MQTT-3.8.4-4
#[test]
fn retain_handling_decides_what_a_subscription_gets_at_once() {
    let broker = Broker::start();
    let mut publisher = Peer::join(&broker, V5, "p");
    publisher.tell("t/1", "x", 1, 0);
    publisher.tell("t/2", "x", 1, 0);
    publisher.expect_quiet();
    let kept = ["t/1", "t/2"].map(|topic| V5.publish(topic, "x", 1, 0));
    for (handling, first, again) in [(0, true, true), (1, true, false), (2, false, false)] {
        let mut peer = Peer::join(&broker, V5, "c");
        for expected in [first, again] {
            peer.hear("t/+", handling << 4);
            if expected {
                peer.expect_all(&kept);
            }
            peer.expect_quiet();
        }
    }
}

/// 3.1.1: MQTT-3.3.2-2 MQTT-4.7.1-1 MQTT-4.7.3-1 MQTT-4.8.0-1
/// 5: MQTT-3.3.2-2 MQTT-3.3.2-14 MQTT-4.7.0-1 MQTT-4.7.3-1
#[test]
fn what_is_no_topic_name_ends_the_connection() {
    let broker = Broker::start();
    let mut witness = Peer::join(&broker, V3, "witness");
    witness.hear("#", 0);
    for version in BOTH {
        for (topic, code) in [
            ("+", 0x90),
            ("a/#", 0x90),
            ("a+", 0x90),
            ("#/a", 0x90),
            ("", 0x82),
        ] {
            let mut peer = Peer::join(&broker, version, "c");
            peer.tell(topic, "x", 0, 0);
            peer.expect_gone(code);
        }
    }
    for topic in ["r/+", "#"] {
        let mut peer = Peer::join(&broker, V5, "c");
        let response_topic = [&[8][..], &block(topic)].concat();
        peer.send(&V5.publish_with(&response_topic, "t", "x", (0, 0)));
        peer.expect_gone(0x82);
    }
    witness.expect_quiet();
}

/// 5: MQTT-3.3.2-4 MQTT-3.3.2-15 MQTT-3.3.2-16 MQTT-3.3.2-17 MQTT-3.3.2-18 MQTT-3.3.2-20
#[test]
fn properties_are_forwarded_as_they_came() {
    let broker = Broker::start();
    let mut peer = Peer::join(&broker, V5, "c");
    peer.hear("t", 0);
    let cases = [
        vec![1, 0],
        vec![1, 1],
        [&[3][..], &block("text/plain; é")].concat(),
        [&[8][..], &block("r/é")].concat(),
        [&[9][..], &block([0, 0xFF, 0x80])].concat(),
        ["b", "a", "b", ""].map(user_property).concat(),
    ];
    for properties in cases {
        peer.send(&V5.publish_with(&properties, "t", "x", (0, 0)));
        peer.expect(&V5.publish_with(&properties, "t", "x", (0, 0)));
    }
}

/// 5: MQTT-3.3.2-5 MQTT-3.3.2-6 MQTT-4.3.3-7 MQTT-4.3.3-13
#[test]
fn messages_expire_before_they_are_sent_and_tell_what_is_left_of_their_time() {
    let broker = Broker::start();
    let connect = Connect::kept(V5, "c");
    let (mut peer, _) = Peer::open(&broker, &connect);
    peer.hear("t", 2);
    let mut publisher = Peer::join(&broker, V5, "p");
    let mut tell = |payload: &str, seconds: u8, id| {
        let expiry = [2, 0, 0, 0, seconds];
        publisher.send(&V5.publish_with(&expiry, "t", payload, (4, id)));
        publisher.expect(&ack(0x50, id));
    };
    let start = Instant::now();
    tell("sent", 1, 1);
    peer.expect(&V5.publish_with(&[2, 0, 0, 0, 1], "t", "sent", (4, 1)));
    peer.vanish();
    tell("short", 1, 2);
    tell("long", 200, 3);
    // The exchange with the publisher goes on, expired or not.
    std::thread::sleep(Duration::from_millis(1_100));
    publisher.send(&ack(0x62, 2));
    publisher.expect(&ack(0x70, 2));
    let (mut peer, _) = Peer::open(&broker, &connect);
    let again = peer.packet();
    assert_eq!((again[0], &again[again.len() - 4..]), (0x3C, &b"sent"[..]));
    let long = peer.packet();
    let waited = u8::try_from(start.elapsed().as_secs()).unwrap();
    assert_eq!(long[long.len() - 4..], *b"long");
    let left = long[long.len() - 5];
    assert!(
        (200 - waited..200).contains(&left),
        "{left} after {waited} s"
    );
    peer.expect_quiet();
}

/// 5: MQTT-3.3.2-7 MQTT-3.3.2-8 MQTT-3.3.2-9 MQTT-3.3.2-12
#[test]
fn topic_aliases_stand_for_topics_until_the_connection_ends() {
    let broker = Broker::start();
    let connect = Connect::new(V5, "c").property(FOR_EVER);
    let (mut peer, _) = Peer::open(&broker, &connect);
    peer.hear("#", 0);
    let tell = |peer: &mut Peer, topic: &str, alias: u8| {
        peer.send(&V5.publish_with(&[35, 0, alias], topic, "x", (0, 0)));
    };
    for alias in 1..=16 {
        tell(&mut peer, &format!("t/{alias}"), alias);
        peer.expect_told(&format!("t/{alias}"), "x", 0, 0);
    }
    for alias in 1..=16 {
        tell(&mut peer, "", alias);
        peer.expect_told(&format!("t/{alias}"), "x", 0, 0);
    }
    tell(&mut peer, "other", 3);
    peer.expect_told("other", "x", 0, 0);
    tell(&mut peer, "", 3);
    peer.expect_told("other", "x", 0, 0);
    peer.vanish();
    for (alias, code) in [(3, 0x82), (0, 0x94), (17, 0x94)] {
        let mut back = Peer::open(&broker, &Connect::kept(V5, "c")).0;
        tell(&mut back, if alias == 3 { "" } else { "t" }, alias);
        back.expect_gone(code);
    }
}

/// 5: MQTT-3.1.2-26 MQTT-3.1.2-27 MQTT-3.3.2-11
#[test]
fn client_gets_topic_aliases_as_far_as_it_allows() {
    let broker = Broker::start();
    for maximum in [&[][..], &[34, 0, 0]] {
        let (mut peer, _) = Peer::open(&broker, &Connect::new(V5, "c").property(maximum));
        peer.hear("t/#", 0);
        for topic in ["t/1", "t/1", "t/2", "t/1"] {
            peer.tell(topic, "x", 0, 0);
            peer.expect_told(topic, "x", 0, 0);
        }
    }
    let connect = Connect::new(V5, "c").property(&[34, 0, 2]);
    // The aliases end with their connection.
    for _ in 0..2 {
        let (mut peer, _) = Peer::open(&broker, &connect);
        peer.hear("topic/#", 0);
        for (topic, named, alias) in [
            ("topic/1", "topic/1", Some(1)),
            ("topic/1", "", Some(1)),
            ("topic/2", "topic/2", Some(2)),
            ("topic/3", "topic/3", None),
            ("topic/1", "", Some(1)),
            ("topic/2", "", Some(2)),
        ] {
            peer.tell(topic, "x", 0, 0);
            let property = alias.map(|alias| vec![35, 0, alias]).unwrap_or_default();
            peer.expect(&V5.publish_with(&property, named, "x", (0, 0)));
        }
    }
}

/// 5: MQTT-3.3.4-6
#[test]
fn subscription_identifier_from_a_client_ends_the_connection() {
    let broker = Broker::start();
    let mut peer = Peer::join(&broker, V5, "c");
    peer.send(&V5.publish_with(&[11, 1], "t", "x", (0, 0)));
    peer.expect_gone(0x82);
}

/// 3.1.1: MQTT-3.3.5-2
#[test]
fn publish_that_is_not_allowed_is_acknowledged_and_goes_nowhere() {
    let broker = Broker::with("anonymous_publish = [\"a/#\"]\n");
    for version in BOTH {
        let mut witness = Peer::join(&broker, version, "witness");
        witness.hear("#", 0);
        let mut peer = Peer::join(&broker, version, "c");
        for topic in ["b", "$SYS/x", "$share/g/a", "$bridge/clients/c"] {
            peer.tell(topic, "x", 1, 0);
            peer.tell(topic, "x", 2, 1);
            peer.expect(&version.ack(0x40, 1, 0x87));
            peer.tell(topic, "x", 4, 2);
            peer.expect(&version.ack(0x50, 2, 0x87));
            if version == V3 {
                peer.send(&ack(0x62, 2));
                peer.expect(&ack(0x70, 2));
            }
        }
        witness.expect_quiet();
    }
}
