//! Password hashes as they stand in files.
//!
//! Decides which hashes are accepted and how they are written. Making and checking them costs
//! time and randomness and is left to `io::password`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// A password as stored: salted and hashed, bounded in what checking it costs.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordHash {
    /// No password is right: the user comes with a client certificate.
    None,
    /// SHA-256 over salt and password: only for random passwords, which cannot be guessed.
    Sha256 {
        /// 8 to 64 bytes.
        salt: Vec<u8>,
        /// SHA-256 of salt and password.
        digest: [u8; 32],
    },
    /// Argon2id, version 0x13: for passwords that a person chose.
    Argon2id {
        /// Memory in KiB, at most [`MAX_MEMORY`].
        memory: u32,
        /// Passes over the memory, at most [`MAX_PASSES`].
        passes: u32,
        /// Lanes, at most [`MAX_LANES`].
        lanes: u32,
        /// 8 to 64 bytes.
        salt: Vec<u8>,
        /// 16 to 64 bytes.
        digest: Vec<u8>,
    },
}

/// Most memory, in KiB, that checking one password may take: the router has little.
pub const MAX_MEMORY: u32 = 2048;
/// Most passes of argon2id.
pub const MAX_PASSES: u32 = 8;
/// Most lanes of argon2id.
pub const MAX_LANES: u32 = 4;

/// Why a text is no usable password hash, as `what; remedy` about a `password`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashError(pub &'static str);

impl PasswordHash {
    /// Parses a hash as [`PasswordHash`] writes it.
    ///
    /// # Errors
    /// Says what is wrong without quoting any of it: it may be a password.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some(rest) = text.strip_prefix("$sha256$") {
            return parse_sha256(rest).ok_or(HashError(
                "is a damaged `$sha256$` hash; remove the user and make it anew with `user add`",
            ));
        }
        if let Some(rest) = text.strip_prefix("$argon2id$") {
            return parse_argon2id(rest);
        }
        if text.starts_with('$') {
            return Err(HashError(
                "is a kind of hash that is not known; remove the user and make it anew with `user add`",
            ));
        }
        Err(HashError("is not hashed; make a hash with `user add`"))
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base64 = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        match self {
            Self::None => f.write_str("none"),
            Self::Sha256 { salt, digest } => {
                write!(f, "$sha256${}${}", base64(salt), base64(digest))
            }
            Self::Argon2id {
                memory,
                passes,
                lanes,
                salt,
                digest,
            } => write!(
                f,
                "$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}",
                base64(salt),
                base64(digest)
            ),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

fn parse_sha256(rest: &str) -> Option<PasswordHash> {
    let (salt, digest) = rest.split_once('$')?;
    Some(PasswordHash::Sha256 {
        salt: bytes(salt, 8, 64)?,
        digest: bytes(digest, 32, 32)?.try_into().ok()?,
    })
}

fn parse_argon2id(rest: &str) -> Result<PasswordHash, HashError> {
    let damaged = HashError(
        "is a damaged `$argon2id$` hash; remove the user and make it anew with `user add`",
    );
    let hash = split_argon2id(rest).ok_or(damaged)?;
    if let PasswordHash::Argon2id {
        memory,
        passes,
        lanes,
        ..
    } = &hash
    {
        if *memory > MAX_MEMORY || *passes > MAX_PASSES || *lanes > MAX_LANES {
            return Err(HashError(
                "takes more than m=2048,t=8,p=4 to check; remove the user and make it anew with `user add`",
            ));
        }
        // RFC 9106 §3.1: at least 8 blocks of 1 KiB for each lane.
        if *passes == 0 || *lanes == 0 || *memory < 8 * lanes {
            return Err(HashError(
                "is a damaged `$argon2id$` hash; remove the user and make it anew with `user add`",
            ));
        }
    }
    Ok(hash)
}

fn split_argon2id(rest: &str) -> Option<PasswordHash> {
    let mut parts = rest.strip_prefix("v=19$")?.split('$');
    let mut costs = parts.next()?.split(',');
    let mut cost = |name: &str| costs.next()?.strip_prefix(name)?.parse().ok();
    let (memory, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
    let salt = bytes(parts.next()?, 8, 64)?;
    let digest = bytes(parts.next()?, 16, 64)?;
    if costs.next().is_some() || parts.next().is_some() {
        return None;
    }
    Some(PasswordHash::Argon2id {
        memory,
        passes,
        lanes,
        salt,
        digest,
    })
}

fn bytes(text: &str, shortest: usize, longest: usize) -> Option<Vec<u8>> {
    let bytes = STANDARD_NO_PAD.decode(text).ok()?;
    (shortest..=longest).contains(&bytes.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA256: &str =
        "$sha256$AAECAwQFBgcICQoLDA0ODw$n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg";
    const ARGON2ID: &str = "$argon2id$v=19$m=2048,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$\
                            n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg";

    #[test]
    fn hashes_are_written_as_they_are_read() {
        for text in [SHA256, ARGON2ID, "none"] {
            assert_eq!(PasswordHash::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_usable_hash_is_refused() {
        let damaged =
            "is a damaged `$argon2id$` hash; remove the user and make it anew with `user add`";
        let dear = "takes more than m=2048,t=8,p=4 to check; remove the user and make it anew with `user add`";
        let cases = [
            (
                "hunter2".into(),
                "is not hashed; make a hash with `user add`",
            ),
            (String::new(), "is not hashed; make a hash with `user add`"),
            (
                "$2b$10$abc".into(),
                "is a kind of hash that is not known; remove the user and make it anew with `user add`",
            ),
            (
                "$sha256$x".into(),
                "is a damaged `$sha256$` hash; remove the user and make it anew with `user add`",
            ),
            (ARGON2ID.replace("m=2048", "m=19456"), dear),
            (ARGON2ID.replace("t=2", "t=4000000000"), dear),
            (ARGON2ID.replace("p=1", "p=0"), damaged),
            (ARGON2ID.replace("m=2048", "m=7"), damaged),
            (ARGON2ID.replace("v=19", "v=16"), damaged),
            (ARGON2ID.replace(",p=1", ",p=1,x=1"), damaged),
        ];
        for (text, expected) in cases {
            assert_eq!(
                PasswordHash::parse(&text),
                Err(HashError(expected)),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "(\\$(sha256|argon2id)\\$)?[a-z0-9=,$+/]{0,60}") {
            if let Ok(hash) = PasswordHash::parse(&text) {
                prop_assert_eq!(PasswordHash::parse(&hash.to_string()), Ok(hash));
            }
        }
    }
}
