//! The client against servers that are good, slow, broken or hostile.

use std::sync::Arc;
use std::time::Duration;

use crate::core::endpoint::Redirects;
use crate::core::outcome::{Code, Outcome};
use crate::core::request::{Method, Request};
use crate::io::clock::{self, Wall};
use crate::io::http::support::certificates::Authority;
use crate::io::http::support::https::{Greeting, Script, Server, Step, redirect, response};
use crate::io::http::testing::{
    HOST, LONG, SHORT, Site, client_by, endpoint, failure, job, request,
};

fn send(bytes: &[u8]) -> Step {
    Step::Send(bytes.to_vec())
}

#[test]
fn a_request_arrives_as_it_was_written_and_the_response_comes_back() {
    let answer = response("201 Created", &[("content-type", "text/plain")], b"done");
    let site = Site::new(Script::bytes(answer));
    let mut request = site.post("hello");
    request.target = "/a%20b?c=d".to_owned();
    request.headers = vec![("x-one".to_owned(), "1".to_owned())];
    let response = site.respond(request);
    assert_eq!(response.status, 201);
    assert_eq!(response.content_type.as_deref(), Some("text/plain"));
    assert_eq!(response.body.as_ref(), b"done");
    let received = site.server.last();
    assert_eq!(received.line(), "POST /a%20b?c=d");
    assert_eq!(received.body, b"hello");
    assert_eq!(received.header("x-one"), Some("1"));
    let host = format!("{HOST}:{}", site.server.port());
    assert_eq!(received.header("host"), Some(host.as_str()));
    assert_eq!(
        received.header("user-agent"),
        Some(concat!("mqtt-https-bridge/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(received.header("accept-encoding"), None);
    assert_eq!(received.header("content-length"), Some("5"));
}

#[test]
fn the_user_agent_of_the_route_wins() {
    let site = Site::new(Script::echo());
    let mut request = site.get("/");
    request.headers = vec![("user-agent".to_owned(), "attic".to_owned())];
    site.respond(request);
    assert_eq!(site.server.last().header("user-agent"), Some("attic"));
    assert_eq!(site.server.last().head.matches("user-agent").count(), 1);
}

#[test]
fn each_method_announces_the_body_it_has() {
    let site = Site::new(Script::echo());
    for (method, body, length) in [
        (Method::Get, None, None),
        (Method::Get, Some("x"), Some("1")),
        (Method::Head, None, None),
        (Method::Post, None, Some("0")),
        (Method::Put, None, Some("0")),
        (Method::Patch, Some(""), Some("0")),
        (Method::Delete, None, None),
        (Method::Delete, Some("x"), Some("1")),
    ] {
        let request = Request {
            body_holds_secret: false,
            body: body.map(|body| body.to_owned().into()),
            ..request(method, site.server.port(), "/")
        };
        assert_eq!(site.respond(request).status, 200, "{method:?} {body:?}");
        let received = site.server.last();
        assert_eq!(
            received.header("content-length"),
            length,
            "{method:?} {body:?}"
        );
        assert_eq!(
            received.header("transfer-encoding"),
            None,
            "{method:?} {body:?}"
        );
        assert_eq!(received.body, body.unwrap_or_default().as_bytes());
    }
    assert_eq!(
        site.server.counts().connections,
        1,
        "all over one connection"
    );
}

#[test]
fn any_status_is_a_response() {
    for status in [
        "200 OK",
        "404 Not Found",
        "500 No",
        "999 Odd",
        "304 Same",
        "300 Choose",
    ] {
        let site = Site::new(Script::bytes(format!(
            "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"
        )));
        let expected: u16 = status.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(site.respond(site.get("/")).status, expected);
    }
}

#[test]
fn responses_without_a_body_end_with_their_header() {
    for (method, head, why) in [
        (Method::Head, "200 OK\r\ncontent-length: 1000", "HEAD"),
        (Method::Get, "204 No Content", "204"),
        (
            Method::Get,
            "304 Not Modified\r\ncontent-length: 1000",
            "304",
        ),
    ] {
        let site = Site::new(Script::bytes(format!("HTTP/1.1 {head}\r\n\r\n")));
        for _ in 0..2 {
            let request = request(method, site.server.port(), "/");
            assert_eq!(site.respond(request).body.as_ref(), b"", "{why}");
        }
        assert_eq!(site.server.counts().connections, 1, "{why}: kept");
    }
}

#[test]
fn bodies_of_every_framing_arrive_whole() {
    let big = vec![b'x'; 60_000];
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\ntrailer: 1\r\n\r\n";
    for (steps, expected, why) in [
        (
            vec![send(&response("200 OK", &[], &big))],
            big.clone(),
            "length",
        ),
        (vec![send(chunked)], b"abcde".to_vec(), "chunked"),
        (
            vec![send(b"HTTP/1.0 200 OK\r\n\r\nold"), Step::Close],
            b"old".to_vec(),
            "until close, with close_notify",
        ),
        (
            vec![
                send(b"HTTP/1.1 100 Continue\r\n\r\n"),
                send(&response("200 OK", &[], b"late")),
            ],
            b"late".to_vec(),
            "after a 100",
        ),
        (
            vec![
                send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
                send(&response("200 OK", &[], b"hints")),
            ],
            b"hints".to_vec(),
            "after a 103",
        ),
        (
            vec![Step::Drip(
                response("200 OK", &[], b"drop"),
                Duration::from_millis(1),
            )],
            b"drop".to_vec(),
            "byte by byte",
        ),
    ] {
        let site = Site::new(Script::steps(steps));
        let response = site.respond(site.get("/"));
        assert_eq!(response.body.as_ref(), expected, "{why}");
    }
}

#[test]
fn encoded_bodies_are_taken_only_when_asked_for() {
    let plain = |fields: &str, body: &str| {
        send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}").as_bytes())
    };
    let refused = |coding: &str| {
        let detail = format!("the body is encoded with {coding}, which was not asked for");
        Err((Code::HttpMalformed, detail))
    };
    let asking = Some("gzip");
    for (step, accept, expected) in [
        (
            plain("content-encoding: gzip\r\ncontent-length: 3", "zip"),
            None,
            refused("gzip"),
        ),
        (
            plain("content-encoding: gzip\r\ncontent-length: 3", "zip"),
            asking,
            Ok("zip"),
        ),
        (
            plain("content-encoding: identity, Br\r\ncontent-length: 3", "zip"),
            None,
            refused("Br"),
        ),
        (
            plain("content-encoding: Identity\r\ncontent-length: 3", "zip"),
            None,
            Ok("zip"),
        ),
        (
            plain("content-encoding: gzip\r\ncontent-length: 0", ""),
            None,
            Ok(""),
        ),
        (
            plain("transfer-encoding: gzip, chunked", "3\r\nzip\r\n0\r\n\r\n"),
            None,
            refused("gzip"),
        ),
        (
            plain("transfer-encoding: Chunked", "3\r\nzip\r\n0\r\n\r\n"),
            None,
            Ok("zip"),
        ),
    ] {
        let shown = format!("{step:?} {accept:?}");
        let site = Site::new(Script::steps(vec![step]));
        let mut request = site.get("/");
        let accept = accept.map(|value| ("accept-encoding".to_owned(), value.to_owned()));
        request.headers = accept.into_iter().collect();
        let outcome = match site.perform(request) {
            Outcome::Response(response) => Ok(response.body),
            Outcome::Failure(failure) => {
                assert_eq!(failure.status, Some(200), "{shown}");
                Err((failure.code, failure.detail))
            }
        };
        let expected = expected.map(|body| body.as_bytes().into());
        assert_eq!(outcome, expected, "{shown}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_breaks_an_exchange_has_its_code() {
    let length = |n: usize, body: &[u8]| {
        let mut out = format!("HTTP/1.1 200 OK\r\ncontent-length: {n}\r\n\r\n").into_bytes();
        out.extend_from_slice(body);
        Step::Send(out)
    };
    let chunked = |rest: &str| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        Step::Send(format!("{head}{rest}").into_bytes())
    };
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    let bomb = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(10 << 20));
    for (steps, code, detail) in [
        (
            vec![Step::Close],
            Code::ConnectReset,
            "closed by the server before a response",
        ),
        (
            vec![Step::Cut],
            Code::ConnectReset,
            "cut off before a response",
        ),
        (
            vec![Step::Reset],
            Code::ConnectReset,
            "reset by the server before a response",
        ),
        (
            vec![send(b"HTTP/1.1 200"), Step::Close],
            Code::HttpTruncated,
            "closed by the server within the response",
        ),
        (
            vec![length(10, b"half"), Step::Close],
            Code::HttpTruncated,
            "4 of 10 bytes",
        ),
        (
            vec![length(10, b"half"), Step::Cut],
            Code::HttpTruncated,
            "4 of 10 bytes",
        ),
        (
            vec![length(10, b"half"), Step::Pause(SHORT), Step::Reset],
            Code::HttpTruncated,
            "4 of 10 bytes",
        ),
        (
            vec![chunked("4\r\nhalf\r\n"), Step::Close],
            Code::HttpTruncated,
            "closed by the server within the response",
        ),
        (
            vec![chunked("4\r\nha"), Step::Cut],
            Code::HttpTruncated,
            "cut off within the response",
        ),
        (
            vec![send(b"HTTP/1.0 200 OK\r\n\r\nhalf"), Step::Cut],
            Code::HttpTruncated,
            "cut off within the response",
        ),
        (
            vec![chunked("zz\r\n")],
            Code::HttpMalformed,
            "chunk length cannot be read as a number",
        ),
        (
            vec![chunked(&"1".repeat(100_000))],
            Code::HttpMalformed,
            "a line of the body is longer than 32 KiB",
        ),
        (
            vec![send(b"SSH-2.0-OpenSSH_9.9\r\n")],
            Code::HttpMalformed,
            "not HTTP: invalid HTTP version",
        ),
        (
            vec![send(b"HTTP/1.1 20 OK\r\n\r\n")],
            Code::HttpMalformed,
            "not HTTP: invalid response status",
        ),
        (
            vec![send(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n")],
            Code::HttpMalformed,
            "content-length header not a number",
        ),
        (
            vec![send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")],
            Code::HttpMalformed,
            "status 101 was not asked for",
        ),
        (
            vec![send(many_fields.as_bytes())],
            Code::HttpTooLarge,
            "more than 128 header fields",
        ),
        (
            vec![send(bomb.as_bytes())],
            Code::HttpTooLarge,
            "response header over 32 KiB",
        ),
        (
            vec![
                send(b"HTTP/1.1 200 OK\r\n"),
                Step::Endlessly(b"x: y\r\n".repeat(10)),
            ],
            Code::HttpTooLarge,
            "more than 128 header fields",
        ),
        (
            vec![length(65_537, b"")],
            Code::HttpTooLarge,
            "65537 bytes, limit 65536",
        ),
        (
            vec![
                chunked(""),
                Step::Endlessly(
                    b"400\r\n"
                        .iter()
                        .copied()
                        .chain([b'x'; 1024])
                        .chain(*b"\r\n")
                        .collect(),
                ),
            ],
            Code::HttpTooLarge,
            "more than 65536 bytes, limit 65536",
        ),
        (
            vec![
                send(b"HTTP/1.0 200 OK\r\n\r\n"),
                Step::Endlessly(vec![b'x'; 1000]),
            ],
            Code::HttpTooLarge,
            "more than 65536 bytes, limit 65536",
        ),
    ] {
        let shown: Vec<String> = steps.iter().map(|step| format!("{step:.0?}")).collect();
        let shown: String = shown.join(", ").chars().take(150).collect();
        let site = Site::new(Script::steps(steps));
        let failure = site.fail(site.get("/"));
        assert_eq!(
            (failure.code, failure.detail.as_str()),
            (code, detail),
            "{shown}"
        );
        site.server
            .wait(|counts| counts.ended == counts.connections);
    }
}

#[test]
fn every_phase_ends_at_the_deadline() {
    let body = response("200 OK", &[], b"0123456789");
    let tick = Duration::from_millis(200);
    // Long enough for a handshake on a machine with much else to do.
    let limit = Duration::from_secs(2);
    let cases = [
        (
            Script::echo().greeting(Greeting::Stall),
            Code::TimeoutTls,
            "silent after accept",
        ),
        (
            Script::echo().greeting(Greeting::StallInHandshake),
            Code::TimeoutTls,
            "silent after ClientHello",
        ),
        (
            Script::steps(vec![Step::Stall]),
            Code::TimeoutResponse,
            "silent after the request",
        ),
        (
            Script::steps(vec![send(&body[..30]), Step::Stall]),
            Code::TimeoutResponse,
            "silent in the header",
        ),
        (
            Script::steps(vec![send(&body[..body.len() - 2]), Step::Stall]),
            Code::TimeoutResponse,
            "silent in the body",
        ),
        (
            Script::steps(vec![Step::Drip(body.repeat(100), tick)]),
            Code::TimeoutResponse,
            "dripping header",
        ),
        (
            Script::steps(vec![
                send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
                Step::Drip(vec![b'x'; 1000], tick),
            ]),
            Code::TimeoutResponse,
            "dripping body",
        ),
        (
            Script::steps(vec![Step::Endlessly(
                b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
            )]),
            Code::TimeoutResponse,
            "endless 1xx",
        ),
        (
            Script::steps(vec![
                send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"),
                Step::Endlessly(b"x: y\r\n".to_vec()),
            ]),
            Code::TimeoutResponse,
            "endless trailers",
        ),
    ];
    std::thread::scope(|scope| {
        for (script, code, why) in cases {
            scope.spawn(move || {
                let site = Site::new(script);
                let before = clock::now();
                let failure = failure(site.perform_within(site.get("/"), limit));
                let took = clock::now() - before;
                assert_eq!(failure.code, code, "{why}: {}", failure.detail);
                assert!(
                    failure.detail.starts_with("after 2."),
                    "{why}: {}",
                    failure.detail
                );
                assert!(took >= limit && took < limit * 3, "{why}: took {took:?}");
            });
        }
    });
}

#[test]
fn a_body_that_nobody_reads_times_out_while_sending() {
    let site = Site::new(Script::steps(vec![Step::Freeze]).without_reading_bodies());
    let mut request = site.post("");
    // More than all buffers between take.
    request.body = Some(vec![b'x'; 32 << 20].into());
    let failure = failure(site.perform_within(request, SHORT));
    assert_eq!(failure.code, Code::TimeoutRequest);
}

#[test]
fn a_job_whose_deadline_has_passed_is_not_tried() {
    let site = Site::new(Script::echo());
    let mut job = crate::io::http::testing::job(&site.endpoint, site.get("/"), SHORT);
    job.deadline = clock::now();
    assert_eq!(failure(site.client.perform(&job)).code, Code::TimeoutQueue);
    assert_eq!(site.server.counts().connections, 0);
}

#[test]
fn an_answer_that_comes_while_we_still_send_is_read() {
    let answer = response("413 Too Much", &[("connection", "close")], b"no");
    let script = Script::steps(vec![Step::Send(answer), Step::Close]).without_reading_bodies();
    let site = Site::new(script);
    let mut request = site.post("");
    request.body = Some(vec![b'x'; 100_000].into());
    let response = site.respond(request);
    assert_eq!((response.status, response.body.as_ref()), (413, &b"no"[..]));
}

#[test]
fn connections_are_kept_and_used_again() {
    let site = Site::new(Script::echo());
    for n in 0..5 {
        let response = site.respond(site.get(&format!("/{n}")));
        assert_eq!(response.body.as_ref(), format!("GET /{n}").as_bytes());
    }
    let counts = site.server.counts();
    assert_eq!(
        (counts.connections, counts.full, counts.requests),
        (1, 1, 5)
    );
}

#[test]
fn an_idle_connection_that_has_ended_is_noticed() {
    let answer = response("200 OK", &[], b"ok");
    for (ending, why) in [
        (Step::Close, "close_notify and FIN"),
        (Step::Cut, "FIN alone"),
        (Step::Reset, "RST"),
        (Step::Notify, "close_notify, TCP left open"),
        (
            send(b"HTTP/1.1 408 Request Timeout\r\n\r\n"),
            "unasked bytes",
        ),
        (Step::Alert, "garbage"),
    ] {
        let steps = vec![Step::Send(answer.clone()), ending];
        let site = Site::new(Script::steps(steps));
        for n in 1..=3 {
            // A POST must not be repeated, so that this works shows that the end was noticed.
            match site.perform(site.post("x")) {
                Outcome::Response(response) => assert_eq!(response.body.as_ref(), b"ok"),
                Outcome::Failure(failure) => panic!("{why}, request {n}: {failure:?}"),
            }
            // An RST is sent when the socket closes, all else with the last step.
            let reset = why == "RST";
            site.server
                .wait(|counts| counts.answered == n && (!reset || counts.ended == n));
        }
    }
}

/// Answers the first request of each connection, and swallows the second.
fn swallowing(end: Step) -> Script {
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    Script::answering(move |request| {
        if seen.lock().unwrap().insert(request.connection) {
            vec![Step::Send(response("200 OK", &[], b"ok"))]
        } else {
            vec![end.clone()]
        }
    })
}

#[test]
fn an_idempotent_request_swallowed_by_a_kept_connection_is_sent_once_more() {
    for end in [Step::Close, Step::Cut, Step::Reset] {
        let site = Site::new(swallowing(end.clone()));
        site.respond(site.get("/1"));
        assert_eq!(site.respond(site.get("/2")).status, 200, "{end:?}");
        let counts = site.server.counts();
        assert_eq!((counts.connections, counts.requests), (2, 3), "{end:?}");
    }
}

#[test]
fn a_post_swallowed_by_a_kept_connection_is_not_repeated() {
    let site = Site::new(swallowing(Step::Close));
    site.respond(site.post("1"));
    let failure = site.fail(site.post("2"));
    assert_eq!(failure.code, Code::ConnectReset);
    assert_eq!(site.server.counts().requests, 2);
}

#[test]
fn a_request_swallowed_by_a_fresh_connection_is_not_repeated() {
    let site = Site::new(Script::steps(vec![Step::Close]));
    assert_eq!(site.fail(site.get("/")).code, Code::ConnectReset);
    assert_eq!(site.server.counts().requests, 1);
}

#[test]
fn a_connection_after_a_fault_is_not_used_again() {
    let site = Site::new(Script::answering(|request| match request.number {
        0 => vec![send(&response("200 OK", &[], &[b'x'; 70_000]))],
        _ => vec![send(&response("200 OK", &[], b"ok"))],
    }));
    assert_eq!(site.fail(site.get("/")).code, Code::HttpTooLarge);
    assert_eq!(site.respond(site.get("/")).body.as_ref(), b"ok");
    assert_eq!(site.server.counts().connections, 2);
}

#[test]
fn sessions_are_resumed_in_both_versions() {
    let script = || Script::bytes(response("200 OK", &[("connection", "close")], b"ok"));
    for (script, version) in [(script().tls12(), "1.2"), (script().tls13(), "1.3")] {
        let site = Site::new(script);
        for _ in 0..3 {
            site.respond(site.get("/"));
        }
        let counts = site.server.counts();
        assert_eq!((counts.full, counts.resumed), (1, 2), "TLS {version}");
    }
}

#[test]
fn redirects_within_the_origin_are_followed_over_the_same_connection() {
    let site = Site::new(Script::answering(|request| match request.line() {
        "POST /post" => vec![send(&redirect(303, "/see"))],
        "GET /see" => vec![send(&redirect(302, "other?x=1"))],
        _ => vec![send(&response("200 OK", &[], request.line().as_bytes()))],
    }));
    let response = site.respond(site.post("body"));
    assert_eq!(response.body.as_ref(), b"GET /other?x=1");
    assert_eq!(site.server.counts().connections, 1);
    assert_eq!(site.server.last().body, b"");
}

#[test]
fn a_307_carries_method_and_body() {
    let site = Site::new(Script::answering(|request| match request.line() {
        "POST /post" => vec![send(&redirect(307, "/again"))],
        _ => vec![send(&response("200 OK", &[], &request.body))],
    }));
    assert_eq!(site.respond(site.post("body")).body.as_ref(), b"body");
    assert_eq!(site.server.last().line(), "POST /again");
}

#[test]
fn a_redirect_loop_ends() {
    let site = Site::new(Script::bytes(redirect(302, "/again")));
    let failure = site.fail(site.get("/"));
    assert_eq!(failure.code, Code::HttpRedirect);
    assert_eq!(failure.detail, "more than 5 redirects");
    assert_eq!(failure.status, Some(302));
    assert_eq!(site.server.counts().requests, 6);
}

#[test]
fn redirects_that_may_not_be_followed_are_failures_and_go_nowhere() {
    for (location, detail) in [
        (
            "http://site.example/x?token=1",
            "not to https: http://site.example/x",
        ),
        (
            "https://elsewhere.example/x",
            "to another origin: https://elsewhere.example/x",
        ),
    ] {
        let site = Site::new(Script::bytes(redirect(301, location)));
        let failure = site.fail(site.get("/"));
        assert_eq!(
            (failure.code, failure.detail.as_str()),
            (Code::HttpRedirect, detail)
        );
    }
}

#[test]
fn without_redirects_a_3xx_is_the_response() {
    let site = Site::with(Script::bytes(redirect(302, "/x")), |endpoint| {
        endpoint.redirects = Redirects::None;
    });
    let response = site.respond(site.get("/"));
    assert_eq!(
        (response.status, response.body.as_ref()),
        (302, &b"moved"[..])
    );
}

#[test]
fn a_redirect_elsewhere_carries_no_credentials() {
    let authority = Authority::new("both");
    let other = Server::start(&authority.good(&["127.0.0.1"]), Script::echo());
    let elsewhere = format!("https://127.0.0.1:{}/there", other.port());
    let site = Site::presenting(
        &authority.good(&[HOST]),
        &authority,
        Script::bytes(redirect(307, &elsewhere)),
        |endpoint| endpoint.redirects = Redirects::Any,
    );
    let mut request = site.post("body");
    request.headers = [
        ("authorization", "secret"),
        ("cookie", "secret"),
        ("x-key", "secret"),
        ("accept", "a/b"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    site.respond(request);
    assert_eq!(site.server.last().header("x-key"), Some("secret"));
    let there = other.last();
    assert_eq!(there.line(), "POST /there");
    assert_eq!(there.header("accept"), Some("a/b"));
    assert!(!there.head.contains("secret"), "{}", there.head);
}

#[test]
fn a_captured_host_cannot_lead_inside() {
    // `localhost` is the one name that every system resolves by itself.
    let authority = Authority::new("inside");
    let site = Site::presenting(
        &authority.good(&["localhost"]),
        &authority,
        Script::echo(),
        |endpoint| {
            endpoint.address = None;
            endpoint.captured_host = true;
            endpoint.private_addresses = false;
        },
    );
    for host in ["localhost", "127.0.0.1", "::1"] {
        let request = Request {
            body_holds_secret: false,
            host: host.to_owned(),
            ..site.get("/")
        };
        let failure = site.fail(request);
        assert_eq!(failure.code, Code::BridgeDenied, "{host}");
        assert_eq!(failure.detail, format!("{host} is at a private address"));
    }
    assert_eq!(site.server.counts().connections, 0);
}

#[test]
fn a_port_nobody_listens_on_is_refused() {
    let site = Site::new(Script::echo());
    let request = site.get("/");
    let Site {
        server,
        client,
        endpoint,
    } = site;
    drop(server);
    let outcome = client.perform(&crate::io::http::testing::job(&endpoint, request, SHORT));
    let failure = failure(outcome);
    assert_eq!(
        (failure.code, failure.detail.as_str()),
        (Code::ConnectRefused, "connection refused")
    );
}

#[test]
fn header_fields_that_the_gateway_writes_are_refused() {
    let site = Site::new(Script::echo());
    for name in [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "expect",
    ] {
        let mut request = site.get("/");
        request.headers = vec![(name.to_owned(), "x".to_owned())];
        let failure = site.fail(request);
        assert_eq!(failure.code, Code::BridgeBadRequest);
        assert_eq!(
            failure.detail,
            format!("header `{name}` is set by the gateway")
        );
    }
    let mut request = site.get("/");
    request.headers = vec![("x".to_owned(), "a\r\nb: c".to_owned())];
    let failure = site.fail(request);
    assert_eq!(
        failure.detail,
        "the value of header `x` can not stand there"
    );
    let mut request = site.get("/");
    request.headers = vec![("x".to_owned(), "y".repeat(20_000))];
    let failure = site.fail(request);
    assert_eq!(failure.code, Code::BridgeBadRequest);
    assert_eq!(
        failure.detail,
        "the path or a header field is longer than 16 KiB"
    );
}

#[test]
fn a_host_name_is_looked_up_and_ip_versions_are_kept_to() {
    use crate::core::endpoint::IpVersions;

    let authority = Authority::new("local");
    let identity = authority.good(&["localhost", "127.0.0.1"]);
    let site = |ip| {
        Site::presenting(&identity, &authority, Script::echo(), move |endpoint| {
            endpoint.address = None;
            endpoint.ip = ip;
        })
    };
    for (host, ip) in [
        // Where localhost is ::1 as well, nobody listens there and the other family answers.
        ("localhost", IpVersions::Both),
        ("localhost", IpVersions::V4),
        ("127.0.0.1", IpVersions::V4),
    ] {
        let site = site(ip);
        let mut request = site.get("/");
        request.host = host.to_owned();
        assert_eq!(site.respond(request).status, 200, "{host} {ip:?}");
    }
    let site = site(IpVersions::V6);
    let mut request = site.get("/");
    request.host = "127.0.0.1".to_owned();
    let failure = site.fail(request);
    assert_eq!(failure.code, Code::DnsNotFound);
    assert_eq!(failure.detail, "127.0.0.1 has no IPv6 address");
}

#[test]
fn a_pooled_connection_is_shared_by_threads_but_never_at_the_same_time() {
    let site = Site::with(Script::echo(), |endpoint| endpoint.concurrency = 2);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let site = &site;
            scope.spawn(move || {
                for n in 0..50 {
                    let target = format!("/{thread}/{n}");
                    let response = site.respond(site.get(&target));
                    assert_eq!(response.body.as_ref(), format!("GET {target}").as_bytes());
                }
            });
        }
    });
    let counts = site.server.counts();
    assert_eq!(counts.requests, 100);
    assert!(counts.connections <= 2, "{counts:?}");
}

#[test]
fn a_renewed_client_opens_new_connections() {
    let site = Site::new(Script::echo());
    site.respond(site.get("/"));
    site.client.renew();
    site.respond(site.get("/"));
    assert_eq!(site.server.counts().connections, 2);
}

/// A small generator of numbers that look random: the same ones in every run.
struct Noise(u32);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        usize::try_from(self.0).unwrap() % limit.max(1)
    }

    /// Damages bytes in one to four places.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        const LIKELY: &[u8] = b"\r\n\r\n0123456789abcdef;:, \0\xffHTTP/";
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let likely = LIKELY[self.below(LIKELY.len())];
            match self.below(5) {
                0 => bytes[at] = likely,
                1 => bytes.insert(at, likely),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                3 => bytes.truncate(at + 1),
                _ => {
                    let copy: Vec<u8> = bytes[at..].iter().copied().take(20).collect();
                    bytes.splice(at..at, copy);
                }
            }
        }
    }
}

#[test]
fn damaged_responses_never_panic_and_are_never_our_fault() {
    let whole: Vec<Vec<u8>> = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: 1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        "HTTP/1.0 302 Found\r\nlocation: /x\r\nconnection: close\r\n\r\nmoved",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    let site = Site::new(Script::answering(move |request| {
        let seed = u32::try_from(request.number).unwrap() * 2_654_435 + 1;
        let mut noise = Noise(seed);
        let mut bytes = whole[noise.below(whole.len())].clone();
        noise.damage(&mut bytes);
        vec![Step::Send(bytes), Step::Close]
    }));
    for n in 0..600 {
        // The server closes after each: what takes long hangs.
        let outcome = site.perform_within(site.get("/"), LONG);
        if let Outcome::Failure(failure) = outcome {
            let expected = matches!(
                failure.code,
                Code::HttpMalformed
                    | Code::HttpTruncated
                    | Code::HttpTooLarge
                    | Code::HttpRedirect
                    | Code::ConnectReset
            );
            assert!(expected, "response {n}: {failure:?}");
        }
    }
}

#[test]
fn no_kept_connection_outlives_a_jump_of_the_clock() {
    let authority = Authority::new("test");
    let server = Server::start(&authority.good(&[HOST]), Script::echo());
    let endpoint = Arc::new(endpoint());
    let clock = Arc::new(Wall::since_1971());
    let client = client_by(&clock, &endpoint, &authority);
    let ask = || {
        let request = request(Method::Get, server.port(), "/");
        let outcome = client.perform(&job(&endpoint, request, LONG));
        assert!(matches!(outcome, Outcome::Response(_)), "{outcome:?}");
        server.counts().connections
    };
    assert_eq!((ask(), ask()), (1, 1));
    clock.turn_back(Duration::from_secs(3_500));
    assert_eq!(ask(), 1, "a correction");
    clock.turn_back(Duration::from_secs(2 * 3_600));
    assert_eq!((ask(), ask()), (2, 2), "another time");
}
