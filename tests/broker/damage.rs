//! Damaged packets.

use std::time::Instant;

use crate::mqtt::{
    Broker, CLEAN, Client, PINGREQ, ack, block, connect_4, connect_5, connect_with, packet,
    publish, publish_5, subscribe, subscribe_5, unsubscribe,
};
use crate::with_will;

/// A small generator of numbers: the same run every time.
struct Numbers(u32);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        usize::try_from(self.0).unwrap() % limit
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

#[test]
fn damaged_packets_harm_nobody_but_their_sender() {
    let broker = Broker::start();
    let mut witness = Client::connect(broker.address, "witness");
    witness.subscribe("witness", 0);
    let samples = [
        publish("é/b", "x", 1, 7),
        publish_5(
            "t",
            "x",
            2,
            7,
            &[1, 1, 8, 0, 1, b'r', 9, 0, 1, 0xFF, 35, 0, 1],
        ),
        subscribe(7, &[("a/#", 1), ("$share/g/+", 2)]),
        subscribe_5(
            7,
            &[("a/#", 0x2D)],
            &[0x0B, 0x80, 0x01, 38, 0, 1, b'k', 0, 1, b'v'],
        ),
        unsubscribe(7, "a/#"),
        ack(0x40, 7),
        ack(0x50, 7),
        ack(0x62, 7),
        ack(0x70, 7),
        PINGREQ.to_vec(),
        packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 7]),
        with_will("x", CLEAN, "é", "x"),
    ];
    let connects = [
        connect_4("torture", CLEAN),
        connect_4("torture", 0),
        connect_5("torture", CLEAN, &[0x11, 0, 0, 0, 9, 0x21, 0, 2]),
        connect_with(3, CLEAN, 1, &block("torture")),
    ];
    let mut numbers = Numbers(0x2545_F491);
    let start = Instant::now();
    while start.elapsed().as_secs() < 3 {
        for _ in 0..50 {
            let mut client = Client::open(broker.address);
            let mut bytes = connects[numbers.below(connects.len())].clone();
            let first = bytes.len();
            for _ in 0..1 + numbers.below(6) {
                bytes.extend(&samples[numbers.below(samples.len())]);
            }
            // Mostly what follows CONNECT is damaged, sometimes CONNECT itself.
            let from = if numbers.below(5) == 0 { 0 } else { first };
            for _ in 0..numbers.below(5) {
                let place = from + numbers.below(bytes.len() - from);
                bytes[place] = numbers.byte();
            }
            bytes.truncate(bytes.len() - numbers.below(3));
            client.send_if_open(&bytes);
        }
        witness.send(&publish("witness", "x", 0, 0));
        loop {
            // Damaged topics and filters may well be valid, and even be ours.
            if witness.packet() == publish("witness", "x", 0, 0) {
                break;
            }
        }
    }
    broker.assert_alive();
}
