//! What a person wants to know of a certificate, and how its names and dates are written.
//!
//! Reads what others have judged or will judge; trusts nothing and decides nothing.

mod extensions;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest;
use rustls::crypto::ring::default_provider;
use x509_cert::certificate::{CertificateInner, Raw, Version};
use x509_cert::der::{Decode, Encode};
use x509_cert::name::Name;

use crate::core::endpoint::Pin;
use crate::io::tls::algorithm::{self, Algorithm, Strength};
use crate::io::tls::der::{Element, contents, element, sequence};
use crate::io::tls::list;

/// A certificate in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// `CN=…` of the subject, or the whole name without one.
    pub(crate) subject: String,
    /// The same of the issuer.
    pub(crate) issuer: String,
    /// Whether subject and issuer are the same name.
    pub(crate) self_issued: bool,
    /// DNS names and IP addresses it is for.
    pub(crate) names: Vec<String>,
    /// Begin of validity, seconds since 1970.
    pub(crate) not_before: u64,
    /// End of validity, seconds since 1970.
    pub(crate) not_after: u64,
    /// SHA-256 of the public key with its algorithm.
    pub(crate) pin: Pin,
    /// Its public key.
    pub(crate) key: Algorithm,
    /// What it is signed with.
    pub(crate) signed_with: Algorithm,
    /// What it may be used for by its extended key usage, in words; empty if it doesn't say.
    pub(crate) uses: Vec<String>,
    /// Whether it may be a server's: its extended key usage, if it has any, says so.
    pub(crate) for_servers: bool,
    /// Whether its key may sign handshakes: its key usage, if it has any, says so.
    pub(crate) may_sign: bool,
    /// Whether its key may sign certificates, in the same way.
    pub(crate) may_issue: bool,
    /// Whether it is a CA's: it says so, or is of a version that could not.
    pub(crate) is_ca: bool,
    /// Whether it is of version 3, the only one that is accepted of a server.
    pub(crate) is_version_3: bool,
    /// How many issuers may stand between it and a server's certificate, if it is limited.
    pub(crate) path_length: Option<u8>,
    /// The names that it may issue certificates for, if they are limited, in words.
    pub(crate) constraint: Option<String>,
    /// Identifiers of the critical extensions that WebPKI doesn't know.
    pub(crate) unknown_critical: Vec<String>,
    /// Identifier of an extension that stands in it twice (RFC 5280 §4.2), if one does.
    pub(crate) repeated: Option<String>,
    /// Identifiers of its own key and of its issuer's, where it has them.
    key_ids: (Option<Vec<u8>>, Option<Vec<u8>>),
    /// The subject, DER without its outer tag, as trust anchors hold it.
    subject_der: Vec<u8>,
    /// The issuer, in the same way.
    issuer_der: Vec<u8>,
    /// Algorithm and public key, DER without the outer tag.
    key_der: Vec<u8>,
    /// What is signed, with what, and the signature.
    signed: Signed,
}

/// The parts of a certificate or revocation list that its signature is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signed {
    message: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    /// Takes a certificate or list apart (RFC 5280 §4.1, §5.1).
    fn read(der: &[u8]) -> Option<Self> {
        let message = element(element(der)?.contents)?;
        let algorithm = element(message.rest)?;
        let signature = element(algorithm.rest)?;
        Some(Self {
            message: message.whole.to_vec(),
            algorithm: algorithm.contents.to_vec(),
            // The first octet of a BIT STRING counts its unused bits.
            signature: signature.contents.get(1..)?.to_vec(),
        })
    }

    /// Returns whether a key, DER without the outer tag, made the signature; `None` if its kind
    /// can't be verified.
    fn is_by(&self, key_der: &[u8]) -> Option<bool> {
        // ring calls every signature bad whose key is too short or too long for it.
        let strength = algorithm::of_key_info(key_der)?.strength;
        if strength != Strength::Good {
            return None;
        }
        let algorithm = element(key_der)?;
        let key = element(algorithm.rest)?.contents.get(1..)?;
        let algorithms = default_provider().signature_verification_algorithms.all;
        let fitting = algorithms.iter().find(|one| {
            one.signature_alg_id().as_ref() == self.algorithm
                && one.public_key_alg_id().as_ref() == algorithm.contents
        })?;
        let verdict = fitting.verify_signature(key, &self.message, &self.signature);
        Some(verdict.is_ok())
    }
}

impl Certificate {
    /// Reads a certificate; `None` if it is not one.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let key = body.subject_public_key_info().to_der().ok()?;
        let uses = extensions::uses(&certificate);
        let key_usage = extensions::extension(&certificate, extensions::KEY_USAGE).map(contents);
        let allows = |bit: u8| {
            key_usage.is_none_or(|bits| bits.get(1).is_some_and(|first| first & bit != 0))
        };
        Some(Self {
            subject: common_name(body.subject()),
            issuer: common_name(body.issuer()),
            self_issued: body.subject() == body.issuer(),
            names: extensions::names(&certificate),
            not_before: body.validity().not_before.to_unix_duration().as_secs(),
            not_after: body.validity().not_after.to_unix_duration().as_secs(),
            pin: pin(&key),
            key: key_algorithm(&certificate),
            signed_with: signature_algorithm(&certificate),
            for_servers: uses
                .as_ref()
                .is_none_or(|uses| uses.contains(&extensions::SERVERS.to_owned())),
            uses: uses.unwrap_or_default(),
            may_sign: allows(0x80),
            may_issue: allows(0x04),
            is_ca: match extensions::basic_constraints(&certificate) {
                Some(constraints) => constraints.ca,
                // As OpenSSL has it.
                None => body.version() != Version::V3 || (key_usage.is_some() && allows(0x04)),
            },
            is_version_3: body.version() == Version::V3,
            repeated: extensions::repeated(&certificate),
            path_length: extensions::basic_constraints(&certificate)
                .and_then(|constraints| constraints.path_len_constraint),
            constraint: extensions::constraint(&certificate),
            unknown_critical: extensions::unknown_critical(&certificate),
            key_ids: extensions::key_ids(&certificate),
            subject_der: contents(&body.subject().to_der().ok()?).to_vec(),
            issuer_der: contents(&body.issuer().to_der().ok()?).to_vec(),
            key_der: contents(&key).to_vec(),
            signed: Signed::read(der)?,
        })
    }

    /// Returns whether it is valid at this time, in seconds since 1970.
    pub(crate) fn is_valid(&self, now: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Returns whether it has this subject and key, given as a trust anchor holds them.
    pub(crate) fn is(&self, subject: &[u8], key: &[u8]) -> bool {
        self.subject_der == subject && self.key_der == key
    }

    /// Returns whether it names `other` as its issuer.
    pub(crate) fn names_issuer(&self, other: &Self) -> bool {
        self.issuer_der == other.subject_der
    }

    /// Returns whether it names as its issuer a subject, given as a trust anchor holds it.
    pub(crate) fn names_anchor(&self, subject: &[u8]) -> bool {
        self.issuer_der == subject
    }

    /// Returns whether it is signed with the key of `other`; `None` if that can't be verified.
    pub(crate) fn is_signed_by(&self, other: &Self) -> Option<bool> {
        self.signed.is_by(&other.key_der)
    }

    /// Returns whether it is signed with a key, DER without the outer tag; `None` if that can't be
    /// verified.
    pub(crate) fn is_signed_with(&self, key_der: &[u8]) -> Option<bool> {
        self.signed.is_by(key_der)
    }

    /// Returns whether it says that its issuer's key is the one of `other`; `None` if either
    /// doesn't identify it.
    pub(crate) fn claims_key_of(&self, other: &Self) -> Option<bool> {
        let (own, claimed) = (other.key_ids.0.as_ref()?, self.key_ids.1.as_ref()?);
        Some(own == claimed)
    }

    /// Returns whether it says that its issuer's key is this one, given as a trust anchor holds
    /// it; `None` if it doesn't say. Only identifiers that are hashes of the key as of RFC 5280
    /// §4.2.1.2 and RFC 7093 §2 are recognised.
    pub(crate) fn claims_anchor_key(&self, key: &[u8]) -> Option<bool> {
        let claimed = self.key_ids.1.as_ref()?;
        let bits = element(key).map(|algorithm| contents(algorithm.rest));
        let bits = bits.and_then(|bits| bits.get(1..)).unwrap_or_default();
        let is_hash = |algorithm, of: &[u8]| {
            let hash = digest::digest(algorithm, of);
            hash.as_ref().get(..20) == Some(claimed)
        };
        Some(
            is_hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, bits)
                || is_hash(&digest::SHA256, bits)
                || is_hash(&digest::SHA256, &sequence(key)),
        )
    }

    /// Returns whether it is signed with its own key, as far as that can be verified: having
    /// the name of its issuer is not enough.
    pub(crate) fn is_self_signed(&self) -> bool {
        self.self_issued && self.is_signed_by(self) != Some(false)
    }
}

/// Returns whether a certificate or revocation list is signed with a key, DER without the outer
/// tag; `None` if that can't be verified.
pub(super) fn is_signed_by(der: &[u8], key: &[u8]) -> Option<bool> {
    Signed::read(der)?.is_by(key)
}

/// Returns whether the key of a certificate may sign revocation lists by its key usage.
pub(super) fn may_sign_lists(der: &[u8]) -> bool {
    CertificateInner::<Raw>::from_der(der).is_ok_and(|certificate| {
        let key_usage = extensions::extension(&certificate, extensions::KEY_USAGE).map(contents);
        key_usage.is_none_or(|bits| bits.get(1).is_some_and(|first| first & 0x02 != 0))
    })
}

/// Returns the pin of a public key with its algorithm, in DER (RFC 7469 §2.4).
pub(crate) fn pin(key: &[u8]) -> Pin {
    let mut pin = Pin::default();
    let hash = digest::digest(&digest::SHA256, key);
    pin.iter_mut()
        .zip(hash.as_ref())
        .for_each(|(to, from)| *to = *from);
    pin
}

/// Returns a pin as it stands in bridge.toml.
pub(crate) fn show_pin(pin: &Pin) -> String {
    format!("sha256/{}", BASE64_STANDARD.encode(pin))
}

/// Returns the earliest not-after of a chain, leaf first, leaving out issuers long past it.
///
/// An expired issuer in an accepted chain was not needed (servers send old cross-signed ones), so
/// it says nothing about how long the chain stays acceptable. One that ended a moment ago may have
/// been: the chain was judged before this. 0 if the leaf can't be read.
pub(crate) fn earliest_end<'a>(mut chain: impl Iterator<Item = &'a [u8]>, now: u64) -> u64 {
    const MOMENT: u64 = 60;
    let Some(leaf) = chain.next().and_then(end) else {
        return 0;
    };
    chain
        .filter_map(end)
        .filter(|end| end.saturating_add(MOMENT) >= now)
        .fold(leaf, u64::min)
}

/// Returns a certificate's not-after without reading the rest of it: that would cost more than a
/// resumed handshake.
fn end(der: &[u8]) -> Option<u64> {
    let validity = element(issuer_in(der)?.rest)?;
    list::seconds(&element(element(validity.contents)?.rest)?)
}

/// Returns the name of a certificate's issuer in DER, without reading the rest of it.
pub(super) fn issuer_of(der: &[u8]) -> Option<&[u8]> {
    issuer_in(der).map(|issuer| issuer.whole)
}

fn issuer_in(der: &[u8]) -> Option<Element<'_>> {
    const VERSION: u8 = 0xa0;
    let body = element(element(der)?.contents)?;
    let first = element(body.contents)?;
    let serial = match first.tag {
        VERSION => element(first.rest)?,
        _ => first,
    };
    element(element(serial.rest)?.rest)
}

/// Returns a subject, DER without its outer tag, in words.
pub(crate) fn name_of(subject: &[u8]) -> String {
    match Name::from_der(&sequence(subject)) {
        Ok(name) => common_name(&name),
        Err(_) => "(a name that can not be read)".to_owned(),
    }
}

/// Returns the common name of a certificate's subject, `None` if it has none that can be read.
pub(crate) fn subject_name(der: &[u8]) -> Option<String> {
    let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
    let name = certificate.tbs_certificate().subject().common_name();
    let name = name.ok()?.map(|name| name.value().to_string());
    name.filter(|name| !name.is_empty())
}

fn common_name(name: &Name) -> String {
    match name.common_name() {
        Ok(Some(common)) => format!("CN={}", common.value()),
        _ if name.is_empty() => "(no name)".to_owned(),
        _ => name.to_string(),
    }
}

fn key_algorithm(certificate: &CertificateInner<Raw>) -> Algorithm {
    let info = certificate.tbs_certificate().subject_public_key_info();
    let parameters = info.algorithm.parameters.as_ref();
    let parameters = parameters.and_then(|any| any.to_der().ok());
    algorithm::of_key(
        &info.algorithm.oid.to_string(),
        &parameters.unwrap_or_default(),
        info.subject_public_key.as_bytes().unwrap_or_default(),
    )
}

fn signature_algorithm(certificate: &CertificateInner<Raw>) -> Algorithm {
    let algorithm = certificate.signature_algorithm();
    let parameters = algorithm.parameters.as_ref();
    let parameters = parameters.and_then(|any| any.to_der().ok());
    algorithm::of_signature(&algorithm.oid.to_string(), &parameters.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::calendar::date;
    use crate::io::http::support::certificates::Authority;

    #[test]
    fn a_certificate_is_told_in_words() {
        let identity = Authority::new("test").good(&["a.example", "192.0.2.1", "2001:db8::1"]);
        let leaf = Certificate::read(&identity.chain[0]).unwrap();
        assert_eq!(leaf.subject, "CN=a.example");
        assert_eq!(leaf.issuer, "CN=test intermediate");
        assert_eq!(leaf.names, ["a.example", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(date(leaf.not_before), "2020-01-01");
        assert_eq!(date(leaf.not_after), "2090-01-01");
        assert_eq!(leaf.key.name, "ECDSA P-256");
        assert_eq!(leaf.signed_with.name, "ECDSA with SHA-256");
        assert_eq!(leaf.uses, ["servers"]);
        assert!(leaf.for_servers && leaf.may_sign && !leaf.may_issue);
        assert!(!leaf.self_issued);
        assert_eq!(show_pin(&leaf.pin).len(), 51);
        assert_eq!(Certificate::read(b"no certificate"), None);
    }

    #[test]
    fn the_end_is_found_where_the_whole_reading_finds_it() {
        let authority = Authority::new("test");
        for identity in [
            authority.good(&["a.example"]),
            authority.expired(&["a.example"]),
            authority.not_yet_valid(&["a.example"]),
        ] {
            for der in &identity.chain {
                let whole = Certificate::read(der).unwrap().not_after;
                assert_eq!(end(der), Some(whole));
                for length in 0..der.len() {
                    assert_eq!(end(&der[..length]), None, "cut off at {length}");
                }
            }
        }
    }

    #[test]
    fn a_chain_ends_with_its_leaf_or_an_issuer_that_is_still_valid() {
        let authority = Authority::new("test");
        let expired = authority.expired(&["a.example"]).chain.remove(0);
        let good = authority.good(&["a.example"]).chain.remove(0);
        let [late, end] = [&expired, &good].map(|one| Certificate::read(one).unwrap().not_after);
        let cases = [
            ([&good, &expired], 1_700_000_000, end),
            ([&good, &expired], late + 61, end),
            ([&good, &expired], late + 60, late),
            ([&expired, &good], 1_700_000_000, late),
        ];
        for (chain, now, expected) in cases {
            assert_eq!(
                earliest_end(chain.map(|one| &**one).into_iter(), now),
                expected
            );
        }
        assert_eq!(earliest_end([&b"x"[..]].into_iter(), 0), 0);
    }
}
