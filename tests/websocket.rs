//! MQTT over WebSocket as browsers and libraries speak it, and as nobody should: hand-written
//! requests and frames on real sockets, the built program on the other side.

#![cfg(feature = "websocket")]
#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/temp_dir.rs"]
mod temp_dir;
#[path = "support/websocket.rs"]
mod websocket;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use certificates::Authority;
use daemon::{Daemon, port};
use mqtt::{
    Broker, CLEAN, Client, PINGREQ, PINGRESP, block, connect_4, connect_5, connect_with, publish,
    subscribe,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use temp_dir::TempDir;
use websocket::{
    BINARY, CLOSE, CONTINUATION, FINAL, PING, PONG, TEXT, Web, expect_close, expect_end,
    expect_frame, frame, message, open, read_frame, read_head, request,
};

/// The hash of `right`.
const RIGHT: &str = "$sha256$c2FsdHNhbHQ$FR8UeCMT3/fKTEhhldTae/b+v/u/qEX+413/4joENeU";
const SITE: &str = "https://garden.example";
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// A broker that listens for WebSocket alone; `settings` are more lines of `[broker]` and what
/// follows it.
fn start(settings: &str) -> Broker {
    let text = format!(
        "[broker]\nlisten = []\nwebsocket = {{ listen = [\"127.0.0.1:0\"], origins = [\"{SITE}\"] }}\n\
         {settings}"
    );
    Broker::try_start(&text).unwrap()
}

fn kitchen() -> String {
    format!("[[user]]\nname = \"kitchen\"\npassword = \"{RIGHT}\"\n")
}

/// Sends a request and returns all that comes until the end of the connection.
fn answer(address: SocketAddr, request: &str) -> String {
    let mut stream = Client::socket(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Connects with 3.1.1 over WebSocket and expects to be let in.
fn connect(address: SocketAddr, id: &str) -> Client {
    let mut client = Client::over(Web::new(Client::socket(address), ""));
    client.send(&connect_4(id, CLEAN));
    client.expect(&CONNACK);
    client
}

/// CONNECT of 3.1.1 with a user name and a password.
fn login(user: &str, password: &str) -> Vec<u8> {
    let payload = [block("page"), block(user), block(password)].concat();
    connect_with(4, 0xC2, 0, &payload)
}

#[test]
fn packets_of_any_size_come_through_both_ways() {
    let broker = start("queue = { messages = 1000, bytes = \"1MiB\" }\n");
    let mut client = connect(broker.address, "c");
    client.subscribe("t", 0);
    // Lengths of one and of two bytes in the frame's header, and of eight in the last.
    for length in [0, 1, 100, 1000, 65_527] {
        let message = publish("t", vec![b'x'; length], 0, 0);
        client.send(&message);
        client.expect(&message);
    }
    let mut second = connect(broker.address, "d");
    for index in 0..200_u8 {
        second.send(&publish("t", vec![index; 400], 0, 0));
    }
    for index in 0..200_u8 {
        client.expect(&publish("t", vec![index; 400], 0, 0));
    }
    client.leave();
}

#[test]
fn frames_and_packets_need_not_begin_together() {
    let broker = start("");
    let mut stream = open(broker.address);
    let connect = connect_4("c", CLEAN);
    // Half of a packet to a frame, the second with the start of the next packet.
    let both = [connect.as_slice(), &subscribe(1, &[("t", 0)])].concat();
    let (first, rest) = both.split_at(7);
    stream.write_all(&message(first)).unwrap();
    let (second, third) = rest.split_at(rest.len() - 3);
    stream.write_all(&message(second)).unwrap();
    expect_frame(&mut stream, FINAL | BINARY, &CONNACK);
    stream.write_all(&message(third)).unwrap();
    expect_frame(&mut stream, FINAL | BINARY, &[0x90, 3, 0, 1, 0]);

    // One message in fragments, a ping between them, and one fragment empty.
    let publish = publish("t", "hello", 0, 0);
    let (first, rest) = publish.split_at(4);
    stream.write_all(&frame(BINARY, first)).unwrap();
    stream.write_all(&frame(CONTINUATION, b"")).unwrap();
    stream.write_all(&frame(FINAL | PING, b"between")).unwrap();
    expect_frame(&mut stream, FINAL | PONG, b"between");
    stream
        .write_all(&frame(FINAL | CONTINUATION, rest))
        .unwrap();
    expect_frame(&mut stream, FINAL | BINARY, &publish);

    // Byte by byte, and many packets in one frame.
    for byte in message(&PINGREQ) {
        stream.write_all(&[byte]).unwrap();
    }
    expect_frame(&mut stream, FINAL | BINARY, &PINGRESP);
    stream.write_all(&message(&[PINGREQ; 40].concat())).unwrap();
    let mut answers = Vec::new();
    while answers.len() < 80 {
        let (first, payload) = read_frame(&mut stream).unwrap();
        assert_eq!(first, FINAL | BINARY);
        answers.extend(payload);
    }
    assert_eq!(answers, [PINGRESP; 40].concat());
}

#[test]
fn pings_are_answered_before_connect_and_pongs_are_not() {
    let broker = start("");
    let mut stream = open(broker.address);
    for payload in [&b""[..], b"x", &[7; 125]] {
        stream.write_all(&frame(FINAL | PONG, payload)).unwrap();
        stream.write_all(&frame(FINAL | PING, payload)).unwrap();
        expect_frame(&mut stream, FINAL | PONG, payload);
    }
    stream.write_all(&message(&connect_4("c", CLEAN))).unwrap();
    expect_frame(&mut stream, FINAL | BINARY, &CONNACK);
}

#[test]
fn closing_is_answered_with_the_same_code() {
    let broker = start("");
    for (payload, connects) in [
        (&b""[..], true),
        (b"\x03\xE8", true),
        (b"\x03\xE9bye", false),
    ] {
        let mut stream = open(broker.address);
        if connects {
            stream.write_all(&message(&connect_4("c", CLEAN))).unwrap();
            expect_frame(&mut stream, FINAL | BINARY, &CONNACK);
        }
        stream.write_all(&frame(FINAL | CLOSE, payload)).unwrap();
        let code = &payload[..payload.len().min(2)];
        expect_frame(&mut stream, FINAL | CLOSE, code);
        expect_end(&mut stream);
    }
}

#[test]
fn a_client_that_leaves_by_mqtt_is_closed_without_a_will_and_one_that_closes_with_it() {
    let broker = start("");
    let mut watcher = connect(broker.address, "watcher");
    watcher.subscribe("will", 0);
    let payload = [block("w"), block("will"), block("gone")].concat();
    let connect = connect_with(4, 0x06, 0, &payload);

    let mut polite = open(broker.address);
    polite.write_all(&message(&connect)).unwrap();
    expect_frame(&mut polite, FINAL | BINARY, &CONNACK);
    polite.write_all(&message(&[0xE0, 0])).unwrap();
    expect_close(&mut polite, 1000);
    watcher.expect_quiet();

    let mut closing = open(broker.address);
    closing.write_all(&message(&connect)).unwrap();
    expect_frame(&mut closing, FINAL | BINARY, &CONNACK);
    closing.write_all(&frame(FINAL | CLOSE, b"")).unwrap();
    expect_frame(&mut closing, FINAL | CLOSE, b"");
    watcher.expect(&publish("will", "gone", 0, 0));
}

#[test]
fn what_is_no_binary_frame_of_a_client_closes_with_a_code() {
    let broker = start("");
    let cases = [
        (frame(FINAL | TEXT, b"x"), 1003_u16, "text"),
        (vec![FINAL | BINARY, 2, 0xC0, 0], 1002, "no mask"),
        (frame(FINAL | CONTINUATION, b"x"), 1002, "a part of nothing"),
        (frame(0xC0 | BINARY, b"x"), 1002, "an extension"),
        (frame(FINAL | 5, b"x"), 1002, "an unknown kind"),
        (frame(PING, b"x"), 1002, "a ping in parts"),
        (frame(FINAL | PING, &[0; 200]), 1002, "a long ping"),
        (frame(FINAL | CLOSE, &[3]), 1002, "half a code"),
        (message(&[0x10, 0xFF, 0xFF, 0xFF, 0xFF]), 1002, "no MQTT"),
    ];
    for (bytes, code, why) in &cases {
        // Before CONNECT, and in a session.
        let mut early = open(broker.address);
        early.write_all(bytes).unwrap();
        let found = read_frame(&mut early).unwrap();
        assert_eq!(found, (FINAL | CLOSE, code.to_be_bytes().to_vec()), "{why}");
        expect_end(&mut early);
        let mut late = open(broker.address);
        late.write_all(&message(&connect_5("c", CLEAN, &[])))
            .unwrap();
        let (_, answer) = read_frame(&mut late).unwrap();
        assert_eq!((answer[0], answer[3]), (0x20, 0));
        late.write_all(bytes).unwrap();
        let (first, farewell) = read_frame(&mut late).unwrap();
        assert_eq!((first, farewell[0]), (FINAL | BINARY, 0xE0), "{why}");
        expect_close(&mut late, *code);
    }
    broker_is_alive(&broker);
}

fn broker_is_alive(broker: &Broker) {
    connect(broker.address, "liveness").expect_quiet();
}

#[test]
fn a_packet_over_the_limit_closes_however_it_is_framed() {
    let broker = start("max_packet = 1024\nmemory = \"1MiB\"\n");
    let large = publish("t", vec![0; 1024], 0, 0);
    let halves = large.split_at(500);
    let framed = [
        message(&large),
        [
            frame(BINARY, halves.0),
            frame(FINAL | CONTINUATION, halves.1),
        ]
        .concat(),
    ];
    for bytes in framed {
        let mut stream = open(broker.address);
        stream.write_all(&message(&connect_4("c", CLEAN))).unwrap();
        expect_frame(&mut stream, FINAL | BINARY, &CONNACK);
        stream.write_all(&bytes).unwrap();
        expect_close(&mut stream, 1009);
    }
    // A frame may be longer than any packet: it holds many.
    let mut stream = open(broker.address);
    stream.write_all(&message(&connect_4("c", CLEAN))).unwrap();
    expect_frame(&mut stream, FINAL | BINARY, &CONNACK);
    let packets = [publish("t", vec![0; 900], 0, 0), PINGREQ.to_vec()].concat();
    stream.write_all(&message(&packets.repeat(100))).unwrap();
    let mut answers = 0;
    while answers < 100 {
        answers += read_frame(&mut stream).unwrap().1.len() / 2;
    }
    // A length that nobody means takes no memory and no packet more.
    let mut head = message(&[]);
    head[1] |= 127;
    head.splice(2..2, (u64::MAX >> 1).to_be_bytes());
    stream.write_all(&head).unwrap();
    stream.write_all(&[0xFF; 4096]).unwrap();
    assert_eq!(read_frame(&mut stream).unwrap().0, FINAL | CLOSE);
}

#[test]
fn requests_that_are_no_websocket_for_mqtt_are_told_why() {
    let broker = start("");
    let good = request("");
    let cases = [
        ("GET /mqtt", "GET /", "404 ", "/mqtt"),
        ("GET ", "POST ", "405 ", "GET"),
        ("Upgrade: websocket\r\n", "", "426 ", "Upgrade: websocket"),
        (
            "Version: 13",
            "Version: 7",
            "426 ",
            "Sec-WebSocket-Version: 13",
        ),
        (
            "Sec-WebSocket-Protocol: mqtt\r\n",
            "",
            "400 ",
            "subprotocol mqtt",
        ),
        (
            "Protocol: mqtt",
            "Protocol: wamp, chat",
            "400 ",
            "subprotocol mqtt",
        ),
        ("Key: dGhl", "Key: !!!!", "400 ", "Sec-WebSocket-Key"),
        ("Host: router\r\n", "", "400 ", "Host"),
        ("GET /mqtt HTTP/1.1", "\u{16}\u{3}\u{1}", "400 ", "HTTP"),
    ];
    for (from, to, status, text) in cases {
        let answer = answer(broker.address, &good.replace(from, to));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(answer.contains(text), "{answer}");
    }
    // MQTT without WebSocket is no HTTP, and never gets an answer in MQTT.
    let mut plain = Client::socket(broker.address);
    plain.write_all(&connect_4("c", CLEAN)).unwrap();
    plain.write_all(b"\r\n\r\n").unwrap();
    assert!(read_head(&mut plain).starts_with("HTTP/1.1 400 "));
    broker_is_alive(&broker);
}

#[test]
fn pages_of_other_sites_get_nothing_and_those_of_listed_ones_need_a_password() {
    let broker = start(&format!("anonymous = \"anywhere\"\n{}", kitchen()));
    for origin in [
        "https://evil.example",
        "null",
        "",
        "https://garden.example.evil.example",
    ] {
        let answer = answer(broker.address, &request(&format!("Origin: {origin}\r\n")));
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    let listed = format!("Origin: {SITE}\r\n");
    let proxied = "X-Forwarded-For: 192.0.2.7\r\n".to_owned();
    for more in [listed, proxied] {
        let attempt = |connect: &[u8]| {
            let mut client = Client::over(Web::new(Client::socket(broker.address), &more));
            client.send(connect);
            client.packet()
        };
        assert_eq!(
            attempt(&connect_4("page", CLEAN)),
            [0x20, 2, 0, 5],
            "{more}"
        );
        assert_eq!(attempt(&login("kitchen", "wrong")), [0x20, 2, 0, 4]);
        assert_eq!(attempt(&login("kitchen", "right")), CONNACK);
    }
    // A program that is no browser is judged as it is without WebSocket.
    drop(connect(broker.address, "program"));
}

#[test]
fn long_and_slow_requests_end() {
    let broker = start("connect_timeout = \"1s\"\n");
    let long = request(&format!("Cookie: {}\r\n", "x".repeat(9000)));
    let mut stream = Client::socket(broker.address);
    stream.write_all(long.as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 431 "));
    let many = request(&"A: b\r\n".repeat(70));
    assert!(answer(broker.address, &many).starts_with("HTTP/1.1 431 "));

    let silent = Client::socket(broker.address);
    let mut slow = Client::socket(broker.address);
    slow.write_all(b"GET /mqtt HTTP/1.1\r\n").unwrap();
    // A field now and then, which is no reason to wait for longer.
    slow.set_read_timeout(Some(std::time::Duration::from_millis(100)))
        .unwrap();
    let mut fields = 0;
    let ended = loop {
        let _ = slow.write_all(b"X: y\r\n");
        fields += 1;
        match slow.read(&mut [0; 64]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && fields < 50 => {}
            other => break other,
        }
    };
    assert!(fields < 50 && !matches!(ended, Ok(1..)), "{ended:?}");
    // A handshake, and then no CONNECT.
    let mut mute = open(broker.address);
    for mut stream in [silent, std::mem::replace(&mut mute, slow)] {
        expect_end(&mut stream);
    }
    broker_is_alive(&broker);
}

#[test]
fn a_request_may_come_byte_by_byte_and_nothing_may_follow_it_early() {
    let broker = start("");
    let mut stream = Client::socket(broker.address);
    for byte in request("").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    let hasty = [request("").into_bytes(), message(&connect_4("c", CLEAN))].concat();
    let mut stream = Client::socket(broker.address);
    stream.write_all(&hasty).unwrap();
    // In one piece it is refused; in two it may have been answered before.
    let head = read_head(&mut stream);
    assert!(
        head.starts_with("HTTP/1.1 400 ") || head.starts_with("HTTP/1.1 101 "),
        "{head}"
    );
}

#[test]
fn websockets_count_as_connections_do() {
    let broker = start("max_per_address = 2\nconnect_rate = 1000\n");
    let first = open(broker.address);
    let _second = open(broker.address);
    let mut third = Client::socket(broker.address);
    let _ = third.write_all(request("").as_bytes());
    expect_end(&mut third);
    drop(first);
    // Until its place is free.
    let again = (0..200).find_map(|_| {
        let mut stream = Client::socket(broker.address);
        let _ = stream.write_all(request("").as_bytes());
        matches!(stream.read(&mut [0; 64]), Ok(1..)).then_some(stream)
    });
    assert!(again.is_some());
}

#[test]
fn a_reader_that_pauses_gets_all_that_waited_and_pongs_between() {
    let broker = start("queue = { messages = 1000, bytes = \"6MiB\" }\n");
    let mut reader = open(broker.address);
    reader
        .write_all(&message(&connect_4("reader", CLEAN)))
        .unwrap();
    expect_frame(&mut reader, FINAL | BINARY, &CONNACK);
    reader
        .write_all(&message(&subscribe(1, &[("t", 0)])))
        .unwrap();
    expect_frame(&mut reader, FINAL | BINARY, &[0x90, 3, 0, 1, 0]);
    let mut writer = connect(broker.address, "writer");
    let text = |index: usize| publish("t", format!("{index:010000}"), 0, 0);
    for index in 0..400 {
        writer.send(&text(index));
    }
    writer.expect_quiet();
    reader.write_all(&frame(FINAL | PING, b"now")).unwrap();
    let expected: Vec<u8> = (0..400).flat_map(text).collect();
    let (mut received, mut pongs) = (Vec::new(), 0);
    while received.len() < expected.len() || pongs == 0 {
        match read_frame(&mut reader).unwrap() {
            (0x82, payload) => received.extend(payload),
            (first, payload) => {
                assert_eq!((first, payload.as_slice()), (FINAL | PONG, &b"now"[..]));
                pongs += 1;
            }
        }
    }
    assert!(received == expected, "{} bytes", received.len());
    assert_eq!(pongs, 1);
}

#[test]
fn a_packet_that_never_ends_is_given_up_and_so_is_a_silent_client() {
    let broker = start("packet_timeout = \"1s\"\nidle_limit = \"2s\"\n");
    let mut stuck = open(broker.address);
    stuck
        .write_all(&message(&connect_4("stuck", CLEAN)))
        .unwrap();
    expect_frame(&mut stuck, FINAL | BINARY, &CONNACK);
    let publish = publish("t", vec![0; 5000], 0, 0);
    // The frame is whole, the packet is not.
    stuck.write_all(&message(&publish[..3000])).unwrap();
    expect_close(&mut stuck, 1002);
    let mut idle = open(broker.address);
    idle.write_all(&message(&connect_4("idle", CLEAN))).unwrap();
    expect_frame(&mut idle, FINAL | BINARY, &CONNACK);
    // Pings of WebSocket are no MQTT.
    idle.write_all(&frame(FINAL | PING, b"")).unwrap();
    expect_frame(&mut idle, FINAL | PONG, b"");
    expect_close(&mut idle, 1000);
}

#[test]
fn browsers_come_over_tls_with_the_certificate_of_the_listener() {
    let (folder, authority) = (TempDir::new(), Authority::new("listener"));
    let identity = authority.good(&["router.test"]);
    folder.write("router.pem", &identity.chain_pem());
    folder.write("router.key", &identity.key_pem());
    let text = format!(
        "[broker]\nlisten = []\nanonymous = \"no\"\nconnect_timeout = \"2s\"\n\
         tls = {{ listen = [], certificate = \"router.pem\", key = \"router.key\" }}\n\
         websocket = {{ listen = [\"127.0.0.1:0\"], tls = true, origins = [\"{SITE}\"] }}\n{}",
        kitchen()
    );
    folder.write("bridge.toml", &text);
    let mut daemon = Daemon::launch(&folder, &[]);
    let line = daemon.line("listening on 127.0.0.1:");
    assert!(
        line.ends_with("(MQTT 3.1, 3.1.1 and 5 over WebSocket and TLS)"),
        "{line}"
    );
    let address = SocketAddr::from(([127, 0, 0, 1], port(&line).parse().unwrap()));

    let mut roots = RootCertStore::empty();
    roots.add(authority.root().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let connect = || {
        let name = ServerName::try_from("router.test").unwrap();
        let tls = ClientConnection::new(Arc::clone(&config), name).unwrap();
        StreamOwned::new(tls, Client::socket(address))
    };
    let listed = format!("Origin: {SITE}\r\n");
    let mut client = Client::over(Web::new(connect(), &listed));
    client.send(&login("kitchen", "right"));
    client.expect(&CONNACK);
    client.send(&subscribe(1, &[("replies/kitchen/#", 1)]));
    client.expect(&[0x90, 3, 0, 1, 1]);
    for _ in 0..50 {
        client.send(&publish("nodes/kitchen/x", vec![0; 10_000], 0, 0));
    }
    client.expect_quiet();
    client.leave();

    // A page cannot come without TLS, and one that says nothing behind it is not waited for.
    let mut plain = Client::socket(address);
    plain.write_all(request(&listed).as_bytes()).unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"), "{rest:02x?}");
    let mut silent = connect();
    silent.conn.complete_io(&mut silent.sock).unwrap();
    let ended = silent.read(&mut [0; 16]);
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    assert_eq!(daemon.stop().0, Some(0));
}
