//! Users that change or go while their clients are connected, or away.

use super::*;

/// A user with all rights that a test needs.
fn user(name: &str) -> Identity {
    identity(Some(name), &["#"], &["#"])
}

fn with_will(connect: Connect, delay: u64) -> Connect {
    let will = Will {
        delay: Duration::from_secs(delay),
        ..will("wills", "gone")
    };
    Connect {
        will: Some(will),
        ..connect
    }
}

/// Finds one user in another state, and all others as they were.
fn only(name: &'static str, standing: Standing) -> impl Fn(&str) -> Standing {
    move |user| match user == name {
        true => standing.clone(),
        false => Standing::Keep,
    }
}

fn changed(publish: &[&str], subscribe: &[&str]) -> Standing {
    Standing::Change(identity(None, publish, subscribe).rules)
}

impl Scenario {
    fn enter(&mut self, connect: Connect, name: &str) -> ConnectionId {
        let id = self.connect(connect, &user(name));
        assert!(matches!(self.packet(id), Some(Outgoing::ConnAck(ack)) if ack.reason == 0));
        id
    }

    fn review(&mut self, standing: impl Fn(&str) -> Standing) {
        let standing = |user: Option<&str>, _: &str| user.map_or(Standing::Keep, &standing);
        self.hub.review(standing, self.now);
        self.run();
    }
}

#[test]
fn clients_of_a_removed_user_are_closed_and_told() {
    let mut s = Scenario::new();
    let ids = [
        s.enter(v5("new"), "gone"),
        s.enter(v4("old"), "gone"),
        s.enter(v5("other"), "kept"),
        s.join(v5("anonymous")),
    ];
    s.review(only("gone", Standing::Remove));
    assert_eq!(s.closed, BTreeSet::from([ids[0], ids[1]]));
    let expected: [&[&str]; 4] = [&["disconnect 0x87"], &[], &[], &[]];
    assert_eq!(ids.map(|id| s.packets(id)), expected);
}

#[test]
fn nothing_is_left_of_a_removed_user() {
    let mut s = Scenario::new();
    let away = s.enter(with_will(v5_lasting("away", 600), 60), "gone");
    s.subscribe(away, "a", Q1);
    s.lose(away);
    let here = s.enter(with_will(v4_persistent("here"), 0), "gone");
    s.subscribe(here, "wills", Q1);
    let watcher = s.join(v4("watcher"));
    s.subscribe(watcher, "#", Q0);
    s.review(only("gone", Standing::Remove));
    s.lose(here);
    s.wait(Duration::from_secs(3600));
    assert_eq!(s.packets(watcher), Vec::<String>::new(), "no will");
    assert_eq!(s.offered(), Vec::<String>::new());
    s.leave(watcher);
    s.lose(watcher);
    s.assert_empty();
}

#[test]
fn a_changed_user_comes_again_to_the_same_session() {
    let mut s = Scenario::new();
    let before = s.enter(with_will(v4_persistent("node"), 0), "changed");
    s.subscribe(before, "a", Q1);
    let watcher = s.join(v4("watcher"));
    s.subscribe(watcher, "wills", Q0);
    s.review(only("changed", changed(&["#"], &["#"])));
    assert_eq!(s.closed, BTreeSet::from([before]));
    assert_eq!(s.packets(watcher), ["wills=gone q0"]);
    s.lose(before);
    let after = s.connect(v4_persistent("node"), &user("changed"));
    assert_eq!(s.packets(after), ["connack 0x00 present"]);
    s.send(watcher, publish("a", "x", Q0, 0));
    assert_eq!(s.packets(after), ["a=x q0"]);
}

#[test]
fn a_session_that_waits_for_a_changed_user_goes_on_waiting() {
    let mut s = Scenario::new();
    let node = s.enter(v4_persistent("node"), "changed");
    s.lose(node);
    s.review(only("changed", changed(&["#"], &["#"])));
    let node = s.connect(v4_persistent("node"), &user("changed"));
    assert_eq!(s.packets(node), ["connack 0x00 present"]);
}

#[test]
fn narrower_rules_hold_for_what_waits_and_for_the_will() {
    let mut s = Scenario::new();
    let watcher = s.join(v4("watcher"));
    s.subscribe(watcher, "wills", Q0);
    let node = s.enter(with_will(v5_lasting("node", 600), 60), "changed");
    for filter in ["a", "b"] {
        s.subscribe(node, filter, Q1);
    }
    for topic in ["a", "b"] {
        s.send(watcher, publish(topic, "in flight", Q1, 1));
    }
    assert_eq!(s.packets(node), ["a=in flight q1 #1", "b=in flight q1 #2"]);
    s.lose(node);
    for topic in ["a", "b"] {
        s.send(watcher, publish(topic, "queued", Q1, 2));
    }
    s.review(only("changed", changed(&["other"], &["b"])));
    s.send(watcher, publish("a", "after", Q1, 3));
    s.wait(Duration::from_secs(61));
    let heard = s.packets(watcher).join(" ");
    assert!(!heard.contains("wills"), "{heard}");
    let node = s.connect(
        v5_lasting("node", 600),
        &identity(Some("changed"), &[], &["b"]),
    );
    assert_eq!(
        s.packets(node),
        [
            "connack 0x00 present",
            "b=in flight q1 #2 dup",
            "b=queued q1 #3"
        ]
    );
}

#[test]
fn a_session_makes_way_for_the_owner_of_its_client_id() {
    let mut s = Scenario::new();
    let stranger = s.join(v5_lasting("kitchen-1", 600));
    s.subscribe(stranger, "secrets", Q1);
    let owner = Identity {
        owns_client_id: true,
        ..user("kitchen")
    };
    let node = s.connect(v5_lasting("kitchen-1", 600), &owner);
    assert_eq!(s.packets(node), ["connack 0x00"]);
    assert_eq!(s.packets(stranger), ["disconnect 0x87"]);
    assert!(s.closed.contains(&stranger));
    s.send(node, publish("secrets", "x", Q1, 1));
    assert_eq!(s.packets(node), ["puback 1 0x00"], "nothing is inherited");
    let again = s.connect(v5_lasting("kitchen-1", 600), &owner);
    assert_eq!(s.packets(again), ["connack 0x00 present"]);
}
