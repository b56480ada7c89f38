//! Packets that go before publishes: acknowledgements and answers, bounded.

use std::collections::VecDeque;

use crate::core::packet::Outgoing;

/// Most bytes (about) that wait for a client that does not read.
const MAX_WEIGHT: usize = 64 * 1024;

/// Acknowledgements and answers in the order they were given.
#[derive(Debug, Default)]
pub(crate) struct Control {
    packets: VecDeque<Outgoing>,
    weight: usize,
    /// A PINGRESP waits: it answers all PINGREQs that came meanwhile.
    pong: bool,
}

impl Control {
    /// Appends a packet.
    pub(crate) fn push(&mut self, packet: Outgoing) {
        if packet == Outgoing::PingResp && std::mem::replace(&mut self.pong, true) {
            return;
        }
        self.weight += weight(&packet);
        self.packets.push_back(packet);
    }

    /// Takes the first packet.
    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        let packet = self.packets.pop_front()?;
        if self.packets.is_empty() && self.packets.capacity() > 16 {
            self.packets = VecDeque::new();
        }
        self.weight -= weight(&packet);
        self.pong &= packet != Outgoing::PingResp;
        Some(packet)
    }

    /// Returns whether no packet waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Returns whether so much waits that the client can't be reading.
    pub(crate) fn is_full(&self) -> bool {
        self.weight > MAX_WEIGHT
    }

    /// Takes all packets.
    pub(crate) fn drain(&mut self) -> VecDeque<Outgoing> {
        self.weight = 0;
        self.pong = false;
        std::mem::take(&mut self.packets)
    }
}

fn weight(packet: &Outgoing) -> usize {
    16 + match packet {
        Outgoing::SubAck(_, reasons) | Outgoing::UnsubAck(_, reasons) => reasons.len(),
        Outgoing::ConnAck(_)
        | Outgoing::Publish(_)
        | Outgoing::PubAck(..)
        | Outgoing::PubRec(..)
        | Outgoing::PubRel(..)
        | Outgoing::PubComp(..)
        | Outgoing::PingResp
        | Outgoing::Disconnect(_) => 0,
    }
}
