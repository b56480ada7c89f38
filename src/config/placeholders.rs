//! A template's text with and without its placeholders, for checks that come before parsing.

/// Returns a template's text without its placeholders.
pub(super) fn fixed_part(text: &str) -> String {
    split_placeholders(text).0
}

/// Returns the length of the shortest topic that a template can render to; a failure's
/// `{outcome}` is `error`, any other value is at least one character.
pub(super) fn shortest_topic(text: &str) -> usize {
    let (fixed, placeholders) = split_placeholders(text);
    let value = |name: &String| if name == "outcome" { "error".len() } else { 1 };
    fixed.len() + placeholders.iter().map(value).sum::<usize>()
}

fn split_placeholders(text: &str) -> (String, Vec<String>) {
    let (mut fixed, mut names, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        fixed.push_str(before);
        let is_placeholder = after.starts_with(|c: char| c.is_ascii_lowercase());
        match after.split_once('}').filter(|_| is_placeholder) {
            Some((name, behind)) => {
                names.push(name.to_owned());
                rest = behind;
            }
            None => {
                fixed.push('{');
                rest = after.strip_prefix('{').unwrap_or(after);
            }
        }
    }
    fixed.push_str(rest);
    (fixed, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_fixed_text() {
        let cases = [
            ("/posts/{id}", "/posts/", 8),
            ("a/{outcome}", "a/", 7),
            ("/{payload./a?b}", "/", 2),
            ("{{x}?", "{x}?", 4),
            ("{\"a\":{id}}", "{\"a\":}", 7),
            ("{", "{", 1),
            ("", "", 0),
        ];
        for (text, fixed, shortest) in cases {
            assert_eq!(
                (fixed_part(text).as_str(), shortest_topic(text)),
                (fixed, shortest),
                "{text}"
            );
        }
    }
}
