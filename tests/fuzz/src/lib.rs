//! What the fuzz targets share: bytes as a source of decisions, and routes to try things on.
//!
//! Targets build what the library's structures hold from what the library itself made of a text,
//! so that a new field there does not concern them.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use mqtt_https_bridge::config::Config;
use mqtt_https_bridge::core::access::Hearing;
use mqtt_https_bridge::core::bridge::Publisher;
use mqtt_https_bridge::core::message::{Message, QoS};
use mqtt_https_bridge::core::route::Route;
use mqtt_https_bridge::core::topic::Topic;

/// Tells what a target does, where a person repeats one input (`.ci/fuzz TARGET FILE`).
pub fn tell(what: impl FnOnce() -> String) {
    static TELLS: OnceLock<bool> = OnceLock::new();
    if *TELLS.get_or_init(|| std::env::var_os("FUZZ_TELL").is_some()) {
        eprintln!("{}", what());
    }
}

/// A fuzzer's input, read from its start; all that is asked of it after its end is 0 or empty.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns whether all of it has been taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Takes a byte as a number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// Takes a byte as a choice.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Takes a byte as yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Takes a text up to a NUL; what is not UTF-8 in it is replaced.
    pub fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0);
        let (text, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// Takes what is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Returns the configuration of a text that is one.
pub fn config(text: &str) -> Config {
    let parsed = Config::parse(Path::new("/nowhere/bridge.toml"), text, &|_| None);
    parsed.unwrap_or_else(|errors| panic!("{errors:?}")).0
}

/// Returns the routes of a configuration, for a target to change.
pub fn routes(text: &str) -> Vec<Route> {
    let table = Arc::into_inner(config(text).routes).expect("nobody else holds it");
    let own = |route| Arc::into_inner(route).expect("nobody else holds it");
    table.routes.into_iter().map(own).collect()
}

/// A bridge.toml with one endpoint and so many routes on `r<number>`.
pub fn plain_routes(count: usize) -> Vec<Route> {
    let mut text = "[endpoint.api]\nurl = \"https://api.example.com\"\n".to_owned();
    for number in 0..count {
        text += &format!(
            "[[route]]\ntopic = \"r{number}\"\nendpoint = \"api\"\npath = \"/x\"\n\
             reply = \"replies/{{client}}/{{outcome}}\"\n"
        );
    }
    routes(&text)
}

/// A client that may hear any Response Topic.
pub fn publisher(client: &str, user: Option<&str>) -> Publisher {
    Publisher {
        client: client.into(),
        user: user.map(Into::into),
        reply_packet: None,
        maximum_packet: None,
        hearing: Hearing::Own,
    }
}

/// A message at QoS 0 without properties.
pub fn message(topic: Topic, payload: &[u8]) -> Message {
    Message {
        topic,
        payload: payload.to_vec().into(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: None,
    }
}

/// The obvious matcher: whether a filter's levels take a topic's.
pub fn takes(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([f, fs @ ..], [t, ts @ ..]) => (*f == "+" || f == t) && levels(fs, ts),
            _ => false,
        }
    }
    let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
    let filter: Vec<_> = filter.split('/').collect();
    let topic: Vec<_> = topic.split('/').collect();
    !hidden && levels(&filter, &topic)
}
