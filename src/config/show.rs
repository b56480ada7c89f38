//! Values as messages show them: the person's own text, on one short line.

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
        DeValue::String(text) => quote(text),
        DeValue::Integer(number) => quote(number.as_str()),
        DeValue::Float(number) => quote(number.as_str()),
        DeValue::Boolean(flag) => quote(&flag.to_string()),
        DeValue::Datetime(time) => quote(&time.to_string()),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// Quotes a text of the person's own in backticks, escaped and cut to one short line.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown = escape(&text.chars().take(LONGEST).collect::<String>());
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Shows a text of the person's own on one line: what does not print is escaped, quotes stay.
pub(crate) fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
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
            assert_eq!(quote(text), expected);
        }
    }
}
