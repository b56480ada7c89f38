//! Passwords: made, hashed and verified.
//!
//! Decides how much work a check may be and keeps its time independent of the password. What a
//! hash looks like in a file is decided by `config`.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};

use crate::config::PasswordHash;

/// Letters and digits that are not mistaken for each other; 32 of them, so 5 bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 26 characters of 5 bits: 130 bits.
const GENERATED: usize = 26;
const SALT: usize = 16;

/// Memory in KiB and passes of argon2id for chosen passwords. The router has little of both: 200
/// nodes, each with a password of its own, have to be in within 15 s after it has started.
const MEMORY: u32 = 1536;
const PASSES: u32 = 1;

/// The system's random number generator gave nothing, or memory was not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// Returns a random password of 130 bits, in letters and digits that a sketch can hold.
///
/// # Errors
/// Fails without randomness.
pub(crate) fn generate() -> Result<String, Unavailable> {
    let bytes = random::<GENERATED>()?;
    let letter = |byte: &u8| {
        ALPHABET
            .get(usize::from(byte % 32))
            .copied()
            .map(char::from)
    };
    Ok(bytes.iter().filter_map(letter).collect())
}

/// Hashes a password that [`generate`] made: salted SHA-256, for it cannot be guessed anyway.
///
/// # Errors
/// Fails without randomness.
pub(crate) fn hash_generated(password: &str) -> Result<PasswordHash, Unavailable> {
    let salt = random::<SALT>()?.to_vec();
    let digest = sha256(&salt, password.as_bytes());
    Ok(PasswordHash::Sha256 { salt, digest })
}

/// Hashes a password that a person chose: argon2id with 1.5 MiB.
///
/// # Errors
/// Fails without randomness or memory.
pub(crate) fn hash_chosen(password: &str) -> Result<PasswordHash, Unavailable> {
    hash_chosen_with((MEMORY, PASSES), password)
}

/// Hashes with so much memory in KiB and so many passes.
pub(crate) fn hash_chosen_with(
    (memory, passes): (u32, u32),
    password: &str,
) -> Result<PasswordHash, Unavailable> {
    let salt = random::<SALT>()?.to_vec();
    let mut digest = vec![0; 32];
    argon2id((memory, passes, 1), &salt, password.as_bytes(), &mut digest)?;
    Ok(PasswordHash::Argon2id {
        memory,
        passes,
        lanes: 1,
        salt,
        digest,
    })
}

/// Returns whether a check takes long enough to need a thread of its own.
pub(crate) fn is_slow(hash: &PasswordHash) -> bool {
    matches!(hash, PasswordHash::Argon2id { .. })
}

/// Returns whether the password is the one hashed; compares in constant time.
pub(crate) fn verify(hash: &PasswordHash, password: &[u8]) -> bool {
    match hash {
        PasswordHash::None => false,
        PasswordHash::Sha256 { salt, digest } => equal(&sha256(salt, password), digest),
        PasswordHash::Argon2id {
            memory,
            passes,
            lanes,
            salt,
            digest,
        } => {
            let mut computed = vec![0; digest.len()];
            argon2id((*memory, *passes, *lanes), salt, password, &mut computed).is_ok()
                && equal(&computed, digest)
        }
    }
}

/// Compares without ending early, so that the time taken tells nothing of where they differ.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |sum, (l, r)| sum | (l ^ r));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

fn sha256(salt: &[u8], password: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    context.update(password);
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    digest
}

fn argon2id(
    (memory, passes, lanes): (u32, u32, u32),
    salt: &[u8],
    password: &[u8],
    digest: &mut [u8],
) -> Result<(), Unavailable> {
    let params = Params::new(memory, passes, lanes, Some(digest.len())).map_err(|_| Unavailable)?;
    // Reserved first: running out of memory refuses one client instead of ending the process.
    let mut blocks = Vec::new();
    let count = params.block_count();
    blocks.try_reserve_exact(count).map_err(|_| Unavailable)?;
    blocks.resize(count, Block::default());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, digest, &mut blocks)
        .map_err(|_| Unavailable)
}

/// Returns bytes that nobody can guess.
///
/// # Errors
/// Fails without randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Unavailable> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Unavailable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_passwords_are_long_unambiguous_and_different() {
        let password = generate().unwrap();
        assert_eq!(password.len(), 26);
        assert!(password.bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(password, generate().unwrap());
        for confusing in "lo01".bytes() {
            assert!(!ALPHABET.contains(&confusing));
        }
    }

    #[test]
    fn the_right_password_verifies_and_others_do_not() {
        for hash in [
            hash_generated("secret").unwrap(),
            hash_chosen("secret").unwrap(),
        ] {
            let stored = PasswordHash::parse(&hash.to_string()).unwrap();
            let cases: [(&[u8], bool); 5] = [
                (b"secret", true),
                (b"Secret", false),
                (b"secre", false),
                (b"", false),
                (b"\xff\x00", false),
            ];
            for (password, expected) in cases {
                assert_eq!(verify(&stored, password), expected, "{password:?}");
            }
        }
    }

    #[test]
    fn a_foreign_argon2id_hash_verifies() {
        // From the test vectors of the reference implementation.
        let text = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$\
                    nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let hash = PasswordHash::parse(text).unwrap();
        assert!(verify(&hash, b"password"));
        assert!(!verify(&hash, b"passwore"));
    }

    #[test]
    fn nothing_is_right_where_there_is_no_password() {
        for password in [&b""[..], b"none"] {
            assert!(!verify(&PasswordHash::None, password));
        }
    }

    #[test]
    fn only_chosen_passwords_are_slow_to_check() {
        assert!(is_slow(&hash_chosen("x").unwrap()));
        assert!(!is_slow(&hash_generated("x").unwrap()));
    }

    #[test]
    fn two_hundred_chosen_passwords_are_checked_within_fifteen_seconds_on_the_board() {
        // Measured on a MIPS 24KEc; a TLS handshake of 38 M instructions takes it 65 ms.
        let (per_block, per_second) = (23_700, 38_500_000 * 1000 / 65);
        let check = u64::from(MEMORY) * u64::from(PASSES) * per_block;
        assert!(200 * check <= 13 * per_second, "{check} instructions each");
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        assert_ne!(hash_generated("x").unwrap(), hash_generated("x").unwrap());
    }

    #[test]
    fn an_empty_digest_fits_no_password() {
        let hash = PasswordHash::Argon2id {
            memory: 8,
            passes: 1,
            lanes: 1,
            salt: Vec::new(),
            digest: Vec::new(),
        };
        assert!(!verify(&hash, b""));
    }
}
