//! Remembers verified logins, so that nodes that come again cost no second slow check.
//!
//! What is kept tells nothing about a password: an HMAC under a key that is made at start and
//! never leaves this process.

use std::collections::HashMap;
use std::sync::Arc;

use ring::hmac::{self, Context, HMAC_SHA256, Key, Tag};

use crate::config::PasswordHash;
use crate::io::password;

/// One verified password for each user.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Made with the first login; without random numbers nothing is remembered.
    key: Option<Key>,
    tags: HashMap<Arc<str>, Tag>,
}

impl Memory {
    /// Returns whether this password was verified against this hash before.
    pub(super) fn knows(&self, user: &str, hash: &PasswordHash, own: &[u8]) -> bool {
        let (Some(key), Some(tag)) = (&self.key, self.tags.get(user)) else {
            return false;
        };
        let ours = sign(key, user, hash, own);
        password::equal(ours.as_ref(), tag.as_ref())
    }

    /// Keeps a verified password in place of the user's former one.
    pub(super) fn learn(&mut self, user: &Arc<str>, hash: &PasswordHash, password: &[u8]) {
        if self.key.is_none() {
            let random = password::random::<32>().ok();
            self.key = random.map(|bytes| Key::new(HMAC_SHA256, &bytes));
        }
        if let Some(key) = &self.key {
            let tag = sign(key, user, hash, password);
            self.tags.insert(Arc::clone(user), tag);
        }
    }

    /// Forgets users that are no more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.tags.retain(|user, _| is_there(user));
    }
}

/// The hash is part of it: with another one, the password has to be verified again.
fn sign(key: &Key, user: &str, hash: &PasswordHash, password: &[u8]) -> Tag {
    let mut context: Context = hmac::Context::with_key(key);
    let hash = hash.to_string();
    for part in [user.as_bytes(), hash.as_bytes()] {
        // No user name and no hash holds NUL.
        context.update(part);
        context.update(&[0]);
    }
    context.update(password);
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(salt: u8) -> PasswordHash {
        PasswordHash::Sha256 {
            salt: vec![salt; 8],
            digest: [0; 32],
        }
    }

    #[test]
    fn only_what_was_verified_is_known() {
        let mut memory = Memory::default();
        assert!(!memory.knows("kitchen", &hash(1), b"right"));
        memory.learn(&"kitchen".into(), &hash(1), b"right");
        let cases: [(&str, u8, &[u8], bool, &str); 5] = [
            ("kitchen", 1, b"right", true, "the same"),
            ("kitchen", 1, b"wrong", false, "another password"),
            ("kitchen", 2, b"right", false, "another hash"),
            ("attic", 1, b"right", false, "another user"),
            ("kitchen", 1, b"", false, "no password"),
        ];
        for (user, salt, password, known, why) in cases {
            assert_eq!(memory.knows(user, &hash(salt), password), known, "{why}");
        }
        memory.retain(|user| user != "kitchen");
        assert!(!memory.knows("kitchen", &hash(1), b"right"));
    }

    #[test]
    fn memory_does_not_grow_with_logins() {
        let mut memory = Memory::default();
        for password in 0..100_u8 {
            memory.learn(&"kitchen".into(), &hash(1), &[password]);
        }
        assert_eq!(memory.tags.len(), 1);
        assert!(memory.knows("kitchen", &hash(1), &[99]));
    }
}
