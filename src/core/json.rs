//! The few things about JSON text that templates and replies share: what is JSON, escapes, keys.

use serde_json::value::RawValue;

/// Returns the text if the bytes are one JSON value in UTF-8, `None` otherwise.
pub(crate) fn as_json(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| is_json(text))
}

/// Returns whether the text is one JSON value, white space around it included.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Returns the content of a JSON string literal, `None` for any other value.
pub(crate) fn unquote(json: &str) -> Option<String> {
    if !json.starts_with('"') {
        return None;
    }
    serde_json::from_str(json).ok()
}

/// Returns a key that an object in the text, which is JSON, has twice: readers do not agree on
/// which of the two counts (RFC 8259 §4).
pub(crate) fn repeated_key(json: &str) -> Option<String> {
    let mut open: Vec<Vec<String>> = Vec::new();
    let mut rest = json;
    while let Some(at) = rest.find(['{', '}', '"']) {
        let (literal, after) = match rest.get(at..) {
            Some(text) if text.starts_with('"') => text.split_at(string_len(text)),
            Some(text) => text.split_at(1),
            None => break,
        };
        rest = after;
        match (literal, open.last_mut()) {
            ("{", _) => open.push(Vec::new()),
            ("}", _) => drop(open.pop()),
            (_, Some(keys)) if rest.trim_start().starts_with(':') => {
                // A key of half a surrogate pair is JSON, but no `str`: it counts as written.
                let key = unquote(literal).unwrap_or_else(|| literal.to_owned());
                if keys.contains(&key) {
                    return Some(key);
                }
                keys.push(key);
            }
            _ => {}
        }
    }
    None
}

/// Returns the bytes of the JSON string that the text starts with, quotes included.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// Appends text with the escapes of a JSON string (RFC 8259 §7), without the quotes.
pub(crate) fn push_escaped(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        match short_escape(c) {
            Some(letter) => out.extend_from_slice(&[b'\\', letter]),
            None if c < ' ' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Appends text as a JSON string, quotes included.
pub(crate) fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    push_escaped(text, out);
    out.push(b'"');
}

/// Returns the longest start of the text whose escaped form takes at most `room` bytes.
pub(crate) fn escaped_prefix(text: &str, room: usize) -> &str {
    let mut left = room;
    for (at, c) in text.char_indices() {
        let size = escaped_len(c);
        if size > left {
            return text.get(..at).unwrap_or_default();
        }
        left -= size;
    }
    text
}

fn escaped_len(c: char) -> usize {
    match short_escape(c) {
        Some(_) => 2,
        None if c < ' ' => 6,
        None => c.len_utf8(),
    }
}

fn short_escape(c: char) -> Option<u8> {
    Some(match c {
        '"' => b'"',
        '\\' => b'\\',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_is_one_whole_value_in_utf8() {
        let cases: [(&[u8], bool, &str); 9] = [
            (b"{\"a\":1}", true, "an object"),
            (b" 42\n", true, "white space around it"),
            (b"\"x\"", true, "a string"),
            (b"1 2", false, "two values"),
            (b"", false, "none"),
            (b"{\"a\":1", false, "unfinished"),
            (b"\"\xff\"", false, "not UTF-8"),
            (b"NaN", false, "not a JSON number"),
            (b"\xef\xbb\xbf1", false, "a byte order mark"),
        ];
        for (bytes, expected, reason) in cases {
            assert_eq!(as_json(bytes).is_some(), expected, "{reason}");
        }
    }

    #[test]
    fn a_repeated_key_is_found_in_any_object() {
        let cases = [
            (r#"{"a":1,"b":1}"#, false, "two keys"),
            (r#"{"a":1,"a":1}"#, true, "one of them twice"),
            (
                r#"[{"a":{"b":1, "\u0062" : {}}}]"#,
                true,
                "escaped, in depth",
            ),
            (
                r#"{"a":[{"a":{"a":"a"}}],"b":"a"}"#,
                false,
                "objects of their own",
            ),
            (r#"[{"a":1},{"a":1}]"#, false, "one beside the other"),
            (r#"{"a":{"b":1},"b":{},"a":0}"#, true, "after an object"),
            (
                r#"{"a\"":1,"a\\":"\"a\":","a":2}"#,
                false,
                "quotes in strings",
            ),
            (r#"{"\ud800":1,"\ud801":2}"#, false, "halves of pairs"),
            (r#"{"\ud800":1,"\ud800":2}"#, true, "the same half"),
            (r#"["a","a"]"#, false, "no keys at all"),
        ];
        for (json, expected, reason) in cases {
            assert!(is_json(json), "{json}");
            assert_eq!(repeated_key(json).is_some(), expected, "{reason}");
        }
    }

    proptest! {
        #[test]
        fn escaped_text_reads_back_and_its_length_is_known(text in any::<String>(), room in 0..40usize) {
            let mut out = Vec::new();
            push_string(&text, &mut out);
            prop_assert_eq!(&serde_json::from_slice::<String>(&out).unwrap(), &text);
            prop_assert_eq!(text.chars().map(escaped_len).sum::<usize>() + 2, out.len());
            let start = escaped_prefix(&text, room);
            prop_assert!(text.starts_with(start));
            prop_assert!(start.chars().map(escaped_len).sum::<usize>() <= room);
        }
    }
}
