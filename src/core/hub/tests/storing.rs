//! What survives a restart: the hub made anew from nothing but what was committed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::core::store::{Key, Kind};

const INTERVAL: Duration = Duration::from_secs(300);

/// The disk: what was committed.
#[derive(Debug, Default)]
struct Disk {
    values: BTreeMap<Key, Bytes>,
    /// What was to be deleted by batches that were refused.
    late: Vec<Change>,
    writes: usize,
}

impl Disk {
    fn apply(&mut self, changes: Vec<Change>) {
        self.writes += 1;
        let late = std::mem::take(&mut self.late);
        for change in late.into_iter().chain(changes) {
            match change {
                Change::Put(key, value) => drop(self.values.insert(key, value)),
                Change::Delete(key) => drop(self.values.remove(&key)),
            }
        }
    }

    /// Commits the oldest batch. Returns whether there was one.
    fn commit(&mut self, s: &mut Scenario) -> bool {
        let Some((changes, token)) = s.batches.pop_front() else {
            return false;
        };
        self.apply(changes);
        if let Some(token) = token {
            s.hub.committed(token, s.now);
        }
        s.run();
        true
    }

    fn commit_all(&mut self, s: &mut Scenario) {
        while self.commit(s) {}
    }

    /// Refuses the oldest batch.
    fn refuse(&mut self, s: &mut Scenario) {
        if let Some((changes, token)) = s.batches.pop_front() {
            let deletes = changes
                .into_iter()
                .filter(|own| matches!(own, Change::Delete(_)));
            self.late.extend(deletes);
            if let Some(token) = token {
                s.hub.not_stored(token, s.now);
            }
            s.run();
        }
    }

    fn count(&self, kind: Kind) -> usize {
        self.values.keys().filter(|key| key.kind == kind).count()
    }
}

fn scenario(limits: Limits) -> Scenario {
    let mut s = Scenario::with(limits);
    s.hub.open_store(INTERVAL);
    s
}

/// Kills the gateway and starts it again from the disk.
fn restart(s: &mut Scenario, disk: &mut Disk, unix_time: Option<u64>) -> Restored {
    let mut fresh = scenario(s.hub.limits.clone());
    fresh.now = s.now;
    fresh.connections = s.connections;
    fresh.hub.set_clock(unix_time, fresh.now);
    let rules = anyone().rules;
    let owner = |user: Option<&str>, _: &str| (user != Some("gone")).then(|| Arc::clone(&rules));
    let mut restoring = fresh.hub.restoring(&owner, fresh.now);
    for (key, value) in &disk.values {
        restoring.add(*key, value);
    }
    let restored = restoring.finish();
    *s = fresh;
    s.run();
    disk.commit_all(s);
    restored
}

/// A store with a sleeper that has subscribed to everything and left.
fn with_sleeper() -> (Scenario, Disk) {
    let (mut s, mut disk) = (scenario(Limits::default()), Disk::default());
    let sleeper = s.join(v4_persistent("sleeper"));
    s.subscribe(sleeper, "#", Q2);
    s.lose(sleeper);
    disk.commit_all(&mut s);
    (s, disk)
}

#[test]
fn acknowledgement_waits_for_the_disk_exactly_when_a_sleepers_queue_takes_the_message() {
    let (mut s, mut disk) = with_sleeper();
    let node = s.join(v4("node"));
    s.send(node, publish("a", "1", Q1, 1));
    assert_eq!(s.packets(node), [""; 0]);
    disk.commit_all(&mut s);
    assert_eq!(s.packets(node), ["puback 1 0x00"]);
    let _awake = s.join(v4_persistent("sleeper"));
    s.send(node, publish("a", "2", Q1, 2));
    assert_eq!(s.packets(node), ["puback 2 0x00"]);
}

#[test]
fn acknowledgement_waits_for_routes_and_disk_both() {
    let (mut s, mut disk) = with_sleeper();
    s.acknowledges = false;
    let node = s.join(v4("node"));
    for disk_first in [true, false] {
        s.send(node, publish("a", "1", Q1, 1));
        let ticket = s.offers.pop().unwrap().ticket.unwrap();
        if disk_first {
            disk.commit_all(&mut s);
            assert_eq!(s.packets(node), [""; 0]);
            s.hub.acknowledge(ticket, reason::SUCCESS);
        } else {
            s.hub.acknowledge(ticket, reason::SUCCESS);
            assert_eq!(s.packets(node), [""; 0]);
            disk.commit_all(&mut s);
        }
        s.run();
        assert_eq!(s.packets(node), ["puback 1 0x00"]);
    }
}

#[test]
fn what_is_queued_comes_back_in_order_and_is_gone_once_acknowledged() {
    let (mut s, mut disk) = with_sleeper();
    let node = s.join(v4("node"));
    for (payload, qos, id) in [("1", Q1, 1), ("2", Q2, 2), ("3", Q1, 3), ("4", Q0, 0)] {
        s.send(node, publish("a", payload, qos, id));
    }
    disk.commit_all(&mut s);
    let restored = restart(&mut s, &mut disk, None);
    assert_eq!((restored.sessions, restored.deliveries), (1, 3));
    let sleeper = s.connect(v4_persistent("sleeper"), &anyone());
    assert_eq!(
        s.packets(sleeper),
        [
            "connack 0x00 present",
            "a=1 q1 #1 dup",
            "a=2 q2 #2 dup",
            "a=3 q1 #3 dup"
        ]
    );
    s.send(sleeper, Incoming::PubAck(1, 0));
    s.send(sleeper, Incoming::PubAck(3, 0));
    s.send(sleeper, Incoming::PubRec(2, 0));
    assert_eq!(s.packets(sleeper), [""; 0], "PUBREL waits for the disk");
    disk.commit_all(&mut s);
    assert_eq!(s.packets(sleeper), ["pubrel 2 0x00"]);
    restart(&mut s, &mut disk, None);
    let sleeper = s.connect(v4_persistent("sleeper"), &anyone());
    assert_eq!(
        s.packets(sleeper),
        ["connack 0x00 present", "pubrel 2 0x00"]
    );
    s.send(sleeper, Incoming::PubComp(2, 0));
    disk.commit_all(&mut s);
    assert_eq!(disk.count(Kind::Delivery), 0);
}

#[test]
fn what_is_in_flight_is_stored_when_the_connection_is_lost_and_at_the_interval() {
    for at_the_interval in [true, false] {
        let (mut s, mut disk) = with_sleeper();
        let sleeper = s.join(v4_persistent("sleeper"));
        let node = s.join(v4("node"));
        s.send(node, publish("a", "1", Q1, 1));
        assert_eq!(s.packets(sleeper), ["a=1 q1 #1"]);
        s.send(node, publish("a", "2", Q1, 2));
        disk.commit_all(&mut s);
        assert_eq!(disk.count(Kind::Delivery), 0);
        if at_the_interval {
            s.hub.limits.ack_timeout = 2 * INTERVAL;
            s.now += INTERVAL;
            s.hub.handle_timeout(s.now);
            s.run();
        } else {
            s.lose(sleeper);
        }
        disk.commit_all(&mut s);
        restart(&mut s, &mut disk, None);
        let sleeper = s.connect(v4_persistent("sleeper"), &anyone());
        let expected = ["connack 0x00 present", "a=1 q1 #1 dup", "a=2 q1 #2 dup"];
        assert_eq!(s.packets(sleeper), expected);
    }
}

#[test]
fn packet_identifiers_that_a_client_may_hold_are_not_used_after_a_kill() {
    let (mut s, mut disk) = with_sleeper();
    let _sleeper = s.join(v4_persistent("sleeper"));
    disk.commit_all(&mut s);
    restart(&mut s, &mut disk, None);
    let sleeper = s.connect(v4_persistent("sleeper"), &anyone());
    let node = s.join(v4("node"));
    s.send(node, publish("a", "1", Q2, 1));
    assert_eq!(
        s.packets(sleeper),
        ["connack 0x00 present", "a=1 q2 #20012"]
    );
}

#[test]
fn subscribing_to_the_same_again_writes_nothing() {
    let (mut s, mut disk) = (scenario(Limits::default()), Disk::default());
    let node = s.join(v4_persistent("node"));
    s.subscribe(node, "a/#", Q1);
    disk.commit_all(&mut s);
    let writes = disk.writes;
    for _ in 0..10 {
        s.subscribe(node, "a/#", Q1);
        s.send(node, unsubscribe(1, &["b"]));
        s.packets(node);
    }
    disk.commit_all(&mut s);
    assert_eq!(disk.writes, writes);
    s.subscribe(node, "a/#", Q2);
    disk.commit_all(&mut s);
    assert_eq!(disk.writes, writes + 1);
}

#[test]
fn exchange_at_qos_2_survives_with_the_publisher() {
    let (mut s, mut disk) = with_sleeper();
    let node = s.join(v4_persistent("node"));
    s.send(node, publish("a", "1", Q2, 7));
    disk.commit_all(&mut s);
    assert_eq!(s.packets(node), ["pubrec 7 0x00"]);
    restart(&mut s, &mut disk, None);
    let node = s.join(v4_persistent("node"));
    s.send(node, publish("a", "1", Q2, 7));
    assert_eq!(s.packets(node), ["pubrec 7 0x00"]);
    assert_eq!(s.offered(), [""; 0], "it is the same message");
    s.send(node, Incoming::PubRel(7, 0));
    assert_eq!(s.packets(node), [""; 0], "the store has it still");
    disk.commit_all(&mut s);
    assert_eq!(disk.count(Kind::Delivery), 1, "the sleeper's");
    assert_eq!(s.packets(node), ["pubcomp 7 0x00"]);

    // Killed right after it: the identifier is another message's now.
    restart(&mut s, &mut disk, None);
    let node = s.join(v4_persistent("node"));
    s.send(node, publish("a", "2", Q2, 7));
    disk.commit_all(&mut s);
    assert_eq!(s.packets(node), ["pubrec 7 0x00"]);
    assert_eq!(s.offered(), ["a=2"]);
}

#[test]
fn publishers_are_told_or_kept_waiting_when_the_disk_refuses() {
    let (mut s, mut disk) = with_sleeper();
    let (new, old) = (s.join(v5("new")), s.join(v4_persistent("old")));
    disk.commit_all(&mut s);
    for id in [new, old] {
        s.send(id, publish("a", "1", Q2, 1));
        while !s.batches.is_empty() {
            disk.refuse(&mut s);
        }
    }
    assert_eq!(s.packets(new), ["pubrec 1 0x97"]);
    assert_eq!(s.packets(old), [""; 0]);
    s.wait(Duration::from_secs(9));
    assert!(!s.closed.contains(&old));
    s.wait(Duration::from_secs(1));
    assert_eq!([new, old].map(|id| s.closed.contains(&id)), [false, true]);
    let old = s.join(v4_persistent("old"));
    s.send(old, publish("a", "1", Q2, 1));
    disk.commit_all(&mut s);
    assert_eq!(s.packets(old), ["pubrec 1 0x00"], "sent again, it is taken");
    let sleeper = s.connect(v4_persistent("sleeper"), &anyone());
    let packets = s.packets(sleeper);
    assert_eq!(
        packets.len(),
        2,
        "what was refused is not delivered: {packets:?}"
    );
}

#[test]
fn a_publish_that_the_disk_refuses_is_not_taken_for_stored_when_sent_again() {
    for connect in [v5_lasting("node", 1000), v4_persistent("node")] {
        let (mut s, mut disk) = with_sleeper();
        let node = s.join(connect.clone());
        disk.commit_all(&mut s);
        s.send(node, publish("a", "1", Q2, 1));
        s.lose(node);
        let node = s.join(connect.clone());
        s.send(node, publish("a", "1", Q2, 1));
        assert_eq!(s.packets(node), [""; 0], "nothing is on the disk yet");
        while !s.batches.is_empty() {
            disk.refuse(&mut s);
        }
        let told = s.packets(node);
        s.wait(Duration::from_secs(10));
        match connect.version {
            Version::V5 => assert_eq!(told, ["pubrec 1 0x97"]),
            Version::V3_1 | Version::V3_1_1 => assert!(s.closed.contains(&node) && told.is_empty()),
        }
        let node = s.join(connect.clone());
        s.send(node, publish("a", "1", Q2, 1));
        disk.commit_all(&mut s);
        assert_eq!(s.packets(node), ["pubrec 1 0x00"]);
        assert_eq!(s.hub.archive.holds(), 0);
        let restored = restart(&mut s, &mut disk, None);
        assert_eq!(restored.deliveries, 2, "the sleeper's, and the exchange");
    }
}

#[test]
fn an_exchange_that_is_not_settled_is_not_written_anew() {
    let (mut s, mut disk) = (scenario(Limits::default()), Disk::default());
    s.acknowledges = false;
    let node = s.join(v4_persistent("node"));
    disk.commit_all(&mut s);
    s.hub.archive.doubt(s.now);
    s.send(node, publish("a", "1", Q2, 1));
    s.wait(INTERVAL);
    // The one that holds the message is refused, the one after it is stored.
    disk.refuse(&mut s);
    assert!(disk.commit(&mut s));
    assert_eq!(disk.count(Kind::Delivery), 0);
    assert_eq!(disk.count(Kind::Session), 1);
}

#[test]
fn what_nobody_would_send_again_stays_when_its_batch_is_refused() {
    let (mut s, mut disk) = with_sleeper();
    let node = s.join(v5("node"));
    let reply = Message {
        qos: Q1,
        ..message("replies/1", "ok")
    };
    s.hub.receive(node, publish("a", "1", Q1, 1), s.now);
    s.hub.publish(&reply, s.now);
    s.run();
    assert_eq!(s.batches.len(), 1);
    disk.refuse(&mut s);
    assert_eq!(s.packets(node), ["puback 1 0x97"]);
    s.wait(INTERVAL);
    disk.commit_all(&mut s);
    let restored = restart(&mut s, &mut disk, None);
    assert_eq!(restored.deliveries, 1);
    let sleeper = s.connect(v4_persistent("sleeper"), &anyone());
    let expected = ["connack 0x00 present", "replies/1=ok q1 #2 dup"];
    assert_eq!(s.packets(sleeper), expected);
}

#[test]
fn queues_give_back_what_a_route_leaves_with_its_client() {
    for connect in [v5("node"), v4("node")] {
        let (mut s, mut disk) = with_sleeper();
        s.acknowledges = false;
        let version = connect.version;
        let node = s.join(connect);
        s.send(node, publish("a", "1", Q1, 1));
        let ticket = s.offers.pop().unwrap().ticket.unwrap();
        s.hub.decline(ticket, s.now);
        s.run();
        disk.commit_all(&mut s);
        let told = s.packets(node);
        s.wait(Duration::from_secs(10));
        assert_eq!(told == ["puback 1 0x97"], version == Version::V5);
        assert_eq!(s.closed.contains(&node), version != Version::V5);
        disk.commit_all(&mut s);
        assert_eq!(disk.count(Kind::Delivery), 0);
        let sleeper = s.connect(v4_persistent("sleeper"), &anyone());
        assert_eq!(s.packets(sleeper), ["connack 0x00 present"]);
        assert_eq!(s.hub.archive.holds(), 0);
    }
}

#[test]
fn message_for_a_session_that_the_disk_has_refused_takes_the_session_along() {
    let (mut s, mut disk) = (scenario(Limits::default()), Disk::default());
    let sleeper = s.join(v4_persistent("sleeper"));
    s.subscribe(sleeper, "#", Q1);
    s.lose(sleeper);
    while !s.batches.is_empty() {
        disk.refuse(&mut s);
    }
    let node = s.join(v5("node"));
    s.send(node, publish("a", "1", Q1, 1));
    disk.commit_all(&mut s);
    assert_eq!(s.packets(node), ["puback 1 0x00"]);
    // Long before all is written anew.
    let restored = restart(&mut s, &mut disk, None);
    assert_eq!((restored.sessions, restored.orphans), (1, 0));
    let sleeper = s.connect(v4_persistent("sleeper"), &anyone());
    assert_eq!(
        s.packets(sleeper),
        ["connack 0x00 present", "a=1 q1 #1 dup"]
    );
}

#[test]
fn all_is_written_anew_after_the_disk_has_refused() {
    let (mut s, mut disk) = (scenario(Limits::default()), Disk::default());
    let sleeper = s.join(v4_persistent("sleeper"));
    s.subscribe(sleeper, "#", Q1);
    s.send(sleeper, retain("r", "x"));
    s.lose(sleeper);
    while !s.batches.is_empty() {
        disk.refuse(&mut s);
    }
    s.wait(INTERVAL);
    disk.commit_all(&mut s);
    let restored = restart(&mut s, &mut disk, None);
    assert_eq!((restored.sessions, restored.retained), (1, 1));
}

#[test]
fn retained_messages_are_stored_at_once_at_qos_1_and_at_the_interval_at_qos_0() {
    let (mut s, mut disk) = (scenario(Limits::default()), Disk::default());
    let node = s.join(v4("node"));
    let at_once = Incoming::Publish(Publish {
        retain: true,
        ..publishing("once", "1", Q1, 1)
    });
    s.send(node, at_once);
    s.send(node, retain("later", "1"));
    s.send(node, retain("later", "2"));
    s.send(node, retain("$sys/own", "1"));
    disk.commit_all(&mut s);
    assert_eq!(disk.count(Kind::Retained), 1);
    s.wait(INTERVAL);
    disk.commit_all(&mut s);
    assert_eq!((disk.count(Kind::Retained), disk.writes), (2, 2));
    s.wait(10 * INTERVAL);
    assert!(s.batches.is_empty(), "idle writes nothing");
    restart(&mut s, &mut disk, None);
    let reader = s.join(v4("reader"));
    s.send(reader, subscribe(1, &[("#", Q1)]));
    let expected = [
        "suback 1 [0x01]",
        "later=2 q0 retain",
        "once=1 q1 #1 retain",
    ];
    assert_eq!(s.packets(reader), expected);
    let node = s.join(v4("node"));
    s.send(node, retain("later", ""));
    s.send(node, retain("once", ""));
    disk.commit_all(&mut s);
    assert_eq!(disk.count(Kind::Retained), 0);
}

#[test]
fn what_clients_retained_is_deleted_where_replies_go_now() {
    let (mut s, mut disk) = (scenario(Limits::default()), Disk::default());
    let now = s.now;
    s.hub.reconfigure(Limits::default(), Vec::new(), now);
    let node = s.join(v4("node"));
    let forged = |topic, packet_id| {
        Incoming::Publish(Publish {
            retain: true,
            ..publishing(topic, "forged", Q1, packet_id)
        })
    };
    s.send(node, forged("replies/n/ok", 1));
    s.send(node, forged("late/ok", 2));
    s.send(node, forged("other", 3));
    for topic in ["replies/n/error", "late/error"] {
        let reply = Message {
            retain: true,
            qos: Q1,
            ..message(topic, "told")
        };
        s.hub.publish(&reply, now);
    }
    disk.commit_all(&mut s);
    assert_eq!(disk.count(Kind::Retained), 5);
    let heard = |s: &mut Scenario| {
        let reader = s.join(v4("reader"));
        s.send(reader, subscribe(1, &[("#", Q0)]));
        s.packets(reader).split_off(1)
    };

    // A restart with another configuration.
    let restored = restart(&mut s, &mut disk, None);
    assert_eq!((restored.retained, restored.foreign), (4, 1));
    assert_eq!(disk.count(Kind::Retained), 4);
    let left = ["late/error=told", "late/ok=forged", "other=forged"];
    let left = left.map(|it| format!("{it} q0 retain"));
    let [error, ok, other] = left;
    let told = "replies/n/error=told q0 retain".to_owned();
    assert_eq!(heard(&mut s), [&*error, &ok, &other, &told]);

    // Another one while it runs.
    let reserved = vec![TopicFilter::parse("+/+").unwrap()];
    s.hub.reconfigure(Limits::default(), reserved, now);
    s.run();
    assert_eq!(s.reports(), [Report::Expelled { count: 1 }]);
    assert_eq!(
        heard(&mut s),
        [&*error, &other, "replies/n/error=told q0 retain"]
    );
    disk.commit_all(&mut s);
    assert_eq!(disk.count(Kind::Retained), 3);
}

#[test]
fn sessions_expire_by_the_wall_clock_where_it_is_known() {
    let cases = [
        (Some(1000), Some(1099), 1),
        (Some(1000), Some(1100), 0),
        (Some(1000), Some(900), 1),
        (None, Some(5000), 1),
        (Some(1000), None, 1),
    ];
    for (before, after, sessions) in cases {
        let (mut s, mut disk) = (scenario(Limits::default()), Disk::default());
        s.hub.set_clock(before, s.now);
        let sleeper = s.join(v5_lasting("sleeper", 100));
        s.lose(sleeper);
        disk.commit_all(&mut s);
        let restored = restart(&mut s, &mut disk, after);
        assert_eq!(restored.sessions, sessions, "{before:?} {after:?}");
        assert_eq!(restored.expired, 1 - sessions);
        s.wait(Duration::from_secs(100));
        disk.commit_all(&mut s);
        assert_eq!(disk.values, BTreeMap::new());
    }
}

#[test]
fn messages_expire_by_the_wall_clock_where_it_is_known() {
    for (after, deliveries) in [(Some(1009), 1), (Some(1010), 0), (None, 1)] {
        let (mut s, mut disk) = with_sleeper();
        s.hub.set_clock(Some(1000), s.now);
        let node = s.join(v5("node"));
        let publish = Publish {
            properties: expiring(10),
            retain: true,
            ..publishing("a", "1", Q1, 1)
        };
        s.send(node, Incoming::Publish(publish));
        disk.commit_all(&mut s);
        let restored = restart(&mut s, &mut disk, after);
        assert_eq!(restored.deliveries, deliveries, "{after:?}");
        assert_eq!(restored.retained, deliveries, "{after:?}");
    }
}

#[test]
fn what_can_not_come_back_is_counted_and_what_nobody_owns_is_deleted() {
    let (mut s, mut disk) = with_sleeper();
    let gone = s.connect(v4_persistent("g"), &identity(Some("gone"), &["#"], &["#"]));
    s.packets(gone);
    s.lose(gone);
    let node = s.join(v4("node"));
    s.send(node, publish("a", "1", Q1, 1));
    disk.commit_all(&mut s);
    let damaged = Key {
        kind: Kind::Session,
        id: 77,
    };
    disk.values
        .insert(damaged, Bytes::from_static(b"\x01damage"));
    let orphan = Key {
        kind: Kind::Delivery,
        id: 78,
    };
    let value = disk
        .values
        .iter()
        .find(|(key, _)| key.kind == Kind::Delivery);
    let mut value = value.unwrap().1.to_vec();
    value[8] = 99;
    disk.values.insert(orphan, value.into());
    let restored = restart(&mut s, &mut disk, None);
    let expected = Restored {
        sessions: 1,
        deliveries: 1,
        damaged: 1,
        disowned: 1,
        orphans: 1,
        ..Restored::default()
    };
    assert_eq!(restored, expected);
    assert_eq!(disk.count(Kind::Session), 2, "damage is left as it is");
    assert!(!disk.values.contains_key(&orphan));
    let other = s.join(v4_persistent("other"));
    s.lose(other);
    disk.commit_all(&mut s);
    assert_eq!(
        disk.values[&damaged], "\x01damage",
        "its number is not used"
    );
}

#[test]
fn more_sessions_than_the_limit_are_forgotten_and_reported() {
    let (mut s, mut disk) = (scenario(Limits::default()), Disk::default());
    for client in ["a", "b", "c"] {
        let id = s.join(v4_persistent(client));
        s.lose(id);
    }
    disk.commit_all(&mut s);
    s.hub.limits.offline_sessions = 2;
    restart(&mut s, &mut disk, None);
    assert_eq!(s.reports().len(), 1);
    disk.commit_all(&mut s);
    assert_eq!(disk.count(Kind::Session), 2);
}

#[test]
fn ended_sessions_leave_nothing_in_the_store() {
    let (mut s, mut disk) = with_sleeper();
    let node = s.join(v4("node"));
    s.send(node, publish("a", "1", Q1, 1));
    disk.commit_all(&mut s);
    assert_eq!(disk.values.len(), 2);
    let sleeper = s.join(v4("sleeper"));
    s.lose(sleeper);
    disk.commit_all(&mut s);
    assert_eq!(disk.values, BTreeMap::new());
}

#[test]
fn wills_are_not_stored() {
    let (mut s, mut disk) = with_sleeper();
    let _node = s.join(Connect {
        will: Some(will("wills", "gone")),
        ..v4_persistent("node")
    });
    disk.commit_all(&mut s);
    restart(&mut s, &mut disk, None);
    s.wait(Duration::from_secs(3600));
    disk.commit_all(&mut s);
    assert_eq!(
        (disk.count(Kind::Session), disk.count(Kind::Delivery)),
        (2, 0)
    );
    let sleeper = s.join(v4_persistent("sleeper"));
    assert_eq!(s.packets(sleeper), [""; 0]);
}

/// A subscriber that keeps its own half of the session over connections.
#[derive(Debug, Default)]
struct Subscriber {
    id: Option<ConnectionId>,
    /// QoS 2: what it has and may be sent again.
    held: BTreeSet<u16>,
    /// Payloads in the order in which they came first.
    first: Vec<usize>,
    unanswered: VecDeque<Incoming>,
    /// The disk has refused something: then QoS 2 is not kept over a restart.
    in_doubt: bool,
}

impl Subscriber {
    fn receive(&mut self, packet: &Outgoing) -> Result<(), TestCaseError> {
        match packet {
            Outgoing::Publish(own) => {
                let payload: usize = std::str::from_utf8(&own.payload).unwrap().parse().unwrap();
                let seen = self.first.contains(&payload);
                prop_assert!(!seen || own.dup, "{payload} again without DUP");
                let is_new = own.qos == Q1 || self.held.insert(own.packet_id);
                if own.qos == Q2 {
                    prop_assert!(
                        self.in_doubt || !(seen && is_new),
                        "{payload} twice at QoS 2"
                    );
                    prop_assert!(seen || is_new, "{payload} taken for another");
                    self.unanswered
                        .push_back(Incoming::PubRec(own.packet_id, 0));
                } else {
                    self.unanswered
                        .push_back(Incoming::PubAck(own.packet_id, 0));
                }
                if !seen {
                    self.first.push(payload);
                }
            }
            Outgoing::PubRel(id, _) => {
                self.held.remove(id);
                self.unanswered.push_back(Incoming::PubComp(*id, 0));
            }
            _ => {}
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(QoS),
    Come,
    Lose,
    Read,
    Answer,
    Commit,
    Refuse,
    Crash,
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop_oneof![Just(Q1), Just(Q2)].prop_map(Step::Publish),
        3 => Just(Step::Come),
        2 => Just(Step::Lose),
        4 => Just(Step::Read),
        4 => Just(Step::Answer),
        8 => Just(Step::Commit),
        1 => Just(Step::Refuse),
        2 => Just(Step::Crash),
        1 => Just(Step::Wait),
    ]
}

/// A publisher, a subscriber, a gateway and its disk.
struct World {
    s: Scenario,
    disk: Disk,
    node: ConnectionId,
    subscriber: Subscriber,
    published: usize,
    /// Messages that were published while the subscriber was away, by packet identifier.
    asked: BTreeMap<u16, usize>,
    /// Those that were acknowledged.
    owed: BTreeSet<usize>,
}

impl World {
    fn new() -> Self {
        let (mut s, mut disk) = (
            scenario(Limits {
                in_flight: 3,
                ack_timeout: Duration::from_secs(1_000_000),
                ..Limits::default()
            }),
            Disk::default(),
        );
        let sleeper = s.join(v4_persistent("sleeper"));
        s.subscribe(sleeper, "#", Q2);
        s.lose(sleeper);
        disk.commit_all(&mut s);
        let node = s.join(v5("node"));
        Self {
            s,
            disk,
            node,
            subscriber: Subscriber::default(),
            published: 0,
            asked: BTreeMap::new(),
            owed: BTreeSet::new(),
        }
    }

    fn perform(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Publish(qos) => {
                if self.s.hub.connections.contains_key(&self.node) {
                    self.published += 1;
                    let id = u16::try_from(self.published).unwrap();
                    if self.subscriber.id.is_none() {
                        self.asked.insert(id, self.published);
                    }
                    let payload = self.published.to_string();
                    self.s.send(self.node, publish("a", &payload, *qos, id));
                }
            }
            Step::Come => {
                if self.subscriber.id.is_none() {
                    self.subscriber.unanswered.clear();
                    self.subscriber.id = Some(self.s.connect(v4_persistent("sleeper"), &anyone()));
                }
            }
            Step::Lose => {
                if let Some(id) = self.subscriber.id.take() {
                    self.s.lose(id);
                }
            }
            Step::Read => {
                while let Some(packet) = self.subscriber.id.and_then(|id| self.s.packet(id)) {
                    self.subscriber.receive(&packet)?;
                }
            }
            Step::Answer => {
                if let Some(id) = self.subscriber.id
                    && let Some(packet) = self.subscriber.unanswered.pop_front()
                {
                    self.s.send(id, packet);
                }
            }
            Step::Commit => drop(self.disk.commit(&mut self.s)),
            Step::Refuse => {
                self.subscriber.in_doubt = true;
                self.disk.refuse(&mut self.s);
            }
            Step::Crash => {
                restart(&mut self.s, &mut self.disk, None);
                self.subscriber.id = None;
                self.node = self.s.join(v5("node"));
                self.asked.clear();
            }
            Step::Wait => self.s.wait(INTERVAL),
        }
        self.read_acknowledgements();
        Ok(())
    }

    fn read_acknowledgements(&mut self) {
        while let Some(packet) = self.s.packet(self.node) {
            match packet {
                Outgoing::PubAck(id, code) | Outgoing::PubRec(id, code) => {
                    if let Some(asked) = self.asked.remove(&id)
                        && code == reason::SUCCESS
                    {
                        self.owed.insert(asked);
                    }
                    if code == reason::SUCCESS {
                        self.s.send(self.node, Incoming::PubRel(id, 0));
                    }
                }
                _ => {}
            }
        }
    }

    /// Lets all come to an end, and checks what came of it.
    fn finish(mut self) -> Result<(), TestCaseError> {
        self.perform(&Step::Crash)?;
        self.perform(&Step::Come)?;
        for _ in 0..2000 {
            let before = self.subscriber.first.len();
            self.perform(&Step::Read)?;
            while !self.subscriber.unanswered.is_empty() {
                self.perform(&Step::Answer)?;
            }
            let committed = self.disk.commit(&mut self.s);
            if !committed && before == self.subscriber.first.len() {
                break;
            }
        }
        let first = &self.subscriber.first;
        for owed in &self.owed {
            prop_assert!(
                first.contains(owed),
                "{owed} was acknowledged and is missing: {first:?}"
            );
        }
        let kept: Vec<_> = first.iter().filter(|own| self.owed.contains(own)).collect();
        prop_assert!(kept.is_sorted(), "{first:?}");
        prop_assert_eq!(
            self.disk.count(Kind::Delivery),
            0,
            "delivered, and still stored"
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_acknowledged_is_missing_whenever_the_gateway_is_killed(
        steps in proptest::collection::vec(step(), 0..100)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.perform(step)?;
        }
        world.finish()?;
    }
}
