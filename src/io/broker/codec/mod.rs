//! The only door to rumqttd: bytes to packets and back, checked on both sides.
//!
//! rumqttd's readers and writers are correct for well-formed packets, and panic, misread or
//! overlook much of what is not. So every packet passes [`mod@frame`] (type, flags, length) and
//! [`mod@check`] (its whole layout) before a reader sees it, [`mod@connect`] rewrites CONNECT into the
//! one form the readers take, and [`mod@write`] never hands a writer what it has no branch for.
//!
//! Whether topics and filters are valid, and what the packets mean, is for `core`.

mod check;
mod connect;
mod frame;
mod read;
mod write;

use bytes::BytesMut;
use rumqttd::protocol::{Packet, Protocol, v4::V4, v5::V5};

use crate::core::packet::{Connect, Incoming, Outgoing, Version};

/// Why bytes from a client are not a packet that may be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// They do not have the layout of MQTT; says how, for the log.
    Malformed(&'static str),
    /// They have it, and break a rule that MQTT 5 calls a Protocol Error (§4.13).
    Protocol(&'static str),
    /// The fixed header announces more than the limit.
    TooLarge,
    /// A CONNECT of a version that is not spoken here; to be refused in the form of this one.
    UnsupportedVersion(Version),
    /// A CONNECT that asks for extended authentication (MQTT 5 §4.12).
    UnsupportedAuthentication,
}

/// Takes the CONNECT at the start of a connection off the buffer.
///
/// `None` means that more bytes are needed; they are not awaited if the start is wrong already.
pub(crate) fn decode_connect(
    buffer: &mut BytesMut,
    max_packet: usize,
) -> Result<Option<Connect>, DecodeError> {
    let Some(frame) = frame::parse(buffer, Version::V3_1_1, max_packet)? else {
        return Ok(None);
    };
    if frame.kind != frame::Kind::Connect {
        return Err(DecodeError::Malformed("the first packet is not CONNECT"));
    }
    let bytes = buffer.split_to(frame.total);
    let normal = connect::normalise(frame.body(&bytes))?;
    let mut rewritten = normal.bytes;
    match parse(normal.version, &mut rewritten)? {
        Packet::Connect(connect, properties, will, will_properties, _) => {
            let mut parts = read::connect(normal.version, connect, properties.as_ref());
            parts.will = will
                .map(|will| read::will(&will, will_properties))
                .transpose()?;
            parts.credentials = normal.credentials;
            Ok(Some(parts))
        }
        _ => Err(DecodeError::Malformed("the first packet is not CONNECT")),
    }
}

/// Takes the next packet of an accepted connection off the buffer; `None` if it is not complete.
pub(crate) fn decode(
    version: Version,
    buffer: &mut BytesMut,
    max_packet: usize,
) -> Result<Option<Incoming>, DecodeError> {
    let Some(frame) = frame::parse(buffer, version, max_packet)? else {
        return Ok(None);
    };
    let seen = check::packet(version, frame, frame.body(buffer))?;
    let packet = if seen.needs_property_length {
        // DISCONNECT with a reason code alone is complete (MQTT 5 §3.14.2.2.1), but the reader
        // would ask for more bytes.
        let mut whole = BytesMut::from(&[0xE0, 2, seen.reason, 0][..]);
        let _ = buffer.split_to(frame.total);
        parse(version, &mut whole)?
    } else {
        parse(version, buffer)?
    };
    read::incoming(packet, frame, seen).map(Some)
}

/// Appends a packet in the form of `version`; one that the version does not have, or that cannot
/// be encoded, appends nothing.
pub(crate) fn encode(version: Version, packet: Outgoing, out: &mut BytesMut) {
    let start = out.len();
    if !write::packet(version, packet, out) {
        out.truncate(start);
    }
}

/// Runs rumqttd's reader on a complete and checked packet.
///
/// It answers `InsufficientBytes` also for packets that are complete but short inside, so every
/// error means malformed here: [`frame::parse`] alone decides whether to wait for more.
fn parse(version: Version, buffer: &mut BytesMut) -> Result<Packet, DecodeError> {
    match version {
        Version::V5 => V5.read_mut(buffer, usize::MAX),
        Version::V3_1 | Version::V3_1_1 => V4.read_mut(buffer, usize::MAX),
    }
    .map_err(|_| DecodeError::Malformed("a value that MQTT does not allow there"))
}

#[cfg(test)]
mod tests;
