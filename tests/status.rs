//! What a running daemon tells of itself: over its socket, and on `$bridge/status`.

#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use daemon::{Daemon, program};
use mqtt::{CLEAN, Client, connect_4, publish};
use serde_json::Value;
use temp_dir::TempDir;

const BRIDGE: &str = r##"
[broker]
listen = ["127.0.0.1:0"]
anonymous_subscribe = ["#", "$bridge/#"]

[endpoint.closed]
url = "https://localhost:1"
address = "127.0.0.1"

[[route]]
name = "door"
topic = "nodes/{node}/get"
endpoint = "closed"
reply = "replies/{node}/get/{outcome}"
"##;

fn configured() -> TempDir {
    let folder = TempDir::new();
    folder.write("bridge.toml", BRIDGE);
    folder
}

/// Starts the daemon and waits until it serves: then its socket is open too.
fn started(folder: &TempDir) -> Daemon {
    let daemon = Daemon::start(folder, &[]);
    drop(Client::connect(at(&daemon), "first"));
    daemon
}

fn at(daemon: &Daemon) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], daemon.port.parse().unwrap()))
}

/// Runs `status` and returns its exit code, what it printed and what it remarked.
fn status(folder: &TempDir, arguments: &[&str]) -> (i32, String, String) {
    let mut command = program(folder);
    let output = command.arg("status").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn document(folder: &TempDir) -> Value {
    let (code, out, err) = status(folder, &["--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out.matches('\n').count(), 1, "one line");
    serde_json::from_str(&out).unwrap()
}

/// Asks a closed port through the route `door` and waits for the reply.
fn fail_once(client: &mut Client) {
    client.send(&publish("nodes/me/get", "", 0, 0));
    let reply = client.packet();
    assert!(String::from_utf8_lossy(&reply).contains("replies/me/get/error"));
}

#[test]
fn status_tells_what_there_is_and_its_counters_add_up() {
    let folder = configured();
    let daemon = started(&folder);
    let mut client = Client::connect(at(&daemon), "me");
    client.subscribe("replies/#", 0);
    for _ in 0..3 {
        fail_once(&mut client);
    }
    let told = document(&folder);
    let expected = [
        ("/version", format!("\"{}\"", env!("CARGO_PKG_VERSION"))),
        ("/configuration/file", "\"bridge.toml\"".into()),
        ("/configuration/last_reload", "null".into()),
        ("/clients/connected", "1".into()),
        (
            "/listeners/0/address",
            format!("\"127.0.0.1:{}\"", daemon.port),
        ),
        ("/routes/0/name", "\"door\"".into()),
        ("/routes/0/received", "3".into()),
        ("/routes/0/failed", "3".into()),
        ("/routes/0/queued", "0".into()),
        ("/endpoints/0/name", "\"closed\"".into()),
        ("/endpoints/0/last_error/code", "\"connect.refused\"".into()),
        ("/memory/ceiling", (8 << 20).to_string()),
    ];
    for (pointer, expected) in expected {
        let found = told.pointer(pointer).unwrap().to_string();
        assert_eq!(found, expected, "{pointer}");
    }
    assert!(told["memory"]["resident"].as_u64().unwrap() > 1 << 20);

    let (code, text, _) = status(&folder, &[]);
    assert_eq!(code, 0);
    let id = told["configuration"]["id"].as_str().unwrap();
    for part in [
        &format!("configuration  {id} bridge.toml\n"),
        "clients        1 connected of 200, 0 sessions without a client\n",
        "  door → closed         3          0       3       0          0        0       -\n",
        "  closed: connect.refused, ",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let check = program(&folder).arg("check").output().unwrap();
    let check = String::from_utf8(check.stdout).unwrap();
    assert!(check.contains(&format!("is valid, id {id}\n")), "{check}");

    let socket = folder.path().join("bridge.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(daemon.stop().0, Some(0));
    assert!(!socket.exists());
}

#[test]
fn without_a_daemon_status_says_where_it_asked_and_what_to_do() {
    let folder = configured();
    let socket = std::fs::canonicalize(folder.path()).unwrap();
    let socket = socket.join("bridge.sock");
    let remedy = format!(
        "no daemon answers at `{}`; start it, or name its configuration with --config or its \
         socket with --socket\n",
        socket.display()
    );
    assert_eq!(status(&folder, &[]), (69, String::new(), remedy.clone()));

    // Killed, it leaves its socket behind; the next one takes the place.
    drop(started(&folder));
    assert!(socket.exists());
    assert_eq!(status(&folder, &[]), (69, String::new(), remedy));
    let _daemon = started(&folder);
    assert_eq!(status(&folder, &[]).0, 0);
}

#[test]
fn status_finds_the_daemon_of_a_configuration_that_has_become_invalid() {
    let folder = configured();
    let text = format!("[gateway]\nstatus_socket = \"run/here\"\n{BRIDGE}");
    folder.write("bridge.toml", &text);
    let _daemon = started(&folder);
    folder.write("bridge.toml", &text.replace("url =", "urk ="));
    assert_eq!(status(&folder, &[]).0, 0);
    // Not even TOML: the socket can still be named.
    folder.write("bridge.toml", "[[[");
    assert_eq!(status(&folder, &["--socket", "run/here"]).0, 0);
}

#[test]
fn a_second_daemon_does_not_take_the_socket_of_the_first() {
    let folder = configured();
    let _first = started(&folder);
    let second = program(&folder).output().unwrap();
    let log = String::from_utf8(second.stderr).unwrap();
    let line = "bridge.sock`; stop it, or choose another [gateway] status_socket";
    assert!(
        log.contains("another daemon answers at `") && log.contains(line),
        "{log}"
    );
    assert_eq!(second.status.code(), Some(69));
    assert_eq!(status(&folder, &[]).0, 0);
}

#[test]
fn whatever_is_no_socket_stays_and_the_daemon_runs_without() {
    let folder = configured();
    folder.write("bridge.sock", "precious");
    let check = program(&folder).arg("check").output().unwrap();
    let warned = String::from_utf8(check.stderr).unwrap();
    assert_eq!(check.status.code(), Some(0), "{warned}");
    assert!(warned.contains("status` will not work: `"), "{warned}");
    assert!(warned.contains("is no socket; remove it"), "{warned}");
    let mut daemon = Daemon::launch(&folder, &[]);
    daemon.line("`mqtt-https-bridge status` will not work: `");
    let kept = std::fs::read_to_string(folder.path().join("bridge.sock"));
    assert_eq!(kept.unwrap(), "precious");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn those_who_dawdle_or_ramble_at_the_socket_hold_up_nobody_for_long() {
    let folder = configured();
    let daemon = started(&folder);
    let socket = folder.path().join("bridge.sock");
    let mut rambling = UnixStream::connect(&socket).unwrap();
    rambling.write_all(&[b'x'; 64]).unwrap();
    let mut answer = Vec::new();
    // Closed with bytes unread, which may count as reset.
    let _ = rambling.read_to_end(&mut answer);
    assert_eq!(answer, b"");

    let silent: Vec<_> = (0..4)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    // All places are taken, for five seconds: meanwhile the broker has time for its clients.
    Client::connect(at(&daemon), "meanwhile").subscribe("x", 0);
    for mut stream in silent {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "hung up on");
    }
    assert_eq!(status(&folder, &[]).0, 0);
}

#[test]
fn clients_whose_rules_grant_it_find_the_status_retained_and_hear_of_changes() {
    let folder = configured();
    let daemon = started(&folder);
    let stream = Client::socket(at(&daemon));
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).unwrap();
    let mut client = Client::over(stream);
    client.send(&connect_4("watching", CLEAN));
    client.expect(&[0x20, 2, 0, 0]);
    client.subscribe("$bridge/status", 0);
    let text = |packet: &[u8]| {
        let start = packet.iter().position(|byte| *byte == b'{').unwrap();
        serde_json::from_slice::<Value>(&packet[start..]).unwrap()
    };
    // It may just be on its way.
    assert_eq!(text(&client.packet())["routes"][0]["received"], 0);
    let mut late = Client::connect(at(&daemon), "late");
    late.subscribe("$bridge/status", 0);
    let retained = late.packet();
    assert_eq!(retained[0], 0x31, "retained");
    assert_eq!(text(&retained)["routes"][0]["received"], 0);
    // Within the floor of ten seconds one more message follows, with all that has come meanwhile.
    let mut other = Client::connect(at(&daemon), "me");
    other.subscribe("replies/#", 0);
    fail_once(&mut other);
    fail_once(&mut other);
    let changed = client.packet();
    assert_eq!(text(&changed)["routes"][0]["failed"], 2);
}
