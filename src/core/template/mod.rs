//! Texts with `{placeholders}`: parsed once, rendered per message, encoded for their place.
//!
//! A placeholder is `{` followed by a lower-case letter, up to the next `}`; any other `{` is
//! itself, so JSON needs no escapes; `{{` is a `{` before a letter.
//!
//! What may stand where is decided at parse time, for the person who writes `bridge.toml`; what a
//! value may hold is decided at render time, for the node that sent it.

mod encode;
mod names;
mod render;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::core::json;
use crate::core::route::Capture;
use crate::core::secret::Secret;

pub(crate) use encode::percent_encode;
use names::Name;
pub(crate) use names::RESERVED;
pub(crate) use render::{MessageId, ReplyValues, Values};

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
    pub fn of_body(text: &str) -> Self {
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
            Self::Json | Self::Text => "a body",
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
    /// Parses a template for its place.
    ///
    /// # Errors
    /// Names the placeholder that is unknown or may not stand there, and what may.
    pub fn parse(text: &str, scope: Scope<'_>) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut state = JsonState::default();
        for piece in split(text)? {
            match piece {
                Piece::Text(literal) => {
                    encode::check_literal(&literal, scope.place).map_err(TemplateError)?;
                    state.read(&literal);
                    let literal = if scope.place == Place::Query {
                        encode::percent_encode(literal.as_bytes())
                    } else {
                        literal
                    };
                    parts.push(Part::Text(literal.into()));
                }
                Piece::Placeholder(label) => {
                    parts.push(placeholder(label, scope, state.in_string)?);
                }
            }
        }
        let template = Self {
            source: text.into(),
            place: scope.place,
            parts,
        };
        template.check_whole()?;
        Ok(template)
    }

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

    fn check_whole(&self) -> Result<(), TemplateError> {
        let checked = match self.place {
            Place::Json => self.check_json(),
            Place::Path => encode::check_path(&self.with_sample("x")),
            Place::Topic => encode::check_topic(&self.with_sample("x")),
            Place::Host => self.check_host(),
            Place::Query | Place::Header | Place::Text => Ok(()),
        };
        checked.map_err(TemplateError)
    }

    fn check_json(&self) -> Result<(), String> {
        let sample = self.parts.iter().fold(String::new(), |whole, part| {
            whole
                + match part {
                    Part::Text(text) => text,
                    Part::Value { quoted: true, .. } | Part::Secret { .. } => "x",
                    Part::Value { quoted: false, .. } => "null",
                }
        });
        if json::is_json(&sample) {
            Ok(())
        } else {
            Err("the body is not JSON around its placeholders; correct it, with a placeholder in place of a value or inside of a string".to_owned())
        }
    }

    /// A captured label is a whole one, and at least two fixed labels follow it, so that no
    /// capture can lead out of the owner's domain.
    fn check_host(&self) -> Result<(), String> {
        if self.as_literal().is_some() {
            return Ok(());
        }
        // `{` cannot stand in the fixed part, so each one in the sample is a placeholder.
        let sample = self.with_sample("{");
        let labels: Vec<_> = sample.split('.').collect();
        let last = labels.iter().rposition(|label| label.contains('{'));
        let whole = labels
            .iter()
            .all(|label| *label == "{" || !label.contains('{'));
        let fixed = last.map_or(0, |at| labels.len().saturating_sub(at + 1));
        let valid = labels
            .iter()
            .all(|label| *label == "{" || encode::is_label(label));
        if !whole {
            Err(format!(
                "in `{}` a placeholder is part of a label; make it the whole label",
                self.source
            ))
        } else if fixed < 2 {
            Err(format!(
                "in `{}` fewer than two fixed labels follow the placeholder; write a host such as `{{name}}.example.com`",
                self.source
            ))
        } else if !valid {
            Err(format!(
                "`{}` is not a host name; write lower-case letters, digits and `-` between the dots",
                self.source
            ))
        } else {
            Ok(())
        }
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

fn placeholder(label: &str, scope: Scope<'_>, in_string: bool) -> Result<Part, TemplateError> {
    if let Some(secret) = label.strip_prefix("secret.") {
        return secret_part(label, secret, scope, in_string);
    }
    let name = Name::parse(label, scope).map_err(TemplateError)?;
    if scope.place == Place::Json && !in_string && name.is_text() {
        return Err(TemplateError(format!(
            "`{{{label}}}` is text and stands outside of a JSON string; write `\"{{{label}}}\"`"
        )));
    }
    Ok(Part::Value {
        name,
        label: label.into(),
        quoted: in_string,
    })
}

fn secret_part(
    label: &str,
    name: &str,
    scope: Scope<'_>,
    in_string: bool,
) -> Result<Part, TemplateError> {
    let may_stand = matches!(
        scope.place,
        Place::Header | Place::Query | Place::Json | Place::Text
    );
    if !may_stand || scope.reply {
        let place = if scope.reply {
            "a reply"
        } else {
            scope.place.as_str()
        };
        return Err(TemplateError(format!(
            "`{{{label}}}` would show a secret in {place}; use secrets in headers, query and body only"
        )));
    }
    if scope.place == Place::Json && !in_string {
        return Err(TemplateError(format!(
            "`{{{label}}}` is text and stands outside of a JSON string; write `\"{{{label}}}\"`"
        )));
    }
    let Some(secret) = (scope.secret)(name) else {
        return Err(TemplateError(format!(
            "secret `{name}` is not defined; add [secret.{name}]"
        )));
    };
    let mut out = Vec::new();
    encode::push(secret.expose().as_bytes(), scope.place, in_string, &mut out).map_err(|why| {
        TemplateError(format!(
            "secret `{name}` can not stand in {}: it {why}; correct its value",
            scope.place.as_str()
        ))
    })?;
    Ok(Part::Secret {
        label: label.into(),
        encoded: Secret::new(String::from_utf8_lossy(&out).into_owned()),
    })
}

enum Piece<'t> {
    Text(String),
    Placeholder(&'t str),
}

/// Cuts the text at its placeholders and takes the escapes `{{` out.
fn split(text: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let starts_name = |text: &str| text.starts_with(|c: char| c.is_ascii_lowercase());
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        literal.push_str(before);
        let escaped = after.strip_prefix('{').filter(|after| starts_name(after));
        if let Some(after) = escaped {
            literal.push('{');
            rest = after;
        } else if starts_name(after) {
            let Some((label, after)) = after.split_once('}') else {
                return Err(TemplateError(format!(
                    "`{{{after}` has no `}}`; close it, or write `{{{{` for a `{{` before a letter"
                )));
            };
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Placeholder(label));
            rest = after;
        } else {
            literal.push('{');
            rest = after;
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// Whether the text so far ends inside of a JSON string.
#[derive(Default)]
struct JsonState {
    in_string: bool,
    escaped: bool,
}

impl JsonState {
    fn read(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' if self.in_string => self.escaped = true,
                '"' => self.in_string = !self.in_string,
                _ => {}
            }
        }
    }
}
