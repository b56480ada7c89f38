//! The certificate verifier around the WebPKI one, and what it saw.
//!
//! WebPKI judges. This keeps the chain for the reports, since rustls forgets one that was refused;
//! pins, revocation lists and the trust in the clock have their place here too.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

/// What a handshake showed before it ended. rustls runs its callbacks on the thread that drives
/// the handshake, and a configuration is shared by many, so this is kept per thread.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// The chain, leaf first, in DER; kept only if it was refused.
    pub(crate) refused: Vec<Vec<u8>>,
    /// Whether the server asked for a client certificate.
    pub(crate) asked: bool,
}

thread_local! {
    static WITNESS: RefCell<Witness> = RefCell::default();
}

/// Takes what this thread's callbacks saw since the last call.
pub(crate) fn take_witness() -> Witness {
    WITNESS.take()
}

/// Judges server certificates.
#[derive(Debug)]
pub(crate) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
}

impl Verifier {
    /// Builds a verifier that trusts `roots`.
    ///
    /// # Errors
    /// Says so if there are no roots.
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map(|webpki| Self { webpki })
            .map_err(|error| error.to_string())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self
            .webpki
            .verify_server_cert(leaf, intermediates, server, ocsp, now);
        if verdict.is_err() {
            keep(std::iter::once(leaf).chain(intermediates));
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls12_signature(message, certificate, signature)
            .map_err(|error| not_proven(error, certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls13_signature(message, certificate, signature)
            .map_err(|error| not_proven(error, certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

fn keep<'a>(chain: impl Iterator<Item = &'a CertificateDer<'a>>) {
    let chain = chain.map(|certificate| certificate.to_vec()).collect();
    WITNESS.with_borrow_mut(|witness| witness.refused = chain);
}

/// The server did not prove that it holds the certificate's key.
#[derive(Debug)]
pub(crate) struct KeyNotProven;

impl std::fmt::Display for KeyNotProven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the server did not prove that it holds the certificate's key")
    }
}

impl std::error::Error for KeyNotProven {}

/// A bad signature over the handshake is not a bad signature in the chain, but rustls gives both
/// the same name.
fn not_proven(error: Error, certificate: &CertificateDer<'_>) -> Error {
    keep(std::iter::once(certificate));
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::Other(OtherError(Arc::new(KeyNotProven))).into()
        }
        other => other,
    }
}

/// Has no client certificate, and remembers that one was asked for.
#[derive(Debug)]
pub(crate) struct NoClientCertificate;

impl ResolvesClientCert for NoClientCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        WITNESS.with_borrow_mut(|witness| witness.asked = true);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
