//! The few things about JSON text that templates and replies share: what is JSON, and escapes.

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
