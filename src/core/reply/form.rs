//! How payloads look: plain text, one JSON object, or the owner's template.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::core::json;
use crate::core::reply::answer::Answer;
use crate::core::select;

/// The body of a success in plain form: a selected string without its quotes.
pub(super) fn plain_body<'a>(answer: &'a Answer<'_>) -> Cow<'a, [u8]> {
    let body = answer.body.as_deref().unwrap_or_default();
    match std::str::from_utf8(body) {
        Ok(text) if answer.selected => select::as_text(text).into_bytes().into(),
        _ => body.into(),
    }
}

/// A failure in plain form without its detail: `code status-or-dash`.
pub(super) fn plain_head(answer: &Answer<'_>) -> String {
    match answer.telling_status() {
        Some(status) => format!("{} {status}", answer.code()),
        None => format!("{} -", answer.code()),
    }
}

/// How much of the body a JSON object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyPart {
    /// All of it.
    Whole,
    /// As much as fits into an object of so many bytes, as a string, and the full size.
    Start(usize),
    /// None.
    None,
}

/// How much of a failure's detail a JSON object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// All of it.
    Whole,
    /// As much as fits into an object of so many bytes.
    Start(usize),
    /// Neither detail nor status.
    None,
}

/// Writes an answer as one JSON object, the body last. `None` if a part of it is asked for and
/// nothing of it fits.
pub(super) fn json_object(answer: &Answer<'_>, body: BodyPart, detail: Detail) -> Option<Vec<u8>> {
    let size = answer.body.as_ref().map_or(0, |body| body.len());
    let mut out = Vec::with_capacity(size + 96);
    let ok = answer.code.is_none();
    out.extend_from_slice(if ok {
        b"{\"ok\":true"
    } else {
        b"{\"ok\":false"
    });
    if let (Some(status), true) = (answer.status, detail != Detail::None) {
        out.extend_from_slice(format!(",\"status\":{status}").as_bytes());
    }
    if !ok {
        push_failure(answer, detail, &mut out)?;
    }
    if let Some(bytes) = &answer.body {
        match body {
            BodyPart::Whole => push_body(bytes, answer.selected, &mut out),
            BodyPart::Start(room) => push_start(bytes, room, &mut out)?,
            BodyPart::None => {}
        }
    }
    out.push(b'}');
    Some(out)
}

fn push_failure(answer: &Answer<'_>, detail: Detail, out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(format!(",\"error\":\"{}\"", answer.code()).as_bytes());
    let text = match detail {
        Detail::Whole => &*answer.detail,
        // Quotes and the brace at the end of the object.
        Detail::Start(room) => {
            let room = room.checked_sub(out.len() + ",\"detail\":\"\"}".len())?;
            json::escaped_prefix(&answer.detail, room)
        }
        Detail::None => return Some(()),
    };
    out.extend_from_slice(b",\"detail\":");
    json::push_string(text, out);
    Some(())
}

/// JSON stays as it is, text becomes a string, other bytes base64.
fn push_body(bytes: &[u8], selected: bool, out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) if selected || json::is_json(text) => {
            out.extend_from_slice(b",\"body\":");
            out.extend_from_slice(bytes);
        }
        Ok(text) => {
            out.extend_from_slice(b",\"body\":");
            json::push_string(text, out);
        }
        Err(_) => {
            out.extend_from_slice(b",\"encoding\":\"base64\",\"body\":\"");
            out.extend_from_slice(BASE64.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
}

fn push_start(bytes: &[u8], room: usize, out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(format!(",\"truncated\":{}", bytes.len()).as_bytes());
    let end = "\"}".len();
    if let Ok(text) = std::str::from_utf8(bytes) {
        out.extend_from_slice(b",\"body\":\"");
        let room = room.checked_sub(out.len() + end)?;
        json::push_escaped(json::escaped_prefix(text, room), out);
    } else {
        out.extend_from_slice(b",\"encoding\":\"base64\",\"body\":\"");
        let room = room.checked_sub(out.len() + end)?;
        let start = bytes.get(..room / 4 * 3).unwrap_or(bytes);
        out.extend_from_slice(BASE64.encode(start).as_bytes());
    }
    out.push(b'"');
    Some(())
}
