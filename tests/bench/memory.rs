//! Resident memory of the daemon: after start, under load, after a million strange topics, and with
//! a thousand clients that do nothing.
//!
//! Figures are from the kernel, so they hold for the release build on this machine; the limits are
//! those of the README. `cargo bench --bench memory`; exit code 1 when one is not kept.

#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark measures time, prints, and may end at the first surprise"
)]

#[path = "support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use support::{load, origin, process, wire};

const MIB: usize = 1024;

fn main() -> ExitCode {
    let origin = origin::Origin::start();
    let daemon = process::Daemon::start(&origin.bridge_toml());
    let mut good = limit("after start", daemon.resident(), 8 * MIB);

    let ask = load::Ask {
        port: daemon.port,
        clients: 64,
        ..load::Ask::default()
    };
    load::run(&ask, 50_000);
    let half = daemon.resident();
    load::run(&ask, 50_000);
    let loaded = daemon.resident();
    good &= limit("after 100,000 messages from 64 clients", loaded, 12 * MIB);
    good &= limit(
        "growth over the second half of them",
        loaded.saturating_sub(half),
        MIB / 2,
    );

    let listener = Listener::subscribe_to_everything(daemon.port);
    let many = load::Ask {
        topic: "nodes/n{n}/many/{i}",
        ..ask
    };
    load::run(&many, 20_000); // the listener's own buffers are part of where it was
    let before = daemon.resident();
    load::run(&many, 1_000_000);
    good &= limit(
        "growth by 1,000,000 topics",
        daemon.resident().saturating_sub(before),
        2 * MIB,
    );
    drop(listener);

    let before = daemon.resident();
    for number in 0..100_000 {
        come_and_go(daemon.port, number);
    }
    let growth = daemon.resident().saturating_sub(before);
    good &= limit("growth by 100,000 client IDs", growth, 2 * MIB);
    drop(daemon);
    good &= idle_clients();
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn limit(what: &str, kib: usize, most: usize) -> bool {
    let met = kib <= most;
    println!(
        "{what}: {kib} KiB, at most {most} KiB: {}",
        if met { "met" } else { "MISSED" }
    );
    met
}

/// A thousand clients come, do nothing, and leave; then a thousand others come.
fn idle_clients() -> bool {
    let daemon =
        process::Daemon::start("[broker]\nlisten = [\"127.0.0.1:0\"]\nmax_clients = 1100\n");
    let before = daemon.resident();
    let clients = crowd(daemon.port, "first");
    let crowded = daemon.resident();
    let mut good = limit("with 1,000 idle clients", crowded, 14 * MIB);

    // What is told of their coming is told once they have come.
    std::thread::sleep(Duration::from_secs(3));
    let (turns, cpu) = (daemon.switches(), daemon.cpu());
    std::thread::sleep(Duration::from_secs(5));
    let (turns, cpu) = (daemon.switches() - turns, daemon.cpu() - cpu);
    let met = turns == 0 && cpu.is_zero();
    let verdict = if met { "met" } else { "MISSED" };
    println!(
        "in 5 s they wake it {turns} times and take {cpu:?} of CPU, never and none: {verdict}"
    );
    good &= met;

    for mut socket in clients {
        socket.write_all(&[0xe0, 0]).unwrap();
        let _ = socket.read(&mut [0; 16]);
    }
    let returned = crowded.saturating_sub(daemon.resident());
    let others = crowd(daemon.port, "second");
    let again = daemon.resident().saturating_sub(crowded);
    drop(others);
    let taken = crowded - before;
    println!("of {taken} KiB that they took, {returned} KiB are returned when they have left");
    good & limit("growth by 1,000 others after them", again, taken / 2)
}

/// Connects a thousand clients, each with a subscription and half of them with a keep alive.
fn crowd(port: u16, name: &str) -> Vec<TcpStream> {
    let client = |number: usize| {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut connect = wire::connect(&format!("{name}-{number}"));
        if number.is_multiple_of(2) {
            connect[11] = 60;
        }
        socket.write_all(&connect).unwrap();
        let filter = format!("replies/n{number}/#");
        socket.write_all(&wire::subscribe(&filter, 0)).unwrap();
        let mut answers = [0; 9];
        socket.read_exact(&mut answers).unwrap();
        assert_eq!((answers[3], answers[8]), (0, 0), "{answers:?}");
        socket
    };
    (0..1_000).map(client).collect()
}

/// A client that subscribes to everything and reads it.
struct Listener(TcpStream);

impl Listener {
    fn subscribe_to_everything(port: u16) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.write_all(&wire::connect("listener")).unwrap();
        socket.write_all(&wire::subscribe("#", 0)).unwrap();
        let mut reader = socket.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut chunk = [0; 65_536];
            while reader.read(&mut chunk).is_ok_and(|read| read > 0) {}
        });
        Self(socket)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Connects with a client ID that is used once, waits for the CONNACK and leaves.
fn come_and_go(port: u16, number: usize) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket
        .write_all(&wire::connect(&format!("once-{number}")))
        .unwrap();
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).unwrap();
    assert_eq!(connack[3], 0, "accepted");
    socket.write_all(&[0xe0, 0]).unwrap();
}
