//! The HTTPS request that a route makes of a message, complete and encoded.
//!
//! Decides what the request holds and how large it may be; each value's encoding is its
//! template's.

use std::fmt;

use bytes::Bytes;

use crate::core::json;
use crate::core::outcome::{Code, Failure};
use crate::core::route::Route;
use crate::core::template::{Place, Template, Values, percent_encode};

/// Longest path and query together, in bytes.
pub(crate) const MAX_TARGET: usize = 8 * 1024;

/// Longest value of one header field, in bytes.
const MAX_HEADER: usize = 4 * 1024;

/// Longest host name (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// Largest body: a template may name the payload several times.
const MAX_BODY: usize = 1024 * 1024;

/// Longest MQTT 5 Content Type that becomes a header.
const MAX_CONTENT_TYPE: usize = 127;

/// HTTP methods that a route can use (RFC 9110 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Method {
    /// Returns the method as it stands in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Returns whether repeating it changes nothing more than doing it once (RFC 9110 §9.2.2).
    pub const fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Patch)
    }
}

/// Header fields that follow a redirect to another origin: they describe the request and identify
/// nobody. All others may hold a secret of the endpoint; in these the configuration allows none
/// where there may be such a redirect.
pub(crate) const GOES_ALONG: &[&str] = &["accept", "accept-language", "content-type", "user-agent"];

/// A request ready to be performed; `Debug` hides header values, query and body.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Host name or IP literal (IPv6 without brackets), lower case.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query, percent-encoded, starting with `/`.
    pub target: String,
    /// Header names in lower case and their values, in order.
    pub headers: Vec<(String, String)>,
    /// The body, `None` for none.
    pub body: Option<Bytes>,
    /// Whether a secret stands in the body: then it goes to no other origin.
    pub body_holds_secret: bool,
}

impl Request {
    /// Renders the request that a route makes of a message.
    ///
    /// # Errors
    /// `bridge.bad_request` naming the value that can not be used, and why.
    pub(crate) fn render(route: &Route, values: &Values<'_>) -> Result<Self, Failure> {
        let host = match route.host.as_literal() {
            Some(host) => host.to_owned(),
            None => route.host.render_text(values, MAX_HOST)?,
        };
        let target = render_target(route, values)?;
        let mut headers = Vec::with_capacity(route.headers.len() + 1);
        for (name, value) in &route.headers {
            headers.push((name.clone(), value.render_text(values, MAX_HEADER)?));
        }
        let body = match &route.body {
            Some(template) => Some(render_body(template, values)?),
            None => None,
        };
        if let (Some(template), Some(body)) = (&route.body, &body)
            && !headers.iter().any(|(name, _)| name == "content-type")
        {
            let content_type = content_type(template, body, values);
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        if let Some(name) = route.idempotency_key()
            && !headers.iter().any(|(own, _)| own == name)
        {
            headers.push((name.to_owned(), values.id.to_string()));
        }
        Ok(Self {
            method: route.method,
            host,
            port: route.port,
            target,
            headers,
            body,
            body_holds_secret: route.body.as_ref().is_some_and(Template::holds_secret),
        })
    }

    /// Returns the whole URL, with the port where it is not 443.
    pub(crate) fn url(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match self.port {
            443 => format!("https://{host}{}", self.target),
            port => format!("https://{host}:{port}{}", self.target),
        }
    }
}

fn render_target(route: &Route, values: &Values<'_>) -> Result<String, Failure> {
    let mut target = Vec::with_capacity(128);
    route.path.render(values, MAX_TARGET, &mut target)?;
    for (at, (name, value)) in route.query.iter().enumerate() {
        target.push(if at == 0 { b'?' } else { b'&' });
        target.extend_from_slice(percent_encode(name.as_bytes()).as_bytes());
        target.push(b'=');
        value.render(values, MAX_TARGET, &mut target)?;
    }
    let too_long = || {
        let detail = format!("path and query would be longer than {MAX_TARGET} bytes");
        Failure::new(Code::BridgeBadRequest, detail)
    };
    if target.len() > MAX_TARGET {
        return Err(too_long());
    }
    // Everything in it is percent-encoded or was checked to be ASCII.
    String::from_utf8(target).map_err(|_| too_long())
}

/// A body that is the payload shares it; any other is rendered.
fn render_body(template: &Template, values: &Values<'_>) -> Result<Bytes, Failure> {
    if template.is_payload() && template.place() == Place::Text {
        return Ok(values.message.payload.clone());
    }
    let mut body = Vec::with_capacity(template.as_str().len() + values.message.payload.len());
    template.render(values, MAX_BODY, &mut body)?;
    Ok(body.into())
}

/// Says what the body is where the route does not: what the publisher said of its payload, if
/// that is the body, else what the bytes look like.
fn content_type<'a>(template: &Template, body: &[u8], values: &Values<'a>) -> &'a str {
    let properties = values.message.properties.as_deref();
    let declared = properties.and_then(|properties| properties.content_type.as_deref());
    if let Some(declared) = declared.filter(|it| template.is_payload() && is_content_type(it)) {
        declared
    } else if template.place() == Place::Json || json::as_json(body).is_some() {
        "application/json"
    } else if std::str::from_utf8(body).is_ok() {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    }
}

/// Returns whether the text may stand in a Content-Type header: `type/subtype`, printable ASCII.
fn is_content_type(text: &str) -> bool {
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let token = |part: &str| {
        let mark = |c: char| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c);
        !part.is_empty() && part.chars().all(mark)
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    text.len() <= MAX_CONTENT_TYPE
        && text.bytes().all(printable)
        && essence
            .split_once('/')
            .is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("path", &path)
            .field("headers", &names)
            .field("body_bytes", &self.body.as_ref().map(Bytes::len))
            .finish()
    }
}
