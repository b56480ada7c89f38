//! Names of the algorithms and keys in certificates, and whether they are strong enough.
//!
//! What is verified with is decided by rustls' provider; this says why something else is not.

use crate::io::tls::der::reader::oid_text;
use crate::io::tls::der::{contents, element, tag};

/// Fewest bits of an RSA modulus that are accepted, as the CA/Browser Forum has it.
pub(crate) const MIN_RSA: usize = 2048;
/// Most bits of an RSA modulus that ring verifies with.
const MAX_RSA: usize = 8192;

/// What an algorithm or a key is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    /// Accepted.
    Good,
    /// Broken, or about to be.
    Weak,
    /// Nothing is wrong with it but that this program can't verify it.
    Unsupported,
}

/// The algorithm of a signature or a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Algorithm {
    /// Such as `RSA with SHA-1`, `ECDSA P-256` or `RSA of 1024 bits`; the object identifier of
    /// what is not known.
    pub(crate) name: String,
    /// What it is worth.
    pub(crate) strength: Strength,
}

impl Algorithm {
    fn new(name: impl Into<String>, strength: Strength) -> Self {
        let name = name.into();
        Self { name, strength }
    }
}

const RSA_PSS: &str = "1.2.840.113549.1.1.10";

/// Signature algorithms (RFC 8017 §A.2, RFC 5758, RFC 8410) but those with parameters.
const SIGNATURES: &[(&str, &str, Strength)] = {
    use Strength::{Good, Unsupported, Weak};
    &[
        ("1.2.840.113549.1.1.2", "RSA with MD2", Weak),
        ("1.2.840.113549.1.1.3", "RSA with MD4", Weak),
        ("1.2.840.113549.1.1.4", "RSA with MD5", Weak),
        ("1.2.840.113549.1.1.5", "RSA with SHA-1", Weak),
        ("1.3.14.3.2.29", "RSA with SHA-1", Weak),
        ("1.2.840.113549.1.1.14", "RSA with SHA-224", Weak),
        ("1.2.840.113549.1.1.11", "RSA with SHA-256", Good),
        ("1.2.840.113549.1.1.12", "RSA with SHA-384", Good),
        ("1.2.840.113549.1.1.13", "RSA with SHA-512", Good),
        ("1.2.840.10045.4.1", "ECDSA with SHA-1", Weak),
        ("1.2.840.10045.4.3.1", "ECDSA with SHA-224", Weak),
        ("1.2.840.10045.4.3.2", "ECDSA with SHA-256", Good),
        ("1.2.840.10045.4.3.3", "ECDSA with SHA-384", Good),
        ("1.2.840.10045.4.3.4", "ECDSA with SHA-512", Unsupported),
        ("1.2.840.113549.1.1.16", "RSA with SHA-512/256", Unsupported),
        ("2.16.840.1.101.3.4.3.14", "RSA with SHA3-256", Unsupported),
        (
            "2.16.840.1.101.3.4.3.10",
            "ECDSA with SHA3-256",
            Unsupported,
        ),
        ("1.2.840.10040.4.3", "DSA with SHA-1", Weak),
        ("2.16.840.1.101.3.4.3.1", "DSA with SHA-224", Weak),
        ("2.16.840.1.101.3.4.3.2", "DSA with SHA-256", Weak),
        ("1.3.101.112", "Ed25519", Good),
        ("1.3.101.113", "Ed448", Unsupported),
    ]
};

/// Named curves (RFC 5480 §2.1.1.1).
const CURVES: &[(&str, &str, Strength)] = {
    use Strength::{Good, Unsupported, Weak};
    &[
        ("1.2.840.10045.3.1.1", "ECDSA P-192", Weak),
        ("1.3.132.0.33", "ECDSA P-224", Weak),
        ("1.2.840.10045.3.1.7", "ECDSA P-256", Good),
        ("1.3.132.0.34", "ECDSA P-384", Good),
        ("1.3.132.0.35", "ECDSA P-521", Unsupported),
        ("1.3.132.0.10", "ECDSA secp256k1", Unsupported),
    ]
};

/// Describes a signature algorithm by its identifier and parameters, as DER.
pub(crate) fn of_signature(oid: &str, parameters: &[u8]) -> Algorithm {
    if oid == RSA_PSS {
        // hashAlgorithm [0] is SHA-1 where it is left out (RFC 8017 §A.2.3).
        let hash = contents(parameters).first();
        return match hash {
            Some(0xA0) => Algorithm::new("RSA-PSS", Strength::Good),
            _ => Algorithm::new("RSA-PSS with SHA-1", Strength::Weak),
        };
    }
    look_up(SIGNATURES, oid)
}

/// Describes a public key by its algorithm's identifier and parameters and the key, as DER.
pub(crate) fn of_key(oid: &str, parameters: &[u8], key: &[u8]) -> Algorithm {
    match oid {
        "1.2.840.113549.1.1.1" => {
            let bits = rsa_bits(key);
            let strength = match bits {
                0..MIN_RSA => Strength::Weak,
                MIN_RSA..=MAX_RSA => Strength::Good,
                _ => Strength::Unsupported,
            };
            Algorithm::new(format!("RSA of {bits} bits"), strength)
        }
        RSA_PSS => Algorithm::new("RSA-PSS", Strength::Unsupported),
        "1.2.840.10045.2.1" => match read_oid(parameters) {
            Some(curve) => look_up(CURVES, &curve),
            None => Algorithm::new("ECDSA with a curve of its own", Strength::Unsupported),
        },
        "1.2.840.10040.4.1" => Algorithm::new("DSA", Strength::Weak),
        other => look_up(SIGNATURES, other),
    }
}

/// Describes a public key by SubjectPublicKeyInfo without its outer tag, as trust anchors hold it.
pub(crate) fn of_key_info(info: &[u8]) -> Option<Algorithm> {
    let algorithm = element(info)?;
    let key = element(algorithm.rest)?.contents.get(1..)?;
    let oid = element(algorithm.contents)?;
    Some(of_key(&read_oid(oid.whole)?, oid.rest, key))
}

fn look_up(table: &[(&str, &str, Strength)], oid: &str) -> Algorithm {
    match table.iter().find(|(known, _, _)| *known == oid) {
        Some((_, name, strength)) => Algorithm::new(*name, *strength),
        None => Algorithm::new(format!("algorithm {oid}"), Strength::Unsupported),
    }
}

fn read_oid(der: &[u8]) -> Option<String> {
    let oid = element(der).filter(|element| element.tag == tag::OID)?;
    oid_text(oid.contents)
}

/// Returns the bits of the modulus in `SEQUENCE { modulus INTEGER, publicExponent INTEGER }`.
fn rsa_bits(key: &[u8]) -> usize {
    let modulus = contents(contents(key));
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let significant = modulus.get(zeros..).unwrap_or_default();
    let top = significant.first().map_or(0, |byte| byte.leading_zeros());
    (significant.len() * 8).saturating_sub(usize::try_from(top).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsa(modulus: &[u8]) -> Algorithm {
        let length = |count: usize| {
            let [high, low] = u16::try_from(count).unwrap().to_be_bytes();
            [0x82, high, low]
        };
        let integer = [&[2][..], &length(modulus.len()), modulus].concat();
        let both = [&integer[..], &[2, 3, 1, 0, 1]].concat();
        let key = [&[0x30][..], &length(both.len()), &both].concat();
        of_key("1.2.840.113549.1.1.1", &[5, 0], &key)
    }

    #[test]
    fn bits_of_rsa_keys_are_counted_to_the_last() {
        use Strength::{Good, Unsupported, Weak};
        for (modulus, bits, strength) in [
            (vec![0x80; 64], 512, Weak),
            (vec![0xFF; 128], 1024, Weak),
            ([&[0, 0x80][..], &[1; 127]].concat(), 1024, Weak),
            (vec![0x7F; 256], 2047, Weak),
            (vec![0xC0; 256], 2048, Good),
            (vec![0x80; 512], 4096, Good),
            (vec![0x80; 1024], 8192, Good),
            (vec![0x80; 2048], 16_384, Unsupported),
            (vec![], 0, Weak),
        ] {
            let expected = Algorithm::new(format!("RSA of {bits} bits"), strength);
            assert_eq!(rsa(&modulus), expected);
        }
    }

    #[test]
    fn algorithms_are_named_and_judged() {
        use Strength::{Good, Unsupported, Weak};
        let curve = |last: u8| of_key("1.2.840.10045.2.1", &[6, 5, 0x2B, 0x81, 4, 0, last], &[]);
        for (algorithm, name, strength) in [
            (curve(0x21), "ECDSA P-224", Weak),
            (curve(0x22), "ECDSA P-384", Good),
            (curve(0x23), "ECDSA P-521", Unsupported),
            (curve(0x7F), "algorithm 1.3.132.0.127", Unsupported),
            (
                of_key("1.2.840.10045.2.1", &[0x30, 0], &[]),
                "ECDSA with a curve of its own",
                Unsupported,
            ),
            (of_key("1.2.840.10040.4.1", &[], &[]), "DSA", Weak),
            (of_key("1.3.101.112", &[], &[]), "Ed25519", Good),
            (
                of_signature("1.2.840.113549.1.1.4", &[5, 0]),
                "RSA with MD5",
                Weak,
            ),
            (
                of_signature("1.2.840.113549.1.1.5", &[5, 0]),
                "RSA with SHA-1",
                Weak,
            ),
            (
                of_signature(RSA_PSS, &[0x30, 0]),
                "RSA-PSS with SHA-1",
                Weak,
            ),
            (of_signature(RSA_PSS, &[0x30, 2, 0xA0, 0]), "RSA-PSS", Good),
            (of_signature("1.2.3", &[]), "algorithm 1.2.3", Unsupported),
        ] {
            assert_eq!(algorithm, Algorithm::new(name, strength));
        }
    }
}
