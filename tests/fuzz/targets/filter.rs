//! Topics, filters, and the tree that filters are looked up in, against obvious matchers.
//!
//! Each line is a filter to add (`+` before it), one to take away (`-`), or a topic to look up.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use mqtt_https_bridge::core::topic::{MAX_BYTES, Topic, TopicFilter};
use mqtt_https_bridge::fuzzing::{Filters, is_too_deep};
use mqtt_https_bridge_fuzz::takes;

/// Lines of one input: pairs of them are compared.
const MOST: usize = 48;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut tree = Filters::default();
    let mut model: BTreeMap<&str, (TopicFilter, usize)> = BTreeMap::new();
    for (number, line) in text.split('\n').take(MOST).enumerate() {
        if let Some(written) = line.strip_prefix('+') {
            if let Some(filter) = parse_filter(written) {
                compare(&filter, &model);
                tree.insert(&filter, number);
                model.insert(written, (filter, number));
            }
        } else if let Some(written) = line.strip_prefix('-') {
            if let Some(filter) = parse_filter(written) {
                tree.remove(&filter);
                model.remove(written);
            }
        } else if let Some(topic) = parse_topic(line) {
            look_up(&topic, &mut tree, &model);
        }
    }
    for (filter, _) in model.into_values() {
        tree.remove(&filter);
    }
    assert!(tree.is_empty(), "nodes without values are left");
});

/// Parses a filter as the rules of §4.7 read; `None` also for what is deeper than the hub takes.
fn parse_filter(text: &str) -> Option<TopicFilter> {
    let levels: Vec<_> = text.split('/').collect();
    let (last, before) = levels.split_last().unwrap();
    let plus = |level: &&str| !level.contains('+') || *level == "+";
    let valid = text_is_valid(text)
        && levels.iter().all(plus)
        && before.iter().all(|level| !level.contains('#'))
        && (!last.contains('#') || *last == "#");
    let parsed = TopicFilter::parse(text);
    assert_eq!(parsed.is_ok(), valid, "{text:?}: {parsed:?}");
    let filter = parsed.ok()?;
    assert_eq!(filter.as_str(), text);
    assert_eq!(filter.to_string(), text);
    (!is_too_deep(text)).then_some(filter)
}

fn parse_topic(text: &str) -> Option<Topic> {
    let valid = text_is_valid(text) && !text.contains(['+', '#']);
    let parsed = Topic::parse(text);
    assert_eq!(parsed.is_ok(), valid, "{text:?}: {parsed:?}");
    let topic = parsed.ok()?;
    assert_eq!(topic.as_str(), text);
    assert_eq!(topic.is_reserved(), text.starts_with('$'));
    Some(topic)
}

fn text_is_valid(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_BYTES && !text.contains('\0')
}

fn look_up(topic: &Topic, tree: &mut Filters, model: &BTreeMap<&str, (TopicFilter, usize)>) {
    let text = topic.as_str();
    let mut expected = Vec::new();
    for (filter, number) in model.values() {
        let matches = takes(filter.as_str(), text);
        assert_eq!(filter.matches(text), matches, "{filter:?} {text:?}");
        if matches {
            expected.push((filter, *number));
        }
    }
    for (one, _) in &expected {
        for (filter, _) in model.values().filter(|(filter, _)| filter.covers(one)) {
            assert!(
                filter.matches(text),
                "{filter:?} covers {one:?}, not {text:?}"
            );
        }
        for (other, _) in &expected {
            assert!(one.overlaps(other), "{one:?} {other:?} both take {text:?}");
        }
    }
    let mut numbers: Vec<_> = expected.iter().map(|(_, number)| *number).collect();
    let mut found = tree.find(text);
    numbers.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, numbers, "{text:?}");
    assert_eq!(tree.matches(text), !numbers.is_empty(), "{text:?}");
}

fn compare(filter: &TopicFilter, model: &BTreeMap<&str, (TopicFilter, usize)>) {
    assert!(filter.covers(filter), "{filter:?} covers itself");
    for (other, _) in model.values() {
        assert_eq!(
            filter.overlaps(other),
            other.overlaps(filter),
            "{filter:?} {other:?}"
        );
        if filter.covers(other) {
            assert!(filter.overlaps(other), "{filter:?} covers {other:?}");
        }
    }
}
