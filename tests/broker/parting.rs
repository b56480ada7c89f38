//! Take-over and wills.

use crate::mqtt::{Broker, CLEAN, Client, ack, publish};
use crate::with_will;

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
