//! Passwords: made, hashed and verified.

use crate::config::PasswordHash;

/// Returns a random password of 128 bits, in letters and digits that a sketch can hold.
pub(crate) fn generate() -> String {
    todo!()
}

/// Hashes a password that [`generate`] made: salted SHA-256, for it cannot be guessed anyway.
pub(crate) fn hash_generated(_password: &str) -> PasswordHash {
    todo!()
}

/// Hashes a password that a person chose: argon2id with at most 2 MiB.
pub(crate) fn hash_chosen(_password: &str) -> PasswordHash {
    todo!()
}

/// Returns whether a check takes long enough to need a thread of its own.
pub(crate) fn is_slow(_hash: &PasswordHash) -> bool {
    todo!()
}

/// Returns whether the password is the one hashed; compares in constant time.
pub(crate) fn verify(_hash: &PasswordHash, _password: &[u8]) -> bool {
    todo!()
}
