//! The fixed header: which packet, how long, and whether a client may send it at all.

use super::DecodeError;
use crate::core::packet::Version;

/// Packet types that a client may send (MQTT 5 §2.1.2); AUTH is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    Unsubscribe,
    PingReq,
    Disconnect,
}

/// A packet that lies complete at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// The lower four bits of the first byte.
    pub(super) flags: u8,
    /// Bytes of the fixed header.
    pub(super) header: usize,
    /// Bytes of the whole packet.
    pub(super) total: usize,
}

impl Frame {
    /// Returns what follows the fixed header.
    pub(super) fn body<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(self.header..self.total).unwrap_or_default()
    }
}

/// Finds the packet at the start of the buffer; `None` while it is incomplete.
///
/// A wrong first byte or an excessive length is refused before the rest is there.
pub(super) fn parse(
    buffer: &[u8],
    version: Version,
    max_packet: usize,
) -> Result<Option<Frame>, DecodeError> {
    let Some((&first, rest)) = buffer.split_first() else {
        return Ok(None);
    };
    let flags = first & 0x0F;
    let kind = kind(first >> 4, flags, version)?;
    check_flags(kind, flags, version)?;
    let Some((length, digits)) = variable_integer(rest)? else {
        return Ok(None);
    };
    let header = 1 + digits;
    let total = header + length;
    if total > max_packet {
        return Err(DecodeError::TooLarge);
    }
    Ok((buffer.len() >= total).then_some(Frame {
        kind,
        flags,
        header,
        total,
    }))
}

/// Reads a Variable Byte Integer (MQTT 5 §1.5.5) and how many bytes it takes; `None` if it is
/// not complete.
pub(super) fn variable_integer(bytes: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 {
        return Err(DecodeError::Malformed("a length of more than four bytes"));
    }
    Ok(None)
}

fn kind(number: u8, flags: u8, version: Version) -> Result<Kind, DecodeError> {
    Ok(match number {
        1 => Kind::Connect,
        3 => Kind::Publish,
        4 => Kind::PubAck,
        5 => Kind::PubRec,
        6 => Kind::PubRel,
        7 => Kind::PubComp,
        8 => Kind::Subscribe,
        10 => Kind::Unsubscribe,
        12 => Kind::PingReq,
        14 => Kind::Disconnect,
        // Nobody is let in with an Authentication Method, so nobody may send it (MQTT-4.12.0-7).
        15 if version == Version::V5 && flags == 0 => {
            return Err(DecodeError::Protocol(
                "AUTH without an Authentication Method",
            ));
        }
        _ => {
            return Err(DecodeError::Malformed(
                "a packet type that clients do not send",
            ));
        }
    })
}

/// Checks the flags against MQTT-2.2.2-2 and MQTT-3.3.1-2, -4.
fn check_flags(kind: Kind, flags: u8, version: Version) -> Result<(), DecodeError> {
    let good = match kind {
        Kind::Publish => {
            let (qos, dup) = ((flags >> 1) & 3, flags & 8 != 0);
            qos < 3 && (qos > 0 || !dup)
        }
        // In 3.1 these are sent with QoS 1 and may be marked as duplicates.
        Kind::PubRel | Kind::Subscribe | Kind::Unsubscribe => {
            flags == 2 || (version == Version::V3_1 && flags == 0b1010)
        }
        Kind::Connect
        | Kind::PubAck
        | Kind::PubRec
        | Kind::PubComp
        | Kind::PingReq
        | Kind::Disconnect => flags == 0,
    };
    if good {
        Ok(())
    } else {
        Err(DecodeError::Malformed("wrong flags in the fixed header"))
    }
}
