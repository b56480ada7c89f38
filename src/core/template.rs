//! Texts with `{placeholders}`: parsed once, rendered per message, encoded for their place.
//!
//! A placeholder is `{` followed by a lower-case letter, up to the next `}`; any other `{` is
//! itself, so JSON needs no escapes; `{{` is a `{` before a letter.

use std::fmt;

use crate::core::route::Capture;
use crate::core::secret::Secret;

/// Where a rendered text goes: decides how values are encoded and which ones may stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An MQTT topic: a value is one level, never `+`, `#`, NUL or empty.
    Topic,
    /// A URL path: a value is one segment, percent-encoded, never empty, `.` or `..`.
    Path,
    /// The value of a query parameter, percent-encoded.
    Query,
    /// The value of a header field: no control characters.
    Header,
    /// A JSON body: inside a string a value is escaped, elsewhere it must be JSON itself.
    Json,
    /// A body or payload that is not JSON: values as they are.
    Text,
    /// A host name: a value is one label.
    Host,
}

impl Place {
    /// Returns [`Place::Json`] for a body that is written as JSON, else [`Place::Text`].
    ///
    /// JSON is told by its first character; a body that is a lone `{payload}` is text.
    pub fn of_body(_text: &str) -> Self {
        todo!()
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
pub struct Template {}

/// Why a text is not a template, for the person who wrote it: `what; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError(pub String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Template {
    /// Parses a template for its place.
    ///
    /// # Errors
    /// Names the placeholder that is unknown or may not stand there, and what may.
    pub fn parse(_text: &str, _scope: Scope<'_>) -> Result<Self, TemplateError> {
        todo!()
    }

    /// Returns the names of the placeholders, without braces.
    pub fn names(&self) -> Vec<&str> {
        todo!()
    }

    /// Returns whether a `{secret.…}` stands in it.
    pub fn holds_secret(&self) -> bool {
        todo!()
    }

    /// Returns the text without placeholders, `None` if there is a placeholder.
    pub fn as_literal(&self) -> Option<&str> {
        todo!()
    }
}
