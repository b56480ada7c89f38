//! Certificate revocation lists (RFC 5280 §5) as bytes with a date: whose they are, and until when
//! they are good.
//!
//! What is on a list, and whether its issuer signed it, is for WebPKI to judge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::CrlDistributionPoints;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::time::Time;

use crate::io::tls::certificate::Certificate;
use crate::io::tls::der::{Element, element};
use crate::io::tls::roots;

/// Longest list, in bytes. Once read it takes some five times that.
pub(crate) const MAX_LIST: usize = 2 << 20;
/// Longest URL of a list that is followed.
const LONGEST_URL: usize = 1024;
/// INTEGER, as the version is.
const INTEGER: u8 = 0x02;
/// UTCTime and GeneralizedTime.
const TIMES: [u8; 2] = [0x17, 0x18];

/// One list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    der: Vec<u8>,
    /// The issuer's name, DER without the outer tag.
    issuer: Vec<u8>,
    /// When it was made, seconds since 1970.
    made: u64,
    /// When the next one is due, seconds since 1970.
    pub(crate) next_update: u64,
}

impl List {
    /// Reads a list in DER; `None` if it is not one, or does not say when the next is due.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let body = element(element(der)?.contents)?;
        let mut field = element(body.contents)?;
        if field.tag == INTEGER {
            field = element(field.rest)?;
        }
        let issuer = element(field.rest)?;
        let made = element(issuer.rest)?;
        let next_update = element(made.rest)?;
        let list = Self {
            der: der.to_vec(),
            issuer: issuer.contents.to_vec(),
            made: seconds(&made)?,
            next_update: seconds(&next_update)?,
        };
        Some(list)
    }

    /// Returns whether one of the certificates was issued by whoever made the list.
    pub(super) fn is_about(&self, chain: &[Certificate]) -> bool {
        chain.iter().any(|one| one.names_anchor(&self.issuer))
    }

    /// Returns how many bytes it has.
    pub(crate) const fn size(&self) -> usize {
        self.der.len()
    }
}

/// Returns a Time (RFC 5280 §4.1.2.5) in seconds since 1970; `None` if it is none.
pub(super) fn seconds(time: &Element<'_>) -> Option<u64> {
    let time = TIMES.contains(&time.tag).then_some(time.whole)?;
    let since: Duration = Time::from_der(time).ok()?.to_unix_duration();
    Some(since.as_secs())
}

/// Returns the first place over plain HTTP where a certificate says that its issuer's revocation
/// list is (RFC 5280 §4.2.1.13).
pub(super) fn url_in(der: &[u8]) -> Option<String> {
    let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
    let body = certificate.tbs_certificate();
    let (_, CrlDistributionPoints(points)) = body.get_extension().ok()??;
    let names = points
        .iter()
        .filter_map(|point| match &point.distribution_point {
            Some(DistributionPointName::FullName(names)) => Some(names),
            _ => None,
        });
    names.flatten().find_map(|name| match name {
        GeneralName::UniformResourceIdentifier(url) => {
            let url = url.as_str();
            let plain = url.get(..7)?.eq_ignore_ascii_case("http://");
            (plain && url.len() <= LONGEST_URL).then(|| url.to_owned())
        }
        _ => None,
    })
}

/// Returns the lists for WebPKI, which asks the first that fits: the newest.
pub(super) fn in_order<'l>(
    lists: impl Iterator<Item = &'l List>,
) -> Vec<CertificateRevocationListDer<'static>> {
    let mut lists: Vec<&List> = lists.collect();
    lists.sort_by_key(|list| std::cmp::Reverse((list.made, list.next_update)));
    let ders = lists.into_iter().map(|list| list.der.clone().into());
    ders.collect()
}

/// Reads the lists of files: one in DER, or any number in PEM.
///
/// # Errors
/// Names the file that cannot be read, is too long, or holds no list.
pub(super) fn read_files(files: &[PathBuf]) -> Result<Vec<List>, String> {
    let mut lists = Vec::new();
    for file in files {
        lists.extend(read_file(file)?);
    }
    Ok(lists)
}

fn read_file(file: &Path) -> Result<Vec<List>, String> {
    let (bytes, shown) = (roots::read("crl", file)?, file.display());
    let too_long = |bytes: &[u8]| bytes.len() > MAX_LIST;
    let limit = || format!("crl file `{shown}`: a list is longer than 2 MiB; name a smaller one");
    let malformed = || {
        format!(
            "crl file `{shown}` holds no revocation list; expected DER, or PEM with BEGIN X509 CRL"
        )
    };
    let ders: Vec<Vec<u8>> = match bytes.first() {
        Some(0x30) => vec![bytes],
        _ => CertificateRevocationListDer::pem_slice_iter(&bytes)
            .map(|der| der.map(|der| der.to_vec()).map_err(|_| malformed()))
            .collect::<Result<_, _>>()?,
    };
    if ders.is_empty() {
        return Err(malformed());
    }
    if ders.iter().any(|der| too_long(der)) {
        return Err(limit());
    }
    ders.iter()
        .map(|der| List::read(der).ok_or_else(malformed))
        .collect()
}
