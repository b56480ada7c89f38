//! The status as one JSON document, for programs.
//!
//! Members are only ever added. Durations are whole seconds, sizes bytes; what is not known or not
//! there is `null`.

use std::time::Duration;

use super::{Certificate, Clients, Endpoint, LastError, Listener, Reload, Route, Status, Store};
use crate::core::bridge::Share;
use crate::core::json::push_string;

/// Stands for what is not there.
const NULL: &str = "null";

pub(super) fn write(status: &Status) -> String {
    let mut out = Writer::default();
    document(status, &mut out);
    String::from_utf8_lossy(&out.text).into_owned()
}

fn document(status: &Status, out: &mut Writer) {
    out.open(b'{');
    out.text("version", status.version);
    out.seconds("uptime", status.uptime);
    out.flag("stopping", status.stopping);
    out.name("configuration");
    out.open(b'{');
    out.text("file", &status.configuration.file);
    out.text("id", &status.configuration.id);
    out.number("reloads", status.configuration.reloads);
    out.name("last_reload");
    out.maybe(status.configuration.last.as_ref(), reload);
    out.close(b'}');
    out.maybe_text("clock_unset", status.clock_unset.as_deref());
    out.list("listeners", &status.listeners, listener);
    out.name("clients");
    clients(status.clients, out);
    out.list("routes", &status.routes, route);
    out.list("endpoints", &status.endpoints, endpoint);
    out.list("certificates", &status.certificates, certificate);
    out.name("store");
    out.maybe(status.store.as_ref(), store);
    out.name("memory");
    out.open(b'{');
    out.number("used", status.memory.used);
    out.number("ceiling", status.memory.ceiling);
    out.maybe_number("resident", status.memory.resident);
    out.close(b'}');
    out.close(b'}');
}

fn store(store: &Store, out: &mut Writer) {
    out.open(b'{');
    out.maybe_text("trouble", store.trouble.as_deref());
    out.number("values", store.values);
    out.number("live", store.live);
    out.number("room", store.room);
    out.flag("full", store.full);
    out.number("total", store.total);
    out.number("segments", store.segments);
    out.number("damaged", store.damaged);
    out.count("batches", store.batches);
    out.count("refused", store.refused);
    out.count("written", store.written);
    out.count("syncs", store.syncs);
    out.close(b'}');
}

fn reload(reload: &Reload, out: &mut Writer) {
    out.open(b'{');
    out.seconds("seconds_ago", reload.ago);
    out.flag("ok", reload.errors.is_empty());
    out.list("errors", &reload.errors, |error, out| out.push_text(error));
    out.close(b'}');
}

fn listener(listener: &Listener, out: &mut Writer) {
    out.open(b'{');
    out.text("address", &listener.address.to_string());
    out.flag("tls", listener.tls);
    out.text("state", listener.door.word());
    out.close(b'}');
}

fn clients(clients: Clients, out: &mut Writer) {
    out.open(b'{');
    out.number("connected", clients.connected);
    out.number("offline", clients.offline);
    out.number("most", clients.most);
    out.number("accepted", clients.accepted);
    out.number("turned_away", clients.turned_away);
    out.number("refused", clients.refused);
    out.number("violations", clients.violations);
    out.number("denied", clients.denied);
    out.number("dropped", clients.dropped);
    out.close(b'}');
}

fn route(route: &Route, out: &mut Writer) {
    let counters = &route.counters;
    out.open(b'{');
    out.text("name", &route.name);
    out.maybe_text("endpoint", route.endpoint.as_deref());
    out.number("received", counters.received);
    out.number("succeeded", counters.succeeded);
    out.number("failed", counters.failed);
    out.number("queued", counters.queued);
    out.number("in_flight", counters.in_flight);
    out.number("dropped", counters.dropped);
    out.maybe_seconds("oldest", route.oldest);
    out.name("store");
    out.maybe(route.share.as_ref(), share);
    out.close(b'}');
}

fn share(share: &Share, out: &mut Writer) {
    out.open(b'{');
    out.number("bytes", share.bytes);
    out.maybe_number("max_bytes", share.max_bytes);
    out.flag("full", share.is_full);
    out.close(b'}');
}

fn endpoint(endpoint: &Endpoint, out: &mut Writer) {
    out.open(b'{');
    out.text("name", &endpoint.name);
    out.text("url", &endpoint.url);
    out.number("requests", endpoint.requests);
    out.name("handshakes");
    out.open(b'{');
    out.number("full", endpoint.full);
    out.number("resumed", endpoint.resumed);
    out.number("failed", endpoint.failed);
    out.close(b'}');
    out.text("state", super::standing(endpoint.standing));
    out.maybe_seconds("since", endpoint.since);
    out.maybe_seconds("next_probe", endpoint.next_probe);
    out.name("last_error");
    out.maybe(endpoint.last_error.as_ref(), last_error);
    out.close(b'}');
}

fn last_error(error: &LastError, out: &mut Writer) {
    out.open(b'{');
    out.seconds("seconds_ago", error.ago);
    out.text("code", error.code);
    out.text("detail", &error.detail);
    out.close(b'}');
}

fn certificate(certificate: &Certificate, out: &mut Writer) {
    out.open(b'{');
    out.text("name", &certificate.name);
    out.text("endpoint", &certificate.endpoint);
    out.flag("own", certificate.own);
    out.count("days_left", certificate.days);
    out.text("not_after", &certificate.end);
    out.close(b'}');
}

/// A document on its way out.
#[derive(Default)]
struct Writer {
    text: Vec<u8>,
}

impl Writer {
    /// Begins an object or a list.
    fn open(&mut self, bracket: u8) {
        self.separate();
        self.text.push(bracket);
    }

    /// Ends it.
    fn close(&mut self, bracket: u8) {
        self.text.push(bracket);
    }

    /// Names the value that follows.
    fn name(&mut self, name: &str) {
        self.push_text(name);
        self.text.push(b':');
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.push_text(value);
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.word(name, if value { "true" } else { "false" });
    }

    fn count(&mut self, name: &str, value: u64) {
        self.word(name, &value.to_string());
    }

    fn number(&mut self, name: &str, value: usize) {
        self.word(name, &value.to_string());
    }

    fn seconds(&mut self, name: &str, value: Duration) {
        self.count(name, value.as_secs());
    }

    fn maybe_text(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(name, value),
            None => self.word(name, NULL),
        }
    }

    fn maybe_number(&mut self, name: &str, value: Option<usize>) {
        match value {
            Some(value) => self.number(name, value),
            None => self.word(name, NULL),
        }
    }

    fn maybe_seconds(&mut self, name: &str, value: Option<Duration>) {
        match value {
            Some(value) => self.seconds(name, value),
            None => self.word(name, NULL),
        }
    }

    /// Writes what was named, if it is there.
    fn maybe<T>(&mut self, value: Option<&T>, write: fn(&T, &mut Self)) {
        match value {
            Some(value) => write(value, self),
            None => self.text.extend_from_slice(NULL.as_bytes()),
        }
    }

    fn list<T>(&mut self, name: &str, values: &[T], write: fn(&T, &mut Self)) {
        self.name(name);
        self.open(b'[');
        values.iter().for_each(|value| write(value, self));
        self.close(b']');
    }

    /// Writes a value that is not a text.
    fn word(&mut self, name: &str, value: &str) {
        self.name(name);
        self.text.extend_from_slice(value.as_bytes());
    }

    fn push_text(&mut self, text: &str) {
        self.separate();
        push_string(text, &mut self.text);
    }

    /// Puts a comma behind a value that stands before.
    fn separate(&mut self) {
        if !matches!(self.text.last(), None | Some(b'{' | b'[' | b':')) {
            self.text.push(b',');
        }
    }
}
