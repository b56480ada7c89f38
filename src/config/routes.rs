//! `[[route]]`: from what is written to a [`Route`] with all it inherits filled in.
//!
//! Decides defaults, inheritance and what a route may send where. Whether routes, replies and
//! access rules get into each other's way is decided by `conflicts`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::core::endpoint::Limits;
use crate::core::reply::{Form, ReplyPlan};
use crate::core::request::Method;
use crate::core::route::{Capture, Route, RouteTopic, StatusSet};
use crate::core::secret::Secret;
use crate::core::select;
use crate::core::template::{Place, Scope, Template};

use super::endpoints::{self, Defaults, Delivery, Destination, Exchange, Named};
use super::error::Origin;
use super::secrets::Secrets;
use super::section::{At, Section, escape, quote};
use super::value::show_duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(12);
const MAX_RESPONSE: usize = 64 << 10;
const REPLY_PACKET: usize = 256;

/// Fewest bytes of payload that a reply topic must leave: a code and a short detail.
const LEAST_PAYLOAD: usize = 48;
/// A PUBLISH's fixed header and topic length at most, and its packet identifier.
const PACKET_OVERHEAD: usize = 5 + 2;

/// A route with the places that later checks point to.
pub(super) struct Candidate {
    pub(super) topic_origin: Origin,
    pub(super) reply_origin: Origin,
    pub(super) route: Route,
}

/// What routes are made of.
pub(super) struct Parts<'a> {
    pub(super) defaults: &'a Defaults,
    pub(super) destinations: &'a [Destination],
    pub(super) secrets: &'a Secrets,
    /// Templates of endpoints that were refused already, to report each once.
    refused: RefCell<HashSet<(String, String)>>,
}

impl<'a> Parts<'a> {
    /// Brings together what was read before the routes.
    pub(super) fn new(
        defaults: &'a Defaults,
        destinations: &'a [Destination],
        secrets: &'a Secrets,
    ) -> Self {
        Self {
            defaults,
            destinations,
            secrets,
            refused: RefCell::default(),
        }
    }
}

/// Reads each `[[route]]`; those with mistakes are reported and left out.
pub(super) fn read_routes(top: &Section<'_>, parts: &Parts<'_>) -> Vec<Candidate> {
    let mut names: Vec<At<String>> = Vec::new();
    let mut candidates = Vec::new();
    for section in top.list("route") {
        let name = section.text("name");
        if let Some(name) = &name {
            if let Some(first) = names.iter().find(|other| other.value == name.value) {
                let text = format!(
                    "route name {} is already used at {}; choose another name",
                    quote(&name.value),
                    first.origin
                );
                top.report.error(&name.origin, text);
            }
            if name.value.is_empty() {
                top.report.error(
                    &name.origin,
                    "the route's name is empty; write one or leave it out",
                );
            }
            names.push(name.clone());
        }
        candidates.extend(read_one(section, name, parts));
    }
    candidates
}

fn read_one(
    section: Section<'_>,
    name: Option<At<String>>,
    parts: &Parts<'_>,
) -> Option<Candidate> {
    let topic = section.require(
        "topic",
        section.text("topic"),
        "write `topic = \"nodes/{node}/…\"`",
    );
    let parsed = topic
        .as_ref()
        .and_then(|topic| match RouteTopic::parse(&topic.value) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                section.report.error(&topic.origin, with_remedy(error.0));
                None
            }
        });
    let name = name.or(topic).map_or("?".into(), |name| name.value);
    let captures = parsed.as_ref().map(|topic| topic.captures.clone());
    let reader = Reader {
        label: format!("route {}", quote(&name)),
        captures: captures.unwrap_or_default(),
        section,
        parts,
    };
    let destination = reader.destination();
    let exchange = Exchange::read(&reader.section);
    let exchange = destination.map_or(exchange.clone(), |d| exchange.or(&d.exchange));
    let limits = reader.limits(&exchange);
    let (method, body) = reader.method_and_body();
    // Without its captures each placeholder would be reported as unknown.
    let topic = parsed?;
    let body = body.map(|body| reader.template("body", &body, Place::of_body(&body.value), false));
    let reply = reader.reply();
    let destination = destination?;
    let sent = reader.sent(destination);
    let body = match body {
        None => None,
        Some(template) => Some(template?),
    };
    let (url, sent, (reply, reply_qos)) = (destination.url.as_ref()?, sent?, reply?);
    if destination.endpoint.captured_host {
        reader.refuse_secrets(destination, &sent, body.as_ref());
    }
    let all_success = || StatusSet {
        ranges: vec![(200, 299)],
    };
    let route = Route {
        name,
        topic,
        endpoint: Arc::clone(&destination.endpoint),
        method,
        host: sent.host,
        port: url.port,
        path: sent.path,
        query: sent.query,
        headers: sent.headers,
        body,
        limits,
        success: exchange.success.unwrap_or_else(all_success),
        reply,
        reply_qos,
    };
    Some(Candidate {
        topic_origin: reader.section.origin_of("topic"),
        reply_origin: reader.section.origin_of("reply"),
        route,
    })
}

/// Where and what a route sends, beside its body.
struct Sent {
    host: Template,
    path: Template,
    query: Vec<(String, Template)>,
    headers: Vec<(String, Template)>,
}

/// Reads one `[[route]]`.
struct Reader<'a> {
    label: String,
    captures: Vec<Capture>,
    section: Section<'a>,
    parts: &'a Parts<'a>,
}

impl<'a> Reader<'a> {
    fn error(&self, origin: &Origin, text: impl Into<String>) {
        self.section.report.error(origin, text);
    }

    fn destination(&self) -> Option<&'a Destination> {
        let section = &self.section;
        let written = section.text("endpoint");
        let written = section.require(
            "endpoint",
            written,
            "write the name of an [endpoint.<name>]",
        )?;
        let destinations = self.parts.destinations;
        let found = destinations
            .iter()
            .find(|destination| destination.name == written.value);
        let Some(destination) = found else {
            let names = destinations
                .iter()
                .map(|destination| destination.name.as_str());
            let remedy = match super::keys::nearest(&written.value, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "add [endpoint.{}] or correct the name",
                    escape(&written.value)
                ),
            };
            let (label, name) = (&self.label, quote(&written.value));
            let text = format!("{label} uses endpoint {name}, which is not defined; {remedy}");
            section.report.missing(&written.origin, text);
            return None;
        };
        destination.used.set(true);
        Some(destination)
    }

    fn limits(&self, exchange: &Exchange) -> Limits {
        let deadline = exchange.deadline.as_ref().map_or(DEADLINE, |at| at.value);
        if let Some(timeout) = &exchange.timeout
            && timeout.value > deadline
        {
            let (timeout_, deadline) = (show_duration(timeout.value), show_duration(deadline));
            let text = format!(
                "timeout is `{timeout_}`, longer than the deadline of `{deadline}`; \
                 shorten it or lengthen `deadline`"
            );
            self.error(&timeout.origin, text);
        }
        Limits {
            timeout: exchange
                .timeout
                .as_ref()
                .map_or(TIMEOUT, |at| at.value)
                .min(deadline),
            deadline,
            max_response: exchange
                .max_response
                .as_ref()
                .map_or(MAX_RESPONSE, |at| at.value),
        }
    }

    fn method_and_body(&self) -> (Method, Option<At<String>>) {
        let methods = [
            Method::Get,
            Method::Head,
            Method::Post,
            Method::Put,
            Method::Patch,
            Method::Delete,
        ]
        .map(|method| (method.as_str(), method));
        let method = self
            .section
            .choice("method", &methods)
            .map_or(Method::Get, |at| at.value);
        let body = self.section.text("body");
        match method {
            Method::Get | Method::Head => {
                if let Some(body) = body {
                    let method = method.as_str();
                    let text = format!(
                        "a {method} request has no body; remove it or write `method = \"POST\"`"
                    );
                    self.error(&body.origin, text);
                }
                (method, None)
            }
            Method::Delete => (method, body),
            Method::Post | Method::Put | Method::Patch => {
                let payload = || At {
                    value: "{payload}".into(),
                    origin: self.section.origin.clone(),
                };
                (method, Some(body.unwrap_or_else(payload)))
            }
        }
    }

    fn sent(&self, destination: &Destination) -> Option<Sent> {
        let url = destination.url.as_ref()?;
        let host = At {
            value: url.host.clone(),
            origin: destination.url_origin.clone(),
        };
        let host = self.endpoint_template(destination, "url", &host, Place::Host);
        let path = self.path(&url.base_path);
        let mut headers = endpoints::read_headers(&self.section);
        let inherited: Vec<Named> = destination
            .headers
            .iter()
            .filter(|(name, _)| headers.iter().all(|(own, _)| own != name))
            .cloned()
            .collect();
        let own = headers
            .drain(..)
            .map(|entry| self.named("headers", entry, Place::Header));
        let own: Vec<_> = own.collect();
        let inherit = |key: &str, entries: Vec<Named>, place| -> Vec<Option<(String, Template)>> {
            let parse = |(name, text): Named| {
                let what = format!("{key}.{name}");
                Some((
                    name,
                    self.endpoint_template(destination, &what, &text, place)?,
                ))
            };
            entries.into_iter().map(parse).collect()
        };
        let headers = inherit("headers", inherited, Place::Header)
            .into_iter()
            .chain(own)
            .collect();
        let own = endpoints::read_query(&self.section).into_iter();
        let own: Vec<_> = own
            .map(|entry| self.named("query", entry, Place::Query))
            .collect();
        let query = inherit("query", destination.query.clone(), Place::Query);
        let query = query.into_iter().chain(own).collect::<Option<_>>();
        let headers: Option<_> = headers;
        Some(Sent {
            host: host?,
            path: path?,
            query: query?,
            headers: headers?,
        })
    }

    fn path(&self, base: &str) -> Option<Template> {
        let written = self.section.text("path");
        let origin = self.section.origin_of("path");
        let path = written.map(|path| path.value);
        if let Some(path) = &path {
            let fixed = fixed_part(path);
            let fault = if !path.starts_with('/') {
                Some("does not begin with `/`; write one before it")
            } else if fixed.contains('?') {
                Some("holds a query; move it to `query = { name = \"value\" }`")
            } else if fixed.contains('#') {
                Some("holds a fragment, which is never sent; remove it")
            } else if path.split('/').any(|segment| matches!(segment, "." | "..")) {
                Some("holds a `.` or `..` segment; write the path it leads to")
            } else {
                None
            };
            if let Some(fault) = fault {
                self.error(&origin, format!("path {} {fault}", quote(path)));
                return None;
            }
        }
        let mut value = format!("{base}{}", path.unwrap_or_default());
        if value.is_empty() {
            value.push('/');
        }
        self.template("path", &At { value, origin }, Place::Path, false)
    }

    fn named(&self, key: &str, entry: Named, place: Place) -> Option<(String, Template)> {
        let (name, text) = entry;
        let template = self.template(&format!("{key}.{name}"), &text, place, false)?;
        Some((name, template))
    }

    /// Parses a template of the route's own.
    fn template(
        &self,
        what: &str,
        text: &At<String>,
        place: Place,
        reply: bool,
    ) -> Option<Template> {
        match self.parse(&text.value, place, reply) {
            Ok(template) => Some(template),
            Err(error) => {
                self.error(&text.origin, format!("{what} of {}: {error}", self.label));
                None
            }
        }
    }

    /// Parses a template that the route has from its endpoint.
    fn endpoint_template(
        &self,
        from: &Destination,
        what: &str,
        text: &At<String>,
        place: Place,
    ) -> Option<Template> {
        match self.parse(&text.value, place, false) {
            Ok(template) => Some(template),
            Err(error) => {
                let once = (from.name.clone(), what.to_owned());
                if self.parts.refused.borrow_mut().insert(once) {
                    let text_ = format!(
                        "{what} of endpoint {} for {}: {error}",
                        quote(&from.name),
                        self.label
                    );
                    self.error(&text.origin, text_);
                }
                None
            }
        }
    }

    fn parse(&self, text: &str, place: Place, reply: bool) -> Result<Template, String> {
        let secret = |name: &str| -> Option<Secret> { self.parts.secrets.find(name) };
        let scope = Scope {
            place,
            captures: &self.captures,
            secret: &secret,
            reply,
        };
        Template::parse(text, scope).map_err(|error| error.0)
    }

    /// A captured host may be anyone's: nothing secret goes there.
    fn refuse_secrets(&self, destination: &Destination, sent: &Sent, body: Option<&Template>) {
        let named = sent
            .headers
            .iter()
            .chain(&sent.query)
            .map(|(_, template)| template);
        if named.chain(body).any(Template::holds_secret) {
            let endpoint = quote(&destination.name);
            let text = format!(
                "{} sends a secret to endpoint {endpoint}, whose host comes from a topic; \
                 write out the host or leave the secret out",
                self.label
            );
            self.error(&self.section.origin, text);
        }
    }

    fn reply(&self) -> Option<(ReplyPlan, crate::core::message::QoS)> {
        let section = &self.section;
        let delivery = Delivery::read(section).or(&self.parts.defaults.delivery);
        let select = self.select();
        let expiry = section.duration(
            "expiry",
            Duration::from_secs(1)..=Duration::from_secs(30 * 86_400),
        );
        let retain = section.flag("retain").unwrap_or_default();
        let written = section.text("reply");
        let remedy = "write `reply = \"replies/{node}/…/{outcome}\"`";
        let written = section.require("reply", written, remedy);
        let form = self.form();
        let written = written?;
        if written.value.starts_with('$') {
            let text = format!(
                "reply {} begins with `$`, as only the broker's own topics do; remove the `$`",
                quote(&written.value)
            );
            self.error(&written.origin, text);
            return None;
        }
        let topic = self.template("reply", &written, Place::Topic, true)?;
        let packet = delivery.reply_packet.unwrap_or(REPLY_PACKET);
        self.check_room(&written, packet);
        let form = match form? {
            Some(form) => form,
            None if topic.names().contains(&"outcome") => Form::Plain,
            None => Form::Json,
        };
        let plan = ReplyPlan {
            topic,
            form,
            select: select?,
            packet,
            oversize: delivery.oversize.unwrap_or_default(),
            retain,
            expiry: expiry.map(|at| at.value),
        };
        Some((
            plan,
            delivery
                .qos
                .unwrap_or(crate::core::message::QoS::AtLeastOnce),
        ))
    }

    fn check_room(&self, reply: &At<String>, packet: usize) {
        let taken = PACKET_OVERHEAD + shortest_topic(&reply.value);
        if taken + LEAST_PAYLOAD > packet {
            let text = format!(
                "reply topic leaves too little room: with it a packet takes {taken} of \
                 `reply_packet` {packet}, and {LEAST_PAYLOAD} are needed for the payload; \
                 shorten the topic or raise `reply_packet`"
            );
            self.error(&reply.origin, text);
        }
    }

    /// Returns the form that was written, `Some(None)` for none, `None` after a mistake.
    fn form(&self) -> Option<Option<Form>> {
        let section = &self.section;
        if !section.has("form") {
            return Some(None);
        }
        if section.is_table("form") {
            let table = section.table("form", "route.form", "`form` of [[route]]")?;
            let text = table.text("template");
            let text = table.require("template", text, "write `{ template = \"…\" }`")?;
            let place = Place::of_body(&text.value);
            return Some(Some(Form::Template(
                self.template("form", &text, place, true)?,
            )));
        }
        // Owned templates keep `Form` from being cloned: choose first, build after.
        let json = section
            .choice("form", &[("plain", false), ("json", true)])?
            .value;
        Some(Some(if json { Form::Json } else { Form::Plain }))
    }

    fn select(&self) -> Option<Vec<(Option<String>, String)>> {
        let section = &self.section;
        let pointers: Vec<(Option<String>, At<String>)> = if section.is_table("select") {
            let table = section.text_table("select", "{ title = \"/title\" }")?;
            table
                .into_iter()
                .map(|(name, pointer)| (Some(name), pointer))
                .collect()
        } else {
            let pointer = section.text("select");
            if section.has("select") && pointer.is_none() {
                return None;
            }
            pointer.into_iter().map(|pointer| (None, pointer)).collect()
        };
        let mut valid = true;
        for (_, pointer) in &pointers {
            if let Err(error) = select::check(&pointer.value) {
                self.error(&pointer.origin, format!("select: {}", with_remedy(error)));
                valid = false;
            }
        }
        let texts = pointers
            .into_iter()
            .map(|(name, pointer)| (name, pointer.value));
        valid.then(|| texts.collect())
    }
}

/// Adds what to do to an error that only says what is wrong.
fn with_remedy(error: String) -> String {
    if error.contains("; ") {
        return error;
    }
    format!("{error}; correct it")
}

/// Returns a template's text without its placeholders.
fn fixed_part(text: &str) -> String {
    split_placeholders(text).0
}

/// Returns the length of the shortest topic that a template can render to; a failure's
/// `{outcome}` is `error`, any other value is at least one character.
fn shortest_topic(text: &str) -> usize {
    let (fixed, placeholders) = split_placeholders(text);
    let value = |name: &String| if name == "outcome" { "error".len() } else { 1 };
    fixed.len() + placeholders.iter().map(value).sum::<usize>()
}

fn split_placeholders(text: &str) -> (String, Vec<String>) {
    let (mut fixed, mut names, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        fixed.push_str(before);
        let is_placeholder = after.starts_with(|c: char| c.is_ascii_lowercase());
        match after.split_once('}').filter(|_| is_placeholder) {
            Some((name, behind)) => {
                names.push(name.to_owned());
                rest = behind;
            }
            None => {
                fixed.push('{');
                rest = after.strip_prefix('{').unwrap_or(after);
            }
        }
    }
    fixed.push_str(rest);
    (fixed, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_fixed_text() {
        let cases = [
            ("/posts/{id}", "/posts/", 8),
            ("a/{outcome}", "a/", 7),
            ("/{payload./a?b}", "/", 2),
            ("{{x}?", "{x}?", 4),
            ("{\"a\":{id}}", "{\"a\":}", 7),
            ("{", "{", 1),
            ("", "", 0),
        ];
        for (text, fixed, shortest) in cases {
            assert_eq!(
                (fixed_part(text).as_str(), shortest_topic(text)),
                (fixed, shortest),
                "{text}"
            );
        }
    }
}
