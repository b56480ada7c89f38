//! What a person wants to know of a certificate, and how its names and dates are written.
//!
//! Reads what others have judged or will judge; trusts nothing and decides nothing.

mod body;
mod extensions;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest;
use rustls::crypto::ring::default_provider;

use crate::core::endpoint::Pin;
use crate::io::tls::algorithm::{self, Algorithm, Strength};
use crate::io::tls::certificate::body::Body;
use crate::io::tls::der::{Element, contents, element, sequence};
use crate::io::tls::name::Name;
use crate::io::tls::{points, time};

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
        let body = Body::read(der)?;
        let uses = extensions::uses(&body);
        let key_usage = body.extension(extensions::KEY_USAGE).map(contents);
        let allows = |bit: u8| {
            key_usage.is_none_or(|bits| bits.get(1).is_some_and(|first| first & bit != 0))
        };
        let constraints = extensions::basic_constraints(&body);
        let is_version_3 = body.version == 3;
        Some(Self {
            subject: body.subject.name.in_words(),
            issuer: body.issuer.name.in_words(),
            self_issued: body.subject.der == body.issuer.der,
            names: extensions::names(&body),
            not_before: body.not_before,
            not_after: body.not_after,
            pin: pin(body.key.whole),
            key: body.key.algorithm(),
            signed_with: body.signed_with.of_signature(),
            for_servers: uses
                .as_ref()
                .is_none_or(|uses| uses.contains(&extensions::SERVERS.to_owned())),
            uses: uses.unwrap_or_default(),
            may_sign: allows(0x80),
            may_issue: allows(0x04),
            is_ca: match &constraints {
                Some(constraints) => constraints.is_ca,
                // As OpenSSL has it.
                None => !is_version_3 || (key_usage.is_some() && allows(0x04)),
            },
            is_version_3,
            repeated: extensions::repeated(&body),
            path_length: constraints.and_then(|constraints| constraints.path_length),
            constraint: extensions::constraint(&body),
            unknown_critical: extensions::unknown_critical(&body),
            key_ids: extensions::key_ids(&body),
            subject_der: body.subject.der.to_vec(),
            issuer_der: body.issuer.der.to_vec(),
            key_der: body.key.contents.to_vec(),
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
    Body::read(der).is_some_and(|body| {
        let key_usage = body.extension(extensions::KEY_USAGE).map(contents);
        key_usage.is_none_or(|bits| bits.get(1).is_some_and(|first| first & 0x02 != 0))
    })
}

/// Returns where a certificate says that its issuer's revocation list is; `None` if it doesn't
/// say. Lists of other issuers or of some reasons are left out.
pub(super) fn list_urls(der: &[u8]) -> Option<Vec<String>> {
    let points = Body::read(der)?.sole_extension(extensions::DISTRIBUTION_POINTS)?;
    points::urls_in(points)
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
    time::seconds(&element(element(validity.contents)?.rest)?)
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
    match Name::read(subject) {
        Some(name) => name.in_words(),
        None => "(a name that can not be read)".to_owned(),
    }
}

/// Returns the common name of a certificate's subject, `None` if it has none that can be read.
pub(crate) fn subject_name(der: &[u8]) -> Option<String> {
    let name = Body::read(der)?.subject.name.common_name();
    name.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
