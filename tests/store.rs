//! The store of the real daemon: what it says of a directory it can not use, and what it does
//! about files that it can not read.

#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use daemon::{Daemon, program};
use mqtt::{Client, ack, flagged, publish};
use serde_json::Value;
use temp_dir::TempDir;

/// A folder with a bridge.toml of these lines in `[store]`.
fn folder(store: &str) -> TempDir {
    let folder = TempDir::new();
    let text = format!("[broker]\nlisten = [\"127.0.0.1:0\"]\n\n[store]\n{store}\n");
    folder.write("bridge.toml", &text);
    folder
}

/// Runs it with these arguments; returns its exit code and what it printed.
fn run(folder: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let output = program(folder).args(arguments).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).unwrap();
    (output.status.code(), printed)
}

/// A segment of a format that there is not yet, with nothing in it.
fn newer() -> Vec<u8> {
    let mut head = b"mhbstore".to_vec();
    head.extend([200, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let sum = head.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1))
        })
    });
    head.extend((!sum).to_le_bytes());
    head
}

fn segment(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let log = folder.path().join("kept/log");
    fs::create_dir_all(&log).unwrap();
    let path = log.join("00000001.log");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn check_tells_where_the_store_is_and_makes_nothing() {
    let folder = folder("directory = \"kept\"");
    let (code, printed) = run(&folder, &["check"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("store       kept, up to 4MiB"),
        "{printed}"
    );
    assert!(!folder.path().join("kept").exists());
}

#[test]
fn directory_that_can_not_be_used_is_told_with_a_remedy() {
    let folder = folder("directory = \"file/kept\"");
    folder.write("file", "");
    for command in ["check", "run"] {
        let (code, printed) = run(&folder, &[command]);
        assert_eq!(code, Some(78), "{command}: {printed}");
        assert!(printed.contains("[store] `"), "{command}: {printed}");
        assert!(
            printed.contains("correct directory"),
            "{command}: {printed}"
        );
    }
}

#[test]
fn second_daemon_does_not_take_the_store_of_the_first() {
    let folder = folder("directory = \"kept\"");
    let daemon = Daemon::start(&folder, &["run"]);
    let (code, printed) = run(&folder, &["run", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(78), "{printed}");
    assert!(
        printed.contains("in use by another mqtt-https-bridge"),
        "{printed}"
    );
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn idle_daemon_writes_nothing_to_its_store() {
    let folder = folder("directory = \"kept\"");
    for _ in 0..2 {
        let daemon = Daemon::start(&folder, &["run"]);
        let (code, log) = daemon.stop();
        assert_eq!(code, Some(0), "{log}");
    }
    let log = fs::read_dir(folder.path().join("kept/log")).unwrap();
    assert_eq!(log.count(), 0);
}

#[test]
fn store_of_a_newer_release_is_set_aside_whole_and_the_daemon_runs() {
    let folder = folder("directory = \"kept\"");
    segment(&folder, &newer());
    let (code, printed) = run(&folder, &["check"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("written by a newer release (format 200)"),
        "{printed}"
    );
    let mut daemon = Daemon::start(&folder, &["run"]);
    let log = daemon.log.join("\n");
    assert!(
        log.contains("was written by a newer release (format 200)"),
        "{log}"
    );
    assert!(log.contains("kept/log-version-200"), "{log}");
    let aside = folder.path().join("kept/log-version-200/00000001.log");
    assert_eq!(fs::read(aside).unwrap(), newer());
    daemon.signal("TERM");
    daemon.line("stopped");
}

/// The store of format 1 that [`fill`] has left behind in a directory of release 0.1.0.
const FORMAT_1: &[u8] = include_bytes!("store/format-1.log");

/// A stored route whose server is never there, if it has one.
fn with_route(route: &str) -> TempDir {
    folder(&format!(
        "directory = \"kept\"\n[endpoint.away]\nurl = \"https://localhost:1\"\n\
         address = \"127.0.0.1\"\n{route}"
    ))
}

fn address(daemon: &Daemon) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, daemon.port.parse().unwrap()).into()
}

/// Has one value of each kind stored.
fn fill(folder: &TempDir) {
    let daemon = Daemon::start(folder, &["run"]);
    let (mut sleeper, _) = Client::resume(address(&daemon), "sleeper");
    sleeper.subscribe("n/#", 1);
    sleeper.leave();
    let mut node = Client::connect(address(&daemon), "node");
    node.send(&flagged("n/kept", "21.5", 3, 1));
    node.expect(&ack(0x40, 1));
    node.send(&publish("keep/1", "x", 1, 2));
    node.expect(&ack(0x40, 2));
    node.leave();
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn store_of_this_release_is_read_by_the_next() {
    let route = "[[route]]\nname = \"keep\"\ntopic = \"keep/{x}\"\nendpoint = \"away\"\n\
                 method = \"POST\"\nbody = \"{payload}\"\ndelivery = \"stored\"\n\
                 reply = \"replies/{x}\"\n";
    let fresh = with_route(route);
    fill(&fresh);
    let written = fs::read(fresh.path().join("kept/log/00000001.log")).unwrap();
    for bytes in [FORMAT_1, &written] {
        // Without its route, a message of whatever day is not too old.
        let folder = with_route("");
        segment(&folder, bytes);
        let daemon = Daemon::start(&folder, &["run"]);
        let (mut sleeper, is_present) = Client::resume(address(&daemon), "sleeper");
        assert!(is_present);
        let kept = |flags, id| flagged("n/kept", "21.5", flags, id);
        // QoS 1 with DUP: nobody knows whether it was sent before.
        sleeper.expect(&kept(0x0A, 1));
        sleeper.send(&ack(0x40, 1));
        let mut reader = Client::connect(address(&daemon), "reader");
        reader.subscribe("n/#", 0);
        reader.expect(&kept(1, 0));
        let (code, printed) = run(&folder, &["status", "--json"]);
        assert_eq!(code, Some(0), "{printed}");
        let status: Value = serde_json::from_str(&printed).unwrap();
        let route = &status["routes"][0];
        assert_eq!(route["name"], "keep", "{route}");
        assert_eq!(
            (&route["received"], &route["queued"]),
            (&1.into(), &1.into())
        );
        assert_eq!(status["store"]["damaged"], 0);
        let (code, log) = daemon.stop();
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.contains("ERROR"), "{log}");
    }
}

#[test]
fn damaged_file_is_set_aside_and_the_daemon_runs() {
    let folder = folder("directory = \"kept\"");
    let path = segment(&folder, &[b'?'; 5000]);
    let after = path.with_file_name("00000002.log");
    // Another after it: these bytes are no unfinished write.
    fs::write(after, [b'?'; 100]).unwrap();
    let mut daemon = Daemon::start(&folder, &["run"]);
    let log = daemon.log.join("\n");
    assert!(log.contains("kept/log/00000001.log` is damaged"), "{log}");
    let aside = folder.path().join("kept/damaged-00000001.log");
    assert_eq!(fs::read(aside).unwrap(), [b'?'; 5000]);
    daemon.signal("TERM");
    daemon.line("stopped");
}
