//! What a client can do to a broker: strange and broken packets, in strange pieces, and all the
//! ways not to behave on a connection. Everything is drawn from a seed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a helper of tests: what is not as expected has to fail, and it is about time"
)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::mqtt::{
    CLEAN, PINGREQ, ack, block, connect_4, connect_5, connect_with, flagged, packet, publish_5,
    subscribe, subscribe_5, unsubscribe,
};

/// Connections that one attacker leaves open without using them.
const HELD: usize = 12;

/// How long an attacker waits for a byte, and how long for room to write.
const PATIENCE: Duration = Duration::from_millis(2);
const STUCK: Duration = Duration::from_millis(200);

const TOPICS: [&str; 12] = [
    "a",
    "a/b",
    "a//b",
    "/",
    "é/b",
    "\u{10FFFD}",
    "nodes/x/ask/1",
    "nodes/x/ask/2/more",
    "nodes/x",
    "$SYS/x",
    "replies/x/ask/1/ok",
    "a/+",
];

const FILTERS: [&str; 13] = [
    "#",
    "+/+",
    "a/#",
    "a/b",
    "é/+",
    "$share/g/#",
    "$share/g/a/+",
    "$share/h/a/+",
    "$share/g",
    "$SYS/#",
    "replies/x/#",
    "a/#/b",
    "",
];

/// A sequence that looks random and is the same for the same seed (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// Starts a sequence.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// One attacker and the connections it has left open.
pub(crate) struct Attacker {
    random: Random,
    address: SocketAddr,
    held: VecDeque<TcpStream>,
    /// Connections that it has made.
    pub(crate) connections: usize,
}

impl Attacker {
    /// Has made no connection yet.
    pub(crate) fn new(address: SocketAddr, seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            address,
            held: VecDeque::new(),
            connections: 0,
        }
    }

    /// Attacks until the time has come.
    pub(crate) fn run(&mut self, until: Instant) {
        while Instant::now() < until {
            self.attack();
        }
    }

    fn attack(&mut self) {
        // All ports of this machine may be in use for a moment: then there is no attack.
        let Ok(stream) = TcpStream::connect_timeout(&self.address, STUCK) else {
            return;
        };
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(STUCK)).unwrap();
        self.connections += 1;
        match self.random.below(16) {
            // Half-open: says nothing, or stops within a packet.
            0 => self.hold(stream),
            1 => self.stop_within(stream),
            2 => self.send_noise(stream),
            // Packets without CONNECT before them.
            3 => {
                let level = self.random.pick(&[3, 4, 5]);
                let bytes = packets(&mut self.random, level);
                self.exchange(stream, &bytes);
            }
            4 => self.read_slowly(stream),
            5 | 6 => self.come_and_go(stream),
            7 => self.flood(stream),
            8..11 => {
                let bytes = self.session();
                self.exchange(stream, &bytes);
            }
            _ => {
                let mut bytes = self.session();
                mutate(&mut self.random, &mut bytes);
                self.exchange(stream, &bytes);
            }
        }
    }

    /// CONNECT and what follows it.
    fn session(&mut self) -> Vec<u8> {
        let (mut bytes, level) = connect(&mut self.random);
        bytes.extend(packets(&mut self.random, level));
        bytes
    }

    /// Sends bytes in pieces and reads what comes, then leaves in some way.
    fn exchange(&mut self, mut stream: TcpStream, bytes: &[u8]) {
        let largest = self.random.pick(&[1, 7, 100, 10_000, 10_000, 10_000]);
        // Byte by byte, a long sequence would take longer than the others together.
        let bytes = bytes.get(..largest * 300).unwrap_or(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = (1 + self.random.below(largest)).min(rest.len());
            let (now, later) = rest.split_at(piece);
            if stream.write_all(now).is_err() {
                return;
            }
            rest = later;
            if self.random.one_in(16) {
                read_some(&mut stream);
            }
        }
        self.part(stream);
    }

    fn part(&mut self, mut stream: TcpStream) {
        match self.random.below(4) {
            // Unread answers make it a reset.
            0 => drop(stream),
            1 => {
                let _ = stream.write_all(&[0xE0, 0]);
                read_some(&mut stream);
            }
            2 => {
                let _ = stream.shutdown(Shutdown::Write);
                self.hold(stream);
            }
            _ => self.hold(stream),
        }
    }

    /// Leaves a connection open until others push it out.
    fn hold(&mut self, stream: TcpStream) {
        self.held.push_back(stream);
        if self.held.len() > HELD {
            self.held.pop_front();
        }
    }

    fn stop_within(&mut self, mut stream: TcpStream) {
        let mut bytes = self.session();
        bytes.truncate(self.random.below(bytes.len()));
        // Or announces more than it has.
        if self.random.one_in(4) {
            bytes.extend([
                0x30,
                0xFF,
                0xFF,
                self.random.pick(&[0x02, 0x7F, 0xFF]),
                0x7F,
            ]);
        }
        let _ = stream.write_all(&bytes);
        self.hold(stream);
    }

    fn send_noise(&mut self, stream: TcpStream) {
        let size = 1 + self.random.below(3000);
        let noise: Vec<_> = (0..size).map(|_| self.random.byte()).collect();
        self.exchange(stream, &noise);
    }

    /// Subscribes to everything and reads nothing.
    fn read_slowly(&mut self, mut stream: TcpStream) {
        let (mut bytes, level) = connect(&mut self.random);
        let filter = [("#", self.random.below(3) as u8)];
        bytes.extend(match level {
            5 => subscribe_5(1, &filter, &[]),
            _ => subscribe(1, &filter),
        });
        let _ = stream.write_all(&bytes);
        self.hold(stream);
    }

    /// The same client again and again, each time before the last one has left.
    fn come_and_go(&mut self, mut stream: TcpStream) {
        for _ in 0..4 {
            let (bytes, _) = connect(&mut self.random);
            let _ = stream.write_all(&bytes);
            let Ok(next) = TcpStream::connect_timeout(&self.address, STUCK) else {
                return;
            };
            self.connections += 1;
            let before = std::mem::replace(&mut stream, next);
            self.part(before);
        }
    }

    /// Publishes as fast as it is taken.
    fn flood(&mut self, mut stream: TcpStream) {
        let (mut bytes, level) = connect(&mut self.random);
        for id in 1..400 {
            bytes.extend(publish(&mut self.random, level, id));
        }
        let _ = stream.write_all(&bytes);
        self.part(stream);
    }
}

/// Reads until nothing more comes, at most a few times.
fn read_some(stream: &mut TcpStream) {
    let mut chunk = [0; 4096];
    for _ in 0..4 {
        if !matches!(stream.read(&mut chunk), Ok(1..)) {
            return;
        }
    }
}

/// CONNECT of a version, mostly of few clients, so that they take each other's sessions over.
fn connect(random: &mut Random) -> (Vec<u8>, u8) {
    let level = random.pick(&[3, 4, 4, 5, 5]);
    let long = "x".repeat(300);
    let id = match random.below(16) {
        0 => "",
        1 => "a/+#$",
        2 => &long,
        _ => random.pick(&["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"]),
    };
    let clean = random.pick(&[0, CLEAN]);
    if random.one_in(3) {
        return (connect_with_will(random, level, id, clean), level);
    }
    if level == 5 {
        // Session Expiry, Receive Maximum, Maximum Packet Size.
        let expiry = [0x11, 0, 0, 0, random.byte() % 4];
        let receive = [0x21, 0, 1 + random.byte() % 4];
        let largest = [0x27, 0, 0, 0, 1 + random.byte() % 200];
        let properties: [&[u8]; 4] = [&[], &expiry, &receive, &largest];
        let properties = [
            random.pick(&properties),
            random.pick(&[&[], &[0x19, 1][..]]),
        ]
        .concat();
        return (connect_5(id, clean, &properties), level);
    }
    if level == 4 {
        return (connect_4(id, clean), level);
    }
    (connect_with(level, clean, 1, &block(id)), level)
}

fn connect_with_will(random: &mut Random, level: u8, id: &str, clean: u8) -> Vec<u8> {
    let flags = clean | 0x04 | random.pick(&[0, 0x08, 0x10]) | random.pick(&[0, 0x20]);
    let will = [block(random.pick(&TOPICS)), block("gone")].concat();
    let delay = [5, 0x18, 0, 0, 0, random.byte() % 3];
    let payload = match level {
        5 => [&[0][..], &block(id), &delay, &will].concat(),
        _ => [block(id), will].concat(),
    };
    let keep_alive = random.pick(&[0, 1, 60]);
    connect_with(level, flags, keep_alive, &payload)
}

/// Up to a few dozen packets that a client may send.
fn packets(random: &mut Random, level: u8) -> Vec<u8> {
    let count = 1 + random.below(30);
    let mut bytes = Vec::new();
    for _ in 0..count {
        let id = 1 + random.below(20) as u16;
        let filter = (random.pick(&FILTERS), random.below(3) as u8);
        bytes.extend(match random.below(12) {
            0..5 => publish(random, level, id),
            5 if level == 5 => subscribe_5(id, &[filter], &[0x0B, 1 + random.byte() % 100]),
            5 => subscribe(id, &[filter]),
            6 => many_filters(random, level, id),
            7 if level != 5 => unsubscribe(id, random.pick(&FILTERS)),
            8 => PINGREQ.to_vec(),
            _ => ack(random.pick(&[0x40, 0x50, 0x62, 0x70]), id),
        });
    }
    bytes
}

fn publish(random: &mut Random, level: u8, id: u16) -> Vec<u8> {
    let qos = random.pick(&[0, 2, 4]);
    let dup = if qos > 0 { random.pick(&[0, 0, 8]) } else { 0 };
    let flags = qos | dup | random.pick(&[0, 0, 0, 1]);
    let deep = "/".repeat(random.pick(&[100, 127, 128, 5000]));
    let topic = match random.below(20) {
        0 => &deep,
        _ => random.pick(&TOPICS),
    };
    let payload = "x".repeat(random.pick(&[0, 1, 10, 100, 10_000]));
    if level != 5 {
        return flagged(topic, payload, flags, id);
    }
    let alias = [0x23, 0, random.byte() % 18];
    let answer = [&[0x08][..], &block("t0/answer"), &[0x09], &block("id")].concat();
    let expiry = [0x02, 0, 0, 0, random.byte() % 3];
    let properties: [&[u8]; 5] = [&[], &[], &alias, &answer, &expiry];
    let properties = random.pick(&properties);
    let topic = if random.one_in(10) { "" } else { topic };
    publish_5(topic, &payload, flags, id, properties)
}

/// More subscriptions than a session may have.
fn many_filters(random: &mut Random, level: u8, id: u16) -> Vec<u8> {
    let names: Vec<_> = (0..random.below(400))
        .map(|at| format!("f/{at}/+"))
        .collect();
    let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    match level {
        5 => subscribe_5(id, &filters, &[]),
        _ => subscribe(id, &filters),
    }
}

/// Changes, removes, repeats or adds a few bytes.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(40)).min(bytes.len());
        match random.below(5) {
            0 => bytes[at] = random.byte(),
            1 => bytes[at] ^= 1 << random.below(8),
            2 if bytes.len() > end - at => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let odd = random.pick(&[&[0x00][..], &[0xFF; 4], &[0x10, 0], &[0xF0, 0], &[0x80]]);
                bytes.splice(at..at, odd.iter().copied());
            }
        }
    }
    // One more packet, whose length says something else.
    if random.one_in(4) {
        let mut last = packet(0x30, &block("a"));
        last[1] = random.byte();
        bytes.extend(last);
    }
}
