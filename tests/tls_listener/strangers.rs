//! Whoever comes to the TLS listener and is no node: garbage, halves, stalls, and sudden ends at
//! each point of a handshake.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, version};

use super::{BOTH, NAME, Node, Router};
use crate::mqtt::{CLEAN, Client, connect_4};

/// Handshakes that a node performs while strangers do what they do, each within this time; an
/// unoptimized program on a busy machine needs a part of it.
const PATIENCE: Duration = Duration::from_secs(4);

/// Gives up handshakes soon, so that a test need not wait.
fn start() -> Router {
    Router::start("connect_timeout = \"1s\"\n")
}

/// The first flight of a client that means it.
fn client_hello(node: &Node) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from(NAME).unwrap();
    let mut tls = ClientConnection::new(Arc::clone(&node.0), name).unwrap();
    let mut flight = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut flight).unwrap();
    }
    (tls, flight)
}

/// A record with a header that says what it likes of its length.
fn record(kind: u8, length: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Opens a connection and sends bytes, which the other side need not wait for.
fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = Client::socket(address);
    let _ = socket.write_all(bytes);
    socket
}

/// Waits for the end of a connection and returns what came before it.
#[track_caller]
fn rest(mut socket: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("it does not end: {error}"),
    }
}

/// Ends a connection by a reset, as a node does that loses its power and comes back.
fn reset(socket: TcpStream) {
    let linger = Some(Duration::ZERO);
    socket2::SockRef::from(&socket).set_linger(linger).unwrap();
    drop(socket);
}

/// Lets a node in and out, and checks that it did not have to wait.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "how long it takes is what is tested"
)]
fn assert_prompt(router: &Router) {
    let start = Instant::now();
    router.assert_alive();
    let took = start.elapsed();
    assert!(took < PATIENCE, "a handshake took {took:?}");
}

/// Stops the router, which may not have met a fault of its own.
fn finish(mut router: Router) {
    router.assert_alive();
    let log = std::mem::take(&mut router.daemon.log).join("\n");
    let (code, last) = router.daemon.stop();
    assert_eq!(code, Some(0), "{last}");
    for text in [log, last] {
        assert!(!text.contains("fault of this program"), "{text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn garbage_in_place_of_a_handshake_ends_alone() {
    let router = start();
    let (_, hello) = client_hello(&router.node());
    let mut bodies = vec![
        vec![0; 4096],
        vec![0xFF; 70_000],
        b"GET / HTTP/1.1\r\nHost: router\r\n\r\n".to_vec(),
        connect_4("plain", CLEAN),
        // SSL 2, as scanners try it.
        b"\x80\x2E\x01\0\x02\0\x15\0\0\0\x10".repeat(4),
        // Records: too long, empty without end, of no kind.
        record(22, u16::MAX, &[1; 20_000]),
        record(22, 0, &[]).repeat(2_000),
        record(99, 4, b"what"),
        // Alerts, changes of cipher and data before there is anything to protect.
        record(21, 2, &[2, 40]),
        record(21, 2, &[1, 0]).repeat(2_000),
        record(20, 1, &[1]).repeat(2_000),
        record(23, 5, b"early"),
        // Handshake messages: of a length that never comes, of a kind that a client never sends.
        record(22, 4, &[1, 0xFF, 0xFF, 0xFF]),
        record(22, 4, &[2, 0, 0, 0]),
        record(22, 4, &[14, 0, 0, 0]),
        [hello.clone(), hello.clone()].concat(),
        [hello.clone(), vec![0; 500]].concat(),
        [hello.clone(), record(23, 5, b"early")].concat(),
    ];
    // A ClientHello with one byte that is wrong, all over it.
    bodies.extend((0..hello.len()).step_by(3).map(|at| {
        let mut bytes = hello.clone();
        bytes[at] ^= 0xFF;
        bytes
    }));
    for some in bodies.chunks(60) {
        let sockets: Vec<_> = some.iter().map(|body| send(router.address, body)).collect();
        assert_prompt(&router);
        for (socket, body) in sockets.into_iter().zip(some) {
            let answer = rest(socket);
            // Records of TLS or nothing; never a word of MQTT.
            assert!(
                matches!(answer.first(), None | Some(20..=23)),
                "{answer:02x?} to {body:02x?}"
            );
        }
    }
    finish(router);
}

#[test]
fn a_client_hello_that_is_cut_anywhere_ends_alone() {
    let router = start();
    for only in [&version::TLS12, &version::TLS13] {
        let (_, hello) = client_hello(&Node::new(router.authority.root(), &[only], None));
        let cuts: Vec<_> = (0..hello.len()).step_by(7).collect();
        let mut waiting = Vec::new();
        for (number, at) in cuts.into_iter().enumerate() {
            let socket = send(router.address, &hello[..at]);
            match number % 3 {
                // One says that no more comes, one is gone, and one leaves the rest open.
                0 => socket.shutdown(Shutdown::Write).unwrap(),
                1 => {
                    reset(socket);
                    continue;
                }
                _ => {}
            }
            waiting.push(socket);
        }
        assert_prompt(&router);
        for socket in waiting {
            rest(socket);
        }
    }
    finish(router);
}

#[test]
fn stalls_and_ends_at_each_point_of_a_handshake_hold_up_nobody() {
    let router = start();
    let mut stalled = Vec::new();
    for round in 0..10_usize {
        for only in [&version::TLS12, &version::TLS13] {
            let node = Node::new(router.authority.root(), &[only], None);
            // The hello is there, and the answer is not read.
            let (_, hello) = client_hello(&node);
            stalled.push(send(router.address, &hello));
            reset(send(router.address, &hello));
            // The answer is read, and nothing follows it, or half of what should.
            let (mut tls, hello) = client_hello(&node);
            let mut socket = send(router.address, &hello);
            while !tls.wants_write() {
                tls.read_tls(&mut socket).unwrap();
                tls.process_new_packets().unwrap();
            }
            let mut flight = Vec::new();
            tls.write_tls(&mut flight).unwrap();
            if round.is_multiple_of(2) {
                socket.write_all(&flight[..flight.len() / 2]).unwrap();
            }
            match round % 3 {
                0 => reset(socket),
                1 => drop(socket),
                _ => stalled.push(socket),
            }
            // All is done but CONNECT, or it is cut.
            let mut stream = node.shake_hands(router.address).unwrap();
            let connect = connect_4("half", CLEAN);
            stream.write_all(&connect[..round % connect.len()]).unwrap();
            if round.is_multiple_of(2) {
                stalled.push(stream.sock);
            }
        }
        assert_prompt(&router);
    }
    for socket in stalled {
        rest(socket);
    }
    finish(router);
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let router = Router::start("");
    let node = Node::new(router.authority.root(), BOTH, None);
    let (mut tls, hello) = client_hello(&node);
    let mut socket = Client::socket(router.address);
    let write = |socket: &mut TcpStream, bytes: &[u8]| {
        for byte in bytes {
            socket.write_all(&[*byte]).unwrap();
        }
    };
    write(&mut socket, &hello);
    while tls.is_handshaking() {
        tls.read_tls(&mut socket).unwrap();
        tls.process_new_packets().unwrap();
    }
    tls.writer().write_all(&connect_4("slow", CLEAN)).unwrap();
    let mut flight = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut flight).unwrap();
    }
    write(&mut socket, &flight);
    let mut client = Client::over(rustls::StreamOwned::new(tls, socket));
    client.expect(&[0x20, 2, 0, 0]);
    client.expect_quiet();
    drop(client);
    finish(router);
}

#[test]
fn garbage_behind_a_handshake_ends_alone() {
    let router = start();
    for body in [
        vec![0; 100],
        record(23, 40, &[7; 40]),
        record(23, u16::MAX, &[7; 20_000]),
        record(22, 4, &[0, 0, 0, 0]),
        record(20, 1, &[1]),
    ] {
        let mut stream = router.node().shake_hands(router.address).unwrap();
        stream.write_all(&connect_4("c", CLEAN)).unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        let _ = stream.sock.write_all(&body);
        let _ = stream.sock.shutdown(Shutdown::Write);
        rest(stream.sock);
        assert_prompt(&router);
    }
    finish(router);
}
