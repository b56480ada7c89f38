//! PUBLISH from clients: validity, access, acknowledgement, QoS 2, aliases, offers.

use super::*;

#[test]
fn an_invalid_topic_ends_the_connection() {
    let deep = "a/".repeat(128);
    for (topic, code) in [
        ("", "0x82"),
        ("a/+", "0x90"),
        ("#", "0x90"),
        ("a\0b", "0x90"),
        (&deep, "0x90"),
    ] {
        let mut s = Scenario::new();
        let (old, new) = (s.join(v4("old")), s.join(v5("new")));
        for id in [old, new] {
            s.send(id, publish(topic, "x", Q1, 1));
            assert!(s.closed.contains(&id), "{topic:?}");
        }
        assert_eq!(s.packets(old), [""; 0], "{topic:?}");
        assert_eq!(s.packets(new), [format!("disconnect {code}")], "{topic:?}");
        assert_eq!(s.offered(), [""; 0]);
        s.assert_empty();
    }
}

#[test]
fn what_may_not_be_published_is_acknowledged_and_goes_nowhere() {
    let cases = [
        ("other/x", "the rules do not grant it"),
        ("$sys/x", "the server's own topics"),
        ("replies/a", "only the gateway replies"),
    ];
    for (topic, reason) in cases {
        let mut s = Scenario::new();
        let watcher = s.join(v4("watcher"));
        s.send(watcher, subscribe(1, &[("#", Q0), ("$sys/#", Q0)]));
        s.packets(watcher);
        let who = identity(Some("u"), &["nodes/#", "$sys/#", "replies/#"], &[]);
        let id = s.connect(v5("a"), &who);
        s.packets(id);
        s.send(id, publish(topic, "x", Q0, 0));
        s.send(id, publish(topic, "x", Q1, 1));
        s.send(id, publish(topic, "x", Q2, 2));
        assert_eq!(
            s.packets(id),
            ["puback 1 0x87", "pubrec 2 0x87"],
            "{reason}"
        );
        assert_eq!(s.packets(watcher), [""; 0], "{reason}");
        assert_eq!(s.offered(), [""; 0], "{reason}");
        let denied = Report::Denied {
            client: "a".into(),
            topic: topic.to_owned(),
            action: "publish to",
        };
        assert_eq!(s.reports()[0], denied, "{reason}");
        assert!(!s.closed.contains(&id), "{reason}");
    }
}

#[test]
fn a_client_sees_its_own_rules_expanded() {
    let mut s = Scenario::new();
    let who = identity(Some("kitchen"), &["nodes/{user}/#"], &["replies/{client}"]);
    let id = s.connect(v5("c"), &who);
    s.packets(id);
    s.send(id, publish("nodes/kitchen/x", "1", Q1, 1));
    s.send(id, publish("nodes/cellar/x", "1", Q1, 2));
    s.send(
        id,
        subscribe(3, &[("replies/c", Q0), ("replies/d", Q0), ("#", Q0)]),
    );
    let expected = [
        "puback 1 0x00",
        "puback 2 0x87",
        "suback 3 [0x00, 0x87, 0x87]",
    ];
    assert_eq!(s.packets(id), expected);
}

#[test]
fn acknowledgements_leave_in_the_order_the_publishes_came() {
    let mut s = Scenario::new();
    s.acknowledges = false;
    let id = s.join(v5("a"));
    for (packet_id, qos) in [(1, Q1), (2, Q2), (3, Q1)] {
        s.send(id, publish("t", "x", qos, packet_id));
    }
    let ticket = |packet_id| Ticket {
        connection: id,
        packet_id,
    };
    s.hub.acknowledge(ticket(3), reason::SUCCESS);
    s.hub.acknowledge(ticket(2), reason::QUOTA_EXCEEDED);
    s.run();
    assert_eq!(
        s.packets(id),
        [""; 0],
        "the first one is not acknowledged yet"
    );
    s.hub.acknowledge(ticket(1), reason::SUCCESS);
    s.hub.acknowledge(ticket(1), reason::UNSPECIFIED);
    s.hub.acknowledge(ticket(9), reason::SUCCESS);
    s.run();
    assert_eq!(
        s.packets(id),
        ["puback 1 0x00", "pubrec 2 0x97", "puback 3 0x00"]
    );
}

#[test]
fn tickets_of_a_gone_connection_are_ignored() {
    let mut s = Scenario::new();
    s.acknowledges = false;
    let id = s.join(v4_persistent("a"));
    s.send(id, publish("t", "x", Q1, 1));
    s.lose(id);
    let ticket = s.offers[0].ticket.unwrap();
    let new = s.join(v4_persistent("a"));
    s.hub.acknowledge(ticket, reason::SUCCESS);
    s.run();
    assert_eq!(s.packets(new), [""; 0]);
}

#[test]
fn a_resend_is_the_same_message_until_it_is_acknowledged() {
    let resend = |payload| {
        Incoming::Publish(Publish {
            dup: true,
            ..publishing("t", payload, Q1, 7)
        })
    };
    let mut s = Scenario::new();
    s.acknowledges = false;
    let id = s.join(v4("a"));
    s.send(id, publish("t", "first", Q1, 7));
    s.send(id, resend("first"));
    s.hub
        .acknowledge(s.offers[0].ticket.unwrap(), reason::SUCCESS);
    s.run();
    assert_eq!(s.packets(id), ["puback 7 0x00"], "one message, one PUBACK");
    s.send(id, resend("second"));
    assert_eq!(
        s.offered(),
        ["t=first", "t=second"],
        "a new one after it (MQTT-4.3.2-2)"
    );
}

#[test]
fn qos_2_is_taken_in_once_also_across_connections() {
    let mut s = Scenario::new();
    let id = s.join(v4_persistent("a"));
    s.send(id, publish("t", "x", Q2, 7));
    s.send(id, publish("t", "x", Q2, 7));
    assert_eq!(s.packets(id), ["pubrec 7 0x00", "pubrec 7 0x00"]);
    s.lose(id);
    let id = s.join(v4_persistent("a"));
    s.send(id, publish("t", "x", Q2, 7));
    s.send(id, Incoming::PubRel(7, 0));
    s.send(id, Incoming::PubRel(7, 0));
    assert_eq!(
        s.packets(id),
        ["pubrec 7 0x00", "pubcomp 7 0x00", "pubcomp 7 0x92"]
    );
    assert_eq!(s.offered(), ["t=x"]);
    s.send(id, publish("t", "y", Q2, 7));
    assert_eq!(s.offered(), ["t=y"], "released: a new message");
    s.lose(id);
    let id = s.join(v4("a"));
    s.send(id, publish("t", "y", Q2, 7));
    assert_eq!(s.offered(), ["t=y"], "a clean session remembers nothing");
}

#[test]
fn a_refused_qos_2_message_is_over_for_mqtt_5() {
    let mut s = Scenario::new();
    s.acknowledges = false;
    let id = s.join(v5("a"));
    s.send(id, publish("t", "x", Q2, 7));
    s.hub
        .acknowledge(s.offers[0].ticket.unwrap(), reason::QUOTA_EXCEEDED);
    s.run();
    assert_eq!(s.packets(id), ["pubrec 7 0x97"]);
    let session = s.hub.connections[&id];
    let inbox = &s.hub.sessions.get(session).unwrap().inbox;
    assert_eq!(inbox.unfinished(), (0, 0));
}

#[test]
fn more_unfinished_publishes_than_granted_end_the_connection() {
    for qos in [Q1, Q2] {
        let mut s = Scenario::new();
        s.acknowledges = false;
        let (new, old) = (s.join(v5("new")), s.join(v4("old")));
        for packet_id in 1..=64 {
            s.send(new, publish("t", "x", qos, packet_id));
        }
        assert!(!s.closed.contains(&new));
        s.send(new, publish("t", "x", qos, 65));
        assert_eq!(s.packets(new), ["disconnect 0x93"]);
        for packet_id in 1..=1024 {
            s.send(old, publish("t", "x", qos, packet_id));
        }
        assert!(
            !s.closed.contains(&old),
            "3.1.1 clients are not told a maximum"
        );
        s.send(old, publish("t", "x", qos, 1025));
        assert!(s.closed.contains(&old));
    }
}

#[test]
fn unreleased_messages_of_earlier_connections_do_not_count_against_the_grant() {
    let mut s = Scenario::new();
    let id = s.join(v5_lasting("a", 60));
    for packet_id in 1..=64 {
        s.send(id, publish("t", "x", Q2, packet_id));
    }
    s.lose(id);
    let id = s.join(v5_lasting("a", 60));
    for packet_id in 101..=164 {
        s.send(id, publish("t", "x", Q2, packet_id));
    }
    assert!(!s.closed.contains(&id));
}

#[test]
fn packet_identifier_zero_ends_the_connection() {
    let cases = [
        publish("t", "x", Q1, 0),
        subscribe(0, &[("a", Q0)]),
        unsubscribe(0, &["a"]),
    ];
    for packet in cases {
        let mut s = Scenario::new();
        let id = s.join(v5("a"));
        s.send(id, packet);
        assert_eq!(s.packets(id), ["disconnect 0x82"]);
    }
}

#[test]
fn topic_aliases_stand_for_the_topic_they_were_given_with() {
    let aliased = |topic: &str, alias| {
        Incoming::Publish(Publish {
            alias: Some(alias),
            ..publishing(topic, "x", Q0, 0)
        })
    };
    let mut s = Scenario::new();
    let id = s.join(v5_lasting("a", 60));
    for (topic, alias) in [("a", 1), ("b", 16), ("", 1), ("", 16), ("c", 1), ("", 1)] {
        s.send(id, aliased(topic, alias));
    }
    assert_eq!(s.offered(), ["a=x", "b=x", "a=x", "b=x", "c=x", "c=x"]);
    s.lose(id);
    let cases = [
        ("", 1, "disconnect 0x82", "aliases end with the connection"),
        ("a", 0, "disconnect 0x94", "zero"),
        ("a", 17, "disconnect 0x94", "above the maximum"),
        ("a/#", 2, "disconnect 0x90", "an alias for no topic"),
    ];
    for (topic, alias, expected, reason) in cases {
        let id = s.join(v5_lasting("a", 60));
        s.send(id, aliased(topic, alias));
        assert_eq!(s.packets(id), [expected], "{reason}");
    }
}

#[test]
fn an_offer_says_who_published_and_whether_a_response_would_arrive() {
    let with_response = |topic: Option<&str>| Publish {
        properties: Some(Arc::new(Properties {
            response_topic: topic.map(str::to_owned),
            ..Properties::default()
        })),
        ..publishing("nodes/u/x", "1", Q1, 5)
    };
    let mut s = Scenario::new();
    let who = Identity {
        reply_packet: Some(1024),
        ..identity(
            Some("u"),
            &["nodes/#"],
            &["replies/{user}/#", "all/#", "$bridge/#"],
        )
    };
    let connect = Connect {
        maximum_packet: Some(300),
        ..v5("c")
    };
    let id = s.connect(connect, &who);
    let cases = [
        (Some("replies/u/x"), Hearing::Own, "the user's own"),
        (Some("all/x"), Hearing::Allow, "granted"),
        (Some("replies/v/x"), Hearing::Deny, "not granted"),
        (Some("replies/u/#"), Hearing::Deny, "no topic"),
        (Some("$bridge/x"), Hearing::Deny, "the server's own"),
        (None, Hearing::Deny, "none"),
    ];
    for (topic, expected, reason) in cases {
        s.send(id, Incoming::Publish(with_response(topic)));
        let offer = s.offers.pop().unwrap();
        assert_eq!(offer.publisher.hearing, expected, "{reason}");
        assert_eq!(&*offer.publisher.client, "c");
        assert_eq!(offer.publisher.user.as_deref(), Some("u"));
        assert_eq!(offer.publisher.reply_packet, Some(1024));
        assert_eq!(offer.publisher.maximum_packet, Some(300));
        let ticket = Ticket {
            connection: id,
            packet_id: 5,
        };
        assert_eq!(offer.ticket, Some(ticket));
        assert_eq!(offer.message.qos, Q1);
    }
}

#[test]
fn the_gateways_own_messages_are_never_offered() {
    let mut s = Scenario::new();
    let id = s.join(v4("a"));
    s.send(id, subscribe(1, &[("replies/#", Q1), ("$sys/#", Q0)]));
    s.packets(id);
    let retained = Message {
        retain: true,
        qos: Q1,
        ..message("replies/a", "ok")
    };
    s.hub.publish(&retained, s.now);
    s.hub.publish(&message("$sys/x", "1"), s.now);
    s.run();
    assert_eq!(s.packets(id), ["replies/a=ok q1 #1", "$sys/x=1 q0"]);
    s.send(id, subscribe(2, &[("replies/#", Q0)]));
    assert_eq!(s.packets(id), ["suback 2 [0x00]", "replies/a=ok q0 retain"]);
    assert_eq!(s.offered(), [""; 0]);
}

#[test]
fn answers_that_nobody_reads_end_the_connection() {
    let mut s = Scenario::new();
    let id = s.join(v5("a"));
    for _ in 0..100_000 {
        s.send(id, Incoming::PingReq);
    }
    assert_eq!(s.packets(id), ["pingresp"], "one answers them all");
    let flood = (1..=u16::MAX).find(|packet_id| {
        s.send(id, publish("t", "x", Q1, *packet_id));
        s.closed.contains(&id)
    });
    // The 4097th is one too many, seen when the next packet comes.
    assert_eq!(flood, Some(4098), "16 bytes each, 64 KiB in all");
}
