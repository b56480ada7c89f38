//! Where the reply goes and how large it may be: settled when the message arrives, so that a
//! topic that can not be used is told before a request is made.

use bytes::Bytes;

use crate::core::access::Hearing;
use crate::core::message::Properties;
use crate::core::outcome::{Code, Failure};
use crate::core::reply::Oversize;
use crate::core::route::{Route, RouteTable};
use crate::core::template::{ReplyValues, Values};
use crate::core::topic::{self, Topic, TopicError, TopicFilter};

/// Stands for the outcome in a topic until it is known: NUL is in no topic.
const MARK: char = '\0';

/// What captures must leave for the payload: enough for every code in every form.
const MIN_ROOM: usize = 48;

/// The code that takes most room.
const LONGEST_CODE: Code = Code::TlsRevocationUnknown;

/// Longest value in the topic that tells of one which was too long.
const SHORT_VALUE: usize = 24;

/// Bytes of a PUBLISH beside topic, properties and payload, for packets up to 16 KiB: type,
/// Remaining Length of two bytes, length of the topic, Packet Identifier.
const OVERHEAD: usize = 7;

/// Largest packet whose Remaining Length takes two bytes, and three.
const TWO_BYTE_PACKET: usize = 16_383 + 3;
const THREE_BYTE_PACKET: usize = 2_097_151 + 4;

/// What `{outcome}` becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The request succeeded and the reply is whole.
    Ok,
    /// It failed.
    Error,
    /// It succeeded and the payload is the start of the reply.
    Part,
    /// It is stored and will be tried later; the longest of these words.
    Queued,
}

impl Word {
    /// Returns the word as it stands in topics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Part => "part",
            Self::Queued => "queued",
        }
    }
}

/// Where the reply to one message goes.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// The topic, with [`MARK`] for the outcome.
    topic: String,
    /// Whether the topic is the requester's Response Topic.
    pub(super) response: bool,
    /// Largest packet for the requester.
    packet: usize,
    /// Whether the requester speaks MQTT 5, so that properties are part of its packet.
    properties_count: bool,
    /// Correlation Data of the request.
    pub(super) correlation: Option<Bytes>,
}

/// An address and what was wrong on the way to it.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Where the reply goes, also one that tells of `unusable`.
    pub(crate) address: Address,
    /// Why the Response Topic is not used, if there is one that is not.
    pub(crate) refused: Option<&'static str>,
    /// Why the message can not be answered with what was asked; no request is made then.
    pub(crate) unusable: Option<Failure>,
}

impl Address {
    /// Settles where the reply to a message goes.
    ///
    /// A value that can not stand in the reply topic, or leaves less than 48 bytes for the
    /// payload, makes the message unusable. It is told so on the same topic with `_` in place of
    /// such values.
    pub(crate) fn resolve(route: &Route, table: &RouteTable, values: &Values<'_>) -> Resolved {
        let publisher = values.publisher;
        let properties = values.message.properties.as_deref();
        let wanted = publisher.reply_packet.unwrap_or(route.reply.packet);
        let mut resolved = Resolved {
            address: Self {
                topic: String::new(),
                response: false,
                packet: wanted.min(publisher.maximum_packet.unwrap_or(usize::MAX)),
                properties_count: publisher.maximum_packet.is_some() || properties.is_some(),
                correlation: properties.and_then(|it| it.correlation_data.clone()),
            },
            refused: None,
            unusable: None,
        };
        if let Some(topic) = properties.and_then(|it| it.response_topic.as_deref()) {
            match resolved.address.check_response(topic, route, table, values) {
                Ok(()) => {
                    topic.clone_into(&mut resolved.address.topic);
                    resolved.address.response = true;
                    return resolved;
                }
                Err(why) => resolved.refused = Some(why),
            }
        }
        resolved.take_topic_of(route, &marked(values));
        resolved
    }

    /// Returns the topic for an outcome.
    pub(crate) fn topic(&self, word: Word) -> String {
        if self.response {
            self.topic.clone()
        } else {
            self.topic.replace(MARK, word.as_str())
        }
    }

    /// Returns how many bytes of payload fit beside a topic and properties.
    pub(super) fn room(&self, topic: usize, properties: &Properties) -> usize {
        let properties = if self.properties_count {
            encoded_len(properties)
        } else {
            0
        };
        let overhead = OVERHEAD
            + usize::from(self.packet > TWO_BYTE_PACKET)
            + usize::from(self.packet > THREE_BYTE_PACKET);
        self.packet.saturating_sub(overhead + topic + properties)
    }

    /// Returns the room that the worst reply has: the longest outcome, the longest code.
    fn least_room(&self, topic: &str) -> usize {
        let properties = if self.properties_count {
            self.longest_properties()
        } else {
            Properties::default()
        };
        let marks = topic.matches(MARK).count();
        let topic = topic.len() + marks * (Word::Queued.as_str().len() - MARK.len_utf8());
        self.room(topic, &properties)
    }

    fn longest_properties(&self) -> Properties {
        let code = LONGEST_CODE.as_str();
        Properties {
            content_type: Some("application/json".to_owned()),
            expiry_interval: Some(0),
            correlation_data: self.correlation.clone(),
            user_properties: vec![("code".to_owned(), code.to_owned())],
            ..Properties::default()
        }
    }

    /// The requester may hear the topic. That does not make it one's own: who may hear the
    /// replies to others, or everything, could have the bridge write there what looks like one.
    fn check_response(
        &self,
        text: &str,
        route: &Route,
        table: &RouteTable,
        values: &Values<'_>,
    ) -> Result<(), &'static str> {
        match Topic::parse(text) {
            Err(TopicError::Wildcard) => return Err("it holds a wildcard"),
            Err(_) => return Err("it is not a topic"),
            Ok(topic) if topic.is_reserved() => return Err("it starts with `$`"),
            Ok(_) => {}
        }
        let chunks = match route.reply.oversize {
            Oversize::Chunks => TopicFilter::parse(&format!("{text}/+/+")).ok(),
            Oversize::Error | Oversize::Cut => None,
        };
        let chunks_meet = |filter: fn(&Route) -> TopicFilter| {
            let mut routes = table.routes.iter();
            chunks
                .as_ref()
                .is_some_and(|chunks| routes.any(|route| chunks.overlaps(&filter(route))))
        };
        if table.first_match(text).is_some() || chunks_meet(|route| route.topic.filter.clone()) {
            return Err("a route takes it");
        }
        match values.publisher.hearing {
            Hearing::Deny => return Err("the client may not subscribe to it"),
            Hearing::Allow if table.takes_replies(text) || chunks_meet(|it| it.reply.filter()) => {
                return Err("replies of a route go there, and it is not the user's own");
            }
            Hearing::Allow | Hearing::Own => {}
        }
        if self.least_room(text) < MIN_ROOM {
            return Err("it leaves no room for a reply");
        }
        Ok(())
    }
}

impl Resolved {
    fn take_topic_of(&mut self, route: &Route, values: &Values<'_>) {
        let template = &route.reply.topic;
        match template.render_text(values, topic::MAX_BYTES) {
            Ok(topic) if !topic.starts_with('$') => self.address.topic = topic,
            Ok(_) => self.refuse("it would start with `$`", route, values),
            Err(failure) => self.refuse(&failure.detail, route, values),
        }
        let room = self.address.least_room(&self.address.topic);
        if room >= MIN_ROOM {
            return;
        }
        let correlation = self.address.correlation.take();
        if let Some(data) = &correlation
            && self.address.least_room(&self.address.topic) >= MIN_ROOM
        {
            self.unusable = Some(bad_request(format!(
                "correlation data of {} bytes leaves no room for a reply",
                data.len()
            )));
            return;
        }
        self.address.correlation = correlation;
        let short = template.render_anyway(values, SHORT_VALUE);
        let is_shorter = short.len() < self.address.topic.len();
        if is_shorter {
            self.address.topic = short;
        }
        // A route leaves room enough; who takes less than that is served while any code fits.
        let is_narrow = self.address.packet < route.reply.packet;
        if is_shorter || (is_narrow && room < LONGEST_CODE.as_str().len()) {
            self.unusable.get_or_insert_with(|| {
                bad_request(format!(
                    "the reply topic would leave {room} bytes for the reply, {MIN_ROOM} are needed"
                ))
            });
        }
    }

    fn refuse(&mut self, why: &str, route: &Route, values: &Values<'_>) {
        self.address.topic = route.reply.topic.render_anyway(values, SHORT_VALUE);
        self.unusable = Some(bad_request(format!("reply topic: {why}")));
    }
}

fn bad_request(detail: String) -> Failure {
    Failure::new(Code::BridgeBadRequest, detail)
}

/// The same values, with the mark for the outcome.
fn marked<'a>(values: &Values<'a>) -> Values<'a> {
    Values {
        reply: Some(ReplyValues {
            outcome: "\0",
            code: "",
            status: None,
            detail: "",
            body: &[],
            selected: false,
            whole: &[],
        }),
        ..*values
    }
}

/// Returns the size of a property block (MQTT 5 §2.2.2), with room for one Subscription
/// Identifier, which the hub adds.
pub(super) fn encoded_len(properties: &Properties) -> usize {
    const SUBSCRIPTION_ID: usize = 5;
    let content_type = properties
        .content_type
        .as_ref()
        .map_or(0, |it| 3 + it.len());
    let expiry = properties.expiry_interval.map_or(0, |_| 5);
    let correlation = properties
        .correlation_data
        .as_ref()
        .map_or(0, |it| 3 + it.len());
    let pair = |(name, value): &(String, String)| 5 + name.len() + value.len();
    let user: usize = properties.user_properties.iter().map(pair).sum();
    let block = SUBSCRIPTION_ID + content_type + expiry + correlation + user;
    let length = match block {
        0..=127 => 1,
        128..=16_383 => 2,
        _ => 3,
    };
    length + block
}
