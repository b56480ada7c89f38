//! Texts with `{placeholders}`: parsed once, rendered per message, encoded for their place.
//!
//! A placeholder is `{` followed by a lower-case letter, up to the next `}`; any other `{` is
//! itself, so JSON needs no escapes; `{{` is a `{` before a letter.
//!
//! What may stand where is decided at parse time, for the person who writes `bridge.toml`; what a
//! value may hold is decided at render time, for the node that sent it.

mod encode;
mod names;
mod parse;
mod render;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::core::route::Capture;
use crate::core::secret::Secret;

pub(crate) use encode::percent_encode;
use names::Name;
pub(crate) use names::RESERVED;
pub(crate) use render::{MessageId, ReplyValues, Values};

/// The content type of HTML forms (WHATWG URL §5).
const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// Where a rendered text goes: decides how values are encoded and which ones may stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An MQTT topic: a value is one level, never `+`, `#`, NUL or empty.
    Topic,
    /// A URL path: a value is one segment, percent-encoded, never empty, `.` or `..`.
    Path,
    /// The value of a query parameter, percent-encoded.
    Query,
    /// The value of a header field: visible ASCII and spaces, no control characters.
    Header,
    /// A JSON body: inside a string a value is escaped, elsewhere it must be JSON itself. A
    /// key that it makes is not one that the object has already.
    Json,
    /// A body of `application/x-www-form-urlencoded`: values percent-encoded, the fixed text as
    /// it is. A key that a value makes is not one that stands there already.
    Form,
    /// A body or payload that is neither: values as they are.
    Text,
    /// A host name: a value is one label.
    Host,
}

impl Place {
    /// Returns [`Place::Form`] for a body that is sent as a form, [`Place::Json`] for one that is
    /// written as JSON, else [`Place::Text`].
    ///
    /// A form is told by the fixed content type that goes with it, JSON by its first character; a
    /// body that is a lone `{payload}` is text, whatever its type: the node wrote all of it.
    pub fn of_body(text: &str, content_type: Option<&str>) -> Self {
        let essence = content_type.and_then(|it| it.split(';').next());
        let form = essence.is_some_and(|it| it.trim().eq_ignore_ascii_case(FORM_TYPE));
        if form && text != "{payload}" {
            return Self::Form;
        }
        let text = text.trim_start();
        let object = text
            .strip_prefix('{')
            .is_some_and(|rest| !rest.starts_with(|c: char| c == '{' || c.is_ascii_lowercase()));
        if object || text.starts_with(['[', '"']) {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// Returns the place in words.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "a topic",
            Self::Path => "a path",
            Self::Query => "a query",
            Self::Header => "a header",
            Self::Json | Self::Form | Self::Text => "a body",
            Self::Host => "a host name",
        }
    }
}

/// What a template may refer to.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// Where the text will stand.
    pub place: Place,
    /// The route's captures, as in [`crate::core::route::RouteTopic::captures`].
    pub captures: &'a [Capture],
    /// Looks a `{secret.name}` up; `None` where the name is not defined.
    pub secret: &'a dyn Fn(&str) -> Option<Secret>,
    /// Whether values of the outcome are known too: `{outcome}`, `{code}`, `{status}`, `{body}` …
    pub reply: bool,
}

/// A parsed text with placeholders.
#[derive(Clone, Debug)]
pub struct Template {
    source: Box<str>,
    place: Place,
    parts: Vec<Part>,
    /// Whether a placeholder stands in a key of a JSON object or a form.
    in_key: bool,
}

#[derive(Clone, Debug)]
enum Part {
    /// As it will stand in the result.
    Text(Box<str>),
    Value {
        name: Name,
        /// As written between the braces.
        label: Box<str>,
        /// Whether it stands inside a JSON string.
        quoted: bool,
    },
    /// Encoded for its place already.
    Secret { label: Box<str>, encoded: Secret },
}

/// Why a text is not a template, for the person who wrote it: `what; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError(pub String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Returns the names of the placeholders, without braces.
    pub fn names(&self) -> Vec<&str> {
        self.parts.iter().filter_map(Part::label).collect()
    }

    /// Returns whether a `{secret.…}` stands in it.
    pub fn holds_secret(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Secret { .. }))
    }

    /// Returns the text without placeholders, `None` if there is a placeholder.
    pub fn as_literal(&self) -> Option<&str> {
        let literal = self.parts.iter().all(|part| matches!(part, Part::Text(_)));
        literal.then_some(&*self.source)
    }

    /// Returns the text before the first placeholder.
    pub fn fixed_start(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            Some(Part::Value { .. } | Part::Secret { .. }) | None => "",
        }
    }

    /// Returns the text as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Returns where the text stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Returns whether it is nothing but `{payload}`.
    pub(crate) fn is_payload(&self) -> bool {
        matches!(
            self.parts.as_slice(),
            [Part::Value {
                name: Name::Payload,
                ..
            }]
        )
    }

    /// Returns whether the placeholder `{outcome}` stands in it.
    pub fn names_outcome(&self) -> bool {
        self.names().contains(&"outcome")
    }

    /// Returns the text with `value` for each placeholder, for checks of the whole.
    pub(crate) fn with_sample(&self, value: &str) -> String {
        self.parts.iter().fold(String::new(), |whole, part| {
            whole
                + match part {
                    Part::Text(text) => text,
                    Part::Value { .. } | Part::Secret { .. } => value,
                }
        })
    }

    /// Returns the text with the label of each placeholder as its value, so that different
    /// placeholders are different values; `null` where JSON has to stand.
    fn with_labels(&self) -> Vec<u8> {
        let mut whole = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => whole.extend_from_slice(text.as_bytes()),
                Part::Value { quoted: false, .. } if self.place == Place::Json => {
                    whole.extend_from_slice(b"null");
                }
                Part::Value { label, .. } | Part::Secret { label, .. } => {
                    let value = format!("{{{label}}}");
                    // Text can be encoded for any body.
                    let _ = encode::push(value.as_bytes(), self.place, true, &mut whole);
                }
            }
        }
        whole
    }
}

impl Part {
    fn label(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Value { label, .. } | Self::Secret { label, .. } => Some(label),
        }
    }
}
