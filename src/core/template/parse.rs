//! From the text in `bridge.toml` to a template: placeholders found, the rest checked.

use crate::core::json;
use crate::core::secret::Secret;
use crate::core::template::names::Name;
use crate::core::template::{Part, Place, Scope, Template, TemplateError, encode};

impl Template {
    /// Parses a template for its place.
    ///
    /// # Errors
    /// Names the placeholder that is unknown or may not stand there, and what may.
    pub fn parse(text: &str, scope: Scope<'_>) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut state = JsonState::default();
        let mut form_key = true;
        let mut in_key = false;
        for piece in split(text)? {
            match piece {
                Piece::Text(literal) => {
                    encode::check_literal(&literal, scope.place).map_err(TemplateError)?;
                    state.read(&literal);
                    if let Some(at) = literal.rfind(['&', '=']) {
                        form_key = literal.get(at..).is_some_and(|it| it.starts_with('&'));
                    }
                    let literal = if scope.place == Place::Query {
                        encode::percent_encode(literal.as_bytes())
                    } else {
                        literal
                    };
                    parts.push(Part::Text(literal.into()));
                }
                Piece::Placeholder(label) => {
                    state.holds_value = state.in_string;
                    in_key |= scope.place == Place::Form && form_key;
                    parts.push(placeholder(label, scope, state.in_string)?);
                }
            }
        }
        let template = Self {
            source: text.into(),
            place: scope.place,
            parts,
            in_key: in_key || (scope.place == Place::Json && state.in_key),
        };
        template.check_whole()?;
        Ok(template)
    }

    fn check_whole(&self) -> Result<(), TemplateError> {
        let checked = match self.place {
            Place::Json => self.check_json(),
            Place::Path => encode::check_path(&self.with_sample("x")),
            Place::Topic => encode::check_topic(&self.with_sample("x")),
            Place::Host => self.check_host(),
            Place::Query | Place::Header | Place::Form | Place::Text => Ok(()),
        };
        checked.map_err(TemplateError)
    }

    fn check_json(&self) -> Result<(), String> {
        let sample = self.with_labels();
        let Some(sample) = json::as_json(&sample) else {
            return Err("the body is not JSON around its placeholders; correct it, with a placeholder in place of a value or inside of a string".to_owned());
        };
        match json::repeated_key(sample) {
            None => Ok(()),
            Some(key) => Err(format!(
                "an object of the body has the key `{key}` twice; remove one of the two"
            )),
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
        Place::Header | Place::Query | Place::Json | Place::Form | Place::Text
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

/// What is known of the JSON text so far.
#[derive(Default)]
struct JsonState {
    /// It ends inside of a string.
    in_string: bool,
    escaped: bool,
    /// A placeholder stands in the string it ends with.
    holds_value: bool,
    /// A placeholder stood in a key.
    in_key: bool,
}

impl JsonState {
    fn read(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' if self.in_string => self.escaped = true,
                '"' => self.in_string = !self.in_string,
                _ if self.in_string || c.is_ascii_whitespace() => {}
                _ => {
                    self.in_key |= c == ':' && self.holds_value;
                    self.holds_value = false;
                }
            }
        }
    }
}
