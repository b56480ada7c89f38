//! The broker alone beside mosquitto: throughput, fan-out and latency, as ratios in one run.
//!
//! Clients are raw sockets with packets made beforehand, on two threads at most, so that the brokers
//! are what is measured. Mosquitto (which has to be installed) has TCP_NODELAY. Rounds are
//! interleaved and medians compared. Publishers keep a bounded distance to the slowest subscriber:
//! neither broker drops anything, and each message is waited for. `cargo bench --bench load`; exit
//! code 1 when a goal is missed. CPU time, which neighbours disturb least, is printed beside.
//!
//! On x86_64 with two cores, of which others wanted their share: one to one 8.5 times as many
//! messages at QoS 0 and 4.9 times at QoS 1, 13.6 times as many deliveries to 100 subscribers, and
//! a median latency of 1.1 and 1.0 times mosquitto's. What comes together leaves together, where
//! mosquitto makes a system call for each packet.

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
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use support::process::{Daemon, Mosquitto};
use support::wire;

const ROUNDS: usize = 5;
/// Messages that a publisher sends in one write.
const BLOCK: usize = 100;
/// Blocks that a publisher may be ahead of the slowest subscriber.
const AHEAD: usize = 5;
const TOPIC: &str = "load/kitchen/temperature";
const PAYLOAD: &[u8] = br#"{"t":21.5,"h":40,"p":1013}"#;

const BRIDGE: &str = "[broker]\nlisten = [\"127.0.0.1:0\"]\nmax_clients = 300\n\
    queue = { messages = 10000, bytes = \"1MiB\" }\nmemory = \"64MiB\"\n";

/// A broker that is measured.
enum Broker {
    Ours(Daemon),
    Mosquitto(Mosquitto),
}

impl Broker {
    fn port(&self) -> u16 {
        match self {
            Self::Ours(daemon) => daemon.port,
            Self::Mosquitto(mosquitto) => mosquitto.port,
        }
    }

    fn cpu(&self) -> Duration {
        match self {
            Self::Ours(daemon) => daemon.cpu(),
            Self::Mosquitto(mosquitto) => mosquitto.cpu(),
        }
    }
}

/// What one round came to: deliveries in a second or a median latency in µs, and CPU time of the
/// broker for one delivery in µs.
#[derive(Clone, Copy, Default)]
struct Sample {
    value: f64,
    cpu: f64,
}

fn main() -> ExitCode {
    let brokers = [
        Broker::Ours(Daemon::start(BRIDGE)),
        Broker::Mosquitto(Mosquitto::start()),
    ];
    let mut good = true;
    for (name, qos, subscribers, messages, least) in [
        ("one to one, QoS 0", 0, 1, 300_000, 2.0),
        ("one to one, QoS 1", 1, 1, 100_000, 2.0),
        ("one to 100, QoS 0", 0, 100, 10_000, 1.0),
    ] {
        let stream = Stream {
            qos,
            subscribers,
            messages,
        };
        let [ours, theirs] = compare(&brokers, |broker| stream.measure(broker));
        print(name, "deliveries a second", ours, theirs);
        let ratio = ours.value / theirs.value;
        good &= verdict(ratio >= least, ratio, "at least", least);
    }
    for qos in [0, 1] {
        let [ours, theirs] = compare(&brokers, |broker| latency(broker, qos));
        let name = format!("1,000 messages a second, QoS {qos}");
        print(&name, "µs median", ours, theirs);
        let ratio = ours.value / theirs.value;
        good &= verdict(ratio <= 1.3, ratio, "at most", 1.3);
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(name: &str, unit: &str, ours: Sample, theirs: Sample) {
    println!("\n{name}");
    for (broker, sample) in [("ours", ours), ("mosquitto", theirs)] {
        let Sample { value, cpu } = sample;
        println!("  {broker:<10} {value:>9.0} {unit}, CPU {cpu:.2} µs for each delivery");
    }
}

fn verdict(met: bool, ratio: f64, relation: &str, goal: f64) -> bool {
    let met_or_missed = if met { "met" } else { "MISSED" };
    println!("  ratio {ratio:.2}, {relation} {goal}: {met_or_missed}");
    met
}

/// Measures both in turns, the first of which is to warm up, and returns the medians.
fn compare(brokers: &[Broker; 2], measure: impl Fn(&Broker) -> Sample) -> [Sample; 2] {
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let pair = [measure(&brokers[0]), measure(&brokers[1])];
        if round > 0 {
            rounds.push(pair);
        }
    }
    [0, 1].map(|which| {
        let middle = |part: fn(&Sample) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(|pair| part(&pair[which])).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Sample {
            value: middle(|sample| sample.value),
            cpu: middle(|sample| sample.cpu),
        }
    })
}

/// One publisher and its subscribers.
struct Stream {
    qos: u8,
    subscribers: usize,
    messages: usize,
}

impl Stream {
    fn measure(&self, broker: &Broker) -> Sample {
        let sockets: Vec<_> = (0..self.subscribers)
            .map(|number| subscriber(broker.port(), number, self.qos))
            .collect();
        let publisher = connect(broker.port(), "publisher");
        let length = wire::publish(TOPIC, PAYLOAD, self.qos, 1).len();
        let (done, progress) = sync_channel(AHEAD);
        let blocks = self.messages / BLOCK;
        let (qos, before, start) = (self.qos, broker.cpu(), Instant::now());
        let writer = std::thread::spawn(move || publish(publisher, qos, blocks, &progress));
        match qos {
            0 => count(sockets, length, blocks, &done),
            _ => acknowledge(sockets, length, blocks, &done),
        }
        let took = start.elapsed();
        writer.join().unwrap();
        let deliveries = (blocks * BLOCK * self.subscribers) as f64;
        Sample {
            value: deliveries / took.as_secs_f64(),
            cpu: (broker.cpu() - before).as_secs_f64() * 1e6 / deliveries,
        }
    }
}

fn connect(port: u16, id: &str) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    let limit = Some(Duration::from_secs(60));
    socket.set_read_timeout(limit).unwrap();
    socket.write_all(&wire::connect(id)).unwrap();
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    socket
}

fn subscriber(port: u16, number: usize, qos: u8) -> TcpStream {
    let mut socket = connect(port, &format!("subscriber-{number}"));
    socket.write_all(&wire::subscribe(TOPIC, qos)).unwrap();
    let mut suback = [0; 5];
    socket.read_exact(&mut suback).unwrap();
    assert_eq!(suback, [0x90, 3, 0, 1, qos]);
    socket
}

/// Sends blocks of messages; at QoS 1 two of them may wait for their acknowledgements.
fn publish(mut socket: TcpStream, qos: u8, blocks: usize, progress: &Receiver<()>) {
    let block = |odd: usize| -> Vec<u8> {
        let first = odd * BLOCK + 1;
        let ids = first..first + BLOCK;
        ids.flat_map(|id| wire::publish(TOPIC, PAYLOAD, qos, id as u16))
            .collect()
    };
    let pair = [block(0), block(1)];
    let mut acks = [0; 4 * BLOCK];
    for number in 0..blocks {
        if number >= AHEAD {
            progress.recv().unwrap();
        }
        if qos > 0 && number >= 2 {
            socket.read_exact(&mut acks).unwrap();
        }
        socket.write_all(&pair[number % 2]).unwrap();
    }
    // Whoever leaves while acknowledgements are on their way resets the connection.
    for _ in 0..if qos > 0 { blocks.min(2) } else { 0 } {
        socket.read_exact(&mut acks).unwrap();
    }
}

/// Reads until each socket has had all messages, which it does not look into, and tells of every
/// block that all have.
fn count(mut sockets: Vec<TcpStream>, length: usize, blocks: usize, done: &SyncSender<()>) {
    let whole = blocks * BLOCK * length;
    let mut received = vec![0; sockets.len()];
    let mut buffer = vec![0; 256 * 1024];
    let mut told = 0;
    while told < blocks {
        let mut waiting: Vec<_> = sockets
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        let limit = rustix::time::Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        assert!(poll(&mut waiting, Some(&limit)).unwrap() > 0, "no message");
        let ready: Vec<_> = waiting.iter().map(|it| !it.revents().is_empty()).collect();
        for (at, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
            let read = sockets[at].read(&mut buffer).unwrap();
            assert!(read > 0, "the broker closed the connection");
            received[at] += read;
        }
        let slowest = received.iter().min().unwrap() / length / BLOCK;
        for _ in told..slowest {
            let _ = done.send(()); // the publisher has done all it had to
        }
        told = slowest;
    }
    assert!(received.iter().all(|bytes| *bytes == whole), "{received:?}");
}

/// Reads the messages of one socket and acknowledges them, as many at once as came at once.
fn acknowledge(mut sockets: Vec<TcpStream>, length: usize, blocks: usize, done: &SyncSender<()>) {
    let socket = &mut sockets[0];
    let mut buffer = vec![0; 256 * 1024];
    let (mut filled, mut received) = (0, 0);
    let mut acks = Vec::new();
    // Behind the fixed header of two bytes, the topic and its length.
    let id = 4 + TOPIC.len();
    while received < blocks * BLOCK {
        let read = socket.read(&mut buffer[filled..]).unwrap();
        assert!(read > 0, "the broker closed the connection");
        filled += read;
        let whole = filled / length;
        acks.clear();
        for packet in buffer[..whole * length].chunks_exact(length) {
            acks.extend([0x40, 2, packet[id], packet[id + 1]]);
        }
        buffer.copy_within(whole * length..filled, 0);
        filled -= whole * length;
        socket.write_all(&acks).unwrap();
        let before = received / BLOCK;
        received += whole;
        for _ in before..received / BLOCK {
            let _ = done.send(());
        }
    }
}

/// Sends a message each millisecond, waits for it, and returns the median of the times.
fn latency(broker: &Broker, qos: u8) -> Sample {
    const MESSAGES: u32 = 2_000;
    let mut reader = subscriber(broker.port(), 0, qos);
    let mut writer = connect(broker.port(), "publisher");
    let message = wire::publish(TOPIC, PAYLOAD, qos, 1);
    let mut delivery = message.clone();
    let id = 4 + TOPIC.len();
    let before = broker.cpu();
    let start = Instant::now();
    let mut times: Vec<Duration> = (0..MESSAGES)
        .map(|number| {
            let due = start + Duration::from_millis(1) * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let sent = Instant::now();
            writer.write_all(&message).unwrap();
            reader.read_exact(&mut delivery).unwrap();
            let took = sent.elapsed();
            if qos > 0 {
                let ack = [0x40, 2, delivery[id], delivery[id + 1]];
                reader.write_all(&ack).unwrap();
                writer.read_exact(&mut [0; 4]).unwrap();
            }
            took
        })
        .collect();
    times.sort();
    Sample {
        value: times[times.len() / 2].as_secs_f64() * 1e6,
        cpu: (broker.cpu() - before).as_secs_f64() * 1e6 / f64::from(MESSAGES),
    }
}
