//! From MQTT to HTTPS and back, through the whole daemon: what the server is asked, and what the
//! node hears, byte for byte where bytes count.

#![expect(
    clippy::too_many_lines,
    reason = "long tables of what is asked and told"
)]
#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/https.rs"]
mod https;
#[path = "support/mqtt.rs"]
mod mqtt;

use std::net::TcpStream;

use gateway::{
    Gate, Gateway, Published, RIGHT, TOKEN, code, content_type, correlation, login, pair,
    response_topic, told,
};
use https::{Received, Script, Step, response};
use mqtt::{
    CLEAN, Client, PINGREQ, PINGRESP, ack, block, connect_with, flagged, publish, publish_5,
    subscribe, subscribe_5,
};

const TITLE: &str = "sunt aut facere repellat provident";

/// The story this began with: one post, and no other.
const POSTS: &str = r#"
[[route]]
topic = "nodes/{node}/posts/{id}/get"
endpoint = "api"
path = "/posts/{id}"
select = "/title"
reply = "replies/{node}/posts/{id}/{outcome}"
"#;

fn posts() -> Script {
    Script::answering(|request| {
        let answer = match request.line() {
            "GET /posts/1" => {
                let body = format!(r#"{{"id":1,"title":"{TITLE}","body":"quia et"}}"#);
                response("200 OK", &[], body.as_bytes())
            }
            _ => response("404 Not Found", &[], b"{}"),
        };
        vec![Step::Send(answer)]
    })
}

/// Answers each request with so many bytes of `0123456789…`, as its path says.
fn sized() -> Script {
    Script::answering(|request| {
        let size = request.line().rsplit('/').next().unwrap();
        let body = digits(size.parse().unwrap());
        vec![Step::Send(response("200 OK", &[], body.as_bytes()))]
    })
}

fn digits(count: usize) -> String {
    "0123456789".chars().cycle().take(count).collect()
}

// ── the story ───────────────────────────────────────────────────────────────────────────────

#[test]
fn a_node_gets_the_title_of_a_post_or_the_reason_why_not() {
    let gateway = Gateway::with_routes(posts(), POSTS);
    let mut node = gateway.node("kitchen");
    node.send(&publish("nodes/kitchen/posts/1/get", "", 0, 0));
    node.expect(&publish("replies/kitchen/posts/1/ok", TITLE, 0, 0));
    node.send(&publish("nodes/kitchen/posts/2/get", "", 0, 0));
    node.expect(&publish(
        "replies/kitchen/posts/2/error",
        "http.status 404 Not Found",
        0,
        0,
    ));
    let request = gateway.request(2);
    assert_eq!(request.line(), "GET /posts/2");
    let host = format!("api.test:{}", gateway.server.port());
    assert_eq!(request.header("host"), Some(host.as_str()));
    assert_eq!(
        (request.header("content-type"), &*request.body),
        (None, &b""[..])
    );
    assert_eq!(gateway.server.counts().connections, 1, "kept alive");
}

#[test]
fn the_smallest_example_of_the_readme_answers_as_it_says() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let fenced = |after: &str, fence: &str| {
        let (_, rest) = readme.split_once(after).unwrap();
        let (_, rest) = rest.split_once(fence).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let example = fenced("## The smallest bridge.toml", "```toml\n");
    let url = "url = \"https://jsonplaceholder.typicode.com\"\n";
    assert!(example.contains(url), "{example}");
    let text = example.replace(url, "@API\n");
    let gateways = [
        Gateway::start(posts(), &text),
        Gateway::expired(posts(), &text),
    ];
    let [good, expired] = &gateways;
    let mut said = String::new();
    // The example shows one topic; here the second post is the one that is not there.
    for (gateway, id) in [(good, "1"), (good, "2"), (expired, "1")] {
        let (topic, payload) = gateway.ask(&format!("nodes/kitchen/posts/{id}/get"), "");
        let topic = topic.replace("posts/2", "posts/1");
        said.push_str(&format!("{topic:<33}{payload}\n"));
    }
    assert_eq!(fenced("## What a node gets back", "```text\n"), said);
}

#[test]
fn what_no_route_takes_is_ordinary_mqtt_and_so_is_what_one_takes() {
    let gateway = Gateway::with_routes(posts(), POSTS);
    let mut listener = Client::connect(gateway.broker.address, "listener");
    listener.subscribe("#", 0);
    let mut node = Client::connect(gateway.broker.address, "node");
    for topic in ["nodes/me/posts/1/set", "nodes/me/posts/1", "elsewhere"] {
        node.send(&publish(topic, "x", 0, 0));
        listener.expect(&publish(topic, "x", 0, 0));
    }
    node.send(&publish("nodes/me/posts/1/get", "x", 0, 0));
    listener.expect(&publish("nodes/me/posts/1/get", "x", 0, 0));
    listener.expect(&publish("replies/me/posts/1/ok", TITLE, 0, 0));
    assert_eq!(gateway.server.counts().requests, 1);
}

#[test]
fn the_first_route_in_the_file_takes_a_message() {
    let routes = r#"
[[route]]
topic = "nodes/{node}/get/special"
endpoint = "api"
path = "/first"
reply = "replies/{node}/{outcome}"
[[route]]
topic = "nodes/{node}/get/{id}"
endpoint = "api"
path = "/second/{id}"
reply = "replies/{node}/{outcome}"
"#;
    let gateway = Gateway::with_routes(Script::echo(), routes);
    for (topic, line) in [
        ("nodes/me/get/special", "GET /first"),
        ("nodes/me/get/other", "GET /second/other"),
    ] {
        assert_eq!(gateway.ask(topic, ""), pair("replies/me/ok", line));
    }
}

// ── what the server is asked ────────────────────────────────────────────────────────────────

#[test]
fn a_post_carries_body_query_and_headers_with_their_values() {
    let gateway = Gateway::start(
        Script::fixed("201 Created", r#"{"id":101}"#),
        r#"
[gateway]
name = "attic"
[secret.token]
file = "@TOKEN"
[endpoint.api]
@API
headers = { authorization = "Bearer {secret.token}", x-gateway = "{gateway}" }
query = { from = "{gateway}" }
[[route]]
topic = "nodes/{node}/posts/{rest+}"
endpoint = "api"
method = "POST"
path = "/v1/{rest}"
query = { node = "{node}", q = "{payload./text}" }
headers = { x-topic = "{topic}", x-client = "{client}", x-user = "{user}", x-id = "{message_id}" }
body = '{"node": "{node}", "text": "{payload./text}", "value": {payload./value}, "at": "{time}"}'
select = "/id"
reply = "replies/{node}/posts/{outcome}"
"#,
    );
    let payload = r#"{"text": "a \"b\" & c", "value": 21.50}"#;
    let mut node = gateway.node("c-1");
    node.send(&publish("nodes/n1/posts/2026/new one", payload, 0, 0));
    assert_eq!(told(&mut node), pair("replies/n1/posts/ok", "101"));
    let request = gateway.request(1);
    assert_eq!(
        request.line(),
        "POST /v1/2026/new%20one?from=attic&node=n1&q=a%20%22b%22%20%26%20c"
    );
    let fields = [
        "authorization",
        "x-gateway",
        "x-topic",
        "x-client",
        "x-user",
        "content-type",
    ];
    assert_eq!(
        fields.map(|name| request.header(name).unwrap()),
        [
            &format!("Bearer {TOKEN}"),
            "attic",
            "nodes/n1/posts/2026/new one",
            "c-1",
            "",
            "application/json",
        ]
    );
    let body = String::from_utf8(request.body.clone()).unwrap();
    let start = r#"{"node": "n1", "text": "a \"b\" & c", "value": 21.50, "at": "20"#;
    assert!(body.starts_with(start) && body.ends_with("Z\"}"), "{body}");

    let first = request.header("x-id").unwrap().to_owned();
    node.send(&publish("nodes/n1/posts/2026/x", payload, 0, 0));
    told(&mut node);
    let second = gateway.request(2);
    assert_ne!(second.header("x-id"), Some(first.as_str()), "its own id");
}

#[test]
fn each_method_is_spoken_and_only_some_have_a_body() {
    let routes: String = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
        .map(|method| {
            format!(
                "[[route]]\ntopic = \"nodes/{{node}}/{method}\"\nendpoint = \"api\"\n\
                 method = \"{method}\"\npath = \"/{method}\"\nreply = \"replies/{method}/{{outcome}}\"\n"
            )
        })
        .concat();
    let delete = "[[route]]\ntopic = \"nodes/{node}/DELETE/body\"\nendpoint = \"api\"\n\
         method = \"DELETE\"\npath = \"/DELETE\"\nbody = \"{payload}\"\n\
         reply = \"replies/DELETE/{outcome}\"\n";
    let gateway = Gateway::with_routes(Script::echo(), &format!("{routes}{delete}"));
    let cases = [
        ("GET", "", "GET /GET"),
        ("HEAD", "", ""),
        ("POST", "x", "x"),
        ("PUT", "x", "x"),
        ("PATCH", "x", "x"),
        ("DELETE", "", "DELETE /DELETE"),
        ("DELETE/body", "x", "x"),
    ];
    for (count, (name, body, reply)) in cases.into_iter().enumerate() {
        let method = name.split('/').next().unwrap();
        let topic = format!("replies/{method}/ok");
        assert_eq!(
            gateway.ask(&format!("nodes/me/{name}"), "x"),
            pair(&topic, reply)
        );
        let request = gateway.request(count + 1);
        assert_eq!(request.line(), format!("{method} /{method}"));
        assert_eq!(request.body, body.as_bytes(), "{name}");
    }
}

#[test]
fn a_body_has_the_type_that_somebody_says_or_the_one_it_looks_like() {
    let route = |name: &str, keys: &str| {
        format!(
            "[[route]]\ntopic = \"nodes/{name}\"\nendpoint = \"api\"\nmethod = \"POST\"\n{keys}\n\
             reply = \"replies/{name}/{{outcome}}\"\n"
        )
    };
    let form = "headers = { content-type = \"application/x-www-form-urlencoded\" }";
    let routes = [
        route("plain", ""),
        route("said", "headers = { content-type = \"text/csv\" }"),
        route("json", "body = '[\"{payload}\"]'"),
        route(
            "form",
            &format!("{form}\nbody = \"a={{payload}}&b={{client}}\""),
        ),
        route("whole", form),
    ]
    .concat();
    let gateway = Gateway::with_routes(Script::fixed("200 OK", ""), &routes);
    let urlencoded = "application/x-www-form-urlencoded";
    let mut node = Client::connect_5(gateway.broker.address, "c 1", &[]);
    node.send(&subscribe_5(1, &[("replies/#", 0)], &[]));
    node.packet();
    let cases = [
        ("plain", "x", "", "text/plain; charset=utf-8", "x", "text"),
        (
            "plain",
            "[1]",
            "",
            "application/json",
            "[1]",
            "JSON by its look",
        ),
        (
            "plain",
            "x",
            "text/x; v=1",
            "text/x; v=1",
            "x",
            "as the node says",
        ),
        (
            "plain",
            "x",
            "no type\r\n",
            "text/plain; charset=utf-8",
            "x",
            "no type",
        ),
        (
            "said",
            "[1]",
            "text/x",
            "text/csv",
            "[1]",
            "as the route says",
        ),
        (
            "json",
            "a\"b",
            "text/x",
            "application/json",
            "[\"a\\\"b\"]",
            "a template",
        ),
        (
            "form",
            "1&b=2 ü",
            "",
            urlencoded,
            "a=1%26b%3D2%20%C3%BC&b=c%201",
            "a form",
        ),
        (
            "whole",
            "a=1&b=2",
            "",
            urlencoded,
            "a=1&b=2",
            "the node's own form",
        ),
    ];
    for (count, (name, payload, declared, expected, body, reason)) in cases.into_iter().enumerate()
    {
        let properties = match declared {
            "" => Vec::new(),
            declared => content_type(declared),
        };
        let topic = format!("nodes/{name}");
        node.send(&publish_5(&topic, payload, 0, 0, &properties));
        Published::next(&mut node, true);
        let request = gateway.request(count + 1);
        assert_eq!(request.header("content-type"), Some(expected), "{reason}");
        assert_eq!(String::from_utf8(request.body).unwrap(), body, "{reason}");
    }
    let mut node = gateway.node("bytes");
    node.send(&publish("nodes/plain", b"\xff\0", 0, 0));
    told(&mut node);
    let request = gateway.request(cases.len() + 1);
    assert_eq!(
        request.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(request.body, b"\xff\0");
}

#[test]
fn a_message_is_one_request_at_each_qos_as_a_will_and_retained() {
    let routes = r#"
[[route]]
topic = "nodes/{node}/tell"
endpoint = "api"
method = "POST"
reply = "replies/{node}/{outcome}"
"#;
    let gateway = Gateway::with_routes(Script::echo(), routes);
    let mut node = gateway.node("node");
    node.send(&publish("nodes/0/tell", "zero", 0, 0));
    assert_eq!(told(&mut node), pair("replies/0/ok", "zero"));

    node.send(&publish("nodes/1/tell", "one", 1, 7));
    node.expect_all(&[ack(0x40, 7), publish("replies/1/ok", "one", 0, 0)]);

    node.send(&publish("nodes/2/tell", "two", 2, 8));
    node.expect(&ack(0x50, 8));
    // Sent again before PUBREL, it is the same message.
    node.send(&flagged("nodes/2/tell", "two", 8 | 4, 8));
    node.send(&ack(0x62, 8));
    node.expect_all(&[
        ack(0x50, 8),
        ack(0x70, 8),
        publish("replies/2/ok", "two", 0, 0),
    ]);

    node.send(&flagged("nodes/3/tell", "kept", 1, 0));
    assert_eq!(told(&mut node), pair("replies/3/ok", "kept"));
    // The broker's own delivery of what is retained is no request.
    let mut late = Client::connect(gateway.broker.address, "late");
    late.subscribe("nodes/#", 0);
    late.expect(&flagged("nodes/3/tell", "kept", 1, 0));

    let mut leaving = Client::open(gateway.broker.address);
    let will = [block("leaving"), block("nodes/4/tell"), block("gone")].concat();
    leaving.send(&connect_with(4, CLEAN | 4, 0, &will));
    leaving.expect(&[0x20, 2, 0, 0]);
    leaving.vanish();
    assert_eq!(told(&mut node), pair("replies/4/ok", "gone"));
    node.expect_quiet();

    let bodies: Vec<_> = gateway
        .server
        .received()
        .into_iter()
        .map(|it| it.body)
        .collect();
    assert_eq!(bodies, [&b"zero"[..], b"one", b"two", b"kept", b"gone"]);
}

// ── what the node hears ─────────────────────────────────────────────────────────────────────

#[test]
fn a_reply_looks_as_the_route_says() {
    let route = |name: &str, keys: &str| {
        format!(
            "[[route]]\ntopic = \"nodes/{{node}}/{name}/{{what}}\"\nendpoint = \"api\"\n\
             path = \"/{{what}}\"\n{keys}\n"
        )
    };
    let outcome = "reply = \"replies/{node}/{outcome}\"";
    let fixed = "reply = \"replies/{node}\"";
    let routes = [
        route("plain", outcome),
        route("json", fixed),
        route("title", &format!("select = \"/title\"\n{outcome}")),
        route(
            "both",
            &format!("select = {{ t = \"/title\", n = \"/list/1\" }}\n{outcome}"),
        ),
        route("wrapped", &format!("select = \"/title\"\n{fixed}")),
        route(
            "list",
            &format!("select = \"/list\"\nform = \"json\"\n{outcome}"),
        ),
        route(
            "own",
            &format!(
                "form = {{ template = \"{{code}} {{status}} {{body./n}} {{what}}\" }}\n{fixed}"
            ),
        ),
        route(
            "object",
            &format!(
                "form = {{ template = '{{\"n\": {{body./n}}, \"why\": \"{{detail}}\"}}' }}\n{fixed}"
            ),
        ),
        route("found", &format!("success = [\"2xx\", \"404\"]\n{outcome}")),
    ]
    .concat();
    let script = Script::answering(|request: &Received| {
        let answer = match request.line() {
            "GET /json" => response(
                "200 OK",
                &[],
                br#"{"title":"a \"b\"","n":1.50,"list":[1,"x"]}"#,
            ),
            "GET /text" => response("200 OK", &[], "grüße \"x\"".as_bytes()),
            "GET /bytes" => response("200 OK", &[], &[0xff, 0xfe, 0]),
            "GET /empty" => response("204 No Content", &[], b""),
            _ => response("404 Not Found", &[], br#"{"why":"gone"}"#),
        };
        vec![Step::Send(answer)]
    });
    let gateway = Gateway::with_routes(script, &routes);
    let json = r#"{"title":"a \"b\"","n":1.50,"list":[1,"x"]}"#;
    let cases = [
        ("plain/json", "ok", json.to_owned()),
        ("plain/text", "ok", "grüße \"x\"".into()),
        ("plain/empty", "ok", String::new()),
        ("plain/none", "error", "http.status 404 Not Found".into()),
        ("json/json", "", format!(r#"{{"ok":true,"status":200,"body":{json}}}"#)),
        ("json/text", "", r#"{"ok":true,"status":200,"body":"grüße \"x\""}"#.into()),
        (
            "json/bytes",
            "",
            r#"{"ok":true,"status":200,"encoding":"base64","body":"//4A"}"#.into(),
        ),
        ("json/empty", "", r#"{"ok":true,"status":204,"body":""}"#.into()),
        (
            "json/none",
            "",
            r#"{"ok":false,"status":404,"error":"http.status","detail":"Not Found","body":{"why":"gone"}}"#
                .into(),
        ),
        ("title/json", "ok", "a \"b\"".into()),
        (
            "title/text",
            "error",
            "http.malformed 200 the response is not JSON, nothing can be selected".into(),
        ),
        ("both/json", "ok", r#"{"t":"a \"b\"","n":"x"}"#.into()),
        ("wrapped/json", "", r#"{"ok":true,"status":200,"body":"a \"b\""}"#.into()),
        ("list/json", "ok", r#"{"ok":true,"status":200,"body":[1,"x"]}"#.into()),
        ("own/json", "", "ok 200 1.50 json".into()),
        ("own/none", "", "http.status 404  none".into()),
        ("object/json", "", r#"{"n": 1.50, "why": ""}"#.into()),
        ("object/none", "", r#"{"n": null, "why": "Not Found"}"#.into()),
        ("found/none", "ok", r#"{"why":"gone"}"#.into()),
    ];
    for (what, outcome, payload) in cases {
        let topic = match outcome {
            "" => "replies/me".to_owned(),
            outcome => format!("replies/me/{outcome}"),
        };
        let heard = gateway.ask(&format!("nodes/me/{what}"), "");
        assert_eq!(heard, (topic, payload), "{what}");
    }
}

/// One route for each way to treat an oversize reply, in plain form and in JSON.
fn oversize_routes() -> String {
    let ways = ["error", "cut", "chunks"];
    let forms = [("plain", "/{outcome}"), ("json", "")];
    ways.iter()
        .flat_map(|way| {
            forms.iter().map(move |(form, end)| {
                format!(
                    "[[route]]\ntopic = \"nodes/{{node}}/{way}/{form}/{{size}}\"\n\
                     endpoint = \"api\"\npath = \"/{{size}}\"\noversize = \"{way}\"\n\
                     reply = \"replies/{{node}}/{way}/{form}{end}\"\n"
                )
            })
        })
        .collect()
}

/// Topic and payload of all packets of a reply; each fits PubSubClient's buffer.
fn fitted(node: &mut Client, limit: usize) -> Vec<(String, String)> {
    let mut heard = Vec::new();
    loop {
        let published = Published::next(node, false);
        assert!(published.size <= limit, "{} bytes", published.size);
        let (topic, payload) = (published.topic.clone(), published.text().to_owned());
        let mut levels = published.topic.rsplit('/');
        let count = levels.next().and_then(|it| it.parse::<usize>().ok());
        let at = levels.next().and_then(|it| it.parse::<usize>().ok());
        heard.push((topic, payload));
        if count.is_none() || at == count {
            return heard;
        }
    }
}

#[test]
fn no_packet_of_a_reply_is_larger_than_256_bytes() {
    let gateway = Gateway::with_routes(sized(), &oversize_routes());
    // At QoS 1 the packet identifier takes two bytes more; the budget holds them already.
    let mut node = Client::connect(gateway.broker.address, "node");
    node.subscribe("replies/#", 1);
    let mut ask = |way: &str, size: usize| {
        node.send(&publish(format!("nodes/n/{way}/{size}"), "", 0, 0));
        fitted(&mut node, 256)
    };

    // 256 - 5 - 2 - the 24 bytes of `replies/n/error/plain/ok`; two more for the longest reply.
    let whole = "replies/n/error/plain/ok";
    assert_eq!(ask("error/plain", 225), [pair(whole, &digits(225))]);
    let refused = "replies/n/error/plain/error";
    assert_eq!(
        ask("error/plain", 226),
        [pair(refused, "reply.too_large - 226")]
    );
    assert_eq!(
        ask("error/plain", 60_000),
        [pair(refused, "reply.too_large - 60000")]
    );
    // Digits that begin with 0 are no JSON number but text: two quotes.
    let size = r#"{"ok":true,"status":200,"body":""}"#.len() + 1_304;
    let told =
        format!(r#"{{"ok":false,"status":200,"error":"reply.too_large","detail":"{size}"}}"#);
    assert_eq!(
        ask("error/json", 1_304),
        [pair("replies/n/error/json", &told)]
    );

    let [(topic, start)] = ask("cut/plain", 1_304).try_into().unwrap();
    assert_eq!(
        (topic.as_str(), start.as_str()),
        ("replies/n/cut/plain/part", &*digits(225))
    );
    let [(topic, start)] = ask("cut/json", 1_304).try_into().unwrap();
    assert_eq!(topic, "replies/n/cut/json");
    let head = r#"{"ok":true,"status":200,"truncated":1304,"body":""#;
    let room = 256 - 7 - topic.len() - head.len() - 2;
    assert_eq!(start, format!("{head}{}\"}}", digits(room)));

    for (way, topic, whole) in [
        ("chunks/plain", "replies/n/chunks/plain/ok", digits(1_304)),
        (
            "chunks/json",
            "replies/n/chunks/json",
            format!(r#"{{"ok":true,"status":200,"body":"{}"}}"#, digits(1_304)),
        ),
    ] {
        let heard = ask(way, 1_304);
        let count = heard.len();
        let topics: Vec<_> = heard.iter().map(|(topic, _)| topic.clone()).collect();
        let expected: Vec<_> = (1..=count)
            .map(|at| format!("{topic}/{at}/{count}"))
            .collect();
        assert_eq!(topics, expected);
        let joined: String = heard.into_iter().map(|(_, payload)| payload).collect();
        assert_eq!(joined, whole);
        assert!(count >= 6, "{count}");
    }
}

#[test]
fn text_is_cut_and_split_between_characters() {
    let routes = oversize_routes();
    let body = "grüße €𝄞 ".repeat(60);
    let script = Script::fixed("200 OK", &body);
    let gateway = Gateway::with_routes(script, &routes);
    let mut node = gateway.node("node");
    node.send(&publish("nodes/n/cut/plain/1", "", 0, 0));
    let [(topic, start)] = fitted(&mut node, 256).try_into().unwrap();
    assert_eq!(topic, "replies/n/cut/plain/part");
    assert!(body.starts_with(&start) && start.len() > 220, "{start}");
    node.send(&publish("nodes/n/chunks/plain/1", "", 0, 0));
    let joined: String = fitted(&mut node, 256)
        .into_iter()
        .map(|(_, it)| it)
        .collect();
    assert_eq!(joined, body);
}

#[test]
fn a_packet_limit_is_the_route_s_the_user_s_or_the_connection_s() {
    let gateway = Gateway::start(
        sized(),
        &format!(
            r#"
[[user]]
name = "large"
password = "{RIGHT}"
reply_packet = 1024
[[user]]
name = "small"
password = "{RIGHT}"
[endpoint.api]
@API
[[route]]
topic = "nodes/{{node}}/{{size}}"
endpoint = "api"
path = "/{{size}}"
reply = "replies/{{node}}/{{outcome}}"
reply_packet = 300
[[route]]
topic = "narrow/{{size}}"
endpoint = "api"
path = "/{{size}}"
reply = "answers/{{outcome}}"
reply_packet = 120
"#
        ),
    );
    let user = |name: &str, size: usize| {
        let mut node = Client::open(gateway.broker.address);
        node.send(&login(name, name));
        node.expect(&[0x20, 2, 0, 0]);
        node.subscribe(&format!("replies/{name}/#"), 0);
        node.send(&publish(format!("nodes/{name}/{size}"), "", 0, 0));
        told(&mut node)
    };
    assert_eq!(user("large", 900), pair("replies/large/ok", &digits(900)));
    assert_eq!(
        user("large", 1_020),
        pair("replies/large/error", "reply.too_large - 1020")
    );
    assert_eq!(user("small", 270), pair("replies/small/ok", &digits(270)));
    assert_eq!(
        user("small", 290),
        pair("replies/small/error", "reply.too_large - 290")
    );

    // MQTT 5, Maximum Packet Size 150: it lowers the route's 300, and nothing raises its 120.
    let limited = [&[0x27][..], &150_u32.to_be_bytes()].concat();
    let mut node = Client::connect_5(gateway.broker.address, "v5", &limited);
    node.send(&subscribe_5(1, &[("replies/#", 1), ("answers/#", 1)], &[]));
    node.packet();
    for (topic, size, expected, limit) in [
        ("nodes/v5", 60, "60 digits", 150),
        ("nodes/v5", 130, "reply.too_large - 130", 150),
        ("narrow", 60, "60 digits", 120),
        ("narrow", 90, "reply.too_large - 90", 120),
    ] {
        node.send(&publish_5(&format!("{topic}/{size}"), "", 0, 0, &[]));
        let heard = Published::next(&mut node, true);
        let whole = digits(size);
        let expected = if expected.ends_with("digits") {
            &whole
        } else {
            expected
        };
        assert_eq!(heard.text(), expected, "{topic}");
        assert!(heard.size <= limit, "{topic}: {} bytes", heard.size);
    }
}

#[test]
fn properties_and_captures_leave_room_for_something_explicit() {
    let gateway = Gateway::with_routes(sized(), &oversize_routes());
    let limited = [&[0x27][..], &150_u32.to_be_bytes()].concat();
    let mut node = Client::connect_5(gateway.broker.address, "v5", &limited);
    node.send(&subscribe_5(1, &[("r/#", 1), ("replies/#", 1)], &[]));
    node.packet();
    let mut ask = |topic: &str, data: usize| {
        let properties = [response_topic("r/1"), correlation(&vec![7; data])].concat();
        node.send(&publish_5(topic, "", 0, 0, &properties));
        let heard = Published::next(&mut node, true);
        assert!(heard.size <= 150, "{topic} {data}: {} bytes", heard.size);
        (heard.topic.clone(), heard.text().to_owned())
    };
    assert_eq!(
        ask("nodes/n/error/plain/100", 20),
        pair("r/1", &digits(100))
    );
    assert_eq!(
        ask("nodes/n/error/plain/101", 20),
        pair("r/1", "reply.too_large - 101")
    );
    let (topic, start) = ask("nodes/n/cut/plain/101", 20);
    assert_eq!(topic, "r/1");
    assert!(
        start.len() > 60 && digits(101).starts_with(&start),
        "{start}"
    );
    let (topic, why) = ask("nodes/n/error/plain/50", 90);
    assert_eq!(topic, "replies/n/error/plain/error");
    assert_eq!(
        why,
        "bridge.bad_request - correlation data of 90 bytes leaves no room for a reply"
    );

    let long = "n".repeat(200);
    let mut old = gateway.node("old");
    old.send(&publish(format!("nodes/{long}/error/plain/1"), "", 0, 0));
    let heard = Published::next(&mut old, false);
    assert!(heard.size <= 256, "{} bytes", heard.size);
    let why =
        "bridge.bad_request - the reply topic would leave 22 bytes for the reply, 48 are needed";
    assert_eq!(
        (heard.topic.as_str(), heard.text()),
        ("replies/_/error/plain/error", why)
    );
    assert_eq!(
        gateway.server.counts().requests,
        3,
        "none for what can not be answered"
    );
}

#[test]
fn a_reply_has_the_qos_of_its_route_and_at_most_that_of_the_subscription() {
    let routes: String = (0..3)
        .map(|qos| {
            format!(
                "[[route]]\ntopic = \"nodes/{qos}\"\nendpoint = \"api\"\nqos = {qos}\n\
                 reply = \"replies/{qos}/{{outcome}}\"\n"
            )
        })
        .collect();
    let gateway = Gateway::with_routes(Script::fixed("200 OK", "x"), &routes);
    for subscribed in 0..3_u8 {
        let mut node = Client::connect(gateway.broker.address, "node");
        node.subscribe("replies/#", subscribed);
        for qos in 0..3_u8 {
            node.send(&publish(format!("nodes/{qos}"), "", 0, 0));
            let heard = Published::next(&mut node, false);
            assert_eq!(
                heard.first,
                0x30 | qos.min(subscribed) << 1,
                "{qos} {subscribed}"
            );
            assert_eq!(
                (heard.topic, heard.payload),
                (format!("replies/{qos}/ok"), b"x".to_vec())
            );
        }
        node.leave();
    }
}

#[test]
fn the_last_reply_is_kept_where_the_route_says_so_until_it_expires() {
    let routes = r#"
[[route]]
topic = "nodes/{node}/kept"
endpoint = "api"
reply = "replies/{node}/kept"
retain = true
expiry = "1h"
[[route]]
topic = "nodes/{node}/passing"
endpoint = "api"
reply = "replies/{node}/passing"
"#;
    let gateway = Gateway::with_routes(Script::fixed("200 OK", "21.5"), routes);
    let mut node = gateway.node("node");
    let reply = r#"{"ok":true,"status":200,"body":21.5}"#;
    for name in ["kept", "passing"] {
        node.send(&publish(format!("nodes/n/{name}"), "", 0, 0));
        // RETAIN is for those who subscribe later.
        node.expect(&publish(format!("replies/n/{name}"), reply, 0, 0));
    }
    let mut late = Client::connect_5(gateway.broker.address, "late", &[]);
    late.send(&subscribe_5(1, &[("replies/#", 0)], &[]));
    late.expect(&[0x90, 4, 0, 1, 0, 0]);
    let heard = Published::next(&mut late, true);
    assert_eq!(
        (heard.topic.as_str(), heard.text(), heard.first),
        ("replies/n/kept", reply, 0x31)
    );
    let [2, seconds @ ..] = &heard.properties[..5] else {
        panic!("{heard:?} has no expiry");
    };
    let left = u32::from_be_bytes(seconds.try_into().unwrap());
    assert!((3_590..=3_600).contains(&left), "{left}");
    assert_eq!(
        heard.properties[5..],
        [content_type("application/json"), code("ok")].concat()
    );
    late.send(&PINGREQ);
    late.expect(&PINGRESP);
}

#[test]
fn an_mqtt_5_request_is_answered_on_its_response_topic() {
    let gateway = Gateway::with_routes(posts(), POSTS);
    let mut node = Client::connect_5(gateway.broker.address, "v5", &[]);
    node.send(&subscribe_5(1, &[("mine/#", 1), ("replies/#", 1)], &[]));
    node.expect(&[0x90, 5, 0, 1, 0, 1, 1]);
    let asking = [response_topic("mine/1"), correlation(b"\0\xffid")].concat();
    let cases = [
        ("1", &asking, "mine/1", TITLE, "ok", true),
        (
            "9",
            &asking,
            "mine/1",
            "http.status 404 Not Found",
            "http.status",
            true,
        ),
        (
            "..",
            &asking,
            "mine/1",
            "bridge.bad_request - `{id}` would make a path segment `..`",
            "bridge.bad_request",
            true,
        ),
        (
            "1",
            &correlation(b"\0\xffid"),
            "replies/me/posts/1/ok",
            TITLE,
            "ok",
            true,
        ),
        (
            "1",
            &Vec::new(),
            "replies/me/posts/1/ok",
            TITLE,
            "ok",
            false,
        ),
    ];
    for (id, properties, topic, payload, told, correlated) in cases {
        node.send(&publish_5(
            &format!("nodes/me/posts/{id}/get"),
            "",
            0,
            0,
            properties,
        ));
        let heard = Published::next(&mut node, true);
        assert_eq!((heard.topic.as_str(), heard.text()), (topic, payload));
        let back = if correlated {
            correlation(b"\0\xffid")
        } else {
            Vec::new()
        };
        assert_eq!(heard.properties, [back, code(told)].concat(), "{id}");
    }
}

#[test]
fn the_type_of_a_response_reaches_an_mqtt_5_node() {
    let routes = r#"
[[route]]
topic = "nodes/plain"
endpoint = "api"
reply = "replies/{outcome}"
[[route]]
topic = "nodes/json"
endpoint = "api"
reply = "replies/json"
"#;
    let fields = [("content-type", "text/csv; header=absent")];
    let script = Script::bytes(response("200 OK", &fields, b"a,b"));
    let gateway = Gateway::with_routes(script, routes);
    let mut node = Client::connect_5(gateway.broker.address, "v5", &[]);
    node.send(&subscribe_5(1, &[("replies/#", 0)], &[]));
    node.expect(&[0x90, 4, 0, 1, 0, 0]);
    for (name, expected) in [
        ("plain", "text/csv; header=absent"),
        ("json", "application/json"),
    ] {
        node.send(&publish_5(&format!("nodes/{name}"), "", 0, 0, &[]));
        let heard = Published::next(&mut node, true);
        assert_eq!(
            heard.properties,
            [content_type(expected), code("ok")].concat()
        );
    }
}

#[test]
fn users_have_reply_trees_of_their_own() {
    let gateway = Gateway::start(
        posts(),
        &format!(
            "anonymous = \"no\"\n\
             [[user]]\nname = \"kitchen\"\npassword = \"{RIGHT}\"\n\
             [[user]]\nname = \"garden\"\npassword = \"{RIGHT}\"\n\
             [endpoint.api]\n@API\n\
             [[route]]\ntopic = \"nodes/{{node}}/posts/{{id}}/get\"\nendpoint = \"api\"\n\
             path = \"/posts/{{id}}\"\nselect = \"/title\"\n\
             reply = \"replies/{{user}}/posts/{{id}}/{{outcome}}\"\n"
        ),
    );
    let connect = |name: &str| {
        let mut node = Client::open(gateway.broker.address);
        node.send(&login(name, name));
        node.expect(&[0x20, 2, 0, 0]);
        node
    };
    let (mut kitchen, mut garden) = (connect("kitchen"), connect("garden"));
    kitchen.send(&subscribe(
        1,
        &[
            ("replies/garden/#", 0),
            ("replies/#", 0),
            ("replies/kitchen/#", 0),
        ],
    ));
    kitchen.expect(&[0x90, 5, 0, 1, 0x80, 0x80, 0]);
    garden.subscribe("replies/garden/#", 0);
    garden.send(&publish("nodes/garden/posts/1/get", "", 0, 0));
    assert_eq!(told(&mut garden), pair("replies/garden/posts/1/ok", TITLE));
    // Another user's requests are not its to make: no request, no reply.
    kitchen.send(&publish("nodes/garden/posts/1/get", "", 1, 5));
    kitchen.expect(&ack(0x40, 5));
    kitchen.send(&publish("nodes/kitchen/posts/2/get", "", 0, 0));
    let reply = "http.status 404 Not Found";
    assert_eq!(
        told(&mut kitchen),
        pair("replies/kitchen/posts/2/error", reply)
    );
    garden.expect_quiet();
    assert_eq!(gateway.server.counts().requests, 2);
}

// ── when it is acknowledged, and what outlives what ─────────────────────────────────────────

#[test]
fn a_publish_is_acknowledged_before_its_request_is_answered() {
    let gate = Gate::default();
    let gateway = Gateway::with_routes(gate.script("late"), POSTS_PLAIN);
    let mut node = gateway.node("node");
    node.send(&publish("nodes/1/ask", "", 1, 7));
    node.expect(&ack(0x40, 7));
    gateway.request(1);
    node.send(&publish("nodes/2/ask", "", 2, 8));
    node.expect(&ack(0x50, 8));
    node.send(&ack(0x62, 8));
    node.expect(&ack(0x70, 8));
    node.send(&PINGREQ);
    node.expect(&PINGRESP);
    gate.open();
    assert_eq!(told(&mut node), pair("replies/1/ok", "late"));
    assert_eq!(told(&mut node), pair("replies/2/ok", "late"));
}

const POSTS_PLAIN: &str = r#"
[[route]]
topic = "nodes/{node}/ask"
endpoint = "api"
reply = "replies/{node}/{outcome}"
"#;

#[test]
fn a_persistent_session_gets_its_reply_when_it_is_back() {
    let gate = Gate::default();
    let gateway = Gateway::with_routes(gate.script("late"), POSTS_PLAIN);
    let (mut node, present) = Client::resume(gateway.broker.address, "node");
    assert!(!present);
    node.subscribe("replies/#", 1);
    node.send(&publish("nodes/me/ask", "", 1, 7));
    node.expect(&ack(0x40, 7));
    gateway.request(1);
    node.leave();
    gate.open();
    // Heard by another first: then it waits for the one that is away.
    let mut other = Client::connect(gateway.broker.address, "other");
    other.subscribe("replies/#", 0);
    other.send(&publish("nodes/other/ask", "", 0, 0));
    let mut heard = told(&mut other);
    if heard.0 == "replies/me/ok" {
        heard = told(&mut other);
    }
    assert_eq!(heard, pair("replies/other/ok", "late"));
    gateway.server.wait(|counts| counts.answered >= 2);

    let (mut node, present) = Client::resume(gateway.broker.address, "node");
    assert!(present);
    let mut heard = [
        Published::next(&mut node, false),
        Published::next(&mut node, false),
    ];
    heard.sort_by(|a, b| a.topic.cmp(&b.topic));
    let topics = heard
        .each_ref()
        .map(|it| (it.topic.as_str(), it.text(), it.first));
    assert_eq!(
        topics,
        [
            ("replies/me/ok", "late", 0x32),
            ("replies/other/ok", "late", 0x32)
        ]
    );
}

#[test]
fn a_stop_delivers_what_is_in_flight_and_refuses_what_waits() {
    let gate = Gate::default();
    let gateway = Gateway::with_routes(gate.script("late"), POSTS_PLAIN);
    let mut node = gateway.node("node");
    let mut modern = Client::connect_5(gateway.broker.address, "modern", &[]);
    for _ in 0..2 {
        node.send(&publish("nodes/me/ask", "", 0, 0));
    }
    node.send(&PINGREQ);
    node.expect(&PINGRESP);
    gateway.request(1);
    gateway.broker.ask_to_stop();
    // One at a time per client and route: the second had not begun.
    let stopping = "bridge.stopping - the gateway is shutting down";
    assert_eq!(told(&mut node), pair("replies/me/error", stopping));
    assert!(
        TcpStream::connect(gateway.broker.address).is_err(),
        "it still listens"
    );
    node.send(&publish("nodes/me/ask", "", 0, 0));
    assert_eq!(told(&mut node), pair("replies/me/error", stopping));
    gate.open();
    assert_eq!(told(&mut node), pair("replies/me/ok", "late"));
    node.expect_end();
    modern.expect(&[0xE0, 1, 0x8B]);
    modern.expect_end();
    let Gateway { broker, server, .. } = gateway;
    assert!(broker.wait().is_ok());
    assert_eq!(server.counts().requests, 1);
}
