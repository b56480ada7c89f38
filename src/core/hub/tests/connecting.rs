//! CONNECT, refusals, take-over, wills, expiry.

use super::*;

#[test]
fn a_client_that_takes_no_connack_is_refused() {
    // 1 + 1 + 2 + 1 + 3 + 5 + 3: type, length, flags and code, properties.
    for (client, maximum_packet, fits) in [("a", 16, true), ("a", 15, false), ("", 39, false)] {
        let mut s = Scenario::new();
        let connect = Connect {
            maximum_packet: Some(maximum_packet),
            ..v5(client)
        };
        let id = s.connect(connect, &anyone());
        let code = if fits { 0 } else { reason::PACKET_TOO_LARGE };
        assert!(matches!(s.packet(id), Some(Outgoing::ConnAck(ack)) if ack.reason == code));
        assert_eq!(s.closed.contains(&id), !fits);
    }
}

#[test]
fn connack_says_whether_a_session_was_there() {
    let mut s = Scenario::new();
    let cases = [
        (v4("a"), "connack 0x00", "first time"),
        (
            v4_persistent("a"),
            "connack 0x00",
            "the former session was clean",
        ),
        (v4_persistent("a"), "connack 0x00 present", "resumed"),
        (
            v5_lasting("a", 10),
            "connack 0x00 present",
            "resumed by another version",
        ),
        (v4("a"), "connack 0x00", "clean start ends it"),
        (
            v4_persistent("a"),
            "connack 0x00",
            "and a clean one leaves nothing",
        ),
    ];
    for (connect, expected, reason) in cases {
        let id = s.connect(connect, &anyone());
        assert_eq!(s.packets(id), [expected], "{reason}");
        s.lose(id);
    }
}

#[test]
fn clients_are_refused_with_the_right_code() {
    let empty_v4 = Connect {
        version: Version::V3_1_1,
        ..v4_persistent("")
    };
    let old = Connect {
        version: Version::V3_1,
        ..v4("")
    };
    let bad_will = |connect: Connect, topic: &str| Connect {
        will: Some(will(topic, "x")),
        ..connect
    };
    let cases: Vec<(Connect, &[&str], &str)> = vec![
        (
            empty_v4,
            &["connack 0x85"],
            "empty client ID and clean session 0 (MQTT-3.1.3-8)",
        ),
        (old, &["connack 0x85"], "3.1 has no empty client IDs"),
        (v5(&"x".repeat(257)), &["connack 0x85"], "too long"),
        (
            bad_will(v5("w"), "a/+"),
            &["connack 0x90"],
            "wildcard in a will topic",
        ),
        (bad_will(v5("w"), ""), &["connack 0x90"], "empty will topic"),
        (
            bad_will(v5("w"), &"/".repeat(200)),
            &["connack 0x90"],
            "too many levels",
        ),
        (
            bad_will(v4("w"), "a\0"),
            &[],
            "3.1.1 has no code for it: closed",
        ),
        (
            bad_will(v5("w"), "$sys/x"),
            &["connack 0x87"],
            "the server's own topic",
        ),
        (
            bad_will(v4("w"), "replies/x"),
            &["connack 0x87"],
            "a forged reply",
        ),
    ];
    for (connect, expected, reason) in cases {
        let mut s = Scenario::new();
        let id = s.connect(connect, &anyone());
        assert!(s.closed.contains(&id), "{reason}");
        assert_eq!(s.packets(id), expected, "{reason}");
        s.assert_empty();
    }
}

#[test]
fn a_will_is_checked_against_the_rules_at_connect() {
    let mut s = Scenario::new();
    let who = identity(Some("u"), &["nodes/{user}/#"], &[]);
    let connect = |topic| Connect {
        will: Some(will(topic, "x")),
        ..v5("a")
    };
    let refused = s.connect(connect("nodes/v/x"), &who);
    assert_eq!(s.packets(refused), ["connack 0x87"]);
    let accepted = s.connect(connect("nodes/u/x"), &who);
    assert_eq!(s.packets(accepted), ["connack 0x00"]);
}

#[test]
fn an_empty_client_id_gets_one_of_its_own() {
    let mut s = Scenario::new();
    let first = s.connect(v5(""), &anyone());
    let Some(Outgoing::ConnAck(ack)) = s.packet(first) else {
        panic!("no CONNACK");
    };
    let assigned = ack.grant.unwrap().client_id.unwrap();
    assert!(assigned.starts_with("auto-"), "{assigned}");
    let second = s.join(v4(""));
    assert_eq!(s.reports(), []);
    s.lose(first);
    s.lose(second);
    s.assert_empty();
}

#[test]
fn mqtt_5_clients_are_told_what_they_are_granted() {
    let mut s = Scenario::new();
    let id = s.connect(v5("a"), &anyone());
    let expected = crate::core::packet::Grant {
        client_id: None,
        session_expiry: None,
        keep_alive: None,
        receive_maximum: 64,
        maximum_packet: 65_536,
        topic_alias_maximum: 16,
        shared_subscriptions: true,
    };
    let Some(Outgoing::ConnAck(ack)) = s.packet(id) else {
        panic!("no CONNACK");
    };
    assert_eq!(ack.grant, Some(expected));
}

#[test]
fn a_session_belongs_to_its_user() {
    let mut s = Scenario::new();
    let (alice, bob) = (
        identity(Some("alice"), &["#"], &["#"]),
        identity(Some("bob"), &[], &[]),
    );
    let first = s.connect(v4_persistent("c"), &alice);
    s.packets(first);
    for (who, reason) in [(&bob, "another user"), (&anyone(), "anonymous")] {
        let thief = s.connect(v4("c"), who);
        assert_eq!(s.packets(thief), ["connack 0x87"], "{reason} takes over");
        assert!(s.closed.contains(&thief));
    }
    s.lose(first);
    let thief = s.connect(v5("c"), &bob);
    assert_eq!(s.packets(thief), ["connack 0x87"], "resumes");
    let owner = s.connect(v4_persistent("c"), &alice);
    assert_eq!(s.packets(owner), ["connack 0x00 present"]);
}

#[test]
fn one_client_too_many_is_refused_and_a_take_over_is_not() {
    let mut s = Scenario::with(Limits {
        clients: 2,
        ..Limits::default()
    });
    let a = s.join(v4("a"));
    s.join(v4("b"));
    let c = s.connect(v5("c"), &anyone());
    assert_eq!(s.packets(c), ["connack 0x89"]);
    let d = s.connect(v4("d"), &anyone());
    assert_eq!(
        s.packets(d),
        [""; 0],
        "some 3.x clients stop for ever at a CONNACK"
    );
    assert!(s.closed.contains(&d));
    let again = s.join(v4("a"));
    let refused = |client: &str| Report::Refused {
        client: client.into(),
        why: "there are as many clients as the broker may have",
    };
    let taken_over = Report::TakenOver { client: "a".into() };
    assert_eq!(s.reports(), [refused("c"), refused("d"), taken_over]);
    assert!(s.closed.contains(&a));
    s.lose(again);
    s.join(v4("d"));
}

#[test]
fn the_old_connection_is_told_that_it_was_taken_over() {
    let mut s = Scenario::new();
    let cases = [
        (v5("a"), &["disconnect 0x8e"][..], "MQTT 5"),
        (v4("b"), &[], "3.1.1 has no DISCONNECT from the server"),
    ];
    for (connect, expected, reason) in cases {
        let old = s.join(connect.clone());
        let new = s.join(connect);
        assert_eq!(s.packets(old), expected, "{reason}");
        assert!(
            s.closed.contains(&old) && !s.closed.contains(&new),
            "{reason}"
        );
    }
}

#[test]
fn keep_alive_is_granted_half_as_much_again_and_zero_means_for_ever() {
    let mut s = Scenario::new();
    let connect = |keep_alive| Connect {
        keep_alive,
        ..v4("a")
    };
    for (seconds, expected) in [
        (0, None),
        (1, Some(1500)),
        (15, Some(22_500)),
        (u16::MAX, Some(98_302_500)),
    ] {
        let id = s.join(connect(seconds));
        assert_eq!(s.hub.silence(id), expected.map(Duration::from_millis));
    }
    assert_eq!(s.hub.silence(ConnectionId(999)), None);
}

#[test]
fn a_will_is_published_unless_the_client_took_its_leave() {
    type End = fn(&mut Scenario, ConnectionId);
    let cases: [(End, bool, &str); 8] = [
        (|s, id| s.lose(id), true, "lost"),
        (
            |s, id| s.hub.close(id, Ended::KeepAlive, s.now),
            true,
            "silent",
        ),
        (
            |s, id| s.hub.close(id, Ended::Malformed, s.now),
            true,
            "malformed",
        ),
        (
            |s, id| s.hub.close(id, Ended::Stopping, s.now),
            false,
            "the gateway stops",
        ),
        (
            |s, id| s.send(id, disconnect(0x00, None)),
            false,
            "DISCONNECT",
        ),
        (
            |s, id| s.send(id, disconnect(0x04, None)),
            true,
            "DISCONNECT with will",
        ),
        (
            |s, id| s.send(id, disconnect(0x81, None)),
            true,
            "DISCONNECT with an error",
        ),
        (
            |s, id| s.send(id, publish("a/+", "", Q0, 0)),
            true,
            "violation",
        ),
    ];
    for (end, published, reason) in cases {
        let mut s = Scenario::new();
        let watcher = s.join(v4("watcher"));
        s.subscribe(watcher, "wills", Q0);
        let id = s.join(Connect {
            will: Some(will("wills", "gone")),
            ..v5("a")
        });
        end(&mut s, id);
        s.run();
        let expected = if published {
            vec!["wills=gone q0"]
        } else {
            vec![]
        };
        assert_eq!(s.packets(watcher), expected, "{reason}");
        let expected = if published {
            vec!["wills=gone"]
        } else {
            vec![]
        };
        assert_eq!(s.offered(), expected, "{reason}: wills enter routes");
    }
}

#[test]
fn a_take_over_publishes_the_old_will_and_not_the_new_one() {
    let mut s = Scenario::new();
    let watcher = s.join(v4("watcher"));
    s.subscribe(watcher, "#", Q0);
    let connect = |payload| Connect {
        will: Some(will("wills", payload)),
        ..v4("a")
    };
    s.join(connect("old"));
    let new = s.join(connect("new"));
    assert_eq!(s.packets(watcher), ["wills=old q0"]);
    s.lose(new);
    assert_eq!(s.packets(watcher), ["wills=new q0"]);
}

#[test]
fn a_delayed_will_waits_for_the_client_to_return() {
    let delayed = |client_start: bool, expiry: u32| Connect {
        clean_start: client_start,
        will: Some(Will {
            delay: Duration::from_secs(10),
            ..will("wills", "gone")
        }),
        ..v5_lasting("a", expiry)
    };
    type Then = fn(&mut Scenario);
    let cases: [(u32, Then, &[&str], &str); 6] = [
        (60, |s| s.wait(Duration::from_secs(9)), &[], "not yet"),
        (
            60,
            |s| s.wait(Duration::from_secs(10)),
            &["wills=gone q0"],
            "due",
        ),
        (
            5,
            |s| s.wait(Duration::from_secs(5)),
            &["wills=gone q0"],
            "the session ends first",
        ),
        (0, |_| {}, &["wills=gone q0"], "the session ends at once"),
        (
            60,
            |s| {
                s.join(v5_lasting("a", 60));
                s.wait(Duration::from_secs(20));
            },
            &[],
            "the client returned in time",
        ),
        (
            60,
            |s| {
                s.join(v5("a"));
            },
            &["wills=gone q0"],
            "a clean start ends the session",
        ),
    ];
    for (expiry, then, expected, reason) in cases {
        let mut s = Scenario::new();
        let watcher = s.join(v4("watcher"));
        s.subscribe(watcher, "wills", Q0);
        let id = s.join(delayed(false, expiry));
        s.lose(id);
        then(&mut s);
        assert_eq!(s.packets(watcher), expected, "{reason}");
    }
}

#[test]
fn a_session_lasts_as_long_as_its_expiry_says() {
    let seconds = Duration::from_secs;
    let mut s = Scenario::new();
    let id = s.join(v5_lasting("a", 10));
    s.lose(id);
    s.wait(seconds(9));
    let id = s.connect(v5_lasting("a", 10), &anyone());
    assert_eq!(s.packets(id), ["connack 0x00 present"], "within it");
    s.send(id, disconnect(0, Some(20)));
    s.wait(seconds(19));
    assert_eq!(s.hub.sessions.len(), 1, "DISCONNECT made it longer");
    s.wait(seconds(1));
    s.packets(id);
    s.assert_empty();
    let id = s.join(v5_lasting("a", 10));
    s.send(id, disconnect(0, Some(0)));
    s.assert_empty();
    let id = s.join(v5_lasting("a", u32::MAX));
    s.lose(id);
    assert_eq!(s.hub.next_timeout(), None, "never");
}

#[test]
fn a_session_that_was_to_end_cannot_be_prolonged_by_disconnect() {
    let mut s = Scenario::new();
    let id = s.join(v5("a"));
    s.send(id, disconnect(0, Some(5)));
    assert_eq!(s.packets(id), ["disconnect 0x82"]);
    s.assert_empty();
}

#[test]
fn a_connection_that_has_to_go_is_told_why() {
    let cases = [
        (Ended::KeepAlive, "disconnect 0x8d"),
        (Ended::Malformed, "disconnect 0x81"),
        (Ended::TooLarge, "disconnect 0x95"),
        (Ended::Stopping, "disconnect 0x8b"),
    ];
    for (ended, expected) in cases {
        let mut s = Scenario::new();
        let id = s.join(v5("a"));
        s.send(id, Incoming::PingReq);
        s.hub.close(id, ended, s.now);
        s.run();
        assert!(s.closed.contains(&id));
        assert_eq!(
            s.packets(id),
            ["pingresp", expected],
            "earned answers go first"
        );
        s.assert_empty();
    }
}

#[test]
fn a_second_connect_ends_the_connection() {
    let mut s = Scenario::new();
    let id = s.join(v5("a"));
    s.hub.connect(id, v5("b"), anyone(), s.now);
    s.run();
    assert_eq!(s.packets(id), ["disconnect 0x82"]);
    s.assert_empty();
}

#[test]
fn too_many_absent_sessions_cost_the_longest_absent_one() {
    let mut s = Scenario::with(Limits {
        offline_sessions: 2,
        ..Limits::default()
    });
    for client in ["a", "b", "c"] {
        let id = s.join(v4_persistent(client));
        s.lose(id);
        s.wait(Duration::from_secs(1));
    }
    assert_eq!(s.reports(), [Report::Forgotten { client: "a".into() }]);
    let id = s.connect(v4_persistent("b"), &anyone());
    assert_eq!(s.packets(id), ["connack 0x00 present"]);
}

#[test]
fn a_user_with_many_absent_sessions_pushes_out_its_own() {
    let mut s = Scenario::with(Limits {
        offline_sessions: 3,
        ..Limits::default()
    });
    let users = [Some("kitchen"), None, Some("mad"), Some("mad"), Some("mad")];
    for (number, user) in users.into_iter().enumerate() {
        let who = identity(user, &["#"], &["#"]);
        let id = s.connect(v4_persistent(&format!("c{number}")), &who);
        s.lose(id);
        s.wait(Duration::from_secs(1));
    }
    let forgotten = ["c2", "c3"].map(|client| Report::Forgotten {
        client: client.into(),
    });
    assert_eq!(s.reports(), forgotten);
    let id = s.connect(v4_persistent("c0"), &identity(Some("kitchen"), &[], &[]));
    assert_eq!(s.packets(id), ["connack 0x00 present"]);
}

#[test]
fn many_client_ids_leave_nothing() {
    let mut s = Scenario::new();
    for number in 0..20_000 {
        let id = s.connect(v4(&format!("client-{number}")), &anyone());
        s.send(id, subscribe(1, &[("x/+", Q1)]));
        s.lose(id);
        s.closed.clear();
    }
    s.assert_empty();
    assert!(s.hub.effects.capacity() < 64);
    assert!(s.hub.connections.capacity() < 64);
}

#[test]
fn a_resumed_session_keeps_only_what_the_rules_still_grant() {
    let mut s = Scenario::new();
    let id = s.connect(v4_persistent("a"), &identity(Some("u"), &[], &["a/#", "b"]));
    s.send(
        id,
        subscribe(1, &[("a/+", Q1), ("b", Q1), ("$share/g/b", Q1)]),
    );
    s.lose(id);
    s.hub.publish(
        &Message {
            qos: Q1,
            ..message("b", "before")
        },
        s.now,
    );
    let id = s.connect(v4_persistent("a"), &identity(Some("u"), &[], &["a/#"]));
    s.packets(id);
    s.hub.publish(&message("b", "x"), s.now);
    s.hub.publish(&message("a/b", "x"), s.now);
    s.run();
    assert_eq!(s.packets(id), ["a/b=x q0"]);
    s.send(id, unsubscribe(2, &["a/+"]));
    assert!(s.hub.subscriptions.is_empty());
}
