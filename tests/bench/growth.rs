//! Whether anything grows with what has passed: topics and client IDs that were never seen before,
//! and subscriptions that do not match.
//!
//! `cargo bench --bench growth` takes a tenth of the numbers that are promised, `-- full` all of
//! them: 5,000,000 topics and 200,000 client IDs. Exit code 1 when a limit is not kept.

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
use std::time::{Duration, Instant};

use support::process::Daemon;
use support::wire;

const BRIDGE: &str = "[broker]\nlisten = [\"127.0.0.1:0\"]\nmax_subscriptions = 300\n\
    offline_sessions = 500\nqueue = { messages = 10000, bytes = \"1MiB\" }\n";
const PINGREQ: [u8; 2] = [0xC0, 0];
/// Messages that are sent before an answer is waited for.
const BLOCK: usize = 200;
/// What may come and go with the allocator's own books, in KiB.
const FLAT: usize = 1024;

fn main() -> ExitCode {
    let share = match std::env::args().any(|argument| argument == "full") {
        true => 1,
        false => 10,
    };
    let mut good = topics(5_000_000 / share);
    good &= client_ids(200_000 / share);
    good &= subscriptions();
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A client that waits for what it asks.
struct Client(TcpStream);

impl Client {
    fn connect(port: u16, connect: &[u8]) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        let limit = Some(Duration::from_secs(60));
        socket.set_read_timeout(limit).unwrap();
        socket.write_all(connect).unwrap();
        let mut client = Self(socket);
        assert_eq!(client.read::<4>()[3], 0, "CONNACK");
        client
    }

    fn subscribe(&mut self, filter: &str) {
        self.0.write_all(&wire::subscribe(filter, 0)).unwrap();
        assert_eq!(self.read::<5>()[4], 0, "SUBACK");
    }

    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends packets and waits until the broker has taken in all of them.
    fn send(&mut self, packets: &[u8]) {
        self.0.write_all(packets).unwrap();
        self.0.write_all(&PINGREQ).unwrap();
        assert_eq!(self.read::<2>(), [0xD0, 0]);
    }

    fn leave(mut self) {
        self.0.write_all(&[0xE0, 0]).unwrap();
        // The broker closes first, so that it keeps the port and not we.
        let _ = self.0.read(&mut [0; 16]);
    }
}

/// Publishes to topics of their own, and hears them all.
fn topics(count: usize) -> bool {
    let daemon = Daemon::start(BRIDGE);
    let mut listener = Client::connect(daemon.port, &wire::connect("listener"));
    listener.subscribe("#");
    let mut publisher = Client::connect(daemon.port, &wire::connect("publisher"));
    let length = wire::publish(&topic(0), b"21.5", 0, 0).len();
    let mut heard = vec![0; BLOCK * length];
    let mut publish = |numbers: std::ops::Range<usize>| {
        for first in numbers.step_by(BLOCK) {
            let block: Vec<u8> = (first..first + BLOCK)
                .flat_map(|number| wire::publish(&topic(number), b"21.5", 0, 0))
                .collect();
            publisher.send(&block);
            listener.0.read_exact(&mut heard).unwrap();
        }
    };
    publish(0..20_000);
    let before = daemon.resident();
    publish(20_000..20_000 + count);
    let growth = daemon.resident().saturating_sub(before);
    limit(&format!("growth by {count} topics"), growth, FLAT)
}

fn topic(number: usize) -> String {
    format!("nodes/node-{:08}/value/{number:08}", number / 7)
}

/// Connects with client IDs that are used once, half of them with a session that stays, and with a
/// subscription and a message for it.
fn client_ids(count: usize) -> bool {
    let daemon = Daemon::start(BRIDGE);
    let mut publisher = Client::connect(daemon.port, &wire::connect("publisher"));
    let mut come_and_go = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let mut connect = wire::connect(&format!("once-{number:08}"));
            let persists = number.is_multiple_of(2);
            if persists {
                connect[9] &= !2;
            }
            let mut client = Client::connect(daemon.port, &connect);
            if persists {
                client.subscribe(&format!("once/{number}/+"));
            }
            client.leave();
            if persists {
                publisher.send(&wire::publish(&format!("once/{number}/x"), b"21.5", 0, 0));
            }
        }
    };
    come_and_go(0..3_000); // until the sessions that may stay are there
    let before = daemon.resident();
    come_and_go(3_000..3_000 + count);
    let growth = daemon.resident().saturating_sub(before);
    limit(&format!("growth by {count} client IDs"), growth, FLAT)
}

fn limit(what: &str, kib: usize, most: usize) -> bool {
    let met = kib <= most;
    println!(
        "{what}: {kib} KiB, at most {most} KiB: {}",
        if met { "met" } else { "MISSED" }
    );
    met
}

/// Publishes with no subscriptions, with 10,000 that do not match, and with as many that nearly do.
fn subscriptions() -> bool {
    const ROUNDS: usize = 31;
    let brokers = [(); 3].map(|()| Daemon::start(BRIDGE));
    let [_, others, near] = &brokers;
    let _holders: Vec<_> = (0..40)
        .flat_map(|holder| {
            let own = holder * 50..(holder + 1) * 50;
            [
                hold(others.port, own.clone().flat_map(elsewhere)),
                hold(near.port, own.flat_map(nearby)),
            ]
        })
        .collect();
    let connect = wire::connect("publisher");
    let mut publishers = brokers
        .each_ref()
        .map(|daemon| Client::connect(daemon.port, &connect));
    let message = wire::publish("nodes/kitchen/temperature/mean", b"21.5", 0, 0);
    let block = message.repeat(20_000);
    let mut fastest = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        for (publisher, fastest) in publishers.iter_mut().zip(&mut fastest) {
            let start = Instant::now();
            publisher.send(&block);
            // Neighbours only ever slow it down.
            *fastest = start.elapsed().min(*fastest);
        }
    }
    let [none, others, near] = fastest.map(|time| time.as_secs_f64() * 1e9 / 20_000.0);
    println!("a publish with no subscriptions: {none:.0} ns");
    let met = slower("that do not match", others / none, 1.2);
    // Five branches of the tree are gone down, however many filters there are on them.
    met & slower("of which many match but for one level", near / none, 1.6)
}

fn slower(what: &str, ratio: f64, below: f64) -> bool {
    let met = ratio < below;
    let verdict = if met { "met" } else { "MISSED" };
    println!("with 10,000 {what}: {ratio:.2} times as long, below {below:.1}: {verdict}");
    met
}

/// What nodes other than the one that publishes subscribe to.
fn elsewhere(node: usize) -> [String; 5] {
    [
        format!("replies/node-{node}/#"),
        format!("nodes/node-{node}/temperature/+"),
        format!("settings/node-{node}/interval"),
        format!("settings/+/group-{node}"),
        format!("alarms/+/node-{node}/#"),
    ]
}

/// Filters that begin as the topic does, or could.
fn nearby(number: usize) -> [String; 5] {
    [
        format!("nodes/kitchen/temperature/{number}"),
        format!("nodes/kitchen/{number}/#"),
        format!("nodes/+/humidity-{number}"),
        format!("nodes/node-{number}/temperature/+"),
        format!("+/kitchen/temperature/mean/{number}"),
    ]
}

/// Holds these subscriptions.
fn hold(port: u16, filters: impl Iterator<Item = String>) -> Client {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let id = format!("holder-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut client = Client::connect(port, &wire::connect(&id));
    for filter in filters {
        client.subscribe(&filter);
    }
    client
}
