//! What the node hears.

use crate::gateway::{
    Gateway, Published, RIGHT, code, content_type, correlation, login, pair, response_topic, told,
};
use crate::https::{Received, Script, Step, response};
use crate::mqtt::{Client, PINGREQ, PINGRESP, ack, publish, publish_5, subscribe, subscribe_5};
use crate::{POSTS, TITLE, posts};

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
