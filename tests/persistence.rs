//! Sessions and retained messages over kills and restarts of the daemon.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what is not as expected has to fail"
)]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::net::SocketAddr;

use daemon::Daemon;
use mqtt::{Client, ack, flagged, publish};
use temp_dir::TempDir;

/// A daemon with a store.
struct Site {
    folder: TempDir,
    daemon: Daemon,
}

impl Site {
    fn start(store: &str) -> Self {
        let folder = TempDir::new();
        let text = format!(
            "[broker]\nlisten = [\"127.0.0.1:0\"]\nanonymous_publish = [\"#\"]\n\
             anonymous_subscribe = [\"#\"]\n[store]\ndirectory = \"store\"\n{store}"
        );
        folder.write("bridge.toml", &text);
        let daemon = Daemon::start(&folder, &[]);
        Self { folder, daemon }
    }

    /// Kills the daemon where it is, and starts it again.
    fn kill(self) -> Self {
        self.daemon.signal("KILL");
        let Self { folder, daemon } = self;
        drop(daemon);
        let daemon = Daemon::start(&folder, &[]);
        Self { folder, daemon }
    }

    /// Stops the daemon as the system does, and starts it again.
    fn restart(self) -> Self {
        let Self { folder, daemon } = self;
        let (code, log) = daemon.stop();
        assert_eq!(code, Some(0), "{log}");
        let daemon = Daemon::start(&folder, &[]);
        Self { folder, daemon }
    }

    fn address(&self) -> SocketAddr {
        format!("127.0.0.1:{}", self.daemon.port).parse().unwrap()
    }

    /// Leaves a session behind that has subscribed to everything.
    fn with_sleeper(self) -> Self {
        let (mut sleeper, is_present) = Client::resume(self.address(), "sleeper");
        assert!(!is_present);
        sleeper.subscribe("#", 2);
        sleeper.leave();
        self
    }
}

/// Receives and acknowledges messages at QoS 1 up to this one; returns all.
fn receive_until(client: &mut Client, last: &str) -> Vec<String> {
    let mut payloads = Vec::new();
    while payloads.last().is_none_or(|payload| payload != last) {
        let packet = client.packet();
        assert_eq!(packet[0] & 0xF6, 0x32, "PUBLISH at QoS 1: {packet:02x?}");
        client.send(&ack(0x40, u16::from_be_bytes([packet[5], packet[6]])));
        payloads.push(String::from_utf8(packet[7..].to_vec()).unwrap());
    }
    payloads
}

#[test]
fn what_was_acknowledged_for_a_client_that_is_away_survives_kills() {
    let mut site = Site::start("").with_sleeper();
    let mut received: Vec<String> = Vec::new();
    for round in 0..6_u8 {
        let mut node = Client::connect(site.address(), "node");
        let sent: Vec<_> = (1..=20)
            .map(|id: u16| (id, format!("{round}.{id:02}")))
            .collect();
        for (id, payload) in &sent {
            node.send(&publish("a", payload, 1, *id));
        }
        for (id, _) in &sent {
            node.expect(&ack(0x40, *id));
        }
        site = site.kill();
        let (mut sleeper, is_present) = Client::resume(site.address(), "sleeper");
        assert!(is_present);
        received.extend(receive_until(&mut sleeper, &format!("{round}.20")));
        sleeper.leave();
    }
    // Acknowledged just before a kill, a message may come again: behind it come the next.
    received.sort();
    received.dedup();
    assert_eq!(received.len(), 6 * 20, "{received:?}");
}

#[test]
fn messages_keep_their_order_over_a_kill() {
    let mut site = Site::start("").with_sleeper();
    let mut node = Client::connect(site.address(), "node");
    let payloads: Vec<_> = (10..60_u16).map(|number| number.to_string()).collect();
    for (payload, id) in payloads.iter().zip(1..) {
        node.send(&publish("a", payload, 1, id));
        node.expect(&ack(0x40, id));
    }
    site = site.kill();
    let (mut sleeper, _) = Client::resume(site.address(), "sleeper");
    assert_eq!(receive_until(&mut sleeper, "59"), payloads);
}

#[test]
fn what_a_connected_client_has_not_acknowledged_survives_a_restart() {
    let site = Site::start("");
    let (mut sleeper, _) = Client::resume(site.address(), "sleeper");
    sleeper.subscribe("#", 1);
    let mut node = Client::connect(site.address(), "node");
    node.send(&publish("a", "x", 1, 1));
    node.expect(&ack(0x40, 1));
    let first = sleeper.packet();
    assert_eq!(first[0], 0x32);
    let site = site.restart();
    let (mut sleeper, is_present) = Client::resume(site.address(), "sleeper");
    assert!(is_present);
    let again = sleeper.packet();
    assert_eq!(
        (again[0], &again[1..]),
        (0x3A, &first[1..]),
        "only DUP is new"
    );
}

#[test]
fn retained_messages_survive_at_qos_1_a_kill_and_at_qos_0_a_restart() {
    let site = Site::start("interval = \"1h\"\n").with_sleeper();
    let mut node = Client::connect(site.address(), "node");
    node.send(&flagged("r/0", "zero", 1, 0));
    // It waits for the sleeper's copy, and that for what was to be written before.
    node.send(&flagged("r/1", "one", 3, 1));
    node.expect(&ack(0x40, 1));
    let site = site.kill();
    let mut reader = Client::connect(site.address(), "reader");
    reader.subscribe("r/#", 0);
    reader.expect(&flagged("r/1", "one", 1, 0));
    reader.expect_quiet();
    reader.send(&flagged("r/0", "zero", 1, 0));
    reader.expect(&publish("r/0", "zero", 0, 0));
    let site = site.restart();
    let mut reader = Client::connect(site.address(), "reader");
    reader.subscribe("r/#", 0);
    reader.expect(&flagged("r/0", "zero", 1, 0));
    reader.expect(&flagged("r/1", "one", 1, 0));
}

#[test]
fn without_sessions_nothing_of_them_is_stored() {
    let site = Site::start("sessions = false\n").with_sleeper();
    let site = site.restart();
    let (_, is_present) = Client::resume(site.address(), "sleeper");
    assert!(!is_present);
}
