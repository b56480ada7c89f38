//! A disk that can not be used when the daemon starts, and can later.
//!
//! It is a link: to `/proc/self`, where nobody can make anything, or to a folder.

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

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use daemon::{Daemon, port, program};
use mqtt::{Client, ack, packet, publish, publish_5};
use serde_json::Value;
use temp_dir::TempDir;

const BRIDGE: &str = r#"
[broker]
listen = ["127.0.0.1:0"]
[store]
directory = "disk/kept"
[endpoint.away]
url = "https://localhost:1"
address = "127.0.0.1"
retry = { attempts = 1 }
[[route]]
name = "keep"
topic = "keep/{x}"
endpoint = "away"
method = "POST"
reply = "replies/{x}/{outcome}"
delivery = "stored"
[[route]]
name = "ask"
topic = "ask/{x}"
endpoint = "away"
reply = "replies/{x}/{outcome}"
"#;

fn site() -> TempDir {
    let folder = TempDir::new();
    folder.write("bridge.toml", BRIDGE);
    folder
}

/// Has the disk be another one.
fn mount(folder: &TempDir, disk: &str) {
    let link = folder.path().join("disk");
    let _ = fs::remove_file(&link);
    symlink(disk, link).unwrap();
}

fn at(port: &str) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
}

fn status(folder: &TempDir) -> Value {
    let output = program(folder).args(["status", "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How many messages of a route are stored.
fn waiting(route: &Value) -> u64 {
    ["queued", "in_flight"]
        .map(|it| route[it].as_u64().unwrap())
        .iter()
        .sum()
}

/// PUBACK of MQTT 5.
fn puback(id: u16, code: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if code != 0 {
        body.extend([code, 0]);
    }
    packet(0x40, &body)
}

fn payload(packet: &[u8]) -> String {
    let topic = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    String::from_utf8(packet[4 + topic..].to_vec()).unwrap()
}

#[test]
fn daemon_without_its_disk_serves_all_else_and_stores_when_it_is_there() {
    let folder = site();
    mount(&folder, "/proc/self");
    let mut daemon = Daemon::start(&folder, &[]);
    let log = daemon.log.join("\n");
    assert!(
        log.contains("`disk/kept` can not be made: No such file or directory"),
        "{log}"
    );
    assert!(log.contains("nothing is stored until it can be used"));

    // Ordinary MQTT, and direct routes.
    let mut old = Client::connect(at(&daemon.port), "old");
    old.subscribe("#", 0);
    old.send(&publish("plain", "x", 1, 1));
    old.expect_all(&[ack(0x40, 1), publish("plain", "x", 0, 0)]);
    old.send(&publish("ask/1", "", 0, 0));
    let asked = old.packet();
    assert_eq!(payload(&asked), "", "its own question");
    assert!(payload(&old.packet()).starts_with("connect.refused"));

    // What needs the disk is refused, as when it fails later.
    old.send(&publish("keep/1", "x", 1, 2));
    assert_eq!(payload(&old.packet()), "x".to_owned(), "its own message");
    let told = payload(&old.packet());
    assert!(told.starts_with("bridge.storage - No such file"), "{told}");
    let mut new = Client::connect_5(at(&daemon.port), "new", &[]);
    new.send(&publish_5("keep/2", "x", 2, 1, &[]));
    new.expect(&puback(1, 0x97));
    let (mut sleeper, _) = Client::resume(at(&daemon.port), "sleeper");
    sleeper.subscribe("sleeper", 1);
    sleeper.leave();
    new.send(&publish_5("sleeper", "x", 2, 2, &[]));
    new.expect(&puback(2, 0x97));
    let store = &status(&folder)["store"];
    assert!(store["trouble"].as_str().unwrap().contains("No such file"));
    assert!(store["refused"].as_u64() >= Some(3), "{store}");

    // The disk comes back, empty.
    fs::create_dir(folder.path().join("real")).unwrap();
    mount(&folder, "real");
    new.send(&publish_5("keep/2", "y", 2, 3, &[]));
    new.expect(&puback(3, 0));
    daemon.line("`disk/kept` can be used now");
    assert_eq!(status(&folder)["store"]["trouble"], Value::Null);
    new.send(&publish_5("sleeper", "y", 2, 4, &[]));
    new.expect(&puback(4, 0));
    daemon.signal("KILL");
    drop(daemon);
    let daemon = Daemon::start(&folder, &[]);
    let route = &status(&folder)["routes"][0];
    assert_eq!(waiting(route), 1, "{route}");
    let (mut sleeper, is_present) = Client::resume(at(&daemon.port), "sleeper");
    assert!(is_present);
    assert_eq!(sleeper.packet()[0], 0x3A);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn what_a_disk_holds_that_comes_back_late_is_taken_up() {
    let folder = site();
    fs::create_dir(folder.path().join("real")).unwrap();
    mount(&folder, "real");
    let daemon = Daemon::start(&folder, &[]);
    let (mut sleeper, _) = Client::resume(at(&daemon.port), "sleeper");
    sleeper.subscribe("sleeper", 1);
    sleeper.leave();
    let mut node = Client::connect_5(at(&daemon.port), "node", &[]);
    for (topic, id) in [("keep/1", 1), ("sleeper", 2)] {
        node.send(&publish_5(topic, "kept", 2, id, &[]));
        node.expect(&puback(id, 0));
    }
    drop(node);
    assert_eq!(daemon.stop().0, Some(0));

    mount(&folder, "/proc/self");
    let mut daemon = Daemon::start(&folder, &[]);
    assert_eq!(status(&folder)["routes"][0]["received"], 0);
    mount(&folder, "real");
    // Changed meanwhile for the worse: what was in force goes on.
    folder.write("bridge.toml", &format!("{BRIDGE}\nnonsense = 1\n"));
    let mut node = Client::connect_5(at(&daemon.port), "node", &[]);
    node.send(&publish_5("keep/2", "not kept", 2, 1, &[]));
    node.expect(&puback(1, 0x97));
    daemon.line("all begins anew with what it holds");
    daemon.line("nonsense");
    let port = port(&daemon.line("listening on 127.0.0.1:"));
    let (mut sleeper, is_present) = Client::resume(at(&port), "sleeper");
    assert!(is_present);
    assert_eq!(sleeper.packet()[0], 0x3A);
    let store = &status(&folder)["store"];
    assert_eq!(store["trouble"], Value::Null);
    let route = &status(&folder)["routes"][0];
    assert_eq!(waiting(route), 1, "{route}");
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}
