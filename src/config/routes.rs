//! `[[route]]`: from what is written to a [`Route`] with all it inherits filled in.
//!
//! Decides defaults, inheritance and what a route may send where. Whether routes, replies and
//! access rules get into each other's way is decided by `conflicts`.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use crate::core::endpoint::{Limits, Redirects};
use crate::core::request::{GOES_ALONG, Method};
use crate::core::route::{Capture, Route, RouteTopic, StatusSet};
use crate::core::secret::Secret;
use crate::core::template::{Place, Scope, Template};
use crate::core::topic::TopicFilter;

use super::endpoints::{self, Defaults, Destination, Exchange, Named};
use super::error::Line;
use super::placeholders::fixed_part;
use super::secrets::Secrets;
use super::section::{At, Section};
use super::show::{escape, quote};
use super::value::show_duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(12);
const MAX_RESPONSE: usize = 64 << 10;

/// A route with what later checks look at, and the places they point to.
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) topic: RouteTopic,
    pub(super) topic_origin: Line,
    /// Where its replies go; `None` after a mistake in what says so.
    pub(super) replies: Option<TopicFilter>,
    pub(super) reply_origin: Line,
    /// `None` after any mistake.
    pub(super) route: Option<Route>,
}

/// What routes are made of.
pub(super) struct Parts<'a> {
    pub(super) defaults: &'a Defaults,
    pub(super) destinations: &'a [Destination<'a>],
    pub(super) secrets: &'a Secrets,
    /// Whether there is a store.
    pub(super) has_store: bool,
    /// Templates of endpoints that were refused already, to report each once.
    refused: RefCell<Vec<(String, String)>>,
}

impl<'a> Parts<'a> {
    /// Brings together what was read before the routes.
    pub(super) fn new(
        defaults: &'a Defaults,
        destinations: &'a [Destination<'a>],
        secrets: &'a Secrets,
        has_store: bool,
    ) -> Self {
        Self {
            defaults,
            destinations,
            secrets,
            has_store,
            refused: RefCell::default(),
        }
    }
}

/// Reads each `[[route]]` that has a topic; mistakes are reported.
pub(super) fn read_routes(top: &Section<'_>, parts: &Parts<'_>) -> Vec<Candidate> {
    let mut names: Vec<At<&str>> = Vec::new();
    let mut candidates = Vec::new();
    for section in top.list("route") {
        let name = section.text("name");
        if let Some(name) = &name {
            if let Some(first) = names.iter().find(|other| other.value == name.value) {
                let text = format!(
                    "route name {} is already used at {}; choose another name",
                    quote(name.value),
                    top.report.origin(first.origin)
                );
                top.report.error(name.origin, text);
            }
            if name.value.is_empty() {
                top.report.error(
                    name.origin,
                    "the route's name is empty; write one or leave it out",
                );
            }
            names.push(*name);
        }
        candidates.extend(read_one(section, name, parts));
    }
    candidates
}

fn read_one(section: Section<'_>, name: Option<At<&str>>, parts: &Parts<'_>) -> Option<Candidate> {
    let topic = section.require(
        "topic",
        section.text("topic"),
        "write `topic = \"nodes/{node}/…\"`",
    );
    let parsed = topic
        .as_ref()
        .and_then(|topic| match RouteTopic::parse(topic.value) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                section.report.error(topic.origin, with_remedy(error.0));
                None
            }
        });
    let name = name.or(topic).map_or("?", |name| name.value);
    let captures = parsed.as_ref().map(|topic| topic.captures.clone());
    let reader = Reader {
        label: format!("route {}", quote(name)),
        captures: captures.unwrap_or_default(),
        section,
        parts,
    };
    let destination = reader.destination();
    let exchange = Exchange::read(&reader.section);
    let exchange = destination.map_or(exchange.clone(), |d| exchange.or(&d.exchange));
    let limits = reader.limits(&exchange);
    let (method, body) = reader.method_and_body();
    let Some(topic) = parsed else {
        // Without its captures each placeholder would be reported as unknown.
        reader.require_reply();
        return None;
    };
    let sent = reader.sent(destination);
    let content_type = sent.as_ref().and_then(Sent::content_type);
    let body = body.map(|body| {
        let place = Place::of_body(body.value, content_type);
        reader.template("body", body, place, false)
    });
    let reply = reader.reply();
    let stored = reader.stored();
    let candidate = Candidate {
        name: name.to_owned(),
        topic: topic.clone(),
        topic_origin: reader.section.origin_of("topic"),
        replies: reply.as_ref().map(|(plan, _)| plan.filter()),
        reply_origin: reader.section.origin_of("reply"),
        route: None,
    };
    let build = || {
        let (destination, sent) = (destination?, sent?);
        let body = match body {
            None => None,
            Some(template) => Some(template?),
        };
        let (reply, reply_qos) = reply?;
        if destination.endpoint.captured_host {
            reader.refuse_secrets(destination, &sent, body.as_ref());
        }
        Some(Route {
            name: name.to_owned(),
            topic,
            endpoint: Arc::clone(&destination.endpoint),
            method,
            host: sent.host,
            port: destination.url.as_ref()?.port,
            path: sent.path,
            query: sent.query,
            headers: sent.headers,
            body,
            limits,
            success: exchange.success.unwrap_or_else(all_success),
            reply,
            reply_qos,
            stored,
        })
    };
    Some(Candidate {
        route: build(),
        ..candidate
    })
}

/// What counts as success where nothing is said.
fn all_success() -> StatusSet {
    StatusSet {
        ranges: vec![(200, 299)],
    }
}

/// Where and what a route sends, beside its body.
struct Sent {
    host: Template,
    path: Template,
    query: Vec<(String, Template)>,
    headers: Vec<(String, Template)>,
}

impl Sent {
    /// Returns the content type of the body where it is said, up to the first placeholder.
    fn content_type(&self) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, template) = headers.find(|(name, _)| name == "content-type")?;
        Some(template.fixed_start())
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
    pub(super) fn error(&self, origin: Line, text: impl AsRef<str>) {
        self.section.report.error(origin, text);
    }

    fn destination(&self) -> Option<&'a Destination<'a>> {
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
            let remedy = match super::keys::nearest(written.value, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "add [endpoint.{}] or correct the name",
                    escape(written.value)
                ),
            };
            let (label, name) = (&self.label, quote(written.value));
            let text = format!("{label} uses endpoint {name}, which is not defined; {remedy}");
            section.report.missing(written.origin, text);
            return None;
        };
        destination.used.set(true);
        Some(destination)
    }

    fn limits(&self, exchange: &Exchange) -> Limits {
        let deadline = exchange.deadline.map_or(DEADLINE, |at| at.value);
        if let Some(timeout) = exchange.timeout
            && timeout.value > deadline
        {
            let (timeout_, deadline) = (show_duration(timeout.value), show_duration(deadline));
            let text = format!(
                "timeout is `{timeout_}`, longer than the deadline of `{deadline}`; \
                 shorten it or lengthen `deadline`"
            );
            self.error(timeout.origin, text);
        }
        Limits {
            timeout: exchange
                .timeout
                .map_or(TIMEOUT, |at| at.value)
                .min(deadline),
            deadline,
            max_response: exchange.max_response.map_or(MAX_RESPONSE, |at| at.value),
        }
    }

    fn method_and_body(&self) -> (Method, Option<At<&str>>) {
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
                    self.error(body.origin, text);
                }
                if method == Method::Head && self.section.has("select") {
                    let text = "the response to a HEAD request has no body to select from; \
                                remove `select` or write `method = \"GET\"`";
                    self.error(self.section.origin_of("select"), text);
                }
                (method, None)
            }
            Method::Delete => (method, body),
            Method::Post | Method::Put | Method::Patch => {
                let payload = || At {
                    value: "{payload}",
                    origin: self.section.origin,
                };
                (method, Some(body.unwrap_or_else(payload)))
            }
        }
    }

    /// Reads all of it, also where the endpoint or its URL is missing, to find every mistake.
    fn sent(&self, destination: Option<&Destination<'_>>) -> Option<Sent> {
        let url = destination.and_then(|destination| destination.url.as_ref());
        let host = destination.zip(url).and_then(|(destination, url)| {
            let host = At {
                value: url.host.as_str(),
                origin: destination.url_origin,
            };
            self.endpoint_template(destination, "url", host, Place::Host)
        });
        let path = self.path(url.map_or("", |url| &url.base_path));
        let own = endpoints::read_headers(&self.section);
        let inherited = destination.map(|destination| {
            let replaced = |name: &str| own.iter().any(|(own, _)| own == name);
            let entries = destination.headers.iter();
            let kept = entries.filter(|(name, _)| !replaced(name)).cloned();
            self.inherited(destination, "headers", kept.collect(), Place::Header)
        });
        let own = own.into_iter();
        let own: Vec<_> = own
            .map(|entry| self.named("headers", entry, Place::Header))
            .collect();
        let headers: Option<_> = inherited.into_iter().flatten().chain(own).collect();
        let inherited = destination.map(|destination| {
            let entries = destination.query.clone();
            self.inherited(destination, "query", entries, Place::Query)
        });
        let own = endpoints::read_query(&self.section).into_iter();
        let own: Vec<_> = own
            .map(|entry| self.named("query", entry, Place::Query))
            .collect();
        let query: Option<_> = inherited.into_iter().flatten().chain(own).collect();
        let sent = Sent {
            host: host?,
            path: path?,
            query: query?,
            headers: headers?,
        };
        if let Some(destination) = destination {
            self.check_headers(destination, &sent);
        }
        Some(sent)
    }

    /// How a body is encoded is decided here, not by a node; and what may follow a redirect to
    /// another origin takes no secret there.
    fn check_headers(&self, destination: &Destination<'_>, sent: &Sent) {
        let (label, origin) = (&self.label, self.section.origin);
        if let Some(start) = sent.content_type()
            && !start.contains(';')
            && sent
                .headers
                .iter()
                .any(|(name, template)| name == "content-type" && template.as_literal().is_none())
        {
            let text = format!(
                "{label} has a placeholder in the media type of `content-type`; write the type \
                 out, with placeholders behind a `;` only"
            );
            self.error(origin, text);
        }
        let goes_along = |(name, template): &&(String, Template)| {
            GOES_ALONG.contains(&name.as_str()) && template.holds_secret()
        };
        if destination.endpoint.redirects == Redirects::Any
            && let Some((name, _)) = sent.headers.iter().find(goes_along)
        {
            let text = format!(
                "{label} has a secret in `{name}`, which follows redirects to other origins; put \
                 it into another header, or remove `redirects = \"any\"`"
            );
            self.error(origin, text);
        }
    }

    /// Parses what the route has from its endpoint.
    fn inherited(
        &self,
        from: &Destination<'_>,
        key: &str,
        entries: Vec<Named<'_>>,
        place: Place,
    ) -> Vec<Option<(String, Template)>> {
        let parse = |(name, text): Named<'_>| {
            let template = self.endpoint_template(from, &format!("{key}.{name}"), text, place)?;
            Some((name, template))
        };
        entries.into_iter().map(parse).collect()
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
                self.error(origin, format!("path {} {fault}", quote(path)));
                return None;
            }
        }
        let mut value = format!("{base}{}", path.unwrap_or_default());
        if value.is_empty() {
            value.push('/');
        }
        let text = At {
            value: value.as_str(),
            origin,
        };
        self.template("path", text, Place::Path, false)
    }

    fn named(&self, key: &str, entry: Named<'_>, place: Place) -> Option<(String, Template)> {
        let (name, text) = entry;
        let template = self.template(&format!("{key}.{name}"), text, place, false)?;
        Some((name, template))
    }

    /// Parses a template of the route's own.
    pub(super) fn template(
        &self,
        what: &str,
        text: At<&str>,
        place: Place,
        reply: bool,
    ) -> Option<Template> {
        match self.parse(text.value, place, reply) {
            Ok(template) => Some(template),
            Err(error) => {
                self.error(text.origin, format!("{what} of {}: {error}", self.label));
                None
            }
        }
    }

    /// Parses a template that the route has from its endpoint.
    fn endpoint_template(
        &self,
        from: &Destination<'_>,
        what: &str,
        text: At<&str>,
        place: Place,
    ) -> Option<Template> {
        match self.parse(text.value, place, false) {
            Ok(template) => Some(template),
            Err(error) => {
                let this = (from.name.clone(), what.to_owned());
                let mut refused = self.parts.refused.borrow_mut();
                if !refused.contains(&this) {
                    refused.push(this);
                    let text_ = format!(
                        "{what} of endpoint {} for {}: {error}",
                        quote(&from.name),
                        self.label
                    );
                    self.error(text.origin, text_);
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
    fn refuse_secrets(&self, destination: &Destination<'_>, sent: &Sent, body: Option<&Template>) {
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
            self.error(self.section.origin, text);
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
