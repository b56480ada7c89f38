//! Whether one node that floods an endpoint slows others down: 20 polite nodes, alone and beside it.
//!
//! `cargo bench --bench fairness`; exit code 1 when the 99th percentile of the polite ones is more
//! than twice what it is alone.

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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::origin::Origin;
use support::process::Daemon;
use support::wire;

/// Polite nodes.
const POLITE: usize = 20;
/// Between two requests of a polite node.
const PAUSE: Duration = Duration::from_millis(500);
/// Requests of each polite node.
const ASKED: usize = 25;
/// What the server takes for an answer.
const WORK: Duration = Duration::from_millis(20);
/// Between two requests of the flooding node.
const FLOOD: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    let mut good = true;
    for (what, lines) in [
        ("concurrency alone", ""),
        ("rate", "rate = \"80/s\"\n"),
        (
            "rate and client_rate",
            "rate = \"80/s\"\nclient_rate = \"10/s\"\n",
        ),
    ] {
        let [alone, flooded] = [false, true].map(|flood| polite_p99(lines, flood));
        let ratio = flooded.as_secs_f64() / alone.as_secs_f64();
        println!(
            "{what}: p99 of {POLITE} polite nodes {:.1} ms, beside a flooding one {:.1} ms",
            alone.as_secs_f64() * 1e3,
            flooded.as_secs_f64() * 1e3
        );
        let met = ratio <= 2.0;
        let verdict = if met { "met" } else { "MISSED" };
        println!("  ratio: {ratio:.2}, at most 2.00: {verdict}");
        good &= met;
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn polite_p99(lines: &str, flood: bool) -> Duration {
    let origin = Origin::taking(WORK);
    let daemon = Daemon::start(&format!(
        "[broker]\nlisten = [\"127.0.0.1:0\"]\n[endpoint.origin]\n{}concurrency = 4\n{lines}\
         [[route]]\ntopic = \"nodes/{{node}}/post\"\nendpoint = \"origin\"\nmethod = \"POST\"\n\
         path = \"/post\"\nreply = \"replies/{{node}}/{{outcome}}\"\n",
        origin.endpoint()
    ));
    let done = AtomicBool::new(false);
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        if flood {
            let node = Node::connect(daemon.port, "flooding");
            scope.spawn(|| node.flood(&done));
            // Until it has used up whatever it may.
            std::thread::sleep(Duration::from_secs(2));
        }
        let begin = Instant::now();
        let polite: Vec<_> = (0..POLITE)
            .map(|number| {
                let mut node = Node::connect(daemon.port, &format!("polite{number}"));
                let first = begin + PAUSE * (number + 1) as u32 / POLITE as u32;
                let ask = move |round| node.ask_at(first + PAUSE * round as u32);
                scope.spawn(move || (0..ASKED).map(ask).collect::<Vec<_>>())
            })
            .collect();
        let took = polite.into_iter().flat_map(|node| node.join().unwrap());
        let took = took.collect();
        done.store(true, Ordering::Relaxed);
        took
    });
    took.sort();
    took[took.len() * 99 / 100]
}

/// A node that hears its replies.
struct Node {
    socket: TcpStream,
    buffer: Vec<u8>,
    request: Vec<u8>,
}

impl Node {
    fn connect(port: u16, name: &str) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let topic = format!("nodes/{name}/post");
        let mut node = Self {
            socket,
            buffer: Vec::new(),
            request: wire::publish(&topic, b"21.5", 0, 0),
        };
        node.socket.write_all(&wire::connect(name)).unwrap();
        assert_eq!(node.packet().expect("CONNACK").first, 0x20);
        let filter = format!("replies/{name}/#");
        node.socket.write_all(&wire::subscribe(&filter, 0)).unwrap();
        assert_eq!(node.packet().expect("SUBACK").first, 0x90);
        node
    }

    /// Asks at that time; returns how long it took from then to the reply.
    fn ask_at(&mut self, due: Instant) -> Duration {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        self.socket.write_all(&self.request).unwrap();
        let reply = self.packet().expect("a reply");
        let (topic, _, _) = reply.as_publish().unwrap();
        assert!(topic.ends_with("/ok"), "{topic}");
        due.elapsed()
    }

    /// Asks all the time, whatever the replies.
    fn flood(mut self, done: &AtomicBool) {
        self.socket.set_read_timeout(Some(FLOOD)).unwrap();
        while !done.load(Ordering::Relaxed) {
            self.socket.write_all(&self.request).unwrap();
            let next = Instant::now() + FLOOD;
            while Instant::now() < next {
                self.packet();
            }
        }
    }

    /// Returns the next packet, `None` if it does not come in time.
    fn packet(&mut self) -> Option<wire::Packet> {
        loop {
            if let Some(packet) = wire::split(&mut self.buffer) {
                return Some(packet);
            }
            let mut chunk = [0; 4096];
            let read = self.socket.read(&mut chunk).ok()?;
            assert!(read > 0, "the broker closed the connection");
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }
}
