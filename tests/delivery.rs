//! What a node handed over arrives, or is accounted for: the daemon before servers that fail.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test of the whole reads the real clock, and what is not as expected has to fail"
)]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/https.rs"]
mod https;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use certificates::Authority;
use gateway::{Gateway, pair, told};
use https::{Script, Server, Step, response};
use mqtt::{Broker, Client, ack, publish};
use temp_dir::TempDir;

/// A route for `get/…` and one for `post/…`; retries come within a tenth of a second.
const ROUTES: &str = r#"
retry = { first = "50ms" }
[[route]]
topic = "get/{x}"
endpoint = "api"
reply = "replies/{x}/{outcome}"
[[route]]
topic = "post/{x}"
endpoint = "api"
method = "POST"
reply = "replies/{x}/{outcome}"
"#;

/// A server that gives these answers in turn, and the last one from then on.
fn in_turn(answers: Vec<Vec<u8>>) -> Script {
    let count = AtomicUsize::new(0);
    Script::answering(move |_| {
        let at = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        vec![Step::Send(answers[at].clone())]
    })
}

fn status(line: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    response(line, fields, b"true")
}

#[test]
fn a_server_that_is_overloaded_is_asked_again() {
    let answers = vec![
        status("503 x", &[]),
        status("502 x", &[]),
        status("200 OK", &[]),
    ];
    let gateway = Gateway::with_routes(in_turn(answers), ROUTES);
    assert_eq!(gateway.ask("get/1", ""), pair("replies/1/ok", "true"));
    assert_eq!(gateway.server.counts().requests, 3);
}

#[test]
fn three_attempts_are_all() {
    let gateway = Gateway::with_routes(in_turn(vec![status("503 x", &[])]), ROUTES);
    let told = gateway.ask("get/1", "");
    assert_eq!(
        told,
        pair("replies/1/error", "http.status 503 Service Unavailable")
    );
    assert_eq!(gateway.server.counts().requests, 3);
}

#[test]
fn retry_after_is_kept_to() {
    let answers = vec![
        status("429 x", &[("Retry-After", "1")]),
        status("200 OK", &[]),
    ];
    let gateway = Gateway::with_routes(in_turn(answers), ROUTES);
    let start = Instant::now();
    assert_eq!(gateway.ask("post/1", "x"), pair("replies/1/ok", "true"));
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_post_is_repeated_with_its_idempotency_key_and_only_if_it_was_not_processed() {
    let script = |line: &'static str| in_turn(vec![status(line, &[])]);
    let refused = Gateway::with_routes(script("500 x"), ROUTES);
    assert_eq!(refused.ask("post/1", "x").0, "replies/1/error");
    assert_eq!(
        refused.server.counts().requests,
        1,
        "it may have been processed"
    );
    let limited = Gateway::with_routes(script("429 x"), ROUTES);
    assert_eq!(limited.ask("post/1", "x").0, "replies/1/error");
    let keys = limited.server.received().into_iter().map(|request| {
        let head = request.head.to_lowercase();
        let mut lines = head.lines();
        let line = lines.find(|line| line.starts_with("idempotency-key: "));
        line.expect("a key").to_owned()
    });
    let keys: Vec<_> = keys.collect();
    assert_eq!(keys, vec![keys[0].clone(); 3]);
}

#[test]
fn a_refused_certificate_is_told_once_and_then_the_endpoint_is_paused() {
    let text = format!("[endpoint.api]\n@API\n{ROUTES}");
    let gateway = Gateway::expired(Script::echo(), &text);
    let mut node = gateway.node("kitchen");
    node.send(&publish("get/1", "", 0, 0));
    let first = told(&mut node);
    assert_eq!(first.0, "replies/1/error");
    assert!(
        first.1.starts_with("tls.expired - expired 2015-04-12"),
        "{first:?}"
    );
    for _ in 0..3 {
        node.send(&publish("get/2", "", 0, 0));
        let next = told(&mut node).1;
        let expected = "bridge.paused - tls.expired: expired 2015-04-12; next try in ";
        assert!(next.starts_with(expected), "{next}");
    }
    assert_eq!(gateway.server.counts().connections, 1);
}

/// A bridge.toml with one stored route to this port, where retries come soon.
fn storing(folder: &TempDir, root: &std::path::Path, port: u16, lines: &str) -> String {
    format!(
        "[store]\ndirectory = \"{}\"\n[endpoint.api]\nurl = \"https://localhost:{port}\"\n\
         address = \"127.0.0.1\"\nroots = [\"{}\"]\nretry = {{ first = \"50ms\" }}\n\
         [[route]]\ntopic = \"keep/{{x}}\"\nendpoint = \"api\"\nmethod = \"POST\"\n\
         path = \"/{{x}}\"\ndelivery = \"stored\"\nreply = \"replies/{{x}}/{{outcome}}\"\n{lines}\n",
        folder.path().join("store").display(),
        root.display()
    )
}

#[test]
fn what_was_acknowledged_arrives_after_a_restart_with_one_key_and_in_order() {
    let folder = TempDir::new();
    let authority = Authority::new("stored");
    let root = authority.root_file();
    // A port where nobody listens any more.
    let gone = Server::start(&authority.good(&["localhost"]), Script::echo());
    let port = gone.port();
    drop(gone);
    let broker = Broker::with(&storing(&folder, root.path(), port, ""));
    let mut node = Client::connect(broker.address, "kitchen");
    for id in 1..=3 {
        node.send(&publish(format!("keep/{id}"), "21.5", 1, id));
        node.expect(&ack(0x40, id));
    }
    drop(node);
    drop(broker);
    let server = Server::start(&authority.good(&["localhost"]), Script::echo());
    let broker = Broker::with(&storing(&folder, root.path(), server.port(), ""));
    server.wait(|counts| counts.answered >= 3);
    let lines: Vec<String> = server
        .received()
        .iter()
        .map(|it| it.line().to_owned())
        .collect();
    assert_eq!(lines, ["POST /1", "POST /2", "POST /3"]);
    let keys: std::collections::HashSet<_> = server.received().iter().map(key).collect();
    assert_eq!(keys.len(), 3, "each has its own");
    // Nothing is sent twice by the next start.
    drop(broker);
    let broker = Broker::with(&storing(&folder, root.path(), server.port(), ""));
    let mut node = Client::connect(broker.address, "kitchen");
    node.subscribe("replies/#", 0);
    node.send(&publish("keep/4", "x", 0, 0));
    let queued = told(&mut node);
    assert_eq!(queued.0, "replies/4/queued");
    assert_eq!(told(&mut node).0, "replies/4/ok");
    assert_eq!(server.counts().requests, 4);
    assert!(key(&server.last()).ends_with(&queued.1), "{queued:?}");
}

fn key(request: &https::Received) -> String {
    let head = request.head.to_lowercase();
    let mut lines = head.lines();
    let line = lines.find(|line| line.starts_with("idempotency-key: "));
    line.expect("a key").to_owned()
}

#[test]
fn a_stored_message_is_sent_until_the_server_takes_it() {
    let folder = TempDir::new();
    let authority = Authority::new("stored");
    let root = authority.root_file();
    let answers = vec![
        status("500 x", &[]),
        status("503 x", &[]),
        status("429 x", &[]),
    ];
    let answers = [answers, vec![status("502 x", &[]), status("200 OK", &[])]].concat();
    let server = Server::start(&authority.good(&["localhost"]), in_turn(answers));
    let broker = Broker::with(&storing(&folder, root.path(), server.port(), ""));
    let mut node = Client::connect(broker.address, "kitchen");
    node.subscribe("replies/#", 0);
    node.send(&publish("keep/1", "x", 1, 1));
    node.expect(&ack(0x40, 1));
    assert_eq!(told(&mut node), pair("replies/1/ok", "true"));
    let keys: Vec<_> = server.received().iter().map(key).collect();
    assert_eq!(keys, vec![keys[0].clone(); 5]);
}

#[test]
fn a_direct_message_is_acknowledged_at_once_and_forgotten_by_a_restart() {
    let folder = TempDir::new();
    let authority = Authority::new("direct");
    let root = authority.root_file();
    let direct = |port| storing(&folder, root.path(), port, "").replace("\"stored\"", "\"direct\"");
    let gone = Server::start(&authority.good(&["localhost"]), Script::echo());
    let port = gone.port();
    drop(gone);
    let broker = Broker::with(&direct(port));
    let mut node = Client::connect(broker.address, "kitchen");
    node.send(&publish("keep/1", "x", 1, 1));
    // Nobody has taken it, and nobody is there to take it.
    node.expect(&ack(0x40, 1));
    drop(node);
    drop(broker);
    let server = Server::start(&authority.good(&["localhost"]), Script::echo());
    let broker = Broker::with(&direct(server.port()));
    let mut node = Client::connect(broker.address, "kitchen");
    node.subscribe("replies/#", 0);
    node.send(&publish("keep/2", "x", 0, 0));
    assert_eq!(told(&mut node).0, "replies/2/ok");
    let lines: Vec<_> = server
        .received()
        .iter()
        .map(|it| it.line().to_owned())
        .collect();
    assert_eq!(lines, ["POST /2"]);
}

#[test]
fn a_full_route_leaves_a_publish_with_its_client() {
    let folder = TempDir::new();
    let authority = Authority::new("stored");
    let root = authority.root_file();
    let gone = Server::start(&authority.good(&["localhost"]), Script::echo());
    let port = gone.port();
    drop(gone);
    let text = storing(&folder, root.path(), port, "max_bytes = 1024");
    let broker = Broker::with(&text);
    let mut node = Client::connect(broker.address, "kitchen");
    node.subscribe("replies/#", 0);
    node.send(&publish("keep/1", "x".repeat(600), 1, 1));
    node.expect(&ack(0x40, 1));
    node.send(&publish("keep/2", "x".repeat(600), 1, 2));
    let refused = told(&mut node);
    assert_eq!(refused.0, "replies/2/error");
    assert!(
        refused
            .1
            .starts_with("bridge.storage - the route's 1024 bytes"),
        "{refused:?}"
    );
    let asked = Instant::now();
    node.expect_late_end();
    assert!(
        asked.elapsed() >= Duration::from_secs(5),
        "it may read why: {:?}",
        asked.elapsed()
    );
}
