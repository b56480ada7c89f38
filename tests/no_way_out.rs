//! No loops, no way out: what a client tries, what the server saw of it, and what the client heard.

#![expect(clippy::too_many_lines, reason = "long tables of what is tried")]
#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/https.rs"]
mod https;
#[path = "support/mqtt.rs"]
mod mqtt;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

use certificates::{Authority, TemporaryFile};
use gateway::{
    Gateway, NAMES, Published, RIGHT, TOKEN, authority, code, content_type, login, pair,
    response_topic, told,
};
use https::{Script, Server, redirect};
use mqtt::{
    CLEAN, Client, ack, block, connect_with, flagged, publish, publish_5, subscribe, subscribe_5,
};

/// A route that echoes its request line on `replies/{outcome}`.
fn route(topic: &str, keys: &str) -> String {
    format!(
        "[[route]]\ntopic = \"{topic}\"\nendpoint = \"api\"\nreply = \"replies/{{outcome}}\"\n\
         reply_packet = 2048\n{keys}\n"
    )
}

/// What is heard: `Ok` with the echo, `Err` with the detail of `bridge.bad_request`.
fn heard(node: &mut Client) -> Result<String, String> {
    let (topic, payload) = told(node);
    match topic.as_str() {
        "replies/ok" => Ok(payload),
        "replies/error" => {
            let detail = payload.strip_prefix("bridge.bad_request - ");
            Err(detail.unwrap_or(&payload).to_owned())
        }
        _ => panic!("{topic}: {payload}"),
    }
}

/// Topic, payload, and the echo, or which placeholder is refused and why.
type Case<'a> = (&'a str, &'a str, Result<&'a str, (&'a str, &'a str)>);

const UP: &str = "would make a path segment `..`";
const HERE: &str = "would make a path segment `.`";
const SLASH: &str = "holds a slash, which can not stand in a path segment";
const EMPTY: &str = "is empty or has an empty level, which can not be a path segment";
const CONTROL: &str = "holds a control character, which can not stand in a path";

/// Publishes each topic and payload, expects what is heard, and that the server saw no more.
fn check(gateway: &Gateway, cases: &[Case<'_>]) {
    let mut node = gateway.node("node");
    let mut made = gateway.server.counts().requests;
    for (topic, payload, expected) in cases {
        node.send(&publish(topic, payload, 0, 0));
        let heard = heard(&mut node);
        let expected = expected.map(str::to_owned);
        let expected = expected.map_err(|(name, why)| format!("`{{{name}}}` {why}"));
        assert_eq!(heard, expected, "{topic:?} {payload:?}");
        made += usize::from(expected.is_ok());
        assert_eq!(
            gateway.server.counts().requests,
            made,
            "{topic:?} {payload:?}"
        );
    }
}

// ── requests stay what the owner wrote ──────────────────────────────────────────────────────

#[test]
fn no_value_leaves_its_path_segment() {
    let routes = [
        route("level/{name}/end", "path = \"/files/{name}/end\""),
        route("rest/{rest+}", "path = \"/files/{rest}/end\""),
        route("payload", "path = \"/files/{payload}/end\""),
        route("json", "path = \"/files/{payload./x}/end\""),
        route("half", "path = \"/files/.{payload}/end\""),
        route("whole/{rest+}", "path = \"/files/{topic}\""),
    ]
    .concat();
    let gateway = Gateway::with_routes(Script::echo(), &routes);
    check(
        &gateway,
        &[
            ("level/../end", "", Err(("name", UP))),
            ("level/./end", "", Err(("name", HERE))),
            ("level//end", "", Err(("name", EMPTY))),
            ("level/..\\x/end", "", Err(("name", SLASH))),
            ("level/.../end", "", Ok("GET /files/.../end")),
            ("level/..x/end", "", Ok("GET /files/..x/end")),
            ("level/%2e%2e/end", "", Ok("GET /files/%252e%252e/end")),
            ("level/%2E./end", "", Ok("GET /files/%252E./end")),
            ("level/..%2f/end", "", Ok("GET /files/..%252f/end")),
            (
                "level/%252e%252e/end",
                "",
                Ok("GET /files/%25252e%25252e/end"),
            ),
            ("level/%5c../end", "", Ok("GET /files/%255c../end")),
            ("level/..;/end", "", Ok("GET /files/..%3B/end")),
            ("level/a?b=c&d/end", "", Ok("GET /files/a%3Fb%3Dc%26d/end")),
            ("level/a b/end", "", Ok("GET /files/a%20b/end")),
            (
                "level/@evil.test:1/end",
                "",
                Ok("GET /files/%40evil.test%3A1/end"),
            ),
            (
                "level/．．/end",
                "",
                Ok("GET /files/%EF%BC%8E%EF%BC%8E/end"),
            ),
            (
                "level/∕..∕/end",
                "",
                Ok("GET /files/%E2%88%95..%E2%88%95/end"),
            ),
            ("rest/a/b", "", Ok("GET /files/a/b/end")),
            ("rest/..", "", Err(("rest", UP))),
            ("rest/a/../../b", "", Err(("rest", UP))),
            ("rest/a/./b", "", Err(("rest", HERE))),
            ("rest/a//b", "", Err(("rest", EMPTY))),
            ("rest//evil.test/x", "", Err(("rest", EMPTY))),
            ("rest/a/..\\/b", "", Err(("rest", SLASH))),
            (
                "rest/%2e%2e/%2e%2e/x",
                "",
                Ok("GET /files/%252e%252e/%252e%252e/x/end"),
            ),
            ("payload", "..", Err(("payload", UP))),
            ("payload", "../../etc", Err(("payload", SLASH))),
            ("payload", "a#b?c", Ok("GET /files/a%23b%3Fc/end")),
            ("payload", "a\0", Err(("payload", CONTROL))),
            (
                "payload",
                "x HTTP/1.1\r\nX-Evil: 1\r\n\r\n",
                Err(("payload", SLASH)),
            ),
            ("payload", "x\r\nX-Evil: 1", Err(("payload", CONTROL))),
            ("payload", "", Err(("payload", EMPTY))),
            ("json", r#"{"x":".."}"#, Err(("payload./x", UP))),
            ("json", r#"{"x":"\u002e\u002e"}"#, Err(("payload./x", UP))),
            ("json", r#"{"x":"a\/b"}"#, Err(("payload./x", SLASH))),
            ("json", r#"{"x":"a\r\nb"}"#, Err(("payload./x", CONTROL))),
            ("json", r#"{"x":"%2e%2e"}"#, Ok("GET /files/%252e%252e/end")),
            ("half", ".", Err(("payload", UP))),
            ("half", "x", Ok("GET /files/.x/end")),
            ("whole/a/../b", "", Err(("topic", UP))),
        ],
    );
}

#[test]
fn no_value_adds_a_parameter_a_header_or_a_member() {
    let routes = [
        route("query", "query = { a = \"{payload}\", admin = \"0\" }"),
        route(
            "header",
            "headers = { x-value = \"v {payload}\", x-admin = \"0\" }",
        ),
        route(
            "top/{t}/header",
            "headers = { x-topic = \"{topic}\", x-client = \"{client}\" }",
        ),
        route(
            "json",
            "method = \"POST\"\nbody = '{\"a\": \"{payload}\", \"admin\": 0}'",
        ),
        route(
            "raw",
            "method = \"POST\"\nbody = '{\"a\": {payload}, \"admin\": 0}'",
        ),
        route(
            "form",
            "method = \"POST\"\nbody = \"a={payload}&admin=0\"\n\
             headers = { content-type = \"application/x-www-form-urlencoded\" }",
        ),
        route("typed", "method = \"POST\""),
    ]
    .concat();
    let gateway = Gateway::with_routes(Script::echo(), &routes);
    let control = "holds a control character, which can not stand in a header";
    let foreign = "holds a character outside ASCII, which can not stand in a header";
    check(
        &gateway,
        &[
            ("query", "1&admin=1", Ok("GET /?a=1%26admin%3D1&admin=0")),
            ("query", "1#x", Ok("GET /?a=1%23x&admin=0")),
            ("query", "1;admin=1", Ok("GET /?a=1%3Badmin%3D1&admin=0")),
            (
                "query",
                "1%26admin=1",
                Ok("GET /?a=1%2526admin%3D1&admin=0"),
            ),
            (
                "query",
                "1\r\nX-Evil: 1",
                Ok("GET /?a=1%0D%0AX-Evil%3A%201&admin=0"),
            ),
            ("header", "1\r\nX-Evil: 1", Err(("payload", control))),
            ("header", "1\nX-Evil: 1", Err(("payload", control))),
            ("header", "1\rX-Evil: 1", Err(("payload", control))),
            ("header", "1\0", Err(("payload", control))),
            ("header", "1\u{7f}", Err(("payload", control))),
            ("header", "1\u{10a}X-Evil: 1", Err(("payload", foreign))),
            ("top/a\nX-Evil: 1/header", "", Err(("topic", control))),
            (
                "json",
                r#"","admin":1,"b":""#,
                Ok(r#"{"a": "\",\"admin\":1,\"b\":\"", "admin": 0}"#),
            ),
            ("json", "\\", Ok(r#"{"a": "\\", "admin": 0}"#)),
            ("raw", r#"1, "admin": 1"#, Err(("payload", "is not JSON"))),
            ("raw", r#"1}{"admin":1"#, Err(("payload", "is not JSON"))),
            ("raw", r#"{"x":1}"#, Ok(r#"{"a": {"x":1}, "admin": 0}"#)),
            ("form", "1&admin=1", Ok("a=1%26admin%3D1&admin=0")),
        ],
    );

    let mut node = gateway.node("c\r\nX-Evil: 1");
    node.send(&publish("top/a/header", "", 0, 0));
    assert_eq!(heard(&mut node), Err(format!("`{{client}}` {control}")));
    node.send(&publish("header", "x".repeat(4_096), 0, 0));
    let long = "a header would be longer than 4096 bytes";
    assert_eq!(heard(&mut node), Err(long.to_owned()));

    let mut node = Client::connect_5(gateway.broker.address, "v5", &[]);
    node.send(&subscribe_5(1, &[("replies/#", 0)], &[]));
    node.packet();
    let evil = content_type("text/x\r\nX-Evil: 1");
    node.send(&publish_5("typed", "x", 0, 0, &evil));
    assert_eq!(Published::next(&mut node, true).text(), "x");
    let request = gateway.server.last();
    assert_eq!(
        request.header("content-type"),
        Some("text/plain; charset=utf-8")
    );

    for request in gateway.server.received() {
        assert_eq!(request.header("x-evil"), None, "{}", request.head);
        if request.line().starts_with("GET / ") {
            assert_eq!(request.header("x-admin"), Some("0"));
        }
    }
}

#[test]
fn a_captured_host_label_stays_in_the_owner_s_domain() {
    let gateway = Gateway::start(
        Script::echo(),
        "[endpoint.api]\nurl = \"https://{case}.hosts.test:@PORT\"\naddress = \"127.0.0.1\"\n\
         @ROOTS\n\
         [[route]]\ntopic = \"nodes/{case}/get\"\nendpoint = \"api\"\nreply = \"replies/{outcome}\"\n",
    );
    let mut node = gateway.node("node");
    let mut ask = |label: &str| {
        node.send(&publish(format!("nodes/{label}/get"), "", 0, 0));
        heard(&mut node)
    };
    let refused = "`{case}` is not a host label of lower-case letters, digits and inner `-`";
    let long = "a".repeat(64);
    for label in [
        "",
        "A",
        "Aa",
        "a.b",
        ".",
        "..",
        "127.0.0.1",
        "evil.test",
        "a.",
        ".a",
        "-a",
        "a-",
        "-",
        "xn--a",
        "xn--mgba3gch31f",
        "a_b",
        "a b",
        "a:443",
        "a@b",
        "evil.test:1",
        "a?b",
        "a%2eb",
        "%00",
        "a\\",
        "a,b",
        "[::1]",
        "é",
        "ａ",
        "a\n",
        "a\u{200d}b",
        "*",
        &long,
    ] {
        assert_eq!(ask(label), Err(refused.to_owned()), "{label:?}");
    }
    assert_eq!(gateway.server.counts().connections, 0);
    let long = "a".repeat(63);
    for label in ["a", "0", "127", "localhost", "a-b", "xn-a", &long] {
        assert_eq!(ask(label), Ok("GET /".to_owned()), "{label}");
        let host = format!("{label}.hosts.test:{}", gateway.server.port());
        assert_eq!(gateway.server.last().header("host"), Some(&*host));
    }
}

#[test]
fn a_captured_host_does_not_lead_inside() {
    // Where a look-up tries numbers, as getaddrinfo does, `127.0.0.0x1` is this machine.
    let config = |more: &str| {
        format!(
            "[endpoint.api]\nurl = \"https://{{case}}.0.0.0x1:@PORT\"\n@ROOTS\n{more}\n\
             [endpoint.name]\nurl = \"https://localhost:@PORT\"\n@ROOTS\nprivate_addresses = false\n\
             [[route]]\ntopic = \"nodes/{{case}}/get\"\nendpoint = \"api\"\nreply = \"replies/{{outcome}}\"\n\
             [[route]]\ntopic = \"name\"\nendpoint = \"name\"\nreply = \"replies/{{outcome}}\"\n"
        )
    };
    let gateway = Gateway::start(Script::echo(), &config(""));
    let denied = |host: &str| {
        pair(
            "replies/error",
            &format!("bridge.denied - {host} is at a private address"),
        )
    };
    for label in ["127", "10", "0"] {
        let heard = gateway.ask(&format!("nodes/{label}/get"), "");
        assert_eq!(heard, denied(&format!("{label}.0.0.0x1")));
    }
    assert_eq!(
        gateway.ask("name", ""),
        denied("localhost"),
        "also without a capture"
    );
    assert_eq!(gateway.server.counts().connections, 0);
    // The address is what stood in the way: without that rule they are tried.
    let open = config("private_addresses = true").replace("private_addresses = false", "");
    let gateway = Gateway::start(Script::echo(), &open);
    assert_eq!(gateway.ask("name", ""), pair("replies/ok", "GET /"));
    let invalid = "bridge.bad_request - `127.0.0.0x1` is not a host name";
    assert_eq!(
        gateway.ask("nodes/127/get", ""),
        pair("replies/error", invalid)
    );
}

// ── replies are the bridge's alone, and lead nowhere else ───────────────────────────────────

const POSTS: &str = r#"
[endpoint.api]
@API
[[route]]
topic = "nodes/{node}/posts/{id}/get"
endpoint = "api"
path = "/posts/{id}"
reply = "replies/{node}/posts/{id}/{outcome}"
oversize = "chunks"
[[route]]
topic = "{any}/{thing}"
endpoint = "api"
path = "/{any}/{thing}"
reply = "answers/{any}/{thing}/{outcome}"
"#;

#[test]
fn nobody_forges_a_reply() {
    let gateway = Gateway::start(Script::echo(), POSTS);
    let mut victim = Client::connect(gateway.broker.address, "victim");
    victim.send(&subscribe(1, &[("replies/#", 1), ("answers/#", 1)]));
    victim.expect(&[0x90, 4, 0, 1, 1, 1]);
    let mut forger = Client::connect(gateway.broker.address, "forger");
    let mut modern = Client::connect_5(gateway.broker.address, "modern", &[]);
    for topic in [
        "replies/me/posts/1/ok",
        "replies/me/posts/1/error",
        "replies/me/posts/1/anything",
        "replies/me/posts/1/ok/1/3",
        "replies/me/posts/1/ok/1",
        "answers/a/b/ok",
        "answers/$a/é/ok",
    ] {
        for retain in [0, 1] {
            forger.send(&flagged(topic, "forged", 2 | retain, 7));
            forger.expect(&ack(0x40, 7));
            forger.send(&flagged(topic, "forged", 4 | retain, 8));
            forger.expect(&ack(0x50, 8));
            forger.send(&ack(0x62, 8));
            forger.expect(&ack(0x70, 8));
            forger.send(&flagged(topic, "forged", retain, 0));
            modern.send(&publish_5(topic, "forged", 2 | retain, 9, &[]));
            modern.expect(&[0x40, 4, 0, 9, 0x87, 0]);
        }
        let will = [block("will"), block(topic), block("forged")].concat();
        let mut refused = Client::open(gateway.broker.address);
        refused.send(&connect_with(4, CLEAN | 4, 0, &will));
        refused.expect(&[0x20, 2, 0, 5]);
        let will = [
            &[0][..],
            &block("will"),
            &[0],
            &block(topic),
            &block("forged"),
        ]
        .concat();
        let mut refused = Client::open(gateway.broker.address);
        refused.send(&connect_with(5, CLEAN | 4, 0, &will));
        assert_eq!(refused.packet()[..4], [0x20, 3, 0, 0x87]);
    }
    // An alias is what it stands for, also when the publish that named it was refused.
    for topic in ["replies/me/posts/1/ok", ""] {
        modern.send(&publish_5(topic, "forged", 2, 9, &[0x23, 0, 1]));
        modern.expect(&[0x40, 4, 0, 9, 0x87, 0]);
    }
    forger.expect_quiet();
    victim.expect_quiet();
    let mut late = Client::connect(gateway.broker.address, "late");
    late.subscribe("#", 0);
    late.expect_quiet();
    assert_eq!(gateway.server.counts().requests, 0);
}

#[test]
fn a_response_topic_leads_neither_into_routes_nor_to_others() {
    let gateway = Gateway::start(
        Script::echo(),
        &format!(
            "[[user]]\nname = \"board\"\npassword = \"{RIGHT}\"\n\
             publish = [\"nodes/{{user}}/#\"]\nsubscribe = [\"#\", \"replies/{{user}}/#\"]\n{POSTS}"
        ),
    );
    let mut victim = Client::connect(gateway.broker.address, "victim");
    victim.subscribe("replies/kitchen/#", 0);

    let payload = [&[0][..], &block("c"), &block("board"), &block("right")].concat();
    let mut board = Client::open(gateway.broker.address);
    board.send(&connect_with(5, 0xC2, 0, &payload));
    assert_eq!(board.packet()[3], 0);
    let anonymous = Client::connect_5(gateway.broker.address, "evil", &[]);
    let mut clients = [board, anonymous];
    for client in &mut clients {
        client.send(&subscribe_5(
            1,
            &[("replies/board/#", 0), ("free/+/x", 0)],
            &[],
        ));
        client.expect(&[0x90, 5, 0, 1, 0, 0, 0]);
    }
    let route = "replies/board/posts/1/ok";
    // Response Topic, where the one with the tree hears it, and the anonymous one.
    let cases = [
        ("nodes/board/posts/2/get", route, route, "a route takes it"),
        ("a/b", route, route, "another route"),
        ("$SYS/x", route, route, "the broker's own"),
        ("$bridge/x", route, route, "the bridge's own"),
        (
            "replies/kitchen/posts/1/ok",
            route,
            route,
            "another node's replies",
        ),
        (
            "replies/kitchen/posts/1/ok/1/1",
            route,
            route,
            "their chunks",
        ),
        ("answers/a/b/ok", route, route, "replies of another route"),
        (
            "replies/board/posts/7/ok",
            "replies/board/posts/7/ok",
            route,
            "one's own tree",
        ),
        ("free/1/x", "free/1/x", "free/1/x", "nobody's"),
    ];
    for (wanted, with_tree, without, reason) in cases {
        for (asking, expected) in [(0, with_tree), (1, without)] {
            let properties = response_topic(wanted);
            let ask = publish_5("nodes/board/posts/1/get", "", 0, 0, &properties);
            clients[asking].send(&ask);
            for client in &mut clients {
                let heard = Published::next(client, true);
                assert_eq!(heard.topic, expected, "{wanted}: {reason}");
                assert_eq!(heard.text(), "GET /posts/1");
                assert_eq!(heard.properties, code("ok"));
            }
        }
    }
    victim.expect_quiet();
    assert_eq!(
        gateway.server.counts().requests,
        2 * cases.len(),
        "no reply became a request"
    );
}

#[test]
fn replies_and_what_begins_with_a_dollar_enter_no_route() {
    let routes = r#"
[endpoint.api]
@API
[[route]]
topic = "{any}/{thing}"
endpoint = "api"
path = "/{thing}"
reply = "{any}/{thing}/{outcome}"
retain = true
"#;
    let gateway = Gateway::start(Script::echo(), routes);
    let mut node = Client::connect(gateway.broker.address, "node");
    node.send(&subscribe(1, &[("#", 0), ("$bridge/#", 0), ("$SYS/#", 0)]));
    node.expect(&[0x90, 5, 0, 1, 0, 0x80, 0x80]);
    let mut modern = Client::connect_5(gateway.broker.address, "modern", &[]);
    for topic in ["$bridge/x", "$SYS/x", "$share/g", "$/x", "$"] {
        node.send(&publish(topic, "x", 1, 7));
        node.expect(&ack(0x40, 7));
        modern.send(&publish_5(topic, "x", 2, 9, &[]));
        modern.expect(&[0x40, 4, 0, 9, 0x87, 0]);
    }
    node.expect_quiet();
    assert_eq!(gateway.server.counts().requests, 0);
    // A reply is retained and heard, also by who comes later, and stays one request.
    node.send(&publish("a/b", "x", 0, 0));
    node.expect_all(&[publish("a/b", "x", 0, 0), publish("a/b/ok", "GET /b", 0, 0)]);
    let mut late = Client::connect(gateway.broker.address, "late");
    late.subscribe("#", 0);
    late.expect(&flagged("a/b/ok", "GET /b", 1, 0));
    late.expect_quiet();
    assert_eq!(gateway.server.counts().requests, 1);
}

#[test]
fn an_odd_client_id_shapes_no_reply_topic() {
    let gateway = Gateway::with_routes(
        Script::echo(),
        "[[route]]\ntopic = \"nodes/{node}/get\"\nendpoint = \"api\"\nreply = \"replies/{client}/{outcome}\"\n",
    );
    let why = "bridge.bad_request - reply topic: `{client}` holds `/`, `+`, `#` or NUL, \
               which can not stand in a topic level";
    for id in ["+", "#", "a/b", "kitchen/ok/../+", "/", "$share/g/x"] {
        let mut node = gateway.node(id);
        node.send(&publish("nodes/kitchen/get", "", 0, 0));
        assert_eq!(told(&mut node), pair("replies/_/error", why), "{id}");
        node.leave();
    }
    assert_eq!(gateway.server.counts().requests, 0);
}

#[test]
fn a_user_name_is_no_one_s_to_choose() {
    let gateway = Gateway::start(
        Script::echo(),
        &format!("[[user]]\nname = \"kitchen\"\npassword = \"{RIGHT}\"\n{POSTS}"),
    );
    for name in ["#", "+", "kitchen/x", "Kitchen", "kitchen ", ""] {
        let mut node = Client::open(gateway.broker.address);
        node.send(&login("c", name));
        node.expect(&[0x20, 2, 0, 4]);
    }
    let payload = [&[0][..], &block("c"), &block("#"), &block("right")].concat();
    let mut node = Client::open(gateway.broker.address);
    node.send(&connect_with(5, 0xC2, 0, &payload));
    assert_eq!(node.packet()[..4], [0x20, 3, 0, 0x86]);
}

// ── secrets ─────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_redirect_takes_no_secret_elsewhere() {
    let elsewhere = Server::start(&authority().good(NAMES), Script::fixed("200 OK", "taken"));
    let target = format!("https://localhost:{}/taken", elsewhere.port());
    let route = |name: &str, body: &str| {
        format!(
            "[[route]]\ntopic = \"nodes/{name}\"\nendpoint = \"api\"\nmethod = \"POST\"\n\
             query = {{ key = \"{{secret.token}}\" }}\nbody = '{body}'\nreply = \"replies/{{outcome}}\"\n"
        )
    };
    let gateway = Gateway::start(
        Script::bytes(redirect(307, &target)),
        &[
            "[secret.token]\nfile = \"@TOKEN\"\n[endpoint.api]\n@API\nredirects = \"any\"\n\
             headers = { authorization = \"Bearer {secret.token}\", x-key = \"{secret.token}\" }\n",
            &route("body", r#"{"key": "{secret.token}"}"#),
            &route("plain", r#"{"value": "{payload}"}"#),
        ]
        .concat(),
    );
    let refused = "http.redirect 307 to another origin, with a secret in the body";
    assert_eq!(
        gateway.ask("nodes/body", "x"),
        pair("replies/error", refused)
    );
    assert_eq!(elsewhere.counts().connections, 0);
    assert_eq!(gateway.ask("nodes/plain", "x"), pair("replies/ok", "taken"));
    let request = elsewhere.last();
    assert_eq!(
        (request.line(), &*request.body),
        ("POST /taken", &br#"{"value": "x"}"#[..])
    );
    assert!(!request.head.contains(TOKEN), "{}", request.head);
    assert!(gateway.server.last().head.contains(TOKEN));
}

/// A bridge.toml whose routes send a secret and the payload in every place a request has.
fn secret_config(port: u16, root: &TemporaryFile, token: &TemporaryFile) -> String {
    let route = |name: &str, endpoint: &str, keys: &str| {
        format!(
            "[[route]]\ntopic = \"nodes/{name}\"\nendpoint = \"{endpoint}\"\nmethod = \"POST\"\n\
             path = \"/{name}\"\n\
             query = {{ key = \"{{secret.token}}\", text = \"{{payload}}\" }}\n\
             body = \"key={{secret.token}}&text={{payload}}\"\nreply = \"replies/{name}\"\n{keys}\n"
        )
    };
    let endpoint = |name: &str, port: u16| {
        format!(
            "[endpoint.{name}]\nurl = \"https://api.test:{port}\"\naddress = \"127.0.0.1\"\n\
             roots = [\"{}\"]\nheaders = {{ authorization = \"Bearer {{secret.token}}\" }}\n",
            root.path().display()
        )
    };
    [
        "[broker]\nlisten = [\"127.0.0.1:0\"]\n".to_owned(),
        format!("[secret.token]\nfile = \"{}\"\n", token.path().display()),
        endpoint("open", port),
        endpoint("closed", 1),
        route("open", "open", ""),
        route("closed", "closed", ""),
        route(
            "refused",
            "open",
            "headers = { x-a = \"{secret.token} {payload}\" }",
        ),
    ]
    .concat()
}

/// The built program with a bridge.toml, in a clean environment.
fn program(config: &TemporaryFile, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-https-bridge"));
    command.env_clear().arg("--config").arg(config.path());
    command.args(arguments).stdin(Stdio::null());
    command
}

fn shown(config: &TemporaryFile, arguments: &[&str]) -> String {
    let output = program(config, arguments).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The daemon with everything in its log; killed if the test ends before it.
struct Daemon {
    child: Child,
    lines: BufReader<ChildStderr>,
    address: SocketAddr,
    log: String,
}

impl Daemon {
    fn start(config: &TemporaryFile) -> Self {
        let mut command = program(config, &["--log-level", "trace", "run"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "{log}");
            log.push_str(&line);
            if let Some((_, after)) = line.split_once("listening on ") {
                break after.split(' ').next().unwrap().parse().unwrap();
            }
        };
        Self {
            child,
            lines,
            address,
            log,
        }
    }

    /// Sends SIGTERM and returns the whole log.
    fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        self.lines.read_to_string(&mut self.log).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.log);
        std::mem::take(&mut self.log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn neither_a_secret_nor_a_payload_nor_a_query_is_logged_or_told() {
    let authority = Authority::new("secrets");
    let server = Server::start(
        &authority.good(&["api.test"]),
        Script::fixed("200 OK", "fine"),
    );
    let root = authority.root_file();
    let token = TemporaryFile::new("token", format!("{TOKEN}\n").as_bytes());
    let text = secret_config(server.port(), &root, &token);
    let config = TemporaryFile::new("bridge.toml", text.as_bytes());
    let daemon = Daemon::start(&config);
    let mut node = Client::connect(daemon.address, "node");
    node.subscribe("replies/#", 0);
    let mut replies = String::new();
    for (name, expected) in [
        ("open", r#"{"ok":true,"status":200,"body":"fine"}"#),
        (
            "closed",
            r#"{"ok":false,"error":"connect.refused","detail":"#,
        ),
        (
            "refused",
            r#"{"ok":false,"error":"bridge.bad_request","detail":"#,
        ),
    ] {
        node.send(&publish(
            format!("nodes/{name}"),
            "the-node's-own\nsecret",
            0,
            0,
        ));
        let (topic, reply) = told(&mut node);
        assert_eq!(topic, format!("replies/{name}"));
        assert!(reply.starts_with(expected), "{reply}");
        replies.push_str(&reply);
    }
    node.send(&publish("nodes/opne", "the-node's-own\nsecret", 0, 0));
    node.expect_quiet();
    let log = daemon.stop();
    assert!(
        log.contains("nodes/opne") && log.contains("connect.refused"),
        "{log}"
    );
    // It was sent, so it is there to be shown.
    let request = server.last();
    let sent = request.line().contains(TOKEN) && request.head.contains("Bearer");
    assert!(sent, "{request:?}");

    let checks = [
        shown(&config, &["check"]),
        shown(&config, &["check", "--topic", "nodes/open"]),
        shown(
            &config,
            &["check", "--topic", "nodes/refused", "--payload", "\u{1}"],
        ),
    ]
    .concat();
    assert!(checks.contains("***"), "{checks}");
    for (what, text) in [("log", log), ("replies", replies), ("check", checks)] {
        for hidden in [TOKEN, "the-node", "own%0Asecret", "Bearer h"] {
            assert!(!text.contains(hidden), "{hidden} is in the {what}:\n{text}");
        }
    }
}
