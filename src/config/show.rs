//! Values as messages show them: the person's own text, on one short line.

use std::fmt::{self, Display, Formatter, Write};

use toml::de::DeValue;

/// Returns whether a text in the place of what is expected has to be called one.
pub(super) fn is_typed(expected: &str) -> bool {
    ["a whole number", "true or false"].contains(&expected)
}

/// Shows a value whose type is wrong.
pub(super) fn show_typed(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(_) | DeValue::Float(_) => format!("the number {}", show(value)),
        _ => show(value),
    }
}

/// Shows a value of the person's own, short and on one line.
pub(super) fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quote(text).to_string(),
        DeValue::Integer(number) => quote(number.as_str()).to_string(),
        DeValue::Float(number) => quote(number.as_str()).to_string(),
        DeValue::Boolean(flag) => format!("`{flag}`"),
        DeValue::Datetime(time) => format!("`{time}`"),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// Quotes a text of the person's own in backticks, escaped and cut to one short line.
pub(super) const fn quote(text: &str) -> Quoted<'_> {
    Quoted(text)
}

/// A text between backticks.
#[derive(Clone, Copy)]
pub(super) struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        let cut = self.0.char_indices().nth(LONGEST);
        match cut.and_then(|(end, _)| self.0.get(..end)) {
            Some(start) => write!(f, "`{}…`", escape(start)),
            None => write!(f, "`{}`", escape(self.0)),
        }
    }
}

/// Shows a text of the person's own on one line: what does not print is escaped, quotes stay.
pub(crate) const fn escape(text: &str) -> Escaped<'_> {
    Escaped(text)
}

/// A text on one line.
#[derive(Clone, Copy)]
pub(crate) struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '\'' | '\\' => f.write_char(c),
            other => Display::fmt(&other.escape_debug(), f),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_on_one_short_line() {
        let long = "x".repeat(81);
        let cases = [
            ("plain", "`plain`".to_owned()),
            ("it's \"so\"", "`it's \"so\"`".to_owned()),
            ("a\nb\x1b[2J", "`a\\nb\\u{1b}[2J`".to_owned()),
            ("a\\b", "`a\\b`".to_owned()),
            (&long, format!("`{}…`", "x".repeat(80))),
        ];
        for (text, expected) in cases {
            assert_eq!(quote(text).to_string(), expected);
        }
    }
}
