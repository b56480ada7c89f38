//! Certificates as x509-cert reads them: what our reader has to agree with.

use std::net::IpAddr;

use x509_cert::certificate::{CertificateInner, Raw, Version};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::constraints::name::GeneralSubtrees;
use x509_cert::ext::pkix::crl::IssuingDistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage,
    NameConstraints, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::time::Time;

use super::super::{Certificate, Signed, algorithm, contents, pin};
use crate::io::tls::algorithm::Algorithm;
use crate::io::tls::points::Scope;

/// One that x509-cert took apart.
pub(super) struct Reference(CertificateInner<Raw>);

impl Reference {
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        CertificateInner::from_der(der).ok().map(Self)
    }

    pub(super) fn subject(&self) -> &Name {
        self.0.tbs_certificate().subject()
    }

    pub(super) fn issuer(&self) -> &Name {
        self.0.tbs_certificate().issuer()
    }

    pub(super) fn subject_name(&self) -> Option<String> {
        let name = self.subject().common_name();
        let name = name.ok()?.map(|name| name.value().to_string());
        name.filter(|name| !name.is_empty())
    }

    pub(super) fn may_sign_lists(&self) -> bool {
        self.allows(0x02)
    }

    pub(super) fn list_urls(&self) -> Option<Vec<String>> {
        let CrlDistributionPoints(points) = self.sole().ok()??;
        let whole = points
            .iter()
            .filter(|point| point.crl_issuer.is_none() && point.reasons.is_none());
        let found = whole.flat_map(|point| urls(point.distribution_point.as_ref()));
        Some(found.collect())
    }

    pub(super) fn in_words(&self, der: &[u8]) -> Certificate {
        let body = self.0.tbs_certificate();
        let key = body.subject_public_key_info().to_der().unwrap();
        let uses = self.uses();
        let constraints: Option<BasicConstraints> = self.sole().ok().flatten();
        Certificate {
            subject: words(body.subject()),
            issuer: words(body.issuer()),
            self_issued: body.subject() == body.issuer(),
            names: self.names(),
            not_before: body.validity().not_before.to_unix_duration().as_secs(),
            not_after: body.validity().not_after.to_unix_duration().as_secs(),
            pin: pin(&key),
            key: self.key_algorithm(),
            signed_with: self.signature_algorithm(),
            for_servers: uses
                .as_ref()
                .is_none_or(|uses| uses.contains(&"servers".to_owned())),
            uses: uses.unwrap_or_default(),
            may_sign: self.allows(0x80),
            may_issue: self.allows(0x04),
            is_ca: match &constraints {
                Some(constraints) => constraints.ca,
                None => {
                    body.version() != Version::V3
                        || (self.key_usage().is_some() && self.allows(0x04))
                }
            },
            is_version_3: body.version() == Version::V3,
            repeated: self.repeated(),
            path_length: constraints.and_then(|constraints| constraints.path_len_constraint),
            constraint: self.constraint(),
            unknown_critical: self.unknown_critical(),
            key_ids: self.key_ids(),
            subject_der: name_der(body.subject()),
            issuer_der: name_der(body.issuer()),
            key_der: contents(&key).to_vec(),
            signed: Signed::read(der).unwrap(),
        }
    }

    fn sole<'a, T: Decode<'a> + AssociatedOid>(&'a self) -> Result<Option<T>, T::Error> {
        let found = self.0.tbs_certificate().get_extension::<T>()?;
        Ok(found.map(|(_, value)| value))
    }

    fn key_usage(&self) -> Option<&[u8]> {
        let mut extensions = self.0.tbs_certificate().extensions()?.iter();
        let found = extensions.find(|one| one.extn_id.to_string() == "2.5.29.15")?;
        Some(contents(found.extn_value.as_bytes()))
    }

    fn allows(&self, bit: u8) -> bool {
        self.key_usage()
            .is_none_or(|bits| bits.get(1).is_some_and(|first| first & bit != 0))
    }

    fn names(&self) -> Vec<String> {
        match self.sole() {
            Ok(Some(SubjectAltName(names))) => names.iter().filter_map(general_name).collect(),
            _ => Vec::new(),
        }
    }

    fn uses(&self) -> Option<Vec<String>> {
        let name = |oid: String| match oid.as_str() {
            "1.3.6.1.5.5.7.3.1" => "servers".to_owned(),
            "1.3.6.1.5.5.7.3.2" => "clients".to_owned(),
            "1.3.6.1.5.5.7.3.3" => "code signing".to_owned(),
            "1.3.6.1.5.5.7.3.4" => "e-mail".to_owned(),
            "1.3.6.1.5.5.7.3.8" => "time stamps".to_owned(),
            "1.3.6.1.5.5.7.3.9" => "OCSP".to_owned(),
            "2.5.29.37.0" => "any use".to_owned(),
            _ => oid,
        };
        match self.sole() {
            Ok(None) => None,
            Ok(Some(ExtendedKeyUsage(uses))) => {
                Some(uses.iter().map(|one| name(one.to_string())).collect())
            }
            Err(_) => Some(Vec::new()),
        }
    }

    fn repeated(&self) -> Option<String> {
        let mut seen = Vec::new();
        for one in self.0.tbs_certificate().extensions()? {
            if seen.contains(&one.extn_id) {
                return Some(one.extn_id.to_string());
            }
            seen.push(one.extn_id);
        }
        None
    }

    fn unknown_critical(&self) -> Vec<String> {
        let extensions = self.0.tbs_certificate().extensions();
        let critical = extensions.into_iter().flatten().filter(|one| one.critical);
        let known = [15, 17, 19, 30, 31, 37].map(|last| format!("2.5.29.{last}"));
        // A number can be written longer than it is, and is another identifier then.
        critical
            .filter(|one| {
                one.extn_id.as_bytes().len() != 3 || !known.contains(&one.extn_id.to_string())
            })
            .map(|one| one.extn_id.to_string())
            .collect()
    }

    fn constraint(&self) -> Option<String> {
        let constraints: NameConstraints = self.sole().ok()??;
        let permitted = subtrees(constraints.permitted_subtrees);
        let excluded = subtrees(constraints.excluded_subtrees);
        Some(match (permitted.is_empty(), excluded.is_empty()) {
            (false, true) => format!("{permitted} only"),
            (true, false) => format!("all but {excluded}"),
            (false, false) => format!("{permitted} only, but not {excluded}"),
            (true, true) => "other kinds of names only".to_owned(),
        })
    }

    fn key_ids(&self) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let own: Option<SubjectKeyIdentifier> = self.sole().ok().flatten();
        let issuer: Option<AuthorityKeyIdentifier> = self.sole().ok().flatten();
        let issuer = issuer.and_then(|id| id.key_identifier);
        (
            own.map(|id| id.0.as_bytes().to_vec()),
            issuer.map(|id| id.as_bytes().to_vec()),
        )
    }

    fn key_algorithm(&self) -> Algorithm {
        let info = self.0.tbs_certificate().subject_public_key_info();
        let parameters = info.algorithm.parameters.as_ref();
        algorithm::of_key(
            &info.algorithm.oid.to_string(),
            &parameters.map_or(Vec::new(), |any| any.to_der().unwrap()),
            info.subject_public_key.as_bytes().unwrap_or_default(),
        )
    }

    fn signature_algorithm(&self) -> Algorithm {
        let algorithm = self.0.signature_algorithm();
        let parameters = algorithm.parameters.as_ref();
        algorithm::of_signature(
            &algorithm.oid.to_string(),
            &parameters.map_or(Vec::new(), |any| any.to_der().unwrap()),
        )
    }
}

/// A name in words.
pub(super) fn words(name: &Name) -> String {
    match name.common_name() {
        Ok(Some(common)) => format!("CN={}", common.value()),
        _ if name.is_empty() => "(no name)".to_owned(),
        _ => name.to_string(),
    }
}

/// A name without its outer tag, its attributes in the order that DER has them in.
pub(super) fn name_der(name: &Name) -> Vec<u8> {
    contents(&name.to_der().unwrap()).to_vec()
}

/// An issuing distribution point.
pub(super) fn scope(der: &[u8]) -> Option<Scope> {
    let point = IssuingDistributionPoint::from_der(der).ok()?;
    Some(Scope {
        urls: urls(point.distribution_point.as_ref()).collect(),
        users_only: point.only_contains_user_certs,
        issuers_only: point.only_contains_ca_certs,
    })
}

/// A Time in seconds since 1970.
pub(super) fn seconds(der: &[u8]) -> Option<u64> {
    Some(Time::from_der(der).ok()?.to_unix_duration().as_secs())
}

fn urls(point: Option<&DistributionPointName>) -> impl Iterator<Item = String> {
    let names = match point {
        Some(DistributionPointName::FullName(names)) => names.as_slice(),
        _ => &[],
    };
    names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(url) => Some(url.as_str().to_owned()),
        _ => None,
    })
}

fn general_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(octets) => ip(octets.as_bytes()).map(|ip| ip.to_string()),
        _ => None,
    }
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(octets).map(IpAddr::from);
    v4.or(v6).ok()
}

fn subtrees(subtrees: Option<GeneralSubtrees>) -> String {
    let names: Vec<String> = subtrees
        .into_iter()
        .flatten()
        .filter_map(|one| match &one.base {
            GeneralName::IpAddress(octets) => network(octets.as_bytes()),
            other => general_name(other),
        })
        .collect();
    names.join(", ")
}

fn network(octets: &[u8]) -> Option<String> {
    let (address, mask) = octets.split_at(octets.len() / 2);
    let bits: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    ip(address).map(|address| format!("{address}/{bits}"))
}
