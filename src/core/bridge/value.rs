//! What the store holds of a stored route: a message with all that its request and its reply are
//! made of, and a route's counters.
//!
//! Decides the format. A value begins with a byte that says its version; lengths come before what
//! they are of, numbers with their highest byte first. What can not be read is no value.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::access::Hearing;
use crate::core::bridge::{Counters, Publisher};
use crate::core::message::{Message, Properties, QoS};
use crate::core::template::MessageId;
use crate::core::topic::Topic;

/// The only version there has been.
const VERSION: u8 = 1;

/// A message that a stored route took.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Name of the route.
    pub(super) route: String,
    pub(super) id: MessageId,
    /// When it came, seconds since 1970; 0 if the time was not known.
    pub(super) unix_time: u64,
    pub(super) publisher: Publisher,
    pub(super) message: Message,
}

impl Kept {
    /// Writes a message; `None` if a part of it is longer than MQTT allows.
    pub(super) fn encode(
        route: &str,
        (id, unix_time): (MessageId, u64),
        publisher: &Publisher,
        message: &Message,
    ) -> Option<Bytes> {
        let mut out = Vec::with_capacity(96 + message.bytes());
        out.push(VERSION);
        push_text(&mut out, route)?;
        out.extend_from_slice(&id.boot.to_be_bytes());
        push_number(&mut out, id.number)?;
        out.extend_from_slice(&unix_time.to_be_bytes());
        push_text(&mut out, &publisher.client)?;
        push_some(&mut out, publisher.user.as_deref().map(str::as_bytes))?;
        push_size(&mut out, publisher.reply_packet);
        push_size(&mut out, publisher.maximum_packet);
        out.push(match publisher.hearing {
            Hearing::Deny => 0,
            Hearing::Allow => 1,
            Hearing::Own => 2,
        });
        push_text(&mut out, message.topic.as_str())?;
        out.push(u8::from(message.properties.is_some()));
        if let Some(properties) = &message.properties {
            let text = |text: &'_ Option<String>| text.clone().map(String::into_bytes);
            push_some(&mut out, text(&properties.content_type).as_deref())?;
            push_some(&mut out, text(&properties.response_topic).as_deref())?;
            push_some(&mut out, properties.correlation_data.as_deref())?;
        }
        out.extend_from_slice(&message.payload);
        Some(out.into())
    }

    /// Reads a message; `None` if it is none.
    pub(super) fn decode(value: &Bytes) -> Option<Self> {
        let mut rest = Reader(value);
        rest.version()?;
        let route = rest.text()?;
        let boot = u32::from_be_bytes(rest.array()?);
        let number = rest.number()?;
        let unix_time = u64::from_be_bytes(rest.array()?);
        let publisher = Publisher {
            client: rest.text()?.into(),
            user: rest.some_text()?.map(Into::into),
            reply_packet: rest.size()?,
            maximum_packet: rest.size()?,
            hearing: match rest.byte()? {
                0 => Hearing::Deny,
                1 => Hearing::Allow,
                2 => Hearing::Own,
                _ => return None,
            },
        };
        let topic = Topic::parse(&rest.text()?).ok()?;
        let properties = match rest.byte()? {
            0 => None,
            1 => Some(Arc::new(Properties {
                content_type: rest.some_text()?,
                response_topic: rest.some_text()?,
                correlation_data: rest.some()?.map(Bytes::copy_from_slice),
                ..Properties::default()
            })),
            _ => return None,
        };
        let message = Message {
            topic,
            payload: value.slice_ref(rest.0),
            qos: QoS::AtMostOnce,
            retain: false,
            properties,
        };
        Some(Self {
            route,
            id: MessageId { boot, number },
            unix_time,
            publisher,
            message,
        })
    }
}

/// Writes what has been counted of a route's messages that are not in the store any more.
pub(super) fn encode_counters(route: &str, counters: &Counters) -> Option<Bytes> {
    let mut out = vec![VERSION];
    for number in [counters.succeeded, counters.failed, counters.dropped] {
        push_number(&mut out, number)?;
    }
    out.extend_from_slice(route.as_bytes());
    Some(out.into())
}

/// Reads the name of a route and its counters; `None` if it is none.
pub(super) fn decode_counters(value: &[u8]) -> Option<(String, Counters)> {
    let mut rest = Reader(value);
    rest.version()?;
    let (succeeded, failed, dropped) = (rest.number()?, rest.number()?, rest.number()?);
    let route = String::from_utf8(rest.0.to_vec()).ok()?;
    let counters = Counters {
        received: succeeded.checked_add(failed)?.checked_add(dropped)?,
        succeeded,
        failed,
        dropped,
        ..Counters::default()
    };
    Some((route, counters))
}

fn push_number(out: &mut Vec<u8>, number: usize) -> Option<()> {
    out.extend_from_slice(&u64::try_from(number).ok()?.to_be_bytes());
    Some(())
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    let length = u16::try_from(bytes.len()).ok()?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Some(())
}

fn push_text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    push_bytes(out, text.as_bytes())
}

fn push_some(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Option<()> {
    out.push(u8::from(bytes.is_some()));
    bytes.map_or(Some(()), |bytes| push_bytes(out, bytes))
}

/// Sizes of packets: 0 is none, and none is larger than 32 bits tell.
fn push_size(out: &mut Vec<u8>, size: Option<usize>) {
    let size = u32::try_from(size.unwrap_or(0)).unwrap_or(u32::MAX);
    out.extend_from_slice(&size.to_be_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn version(&mut self) -> Option<()> {
        (self.byte()? == VERSION).then_some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<usize> {
        usize::try_from(u64::from_be_bytes(self.array()?)).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(length.into())
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn some(&mut self) -> Option<Option<&'a [u8]>> {
        match self.byte()? {
            0 => Some(None),
            1 => self.bytes().map(Some),
            _ => None,
        }
    }

    fn some_text(&mut self) -> Option<Option<String>> {
        match self.some()? {
            None => Some(None),
            Some(bytes) => String::from_utf8(bytes.to_vec()).ok().map(Some),
        }
    }

    fn size(&mut self) -> Option<Option<usize>> {
        let size = u32::from_be_bytes(self.array()?);
        let size = usize::try_from(size).ok()?;
        Some((size > 0).then_some(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::bridge::testing::{message, message_with, publisher};

    fn plain() -> (Message, Publisher) {
        (message("a/1", "payload"), publisher("c"))
    }

    fn rich() -> (Message, Publisher) {
        let properties = Properties {
            content_type: Some("text/x".to_owned()),
            response_topic: Some("r/é".to_owned()),
            correlation_data: Some(Bytes::from_static(&[0, 255])),
            ..Properties::default()
        };
        let publisher = Publisher {
            user: Some("u".into()),
            reply_packet: Some(256),
            maximum_packet: Some(1 << 20),
            hearing: Hearing::Allow,
            ..publisher("c")
        };
        (message_with("a/é", "", properties), publisher)
    }

    const ID: MessageId = MessageId {
        boot: 0xb007,
        number: 12,
    };

    #[test]
    fn a_message_comes_back_as_it_was() {
        for (message, publisher) in [plain(), rich()] {
            let value = Kept::encode("route", (ID, 99), &publisher, &message).unwrap();
            let kept = Kept::decode(&value).unwrap();
            assert_eq!(
                (kept.route.as_str(), kept.id, kept.unix_time),
                ("route", ID, 99)
            );
            assert_eq!(kept.message, message);
            assert_eq!(format!("{:?}", kept.publisher), format!("{publisher:?}"));
        }
    }

    #[test]
    fn what_is_cut_off_or_of_another_version_is_no_value() {
        let (message, publisher) = rich();
        let value = Kept::encode("route", (ID, 99), &publisher, &message).unwrap();
        for length in 0..value.len() {
            assert!(Kept::decode(&value.slice(..length)).is_none(), "{length}");
        }
        let mut other = value.to_vec();
        other[0] = 2;
        assert!(Kept::decode(&other.into()).is_none());
    }

    #[test]
    fn counters_come_back_and_add_up() {
        let counters = Counters {
            received: 9,
            succeeded: 3,
            failed: 2,
            dropped: 1,
            queued: 3,
            in_flight: 0,
        };
        let value = encode_counters("route", &counters).unwrap();
        let (route, found) = decode_counters(&value).unwrap();
        assert_eq!(route, "route");
        assert_eq!(found.received, 6, "the others are in the store themselves");
        assert_eq!((found.succeeded, found.failed, found.dropped), (3, 2, 1));
        assert!(decode_counters(&value[..9]).is_none());
    }
}
