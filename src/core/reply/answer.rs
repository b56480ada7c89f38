//! What an outcome means for a route: a success with what it selects, or a failure with its code.

use std::borrow::Cow;

use bytes::Bytes;

use crate::core::json;
use crate::core::outcome::{Code, Failure, Outcome, Response};
use crate::core::route::Route;
use crate::core::select::{self, Missing};

/// An outcome as it is told.
#[derive(Clone, Debug)]
pub(crate) struct Answer<'a> {
    /// `None` for a success.
    pub(crate) code: Option<Code>,
    /// For a person, empty for a success.
    pub(crate) detail: Cow<'a, str>,
    /// HTTP status, whenever there was a response.
    pub(crate) status: Option<u16>,
    /// What is told of the response, `None` without one.
    pub(super) body: Option<Cow<'a, [u8]>>,
    /// Whether `body` was selected: then it is JSON, taken out of the response.
    pub(super) selected: bool,
    /// The response, `None` without one.
    pub(super) response: Option<&'a Response>,
}

impl<'a> Answer<'a> {
    /// Judges an outcome: a response is a success if its status is in `success` and it holds all
    /// that `select` asks for.
    pub(crate) fn judge(route: &Route, outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Failure(failure) => Self::failure(failure),
            Outcome::Response(response) if route.success.contains(response.status) => {
                Self::success(&route.reply.select, response)
            }
            Outcome::Response(response) => Self {
                code: Some(Code::HttpStatus),
                detail: reason_phrase(response.status).into(),
                status: Some(response.status),
                body: Some(Cow::Borrowed(&response.body)),
                selected: false,
                response: Some(response),
            },
        }
    }

    /// Returns a failure as it is told.
    pub(crate) fn failure(failure: &'a Failure) -> Self {
        Self {
            code: Some(failure.code),
            detail: Cow::Borrowed(&failure.detail),
            status: failure.status,
            body: None,
            selected: false,
            response: None,
        }
    }

    /// Returns `ok` or the failure's code.
    pub(crate) fn code(&self) -> &'static str {
        self.code.map_or("ok", Code::as_str)
    }

    /// Returns the status of a failure. One that is too large has none: its size must not be read
    /// as part of it.
    pub(crate) fn telling_status(&self) -> Option<u16> {
        let tells = self.code.is_some_and(|code| code != Code::ReplyTooLarge);
        self.status.filter(|_| tells)
    }

    /// Tells that this answer, whose payload has so many bytes, does not fit.
    pub(super) fn too_large(&self, size: usize) -> Self {
        Self {
            code: Some(Code::ReplyTooLarge),
            detail: size.to_string().into(),
            status: self.status,
            body: None,
            selected: false,
            response: None,
        }
    }

    fn success(wanted: &[(Option<String>, String)], response: &'a Response) -> Self {
        let whole: &Bytes = &response.body;
        let (body, missing) = match wanted {
            [] => (Some(Cow::Borrowed(&whole[..])), None),
            wanted => match pick(wanted, whole) {
                Ok(selected) => (Some(selected), None),
                Err(why) => (None, Some(why)),
            },
        };
        Self {
            code: missing.is_some().then_some(Code::HttpMalformed),
            detail: missing.unwrap_or_default().into(),
            status: Some(response.status),
            body,
            selected: !wanted.is_empty(),
            response: Some(response),
        }
    }
}

/// Takes the wanted values out of a response: one as it is, several as members of an object.
fn pick<'a>(wanted: &[(Option<String>, String)], body: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
    let text = std::str::from_utf8(body).map_err(|_| missing("", Missing::NotJson));
    let find = |pointer: &str| -> Result<&'a str, String> {
        select::find(text.clone()?, pointer).map_err(|why| missing(pointer, why))
    };
    if let [(None, pointer)] = wanted {
        return find(pointer).map(|value| Cow::Borrowed(value.as_bytes()));
    }
    let mut object = vec![b'{'];
    for (at, (name, pointer)) in wanted.iter().enumerate() {
        if at > 0 {
            object.push(b',');
        }
        json::push_string(name.as_deref().unwrap_or(pointer), &mut object);
        object.push(b':');
        object.extend_from_slice(find(pointer)?.as_bytes());
    }
    object.push(b'}');
    Ok(object.into())
}

fn missing(pointer: &str, why: Missing) -> String {
    match why {
        Missing::NotJson => "the response is not JSON, nothing can be selected".to_owned(),
        Missing::NoSuchValue => format!("no `{pointer}` in the response"),
    }
}

/// Returns the reason phrase of a registered status code (RFC 9110 §15, IANA), else nothing.
pub(super) fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}
