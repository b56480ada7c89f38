//! Topic names and topic filters (MQTT 3.1.1 §4.7, MQTT 5 §4.7): parsed once, always valid.

use std::fmt;
use std::sync::Arc;

/// Longest topic or topic filter: an MQTT UTF-8 string holds at most this many bytes (§1.5.3).
pub const MAX_BYTES: usize = 65_535;

/// A topic name: not empty, no wildcard, no NUL, at most [`MAX_BYTES`] bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// A topic filter with `+` and `#` in valid places. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

/// Why a text is not a topic or a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// A topic has at least one character (MQTT-4.7.3-1).
    Empty,
    /// Longer than [`MAX_BYTES`] (MQTT-4.7.3-3).
    TooLong,
    /// Holds U+0000 (MQTT-4.7.3-2).
    Nul,
    /// A topic name holds `+` or `#` (MQTT-3.3.2-2).
    Wildcard,
    /// `#` is not alone in the last level (MQTT-4.7.1-2).
    MisplacedHash,
    /// `+` is not alone in its level (MQTT-4.7.1-3).
    MisplacedPlus,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::TooLong => "it is longer than 65535 bytes",
            Self::Nul => "it holds a NUL character",
            Self::Wildcard => "a topic to publish to holds no `+` or `#`",
            Self::MisplacedHash => "`#` stands only as the whole last level",
            Self::MisplacedPlus => "`+` stands only as a whole level",
        })
    }
}

impl std::error::Error for TopicError {}

impl Topic {
    /// Parses a topic name.
    ///
    /// # Errors
    /// Names the first rule of MQTT §4.7 that the text breaks.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        if text.contains(['+', '#']) {
            return Err(TopicError::Wildcard);
        }
        Ok(Self(text.into()))
    }

    /// Returns a topic of the gateway's own, `$bridge/<kind>/<name>`, with the name as a [`level`].
    pub(crate) fn own(kind: &str, name: &str) -> Self {
        Self(format!("$bridge/{kind}/{}", level(name)).into())
    }

    /// Returns the topic as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the topic belongs to the server: it starts with `$` (§4.7.2).
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl TopicFilter {
    /// Parses a topic filter; `$share/…` is left to the caller.
    ///
    /// # Errors
    /// Names the first rule of MQTT §4.7 that the text breaks.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level.len() > 1 || levels.peek().is_some()) {
                return Err(TopicError::MisplacedHash);
            }
            if level.contains('+') && level.len() > 1 {
                return Err(TopicError::MisplacedPlus);
            }
        }
        Ok(Self(text.into()))
    }

    /// Returns the filter as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a topic matches.
    ///
    /// A leading wildcard does not match topics that begin with `$` (MQTT-4.7.2-1).
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut topic_levels = topic.split('/');
        for level in self.0.split('/') {
            if level == "#" {
                return true;
            }
            match topic_levels.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        topic_levels.next().is_none()
    }

    /// Returns whether some topic matches both filters.
    pub fn overlaps(&self, other: &Self) -> bool {
        let reserved = |filter: &Self| filter.0.starts_with('$');
        let wild = |filter: &Self| filter.0.starts_with(['+', '#']);
        if (reserved(self) && wild(other)) || (wild(self) && reserved(other)) {
            return false;
        }
        let (mut ours, mut theirs) = (self.0.split('/'), other.0.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
                (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
                _ => return false,
            }
        }
    }

    /// Returns whether every topic that `other` matches is matched by this filter too.
    pub fn covers(&self, other: &Self) -> bool {
        if other.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let (mut ours, mut theirs) = (self.0.split('/'), other.0.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) | (Some("#"), _) => return true,
                (Some("+"), Some(level)) if level != "#" => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }
}

/// Returns a text as one topic level, whatever it holds: letters, digits and `-._:[]` stay, any
/// other byte becomes `%` and two digits.
pub(crate) fn level(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'.' | b'_' | b':' | b'[' | b']' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        Err(TopicError::Empty)
    } else if text.len() > MAX_BYTES {
        Err(TopicError::TooLong)
    } else if text.contains('\0') {
        Err(TopicError::Nul)
    } else {
        Ok(())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).unwrap()
    }

    #[test]
    fn topics_and_filters_break_the_rule_they_are_told() {
        let topics = [
            ("", TopicError::Empty),
            ("a\0b", TopicError::Nul),
            ("a/+", TopicError::Wildcard),
            ("a#", TopicError::Wildcard),
        ];
        for (text, error) in topics {
            assert_eq!(Topic::parse(text).unwrap_err(), error, "{text:?}");
        }
        let filters = [
            ("", TopicError::Empty),
            ("a/#/b", TopicError::MisplacedHash),
            ("a#", TopicError::MisplacedHash),
            ("a+/b", TopicError::MisplacedPlus),
            ("\0", TopicError::Nul),
        ];
        for (text, error) in filters {
            assert_eq!(TopicFilter::parse(text).unwrap_err(), error, "{text:?}");
        }
        let long = "x".repeat(MAX_BYTES + 1);
        assert_eq!(Topic::parse(&long).unwrap_err(), TopicError::TooLong);
    }

    #[test]
    fn names_in_the_gateways_own_topics_are_one_level() {
        let cases = [
            ("kitchen-1", "$bridge/clients/kitchen-1"),
            ("a/b", "$bridge/clients/a%2Fb"),
            ("+", "$bridge/clients/%2B"),
            ("#", "$bridge/clients/%23"),
            ("é\n%", "$bridge/clients/%C3%A9%0A%25"),
        ];
        for (name, topic) in cases {
            assert_eq!(Topic::own("clients", name).as_str(), topic, "{name:?}");
        }
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        let cases = [
            ("a/b", "a/b", true, "itself"),
            ("a/b", "a/B", false, "case matters"),
            ("a/+", "a/b", true, "one level"),
            ("a/+", "a", false, "`+` needs its level"),
            ("a/+", "a/", true, "an empty level is a level"),
            ("+/+", "/finance", true, "§4.7.1.3"),
            ("+", "/finance", false, "§4.7.1.3"),
            ("a/#", "a", true, "`#` includes the parent"),
            ("a/#", "a/b/c", true, "any depth"),
            ("#", "$SYS/x", false, "§4.7.2"),
            ("+/x", "$SYS/x", false, "§4.7.2"),
            ("$SYS/#", "$SYS/x", true, "§4.7.2"),
            ("+/b", "é/b", true, "a first character outside ASCII"),
        ];
        for (text, topic, expected, reason) in cases {
            assert_eq!(
                filter(text).matches(topic),
                expected,
                "{text} {topic}: {reason}"
            );
        }
    }

    #[test]
    fn overlap_and_cover_agree_with_examples() {
        let cases = [
            ("a/+", "+/b", true, false),
            ("a/#", "a/+/c", true, true),
            ("a/+", "a/#", true, false),
            ("a/b", "a/c", false, false),
            ("#", "$x/y", false, false),
            ("a/#", "a", true, true),
            ("a", "a/+", false, false),
        ];
        for (left, right, overlaps, covers) in cases {
            assert_eq!(
                filter(left).overlaps(&filter(right)),
                overlaps,
                "{left} {right}"
            );
            assert_eq!(
                filter(right).overlaps(&filter(left)),
                overlaps,
                "{right} {left}"
            );
            assert_eq!(
                filter(left).covers(&filter(right)),
                covers,
                "{left} covers {right}"
            );
        }
    }

    /// The obvious matcher: recursion over levels.
    fn slow(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([f, fs @ ..], [t, ts @ ..]) => (*f == "+" || f == t) && slow(fs, ts),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_obvious_matcher(f in "[ab+#/$é]{1,8}", t in "[ab/$é]{1,8}") {
            if let Ok(filter) = TopicFilter::parse(&f) {
                let hidden = t.starts_with('$') && f.starts_with(['+', '#']);
                let levels: Vec<_> = f.split('/').collect();
                let topic: Vec<_> = t.split('/').collect();
                prop_assert_eq!(filter.matches(&t), !hidden && slow(&levels, &topic));
            }
        }

        #[test]
        fn a_topic_in_both_filters_proves_that_they_overlap(
            f in "[ab+#/]{1,6}", g in "[ab+#/]{1,6}", t in "[ab/]{1,6}"
        ) {
            if let (Ok(f), Ok(g)) = (TopicFilter::parse(&f), TopicFilter::parse(&g)) {
                if f.matches(&t) && g.matches(&t) { prop_assert!(f.overlaps(&g)); }
                if f.covers(&g) && g.matches(&t) { prop_assert!(f.matches(&t)); }
            }
        }

        #[test]
        fn parsing_keeps_the_text(text in "\\PC{0,12}") {
            if let Ok(topic) = Topic::parse(&text) { prop_assert_eq!(topic.as_str(), &text); }
            if let Ok(filter) = TopicFilter::parse(&text) { prop_assert_eq!(filter.as_str(), &text); }
        }
    }
}
