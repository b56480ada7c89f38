//! One ceiling over all that is kept for clients.

use super::*;
use crate::core::memory::ENTRY;

/// A hub with so much memory, and queues that would take more.
fn with_memory(memory: usize) -> Scenario {
    Scenario::with(Limits {
        memory,
        queue_messages: 10_000,
        queue_bytes: 1 << 20,
        ..Limits::default()
    })
}

impl Scenario {
    /// A session without a connection that waits for a topic.
    fn absent(&mut self, client: &str, filter: &str) {
        let id = self.join(v4_persistent(client));
        self.subscribe(id, filter, Q1);
        self.lose(id);
    }

    /// Resumes a session and returns how many messages it gets, and the last one.
    fn collect(&mut self, client: &str) -> (usize, String) {
        let id = self.join(v4_persistent(client));
        let mut got = (0, String::new());
        loop {
            let packets = self.packets(id);
            if packets.is_empty() {
                return got;
            }
            for packet in packets {
                let (_, packet_id) = packet.rsplit_once('#').unwrap();
                got = (got.0 + 1, packet.clone());
                self.send(id, Incoming::PubAck(packet_id.parse().unwrap(), 0));
            }
        }
    }

    fn dropped(&mut self) -> usize {
        let reports = self.reports();
        let counts = reports.iter().map(|report| match report {
            Report::Dropped { count, .. } => *count,
            _ => 0,
        });
        counts.sum()
    }
}

#[test]
fn past_the_ceiling_the_largest_queue_loses_its_oldest() {
    let mut s = with_memory(100_000);
    s.absent("modest", "few");
    s.absent("greedy", "many");
    let publisher = s.join(v4("p"));
    s.send(publisher, publish("few", "kept", Q1, 1));
    for number in 0..500 {
        let payload = format!("{number:01000}");
        s.send(publisher, publish("many", &payload, Q1, 2));
        s.offers.clear();
        assert!(s.hub.meter().used() <= 100_000, "{number}");
    }
    let mut dropped = s.dropped();
    let (modest, last) = s.collect("modest");
    assert_eq!((modest, last.as_str()), (1, "few=kept q1 #1"));
    let (greedy, last) = s.collect("greedy");
    assert!(last.starts_with(&format!("many={:01000}", 499)), "{last}");
    dropped += s.dropped();
    assert_eq!(greedy + dropped, 500, "each is delivered or counted");
    assert!(greedy > 60, "{greedy}: no more than is needed");
}

#[test]
fn a_message_that_many_wait_for_is_counted_once() {
    let mut s = with_memory(100_000);
    for client in 0..50 {
        s.absent(&client.to_string(), "all");
    }
    let publisher = s.join(v4("p"));
    s.send(publisher, publish("all", &"x".repeat(50_000), Q1, 1));
    s.offers.clear();
    assert!(s.hub.meter().used() < 50_000 + 60 * ENTRY);
    assert_eq!(s.dropped(), 0);
}

#[test]
fn nothing_is_counted_any_more_when_all_is_gone() {
    let mut s = with_memory(1 << 20);
    let id = s.join(v5_lasting("a", 60));
    s.subscribe(id, "t", Q2);
    for packet_id in 1..30 {
        s.send(id, publish("t", "payload", Q1, packet_id));
        s.packets(id);
    }
    s.send(id, retain("kept", "x"));
    assert!(s.hub.meter().used() > 0);
    s.lose(id);
    s.wait(Duration::from_secs(61));
    let other = s.join(v4("b"));
    s.send(other, retain("kept", ""));
    s.leave(other);
    s.offers.clear();
    assert_eq!(s.hub.meter().used(), 0);
}

#[test]
fn nothing_new_is_retained_while_memory_is_short() {
    let mut s = with_memory(100_000);
    s.absent("greedy", "many");
    let publisher = s.join(v4("p"));
    for _ in 0..80 {
        s.send(publisher, publish("many", &"x".repeat(1000), Q1, 1));
        s.offers.clear();
    }
    s.send(publisher, retain("new", "x"));
    let full = Report::RetainedFull {
        topic: "new".to_owned(),
    };
    assert!(s.reports().contains(&full));
}
