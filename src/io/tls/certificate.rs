//! What a person wants to know of a certificate, and how its names and dates are written.
//!
//! Reads what others have judged or will judge; trusts nothing and decides nothing.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};
use x509_cert::name::Name;

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
    /// SHA-256 of the public key with its algorithm, in base64: the pin of RFC 7469 §2.4.
    pub(crate) pin: String,
    /// Bits of an RSA key's modulus; `None` for other keys.
    pub(crate) rsa_bits: Option<usize>,
    /// Whether it may be a server's: its extended key usage, if it has any, says so.
    pub(crate) for_servers: bool,
    /// The subject, DER without its outer tag, as trust anchors hold it.
    subject_der: Vec<u8>,
    /// Algorithm and public key, DER without the outer tag.
    key_der: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate; `None` if it is not one.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let key = body.subject_public_key_info().to_der().ok()?;
        let hash = digest::digest(&digest::SHA256, &key);
        Some(Self {
            subject: common_name(body.subject()),
            issuer: common_name(body.issuer()),
            self_issued: body.subject() == body.issuer(),
            names: names(&certificate),
            not_before: body.validity().not_before.to_unix_duration().as_secs(),
            not_after: body.validity().not_after.to_unix_duration().as_secs(),
            pin: BASE64_STANDARD.encode(hash),
            rsa_bits: rsa_bits(&certificate),
            for_servers: for_servers(&certificate),
            subject_der: contents(&body.subject().to_der().ok()?),
            key_der: contents(&key),
        })
    }

    /// Returns whether it has this subject and key, given as a trust anchor holds them.
    pub(crate) fn is(&self, subject: &[u8], key: &[u8]) -> bool {
        self.subject_der == subject && self.key_der == key
    }
}

/// Returns the earliest not-after of a chain, leaving out certificates past it already.
///
/// An expired certificate in an accepted chain was not needed (servers send old cross-signed
/// ones), so it says nothing about how long the chain stays acceptable. 0 if none can be read.
pub(crate) fn earliest_end<'a>(chain: impl Iterator<Item = &'a [u8]>, now: u64) -> u64 {
    chain
        .filter_map(Certificate::read)
        .map(|certificate| certificate.not_after)
        .filter(|end| *end > now)
        .min()
        .unwrap_or(0)
}

/// Returns the UTC date of a time since 1970, such as `2015-04-12`.
pub(crate) fn date(seconds: u64) -> String {
    // Days to civil date by 400-year eras that begin on 1 March, so that leap days come last.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let (month, carry) = match shifted_month {
        0..=9 => (shifted_month + 3, 0),
        _ => (shifted_month - 9, 1),
    };
    let year = year_of_era + era * 400 + carry;
    format!("{year:04}-{month:02}-{day:02}")
}

fn common_name(name: &Name) -> String {
    match name.common_name() {
        Ok(Some(common)) => format!("CN={}", common.value()),
        _ if name.is_empty() => "(no name)".to_owned(),
        _ => name.to_string(),
    }
}

fn names(certificate: &CertificateInner<Raw>) -> Vec<String> {
    let extension = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>();
    let Ok(Some((_, SubjectAltName(names)))) = extension else {
        return Vec::new();
    };
    names.iter().filter_map(name).collect()
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(octets).map(IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

/// Use as a TLS server (RFC 5280 §4.2.1.12).
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";

fn for_servers(certificate: &CertificateInner<Raw>) -> bool {
    let extension = certificate
        .tbs_certificate()
        .get_extension::<ExtendedKeyUsage>();
    match extension {
        Ok(None) => true,
        Ok(Some((_, ExtendedKeyUsage(uses)))) => {
            uses.iter().any(|one| one.to_string() == SERVER_AUTH)
        }
        Err(_) => false,
    }
}

/// Algorithm of RSA keys (RFC 8017 §A.1).
const RSA: &str = "1.2.840.113549.1.1.1";

fn rsa_bits(certificate: &CertificateInner<Raw>) -> Option<usize> {
    let key = certificate.tbs_certificate().subject_public_key_info();
    if key.algorithm.oid.to_string() != RSA {
        return None;
    }
    // SEQUENCE { modulus INTEGER, publicExponent INTEGER }
    let sequence = contents(key.subject_public_key.as_bytes()?);
    let modulus = contents(&sequence);
    let exponent_and_rest = 5; // 02 03 01 00 01, as good as always
    let bytes = modulus.len().saturating_sub(exponent_and_rest);
    let leading = modulus.iter().take_while(|byte| **byte == 0).count();
    Some(bytes.saturating_sub(leading) * 8)
}

/// Returns the contents of a DER element: what follows its tag and length.
fn contents(element: &[u8]) -> Vec<u8> {
    let length_bytes = match element.get(1) {
        Some(first) if *first >= 0x80 => usize::from(first & 0x7f) + 1,
        _ => 1,
    };
    element.get(1 + length_bytes..).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::http::support::certificates::Authority;

    #[test]
    fn dates_follow_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (86_400, "1970-01-02"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_428_796_800, "2015-04-12"),
            (4_107_456_000, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
            (253_402_300_799, "9999-12-31"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn a_certificate_is_told_in_words() {
        let identity = Authority::new("test").good(&["a.example", "192.0.2.1", "2001:db8::1"]);
        let leaf = Certificate::read(&identity.chain[0]).unwrap();
        assert_eq!(leaf.subject, "CN=a.example");
        assert_eq!(leaf.issuer, "CN=test intermediate");
        assert_eq!(leaf.names, ["a.example", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(date(leaf.not_before), "2020-01-01");
        assert_eq!(date(leaf.not_after), "2090-01-01");
        assert_eq!(leaf.rsa_bits, None);
        assert!(!leaf.self_issued);
        assert_eq!(leaf.pin.len(), 44);
        assert_eq!(Certificate::read(b"no certificate"), None);
    }

    #[test]
    fn a_chain_ends_with_the_first_certificate_that_is_still_valid() {
        let authority = Authority::new("test");
        let expired = authority.expired(&["a.example"]).chain.remove(0);
        let good = authority.good(&["a.example"]).chain.remove(0);
        let end = Certificate::read(&good).unwrap().not_after;
        let chain = [expired.as_ref(), good.as_ref()];
        assert_eq!(earliest_end(chain.into_iter(), 1_700_000_000), end);
        assert_eq!(earliest_end([&b"x"[..]].into_iter(), 0), 0);
    }
}
