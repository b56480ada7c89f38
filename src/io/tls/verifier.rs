//! The certificate verifier around the WebPKI one, and what it saw.
//!
//! WebPKI judges, but for a CA certificate as the server's own: that is accepted where it is
//! itself one of the roots. What it accepts is looked at once more ([`strict`]), since it passes
//! over key usages, the size of a server's own key and what roots say of themselves. Where there is
//! more to ask, one path has to answer all of it: a root that is valid now and allows it, nothing
//! revoked, a pin. Pins come last, or stand in for all the rest. This keeps the chain for the reports, since rustls
//! forgets one that was refused.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::core::endpoint::{Pin, Roots, Trust, Unchecked};
use crate::io::tls::certificate::Certificate;
use crate::io::tls::pins;
use crate::io::tls::revocation::{Judge, Library};
use crate::io::tls::roots::Trusted;
use crate::io::tls::strict;

/// What WebPKI calls a CA certificate as the server's own; rustls has no name for it.
pub(super) const CA_AS_LEAF: &str = "CaUsedAsEndEntity";

/// What a handshake showed before it ended. rustls runs its callbacks on the thread that drives
/// the handshake, and a configuration is shared by many, so this is kept per thread.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// The chain, leaf first, in DER; kept only if it was refused.
    pub(crate) refused: Vec<Vec<u8>>,
    /// Whether the server asked for a client certificate.
    pub(crate) asked: bool,
    /// Whether it got one.
    pub(crate) shown: bool,
    /// Until when the roots and lists that made a chain acceptable are good, in seconds since
    /// 1970; `None` if nothing limits them.
    pub(crate) until: Option<u64>,
    /// By which time certificates were judged, seconds since 1970; 0 if none were.
    pub(crate) now: u64,
    /// When the handshake has to be over.
    deadline: Option<Instant>,
}

thread_local! {
    static WITNESS: RefCell<Witness> = RefCell::default();
}

/// Begins a handshake on this thread, which has to be over by `deadline`.
pub(crate) fn begin(deadline: Instant) {
    WITNESS.set(Witness {
        deadline: Some(deadline),
        ..Witness::default()
    });
}

/// Takes what this thread's callbacks saw since the handshake began.
pub(crate) fn take_witness() -> Witness {
    WITNESS.take()
}

/// Notes that the server asked for a client certificate, and whether there is one to show.
pub(super) fn note_asked(shown: bool) {
    WITNESS.with_borrow_mut(|witness| {
        witness.asked = true;
        witness.shown = shown;
    });
}

/// Judges server certificates.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// `None` where pins stand in for roots.
    chains: Option<Arc<WebPkiServerVerifier>>,
    /// `None` where nobody looks for revoked certificates.
    judge: Option<Judge>,
    roots: Arc<Trusted>,
    pins: Vec<Pin>,
    unchecked: Unchecked,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Builds a verifier that trusts `roots`, which are empty with [`Roots::None`] alone.
    ///
    /// # Errors
    /// Says so if there are no roots, or names the revocation list that is wrong.
    pub(crate) fn new(
        trust: &Trust,
        roots: Arc<Trusted>,
        provider: Arc<CryptoProvider>,
        library: Option<&Arc<dyn Library>>,
    ) -> Result<Self, String> {
        let chains = match trust.roots {
            Roots::None => None,
            Roots::Bundled | Roots::System | Roots::Files(_) => {
                let (store, provider) = (Arc::clone(roots.store()), Arc::clone(&provider));
                let builder = WebPkiServerVerifier::builder_with_provider(store, provider);
                Some(builder.build().map_err(|error| error.to_string())?)
            }
        };
        Ok(Self {
            chains,
            judge: Judge::new(trust, library)?,
            roots,
            pins: trust.pins.clone(),
            unchecked: trust.unchecked,
            provider,
        })
    }

    fn judge(
        &self,
        (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(chains) = &self.chains else {
            return pins::check_alone(&self.pins, self.unchecked, leaf, server, now);
        };
        let issuers = strict::fit_issuers(intermediates);
        let verdict = chains.verify_server_cert(leaf, &issuers, server, ocsp, now);
        let pinned = match verdict {
            Ok(_) => {
                let (until, pinned) = self.check_paths(leaf, &issuers, now, self.judge.as_ref())?;
                // That of the path's own root would do; this ends some kept connections early.
                let root = self.roots.next_end(now.as_secs());
                let until = until.into_iter().chain(root).min();
                WITNESS.with_borrow_mut(|witness| witness.until = until);
                pinned
            }
            Err(error) if is_ca_as_leaf(&error) => {
                self.judge_root(leaf, server, error)?;
                false
            }
            Err(error) => {
                // What counts before the name. Nobody else is asked about a server that is the
                // wrong one anyway.
                let judge = self.judge.as_ref().filter(|judge| !judge.fetches());
                if is_wrong_name(&error) {
                    self.check_paths(leaf, &issuers, now, judge)?;
                }
                return Err(error);
            }
        };
        strict::check_leaf(leaf)?;
        match pinned {
            true => Ok(()),
            false => pins::check_leaf(&self.pins, leaf),
        }
    }

    /// Checks that an accepted chain has a path to a root that is valid now and allows it, on
    /// which nothing is revoked as far as `judge` knows. Returns until when that holds, and whether an issuer on it is pinned.
    fn check_paths(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
        judge: Option<&Judge>,
    ) -> Result<(Option<u64>, bool), Error> {
        let valid = self.roots.valid_at(now.as_secs());
        let leaf_pinned = pins::check_leaf(&self.pins, leaf).is_ok();
        let chain = std::iter::once(leaf).chain(issuers);
        let limited = self.roots.limit(chain.map(AsRef::as_ref));
        if valid.is_none() && judge.is_none() && !limited && leaf_pinned {
            return Ok((None, true));
        }
        let roots = valid.as_ref().unwrap_or(self.roots.store());
        let (best, tried) = (Cell::new(None), Cell::new(0));
        let refused: Cell<Option<Error>> = Cell::new(None);
        let deadline = WITNESS.with_borrow(|witness| witness.deadline);
        let visit = |path: &VerifiedPath<'_>| {
            tried.set(tried.get() + 1);
            let judged = match (self.roots.forbid(path), judge) {
                (Some(why), _) => Err(CertificateError::Other(OtherError(Arc::new(why))).into()),
                // Each may take its time.
                (None, Some(_)) if tried.get() > MAX_PATHS => {
                    return Err(webpki::Error::UnknownIssuer);
                }
                (None, Some(judge)) => judge.judge(path, now, deadline),
                (None, None) => Ok(None),
            };
            match judged {
                Ok(until) => {
                    let pinned = leaf_pinned || pins::is_above(&self.pins, path);
                    best.set(Some((until, pinned)));
                    pinned.then_some(()).ok_or(webpki::Error::UnknownIssuer)
                }
                Err(error) => {
                    refused.set(refused.take().or(Some(error)));
                    Err(webpki::Error::UnknownIssuer)
                }
            }
        };
        let parsed = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        // What it says beyond what `visit` noted was said of the whole chain before.
        let _ = parsed.verify_for_usage(
            self.provider.signature_verification_algorithms.all,
            &roots.roots,
            issuers,
            now,
            KeyUsage::server_auth(),
            None,
            Some(&visit),
        );
        match (best.get(), refused.take()) {
            (Some(best), _) => Ok(best),
            (None, Some(refusal)) => Err(refusal),
            (None, None) => Err(self.no_valid_root(leaf, issuers, now)),
        }
    }

    /// Says why no path leads to a root that is valid now, though one leads to a root.
    fn no_valid_root(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Error {
        let chain = std::iter::once(leaf).chain(issuers);
        let chain: Vec<_> = chain.filter_map(|one| Certificate::read(one)).collect();
        match self.roots.outdated_issuer(&chain, now.as_secs()) {
            Some(outdated) => CertificateError::Other(OtherError(Arc::new(outdated))).into(),
            None => CertificateError::UnknownIssuer.into(),
        }
    }

    /// Judges a CA certificate that the server shows as its own, as `openssl req -x509` makes
    /// them, after WebPKI has refused it for that alone: valid at this time, but not looked at
    /// further.
    ///
    /// If subject and key are a root's, the handshake proves that the root's own key is on the
    /// other side. It could have signed any certificate for this server, so nothing is lost by
    /// taking this one, for the names and the use it is for.
    fn judge_root(
        &self,
        leaf: &CertificateDer<'_>,
        server: &ServerName<'_>,
        refusal: Error,
    ) -> Result<(), Error> {
        let Some(certificate) = Certificate::read(leaf) else {
            return Err(refusal);
        };
        // A root that may issue for some names only is no server's own certificate.
        let trusted = self.roots.roots.iter().any(|root| {
            root.name_constraints.is_none()
                && certificate.is(&root.subject, &root.subject_public_key_info)
        });
        if !trusted {
            return Err(refusal);
        }
        if !certificate.for_servers {
            return Err(CertificateError::InvalidPurpose.into());
        }
        verify_server_name(&ParsedCertificate::try_from(leaf)?, server)
    }
}

/// Paths of one chain that are judged by lists.
const MAX_PATHS: usize = 8;

const fn is_wrong_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

/// Whether WebPKI has refused a leaf for being a CA. It finds that out after the dates, before
/// the use, the issuer and the names.
fn is_ca_as_leaf(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    other.0.to_string() == CA_AS_LEAF
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
        WITNESS.with_borrow_mut(|witness| witness.now = now.as_secs());
        let verdict = self.judge((leaf, intermediates), server, ocsp, now);
        if verdict.is_err() {
            keep(std::iter::once(leaf).chain(intermediates));
        }
        verdict.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let accepted = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, accepted)
            .map_err(|error| not_proven(error, certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let accepted = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, accepted)
            .map_err(|error| not_proven(error, certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let accepted = &self.provider.signature_verification_algorithms;
        accepted.supported_schemes()
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
