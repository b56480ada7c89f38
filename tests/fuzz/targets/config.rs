//! Any text as bridge.toml: a configuration, or errors that point into the text.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mqtt_https_bridge::config::{Config, Origin};
use mqtt_https_bridge::core::topic::Topic;
use mqtt_https_bridge_fuzz::{message, publisher};

/// A folder that is not there: users and secrets have to be in the text or the environment.
const FILE: &str = "/nowhere/bridge.toml";

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    // What an editor makes of the text; `lines` knows LF and CRLF, as the messages do.
    let lines = text.split('\n').count();
    let environment = |name: &str| (name == "TOKEN").then(|| "s3cret".to_owned());
    match Config::parse(Path::new(FILE), &text, &environment) {
        Err(errors) => {
            assert!(!errors.is_empty(), "neither a configuration nor an error");
            for error in &errors {
                check(&error.origin, &error.text, lines);
                assert!(error.to_string().ends_with(&error.text));
            }
            let again = Config::parse(Path::new(FILE), &text, &environment);
            assert_eq!(again.err(), Some(errors), "the same text, other errors");
        }
        Ok((config, warnings)) => {
            for warning in &warnings {
                check(&warning.origin, &warning.text, lines);
            }
            use_it(&config);
        }
    }
});

fn check(origin: &Origin, text: &str, lines: usize) {
    assert!(!text.is_empty());
    assert!(!text.contains('\n'), "more than one line: {text:?}");
    if &*origin.file == FILE {
        assert!(
            origin.line <= lines,
            "line {} of {lines}: {text}",
            origin.line
        );
    } else {
        assert!(!origin.file.is_empty());
    }
}

/// Lets each route take a message of its own topic.
fn use_it(config: &Config) {
    for route in &config.routes.routes {
        let sample = route.topic.filter.as_str().replace(['+', '#'], "1");
        let Ok(topic) = Topic::parse(&sample) else {
            continue;
        };
        let (_, taken) = config
            .routes
            .first_match(topic.as_str())
            .expect("it is the route's own");
        assert!(
            !taken.reply.filter().matches(topic.as_str()),
            "a reply would be a request"
        );
        for payload in ["", "1", "{\"a\":[\"\\n\"]}"] {
            let message = message(topic.clone(), payload.as_bytes());
            let preview = config
                .routes
                .preview(&message, &publisher("client", Some("user")), "gateway", 0)
                .expect("the route takes it");
            if let Ok(preview) = preview {
                assert!(preview.url.starts_with("https://"), "{}", preview.url);
            }
        }
    }
}
