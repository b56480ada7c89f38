//! Resident memory of the daemon: after start, under load, and after a million strange topics.
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
