//! CONNECT: tells the versions apart and rewrites the packet into what rumqttd's readers take.
//!
//! They know protocol name `MQTT` only and demand UTF-8 of passwords, which are binary data
//! (MQTT 5 §3.1.3.6); so 3.1 becomes 3.1.1, and the password is kept here and left out.

use bytes::{BufMut, Bytes, BytesMut};

use super::DecodeError;
use super::check::{Fields, WILL};
use crate::core::packet::{Credentials, Version};

const CLEAN: u8 = 0x02;
const WILL_FLAG: u8 = 0x04;
const WILL_REST: u8 = 0x38;
const PASSWORD: u8 = 0x40;
const USER: u8 = 0x80;

/// A CONNECT in the form of 3.1.1 or 5, without user name and password.
pub(super) struct Normal {
    pub(super) version: Version,
    /// The whole packet with its fixed header.
    pub(super) bytes: BytesMut,
    pub(super) credentials: Option<Credentials>,
}

/// Checks the body of a CONNECT and rewrites it.
pub(super) fn normalise(body: &[u8]) -> Result<Normal, DecodeError> {
    let mut fields = Fields::new(body);
    let version = version(&mut fields)?;
    let flags = fields.byte()?;
    check_flags(version, flags)?;
    let after_flags = fields.remainder();
    fields.two_bytes()?; // Keep Alive
    if version == Version::V5 && fields.connect_properties()? {
        return Err(DecodeError::UnsupportedAuthentication);
    }
    fields.text()?; // Client Identifier
    if flags & WILL_FLAG != 0 {
        if version == Version::V5 {
            fields.properties(WILL)?;
        }
        fields.text()?; // Will Topic
        fields.block()?; // Will Payload
    }
    let kept = after_flags.len() - fields.remainder().len();
    let credentials = credentials(&mut fields, flags)?;
    fields.end()?;
    let kept = after_flags.get(..kept).unwrap_or_default();
    Ok(Normal {
        version,
        bytes: rewrite(version, flags & !(USER | PASSWORD), kept)?,
        credentials,
    })
}

fn version(fields: &mut Fields<'_>) -> Result<Version, DecodeError> {
    let name = fields.block()?;
    let level = fields.byte()?;
    match (name, level) {
        (b"MQIsdp", 3) => Ok(Version::V3_1),
        (b"MQTT", 4) => Ok(Version::V3_1_1),
        (b"MQTT", 5) => Ok(Version::V5),
        // The upper bit is how mosquitto's bridges introduce themselves; refused, they try without.
        (b"MQTT", 6..0x80) => Err(DecodeError::UnsupportedVersion(Version::V5)),
        (b"MQTT" | b"MQIsdp", _) => Err(DecodeError::UnsupportedVersion(Version::V3_1_1)),
        _ => Err(DecodeError::Malformed("a protocol name other than MQTT")),
    }
}

fn check_flags(version: Version, flags: u8) -> Result<(), DecodeError> {
    // 3.1 leaves bit 0 unused without asking for a value.
    if flags & 1 != 0 && version != Version::V3_1 {
        return Err(DecodeError::Malformed("the reserved connect flag is set"));
    }
    let will = flags & WILL_FLAG != 0;
    if (!will && flags & WILL_REST != 0) || flags & 0x18 == 0x18 {
        return Err(DecodeError::Malformed("wrong will flags"));
    }
    // MQTT-3.1.2-22; MQTT 5 allows a password alone (§3.1.2.9).
    if flags & PASSWORD != 0 && flags & USER == 0 && version != Version::V5 {
        return Err(DecodeError::Malformed("a password without a user name"));
    }
    Ok(())
}

/// Takes user name and password. Empty ones say no more than absent ones: some libraries send
/// them when the sketch passes empty strings.
fn credentials(fields: &mut Fields<'_>, flags: u8) -> Result<Option<Credentials>, DecodeError> {
    let user = if flags & USER == 0 {
        ""
    } else {
        fields.text()?
    };
    let password: &[u8] = if flags & PASSWORD == 0 {
        &[]
    } else {
        fields.block()?
    };
    if user.is_empty() && password.is_empty() {
        return Ok(None);
    }
    Ok(Some(Credentials {
        user: user.to_owned(),
        password: Bytes::copy_from_slice(password),
    }))
}

fn rewrite(version: Version, flags: u8, kept: &[u8]) -> Result<BytesMut, DecodeError> {
    let level = if version == Version::V5 { 5 } else { 4 };
    let mut bytes = BytesMut::with_capacity(kept.len() + 16);
    bytes.put_u8(0x10);
    super::write::put_variable_integer(&mut bytes, 8 + kept.len()).ok_or(DecodeError::TooLarge)?;
    bytes.put_slice(b"\0\x04MQTT");
    bytes.put_u8(level);
    bytes.put_u8(flags & (CLEAN | WILL_FLAG | WILL_REST));
    bytes.put_slice(kept);
    Ok(bytes)
}
