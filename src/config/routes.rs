//! `[[route]]`: from what is written to a [`Route`] with all it inherits filled in.
//!
//! Decides defaults, inheritance and what a route may send where. Whether routes, replies and
//! access rules get into each other's way is decided by `conflicts`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::core::endpoint::Limits;
use crate::core::request::Method;
use crate::core::route::{Capture, Route, RouteTopic, StatusSet};
use crate::core::secret::Secret;
use crate::core::template::{Place, Scope, Template};

use super::endpoints::{self, Defaults, Destination, Exchange, Named};
use super::error::Origin;
use super::placeholders::fixed_part;
use super::secrets::Secrets;
use super::section::{At, Section};
use super::show::{escape, quote};
use super::value::show_duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(12);
const MAX_RESPONSE: usize = 64 << 10;

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
    let sent = destination.and_then(|destination| reader.sent(destination));
    let content_type = sent.as_ref().and_then(Sent::content_type);
    let body = body.map(|body| {
        let place = Place::of_body(&body.value, content_type);
        reader.template("body", &body, place, false)
    });
    let reply = reader.reply();
    let destination = destination?;
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

impl Sent {
    /// Returns the content type of the body where it is said and fixed.
    fn content_type(&self) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, template) = headers.find(|(name, _)| name == "content-type")?;
        template.as_literal()
    }
}

/// Reads one `[[route]]`.
pub(super) struct Reader<'a> {
    label: String,
    captures: Vec<Capture>,
    pub(super) section: Section<'a>,
    pub(super) parts: &'a Parts<'a>,
}

impl<'a> Reader<'a> {
    /// Reports a mistake of this route.
    pub(super) fn error(&self, origin: &Origin, text: impl Into<String>) {
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
    pub(super) fn template(
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
}

/// Adds what to do to an error that only says what is wrong.
pub(super) fn with_remedy(error: String) -> String {
    if error.contains("; ") {
        return error;
    }
    format!("{error}; correct it")
}
