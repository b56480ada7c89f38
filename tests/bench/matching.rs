//! What it costs to find a route and to render one message, and whether more routes cost more.
//!
//! Prints times and the ratio of 1,000 routes to 10; fails where the ratio or the time of one
//! message is out of bounds. Run with `cargo bench --bench matching`.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark reads the clock, prints, and may fail"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt_https_bridge::core::access::Hearing;
use mqtt_https_bridge::core::bridge::{Action, Bridge, Event, Publisher};
use mqtt_https_bridge::core::endpoint::{Conduct, Endpoint, IpVersions, Limits, Redirects, Trust};
use mqtt_https_bridge::core::message::{Message, QoS};
use mqtt_https_bridge::core::outcome::{Outcome, Response};
use mqtt_https_bridge::core::reply::{Form, Oversize, ReplyPlan};
use mqtt_https_bridge::core::request::Method;
use mqtt_https_bridge::core::route::{Route, RouteTable, RouteTopic, StatusSet};
use mqtt_https_bridge::core::secret::Secret;
use mqtt_https_bridge::core::template::{Place, Scope, Template};
use mqtt_https_bridge::core::topic::Topic;

/// Short runs, so that some fall between the neighbours' turns.
const RUNS: u32 = 99;
const CALLS: u32 = 2_000;

fn main() {
    let (few, many) = (table(10), table(1_000));
    let matching = |table: &RouteTable, topic: &str| {
        fastest(|| {
            black_box(table.first_match(black_box(topic)));
        })
    };
    let near_first = matching(&few, "nodes/kitchen/r5/7/get");
    let first = matching(&many, "nodes/kitchen/r5/7/get");
    let last = matching(&many, "nodes/kitchen/r999/7/get");
    let none = matching(&many, "sensors/kitchen/temperature");
    let ratio = last.as_secs_f64() / near_first.as_secs_f64();
    println!("match, 10 routes:             {near_first:?}");
    println!("match, 1,000 routes, early:   {first:?}");
    println!("match, 1,000 routes, last:    {last:?}  ratio to 10 routes {ratio:.2}");
    println!("no match, 1,000 routes:       {none:?}");

    let message = message();
    let publisher = publisher();
    let render = fastest(|| {
        let _ = black_box(many.preview(black_box(&message), &publisher, "attic", 0));
    });
    println!("match and render one message: {render:?}");

    let mut bridge = Bridge::new(Arc::new(many), "attic".into(), 1);
    let mut actions = Vec::new();
    let now = Instant::now();
    let whole = fastest(|| exchange(&mut bridge, &message, &publisher, now, &mut actions));
    println!("message, job, outcome, reply: {whole:?}");

    assert!(
        ratio < 1.5,
        "1,000 routes take {ratio:.2} times as long as 10"
    );
    let limit = Duration::from_micros(5);
    assert!(render < limit, "matching and rendering take {render:?}");
}

/// One message from publish to reply, the request left out.
fn exchange(
    bridge: &mut Bridge,
    message: &Message,
    publisher: &Publisher,
    now: Instant,
    actions: &mut Vec<Action>,
) {
    let event = Event::Message {
        message: message.clone(),
        publisher: publisher.clone(),
        ticket: None,
        unix_time: 0,
    };
    bridge.handle(event, now, actions);
    let Some(Action::Start(job)) = actions.pop() else {
        panic!("the message starts no job");
    };
    let outcome = Outcome::Response(Response {
        status: 200,
        content_type: Some("application/json".to_owned()),
        retry_after: None,
        body: "{\"id\":7,\"title\":\"a title of some length\",\"n\":[1,2,3]}".into(),
    });
    let id = job.id;
    bridge.handle(Event::Finished { id, outcome }, now, actions);
    assert_eq!(actions.len(), 2, "a reply and a report");
    actions.clear();
}

/// Returns the time of one call in the fastest run: neighbours only ever slow it down.
fn fastest(mut call: impl FnMut()) -> Duration {
    let run = |_| {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        start.elapsed() / CALLS
    };
    (0..RUNS).map(run).min().unwrap_or_default()
}

fn table(count: usize) -> RouteTable {
    RouteTable::new((0..count).map(route).collect())
}

fn route(number: usize) -> Route {
    let topic =
        RouteTopic::parse(&format!("nodes/{{node}}/r{number}/{{id}}/get")).expect("a topic");
    let secret = |_: &str| Some(Secret::new("token"));
    let parse = |text: &str, place, reply| {
        let captures = &topic.captures;
        let scope = Scope {
            place,
            captures,
            secret: &secret,
            reply,
        };
        Template::parse(text, scope).expect("a template")
    };
    Route {
        name: format!("route {number}"),
        endpoint: endpoint(),
        method: Method::Post,
        host: parse("api.example.com", Place::Host, false),
        port: 443,
        path: parse("/v1/{node}/posts/{id}", Place::Path, false),
        query: vec![("at".to_owned(), parse("{time}", Place::Query, false))],
        headers: vec![(
            "authorization".to_owned(),
            parse("Bearer {secret.token}", Place::Header, false),
        )],
        body: Some(parse(
            "{\"node\":\"{node}\",\"value\":{payload}}",
            Place::Json,
            false,
        )),
        limits: Limits {
            timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(12),
            max_response: 65_536,
        },
        success: StatusSet::parse(["2xx"]).expect("a set"),
        reply: ReplyPlan {
            topic: parse("replies/{node}/posts/{id}/{outcome}", Place::Topic, true),
            form: Form::Json,
            select: vec![(None, "/title".to_owned())],
            packet: 256,
            oversize: Oversize::Error,
            retain: false,
            expiry: None,
        },
        reply_qos: QoS::AtMostOnce,
        stored: None,
        topic,
    }
}

fn endpoint() -> Arc<Endpoint> {
    Arc::new(Endpoint {
        name: "api".to_owned(),
        url: "https://api.example.com/v1".to_owned(),
        address: None,
        ip: IpVersions::Both,
        captured_host: false,
        private_addresses: true,
        trust: Trust::default(),
        redirects: Redirects::SameOrigin,
        concurrency: 2,
        queue: 100,
        share: 25,
        conduct: Conduct::default(),
    })
}

fn message() -> Message {
    Message {
        topic: Topic::parse("nodes/kitchen/r999/7/get").expect("a topic"),
        payload: "{\"t\":21.5,\"h\":40}".into(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: None,
    }
}

fn publisher() -> Publisher {
    Publisher {
        client: "kitchen".into(),
        user: Some("kitchen".into()),
        reply_packet: None,
        maximum_packet: None,
        hearing: Hearing::Deny,
    }
}
