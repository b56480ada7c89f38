//! The HTTP request that a WebSocket begins with (RFC 6455 §4.2): who may go on to speak MQTT.
//!
//! A page of any site can make a browser connect to the gateway, and the browser says in `Origin`
//! which one did. So an Origin has to be listed. Who has none is no browser.

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use httparse::{Header, Request, Status};
use ring::digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::WebSocketListener;
use crate::io::broker::transport::Transport;
use crate::io::log::escape;

/// Bytes of a request at most; browsers send cookies along.
const REQUEST: usize = 8 * 1024;
/// Header fields of a request at most.
const FIELDS: usize = 64;
/// What a key is hashed with (§1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a request is held to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::io::broker) struct Gate {
    path: String,
    origins: Vec<String>,
}

impl Gate {
    /// Takes what is configured.
    pub(in crate::io::broker) fn new(listener: &WebSocketListener) -> Self {
        Self {
            path: listener.path.clone(),
            origins: listener.origins.clone(),
        }
    }
}

/// A request that may go on.
#[derive(Debug, PartialEq, Eq)]
struct Welcome {
    /// What proves that the key was read.
    accept: String,
    must_log_in: bool,
}

/// Why a request may not go on.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: &'static str,
    why: String,
}

impl Refusal {
    fn new(status: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { status, why }
    }

    fn bad(why: &str) -> Self {
        Self::new("400 Bad Request", why)
    }

    /// Writes it for the client, who reads at its end what is wrong.
    fn response(&self) -> String {
        let Self { status, why } = self;
        let length = why.len() + 1;
        let hint = match status.starts_with("426") {
            true => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            false => "",
        };
        format!(
            "HTTP/1.1 {status}\r\n{hint}Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{why}\n"
        )
    }
}

/// Reads the request and answers it; returns whether the client has to say who it is, whatever
/// `anonymous` allows.
///
/// # Errors
/// Says what is wrong; the client has been told.
pub(in crate::io::broker) async fn accept(
    stream: &mut Transport,
    gate: &Gate,
) -> Result<bool, String> {
    let verdict = match read(stream).await {
        Ok(request) => judge(&request, gate),
        Err(Some(refusal)) => Err(refusal),
        Err(None) => return Err("gone before it had asked for a WebSocket".to_owned()),
    };
    let response = match &verdict {
        Ok(welcome) => format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
            welcome.accept
        ),
        Err(refusal) => refusal.response(),
    };
    let sent = stream.write_all(response.as_bytes()).await;
    match verdict {
        Ok(welcome) => match sent {
            Ok(()) => Ok(welcome.must_log_in),
            Err(_) => Err("gone during the WebSocket handshake".to_owned()),
        },
        Err(refusal) => Err(format!("no WebSocket for it, {}", refusal.why)),
    }
}

/// Reads a request to its empty line; an error is a refusal, or `None` if the client is gone.
async fn read(stream: &mut Transport) -> Result<Vec<u8>, Option<Refusal>> {
    let mut request = Vec::with_capacity(1024);
    loop {
        let begin = request.len().saturating_sub(3);
        let mut rest = stream.take(u64::try_from(REQUEST - request.len()).unwrap_or(0));
        let read: io::Result<usize> = rest.read_buf(&mut request).await;
        if !matches!(read, Ok(1..)) {
            return Err(None);
        }
        let new = request.get(begin..).unwrap_or_default();
        if let Some(at) = new.windows(4).position(|window| window == b"\r\n\r\n") {
            let is_last = begin + at + 4 == request.len();
            let what = "something follows the request before it was answered";
            return is_last.then_some(request).ok_or(Some(Refusal::bad(what)));
        }
        if request.len() >= REQUEST {
            return Err(Some(too_large()));
        }
    }
}

fn too_large() -> Refusal {
    Refusal::new(
        "431 Request Header Fields Too Large",
        "a request has at most 8 KiB and 64 header fields",
    )
}

/// Judges a whole request.
fn judge(request: &[u8], gate: &Gate) -> Result<Welcome, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = Request::new(&mut fields);
    match parsed.parse(request) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Ok(Status::Partial) | Err(_) => return Err(Refusal::bad("this is no HTTP request")),
    }
    let fields = Fields(parsed.headers);
    let must_log_in = judge_origin(&fields, gate)?;
    if parsed.method != Some("GET") || parsed.version != Some(1) {
        let why = "a WebSocket begins with GET and HTTP/1.1";
        return Err(Refusal::new("405 Method Not Allowed\r\nAllow: GET", why));
    }
    let target = parsed.path.unwrap_or_default();
    if target.split('?').next() != Some(gate.path.as_str()) {
        let why = format!("there is nothing here; MQTT is at {}", gate.path);
        return Err(Refusal::new("404 Not Found", why));
    }
    if !fields.list("upgrade", "websocket") || !fields.list("connection", "upgrade") {
        let why = "MQTT over WebSocket is spoken here; ask with Upgrade: websocket";
        return Err(Refusal::new("426 Upgrade Required", why));
    }
    if fields.only("sec-websocket-version") != Some("13") {
        let why = "version 13 of WebSocket is spoken here";
        return Err(Refusal::new("426 Upgrade Required", why));
    }
    if fields.only("host").is_none() {
        return Err(Refusal::bad("the request has not one Host"));
    }
    let key = fields.only("sec-websocket-key").unwrap_or_default();
    if !matches!(BASE64_STANDARD.decode(key), Ok(bytes) if bytes.len() == 16) {
        let why = "Sec-WebSocket-Key is not base64 of 16 bytes";
        return Err(Refusal::bad(why));
    }
    if !fields.offer("sec-websocket-protocol", "mqtt") {
        let why = "the request does not offer the subprotocol mqtt (Sec-WebSocket-Protocol: mqtt)";
        return Err(Refusal::bad(why));
    }
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(GUID);
    Ok(Welcome {
        accept: BASE64_STANDARD.encode(hash.finish()),
        must_log_in,
    })
}

/// Judges where a request comes from; returns whether its sender has to say who it is. So does who
/// comes through a proxy: its address is the proxy's, most often loopback, and says nothing of it.
fn judge_origin(fields: &Fields<'_, '_>, gate: &Gate) -> Result<bool, Refusal> {
    let mut origins = fields.all("origin");
    let Some(origin) = origins.next() else {
        let marks = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
        return Ok(marks.iter().any(|name| fields.all(name).next().is_some()));
    };
    let origin = std::str::from_utf8(origin).unwrap_or_default();
    let is_listed = |own: &String| own.eq_ignore_ascii_case(origin);
    if origins.next().is_some() || !gate.origins.iter().any(is_listed) {
        let shown = escape(origin);
        let why = format!("its Origin `{shown}` is not in origins of [broker] websocket");
        return Err(Refusal::new("403 Forbidden", why));
    }
    Ok(true)
}

/// The header fields of a request.
struct Fields<'h, 'b>(&'h [Header<'b>]);

impl<'b> Fields<'_, 'b> {
    /// Returns the values of all fields of this name.
    fn all(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        let fields = self.0.iter();
        let fields = fields.filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value.trim_ascii())
    }

    /// Returns the value of a field that stands once.
    fn only(&self, name: &str) -> Option<&'b str> {
        let mut values = self.all(name);
        let first = values.next()?;
        values.next().is_none().then_some(())?;
        std::str::from_utf8(first).ok()
    }

    /// Returns whether a word is in a list, in any case.
    fn list(&self, name: &str, word: &str) -> bool {
        let mut words = self.words(name);
        words.any(|it| it.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Returns whether a word is in a list as it is written.
    fn offer(&self, name: &str, word: &str) -> bool {
        self.words(name).any(|it| it == word.as_bytes())
    }

    fn words(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        let values = self.all(name);
        let words = values.flat_map(|value| value.split(|byte| *byte == b','));
        words.map(<[u8]>::trim_ascii)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 6455 §1.2, for MQTT and from no browser.
    const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn judged(request: &str) -> Result<Welcome, Refusal> {
        let gate = Gate {
            path: "/mqtt".to_owned(),
            origins: vec!["https://garden.example".to_owned()],
        };
        judge(request.as_bytes(), &gate)
    }

    #[test]
    fn the_key_of_the_standard_gets_the_answer_of_the_standard() {
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
        let must_log_in = false;
        assert_eq!(
            judged(GOOD),
            Ok(Welcome {
                accept,
                must_log_in
            })
        );
    }

    #[test]
    fn requests_are_taken_as_they_are_written_elsewhere() {
        let same = [
            GOOD.replace("/mqtt HTTP", "/mqtt?token=1 HTTP"),
            GOOD.replace("Upgrade: websocket", "UPGRADE:WebSocket"),
            GOOD.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
            GOOD.replace("Protocol: mqtt", "Protocol: mqttv3.1, mqtt"),
            GOOD.replace(
                "Protocol: mqtt",
                "Protocol: mqttv3.1\r\nSec-WebSocket-Protocol: mqtt",
            ),
        ];
        for request in same {
            assert!(judged(&request).is_ok(), "{request}");
        }
    }

    #[test]
    fn whoever_comes_from_a_page_or_through_a_proxy_has_to_say_who_it_is() {
        let cases = [
            ("", Some(false)),
            ("Origin: https://garden.example\r\n", Some(true)),
            ("Origin: HTTPS://Garden.Example\r\n", Some(true)),
            ("X-Forwarded-For: 192.0.2.1\r\n", Some(true)),
            ("Via: 1.1 proxy\r\n", Some(true)),
            ("Origin: https://garden.example:8443\r\n", None),
            ("Origin: http://garden.example\r\n", None),
            ("Origin: https://garden.example.evil.example\r\n", None),
            ("Origin: null\r\n", None),
            ("Origin:\r\n", None),
            ("origin: https://evil.example\r\n", None),
            (
                "Origin: https://garden.example\r\nOrigin: https://evil.example\r\n",
                None,
            ),
        ];
        for (field, expected) in cases {
            let request = GOOD.replace("Host:", &format!("{field}Host:"));
            match (judged(&request), expected) {
                (Ok(welcome), Some(expected)) => assert_eq!(welcome.must_log_in, expected),
                (Err(refusal), None) => assert_eq!(refusal.status, "403 Forbidden", "{field}"),
                (other, _) => panic!("{field}: {other:?}"),
            }
        }
    }

    #[test]
    fn requests_that_are_wrong_are_told_how() {
        let many = "X: y\r\n".repeat(FIELDS);
        let cases = [
            ("GET", "POST", "405"),
            ("HTTP/1.1", "HTTP/1.0", "405"),
            ("/mqtt HTTP", "/ HTTP", "404"),
            ("/mqtt HTTP", "/mqtt/x HTTP", "404"),
            ("Upgrade: websocket\r\n", "", "426"),
            ("Connection: Upgrade", "Connection: close", "426"),
            ("Version: 13", "Version: 8", "426"),
            ("Host: server.example.com\r\n", "", "400"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", "400"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400"),
            ("Sec-WebSocket-Protocol: mqtt\r\n", "", "400"),
            ("Protocol: mqtt", "Protocol: mqttv3.1", "400"),
            ("Protocol: mqtt", "Protocol: MQTT", "400"),
            ("Host:", "Ho st:", "400"),
            ("Host:", &format!("{many}Host:"), "431"),
        ];
        for (from, to, status) in cases {
            let refusal = judged(&GOOD.replace(from, to)).unwrap_err();
            assert!(refusal.status.starts_with(status), "{to}: {refusal:?}");
            assert!(refusal.response().contains("Connection: close\r\n"));
        }
    }
}
