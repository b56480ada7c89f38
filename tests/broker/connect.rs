//! Versions, CONNECT, its refusals, and the limits of a connection.

use std::time::Instant;

use crate::mqtt::{
    Broker, CLEAN, Client, LIMIT, ack, block, connect_4, connect_5, connect_with, publish,
    publish_5, subscribe, subscribe_5,
};
use crate::{USERS, with_password, with_will};

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
