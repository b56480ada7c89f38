//! The broker on raw sockets: what kills or misleads other brokers, one test each.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "what is not as expected has to fail, and time is what some tests are about"
)]

#[path = "support/mqtt.rs"]
mod mqtt;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Instant;

use mqtt::{
    Broker, CLEAN, Client, LIMIT, PINGREQ, PINGRESP, ack, block, connect_4, connect_5,
    connect_with, flagged, packet, publish, publish_5, subscribe, subscribe_5, unsubscribe,
};

/// Two users: `kitchen` with the password `right`, `attic` with a binary one.
const USERS: &str = r#"
anonymous = "no"
[[user]]
name = "kitchen"
password = "$sha256$c2FsdHNhbHQ$FR8UeCMT3/fKTEhhldTae/b+v/u/qEX+413/4joENeU"
publish = ["nodes/{user}/#"]
subscribe = ["nodes/{user}/#", "replies/{user}/#"]
[[user]]
name = "attic"
password = "$sha256$c2FsdHNhbHQ$CLzVL4GQJb9GAlGJK95IsULRu/HME9ti+J1w9O5SZAs"
[[user]]
name = "slow"
password = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
"#;

/// CONNECT of 3.1.1 with a user name and a password.
fn with_password(user: &str, password: &[u8]) -> Vec<u8> {
    let payload = [block("c"), block(user), block(password)].concat();
    connect_with(4, 0xC2, 0, &payload)
}

/// CONNECT of 3.1.1 with a will at QoS 0.
fn with_will(id: &str, flags: u8, topic: &str, payload: &str) -> Vec<u8> {
    let payload = [block(id), block(topic), block(payload)].concat();
    connect_with(4, flags | 0x04, 0, &payload)
}

// ── what kills rumqttd's broker ─────────────────────────────────────────────────────────────

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

// ── versions, CONNECT and its refusals ──────────────────────────────────────────────────────

#[test]
fn three_versions_share_one_port_and_see_each_others_messages() {
    let broker = Broker::start();
    let mut v31 = Client::open(broker.address);
    v31.send(&connect_with(3, CLEAN, 0, &block("v31")));
    v31.expect(&[0x20, 2, 0, 0]);
    let mut v311 = Client::connect(broker.address, "v311");
    let mut v5 = Client::connect_5(broker.address, "v5", &[]);
    v31.subscribe("t", 1);
    v311.subscribe("t", 1);
    v5.send(&subscribe_5(1, &[("t", 1)], &[]));
    v5.expect(&[0x90, 4, 0, 1, 0, 1]);
    v31.send(&publish("t", "x", 0, 0));
    v31.expect(&publish("t", "x", 0, 0));
    v311.expect(&publish("t", "x", 0, 0));
    v5.expect(&publish_5("t", "x", 0, 0, &[]));
}

#[test]
fn unknown_protocol_level_is_refused_in_a_form_its_client_knows() {
    let broker = Broker::start();
    let cases: [(u8, &[u8]); 3] = [
        (2, &[0x20, 2, 0, 1]),
        (6, &[0x20, 3, 0, 0x84, 0]),
        (0x84, &[0x20, 2, 0, 1]),
    ];
    for (level, answer) in cases {
        let mut client = Client::open(broker.address);
        client.send(&connect_with(level, CLEAN, 0, &block("c")));
        client.expect(answer);
        client.expect_end();
    }
}

#[test]
fn extended_authentication_is_refused_by_name() {
    let broker = Broker::start();
    let mut client = Client::open(broker.address);
    client.send(&connect_5("c", CLEAN, &[0x15, 0, 1, b'x']));
    client.expect(&[0x20, 3, 0, 0x8C, 0]);
    client.expect_end();
}

#[test]
fn wrong_credentials_get_the_code_of_the_clients_version() {
    let broker = Broker::with(USERS);
    let cases: [(Vec<u8>, u8, &str); 8] = [
        (with_password("kitchen", b"right"), 0, "right"),
        (with_password("kitchen", b"wrong"), 4, "wrong password"),
        (with_password("nobody", b"right"), 4, "unknown user"),
        (with_password("kitchen", b""), 4, "empty password"),
        (
            with_password("attic", b"\xff\0bin"),
            0,
            "a password is binary",
        ),
        (
            with_password("slow", b"wrong"),
            4,
            "a check on another thread",
        ),
        (with_password("slow", b"password"), 0, "the same, right"),
        (connect_4("c", CLEAN), 5, "anonymous"),
    ];
    for (connect, code, why) in cases {
        let mut client = Client::open(broker.address);
        client.send(&connect);
        assert_eq!(client.packet(), [0x20, 2, 0, code], "{why}");
    }
    for (connect, code) in [
        (connect_5("c", CLEAN, &[]), 0x87),
        (
            connect_with(5, 0x42, 0, &[&[0][..], &block("c"), &block("p")].concat()),
            0x86,
        ),
    ] {
        let mut client = Client::open(broker.address);
        client.send(&connect);
        client.expect(&[0x20, 3, 0, code, 0]);
        client.expect_end();
    }
}

#[test]
fn rules_decide_what_a_user_may_publish_and_subscribe_to() {
    let broker = Broker::with(USERS);
    let mut client = Client::open(broker.address);
    client.send(&with_password("kitchen", b"right"));
    client.expect(&[0x20, 2, 0, 0]);
    client.send(&subscribe(
        1,
        &[("nodes/kitchen/#", 0), ("nodes/#", 0), ("$SYS/#", 0)],
    ));
    client.expect(&[0x90, 5, 0, 1, 0, 0x80, 0x80]);
    for topic in ["nodes/attic/x", "$SYS/x", "other"] {
        client.send(&publish(topic, "x", 1, 7));
        client.expect(&ack(0x40, 7));
    }
    client.send(&publish("nodes/kitchen/x", "x", 0, 0));
    client.expect(&publish("nodes/kitchen/x", "x", 0, 0));
}

#[test]
fn bound_client_ids_are_one_users_alone_and_rules_can_trust_them() {
    let user = |name: &str| {
        let hash = "$sha256$c2FsdHNhbHQ$FR8UeCMT3/fKTEhhldTae/b+v/u/qEX+413/4joENeU";
        format!("[[user]]\nname = \"{name}\"\npassword = \"{hash}\"\n")
    };
    let bound = "client_ids = [\"{user}-*\"]\npublish = [\"n/{client}\"]\n\
                 subscribe = [\"n/{client}\"]\n";
    let broker = Broker::with(&(user("kitchen") + bound + &user("attic")));
    let login = |id: &str, user: Option<&str>| {
        let mut client = Client::open(broker.address);
        client.send(&match user {
            Some(user) => {
                let payload = [block(id), block(user), block("right")].concat();
                connect_with(4, 0xC2, 0, &payload)
            }
            None => connect_4(id, CLEAN),
        });
        let code = client.packet()[3];
        (client, code)
    };
    for (id, user, code) in [
        ("kitchen-2", Some("kitchen"), 0),
        ("other", Some("kitchen"), 2),
        ("", Some("kitchen"), 2),
        ("kitchen-2", Some("attic"), 2),
        ("kitchen-2", None, 2),
        ("other", Some("attic"), 0),
        ("anything", None, 0),
    ] {
        assert_eq!(login(id, user).1, code, "{id} {user:?}");
    }
    let (mut node, _) = login("kitchen-1", Some("kitchen"));
    node.send(&subscribe(
        1,
        &[("n/kitchen-1", 0), ("n/kitchen-2", 0), ("n/+", 0)],
    ));
    node.expect(&[0x90, 5, 0, 1, 0, 0x80, 0x80]);
    node.send(&publish("n/kitchen-2", "x", 0, 0));
    node.send(&publish("n/kitchen-1", "y", 0, 0));
    node.expect(&publish("n/kitchen-1", "y", 0, 0));
}

#[test]
fn connect_may_come_byte_by_byte_and_with_all_that_follows_it() {
    let broker = Broker::start();
    let mut client = Client::open(broker.address);
    for byte in connect_4("slow", CLEAN) {
        client.send(&[byte]);
    }
    client.expect(&[0x20, 2, 0, 0]);
    for byte in publish("t", "x", 1, 3) {
        client.send(&[byte]);
    }
    client.expect(&ack(0x40, 3));

    let mut client = Client::open(broker.address);
    let all = [
        connect_4("fast", CLEAN),
        subscribe(1, &[("t", 0)]),
        publish("t", "x", 0, 0),
    ];
    client.send(&all.concat());
    client.expect(&[0x20, 2, 0, 0]);
    client.expect(&[0x90, 3, 0, 1, 0]);
    client.expect(&publish("t", "x", 0, 0));
}

#[test]
fn keep_alive_is_enforced_while_messages_flow_to_the_client() {
    let broker = Broker::start();
    let mut publisher = Client::connect(broker.address, "p");
    let mut silent = Client::open(broker.address);
    silent.send(&connect_with(
        5,
        CLEAN,
        1,
        &[&[0][..], &block("silent")].concat(),
    ));
    assert_eq!(silent.packet()[3], 0);
    silent.send(&subscribe_5(1, &[("t", 0)], &[]));
    assert_eq!(silent.packet(), [0x90, 4, 0, 1, 0, 0]);
    let start = Instant::now();
    let last = loop {
        publisher.send(&publish("t", "x", 1, 1));
        publisher.expect(&ack(0x40, 1));
        match silent.packet() {
            message if message[0] == 0x30 => assert!(start.elapsed() < LIMIT),
            other => break other,
        }
    };
    assert_eq!(last, [0xE0, 1, 0x8D]);
    assert!(
        start.elapsed().as_millis() >= 1_400,
        "{:?}",
        start.elapsed()
    );
    silent.expect_end();
}

#[test]
fn packet_over_the_limit_is_refused_from_its_header() {
    let broker = Broker::with("max_packet = \"1KiB\"");
    let mut client = Client::connect_5(broker.address, "v5", &[]);
    client.send(&publish_5("t", &"x".repeat(1024 - 7), 0, 0, &[]));
    client.expect_quiet();
    client.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
    client.expect(&[0xE0, 1, 0x95]);
    client.expect_end();
    let mut client = Client::open(broker.address);
    client.send(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F]);
    client.expect_end();
}

#[test]
fn client_has_to_say_who_it_is_and_to_finish_its_packets_in_time() {
    let broker = Broker::with("connect_timeout = \"1s\"\npacket_timeout = \"1s\"");
    let mut silent = Client::open(broker.address);
    let mut begun = Client::connect(broker.address, "begun");
    begun.send(&publish("t", "x", 0, 0)[..3]);
    silent.expect_end();
    begun.expect_end();
    broker.assert_alive();
}

#[test]
fn topics_are_limited_in_length_and_levels() {
    let broker = Broker::with("max_topic = 64\nmax_topic_levels = 4");
    let (longest, deepest) = ("x".repeat(64), "a/b/c/d");
    let (too_long, too_deep) = ("x".repeat(65), "a/b/c/d/e");
    let mut client = Client::connect(broker.address, "c");
    let filters = [
        (longest.as_str(), 0),
        (deepest, 0),
        (&too_long, 0),
        (too_deep, 0),
    ];
    client.send(&subscribe(1, &filters));
    client.expect(&[0x90, 6, 0, 1, 0, 0, 0x80, 0x80]);
    for topic in [&longest, deepest] {
        client.send(&publish(topic, "x", 0, 0));
        client.expect(&publish(topic, "x", 0, 0));
    }
    for topic in [&too_long, too_deep] {
        let mut new = Client::connect_5(broker.address, "v5", &[]);
        new.send(&publish_5(topic, "x", 0, 0, &[]));
        new.expect(&[0xE0, 1, 0x90]);
        new.expect_end();
        let mut dying = Client::open(broker.address);
        dying.send(&with_will("w", CLEAN, topic, "gone"));
        dying.expect_end();
    }
}

#[test]
fn subscriptions_of_a_session_are_limited() {
    let broker = Broker::with("max_subscriptions = 2");
    let mut client = Client::connect_5(broker.address, "v5", &[]);
    let filters = [("a", 0), ("b", 0), ("c", 0), ("a", 1)];
    client.send(&subscribe_5(1, &filters, &[]));
    client.expect(&[0x90, 7, 0, 1, 0, 0, 0, 0x97, 1]);
}

#[test]
fn fast_publisher_is_slowed_and_loses_nothing() {
    let settings = "publish_rate = 100\nqueue = { messages = 1000, bytes = \"1MiB\" }";
    let broker = Broker::with(settings);
    let mut subscriber = Client::connect(broker.address, "s");
    subscriber.subscribe("t", 0);
    let mut publisher = Client::connect(broker.address, "p");
    let start = Instant::now();
    for _ in 0..600 {
        publisher.send(&publish("t", "x", 0, 0));
    }
    for _ in 0..600 {
        subscriber.expect(&publish("t", "x", 0, 0));
    }
    // 500 come at once, the others at 100 a second.
    assert!(start.elapsed().as_millis() >= 900, "{:?}", start.elapsed());
}

#[test]
fn connections_of_one_address_are_limited_in_number_and_rate() {
    let broker = Broker::with("max_per_address = 2\nconnect_rate = 0");
    let one = Client::connect(broker.address, "1");
    let _two = Client::connect(broker.address, "2");
    Client::open(broker.address).expect_end();
    one.leave();
    broker.assert_alive();
    let broker = Broker::with("connect_rate = 1\nmax_per_address = 0");
    let outcomes: Vec<_> = (0..80)
        .map(|_| {
            let mut client = Client::open(broker.address);
            client.send_if_open(&connect_4("c", CLEAN));
            client.next_packet().is_some()
        })
        .collect();
    assert_eq!(outcomes[..64], [true; 64]);
    assert!(outcomes[64..].contains(&false), "{outcomes:?}");
}

// ── publish and subscribe ───────────────────────────────────────────────────────────────────

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

// ── take-over and wills ─────────────────────────────────────────────────────────────────────

#[test]
fn take_over_publishes_the_old_clients_will() {
    let broker = Broker::start();
    let mut subscriber = Client::connect(broker.address, "s");
    subscriber.subscribe("#", 0);
    let mut old = Client::open(broker.address);
    old.send(&with_will("same", CLEAN, "will/old", "x"));
    old.expect(&[0x20, 2, 0, 0]);
    let mut new = Client::open(broker.address);
    new.send(&with_will("same", CLEAN, "will/new", "x"));
    new.expect(&[0x20, 2, 0, 0]);
    old.expect_end();
    subscriber.expect(&publish("will/old", "x", 0, 0));
    subscriber.expect_quiet();
    new.leave();
    subscriber.expect_quiet();
}

#[test]
fn take_over_inherits_the_messages_that_wait() {
    let broker = Broker::start();
    let (mut old, _) = Client::resume(broker.address, "same");
    old.subscribe("t", 1);
    let mut publisher = Client::connect(broker.address, "p");
    for id in 1..=60 {
        publisher.send(&publish("t", "x", 1, id));
        publisher.expect(&ack(0x40, id));
    }
    let (mut new, present) = Client::resume(broker.address, "same");
    assert!(present);
    let mut ids = Vec::new();
    while ids.len() < 60 {
        let message = new.packet();
        ids.push(u16::from_be_bytes([message[5], message[6]]));
        new.send(&ack(0x40, ids[ids.len() - 1]));
    }
    assert_eq!(ids, (1..=60).collect::<Vec<_>>());
    new.expect_quiet();
}

#[test]
fn taken_over_mqtt_5_client_is_told() {
    let broker = Broker::start();
    let mut old = Client::connect_5(broker.address, "same", &[]);
    let _new = Client::connect(broker.address, "same");
    old.expect(&[0xE0, 1, 0x8E]);
    old.expect_end();
}

#[test]
fn protocol_violation_publishes_the_will_and_leave_taking_does_not() {
    let broker = Broker::start();
    let mut subscriber = Client::connect(broker.address, "s");
    subscriber.subscribe("will", 0);
    for (last, published) in [(&[0xE0, 0][..], false), (&[0xFF, 0][..], true)] {
        let mut client = Client::open(broker.address);
        client.send(&with_will("w", CLEAN, "will", "x"));
        client.expect(&[0x20, 2, 0, 0]);
        client.send(last);
        client.expect_end();
        if published {
            subscriber.expect(&publish("will", "x", 0, 0));
        }
        subscriber.expect_quiet();
    }
}

// ── sockets ─────────────────────────────────────────────────────────────────────────────────

#[test]
fn acknowledgement_and_message_leave_in_one_write() {
    let broker = Broker::start();
    let mut stream = TcpStream::connect(broker.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut chunk = [0; 100];
    stream.write_all(&connect_4("c", CLEAN)).unwrap();
    assert_eq!(stream.read(&mut chunk).unwrap(), 4);
    stream.write_all(&subscribe(1, &[("t", 0)])).unwrap();
    assert_eq!(stream.read(&mut chunk).unwrap(), 5);
    stream.write_all(&publish("t", "x", 1, 9)).unwrap();
    let count = stream.read(&mut chunk).unwrap();
    let together = [ack(0x40, 9), publish("t", "x", 0, 0)].concat();
    assert_eq!(chunk[..count], together);
}

#[test]
fn burst_of_small_messages_reaches_a_reading_subscriber_whole() {
    let broker = Broker::start();
    let mut subscriber = Client::connect(broker.address, "s");
    subscriber.subscribe("t/#", 0);
    let mut publisher = Client::connect(broker.address, "p");
    let messages: Vec<_> = (0..1_000)
        .map(|number| publish(format!("t/{number}"), "x", 0, 0))
        .collect();
    publisher.send(&messages.concat());
    for message in &messages {
        subscriber.expect(message);
    }
}

#[test]
fn subscriber_that_does_not_read_holds_up_nobody() {
    let broker = Broker::start();
    let mut deaf = Client::connect(broker.address, "deaf");
    deaf.subscribe("t", 0);
    let mut hears = Client::connect(broker.address, "hears");
    hears.subscribe("t", 0);
    let mut publisher = Client::connect(broker.address, "p");
    for id in 1..=400 {
        publisher.send(&publish("t", [b'x'; 40_000], 1, id));
        publisher.expect(&ack(0x40, id));
        hears.expect(&publish("t", [b'x'; 40_000], 0, 0));
    }
    drop(deaf);
    broker.assert_alive();
}

#[test]
fn publisher_that_does_not_read_its_answers_is_not_answered_without_end() {
    let broker = Broker::start();
    let stream = TcpStream::connect(broker.address).unwrap();
    stream
        .set_write_timeout(Some(std::time::Duration::from_millis(300)))
        .unwrap();
    let mut writer = &stream;
    writer.write_all(&connect_5("c", CLEAN, &[])).unwrap();
    let pings = PINGREQ.repeat(8_000);
    // Either its writes stall, or the broker ends the connection.
    let stalled = (0..2_000).any(|_| writer.write_all(&pings).is_err());
    assert!(stalled);
    let _ = stream.shutdown(Shutdown::Both);
    broker.assert_alive();
}

#[test]
fn five_thousand_client_ids_come_and_go() {
    let broker = Broker::start();
    for number in 0..5_000 {
        let mut client = Client::open(broker.address);
        client.send(&connect_4(&format!("id/{number}"), CLEAN));
        client.expect(&[0x20, 2, 0, 0]);
    }
    broker.assert_alive();
}

#[test]
fn taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let Err(error) = Broker::try_start(&format!("[broker]\nlisten = [\"{address}\"]\n")) else {
        panic!("it started");
    };
    let text = format!(
        "cannot listen on `{address}`: another program listens there; stop it or change \
         [broker] listen or --listen"
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(error.exit_code(), 69);
}

#[test]
fn wildcard_addresses_of_both_families_stand_beside_each_other() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let listen = format!("listen = [\"0.0.0.0:{port}\", \"[::]:{port}\"]");
    let text = format!("[broker]\n{listen}\nanonymous = \"anywhere\"\n");
    let broker = Broker::try_start(&text).unwrap();
    let mut client = Client::connect(([127, 0, 0, 1], port).into(), "4");
    client.expect_quiet();
    let loopback = std::net::Ipv6Addr::LOCALHOST;
    let mut client = Client::connect((loopback, port).into(), "6");
    client.expect_quiet();
    drop(broker);
}

#[test]
fn stop_tells_mqtt_5_clients_and_publishes_no_wills() {
    let broker = Broker::start();
    let mut v4 = Client::connect(broker.address, "v4");
    v4.subscribe("#", 0);
    let mut v5 = Client::connect_5(broker.address, "v5", &[]);
    let mut with_a_will = Client::open(broker.address);
    with_a_will.send(&with_will("w", CLEAN, "will", "x"));
    with_a_will.expect(&[0x20, 2, 0, 0]);
    broker.ask_to_stop();
    v5.expect(&[0xE0, 1, 0x8B]);
    v5.expect_end();
    v4.expect_end();
    with_a_will.expect_end();
    broker.wait().unwrap();
}

/// A route to a server that accepts connections and says nothing.
fn stalled_route(server: &TcpListener) -> String {
    let address = server.local_addr().unwrap();
    format!(
        "[endpoint.silent]\nurl = \"https://{address}\"\n\
         [[route]]\ntopic = \"ask/{{what}}\"\nendpoint = \"silent\"\n\
         reply = \"answers/{{what}}/{{outcome}}\"\npath = \"/{{what}}\"\n"
    )
}

#[test]
fn second_stop_does_not_wait_for_requests() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = Broker::with(&stalled_route(&server));
    let mut client = Client::connect(broker.address, "c");
    client.send(&publish("ask/x", "", 1, 1));
    client.expect(&ack(0x40, 1));
    let (_request, _) = server.accept().unwrap();
    broker.ask_to_stop();
    // The first stop is taken note of: connections are still served, and no new ones accepted.
    client.expect_quiet();
    broker.ask_to_stop();
    client.expect_end();
    assert_eq!(broker.wait().unwrap_err().exit_code(), 128);
}

// ── torture ─────────────────────────────────────────────────────────────────────────────────

/// A small generator of numbers: the same run every time.
struct Numbers(u32);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        usize::try_from(self.0).unwrap() % limit
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

#[test]
fn damaged_packets_harm_nobody_but_their_sender() {
    let broker = Broker::start();
    let mut witness = Client::connect(broker.address, "witness");
    witness.subscribe("witness", 0);
    let samples = [
        publish("é/b", "x", 1, 7),
        publish_5(
            "t",
            "x",
            2,
            7,
            &[1, 1, 8, 0, 1, b'r', 9, 0, 1, 0xFF, 35, 0, 1],
        ),
        subscribe(7, &[("a/#", 1), ("$share/g/+", 2)]),
        subscribe_5(
            7,
            &[("a/#", 0x2D)],
            &[0x0B, 0x80, 0x01, 38, 0, 1, b'k', 0, 1, b'v'],
        ),
        unsubscribe(7, "a/#"),
        ack(0x40, 7),
        ack(0x50, 7),
        ack(0x62, 7),
        ack(0x70, 7),
        PINGREQ.to_vec(),
        packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 7]),
        with_will("x", CLEAN, "é", "x"),
    ];
    let connects = [
        connect_4("torture", CLEAN),
        connect_4("torture", 0),
        connect_5("torture", CLEAN, &[0x11, 0, 0, 0, 9, 0x21, 0, 2]),
        connect_with(3, CLEAN, 1, &block("torture")),
    ];
    let mut numbers = Numbers(0x2545_F491);
    let start = Instant::now();
    while start.elapsed().as_secs() < 3 {
        for _ in 0..50 {
            let mut client = Client::open(broker.address);
            let mut bytes = connects[numbers.below(connects.len())].clone();
            let first = bytes.len();
            for _ in 0..1 + numbers.below(6) {
                bytes.extend(&samples[numbers.below(samples.len())]);
            }
            // Mostly what follows CONNECT is damaged, sometimes CONNECT itself.
            let from = if numbers.below(5) == 0 { 0 } else { first };
            for _ in 0..numbers.below(5) {
                let place = from + numbers.below(bytes.len() - from);
                bytes[place] = numbers.byte();
            }
            bytes.truncate(bytes.len() - numbers.below(3));
            client.send_if_open(&bytes);
        }
        witness.send(&publish("witness", "x", 0, 0));
        loop {
            // Damaged topics and filters may well be valid, and even be ours.
            if witness.packet() == publish("witness", "x", 0, 0) {
                break;
            }
        }
    }
    broker.assert_alive();
}
