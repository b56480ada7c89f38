//! What handshakes cost and what they tell: resumption counted on both sides, certificates
//! watched.

#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/https.rs"]
mod https;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/nodes.rs"]
mod nodes;

use std::net::SocketAddr;
use std::time::Duration;

use certificates::{Authority, TemporaryFile};
use gateway::Published;
use https::{Script, Server, response};
use mqtt::{Client, ack, publish, subscribe};
use nodes::{HOST, Node, Plan, ask, in_parallel, local, url};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(86_400);
/// Of the endpoints here: so many handshakes may begin before the first has ended.
const CONCURRENCY: usize = 2;
const NODES: usize = 50;
/// Of each node.
const REQUESTS: usize = 2;

/// Lets 50 nodes ask this server; returns the daemon's last word on the endpoint.
fn ask_from_many_nodes(server: &Server, root: &TemporaryFile) -> String {
    let lines = format!("{}concurrency = {CONCURRENCY}\n", local(root));
    let program = Plan::new()
        .endpoint("site", &url(server.port()), &lines)
        .route("door", "site", "")
        .start_program(&[]);
    let names: Vec<_> = (0..NODES).map(|number| format!("node{number}")).collect();
    in_parallel(&names, |name| {
        let mut node = Node::connect(program.address, name);
        for _ in 0..REQUESTS {
            let reply = node.ask("door", b"");
            if reply.outcome != "ok" {
                return Err(reply.to_string());
            }
        }
        Ok(())
    });
    let lines = program.stop();
    let line = lines.iter().find_map(|line| {
        let (_, counts) = line.split_once("endpoint `site`: ")?;
        Some(counts.to_owned())
    });
    line.unwrap_or_else(|| panic!("no counts in {lines:#?}"))
}

/// What the daemon says it has counted, without the CPU times, as many as there are.
fn without_times(line: &str) -> String {
    let (start, handshakes) = line.split_once("handshakes: ").unwrap();
    let kinds = handshakes.split(", ").map(|kind| {
        let mut words = kind.split(' ');
        let (count, name) = (words.next().unwrap(), words.next_back().unwrap());
        format!("{count} {name}")
    });
    format!("{start}{}", kinds.collect::<Vec<_>>().join(", "))
}

#[test]
fn fifty_nodes_cost_as_many_full_handshakes_as_there_are_connections_at_a_time() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    for script in [Script::echo().tls12(), Script::echo().tls13()] {
        let server = Server::start(&authority.good(&[HOST]), script);
        let line = ask_from_many_nodes(&server, &root);
        let counts = server.counts();
        assert_eq!(counts.requests, NODES * REQUESTS);
        assert!(counts.connections <= CONCURRENCY, "{counts:?}");
        let expected = format!(
            "100 requests over {} connections; {} full, {} resumed, 0 failed",
            counts.connections, counts.full, counts.resumed
        );
        assert_eq!(without_times(&line), expected, "both sides count the same");
    }
}

#[test]
fn a_server_that_closes_costs_resumptions() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    let closing = || Script::bytes(response("200 OK", &[("connection", "close")], b"ok"));
    for script in [closing().tls12(), closing().tls13()] {
        let server = Server::start(&authority.good(&[HOST]), script);
        let line = ask_from_many_nodes(&server, &root);
        let counts = server.counts();
        assert_eq!(counts.connections, NODES * REQUESTS);
        assert!(counts.full <= CONCURRENCY, "{counts:?}: 98 % resumed");
        let expected = format!(
            "100 requests over 100 connections; {} full, {} resumed, 0 failed",
            counts.full, counts.resumed
        );
        assert_eq!(without_times(&line), expected, "both sides count the same");
    }
}

#[test]
fn handshakes_that_fail_are_counted_too() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    let server = Server::start(&authority.expired(&[HOST]), Script::echo());
    let program = Plan::new()
        .endpoint("site", &url(server.port()), &local(&root))
        .route("door", "site", "")
        .start_program(&[]);
    assert_eq!(ask(program.address, "a", "door", b"").code(), "tls.expired");
    let lines = program.stop();
    let expected = "endpoint `site`: 0 requests over 0 connections; handshakes: 0 full, 0 resumed, \
                    1 failed";
    assert!(
        lines.iter().any(|line| line.ends_with(expected)),
        "{lines:#?}"
    );
}

/// A bridge.toml in the making in which this machine may read what the bridge says of itself.
fn watched() -> Plan {
    Plan::with("anonymous_subscribe = [\"#\", \"$bridge/#\"]\n")
}

fn watcher(address: SocketAddr, id: &str) -> Client {
    let mut client = Client::connect(address, id);
    client.subscribe("$bridge/certificates/#", 0);
    client
}

/// The next message: its topic, and its payload as JSON.
#[track_caller]
fn next(client: &mut Client) -> (String, Value) {
    let published = Published::next(client, false);
    let payload = serde_json::from_slice(&published.payload).unwrap();
    (published.topic, payload)
}

/// What is said of a certificate, but for the time of day that it ends.
fn facts(issuer: &str, days: u64, protocol: &str, end: &Value) -> Value {
    json!({
        "endpoint": "site", "issuer": issuer, "not_after": end, "days_left": days,
        "protocol": protocol
    })
}

#[test]
fn what_a_handshake_shows_is_retained() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    let identity = authority.ending_in(&[HOST], DAY * 90 + DAY / 2);
    let server = Server::start(&identity, Script::echo().tls13());
    let broker = watched()
        .endpoint("site", &url(server.port()), &local(&root))
        .route("door", "site", "")
        .start();
    let mut early = watcher(broker.address, "early");
    assert_eq!(ask(broker.address, "kitchen", "door", b"").outcome, "ok");
    let (topic, payload) = next(&mut early);
    assert_eq!(
        topic,
        format!("$bridge/certificates/{HOST}:{}", server.port())
    );
    let end = &payload["not_after"];
    assert_eq!(end.as_str().unwrap().len(), "2026-12-01T09:00:00Z".len());
    assert_eq!(payload, facts("CN=test intermediate", 90, "TLS 1.3", end));

    let mut late = watcher(broker.address, "late");
    let published = Published::next(&mut late, false);
    assert_eq!(
        (published.topic, published.first),
        (topic, 0x31),
        "retained"
    );
    // The same connection again: nothing new.
    assert_eq!(ask(broker.address, "kitchen", "door", b"").outcome, "ok");
    early.expect_quiet();
}

#[test]
fn nobody_reads_it_without_a_rule_and_nobody_writes_it() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    let server = Server::start(&authority.good(&[HOST]), Script::echo());
    let start = |mut plan: Plan| {
        plan.endpoint("site", &url(server.port()), &local(&root))
            .route("door", "site", "")
            .start()
    };
    let broker = start(Plan::new());
    assert_eq!(ask(broker.address, "kitchen", "door", b"").outcome, "ok");
    let mut client = Client::connect(broker.address, "curious");
    client.send(&subscribe(
        1,
        &[("$bridge/#", 0), ("$bridge/certificates/+", 0)],
    ));
    client.expect(&[0x90, 4, 0, 1, 0x80, 0x80]);
    // Granted by `#`, and they reach no topic of the bridge's own.
    client.send(&subscribe(2, &[("#", 0), ("+/certificates/#", 0)]));
    client.expect(&[0x90, 4, 0, 2, 0, 0]);
    client.expect_quiet();

    let broker = start(watched());
    let mut reader = watcher(broker.address, "watcher");
    let topic = format!("$bridge/certificates/{HOST}");
    let mut writer = Client::connect(broker.address, "writer");
    writer.send(&publish(&topic, "forged", 1, 7));
    writer.expect(&ack(0x40, 7));
    reader.expect_quiet();
}

#[test]
fn a_certificate_that_ends_soon_is_said_once() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    let identity = authority.ending_in(&[HOST], DAY * 5 + DAY / 2);
    let closing = response("200 OK", &[("connection", "close")], b"ok");
    let server = Server::start(&identity, Script::bytes(closing).tls12());
    let program = watched()
        .endpoint("site", &url(server.port()), &local(&root))
        .route("door", "site", "")
        .start_program(&[]);
    let mut watcher = watcher(program.address, "watcher");
    for _ in 0..3 {
        let reply = ask(program.address, "kitchen", "door", b"");
        assert_eq!(reply.outcome, "ok");
    }
    let (topic, payload) = next(&mut watcher);
    let mut expected = facts("CN=test intermediate", 5, "TLS 1.2", &payload["not_after"]);
    assert_eq!(payload, expected);
    expected["fewer_than"] = 7.into();
    assert_eq!(next(&mut watcher), (format!("{topic}/expiring"), expected));
    watcher.expect_quiet();
    let line = "endpoint `site`: the certificate of `site.example:";
    let lines = program.stop();
    let lines: Vec<_> = lines.iter().filter(|it| it.contains(line)).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains(" WARN "), "{lines:#?}");
    assert!(lines[0].contains("` ends in 5 days, 2"), "{lines:#?}");
}

#[test]
fn our_own_certificate_is_watched_too() {
    let (authority, ours) = (Authority::new("test"), Authority::new("our"));
    let root = authority.root_file();
    let identity = ours.ending_in(&["gateway.example"], DAY / 2);
    let own = TemporaryFile::new("own.pem", identity.chain_pem().as_bytes());
    let key = TemporaryFile::new("key.pem", identity.key_pem().as_bytes());
    let script = Script::echo().tls13().requiring_client_certificate(&ours);
    let server = Server::start(&authority.good(&[HOST]), script);
    let lines = format!(
        "{}client_certificate = \"{}\"\nclient_key = \"{}\"\n",
        local(&root),
        own.path().display(),
        key.path().display()
    );
    let broker = watched()
        .endpoint("site", &url(server.port()), &lines)
        .route("door", "site", "")
        .start();
    let mut watcher = Client::connect(broker.address, "watcher");
    watcher.subscribe("$bridge/client_certificates/#", 0);
    let _ = ask(broker.address, "kitchen", "door", b"");
    let (topic, payload) = next(&mut watcher);
    assert_eq!(topic, "$bridge/client_certificates/site");
    let mut expected = facts("CN=our intermediate", 0, "TLS 1.3", &payload["not_after"]);
    assert_eq!(payload, expected);
    expected["fewer_than"] = 1.into();
    assert_eq!(next(&mut watcher), (format!("{topic}/expiring"), expected));
}
