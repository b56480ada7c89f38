//! How long a client may take: to say something, to finish a packet, to take what it is sent.

use std::time::{Duration, Instant};

use crate::core::hub::Ended;

/// Time from the first byte of a packet to its last.
const PACKET: Duration = Duration::from_secs(30);
/// Time in which a client takes at least a byte of what is written to it.
const STALL: Duration = Duration::from_secs(20);

/// What a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long the client may say nothing, `None` for ever.
    silence: Option<Duration>,
    last_packet: Instant,
    /// When the first byte of an incomplete packet came.
    packet_begun: Option<Instant>,
    /// When the socket last took something, while there is more for it.
    stalled: Option<Instant>,
}

impl Patience {
    /// Starts when CONNECT was taken in.
    pub(super) fn new(silence: Option<Duration>, now: Instant) -> Self {
        Self {
            silence,
            last_packet: now,
            packet_begun: None,
            stalled: None,
        }
    }

    /// A whole packet came.
    pub(super) fn packet(&mut self, now: Instant) {
        self.last_packet = now;
        self.packet_begun = None;
    }

    /// The start of a packet is there, and its rest is not.
    pub(super) fn begun(&mut self, now: impl FnOnce() -> Instant) {
        self.packet_begun.get_or_insert_with(now);
    }

    /// The socket took something.
    pub(super) fn progress(&mut self) {
        self.stalled = None;
    }

    /// The socket takes no more at present.
    pub(super) fn stalled(&mut self, now: impl FnOnce() -> Instant) {
        self.stalled.get_or_insert_with(now);
    }

    /// Returns when the first limit passes, if nothing happens before.
    pub(super) fn next(&self) -> Option<Instant> {
        self.limits().into_iter().flatten().map(|(at, ..)| at).min()
    }

    /// Returns why the connection ends if a limit has passed, and what to write in the log.
    pub(super) fn overdue(&self, now: Instant) -> Option<(Ended, &'static str)> {
        let limits = self.limits().into_iter().flatten();
        let passed = limits.filter(|(at, ..)| *at <= now);
        let first = passed.min_by_key(|(at, ..)| *at);
        first.map(|(_, ended, what)| (ended, what))
    }

    fn limits(&self) -> [Option<(Instant, Ended, &'static str)>; 3] {
        [
            self.silence.map(|silence| {
                let what = "no packet for 1.5 × its keep alive";
                (self.last_packet + silence, Ended::KeepAlive, what)
            }),
            self.packet_begun.map(|begun| {
                let what = "a packet that is not complete after 30 s";
                (begun + PACKET, Ended::Malformed, what)
            }),
            self.stalled.map(|since| {
                let what = "it has not read for 20 s";
                (since + STALL, Ended::Lost, what)
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn ended(patience: &Patience, now: Instant) -> Option<Ended> {
        patience.overdue(now).map(|(ended, _)| ended)
    }

    #[test]
    fn keep_alive_counts_from_the_last_whole_packet() {
        let start = clock::now();
        let mut patience = Patience::new(Some(3 * SECOND), start);
        assert_eq!(patience.next(), Some(start + 3 * SECOND));
        patience.packet(start + 2 * SECOND);
        patience.begun(|| start + 4 * SECOND);
        assert_eq!(ended(&patience, start + 4 * SECOND), None);
        let due = start + 5 * SECOND;
        assert_eq!(patience.next(), Some(due));
        assert_eq!(ended(&patience, due), Some(Ended::KeepAlive));
    }

    #[test]
    fn trickling_bytes_do_not_prolong_a_packet() {
        let start = clock::now();
        let mut patience = Patience::new(None, start);
        for second in 0..30 {
            patience.begun(|| start + second * SECOND);
        }
        assert_eq!(ended(&patience, start + 29 * SECOND), None);
        assert_eq!(ended(&patience, start + PACKET), Some(Ended::Malformed));
        patience.packet(start + 29 * SECOND);
        assert_eq!(
            (patience.next(), ended(&patience, start + PACKET)),
            (None, None)
        );
    }

    #[test]
    fn client_that_reads_slowly_is_kept_and_one_that_does_not_is_lost() {
        let start = clock::now();
        let mut patience = Patience::new(None, start);
        patience.stalled(|| start);
        patience.progress();
        patience.stalled(|| start + 19 * SECOND);
        assert_eq!(ended(&patience, start + 38 * SECOND), None);
        assert_eq!(ended(&patience, start + 39 * SECOND), Some(Ended::Lost));
    }

    #[test]
    fn client_without_keep_alive_is_waited_for() {
        let patience = Patience::new(None, clock::now());
        assert_eq!(patience.next(), None);
    }
}
