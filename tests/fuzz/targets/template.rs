//! Templates in their places, filled with what any client can send: a value never adds a
//! segment, a parameter, a header or a line, nor takes the place of a key, and a secret never
//! comes back.
//!
//! The input is texts between NULs: the place (its first letter), the template, the route's
//! topic, the message's topic, client ID, user name; then the payload.

#![no_main]

use std::sync::Arc;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use mqtt_https_bridge::core::bridge::{Action, Bridge, Event, Publisher};
use mqtt_https_bridge::core::message::Message;
use mqtt_https_bridge::core::outcome::{Code, Failure, Outcome, Response};
use mqtt_https_bridge::core::reply::Form;
use mqtt_https_bridge::core::request::Request;
use mqtt_https_bridge::core::route::{Route, RouteTable, RouteTopic};
use mqtt_https_bridge::core::secret::Secret;
use mqtt_https_bridge::core::template::{Place, Scope, Template};
use mqtt_https_bridge::core::topic::Topic;
use mqtt_https_bridge_fuzz::{Input, message, plain_routes, publisher};
use serde_json::Value;

/// What `{secret.token}` stands for.
const TOKEN: &str = "s3cretT0ken";

/// Values of placeholders that are text in every place, and so in quotes where that is JSON.
const TEXTS: [&str; 6] = ["user", "client", "gateway", "message_id", "topic", "time"];

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let (place, template, route) = (input.text(), input.text(), input.text());
    let topic = input.text();
    let (client, user) = (input.text(), input.text());
    let payload = input.rest();
    let Ok(route_topic) = RouteTopic::parse(&route) else {
        return;
    };
    let (place, in_reply) = where_it_stands(&place, &template);
    let Some(parsed) = parse(&template, place, in_reply, &route_topic) else {
        return;
    };
    let Some(route) = build(parsed.clone(), in_reply, route_topic) else {
        return;
    };
    let filter = route.reply.filter();
    let table = Arc::new(RouteTable::new(vec![route]));
    let Ok(topic) = Topic::parse(&topic) else {
        return;
    };
    let message = message(topic, payload);
    let user = (!user.is_empty()).then_some(&*user);
    let publisher = publisher(&client, user);
    hide_secrets(&table, &message, &publisher, bytes);
    let told = perform(&table, &message, &publisher);
    let Some(told) = told else { return };
    for reply in &told.replies {
        assert!(
            filter.matches(reply.topic.as_str()),
            "{reply:?} is not in {filter:?}"
        );
        assert!(!shows_secret(&reply.payload, bytes), "{reply:?}");
    }
    let harmless = perform(
        &table,
        &harmless(&message, &table),
        &harmless_publisher(user),
    );
    if let Some(request) = &told.request {
        check_request(request, &table.routes[0]);
        let compared = harmless.as_ref().and_then(|told| told.request.as_ref());
        if let Some(harmless) = compared {
            compare_requests(request, harmless, &parsed);
        }
    }
});

/// Returns the place that a letter stands for, and whether the template is of a reply.
fn where_it_stands(place: &str, template: &str) -> (Place, bool) {
    match place.as_bytes().first() {
        Some(b'q') => (Place::Query, false),
        Some(b'h') => (Place::Header, false),
        Some(b'H') => (Place::Host, false),
        Some(b'f') => (Place::Form, false),
        Some(b'j') => (Place::Json, false),
        Some(b't') => (Place::Text, false),
        Some(b'r') => (Place::Topic, true),
        Some(b'R') => (Place::of_body(template, None), true),
        _ => (Place::Path, false),
    }
}

fn parse(text: &str, place: Place, reply: bool, topic: &RouteTopic) -> Option<Template> {
    let secret = |name: &str| (name == "token").then(|| Secret::new(TOKEN));
    let scope = Scope {
        place,
        captures: &topic.captures,
        secret: &secret,
        reply,
    };
    let parsed = Template::parse(text, scope);
    if let Err(error) = &parsed {
        assert!(!error.to_string().contains(TOKEN) || text.contains(TOKEN));
        assert!(!error.to_string().is_empty());
    }
    let parsed = parsed.ok()?;
    assert_eq!(parsed.as_str(), text);
    assert_eq!(parsed.place(), place);
    if parsed.names().is_empty() {
        assert_eq!(parsed.as_literal(), Some(text));
    }
    Some(parsed)
}

/// Puts a template into its place in a route; `None` where bridge.toml could not.
fn build(template: Template, in_reply: bool, topic: RouteTopic) -> Option<Route> {
    let mut route = plain_routes(1).pop()?;
    route.topic = topic;
    match template.place() {
        Place::Topic => route.reply.topic = template,
        Place::Json | Place::Text if in_reply => route.reply.form = Form::Template(template),
        Place::Path => route.path = template,
        Place::Query => {
            route.query = vec![
                ("first".to_owned(), template.clone()),
                ("x".to_owned(), template),
            ];
        }
        Place::Header => route.headers = vec![("x-value".to_owned(), template)],
        Place::Host => {
            // A name without a placeholder is the URL's, which has rules of its own.
            if template.names().is_empty() {
                return None;
            }
            route.host = template;
        }
        Place::Json | Place::Form | Place::Text => route.body = Some(template),
    }
    // `check` refuses routes that would take their own replies.
    (!route.reply.filter().overlaps(&route.topic.filter)).then_some(route)
}

struct Told {
    request: Option<Request>,
    replies: Vec<Message>,
}

/// Lets a bridge take the message and answers its request, if there is one, in several ways.
fn perform(table: &Arc<RouteTable>, message: &Message, publisher: &Publisher) -> Option<Told> {
    table.first_match(message.topic.as_str())?;
    let now = Instant::now();
    let mut told = Told {
        request: None,
        replies: Vec::new(),
    };
    for outcome in outcomes(message) {
        let mut bridge = Bridge::new(Arc::clone(table), "attic".into(), 7);
        let mut actions = Vec::new();
        let event = Event::Message {
            message: message.clone(),
            publisher: publisher.clone(),
            ticket: None,
            unix_time: 1_700_000_000,
        };
        bridge.handle(event, now, &mut actions);
        let mut job = None;
        for action in actions.drain(..) {
            match action {
                Action::Start(own) => job = Some(own),
                Action::Publish(reply) => told.replies.push(reply),
                Action::Acknowledge(..) | Action::Report(_) => {}
                Action::Store { .. } | Action::Load(_) | Action::Refuse(_) => {
                    panic!("no route is stored: {action:?}")
                }
            }
        }
        let Some(job) = job else {
            assert_eq!(told.replies.len(), 1, "no request, so one reply");
            return Some(told);
        };
        told.request = Some(Request::clone(&job.request));
        let before = told.replies.len();
        bridge.handle(
            Event::Finished {
                id: job.id,
                outcome,
            },
            now,
            &mut actions,
        );
        for action in actions {
            if let Action::Publish(reply) = action {
                told.replies.push(reply);
            }
        }
        assert_eq!(told.replies.len(), before + 1, "one reply to one request");
    }
    Some(told)
}

/// The server answers with what the client sent, or not at all.
fn outcomes(message: &Message) -> [Outcome; 3] {
    let response = |status| {
        Outcome::Response(Response {
            status,
            content_type: None,
            retry_after: None,
            body: message.payload.clone(),
        })
    };
    let failure = Failure::new(Code::TlsExpired, "expired 2015-04-12");
    [response(200), response(404), Outcome::Failure(failure)]
}

/// A message to the same route in which every value is `x`, and the payload is the same: a
/// pointer into it finds the same values.
fn harmless(message: &Message, table: &RouteTable) -> Message {
    let route = &table.routes[0].topic;
    let first = route.captures.iter().find(|it| it.rest).map(|it| it.level);
    let level = |(at, text): (usize, &'_ str)| {
        let captured = route.captures.iter().any(|it| it.level == at);
        let captured = captured || first.is_some_and(|first| at >= first);
        if captured {
            "x".to_owned()
        } else {
            text.to_owned()
        }
    };
    let levels = message.topic.as_str().split('/').enumerate().map(level);
    let topic = levels.collect::<Vec<_>>().join("/");
    Message {
        topic: Topic::parse(&topic).expect("captures do not make a topic invalid"),
        ..message.clone()
    }
}

fn harmless_publisher(user: Option<&str>) -> Publisher {
    publisher("x", user.map(|_| "x"))
}

/// What holds for every request, whoever asked.
fn check_request(request: &Request, route: &Route) {
    let target = &request.target;
    assert!(target.starts_with('/'), "{target:?}");
    assert!(
        target.bytes().all(|byte| byte.is_ascii_graphic()),
        "{target:?}"
    );
    assert!(!target.contains('#'), "{target:?}");
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&**target, None),
    };
    for segment in path.split('/') {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        assert!(!matches!(&*segment, "." | ".."), "{target:?}");
    }
    let parameters = query.map_or(0, |query| query.split('&').count());
    assert_eq!(parameters, route.query.len(), "{target:?}");
    for parameter in query.into_iter().flat_map(|query| query.split('&')) {
        assert_eq!(parameter.matches('=').count(), 1, "{target:?}");
        assert!(!parameter.contains(['?', '/']), "{target:?}");
    }
    let host = &request.host;
    let labels = host.split('.').count();
    assert_eq!(labels, route.host.as_str().split('.').count(), "{host:?}");
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    assert!(
        host.bytes().all(fits) && host.split('.').all(|label| !label.is_empty()),
        "{host:?}"
    );
    let has_body = usize::from(request.body.is_some());
    assert!(request.headers.len() <= route.headers.len() + has_body);
    for (name, value) in &request.headers {
        let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t';
        assert!(value.bytes().all(printable), "{name}: {value:?}");
    }
    let json = route
        .body
        .as_ref()
        .filter(|body| body.place() == Place::Json);
    if let (Some(_), Some(body)) = (json, &request.body) {
        let text = std::str::from_utf8(body).expect("JSON is UTF-8");
        let parsed = serde_json::from_str::<&serde_json::value::RawValue>(text);
        assert!(parsed.is_ok(), "{text:?}");
    }
}

/// What a value makes of a request has the shape of what `x` makes of it.
fn compare_requests(request: &Request, harmless: &Request, template: &Template) {
    let count = |text: &str, mark: char| text.matches(mark).count();
    for mark in ['/', '?', '&', '='] {
        // In a path, `&` and `=` say nothing.
        if template.place() != Place::Path || matches!(mark, '/' | '?') {
            let (own, expected) = (count(&request.target, mark), count(&harmless.target, mark));
            assert_eq!(own, expected, "{:?} {:?}", request.target, harmless.target);
        }
    }
    let names = |request: &Request| -> Vec<String> {
        request
            .headers
            .iter()
            .map(|(name, _)| name.clone())
            .collect()
    };
    assert_eq!(names(request), names(harmless));
    let (Some(own), Some(expected)) = (&request.body, &harmless.body) else {
        assert_eq!(request.body.is_some(), harmless.body.is_some());
        return;
    };
    if template.place() == Place::Form {
        for mark in *b"&=" {
            let count = |body: &[u8]| body.iter().filter(|byte| **byte == mark).count();
            assert_eq!(count(own), count(expected), "{own:?} {expected:?}");
        }
    }
    let quoted = template.names().iter().all(|name| TEXTS.contains(name));
    if template.place() == Place::Json && quoted {
        let parsed = |body| serde_json::from_slice::<Value>(body);
        // Numbers out of range are JSON all the same, but not for this reader.
        if let (Ok(own), Ok(expected)) = (parsed(own), parsed(expected)) {
            assert_eq!(shape(&own), shape(&expected));
        }
    }
}

/// Returns the structure of a JSON value: how many members it has, and theirs.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "n".to_owned(),
        Value::Bool(_) => "b".to_owned(),
        Value::Number(_) => "0".to_owned(),
        Value::String(_) => "s".to_owned(),
        Value::Array(own) => format!("[{}]", own.iter().map(shape).collect::<String>()),
        // Keys may hold values too; serde_json sorts them, and their order says nothing.
        Value::Object(own) => {
            let mut members: Vec<_> = own.values().map(shape).collect();
            members.sort();
            format!("{{{}}}", members.concat())
        }
    }
}

/// Checks what `check --topic` shows of the message.
fn hide_secrets(table: &RouteTable, message: &Message, publisher: &Publisher, input: &[u8]) {
    let Some(Ok(preview)) = table.preview(message, publisher, "attic", 0) else {
        return;
    };
    let shown = format!("{} {:?} {:?}", preview.url, preview.headers, preview.body);
    assert!(!shows_secret(shown.as_bytes(), input), "{shown}");
}

fn shows_secret(text: &[u8], input: &[u8]) -> bool {
    let holds = |bytes: &[u8]| bytes.windows(TOKEN.len()).any(|it| it == TOKEN.as_bytes());
    holds(text) && !holds(input)
}
