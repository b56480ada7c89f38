//! Fan-out, windows, queues, redelivery.

use super::*;
use crate::core::subscriptions::STEPS;

fn options(qos: QoS) -> SubscribeOptions {
    SubscribeOptions {
        qos,
        ..SubscribeOptions::default()
    }
}

#[test]
fn delivery_is_at_the_lower_of_both_qos() {
    for published in [Q0, Q1, Q2] {
        for subscribed in [Q0, Q1, Q2] {
            let mut s = Scenario::new();
            let (p, id) = (s.join(v4("p")), s.join(v4("a")));
            s.subscribe(id, "t", subscribed);
            s.send(p, publish("t", "x", published, u16::from(published > Q0)));
            let expected = match published.min(subscribed) {
                Q0 => "t=x q0",
                Q1 => "t=x q1 #1",
                Q2 => "t=x q2 #1",
            };
            assert_eq!(s.packets(id), [expected], "{published:?} to {subscribed:?}");
        }
    }
}

#[test]
fn overlapping_subscriptions_get_one_copy_with_all_identifiers() {
    let mut s = Scenario::new();
    let (p, id) = (s.join(v4("p")), s.join(v5("a")));
    s.send(id, subscribe_with("a/#", Some(3), options(Q0)));
    s.send(id, subscribe_with("a/+", Some(7), options(Q2)));
    s.send(id, subscribe_with("+/b", None, options(Q1)));
    s.packets(id);
    s.send(p, publish("a/b", "x", Q2, 1));
    assert_eq!(s.packets(id), ["a/b=x q2 #1 [3, 7]"]);
}

#[test]
fn a_shared_subscription_gets_a_copy_of_its_own() {
    let mut s = Scenario::new();
    let (p, id) = (s.join(v4("p")), s.join(v5("a")));
    s.send(id, subscribe_with("t", Some(1), options(Q0)));
    s.send(id, subscribe_with("$share/g/t", Some(2), options(Q1)));
    s.send(id, subscribe_with("$share/h/t", Some(3), options(Q0)));
    s.packets(id);
    s.send(p, publish("t", "x", Q1, 1));
    assert_eq!(s.packets(id), ["t=x q0 [1]", "t=x q1 #1 [2]", "t=x q0 [3]"]);
}

#[test]
fn no_local_keeps_ones_own_messages_away_unless_another_filter_wants_them() {
    let no_local = SubscribeOptions {
        no_local: true,
        ..options(Q0)
    };
    let mut s = Scenario::new();
    let (p, id) = (s.join(v5("p")), s.join(v5("a")));
    s.send(id, subscribe_with("t", None, no_local));
    s.packets(id);
    s.send(id, publish("t", "own", Q0, 0));
    s.send(p, publish("t", "other", Q0, 0));
    assert_eq!(s.packets(id), ["t=other q0"]);
    s.send(id, subscribe_with("#", Some(1), options(Q0)));
    s.packets(id);
    s.send(id, publish("t", "own", Q0, 0));
    assert_eq!(s.packets(id), ["t=own q0 [1]"]);
}

#[test]
fn retain_as_published_keeps_the_flag() {
    let mut s = Scenario::new();
    let (keeps, clears) = (s.join(v5("keeps")), s.join(v5("clears")));
    let as_published = SubscribeOptions {
        retain_as_published: true,
        ..options(Q0)
    };
    s.send(keeps, subscribe_with("t", None, as_published));
    s.subscribe(clears, "t", Q0);
    s.packets(keeps);
    s.send(clears, retain("t", "x"));
    assert_eq!(s.packets(keeps), ["t=x q0 retain"]);
    assert_eq!(s.packets(clears), ["t=x q0"]);
}

#[test]
fn a_member_that_may_not_hear_or_would_miss_a_message_has_no_turn() {
    let mut s = Scenario::new();
    let kept_out = identity(None, &["#"], &["#", "!secret/#"]);
    let a = s.connect(v4("a"), &kept_out);
    s.packets(a);
    let b = s.join(v4("b"));
    let (away, lasting) = (
        s.join(v4_persistent("away")),
        s.join(v4_persistent("lasting")),
    );
    s.subscribe(a, "$share/g/#", Q1);
    s.subscribe(b, "$share/g/#", Q1);
    let publisher = s.join(v4("p"));
    for number in 0..4 {
        s.send(publisher, publish("secret/x", &number.to_string(), Q0, 0));
    }
    let all = [0, 1, 2, 3].map(|number| format!("secret/x={number} q0"));
    assert_eq!((s.packets(a).len(), s.packets(b)), (0, all.to_vec()));
    s.subscribe(away, "$share/h/#", Q0);
    s.subscribe(lasting, "$share/h/#", Q1);
    s.lose(away);
    s.lose(lasting);
    for number in 1..4 {
        s.send(publisher, publish("t", &number.to_string(), Q1, number));
    }
    let lasting = s.join(v4_persistent("lasting"));
    assert_eq!(
        s.packets(lasting).len(),
        3,
        "none is left to who would miss it"
    );
}

#[test]
fn members_of_a_shared_subscription_take_turns() {
    let mut s = Scenario::new();
    let p = s.join(v4("p"));
    let members: Vec<_> = ["a", "b", "c"]
        .map(|client| s.join(v4_persistent(client)))
        .into();
    for id in &members {
        s.subscribe(*id, "$share/g/t", Q1);
    }
    let publish_three = |s: &mut Scenario| {
        for payload in ["1", "2", "3"] {
            s.send(p, publish("t", payload, Q1, 1));
            s.packets(p);
        }
    };
    publish_three(&mut s);
    for (id, expected) in members.iter().zip(["t=1 q1 #1", "t=2 q1 #1", "t=3 q1 #1"]) {
        assert_eq!(s.packets(*id), [expected]);
    }
    s.lose(members[1]);
    publish_three(&mut s);
    assert_eq!(
        s.packets(members[0]),
        ["t=1 q1 #2", "t=3 q1 #3"],
        "skips who is absent"
    );
    assert_eq!(s.packets(members[2]), ["t=2 q1 #2"]);
    s.lose(members[0]);
    s.lose(members[2]);
    publish_three(&mut s);
    let queued = ["a", "b", "c"].map(|client| {
        let id = s.join(v4_persistent(client));
        let fresh = s
            .packets(id)
            .into_iter()
            .filter(|packet| !packet.contains("dup"));
        fresh.collect::<Vec<_>>()
    });
    let total: usize = queued.iter().map(Vec::len).sum();
    // What they had not acknowledged comes first, marked as a duplicate.
    assert_eq!(
        total, 3,
        "absent members get it if nobody is there: {queued:?}"
    );
}

#[test]
fn a_group_and_an_ordinary_subscription_both_get_the_message() {
    let mut s = Scenario::new();
    let (a, b) = (s.join(v4("a")), s.join(v4("b")));
    s.subscribe(a, "$share/g/#", Q0);
    s.subscribe(b, "$share/h/#", Q0);
    s.subscribe(b, "t", Q0);
    s.send(a, publish("t", "x", Q0, 0));
    assert_eq!(s.packets(a), ["t=x q0"]);
    assert_eq!(s.packets(b), ["t=x q0"; 2], "§4.8.2: one for each");
}

#[test]
fn the_window_bounds_what_is_unacknowledged() {
    let mut s = Scenario::with(Limits {
        in_flight: 3,
        ..Limits::default()
    });
    let p = s.join(v4("p"));
    let cases = [
        (v4("a"), 3, "ours"),
        (
            Connect {
                receive_maximum: 2,
                ..v5("b")
            },
            2,
            "theirs",
        ),
    ];
    for (connect, window, reason) in cases {
        let id = s.join(connect);
        s.subscribe(id, "t", Q1);
        for _ in 0..5 {
            s.send(p, publish("t", "x", Q1, 1));
            s.packets(p);
        }
        assert_eq!(s.packets(id).len(), window, "{reason}");
        s.send(id, Incoming::PubAck(1, 0));
        assert_eq!(s.packets(id).len(), 1, "{reason}: one more for each PUBACK");
        s.send(id, Incoming::PubAck(2, 0x80));
        assert_eq!(
            s.packets(id).len(),
            1,
            "{reason}: also for one with an error"
        );
        s.lose(id);
    }
}

#[test]
fn answers_do_not_wait_for_the_window() {
    let mut s = Scenario::with(Limits {
        in_flight: 1,
        ..Limits::default()
    });
    let id = s.join(v4("a"));
    s.subscribe(id, "t", Q1);
    for packet_id in 1..=3 {
        s.send(id, publish("t", "x", Q1, packet_id));
    }
    s.packets(id);
    s.send(id, Incoming::PingReq);
    s.send(id, subscribe(9, &[("u", Q0)]));
    s.send(id, unsubscribe(10, &["u"]));
    s.send(id, publish("v", "x", Q2, 11));
    let expected = [
        "pingresp",
        "suback 9 [0x00]",
        "unsuback 10 [0x00]",
        "pubrec 11 0x00",
    ];
    assert_eq!(s.packets(id), expected);
}

#[test]
fn acknowledgements_may_come_in_any_order_and_unknown_ones_are_harmless() {
    let mut s = Scenario::new();
    let (p, id) = (s.join(v4("p")), s.join(v5("a")));
    s.subscribe(id, "t", Q2);
    for (packet_id, qos) in [(1, Q1), (2, Q2), (3, Q1), (4, Q2)] {
        s.send(p, publish("t", "x", qos, packet_id));
    }
    assert_eq!(
        s.packets(id),
        ["t=x q1 #1", "t=x q2 #2", "t=x q1 #3", "t=x q2 #4"]
    );
    for packet in [
        Incoming::PubAck(3, 0),
        Incoming::PubAck(2, 0),
        Incoming::PubAck(77, 0),
        Incoming::PubComp(2, 0),
        Incoming::PubRec(1, 0),
        Incoming::PubRec(4, 0),
        Incoming::PubRec(2, 0),
        Incoming::PubRec(4, 0),
        Incoming::PubComp(4, 0),
        Incoming::PubAck(1, 0),
        Incoming::PubComp(2, 0),
    ] {
        s.send(id, packet);
    }
    let released = [
        "pubrel 1 0x92",
        "pubrel 4 0x00",
        "pubrel 2 0x00",
        "pubrel 4 0x00",
    ];
    assert_eq!(s.packets(id), released);
    let session = s.hub.connections[&id];
    assert_eq!(s.hub.sessions.get(session).unwrap().outbox.len(), (0, 0));
}

#[test]
fn a_refused_qos_2_delivery_frees_the_window() {
    let mut s = Scenario::with(Limits {
        in_flight: 1,
        ..Limits::default()
    });
    let id = s.join(v5("a"));
    s.subscribe(id, "t", Q2);
    s.send(id, publish("t", "x", Q2, 1));
    s.send(id, publish("t", "y", Q2, 2));
    assert_eq!(
        s.packets(id),
        ["pubrec 1 0x00", "pubrec 2 0x00", "t=x q2 #1"]
    );
    s.send(id, Incoming::PubRec(1, 0x80));
    assert_eq!(s.packets(id), ["t=y q2 #2"]);
}

#[test]
fn a_resumed_session_gets_the_unacknowledged_again_in_order() {
    let mut s = Scenario::with(Limits {
        in_flight: 4,
        ..Limits::default()
    });
    let (p, id) = (s.join(v4("p")), s.join(v4_persistent("a")));
    s.subscribe(id, "t", Q2);
    for (packet_id, qos) in [(1, Q1), (2, Q2), (3, Q2), (4, Q1), (5, Q1)] {
        s.send(p, publish("t", &packet_id.to_string(), qos, packet_id));
    }
    s.packets(id);
    s.send(id, Incoming::PubRec(2, 0));
    assert_eq!(s.packets(id), ["pubrel 2 0x00"]);
    s.send(id, Incoming::PubAck(4, 0));
    s.lose(id);
    s.send(p, publish("t", "6", Q1, 6));
    s.send(p, publish("t", "lost", Q0, 0));
    let id = s.join(v4_persistent("a"));
    let expected = [
        "t=1 q1 #1 dup",
        "pubrel 2 0x00",
        "t=3 q2 #3 dup",
        "t=5 q1 #5",
    ];
    assert_eq!(s.packets(id), expected);
    s.send(id, Incoming::PubAck(1, 0));
    assert_eq!(
        s.packets(id),
        ["t=6 q1 #6"],
        "QoS 0 is not kept for the absent"
    );
}

#[test]
fn a_smaller_receive_maximum_holds_for_what_is_sent_again() {
    let mut s = Scenario::new();
    let (p, id) = (s.join(v4("p")), s.join(v5_lasting("a", 60)));
    s.subscribe(id, "t", Q1);
    for packet_id in 1..=3 {
        s.send(p, publish("t", "x", Q1, packet_id));
    }
    assert_eq!(s.packets(id).len(), 3);
    s.lose(id);
    let id = s.join(Connect {
        receive_maximum: 1,
        ..v5_lasting("a", 60)
    });
    for packet_id in 1..=3 {
        assert_eq!(s.packets(id), [format!("t=x q1 #{packet_id} dup")]);
        s.send(id, Incoming::PubAck(packet_id, 0));
    }
}

#[test]
fn a_full_queue_gives_up_qos_0_first_then_the_oldest_and_says_so() {
    let mut s = Scenario::with(Limits {
        queue_messages: 4,
        in_flight: 1,
        ..Limits::default()
    });
    let (p, id) = (s.join(v4("p")), s.join(v4("a")));
    s.subscribe(id, "t", Q1);
    // The first fills the window, so that all others wait.
    for (payload, qos) in [
        ("0", Q1),
        ("1", Q1),
        ("2", Q0),
        ("3", Q0),
        ("4", Q1),
        ("5", Q1),
        ("6", Q1),
        ("7", Q1),
    ] {
        s.send(p, publish("t", payload, qos, u16::from(qos > Q0)));
        s.packets(p);
        if payload == "0" {
            assert_eq!(s.packets(id), ["t=0 q1 #1"]);
        }
    }
    s.send(p, publish("t", "8", Q0, 0));
    let dropped = |count| Report::Dropped {
        client: "a".into(),
        count,
    };
    assert_eq!(s.reports(), [dropped(1)], "the first at once");
    let mut received = Vec::new();
    for packet_id in 1..=5 {
        s.send(id, Incoming::PubAck(packet_id, 0));
        received.append(&mut s.packets(id));
    }
    assert_eq!(
        received,
        ["t=4 q1 #2", "t=5 q1 #3", "t=6 q1 #4", "t=7 q1 #5"]
    );
    assert_eq!(
        s.reports(),
        [dropped(3)],
        "the others (`3`, `1`, `8`) once it had drained"
    );
}

#[test]
fn a_queue_is_bounded_in_bytes() {
    let mut s = Scenario::with(Limits {
        queue_bytes: 25,
        ..Limits::default()
    });
    let (p, id) = (s.join(v4("p")), s.join(v4_persistent("a")));
    s.subscribe(id, "t", Q1);
    s.lose(id);
    for payload in ["123456789", "abcdefghi", "ABCDEFGHI", &"x".repeat(100)] {
        s.send(p, publish("t", payload, Q1, 1));
        s.packets(p);
    }
    let id = s.join(v4_persistent("a"));
    assert_eq!(s.packets(id), ["t=abcdefghi q1 #1", "t=ABCDEFGHI q1 #2"]);
    let counts = s.reports().into_iter().map(|report| match report {
        Report::Dropped { count, .. } => count,
        other => panic!("{other:?}"),
    });
    assert_eq!(counts.sum::<usize>(), 2);
}

#[test]
fn drops_are_reported_at_the_latest_when_the_session_ends() {
    let mut s = Scenario::with(Limits {
        queue_messages: 1,
        ..Limits::default()
    });
    let (p, id) = (s.join(v4("p")), s.join(v4("a")));
    s.subscribe(id, "t", Q0);
    for _ in 0..5 {
        s.send(p, publish("t", "x", Q0, 0));
    }
    s.lose(id);
    let dropped = |count| Report::Dropped {
        client: "a".into(),
        count,
    };
    assert_eq!(s.reports(), [dropped(1), dropped(3)]);
}

#[test]
fn a_packet_that_the_client_cannot_take_is_dropped_and_reported() {
    let mut s = Scenario::new();
    let p = s.join(v4("p"));
    // 1 + 1 + (2 + 1) + 2 + 1 + 12: type, length, topic, packet identifier, properties, payload.
    for (maximum_packet, fits) in [(20, true), (19, false)] {
        let id = s.join(Connect {
            maximum_packet: Some(maximum_packet),
            ..v5("a")
        });
        s.subscribe(id, "t", Q1);
        s.send(p, publish("t", "123456789012", Q1, 1));
        s.send(p, publish("t", "1", Q1, 2));
        s.packets(p);
        let expected: &[&str] = if fits {
            &["t=123456789012 q1 #1", "t=1 q1 #2"]
        } else {
            &["t=1 q1 #1"]
        };
        assert_eq!(s.packets(id), expected);
        assert_eq!(s.reports().len(), usize::from(!fits));
        s.lose(id);
    }
}

#[test]
fn messages_expire_in_the_queue_and_tell_what_is_left() {
    let mut s = Scenario::new();
    let (p, id) = (s.join(v5("p")), s.join(v5_lasting("a", 600)));
    s.subscribe(id, "t", Q1);
    s.lose(id);
    for (payload, seconds) in [("short", 5), ("long", 20)] {
        let packet = Publish {
            properties: expiring(seconds),
            ..publishing("t", payload, Q1, 1)
        };
        s.send(p, Incoming::Publish(packet));
        s.packets(p);
    }
    s.wait(Duration::from_secs(5));
    let id = s.join(v5_lasting("a", 600));
    let Some(Outgoing::Publish(delivery)) = s.packet(id) else {
        panic!("nothing delivered");
    };
    assert_eq!(delivery.payload, "long");
    assert_eq!(delivery.properties.unwrap().expiry_interval, Some(15));
    assert_eq!(s.reports(), [], "that is not a loss");
}

#[test]
fn expired_messages_make_room_in_a_full_queue() {
    let mut s = Scenario::with(Limits {
        queue_messages: 2,
        ..Limits::default()
    });
    let (p, id) = (s.join(v5("p")), s.join(v5_lasting("a", 600)));
    s.subscribe(id, "t", Q1);
    s.lose(id);
    for (payload, properties) in [("keep", None), ("short", expiring(5))] {
        let packet = Publish {
            properties,
            ..publishing("t", payload, Q1, 1)
        };
        s.send(p, Incoming::Publish(packet));
        s.packets(p);
    }
    s.wait(Duration::from_secs(5));
    s.send(p, publish("t", "new", Q1, 1));
    let id = s.join(v5_lasting("a", 600));
    assert_eq!(s.packets(id), ["t=keep q1 #1", "t=new q1 #2"]);
    assert_eq!(s.reports(), []);
}

#[test]
fn packet_identifiers_wrap_and_skip_those_in_use() {
    let mut s = Scenario::new();
    let (p, id) = (s.join(v4("p")), s.join(v4("a")));
    s.subscribe(id, "t", Q1);
    s.send(p, publish("t", "kept", Q1, 1));
    assert_eq!(s.packets(id), ["t=kept q1 #1"]);
    for number in 2..=u16::MAX {
        s.send(p, publish("t", "", Q1, 1));
        s.offers.clear();
        s.packets(p);
        assert_eq!(s.packets(id), [format!("t= q1 #{number}")]);
        s.send(id, Incoming::PubAck(number, 0));
    }
    s.send(p, publish("t", "", Q1, 1));
    assert_eq!(s.packets(id), ["t= q1 #2"], "neither 0 nor 1");
}

#[test]
fn a_publish_among_ten_thousand_other_subscriptions_does_not_look_at_them() {
    let mut s = Scenario::new();
    let id = s.join(v4("a"));
    s.subscribe(id, "t/+", Q0);
    let steps = |s: &mut Scenario| {
        let before = STEPS.get();
        s.hub.publish(&message("t/x", "x"), s.now);
        s.run();
        assert_eq!(s.packets(id), ["t/x=x q0"]);
        STEPS.get() - before
    };
    assert_eq!(steps(&mut s), 3, "the root, `t` and `+`");
    for number in 0..40 {
        let other = s.join(v4(&format!("c{number}")));
        for filter in 0..250 {
            let text = format!("other/{number}/{filter}/+");
            s.send(other, subscribe(1, &[(&text, Q0)]));
            s.packets(other);
        }
    }
    assert_eq!(steps(&mut s), 3, "none of the others");
}
