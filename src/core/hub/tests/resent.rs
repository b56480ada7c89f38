//! Publishes whose answer has to wait, and their clients that connect again before it comes.

use super::*;

/// Connects a persistent client of this version, without what it is told.
fn come(s: &mut Scenario, version: Version) -> ConnectionId {
    match version {
        Version::V5 => s.join(v5_lasting("node", 1000)),
        Version::V3_1 | Version::V3_1_1 => s.join(v4_persistent("node")),
    }
}

/// Takes the ticket of the only message that was offered.
fn ticket(s: &mut Scenario) -> Ticket {
    assert_eq!(s.offers.len(), 1);
    s.offers.pop().unwrap().ticket.unwrap()
}

/// A client whose publish at QoS 2 has no answer when its connection is lost.
fn parted(version: Version) -> (Scenario, Ticket) {
    let mut s = Scenario::new();
    s.acknowledges = false;
    let node = come(&mut s, version);
    s.send(node, publish("a", "1", Q2, 7));
    let ticket = ticket(&mut s);
    s.lose(node);
    (s, ticket)
}

fn acknowledge(s: &mut Scenario, ticket: Ticket) {
    s.hub.acknowledge(ticket, reason::SUCCESS);
    s.run();
}

fn decline(s: &mut Scenario, ticket: Ticket) {
    s.hub.decline(ticket, s.now);
    s.run();
}

const BOTH: [Version; 2] = [Version::V3_1_1, Version::V5];

#[test]
fn sent_again_over_another_connection_it_has_the_answer_of_the_first() {
    for version in BOTH {
        let (mut s, ticket) = parted(version);
        // A second time it is lost, and a third it is taken over.
        for _ in 0..3 {
            let node = come(&mut s, version);
            s.send(node, publish("a", "1", Q2, 7));
            s.send(node, publish("a", "1", Q2, 7));
            assert_eq!(s.packets(node), [""; 0]);
            if s.connections == 3 {
                s.lose(node);
            }
        }
        acknowledge(&mut s, ticket);
        let node = ConnectionId(s.connections);
        assert_eq!(s.packets(node), ["pubrec 7 0x00"]);
        assert_eq!(s.offered(), [""; 0], "it is one message");
        assert!(s.hub.parted.is_empty());
        s.send(node, Incoming::PubRel(7, 0));
        assert_eq!(s.packets(node), ["pubcomp 7 0x00"]);
    }
}

#[test]
fn answered_while_its_client_is_away_it_is_known_when_sent_again() {
    for version in BOTH {
        let (mut s, ticket) = parted(version);
        acknowledge(&mut s, ticket);
        assert!(s.hub.parted.is_empty());
        let node = come(&mut s, version);
        s.send(node, publish("a", "1", Q2, 7));
        assert_eq!(s.packets(node), ["pubrec 7 0x00"]);
        assert_eq!(s.offered(), [""; 0], "it is the same message");
    }
}

#[test]
fn refused_while_its_client_is_away_it_is_another_message_when_sent_again() {
    for version in BOTH {
        let (mut s, refused) = parted(version);
        decline(&mut s, refused);
        assert!(s.hub.parted.is_empty());
        let node = come(&mut s, version);
        s.send(node, publish("a", "1", Q2, 7));
        assert_eq!(s.packets(node), [""; 0]);
        let again = ticket(&mut s);
        acknowledge(&mut s, again);
        assert_eq!(s.packets(node), ["pubrec 7 0x00"]);
    }
}

#[test]
fn refused_after_it_was_sent_again_its_client_is_told_or_kept_waiting() {
    let (mut s, refused) = parted(Version::V5);
    let node = come(&mut s, Version::V5);
    s.send(node, publish("a", "1", Q2, 7));
    decline(&mut s, refused);
    assert_eq!(s.packets(node), ["pubrec 7 0x97"]);
    s.send(node, publish("a", "1", Q2, 7));
    assert_eq!(s.offered(), ["a=1"], "another message");

    let (mut s, refused) = parted(Version::V3_1_1);
    let node = come(&mut s, Version::V3_1_1);
    s.send(node, publish("a", "1", Q2, 7));
    decline(&mut s, refused);
    s.wait(Duration::from_secs(9));
    assert_eq!(
        (s.packets(node).len(), s.closed.contains(&node)),
        (0, false)
    );
    s.wait(Duration::from_secs(1));
    assert!(s.closed.contains(&node));
    let node = come(&mut s, Version::V3_1_1);
    s.send(node, publish("a", "1", Q2, 7));
    assert_eq!(s.offered(), ["a=1"], "another message");
}

#[test]
fn client_that_has_not_sent_it_again_yet_hears_nothing_of_a_refusal() {
    for version in BOTH {
        let (mut s, refused) = parted(version);
        let node = come(&mut s, version);
        decline(&mut s, refused);
        s.wait(Duration::from_secs(20));
        assert_eq!(
            (s.packets(node).len(), s.closed.contains(&node)),
            (0, false)
        );
        s.send(node, publish("a", "1", Q2, 7));
        assert_eq!(s.offered(), ["a=1"]);
    }
}

#[test]
fn answer_of_a_session_that_ended_is_nobodys() {
    let (mut s, old) = parted(Version::V5);
    let node = s.join(Connect {
        clean_start: true,
        ..v5_lasting("node", 1000)
    });
    assert!(s.hub.parted.is_empty());
    s.send(node, publish("a", "2", Q2, 7));
    decline(&mut s, old);
    acknowledge(&mut s, old);
    assert_eq!(s.packets(node), [""; 0], "the new one waits for its own");
    let own = ticket(&mut s);
    acknowledge(&mut s, own);
    assert_eq!(s.packets(node), ["pubrec 7 0x00"]);

    let (mut s, old) = parted(Version::V5);
    s.wait(Duration::from_secs(1000));
    s.assert_empty();
    acknowledge(&mut s, old);
    s.assert_empty();
}

#[test]
fn at_qos_1_what_is_sent_again_over_another_connection_is_another_message() {
    let mut s = Scenario::new();
    s.acknowledges = false;
    let node = come(&mut s, Version::V3_1_1);
    s.send(node, publish("a", "1", Q1, 7));
    let first = ticket(&mut s);
    s.lose(node);
    assert!(s.hub.parted.is_empty());
    let node = come(&mut s, Version::V3_1_1);
    s.send(node, publish("a", "1", Q1, 7));
    let second = ticket(&mut s);
    acknowledge(&mut s, first);
    assert_eq!(s.packets(node), [""; 0]);
    acknowledge(&mut s, second);
    assert_eq!(s.packets(node), ["puback 7 0x00"]);
}

#[test]
fn publish_that_is_not_taken_yet_can_not_be_released() {
    let (mut s, ticket) = parted(Version::V5);
    let node = come(&mut s, Version::V5);
    s.send(node, Incoming::PubRel(7, 0));
    assert_eq!(s.packets(node), ["disconnect 0x82"]);
    acknowledge(&mut s, ticket);
    let node = come(&mut s, Version::V5);
    s.send(node, publish("a", "1", Q2, 7));
    assert_eq!(s.packets(node), ["pubrec 7 0x00"]);
    assert_eq!(s.offered(), [""; 0], "it is the same message");
}
