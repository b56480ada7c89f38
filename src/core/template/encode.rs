//! How a value is encoded for its place, and which values a place refuses.
//!
//! A refusal completes the sentence "`{name}` …"; it never quotes the value.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use crate::core::json;
use crate::core::template::Place;

/// All but the unreserved characters of RFC 3986 §2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Characters that stand in a path as they are (RFC 3986 §3.3), beside letters and digits.
const PATH_MARKS: &str = "-._~!$&'()*+,;=:@/%";

/// Percent-encodes all but unreserved characters.
pub(crate) fn percent_encode(value: &[u8]) -> String {
    percent_encoding::percent_encode(value, RESERVED).to_string()
}

/// Appends a value in the form its place demands; `quoted` says that it is inside a JSON string.
pub(super) fn push(
    value: &[u8],
    place: Place,
    quoted: bool,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    match place {
        Place::Topic => push_level(value, out),
        Place::Path => push_segment(value, out),
        Place::Query | Place::Form => {
            push_percent(value, out);
            Ok(())
        }
        Place::Header => push_header(value, out),
        Place::Json if quoted => {
            let text = std::str::from_utf8(value).map_err(|_| "is not UTF-8")?;
            json::push_escaped(text, out);
            Ok(())
        }
        Place::Json => {
            let text = json::as_json(value).ok_or("is not JSON")?;
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        Place::Text => {
            out.extend_from_slice(value);
            Ok(())
        }
        Place::Host => push_label(value, out),
    }
}

/// Appends the levels of a topic as segments of a path.
pub(super) fn push_segments(value: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    for (at, level) in value.split(|byte| *byte == b'/').enumerate() {
        if at > 0 {
            out.push(b'/');
        }
        push_segment(level, out)?;
    }
    Ok(())
}

fn push_level(value: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("is empty");
    }
    if value.iter().any(|byte| b"/+#\0".contains(byte)) {
        return Err("holds `/`, `+`, `#` or NUL, which can not stand in a topic level");
    }
    out.extend_from_slice(value);
    Ok(())
}

/// A slash is refused although it could be encoded: many servers decode before they split.
fn push_segment(value: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("is empty or has an empty level, which can not be a path segment");
    }
    if value.iter().any(|byte| b"/\\".contains(byte)) {
        return Err("holds a slash, which can not stand in a path segment");
    }
    if value.iter().any(u8::is_ascii_control) {
        return Err("holds a control character, which can not stand in a path");
    }
    // Overlong encodings of `.` and `/` among them.
    if std::str::from_utf8(value).is_err() {
        return Err("is not UTF-8, as a path has to be");
    }
    push_percent(value, out);
    Ok(())
}

fn push_header(value: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    if value.iter().any(u8::is_ascii_control) {
        return Err("holds a control character, which can not stand in a header");
    }
    if !value.is_ascii() {
        return Err("holds a character outside ASCII, which can not stand in a header");
    }
    out.extend_from_slice(value);
    Ok(())
}

fn push_label(value: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    match std::str::from_utf8(value) {
        Ok(label) if is_label(label) && !label.starts_with("xn--") => {
            out.extend_from_slice(value);
            Ok(())
        }
        _ => Err("is not a host label of lower-case letters, digits and inner `-`"),
    }
}

fn push_percent(value: &[u8], out: &mut Vec<u8>) {
    for piece in percent_encoding::percent_encode(value, RESERVED) {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// Returns the keys of a form as its reader takes them (WHATWG URL §5.1), each once.
pub(super) fn form_keys(form: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    for pair in form.split(|byte| *byte == b'&') {
        let key = pair.split(|byte| *byte == b'=').next();
        let plus_as_space = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
        let key: Vec<u8> = key.into_iter().flatten().map(plus_as_space).collect();
        let key = percent_encoding::percent_decode(&key).collect();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Returns whether the text matches `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
pub(super) fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Returns whether a path segment means "here" or "up" to whoever decodes it once.
pub(super) fn is_dot_segment(segment: &str) -> bool {
    let one = |rest: &'_ str| -> Option<usize> {
        let encoded = rest
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case("%2e"));
        if rest.starts_with('.') {
            Some(1)
        } else {
            encoded.then_some(3)
        }
    };
    let Some(first) = one(segment) else {
        return false;
    };
    let rest = segment.get(first..).unwrap_or_default();
    rest.is_empty() || one(rest) == Some(rest.len())
}

/// Checks a fixed piece of a template: what the owner wrote is taken as it is, or refused.
pub(super) fn check_literal(text: &str, place: Place) -> Result<(), String> {
    match place {
        Place::Path => check_path_text(text),
        Place::Header if text.chars().any(|c| c.is_ascii_control() || !c.is_ascii()) => {
            Err(format!(
                "`{}` holds a character that can not stand in a header; write ASCII without control characters",
                text.escape_default()
            ))
        }
        Place::Topic if text.contains(['+', '#', '\0']) => Err(format!(
            "`{}` holds `+`, `#` or NUL, which can not stand in a topic; write a placeholder",
            text.escape_debug()
        )),
        Place::Topic if text.contains(['{', '}']) => Err(no_placeholder("topic", text)),
        Place::Form => check_form_text(text),
        Place::Topic | Place::Query | Place::Header | Place::Json | Place::Text | Place::Host => {
            Ok(())
        }
    }
}

fn no_placeholder(place: &str, text: &str) -> String {
    format!(
        "{place} `{}` holds a brace that belongs to no placeholder; write one as `{{name}}`, in lower case",
        text.escape_debug()
    )
}

/// `&`, `=` and escapes are the owner's to write; what no form can hold is told early.
fn check_form_text(text: &str) -> Result<(), String> {
    let shown = text.escape_debug();
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
        let odd = odd.escape_debug();
        Err(format!("form `{shown}` holds `{odd}`; percent-encode it"))
    } else if has_stray_percent(text) {
        Err(format!(
            "form `{shown}` holds a `%` that encodes nothing; write `%25`"
        ))
    } else {
        Ok(())
    }
}

fn has_stray_percent(text: &str) -> bool {
    let encodes = |rest: &str| {
        let mut digits = rest.bytes().take(2);
        let is_hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        is_hex(digits.next()) && is_hex(digits.next())
    };
    !text.split('%').skip(1).all(encodes)
}

fn check_path_text(text: &str) -> Result<(), String> {
    if text.contains('?') {
        return Err(format!(
            "path `{text}` holds `?`; write query parameters under `query`"
        ));
    }
    let odd = text
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !PATH_MARKS.contains(*c));
    if matches!(odd, Some('{' | '}')) {
        return Err(no_placeholder("path", text));
    }
    if let Some(odd) = odd {
        return Err(format!(
            "path `{}` holds `{}`; percent-encode it",
            text.escape_debug(),
            odd.escape_debug()
        ));
    }
    if has_stray_percent(text) {
        Err(format!(
            "path `{text}` holds a `%` that encodes nothing; write `%25`"
        ))
    } else {
        Ok(())
    }
}

/// Checks a whole path in which `x` stands for each placeholder.
pub(super) fn check_path(sample: &str) -> Result<(), String> {
    if !sample.starts_with('/') {
        return Err("the path does not start with `/`; write it from the root".to_owned());
    }
    match sample.split('/').find(|segment| is_dot_segment(segment)) {
        Some(segment) => Err(format!(
            "the path holds a segment `{segment}`; write the path without it"
        )),
        None => Ok(()),
    }
}

/// Checks a whole topic in which `x` stands for each placeholder.
pub(super) fn check_topic(sample: &str) -> Result<(), String> {
    if sample.is_empty() {
        Err("the topic is empty; write one such as `replies/{client}/{outcome}`".to_owned())
    } else if sample.starts_with('$') {
        Err("the topic starts with `$`, which is the broker's; write another".to_owned())
    } else {
        Ok(())
    }
}
