//! SUBSCRIBE, UNSUBSCRIBE and retained messages.

use super::*;

fn options(qos: QoS) -> SubscribeOptions {
    SubscribeOptions {
        qos,
        ..SubscribeOptions::default()
    }
}

#[test]
fn each_filter_gets_its_own_reason_code() {
    let deep = "a/".repeat(128);
    let cases = [
        ("a", "0x01", "granted as asked"),
        ("a/#", "0x01", "granted as asked"),
        ("$share/g/a", "0x01", "shared"),
        ("é/+", "0x01", "any character"),
        ("", "0x8f", "empty"),
        ("a/#/b", "0x8f", "misplaced #"),
        ("a+", "0x8f", "misplaced +"),
        ("a\0", "0x8f", "NUL"),
        (&deep, "0x8f", "too many levels"),
        ("$share", "0x8f", "no group"),
        ("$share/g", "0x8f", "no filter"),
        ("$share//a", "0x8f", "empty group"),
        ("$share/+/a", "0x8f", "wildcard in the group"),
        ("$share/g/", "0x8f", "empty filter"),
        ("$bridge/x", "0x87", "not granted in so many words"),
        ("$share/g/$bridge/x", "0x87", "nor through a group"),
    ];
    let mut s = Scenario::new();
    let id = s.join(v5("a"));
    for (filter, expected, reason) in cases {
        s.send(id, subscribe(9, &[(filter, Q1)]));
        assert_eq!(
            s.packets(id),
            [format!("suback 9 [{expected}]")],
            "{filter}: {reason}"
        );
    }
    s.send(id, subscribe(9, &[("a", Q2), ("#b", Q0), ("c", Q0)]));
    assert_eq!(s.packets(id), ["suback 9 [0x02, 0x8f, 0x00]"]);
}

#[test]
fn subscriptions_of_one_session_are_bounded_in_number_and_cost() {
    let mut s = Scenario::with(Limits {
        topic_bytes: 65_535,
        ..Limits::default()
    });
    let id = s.join(v5("a"));
    let subscribe_to = |s: &mut Scenario, filter: &str| {
        s.send(id, subscribe(1, &[(filter, Q0)]));
        s.packets(id).remove(0)
    };
    for number in 0..256 {
        assert_eq!(
            subscribe_to(&mut s, &format!("f/{number}")),
            "suback 1 [0x00]"
        );
    }
    assert_eq!(subscribe_to(&mut s, "one/more"), "suback 1 [0x97]");
    assert_eq!(
        subscribe_to(&mut s, "f/0"),
        "suback 1 [0x00]",
        "it holds that one"
    );
    s.send(id, unsubscribe(2, &["f/0"]));
    s.packets(id);
    assert_eq!(subscribe_to(&mut s, &"x".repeat(60_000)), "suback 1 [0x00]");
    s.send(id, unsubscribe(2, &["f/1", "f/2"]));
    s.packets(id);
    assert_eq!(
        subscribe_to(&mut s, &"y".repeat(60_000)),
        "suback 1 [0x97]",
        "too long together"
    );
    s.lose(id);
    s.assert_empty();
}

#[test]
fn a_packet_without_filters_ends_the_connection() {
    for packet in [subscribe(1, &[]), unsubscribe(1, &[])] {
        let mut s = Scenario::new();
        let id = s.join(v5("a"));
        s.send(id, packet);
        assert_eq!(s.packets(id), ["disconnect 0x82"]);
    }
}

#[test]
fn an_answer_larger_than_the_client_takes_is_not_sent() {
    let mut s = Scenario::new();
    // 1 + 1 + 2 + 1: type, length, packet identifier, properties; then a reason code each.
    for (count, fits) in [(11, true), (12, false)] {
        let id = s.join(Connect {
            maximum_packet: Some(16),
            ..v5("a")
        });
        let filters: Vec<_> = (0..count).map(|number| format!("t/{number}")).collect();
        let filters: Vec<_> = filters.iter().map(|own| (own.as_str(), Q0)).collect();
        s.send(id, subscribe(1, &filters));
        if fits {
            assert!(s.packets(id)[0].starts_with("suback"));
        } else {
            assert_eq!(s.packets(id), ["disconnect 0x95"]);
        }
    }
}

#[test]
fn exceptions_are_kept_out_of_wider_filters() {
    let mut s = Scenario::new();
    let p = s.join(v4("p"));
    for topic in ["a/secret", "a/open"] {
        s.send(p, retain(topic, "kept"));
    }
    let id = s.connect(v4("c"), &identity(None, &[], &["#", "!+/secret"]));
    s.packets(id);
    s.send(id, subscribe(1, &[("a/#", Q1), ("a/secret", Q1)]));
    assert_eq!(
        s.packets(id),
        ["suback 1 [0x01, 0x87]", "a/open=kept q0 retain"]
    );
    s.send(p, publish("a/secret", "1", Q1, 1));
    s.send(p, publish("a/open", "2", Q1, 2));
    assert_eq!(s.packets(id), ["a/open=2 q1 #1"]);
}

#[test]
fn no_local_on_a_shared_subscription_ends_the_connection() {
    let mut s = Scenario::new();
    let id = s.join(v5("a"));
    let no_local = SubscribeOptions {
        no_local: true,
        ..options(Q0)
    };
    s.send(id, subscribe_with("$share/g/a", None, no_local));
    assert_eq!(s.packets(id), ["disconnect 0x82"]);
}

#[test]
fn unsubscribing_is_always_answered_and_ends_delivery() {
    let mut s = Scenario::new();
    let id = s.join(v5("a"));
    s.send(id, subscribe(1, &[("a", Q0), ("$share/g/b", Q0)]));
    s.send(
        id,
        unsubscribe(2, &["a", "a", "$share/g/b", "$share/h/b", "a/#/b"]),
    );
    let expected = [
        "suback 1 [0x00, 0x00]",
        "unsuback 2 [0x00, 0x11, 0x00, 0x11, 0x8f]",
    ];
    assert_eq!(s.packets(id), expected);
    s.send(id, publish("a", "x", Q0, 0));
    s.send(id, publish("b", "x", Q0, 0));
    assert_eq!(s.packets(id), [""; 0]);
    assert!(s.hub.subscriptions.is_empty());
}

#[test]
fn retained_messages_follow_the_suback() {
    let mut s = Scenario::new();
    let id = s.join(v4("a"));
    s.send(id, retain("a/1", "one"));
    s.send(id, retain("a/2", "two"));
    s.send(id, retain("b", "three"));
    s.send(id, subscribe(1, &[("a/+", Q0)]));
    assert_eq!(
        s.packets(id),
        ["suback 1 [0x00]", "a/1=one q0 retain", "a/2=two q0 retain"]
    );
    assert_eq!(
        s.offered(),
        ["a/1=one", "a/2=two", "b=three"],
        "offered when published"
    );
}

#[test]
fn retain_handling_decides_what_a_subscription_gets() {
    let cases = [
        (RetainHandling::Send, true, true, "always"),
        (RetainHandling::SendIfNew, true, false, "the first time"),
        (RetainHandling::DoNotSend, false, false, "never"),
    ];
    for (retain_handling, first, again, reason) in cases {
        let mut s = Scenario::new();
        let id = s.join(v5("a"));
        s.send(id, retain("t", "x"));
        for expected in [first, again] {
            let options = SubscribeOptions {
                retain_handling,
                ..options(Q0)
            };
            s.send(id, subscribe_with("t", Some(3), options));
            let packets = s.packets(id);
            let retained: &[&str] = if expected {
                &["t=x q0 retain [3]"]
            } else {
                &[]
            };
            assert_eq!(packets[1..], *retained, "{reason}");
        }
    }
}

#[test]
fn only_a_retained_empty_payload_deletes() {
    let mut s = Scenario::new();
    let id = s.join(v4("a"));
    let count = |s: &mut Scenario| {
        s.send(id, subscribe(1, &[("t", Q0)]));
        let count = s.packets(id).len() - 1;
        s.send(id, unsubscribe(2, &["t"]));
        s.packets(id);
        count
    };
    s.send(id, retain("t", "x"));
    s.send(id, publish("t", "", Q0, 0));
    assert_eq!(count(&mut s), 1, "retain=0 never touches it");
    s.send(id, publish("t", "y", Q0, 0));
    assert_eq!(count(&mut s), 1, "retain=0 never touches it");
    s.send(id, retain("t", ""));
    assert_eq!(count(&mut s), 0);
}

#[test]
fn many_retained_messages_are_neither_cut_nor_dropped() {
    let mut s = Scenario::with(Limits {
        queue_messages: 10,
        in_flight: 5,
        ..Limits::default()
    });
    let publisher = s.join(v4("p"));
    for number in 0..1000 {
        let packet = Publish {
            retain: true,
            ..publishing(&format!("t/{number}"), "x", Q1, 1)
        };
        s.send(publisher, Incoming::Publish(packet));
        s.packets(publisher);
    }
    for qos in [Q0, Q1] {
        let id = s.join(v4("a"));
        s.send(id, subscribe(1, &[("t/#", qos)]));
        let mut received = 0;
        for _ in 0..2 {
            while let Some(packet) = s.packet(id) {
                if let Outgoing::Publish(delivery) = packet {
                    received += 1;
                    s.send(id, Incoming::PubAck(delivery.packet_id, 0));
                }
            }
            s.wait(REST);
        }
        assert_eq!(received, 1000, "{qos:?}");
        s.send(id, subscribe(1, &[("t/#", qos)]));
        assert!(s.packets(id).len() >= 6, "again at every SUBSCRIBE");
        s.lose(id);
    }
    assert_eq!(s.reports(), []);
}

#[test]
fn a_long_search_for_retained_messages_leaves_others_their_turns() {
    let mut s = Scenario::new();
    let publisher = s.join(v4("p"));
    for number in 0..1000 {
        s.send(publisher, retain(&format!("t{number}/a"), "x"));
    }
    let id = s.join(v4("a"));
    let none: Vec<_> = (0..20).map(|number| format!("+/b{number}")).collect();
    let filters: Vec<_> = none.iter().map(|filter| (filter.as_str(), Q0)).collect();
    s.send(id, subscribe(1, &filters));
    s.send(publisher, publish("t/b1", "live", Q0, 0));
    assert_eq!(s.packets(id).len(), 1, "the answer at once");
    let mut turns = 0;
    let told = loop {
        turns += 1;
        s.wait(REST);
        let packets = s.packets(id);
        if !packets.is_empty() || turns == 1000 {
            break packets;
        }
    };
    assert_eq!(told, ["t/b1=live q0"]);
    assert!((20..=60).contains(&turns), "{turns}");
    s.leave(id);
    s.leave(publisher);
    assert!(s.hub.timers.is_empty(), "timers");
}

#[test]
fn a_topic_that_changes_meanwhile_keeps_its_order() {
    let mut s = Scenario::new();
    let (p, id) = (s.join(v4("p")), s.join(v4("a")));
    s.send(p, retain("t", "old"));
    s.send(p, retain("u", "old"));
    s.send(id, subscribe(1, &[("#", Q0)]));
    s.send(p, publish("t", "live", Q0, 0));
    s.send(p, retain("u", "new"));
    let expected = [
        "suback 1 [0x00]",
        "t=old q0 retain",
        "t=live q0",
        "u=new q0",
    ];
    assert_eq!(s.packets(id), expected);
}

#[test]
fn retained_messages_expire() {
    let mut s = Scenario::new();
    let id = s.join(v5("a"));
    let packet = Publish {
        retain: true,
        properties: expiring(10),
        ..publishing("t", "x", Q0, 0)
    };
    s.send(id, Incoming::Publish(packet));
    s.wait(Duration::from_millis(3500));
    s.send(id, subscribe(1, &[("t", Q0)]));
    s.packet(id);
    let Some(Outgoing::Publish(delivery)) = s.packet(id) else {
        panic!("nothing retained");
    };
    assert_eq!(
        delivery.properties.unwrap().expiry_interval,
        Some(7),
        "3 whole seconds waited"
    );
    s.packets(id);
    s.wait(Duration::from_millis(6500));
    s.send(id, subscribe(1, &[("t", Q0)]));
    assert_eq!(s.packets(id), ["suback 1 [0x00]"]);
}

#[test]
fn a_full_store_of_retained_messages_is_reported_once() {
    let mut s = Scenario::with(Limits {
        retained_messages: 1,
        ..Limits::default()
    });
    let id = s.join(v4("a"));
    for topic in ["a", "b", "c"] {
        s.send(id, retain(topic, "x"));
    }
    assert_eq!(
        s.reports(),
        [Report::RetainedFull {
            topic: "b".to_owned()
        }]
    );
    assert_eq!(s.hub.retained.len(), 1);
}

#[test]
fn a_new_subscription_replaces_the_options_of_the_old() {
    let mut s = Scenario::new();
    let id = s.join(v5("a"));
    s.send(id, subscribe_with("t", Some(1), options(Q0)));
    s.send(id, subscribe_with("t", Some(2), options(Q1)));
    s.packets(id);
    s.send(id, publish("t", "x", Q1, 1));
    assert_eq!(s.packets(id), ["puback 1 0x00", "t=x q1 #1 [2]"]);
}
