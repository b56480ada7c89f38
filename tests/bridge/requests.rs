//! What the server is asked.

use crate::gateway::{Gateway, Published, TOKEN, content_type, pair, told};
use crate::https::Script;
use crate::mqtt::{
    CLEAN, Client, ack, block, connect_with, flagged, publish, publish_5, subscribe_5,
};

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
