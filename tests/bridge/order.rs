//! When a publish is acknowledged, and what outlives what.

use std::net::TcpStream;

use crate::gateway::{Gate, Gateway, Published, pair, told};
use crate::mqtt::{Client, PINGREQ, PINGRESP, ack, publish};

#[test]
fn a_publish_is_acknowledged_before_its_request_is_answered() {
    let gate = Gate::default();
    let gateway = Gateway::with_routes(gate.script("late"), POSTS_PLAIN);
    let mut node = gateway.node("node");
    node.send(&publish("nodes/1/ask", "", 1, 7));
    node.expect(&ack(0x40, 7));
    gateway.request(1);
    node.send(&publish("nodes/2/ask", "", 2, 8));
    node.expect(&ack(0x50, 8));
    node.send(&ack(0x62, 8));
    node.expect(&ack(0x70, 8));
    node.send(&PINGREQ);
    node.expect(&PINGRESP);
    gate.open();
    assert_eq!(told(&mut node), pair("replies/1/ok", "late"));
    assert_eq!(told(&mut node), pair("replies/2/ok", "late"));
}

const POSTS_PLAIN: &str = r#"
[[route]]
topic = "nodes/{node}/ask"
endpoint = "api"
reply = "replies/{node}/{outcome}"
"#;

#[test]
fn a_persistent_session_gets_its_reply_when_it_is_back() {
    let gate = Gate::default();
    let gateway = Gateway::with_routes(gate.script("late"), POSTS_PLAIN);
    let (mut node, present) = Client::resume(gateway.broker.address, "node");
    assert!(!present);
    node.subscribe("replies/#", 1);
    node.send(&publish("nodes/me/ask", "", 1, 7));
    node.expect(&ack(0x40, 7));
    gateway.request(1);
    node.leave();
    gate.open();
    // Heard by another first: then it waits for the one that is away.
    let mut other = Client::connect(gateway.broker.address, "other");
    other.subscribe("replies/#", 0);
    other.send(&publish("nodes/other/ask", "", 0, 0));
    let mut heard = told(&mut other);
    if heard.0 == "replies/me/ok" {
        heard = told(&mut other);
    }
    assert_eq!(heard, pair("replies/other/ok", "late"));
    gateway.server.wait(|counts| counts.answered >= 2);

    let (mut node, present) = Client::resume(gateway.broker.address, "node");
    assert!(present);
    let mut heard = [
        Published::next(&mut node, false),
        Published::next(&mut node, false),
    ];
    heard.sort_by(|a, b| a.topic.cmp(&b.topic));
    let topics = heard
        .each_ref()
        .map(|it| (it.topic.as_str(), it.text(), it.first));
    assert_eq!(
        topics,
        [
            ("replies/me/ok", "late", 0x32),
            ("replies/other/ok", "late", 0x32)
        ]
    );
}

#[test]
fn a_stop_delivers_what_is_in_flight_and_refuses_what_waits() {
    let gate = Gate::default();
    let gateway = Gateway::with_routes(gate.script("late"), POSTS_PLAIN);
    let mut node = gateway.node("node");
    let mut modern = Client::connect_5(gateway.broker.address, "modern", &[]);
    for _ in 0..2 {
        node.send(&publish("nodes/me/ask", "", 0, 0));
    }
    node.send(&PINGREQ);
    node.expect(&PINGRESP);
    gateway.request(1);
    gateway.broker.ask_to_stop();
    // One at a time per client and route: the second had not begun.
    let stopping = "bridge.stopping - the gateway is shutting down";
    assert_eq!(told(&mut node), pair("replies/me/error", stopping));
    assert!(
        TcpStream::connect(gateway.broker.address).is_err(),
        "it still listens"
    );
    node.send(&publish("nodes/me/ask", "", 0, 0));
    assert_eq!(told(&mut node), pair("replies/me/error", stopping));
    gate.open();
    assert_eq!(told(&mut node), pair("replies/me/ok", "late"));
    node.expect_end();
    modern.expect(&[0xE0, 1, 0x8B]);
    modern.expect_end();
    let Gateway { broker, server, .. } = gateway;
    assert!(broker.wait().is_ok());
    assert_eq!(server.counts().requests, 1);
}
