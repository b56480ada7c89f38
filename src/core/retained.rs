//! The last retained message of each topic.
//!
//! Decides what is kept within its limits and which stored message a filter reaches next. The
//! store is one ordered map: keys are topics with NUL in place of `/` (no topic holds NUL), so
//! that a topic's levels follow it directly, and a filter is matched by jumping over everything
//! that can't match. A subscriber is served from a `Cursor`, one message at a time: nothing is
//! copied, and no number of retained messages needs memory in a session.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Instant;

use crate::core::archive::value::RetainedValue;
use crate::core::archive::{Archive, Record};
use crate::core::memory::{Charge, ENTRY, Meter};
use crate::core::message::Message;
use crate::core::store::Kind;
use crate::core::subscriptions::FilterTree;
use crate::core::topic::TopicFilter;

/// Retained messages by topic.
#[derive(Debug)]
pub(crate) struct Retained {
    messages: BTreeMap<Box<str>, Entry>,
    bytes: usize,
    limits: Limits,
    meter: Meter,
    /// Number of the latest change; see [`Cursor`].
    changes: u64,
    /// How many have an expiry.
    expiring: usize,
    /// Something was refused since there was room the last time.
    refusing: bool,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Messages at most.
    pub(crate) messages: usize,
    /// Bytes of topics, payloads and properties at most.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    expires: Option<Instant>,
    change: u64,
    _charge: Charge,
    record: Option<Record>,
    /// It is the gateway's own, no client's.
    own: bool,
    /// The store has something else, or nothing.
    unsaved: bool,
}

/// What came of storing a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is kept.
    Keep,
    /// There is no room; the first time since there was some.
    Full,
    /// There is still no room.
    StillFull,
}

/// Where a subscriber is among the retained messages that match its filter.
///
/// It sees what was retained when it was made. What was replaced since comes to the subscriber as
/// an ordinary message, later: so the order of each topic is kept, and nothing comes twice.
#[derive(Debug)]
pub(crate) struct Cursor {
    filter: TopicFilter,
    until: u64,
    from: Bound<String>,
}

impl Cursor {
    /// Returns the filter it was made for.
    pub(crate) fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// Returns whether it is past the last message.
    pub(crate) fn is_at_end(&self) -> bool {
        self.from == Bound::Unbounded
    }
}

/// A stored message and when it expires.
pub(crate) type Found<'s> = (&'s Message, Option<Instant>);

impl Retained {
    /// Keeps no more than this from now on; what is there already stays.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Makes an empty store.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            messages: BTreeMap::new(),
            bytes: 0,
            limits,
            meter: Meter::default(),
            changes: 0,
            expiring: 0,
            refusing: false,
        }
    }

    /// Counts what is kept, and keeps nothing new while memory is short.
    pub(crate) fn with_meter(mut self, meter: Meter) -> Self {
        self.meter = meter;
        self
    }

    /// Keeps a message in place of the topic's former one; an empty payload deletes that one.
    ///
    /// Without room the topic has no retained message any more: the former one would be wrong.
    pub(crate) fn store(&mut self, message: &Message, now: Instant) -> Stored {
        let key = key(message.topic.as_str());
        let record = self.remove(&key);
        if message.payload.is_empty() {
            return Stored::Keep;
        }
        let bytes = message.bytes();
        if !self.has_room(bytes) && self.expiring > 0 {
            self.remove_expired(now);
        }
        if !self.has_room(bytes) {
            let again = std::mem::replace(&mut self.refusing, true);
            return if again {
                Stored::StillFull
            } else {
                Stored::Full
            };
        }
        self.refusing = false;
        self.changes += 1;
        let expires = message.expires(now);
        self.bytes += bytes;
        self.expiring += usize::from(expires.is_some());
        let entry = Entry {
            message: message.clone(),
            expires,
            change: self.changes,
            _charge: self.meter.charge(key.len() + ENTRY),
            record,
            own: false,
            // What the gateway says of itself is said anew after a restart.
            unsaved: !message.topic.is_reserved(),
        };
        self.messages.insert(key, entry);
        Stored::Keep
    }

    /// Takes note that the message of a topic, which has just been stored, is the gateway's own.
    pub(crate) fn set_own(&mut self, topic: &str) {
        if let Some(entry) = self.messages.get_mut(&key(topic)) {
            entry.own = true;
        }
    }

    /// Deletes what clients retained where only the gateway may publish, and returns how many.
    pub(crate) fn expel(&mut self, reserved: &FilterTree<()>) -> usize {
        let foreign = |entry: &Entry| !entry.own && reserved.matches(entry.message.topic.as_str());
        let messages = self.messages.iter().filter(|(_, entry)| foreign(entry));
        let keys: Vec<_> = messages.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.remove(key);
        }
        keys.len()
    }

    /// Makes a cursor over the messages that match a filter now.
    pub(crate) fn cursor(&self, filter: TopicFilter) -> Cursor {
        let levels = filter.as_str().split('/');
        let fixed: Vec<_> = levels
            .take_while(|level| !matches!(*level, "+" | "#"))
            .collect();
        Cursor {
            from: Bound::Included(fixed.join("\0")),
            until: self.changes,
            filter,
        }
    }

    /// Returns the cursor's next message, `None` after the last one, or when nothing is left of
    /// `steps`: each stored message that is looked at takes one.
    pub(crate) fn next(
        &mut self,
        cursor: &mut Cursor,
        steps: &mut usize,
        now: Instant,
    ) -> Option<Found<'_>> {
        let found = loop {
            *steps = steps.checked_sub(1)?;
            let from = match &cursor.from {
                Bound::Included(key) => Bound::Included(key.as_str()),
                Bound::Excluded(key) => Bound::Excluded(key.as_str()),
                Bound::Unbounded => return None,
            };
            let next = self
                .messages
                .range::<str, _>((from, Bound::Unbounded))
                .next();
            let Some((key, entry)) = next else {
                cursor.from = Bound::Unbounded;
                return None;
            };
            match step(&cursor.filter, key) {
                Step::End => cursor.from = Bound::Unbounded,
                Step::Jump(to) => cursor.from = Bound::Included(to),
                Step::Match => {
                    let key = key.clone();
                    let expired = entry.expires.is_some_and(|expires| expires <= now);
                    let newer = entry.change > cursor.until;
                    cursor.from = Bound::Excluded(key.to_string());
                    if expired {
                        self.remove(&key);
                    } else if !newer {
                        break key;
                    }
                }
            }
        };
        let entry = self.messages.get(&found)?;
        Some((&entry.message, entry.expires))
    }

    /// Returns how many messages are kept.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.messages.len() < self.limits.messages
            && self.bytes.saturating_add(bytes) <= self.limits.bytes
            && !self.meter.is_tight()
    }

    /// Stores the message of a topic.
    pub(crate) fn save(&mut self, topic: &str, archive: &mut Archive) {
        if let Some(entry) = self.messages.get_mut(&key(topic)) {
            entry.save(archive);
        }
    }

    /// Stores all that is not stored, or all `anew`.
    pub(crate) fn save_all(&mut self, anew: bool, archive: &mut Archive) {
        for entry in self.messages.values_mut() {
            entry.unsaved |= anew && entry.record.is_some();
            entry.save(archive);
        }
    }

    /// Takes up a message that was stored before a restart. Returns whether there was room.
    pub(crate) fn restore(
        &mut self,
        message: &Message,
        own: bool,
        expires: Option<Instant>,
        record: Record,
        now: Instant,
    ) -> bool {
        self.store(message, now);
        let key = key(message.topic.as_str());
        let Some(entry) = self.messages.get_mut(&key) else {
            return false;
        };
        self.expiring -= usize::from(entry.expires.is_some());
        self.expiring += usize::from(expires.is_some());
        entry.expires = expires;
        entry.record = Some(record);
        entry.own = own;
        entry.unsaved = false;
        true
    }

    fn remove(&mut self, key: &str) -> Option<Record> {
        let entry = self.messages.remove(key)?;
        self.bytes -= entry.message.bytes();
        self.expiring -= usize::from(entry.expires.is_some());
        entry.record
    }

    fn remove_expired(&mut self, now: Instant) {
        let expired = |entry: &Entry| entry.expires.is_some_and(|expires| expires <= now);
        let messages = self.messages.iter().filter(|(_, entry)| expired(entry));
        let keys: Vec<_> = messages.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.remove(&key);
        }
    }
}

impl Entry {
    fn save(&mut self, archive: &mut Archive) {
        if !std::mem::take(&mut self.unsaved) {
            return;
        }
        let record = self
            .record
            .get_or_insert_with(|| archive.make(Kind::Retained));
        let value = RetainedValue {
            message: self.message.clone(),
            expires: self.expires.and_then(|at| archive.unix_time(at)),
            own: self.own,
        };
        archive.put(record.key(), value.encode());
    }
}

/// What to do with a key, given that all keys before it are done with.
enum Step {
    /// It matches.
    Match,
    /// It does not; the next that can is at or after this text, which is after the key.
    Jump(String),
    /// It does not, nor does any after it.
    End,
}

/// Puts NUL in place of `/`, so that keys sort level by level.
fn key(topic: &str) -> Box<str> {
    topic.replace('/', "\0").into()
}

fn step(filter: &TopicFilter, key: &str) -> Step {
    if key.starts_with('$') && filter.as_str().starts_with(['+', '#']) {
        // `%` is the character after `$` (MQTT-4.7.2-1).
        return Step::Jump("%".to_owned());
    }
    let mut ours = key.split('\0');
    // How much of the key the levels up to the last `+` take.
    let mut last_plus = None;
    let mut taken = 0;
    for level in filter.as_str().split('/') {
        if level == "#" {
            return Step::Match;
        }
        let Some(own) = ours.next() else {
            let level = if level == "+" { "" } else { level };
            return Step::Jump(format!("{key}\0{level}"));
        };
        if level == "+" {
            last_plus = Some(taken + own.len());
        } else if own < level {
            let before = key.get(..taken).unwrap_or_default();
            return Step::Jump(format!("{before}{level}"));
        } else if own > level {
            return past(key, last_plus);
        }
        taken += own.len() + 1;
    }
    match ours.next() {
        None => Step::Match,
        Some(_) => past(key, last_plus),
    }
}

/// Jumps past everything that begins with the levels up to the last `+`: the key's own further
/// levels start with NUL, so U+0001 behind the prefix comes after all of them.
fn past(key: &str, last_plus: Option<usize>) -> Step {
    match last_plus.and_then(|end| key.get(..end)) {
        Some(prefix) => Step::Jump(format!("{prefix}\u{1}")),
        None => Step::End,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::core::message::{Properties, QoS};
    use crate::core::topic::Topic;

    const WIDE: Limits = Limits {
        messages: 1000,
        bytes: 100_000,
    };

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to start from"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn message(topic: &str, payload: &str) -> Message {
        Message {
            topic: Topic::parse(topic).unwrap(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: QoS::AtMostOnce,
            retain: true,
            properties: None,
        }
    }

    fn expiring(topic: &str, seconds: u32) -> Message {
        let properties = Properties {
            expiry_interval: Some(seconds),
            ..Properties::default()
        };
        Message {
            properties: Some(Arc::new(properties)),
            ..message(topic, "x")
        }
    }

    fn all(store: &mut Retained, filter: &str, now: Instant) -> Vec<String> {
        let mut cursor = store.cursor(TopicFilter::parse(filter).unwrap());
        let mut topics = Vec::new();
        let mut steps = usize::MAX;
        while let Some((message, _)) = store.next(&mut cursor, &mut steps, now) {
            topics.push(message.topic.to_string());
        }
        topics
    }

    #[test]
    fn a_filter_reaches_what_it_matches_and_nothing_else() {
        let now = start();
        let mut store = Retained::new(WIDE);
        for topic in [
            "a", "a/b", "a/b/c", "a/c", "a/", "/a", "é/b", "$x/b", "b/b", "a!/b",
        ] {
            store.store(&message(topic, "x"), now);
        }
        let cases: &[(&str, &[&str])] = &[
            ("a/b", &["a/b"]),
            (
                "#",
                &["/a", "a", "a/", "a/b", "a/b/c", "a/c", "a!/b", "b/b", "é/b"],
            ),
            ("+/b", &["a/b", "a!/b", "b/b", "é/b"]),
            ("a/#", &["a", "a/", "a/b", "a/b/c", "a/c"]),
            ("a/+", &["a/", "a/b", "a/c"]),
            ("a/+/c", &["a/b/c"]),
            ("$x/#", &["$x/b"]),
            ("+", &["a"]),
            ("+/+", &["/a", "a/", "a/b", "a/c", "a!/b", "b/b", "é/b"]),
            ("c/#", &[]),
        ];
        for (filter, expected) in cases {
            assert_eq!(all(&mut store, filter, now), *expected, "{filter}");
        }
    }

    #[test]
    fn an_empty_payload_deletes() {
        let now = start();
        let mut store = Retained::new(WIDE);
        store.store(&message("a", "x"), now);
        store.store(&message("a", ""), now);
        assert_eq!((store.len(), store.bytes), (0, 0));
    }

    #[test]
    fn without_room_new_topics_are_refused_and_said_once() {
        let now = start();
        let limits = Limits {
            messages: 2,
            bytes: 20,
        };
        let mut store = Retained::new(limits);
        assert_eq!(store.store(&message("a", "x"), now), Stored::Keep);
        assert_eq!(store.store(&message("b", "x"), now), Stored::Keep);
        assert_eq!(store.store(&message("c", "x"), now), Stored::Full);
        assert_eq!(store.store(&message("d", "x"), now), Stored::StillFull);
        assert_eq!(
            store.store(&message("a", "y"), now),
            Stored::Keep,
            "replaces"
        );
        let large = "y".repeat(30);
        assert_eq!(store.store(&message("a", &large), now), Stored::Full);
        assert_eq!(
            all(&mut store, "#", now),
            ["b"],
            "the former `a` would be wrong"
        );
    }

    #[test]
    fn expired_messages_are_not_found_and_make_room() {
        let now = start();
        let limits = Limits {
            messages: 1,
            bytes: 1000,
        };
        let mut store = Retained::new(limits);
        store.store(&expiring("a", 10), now);
        let later = now + Duration::from_secs(10);
        assert_eq!(store.store(&message("b", "x"), later), Stored::Keep);
        store.store(&message("b", ""), later);
        store.store(&expiring("c", 10), now);
        assert_eq!(all(&mut store, "#", later), [""; 0]);
        assert_eq!((store.len(), store.bytes, store.expiring), (0, 0, 0));
    }

    #[test]
    fn a_cursor_skips_what_was_replaced_after_it_was_made() {
        let now = start();
        let mut store = Retained::new(WIDE);
        store.store(&message("a", "1"), now);
        store.store(&message("b", "1"), now);
        let mut cursor = store.cursor(TopicFilter::parse("#").unwrap());
        store.store(&message("a", "2"), now);
        let mut steps = usize::MAX;
        let (found, _) = store.next(&mut cursor, &mut steps, now).unwrap();
        assert_eq!(found.topic.as_str(), "b");
        assert!(store.next(&mut cursor, &mut steps, now).is_none());
    }

    proptest! {
        #[test]
        fn jumping_agrees_with_looking_at_everything(
            topics in proptest::collection::vec("[ab$é!]{0,2}(/[ab$é!]{0,2}){0,3}", 0..20),
            filter in "[ab+#/$é]{1,7}",
        ) {
            let now = start();
            let mut store = Retained::new(WIDE);
            let topics: std::collections::BTreeSet<_> =
                topics.into_iter().filter(|topic| !topic.is_empty()).collect();
            for topic in &topics {
                store.store(&message(topic, "x"), now);
            }
            if let Ok(parsed) = TopicFilter::parse(&filter) {
                let mut expected: Vec<_> =
                    topics.iter().filter(|topic| parsed.matches(topic)).cloned().collect();
                let mut found = all(&mut store, &filter, now);
                found.sort();
                expected.sort();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
