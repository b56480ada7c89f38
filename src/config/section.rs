//! Reads a TOML table key by key; each value keeps the line it stands on.
//!
//! Decides which keys are known and whether a value has the right type, and goes on after a
//! mistake, so that all of them are reported. What a value means is decided by the caller.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Line, Report};
use super::keys;
use super::show::{escape, is_typed, quote, show, show_typed};
use super::source::Source;
use super::value;

/// A value with the place it was written at.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Where it stands.
    pub(super) origin: Line,
}

/// One table of a configuration file.
#[derive(Clone)]
pub(super) struct Section<'a> {
    /// The section's name in the registry of keys.
    kind: &'static str,
    /// What people call it, such as `[endpoint.posts]`.
    pub(super) label: String,
    /// Where it begins.
    pub(super) origin: Line,
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
                origin,
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
            let (label, name) = (&self.label, escape(name).to_string());
            let text = if keys::is_not_built(self.kind, &name) {
                format!("`{name}` in {label} is not built yet; remove it")
            } else if let Some(near) = keys::nearest(&name, known.iter().copied()) {
                format!("unknown key `{name}` in {label}; did you mean `{near}`?")
            } else {
                let all = known.join("`, `");
                format!("unknown key `{name}` in {label}; known are `{all}`")
            };
            self.report.error(origin, text);
        }
    }

    fn take(&self, key: &str) -> Option<(&'a DeValue<'a>, Line)> {
        // Looked up by hand: `Spanned` keys borrow as `str` only for `Spanned<String>`.
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.get_ref(), self.source.origin(value.span().start)))
    }

    /// Reports a value of the wrong type; what is expected comes with an example in TOML.
    fn mistyped(&self, key: &str, found: (&DeValue<'_>, Line), expected: (&str, &str)) {
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
    }

    /// Reports a required key that is not there.
    pub(super) fn require<T>(&self, key: &str, value: Option<T>, remedy: &str) -> Option<T> {
        if value.is_none() {
            self.refuse_absence(key, remedy);
        }
        value
    }

    fn refuse_absence(&self, key: &str, remedy: &str) {
        if !self.has(key) {
            let text = format!("{} has no {key}; {remedy}", self.label);
            self.report.missing(self.origin, text);
        }
    }

    /// Returns where a key stands, or where the section begins.
    pub(super) fn origin_of(&self, key: &str) -> Line {
        self.take(key)
            .map_or_else(|| self.origin, |(_, origin)| origin)
    }

    /// Returns whether a key stands here.
    pub(super) fn has(&self, key: &str) -> bool {
        self.take(key).is_some()
    }

    /// Reads a text.
    pub(super) fn text(&self, key: &str) -> Option<At<&'a str>> {
        let (value, origin) = self.take(key)?;
        let Some(text) = value.as_str() else {
            self.mistyped(key, (value, origin), ("a text", "\"…\""));
            return None;
        };
        Some(At {
            value: text,
            origin,
        })
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let (value, origin) = self.take(key)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.mistyped(key, (value, origin), ("true or false", "true"));
        }
        flag
    }

    /// Reads a whole number within bounds.
    pub(super) fn number(&self, key: &str, bounds: RangeInclusive<usize>) -> Option<At<usize>> {
        let (found, origin) = self.take(key)?;
        let Some(value) = integer(found) else {
            let meant = found.as_str().and_then(|text| text.parse().ok());
            let example = meant.unwrap_or(*bounds.start()).to_string();
            self.mistyped(key, (found, origin), ("a whole number", &example));
            return None;
        };
        let shown = format!("`{value}`");
        self.bounded(
            key,
            At { value, origin },
            &bounds,
            (shown, |limit| limit.to_string()),
        )
    }

    /// Reads a size in bytes within bounds: a number, or a text with a unit.
    pub(super) fn size(&self, key: &str, bounds: RangeInclusive<usize>) -> Option<At<usize>> {
        let (found, origin) = self.take(key)?;
        let size = match found {
            DeValue::String(text) => value::size(text),
            other => integer(other),
        };
        let Some(value) = size else {
            let expected = ("a size such as `64KiB`", "\"64KiB\"");
            self.mistyped(key, (found, origin), expected);
            return None;
        };
        self.bounded(
            key,
            At { value, origin },
            &bounds,
            (show(found), value::show_size),
        )
    }

    /// Passes a number on that is within its bounds; `shown` is what was written, and how a bound
    /// would be.
    fn bounded(
        &self,
        key: &str,
        found: At<usize>,
        bounds: &RangeInclusive<usize>,
        shown: (String, fn(usize) -> String),
    ) -> Option<At<usize>> {
        let (word, limit, remedy) = if found.value < *bounds.start() {
            ("smallest", bounds.start(), "raise it")
        } else if found.value > *bounds.end() {
            ("largest", bounds.end(), "lower it")
        } else {
            return Some(found);
        };
        let (shown, show) = shown;
        self.refuse_beyond(key, found.origin, &shown, (word, &show(*limit), remedy));
        None
    }

    fn refuse_beyond(&self, key: &str, origin: Line, shown: &str, limit: (&str, &str, &str)) {
        let (word, limit, remedy) = limit;
        let text = format!("{key} is {shown}, {word} is `{limit}`; {remedy}");
        self.report.error(origin, text);
    }

    /// Reads a duration within bounds.
    pub(super) fn duration(
        &self,
        key: &str,
        bounds: RangeInclusive<Duration>,
    ) -> Option<At<Duration>> {
        let (found, origin) = self.take(key)?;
        let Some(value) = found.as_str().and_then(value::duration) else {
            let expected = ("a duration such as `5s`", "\"5s\"");
            self.mistyped(key, (found, origin), expected);
            return None;
        };
        let (word, limit, remedy) = if value < *bounds.start() {
            ("shortest", bounds.start(), "lengthen it")
        } else if value > *bounds.end() {
            ("longest", bounds.end(), "shorten it")
        } else {
            return Some(At { value, origin });
        };
        let limit = value::show_duration(*limit);
        self.refuse_beyond(key, origin, &show(found), (word, &limit, remedy));
        None
    }

    /// Reads one of some words.
    pub(super) fn choice<T: Clone>(&self, key: &str, choices: &[(&str, T)]) -> Option<At<T>> {
        let name = |index| choices.get(index).map(|(name, _): &(&str, T)| *name);
        let chosen = self.choose(key, &name)?;
        let (_, value) = choices.get(chosen.value)?;
        Some(At {
            value: value.clone(),
            origin: chosen.origin,
        })
    }

    /// Reads one of some words, which `name` counts up, as its index.
    fn choose<'n>(&self, key: &str, name: &dyn Fn(usize) -> Option<&'n str>) -> Option<At<usize>> {
        let (found, origin) = self.take(key)?;
        let text = found.as_str();
        let names: Vec<&str> = (0..).map_while(name).collect();
        if let Some(value) = names.iter().position(|name| Some(*name) == text) {
            return Some(At { value, origin });
        }
        let near = text.and_then(|text| keys::nearest(text, names.iter().copied()));
        let first = names.first().copied().unwrap_or_default();
        let (shown, example) = (show_typed(found), near.unwrap_or(first));
        let all = names.join("`, `");
        let text =
            format!("{key} is {shown}, expected one of `{all}`; write `{key} = \"{example}\"`");
        self.report.error(origin, text);
        None
    }

    /// Reads a list of texts; a single text is not a list.
    pub(super) fn texts(&self, key: &str, example: &str) -> Option<Vec<At<&'a str>>> {
        let (found, origin) = self.take(key)?;
        let Some(list) = found.as_array() else {
            self.mistyped(key, (found, origin), ("a list of texts", example));
            return None;
        };
        let mut texts = Vec::with_capacity(list.len());
        for item in list.iter() {
            let origin = self.source.origin(item.span().start);
            match item.get_ref().as_str() {
                Some(value) => texts.push(At { value, origin }),
                None => {
                    let entry = (item.get_ref(), origin);
                    self.mistyped(key, entry, ("a list of texts", example));
                }
            }
        }
        Some(texts)
    }

    /// Reads a table whose values are texts, in file order.
    pub(super) fn text_table(
        &self,
        key: &str,
        example: &str,
    ) -> Option<Vec<(String, At<&'a str>)>> {
        let (found, origin) = self.take(key)?;
        let Some(table) = found.as_table() else {
            self.mistyped(key, (found, origin), ("a table of texts", example));
            return None;
        };
        let mut texts = Vec::with_capacity(table.len());
        for (name, item) in in_file_order(table) {
            let origin = self.source.origin(item.span().start);
            let name = name.to_owned();
            match item.get_ref().as_str() {
                Some(value) => texts.push((name, At { value, origin })),
                None => {
                    let label = format!("{key}.{}", escape(&name));
                    self.mistyped(&label, (item.get_ref(), origin), ("a text", "\"…\""));
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
            self.report.error(origin, text);
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(table.len());
        for (name, value) in in_file_order(table) {
            let key = escape(name);
            if value.get_ref().is_table() {
                let section = self.open(kind, format!("[{kind}.{key}]"), value);
                sections.extend(section.map(|section| (name.to_owned(), section)));
            } else {
                let origin = self.source.origin(value.span().start);
                let text =
                    format!("`{key}` stands in [{kind}] itself; write [{kind}.<name>] above it");
                self.report.error(origin, text);
            }
        }
        sections
    }

    /// Opens each `[[kind]]` in file order.
    pub(super) fn list(&self, kind: &'static str) -> Vec<Self> {
        let Some((value, origin)) = self.take(kind) else {
            return Vec::new();
        };
        let Some(list) = value.as_array() else {
            let text = format!("[{kind}] can stand several times; write [[{kind}]]");
            self.report.error(origin, text);
            return Vec::new();
        };
        list.iter()
            .filter_map(|value| self.open(kind, format!("[[{kind}]]"), value))
            .collect()
    }
}

/// Returns the entries of a table as they were written; itself it sorts them by name.
fn in_file_order<'a>(table: &'a DeTable<'a>) -> Vec<(&'a str, &'a Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let named = |(name, value): (&'a Spanned<Cow<'a, str>>, _)| (&**name.get_ref(), value);
    entries.into_iter().map(named).collect()
}

fn integer(value: &DeValue<'_>) -> Option<usize> {
    let integer = value.as_integer()?;
    usize::from_str_radix(integer.as_str(), integer.radix()).ok()
}
