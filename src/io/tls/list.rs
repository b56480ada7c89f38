//! Certificate revocation lists (RFC 5280 §5): whose they are, what they are about, and until when
//! they are good.
//!
//! WebPKI takes lists apart and finds certificates on them. Which list is asked is decided here
//! and in [`revocation`](super::revocation): WebPKI asks the first that has the issuer's name, and
//! calls it an error if that one is not signed by the issuer, whatever the others say.

use std::path::{Path, PathBuf};
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use webpki::{BorrowedCertRevocationList, Cert, CertRevocationList};

use crate::io::tls::certificate;
use crate::io::tls::der::{element, tag};
use crate::io::tls::points::Scope;
use crate::io::tls::roots;
use crate::io::tls::shelf::SHELF;
use crate::io::tls::time::seconds;

/// Longest list, in bytes.
pub(crate) const MAX_LIST: usize = 2 << 20;
/// Longest URL of a list that is followed.
const LONGEST_URL: usize = 1024;

/// Who issues certificates and the list of those it revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Issuer {
    /// Its name, DER without the outer tag.
    pub(crate) name: Vec<u8>,
    /// Its key with the algorithm, DER without the outer tag.
    pub(crate) key: Vec<u8>,
}

/// One list.
#[derive(Debug)]
pub(crate) struct List {
    der: Vec<u8>,
    /// The issuer's name, DER without the outer tag.
    issuer: Vec<u8>,
    /// Which of the issuer's certificates it is about; `None` if it is about all.
    scope: Option<Scope>,
    /// Checksums of the serial numbers on it, in order: 4 bytes for each instead of a search
    /// through all of it for each handshake.
    sums: Vec<u32>,
    /// When it was made, seconds since 1970.
    pub(crate) made: u64,
    /// When the next one is due, seconds since 1970.
    pub(crate) next_update: u64,
    /// The key of which it is known that it signed this: looking takes long for a long list.
    signer: Mutex<Option<Vec<u8>>>,
}

impl List {
    /// Reads a list in DER.
    ///
    /// # Errors
    /// Says what keeps it from being used.
    pub(crate) fn read(der: &[u8]) -> Result<Self, String> {
        let crl = BorrowedCertRevocationList::from_der(der).map_err(|why| match times(der) {
            Some(_) if why == webpki::Error::BadDer => "is a revocation list of version 1, or \
                without a number or the key identifier of its issuer; with OpenSSL, set \
                `crl_extensions` with `authorityKeyIdentifier` and a `crlnumber` file"
                .to_owned(),
            _ => unusable(&why),
        })?;
        let mut sums = Vec::new();
        for entry in &crl {
            let entry = entry.map_err(|why| unusable(&why))?;
            sums.push(sum(entry.serial_number));
        }
        sums.sort_unstable();
        sums.shrink_to_fit();
        let crl = CertRevocationList::from(crl);
        let scope = match crl.issuing_distribution_point() {
            Some(point) => {
                Some(Scope::read(point).ok_or_else(|| unusable(&webpki::Error::BadDer))?)
            }
            None => None,
        };
        let (made, next_update) = times(der).ok_or_else(|| unusable(&webpki::Error::BadDer))?;
        Ok(Self {
            der: der.to_vec(),
            issuer: crl.issuer().to_vec(),
            scope,
            sums,
            made,
            next_update,
            signer: Mutex::default(),
        })
    }

    /// Returns whether it has the name of this issuer.
    pub(crate) fn is_named(&self, issuer: &Issuer) -> bool {
        self.issuer == issuer.name
    }

    /// Returns whether this issuer signed it.
    pub(crate) fn is_by(&self, issuer: &Issuer) -> bool {
        let mut signer = self.signer.lock().unwrap_or_else(PoisonError::into_inner);
        if signer.as_ref() == Some(&issuer.key) {
            return true;
        }
        let signed = certificate::is_signed_by(&self.der, &issuer.key) == Some(true);
        if signed {
            *signer = Some(issuer.key.clone());
        }
        signed
    }

    /// Returns whether a certificate of its issuer is among those it is about.
    pub(super) fn is_about(&self, certificate: &Cert<'_>, is_issuer: bool) -> bool {
        let Some(scope) = &self.scope else {
            return true;
        };
        if (scope.users_only && is_issuer) || (scope.issuers_only && !is_issuer) {
            return false;
        }
        certificate::list_urls(&certificate.der())
            .is_none_or(|urls| urls.iter().any(|url| scope.urls.contains(url)))
    }

    /// Returns whether a certificate of its issuer is on it.
    pub(super) fn names(&self, certificate: &Cert<'_>) -> bool {
        if self.sums.binary_search(&sum(certificate.serial())).is_err() {
            return false;
        }
        // It is, most likely, or another one has the same checksum.
        let Ok(crl) = BorrowedCertRevocationList::from_der(&self.der) else {
            return true;
        };
        let found = CertRevocationList::from(crl);
        // All of it was read once, so that there is no error left.
        !matches!(found.find_serial(certificate.serial()), Ok(None))
    }

    /// Returns how many bytes it takes.
    pub(crate) const fn size(&self) -> usize {
        self.der.len() + self.sums.len() * size_of::<u32>()
    }
}

/// Returns the list that these bytes begin with; `None` while its end is missing.
pub(crate) fn whole(bytes: &[u8]) -> Option<&[u8]> {
    element(bytes).map(|list| list.whole)
}

/// Returns the checksum of a serial number (FNV-1a).
fn sum(serial: &[u8]) -> u32 {
    serial.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

fn unusable(why: &webpki::Error) -> String {
    match why {
        webpki::Error::UnsupportedDeltaCrl => {
            "is a delta list, which can not be used; name the complete one".to_owned()
        }
        webpki::Error::UnsupportedIndirectCrl => {
            "is an indirect list, which can not be used; name one of the issuer itself".to_owned()
        }
        webpki::Error::UnsupportedCriticalExtension
        | webpki::Error::UnsupportedCrlIssuingDistributionPoint
        | webpki::Error::UnsupportedRevocationReasonsPartitioning
        | webpki::Error::UnsupportedCrlVersion => {
            "is a kind of revocation list that can not be used; name a complete one, version 2, of \
             all reasons"
                .to_owned()
        }
        _ => "holds no revocation list; expected DER, or PEM with BEGIN X509 CRL".to_owned(),
    }
}

/// Returns when a list was made and when the next is due, seconds since 1970.
fn times(der: &[u8]) -> Option<(u64, u64)> {
    let body = element(element(der)?.contents)?;
    let mut field = element(body.contents)?;
    if field.tag == tag::INTEGER {
        field = element(field.rest)?;
    }
    let issuer = element(field.rest)?;
    let made = element(issuer.rest)?;
    let next_update = element(made.rest)?;
    Some((seconds(&made)?, seconds(&next_update)?))
}

/// Returns the first place over plain HTTP where a certificate says that its issuer's list is.
pub(super) fn url_in(der: &[u8]) -> Option<String> {
    certificate::list_urls(der)?.into_iter().find(|url| {
        let plain = url.get(..7);
        plain.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
            && url.len() <= LONGEST_URL
            && url.bytes().all(|byte| byte.is_ascii_graphic())
    })
}

/// The lists of one file.
pub(super) type File = Vec<Arc<List>>;

/// Returns the lists of files, each file with one in DER or any number in PEM. Who names a file
/// that is in use already shares what was read of it.
///
/// # Errors
/// Names the file that cannot be read, is too long, or holds no list.
pub(super) fn read_files(files: &[PathBuf]) -> Result<Vec<Arc<File>>, String> {
    let shared = |file: &PathBuf| SHELF.take(slice::from_ref(file), &|| read_file(file));
    files.iter().map(shared).collect()
}

fn read_file(file: &Path) -> Result<File, String> {
    let (bytes, shown) = (roots::read("crl", file)?, file.display());
    let too_long = |bytes: &[u8]| bytes.len() > MAX_LIST;
    let limit = || format!("crl file `{shown}`: a list is longer than 2 MiB; name a smaller one");
    let malformed = || format!("crl file `{shown}` {}", unusable(&webpki::Error::BadDer));
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
    let list = |der: &Vec<u8>| List::read(der).map(Arc::new);
    ders.iter()
        .map(|der| list(der).map_err(|why| format!("crl file `{shown}` {why}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::http::support::certificates::{Authority, DAY, TemporaryFile, list_pem};

    #[test]
    fn lists_of_a_file_are_one_copy_until_it_changes() {
        let us = Authority::new("test");
        let one = TemporaryFile::new("one.crl", &us.list(&[], DAY));
        let two = TemporaryFile::new("two.pem", list_pem(&us.root_list(false)).as_bytes());
        let read = |files: &[&TemporaryFile]| {
            let files: Vec<_> = files.iter().map(|file| file.path().to_owned()).collect();
            read_files(&files).unwrap()
        };
        let both = read(&[&one, &two]);
        let alone = read(&[&two]);
        assert!(Arc::ptr_eq(&both[1], &alone[0]));
        two.replace(&us.list_made_in(2023, &[]));
        let changed = read(&[&one, &two]);
        assert!(Arc::ptr_eq(&both[0], &changed[0]), "the other is as it was");
        assert_ne!(changed[1][0].made, both[1][0].made);
    }
}
