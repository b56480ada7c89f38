//! How sessions, deliveries and retained messages look in the store.
//!
//! A value begins with its version. Numbers are big-endian, texts and lists begin with their
//! length. What is not exactly a value of this version is none: nothing is guessed.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::message::{Message, Properties, QoS};
use crate::core::subscriptions::{Filter, Subscription};
use crate::core::topic::Topic;

/// The version of all values.
const VERSION: u8 = 1;

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionValue {
    /// The client ID.
    pub(crate) client: Arc<str>,
    /// The user it belongs to.
    pub(crate) user: Option<Arc<str>>,
    /// Session Expiry Interval in seconds.
    pub(crate) expiry: u32,
    /// When its connection ended, in seconds since 1970; `None` if it had one, or nobody knew.
    pub(crate) since: Option<u64>,
    /// The latest packet identifier that it was sent.
    pub(crate) last_id: u16,
    /// What it has subscribed to.
    pub(crate) filters: Vec<(Filter, Subscription)>,
}

/// An exchange of a session at QoS 1 or 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryValue {
    /// The number of its session in the store.
    pub(crate) session: u64,
    /// Its packet identifier.
    pub(crate) packet_id: u16,
    /// How far it is.
    pub(crate) stage: Stage,
}

/// How far an exchange is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// To the client, and maybe sent.
    Message(Deliverable),
    /// To the client, which has it: PUBREL goes on.
    Released,
    /// From the client, at QoS 2: it may send PUBLISH again, until PUBREL.
    Received,
}

/// A message on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deliverable {
    /// The message.
    pub(crate) message: Message,
    /// QoS of the delivery.
    pub(crate) qos: QoS,
    /// RETAIN as the client is to see it.
    pub(crate) retain: bool,
    /// Subscription Identifiers.
    pub(crate) ids: Vec<u32>,
    /// When it expires, in seconds since 1970; `None` if it does not, or nobody knew.
    pub(crate) expires: Option<u64>,
}

/// A retained message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetainedValue {
    /// The message.
    pub(crate) message: Message,
    /// As in [`Deliverable::expires`].
    pub(crate) expires: Option<u64>,
    /// It is the gateway's own, no client's.
    pub(crate) own: bool,
}

impl SessionValue {
    /// Encodes it.
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.text(&self.client);
        writer.option(self.user.as_ref(), |writer, user| writer.text(user));
        writer.u32(self.expiry);
        writer.option(self.since, Writer::u64);
        writer.u16(self.last_id);
        writer.length(self.filters.len());
        for (filter, held) in &self.filters {
            writer.option(filter.group.as_ref(), |writer, group| writer.text(group));
            writer.text(filter.filter.as_str());
            writer.byte(held.qos.level());
            writer.flag(held.no_local);
            writer.flag(held.retain_as_published);
            writer.option(held.id, Writer::u32);
        }
        writer.finish()
    }

    /// Decodes it.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value)?;
        let own = Self {
            client: reader.text()?.into(),
            user: reader.option(|reader| Some(reader.text()?.into()))?,
            expiry: reader.u32()?,
            since: reader.option(Reader::u64)?,
            last_id: reader.u16()?,
            filters: reader.list(|reader| {
                let group = reader.option(Reader::text)?;
                let filter = reader.text()?;
                let text = match group {
                    Some(group) => format!("$share/{group}/{filter}"),
                    None => filter.to_owned(),
                };
                let held = Subscription {
                    qos: reader.qos()?,
                    no_local: reader.flag()?,
                    retain_as_published: reader.flag()?,
                    id: reader.option(Reader::u32)?,
                };
                Some((Filter::parse(&text)?, held))
            })?,
        };
        reader.finish(own)
    }
}

impl DeliveryValue {
    /// Encodes it.
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.u64(self.session);
        writer.u16(self.packet_id);
        match &self.stage {
            Stage::Message(own) => {
                writer.byte(0);
                writer.byte(own.qos.level());
                writer.flag(own.retain);
                writer.length(own.ids.len());
                for id in &own.ids {
                    writer.u32(*id);
                }
                writer.option(own.expires, Writer::u64);
                writer.message(&own.message);
            }
            Stage::Released => writer.byte(1),
            Stage::Received => writer.byte(2),
        }
        writer.finish()
    }

    /// Decodes it.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value)?;
        let (session, packet_id) = (reader.u64()?, reader.u16()?);
        let stage = match reader.byte()? {
            0 => Stage::Message(Deliverable {
                qos: reader.qos().filter(|qos| *qos > QoS::AtMostOnce)?,
                retain: reader.flag()?,
                ids: reader.list(Reader::u32)?,
                expires: reader.option(Reader::u64)?,
                message: reader.message()?,
            }),
            1 => Stage::Released,
            2 => Stage::Received,
            _ => return None,
        };
        let own = Self {
            session,
            packet_id: Some(packet_id).filter(|id| *id != 0)?,
            stage,
        };
        reader.finish(own)
    }
}

impl RetainedValue {
    /// Encodes it.
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.option(self.expires, Writer::u64);
        writer.message(&self.message);
        if self.own {
            writer.flag(true);
        }
        writer.finish()
    }

    /// Decodes it.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value)?;
        let value = Self {
            expires: reader.option(Reader::u64)?,
            message: reader.message()?,
            own: !reader.is_at_end() && reader.flag()?.then_some(true)?,
        };
        reader.finish(value)
    }
}

/// Puts a value together.
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        Self(vec![VERSION])
    }

    fn finish(self) -> Bytes {
        self.0.into()
    }

    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }

    fn u16(&mut self, number: u16) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    /// Nothing here is larger than a packet, so a length fits.
    fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn message(&mut self, message: &Message) {
        self.text(message.topic.as_str());
        self.bytes(&message.payload);
        self.byte(message.qos.level());
        self.flag(message.retain);
        self.option(message.properties.as_deref(), |writer, own| {
            writer.option(own.payload_format, Self::byte);
            writer.option(own.expiry_interval, Self::u32);
            writer.option(own.content_type.as_deref(), Self::text);
            writer.option(own.response_topic.as_deref(), Self::text);
            writer.option(own.correlation_data.as_deref(), Self::bytes);
            writer.length(own.user_properties.len());
            for (name, value) in &own.user_properties {
                writer.text(name);
                writer.text(value);
            }
        });
    }
}

/// Takes a value apart; `None` is an end too soon, or what cannot be.
struct Reader<'v>(&'v [u8]);

impl<'v> Reader<'v> {
    fn new(value: &'v [u8]) -> Option<Self> {
        let (version, rest) = value.split_first()?;
        (*version == VERSION).then_some(Self(rest))
    }

    /// Returns what was read if nothing is left.
    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn finish<T>(self, read: T) -> Option<T> {
        self.0.is_empty().then_some(read)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(u8::from_be_bytes(self.take()?))
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn qos(&mut self) -> Option<QoS> {
        match self.byte()? {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take()?))
    }

    fn bytes(&mut self) -> Option<&'v [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    fn text(&mut self) -> Option<&'v str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn string(&mut self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.flag()? {
            true => read(self).map(Some),
            false => Some(None),
        }
    }

    /// Reads items as long as there are bytes: a damaged length asks for no memory.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.u32()?;
        (0..length).map(|_| read(self)).collect()
    }

    fn message(&mut self) -> Option<Message> {
        Some(Message {
            topic: Topic::parse(self.text()?).ok()?,
            payload: Bytes::copy_from_slice(self.bytes()?),
            qos: self.qos()?,
            retain: self.flag()?,
            properties: self.option(|reader| {
                Some(Arc::new(Properties {
                    payload_format: reader.option(Self::byte)?,
                    expiry_interval: reader.option(Self::u32)?,
                    content_type: reader.option(Self::string)?,
                    response_topic: reader.option(Self::string)?,
                    correlation_data: reader
                        .option(|reader| Some(Bytes::copy_from_slice(reader.bytes()?)))?,
                    user_properties: reader
                        .list(|reader| Some((reader.string()?, reader.string()?)))?,
                }))
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn qos() -> impl Strategy<Value = QoS> {
        prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
    }

    fn properties() -> impl Strategy<Value = Properties> {
        let text = || proptest::option::of("[a-zé/\\x00]{0,5}");
        (
            proptest::option::of(any::<u8>()),
            proptest::option::of(any::<u32>()),
            text(),
            text(),
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4)),
            proptest::collection::vec(("[ab]{0,2}", "[ab]{0,2}"), 0..3),
        )
            .prop_map(|(format, expiry, content, response, correlation, users)| {
                Properties {
                    payload_format: format,
                    expiry_interval: expiry,
                    content_type: content,
                    response_topic: response,
                    correlation_data: correlation.map(Bytes::from),
                    user_properties: users,
                }
            })
    }

    fn message() -> impl Strategy<Value = Message> {
        let payload = proptest::collection::vec(any::<u8>(), 0..20);
        let properties = proptest::option::of(properties());
        (
            "[a-zé]{1,4}(/[a-z]{0,2}){0,2}",
            payload,
            qos(),
            any::<bool>(),
            properties,
        )
            .prop_map(|(topic, payload, qos, retain, properties)| Message {
                topic: Topic::parse(&topic).unwrap(),
                payload: payload.into(),
                qos,
                retain,
                properties: properties.map(Arc::new),
            })
    }

    fn session() -> impl Strategy<Value = SessionValue> {
        let filter = (
            "([$]share/g/)?[ab+](/[ab+]){0,2}(/#)?",
            qos(),
            any::<[bool; 2]>(),
        );
        let filter = (filter, proptest::option::of(any::<u32>()));
        let filters = proptest::collection::vec(filter, 0..4);
        let user = proptest::option::of("[a-z]{0,4}");
        let since = proptest::option::of(any::<u64>());
        ("[a-zé]{0,6}", user, any::<u32>(), since, filters).prop_map(
            |(client, user, expiry, since, filters)| SessionValue {
                client: client.into(),
                user: user.map(Into::into),
                expiry,
                since,
                last_id: 7,
                filters: filters
                    .into_iter()
                    .map(|((text, qos, [no_local, retain_as_published]), id)| {
                        let held = Subscription {
                            qos,
                            no_local,
                            retain_as_published,
                            id,
                        };
                        (Filter::parse(&text).unwrap(), held)
                    })
                    .collect(),
            },
        )
    }

    fn delivery() -> impl Strategy<Value = DeliveryValue> {
        let ids = proptest::collection::vec(any::<u32>(), 0..3);
        let expires = proptest::option::of(any::<u64>());
        let message = (message(), qos(), any::<bool>(), ids, expires).prop_map(
            |(message, qos, retain, ids, expires)| {
                Stage::Message(Deliverable {
                    message,
                    qos,
                    retain,
                    ids,
                    expires,
                })
            },
        );
        let stage = prop_oneof![message, Just(Stage::Released), Just(Stage::Received)];
        (any::<u64>(), 1..=u16::MAX, stage).prop_map(|(session, packet_id, stage)| DeliveryValue {
            session,
            packet_id,
            stage,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            session in session(), delivery in delivery(), message in message(),
            expires in proptest::option::of(any::<u64>()), own in any::<bool>(),
        ) {
            let retained = RetainedValue { message, expires, own };
            prop_assert_eq!(SessionValue::decode(&session.encode()), Some(session));
            prop_assert_eq!(DeliveryValue::decode(&delivery.encode()), Some(delivery));
            prop_assert_eq!(RetainedValue::decode(&retained.encode()), Some(retained));
        }

        #[test]
        fn what_is_cut_or_of_another_version_is_nothing(
            session in session(), delivery in delivery(), cut in any::<prop::sample::Index>(),
            version in 2..=u8::MAX,
        ) {
            // What kind a value is, its key says: one of another kind may be read by chance.
            let is_read = |is_session: bool, value: &[u8]| match is_session {
                true => SessionValue::decode(value).is_some(),
                false => DeliveryValue::decode(value).is_some(),
            };
            for (is_session, value) in [(true, session.encode()), (false, delivery.encode())] {
                let mut other = value.to_vec();
                other[0] = version;
                let longer = [&value[..], &[0]].concat();
                for damaged in [&value[..cut.index(value.len())], &other, &longer] {
                    prop_assert!(!is_read(is_session, damaged), "{:02x?}", damaged);
                }
            }
        }

        #[test]
        fn damage_is_survived(
            session in session(), delivery in delivery(), at in any::<prop::sample::Index>(),
            byte in any::<u8>(), noise in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            for value in [session.encode(), delivery.encode()] {
                let mut damaged = value.to_vec();
                let at = at.index(damaged.len());
                damaged[at] = byte;
                for bytes in [&damaged, &noise] {
                    let _ = SessionValue::decode(bytes);
                    let _ = DeliveryValue::decode(bytes);
                    let _ = RetainedValue::decode(bytes);
                }
            }
        }
    }
}
