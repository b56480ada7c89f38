//! How long a client may take: to say something, to finish a packet, to take what it is sent.

use std::time::{Duration, Instant};

use crate::core::hub::Ended;

/// Time in which a client takes at least a byte of what is written to it.
const STALL: Duration = Duration::from_secs(20);

/// What a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long the client may say nothing, `None` for ever.
    silence: Option<Duration>,
    last_packet: Instant,
    /// Time from the first byte of a packet to its last.
    packet: Duration,
    /// Until when nothing is read, for the client has sent too much.
    held: Option<Instant>,
    /// When the first byte of an incomplete packet came.
    packet_begun: Option<Instant>,
    /// When the socket last took something, while there is more for it.
    stalled: Option<Instant>,
}

impl Patience {
    /// Starts when CONNECT was taken in.
    pub(super) fn new(silence: Option<Duration>, packet: Duration, now: Instant) -> Self {
        Self {
            silence,
            packet,
            held: None,
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

    /// Nothing is to be read before that time.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held = Some(until);
    }

    /// Returns whether nothing is to be read now, as of the latest [`Patience::release`].
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Lets be read again if the time for it has come.
    pub(super) fn release(&mut self, now: Instant) {
        self.held = self.held.filter(|until| *until > now);
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
        let limits = self.limits().into_iter().flatten().map(|(at, ..)| at);
        limits.chain(self.held).min()
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
                let what = "no packet for 1.5 × its keep alive, or the idle limit";
                (self.last_packet + silence, Ended::KeepAlive, what)
            }),
            self.packet_begun.map(|begun| {
                let what = "a packet that is not complete in time";
                (begun + self.packet, Ended::Malformed, what)
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
    const PACKET: Duration = Duration::from_secs(30);

    fn ended(patience: &Patience, now: Instant) -> Option<Ended> {
        patience.overdue(now).map(|(ended, _)| ended)
    }

    #[test]
    fn keep_alive_counts_from_the_last_whole_packet() {
        let start = clock::now();
        let mut patience = Patience::new(Some(3 * SECOND), PACKET, start);
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
        let mut patience = Patience::new(None, PACKET, start);
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
        let mut patience = Patience::new(None, PACKET, start);
        patience.stalled(|| start);
        patience.progress();
        patience.stalled(|| start + 19 * SECOND);
        assert_eq!(ended(&patience, start + 38 * SECOND), None);
        assert_eq!(ended(&patience, start + 39 * SECOND), Some(Ended::Lost));
    }

    #[test]
    fn client_without_keep_alive_is_waited_for() {
        let patience = Patience::new(None, PACKET, clock::now());
        assert_eq!(patience.next(), None);
    }

    #[test]
    fn client_that_is_held_back_is_let_go_in_time() {
        let start = clock::now();
        let mut patience = Patience::new(None, PACKET, start);
        patience.hold(start + SECOND);
        assert_eq!(patience.next(), Some(start + SECOND));
        patience.release(start);
        assert!(patience.is_held());
        patience.release(start + SECOND);
        assert!(!patience.is_held());
        assert_eq!(
            (patience.next(), ended(&patience, start + SECOND)),
            (None, None)
        );
    }
}
