//! What WebPKI passes over and standards, browsers or OpenSSL don't.

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error};

use crate::io::tls::algorithm::Strength;
use crate::io::tls::certificate::Certificate;

/// Returns those of a chain's issuers that may sign certificates by their key usage (RFC 5280
/// §6.1.4 n), hold no extension twice (§4.2) and have a key that is strong enough. One that can't
/// be read is left to WebPKI.
pub(super) fn fit_issuers<'c>(chain: &'c [CertificateDer<'_>]) -> Vec<CertificateDer<'c>> {
    let is_fit = |one: &&CertificateDer<'_>| {
        Certificate::read(one).is_none_or(|one| {
            one.may_issue && one.repeated.is_none() && one.key.strength == Strength::Good
        })
    };
    let fit = chain.iter().filter(is_fit);
    fit.map(|one| CertificateDer::from(one.as_ref())).collect()
}

/// Checks what an accepted server's certificate is still to be refused for: a key that its key
/// usage keeps from signing, which is all that servers do with it here (RFC 8446 §4.4.2.2), one
/// that is too weak, or an extension that stands in it twice.
pub(super) fn check_leaf(leaf: &CertificateDer<'_>) -> Result<(), Error> {
    let fit = Certificate::read(leaf).is_none_or(|leaf| {
        leaf.may_sign && leaf.repeated.is_none() && leaf.key.strength == Strength::Good
    });
    match fit {
        true => Ok(()),
        false => Err(CertificateError::ApplicationVerificationFailure.into()),
    }
}
