//! The layout of a packet's body, walked to its end before rumqttd reads it.
//!
//! rumqttd lets a property run over the property length into the payload, takes the last of
//! properties that may stand once, ignores trailing bytes and reserved bits, and accepts packet
//! identifier 0, NUL characters, and UNSUBSCRIBE without filters. All of that ends here.

use super::DecodeError;
use super::frame::{Frame, Kind, variable_integer};
use crate::core::packet::Version;

/// What the walk saw and the reader's types hide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Packet Identifier, 0 for packets without.
    pub(super) packet_id: u16,
    /// Reason code of an acknowledgement or DISCONNECT, 0 if absent.
    pub(super) reason: u8,
    /// A DISCONNECT that ends after its reason code.
    pub(super) needs_property_length: bool,
}

/// The fields of a packet, taken one after the other.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// Properties (MQTT 5 §2.2.2.2), as a set of identifiers.
#[derive(Clone, Copy)]
pub(super) struct Allowed(u64);

impl Allowed {
    const fn of(identifiers: &[u8]) -> Self {
        let mut set = 0;
        let mut rest = identifiers;
        while let [first, tail @ ..] = rest {
            set |= 1 << *first;
            rest = tail;
        }
        Self(set)
    }
}

const SUBSCRIPTION_IDENTIFIER: u8 = 11;
const USER_PROPERTY: u8 = 38;
const AUTHENTICATION_METHOD: u8 = 21;
const AUTHENTICATION_DATA: u8 = 22;

/// Properties of CONNECT (§3.1.2.11).
pub(super) const CONNECT: Allowed = Allowed::of(&[17, 33, 39, 34, 25, 23, USER_PROPERTY, 21, 22]);
/// Properties of a will (§3.1.3.2).
pub(super) const WILL: Allowed = Allowed::of(&[24, 1, 2, 3, 8, 9, USER_PROPERTY]);
const PUBLISH: Allowed = Allowed::of(&[1, 2, 35, 8, 9, 11, USER_PROPERTY, 3]);
const SUBSCRIBE: Allowed = Allowed::of(&[11, USER_PROPERTY]);
const UNSUBSCRIBE: Allowed = Allowed::of(&[USER_PROPERTY]);
const ACKNOWLEDGE: Allowed = Allowed::of(&[31, USER_PROPERTY]);
const DISCONNECT: Allowed = Allowed::of(&[17, 31, USER_PROPERTY]);

const SHORT: DecodeError = DecodeError::Malformed("a field that runs over the end of the packet");

/// Checks the body of any packet but CONNECT.
pub(super) fn packet(version: Version, frame: Frame, body: &[u8]) -> Result<Seen, DecodeError> {
    let mut fields = Fields::new(body);
    let mut seen = Seen::default();
    let v5 = version == Version::V5;
    match frame.kind {
        Kind::Connect => return Err(DecodeError::Protocol("a second CONNECT")),
        Kind::Publish => {
            fields.block()?;
            if frame.flags & 0b110 != 0 {
                seen.packet_id = fields.packet_id()?;
            }
            // It is the broker's to add (MQTT-3.3.4-6).
            if v5 && fields.property_block(PUBLISH)? & (1 << SUBSCRIPTION_IDENTIFIER) != 0 {
                let what = "a Subscription Identifier in PUBLISH";
                return Err(DecodeError::Protocol(what));
            }
            return Ok(seen);
        }
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => {
            seen.packet_id = fields.packet_id()?;
            if v5 && !fields.is_empty() {
                seen.reason = fields.byte()?;
                fields.properties_if_any(ACKNOWLEDGE)?;
            }
        }
        Kind::Subscribe => seen.packet_id = subscribe(&mut fields, v5)?,
        Kind::Unsubscribe => seen.packet_id = unsubscribe(&mut fields, v5)?,
        Kind::PingReq => {}
        Kind::Disconnect => {
            if v5 && !fields.is_empty() {
                seen.reason = fields.byte()?;
                seen.needs_property_length = fields.is_empty();
                fields.properties_if_any(DISCONNECT)?;
            }
        }
    }
    fields.end()?;
    Ok(seen)
}

fn subscribe(fields: &mut Fields<'_>, v5: bool) -> Result<u16, DecodeError> {
    let packet_id = fields.packet_id()?;
    if v5 {
        fields.properties(SUBSCRIBE)?;
    }
    let reserved = if v5 { 0b1100_0000 } else { 0b1111_1100 };
    at_least_one(fields)?;
    loop {
        fields.text()?;
        let options = fields.byte()?;
        if options & reserved != 0 {
            let what = "reserved subscription options";
            return Err(DecodeError::Malformed(what));
        }
        if options & 3 == 3 || (options >> 4) & 3 == 3 {
            return Err(DecodeError::Protocol("wrong subscription options"));
        }
        if fields.is_empty() {
            return Ok(packet_id);
        }
    }
}

fn unsubscribe(fields: &mut Fields<'_>, v5: bool) -> Result<u16, DecodeError> {
    let packet_id = fields.packet_id()?;
    if v5 {
        fields.properties(UNSUBSCRIBE)?;
    }
    at_least_one(fields)?;
    loop {
        fields.text()?;
        if fields.is_empty() {
            return Ok(packet_id);
        }
    }
}

/// Checks that there is a filter (MQTT-3.8.3-2, MQTT-3.10.3-2).
fn at_least_one(fields: &Fields<'_>) -> Result<(), DecodeError> {
    if fields.is_empty() {
        Err(DecodeError::Protocol("no topic filter"))
    } else {
        Ok(())
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns what has not been taken yet.
    pub(super) fn remainder(&self) -> &'a [u8] {
        self.rest
    }

    /// Checks that nothing is left.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Malformed(
                "bytes after the end of the packet's fields",
            ))
        }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(byte)
    }

    pub(super) fn two_bytes(&mut self) -> Result<u16, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    fn four_bytes(&mut self) -> Result<u32, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// Takes a Packet Identifier, which is never 0 (MQTT-2.2.1-3).
    fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.two_bytes()? {
            0 => Err(DecodeError::Malformed("packet identifier 0")),
            id => Ok(id),
        }
    }

    /// Takes bytes or text behind a two-byte length.
    pub(super) fn block(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.two_bytes()?;
        self.take(usize::from(length))
    }

    /// Takes text: UTF-8 without NUL (MQTT-1.5.4-1, -2).
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        match std::str::from_utf8(self.block()?) {
            Ok(text) if !text.contains('\0') => Ok(text),
            Ok(_) => Err(DecodeError::Malformed("a NUL character in text")),
            Err(_) => Err(DecodeError::Malformed("text that is not UTF-8")),
        }
    }

    fn properties_if_any(&mut self, allowed: Allowed) -> Result<(), DecodeError> {
        if self.is_empty() {
            return Ok(());
        }
        self.properties(allowed)
    }

    /// Takes the property length and the properties; each stands once at most, but for user
    /// properties.
    pub(super) fn properties(&mut self, allowed: Allowed) -> Result<(), DecodeError> {
        self.property_block(allowed).map(|_| ())
    }

    /// Takes properties and returns whether an Authentication Method is one of them; data without
    /// a method is a Protocol Error (§3.1.2.11.10).
    pub(super) fn connect_properties(&mut self) -> Result<bool, DecodeError> {
        let seen = self.property_block(CONNECT)?;
        let has = |identifier: u8| seen & (1 << identifier) != 0;
        if has(AUTHENTICATION_DATA) && !has(AUTHENTICATION_METHOD) {
            let what = "Authentication Data without an Authentication Method";
            return Err(DecodeError::Protocol(what));
        }
        Ok(has(AUTHENTICATION_METHOD))
    }

    fn property_block(&mut self, allowed: Allowed) -> Result<u64, DecodeError> {
        let (length, digits) = variable_integer(self.rest)?.ok_or(SHORT)?;
        self.take(digits)?;
        let mut block = Self::new(self.take(length)?);
        let mut seen: u64 = 0;
        while !block.is_empty() {
            let identifier = block.byte()?;
            let bit = 1_u64.checked_shl(u32::from(identifier)).unwrap_or(0);
            if bit & allowed.0 == 0 {
                return Err(DecodeError::Malformed(
                    "a property that does not belong there",
                ));
            }
            if bit & seen != 0 && identifier != USER_PROPERTY {
                return Err(DecodeError::Protocol("a property that stands twice"));
            }
            seen |= bit;
            block.property(identifier)?;
        }
        Ok(seen)
    }

    /// Takes the value of a property (MQTT 5 table 2-4) and checks its range.
    fn property(&mut self, identifier: u8) -> Result<(), DecodeError> {
        let good = match identifier {
            // Payload Format Indicator, Request Problem and Request Response Information.
            1 | 23 | 25 => self.byte()? <= 1,
            2 | 17 | 24 => self.four_bytes().map(|_| true)?,
            // Content Type, Authentication Method, Reason String.
            3 | AUTHENTICATION_METHOD | 31 => self.text().map(|_| true)?,
            // Response Topic (MQTT-3.3.2-14).
            8 => !self.text()?.contains(['+', '#']),
            // Correlation Data, Authentication Data.
            9 | AUTHENTICATION_DATA => self.block().map(|_| true)?,
            SUBSCRIPTION_IDENTIFIER => {
                let (value, digits) = variable_integer(self.rest)?.ok_or(SHORT)?;
                self.take(digits)?;
                value != 0
            }
            // Receive Maximum.
            33 => self.two_bytes()? != 0,
            // Topic Alias Maximum and Topic Alias; an alias of 0 has an answer of its own.
            34 | 35 => self.two_bytes().map(|_| true)?,
            USER_PROPERTY => {
                self.text()?;
                self.text().map(|_| true)?
            }
            // Maximum Packet Size; less than the shortest CONNACK is of no use to anybody.
            39 => self.four_bytes()? >= 5,
            _ => false,
        };
        if good {
            Ok(())
        } else {
            Err(DecodeError::Protocol("a property's value is out of range"))
        }
    }
}
