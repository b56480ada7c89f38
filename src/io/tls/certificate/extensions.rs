//! What the extensions of a certificate say (RFC 5280 §4.2), in words where they are for people.

use std::collections::BTreeSet;
use std::net::IpAddr;

use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::ext::pkix::constraints::name::GeneralSubtrees;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, NameConstraints, SubjectAltName,
    SubjectKeyIdentifier,
};

pub(super) fn names(certificate: &CertificateInner<Raw>) -> Vec<String> {
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
        GeneralName::IpAddress(octets) => ip(octets.as_bytes()).map(|ip| ip.to_string()),
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(octets).map(IpAddr::from);
    v4.or(v6).ok()
}

/// Last octets of extensions' identifiers below id-ce, `2.5.29` (RFC 5280 §4.2).
pub(super) const KEY_USAGE: u8 = 15;
/// Those that WebPKI works on: key usage, subject alternative name, basic constraints, name
/// constraints, CRL distribution points, extended key usage.
const KNOWN_TO_WEBPKI: &[u8] = &[KEY_USAGE, 17, 19, 30, 31, 37];
const ID_CE: [u8; 2] = [0x55, 0x1D];

pub(super) fn extension(certificate: &CertificateInner<Raw>, last: u8) -> Option<&[u8]> {
    let extensions = certificate.tbs_certificate().extensions()?;
    let wanted = [ID_CE[0], ID_CE[1], last];
    let found = extensions
        .iter()
        .find(|one| one.extn_id.as_bytes() == wanted)?;
    Some(found.extn_value.as_bytes())
}

pub(super) fn unknown_critical(certificate: &CertificateInner<Raw>) -> Vec<String> {
    let extensions = certificate.tbs_certificate().extensions();
    let known = |id: &[u8]| {
        KNOWN_TO_WEBPKI
            .iter()
            .any(|last| id == [ID_CE[0], ID_CE[1], *last])
    };
    extensions
        .into_iter()
        .flatten()
        .filter(|one| one.critical && !known(one.extn_id.as_bytes()))
        .map(|one| one.extn_id.to_string())
        .collect()
}

/// In words: use as a TLS server (RFC 5280 §4.2.1.12).
pub(super) const SERVERS: &str = "servers";
const USES: &[(&str, &str)] = &[
    ("1.3.6.1.5.5.7.3.1", SERVERS),
    ("1.3.6.1.5.5.7.3.2", "clients"),
    ("1.3.6.1.5.5.7.3.3", "code signing"),
    ("1.3.6.1.5.5.7.3.4", "e-mail"),
    ("1.3.6.1.5.5.7.3.8", "time stamps"),
    ("1.3.6.1.5.5.7.3.9", "OCSP"),
    ("2.5.29.37.0", "any use"),
];

/// Returns the extended key usage in words; `None` without one, nothing if it can't be read.
pub(super) fn uses(certificate: &CertificateInner<Raw>) -> Option<Vec<String>> {
    let extension = certificate
        .tbs_certificate()
        .get_extension::<ExtendedKeyUsage>();
    let name = |oid: String| match USES.iter().find(|(known, _)| *known == oid) {
        Some((_, name)) => (*name).to_owned(),
        None => oid,
    };
    match extension {
        Ok(None) => None,
        Ok(Some((_, ExtendedKeyUsage(uses)))) => {
            Some(uses.iter().map(|one| name(one.to_string())).collect())
        }
        Err(_) => Some(Vec::new()),
    }
}

pub(super) fn basic_constraints(certificate: &CertificateInner<Raw>) -> Option<BasicConstraints> {
    let body = certificate.tbs_certificate();
    let (_, constraints) = body.get_extension::<BasicConstraints>().ok()??;
    Some(constraints)
}

/// Returns the identifier of an extension that stands in a certificate more than once.
pub(super) fn repeated(certificate: &CertificateInner<Raw>) -> Option<String> {
    let extensions = certificate.tbs_certificate().extensions()?;
    let mut seen = BTreeSet::new();
    let twice = extensions.iter().find(|one| !seen.insert(one.extn_id));
    twice.map(|one| one.extn_id.to_string())
}

pub(super) fn constraint(certificate: &CertificateInner<Raw>) -> Option<String> {
    let body = certificate.tbs_certificate();
    let found = body.get_extension::<NameConstraints>();
    let (_, constraints) = found.ok()??;
    let permitted = subtrees(constraints.permitted_subtrees);
    let excluded = subtrees(constraints.excluded_subtrees);
    Some(match (permitted.is_empty(), excluded.is_empty()) {
        (false, true) => format!("{permitted} only"),
        (true, false) => format!("all but {excluded}"),
        (false, false) => format!("{permitted} only, but not {excluded}"),
        (true, true) => "other kinds of names only".to_owned(),
    })
}

fn subtrees(subtrees: Option<GeneralSubtrees>) -> String {
    let names: Vec<String> = subtrees
        .into_iter()
        .flatten()
        .filter_map(|one| match &one.base {
            GeneralName::IpAddress(octets) => network(octets.as_bytes()),
            other => name(other),
        })
        .collect();
    names.join(", ")
}

/// Writes address and mask (RFC 5280 §4.2.1.10) as `192.0.2.0/24`.
fn network(octets: &[u8]) -> Option<String> {
    let (address, mask) = octets.split_at_checked(octets.len() / 2)?;
    let bits: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    ip(address).map(|address| format!("{address}/{bits}"))
}

pub(super) fn key_ids(certificate: &CertificateInner<Raw>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let body = certificate.tbs_certificate();
    let own = body.get_extension::<SubjectKeyIdentifier>().ok().flatten();
    let issuer = body.get_extension::<AuthorityKeyIdentifier>();
    let issuer = issuer.ok().flatten().and_then(|(_, id)| id.key_identifier);
    (
        own.map(|(_, id)| id.0.as_bytes().to_vec()),
        issuer.map(|id| id.as_bytes().to_vec()),
    )
}
