//! What goes over the socket, slow readers, addresses and the stop.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use crate::mqtt::{
    Broker, CLEAN, Client, LIMIT, PINGREQ, ack, connect_4, connect_5, publish, subscribe,
};
use crate::with_will;

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
         [broker] listen, --listen or --listen-file"
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
