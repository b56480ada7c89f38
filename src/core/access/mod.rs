//! Who may publish and subscribe to what.
//!
//! Decides what a rule means for one session. Which rules a user has is the configuration's
//! matter; which topics nobody may publish to (`$…`, replies) is the hub's.

mod client_ids;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::core::topic::{Topic, TopicError, TopicFilter};

pub use client_ids::{Bindings, ClientIdError, ClientIds, MAX_CLIENT_ID};

/// Who a connection is, after its credentials were checked.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user, `None` for an anonymous client.
    pub user: Option<Arc<str>>,
    /// The rules as configured, not yet expanded for this client.
    pub rules: Arc<Rules>,
    /// The user's own `reply_packet`, in bytes.
    pub reply_packet: Option<usize>,
    /// Whether nobody else may have this client ID: then a session that somebody else began
    /// under it, before it was bound, has to make way.
    pub owns_client_id: bool,
    /// Where it comes from, `None` if that is not known.
    pub peer: Option<SocketAddr>,
}

/// Access rules as configured: filters in which `{user}` and `{client}` may stand, and exceptions
/// from them, which begin with `!`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Filters a client may publish to.
    pub publish: Vec<String>,
    /// Filters a client may subscribe to.
    pub subscribe: Vec<String>,
}

/// The rules of one session, expanded with its user and client ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Filters the session may publish to.
    pub publish: Vec<TopicFilter>,
    /// Filters the session may subscribe to.
    pub subscribe: Vec<TopicFilter>,
    /// Those of them that are the user's own, by a `{user}` in the rule.
    pub own: Vec<TopicFilter>,
    /// Exceptions from what it may publish to.
    pub not_publish: Vec<TopicFilter>,
    /// Exceptions from what it may subscribe to, and hear through a wider filter.
    pub not_subscribe: Vec<TopicFilter>,
}

/// How far a session may hear a Response Topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hearing {
    /// Not at all, or there is none.
    #[default]
    Deny,
    /// It may subscribe to it, as others may.
    Allow,
    /// It is in a tree of the user's own, by a `{user}` in the rule. A `{client}` does not make a
    /// tree one's own: anybody may choose that client ID.
    Own,
}

/// Why a text is not an access rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// It is not a topic filter.
    Filter(TopicError),
    /// A level is a placeholder that rules do not know.
    Unknown(String),
    /// `{user}` or `{client}` is only a part of its level.
    PartOfLevel(String),
    /// It starts with `$share/`: rules speak of the filter behind that.
    Shared,
    /// It is an exception with a placeholder: one that comes to nothing would allow what it was
    /// to keep away.
    OpenException,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(error) => error.fmt(f),
            Self::Unknown(level) => {
                write!(
                    f,
                    "`{level}` is not known here, only {{user}} and {{client}}"
                )
            }
            Self::PartOfLevel(level) => {
                write!(
                    f,
                    "a placeholder stands only as a whole level, not in `{level}`"
                )
            }
            Self::Shared => {
                f.write_str("`$share/<group>/` is left out: the filter behind it decides")
            }
            Self::OpenException => f.write_str("an exception holds no {user} and {client}"),
        }
    }
}

impl std::error::Error for RuleError {}

const USER: &str = "{user}";
const CLIENT: &str = "{client}";
const EXCEPTION: char = '!';

impl Rules {
    /// Returns whether a rule, with whatever name in place of its placeholders, may grant hearing
    /// a topic. Exceptions are not looked at.
    pub(crate) fn may_let_hear(&self, topic: &str) -> bool {
        let matches = |rule: &String| {
            let open = rule.replace(USER, "+").replace(CLIENT, "+");
            TopicFilter::parse(&open).is_ok_and(|filter| filter.matches(topic))
        };
        self.subscribe.iter().any(matches)
    }

    /// Checks a rule as written in the configuration.
    ///
    /// # Errors
    /// Names the first thing that keeps it from being a rule.
    pub fn check(rule: &str) -> Result<(), RuleError> {
        if let Some(exception) = rule.strip_prefix(EXCEPTION) {
            return match exception.split('/').any(is_placeholder) {
                true => Err(RuleError::OpenException),
                false => Self::check(exception),
            };
        }
        if rule == "$share" || rule.starts_with("$share/") {
            return Err(RuleError::Shared);
        }
        for level in rule.split('/').filter(|level| !is_placeholder(level)) {
            if level.contains(USER) || level.contains(CLIENT) {
                return Err(RuleError::PartOfLevel(level.to_owned()));
            }
            if level.starts_with('{') && level.ends_with('}') {
                return Err(RuleError::Unknown(level.to_owned()));
            }
        }
        // A placeholder's own text is a valid level: what is left is a filter or it is not.
        TopicFilter::parse(rule).map_err(RuleError::Filter)?;
        Ok(())
    }

    /// Returns what the rules grant to one session.
    ///
    /// A rule whose placeholder has no usable value (none, empty, or with `/ + #` or NUL, or `$`
    /// first in the first level) grants nothing: it must not become wider than it was written.
    pub fn expand(&self, user: Option<&str>, client: &str) -> Grants {
        let expand = |rules: &[String]| {
            let rules = rules.iter().filter(|rule| !rule.starts_with(EXCEPTION));
            rules
                .filter_map(|rule| expand(rule, user, client))
                .collect()
        };
        let exceptions = |rules: &[String]| {
            let rules = rules.iter().filter_map(|rule| rule.strip_prefix(EXCEPTION));
            rules
                .filter_map(|rule| TopicFilter::parse(rule).ok())
                .collect()
        };
        let is_own = |rule: &&String| rule.split('/').any(|level| level == USER);
        let own: Vec<_> = self.subscribe.iter().filter(is_own).cloned().collect();
        Grants {
            publish: expand(&self.publish),
            subscribe: expand(&self.subscribe),
            own: expand(&own),
            not_publish: exceptions(&self.publish),
            not_subscribe: exceptions(&self.subscribe),
        }
    }
}

fn is_placeholder(level: &str) -> bool {
    level == USER || level == CLIENT
}

fn expand(rule: &str, user: Option<&str>, client: &str) -> Option<TopicFilter> {
    if !rule.split('/').any(is_placeholder) {
        return TopicFilter::parse(rule).ok();
    }
    let mut text = String::with_capacity(rule.len() + client.len());
    for (index, level) in rule.split('/').enumerate() {
        if index > 0 {
            text.push('/');
        }
        let value = match level {
            USER => usable(user?)?,
            CLIENT => usable(client)?,
            other => other,
        };
        if index == 0 && is_placeholder(level) && value.starts_with('$') {
            return None;
        }
        text.push_str(value);
    }
    TopicFilter::parse(&text).ok()
}

fn usable(value: &str) -> Option<&str> {
    (!value.is_empty() && !value.contains(['/', '+', '#', '\0'])).then_some(value)
}

impl Grants {
    /// Returns whether some rule matches a topic to publish to.
    pub fn may_publish(&self, topic: &Topic) -> bool {
        matches(&self.publish, topic.as_str()) && !matches(&self.not_publish, topic.as_str())
    }

    /// Returns whether some rule lets messages of a topic be delivered.
    pub fn may_hear(&self, topic: &Topic) -> bool {
        matches(&self.subscribe, topic.as_str()) && !self.withhold(topic)
    }

    /// Returns whether an exception keeps messages of a topic away, through whatever filter.
    pub fn withhold(&self, topic: &Topic) -> bool {
        matches(&self.not_subscribe, topic.as_str())
    }

    /// Returns whether one rule covers all that a filter matches, and no exception does.
    pub fn may_subscribe(&self, filter: &TopicFilter) -> bool {
        let covers = |rules: &[TopicFilter]| rules.iter().any(|rule| rule.covers(filter));
        covers(&self.subscribe) && !covers(&self.not_subscribe)
    }

    /// Returns how far the session may hear a Response Topic: it has to be a topic, not the
    /// server's own, and granted.
    pub fn hearing(&self, response_topic: &str) -> Hearing {
        let granted = |rules: &[TopicFilter]| {
            matches(rules, response_topic) && !matches(&self.not_subscribe, response_topic)
        };
        if response_topic.starts_with('$') || Topic::parse(response_topic).is_err() {
            Hearing::Deny
        } else if granted(&self.own) {
            Hearing::Own
        } else if granted(&self.subscribe) {
            Hearing::Allow
        } else {
            Hearing::Deny
        }
    }
}

fn matches(filters: &[TopicFilter], topic: &str) -> bool {
    filters.iter().any(|filter| filter.matches(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Vec<TopicFilter> {
        texts
            .iter()
            .map(|text| TopicFilter::parse(text).unwrap())
            .collect()
    }

    fn expanded(rule: &str, user: Option<&str>, client: &str) -> Option<String> {
        expand(rule, user, client).map(|filter| filter.as_str().to_owned())
    }

    #[test]
    fn placeholders_become_exactly_one_level_or_the_rule_grants_nothing() {
        let cases = [
            (
                "nodes/{user}/#",
                Some("kitchen"),
                "c",
                Some("nodes/kitchen/#"),
                "plain",
            ),
            ("n/{client}/{user}", Some("u"), "c", Some("n/c/u"), "both"),
            ("n/{user}", None, "c", None, "anonymous has no user"),
            ("n/{user}", Some(""), "c", None, "empty"),
            (
                "n/{user}/x",
                Some("a/b"),
                "c",
                None,
                "a slash would add a level",
            ),
            (
                "n/{client}",
                Some("u"),
                "#",
                None,
                "a wildcard would widen it",
            ),
            (
                "n/{client}",
                Some("u"),
                "+",
                None,
                "a wildcard would widen it",
            ),
            ("n/{client}", Some("u"), "a\0", None, "NUL is no topic"),
            (
                "{client}/#",
                Some("u"),
                "$bridge",
                None,
                "the server's topics need their own rule",
            ),
            (
                "n/{client}",
                Some("u"),
                "$bridge",
                Some("n/$bridge"),
                "harmless further down",
            ),
            (
                "n/{client}",
                Some("u"),
                "é",
                Some("n/é"),
                "any other character",
            ),
            (
                "n/+",
                None,
                "",
                Some("n/+"),
                "without placeholders it always holds",
            ),
            (
                "n/{user}",
                Some("{client}"),
                "c",
                Some("n/{client}"),
                "values are not expanded",
            ),
        ];
        for (rule, user, client, expected, reason) in cases {
            assert_eq!(
                expanded(rule, user, client).as_deref(),
                expected,
                "{rule}: {reason}"
            );
        }
    }

    #[test]
    fn exceptions_narrow_what_other_rules_grant() {
        let rules = Rules {
            publish: ["#", "!a/b"].map(str::to_owned).to_vec(),
            subscribe: ["#", "!secret/#", "!n/+/x"].map(str::to_owned).to_vec(),
        };
        let grants = rules.expand(None, "c");
        let topic = |text| Topic::parse(text).unwrap();
        assert!(grants.may_publish(&topic("a/c")) && !grants.may_publish(&topic("a/b")));
        let cases = [
            ("secret/#", false, "the exception itself"),
            ("secret/+/a", false, "within it"),
            ("n/1/x", false, "within the other"),
            ("#", true, "wider than both: they are kept out of it"),
            ("n/1/+", true, "wider"),
            ("other", true, "elsewhere"),
        ];
        for (text, expected, reason) in cases {
            let filter = TopicFilter::parse(text).unwrap();
            assert_eq!(grants.may_subscribe(&filter), expected, "{text}: {reason}");
        }
        for (text, heard) in [("secret", false), ("n/1/x", false), ("n/1/y", true)] {
            assert_eq!(grants.may_hear(&topic(text)), heard, "{text}");
            assert_eq!(grants.withhold(&topic(text)), !heard, "{text}");
            assert_eq!(grants.hearing(text) == Hearing::Allow, heard, "{text}");
        }
    }

    #[test]
    fn rules_are_checked_as_they_are_written() {
        let cases = [
            ("nodes/{user}/#", Ok(())),
            ("a{b/c}", Ok(())),
            ("!secret/#", Ok(())),
            ("!a/#/b", Err("`#` stands only as the whole last level")),
            (
                "!n/{user}",
                Err("an exception holds no {user} and {client}"),
            ),
            ("", Err("it is empty")),
            ("a/#/b", Err("`#` stands only as the whole last level")),
            (
                "n/{usr}",
                Err("`{usr}` is not known here, only {user} and {client}"),
            ),
            (
                "n/x-{user}",
                Err("a placeholder stands only as a whole level, not in `x-{user}`"),
            ),
            (
                "$share/g/a",
                Err("`$share/<group>/` is left out: the filter behind it decides"),
            ),
        ];
        for (rule, expected) in cases {
            let result = Rules::check(rule).map_err(|error| error.to_string());
            assert_eq!(result, expected.map_err(str::to_owned), "{rule}");
        }
    }

    #[test]
    fn subscribing_needs_one_rule_that_covers_the_whole_filter() {
        let grants = Grants {
            publish: filters(&["nodes/a/#"]),
            subscribe: filters(&["replies/a/+", "#", "$bridge/status"]),
            ..Grants::default()
        };
        let cases = [
            ("replies/a/b", true, "within a rule"),
            ("#", true, "the same as a rule"),
            ("$bridge/status", true, "granted in so many words"),
            ("$bridge/#", false, "`#` does not cover the server's topics"),
            ("$SYS/x", false, "nor does it here"),
        ];
        for (text, expected, reason) in cases {
            let filter = TopicFilter::parse(text).unwrap();
            assert_eq!(grants.may_subscribe(&filter), expected, "{text}: {reason}");
        }
        let topic = |text| Topic::parse(text).unwrap();
        assert!(grants.may_publish(&topic("nodes/a/x")));
        assert!(!grants.may_publish(&topic("nodes/b/x")));
    }

    #[test]
    fn a_response_topic_must_be_a_topic_that_rules_grant() {
        let rules = Rules {
            publish: Vec::new(),
            subscribe: ["replies/{user}/+", "to/{client}", "all/+", "$bridge/#"]
                .map(str::to_owned)
                .to_vec(),
        };
        let grants = rules.expand(Some("u"), "c");
        let cases = [
            ("replies/u/x", Hearing::Own, "the user's own tree"),
            ("replies/v/x", Hearing::Deny, "another's"),
            ("to/c", Hearing::Allow, "anybody may take that client ID"),
            ("all/x", Hearing::Allow, "granted"),
            ("all/+", Hearing::Deny, "a filter is no topic"),
            (
                "$bridge/x",
                Hearing::Deny,
                "never the server's own, though readable",
            ),
            ("other/x", Hearing::Deny, "not granted"),
            ("", Hearing::Deny, "empty"),
        ];
        for (topic, expected, reason) in cases {
            assert_eq!(grants.hearing(topic), expected, "{topic}: {reason}");
        }
    }
}
