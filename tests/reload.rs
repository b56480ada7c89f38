//! SIGHUP, and files that change: a running daemon takes over another configuration, whole or not
//! at all, and nobody who is connected notices more than that.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what is not as expected has to fail"
)]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/https.rs"]
mod https;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use certificates::Authority;
use daemon::{Daemon, port, program};
use https::{Script, Server, Step, response};
use mqtt::{Client, LIMIT, ack, block, connect_with, publish};
use serde_json::Value;
use temp_dir::TempDir;

/// The hash of `right`.
const RIGHT: &str = "$sha256$c2FsdHNhbHQ$FR8UeCMT3/fKTEhhldTae/b+v/u/qEX+413/4joENeU";

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new("test"))
}

/// A server that answers everything with this text.
fn server(text: &str) -> Server {
    let identity = authority().good(&["api.test"]);
    Server::start(&identity, Script::fixed("200 OK", text))
}

/// An `[endpoint.<name>]` that leads to a server.
fn endpoint(name: &str, server: &Server) -> String {
    format!(
        "[endpoint.{name}]\nurl = \"https://api.test:{}\"\naddress = \"127.0.0.1\"\n\
         roots = [\"root.pem\"]\n",
        server.port()
    )
}

/// A route from `ask/<name>/…`.
fn route(name: &str, endpoint: &str, path: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\ntopic = \"ask/{name}/{{x}}\"\nendpoint = \"{endpoint}\"\n\
         path = \"{path}\"\nreply = \"replies/{name}/{{x}}\"\nform = \"plain\"\n"
    )
}

/// A daemon that can be reloaded.
struct Site {
    folder: TempDir,
    daemon: Daemon,
}

impl Site {
    /// Starts with the text behind `[broker] listen`.
    fn start(text: &str) -> Self {
        let folder = TempDir::new();
        folder.write("root.pem", &authority().root_pem());
        Self::starting(folder, text)
    }

    fn starting(folder: TempDir, text: &str) -> Self {
        folder.write("bridge.toml", &whole(text));
        let daemon = Daemon::start(&folder, &[]);
        let site = Self { folder, daemon };
        drop(site.client("first"));
        site
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.daemon.port.parse().unwrap()))
    }

    fn client(&self, id: &str) -> Client {
        let mut client = Client::connect(self.address(), id);
        client.subscribe("replies/#", 0);
        client
    }

    /// A client of a user; returns the return code of its CONNACK too.
    fn login(&self, user: &str) -> (Client, u8) {
        let mut client = Client::open(self.address());
        let payload = [block(user), block(user), block("right")].concat();
        client.send(&connect_with(4, 0xC2, 0, &payload));
        let answer = client.packet();
        (client, answer[3])
    }

    /// Puts another text in force.
    #[track_caller]
    fn reload(&mut self, text: &str) {
        self.reload_whole(&whole(text));
    }

    #[track_caller]
    fn reload_whole(&mut self, text: &str) {
        self.folder.write("bridge.toml", text);
        self.daemon.signal("HUP");
        self.daemon.line("is in force");
    }

    fn status(&self) -> Value {
        let mut command = program(&self.folder);
        let output = command.args(["status", "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn whole(text: &str) -> String {
    format!("[broker]\nlisten = [\"127.0.0.1:0\"]\n{text}")
}

/// Asks and expects this reply.
#[track_caller]
fn ask(client: &mut Client, route: &str, expected: &str) {
    client.send(&publish(format!("ask/{route}/1"), "", 0, 0));
    client.expect(&publish(format!("replies/{route}/1"), expected, 0, 0));
}

#[test]
fn a_broken_file_keeps_the_old_configuration_and_says_so() {
    let server = server("one");
    let good = endpoint("api", &server) + &route("door", "api", "/");
    let mut site = Site::start(&good);
    let before = site.status()["configuration"]["id"].clone();
    let mut client = site.client("me");
    site.folder.write(
        "bridge.toml",
        "[broker]\nlisten = 5\n[endpoint.x]\nurl = 7\n",
    );
    site.daemon.signal("HUP");
    site.daemon.line("ERROR bridge.toml:2: listen is ");
    site.daemon.line("ERROR bridge.toml:4: url is ");
    site.daemon
        .line("ERROR not reloaded: what ran before goes on");
    ask(&mut client, "door", "one");
    let told = site.status();
    assert_eq!(told["configuration"]["id"], before);
    let last = &told["configuration"]["last_reload"];
    assert_eq!(
        (&last["ok"], &told["configuration"]["reloads"]),
        (&false.into(), &0.into())
    );
    let errors = last["errors"].as_array().unwrap();
    assert!(errors.len() >= 2, "{errors:?}");
    assert!(errors[0].as_str().unwrap().starts_with("bridge.toml:2: "));

    // Valid, but with roots that can't be read: nothing of it is taken over either.
    let text = (good.clone() + &route("new", "api", "/")).replace("root.pem", "none.pem");
    site.folder.write("bridge.toml", &whole(&text));
    site.daemon.signal("HUP");
    site.daemon.line("none.pem");
    site.daemon.line("not reloaded: what ran before goes on");
    ask(&mut client, "door", "one");
    assert_eq!(site.status()["routes"].as_array().map(Vec::len), Some(1));

    site.reload(&good);
    let told = site.status();
    assert_eq!(told["configuration"]["last_reload"]["ok"], true);
    assert_eq!(told["configuration"]["reloads"], 1);
    ask(&mut client, "door", "one");
}

#[test]
fn routes_change_while_clients_stay_and_counters_go_on() {
    let server = server("same");
    let api = endpoint("api", &server);
    let mut site = Site::start(&(api.clone() + &route("door", "api", "/old")));
    let mut client = site.client("me");
    ask(&mut client, "door", "same");
    assert_eq!(server.last().line(), "GET /old");
    site.reload(&(api + &route("new", "api", "/new") + &route("door", "api", "/other")));
    ask(&mut client, "door", "same");
    assert_eq!(server.last().line(), "GET /other");
    ask(&mut client, "new", "same");
    // Replies are nobody's to forge, those of the new route too.
    client.send(&publish("replies/new/1", "forged", 0, 0));
    client.expect_quiet();
    // The endpoint is as it was: so is its connection.
    assert_eq!(server.counts().connections, 1);
    let told = site.status();
    assert_eq!(told["routes"][1]["name"], "door");
    assert_eq!(told["routes"][1]["succeeded"], 2);
    assert_eq!(told["endpoints"][0]["requests"], 3);
}

#[test]
fn an_endpoint_moves_and_another_goes() {
    let (here, there) = (server("here"), server("there"));
    let routes = route("door", "api", "/");
    let old = endpoint("api", &here) + &endpoint("gone", &here) + &routes;
    let mut site = Site::start(&(old + &route("old", "gone", "/")));
    let mut client = site.client("me");
    ask(&mut client, "door", "here");
    ask(&mut client, "old", "here");
    site.reload(&(endpoint("api", &there) + &routes));
    ask(&mut client, "door", "there");
    client.send(&publish("ask/old/1", "", 0, 0));
    client.expect_quiet();
    let told = site.status();
    assert_eq!(told["endpoints"].as_array().map(Vec::len), Some(1));
    assert_eq!(told["routes"].as_array().map(Vec::len), Some(1));
    // Counted for the endpoint, wherever it was.
    assert_eq!(told["endpoints"][0]["requests"], 2);
    assert_eq!(here.counts().requests, 2);
}

#[test]
fn users_and_rules_of_anonymous_clients_change() {
    let user = |name| format!("[[user]]\nname = \"{name}\"\npassword = \"{RIGHT}\"\n");
    let rules = "anonymous_subscribe = [\"replies/#\", \"a\"]\n";
    let mut site = Site::start(&(rules.to_owned() + &user("stays") + &user("goes")));
    let (mut stays, _) = site.login("stays");
    let (mut goes, code) = site.login("goes");
    assert_eq!(code, 0);
    let mut anonymous = site.client("anonymous");
    site.reload(&(rules.to_owned() + &user("stays")));
    goes.expect_end();
    stays.expect_quiet();
    anonymous.expect_quiet();
    assert_eq!(site.login("goes").1, 4, "bad user name or password");

    // Other rules: whoever is connected has to come again.
    site.reload(&("anonymous_subscribe = [\"b\"]\n".to_owned() + &user("stays")));
    anonymous.expect_end();
    let mut anonymous = Client::connect(site.address(), "anonymous");
    anonymous.subscribe("b", 0);
    site.reload(&("anonymous = \"no\"\n".to_owned() + &user("stays")));
    anonymous.expect_end();
    stays.expect_quiet();
    let mut late = Client::open(site.address());
    late.send(&mqtt::connect_4("late", mqtt::CLEAN));
    late.expect(&[0x20, 2, 0, 5]);
}

#[test]
fn listeners_come_and_go_and_their_clients_stay() {
    let mut site = Site::start("");
    let text = |listen: &str| format!("[broker]\nlisten = [{listen}]\n");
    let mut first = site.client("first");
    site.folder
        .write("bridge.toml", &text("\"127.0.0.1:0\", \"[::1]:0\""));
    site.daemon.signal("HUP");
    let added = port(&site.daemon.line("listening on [::1]:"));
    site.daemon.line("is in force");
    let added: SocketAddr = format!("[::1]:{added}").parse().unwrap();
    let mut second = Client::connect(added, "second");
    let told = site.status();
    assert_eq!(told["listeners"][1]["address"], added.to_string());

    // The first one goes; another takes its very address, with TLS.
    let tls = authority().good(&["router.test"]);
    site.folder.write("router.pem", &tls.chain_pem());
    site.folder.write("router.key", &tls.key_pem());
    let address = site.address();
    let with_tls = format!(
        "{}tls = {{ listen = [\"{address}\"], certificate = \"router.pem\", key = \"router.key\" }}\n",
        text("\"[::1]:0\"")
    );
    site.folder.write("bridge.toml", &with_tls);
    site.daemon.signal("HUP");
    site.daemon
        .line(&format!("no longer listening on {address}"));
    site.daemon.line(&format!(
        "listening on {address} (MQTT 3.1, 3.1.1 and 5 over TLS)"
    ));
    site.daemon.line("is in force");
    first.expect_quiet();
    second.expect_quiet();
    assert_eq!(site.status()["listeners"][1]["tls"], true);

    // A key that does not fit keeps all as it was.
    let other = authority().good(&["other.test"]);
    site.folder.write("other.key", &other.key_pem());
    site.folder
        .write("bridge.toml", &with_tls.replace("router.key", "other.key"));
    site.daemon.signal("HUP");
    site.daemon.line("ERROR [broker] tls: ");
    site.daemon.line("not reloaded");

    site.reload_whole(&text("\"[::1]:0\""));
    assert!(TcpStream::connect(address).is_err());
    first.expect_quiet();
    second.expect_quiet();
}

#[test]
fn a_secret_is_read_again_when_its_file_changes_and_bridge_toml_is_not() {
    let server = server("ok");
    let folder = TempDir::new();
    folder.write("root.pem", &authority().root_pem());
    folder.write("token", "first\n");
    let text = "[secret.token]\nfile = \"token\"\n".to_owned()
        + &endpoint("api", &server)
        + "headers = { authorization = \"Bearer {secret.token}\" }\n"
        + &route("door", "api", "/");
    let mut site = Site::starting(folder, &text);
    let mut client = site.client("me");
    ask(&mut client, "door", "ok");
    assert_eq!(server.last().header("authorization"), Some("Bearer first"));

    // Somebody is in the middle of editing it.
    site.folder.write("bridge.toml", "[[[");
    site.folder.write("token", "second\n");
    site.daemon
        .line("a file with a secret or with addresses has changed");
    site.daemon.line("is in force");
    ask(&mut client, "door", "ok");
    assert_eq!(server.last().header("authorization"), Some("Bearer second"));
    assert_eq!(server.counts().connections, 1);

    site.folder.write("token", "two\nlines\n");
    site.daemon.line("the value holds a line break");
    site.daemon.line("not reloaded: what ran before goes on");
    ask(&mut client, "door", "ok");
    assert_eq!(server.last().header("authorization"), Some("Bearer second"));
}

#[test]
fn what_waits_for_the_next_start_is_said() {
    let mut site = Site::start("");
    let text = whole("")
        + "[gateway]\nname = \"other\"\nstatus_socket = \"elsewhere\"\n\
                               [store]\ndirectory = \"store\"\n";
    site.folder.write("bridge.toml", &text);
    site.daemon.signal("HUP");
    site.daemon
        .line("[gateway] name takes effect at the next start");
    site.daemon
        .line("[gateway] status_socket takes effect at the next start");
    site.daemon.line("[store] takes effect at the next start");
    site.daemon.line("is in force");
}

#[test]
fn addresses_of_the_command_line_stay_in_force() {
    let folder = TempDir::new();
    folder.write("bridge.toml", "[broker]\nlisten = [\"127.0.0.1:1\"]\n");
    let mut daemon = Daemon::start(&folder, &["run", "--listen", "127.0.0.1:0"]);
    let address = SocketAddr::from(([127, 0, 0, 1], daemon.port.parse().unwrap()));
    drop(Client::connect(address, "before"));
    daemon.signal("HUP");
    daemon.line("is in force");
    drop(Client::connect(address, "after"));
    let log = daemon.log.join("\n");
    assert!(
        !log.contains("127.0.0.1:1 ") && !log.contains("no longer"),
        "{log}"
    );
}

#[test]
fn a_file_of_addresses_is_followed() {
    let folder = TempDir::new();
    folder.write("bridge.toml", "[broker]\nlisten = [\"127.0.0.1:1\"]\n");
    folder.write("listeners", "127.0.0.1:0\n");
    let mut daemon = Daemon::start(&folder, &["run", "--listen-file", "listeners"]);
    let address = SocketAddr::from(([127, 0, 0, 1], daemon.port.parse().unwrap()));
    let mut stays = Client::connect(address, "stays");

    // As the router's scripts do it, while somebody is in the middle of editing bridge.toml.
    folder.write("bridge.toml", "[[[");
    folder.write("listeners.new", "# from the network\n[::1]:0\n");
    let file = |name: &str| folder.path().join(name);
    std::fs::rename(file("listeners.new"), file("listeners")).unwrap();
    daemon.line("a file with a secret or with addresses has changed");
    let added = port(&daemon.line("listening on [::1]:"));
    daemon.line("is in force");
    let added: SocketAddr = format!("[::1]:{added}").parse().unwrap();
    drop(Client::connect(added, "added"));
    assert!(TcpStream::connect(address).is_err(), "the old one is gone");
    stays.send(&[0xC0, 0]);
    assert_eq!(stays.packet(), [0xD0, 0]);

    // A mistake changes nothing, and neither does a file that is gone.
    folder.write("listeners", "[::1]:0\nlocalhost:1883\n");
    daemon.line("ERROR listeners:2: listens on the host name `localhost`");
    daemon.line("not reloaded: what ran before goes on");
    std::fs::remove_file(file("listeners")).unwrap();
    daemon.line("ERROR listeners: there is no such file; write an address and port a line");
    drop(Client::connect(added, "still"));

    // A signal reads both anew.
    folder.write("bridge.toml", "[broker]\n");
    folder.write("listeners", "127.0.0.1:0");
    daemon.line("is in force");
    daemon.signal("HUP");
    daemon.line("is in force");
    assert!(TcpStream::connect(added).is_err(), "gone too");
    assert_eq!(daemon.stop().0, Some(0));
}

/// Asks and returns the failure's code.
fn fail(client: &mut Client) -> String {
    client.send(&publish("ask/door/1", "", 0, 0));
    let reply = client.packet();
    let text = String::from_utf8_lossy(&reply[2..]).into_owned();
    let (_, text) = text.split_once("replies/door/1").unwrap();
    text.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_signal_and_a_reload_have_a_paused_endpoint_tried_at_once() {
    let identity = authority().expired(&["api.test"]);
    let server = Server::start(&identity, Script::fixed("200 OK", "never"));
    let text = endpoint("api", &server) + &route("door", "api", "/");
    let mut site = Site::start(&text);
    let mut client = site.client("me");
    assert_eq!(fail(&mut client), "tls.expired");
    assert_eq!(fail(&mut client), "bridge.paused");
    let told = site.status()["endpoints"][0].clone();
    assert_eq!(told["state"], "paused");
    assert!(told["next_probe"].as_u64().unwrap() <= 5, "{told}");

    site.daemon.signal("USR1");
    site.daemon.line("trying at once what did not work");
    client.expect_quiet();
    assert_eq!(fail(&mut client), "tls.expired", "asked again");
    assert_eq!(fail(&mut client), "bridge.paused");
    site.reload(&text);
    assert_eq!(fail(&mut client), "tls.expired", "asked again");
    assert_eq!(site.daemon.stop().0, Some(0));
}

#[test]
fn fifty_reloads_under_traffic_lose_nothing() {
    let (one, two) = (server("same"), server("same"));
    let texts = [
        endpoint("api", &one) + &route("door", "api", "/a"),
        endpoint("api", &one) + &route("door", "api", "/b"),
        endpoint("api", &two) + &route("more", "api", "/") + &route("door", "api", "/c"),
        endpoint("api", &one) + "concurrency = 3\n" + &route("door", "api", "/a"),
    ];
    let mut site = Site::start(&texts[0]);
    let address = site.address();
    let done = AtomicBool::new(false);
    let (asked, received) = std::thread::scope(|scope| {
        let nodes: Vec<_> = (0..4)
            .map(|number| {
                let done = &done;
                scope.spawn(move || {
                    let id = format!("node{number}");
                    let mut client = Client::connect(address, &id);
                    client.subscribe(&format!("replies/door/{id}"), 0);
                    let mut asked = 0;
                    while !done.load(Ordering::Relaxed) {
                        client.send(&publish(format!("ask/door/{id}"), "", 0, 0));
                        let reply = publish(format!("replies/door/{id}"), "same", 0, 0);
                        client.expect(&reply);
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for number in 1..=50 {
            site.reload(&texts[number % texts.len()]);
        }
        done.store(true, Ordering::Relaxed);
        let asked: u64 = nodes.into_iter().map(|node| node.join().unwrap()).sum();
        let routes = site.status()["routes"].clone();
        let routes = routes.as_array().unwrap();
        let door = routes.iter().find(|route| route["name"] == "door");
        (asked, door.unwrap().clone())
    });
    assert!(asked > 50, "{asked}");
    assert_eq!(received["received"], asked);
    assert_eq!(received["succeeded"], asked);
    let clients = &site.status()["clients"];
    // Four nodes and the first of `Site::start`: nobody had to connect again.
    assert_eq!(clients["accepted"], 5);
}

#[test]
fn reloads_under_traffic_lose_no_stored_message_and_keep_its_order() {
    // What arrives at either server, in one order: target and key.
    let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let server = || {
        let seen = Arc::clone(&seen);
        let script = Script::answering(move |request| {
            let mut seen = seen.lock().unwrap();
            let key = request.header("idempotency-key").unwrap().to_owned();
            seen.push((request.line().replace("POST /", ""), key));
            let status = if seen.len().is_multiple_of(7) {
                "503 x"
            } else {
                "200 OK"
            };
            vec![Step::Send(response(status, &[], b""))]
        });
        Server::start(&authority().good(&["api.test"]), script)
    };
    let (one, two) = (server(), server());
    let kept = |endpoint: &str| {
        format!(
            "[[route]]\nname = \"keep\"\ntopic = \"keep/{{x}}/{{n}}\"\nendpoint = \"{endpoint}\"\n\
             method = \"POST\"\npath = \"/{{x}}/{{n}}\"\ndelivery = \"stored\"\n\
             reply = \"replies/keep/{{x}}\"\n"
        )
    };
    let store = "[store]\ndirectory = \"store\"\n";
    let api = |name: &str, server: &Server, more: &str| {
        format!(
            "{}retry = {{ first = \"20ms\" }}\n{more}",
            endpoint(name, server)
        )
    };
    let texts = [
        store.to_owned() + &api("api", &one, "") + &kept("api"),
        store.to_owned() + &api("api", &two, "concurrency = 4\n") + &kept("api"),
        store.to_owned() + &api("api", &one, "") + &api("other", &two, "") + &kept("other"),
        store.to_owned() + &api("api", &two, "") + &route("more", "api", "/more") + &kept("api"),
    ];
    let mut site = Site::start(&texts[0]);
    let address = site.address();
    let done = AtomicBool::new(false);
    let published: Vec<u16> = std::thread::scope(|scope| {
        let nodes: Vec<_> = (0..8)
            .map(|node| {
                let done = &done;
                scope.spawn(move || {
                    let mut client = Client::connect(address, &format!("node{node}"));
                    let mut number = 0;
                    while !done.load(Ordering::Relaxed) {
                        number += 1;
                        client.send(&publish(format!("keep/{node}/{number}"), "x", 1, number));
                        client.expect(&ack(0x40, number));
                    }
                    number
                })
            })
            .collect();
        for number in 1..=36 {
            site.reload(&texts[number % texts.len()]);
        }
        done.store(true, Ordering::Relaxed);
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    let total: usize = published.iter().map(|it| usize::from(*it)).sum();
    let limit = clock() + LIMIT * 12;
    let counters = loop {
        let routes = site.status()["routes"].clone();
        let routes = routes.as_array().unwrap();
        let keep = routes.iter().find(|it| it["name"] == "keep").unwrap();
        let count = |name: &str| keep[name].as_u64().unwrap();
        let parts = ["succeeded", "failed", "queued", "in_flight", "dropped"];
        assert_eq!(count("received"), parts.map(count).iter().sum::<u64>());
        if count("queued") + count("in_flight") == 0 || clock() > limit {
            break keep.clone();
        }
    };
    assert_eq!(counters["received"], total);
    assert_eq!(counters["succeeded"], total);
    assert_eq!(in_order(&seen.lock().unwrap()), published);
}

/// Sees that each of 8 nodes was served in order, again only under the same key; returns the last
/// number of each.
fn in_order(seen: &[(String, String)]) -> Vec<u16> {
    let mut keys = HashMap::new();
    let mut last = [0_u16; 8];
    for (target, key) in seen {
        let (node, number) = target.split_once('/').unwrap();
        let (node, number): (usize, u16) = (node.parse().unwrap(), number.parse().unwrap());
        let first = keys.entry(target.clone()).or_insert_with(|| key.clone());
        assert_eq!(first, key, "{target} again under another key");
        assert!(number == last[node] || number == last[node] + 1, "{target}");
        last[node] = number;
    }
    last.to_vec()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wait for the real daemon has a limit by the real clock"
)]
fn clock() -> Instant {
    Instant::now()
}
