//! PUBLISH, SUBSCRIBE and what sessions keep.

use crate::mqtt::{
    Broker, Client, PINGREQ, PINGRESP, ack, flagged, packet, publish, publish_5, subscribe,
    subscribe_5, unsubscribe,
};

#[test]
fn delivery_is_at_the_lower_of_both_qos() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.address, "c");
    let mut id = 0;
    for granted in 0..=2 {
        client.subscribe("t", granted);
        for qos in 0..=2 {
            client.send(&publish("t", "x", qos, 50));
            let delivered = granted.min(qos);
            id += u16::from(delivered > 0);
            let mut packets = vec![publish("t", "x", delivered, id)];
            match qos {
                1 => packets.push(ack(0x40, 50)),
                2 => packets.push(ack(0x50, 50)),
                _ => {}
            }
            client.expect_all(&packets);
            if qos == 2 {
                client.send(&ack(0x62, 50));
                client.expect(&ack(0x70, 50));
            }
            match delivered {
                1 => client.send(&ack(0x40, id)),
                2 => {
                    client.send(&ack(0x50, id));
                    client.expect(&ack(0x62, id));
                    client.send(&ack(0x70, id));
                }
                _ => {}
            }
        }
    }
    client.expect_quiet();
}

#[test]
fn overlapping_subscriptions_get_one_copy_with_all_identifiers() {
    let broker = Broker::start();
    let mut client = Client::connect_5(broker.address, "c", &[]);
    for (id, filter) in [(1, "a/+"), (2, "a/#"), (3, "+/b")] {
        client.send(&subscribe_5(1, &[(filter, 0)], &[0x0B, id]));
        client.expect(&[0x90, 4, 0, 1, 0, 0]);
    }
    client.send(&publish_5("a/b", "x", 0, 0, &[]));
    let delivery = client.packet();
    let ids = [&delivery[8..9], &delivery[10..11], &delivery[12..13]].concat();
    assert_eq!(
        delivery[..8],
        [0x30, 13, 0, 3, b'a', b'/', b'b', 6][..][..8]
    );
    assert_eq!(ids, [0x0B; 3]);
    let mut values = [delivery[9], delivery[11], delivery[13]];
    values.sort_unstable();
    assert_eq!(values, [1, 2, 3]);
    client.expect_quiet();
}

#[test]
fn all_retained_messages_are_sent_at_every_subscribe() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.address, "c");
    let messages: Vec<_> = (0..250)
        .map(|number| flagged(format!("r/{number}"), "kept", 1, 0))
        .collect();
    for message in &messages {
        client.send(message);
    }
    client.expect_quiet();
    for _ in 0..2 {
        client.subscribe("r/#", 0);
        client.expect_all(&messages);
    }
    client.expect_quiet();
}

#[test]
fn empty_payload_deletes_a_retained_message_only_with_retain_set() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.address, "c");
    client.send(&flagged("r", "kept", 1, 0));
    client.send(&publish("r", "", 0, 0));
    client.expect_quiet();
    client.subscribe("r", 0);
    client.expect(&flagged("r", "kept", 1, 0));
    client.send(&unsubscribe(2, "r"));
    client.expect(&ack(0xB0, 2));
    client.send(&flagged("r", "", 1, 0));
    client.subscribe("r", 0);
    client.expect_quiet();
}

#[test]
fn second_subscribe_changes_the_qos() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.address, "c");
    for qos in [1, 0] {
        client.subscribe("t", qos);
        client.send(&publish("t", "x", 1, 9));
        let delivery = publish("t", "x", qos, 1);
        client.expect_all(&[ack(0x40, 9), delivery]);
    }
}

#[test]
fn unsubscribe_of_an_unknown_filter_is_answered() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.address, "c");
    client.send(&unsubscribe(7, "never"));
    client.expect(&ack(0xB0, 7));
    let mut client = Client::connect_5(broker.address, "c5", &[]);
    client.send(&packet(0xA2, b"\0\x07\0\0\x05never"));
    client.expect(&[0xB0, 4, 0, 7, 0, 0x11]);
}

#[test]
fn client_that_does_not_acknowledge_is_still_answered() {
    let broker = Broker::with("queue = { messages = 1000, bytes = \"64KiB\" }");
    let mut publisher = Client::connect(broker.address, "p");
    let mut client = Client::connect(broker.address, "c");
    client.subscribe("t", 1);
    for id in 1..=300 {
        publisher.send(&publish("t", "x", 1, id));
        publisher.expect(&ack(0x40, id));
    }
    client.send(&PINGREQ);
    client.send(&subscribe(2, &[("u", 0)]));
    let (mut answers, mut messages) = (Vec::new(), 0);
    while answers.len() < 2 {
        match client.packet() {
            message if message[0] == 0x32 => messages += 1,
            answer => answers.push(answer),
        }
    }
    assert_eq!(answers, [PINGRESP.to_vec(), vec![0x90, 3, 0, 2, 0]]);
    assert!(messages < 300, "a window bounds what is unacknowledged");
}

#[test]
fn acknowledgements_may_come_in_any_order() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.address, "c");
    client.subscribe("t", 1);
    for _ in 0..3 {
        client.send(&publish("t", "x", 0, 0));
    }
    let mut publisher = Client::connect(broker.address, "p");
    for id in 1..=3 {
        client.expect(&publish("t", "x", 0, 0));
        publisher.send(&publish("t", "y", 1, id));
        publisher.expect(&ack(0x40, id));
    }
    for id in 1..=3 {
        client.expect(&publish("t", "y", 1, id));
    }
    for id in [3, 1, 2, 2, 77] {
        client.send(&ack(0x40, id));
    }
    publisher.send(&publish("t", "z", 1, 4));
    client.expect(&publish("t", "z", 1, 4));
    client.expect_quiet();
}

#[test]
fn exactly_once_survives_a_new_connection() {
    let broker = Broker::start();
    let mut subscriber = Client::connect(broker.address, "s");
    subscriber.subscribe("t", 0);
    let (mut client, _) = Client::resume(broker.address, "c");
    client.send(&publish("t", "once", 2, 5));
    client.expect(&ack(0x50, 5));
    client.vanish();
    let (mut client, present) = Client::resume(broker.address, "c");
    assert!(present);
    client.send(&flagged("t", "once", 8 | 4, 5));
    client.expect(&ack(0x50, 5));
    client.send(&ack(0x62, 5));
    client.expect(&ack(0x70, 5));
    client.send(&ack(0x62, 5));
    client.expect(&ack(0x70, 5));
    client.expect_quiet();
    subscriber.expect(&publish("t", "once", 0, 0));
    subscriber.expect_quiet();
}

#[test]
fn publish_to_a_topic_that_is_none_ends_the_connection() {
    let broker = Broker::start();
    let mut subscriber = Client::connect(broker.address, "s");
    subscriber.subscribe("#", 0);
    for (topic, code) in [
        ("a/+", 0x90),
        ("#", 0x90),
        ("a/#", 0x90),
        ("a\0b", 0x90),
        ("", 0x82),
    ] {
        let mut client = Client::connect(broker.address, "c");
        client.send(&publish(topic, "x", 0, 0));
        client.expect_end();
        let mut client = Client::connect_5(broker.address, "c", &[]);
        client.send(&publish_5(topic, "x", 0, 0, &[]));
        client.expect(&[0xE0, 1, code]);
        client.expect_end();
    }
    subscriber.expect_quiet();
}

#[test]
fn malformed_filters_are_refused_one_by_one() {
    let broker = Broker::start();
    let filters = [("a/#/b", 0), ("ok", 1), ("a+", 0), ("", 0), ("##", 2)];
    let mut client = Client::connect(broker.address, "c");
    client.send(&subscribe(1, &filters));
    client.expect(&[0x90, 7, 0, 1, 0x80, 1, 0x80, 0x80, 0x80]);
    let mut client = Client::connect_5(broker.address, "c", &[]);
    client.send(&subscribe_5(1, &filters, &[]));
    client.expect(&[0x90, 8, 0, 1, 0, 0x8F, 1, 0x8F, 0x8F, 0x8F]);
}

#[test]
fn messages_wait_for_a_persistent_session() {
    let broker = Broker::start();
    let (mut client, present) = Client::resume(broker.address, "c");
    assert!(!present);
    client.subscribe("t", 1);
    client.leave();
    let mut publisher = Client::connect(broker.address, "p");
    for id in 1..=50 {
        publisher.send(&publish("t", id.to_string(), 1, id));
        publisher.expect(&ack(0x40, id));
    }
    let (mut client, present) = Client::resume(broker.address, "c");
    assert!(present);
    for id in 1..=50 {
        client.expect(&publish("t", id.to_string(), 1, id));
        client.send(&ack(0x40, id));
    }
    client.expect_quiet();
}
