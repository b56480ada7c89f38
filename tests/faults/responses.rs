//! Servers that break HTTP, or make one wait.

use std::time::Duration;

use crate::https::{Script, Step, redirect, response};
use crate::{Fault, IMPATIENT, announcing, chunked, ok, send};

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn broken() -> Vec<Fault> {
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    let bomb = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(10 << 20));
    vec![
        Fault::script(
            "not found",
            Script::fixed("404 Not Found", "gone"),
            "http.status 404 Not Found",
        ),
        Fault::script(
            "the server's own fault",
            Script::fixed("500 Oops", ""),
            "http.status 500 Internal Server Error",
        ),
        Fault::steps(
            "closed with close_notify before a response",
            vec![Step::Close],
            "connect.reset - closed by the server before a response",
        ),
        Fault::steps(
            "cut off before a response",
            vec![Step::Cut],
            "connect.reset - cut off before a response",
        ),
        Fault::steps(
            "reset before a response",
            vec![Step::Reset],
            "connect.reset - reset by the server before a response",
        ),
        Fault::steps(
            "not HTTP",
            vec![send("SSH-2.0-OpenSSH_9.9\r\n")],
            "http.malformed - not HTTP: invalid HTTP version",
        ),
        Fault::steps(
            "a protocol nobody asked for",
            vec![send("HTTP/1.1 101 Switching Protocols\r\n\r\n")],
            "http.malformed 101 status 101 was not asked for",
        ),
        Fault::steps(
            "chunks in HTTP/1.0, and the connection stays",
            vec![
                send("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n"),
                Step::Stall,
            ],
            "http.malformed 200 chunked in a version of HTTP that has no chunks",
        ),
        Fault::steps(
            "a length that is no number",
            vec![send("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n")],
            "http.malformed - content-length header not a number",
        ),
        Fault::steps(
            "a chunk length that is no number",
            vec![chunked("zz\r\n")],
            "http.malformed 200 chunk length cannot be read as a number",
        ),
        Fault::steps(
            "not the JSON that is selected from",
            vec![ok("hello")],
            "http.malformed 200 the response is not JSON, nothing can be selected",
        )
        .with_route("select = \"/title\""),
        Fault::steps(
            "compressed though nobody asked for it",
            vec![send(response(
                "200 OK",
                &[("content-encoding", "gzip")],
                b"\x1f\x8b\x08",
            ))],
            "http.malformed 200 the body is encoded with gzip, which was not asked for",
        ),
        Fault::steps(
            "less than announced, closed",
            vec![announcing(10, "half"), Step::Close],
            "http.truncated 200 4 of 10 bytes",
        ),
        Fault::steps(
            "less than announced, cut off",
            vec![announcing(10, "half"), Step::Cut],
            "http.truncated 200 4 of 10 bytes",
        ),
        Fault::steps(
            "within a chunk",
            vec![chunked("4\r\nha"), Step::Cut],
            "http.truncated 200 cut off within the response",
        ),
        Fault::steps(
            "between chunks",
            vec![chunked("4\r\nhalf\r\n"), Step::Close],
            "http.truncated 200 closed by the server within the response",
        ),
        Fault::steps(
            "a body until the end, without close_notify",
            vec![send("HTTP/1.0 200 OK\r\n\r\nhalf"), Step::Cut],
            "http.truncated 200 cut off within the response",
        ),
        Fault::steps(
            "within the header",
            vec![send("HTTP/1.1 200"), Step::Close],
            "http.truncated - closed by the server within the response",
        ),
        Fault::steps(
            "a body over the limit, as it says itself",
            vec![announcing(65_537, "")],
            "http.too_large 200 65537 bytes, limit 65536",
        ),
        Fault::steps(
            "an endless body",
            vec![
                send("HTTP/1.0 200 OK\r\n\r\n"),
                Step::Endlessly(vec![b'x'; 1000]),
            ],
            "http.too_large 200 more than 65536 bytes, limit 65536",
        ),
        Fault::steps(
            "endless chunks",
            vec![chunked(""), Step::Endlessly(b"4\r\nxxxx\r\n".repeat(100))],
            "http.too_large 200 more than 65536 bytes, limit 65536",
        ),
        Fault::steps(
            "a header of 10 MB",
            vec![send(bomb)],
            "http.too_large - response header over 32 KiB",
        ),
        Fault::steps(
            "many header fields",
            vec![send(many_fields)],
            "http.too_large - more than 128 header fields",
        ),
        Fault::steps(
            "more than the node takes",
            vec![ok(&"x".repeat(2000))],
            "reply.too_large - 2000",
        ),
    ]
}

pub(crate) fn redirects() -> Vec<Fault> {
    vec![
        Fault::steps(
            "away from https",
            vec![send(redirect(301, "http://site.example/x?token=1"))],
            "http.redirect 301 not to https: http://site.example/x",
        ),
        Fault::steps(
            "to another origin",
            vec![send(redirect(307, "https://elsewhere.example/x"))],
            "http.redirect 307 to another origin: https://elsewhere.example/x",
        ),
        Fault::steps(
            "in a circle",
            vec![send(redirect(302, "/again"))],
            "http.redirect 302 more than 5 redirects",
        ),
    ]
}

pub(crate) fn slow() -> Vec<Fault> {
    let tick = Duration::from_millis(20);
    let slow = |why, steps| Fault {
        route: IMPATIENT,
        ..Fault::steps(why, steps, "timeout.response - after 0.3 s")
    };
    let slow_body = |why, steps| Fault {
        told: "timeout.response 200 after 0.3 s",
        ..slow(why, steps)
    };
    vec![
        slow("silent", vec![Step::Stall]),
        slow(
            "silent within the header",
            vec![send("HTTP/1.1 200 OK\r\ncont"), Step::Stall],
        ),
        slow_body(
            "silent within the body",
            vec![announcing(10, "half"), Step::Stall],
        ),
        slow(
            "a header that drips",
            vec![Step::Drip(response("200 OK", &[], b"").repeat(10), tick)],
        ),
        slow_body(
            "a body that drips",
            vec![announcing(1000, ""), Step::Drip(vec![b'x'; 1000], tick)],
        ),
        slow(
            "endless 1xx",
            vec![Step::Endlessly(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())],
        ),
        slow(
            "silent after a redirect",
            vec![send(redirect(302, "/there")), Step::Stall],
        ),
        Fault {
            route: "method = \"POST\"\ntimeout = \"300ms\"\n",
            payload: vec![b'x'; 512 * 1024],
            ..Fault::script(
                "the body isn't read",
                Script::steps(vec![Step::Freeze])
                    .without_reading_bodies()
                    .narrow(),
                "timeout.request - after 0.3 s",
            )
        },
    ]
}

/// What is wrong with a response in its form alone.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn malformed() -> Vec<Fault> {
    let is = |why: &'static str, bytes: &str, told: &'static str| {
        let steps = vec![send(bytes.replace('\n', "\r\n")), Step::Close];
        let fault = Fault::steps(why, steps, told);
        fault.with_route("timeout = \"4s\"\n")
    };
    vec![
        is(
            "HTTP 0.9",
            "hello",
            "http.malformed - not HTTP: invalid HTTP version",
        ),
        is(
            "nothing of HTTP",
            "<html><body>hello</body></html>\n\n",
            "http.malformed - not HTTP: invalid HTTP version",
        ),
        is(
            "HTTP/2",
            "\0\0\u{6}\u{4}\0\0\0\0\0\0\u{3}\0\0\0d",
            "http.malformed - not HTTP: invalid HTTP version",
        ),
        is(
            "HTTP/3.0",
            "HTTP/3.0 200 OK\ncontent-length: 2\n\nhi",
            "http.malformed - not HTTP: invalid HTTP version",
        ),
        is(
            "a status of two digits",
            "HTTP/1.1 20 OK\ncontent-length: 2\n\nhi",
            "http.malformed - not HTTP: invalid response status",
        ),
        is(
            "a status of four digits",
            "HTTP/1.1 2000 OK\ncontent-length: 2\n\nhi",
            "http.malformed - not HTTP: invalid response status",
        ),
        is(
            "a status that is no number",
            "HTTP/1.1 abc OK\ncontent-length: 2\n\nhi",
            "http.malformed - not HTTP: invalid response status",
        ),
        is(
            "a status below 100",
            "HTTP/1.1 099 Early\ncontent-length: 2\n\nhi",
            "http.malformed - not HTTP: invalid status code: 099",
        ),
        is(
            "a status above 599",
            "HTTP/1.1 999 Odd\ncontent-length: 2\n\nhi",
            "http.status 999",
        ),
        is(
            "no status",
            "HTTP/1.1\n\n",
            "http.malformed - not HTTP: invalid HTTP version",
        ),
        is(
            "no reason",
            "HTTP/1.1 200\ncontent-length: 2\n\nhi",
            "ok: hi",
        ),
        is(
            "an empty line first",
            "\nHTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
            "ok: hi",
        ),
        is(
            "a field without a colon",
            "HTTP/1.1 200 OK\nfield\n\n",
            "http.malformed - not HTTP: invalid header name",
        ),
        is(
            "a field without a name",
            "HTTP/1.1 200 OK\n: x\n\n",
            "http.malformed - not HTTP: invalid header name",
        ),
        is(
            "a space before the colon",
            "HTTP/1.1 200 OK\ncontent-length : 2\n\nhi",
            "http.malformed - not HTTP: invalid header name",
        ),
        is(
            "a field in two lines",
            "HTTP/1.1 200 OK\nx: a\n b\ncontent-length: 2\n\nhi",
            "http.malformed - not HTTP: invalid header name",
        ),
        is(
            "NUL in a field",
            "HTTP/1.1 200 OK\nx: a\0b\ncontent-length: 2\n\nhi",
            "http.malformed - not HTTP: invalid header value",
        ),
        is(
            "two lengths that differ",
            "HTTP/1.1 200 OK\ncontent-length: 2\ncontent-length: 4\n\nhiho",
            "http.malformed - conflicting content-length headers",
        ),
        is(
            "two lengths that agree",
            "HTTP/1.1 200 OK\ncontent-length: 2\ncontent-length: 2\n\nhi",
            "ok: hi",
        ),
        is(
            "two lengths in a field",
            "HTTP/1.1 200 OK\ncontent-length: 2, 4\n\nhiho",
            "http.malformed - conflicting content-length headers",
        ),
        is(
            "a negative length",
            "HTTP/1.1 200 OK\ncontent-length: -2\n\nhi",
            "http.malformed - content-length header not a number",
        ),
        is(
            "a length with a sign",
            "HTTP/1.1 200 OK\ncontent-length: +2\n\nhi",
            "http.malformed - content-length header not a number",
        ),
        is(
            "a hexadecimal length",
            "HTTP/1.1 200 OK\ncontent-length: 0x2\n\nhi",
            "http.malformed - content-length header not a number",
        ),
        is(
            "a length beyond 64 bits",
            "HTTP/1.1 200 OK\ncontent-length: 99999999999999999999\n\nhi",
            "http.malformed - content-length header not a number",
        ),
        is(
            "a length just within 64 bits",
            "HTTP/1.1 200 OK\ncontent-length: 18446744073709551615\n\nhi",
            "http.too_large 200 18446744073709551615 bytes, limit 65536",
        ),
        is(
            "a length and chunks",
            "HTTP/1.1 200 OK\ncontent-length: 3\ntransfer-encoding: chunked\n\n2\nhi\n0\n\n",
            "ok: hi",
        ),
        is(
            "chunks in HTTP/1.0",
            "HTTP/1.0 200 OK\ntransfer-encoding: chunked\n\n2\nhi\n0\n\n",
            "http.malformed 200 chunked in a version of HTTP that has no chunks",
        ),
        is(
            "an unknown coding",
            "HTTP/1.1 200 OK\ntransfer-encoding: rot13\n\nuv",
            "http.malformed 200 the body is encoded with rot13, which was not asked for",
        ),
        is(
            "compressed chunks",
            "HTTP/1.1 200 OK\ntransfer-encoding: gzip, chunked\n\n2\nhi\n0\n\n",
            "http.malformed 200 the body is encoded with gzip, which was not asked for",
        ),
        is(
            "chunked twice",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked, chunked\n\n2\nhi\n0\n\n",
            "http.malformed 200 chunked more than once",
        ),
        is(
            "a chunk that is longer than it says",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2\nhiho\n0\n\n",
            "http.malformed 200 chunk expected crlf as next character",
        ),
        is(
            "a chunk that is shorter than it says",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n9\nhi\n0\n\n",
            "http.truncated 200 closed by the server within the response",
        ),
        is(
            "a negative chunk",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n-2\nhi\n0\n\n",
            "http.malformed 200 chunk length cannot be read as a number",
        ),
        is(
            "a chunk beyond 64 bits",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nFFFFFFFFFFFFFFFFF\nhi\n0\n\n",
            "http.malformed 200 chunk length cannot be read as a number",
        ),
        is(
            "a chunk just within 64 bits",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nFFFFFFFFFFFFFFFF\nhi\n0\n\n",
            "http.truncated 200 closed by the server within the response",
        ),
        is(
            "a chunk without a length",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n\nhi\n0\n\n",
            "http.malformed 200 chunk length cannot be read as a number",
        ),
        is(
            "no last chunk",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2\nhi\n",
            "http.truncated 200 closed by the server within the response",
        ),
        is(
            "an extension of a chunk",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2;a=b\nhi\n0\n\n",
            "ok: hi",
        ),
        is(
            "trailers",
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2\nhi\n0\nx: y\nz: a\n\n",
            "ok: hi",
        ),
        is(
            "100 first",
            "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
            "ok: hi",
        ),
        is(
            "103 first",
            "HTTP/1.1 103 Early Hints\nlink: </x>\n\nHTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
            "ok: hi",
        ),
        is(
            "102 five times first",
            &format!(
                "{}HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
                "HTTP/1.1 102 Processing\n\n".repeat(5)
            ),
            "ok: hi",
        ),
        is(
            "100 and nothing else",
            "HTTP/1.1 100 Continue\n\n",
            "http.truncated - closed by the server within the response",
        ),
        is(
            "more than announced",
            "HTTP/1.1 200 OK\ncontent-length: 2\n\nhiho",
            "ok: hi",
        ),
        is("until the end", "HTTP/1.1 200 OK\n\nhi", "ok: hi"),
        is(
            "204 with a body",
            "HTTP/1.1 204 No Content\ncontent-length: 2\n\nhi",
            "ok: ",
        ),
        is(
            "304 with a body",
            "HTTP/1.1 304 Not Modified\ncontent-length: 2\n\nhi",
            "http.status 304 Not Modified",
        ),
        is(
            "205 with a body",
            "HTTP/1.1 205 Reset Content\ncontent-length: 2\n\nhi",
            "ok: hi",
        ),
        is(
            "a redirect to nowhere",
            "HTTP/1.1 302 Found\ncontent-length: 2\n\nhi",
            "http.status 302 Found",
        ),
        is(
            "a redirect to what is no URL",
            "HTTP/1.1 302 Found\nlocation: https://[::\ncontent-length: 0\n\n",
            "http.redirect 302 to an unusable host: [::",
        ),
        is(
            "a redirect to another scheme",
            "HTTP/1.1 302 Found\nlocation: file:///etc/passwd\ncontent-length: 0\n\n",
            "http.redirect 302 not to https: file:///etc/passwd",
        ),
        is(
            "a redirect with a password",
            "HTTP/1.1 302 Found\nlocation: https://u:secret@site.example/\ncontent-length: 0\n\n",
            "http.redirect 302 to a URL with a user name at site.example",
        ),
        is(
            "10,000 fields",
            &format!("HTTP/1.1 200 OK\n{}\n", "x: y\n".repeat(10_000)),
            "http.too_large - more than 128 header fields",
        ),
        is(
            "a reason of a megabyte",
            &format!("HTTP/1.1 200 {}\n\n", "O".repeat(1 << 20)),
            "http.too_large - response header over 32 KiB",
        ),
        is(
            "an extension of a megabyte",
            &format!(
                "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2;{}\nhi\n0\n\n",
                "x".repeat(1 << 20)
            ),
            "http.malformed 200 a line of the body is longer than 32 KiB",
        ),
        is(
            "trailers of a megabyte",
            &format!(
                "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2\nhi\n0\n{}\n",
                "x: y\n".repeat(200_000)
            ),
            "ok: hi",
        ),
        Fault::steps(
            "lines that end with LF alone",
            vec![
                send("HTTP/1.1 200 OK\ncontent-length: 2\n\nhi"),
                Step::Close,
            ],
            "ok: hi",
        ),
        Fault::steps(
            "close_notify before a response, TCP left open",
            vec![Step::Notify, Step::Stall],
            "connect.reset - closed by the server before a response",
        ),
        Fault::steps(
            "close_notify within a response, TCP left open",
            vec![announcing(10, "half"), Step::Notify, Step::Stall],
            "http.truncated 200 4 of 10 bytes",
        ),
        Fault::steps(
            "close_notify at the end, TCP left open",
            vec![
                send("HTTP/1.0 200 OK\r\n\r\nall"),
                Step::Notify,
                Step::Stall,
            ],
            "ok: all",
        ),
        Fault::steps(
            "an alert within the response",
            vec![announcing(10, "half"), Step::Alert],
            "http.truncated 200 4 of 10 bytes",
        ),
        Fault::steps(
            "a reset within the response",
            vec![
                announcing(10, "half"),
                Step::Pause(Duration::from_millis(50)),
                Step::Reset,
            ],
            "http.truncated 200 4 of 10 bytes",
        ),
    ]
}
