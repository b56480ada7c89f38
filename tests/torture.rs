//! Clients that do whatever clients can do, all at once, for some seconds: the daemon stays, does
//! not grow, and serves a client that behaves.
//!
//! `TORTURE_SECONDS` makes it longer and measures how long that client waits; `TORTURE_SEED`
//! repeats a run, as far as threads can be repeated.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "what is not as expected has to fail, and it is about time"
)]

#[path = "support/attacks.rs"]
mod attacks;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use attacks::Attacker;
use daemon::Daemon;
use mqtt::{Client, ack, publish};
use temp_dir::TempDir;

/// Nothing listens behind the endpoint, so each request is soon answered with a failure.
const BRIDGE: &str = r#"
[broker]
listen = ["127.0.0.1:0"]
max_clients = 300

[defaults]
deadline = "3s"
timeout = "2s"

[endpoint.closed]
url = "https://localhost:1"

[[route]]
topic = "nodes/{node}/ask/{id}"
endpoint = "closed"
path = "/{id}"
reply = "replies/{node}/ask/{id}/{outcome}"
"#;

const ATTACKERS: u64 = 6;

/// What a round trip may take at the 99th percentile, where it is measured.
const LONGEST: Duration = Duration::from_secs(1);

/// What the daemon may take beside what it takes with one client. The queues of the eight
/// clients that attackers pretend to be and their connections' buffers are far below it.
const MOST_GROWTH_KIB: usize = 16 * 1024;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap())
}

#[test]
fn a_client_that_behaves_is_served_whatever_others_do() {
    let long = number("TORTURE_SECONDS");
    let time = Duration::from_secs(long.unwrap_or(3));
    let seed = number("TORTURE_SEED").unwrap_or(1);
    println!("torture: seed {seed}, {} s", time.as_secs());

    let folder = TempDir::new();
    folder.write("bridge.toml", BRIDGE);
    let daemon = Daemon::start(&folder, &["run"]);
    let address = SocketAddr::from(([127, 0, 0, 1], daemon.port.parse().unwrap()));
    let mut probe = Probe::new(address);
    probe.trip();
    let before = daemon.memory("VmRSS");

    let until = Instant::now() + time;
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|number| {
            let seed = seed.wrapping_mul(1_000).wrapping_add(number);
            thread::spawn(move || {
                let mut attacker = Attacker::new(address, seed);
                attacker.run(until);
                attacker.connections
            })
        })
        .collect();
    probe.run(until);
    let joined = attackers.into_iter().map(|thread| thread.join().unwrap());
    let connections: usize = joined.sum();
    probe.trip();
    let after = daemon.memory("VmRSS");
    let peak = daemon.memory("VmHWM");

    let mut trips = probe.trips;
    trips.sort_unstable();
    let at = |share: usize| trips[(trips.len() - 1) * share / 1000];
    println!(
        "torture: {connections} hostile connections; {} round trips: median {:?}, 99 % {:?}, \
         longest {:?}; {before} KiB before, {peak} KiB at most, {after} KiB after",
        trips.len(),
        at(500),
        at(990),
        at(1000)
    );
    assert!(connections > 100, "{connections} attacks are none");
    assert!(
        peak < before + MOST_GROWTH_KIB,
        "{before} KiB became {peak} KiB"
    );
    assert!(long.is_none() || at(990) < LONGEST, "{:?} at 99 %", at(990));
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panic"), "{log}");
    println!("torture: {}", log.lines().last().unwrap_or_default());
}

/// A client that behaves.
struct Probe {
    address: SocketAddr,
    client: Client,
    trips: Vec<Duration>,
}

impl Probe {
    fn new(address: SocketAddr) -> Self {
        let mut client = Client::connect(address, "probe");
        client.subscribe("probe/echo", 1);
        client.subscribe("replies/probe/#", 0);
        Self {
            address,
            client,
            trips: Vec::new(),
        }
    }

    /// Talks until the time has come, with pauses.
    fn run(&mut self, until: Instant) {
        // Nobody sends: it is there to wait at.
        let (_sender, pause) = mpsc::channel::<()>();
        while Instant::now() < until {
            self.trip();
            match self.trips.len() % 32 {
                8 => self.ask(),
                16 => Client::connect(self.address, "newcomer").leave(),
                _ => {}
            }
            let waited = pause.recv_timeout(Duration::from_millis(5));
            assert_eq!(waited, Err(RecvTimeoutError::Timeout));
        }
    }

    /// Publishes at QoS 1 to itself.
    fn trip(&mut self) {
        let start = Instant::now();
        let text = self.trips.len().to_string();
        self.client.send(&publish("probe/echo", &text, 1, 7));
        let (mut acknowledged, mut delivered) = (false, false);
        while !(acknowledged && delivered) {
            let packet = self.client.packet();
            if packet == ack(0x40, 7) {
                acknowledged = true;
            } else {
                assert_eq!(packet[0], 0x32, "{packet:02x?}");
                assert!(
                    packet.ends_with(text.as_bytes()),
                    "{packet:02x?} is not {text}"
                );
                let id = u16::from_be_bytes([packet[14], packet[15]]);
                self.client.send(&ack(0x40, id));
                delivered = true;
            }
        }
        self.trips.push(start.elapsed());
    }

    /// Asks for something that fails: the reply says so, or that all are busy.
    fn ask(&mut self) {
        self.client.send(&publish("nodes/probe/ask/1", "", 0, 0));
        let reply = self.client.packet();
        let reply = String::from_utf8_lossy(&reply);
        let told = ["connect.", "bridge.busy", "timeout.", "dns."];
        let is_failure = told.iter().any(|code| reply.contains(code));
        assert!(
            reply.contains("replies/probe/ask/1/error") && is_failure,
            "{reply}"
        );
    }
}
