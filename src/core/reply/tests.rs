use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::core::access::Hearing;
use crate::core::bridge::Publisher;
use crate::core::bridge::testing::{RouteBuilder, message, message_with, publisher, route};
use crate::core::message::{Message, Properties, QoS};
use crate::core::outcome::{Code, Failure, Outcome, Response};
use crate::core::route::RouteTable;
use crate::core::template::{MessageId, Values};

fn values<'a>(message: &'a Message, publisher: &'a Publisher) -> Values<'a> {
    Values {
        message,
        publisher,
        gateway: "attic",
        id: MessageId { boot: 1, number: 1 },
        unix_time: 0,
        reply: None,
        mask_secrets: false,
    }
}

/// Composes the reply of a route to an outcome.
fn reply_to(
    builder: RouteBuilder,
    message: &Message,
    publisher: &Publisher,
    outcome: &Outcome,
) -> Vec<Message> {
    let table = RouteTable::new(vec![builder.build()]);
    let route = Arc::clone(&table.routes[0]);
    let values = values(message, publisher);
    let resolved = Address::resolve(&route, &table, &values);
    let failure = resolved.unusable.map(Outcome::Failure);
    let outcome = failure.as_ref().unwrap_or(outcome);
    let composer = Composer {
        route: &route,
        address: &resolved.address,
        values,
    };
    composer.compose(Answer::judge(&route, outcome)).messages
}

/// The same with a plain message of client `c`: topics and payloads as text.
fn texts(builder: RouteBuilder, outcome: &Outcome) -> Vec<(String, String)> {
    let messages = reply_to(builder, &message("nodes/7", "p"), &publisher("c"), outcome);
    let text = |message: &Message| {
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        (message.topic.as_str().to_owned(), payload)
    };
    messages.iter().map(text).collect()
}

fn one(builder: RouteBuilder, outcome: &Outcome) -> (String, String) {
    let mut texts = texts(builder, outcome);
    assert_eq!(texts.len(), 1, "{texts:?}");
    texts.remove(0)
}

fn response(status: u16, body: impl Into<Bytes>) -> Outcome {
    Outcome::Response(Response {
        status,
        content_type: Some("text/x".to_owned()),
        retry_after: None,
        body: body.into(),
    })
}

fn failure(code: Code, detail: &str) -> Outcome {
    Outcome::Failure(Failure::new(code, detail))
}

fn select(pointers: &[(Option<&str>, &str)]) -> RouteBuilder {
    let own =
        |(name, pointer): &(Option<&str>, &str)| (name.map(str::to_owned), (*pointer).to_owned());
    let pointers = pointers.iter().map(own).collect();
    route("nodes/{id}").with(|route| route.reply.select = pointers)
}

fn plain() -> RouteBuilder {
    route("nodes/{id}")
}

fn json() -> RouteBuilder {
    route("nodes/{id}").form(Form::Json).reply("r/{id}")
}

#[test]
fn plain_replies_are_the_body_or_code_status_and_detail() {
    let truncated = Outcome::Failure(Failure {
        code: Code::HttpTruncated,
        detail: "after 10 of 20 bytes".to_owned(),
        status: Some(200),
    });
    let cases = [
        (response(200, "hello"), "ok", "hello"),
        (response(204, ""), "ok", ""),
        (
            response(404, "gone fishing"),
            "error",
            "http.status 404 Not Found",
        ),
        (response(499, ""), "error", "http.status 499"),
        (
            failure(Code::TlsExpired, "expired 2015-04-12"),
            "error",
            "tls.expired - expired 2015-04-12",
        ),
        (
            failure(Code::BridgeInternal, ""),
            "error",
            "bridge.internal -",
        ),
        (
            truncated,
            "error",
            "http.truncated 200 after 10 of 20 bytes",
        ),
        (
            response(200, "x".repeat(400)),
            "error",
            "reply.too_large - 400",
        ),
    ];
    for (outcome, word, payload) in cases {
        let expected = (format!("replies/c/{word}"), payload.to_owned());
        assert_eq!(one(plain(), &outcome), expected);
    }
    let binary = reply_to(
        plain(),
        &message("nodes/7", ""),
        &publisher("c"),
        &response(200, &b"\xff\0"[..]),
    );
    assert_eq!(&binary[0].payload[..], b"\xff\0");
}

#[test]
fn json_replies_are_one_object_with_the_body_last() {
    let cases = [
        (
            response(200, "{\"n\": 1.50}"),
            r#"{"ok":true,"status":200,"body":{"n": 1.50}}"#,
        ),
        (
            response(200, "say \"hi\"\n"),
            r#"{"ok":true,"status":200,"body":"say \"hi\"\n"}"#,
        ),
        (response(201, ""), r#"{"ok":true,"status":201,"body":""}"#),
        (
            response(200, &b"\xff\xfe"[..]),
            r#"{"ok":true,"status":200,"encoding":"base64","body":"//4="}"#,
        ),
        (
            response(404, "[]"),
            r#"{"ok":false,"status":404,"error":"http.status","detail":"Not Found","body":[]}"#,
        ),
        (
            failure(Code::TlsExpired, "a \"b\""),
            r#"{"ok":false,"error":"tls.expired","detail":"a \"b\""}"#,
        ),
        (
            response(200, "x".repeat(400)),
            r#"{"ok":false,"status":200,"error":"reply.too_large","detail":"434"}"#,
        ),
        (
            response(404, "x".repeat(400)),
            r#"{"ok":false,"status":404,"error":"http.status","detail":"Not Found"}"#,
        ),
    ];
    for (outcome, payload) in cases {
        assert_eq!(
            one(json(), &outcome),
            ("r/7".to_owned(), payload.to_owned())
        );
    }
}

#[test]
fn a_template_says_what_the_owner_wants() {
    let text = "{outcome} {code} {status} {detail} {body} {body./a} {id} {payload}";
    let json = r#"{"c":"{code}","s":{status},"b":{body},"a":{body./a},"d":"{detail}"}"#;
    let cases = [
        (
            text,
            response(200, r#"{"a":"x"}"#),
            r#"ok ok 200  {"a":"x"} x 7 p"#,
        ),
        (
            text,
            failure(Code::DnsFailed, "no answer"),
            "error dns.failed - no answer   7 p",
        ),
        (
            json,
            response(200, r#"{"a":"x"}"#),
            r#"{"c":"ok","s":200,"b":{"a":"x"},"a":"x","d":""}"#,
        ),
        (
            json,
            response(200, "te\"xt"),
            r#"{"c":"ok","s":200,"b":"te\"xt","a":null,"d":""}"#,
        ),
        (
            json,
            failure(Code::DnsFailed, "\"x\""),
            r#"{"c":"dns.failed","s":null,"b":"","a":null,"d":"\"x\""}"#,
        ),
        (
            text,
            response(200, "x".repeat(400)),
            "error reply.too_large 200 416   7 p",
        ),
    ];
    for (template, outcome, payload) in cases {
        let (_, told) = one(plain().form_template(template), &outcome);
        assert_eq!(told, payload, "{template}");
    }
}

#[test]
fn what_is_selected_stays_as_it_is() {
    let body = r#"{"t":"a \"b\"","n":1.500,"l":[1, 2]}"#;
    type Case<'a> = (&'a [(Option<&'a str>, &'a str)], &'a str, &'a str);
    let cases: [Case<'_>; 5] = [
        (&[(None, "/t")], r#"a "b""#, r#""a \"b\"""#),
        (&[(None, "/n")], "1.500", "1.500"),
        (&[(None, "/l")], "[1, 2]", "[1, 2]"),
        (&[(None, "")], body, body),
        (
            &[(Some("x"), "/n"), (Some("y\""), "/t")],
            r#"{"x":1.500,"y\"":"a \"b\""}"#,
            r#"{"x":1.500,"y\"":"a \"b\""}"#,
        ),
    ];
    for (pointers, plain, json) in cases {
        let outcome = response(200, body);
        assert_eq!(one(select(pointers), &outcome).1, plain);
        let object = format!("{{\"ok\":true,\"status\":200,\"body\":{json}}}");
        assert_eq!(one(select(pointers).form(Form::Json), &outcome).1, object);
    }
}

#[test]
fn a_template_puts_what_is_selected_into_strings_and_beside_them() {
    let template = r#"{"raw":{body},"text":"<{body}>"}"#;
    let outcome = response(200, r#"{"t":"a \"b\""}"#);
    let told = one(select(&[(None, "/t")]).form_template(template), &outcome);
    assert_eq!(told.1, r#"{"raw":"a \"b\"","text":"<a \"b\">"}"#);
    let told = one(select(&[(None, "/t")]).form_template("<{body}>"), &outcome);
    assert_eq!(told.1, r#"<a "b">"#);
}

#[test]
fn what_cannot_be_selected_is_a_failure() {
    let cases = [
        ("{}", "http.malformed 200 no `/t` in the response"),
        (
            "x",
            "http.malformed 200 the response is not JSON, nothing can be selected",
        ),
    ];
    for (body, payload) in cases {
        let told = one(select(&[(None, "/t")]), &response(200, body));
        assert_eq!(told, ("replies/c/error".to_owned(), payload.to_owned()));
    }
    let told = one(select(&[(Some("a"), "/t")]), &response(200, &b"\xff"[..])).1;
    assert_eq!(
        told,
        "http.malformed 200 the response is not JSON, nothing can be selected"
    );
}

fn sized(builder: RouteBuilder, packet: usize, oversize: Oversize) -> RouteBuilder {
    builder.with(|route| {
        route.reply.packet = packet;
        route.reply.oversize = oversize;
    })
}

#[test]
fn a_reply_fits_to_the_byte() {
    // 5 + "replies/c/ok" + payload + 2 = 100
    let room = 100 - 7 - 12;
    let whole = "x".repeat(room);
    let outcome = response(200, whole.clone());
    assert_eq!(one(sized(plain(), 100, Oversize::Error), &outcome).1, whole);
    let over = response(200, "x".repeat(room + 1));
    assert_eq!(
        one(sized(plain(), 100, Oversize::Error), &over).1,
        format!("reply.too_large - {}", room + 1)
    );
}

#[test]
fn a_cut_reply_ends_at_a_character_and_says_so() {
    let text = "é".repeat(100);
    let cut = one(
        sized(plain(), 100, Oversize::Cut),
        &response(200, text.clone()),
    );
    // 5 + "replies/c/part" + payload + 2 ≤ 100
    assert_eq!(cut, ("replies/c/part".to_owned(), "é".repeat(39)));
    let cut = one(sized(json(), 100, Oversize::Cut), &response(200, text));
    assert_eq!(cut.0, "r/7");
    let start = "é".repeat(20);
    assert_eq!(
        cut.1,
        format!("{{\"ok\":true,\"status\":200,\"truncated\":200,\"body\":\"{start}\"}}")
    );
    let binary = one(
        sized(json(), 100, Oversize::Cut),
        &response(200, vec![0xff; 99]),
    );
    let start = "////".repeat(5);
    assert_eq!(
        binary.1,
        format!(
            "{{\"ok\":true,\"status\":200,\"truncated\":99,\"encoding\":\"base64\",\"body\":\"{start}\"}}"
        )
    );
    let template = sized(
        plain().form_template("{outcome}: {body}"),
        64,
        Oversize::Cut,
    );
    let told = one(template, &response(200, "x".repeat(99)));
    assert_eq!(
        told,
        (
            "replies/c/part".to_owned(),
            format!("part: {}", "x".repeat(37))
        )
    );
}

#[test]
fn chunks_are_numbered_from_one_and_add_up() {
    let text: String = ('a'..='z')
        .cycle()
        .take(100)
        .chain("é".repeat(20).chars())
        .collect();
    let told = texts(
        sized(plain(), 64, Oversize::Chunks),
        &response(200, text.clone()),
    );
    // 5 + "replies/c/ok/1/4" + payload + 2 ≤ 64
    let topics: Vec<_> = told.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(
        topics,
        [
            "replies/c/ok/1/4",
            "replies/c/ok/2/4",
            "replies/c/ok/3/4",
            "replies/c/ok/4/4"
        ]
    );
    assert_eq!(
        told.iter()
            .map(|(_, piece)| piece.as_str())
            .collect::<String>(),
        text
    );
    assert!(
        told.iter()
            .all(|(topic, piece)| 7 + topic.len() + piece.len() <= 64)
    );
    let small = one(sized(plain(), 64, Oversize::Chunks), &response(200, "x"));
    assert_eq!(small.0, "replies/c/ok", "what fits is not in chunks");
    let many = one(
        sized(plain(), 64, Oversize::Chunks),
        &response(200, "x".repeat(5_000)),
    );
    assert_eq!(many.1, "reply.too_large - 5000", "more than 99");
}

#[test]
fn a_failure_loses_its_detail_before_its_code() {
    let outcome = failure(Code::TlsWrongName, "for é.example, not for b.example");
    let cases = [
        (80, "tls.wrong_name - for é.example, not for b.example"),
        (50, "tls.wrong_name - for é.exam"),
        (48, "tls.wrong_name - for é.ex"),
        (45, "tls.wrong_name - for é"),
        (44, "tls.wrong_name - for"),
        (39, "tls.wrong_name -"),
        (38, "tls.wrong_name"),
        (28, "tls.wr"),
        (22, ""),
        (10, ""),
    ];
    for (packet, payload) in cases {
        let told = one(sized(plain(), packet, Oversize::Error), &outcome);
        let told = (told.0.as_str(), told.1.trim_end());
        assert_eq!(told, ("replies/c/error", payload), "{packet}");
    }
    let cases = [
        (
            120,
            r#"{"ok":false,"error":"tls.wrong_name","detail":"for é.example, not for b.example"}"#,
        ),
        (
            80,
            r#"{"ok":false,"error":"tls.wrong_name","detail":"for é.example, not f"}"#,
        ),
        (50, r#"{"ok":false,"error":"tls.wrong_name"}"#),
        (40, "tls.wrong_name"),
    ];
    for (packet, payload) in cases {
        assert_eq!(
            one(sized(json(), packet, Oversize::Error), &outcome).1,
            payload
        );
    }
}

#[test]
fn the_smallest_limit_counts() {
    let outcome = response(200, "x".repeat(300));
    let cases = [
        (None, None, "reply.too_large - 300", "the route's 256"),
        (Some(512), None, "whole", "the user's own value wins"),
        (
            Some(512),
            Some(256),
            "reply.too_large - 300",
            "Maximum Packet Size lowers it",
        ),
        (
            None,
            Some(4096),
            "reply.too_large - 300",
            "and never raises it",
        ),
    ];
    for (reply_packet, maximum_packet, expected, reason) in cases {
        let publisher = Publisher {
            reply_packet,
            maximum_packet,
            ..publisher("c")
        };
        let told = reply_to(plain(), &message("nodes/7", ""), &publisher, &outcome);
        let text = match told[0].payload.len() {
            300 => "whole",
            _ => std::str::from_utf8(&told[0].payload).unwrap(),
        };
        assert_eq!(text, expected, "{reason}");
    }
}

#[test]
fn a_topic_that_can_not_be_used_is_told_on_one_that_can() {
    let long = "k".repeat(250);
    let cases = [
        (
            "r/{id}/{outcome}",
            format!("nodes/{long}"),
            "r/_/error",
            "bridge.bad_request - the reply topic would leave 0 bytes for the reply, 48 are needed",
        ),
        (
            "r/{id}/{outcome}",
            "nodes/".to_owned(),
            "r/_/error",
            "bridge.bad_request - reply topic: `{id}` is empty",
        ),
        (
            "r/{user}/{id}",
            "nodes/7".to_owned(),
            "r/_/7",
            "bridge.bad_request - reply topic: `{user}` is empty",
        ),
        (
            "{id}/r",
            "nodes/$SYS".to_owned(),
            "_/r",
            "bridge.bad_request - reply topic: it would start with `$`",
        ),
    ];
    for (template, topic, expected, payload) in cases {
        let told = reply_to(
            plain().reply(template),
            &message(&topic, ""),
            &publisher("c"),
            &response(200, ""),
        );
        assert_eq!(told[0].topic.as_str(), expected);
        assert_eq!(told[0].payload, payload);
    }
}

fn asking(response_topic: &str) -> Message {
    message_with(
        "nodes/7",
        "",
        Properties {
            response_topic: Some(response_topic.to_owned()),
            correlation_data: Some(Bytes::from_static(b"\0\xff")),
            ..Properties::default()
        },
    )
}

#[test]
fn a_response_topic_is_used_with_correlation_data_and_never_retained() {
    let retained = plain().with(|route| {
        route.reply.retain = true;
        route.reply.expiry = Some(Duration::from_secs(60));
        route.reply_qos = QoS::AtLeastOnce;
    });
    let told = reply_to(
        retained,
        &asking("mine/1"),
        &publisher("c"),
        &response(200, "hi"),
    );
    let expected = Message {
        qos: QoS::AtLeastOnce,
        ..message_with(
            "mine/1",
            "hi",
            Properties {
                content_type: Some("text/x".to_owned()),
                expiry_interval: Some(60),
                correlation_data: Some(Bytes::from_static(b"\0\xff")),
                user_properties: vec![("code".to_owned(), "ok".to_owned())],
                ..Properties::default()
            },
        )
    };
    assert_eq!(told, [expected]);
}

#[test]
fn the_last_reply_is_retained_where_the_route_says_so() {
    let retained = plain().with(|route| route.reply.retain = true);
    let told = reply_to(
        retained,
        &message("nodes/7", ""),
        &publisher("c"),
        &failure(Code::DnsFailed, "x"),
    );
    assert!(told[0].retain);
    let properties = told[0].properties.as_ref().unwrap();
    assert_eq!(
        properties.user_properties,
        [("code".to_owned(), "dns.failed".to_owned())]
    );
}

#[test]
fn a_response_topic_that_leads_elsewhere_is_refused() {
    use Hearing::{Allow, Deny, Own};
    let taken = "replies of a route go there, and it is not the user's own";
    let long = "x".repeat(200);
    let cases = [
        ("nodes/8", Own, Oversize::Error, Some("a route takes it")),
        ("nodes", Own, Oversize::Error, None),
        ("other", Allow, Oversize::Chunks, None),
        ("$SYS/x", Own, Oversize::Error, Some("it starts with `$`")),
        ("r/+", Own, Oversize::Error, Some("it holds a wildcard")),
        ("r/#", Own, Oversize::Error, Some("it holds a wildcard")),
        ("", Own, Oversize::Error, Some("it is not a topic")),
        ("a\0", Own, Oversize::Error, Some("it is not a topic")),
        (
            "replies/other/ok",
            Deny,
            Oversize::Error,
            Some("the client may not subscribe to it"),
        ),
        ("replies/other/ok", Allow, Oversize::Error, Some(taken)),
        ("replies/other/ok", Own, Oversize::Error, None),
        ("replies/other", Allow, Oversize::Error, None),
        ("replies", Allow, Oversize::Error, None),
        ("replies/other/ok/1/1", Allow, Oversize::Chunks, Some(taken)),
        (
            &long,
            Own,
            Oversize::Error,
            Some("it leaves no room for a reply"),
        ),
    ];
    for (topic, hearing, oversize, refused) in cases {
        let publisher = Publisher {
            hearing,
            ..publisher("c")
        };
        let table = RouteTable::new(vec![sized(plain(), 256, oversize).build()]);
        let message = asking(topic);
        let values = values(&message, &publisher);
        let resolved = Address::resolve(&table.routes[0], &table, &values);
        assert_eq!(resolved.refused, refused, "{topic}");
        let own = if refused.is_some() {
            "replies/c/ok"
        } else {
            topic
        };
        assert_eq!(resolved.address.topic(Word::Ok), own);
        assert!(resolved.unusable.is_none());
    }
    let table = RouteTable::new(vec![
        sized(plain(), 256, Oversize::Chunks).build(),
        route("mine/{i}/{n}").build(),
    ]);
    let (message, publisher) = (asking("mine"), publisher("c"));
    let resolved = Address::resolve(&table.routes[0], &table, &values(&message, &publisher));
    assert_eq!(resolved.refused, Some("a route takes it"), "its chunks");
    let table = RouteTable::new(vec![
        sized(plain(), 256, Oversize::Chunks).build(),
        route("mine/{i}/3").build(),
        route("a/{x}").reply("yours/{x}/3").build(),
    ]);
    let own = self::publisher("c");
    let allowed = Publisher {
        hearing: Allow,
        ..self::publisher("c")
    };
    let cases = [
        ("mine", &own, Some("a route takes it")),
        ("yours", &own, None),
        ("yours", &allowed, Some(taken)),
        ("free", &allowed, None),
    ];
    for (topic, publisher, refused) in cases {
        let message = asking(topic);
        let resolved = Address::resolve(&table.routes[0], &table, &values(&message, publisher));
        assert_eq!(resolved.refused, refused, "{topic}: the third chunk");
    }
}

#[test]
fn no_request_is_made_where_not_even_a_code_would_fit() {
    let cases = [
        (1000, false),
        (256, false),
        (150, false),
        (60, true),
        (10, true),
    ];
    for (packet, unusable) in cases {
        let publisher = Publisher {
            maximum_packet: Some(packet),
            ..publisher("c")
        };
        let table = RouteTable::new(vec![plain().build()]);
        let message = message("nodes/7", "");
        let resolved = Address::resolve(&table.routes[0], &table, &values(&message, &publisher));
        assert_eq!(resolved.unusable.is_some(), unusable, "{packet}");
    }
}

#[test]
fn correlation_data_that_fills_the_packet_is_refused() {
    let message = message_with(
        "nodes/7",
        "",
        Properties {
            correlation_data: Some(vec![1; 150].into()),
            ..Properties::default()
        },
    );
    let told = reply_to(plain(), &message, &publisher("c"), &response(200, ""));
    assert_eq!(
        told[0].payload,
        "bridge.bad_request - correlation data of 150 bytes leaves no room for a reply"
    );
    assert_eq!(told[0].properties.as_ref().unwrap().correlation_data, None);
}

#[test]
fn properties_count_for_those_who_get_them() {
    let body = "x".repeat(220);
    let old = one(plain(), &response(200, body.clone())).1;
    assert_eq!(old, body, "3.1.1: no properties in the packet");
    let message = message_with("nodes/7", "", Properties::default());
    let told = reply_to(plain(), &message, &publisher("c"), &response(200, body));
    assert_eq!(told[0].payload, "reply.too_large - 220");
}

#[test]
fn the_filter_covers_every_topic_of_the_plan() {
    let cases = [
        ("replies/{id}/x/{outcome}", Oversize::Error, "replies/+/x/+"),
        ("replies/n-{id}", Oversize::Error, "replies/+"),
        ("replies/{id}", Oversize::Chunks, "replies/+/#"),
        ("fixed", Oversize::Cut, "fixed"),
    ];
    for (template, oversize, expected) in cases {
        let route = sized(plain().reply(template), 256, oversize).build();
        assert_eq!(route.reply.filter().as_str(), expected);
    }
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let status = prop::sample::select(vec![200_u16, 204, 404, 599]);
    let text = "(\\PC|\"|\n){0,300}".prop_map(String::into_bytes);
    let body = prop_oneof![text, prop::collection::vec(any::<u8>(), 0..300)];
    let code = prop::sample::select(Code::ALL.to_vec());
    prop_oneof![
        (status, body).prop_map(|(status, body)| response(status, body)),
        (code, "\\PC{0,120}").prop_map(|(code, detail)| failure(code, &detail)),
    ]
}

fn any_form() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "plain",
        "json",
        "{code} {body}",
        r#"{"b":{body},"d":"{detail}"}"#,
    ])
}

proptest! {
    #[test]
    fn a_reply_never_exceeds_its_packet(
        outcome in any_outcome(),
        form in any_form(),
        oversize in prop::sample::select(vec![Oversize::Error, Oversize::Cut, Oversize::Chunks]),
        packet in 64_usize..400,
        modern in any::<bool>(),
        correlation in prop::option::of(0_usize..64),
    ) {
        let builder = sized(plain(), packet, oversize);
        let builder = match form {
            "plain" => builder,
            "json" => builder.form(Form::Json),
            template => builder.form_template(template),
        };
        let filter = sized(plain(), packet, oversize).build().reply.filter();
        let properties = Properties {
            correlation_data: correlation.map(|size| vec![7; size].into()),
            ..Properties::default()
        };
        let message = if modern {
            message_with("nodes/7", "p", properties)
        } else {
            message("nodes/7", "p")
        };
        let told = reply_to(builder, &message, &publisher("c"), &outcome);
        prop_assert!(!told.is_empty());
        for reply in &told {
            prop_assert!(filter.matches(reply.topic.as_str()));
            let properties = reply.properties.as_deref().unwrap();
            let block = if modern { address::encoded_len(properties) } else { 0 };
            let size = 7 + reply.topic.as_str().len() + block + reply.payload.len();
            prop_assert!(size <= packet || reply.payload.is_empty(), "{size} > {packet}: {reply:?}");
            if form == "json" && told.len() == 1 && reply.payload.first() == Some(&b'{') {
                prop_assert!(crate::core::json::as_json(&reply.payload).is_some(), "{reply:?}");
            }
        }
    }

    #[test]
    fn chunks_are_the_reply(body in "\\PC{0,600}") {
        let told = texts(sized(plain(), 64, Oversize::Chunks), &response(200, body.clone()));
        let whole: String = told.iter().map(|(_, piece)| piece.as_str()).collect();
        prop_assert_eq!(whole, body);
    }
}
