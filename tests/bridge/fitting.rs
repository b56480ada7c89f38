//! Replies and the packets that nodes can take.

use crate::gateway::{Gateway, Published, RIGHT, correlation, login, pair, response_topic, told};
use crate::https::Script;
use crate::mqtt::{Client, publish, publish_5, subscribe_5};
use crate::{digits, sized};

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
