//! What nodes do that the standard does not foresee.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Anyone, from an address.
fn from(address: &str) -> Identity {
    Identity {
        peer: Some(address.parse().unwrap()),
        ..anyone()
    }
}

#[test]
fn what_is_not_acknowledged_is_given_up_and_makes_room() {
    let mut s = Scenario::with(Limits {
        in_flight: 2,
        ..Limits::default()
    });
    let (p, id) = (s.join(v4("p")), s.join(v4("no/de")));
    let watcher = s.connect(v4("w"), &identity(None, &[], &["$bridge/clients/+"]));
    s.packets(watcher);
    s.subscribe(watcher, "$bridge/clients/+", Q1);
    s.subscribe(id, "#", Q2);
    let large = "x".repeat(300);
    for (topic, payload, qos) in [("a", large.as_str(), Q1), ("b", "1", Q2), ("c", "2", Q1)] {
        s.send(p, publish(topic, payload, qos, 1));
        s.send(p, Incoming::PubRel(1, 0));
    }
    assert_eq!(s.packets(id).len(), 2);
    s.send(id, Incoming::PubRec(2, 0));
    assert_eq!(s.packets(id), ["pubrel 2 0x00"]);
    s.wait(MINUTE);
    // The second was received and only its PUBCOMP is missing: that is no message lost.
    assert_eq!(s.packets(id), ["c=2 q1 #3"]);
    let cause = "its library drops packets that are too large for it, as PubSubClient does with \
                 more than 256 bytes";
    let report = Report::Unacknowledged {
        client: "no/de".into(),
        topic: "a".to_owned(),
        bytes: 308,
        waited: MINUTE,
        cause,
    };
    assert_eq!(s.reports(), [report]);
    let notice = format!(
        "$bridge/clients/no%2Fde={{\"event\":\"unacknowledged\",\"topic\":\"a\",\"bytes\":308,\
         \"seconds\":60,\"cause\":\"{cause}\"}} q0"
    );
    assert_eq!(s.packets(watcher), [notice]);
    s.send(id, Incoming::PubAck(1, 0));
    s.send(id, Incoming::PubAck(3, 0));
    s.wait(2 * MINUTE);
    assert_eq!(s.reports(), []);
    s.lose(id);
    s.lose(watcher);
    s.lose(p);
    s.assert_empty();
}

#[test]
fn time_without_a_connection_is_not_counted() {
    let mut s = Scenario::new();
    let (p, id) = (s.join(v4("p")), s.join(v4_persistent("a")));
    s.subscribe(id, "t", Q1);
    s.send(p, publish("t", "x", Q1, 1));
    assert_eq!(s.packets(id), ["t=x q1 #1"]);
    s.wait(MINUTE / 2);
    s.lose(id);
    s.wait(10 * MINUTE);
    let id = s.join(v4_persistent("a"));
    assert_eq!(s.packets(id), ["t=x q1 #1 dup"]);
    s.wait(MINUTE / 2);
    assert_eq!(s.reports(), []);
    s.wait(MINUTE / 2);
    assert_eq!(s.reports().len(), 1);
    s.lose(id);
    let id = s.join(v4_persistent("a"));
    assert_eq!(s.packets(id), [""; 0]);
}

#[test]
fn two_nodes_with_one_client_id_end_in_one_that_stays() {
    let mut s = Scenario::new();
    let watcher = s.connect(v4("w"), &identity(None, &[], &["$bridge/#"]));
    s.packets(watcher);
    s.subscribe(watcher, "$bridge/#", Q0);
    let addresses = ["192.168.1.7:50000", "192.168.1.9:50001"];
    let mut connections = Vec::new();
    for address in addresses.iter().cycle().take(6) {
        connections.push(s.connect(v4("same"), &from(address)));
    }
    let stays = connections[2];
    for (number, id) in connections.iter().enumerate() {
        assert_eq!(s.closed.contains(id), *id != stays, "{number}");
    }
    let rivals = Report::Rivals {
        client: "same".into(),
        addresses: addresses.map(|address| Some(address.parse().unwrap())),
    };
    let reports = s.reports();
    let told = reports.iter().filter(|report| **report == rivals);
    assert_eq!(told.count(), 1, "{reports:?}");
    let notice = "$bridge/clients/same={\"event\":\"rivals\",\"addresses\":\
                  [\"192.168.1.7:50000\",\"192.168.1.9:50001\"]} q0";
    assert_eq!(s.packets(watcher), [notice]);

    // Once the one that was there is gone, the other is let in at once.
    s.lose(stays);
    let id = s.connect(v4("same"), &from(addresses[1]));
    assert_eq!(s.packets(id), ["connack 0x00"]);
}

#[test]
fn mqtt_5_client_is_told_of_the_idle_limit_and_an_older_one_without_keep_alive_has_it() {
    let idle = Some(Duration::from_secs(90));
    let mut s = Scenario::with(Limits {
        idle,
        ..Limits::default()
    });
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let cases = [
        (v5("a"), 0, Some(60), seconds(90)),
        (v5("b"), 120, Some(60), seconds(90)),
        (v5("c"), 60, None, seconds(90)),
        (v5("d"), 10, None, seconds(15)),
        (v4("e"), 0, None, idle),
        (v4("f"), 120, None, seconds(180)),
    ];
    for (connect, keep_alive, told, silence) in cases {
        let client = connect.client_id.clone();
        let connect = Connect {
            keep_alive,
            ..connect
        };
        let id = s.connect(connect, &anyone());
        let Some(Outgoing::ConnAck(ack)) = s.packet(id) else {
            panic!("{client} was not let in");
        };
        assert_eq!(ack.grant.unwrap().keep_alive, told, "{client}");
        assert_eq!(s.hub.silence(id), silence, "{client}");
    }
}
