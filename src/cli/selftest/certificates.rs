//! Certificates made on the spot, each with one defect at most.
//!
//! ECDSA on P-256 alone: what ring signs with in little time and code.

use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use super::der::{BIT_STRING, BOOLEAN, OCTET_STRING, OID};
use super::der::{element, integer, name, sequence, time};
use crate::io::tls::certificate::date;

/// ecPublicKey on prime256v1, as an AlgorithmIdentifier (RFC 5480 §2.1.1).
const P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// ecdsa-with-SHA2 without its last number (RFC 5758 §3.2).
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
const SHA224: u8 = 1;
const SHA256: u8 = 2;
/// id-kp without its last number (RFC 5280 §4.2.1.12).
const PURPOSE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03];
const SERVERS: u8 = 1;
const CLIENTS: u8 = 2;
/// Of id-ce (RFC 5280 §4.2.1).
const KEY_USAGE: u8 = 15;
const ALTERNATIVE_NAMES: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const NAME_CONSTRAINTS: u8 = 30;
const EXTENDED_KEY_USAGE: u8 = 37;
/// Of nothing that anybody knows.
const UNKNOWN: u8 = 127;

/// 2014-04-09 and 2015-04-12: those of a certificate that many have tested with.
const LONG_AGO: (u64, u64) = (1_397_001_600, 1_428_796_800);
/// 2100-01-10 and a year later.
const FAR_AHEAD: (u64, u64) = (4_103_222_400, 4_134_758_400);
const DAY: u64 = 86_400;

/// A key pair.
pub(super) struct Key {
    pair: EcdsaKeyPair,
    /// As a TLS server takes it.
    pkcs8: Vec<u8>,
}

impl Key {
    fn new() -> Result<Self, Unspecified> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random)?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random);
        Ok(Self {
            pair: pair.map_err(|_| Unspecified)?,
            pkcs8: pkcs8.as_ref().to_vec(),
        })
    }
}

/// What a server shows, and the key it has.
#[derive(Clone)]
pub(super) struct Identity {
    /// Certificates in DER, leaf first.
    pub(super) chain: Vec<Vec<u8>>,
    /// Its private key, PKCS#8 in DER.
    pub(super) key: Vec<u8>,
}

/// A certificate that is still to be signed.
#[derive(Clone)]
struct Draft<'a> {
    subject: &'a str,
    /// DNS names, and an IPv4 address where it reads as one.
    names: &'a [&'a str],
    /// Seconds since 1970.
    valid: (u64, u64),
    /// Whether it is a CA, and how many CAs may stand below it.
    authority: Option<Option<u32>>,
    purpose: u8,
    hash: u8,
    /// A further extension that is critical: its number, its value.
    extension: Option<(u8, Vec<u8>)>,
}

/// Whose name and key a certificate is signed with.
#[derive(Clone, Copy)]
struct Issuer<'a> {
    name: &'a str,
    key: &'a Key,
}

impl Draft<'_> {
    fn sign(&self, key: &Key, issuer: Issuer<'_>) -> Result<Vec<u8>, Unspecified> {
        let oid = element(OID, &[ECDSA, &[self.hash]]);
        let algorithm = sequence(&[&oid]);
        let (begin, end) = self.valid;
        let validity = sequence(&[&time(begin, &date(begin)), &time(end, &date(end))]);
        let public = element(BIT_STRING, &[&[0], key.pair.public_key().as_ref()]);
        let body = sequence(&[
            &element(0xa0, &[&integer(2)]), // version 3
            &integer(self.serial()),
            &algorithm,
            &name(issuer.name),
            &validity,
            &name(self.subject),
            &sequence(&[P256, &public]),
            &element(0xa3, &[&sequence(&[&self.extensions()])]),
        ]);
        let signature = issuer.key.pair.sign(&SystemRandom::new(), &body)?;
        let signature = element(BIT_STRING, &[&[0], signature.as_ref()]);
        Ok(sequence(&[&body, &algorithm, &signature]))
    }

    /// Tells the certificates of one issuer apart.
    fn serial(&self) -> u32 {
        let names = self.names.iter().flat_map(|name| name.bytes());
        names.fold(1_u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u32::from(byte))
        })
    }

    fn extensions(&self) -> Vec<u8> {
        let mut out = Vec::new();
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

/// Returns a GeneralName: a DNS name or an IPv4 address (RFC 5280 §4.2.1.6).
fn general(name: &str) -> Vec<u8> {
    match name.parse::<std::net::Ipv4Addr>() {
        Ok(address) => element(0x87, &[&address.octets()]),
        Err(_) => element(0x82, &[name.as_bytes()]),
    }
}

/// A root, an intermediate below it, and a key for every certificate that the intermediate signs.
pub(super) struct Authority {
    root_name: String,
    intermediate_name: String,
    root_key: Key,
    intermediate_key: Key,
    leaf_key: Key,
    /// The root in DER.
    pub(super) root: Vec<u8>,
    intermediate: Vec<u8>,
    now: u64,
}

impl Authority {
    /// Makes an authority at a time in seconds since 1970.
    pub(super) fn new(name: &str, now: u64) -> Result<Self, Unspecified> {
        let (root_key, intermediate_key) = (Key::new()?, Key::new()?);
        let mut made = Self {
            root_name: format!("{name} root"),
            intermediate_name: format!("{name} intermediate"),
            root_key,
            intermediate_key,
            leaf_key: Key::new()?,
            root: Vec::new(),
            intermediate: Vec::new(),
            now,
        };
        let root = made.ca(&made.root_name, None);
        made.root = root.sign(&made.root_key, made.root_issuer())?;
        let intermediate = made.ca(&made.intermediate_name, None);
        made.intermediate = made.signed_by_root(&intermediate)?;
        Ok(made)
    }

    fn ca<'a>(&self, subject: &'a str, below: Option<u32>) -> Draft<'a> {
        Draft {
            subject,
            authority: Some(below),
            ..self.draft(&[])
        }
    }

    fn draft<'a>(&self, names: &'a [&'a str]) -> Draft<'a> {
        Draft {
            subject: names.first().copied().unwrap_or("nameless"),
            names,
            valid: (self.now - 30 * DAY, self.now + 60 * DAY),
            authority: None,
            purpose: SERVERS,
            hash: SHA256,
            extension: None,
        }
    }

    fn root_issuer(&self) -> Issuer<'_> {
        let (name, key) = (self.root_name.as_str(), &self.root_key);
        Issuer { name, key }
    }

    fn intermediate_issuer(&self) -> Issuer<'_> {
        let (name, key) = (self.intermediate_name.as_str(), &self.intermediate_key);
        Issuer { name, key }
    }

    fn signed_by_root(&self, intermediate: &Draft<'_>) -> Result<Vec<u8>, Unspecified> {
        intermediate.sign(&self.intermediate_key, self.root_issuer())
    }

    fn leaf(&self, draft: &Draft<'_>) -> Result<Identity, Unspecified> {
        let leaf = draft.sign(&self.leaf_key, self.intermediate_issuer())?;
        Ok(self.with(vec![leaf, self.intermediate.clone()]))
    }

    fn with(&self, chain: Vec<Vec<u8>>) -> Identity {
        let key = self.leaf_key.pkcs8.clone();
        Identity { chain, key }
    }

    /// A good leaf below an intermediate that is not.
    fn below(&self, names: &[&str], intermediate: &Draft<'_>) -> Result<Identity, Unspecified> {
        let mut identity = self.good(names)?;
        identity.chain.truncate(1);
        identity.chain.push(self.signed_by_root(intermediate)?);
        Ok(identity)
    }

    /// A chain without fault for these names.
    pub(super) fn good(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&self.draft(names))
    }

    /// A chain whose leaf is valid for so long, in seconds from now.
    pub(super) fn valid(
        &self,
        names: &[&str],
        from: i64,
        until: i64,
    ) -> Result<Identity, Unspecified> {
        let at = |seconds: i64| self.now.saturating_add_signed(seconds);
        self.leaf(&Draft {
            valid: (at(from), at(until)),
            ..self.draft(names)
        })
    }

    /// A leaf that ended on 2015-04-12.
    pub(super) fn expired(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            valid: LONG_AGO,
            ..self.draft(names)
        })
    }

    /// An intermediate that ended on 2015-04-12.
    pub(super) fn expired_intermediate(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let intermediate = Draft {
            valid: LONG_AGO,
            ..self.ca(&self.intermediate_name, None)
        };
        self.below(names, &intermediate)
    }

    /// A leaf that begins on 2100-01-10.
    pub(super) fn not_yet_valid(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            valid: FAR_AHEAD,
            ..self.draft(names)
        })
    }

    /// A leaf with a common name and no other.
    pub(super) fn common_name_only(&self, name: &str) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            subject: name,
            ..self.draft(&[])
        })
    }

    /// A leaf that may be a client's only.
    pub(super) fn for_clients(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            purpose: CLIENTS,
            ..self.draft(names)
        })
    }

    /// A CA certificate as the server's own.
    pub(super) fn ca_as_leaf(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            authority: Some(None),
            ..self.draft(names)
        })
    }

    /// A leaf with a critical extension that nobody knows.
    pub(super) fn critical_extension(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            extension: Some((UNKNOWN, vec![5, 0])),
            ..self.draft(names)
        })
    }

    /// A leaf that says it is signed with ECDSA over SHA-224.
    pub(super) fn weak_signature(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        self.leaf(&Draft {
            hash: SHA224,
            ..self.draft(names)
        })
    }

    /// A leaf with one bit of its signature turned over.
    pub(super) fn broken_signature(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let mut identity = self.good(names)?;
        if let Some(last) = identity.chain.first_mut().and_then(|leaf| leaf.last_mut()) {
            *last ^= 1;
        }
        Ok(identity)
    }

    /// A leaf cut off after its first bytes.
    pub(super) fn malformed(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let mut identity = self.good(names)?;
        if let Some(leaf) = identity.chain.first_mut() {
            leaf.truncate(100);
        }
        Ok(identity)
    }

    /// A good leaf without the intermediate.
    pub(super) fn without_intermediate(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let mut identity = self.good(names)?;
        identity.chain.truncate(1);
        Ok(identity)
    }

    /// An intermediate that may issue for `elsewhere.test` only.
    pub(super) fn constrained(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let permitted = element(0xa0, &[&sequence(&[&general("elsewhere.test")])]);
        let intermediate = Draft {
            extension: Some((NAME_CONSTRAINTS, sequence(&[&permitted]))),
            ..self.ca(&self.intermediate_name, None)
        };
        self.below(names, &intermediate)
    }

    /// A chain with one CA more than an intermediate allows below itself.
    pub(super) fn too_long(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let first = self.signed_by_root(&self.ca(&self.intermediate_name, Some(0)))?;
        let second = self.ca("second intermediate", None);
        let second = second.sign(&self.leaf_key, self.intermediate_issuer())?;
        let issuer = Issuer {
            name: "second intermediate",
            key: &self.leaf_key,
        };
        let leaf = self.draft(names).sign(&self.leaf_key, issuer)?;
        Ok(self.with(vec![leaf, second, first]))
    }

    /// A leaf issued by another leaf.
    pub(super) fn issued_by_leaf(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let issuer = Issuer {
            name: "not-an-authority.test",
            key: &self.leaf_key,
        };
        let leaf = self.draft(names).sign(&self.leaf_key, issuer)?;
        let parent = self.good(&[issuer.name])?;
        let chain = [vec![leaf], parent.chain].concat();
        Ok(self.with(chain))
    }

    /// A good chain in the hands of somebody who has another key.
    pub(super) fn stolen(&self, names: &[&str]) -> Result<Identity, Unspecified> {
        let mut identity = self.good(names)?;
        identity.key = Key::new()?.pkcs8;
        Ok(identity)
    }

    /// A leaf that has signed itself, with or without the CA flag that `openssl req -x509` sets.
    pub(super) fn self_signed(&self, names: &[&str], ca: bool) -> Result<Identity, Unspecified> {
        let draft = Draft {
            authority: ca.then_some(None),
            ..self.draft(names)
        };
        let issuer = Issuer {
            name: draft.subject,
            key: &self.leaf_key,
        };
        Ok(self.with(vec![draft.sign(&self.leaf_key, issuer)?]))
    }
}
