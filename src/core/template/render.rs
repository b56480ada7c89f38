//! Rendering: the values of one message put in their places.

use std::borrow::Cow;
use std::fmt;

use crate::core::bridge::Publisher;
use crate::core::calendar::iso8601;
use crate::core::json;
use crate::core::message::Message;
use crate::core::outcome::{Code, Failure};
use crate::core::select::{self, Missing};
use crate::core::template::names::Name;
use crate::core::template::{Part, Place, Template, encode};

/// What stands for a secret where a person looks.
const MASK: &[u8] = b"***";

/// What is known about one message, and about its outcome when there is one.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    /// The message.
    pub(crate) message: &'a Message,
    /// Who published it.
    pub(crate) publisher: &'a Publisher,
    /// `{gateway}`.
    pub(crate) gateway: &'a str,
    /// `{message_id}`.
    pub(crate) id: MessageId,
    /// `{time}`, seconds since 1970.
    pub(crate) unix_time: u64,
    /// Values of the outcome, once there is one.
    pub(crate) reply: Option<ReplyValues<'a>>,
    /// Whether secrets are shown as `***`.
    pub(crate) mask_secrets: bool,
}

/// What a reply template can say about the outcome.
#[derive(Clone, Copy)]
pub(crate) struct ReplyValues<'a> {
    /// `{outcome}`.
    pub(crate) outcome: &'static str,
    /// `{code}`: `ok` or a failure code.
    pub(crate) code: &'static str,
    /// `{status}`.
    pub(crate) status: Option<u16>,
    /// `{detail}`.
    pub(crate) detail: &'a str,
    /// `{body}`.
    pub(crate) body: &'a [u8],
    /// Whether `body` is one JSON value that was selected.
    pub(crate) selected: bool,
    /// What `{body./pointer}` looks into.
    pub(crate) whole: &'a [u8],
}

/// `{message_id}`: the same for all attempts of a message, never the same for two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageId {
    /// Tells this start of the program from others.
    pub(crate) boot: u32,
    /// Counts the messages since then.
    pub(crate) number: usize,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}", self.boot, self.number)
    }
}

/// A value before it is encoded.
enum Value<'a> {
    /// Text or bytes as they are.
    Plain(Cow<'a, [u8]>),
    /// JSON text, to be unquoted where JSON has no meaning.
    Json(&'a str),
}

impl Template {
    /// Appends the rendered text to `out`, which may grow by `limit` bytes.
    ///
    /// # Errors
    /// `bridge.bad_request` naming the placeholder and what is wrong with its value. A template
    /// of a reply (one whose `values` have an outcome) always renders, unless it is too long.
    pub(crate) fn render(
        &self,
        values: &Values<'_>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let start = out.len();
        // The body, without JSON that is the value of a placeholder.
        let mut frame = Vec::new();
        for part in &self.parts {
            let before = out.len();
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Secret { .. } if values.mask_secrets => out.extend_from_slice(MASK),
                Part::Secret { encoded, .. } => out.extend_from_slice(encoded.expose().as_bytes()),
                Part::Value {
                    name,
                    label,
                    quoted,
                } => self.push_value(name, label, *quoted, values, out)?,
            }
            if self.in_key {
                frame.extend_from_slice(match part {
                    Part::Value { quoted: false, .. } if self.place == Place::Json => b"null",
                    _ => out.get(before..).unwrap_or_default(),
                });
            }
            if out.len() - start > limit {
                return Err(bad_request(format!(
                    "{} would be longer than {limit} bytes",
                    self.place.as_str()
                )));
            }
        }
        if self.place == Place::Path {
            self.check_segments(out.get(start..).unwrap_or_default())?;
        }
        // A reply always renders, and what it says is for the node alone.
        if self.in_key && values.reply.is_none() {
            self.check_keys(&frame)?;
        }
        Ok(())
    }

    /// Renders a text that is not a body: everything in it is UTF-8.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub(crate) fn render_text(&self, values: &Values<'_>, limit: usize) -> Result<String, Failure> {
        let mut out = Vec::with_capacity(self.source.len() + 32);
        self.render(values, limit, &mut out)?;
        String::from_utf8(out).map_err(|_| bad_request("a value is not UTF-8".to_owned()))
    }

    /// Renders a topic with `_` for each value that can not stand in it or is longer than
    /// `longest` bytes: where the node is told that its message can not be used.
    pub(crate) fn render_anyway(&self, values: &Values<'_>, longest: usize) -> String {
        let mut topic = Vec::with_capacity(self.source.len() + 32);
        for part in &self.parts {
            let Part::Value {
                name,
                label,
                quoted,
            } = part
            else {
                if let Part::Text(text) = part {
                    topic.extend_from_slice(text.as_bytes());
                }
                continue;
            };
            let start = topic.len();
            let pushed = self.push_value(name, label, *quoted, values, &mut topic);
            let own = topic.get(start..).unwrap_or_default();
            if pushed.is_err() || own.len() > longest || (start == 0 && own.starts_with(b"$")) {
                topic.truncate(start);
                topic.push(b'_');
            }
        }
        String::from_utf8_lossy(&topic).into_owned()
    }

    fn push_value(
        &self,
        name: &Name,
        label: &str,
        quoted: bool,
        values: &Values<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let lenient = values.reply.is_some() && self.place != Place::Topic;
        let raw_json = self.place == Place::Json && !quoted;
        let value = match values.value(name) {
            Err(_) if lenient && raw_json => Value::Json("null"),
            Err(_) if lenient && *name == Name::Status => text("-"),
            Err(_) if lenient => text(""),
            found => found.map_err(|missing| no_value(label, missing))?,
        };
        let start = out.len();
        let pushed = match &value {
            Value::Json(text) if raw_json => {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Value::Json(text)
                if text.starts_with('"') && json::unquote(text).is_none() && !lenient =>
            {
                Err("is not text: it holds half of a surrogate pair")
            }
            Value::Json(text) => {
                let text = select::as_text(text);
                encode::push(text.as_bytes(), self.place, quoted, out)
            }
            // The caller's mark for an outcome that is not known yet.
            Value::Plain(bytes) if self.place == Place::Topic && *name == Name::Outcome => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Value::Plain(bytes) if self.place == Place::Path && name.has_levels() => {
                encode::push_segments(bytes, out)
            }
            Value::Plain(bytes) => encode::push(bytes, self.place, quoted, out),
        };
        match (pushed, value) {
            (Ok(()), _) => {}
            (Err(_), Value::Plain(bytes)) if lenient => {
                out.truncate(start);
                push_lenient(&bytes, quoted, out);
            }
            (Err(why), _) => return Err(bad_request(format!("`{{{label}}}` {why}"))),
        }
        Ok(())
    }

    /// A value can make a dot segment together with the text around it: whole segments count.
    fn check_segments(&self, path: &[u8]) -> Result<(), Failure> {
        let path = std::str::from_utf8(path).unwrap_or_default();
        let Some(bad) = path.split('/').find(|segment| {
            // Some servers take what follows a `;` for a parameter of the segment.
            let name = segment.split(';').next().unwrap_or_default();
            encode::is_dot_segment(name)
        }) else {
            return Ok(());
        };
        Err(bad_request(format!(
            "{} would make a path segment `{bad}`",
            self.labels()
        )))
    }

    /// A value that repeats a key would take the place of what the owner wrote.
    fn check_keys(&self, frame: &[u8]) -> Result<(), Failure> {
        // Some readers take `ID` for `id`.
        let (frame, written) = (frame.to_ascii_lowercase(), self.with_labels());
        let written = written.to_ascii_lowercase();
        let repeats = if self.place == Place::Form {
            // The owner may write a key twice, as forms do.
            encode::form_keys(&frame).len() < encode::form_keys(&written).len()
        } else {
            let repeats = |json: &[u8]| {
                let json = std::str::from_utf8(json).unwrap_or_default();
                json::repeated_key(json).is_some()
            };
            repeats(&frame) && !repeats(&written)
        };
        if !repeats {
            return Ok(());
        }
        Err(bad_request(format!(
            "{} would make a key that the body has already",
            self.labels()
        )))
    }

    fn labels(&self) -> String {
        let names = self.names();
        let labels: Vec<_> = names.iter().map(|name| format!("`{{{name}}}`")).collect();
        labels.join(", ")
    }
}

impl<'a> Values<'a> {
    fn value(&self, name: &Name) -> Result<Value<'a>, Missing> {
        let reply = self.reply.as_ref();
        Ok(match name {
            Name::Capture { level, rest } => {
                text(capture(self.message.topic.as_str(), *level, *rest))
            }
            Name::User => text(self.publisher.user.as_deref().unwrap_or_default()),
            Name::Client => text(&self.publisher.client),
            Name::Gateway => text(self.gateway),
            Name::MessageId => Value::Plain(self.id.to_string().into_bytes().into()),
            Name::Topic => text(self.message.topic.as_str()),
            Name::Time => Value::Plain(iso8601(self.unix_time).into_bytes().into()),
            Name::Payload => Value::Plain(Cow::Borrowed(&self.message.payload)),
            Name::PayloadAt(pointer) => Value::Json(find(&self.message.payload, pointer)?),
            Name::Outcome => text(reply.map_or("", |reply| reply.outcome)),
            Name::Code => text(reply.map_or("", |reply| reply.code)),
            Name::Detail => text(reply.map_or("", |reply| reply.detail)),
            Name::Status => match reply.and_then(|reply| reply.status) {
                Some(status) => Value::Plain(status.to_string().into_bytes().into()),
                None => return Err(Missing::NoSuchValue),
            },
            Name::Body => match reply {
                None => text(""),
                Some(reply) => match std::str::from_utf8(reply.body) {
                    Ok(json) if reply.selected => Value::Json(json),
                    _ => Value::Plain(Cow::Borrowed(reply.body)),
                },
            },
            Name::BodyAt(pointer) => {
                Value::Json(find(reply.map_or(&[], |reply| reply.whole), pointer)?)
            }
        })
    }
}

fn text(value: &str) -> Value<'_> {
    Value::Plain(Cow::Borrowed(value.as_bytes()))
}

fn find<'j>(bytes: &'j [u8], pointer: &str) -> Result<&'j str, Missing> {
    let text = std::str::from_utf8(bytes).map_err(|_| Missing::NotJson)?;
    select::find(text, pointer)
}

/// Returns one level of a topic, or everything from there on.
fn capture(topic: &str, level: usize, rest: bool) -> &str {
    let mut left = topic;
    for _ in 0..level {
        left = left.split_once('/').map_or("", |(_, after)| after);
    }
    if rest {
        left
    } else {
        left.split('/').next().unwrap_or_default()
    }
}

/// Puts a value that is not JSON into a JSON reply all the same: a reply has to arrive.
fn push_lenient(value: &[u8], quoted: bool, out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(value);
    if quoted {
        json::push_escaped(&text, out);
    } else {
        json::push_string(&text, out);
    }
}

fn no_value(label: &str, missing: Missing) -> Failure {
    bad_request(match missing {
        Missing::NotJson => format!("`{{{label}}}` has no value: the payload is not JSON"),
        Missing::NoSuchValue => format!("`{{{label}}}` has no value in the payload"),
    })
}

fn bad_request(detail: String) -> Failure {
    Failure::new(Code::BridgeBadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_one_level_or_the_rest() {
        let cases = [
            ("a/b/c", 0, false, "a"),
            ("a/b/c", 2, false, "c"),
            ("a/b/c", 1, true, "b/c"),
            ("a//c", 1, false, ""),
            ("a", 3, false, ""),
        ];
        for (topic, level, rest, expected) in cases {
            assert_eq!(capture(topic, level, rest), expected, "{topic} {level}");
        }
    }
}
