//! From MQTT to HTTPS and back, through the whole daemon: what the server is asked, and what the
//! node hears, byte for byte where bytes count.

#![expect(
    clippy::too_many_lines,
    reason = "long tables of what is asked and told"
)]
#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "bridge/fitting.rs"]
mod fitting;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/https.rs"]
mod https;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "bridge/order.rs"]
mod order;
#[path = "bridge/replies.rs"]
mod replies;
#[path = "bridge/requests.rs"]
mod requests;

use gateway::{Gateway, pair};
use https::{Script, Step, response};
use mqtt::{Client, publish};

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
