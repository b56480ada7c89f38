//! The values that placeholders stand for, and which of them may stand where.

use crate::core::select;
use crate::core::template::{Place, Scope};

/// Names that are taken: a capture can not have one of them.
pub(crate) const RESERVED: [&str; 13] = [
    "user",
    "client",
    "gateway",
    "message_id",
    "topic",
    "time",
    "payload",
    "secret",
    "outcome",
    "code",
    "status",
    "detail",
    "body",
];

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A level of the message's topic, or all levels from there on.
    Capture {
        level: usize,
        rest: bool,
    },
    User,
    Client,
    Gateway,
    MessageId,
    Topic,
    Time,
    Payload,
    /// The value at a JSON pointer in the payload.
    PayloadAt(Box<str>),
    Outcome,
    Code,
    Status,
    Detail,
    /// The response, after `select`.
    Body,
    /// The value at a JSON pointer in the response, before `select`.
    BodyAt(Box<str>),
}

impl Name {
    /// Parses what stands between the braces.
    pub(super) fn parse(label: &str, scope: Scope<'_>) -> Result<Self, String> {
        let name = Self::lookup(label, scope)?;
        if let Some(name) = name.as_ref().filter(|name| name.may_stand(scope)) {
            return Ok(name.clone());
        }
        let available = available(scope);
        Err(match name {
            Some(Self::Capture { rest: true, .. }) if scope.place == Place::Topic => format!(
                "`{{{label}}}` may be several levels, which can not stand in {}; write one of {available}",
                scope.place.as_str()
            ),
            Some(_) => format!(
                "`{{{label}}}` can not stand in {}; write one of {available}",
                scope.place.as_str()
            ),
            None => format!("`{{{label}}}` is not a value; write one of {available}"),
        })
    }

    fn lookup(label: &str, scope: Scope<'_>) -> Result<Option<Self>, String> {
        if let Some((name, pointer)) = label.split_once('.') {
            let at: fn(Box<str>) -> Self = match name {
                "payload" => Self::PayloadAt,
                "body" => Self::BodyAt,
                _ => return Ok(None),
            };
            select::check(pointer)?;
            return Ok(Some(at(pointer.into())));
        }
        let capture = scope.captures.iter().find(|capture| capture.name == label);
        Ok(Some(match label {
            "user" => Self::User,
            "client" => Self::Client,
            "gateway" => Self::Gateway,
            "message_id" => Self::MessageId,
            "topic" => Self::Topic,
            "time" => Self::Time,
            "payload" => Self::Payload,
            "outcome" => Self::Outcome,
            "code" => Self::Code,
            "status" => Self::Status,
            "detail" => Self::Detail,
            "body" => Self::Body,
            _ => {
                let Some(capture) = capture else {
                    return Ok(None);
                };
                Self::Capture {
                    level: capture.level,
                    rest: capture.rest,
                }
            }
        }))
    }

    fn may_stand(&self, scope: Scope<'_>) -> bool {
        let body = matches!(scope.place, Place::Json | Place::Form | Place::Text);
        let topic = scope.place == Place::Topic;
        let host = scope.place == Place::Host;
        match self {
            Self::Capture { rest, .. } => !(*rest && (topic || host)),
            Self::User | Self::Client | Self::Gateway | Self::MessageId => !host,
            Self::Topic | Self::Time | Self::Payload | Self::PayloadAt(_) => !topic && !host,
            Self::Outcome => scope.reply && (topic || body),
            Self::Code | Self::Status | Self::Detail | Self::Body | Self::BodyAt(_) => {
                scope.reply && body
            }
        }
    }

    /// Returns whether its value is never JSON unless put in quotes.
    pub(super) fn is_text(&self) -> bool {
        match self {
            Self::User
            | Self::Client
            | Self::Gateway
            | Self::MessageId
            | Self::Topic
            | Self::Time
            | Self::Outcome
            | Self::Code
            | Self::Detail => true,
            Self::Capture { .. }
            | Self::Payload
            | Self::PayloadAt(_)
            | Self::Status
            | Self::Body
            | Self::BodyAt(_) => false,
        }
    }

    /// Returns whether its value may be several topic levels, which stay segments in a path.
    pub(super) fn has_levels(&self) -> bool {
        matches!(self, Self::Capture { rest: true, .. } | Self::Topic)
    }
}

/// Lists what may stand in the place, captures first.
fn available(scope: Scope<'_>) -> String {
    let captures = scope.captures.iter().map(|capture| capture.name.as_str());
    let labels = captures.chain(RESERVED).filter(|label| {
        let name = Name::lookup(label, scope).ok().flatten();
        name.is_some_and(|name| name.may_stand(scope))
    });
    let mut list: Vec<_> = labels.map(|label| format!("`{{{label}}}`")).collect();
    list.dedup();
    if list.is_empty() {
        "the route's captures, of which it has none".to_owned()
    } else {
        list.join(", ")
    }
}
