//! What the libraries of small nodes do on the wire, each imitated byte for byte.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "what is not as expected has to fail, and time is what some quirks are about"
)]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use daemon::Daemon;
use mqtt::{
    Broker, CLEAN, Client, LIMIT, ack, block, connect_4, connect_with, flagged, publish, subscribe,
};
use socket2::{Domain, Socket, Type};
use temp_dir::TempDir;

/// CONNECT as umqtt.simple writes it: keep alive 0.
fn umqtt_connect(id: &str, flags: u8) -> Vec<u8> {
    connect_4(id, flags)
}

/// CONNECT as PubSubClient does: keep alive 15.
fn pub_sub_client_connect(id: &str) -> Vec<u8> {
    connect_with(4, CLEAN, 15, &block(id))
}

/// Starts the daemon with lines for `[broker]`.
fn daemon(folder: &TempDir, lines: &str) -> (Daemon, SocketAddr) {
    let text = format!("[broker]\nlisten = [\"127.0.0.1:0\"]\n{lines}\n");
    std::fs::write(folder.path().join("bridge.toml"), text).unwrap();
    let daemon = Daemon::start(folder, &["run", "--log-level", "debug"]);
    let address = format!("127.0.0.1:{}", daemon.port).parse().unwrap();
    (daemon, address)
}

/// Connects from an address of this machine.
fn connect_from(source: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// umqtt: keep alive 0 and no pings. The system looks whether the node is there, every minute.
#[test]
fn node_without_keep_alive_stays_and_tcp_watches_over_it() {
    let broker = Broker::start();
    let mut node = Client::open(broker.address);
    node.send(&umqtt_connect("umqtt", CLEAN));
    node.expect(&[0x20, 2, 0, 0]);
    // Of the broker's end, by its address first: `02` is the keepalive timer.
    let port = format!("0100007F:{:04X}", broker.address.port());
    let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let fields = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut established = fields.filter(|own| own[1] == port && own[3] == "01");
    let timer = established.next().unwrap()[5]
        .split(':')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(timer, "02", "{sockets}");
    node.expect_quiet();
}

/// The same where the owner wants nodes to say something.
#[test]
fn idle_limit_ends_what_says_nothing_without_keep_alive_and_is_told_to_mqtt_5() {
    let broker = Broker::with("idle_limit = \"1s\"");
    let start = Instant::now();
    let mut silent = Client::open(broker.address);
    silent.send(&umqtt_connect("umqtt", CLEAN));
    silent.expect(&[0x20, 2, 0, 0]);
    let mut new = Client::open(broker.address);
    new.send(&mqtt::connect_5("new", CLEAN, &[]));
    let connack = new.packet();
    assert!(
        connack.windows(3).any(|it| *it == [0x13, 0, 1]),
        "{connack:02x?}"
    );
    // One with a keep alive of its own has that.
    let mut lively = Client::open(broker.address);
    lively.send(&pub_sub_client_connect("lively"));
    lively.expect(&[0x20, 2, 0, 0]);
    silent.expect_end();
    assert!(
        start.elapsed() >= Duration::from_millis(950),
        "{:?}",
        start.elapsed()
    );
    lively.expect_quiet();
}

/// PubSubClient writes a packet byte by byte, and takes a CONNACK of four bytes only.
#[test]
fn node_that_writes_byte_by_byte_is_answered_in_four_bytes() {
    let broker = Broker::start();
    let mut stream = TcpStream::connect(broker.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answer = [0; 64];
    let sketch: [(Vec<u8>, &[u8]); 3] = [
        (pub_sub_client_connect("sketch"), &[0x20, 2, 0, 0]),
        (subscribe(2, &[("t", 1)]), &[0x90, 3, 0, 2, 1]),
        (vec![0xC0, 0], &[0xD0, 0]),
    ];
    for (packet, expected) in sketch {
        for byte in packet {
            stream.write_all(&[byte]).unwrap();
        }
        let count = stream.read(&mut answer).unwrap();
        assert_eq!(answer[..count], *expected);
    }
}

/// AsyncMqttClient and PubSubClient read what has come: half a packet is a slow loop for them.
#[test]
fn packet_leaves_in_one_write() {
    let broker = Broker::start();
    let mut stream = TcpStream::connect(broker.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answer = [0; 4096];
    for (packet, length) in [
        (pub_sub_client_connect("sketch"), 4),
        (subscribe(2, &[("t", 0)]), 5),
        (publish("t", [b'x'; 1000], 0, 0), 1006),
    ] {
        stream.write_all(&packet).unwrap();
        assert_eq!(stream.read(&mut answer).unwrap(), length);
    }
}

/// esp-mqtt sends an unacknowledged QoS 1 publish again each second on the same connection: what
/// comes behind it is served, and each is acknowledged.
#[test]
fn publish_that_is_sent_again_before_its_acknowledgement_was_read_ends_nothing() {
    let broker = Broker::start();
    let mut node = Client::open(broker.address);
    node.send(&connect_with(4, CLEAN, 120, &block("esp")));
    node.expect(&[0x20, 2, 0, 0]);
    let first = publish("t", "x", 1, 9);
    let again = flagged("t", "x", 8 | 2, 9);
    node.send(&[&first[..], &again, &again, &publish("t", "y", 1, 10)].concat());
    for id in [9, 9, 9, 10] {
        node.expect(&ack(0x40, id));
    }
    node.expect_quiet();
}

/// PubSubClient: a packet over 256 bytes is dropped without a word, and so without PUBACK.
#[test]
fn messages_too_large_for_a_node_do_not_hold_up_what_fits() {
    let folder = TempDir::new();
    let lines = "ack_timeout = \"1s\"\nanonymous_subscribe = [\"#\", \"$bridge/clients/+\"]";
    let (mut daemon, address) = daemon(&folder, lines);
    let mut watcher = Client::connect(address, "watcher");
    watcher.subscribe("$bridge/clients/+", 0);
    let mut node = Client::open(address);
    node.send(&pub_sub_client_connect("sketch/1"));
    node.expect(&[0x20, 2, 0, 0]);
    node.subscribe("t", 1);
    let mut publisher = Client::connect(address, "p");
    for id in 1..=20 {
        publisher.send(&publish("t", [b'x'; 300], 1, id));
        publisher.expect(&ack(0x40, id));
    }
    publisher.send(&publish("t", "fits", 1, 21));
    publisher.expect(&ack(0x40, 21));
    // What the sketch's library sees of it.
    let told = loop {
        let packet = node.packet();
        if packet.len() <= 256 {
            break packet;
        }
    };
    assert_eq!(told, publish("t", "fits", 1, 21));
    node.send(&ack(0x40, 21));
    node.expect_quiet();
    for _ in 0..20 {
        let notice = watcher.packet();
        let notice = String::from_utf8_lossy(&notice);
        let expected = "$bridge/clients/sketch%2F1{\"event\":\"unacknowledged\",\"topic\":\"t\",\
                        \"bytes\":308,\"seconds\":1,";
        assert!(notice.contains(expected), "{notice}");
    }
    let line = daemon.line("did not acknowledge");
    assert!(line.contains("client `sketch/1`"), "{line}");
    assert!(
        line.contains("PubSubClient does with more than 256 bytes"),
        "{line}"
    );
    let (code, rest) = daemon.stop();
    assert_eq!(code, Some(0));
    assert!(rest.contains("20 dropped"), "{rest}");
}

/// umqtt.robust comes back with Clean Session 0 and does not subscribe again.
#[test]
fn node_that_comes_back_without_subscribing_hears_what_it_had_subscribed_to() {
    let broker = Broker::start();
    let mut publisher = Client::connect(broker.address, "p");
    let mut node = Client::open(broker.address);
    node.send(&umqtt_connect("robust", 0));
    node.expect(&[0x20, 2, 0, 0]);
    node.subscribe("t", 1);
    for round in 0..3_u16 {
        // Its network went away without a word, or is known to have gone.
        let former = node;
        if round == 1 {
            former.vanish();
            publisher.send(&publish("t", "meanwhile", 1, 5));
            publisher.expect(&ack(0x40, 5));
        }
        node = Client::open(broker.address);
        node.send(&umqtt_connect("robust", 0));
        node.expect(&[0x20, 2, 1, 0]);
        if round == 1 {
            node.expect(&publish("t", "meanwhile", 1, 2));
            node.send(&ack(0x40, 2));
        }
        publisher.send(&publish("t", "x", 1, 6));
        publisher.expect(&ack(0x40, 6));
        let id = [1, 3, 4][usize::from(round)];
        node.expect(&publish("t", "x", 1, id));
        node.send(&ack(0x40, id));
        node.expect_quiet();
    }
}

/// Every sketch has the same few client IDs: two nodes with one throw each other out, and connect
/// again at once.
#[test]
fn two_nodes_with_one_client_id_end_in_one_that_stays_and_one_line() {
    let folder = TempDir::new();
    let (mut daemon, address) = daemon(&folder, "");
    let connect = pub_sub_client_connect("ESP8266Client");
    let mut nodes: [Option<TcpStream>; 2] = [None, None];
    let mut accepted = 0;
    // Whoever is thrown out, or not let in, tries again without delay.
    for _ in 0..50 {
        for (place, last) in nodes.iter_mut().zip([1, 2]) {
            if place.as_mut().is_some_and(is_open) {
                continue;
            }
            let mut stream = connect_from([127, 0, 0, last], address);
            stream.write_all(&connect).unwrap();
            let mut connack = [0; 4];
            let let_in = stream.read(&mut connack).unwrap() == 4;
            accepted += usize::from(let_in);
            *place = let_in.then_some(stream);
        }
    }
    assert_eq!(accepted, 3, "the first, and two that took over");
    assert!(nodes.iter_mut().flatten().any(is_open), "one of them stays");
    let line = daemon.line("client ID `ESP8266Client`");
    assert!(
        line.contains("from 127.0.0.1:") && line.contains("from 127.0.0.2:"),
        "{line}"
    );
    let (_, rest) = daemon.stop();
    assert!(!rest.contains("client ID `ESP8266Client`"), "{rest}");
}

/// Whether the broker has left a connection open.
fn is_open(stream: &mut TcpStream) -> bool {
    stream.write_all(&[0xC0, 0]).unwrap();
    stream.read(&mut [0; 2]).is_ok_and(|count| count == 2)
}
