//! Whether certificates of a chain are revoked, as far as revocation lists tell.
//!
//! WebPKI looks certificates up and verifies the lists; here is decided which lists it gets, and
//! what becomes of a chain that they say nothing about.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{Error, RootCertStore};

use crate::core::endpoint::{Lists, Revocation, Trust};
use crate::io::tls::certificate::Certificate;
use crate::io::tls::list::{self, List};

/// What a chain is judged by, for one endpoint.
#[derive(Debug)]
pub(super) struct Judge {
    /// Without any list.
    plain: Arc<WebPkiServerVerifier>,
    /// With lists, if revocation is looked at.
    informed: Option<Informed>,
}

/// What a server shows: its name, its chain, and when.
pub(super) struct Presented<'p> {
    pub(super) leaf: &'p CertificateDer<'p>,
    pub(super) intermediates: &'p [CertificateDer<'p>],
    pub(super) server: &'p ServerName<'p>,
    pub(super) ocsp: &'p [u8],
    pub(super) now: UnixTime,
}

#[derive(Debug)]
struct Informed {
    required: bool,
    webpki: Arc<WebPkiServerVerifier>,
    lists: Vec<List>,
}

impl Judge {
    /// Reads what `trust` names.
    ///
    /// # Errors
    /// Says so if there are no roots, or names a list that cannot be used.
    pub(super) fn new(
        trust: &Trust,
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let builder =
            || WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        let informed = match (trust.revocation, &trust.lists) {
            (Revocation::Off, _) | (_, Lists::None) => None,
            (policy, Lists::Files(files)) => {
                let lists = list::read_files(files)?;
                let builder = builder().with_crls(list::in_order(lists.iter()));
                let builder = match policy {
                    Revocation::Require => builder.enforce_revocation_expiration(),
                    Revocation::Off | Revocation::Check => {
                        builder.allow_unknown_revocation_status()
                    }
                };
                Some(Informed {
                    required: policy == Revocation::Require,
                    webpki: builder.build().map_err(|error| error.to_string())?,
                    lists,
                })
            }
        };
        Ok(Self {
            plain: builder().build().map_err(|error| error.to_string())?,
            informed,
        })
    }

    /// Judges a chain; returns until when the verdict holds, if a list limits it, in seconds since
    /// 1970.
    pub(super) fn judge(&self, presented: &Presented<'_>) -> Result<Option<u64>, Error> {
        let Some(informed) = &self.informed else {
            return presented.to(&self.plain).map(|()| None);
        };
        match presented.to(&informed.webpki) {
            // A list that its issuer did not sign says nothing.
            Err(Error::InvalidCertRevocationList(_)) if !informed.required => {
                presented.to(&self.plain).map(|()| None)
            }
            verdict => verdict.map(|()| informed.until(presented)),
        }
    }
}

impl Informed {
    fn until(&self, presented: &Presented<'_>) -> Option<u64> {
        if !self.required {
            return None;
        }
        let now = presented.now.as_secs();
        let chain = presented.chain();
        let lists = self.lists.iter().filter(|list| list.is_about(&chain));
        lists
            .map(|list| list.next_update)
            .filter(|end| *end >= now)
            .min()
    }
}

impl Presented<'_> {
    fn to(&self, webpki: &WebPkiServerVerifier) -> Result<(), Error> {
        webpki
            .verify_server_cert(
                self.leaf,
                self.intermediates,
                self.server,
                self.ocsp,
                self.now,
            )
            .map(drop)
    }

    fn chain(&self) -> Vec<Certificate> {
        std::iter::once(self.leaf)
            .chain(self.intermediates)
            .filter_map(|one| Certificate::read(one))
            .collect()
    }
}
