//! Makes the reply fit the node's packet: something explicit always arrives.
//!
//! A success that is too large is refused, cut or sent in chunks, as the route says. A failure
//! loses its body first, then the end of its detail, then all but its code.

use std::sync::Arc;

use crate::core::message::{Message, Properties};
use crate::core::reply::address::{Address, Word};
use crate::core::reply::answer::Answer;
use crate::core::reply::form::{self, BodyPart, Detail};
use crate::core::reply::{Form, Oversize};
use crate::core::route::Route;
use crate::core::template::{Place, ReplyValues, Template, Values};
use crate::core::topic::Topic;

/// Most chunks of one reply: more would overflow the queue of a session, whose default is 100.
const MAX_CHUNKS: usize = 99;

/// Longest content type of a response that is passed on.
const MAX_CONTENT_TYPE: usize = 127;

/// Writes the replies to one message.
#[derive(Clone, Copy)]
pub(crate) struct Composer<'a> {
    /// The route that took it.
    pub(crate) route: &'a Route,
    /// Where the reply goes.
    pub(crate) address: &'a Address,
    /// What a [`Form::Template`] may name.
    pub(crate) values: Values<'a>,
}

/// The messages of a reply, and what they tell.
#[derive(Debug)]
pub(crate) struct Composed<'a> {
    /// In the order in which to publish them.
    pub(crate) messages: Vec<Message>,
    /// The answer given, or that it does not fit.
    pub(crate) told: Answer<'a>,
}

/// Room for one message.
struct Slot {
    topic: String,
    properties: Properties,
    room: usize,
}

impl Composer<'_> {
    /// Writes the reply that tells an answer.
    pub(crate) fn compose<'o>(&self, answer: Answer<'o>) -> Composed<'o> {
        let word = if answer.code.is_none() {
            Word::Ok
        } else {
            Word::Error
        };
        let payload = self.write(&answer, word);
        let slot = self.slot(word, &answer, self.content_type(&answer));
        if payload.len() <= slot.room {
            return Composed {
                messages: self.message(slot, payload).into_iter().collect(),
                told: answer,
            };
        }
        let fitted = match self.route.reply.oversize {
            Oversize::Error => None,
            Oversize::Cut => self.cut(&answer).map(|message| vec![message]),
            Oversize::Chunks => self.chunks(&answer, word, &payload),
        };
        match fitted {
            Some(messages) => Composed {
                messages,
                told: answer,
            },
            None if answer.code.is_none() => {
                let too_large = answer.too_large(payload.len());
                Composed {
                    messages: self.shrink(&too_large).into_iter().collect(),
                    told: too_large,
                }
            }
            None => Composed {
                messages: self.shrink(&answer).into_iter().collect(),
                told: answer,
            },
        }
    }

    /// Writes that the message is stored: its ID in plain form.
    pub(crate) fn queued(&self) -> Option<Message> {
        let word = Word::Queued.as_str();
        let id = self.values.id.to_string();
        let payload = match &self.route.reply.form {
            Form::Plain => id.into_bytes(),
            Form::Json => format!("{{\"queued\":true,\"id\":\"{id}\"}}").into_bytes(),
            Form::Template(template) => {
                let values = Values {
                    reply: Some(ReplyValues {
                        outcome: word,
                        code: word,
                        status: None,
                        detail: &id,
                        body: &[],
                        selected: false,
                        whole: &[],
                    }),
                    ..self.values
                };
                let mut out = Vec::new();
                template.render(&values, usize::MAX, &mut out).ok()?;
                out
            }
        };
        let properties = Properties {
            expiry_interval: None,
            correlation_data: self.address.correlation.clone(),
            user_properties: vec![("code".to_owned(), word.to_owned())],
            ..Properties::default()
        };
        let topic = self.address.topic(Word::Queued);
        let room = self.address.room(topic.len(), &properties);
        let slot = Slot {
            topic,
            properties,
            room,
        };
        let payload = prefix(&payload, slot.room).to_vec();
        let message = self.message(slot, payload)?;
        // What is retained is the outcome.
        Some(Message {
            retain: false,
            ..message
        })
    }

    /// Writes the payload without regard to its size.
    fn write(&self, answer: &Answer<'_>, word: Word) -> Vec<u8> {
        match &self.route.reply.form {
            Form::Plain if answer.code.is_none() => form::plain_body(answer).into_owned(),
            Form::Plain => {
                let mut line = form::plain_head(answer);
                if !answer.detail.is_empty() {
                    line.push(' ');
                    line.push_str(&answer.detail);
                }
                line.into_bytes()
            }
            Form::Json => {
                form::json_object(answer, BodyPart::Whole, Detail::Whole).unwrap_or_default()
            }
            Form::Template(template) => self.render(template, answer, word, &answer.detail),
        }
    }

    fn render(
        &self,
        template: &Template,
        answer: &Answer<'_>,
        word: Word,
        detail: &str,
    ) -> Vec<u8> {
        let values = Values {
            reply: Some(ReplyValues {
                outcome: word.as_str(),
                code: answer.code(),
                status: answer.status,
                detail,
                body: answer.body.as_deref().unwrap_or_default(),
                selected: answer.selected,
                whole: answer.response.map_or(&[], |response| &response.body),
            }),
            ..self.values
        };
        let mut out = Vec::new();
        match template.render(&values, usize::MAX, &mut out) {
            Ok(()) => out,
            // A reply template has no limit and takes every value; if not, the code says most.
            Err(_) => answer.code().into(),
        }
    }

    /// Returns the start of the reply, marked as such; `None` where no part of it can be.
    fn cut(&self, answer: &Answer<'_>) -> Option<Message> {
        let ok = answer.code.is_none();
        let word = if ok { Word::Part } else { Word::Error };
        match &self.route.reply.form {
            Form::Plain if ok => {
                let slot = self.slot(word, answer, None);
                let payload = prefix(&form::plain_body(answer), slot.room).to_vec();
                self.message(slot, payload)
            }
            Form::Json if answer.body.is_some() => {
                let word = if ok { Word::Ok } else { Word::Error };
                let slot = self.slot(word, answer, self.content_type(answer));
                let part = BodyPart::Start(slot.room);
                let payload = form::json_object(answer, part, Detail::Whole)?;
                self.message(slot, payload)
            }
            Form::Template(template) if ok && template.place() != Place::Json => {
                let slot = self.slot(word, answer, None);
                let payload = self.render(template, answer, word, &answer.detail);
                let payload = prefix(&payload, slot.room).to_vec();
                self.message(slot, payload)
            }
            Form::Plain | Form::Json | Form::Template(_) => None,
        }
    }

    /// Returns the reply in pieces; `None` when there would be too many, or for a failure that
    /// does not hold a body, which shrinks instead.
    fn chunks(&self, answer: &Answer<'_>, word: Word, payload: &[u8]) -> Option<Vec<Message>> {
        let holds_body = matches!(self.route.reply.form, Form::Json) && answer.body.is_some();
        if answer.code.is_some() && !holds_body {
            return None;
        }
        let slot = self.slot(word, answer, None);
        let pieces = (1..=2).find_map(|digits: usize| {
            let suffix = 2 + 2 * digits;
            let pieces = split(payload, slot.room.saturating_sub(suffix))?;
            let most = if digits == 1 { 9 } else { MAX_CHUNKS };
            (pieces.len() <= most).then_some(pieces)
        })?;
        let count = pieces.len();
        let message = |(at, piece): (usize, &&[u8])| {
            let slot = Slot {
                topic: format!("{}/{}/{count}", slot.topic, at + 1),
                properties: slot.properties.clone(),
                room: 0,
            };
            self.message(slot, piece.to_vec())
        };
        pieces.iter().enumerate().map(message).collect()
    }

    /// Returns a failure that fits, with as much of its detail as there is room for.
    fn shrink(&self, answer: &Answer<'_>) -> Option<Message> {
        let slot = self.slot(Word::Error, answer, self.content_type(answer));
        let fits = |payload: &Vec<u8>| payload.len() <= slot.room;
        let payload = match &self.route.reply.form {
            Form::Plain => {
                let head = form::plain_head(answer);
                let room = slot.room.checked_sub(head.len() + 1);
                let detail = room.map(|room| prefix(answer.detail.as_bytes(), room));
                detail.map(|detail| match detail {
                    [] => head.into_bytes(),
                    detail => [head.as_bytes(), b" ", detail].concat(),
                })
            }
            Form::Json => form::json_object(answer, BodyPart::None, Detail::Start(slot.room))
                .or_else(|| form::json_object(answer, BodyPart::None, Detail::None)),
            Form::Template(template) => {
                let whole = self.render(template, answer, Word::Error, &answer.detail);
                let short = || self.render(template, answer, Word::Error, "");
                Some(whole).filter(fits).or_else(|| Some(short()))
            }
        };
        let payload = payload
            .filter(fits)
            .unwrap_or_else(|| prefix(answer.code().as_bytes(), slot.room).to_vec());
        self.message(slot, payload)
    }

    fn slot(&self, word: Word, answer: &Answer<'_>, content_type: Option<String>) -> Slot {
        let seconds =
            |expiry: std::time::Duration| u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
        let properties = Properties {
            content_type,
            expiry_interval: self.route.reply.expiry.map(seconds),
            correlation_data: self.address.correlation.clone(),
            user_properties: vec![("code".to_owned(), answer.code().to_owned())],
            ..Properties::default()
        };
        let topic = self.address.topic(word);
        Slot {
            room: self.address.room(topic.len(), &properties),
            topic,
            properties,
        }
    }

    fn content_type(&self, answer: &Answer<'_>) -> Option<String> {
        match &self.route.reply.form {
            Form::Json => Some("application/json".to_owned()),
            Form::Template(template) if template.place() == Place::Json => {
                Some("application/json".to_owned())
            }
            Form::Plain if answer.code.is_none() && !answer.selected => {
                let response = answer.response?;
                let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
                let fits = |it: &&String| it.len() <= MAX_CONTENT_TYPE && it.bytes().all(printable);
                response.content_type.as_ref().filter(fits).cloned()
            }
            Form::Plain | Form::Template(_) => None,
        }
    }

    /// Returns the message; `None` if the topic is none, which a resolved address rules out.
    fn message(&self, slot: Slot, payload: Vec<u8>) -> Option<Message> {
        Some(Message {
            topic: Topic::parse(&slot.topic).ok()?,
            payload: payload.into(),
            qos: self.route.reply_qos,
            retain: self.route.reply.retain && !self.address.response,
            properties: Some(Arc::new(slot.properties)),
        })
    }
}

/// Returns the longest start of at most `room` bytes; text is cut at a character boundary.
fn prefix(bytes: &[u8], room: usize) -> &[u8] {
    let Some(start) = bytes.get(..room) else {
        return bytes;
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => start.get(..boundary(text, room)).unwrap_or_default(),
        Err(_) => start,
    }
}

/// Returns the last character boundary at or before a position.
fn boundary(text: &str, at: usize) -> usize {
    let candidates = (0..=at.min(text.len())).rev();
    candidates
        .take(char::MAX.len_utf8())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default()
}

/// Splits bytes into pieces of at most `room`, text at character boundaries; `None` when a piece
/// could not hold a character.
fn split(bytes: &[u8], room: usize) -> Option<Vec<&[u8]>> {
    if room < char::MAX.len_utf8() {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes.len() && pieces.len() <= MAX_CHUNKS {
        let end = bytes.len().min(at + room);
        let end = text.map_or(end, |text| boundary(text, end));
        pieces.push(bytes.get(at..end)?);
        at = end;
    }
    Some(pieces)
}
