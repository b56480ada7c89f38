//! What kills, blocks or bloats other brokers: each once.

use super::*;

#[test]
fn p1_a_topic_that_starts_outside_ascii_is_a_topic() {
    let mut s = Scenario::new();
    let id = s.join(v4("a"));
    for filter in ["+/b", "#", "é/b"] {
        s.subscribe(id, filter, Q0);
    }
    s.send(id, publish("é/b", "x", Q0, 0));
    assert_eq!(s.packets(id), ["é/b=x q0"]);
}

#[test]
fn p2_so_is_a_will_topic() {
    let mut s = Scenario::new();
    let watcher = s.join(v4("watcher"));
    s.subscribe(watcher, "+/b", Q0);
    let id = s.join(Connect {
        will: Some(will("é/b", "gone")),
        ..v4("a")
    });
    s.lose(id);
    assert_eq!(s.packets(watcher), ["é/b=gone q0"]);
}

#[test]
fn p3_so_is_a_retained_topic() {
    let mut s = Scenario::new();
    let id = s.join(v4("a"));
    s.send(id, retain("é/b", "x"));
    s.send(id, subscribe(1, &[("+/b", Q0)]));
    assert_eq!(s.packets(id), ["suback 1 [0x00]", "é/b=x q0 retain"]);
}

#[test]
fn p4_the_last_member_of_a_group_may_leave_without_puback() {
    let mut s = Scenario::new();
    let p = s.join(v4("p"));
    let id = s.join(v4_persistent("a"));
    s.subscribe(id, "$share/g/t", Q1);
    s.send(p, publish("t", "1", Q1, 1));
    assert_eq!(s.packets(id), ["t=1 q1 #1"]);
    s.lose(id);
    s.send(p, publish("t", "2", Q1, 2));
    let id = s.join(v4_persistent("a"));
    assert_eq!(s.packets(id), ["t=1 q1 #1 dup", "t=2 q1 #2"]);
    s.send(id, unsubscribe(1, &["$share/g/t"]));
    s.send(p, publish("t", "3", Q1, 3));
    assert_eq!(s.packets(id), ["unsuback 1 [0x00]"]);
}

#[test]
fn p5_a_subscriber_may_leave_while_much_is_queued_for_it() {
    let mut s = Scenario::with(Limits {
        queue_messages: 1000,
        ..Limits::default()
    });
    let (p, id) = (s.join(v4("p")), s.join(v4("a")));
    s.subscribe(id, "t", Q1);
    for _ in 0..500 {
        s.send(p, publish("t", "x", Q1, 1));
        s.packets(p);
    }
    s.packet(id);
    s.leave(id);
    assert_eq!(s.packets(id), [""; 0]);
    s.send(p, publish("t", "x", Q1, 1));
    assert_eq!(s.packets(p), ["puback 1 0x00"]);
}

#[test]
fn p6_a_slow_reader_may_be_taken_over_and_its_successor_may_leave() {
    let mut s = Scenario::new();
    let (p, slow) = (s.join(v4("p")), s.join(v4_persistent("a")));
    s.subscribe(slow, "t", Q1);
    for _ in 0..50 {
        s.send(p, publish("t", "x", Q1, 1));
        s.packets(p);
    }
    s.packet(slow);
    let new = s.join(v4_persistent("a"));
    s.leave(new);
    assert_eq!(s.packets(slow), [""; 0]);
    s.lose(slow);
    let id = s.join(v4_persistent("a"));
    assert_eq!(s.packets(id).len(), 20, "a window full, nothing is lost");
}

#[test]
fn p7_any_characters_may_be_in_a_client_id_that_connects_twice() {
    let mut s = Scenario::new();
    for client in ["a/b", "+", "#", "$share/g", "é", "{user}", " "] {
        for _ in 0..2 {
            let id = s.join(v4(client));
            s.subscribe(id, "t", Q0);
        }
        s.reports();
    }
    assert_eq!(s.hub.sessions.len(), 7);
}

#[test]
fn p8_refused_clients_may_try_again_and_again() {
    let mut s = Scenario::with(Limits {
        clients: 1,
        ..Limits::default()
    });
    let first = s.join(v4("a"));
    for _ in 0..1000 {
        let id = s.connect(v5("b"), &anyone());
        assert_eq!(s.packets(id), ["connack 0x89"]);
        s.lose(id);
    }
    s.leave(first);
    s.join(v4("b"));
}

#[test]
fn p9_properties_stay_away_from_older_clients() {
    let mut s = Scenario::new();
    let (p, old, new) = (s.join(v5("p")), s.join(v4("old")), s.join(v5("new")));
    let properties = Some(Arc::new(Properties {
        content_type: Some("text/plain".to_owned()),
        user_properties: vec![("k".to_owned(), "v".to_owned())],
        ..Properties::default()
    }));
    for id in [old, new] {
        s.send(
            id,
            subscribe_with("t", Some(4), SubscribeOptions::default()),
        );
        s.packets(id);
    }
    let packet = Publish {
        properties: properties.clone(),
        ..publishing("t", "x", Q0, 0)
    };
    s.send(p, Incoming::Publish(packet));
    let delivered = [old, new].map(|id| match s.packet(id) {
        Some(Outgoing::Publish(delivery)) => (delivery.properties, delivery.subscription_ids),
        other => panic!("{other:?}"),
    });
    assert_eq!(delivered, [(None, vec![]), (properties, vec![4])]);
}

#[test]
fn p10_packets_of_unknown_connections_are_ignored() {
    let mut s = Scenario::new();
    let stranger = ConnectionId(77);
    for packet in [
        Incoming::PingReq,
        publish("t", "x", Q1, 1),
        disconnect(0, None),
    ] {
        s.send(stranger, packet);
    }
    s.hub.close(stranger, Ended::Malformed, s.now);
    let ticket = Ticket {
        connection: stranger,
        packet_id: 1,
    };
    s.hub.acknowledge(ticket, 0);
    s.run();
    assert_eq!(s.packets(stranger), [""; 0]);
    assert!(s.closed.is_empty());
}

#[test]
fn p11_limits_of_zero_make_a_broker_that_is_useless_and_alive() {
    let zero = Limits {
        clients: 1,
        max_packet: 0,
        topic_bytes: 1,
        topic_levels: 1,
        subscriptions: 1,
        memory: 0,
        queue_messages: 0,
        queue_bytes: 0,
        in_flight: 0,
        ack_timeout: Duration::ZERO,
        idle: Some(Duration::ZERO),
        offline_sessions: 0,
        retained_messages: 0,
        retained_bytes: 0,
    };
    let mut s = Scenario::with(zero);
    let id = s.join(v4_persistent("a"));
    s.subscribe(id, "t", Q1);
    s.send(id, retain("t", "x"));
    s.send(id, publish("t", "x", Q1, 1));
    assert_eq!(s.packets(id), ["puback 1 0x00"]);
    s.lose(id);
    s.assert_empty();
}

#[test]
fn a_topic_without_subscribers_is_acknowledged() {
    let mut s = Scenario::new();
    let id = s.join(v4("a"));
    s.send(id, publish("t", "x", Q1, 1));
    assert_eq!(s.packets(id), ["puback 1 0x00"]);
}

#[test]
fn keep_alive_zero_is_welcome() {
    let mut s = Scenario::new();
    let id = s.join(Connect {
        keep_alive: 0,
        ..v4("umqtt")
    });
    assert_eq!(s.hub.silence(id), None);
}

#[test]
fn an_absent_session_loses_nothing_in_silence() {
    let mut s = Scenario::new();
    let (p, id) = (s.join(v4("p")), s.join(v4_persistent("a")));
    s.subscribe(id, "t", Q1);
    s.lose(id);
    for _ in 0..3000 {
        s.send(p, publish("t", &"x".repeat(100), Q1, 1));
        s.packets(p);
    }
    let id = s.join(v4_persistent("a"));
    let mut received = 0;
    while let Some(Outgoing::Publish(delivery)) = s.packet(id) {
        received += 1;
        s.send(id, Incoming::PubAck(delivery.packet_id, 0));
    }
    let dropped: usize = s
        .reports()
        .iter()
        .map(|report| match report {
            Report::Dropped { count, .. } => *count,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!((received, received + dropped), (100, 3000));
}

#[test]
fn what_has_passed_leaves_nothing() {
    let mut s = Scenario::new();
    let (p, all) = (s.join(v4("p")), s.join(v4("all")));
    s.subscribe(all, "#", Q1);
    for number in 0..20_000 {
        s.send(p, publish(&format!("nodes/{number}/state"), "x", Q1, 1));
        s.packets(p);
        let Some(Outgoing::Publish(delivery)) = s.packet(all) else {
            panic!("nothing delivered");
        };
        s.send(all, Incoming::PubAck(delivery.packet_id, 0));
        s.packets(all);
        s.offers.clear();
    }
    for number in 0..2_000 {
        let filter = format!("f/{number}/+");
        s.subscribe(p, &filter, Q0);
        s.send(p, unsubscribe(1, &[&filter]));
        s.packets(p);
    }
    s.lose(all);
    assert!(s.hub.subscriptions.is_empty());
    assert_eq!(s.hub.retained.len(), 0);
    s.lose(p);
    s.assert_empty();
}
