use proptest::prelude::*;

use super::*;
use crate::core::bridge::Publisher;
use crate::core::bridge::testing::{TOKEN, message, parse, publisher};
use crate::core::message::Message;
use crate::core::route::RouteTopic;

/// Renders a template in the scope of `nodes/{id}/{rest+}`.
fn render(text: &str, place: Place, message: &Message) -> Result<Vec<u8>, String> {
    render_as(text, place, message, &publisher("c1"))
}

fn render_as(
    text: &str,
    place: Place,
    message: &Message,
    publisher: &Publisher,
) -> Result<Vec<u8>, String> {
    let topic = RouteTopic::parse("nodes/{id}/{rest+}").unwrap();
    let template = parse(text, &topic, place, false).unwrap();
    let mut out = Vec::new();
    let values = Values {
        message,
        publisher,
        gateway: "attic",
        id: MessageId {
            boot: 0xbeef,
            number: 26,
        },
        unix_time: 1_795_444_391,
        reply: None,
        mask_secrets: false,
    };
    match template.render(&values, 64, &mut out) {
        Ok(()) => Ok(out),
        Err(failure) => Err(failure.detail),
    }
}

fn parse_error(text: &str, place: Place) -> String {
    let topic = RouteTopic::parse("nodes/{id}/{rest+}").unwrap();
    parse(text, &topic, place, false).unwrap_err().0
}

#[test]
fn every_value_is_rendered() {
    let message = message("nodes/7/a/b", r#"{"t":21.50,"s":"x\ny"}"#);
    let cases = [
        ("{id}", "7", "a capture"),
        ("{rest}", "a/b", "the rest"),
        ("{user}|{client}", "|c1", "anonymous: no user"),
        ("{gateway}", "attic", "the gateway"),
        ("{message_id}", "0000beef-1a", "start and count"),
        ("{topic}", "nodes/7/a/b", "the whole topic"),
        ("{time}", "2026-11-23T14:33:11Z", "UTC to the second"),
        ("{payload./t}", "21.50", "a number keeps its digits"),
        (
            "{payload./s}",
            "x\ny",
            "a string without quotes and escapes",
        ),
        ("{secret.token}", TOKEN, "a secret"),
        ("{{id} { {} {I}", "{id} { {} {I}", "a brace that is itself"),
    ];
    for (text, expected, reason) in cases {
        let rendered = render(text, Place::Text, &message).unwrap();
        assert_eq!(String::from_utf8(rendered).unwrap(), expected, "{reason}");
    }
    assert_eq!(
        render(
            "<{payload}>",
            Place::Text,
            &self::message("nodes/7/a", &b"\xff\0"[..])
        ),
        Ok(b"<\xff\0>".to_vec())
    );
}

/// Template, payload, what is rendered or the detail of the refusal, reason.
type Case<'a> = (&'a str, &'a str, Result<&'a str, &'a str>, &'a str);

fn check(place: Place, cases: &[Case<'_>]) {
    for (text, payload, expected, reason) in cases {
        let rendered = render(text, place, &message("nodes/7/a", (*payload).to_owned()));
        let rendered = rendered.map(|bytes| String::from_utf8(bytes).unwrap());
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(rendered, expected, "{text}: {reason}");
    }
}

#[test]
fn a_value_in_a_path_is_one_segment() {
    let text = "/p/{payload}";
    let slash = Err("`{payload}` holds a slash, which can not stand in a path segment");
    let control = Err("`{payload}` holds a control character, which can not stand in a path");
    let empty = "`{payload}` is empty or has an empty level, which can not be a path segment";
    let up = Err("`{payload}` would make a path segment `..`");
    let here = Err("`{payload}` would make a path segment `.`");
    let encoded = Err("`{payload}` would make a path segment `.%2E`");
    let parameter = Err("`{payload}` would make a path segment `..;v=1`");
    let marks = Ok("/p/a%20b%3Fc%3Dd%26e%23f%25");
    let cases = [
        (text, "a b?c=d&e#f%", marks, "all but unreserved"),
        (text, "%2e%2e", Ok("/p/%252e%252e"), "an escape is not one"),
        (text, "%2F", Ok("/p/%252F"), "nor is a slash's"),
        (text, "é", Ok("/p/%C3%A9"), "UTF-8"),
        (text, "...", Ok("/p/..."), "three dots are a name"),
        ("/p/{payload}x", ".", Ok("/p/.x"), "a dot in a name"),
        (text, "", Err(empty), "`//`"),
        (text, "..", up, "up"),
        ("/p/{payload}/q", ".", here, "here"),
        ("/p/.{payload}", ".", up, "up, half of it fixed"),
        ("/p/{payload}%2E/q", ".", encoded, "up, half encoded"),
        ("/p/{payload};v=1/q", "..", parameter, "up, to some servers"),
        (text, "a/b", slash, "one more segment"),
        (text, "..\\x", slash, "a slash to some servers"),
        (text, "a\0", control, "NUL"),
        (text, "a\r\n", control, "a line end"),
    ];
    check(Place::Path, &cases);
}

#[test]
fn a_value_in_a_query_adds_no_parameter() {
    let marks = Ok("a%26b%3Dc%23d%3Fe%2F%20%2B%25%0D%0A");
    let long = "x".repeat(65);
    let too_long = Err("a query would be longer than 64 bytes");
    let cases = [
        (
            "{payload}",
            "a&b=c#d?e/ +%\r\n",
            marks,
            "nothing has a meaning",
        ),
        ("x y&{payload}", "", Ok("x%20y%26"), "nor has what is fixed"),
        ("{payload}", &long, too_long, "the limit"),
    ];
    check(Place::Query, &cases);
}

#[test]
fn a_value_in_a_form_adds_no_field() {
    let two = "a={payload}&b={id}";
    let cases = [
        (
            two,
            "x&b=1=+%\r\n é",
            Ok("a=x%26b%3D1%3D%2B%25%0D%0A%20%C3%A9&b=7"),
            "nothing of a value has a meaning, all of the fixed text has",
        ),
        ("a[]=1+2%20{payload}", "", Ok("a[]=1+2%20"), "as written"),
        (
            "t={payload./t}&s={payload./s}",
            r#"{"t":21.5,"s":"x&y"}"#,
            Ok("t=21.5&s=x%26y"),
            "values of a JSON payload",
        ),
    ];
    check(Place::Form, &cases);
    let refused = [
        ("a=b c", "form `a=b c` holds ` `; percent-encode it"),
        ("a=é{id}", "form `a=é` holds `é`; percent-encode it"),
        (
            "a=5%",
            "form `a=5%` holds a `%` that encodes nothing; write `%25`",
        ),
    ];
    for (text, expected) in refused {
        assert_eq!(parse_error(text, Place::Form), expected);
    }
}

#[test]
fn a_form_is_told_by_its_content_type() {
    let form = "application/x-www-form-urlencoded";
    let cases = [
        ("a={payload}", Some(form), Place::Form, "a form"),
        (
            "a={payload}",
            Some("Application/X-WWW-Form-Urlencoded ; charset=utf-8"),
            Place::Form,
            "case and parameters do not count",
        ),
        ("a={payload}", Some("text/plain"), Place::Text, "said so"),
        ("a={payload}", None, Place::Text, "nothing said"),
        (
            r#"{"a":1}"#,
            Some("text/plain"),
            Place::Json,
            "JSON by its look",
        ),
        (
            "{payload}",
            Some(form),
            Place::Text,
            "the node wrote the whole form",
        ),
    ];
    for (text, content_type, expected, reason) in cases {
        assert_eq!(Place::of_body(text, content_type), expected, "{reason}");
    }
}

#[test]
fn a_value_in_a_header_adds_no_line() {
    let text = "v {payload}";
    let control = Err("`{payload}` holds a control character, which can not stand in a header");
    let foreign = "`{payload}` holds a character outside ASCII, which can not stand in a header";
    let cases = [
        (text, "a, b; \"c\"", Ok("v a, b; \"c\""), "visible ASCII"),
        (text, "a\r\nX: y", control, "another header"),
        (text, "a\nb", control, "LF alone"),
        (text, "a\rb", control, "CR alone"),
        (text, "a\0", control, "NUL"),
        (text, "é", Err(foreign), "obsolete text"),
    ];
    check(Place::Header, &cases);
}

#[test]
fn a_value_in_json_adds_no_member() {
    let string = r#"{"a":"{payload}"}"#;
    let raw = r#"{"a":{payload}}"#;
    let both = r#"{"a":{payload./x},"b":"{payload./x}"}"#;
    let escaped = Ok(r#"{"a":"x\",\"b\":\"\\\n"}"#);
    let not_json = Err("`{payload}` is not JSON");
    let twice = Ok(r#"{"a":"1\"2","b":"1\"2"}"#);
    let nested = Ok(r#"["{\"y\":\"z\"}"]"#);
    let inner = r#"{"x":{"y":"z"}}"#;
    let cases = [
        (string, "x\",\"b\":\"\\\n", escaped, "escapes"),
        (raw, "[1, 2]", Ok(r#"{"a":[1, 2]}"#), "JSON as it is"),
        (raw, "1,\"b\":2", not_json, "a member more"),
        (raw, "1}", not_json, "an end"),
        (raw, "", not_json, "nothing"),
        (both, r#"{"x":"1\"2"}"#, twice, "a string is one in both"),
        (
            r#"["{payload./x}"]"#,
            inner,
            nested,
            "an object in a string",
        ),
    ];
    check(Place::Json, &cases);
}

#[test]
fn a_value_makes_no_key_that_is_there_already() {
    let twice = Err("`{payload}` would make a key that the body has already");
    let both = Err("`{id}`, `{payload}` would make a key that the body has already");
    let key = r#"{"id":1,"{payload}":2}"#;
    let deep = r#"{"id":1,"in":[{"{payload}":2}]}"#;
    let two = r#"{"{id}":1,"{payload}":2}"#;
    let own = Ok(r#"{"7":{"id":1,"id":2}}"#);
    let json = [
        (key, "unit", Ok(r#"{"id":1,"unit":2}"#), "another key"),
        (key, "id", twice, "the owner's key"),
        (deep, "id", Ok(r#"{"id":1,"in":[{"id":2}]}"#), "elsewhere"),
        (two, "7", both, "another value's key"),
        (r#"{"i\u0064":1,"{payload}":2}"#, "id", twice, "an escape"),
        (key, "ID", twice, "the same to some readers"),
        (
            r#"{"a":1,"A":2,"{payload}":3}"#,
            "b",
            Ok(r#"{"a":1,"A":2,"b":3}"#),
            "the owner's own two",
        ),
        (
            r#"{"{id}":{payload}}"#,
            r#"{"id":1,"id":2}"#,
            own,
            "its own",
        ),
    ];
    check(Place::Json, &json);
    let form = [
        ("id=1&{payload}=2", "unit", Ok("id=1&unit=2"), "another key"),
        ("id=1&{payload}=2", "id", twice, "the owner's key"),
        ("i%64=1&n{payload}=2&ne=3", "e", twice, "in part"),
        ("a+b=1&{payload}=2", "a b", twice, "a space"),
        ("id=1&{payload}=2", "Id", twice, "the same to some readers"),
        ("a=1&a=2&b={payload}", "a=", Ok("a=1&a=2&b=a%3D"), "a list"),
        ("a=1&a=2&{payload}=3", "b", Ok("a=1&a=2&b=3"), "and a key"),
        ("{id}=1&{payload}", "7", both, "another value's key"),
    ];
    check(Place::Form, &form);
}

#[test]
fn a_pointer_without_a_value_is_named() {
    let missing = Err("`{payload./x}` has no value in the payload");
    let not_json = Err("`{payload./x}` has no value: the payload is not JSON");
    let half = r#"{"x":"\ud800"}"#;
    let surrogate = Err("`{payload./x}` is not text: it holds half of a surrogate pair");
    let cases = [
        ("{payload./x}", "{}", missing, "missing"),
        ("{payload./x}", half, surrogate, "no text"),
        ("{payload./x}", "x", not_json, "not JSON"),
        ("{payload}", "", Ok(""), "an empty payload is one"),
    ];
    check(Place::Text, &cases);
}

#[test]
fn bytes_that_are_no_text_stand_in_no_path() {
    let overlong = message("nodes/7/a", &b"\xc0\xae\xc0\xae"[..]);
    assert_eq!(
        render("/p/{payload}", Place::Path, &overlong),
        Err("`{payload}` is not UTF-8, as a path has to be".to_owned())
    );
}

#[test]
fn levels_of_the_rest_stay_segments_and_each_is_checked() {
    let cases = [
        ("nodes/7/a/b c", Ok("/f/a/b%20c"), "segments"),
        (
            "nodes/7/a//b",
            Err("`{rest}` is empty or has an empty level, which can not be a path segment"),
            "empty",
        ),
        (
            "nodes/7/a/..",
            Err("`{rest}` would make a path segment `..`"),
            "up",
        ),
        (
            "nodes/7/./b",
            Err("`{rest}` would make a path segment `.`"),
            "here",
        ),
        (
            "nodes/7/a/%2e%2e/b",
            Ok("/f/a/%252e%252e/b"),
            "an escape is not one",
        ),
    ];
    for (topic, expected, reason) in cases {
        let rendered = render("/f/{rest}", Place::Path, &message(topic, ""));
        let rendered = rendered.map(|bytes| String::from_utf8(bytes).unwrap());
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(rendered, expected, "{topic}: {reason}");
    }
}

#[test]
fn a_captured_host_is_one_label() {
    let why = "`{id}` is not a host label of lower-case letters, digits and inner `-`";
    let long = "a".repeat(64);
    let cases = [
        ("expired", true),
        ("a", true),
        ("a-1", true),
        ("evil.example", false),
        ("x@evil", false),
        ("x:1", false),
        ("-a", false),
        ("a-", false),
        ("xn--a", false),
        ("A", false),
        ("é", false),
        ("", false),
        (&long, false),
    ];
    for (label, valid) in cases {
        let topic = format!("nodes/{label}/x");
        let rendered = render("{id}.badssl.com", Place::Host, &message(&topic, ""));
        let expected = if valid {
            Ok(format!("{label}.badssl.com").into_bytes())
        } else {
            Err(why.to_owned())
        };
        assert_eq!(rendered, expected, "{label}");
    }
}

#[test]
fn a_value_in_a_topic_is_one_level() {
    let why = "holds `/`, `+`, `#` or NUL, which can not stand in a topic level";
    let cases = [
        ("kitchen", Ok("r/kitchen".to_owned())),
        ("", Err("`{client}` is empty".to_owned())),
        ("a/b", Err(format!("`{{client}}` {why}"))),
        ("+", Err(format!("`{{client}}` {why}"))),
        ("a#", Err(format!("`{{client}}` {why}"))),
        ("a\0", Err(format!("`{{client}}` {why}"))),
    ];
    for (client, expected) in cases {
        let message = message("nodes/7/a", "");
        let rendered = render_as("r/{client}", Place::Topic, &message, &publisher(client));
        let rendered = rendered.map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(rendered, expected, "{client:?}");
    }
}

#[test]
fn a_template_that_can_not_work_is_refused_with_a_remedy() {
    let body = "`{id}`, `{rest}`, `{user}`, `{client}`, `{gateway}`, `{message_id}`, `{topic}`, `{time}`, `{payload}`";
    let topic = "`{id}`, `{user}`, `{client}`, `{gateway}`, `{message_id}`";
    let not_json = "the body is not JSON around its placeholders; correct it, with a placeholder in place of a value or inside of a string";
    let cases = [
        (Place::Text, "{ID} {nod}", format!("`{{nod}}` is not a value; write one of {body}")),
        (Place::Text, "{body}", format!("`{{body}}` can not stand in a body; write one of {body}")),
        (Place::Text, "{secret}", format!("`{{secret}}` is not a value; write one of {body}")),
        (Place::Text, "{id", "`{id` has no `}`; close it, or write `{{` for a `{` before a letter".into()),
        (Place::Text, "{payload.x}", "`x` is not a JSON pointer; write `/x`".into()),
        (Place::Header, "{secret.x}", "secret `x` is not defined; add [secret.x]".into()),
        (Place::Header, "a\nb", "`a\\nb` holds a character that can not stand in a header; write ASCII without control characters".into()),
        (Place::Path, "/{secret.token}", "`{secret.token}` would show a secret in a path; use secrets in headers, query and body only".into()),
        (Place::Topic, "r/{secret.token}", "`{secret.token}` would show a secret in a topic; use secrets in headers, query and body only".into()),
        (Place::Host, "{secret.token}.a.b", "`{secret.token}` would show a secret in a host name; use secrets in headers, query and body only".into()),
        (Place::Topic, "r/{rest}", format!("`{{rest}}` may be several levels, which can not stand in a topic; write one of {topic}")),
        (Place::Topic, "r/{payload}", format!("`{{payload}}` can not stand in a topic; write one of {topic}")),
        (Place::Topic, "r/+/{id}", "`r/+/` holds `+`, `#` or NUL, which can not stand in a topic; write a placeholder".into()),
        (Place::Topic, "$x/{id}", "the topic starts with `$`, which is the broker's; write another".into()),
        (Place::Topic, "", "the topic is empty; write one such as `replies/{client}/{outcome}`".into()),
        (Place::Path, "x/{id}", "the path does not start with `/`; write it from the root".into()),
        (Place::Path, "/a/../{id}", "the path holds a segment `..`; write the path without it".into()),
        (Place::Path, "/a?b={id}", "path `/a?b=` holds `?`; write query parameters under `query`".into()),
        (Place::Path, "/a b", "path `/a b` holds ` `; percent-encode it".into()),
        (Place::Path, "/%2x{id}", "path `/%2x` holds a `%` that encodes nothing; write `%25`".into()),
        (Place::Host, "a{id}.b.c", "in `a{id}.b.c` a placeholder is part of a label; make it the whole label".into()),
        (Place::Host, "{id}.com", "in `{id}.com` fewer than two fixed labels follow the placeholder; write a host such as `{name}.example.com`".into()),
        (Place::Host, "a.{id}", "in `a.{id}` fewer than two fixed labels follow the placeholder; write a host such as `{name}.example.com`".into()),
        (Place::Host, "{id}.a..com", "`{id}.a..com` is not a host name; write lower-case letters, digits and `-` between the dots".into()),
        (Place::Host, "{client}.a.com", "`{client}` can not stand in a host name; write one of `{id}`".into()),
        (Place::Json, r#"{"a":{time}}"#, r#"`{time}` is text and stands outside of a JSON string; write `"{time}"`"#.into()),
        (Place::Json, r#"[{secret.token}]"#, r#"`{secret.token}` is text and stands outside of a JSON string; write `"{secret.token}"`"#.into()),
        (Place::Json, r#"{"a":1{payload}}"#, not_json.into()),
        (Place::Json, r#"["\{payload}"]"#, not_json.into()),
        (Place::Json, r#"["\u00{payload}"]"#, not_json.into()),
        (Place::Json, r#"[{payload}{payload}]"#, not_json.into()),
        (Place::Json, r#"{"a":1,"b":{"{id}":1,"{id}":2}}"#, "an object of the body has the key `{id}` twice; remove one of the two".into()),
    ];
    for (place, text, message) in cases {
        assert_eq!(parse_error(text, place), message, "{text}");
    }
    let topic = RouteTopic::parse("a/{id}").unwrap();
    assert_eq!(
        parse("{secret.token}", &topic, Place::Text, true)
            .unwrap_err()
            .0,
        "`{secret.token}` would show a secret in a reply; use secrets in headers, query and body only"
    );
}

#[test]
fn a_secret_hides_and_is_encoded_for_its_place() {
    let message = message("nodes/7/a", "");
    let cases = [
        (Place::Query, "{secret.token}", "s3cret%22token"),
        (Place::Form, "t={secret.token}", "t=s3cret%22token"),
        (Place::Json, r#"["{secret.token}"]"#, r#"["s3cret\"token"]"#),
        (
            Place::Header,
            "Bearer {secret.token}",
            "Bearer s3cret\"token",
        ),
    ];
    let topic = RouteTopic::parse("nodes/{id}/x").unwrap();
    for (place, text, expected) in cases {
        assert_eq!(
            render(text, place, &message),
            Ok(expected.as_bytes().to_vec())
        );
        let template = parse(text, &topic, place, false).unwrap();
        assert!(template.holds_secret());
        assert!(!format!("{template:?}").contains("s3cret"), "{text}");
    }
}

#[test]
fn a_secret_that_breaks_its_header_is_refused_without_showing_it() {
    let secret = |_: &str| Some(Secret::new("tok\nen"));
    let scope = Scope {
        place: Place::Header,
        captures: &[],
        secret: &secret,
        reply: false,
    };
    assert_eq!(
        Template::parse("{secret.a}", scope).unwrap_err().0,
        "secret `a` can not stand in a header: it holds a control character, which can not stand in a header; correct its value"
    );
}

#[test]
fn a_body_written_as_json_is_json() {
    let cases = [
        (r#"{"a":1}"#, Place::Json),
        (" [1]", Place::Json),
        (r#""{id}""#, Place::Json),
        ("{}", Place::Json),
        ("{payload}", Place::Text),
        ("{{a}", Place::Text),
        ("t={payload}", Place::Text),
    ];
    for (text, place) in cases {
        assert_eq!(Place::of_body(text, None), place, "{text}");
    }
}

#[test]
fn a_template_tells_what_stands_in_it() {
    let topic = RouteTopic::parse("nodes/{id}/x").unwrap();
    let template = parse("/a/{id}/{user}", &topic, Place::Path, false).unwrap();
    assert_eq!(template.names(), ["id", "user"]);
    assert_eq!(template.as_literal(), None);
    assert_eq!(template.as_str(), "/a/{id}/{user}");
    assert!(!template.holds_secret());
    let literal = parse("a b", &topic, Place::Query, false).unwrap();
    assert_eq!(literal.as_literal(), Some("a b"));
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused(text in "([{}a-z./\"\\\\]|\\{payload\\}|\\{id\\}|\\PC){0,12}") {
        let topic = RouteTopic::parse("nodes/{id}/{rest+}").unwrap();
        for place in [Place::Topic, Place::Path, Place::Query, Place::Header, Place::Json, Place::Form, Place::Text, Place::Host] {
            let _ = parse(&text, &topic, place, false);
        }
    }

    #[test]
    fn rendering_never_adds_a_segment_or_leaves_the_path(
        id in "([./\\\\%]|%2e|\\PC){0,6}", payload in prop::collection::vec(any::<u8>(), 0..8)
    ) {
        let id = id.replace(['/', '+', '#', '\0'], "");
        let message = message(&format!("nodes/{id}/a/b"), payload);
        let path = "/v1/.{id}/{id}x{payload}/{rest}/end";
        if let Ok(out) = render(path, Place::Path, &message) {
            let out = String::from_utf8(out).unwrap();
            let segments: Vec<_> = out.split('/').collect();
            prop_assert_eq!(segments.len(), 7, "{}", out);
            prop_assert!(out.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\".contains(&b)));
            for segment in &segments[1..] {
                let decoded = percent_encoding::percent_decode_str(segment).collect::<Vec<_>>();
                prop_assert!(!matches!(&*decoded, b"" | b"." | b".."));
                prop_assert!(!decoded.contains(&b'/'));
            }
        }
    }

    #[test]
    fn rendered_json_is_json_of_the_same_shape(payload in any::<String>()) {
        let message = message("nodes/7/a", payload.clone());
        if let Ok(out) = render(r#"{"a":"{payload}"}"#, Place::Json, &message) {
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(value, serde_json::json!({"a": payload}));
        }
    }

    #[test]
    fn a_rendered_header_is_one_line(payload in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(out) = render("x {payload}", Place::Header, &message("nodes/7/a", payload)) {
            prop_assert!(out.iter().all(|b| *b == b' ' || b.is_ascii_graphic()));
        }
    }
}
