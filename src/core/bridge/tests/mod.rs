//! The bridge brought to a state in one line, and what it then asks for.

mod failing;
mod stored;

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::core::bridge::testing::{
    RouteBuilder, endpoint, message, message_with, publisher, route,
};
use crate::core::hub::ConnectionId;
use crate::core::message::Properties;
use crate::core::outcome::{Outcome, Response};
use crate::core::reply::Form;
use crate::core::request::Method;

/// A bridge, a clock, and what the bridge asked for since the last look.
struct Scenario {
    bridge: Bridge,
    start: Instant,
    now: Instant,
    actions: Vec<Action>,
}

impl Scenario {
    #[expect(
        clippy::disallowed_methods,
        reason = "an `Instant` can be made in no other way"
    )]
    fn new(routes: impl IntoIterator<Item = RouteBuilder>) -> Self {
        let routes = routes.into_iter().map(RouteBuilder::build).collect();
        let start = Instant::now();
        Self {
            bridge: Bridge::new(Arc::new(RouteTable::new(routes)), "attic".into(), 0xb007),
            start,
            now: start,
            actions: Vec::new(),
        }
    }

    fn publish(&mut self, client: &str, topic: &str) -> Vec<String> {
        self.offer(message(topic, "payload"), publisher(client), None)
    }

    fn offer(
        &mut self,
        message: Message,
        publisher: Publisher,
        ticket: Option<Ticket>,
    ) -> Vec<String> {
        self.handle(Event::Message {
            message,
            publisher,
            ticket,
            unix_time: 0,
        })
    }

    fn finish(&mut self, id: usize, status: u16) -> Vec<String> {
        let outcome = Outcome::Response(Response {
            status,
            content_type: None,
            retry_after: None,
            body: Bytes::from_static(b"body"),
        });
        let id = JobId(id);
        self.handle(Event::Finished { id, outcome })
    }

    fn fail(&mut self, id: usize, code: Code, detail: &str) -> Vec<String> {
        let outcome = Outcome::Failure(Failure::new(code, detail));
        let id = JobId(id);
        self.handle(Event::Finished { id, outcome })
    }

    fn handle(&mut self, event: Event) -> Vec<String> {
        self.bridge.handle(event, self.now, &mut self.actions);
        self.seen()
    }

    fn at(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.start + Duration::from_secs(seconds);
        self.bridge.handle_timeout(self.now, &mut self.actions);
        self.seen()
    }

    /// The actions as text, complete: nothing else may have been asked for.
    fn seen(&mut self) -> Vec<String> {
        for counters in self.bridge.counters() {
            let parts = counters.succeeded
                + counters.failed
                + counters.queued
                + counters.in_flight
                + counters.dropped;
            assert_eq!(counters.received, parts, "{counters:?}");
        }
        self.actions.drain(..).map(|action| text(&action)).collect()
    }

    fn is_empty(&self) -> bool {
        self.bridge.queues.iter().all(Queue::is_empty)
            && self.bridge.running.is_empty()
            && self.bridge.deadlines.is_empty()
            && self.bridge.pending() == 0
    }
}

fn text(action: &Action) -> String {
    match action {
        Action::Start(job) => format!("start {} {}", job.id.0, job.request.target),
        Action::Acknowledge(ticket, reason) => format!("acknowledge {} {reason}", ticket.packet_id),
        Action::Publish(message) => format!(
            "publish {} {}",
            message.topic,
            String::from_utf8_lossy(&message.payload)
        ),
        Action::Report(Report::Settled {
            route,
            client,
            code,
            ..
        }) => format!("settled {route} {client} {code}"),
        Action::Report(report) => format!("{report:?}"),
        Action::Refuse(ticket) => format!("refuse {}", ticket.packet_id),
        Action::Store { .. } | Action::Load(_) => format!("{action:?}"),
    }
}

/// Routes `a/{x}` and `b/{x}` to the same endpoint: two workers, a queue of 8, a share of 4.
fn two_routes() -> [RouteBuilder; 2] {
    [route("a/{x}").path("/a/{x}"), route("b/{x}").path("/b/{x}")]
}

#[test]
fn a_message_becomes_a_job_and_its_outcome_a_reply() {
    let mut scenario = Scenario::new([route("nodes/{node}/posts")
        .method(Method::Post)
        .host("api.example.com")
        .path("/v1/{node}")
        .query("t", "{topic}")
        .header("authorization", "Bearer {secret.token}")
        .body("{payload}")]);
    let ticket = Ticket {
        connection: ConnectionId(3),
        packet_id: 9,
    };
    let event = Event::Message {
        message: message("nodes/k/posts", "21.5"),
        publisher: publisher("c"),
        ticket: Some(ticket),
        unix_time: 0,
    };
    scenario
        .bridge
        .handle(event, scenario.now, &mut scenario.actions);
    let [Action::Acknowledge(acknowledged, 0), Action::Start(job)] = scenario.actions.as_slice()
    else {
        panic!("{:?}", scenario.actions);
    };
    assert_eq!(*acknowledged, ticket);
    assert_eq!((job.id, job.attempt), (JobId(1), 1));
    assert_eq!(job.deadline, scenario.start + Duration::from_secs(12));
    let headers = [
        ("authorization", "Bearer s3cret\"token"),
        ("content-type", "application/json"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = crate::core::request::Request {
        body_holds_secret: false,
        method: Method::Post,
        host: "api.example.com".to_owned(),
        port: 443,
        target: "/v1/k?t=nodes%2Fk%2Fposts".to_owned(),
        headers: headers.to_vec(),
        body: Some(Bytes::from_static(b"21.5")),
    };
    assert_eq!(*job.request, request);
    assert!(!format!("{job:?}").contains("s3cret"));
    scenario.seen();
    assert_eq!(
        scenario.finish(1, 200),
        [
            "publish replies/c/ok body",
            "settled nodes/{node}/posts c ok"
        ]
    );
    let counters = Counters {
        received: 1,
        succeeded: 1,
        ..Counters::default()
    };
    assert_eq!(scenario.bridge.counters(), [counters]);
    assert!(scenario.is_empty());
}

#[test]
fn what_no_route_takes_is_acknowledged_and_a_near_miss_reported() {
    let mut scenario = Scenario::new([route("nodes/{node}/posts")]);
    let ticket = Some(Ticket {
        connection: ConnectionId(0),
        packet_id: 7,
    });
    assert_eq!(
        scenario.offer(message("nodes/k/post", ""), publisher("c"), ticket),
        [
            "acknowledge 7 0".to_owned(),
            "NearMiss { client: \"c\", topic: \"nodes/k/post\", route: \"nodes/{node}/posts\", expected: \"nodes/{node}/posts\" }".to_owned(),
        ]
    );
    assert_eq!(
        scenario.offer(message("else", ""), publisher("c"), ticket),
        ["acknowledge 7 0"]
    );
    assert!(scenario.publish("c", "$SYS/x").is_empty());
    assert_eq!(scenario.bridge.counters(), [Counters::default()]);
}

#[test]
fn a_retained_publish_enters_a_route() {
    let mut scenario = Scenario::new(two_routes());
    let retained = Message {
        retain: true,
        ..message("a/1", "")
    };
    assert_eq!(
        scenario.offer(retained, publisher("c"), None),
        ["start 1 /a/1"]
    );
}

#[test]
fn failures_and_statuses_are_told_and_counted_as_failed() {
    let mut scenario = Scenario::new(two_routes());
    scenario.publish("c", "a/1");
    assert_eq!(
        scenario.fail(1, Code::TlsExpired, "expired 2015-04-12"),
        [
            "publish replies/c/error tls.expired - expired 2015-04-12",
            "settled a/{x} c tls.expired"
        ]
    );
    scenario.publish("c", "a/1");
    assert_eq!(
        scenario.finish(2, 404),
        [
            "publish replies/c/error http.status 404 Not Found",
            "settled a/{x} c http.status"
        ]
    );
    assert_eq!(scenario.bridge.counters()[0].failed, 2);
}

#[test]
fn only_what_the_owner_must_fix_is_a_gateway_fault() {
    let mut scenario = Scenario::new(two_routes());
    for (id, code, expected) in [
        (1, Code::BridgeInternal, true),
        (2, Code::TlsExpired, false),
        (3, Code::TimeoutQueue, false),
    ] {
        scenario.publish("c", "a/1");
        let outcome = Outcome::Failure(Failure::new(code, "x"));
        let event = Event::Finished {
            id: JobId(id),
            outcome,
        };
        scenario
            .bridge
            .handle(event, scenario.now, &mut scenario.actions);
        let [
            _,
            Action::Report(Report::Settled {
                gateway_fault,
                detail,
                ..
            }),
        ] = scenario.actions.as_slice()
        else {
            panic!("{:?}", scenario.actions);
        };
        assert_eq!(
            (*gateway_fault, detail.as_str()),
            (expected, "x"),
            "{code:?}"
        );
        scenario.seen();
    }
}

#[test]
fn what_can_not_be_rendered_is_told_without_a_request() {
    let mut scenario = Scenario::new([route("a/{x}").path("/{payload}")]);
    assert_eq!(
        scenario.offer(message("a/1", ".."), publisher("c"), None),
        [
            "publish replies/c/error bridge.bad_request - `{payload}` would make a path segment `..`",
            "settled a/{x} c bridge.bad_request"
        ]
    );
    assert!(scenario.is_empty());
}

#[test]
fn one_lane_is_in_order_one_at_a_time() {
    let mut scenario = Scenario::new(two_routes());
    assert_eq!(scenario.publish("c", "a/1"), ["start 1 /a/1"]);
    assert!(scenario.publish("c", "a/2").is_empty());
    assert!(scenario.publish("c", "a/3").is_empty());
    assert_eq!(
        scenario.publish("c", "b/1"),
        ["start 4 /b/1"],
        "another lane"
    );
    assert_eq!(
        scenario.finish(1, 200),
        [
            "publish replies/c/ok body",
            "settled a/{x} c ok",
            "start 2 /a/2"
        ]
    );
    assert_eq!(
        scenario.finish(2, 200),
        [
            "publish replies/c/ok body",
            "settled a/{x} c ok",
            "start 3 /a/3"
        ]
    );
}

#[test]
fn clients_take_turns_whatever_their_backlog() {
    let mut scenario = Scenario::new(
        two_routes()
            .map(|it| it.with(|route| route.endpoint = endpoint("api", |it| it.concurrency = 1))),
    );
    for topic in ["a/1", "a/2", "b/3", "b/4"] {
        scenario.publish("greedy", topic);
    }
    scenario.publish("d", "a/5");
    scenario.publish("e", "a/6");
    let mut order = Vec::new();
    let mut running = 1;
    while let Some(start) = scenario
        .finish(running, 200)
        .iter()
        .find_map(|action| action.strip_prefix("start "))
    {
        order.push(start.to_owned());
        running = start.split(' ').next().unwrap().parse().unwrap();
    }
    // greedy waits with `b` from before the others came; then all take turns.
    assert_eq!(order, ["3 /b/3", "5 /a/5", "6 /a/6", "2 /a/2", "4 /b/4"]);
    assert!(scenario.is_empty());
}

#[test]
fn a_slow_endpoint_holds_up_no_other() {
    let [a, b] = two_routes();
    let other = endpoint("other", |_| {});
    let mut scenario = Scenario::new([a, b.with(|route| route.endpoint = other)]);
    for client in ["c", "d", "e", "f"] {
        scenario.publish(client, "a/1");
    }
    assert_eq!(scenario.publish("g", "b/1"), ["start 5 /b/1"]);
}

#[test]
fn a_full_queue_and_a_full_share_are_busy() {
    let mut scenario = Scenario::new(two_routes());
    for _ in 0..4 {
        scenario.publish("c", "a/1");
    }
    assert_eq!(
        scenario.publish("c", "b/1"),
        [
            "publish replies/c/error bridge.busy - 4 of this client's requests wait already",
            "settled b/{x} c bridge.busy"
        ]
    );
    for client in ["d", "e", "f", "g"] {
        scenario.publish(client, "a/1");
    }
    assert_eq!(
        scenario.publish("h", "a/1"),
        [
            "publish replies/h/error bridge.busy - 8 requests wait already",
            "settled a/{x} h bridge.busy"
        ]
    );
    assert_eq!(scenario.bridge.pending(), 8);
    scenario.finish(1, 200);
    assert!(
        scenario.publish("h", "a/1").is_empty(),
        "there is room again"
    );
}

#[test]
fn a_job_that_waits_past_its_deadline_is_told_so() {
    let mut scenario = Scenario::new(two_routes());
    scenario.publish("c", "a/1");
    assert_eq!(scenario.bridge.next_timeout(), None, "it runs");
    scenario.publish("c", "a/2");
    assert_eq!(
        scenario.bridge.next_timeout(),
        Some(scenario.start + Duration::from_secs(12))
    );
    assert!(scenario.at(11).is_empty());
    assert_eq!(
        scenario.at(12),
        [
            "publish replies/c/error timeout.queue - no turn within 12 s",
            "settled a/{x} c timeout.queue"
        ]
    );
    assert_eq!(scenario.bridge.next_timeout(), None);
    assert_eq!(
        scenario.finish(1, 200).len(),
        2,
        "the running one ends as usual"
    );
    assert!(scenario.is_empty());
}

#[test]
fn jobs_wait_for_the_time_to_be_known() {
    let mut scenario = Scenario::new(two_routes());
    let unset = || Event::Clock(Some("not set yet".to_owned()));
    assert!(scenario.handle(unset()).is_empty());
    assert!(scenario.publish("c", "a/1").is_empty());
    assert!(scenario.bridge.has_waiting());
    assert_eq!(
        scenario.at(12),
        [
            "publish replies/c/error clock.unset - not set yet",
            "settled a/{x} c clock.unset"
        ]
    );
    assert!(!scenario.bridge.has_waiting());
    scenario.publish("c", "a/2");
    scenario.publish("d", "a/3");
    let started = scenario.handle(Event::Clock(None));
    assert_eq!(started.len(), 2, "{started:?}");
    assert!(
        started.iter().all(|it| it.starts_with("start ")),
        "{started:?}"
    );
    // What runs when the clock jumps ends as it will; what comes waits.
    assert!(scenario.handle(unset()).is_empty());
    assert_eq!(scenario.finish(2, 200)[0], "publish replies/c/ok body");
    assert!(scenario.publish("c", "a/4").is_empty());
    let started = scenario.handle(Event::Clock(None));
    assert_eq!(started.len(), 1, "{started:?}");
}

#[test]
fn a_late_turn_is_no_turn() {
    let mut scenario = Scenario::new(two_routes());
    scenario.publish("c", "a/1");
    scenario.publish("c", "a/2");
    scenario.now += Duration::from_secs(13);
    assert_eq!(
        scenario.finish(1, 200),
        [
            "publish replies/c/ok body",
            "settled a/{x} c ok",
            "publish replies/c/error timeout.queue - no turn within 12 s",
            "settled a/{x} c timeout.queue"
        ]
    );
    assert!(scenario.is_empty());
}

#[test]
fn a_stop_answers_what_waits_and_lets_the_running_finish() {
    let mut scenario = Scenario::new(two_routes());
    scenario.publish("c", "a/1");
    scenario.publish("c", "a/2");
    let stopping = [
        "publish replies/c/error bridge.stopping - the gateway is shutting down",
        "settled a/{x} c bridge.stopping",
    ];
    assert_eq!(scenario.handle(Event::Stop), stopping);
    assert_eq!(scenario.publish("c", "a/3"), stopping);
    assert_eq!(scenario.bridge.pending(), 1);
    assert_eq!(
        scenario.finish(1, 200),
        ["publish replies/c/ok body", "settled a/{x} c ok"]
    );
    assert!(scenario.is_empty());
}

#[test]
fn giving_up_answers_what_waits_and_what_runs_and_late_outcomes_change_nothing() {
    let mut scenario = Scenario::new(two_routes());
    scenario.publish("c", "a/1");
    scenario.publish("c", "a/2");
    scenario.publish("d", "b/1");
    let settled = |client: &str, route: &str, detail: &str| {
        [
            format!("publish replies/{client}/error bridge.stopping - {detail}"),
            format!("settled {route}/{{x}} {client} bridge.stopping"),
        ]
    };
    let expected = [
        settled("c", "a", "the gateway is shutting down"),
        settled("c", "a", "no response before the gateway stopped"),
        settled("d", "b", "no response before the gateway stopped"),
    ];
    assert_eq!(scenario.handle(Event::GiveUp), expected.concat());
    assert!(scenario.is_empty());
    assert!(scenario.finish(1, 200).is_empty());
    assert_eq!(scenario.bridge.counters()[0].failed, 2);
}

#[test]
fn an_outcome_of_an_unknown_job_changes_nothing() {
    let mut scenario = Scenario::new(two_routes());
    scenario.publish("c", "a/1");
    scenario.finish(1, 200);
    assert!(scenario.finish(1, 200).is_empty(), "twice");
    assert!(scenario.finish(99, 200).is_empty(), "never started");
    assert_eq!(scenario.bridge.counters()[0].succeeded, 1);
}

#[test]
fn a_refused_response_topic_is_reported_and_the_route_s_topic_used() {
    let mut scenario = Scenario::new(two_routes());
    let properties = Properties {
        response_topic: Some("b/1".to_owned()),
        ..Properties::default()
    };
    let asking = message_with("a/1", "", properties);
    assert_eq!(
        scenario.offer(asking, publisher("c"), None),
        [
            "ResponseTopicRefused { client: \"c\", topic: \"b/1\", why: \"a route takes it\" }",
            "start 1 /a/1"
        ]
    );
    assert_eq!(scenario.finish(1, 200)[0], "publish replies/c/ok body");
}

#[test]
fn message_ids_differ_and_reach_the_reply() {
    let mut scenario =
        Scenario::new([route("a/{x}").path("/{message_id}").reply("r/{message_id}")]);
    assert_eq!(scenario.publish("c", "a/1"), ["start 1 /0000b007-1"]);
    assert_eq!(scenario.finish(1, 200)[0], "publish r/0000b007-1 body");
    assert_eq!(scenario.publish("c", "a/1"), ["start 2 /0000b007-2"]);
}

#[test]
fn content_type_says_what_the_body_is() {
    let with = |content_type: &str| Properties {
        content_type: Some(content_type.to_owned()),
        ..Properties::default()
    };
    let cases: [(&str, Message, &str, &str); 8] = [
        (
            "{payload}",
            message("a/1", "{\"t\":1}"),
            "application/json",
            "JSON",
        ),
        (
            "{payload}",
            message("a/1", "hello"),
            "text/plain; charset=utf-8",
            "text",
        ),
        (
            "{payload}",
            message("a/1", &b"\xff"[..]),
            "application/octet-stream",
            "bytes",
        ),
        (
            "{payload}",
            message_with("a/1", "1", with("text/csv; header=present")),
            "text/csv; header=present",
            "as published",
        ),
        (
            "{payload}",
            message_with("a/1", "x", with("a\r\nb: c")),
            "text/plain; charset=utf-8",
            "no header in it",
        ),
        (
            "{payload}",
            message_with("a/1", "x", with("csv")),
            "text/plain; charset=utf-8",
            "no type",
        ),
        (
            "v={payload}",
            message_with("a/1", "x", with("text/csv")),
            "text/plain; charset=utf-8",
            "the body is another",
        ),
        (
            "{\"a\":\"{payload}\"}",
            message("a/1", "x"),
            "application/json",
            "a template of JSON",
        ),
    ];
    for (body, message, expected, reason) in cases {
        let table = RouteTable::new(vec![route("a/{x}").body(body).build()]);
        let preview = table.preview(&message, &publisher("c"), "attic", 0);
        let headers = preview.unwrap().unwrap().headers;
        assert_eq!(
            headers,
            [("content-type".to_owned(), expected.to_owned())],
            "{reason}"
        );
    }
}

#[test]
fn a_preview_shows_everything_but_secrets() {
    let table = RouteTable::new(
        vec![
            route("nodes/{n}")
                .method(Method::Put)
                .host("{n}.api.example.com")
                .with(|route| route.port = 8443)
                .path("/v1/{n}")
                .query("k y", "{secret.token}")
                .header("authorization", "Bearer {secret.token}")
                .header("content-type", "text/x")
                .body("{\"s\":\"{secret.token}\",\"p\":\"{payload}\"}")
                .form(Form::Json),
        ]
        .into_iter()
        .map(RouteBuilder::build)
        .collect(),
    );
    let preview = table
        .preview(&message("nodes/k", "hi"), &publisher("c"), "attic", 0)
        .unwrap()
        .unwrap();
    assert_eq!(preview.route.name, "nodes/{n}");
    assert_eq!(preview.method, Method::Put);
    assert_eq!(preview.url, "https://k.api.example.com:8443/v1/k?k%20y=***");
    assert_eq!(preview.headers[0].1, "Bearer ***");
    assert_eq!(preview.body.unwrap(), "{\"s\":\"***\",\"p\":\"hi\"}");
    assert_eq!(preview.reply_topic_ok, "replies/c/ok");
    assert_eq!(preview.reply_topic_error, "replies/c/error");
    let refused = table.preview(&message("nodes/K", ""), &publisher("c"), "attic", 0);
    assert_eq!(
        refused.unwrap().unwrap_err().detail,
        "`{n}` is not a host label of lower-case letters, digits and inner `-`"
    );
    assert!(
        table
            .preview(&message("x", ""), &publisher("c"), "attic", 0)
            .is_none()
    );
}

#[test]
fn a_target_has_a_limit() {
    let mut builder = route("a/{x}");
    for name in ["a", "b"] {
        builder = builder.query(name, "{payload}");
    }
    let mut scenario = Scenario::new([builder]);
    let seen = scenario.offer(message("a/1", "x".repeat(4_200)), publisher("c"), None);
    assert_eq!(
        seen[0],
        "publish replies/c/error bridge.bad_request - path and query would be longer than 8192 bytes"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8, u8),
    Finish(usize),
    Wait(u64),
    Clock(bool),
    Stop,
    GiveUp,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_u8, 0..3_u8).prop_map(|(client, topic)| Step::Publish(client, topic)),
        6 => (0..40_usize).prop_map(Step::Finish),
        2 => (0..8_u64).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Clock),
        1 => Just(Step::Stop),
        1 => Just(Step::GiveUp),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_counts_add_up_and_nothing_is_left(
        steps in prop::collection::vec(any_step(), 0..120), stop in any::<bool>()
    ) {
        let [a, b] = two_routes();
        let other = endpoint("other", |it| { it.queue = 3; it.share = 2; it.concurrency = 1; });
        let third = route("c/{x}").with(|route| route.endpoint = other);
        let mut scenario = Scenario::new([a, b, third]);
        let mut started: Vec<usize> = Vec::new();
        let (mut told, mut published, mut seconds) = (0, 0, 0);
        let mut steps: Vec<_> = steps.into_iter().filter(|step| stop || !matches!(step, Step::Stop | Step::GiveUp)).collect();
        // At the end all that runs is finished, and what then starts, until nothing is left.
        steps.push(Step::Clock(true));
        steps.extend((0..400).map(Step::Finish));
        for step in steps {
            let seen = match step {
                Step::Publish(client, topic) => {
                    published += 1;
                    let topic = ["a/1", "b/1", "c/1"][usize::from(topic)];
                    scenario.publish(&format!("c{client}"), topic)
                }
                // Mostly jobs that were started, finished ones among them, and unknown ones.
                Step::Finish(at) => scenario.finish(started.get(at).copied().unwrap_or(at), 200),
                Step::Wait(more) => {
                    seconds += more;
                    scenario.at(seconds)
                }
                Step::Clock(known) => {
                    scenario.handle(Event::Clock((!known).then(|| "unset".to_owned())))
                }
                Step::Stop => scenario.handle(Event::Stop),
                Step::GiveUp => scenario.handle(Event::GiveUp),
            };
            told += seen.iter().filter(|action| action.starts_with("publish ")).count();
            for action in &seen {
                if let Some(start) = action.strip_prefix("start ") {
                    let id = start.split(' ').next().unwrap().parse().unwrap();
                    prop_assert!(!started.contains(&id), "started twice");
                    started.push(id);
                }
            }
            let in_flight: usize = scenario.bridge.counters().iter().map(|it| it.in_flight).sum();
            prop_assert!(in_flight <= 3);
            prop_assert_eq!(in_flight, scenario.bridge.running.len());
            let queued: usize = scenario.bridge.counters().iter().map(|it| it.queued).sum();
            prop_assert_eq!(queued, scenario.bridge.deadlines.len());
            prop_assert!(queued == 0 || scenario.bridge.next_timeout().is_some());
        }
        prop_assert!(scenario.is_empty());
        prop_assert_eq!(told, published, "each message is answered exactly once");
    }
}

#[test]
fn no_request_is_taken_on_while_memory_is_short() {
    let meter = Meter::new(1000);
    let mut scenario = Scenario::new([route("nodes/{n}/post")]);
    scenario.bridge = std::mem::replace(
        &mut scenario.bridge,
        Bridge::new(Arc::new(RouteTable::new(Vec::new())), "".into(), 0),
    )
    .with_meter(meter.clone());
    let other = meter.charge(800);
    let refused = scenario.publish("c", "nodes/k/post");
    let busy = refused.iter().any(|seen| seen.contains("bridge.busy"));
    assert!(busy, "{refused:?}");
    drop(other);
    let taken = scenario.publish("c", "nodes/k/post");
    assert!(
        taken.iter().any(|seen| seen.starts_with("start")),
        "{taken:?}"
    );
}
