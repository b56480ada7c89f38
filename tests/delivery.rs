//! What a node handed over arrives, or is accounted for: the daemon before servers that fail.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
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

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway::{Gateway, pair, told};
use https::{Script, Step, response};
use mqtt::publish;

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
