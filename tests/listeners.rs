//! Which listeners are open when: before there are users, as they come, change and go, and while
//! an address cannot be had. All over the log of the built program and 127.0.0.1: 0.0.0.0 stands
//! for an address that the network reaches.

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

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use daemon::{Daemon, port, program};
use mqtt::{CLEAN, Client, block, connect_4, connect_with};
use temp_dir::TempDir;

/// The hash of `right`.
const RIGHT: &str = "$sha256$c2FsdHNhbHQ$FR8UeCMT3/fKTEhhldTae/b+v/u/qEX+413/4joENeU";
/// Says that what the network could reach is closed.
const CLOSED: &str = "WARN  there are no users, so it listens on loopback only; \
    run `mqtt-https-bridge user add kitchen`, and the other listeners open by themselves";

const BRIDGE: &str = r#"
[broker]
listen = ["127.0.0.1:0", "0.0.0.0:0"]

[endpoint.closed]
url = "https://localhost:1"

[[route]]
topic = "nodes/{node}/get"
endpoint = "closed"
reply = "replies/{node}/get/{outcome}"
"#;

fn configured() -> TempDir {
    let folder = TempDir::new();
    folder.write("bridge.toml", BRIDGE);
    folder
}

fn user(name: &str) -> String {
    format!("[[user]]\nname = \"{name}\"\npassword = \"{RIGHT}\"\n")
}

fn at(port: &str) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
}

/// A 3.1.1 client of a user with the password `right`.
fn login(port: &str, user: &str) -> (Client, u8) {
    enter(port, user, "right")
}

/// A 3.1.1 client; returns the return code of its CONNACK too.
fn enter(port: &str, user: &str, password: &str) -> (Client, u8) {
    static LOGINS: AtomicUsize = AtomicUsize::new(0);
    let id = LOGINS.fetch_add(1, Ordering::Relaxed).to_string();
    let mut client = Client::open(at(port));
    let payload = [block(id), block(user), block(password)].concat();
    client.send(&connect_with(4, 0xC2, 0, &payload));
    let answer = client.packet();
    (client, answer[3])
}

#[test]
fn the_first_user_opens_the_network_listener_and_the_last_closes_it() {
    let folder = configured();
    let mut daemon = Daemon::start(&folder, &[]);
    assert_eq!(daemon.line("there are no users"), CLOSED);
    daemon.line("who may connect: no users, ");
    assert!(!daemon.log.join("\n").contains("listening on 0.0.0.0"));

    folder.write("users.toml", &(user("n") + &user("other")));
    daemon.line("INFO  users.toml has changed");
    daemon.line("who may connect: 2 users, without a password only programs on this machine");
    let network = port(&daemon.line("listening on 0.0.0.0:"));
    let (mut node, code) = login(&network, "n");
    let (mut other, other_code) = login(&network, "other");
    assert_eq!((code, other_code), (0, 0));

    folder.write("users.toml", &user("other"));
    daemon.line("who may connect: 1 user,");
    node.expect_end();
    other.expect_quiet();
    let (_, code) = login(&network, "n");
    assert_eq!(code, 4, "bad user name or password");

    std::fs::remove_file(folder.path().join("users.toml")).unwrap();
    daemon.line(&format!("no longer listening on 0.0.0.0:{network}"));
    other.expect_end();
    assert_eq!(daemon.line("there are no users"), CLOSED);
    let mut local = Client::open(at(&daemon.port));
    local.send(&connect_4("local", CLEAN));
    local.expect(&[0x20, 2, 0, 0]);
    assert!(TcpStream::connect(at(&network)).is_err());
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn addresses_that_come_later_wait_for_a_user_too_which_is_said_once_and_before() {
    let folder = configured();
    folder.write("listeners", "127.0.0.1:0\n");
    let mut daemon = Daemon::start(&folder, &["run", "--listen-file", "listeners"]);
    assert_eq!(daemon.line("there are no users"), CLOSED);
    for more in ["0.0.0.0:0\n", "0.0.0.0:0\n[::]:0\n"] {
        folder.write("listeners", &format!("127.0.0.1:0\n{more}"));
        daemon.line("is in force");
    }
    folder.write("users.toml", &user("n"));
    daemon.line("listening on 0.0.0.0:");
    let told = daemon.log.iter().filter(|line| *line == CLOSED);
    assert_eq!(told.count(), 1);
}

#[test]
fn a_new_password_or_rule_ends_the_sessions_of_its_user_alone() {
    let folder = configured();
    folder.write("users.toml", &(user("n") + &user("other")));
    let mut daemon = Daemon::start(&folder, &[]);
    let network = port(&daemon.line("listening on 0.0.0.0:"));
    let (mut other, _) = login(&network, "other");
    let (mut node, _) = login(&network, "n");
    let text = user("n") + "subscribe = [\"wide/#\"]\n" + &user("other");
    folder.write("users.toml", &text);
    node.expect_end();
    let (mut node, code) = login(&network, "n");
    assert_eq!(code, 0);
    node.subscribe("wide/a", 0);

    let set = program(&folder)
        .args(["user", "set", "n"])
        .output()
        .unwrap();
    assert!(set.status.success(), "{set:?}");
    node.expect_end();
    assert_eq!(login(&network, "n").1, 4, "the old password");
    other.expect_quiet();
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_removed_user_is_told_in_mqtt_5() {
    let folder = configured();
    folder.write("users.toml", &(user("n") + &user("other")));
    let mut daemon = Daemon::start(&folder, &[]);
    let mut node = Client::open(at(&daemon.port));
    // No properties, then client ID, user name and password.
    let payload = [vec![0], block("n"), block("n"), block("right")].concat();
    node.send(&connect_with(5, 0xC2, 0, &payload));
    assert_eq!(node.packet()[3], 0);
    folder.write("users.toml", &user("other"));
    node.expect(&[0xE0, 1, 0x87]);
    node.expect_end();
    daemon.line("1 user,");
}

#[test]
fn a_users_file_with_a_mistake_leaves_the_users_as_they_are() {
    let folder = configured();
    folder.write("users.toml", &user("n"));
    let mut daemon = Daemon::start(&folder, &[]);
    let network = port(&daemon.line("listening on 0.0.0.0:"));
    let (mut node, _) = login(&network, "n");
    let cases = [
        (
            user("n") + "[[user]]\nname = \"plain\"\npassword = \"hunter2\"\n",
            "users.toml:6: password is not hashed; remove this user here and \
             run `mqtt-https-bridge user add <name>`, which writes the hash",
        ),
        (
            "[[user]]\n".to_owned() + &user("n"),
            "users.toml:1: [[user]] has no name; write one, or use `mqtt-https-bridge user add <name>` \
             (and 1 more, which `mqtt-https-bridge check` lists)",
        ),
    ];
    for (text, expected) in cases {
        folder.write("users.toml", &text);
        let line = daemon.line("the users stay as they are");
        assert_eq!(
            line,
            format!("ERROR the users stay as they are: {expected}")
        );
        node.expect_quiet();
        assert_eq!(login(&network, "n").1, 0, "{expected}");
    }
    folder.write("users.toml", &(user("n") + &user("new")));
    daemon.line("who may connect: 2 users");
    assert_eq!(login(&network, "new").1, 0);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0));
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn addresses_that_cannot_be_had_are_reported_once_and_tried_again() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = configured();
    folder.write("users.toml", &user("n"));
    // TEST-NET-1: no machine has an address of it.
    let arguments = ["run", "--listen", "192.0.2.1:1883", "--listen", &address];
    let mut daemon = Daemon::launch(&folder, &arguments);
    assert_eq!(
        daemon.line("192.0.2.1"),
        "WARN  cannot listen on `192.0.2.1:1883`: no network interface has this address; \
         correct [broker] listen, --listen or --listen-file; tried again every few seconds"
    );
    assert_eq!(
        daemon.line(&address),
        format!(
            "ERROR cannot listen on `{address}`: another program listens there; \
             stop it or change [broker] listen, --listen or --listen-file; tried again every few seconds"
        )
    );
    drop(taken);
    daemon.line(&format!("INFO  listening on {address} (MQTT"));
    assert_eq!(login(&port(&format!("listening on {address} ")), "n").1, 0);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("192.0.2.1"), "{log}");
}

#[test]
fn a_gateway_without_loopback_waits_for_its_first_user() {
    let folder = configured();
    let arguments = ["run", "--listen", "0.0.0.0:0", "--listen", "192.0.2.1:1"];
    let mut daemon = Daemon::launch(&folder, &arguments);
    assert_eq!(
        daemon.line("there are no users"),
        CLOSED.replace("it listens on loopback only", "it does not listen")
    );
    let added = program(&folder).args(["user", "add", "kitchen"]).output();
    let printed = String::from_utf8(added.unwrap().stdout).unwrap();
    let (_, password) = printed.split_once("shown this once: ").unwrap();
    let network = port(&daemon.line("listening on 0.0.0.0:"));
    daemon.line("cannot listen on `192.0.2.1:1`");
    let (_, code) = enter(&network, "kitchen", password.lines().next().unwrap());
    assert_eq!(code, 0, "{printed}");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn listeners_of_the_command_line_replace_those_of_bridge_toml() {
    let folder = configured();
    let arguments = ["run", "--listen", "[::1]:0", "--listen", "127.0.0.1:0"];
    let mut daemon = Daemon::launch(&folder, &arguments);
    let first = port(&daemon.line("listening on [::1]:"));
    let second = port(&daemon.line("listening on 127.0.0.1:"));
    daemon.line("who may connect");
    assert_eq!(
        daemon.log.len(),
        4,
        "no listener of bridge.toml: {:?}",
        daemon.log
    );
    for address in [format!("[::1]:{first}"), format!("127.0.0.1:{second}")] {
        let mut client = Client::connect(address.parse().unwrap(), &address);
        client.expect_quiet();
    }
}

#[test]
fn who_lets_anyone_in_listens_from_the_start() {
    let folder = configured();
    let text = BRIDGE.replace("[broker]\n", "[broker]\nanonymous = \"anywhere\"\n");
    folder.write("bridge.toml", &text);
    let mut daemon = Daemon::start(&folder, &[]);
    let network = port(&daemon.line("listening on 0.0.0.0:"));
    Client::connect(at(&network), "anybody").expect_quiet();
    daemon.line("who may connect: no users, anyone without a password");
    assert!(!daemon.log.join("\n").contains("there are no users"));
}
