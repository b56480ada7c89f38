//! One endpoint as a ureq agent: performs a request, returns an outcome.
//!
//! It follows redirects itself, keeps the limits, and repeats a request once that a dead pooled
//! connection has swallowed. Whether to try again later is not decided here.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use ureq::Agent;
use ureq::http::{self, HeaderMap, HeaderName, HeaderValue, header};

use crate::core::bridge::Job;
use crate::core::endpoint::{Endpoint, Limits, MAX_REDIRECTS, Redirects};
use crate::core::outcome::{Code, Failure, Outcome, Response};
use crate::core::request::{Method, Request};
use crate::core::retry;
use crate::io::clock;
use crate::io::http::address;
use crate::io::http::connector::{Connector, NoLookup};
use crate::io::http::exchange::{self, Plan, Progress};
use crate::io::http::failure;
use crate::io::http::ledger::Ledger;
use crate::io::http::redirect;
use crate::io::http::resolver::Resolver;
use crate::io::http::transport::MAX_AGE;
use crate::io::tls;
use crate::io::tls::failure::brief;

/// Largest header of a response, status line included.
pub(crate) const MAX_RESPONSE_HEADER: usize = 32 * 1024;
/// How much of a redirect's body is read so that the connection can be used again.
const MAX_REDIRECT_BODY: usize = 16 * 1024;
/// What a request of ours says it comes from, unless its route says otherwise.
const USER_AGENT: &str = concat!("mqtt-https-bridge/", env!("CARGO_PKG_VERSION"));
/// Fields that ureq writes and that must agree with what it sends.
const OUR_FIELDS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "transfer-encoding",
];

/// One endpoint, shared by its workers.
#[derive(Debug)]
pub(crate) struct Client {
    endpoint: Arc<Endpoint>,
    resolver: Arc<Resolver>,
    ledger: Arc<Ledger>,
    line: RwLock<Line>,
}

/// How the server is reached: replaced as a whole, and with it all connections and sessions.
#[derive(Debug)]
struct Line {
    tls: tls::client::Client,
    agent: Agent,
}

/// What one hop of a request came to: a response, and where it points if it is a redirect.
struct Hop {
    response: Response,
    location: Option<HeaderValue>,
}

impl Client {
    /// Builds the client of an endpoint.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        tls: tls::client::Client,
        resolver: Arc<Resolver>,
        ledger: Arc<Ledger>,
    ) -> Self {
        let agent = agent(&endpoint, &tls, &resolver, &ledger);
        Self {
            endpoint,
            resolver,
            ledger,
            line: RwLock::new(Line { tls, agent }),
        }
    }

    /// Reads anew what the endpoint trusts and shows. What was known of the server before goes:
    /// pooled connections and sessions would not be judged again.
    ///
    /// # Errors
    /// Names the file that is wrong; then all stays as it was.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let line = self.line.read().unwrap_or_else(PoisonError::into_inner);
        let surroundings = line.tls.surroundings().clone();
        drop(line);
        let tls = tls::client::Client::load(&self.endpoint.trust, &surroundings)?;
        let agent = agent(&self.endpoint, &tls, &self.resolver, &self.ledger);
        *self.line.write().unwrap_or_else(PoisonError::into_inner) = Line { tls, agent };
        Ok(())
    }

    /// Returns the files that its trust is made of.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let trust = &self.endpoint.trust;
        let mut files = tls::roots::files(&trust.roots);
        files.extend(trust.files().into_iter().map(Path::to_owned));
        files
    }

    /// Drops all pooled connections and whatever else the agent held.
    pub(crate) fn renew(&self) {
        let mut line = self.line.write().unwrap_or_else(PoisonError::into_inner);
        line.agent = agent(&self.endpoint, &line.tls, &self.resolver, &self.ledger);
    }

    /// Performs a job's request within its limits.
    pub(crate) fn perform(&self, job: &Job) -> Outcome {
        let now = clock::now();
        if now >= job.deadline {
            let detail = "the deadline passed before the request was tried";
            return Outcome::Failure(Failure::new(Code::TimeoutQueue, detail));
        }
        let deadline = job.deadline.min(now + job.limits.timeout);
        let mut progress = Progress::default();
        match self.request(&job.request, &job.limits, (now, deadline), &mut progress) {
            Ok(response) => Outcome::Response(response),
            Err(failure) => Outcome::Failure(failure),
        }
    }

    /// Performs a request and those it is redirected to. `progress` is that of the last one.
    ///
    /// # Errors
    /// Why there is no usable response.
    pub(crate) fn request(
        &self,
        request: &Request,
        limits: &Limits,
        (started, deadline): (Instant, Instant),
        progress: &mut Progress,
    ) -> Result<Response, Failure> {
        let mut plan = Plan {
            started,
            deadline,
            address: self.endpoint.address,
            ip: self.endpoint.ip,
            private_addresses: self.endpoint.private_addresses || self.endpoint.address.is_some(),
            foreign_host: self.endpoint.captured_host,
            fresh: false,
        };
        let mut hop = self.exchange(request, limits, &plan, progress)?;
        let mut redirected: Option<Request> = None;
        for _ in 0..MAX_REDIRECTS {
            let Some(location) = self.location(&hop) else {
                return Ok(hop.response);
            };
            let from = redirected.as_ref().unwrap_or(request);
            let status = hop.response.status;
            let next =
                redirect::follow(from, status, location.as_bytes(), self.endpoint.redirects)?;
            let at_home = next.host == request.host && next.port == request.port;
            // A place inside may send us to another one inside. Nothing outside may.
            let inside = progress
                .peer
                .is_some_and(|peer| !address::is_public(peer.ip()));
            let private = self.endpoint.private_addresses || self.endpoint.address.is_some();
            plan.address = self.endpoint.address.filter(|_| at_home);
            plan.private_addresses = private && (at_home || inside);
            plan.foreign_host = self.endpoint.captured_host || !at_home;
            hop = self.exchange(&next, limits, &plan, progress)?;
            redirected = Some(next);
        }
        if self.location(&hop).is_none() {
            return Ok(hop.response);
        }
        let mut failure = Failure::new(
            Code::HttpRedirect,
            format!("more than {MAX_REDIRECTS} redirects"),
        );
        failure.status = Some(hop.response.status);
        Err(failure)
    }

    fn location<'h>(&self, hop: &'h Hop) -> Option<&'h HeaderValue> {
        let follows = self.endpoint.redirects != Redirects::None;
        hop.location.as_ref().filter(|_| follows)
    }

    /// Performs one request, twice if a dead pooled connection has swallowed the first.
    fn exchange(
        &self,
        request: &Request,
        limits: &Limits,
        plan: &Plan,
        progress: &mut Progress,
    ) -> Result<Hop, Failure> {
        let first = self.attempt(request, limits, plan.clone());
        *progress = self.end();
        match first {
            Err(_) if swallowed(progress, request.method) && clock::now() < plan.deadline => {
                let plan = Plan {
                    fresh: true,
                    ..plan.clone()
                };
                let second = self.attempt(request, limits, plan);
                *progress = self.end();
                second
            }
            first => first,
        }
    }

    /// Ends this thread's exchange.
    fn end(&self) -> Progress {
        let progress = exchange::end();
        if progress.sent {
            self.ledger.request();
        }
        progress
    }

    fn attempt(&self, request: &Request, limits: &Limits, plan: Plan) -> Result<Hop, Failure> {
        let head = head(request)?;
        exchange::begin(plan);
        let line = self.line.read().unwrap_or_else(PoisonError::into_inner);
        let agent = line.agent.clone();
        drop(line);
        let sends_body = matches!(request.method, Method::Post | Method::Put | Method::Patch);
        let result = match &request.body {
            Some(body) => agent.run(head.map(|()| body.as_ref())),
            // Without it ureq would announce a chunked body.
            None if sends_body => agent.run(head.map(|()| &b""[..])),
            None => agent.run(head),
        };
        let response = result.map_err(|error| failure::of_ureq(error, &exchange::so_far()))?;
        let takes_codings = request
            .headers
            .iter()
            .any(|(name, _)| name == header::ACCEPT_ENCODING.as_str());
        self.receive(response, limits.max_response, takes_codings)
    }

    fn receive(
        &self,
        response: http::Response<ureq::Body>,
        limit: usize,
        takes_codings: bool,
    ) -> Result<Hop, Failure> {
        let (head, mut body) = response.into_parts();
        let status = head.status.as_u16();
        let refuse = |mut failure: Failure| {
            failure.status = Some(status);
            failure
        };
        if status < 200 {
            let detail = format!("status {status} was not asked for");
            return Err(refuse(Failure::new(Code::HttpMalformed, detail)));
        }
        check_framing(head.version, &head.headers).map_err(refuse)?;
        let location = head.headers.get(header::LOCATION);
        let location = location.filter(|_| redirect::is_redirect(status)).cloned();
        let leads_on = location.is_some() && self.endpoint.redirects != Redirects::None;
        let body = match leads_on {
            true => discard(&mut body),
            false => read(&mut body, limit).map_err(refuse)?,
        };
        if !takes_codings && !body.is_empty() {
            refuse_coding(&head.headers).map_err(refuse)?;
        }
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let field = |name| head.headers.get(name).and_then(|it| it.to_str().ok());
        let retry_after = field(header::RETRY_AFTER).and_then(|after| {
            retry::parse_after(after, field(header::DATE), clock::unix_time().as_secs())
        });
        let response = Response {
            status,
            content_type: content_type.map(str::to_owned),
            retry_after,
            body,
        };
        Ok(Hop { response, location })
    }
}

fn agent(
    endpoint: &Endpoint,
    tls: &tls::client::Client,
    resolver: &Arc<Resolver>,
    ledger: &Arc<Ledger>,
) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(true)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(USER_AGENT)
        .accept_encoding("")
        .max_response_header_size(MAX_RESPONSE_HEADER)
        .max_idle_connections(endpoint.concurrency)
        .max_idle_connections_per_host(endpoint.concurrency)
        .max_idle_age(MAX_AGE)
        .build();
    let connector = Connector::new(
        &endpoint.name,
        tls.clone(),
        Arc::clone(resolver),
        Arc::clone(ledger),
    );
    Agent::with_parts(config, connector, NoLookup)
}

/// Returns whether a request may have died with a connection that lay in the pool, and can be
/// sent again: the server cannot have acted on it, or doing it twice is as good as once.
fn swallowed(progress: &Progress, method: Method) -> bool {
    progress.reused
        && progress.closed
        && !progress.received
        && (method.is_idempotent() || !progress.sent)
}

fn head(request: &Request) -> Result<http::Request<()>, Failure> {
    let bad = |what: String| Failure::new(Code::BridgeBadRequest, brief(&what));
    let brackets = request.host.contains(':');
    let (open, close) = if brackets { ("[", "]") } else { ("", "") };
    let (host, port, target) = (&request.host, request.port, &request.target);
    let url = format!("https://{open}{host}{close}:{port}{target}");
    let mut head = http::Request::builder()
        .method(request.method.as_str())
        .uri(url)
        .body(())
        .map_err(|error| bad(format!("bad URL: {error}")))?;
    let headers = head.headers_mut();
    headers.reserve(request.headers.len());
    for (name, value) in &request.headers {
        let field = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| bad(format!("bad header name `{name}`")))?;
        if OUR_FIELDS.contains(&field.as_str()) {
            return Err(bad(format!("header `{name}` is set by the gateway")));
        }
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| bad(format!("the value of header `{name}` can not stand there")))?;
        headers.append(field, value);
    }
    Ok(head)
}

/// Refuses a response of which nobody can tell where it ends: chunked by a server that speaks a
/// version without chunks, or chunked twice (RFC 9112 §6.1).
fn check_framing(version: http::Version, fields: &HeaderMap) -> Result<(), Failure> {
    let malformed = |detail: &str| Err(Failure::new(Code::HttpMalformed, detail));
    let transfer = fields.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = transfer
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
        .count();
    match chunked {
        0 => Ok(()),
        1 if version == http::Version::HTTP_11 => Ok(()),
        1 => malformed("chunked in a version of HTTP that has no chunks"),
        _ => malformed("chunked more than once"),
    }
}

/// Refuses a body that is compressed although the request did not offer to take one: to the node
/// it would be noise. Servers may do so all the same (RFC 9110 §12.5.3).
fn refuse_coding(fields: &HeaderMap) -> Result<(), Failure> {
    let content = fields.get_all(header::CONTENT_ENCODING).iter();
    let transfer = fields.get_all(header::TRANSFER_ENCODING).iter();
    let mut codings = content
        .chain(transfer)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    let plain = |coding: &str| {
        let known = ["", "identity", "chunked"];
        known.iter().any(|known| coding.eq_ignore_ascii_case(known))
    };
    match codings.find(|coding| !plain(coding)) {
        None => Ok(()),
        Some(coding) => {
            let detail = format!("the body is encoded with {coding}, which was not asked for");
            Err(Failure::new(Code::HttpMalformed, brief(&detail)))
        }
    }
}

/// Reads a body up to the limit; reading to its end gives the connection back to the pool.
fn read(body: &mut ureq::Body, limit: usize) -> Result<Bytes, Failure> {
    let expected = body.content_length();
    let too_large = |size: String| {
        let detail = format!("{size} bytes, limit {limit}");
        Failure::new(Code::HttpTooLarge, detail)
    };
    let size = expected.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if size.is_some_and(|size| size > limit) {
        return Err(too_large(expected.unwrap_or_default().to_string()));
    }
    let mut out = Vec::with_capacity(size.map_or(0, |size| size.min(64 * 1024)));
    // One more than the limit tells a body that fits from one that does not.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    body.as_reader()
        .take(most)
        .read_to_end(&mut out)
        .map_err(|error| {
            let mut failure = failure::of_body(error, &exchange::so_far());
            if let (Code::HttpTruncated, Some(expected)) = (failure.code, expected) {
                failure.detail = format!("{} of {expected} bytes", out.len());
            }
            failure
        })?;
    if out.len() > limit {
        return Err(too_large(format!("more than {limit}")));
    }
    Ok(out.into())
}

/// Reads a body that nobody wants, if it is short. What goes wrong in it does no harm.
fn discard(body: &mut ureq::Body) -> Bytes {
    let mut left = MAX_REDIRECT_BODY;
    let mut reader = body.as_reader();
    let mut scratch = [0_u8; 1024];
    while let Ok(count @ 1..) = reader.read(&mut scratch) {
        left = left.saturating_sub(count);
        if left == 0 {
            break;
        }
    }
    Bytes::new()
}

#[cfg(test)]
mod tests;
