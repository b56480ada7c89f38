//! What kills the broker that rumqttd ships.

use crate::mqtt::{
    Broker, CLEAN, Client, ack, connect_4, connect_5, flagged, publish, publish_5, subscribe_5,
};
use crate::with_will;

#[test]
fn topic_that_begins_outside_ascii_is_delivered() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.address, "a");
    client.subscribe("#", 0);
    for topic in ["é/b", "日本", "\u{10FFFD}/x", "é"] {
        client.send(&publish(topic, "x", 0, 0));
        client.expect(&publish(topic, "x", 0, 0));
    }
    broker.assert_alive();
}

#[test]
fn will_on_a_topic_outside_ascii_is_delivered() {
    let broker = Broker::start();
    let mut subscriber = Client::connect(broker.address, "s");
    subscriber.subscribe("#", 0);
    let mut client = Client::open(broker.address);
    client.send(&with_will("w", CLEAN, "é/b", "gone"));
    client.expect(&[0x20, 2, 0, 0]);
    client.vanish();
    subscriber.expect(&publish("é/b", "gone", 0, 0));
    broker.assert_alive();
}

#[test]
fn retained_message_on_a_topic_outside_ascii_is_sent_to_new_subscribers() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.address, "a");
    client.send(&flagged("é/b", "kept", 1, 0));
    client.expect_quiet();
    client.subscribe("#", 0);
    client.expect(&flagged("é/b", "kept", 1, 0));
    broker.assert_alive();
}

#[test]
fn last_member_of_a_shared_subscription_may_leave_without_acknowledging() {
    let broker = Broker::start();
    let (mut member, _) = Client::resume(broker.address, "member");
    member.subscribe("$share/g/t", 1);
    let mut publisher = Client::connect(broker.address, "p");
    publisher.send(&publish("t", "x", 1, 9));
    publisher.expect(&ack(0x40, 9));
    member.expect(&publish("t", "x", 1, 1));
    member.vanish();
    publisher.send(&publish("t", "y", 1, 10));
    publisher.expect(&ack(0x40, 10));
    let (mut member, present) = Client::resume(broker.address, "member");
    assert!(present);
    member.expect(&flagged("t", "x", 8 | 2, 1));
    broker.assert_alive();
}

#[test]
fn subscriber_may_leave_while_hundreds_of_messages_wait_for_it() {
    let broker = Broker::with("queue = { messages = 1000, bytes = \"1MiB\" }");
    let mut publisher = Client::connect(broker.address, "p");
    for _ in 0..20 {
        let mut subscriber = Client::connect(broker.address, "s");
        subscriber.subscribe("t", 1);
        for _ in 0..400 {
            publisher.send(&publish("t", "x", 0, 0));
        }
        subscriber.send(&[0xE0, 0]);
    }
    publisher.expect_quiet();
    broker.assert_alive();
}

#[test]
fn slow_reader_that_is_taken_over_may_drain_after_its_successor_left() {
    let broker = Broker::start();
    let mut publisher = Client::connect(broker.address, "p");
    let mut slow = Client::connect(broker.address, "same");
    slow.subscribe("t", 0);
    for _ in 0..2_000 {
        publisher.send(&publish("t", [b'x'; 1000], 0, 0));
    }
    publisher.expect_quiet();
    let successor = Client::connect(broker.address, "same");
    successor.leave();
    // Whatever it still gets is whole packets, then the end.
    while let Some(packet) = slow.next_packet() {
        assert_eq!(packet, publish("t", [b'x'; 1000], 0, 0));
    }
    broker.assert_alive();
}

#[test]
fn client_ids_of_any_characters_may_connect_twice() {
    let broker = Broker::start();
    for id in ["a/b", "+", "#", "$share/x", "é", "a b\n", "../..", "%s"] {
        let mut first = Client::connect(broker.address, id);
        let second = Client::connect(broker.address, id);
        first.expect_end();
        drop(second);
    }
    broker.assert_alive();
}

#[test]
fn refused_clients_may_retry_as_often_as_they_like() {
    let broker = Broker::with("max_clients = 2");
    let one = Client::connect(broker.address, "1");
    let two = Client::connect(broker.address, "2");
    for attempt in 0..200 {
        let mut refused = Client::open(broker.address);
        if attempt % 2 == 0 {
            refused.send(&connect_4("3", CLEAN));
        } else {
            refused.send(&connect_5("3", CLEAN, &[]));
            refused.expect(&[0x20, 3, 0, 0x89, 0]);
        }
        refused.expect_end();
    }
    one.leave();
    broker.assert_alive();
    drop(two);
}

#[test]
fn properties_of_mqtt_5_are_left_out_for_3_1_1() {
    let broker = Broker::start();
    let mut old = Client::connect(broker.address, "old");
    old.subscribe("t", 0);
    let mut new = Client::connect_5(broker.address, "new", &[]);
    new.send(&subscribe_5(1, &[("t", 0)], &[0x0B, 7]));
    new.expect(&[0x90, 4, 0, 1, 0, 0]);
    let properties = [&[1, 1, 3, 0, 1, b't', 38, 0, 1, b'k', 0, 1, b'v'][..]].concat();
    new.send(&publish_5("t", "x", 0, 0, &properties));
    old.expect(&publish("t", "x", 0, 0));
    let with_id = [&properties[..], &[0x0B, 7]].concat();
    new.expect(&publish_5("t", "x", 0, 0, &with_id));
}

#[test]
fn packets_that_only_servers_send_end_the_connection() {
    let broker = Broker::start();
    let server_packets: [(&[u8], u8); 6] = [
        (&[0x20, 3, 0, 0, 0], 0x81),
        (&[0xB0, 4, 0, 1, 0, 0], 0x81),
        (&[0x90, 4, 0, 1, 0, 0], 0x81),
        (&[0xD0, 0], 0x81),
        // Clients may send AUTH, if they began with an Authentication Method.
        (&[0xF0, 0], 0x82),
        (&[0x00, 0], 0x81),
    ];
    for (bytes, code) in server_packets {
        let mut before = Client::open(broker.address);
        before.send(bytes);
        before.expect_end();
        let mut after = Client::connect_5(broker.address, "v5", &[]);
        after.send(bytes);
        after.expect(&[0xE0, 1, code]);
        after.expect_end();
        let mut after = Client::connect(broker.address, "v4");
        after.send(bytes);
        after.expect_end();
    }
    broker.assert_alive();
}

#[test]
fn smallest_queue_serves_subscribers() {
    let broker = Broker::with("queue = { messages = 1, bytes = \"1KiB\" }");
    broker.assert_alive();
}
