//! Reads a TOML table key by key; each value keeps the line it stands on.
//!
//! Decides which keys are known and whether a value has the right type, and goes on after a
//! mistake, so that all of them are reported. What a value means is decided by the caller.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Origin, Report};
use super::keys;
use super::show::{escape, is_typed, quote, show, show_typed};
use super::source::Source;
use super::value;

/// A value with the place it was written at.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Where it stands.
    pub(super) origin: Origin,
}

/// One table of a configuration file.
#[derive(Clone)]
pub(super) struct Section<'a> {
    /// The section's name in the registry of keys.
    kind: &'static str,
    /// What people call it, such as `[endpoint.posts]`.
    pub(super) label: String,
    /// Where it begins.
    pub(super) origin: Origin,
    table: &'a DeTable<'a>,
    source: &'a Source,
    /// Where mistakes go.
    pub(super) report: &'a Report,
}

impl<'a> Section<'a> {
    /// Opens the top level of a file; `known` are the sections it may have.
    pub(super) fn top(
        table: &'a DeTable<'a>,
        source: &'a Source,
        report: &'a Report,
        known: &[&'static str],
    ) -> Self {
        let section = Self {
            kind: "",
            label: "the file".into(),
            origin: source.whole(),
            table,
            source,
            report,
        };
        section.refuse_unknown(known);
        section
    }

    fn open(
        &self,
        kind: &'static str,
        label: String,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Self> {
        let origin = self.source.origin(value.span().start);
        let Some(table) = value.get_ref().as_table() else {
            let shown = show(value.get_ref());
            self.report.error(
                &origin,
                format!(
                    "{label} is {shown}, expected a section; write `{label}` on a line of its own"
                ),
            );
            return None;
        };
        let section = Self {
            kind,
            label,
            origin,
            table,
            source: self.source,
            report: self.report,
        };
        section.refuse_unknown(&keys::names(kind).collect::<Vec<_>>());
        Some(section)
    }

    fn refuse_unknown(&self, known: &[&'static str]) {
        for key in self.table.keys() {
            let (name, origin) = (key.get_ref().as_ref(), self.source.origin(key.span().start));
            if known.contains(&name) {
                continue;
            }
            let (label, name) = (&self.label, escape(name));
            let text = if keys::is_not_built(self.kind, &name) {
                format!("`{name}` in {label} is not built yet; remove it")
            } else if let Some(near) = keys::nearest(&name, known.iter().copied()) {
                format!("unknown key `{name}` in {label}; did you mean `{near}`?")
            } else {
                let all = known.join("`, `");
                format!("unknown key `{name}` in {label}; known are `{all}`")
            };
            self.report.error(&origin, text);
        }
    }

    fn take(&self, key: &str) -> Option<(&'a DeValue<'a>, Origin)> {
        // Looked up by hand: `Spanned` keys borrow as `str` only for `Spanned<String>`.
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.get_ref(), self.source.origin(value.span().start)))
    }

    /// Reports a value of the wrong type; `example` is TOML.
    fn mistyped<T>(
        &self,
        key: &str,
        found: (&DeValue<'_>, &Origin),
        expected: (&str, &str),
    ) -> Option<T> {
        let shown = match found.0 {
            _ if key == "password" => "not a text".into(),
            DeValue::String(text) if is_typed(expected.0) => {
                format!("the text {}", quote(text))
            }
            other => show_typed(other),
        };
        let (what, example) = expected;
        self.report.error(
            found.1,
            format!("{key} is {shown}, expected {what}; write `{key} = {example}`"),
        );
        None
    }

    /// Reports a required key that is not there.
    pub(super) fn require<T>(
        &self,
        key: &str,
        value: Option<T>,
        remedy: impl Display,
    ) -> Option<T> {
        if value.is_none() && self.take(key).is_none() {
            self.report.missing(
                &self.origin,
                format!("{} has no {key}; {remedy}", self.label),
            );
        }
        value
    }

    /// Returns where a key stands, or where the section begins.
    pub(super) fn origin_of(&self, key: &str) -> Origin {
        self.take(key)
            .map_or_else(|| self.origin.clone(), |(_, origin)| origin)
    }

    /// Returns whether a key stands here.
    pub(super) fn has(&self, key: &str) -> bool {
        self.take(key).is_some()
    }

    /// Reads a text.
    pub(super) fn text(&self, key: &str) -> Option<At<String>> {
        let (value, origin) = self.take(key)?;
        match value {
            DeValue::String(text) => Some(At {
                value: text.to_string(),
                origin,
            }),
            other => self.mistyped(key, (other, &origin), ("a text", "\"…\"")),
        }
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let (value, origin) = self.take(key)?;
        match value {
            DeValue::Boolean(flag) => Some(*flag),
            other => self.mistyped(key, (other, &origin), ("true or false", "true")),
        }
    }

    /// Reads a whole number within bounds.
    pub(super) fn number(&self, key: &str, bounds: RangeInclusive<usize>) -> Option<At<usize>> {
        let (value, origin) = self.take(key)?;
        let number = integer(value);
        let Some(number) = number else {
            let meant = value.as_str().and_then(|text| text.parse().ok());
            let example = meant.unwrap_or(*bounds.start()).to_string();
            return self.mistyped(key, (value, &origin), ("a whole number", &example));
        };
        if number < *bounds.start() {
            let least = bounds.start();
            let text = format!("{key} is `{number}`, smallest is `{least}`; raise it");
            self.report.error(&origin, text);
            return None;
        }
        if number > *bounds.end() {
            let most = bounds.end();
            let text = format!("{key} is `{number}`, largest is `{most}`; lower it");
            self.report.error(&origin, text);
            return None;
        }
        Some(At {
            value: number,
            origin,
        })
    }

    /// Reads a duration within bounds.
    pub(super) fn duration(
        &self,
        key: &str,
        bounds: RangeInclusive<Duration>,
    ) -> Option<At<Duration>> {
        let (found, origin) = self.take(key)?;
        let Some(duration) = found.as_str().and_then(value::duration) else {
            let expected = ("a duration such as `5s`", "\"5s\"");
            return self.mistyped(key, (found, &origin), expected);
        };
        let limit = if duration < *bounds.start() {
            Some(("shortest", bounds.start(), "lengthen it"))
        } else if duration > *bounds.end() {
            Some(("longest", bounds.end(), "shorten it"))
        } else {
            None
        };
        if let Some((word, limit, remedy)) = limit {
            let (shown, limit) = (show(found), value::show_duration(*limit));
            let text = format!("{key} is {shown}, {word} is `{limit}`; {remedy}");
            self.report.error(&origin, text);
            return None;
        }
        Some(At {
            value: duration,
            origin,
        })
    }

    /// Reads a size in bytes within bounds: a number, or a text with a unit.
    pub(super) fn size(&self, key: &str, bounds: RangeInclusive<usize>) -> Option<At<usize>> {
        let (found, origin) = self.take(key)?;
        let size = match found {
            DeValue::String(text) => value::size(text),
            other => integer(other),
        };
        let Some(size) = size else {
            let expected = ("a size such as `64KiB`", "\"64KiB\"");
            return self.mistyped(key, (found, &origin), expected);
        };
        let limit = if size < *bounds.start() {
            Some(("smallest", bounds.start(), "raise it"))
        } else if size > *bounds.end() {
            Some(("largest", bounds.end(), "lower it"))
        } else {
            None
        };
        if let Some((word, limit, remedy)) = limit {
            let (shown, limit) = (show(found), value::show_size(*limit));
            let text = format!("{key} is {shown}, {word} is `{limit}`; {remedy}");
            self.report.error(&origin, text);
            return None;
        }
        Some(At {
            value: size,
            origin,
        })
    }

    /// Reads one of some words.
    pub(super) fn choice<T: Clone>(&self, key: &str, choices: &[(&str, T)]) -> Option<At<T>> {
        let (found, origin) = self.take(key)?;
        let text = found.as_str();
        if let Some((_, value)) = choices.iter().find(|(name, _)| Some(*name) == text) {
            return Some(At {
                value: value.clone(),
                origin,
            });
        }
        let names = || choices.iter().map(|(name, _)| *name);
        let all = names().collect::<Vec<_>>().join("`, `");
        let near = text.and_then(|text| keys::nearest(text, names()));
        let first = names().next().unwrap_or_default();
        let (shown, example) = (show_typed(found), near.unwrap_or(first));
        let text =
            format!("{key} is {shown}, expected one of `{all}`; write `{key} = \"{example}\"`");
        self.report.error(&origin, text);
        None
    }

    /// Reads a list of texts; a single text is not a list.
    pub(super) fn texts(&self, key: &str, example: &str) -> Option<Vec<At<String>>> {
        let (found, origin) = self.take(key)?;
        let Some(list) = found.as_array() else {
            return self.mistyped(key, (found, &origin), ("a list of texts", example));
        };
        let mut texts = Vec::with_capacity(list.len());
        for item in list.iter() {
            let origin = self.source.origin(item.span().start);
            match item.get_ref() {
                DeValue::String(text) => texts.push(At {
                    value: text.to_string(),
                    origin,
                }),
                other => {
                    let entry = (other, &origin);
                    self.mistyped::<()>(key, entry, ("a list of texts", example));
                }
            }
        }
        Some(texts)
    }

    /// Reads a table whose values are texts, in file order.
    pub(super) fn text_table(&self, key: &str, example: &str) -> Option<Vec<(String, At<String>)>> {
        let (found, origin) = self.take(key)?;
        let Some(table) = found.as_table() else {
            return self.mistyped(key, (found, &origin), ("a table of texts", example));
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut texts = Vec::with_capacity(entries.len());
        for (name, item) in entries {
            let origin = self.source.origin(item.span().start);
            let name = name.get_ref().to_string();
            match item.get_ref() {
                DeValue::String(text) => {
                    let value = text.to_string();
                    texts.push((name, At { value, origin }));
                }
                other => {
                    let label = format!("{key}.{}", escape(&name));
                    self.mistyped::<()>(&label, (other, &origin), ("a text", "\"…\""));
                }
            }
        }
        Some(texts)
    }

    /// Returns whether the value is a table rather than a plain one.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.take(key).is_some_and(|(value, _)| value.is_table())
    }

    /// Returns whether the value is a list.
    pub(super) fn is_list(&self, key: &str) -> bool {
        self.take(key).is_some_and(|(value, _)| value.is_array())
    }

    /// Returns whether the value is a list of nothing.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        let list = self.take(key).and_then(|(value, _)| value.as_array());
        list.is_some_and(|list| list.is_empty())
    }

    /// Opens a sub-section.
    pub(super) fn table(&self, key: &str, kind: &'static str, label: &str) -> Option<Self> {
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        self.open(kind, label.into(), value)
    }

    /// Opens each `[kind.<name>]` in file order.
    pub(super) fn named(&self, kind: &'static str) -> Vec<(String, Self)> {
        let Some((value, origin)) = self.take(kind) else {
            return Vec::new();
        };
        let Some(table) = value.as_table() else {
            let text = format!("{kind} has no name; write [{kind}.<name>]");
            self.report.error(&origin, text);
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let open = |(name, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            if !value.get_ref().is_table() {
                let origin = self.source.origin(value.span().start);
                let key = escape(name);
                let text =
                    format!("`{key}` stands in [{kind}] itself; write [{kind}.<name>] above it");
                self.report.error(&origin, text);
                return None;
            }
            let label = format!("[{kind}.{}]", escape(name));
            Some((name.to_string(), self.open(kind, label, value)?))
        };
        entries.into_iter().filter_map(open).collect()
    }

    /// Opens each `[[kind]]` in file order.
    pub(super) fn list(&self, kind: &'static str) -> Vec<Self> {
        let Some((value, origin)) = self.take(kind) else {
            return Vec::new();
        };
        let Some(list) = value.as_array() else {
            let text = format!("[{kind}] can stand several times; write [[{kind}]]");
            self.report.error(&origin, text);
            return Vec::new();
        };
        list.iter()
            .filter_map(|value| self.open(kind, format!("[[{kind}]]"), value))
            .collect()
    }
}

fn integer(value: &DeValue<'_>) -> Option<usize> {
    let integer = value.as_integer()?;
    usize::from_str_radix(integer.as_str(), integer.radix()).ok()
}
