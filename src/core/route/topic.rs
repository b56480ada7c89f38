//! Topics of routes: fixed levels, captures, and the rest.

use crate::core::route::RouteError;
use crate::core::template::RESERVED;
use crate::core::topic::TopicFilter;

/// Most levels of a route's topic: bounds the depth of the table's index.
const MAX_LEVELS: usize = 64;

/// A route's topic: levels that are fixed, captured (`{name}`) or the rest (`{name+}`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTopic {
    /// As configured.
    pub text: String,
    /// The same as a topic filter: captures are `+`, the rest is `#`.
    ///
    /// It matches one topic more than the route: `a/#` matches `a`, `a/{rest+}` does not, since
    /// the rest is at least one level.
    pub filter: TopicFilter,
    /// The captures in the order of their levels.
    pub captures: Vec<Capture>,
}

/// A named part of a route's topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The name without braces: a lower-case letter, then lower-case letters, digits and `_`.
    pub name: String,
    /// The level at which it stands, from 0.
    pub level: usize,
    /// Whether it takes this level and all that follow (`{name+}`), at least one.
    pub rest: bool,
}

/// One level of a route's topic, as the filter says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level<'a> {
    /// This name.
    Fixed(&'a str),
    /// Any one level, also an empty one.
    Any,
    /// This level and all that follow.
    Rest,
}

impl RouteTopic {
    /// Parses a topic with captures; wildcards are written as captures.
    ///
    /// # Errors
    /// Names the level that is wrong.
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        if text.starts_with('$') {
            return Err(RouteError(format!(
                "topic `{text}` starts with `$`, and such topics never enter routes; write another"
            )));
        }
        let count = text.split('/').count();
        if count > MAX_LEVELS {
            return Err(RouteError(format!(
                "the topic has {count} levels, most are {MAX_LEVELS}; end it with a capture such as `{{rest+}}`"
            )));
        }
        let mut captures: Vec<Capture> = Vec::new();
        let mut filter = Vec::with_capacity(count);
        for (level, written) in text.split('/').enumerate() {
            let Some(capture) = parse_level(written, level)? else {
                filter.push(written);
                continue;
            };
            if captures.iter().any(|other| other.name == capture.name) {
                return Err(RouteError(format!(
                    "capture `{{{}}}` stands twice in `{text}`; give each its own name",
                    capture.name
                )));
            }
            if capture.rest && level + 1 < count {
                return Err(RouteError(format!(
                    "`{written}` takes the rest and stands before the end of `{text}`; write `{{{}}}` for one level",
                    capture.name
                )));
            }
            filter.push(if capture.rest { "#" } else { "+" });
            captures.push(capture);
        }
        let filter = TopicFilter::parse(&filter.join("/"))
            .map_err(|error| RouteError(format!("`{text}` is not a topic: {error}")))?;
        Ok(Self {
            text: text.to_owned(),
            filter,
            captures,
        })
    }

    pub(super) fn levels(&self) -> impl Iterator<Item = Level<'_>> {
        self.filter.as_str().split('/').map(|level| match level {
            "+" => Level::Any,
            "#" => Level::Rest,
            name => Level::Fixed(name),
        })
    }

    /// Returns whether every topic that `other` takes is taken by this one too.
    fn covers(&self, other: &Self) -> bool {
        let mut theirs = other.levels();
        for ours in self.levels() {
            match (ours, theirs.next()) {
                (Level::Rest, Some(_)) => return true,
                (Level::Any, Some(Level::Fixed(_) | Level::Any)) => {}
                (Level::Fixed(a), Some(Level::Fixed(b))) if a == b => {}
                (Level::Rest | Level::Any | Level::Fixed(_), _) => return false,
            }
        }
        theirs.next().is_none()
    }
}

/// Returns the capture that a level is, `None` for a fixed level.
fn parse_level(written: &str, level: usize) -> Result<Option<Capture>, RouteError> {
    if written.contains(['+', '#']) && !written.starts_with('{') {
        return Err(RouteError(format!(
            "level `{written}` holds a wildcard; write a capture: `{{name}}` for one level, `{{name+}}` for the rest"
        )));
    }
    if !written.contains(['{', '}']) {
        return Ok(None);
    }
    let inner = written
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .ok_or_else(|| {
            RouteError(format!(
                "level `{written}` is partly a capture; make it a whole level such as `{{name}}`"
            ))
        })?;
    let (name, rest) = match inner.strip_suffix('+') {
        Some(name) => (name, true),
        None => (inner, false),
    };
    if !is_name(name) {
        return Err(RouteError(format!(
            "`{written}` is not a capture; write a lower-case letter, then letters, digits or `_`, as in `{{node_1}}`"
        )));
    }
    if RESERVED.contains(&name) {
        return Err(RouteError(format!(
            "`{written}` has the name of a value that is always there; choose another"
        )));
    }
    Ok(Some(Capture {
        name: name.to_owned(),
        level,
        rest,
    }))
}

fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(inner)
}

/// Returns for each topic that can never match the position of the earlier one that takes all
/// of its messages: pairs of (never matches, taken by).
pub fn never_match(topics: &[&RouteTopic]) -> Vec<(usize, usize)> {
    let taken_by = |(later, topic): (usize, &&RouteTopic)| {
        let earlier = topics.iter().take(later).position(|it| it.covers(topic))?;
        Some((later, earlier))
    };
    topics.iter().enumerate().filter_map(taken_by).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> RouteTopic {
        RouteTopic::parse(text).unwrap()
    }

    #[test]
    fn captures_become_wildcards_and_keep_their_levels() {
        let parsed = topic("nodes/{node}/x/{rest+}");
        assert_eq!(parsed.filter.as_str(), "nodes/+/x/#");
        let captures: Vec<_> = parsed
            .captures
            .iter()
            .map(|capture| (capture.name.as_str(), capture.level, capture.rest))
            .collect();
        assert_eq!(captures, [("node", 1, false), ("rest", 3, true)]);
        assert_eq!(topic("é/b").filter.as_str(), "é/b");
    }

    #[test]
    fn what_is_not_a_route_topic_is_said_with_a_remedy() {
        let wildcard =
            "holds a wildcard; write a capture: `{name}` for one level, `{name+}` for the rest";
        let name = "is not a capture; write a lower-case letter, then letters, digits or `_`, as in `{node_1}`";
        let cases = [
            ("a/+", format!("level `+` {wildcard}")),
            ("a/#", format!("level `#` {wildcard}")),
            ("a/b+{c}", format!("level `b+{{c}}` {wildcard}")),
            ("$SYS/x", "topic `$SYS/x` starts with `$`, and such topics never enter routes; write another".to_owned()),
            ("a/x{b}", "level `x{b}` is partly a capture; make it a whole level such as `{name}`".to_owned()),
            ("a/{b", "level `{b` is partly a capture; make it a whole level such as `{name}`".to_owned()),
            ("a/{}", format!("`{{}}` {name}")),
            ("a/{B}", format!("`{{B}}` {name}")),
            ("a/{_b}", format!("`{{_b}}` {name}")),
            ("a/{b#}", format!("`{{b#}}` {name}")),
            ("a/{b}{c}", format!("`{{b}}{{c}}` {name}")),
            ("a/{topic}", "`{topic}` has the name of a value that is always there; choose another".to_owned()),
            ("{a}/{a}", "capture `{a}` stands twice in `{a}/{a}`; give each its own name".to_owned()),
            ("{a+}/b", "`{a+}` takes the rest and stands before the end of `{a+}/b`; write `{a}` for one level".to_owned()),
            ("", "`` is not a topic: it is empty".to_owned()),
            ("a\0", "`a\0` is not a topic: it holds a NUL character".to_owned()),
        ];
        for (text, message) in cases {
            assert_eq!(RouteTopic::parse(text).unwrap_err().0, message);
        }
        assert_eq!(
            RouteTopic::parse(&"/".repeat(64)).unwrap_err().0,
            "the topic has 65 levels, most are 64; end it with a capture such as `{rest+}`"
        );
    }

    #[test]
    fn a_topic_never_matches_when_one_earlier_takes_all_of_it() {
        type Case<'a> = (&'a [&'a str], &'a [(usize, usize)], &'a str);
        let cases: [Case<'_>; 7] = [
            (
                &["a/{x}", "a/b"],
                &[(1, 0)],
                "a capture takes a fixed level",
            ),
            (
                &["a/b", "a/{x}"],
                &[],
                "the special one first is how to write it",
            ),
            (&["a/{r+}", "a/b/{x}"], &[(1, 0)], "the rest takes all"),
            (&["a/{r+}", "a"], &[], "the rest is at least one level"),
            (&["a/{x}", "a/{r+}"], &[], "the rest may be longer"),
            (&["{r+}", "a", "b/{r+}"], &[(1, 0), (2, 0)], "everything"),
            (&["a", "b", "b"], &[(2, 1)], "the same twice"),
        ];
        for (texts, expected, reason) in cases {
            let topics: Vec<_> = texts.iter().map(|text| topic(text)).collect();
            let topics: Vec<_> = topics.iter().collect();
            assert_eq!(never_match(&topics), expected, "{reason}");
        }
    }
}
