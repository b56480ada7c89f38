//! What becomes of requests that fail: another attempt, a pause, a rate that is kept.

use super::*;
use crate::core::bridge::Standing;
use crate::core::endpoint::{Endpoint, Rate};
use crate::core::retry::Retry;

/// The route `a/{x}` with three attempts, the waits between them 1 s and 2 s at most.
fn patient(change: impl Fn(&mut Endpoint)) -> RouteBuilder {
    route("a/{x}").path("/a/{x}").with(|route| {
        route.endpoint = endpoint("api", |it| {
            it.conduct.retry = Retry {
                attempts: Some(3),
                first: Duration::from_secs(1),
                ..Retry::default()
            };
            change(it);
        });
    })
}

/// Two clients' worth of routes to an endpoint that may be paused.
fn pausing() -> Scenario {
    let other = endpoint("other", |it| it.conduct.pause = true);
    Scenario::new([
        patient(|it| it.conduct.pause = true),
        route("b/{x}")
            .path("/b/{x}")
            .host("other.example.com")
            .with(|route| route.endpoint = other),
    ])
}

impl Scenario {
    /// Goes on in steps of 10 ms until something happens. Returns after how long, with it.
    fn until_seen(&mut self, limit: Duration) -> (Duration, Vec<String>) {
        let from = self.now;
        while self.now < from + limit {
            self.now += Duration::from_millis(10);
            self.bridge.handle_timeout(self.now, &mut self.actions);
            let seen = self.seen();
            if !seen.is_empty() {
                return (self.now - from, seen);
            }
        }
        panic!("nothing happened in {limit:?}");
    }

    fn respond(&mut self, id: usize, status: u16, retry_after: Option<u64>) -> Vec<String> {
        let outcome = Outcome::Response(Response {
            status,
            content_type: None,
            retry_after: retry_after.map(Duration::from_secs),
            body: Bytes::from_static(b"body"),
        });
        let id = JobId(id);
        self.handle(Event::Finished { id, outcome })
    }

    fn standing(&self) -> Standing {
        self.bridge.endpoints()[0].standing
    }
}

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_transient_failure_is_tried_again_and_the_node_told_the_end_of_it() {
    let mut scenario = Scenario::new([patient(|_| {})]);
    assert_eq!(scenario.publish("c", "a/1"), ["start 1 /a/1"]);
    assert!(scenario.fail(1, Code::ConnectRefused, "refused").is_empty());
    assert_eq!(scenario.bridge.counters()[0].queued, 1);
    let (after, seen) = scenario.until_seen(LIMIT);
    assert_eq!(seen, ["start 1 /a/1"]);
    let half = Duration::from_millis(500);
    assert!((half..=half * 2 + half / 10).contains(&after), "{after:?}");
    assert!(scenario.finish(1, 503).is_empty());
    let (after, seen) = scenario.until_seen(LIMIT);
    assert_eq!(seen, ["start 1 /a/1"]);
    assert!((half * 2..=half * 5).contains(&after), "{after:?}");
    assert_eq!(
        scenario.finish(1, 500),
        [
            "publish replies/c/error http.status 500 Internal Server Error",
            "settled a/{x} c http.status"
        ],
        "three attempts are all"
    );
    assert!(scenario.is_empty());
}

#[test]
fn a_lane_stays_in_order_while_its_first_is_tried_again() {
    let mut scenario = Scenario::new([patient(|_| {})]);
    scenario.publish("c", "a/1");
    scenario.publish("c", "a/2");
    assert!(scenario.finish(1, 503).is_empty());
    assert_eq!(scenario.publish("d", "a/3"), ["start 3 /a/3"]);
    let (_, seen) = scenario.until_seen(LIMIT);
    assert_eq!(seen, ["start 1 /a/1"]);
    assert_eq!(scenario.finish(1, 200)[2], "start 2 /a/2");
}

#[test]
fn what_will_not_end_better_is_told_at_once() {
    let mut scenario = Scenario::new([patient(|_| {})]);
    let mut id = 0;
    for status in [404, 501] {
        id += 1;
        scenario.publish("c", "a/1");
        assert_eq!(scenario.finish(id, status).len(), 2, "{status}");
    }
    for code in [Code::HttpMalformed, Code::HttpTruncated, Code::TlsExpired] {
        id += 1;
        scenario.publish("c", "a/1");
        assert_eq!(scenario.fail(id, code, "").len(), 2, "{code:?}");
    }
}

#[test]
fn a_direct_post_is_sent_again_only_if_nothing_was_processed() {
    let mut scenario = Scenario::new([patient(|_| {}).method(Method::Post).body("{payload}")]);
    scenario.publish("c", "a/1");
    assert_eq!(scenario.finish(1, 500).len(), 2);
    scenario.publish("c", "a/1");
    assert_eq!(scenario.fail(2, Code::ConnectReset, "").len(), 2);
    scenario.publish("c", "a/1");
    assert!(scenario.fail(3, Code::ConnectRefused, "").is_empty());
}

#[test]
fn retries_carry_the_idempotency_key_of_the_first_attempt() {
    let posting = |name: &str| {
        let name = name.to_owned();
        patient(move |it| it.conduct.idempotency_key = Some(name.clone()))
            .method(Method::Post)
            .body("{payload}")
    };
    let mut scenario = Scenario::new([posting("idempotency-key")]);
    let key = |scenario: &mut Scenario, topic: &str| {
        let event = Event::Message {
            message: message(topic, "x"),
            publisher: publisher("c"),
            ticket: None,
            unix_time: 0,
        };
        let bridge = &mut scenario.bridge;
        bridge.handle(event, scenario.now, &mut scenario.actions);
        started_key(scenario)
    };
    assert_eq!(key(&mut scenario, "a/1").unwrap(), "0000b007-1");
    assert!(scenario.finish(1, 429).is_empty());
    scenario.now += Duration::from_secs(2);
    let now = scenario.now;
    scenario.bridge.handle_timeout(now, &mut scenario.actions);
    assert_eq!(started_key(&mut scenario).unwrap(), "0000b007-1");
    scenario.finish(1, 200);
    assert_eq!(key(&mut scenario, "a/1").unwrap(), "0000b007-2");
    // The owner's own header counts, and without retries there is none.
    let own = posting("idempotency-key").header("idempotency-key", "mine");
    assert_eq!(key(&mut Scenario::new([own]), "a/1").unwrap(), "mine");
    let once = |it: &mut Endpoint| it.conduct.retry.attempts = Some(1);
    let once = patient(once).method(Method::Post).body("{payload}");
    assert_eq!(key(&mut Scenario::new([once]), "a/1"), None);
    assert_eq!(key(&mut Scenario::new([patient(|_| {})]), "a/1"), None);
}

/// Takes the actions; returns the key of the job among them that starts.
fn started_key(scenario: &mut Scenario) -> Option<String> {
    let actions = std::mem::take(&mut scenario.actions);
    let job = actions.into_iter().find_map(|action| match action {
        Action::Start(job) => Some(job),
        _ => None,
    });
    let headers = &job.unwrap().request.headers;
    let key = headers.iter().find(|(name, _)| name == "idempotency-key");
    key.map(|(_, value)| value.clone())
}

#[test]
fn an_attempt_that_would_come_too_late_is_not_made() {
    let mut scenario = Scenario::new([patient(|_| {})]);
    scenario.publish("c", "a/1");
    scenario.at(11);
    assert_eq!(
        scenario.fail(1, Code::TimeoutResponse, "after 5 s")[0],
        "publish replies/c/error timeout.response - after 5 s"
    );
    // Nor one that the server does not want before then.
    scenario.publish("c", "a/2");
    assert_eq!(scenario.respond(2, 503, Some(12)).len(), 2);
    scenario.publish("c", "a/3");
    assert!(scenario.respond(3, 503, Some(9)).is_empty());
    let (after, seen) = scenario.until_seen(LIMIT);
    assert_eq!(seen, ["start 3 /a/3"]);
    assert!(after >= Duration::from_secs(9), "{after:?}");
}

#[test]
fn a_retry_without_a_turn_is_told_what_the_last_attempt_came_to() {
    let mut scenario = Scenario::new([patient(|it| it.concurrency = 1)]);
    scenario.publish("c", "a/1");
    scenario.fail(1, Code::DnsFailed, "no answer");
    assert_eq!(scenario.publish("d", "a/2"), ["start 2 /a/2"]);
    assert_eq!(
        scenario.at(12)[0],
        "publish replies/c/error dns.failed - no answer"
    );
}

#[test]
fn a_stop_tells_what_the_last_attempt_came_to() {
    let mut scenario = Scenario::new([patient(|_| {})]);
    scenario.publish("c", "a/1");
    scenario.finish(1, 503);
    assert_eq!(
        scenario.handle(Event::Stop)[0],
        "publish replies/c/error http.status 503 Service Unavailable"
    );
    assert!(scenario.is_empty());
}

#[test]
fn a_verdict_pauses_the_endpoint_and_only_that() {
    let mut scenario = pausing();
    for topic in ["a/1", "a/2"] {
        scenario.publish("c", topic);
    }
    scenario.publish("d", "a/3");
    let verdict = "tls.expired: expired 2015-04-12; next try in 5 s";
    assert_eq!(
        scenario.fail(1, Code::TlsExpired, "expired 2015-04-12"),
        [
            "Endpoint { endpoint: \"api\", standing: Paused, code: \"tls.expired\", detail: \"expired 2015-04-12\" }".to_owned(),
            "publish replies/c/error tls.expired - expired 2015-04-12".to_owned(),
            "settled a/{x} c tls.expired".to_owned(),
            format!("publish replies/c/error bridge.paused - {verdict}"),
            "settled a/{x} c bridge.paused".to_owned(),
        ]
    );
    assert_eq!(
        scenario.fail(3, Code::TlsExpired, "expired 2015-04-12")[0],
        "publish replies/d/error tls.expired - expired 2015-04-12",
        "what ran has a verdict of its own"
    );
    assert_eq!(
        scenario.publish("d", "a/4")[0],
        format!("publish replies/d/error bridge.paused - {verdict}")
    );
    assert_eq!(scenario.publish("d", "b/1"), ["start 5 /b/1"]);
    assert_eq!(scenario.standing(), Standing::Paused);
    scenario.at(5);
    assert_eq!(scenario.publish("e", "a/5"), ["start 6 /a/5"], "the probe");
    assert_eq!(
        scenario.publish("f", "a/6")[0],
        "publish replies/f/error bridge.paused - tls.expired: expired 2015-04-12; it is tried at present"
    );
    assert_eq!(
        scenario.finish(6, 200),
        [
            "EndpointWorks { endpoint: \"api\", after: 5s }",
            "publish replies/e/ok body",
            "settled a/{x} e ok"
        ]
    );
    assert_eq!(scenario.publish("f", "a/7"), ["start 8 /a/7"]);
    assert_eq!(scenario.standing(), Standing::Works);
}

#[test]
fn a_probe_is_made_at_once_when_something_may_have_mended_it() {
    let mut scenario = pausing();
    scenario.publish("c", "a/1");
    scenario.fail(1, Code::TlsUnknownIssuer, "x");
    assert_eq!(scenario.publish("c", "a/2").len(), 2);
    scenario.handle(Event::ProbeNow);
    assert_eq!(scenario.publish("c", "a/3"), ["start 3 /a/3"]);
    scenario.fail(3, Code::TlsUnknownIssuer, "x");
    assert_eq!(scenario.publish("c", "a/4").len(), 2);
    scenario.handle(Event::Clock(None));
    assert_eq!(scenario.publish("c", "a/5"), ["start 5 /a/5"]);
}

#[test]
fn verdicts_on_captured_hosts_pause_nothing() {
    let captured = |it: &mut Endpoint| {
        it.conduct.pause = true;
        it.captured_host = true;
    };
    let mut scenario = Scenario::new([patient(captured)]);
    for id in 1..5 {
        assert_eq!(scenario.publish("c", "a/1").len(), 1);
        let code = if id % 2 == 0 {
            Code::TlsExpired
        } else {
            Code::TlsSelfSigned
        };
        assert_eq!(scenario.fail(id, code, "").len(), 2);
    }
}

#[test]
fn failed_handshakes_with_several_servers_are_told_as_a_captive_portal() {
    let mut scenario = pausing();
    scenario.publish("c", "a/1");
    scenario.publish("c", "b/1");
    scenario.fail(1, Code::TlsUnknownIssuer, "x");
    let portal = "CaptivePortal { hosts: [\"api.example.com\", \"other.example.com\"] }";
    let seen = scenario.fail(2, Code::TlsWrongName, "x");
    assert_eq!(seen[1], portal);
}

#[test]
fn unreachable_is_said_once_and_asked_all_the_same() {
    let once = |it: &mut Endpoint| it.conduct.retry.attempts = Some(1);
    let mut scenario = Scenario::new([patient(once)]);
    for id in 1..6 {
        assert_eq!(scenario.publish("c", "a/1").len(), 1);
        let told = scenario
            .fail(id, Code::ConnectUnreachable, "no route")
            .len();
        assert_eq!(told, if id == 3 { 3 } else { 2 });
    }
    assert_eq!(scenario.standing(), Standing::Unreachable);
    let state = &scenario.bridge.endpoints()[0];
    let last = state.last_failure.as_ref().unwrap();
    assert_eq!(last.code, Code::ConnectUnreachable);
    scenario.publish("c", "a/1");
    assert_eq!(
        scenario.finish(6, 404)[0],
        "EndpointWorks { endpoint: \"api\", after: 0ns }"
    );
}

#[test]
fn a_rate_is_kept_by_waiting() {
    let rate = |it: &mut Endpoint| {
        it.concurrency = 8;
        it.conduct.rate = Some(Rate {
            count: 2,
            per: Duration::from_secs(1),
        });
    };
    let mut scenario = Scenario::new([patient(rate)]);
    for client in ["c", "d", "e"] {
        scenario.publish(client, "a/1");
    }
    assert_eq!(scenario.bridge.counters()[0].in_flight, 2);
    let (after, seen) = scenario.until_seen(LIMIT);
    assert_eq!(
        (after.as_millis(), seen),
        (500, vec!["start 3 /a/1".to_owned()])
    );
}

#[test]
fn a_client_above_its_rate_waits_and_others_pass() {
    let rate = |it: &mut Endpoint| {
        it.concurrency = 8;
        it.conduct.client_rate = Some(Rate {
            count: 1,
            per: Duration::from_secs(20),
        });
    };
    let mut scenario = Scenario::new([patient(rate)]);
    assert_eq!(scenario.publish("c", "a/1").len(), 1);
    scenario.finish(1, 200);
    assert!(scenario.publish("c", "a/2").is_empty());
    assert_eq!(scenario.publish("d", "a/3"), ["start 3 /a/3"]);
    assert_eq!(
        scenario.at(12)[0],
        "publish replies/c/error bridge.rate_limited - no turn within 12 s at this rate"
    );
}

#[test]
fn a_reload_keeps_what_waits_and_the_counters() {
    let mut scenario = Scenario::new(two_routes());
    scenario.publish("c", "a/1");
    scenario.publish("c", "a/2");
    scenario.publish("d", "b/1");
    // `b` comes first, `a` goes elsewhere and answers otherwise, `z` is new.
    let [a, b] = two_routes();
    let a = a.path("/new/{x}").reply("r2/{client}");
    let table = [b, a, route("z")].map(RouteBuilder::build);
    let table = Arc::new(RouteTable::new(table.into()));
    assert!(scenario.handle(Event::Routes(table)).is_empty());
    let received: Vec<_> = scenario
        .bridge
        .counters()
        .iter()
        .map(|it| it.received)
        .collect();
    assert_eq!(received, [1, 2, 0]);
    assert_eq!(
        scenario.finish(1, 200),
        [
            "publish replies/c/ok body",
            "settled a/{x} c ok",
            "start 2 /a/2"
        ]
    );
    scenario.finish(2, 200);
    assert_eq!(scenario.publish("c", "a/3"), ["start 4 /new/3"]);
}

#[test]
fn an_endpoint_that_is_gone_answers_what_waited_for_it() {
    let mut scenario = Scenario::new(two_routes());
    scenario.publish("c", "a/1");
    scenario.publish("c", "a/2");
    let table = RouteTable::new(vec![route("z").build()]);
    let elsewhere = endpoint("other", |_| {});
    let table = RouteTable::new(
        table
            .routes
            .iter()
            .map(|_| {
                route("z")
                    .with(|it| it.endpoint = elsewhere.clone())
                    .build()
            })
            .collect(),
    );
    assert_eq!(
        scenario.handle(Event::Routes(Arc::new(table))),
        [
            "publish replies/c/error bridge.stopping - its endpoint is no longer in the configuration",
            "settled a/{x} c bridge.stopping"
        ]
    );
    assert_eq!(scenario.finish(1, 503).len(), 2, "and is not asked again");
    assert!(scenario.is_empty());
}
