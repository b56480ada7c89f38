//! Pinned keys: whether a server's chain holds one, beside roots or instead of them.
//!
//! A pin beside roots counts only for a certificate of the path that was verified: a server can
//! add to its chain whatever it likes.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError};
use webpki::VerifiedPath;

use crate::core::endpoint::{Pin, Unchecked};
use crate::io::tls::certificate::{self, Certificate};

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

/// Checks a server's own certificate for a pinned key; any will do without pins.
pub(super) fn check_leaf(pins: &[Pin], leaf: &CertificateDer<'_>) -> Result<(), Error> {
    if pins.is_empty() {
        return Ok(());
    }
    let read = Certificate::read(leaf).ok_or(CertificateError::BadEncoding)?;
    match pins.contains(&read.pin) {
        true => Ok(()),
        false => Err(PinMismatch::of(&read)),
    }
}

/// Returns whether an issuer or the root of a path has a pinned key.
pub(super) fn is_above(pins: &[Pin], path: &VerifiedPath<'_>) -> bool {
    let root = webpki::spki_for_anchor(path.anchor());
    let issuers = path.intermediate_certificates();
    let mut keys = issuers
        .map(|issuer| issuer.subject_public_key_info())
        .chain(std::iter::once(root));
    keys.any(|key| pins.contains(&certificate::pin(&key)))
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
