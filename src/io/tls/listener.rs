//! The broker's side of TLS: what it shows to clients, and whom it takes their certificates from.
//!
//! Certificate and key are read as a pair that is checked, and replaced as a whole: connections
//! that are there keep what they were made with.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig, ServerConnection, version};

use crate::config::TlsListener;
use crate::core::calendar;
use crate::core::endpoint::{ClientCertificate, Roots};
use crate::io::tls::certificate::Certificate;
use crate::io::tls::client::{Clock, preferring_fast_suites};
use crate::io::tls::{client_certificate, roots};

/// Sessions that can be resumed. A resumed handshake costs a router a fifth of a full one, and
/// small nodes ask for no more than one.
const SESSIONS: usize = 256;

/// What the TLS connections of clients have in common.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    config: Arc<ServerConfig>,
    /// What is shown, for the log.
    pub(crate) shown: String,
}

impl Acceptor {
    /// Reads certificate, key, and the authorities of client certificates.
    ///
    /// # Errors
    /// Names the file that is wrong and says what to do.
    pub(crate) fn load(files: &TlsListener) -> Result<Self, String> {
        let provider = Arc::new(preferring_fast_suites());
        let pair = ClientCertificate {
            chain: files.certificate.clone(),
            key: files.key.clone(),
        };
        let names = ("certificate", "key");
        let own = client_certificate::read_pair(&pair, names, &provider)?;
        let leaf = own.cert.first().and_then(|leaf| Certificate::read(leaf));
        let shown = leaf.map_or_else(String::new, |leaf| {
            let until = calendar::date(leaf.not_after);
            format!("{}, valid until {until}", leaf.names.join(", "))
        });
        let verifier = client_verifier(files.client_ca.as_ref(), &provider)?;
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(Clock::default()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
        config.send_tls13_tickets = 1;
        Ok(Self {
            config: Arc::new(config),
            shown,
        })
    }

    pub(super) fn connection(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(Arc::clone(&self.config))
    }
}

/// Returns who judges the certificates of clients: without a CA, none is asked for. A client that
/// shows none has to have a password.
fn client_verifier(
    client_ca: Option<&PathBuf>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(file) = client_ca else {
        return Ok(Arc::new(NoClientAuth));
    };
    let authorities = roots::load(&Roots::Files(vec![file.clone()]))
        .map_err(|error| error.replacen("roots file", "client_ca", 1))?;
    let authorities = Arc::new(RootCertStore::clone(&authorities));
    WebPkiClientVerifier::builder_with_provider(authorities, Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| format!("client_ca `{}` can not be used: {error}", file.display()))
}
