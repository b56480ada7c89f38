//! JSON pointers (RFC 6901) into a response, answered byte for byte.
//!
//! A number keeps every digit, since nothing is converted. Where an object repeats a key, the
//! last one counts, as with most JSON readers. Depth is bounded by the pointer's tokens.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::core::json;

/// Most tokens of one pointer: each takes one more look at the text.
const MAX_TOKENS: usize = 32;

/// Why a pointer has no value in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The text is not one JSON value.
    NotJson,
    /// Nothing stands there.
    NoSuchValue,
}

/// Checks the syntax of a JSON pointer: empty, or `/` before each token, `~` only in `~0` and `~1`.
///
/// # Errors
/// Says what is wrong and what to write: `what; remedy`.
pub fn check(pointer: &str) -> Result<(), String> {
    let Some(tokens) = pointer.strip_prefix('/') else {
        return if pointer.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "`{pointer}` is not a JSON pointer; write `/{pointer}`"
            ))
        };
    };
    if tokens
        .split('~')
        .skip(1)
        .any(|rest| !rest.starts_with(['0', '1']))
    {
        return Err(format!(
            "`{pointer}` has a `~` of its own; write `~0` for `~` and `~1` for `/` in a name"
        ));
    }
    if tokens.split('/').count() > MAX_TOKENS {
        return Err(format!(
            "`{pointer}` is deeper than {MAX_TOKENS} levels; select a value further up"
        ));
    }
    Ok(())
}

/// Returns the value that the pointer names, exactly as it is written in the text.
pub(crate) fn find<'j>(text: &'j str, pointer: &str) -> Result<&'j str, Missing> {
    let whole: &RawValue = serde_json::from_str(text).map_err(|_| Missing::NotJson)?;
    let mut value = whole.get();
    for token in pointer.split('/').skip(1) {
        value = if token.contains('~') {
            step(value, &token.replace("~1", "/").replace("~0", "~"))?
        } else {
            step(value, token)?
        };
    }
    Ok(value)
}

/// Returns the value as a person reads it: a string without quotes and escapes, else its JSON.
pub(crate) fn as_text(value: &str) -> String {
    json::unquote(value).unwrap_or_else(|| value.to_owned())
}

fn step<'j>(value: &'j str, token: &str) -> Result<&'j str, Missing> {
    // Scalars have no members, and reading one could fail: 1e999 is JSON, but no `f64`.
    if !value.starts_with(['{', '[']) {
        return Err(Missing::NoSuchValue);
    }
    let mut reader = serde_json::Deserializer::from_str(value);
    let found = Step(token).deserialize(&mut reader);
    // What cannot be read here was read as a whole before: only an odd key is left to fail.
    let found = found.map_err(|_| Missing::NoSuchValue)?;
    found.map(RawValue::get).ok_or(Missing::NoSuchValue)
}

/// Reads one object or array and keeps the member that the token names.
struct Step<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(hit) = map.next_key_seed(KeyIs(self.0))? {
            if hit {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let index = array_index(self.0);
        let mut found = None;
        let mut at = 0_usize;
        loop {
            if Some(at) == index {
                found = seq.next_element()?;
                if found.is_none() {
                    break;
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
            at += 1;
        }
        Ok(found)
    }
}

/// Digits without a leading zero (RFC 6901 §4).
fn array_index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|b| b.is_ascii_digit());
    let canonical = token == "0" || !token.starts_with('0');
    (plain && canonical).then(|| token.parse().ok()).flatten()
}

/// Compares a key as bytes: keys with unpaired surrogates are JSON, but no `str`.
struct KeyIs<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_bytes(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<bool, E> {
        Ok(key == self.0.as_bytes())
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pointer_finds_the_value_as_it_is_written() {
        let json = r#" {"a":{"b":[10, 2.50e+3 ,{"c":"x\"y"}]},"a/b":1,"m~n":2,"":3,"é":4,"k":1,"k":12345678901234567890123,"0":7} "#;
        let cases = [
            ("", Ok(json.trim()), "the whole"),
            ("/a/b/0", Ok("10"), "an index"),
            ("/a/b/1", Ok("2.50e+3"), "a number keeps its form"),
            ("/a/b/2/c", Ok(r#""x\"y""#), "a string keeps its escapes"),
            ("/a~1b", Ok("1"), "`~1` is `/`"),
            ("/m~0n", Ok("2"), "`~0` is `~`"),
            ("/", Ok("3"), "the empty key"),
            ("/é", Ok("4"), "a key outside ASCII"),
            (
                "/k",
                Ok("12345678901234567890123"),
                "the last of two, every digit",
            ),
            ("/0", Ok("7"), "a digit is a key in an object"),
            ("/a/b/3", Err(Missing::NoSuchValue), "beyond the end"),
            ("/a/b/00", Err(Missing::NoSuchValue), "a leading zero"),
            ("/a/b/-", Err(Missing::NoSuchValue), "`-` is behind the end"),
            ("/a/b/0/c", Err(Missing::NoSuchValue), "into a number"),
            ("/x", Err(Missing::NoSuchValue), "no such key"),
        ];
        for (pointer, expected, reason) in cases {
            assert_eq!(find(json, pointer), expected, "{pointer}: {reason}");
        }
        assert_eq!(find("{\"a\":1", "/a"), Err(Missing::NotJson));
        assert_eq!(find(r#"{"\ud800":1,"a":2}"#, "/a"), Ok("2"));
        assert_eq!(find("1e999", "/a"), Err(Missing::NoSuchValue));
    }

    #[test]
    fn deep_nesting_is_walked_without_recursion_over_the_text() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
        assert_eq!(find(&deep, "/a/0/0").unwrap().len(), 39_996);
    }

    #[test]
    fn malformed_pointers_are_told_apart() {
        let cases = [
            ("title", "`title` is not a JSON pointer; write `/title`"),
            (
                "/a~b",
                "`/a~b` has a `~` of its own; write `~0` for `~` and `~1` for `/` in a name",
            ),
        ];
        for (pointer, message) in cases {
            assert_eq!(check(pointer).unwrap_err(), message);
        }
        for pointer in ["", "/", "/a/0", "/a~0b~1c"] {
            assert_eq!(check(pointer), Ok(()), "{pointer}");
        }
        assert_eq!(
            check(&"/a".repeat(33)).unwrap_err(),
            format!(
                "`{}` is deeper than 32 levels; select a value further up",
                "/a".repeat(33)
            )
        );
    }

    proptest! {
        #[test]
        fn any_text_and_pointer_are_survived(text in any::<String>(), pointer in "(/[a-z0~1]{0,3}){0,4}") {
            let _ = find(&text, &pointer);
        }
    }
}
