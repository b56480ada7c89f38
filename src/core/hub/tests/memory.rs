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
    let before = s.hub.meter().used();
    s.send(publisher, publish("all", &"x".repeat(50_000), Q1, 1));
    s.offers.clear();
    assert!(s.hub.meter().used() - before < 50_000 + 60 * ENTRY);
    assert_eq!(s.dropped(), 0);
}

#[test]
fn sessions_that_one_user_leaves_behind_do_not_keep_others_from_being_served() {
    let mut s = with_memory(1 << 20);
    let greedy = identity(Some("greedy"), &["#"], &["#"]);
    s.absent("modest", "few");
    for client in 0..40 {
        let id = s.connect(v4_persistent(&format!("greedy-{client}")), &greedy);
        s.packets(id);
        for number in 0..200 {
            s.subscribe(id, &format!("greedy/{client}/{number}"), Q1);
        }
        s.lose(id);
        s.wait(Duration::from_secs(1));
    }
    let other = s.join(v4("other"));
    s.send(other, publish("few", "x", Q1, 1));
    assert!(!s.hub.meter().is_tight(), "{}", s.hub.meter().used());
    let forgotten = |report: &Report| matches!(report, Report::Forgotten { client } if client.starts_with("greedy"));
    let reports = s.reports();
    assert!(reports.iter().any(forgotten), "it is said");
    assert!(reports.iter().all(forgotten), "{reports:?}");
    assert_eq!(s.collect("modest"), (1, "few=x q1 #1".to_owned()));
}

#[test]
fn what_absent_sessions_did_not_acknowledge_counts_as_theirs() {
    let mut s = with_memory(1 << 20);
    let publisher = s.join(v4("publisher"));
    for client in 0..4 {
        let id = s.join(v4_persistent(&format!("greedy-{client}")));
        s.packets(id);
        s.subscribe(id, &format!("large/{client}"), Q1);
        for number in 0..10 {
            let payload = "x".repeat(30_000);
            s.send(
                publisher,
                publish(&format!("large/{client}"), &payload, Q1, number + 1),
            );
            s.packets(id);
        }
        s.lose(id);
        s.offers.clear();
        s.wait(Duration::from_secs(1));
    }
    s.send(publisher, publish("other", "x", Q1, 99));
    assert!(!s.hub.meter().is_tight(), "{}", s.hub.meter().used());
    assert!(
        s.reports()
            .iter()
            .any(|it| matches!(it, Report::Forgotten { .. }))
    );
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

#[test]
fn wills_count_and_large_ones_are_refused_while_memory_is_short() {
    let mut s = with_memory(100_000);
    let dying = |client: &str, payload: usize| Connect {
        will: Some(Will {
            delay: Duration::from_secs(u32::MAX.into()),
            ..will("gone", &"x".repeat(payload))
        }),
        ..v5_lasting(client, u32::MAX)
    };
    for client in ["a", "b", "c"] {
        let id = s.join(dying(client, 30_000));
        s.lose(id);
    }
    assert!(s.hub.meter().used() > 90_000);
    let refused = s.connect(dying("d", 30_000), &anyone());
    assert_eq!(s.packets(refused), ["connack 0x97"]);
    let small = s.join(dying("e", 100));
    s.leave(small);
    for client in ["a", "b", "c"] {
        let id = s.join(v5(client));
        s.leave(id);
    }
    s.offers.clear();
    assert_eq!(s.hub.meter().used(), 0);
}

#[test]
fn subscriptions_count_and_many_are_refused_while_memory_is_short() {
    let mut s = with_memory(1 << 20);
    let deep = |number: usize| format!("{number}{}", "/x".repeat(100));
    let mut clients = 0;
    // Sessions that stay, each with as many and as deep filters as it may have.
    while s.hub.meter().used() < (1 << 20) / 4 * 3 {
        clients += 1;
        let id = s.join(v4_persistent(&format!("c{clients}")));
        for number in 0..256 {
            s.send(id, subscribe(1, &[(&deep(number), Q0)]));
        }
        s.packets(id);
        s.lose(id);
        assert!(clients < 10, "{}", s.hub.meter().used());
    }
    let node = s.join(v4("node"));
    s.send(node, subscribe(1, &[("nodes/node/#", Q1), ("all", Q0)]));
    assert_eq!(
        s.packets(node),
        ["suback 1 [0x01, 0x00]"],
        "a node still can"
    );
    s.send(node, subscribe(2, &[(&deep(0), Q0)]));
    assert_eq!(s.packets(node), ["suback 2 [0x97]"]);
    for number in 1..=clients {
        let id = s.join(v4(&format!("c{number}")));
        s.leave(id);
    }
    s.send(node, subscribe(3, &[(&deep(0), Q0)]));
    assert_eq!(s.packets(node), ["suback 3 [0x00]"]);
    s.send(node, unsubscribe(4, &["nodes/node/#", "all", &deep(0)]));
    assert_eq!(s.hub.meter().used(), 0);
}

#[test]
fn user_properties_count_what_they_take() {
    let mut s = with_memory(1 << 20);
    s.absent("away", "t");
    let publisher = s.join(v5("p"));
    let properties = Properties {
        user_properties: vec![Default::default(); 1000],
        ..Properties::default()
    };
    let with_properties = Publish {
        properties: Some(Arc::new(properties)),
        ..publishing("t", "x", Q1, 1)
    };
    s.send(publisher, Incoming::Publish(with_properties));
    s.offers.clear();
    assert!(s.hub.meter().used() > 1000 * size_of::<(String, String)>());
}

#[test]
fn subscription_identifiers_count_in_each_queue() {
    let mut s = with_memory(1 << 20);
    let id = s.join(v5_lasting("away", u32::MAX));
    for number in 0..100 {
        let filter = format!("$share/{number}/t");
        let (filter, q1) = match number {
            0 => ("t", Q1),
            _ => (filter.as_str(), Q1),
        };
        let options = SubscribeOptions {
            qos: q1,
            ..SubscribeOptions::default()
        };
        s.send(id, subscribe_with(filter, Some(7), options));
        s.packets(id);
    }
    s.lose(id);
    let publisher = s.join(v4("p"));
    s.send(publisher, publish("t", "x", Q1, 1));
    s.offers.clear();
    assert!(s.hub.meter().used() >= 100 * (ENTRY + size_of::<u32>()));
}

#[test]
fn no_will_is_published_to_topics_that_became_those_of_replies() {
    let mut s = with_memory(1 << 20);
    let id = s.join(Connect {
        will: Some(will("late/reply", "forged")),
        ..v4("a")
    });
    let hearer = s.join(v4("b"));
    s.subscribe(hearer, "late/#", Q0);
    let reserved = vec![TopicFilter::parse("late/#").unwrap()];
    let now = s.now;
    s.hub.reconfigure(Limits::default(), reserved, now);
    s.lose(id);
    assert_eq!(s.packets(hearer), [""; 0]);
    assert_eq!(s.offered(), [""; 0]);
}
