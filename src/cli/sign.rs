//! Certificates and revocation lists as bytes: keys, what is signed, signatures.
//!
//! ECDSA on P-256 alone: what ring signs with in little time and code.

use std::net::IpAddr;

#[cfg(feature = "selftest")]
use base64::Engine;
#[cfg(feature = "selftest")]
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256 as SHA256_DIGEST, digest};
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use super::der::{BIT_STRING, BOOLEAN, OCTET_STRING, OID};
use super::der::{element, integer, name, sequence, time};
use crate::core::calendar::date;

/// ecPublicKey on prime256v1, as an AlgorithmIdentifier (RFC 5480 §2.1.1).
const P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// ecdsa-with-SHA2 without its last number (RFC 5758 §3.2).
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
#[cfg(feature = "selftest")]
pub(super) const SHA224: u8 = 1;
pub(super) const SHA256: u8 = 2;
/// id-kp without its last number (RFC 5280 §4.2.1.12).
const PURPOSE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03];
pub(super) const SERVERS: u8 = 1;
pub(super) const CLIENTS: u8 = 2;
/// Of id-ce (RFC 5280 §4.2.1).
const KEY_IDENTIFIER: u8 = 14;
const KEY_USAGE: u8 = 15;
const ALTERNATIVE_NAMES: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
#[cfg(feature = "selftest")]
const LIST_NUMBER: u8 = 20;
#[cfg(feature = "selftest")]
pub(super) const NAME_CONSTRAINTS: u8 = 30;
const AUTHORITY_KEY: u8 = 35;
const EXTENDED_KEY_USAGE: u8 = 37;
/// Of nothing that anybody knows.
#[cfg(feature = "selftest")]
pub(super) const UNKNOWN: u8 = 127;

/// A key pair.
pub(super) struct Key {
    pair: EcdsaKeyPair,
    /// As a TLS server takes it.
    pub(super) pkcs8: Vec<u8>,
}

impl Key {
    /// Makes one.
    pub(super) fn new() -> Result<Self, Unspecified> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random)?;
        Self::read(pkcs8.as_ref().to_vec())
    }

    /// Reads one, PKCS#8 in DER.
    pub(super) fn read(pkcs8: Vec<u8>) -> Result<Self, Unspecified> {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &SystemRandom::new());
        let pair = pair.map_err(|_| Unspecified)?;
        Ok(Self { pair, pkcs8 })
    }

    /// Returns what certificates know the key by (RFC 7093 §2).
    fn identifier(&self) -> Vec<u8> {
        let hash = digest(&SHA256_DIGEST, self.pair.public_key().as_ref());
        hash.as_ref().iter().copied().take(20).collect()
    }

    /// Returns the key's pin (RFC 7469 §2.4).
    #[cfg(feature = "selftest")]
    pub(super) fn pin(&self) -> String {
        let hash = digest(&SHA256_DIGEST, &self.public());
        format!("sha256/{}", BASE64_STANDARD.encode(hash))
    }

    /// Returns the public key with its algorithm (RFC 5280 §4.1.2.7).
    fn public(&self) -> Vec<u8> {
        let key = element(BIT_STRING, &[&[0], self.pair.public_key().as_ref()]);
        sequence(&[P256, &key])
    }
}

/// A certificate that is still to be signed.
#[derive(Clone)]
pub(super) struct Draft<'a> {
    /// Its number, `None` for one made of its names.
    pub(super) serial: Option<u32>,
    /// The subject's common name.
    pub(super) subject: &'a str,
    /// DNS names, and an IP address where it reads as one.
    pub(super) names: &'a [&'a str],
    /// Seconds since 1970.
    pub(super) valid: (u64, u64),
    /// Whether it is a CA, and how many CAs may stand below it.
    pub(super) authority: Option<Option<u32>>,
    /// What a leaf may be used for: [`SERVERS`] or [`CLIENTS`].
    pub(super) purpose: u8,
    /// What the signature says it is over: [`SHA256`] or [`SHA224`].
    pub(super) hash: u8,
    /// A further extension that is critical: its number, its value.
    pub(super) extension: Option<(u8, Vec<u8>)>,
}

/// Whose name and key a certificate is signed with.
#[derive(Clone, Copy)]
pub(super) struct Issuer<'a> {
    /// The common name.
    pub(super) name: &'a str,
    /// The key.
    pub(super) key: &'a Key,
}

impl Issuer<'_> {
    /// Returns what was signed with its signature: a certificate or a list.
    fn sign(self, body: &[u8], hash: u8) -> Result<Vec<u8>, Unspecified> {
        let signature = self.key.pair.sign(&SystemRandom::new(), body)?;
        let signature = element(BIT_STRING, &[&[0], signature.as_ref()]);
        Ok(sequence(&[body, &algorithm(hash), &signature]))
    }

    /// Returns a revocation list (RFC 5280 §5.1) with these serial numbers.
    #[cfg(feature = "selftest")]
    pub(super) fn list(
        self,
        (made, next): (u64, u64),
        revoked: &[u32],
    ) -> Result<Vec<u8>, Unspecified> {
        let entry = |serial: &u32| sequence(&[&integer(*serial), &moment(made)]);
        let entries: Vec<u8> = revoked.iter().flat_map(entry).collect();
        let entries = match revoked {
            [] => Vec::new(), // an empty list is none
            _ => sequence(&[&entries]),
        };
        let number = extension(LIST_NUMBER, false, &integer(1));
        let body = sequence(&[
            &integer(1), // version 2
            &algorithm(SHA256),
            &name(self.name),
            &moment(made),
            &moment(next),
            &entries,
            &element(0xa0, &[&sequence(&[&number])]),
        ]);
        self.sign(&body, SHA256)
    }
}

fn algorithm(hash: u8) -> Vec<u8> {
    sequence(&[&element(OID, &[ECDSA, &[hash]])])
}

fn moment(seconds: u64) -> Vec<u8> {
    time(seconds, &date(seconds))
}

impl Draft<'_> {
    /// Returns the certificate of this key.
    pub(super) fn sign(&self, key: &Key, issuer: Issuer<'_>) -> Result<Vec<u8>, Unspecified> {
        let (begin, end) = self.valid;
        let body = sequence(&[
            &element(0xa0, &[&integer(2)]), // version 3
            &integer(self.serial()),
            &algorithm(self.hash),
            &name(issuer.name),
            &sequence(&[&moment(begin), &moment(end)]),
            &name(self.subject),
            &key.public(),
            &element(0xa3, &[&sequence(&[&self.extensions(key, issuer)])]),
        ]);
        issuer.sign(&body, self.hash)
    }

    /// Tells the certificates of one issuer apart.
    pub(super) fn serial(&self) -> u32 {
        if let Some(serial) = self.serial {
            return serial;
        }
        let names = self.names.iter().flat_map(|name| name.bytes());
        names.fold(1_u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u32::from(byte))
        })
    }

    fn extensions(&self, key: &Key, issuer: Issuer<'_>) -> Vec<u8> {
        let own = element(OCTET_STRING, &[&key.identifier()]);
        let mut out = extension(KEY_IDENTIFIER, false, &own);
        let parent = element(0x80, &[&issuer.key.identifier()]);
        out.extend(extension(AUTHORITY_KEY, false, &sequence(&[&parent])));
        match self.authority {
            Some(below) => {
                let below = below.map(integer).unwrap_or_default();
                let value = sequence(&[&element(BOOLEAN, &[&[0xff]]), &below]);
                out.extend(extension(BASIC_CONSTRAINTS, true, &value));
                // keyCertSign and cRLSign
                out.extend(extension(KEY_USAGE, true, &[BIT_STRING, 2, 1, 6]));
            }
            None => {
                // digitalSignature
                out.extend(extension(KEY_USAGE, true, &[BIT_STRING, 2, 7, 0x80]));
                let purpose = element(OID, &[PURPOSE, &[self.purpose]]);
                out.extend(extension(EXTENDED_KEY_USAGE, false, &sequence(&[&purpose])));
            }
        }
        if !self.names.is_empty() {
            let names: Vec<u8> = self.names.iter().flat_map(|name| general(name)).collect();
            out.extend(extension(ALTERNATIVE_NAMES, false, &sequence(&[&names])));
        }
        if let Some((number, value)) = &self.extension {
            out.extend(extension(*number, true, value));
        }
        out
    }
}

fn extension(number: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let oid = element(OID, &[&[0x55, 0x1d, number]]);
    let critical = match critical {
        true => element(BOOLEAN, &[&[0xff]]),
        false => Vec::new(),
    };
    sequence(&[&oid, &critical, &element(OCTET_STRING, &[value])])
}

/// Returns a GeneralName: a DNS name or an IP address (RFC 5280 §4.2.1.6).
pub(super) fn general(name: &str) -> Vec<u8> {
    match name.parse() {
        Ok(IpAddr::V4(address)) => element(0x87, &[&address.octets()]),
        Ok(IpAddr::V6(address)) => element(0x87, &[&address.octets()]),
        Err(_) => element(0x82, &[name.as_bytes()]),
    }
}
