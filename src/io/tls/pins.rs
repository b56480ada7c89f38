//! Pinned keys: whether a server's chain holds one, beside roots or instead of them.
//!
//! A pin beside roots counts only for a certificate of the path that was verified: a server can
//! add to its chain whatever it likes. WebPKI does not tell the path, so it is asked whether there
//! is one that ends at a pinned certificate.

use std::fmt;
use std::sync::Arc;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError, RootCertStore};

use crate::core::endpoint::{Pin, Unchecked};
use crate::io::tls::certificate::{self, Certificate};
use crate::io::tls::der;

/// No key of the chain is a pinned one.
#[derive(Debug)]
pub(crate) struct PinMismatch {
    /// The pin of the server's own key.
    pub(crate) found: Pin,
}

impl fmt::Display for PinMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = certificate::show_pin(&self.found);
        write!(f, "the server's key is {found}, which is not pinned")
    }
}

impl std::error::Error for PinMismatch {}

impl PinMismatch {
    fn of(leaf: &Certificate) -> Error {
        let mismatch = Self { found: leaf.pin };
        CertificateError::Other(OtherError(Arc::new(mismatch))).into()
    }
}

/// Checks a chain that WebPKI has accepted for a pinned key: the leaf's, or that of a certificate
/// or root that a path from the leaf leads to.
pub(super) fn check_path(
    pins: &[Pin],
    roots: &RootCertStore,
    (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<(), Error> {
    let read = Certificate::read(leaf).ok_or(CertificateError::BadEncoding)?;
    if pins.is_empty() || pins.contains(&read.pin) {
        return Ok(());
    }
    let mut ends = RootCertStore::empty();
    let pinned = |root: &&TrustAnchor<'static>| {
        let key = der::sequence(&root.subject_public_key_info);
        pins.contains(&certificate::pin(&key))
    };
    ends.roots
        .extend(roots.roots.iter().filter(pinned).cloned());
    for one in intermediates {
        if Certificate::read(one).is_some_and(|one| pins.contains(&one.pin)) {
            ends.add(one.clone().into_owned())?;
        }
    }
    let path = verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(leaf)?,
        &ends,
        intermediates,
        now,
        provider.signature_verification_algorithms.all,
    );
    path.map_err(|_| PinMismatch::of(&read))
}

/// Checks a certificate for which nothing but a pin vouches: its key, then dates and name.
pub(super) fn check_alone(
    pins: &[Pin],
    unchecked: Unchecked,
    leaf: &CertificateDer<'_>,
    server: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let read = Certificate::read(leaf).ok_or(CertificateError::BadEncoding)?;
    if !pins.contains(&read.pin) {
        return Err(PinMismatch::of(&read));
    }
    if !unchecked.dates {
        let at = UnixTime::since_unix_epoch;
        let seconds = std::time::Duration::from_secs;
        if now.as_secs() < read.not_before {
            let not_before = at(seconds(read.not_before));
            let error = CertificateError::NotValidYetContext {
                time: now,
                not_before,
            };
            return Err(error.into());
        }
        if now.as_secs() > read.not_after {
            let not_after = at(seconds(read.not_after));
            let error = CertificateError::ExpiredContext {
                time: now,
                not_after,
            };
            return Err(error.into());
        }
    }
    if !unchecked.name {
        rustls::client::verify_server_name(&ParsedCertificate::try_from(leaf)?, server)?;
    }
    Ok(())
}
