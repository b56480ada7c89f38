//! The store of the real daemon: what it says of a directory it can not use, and what it does
//! about files that it can not read.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what is not as expected has to fail"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use daemon::{Daemon, program};
use mqtt::{Client, ack, connect_4, publish};
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

/// Nodes that publish at once.
const NODES: usize = 4;
/// Messages of a node that wait for their acknowledgement.
const WINDOW: usize = 8;

fn address(daemon: &Daemon) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, daemon.port.parse().unwrap()).into()
}

/// Publishes at QoS 1, from this number on, until the connection breaks. Returns the number to go
/// on with, and those that were acknowledged.
fn publish_until_the_end(address: SocketAddr, node: usize, first: usize) -> (usize, Vec<usize>) {
    let id = |number: usize| u16::try_from(number % 60_000 + 1).unwrap();
    let mut client = Client::open(address);
    client.send_if_open(&connect_4(&format!("node{node}"), mqtt::CLEAN));
    let (mut next, mut acknowledged) = (first, Vec::new());
    if client.next_packet().is_none() {
        return (next, acknowledged);
    }
    loop {
        while next < first + acknowledged.len() + WINDOW {
            let payload = format!("{node} {next}");
            let packet = publish(format!("n/{node}"), payload, 1, id(next));
            client.send_if_open(&packet);
            next += 1;
        }
        let number = first + acknowledged.len();
        match client.next_packet() {
            Some(packet) => assert_eq!(packet, ack(0x40, id(number)), "message {number}"),
            None => return (next, acknowledged),
        }
        acknowledged.push(number);
    }
}

/// Takes everything that waits for a session: node and number of each message, in order.
fn drain(address: SocketAddr, id: &str) -> Vec<(usize, usize)> {
    let (mut client, present) = Client::resume(address, id);
    assert!(present, "the session is gone");
    let mut messages = Vec::new();
    // What answers the last of these comes after all that waits.
    client.send(&mqtt::PINGREQ);
    let mut quiet = false;
    loop {
        let packet = client.packet();
        if packet == mqtt::PINGRESP {
            if quiet {
                return messages;
            }
            quiet = true;
            client.send(&mqtt::PINGREQ);
            continue;
        }
        assert_eq!(packet[0] & 0xF6, 0x32, "{packet:02x?}");
        quiet = false;
        // One byte of length, the topic `n/<node>`, the identifier.
        let (identifier, payload) = (u16::from_be_bytes([packet[7], packet[8]]), &packet[9..]);
        let text = std::str::from_utf8(payload).unwrap();
        let (node, number) = text.split_once(' ').unwrap();
        messages.push((node.parse().unwrap(), number.parse().unwrap()));
        client.send(&ack(0x40, identifier));
    }
}

#[test]
fn kill_at_any_moment_loses_no_message_that_was_acknowledged() {
    let folder = folder("directory = \"kept\"\nmax_bytes = \"64MiB\"");
    let text = folder.read("bridge.toml");
    let queue = "[broker]\nqueue = { messages = 100000, bytes = \"16MiB\" }\nmemory = \"64MiB\"\n";
    folder.write("bridge.toml", &text.replacen("[broker]\n", queue, 1));
    let daemon = Daemon::start(&folder, &["run"]);
    let (mut keeper, _) = Client::resume(address(&daemon), "keeper");
    keeper.subscribe("n/#", 1);
    keeper.leave();
    // Neither CONNACK nor SUBACK waits for the disk; a stop does.
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    let mut next = [0; NODES];
    let mut acknowledged: [BTreeSet<usize>; NODES] = Default::default();
    let (mut random, mut found) = (5_u32, Vec::new());
    for round in 0..10 {
        let daemon = Daemon::start(&folder, &["run"]);
        let log = daemon.log.join("\n");
        assert!(!log.contains("damaged"), "round {round}: {log}");
        let address = address(&daemon);
        if round % 3 == 2 {
            found.extend(drain(address, "keeper"));
        }
        let nodes: Vec<_> = (0..NODES)
            .map(|node| {
                let first = next[node];
                thread::spawn(move || publish_until_the_end(address, node, first))
            })
            .collect();
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Any moment will do.
        thread::park_timeout(Duration::from_millis(50 + u64::from(random >> 23)));
        drop(daemon);
        for (node, thread) in nodes.into_iter().enumerate() {
            let (last, own) = thread.join().unwrap();
            next[node] = last;
            acknowledged[node].extend(own);
        }
    }
    let daemon = Daemon::start(&folder, &["run"]);
    found.extend(drain(address(&daemon), "keeper"));
    for (node, acknowledged) in acknowledged.iter().enumerate() {
        let own = found.iter().filter(|(from, _)| *from == node);
        let numbers: Vec<usize> = own.map(|(_, number)| *number).collect();
        let kept: BTreeSet<usize> = numbers.iter().copied().collect();
        let lost: Vec<_> = acknowledged.difference(&kept).collect();
        assert_eq!(lost, Vec::<&usize>::new(), "of node {node}");
        assert!(acknowledged.len() > 20, "node {node} was hardly heard");
        assert!(numbers.is_sorted(), "node {node}: {numbers:?}");
    }
}
