//! The status as one JSON document, for programs.
//!
//! Members are only ever added. Durations are whole seconds, sizes bytes; what is not known or not
//! there is `null`.

use std::time::Duration;

use super::{Certificate, Clients, Endpoint, Listener, Reload, Route, Status, Store};
use crate::core::bridge::Share;
use crate::core::json::push_string;

/// A JSON value on its way out.
enum Value<'a> {
    Null,
    Flag(bool),
    Number(u64),
    Text(&'a str),
    Owned(String),
    List(Vec<Self>),
    Object(Vec<(&'static str, Self)>),
}

pub(super) fn write(status: &Status) -> String {
    let mut out = Vec::new();
    document(status).push(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn document(status: &Status) -> Value<'_> {
    let configuration = &status.configuration;
    Value::Object(vec![
        ("version", Value::Text(status.version)),
        ("uptime", seconds(status.uptime)),
        ("stopping", Value::Flag(status.stopping)),
        (
            "configuration",
            Value::Object(vec![
                ("file", Value::Text(&configuration.file)),
                ("id", Value::Text(&configuration.id)),
                ("reloads", number(configuration.reloads)),
                ("last_reload", maybe(configuration.last.as_ref(), reload)),
            ]),
        ),
        (
            "clock_unset",
            maybe(status.clock_unset.as_deref(), Value::Text),
        ),
        ("listeners", list(&status.listeners, listener)),
        ("clients", clients(status.clients)),
        ("routes", list(&status.routes, route)),
        ("endpoints", list(&status.endpoints, endpoint)),
        ("certificates", list(&status.certificates, certificate)),
        ("store", maybe(status.store.as_ref(), store)),
        (
            "memory",
            Value::Object(vec![
                ("used", number(status.memory.used)),
                ("ceiling", number(status.memory.ceiling)),
                ("resident", maybe(status.memory.resident, number)),
            ]),
        ),
    ])
}

fn store(store: &Store) -> Value<'_> {
    Value::Object(vec![
        ("trouble", maybe(store.trouble.as_deref(), Value::Text)),
        ("values", number(store.values)),
        ("live", number(store.live)),
        ("room", number(store.room)),
        ("full", Value::Flag(store.full)),
        ("total", number(store.total)),
        ("segments", number(store.segments)),
        ("damaged", number(store.damaged)),
        ("batches", Value::Number(store.batches)),
        ("refused", Value::Number(store.refused)),
        ("written", Value::Number(store.written)),
        ("syncs", Value::Number(store.syncs)),
    ])
}

fn reload(reload: &Reload) -> Value<'_> {
    Value::Object(vec![
        ("seconds_ago", seconds(reload.ago)),
        ("ok", Value::Flag(reload.errors.is_empty())),
        ("errors", list(&reload.errors, |it| Value::Text(it))),
    ])
}

fn listener(listener: &Listener) -> Value<'_> {
    Value::Object(vec![
        ("address", Value::Owned(listener.address.to_string())),
        ("tls", Value::Flag(listener.tls)),
        ("state", Value::Text(listener.door.word())),
    ])
}

fn clients(clients: Clients) -> Value<'static> {
    Value::Object(vec![
        ("connected", number(clients.connected)),
        ("offline", number(clients.offline)),
        ("most", number(clients.most)),
        ("accepted", number(clients.accepted)),
        ("turned_away", number(clients.turned_away)),
        ("refused", number(clients.refused)),
        ("violations", number(clients.violations)),
        ("denied", number(clients.denied)),
        ("dropped", number(clients.dropped)),
    ])
}

fn route(route: &Route) -> Value<'_> {
    let counters = &route.counters;
    Value::Object(vec![
        ("name", Value::Text(&route.name)),
        ("endpoint", maybe(route.endpoint.as_deref(), Value::Text)),
        ("received", number(counters.received)),
        ("succeeded", number(counters.succeeded)),
        ("failed", number(counters.failed)),
        ("queued", number(counters.queued)),
        ("in_flight", number(counters.in_flight)),
        ("dropped", number(counters.dropped)),
        ("oldest", maybe(route.oldest, seconds)),
        ("store", maybe(route.share, share)),
    ])
}

fn share(share: Share) -> Value<'static> {
    Value::Object(vec![
        ("bytes", number(share.bytes)),
        ("max_bytes", maybe(share.max_bytes, number)),
        ("full", Value::Flag(share.is_full)),
    ])
}

fn endpoint(endpoint: &Endpoint) -> Value<'_> {
    let error = endpoint.last_error.as_ref();
    Value::Object(vec![
        ("name", Value::Text(&endpoint.name)),
        ("url", Value::Text(&endpoint.url)),
        ("requests", number(endpoint.requests)),
        (
            "handshakes",
            Value::Object(vec![
                ("full", number(endpoint.full)),
                ("resumed", number(endpoint.resumed)),
                ("failed", number(endpoint.failed)),
            ]),
        ),
        ("state", Value::Text(super::standing(endpoint.standing))),
        ("since", maybe(endpoint.since, seconds)),
        ("next_probe", maybe(endpoint.next_probe, seconds)),
        (
            "last_error",
            maybe(error, |error| {
                Value::Object(vec![
                    ("seconds_ago", seconds(error.ago)),
                    ("code", Value::Text(error.code)),
                    ("detail", Value::Text(&error.detail)),
                ])
            }),
        ),
    ])
}

fn certificate(certificate: &Certificate) -> Value<'_> {
    Value::Object(vec![
        ("name", Value::Text(&certificate.name)),
        ("endpoint", Value::Text(&certificate.endpoint)),
        ("own", Value::Flag(certificate.own)),
        ("days_left", Value::Number(certificate.days)),
        ("not_after", Value::Text(&certificate.end)),
    ])
}

fn number(number: usize) -> Value<'static> {
    Value::Number(u64::try_from(number).unwrap_or(u64::MAX))
}

fn seconds(duration: Duration) -> Value<'static> {
    Value::Number(duration.as_secs())
}

fn maybe<'a, T>(value: Option<T>, write: impl FnOnce(T) -> Value<'a>) -> Value<'a> {
    value.map_or(Value::Null, write)
}

fn list<'a, T>(values: &'a [T], write: impl Fn(&'a T) -> Value<'a>) -> Value<'a> {
    Value::List(values.iter().map(write).collect())
}

impl Value<'_> {
    fn push(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Flag(flag) => out.extend_from_slice(flag.to_string().as_bytes()),
            Self::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Text(text) => push_string(text, out),
            Self::Owned(text) => push_string(text, out),
            Self::List(values) => {
                out.push(b'[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    value.push(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    push_string(name, out);
                    out.push(b':');
                    value.push(out);
                }
                out.push(b'}');
            }
        }
    }
}
