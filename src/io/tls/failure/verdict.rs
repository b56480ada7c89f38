//! What is wrong with a certificate chain: one verdict, the same every time.
//!
//! A chain can be wrong in several ways at once. They are looked for in this order, which README
//! has too:
//! 1. the server's certificate can't be read: malformed, an unknown critical extension, not X.509
//!    version 3;
//! 2. it is self-signed and not trusted: whatever else is wrong with it, nothing else would help;
//! 3. it, or else an issuer, is not valid at this time;
//! 4. it is for another use;
//! 5. a key or signature of the chain is too weak;
//! 6. an issuer is not known, or may not issue it;
//! 7. it is revoked, or that can't be told;
//! 8. it is for other names;
//! 9. no key of it is pinned. With pins alone, that comes first, then 3 and 8.
//!
//! WebPKI has refused the chain before, so nothing here can accept one. It names one fault; the
//! others are found by looking at the certificates.

use rustls::pki_types::TrustAnchor;
use rustls::{CertificateError, RootCertStore};

use crate::core::outcome::{Code, Failure};
use crate::io::tls::algorithm::{self, Algorithm, Strength};
use crate::io::tls::certificate::{Certificate, date};
use crate::io::tls::failure::{Shown, brief, words};
use crate::io::tls::path::Path;
use crate::io::tls::pins::PinMismatch;
use crate::io::tls::revocation::OfIssuer;
use crate::io::tls::roots::OutOfDate;
use crate::io::tls::verifier::{CA_AS_LEAF, KeyNotProven};

type Verdict = (Code, String);

/// Judges a refused chain.
pub(super) fn judge(error: &CertificateError, shown: &Shown<'_>) -> Failure {
    let about = match error {
        CertificateError::Other(other) => other.0.downcast_ref::<OfIssuer>(),
        _ => None,
    };
    let error = about.map_or(error, |about| &about.error);
    let read = |der: &Vec<u8>| Certificate::read(der);
    let leaf = shown.chain.first().and_then(read);
    let others = shown.chain.iter().skip(1).filter_map(read);
    // Without the leaf the others are about nothing.
    let others = others.filter(|_| leaf.is_some()).collect::<Vec<_>>();
    let chain: Vec<Certificate> = leaf.into_iter().chain(others).collect();
    // Without roots a pin has vouched for the leaf, and nothing else of the chain counts.
    let pinned = shown.roots.is_some_and(RootCertStore::is_empty);
    let verdict = match Path::of(&chain) {
        Some(path) if !pinned => Case { error, shown, path }.judge(),
        path => rest(error, shown, path.map(|path| path.leaf())),
    };
    let detail = match (verdict.0, about) {
        (Code::TlsRevoked | Code::TlsRevocationUnknown, Some(OfIssuer { name, .. })) => {
            format!("its issuer {name}: {}", verdict.1)
        }
        _ => verdict.1,
    };
    Failure::new(verdict.0, brief(&detail))
}

fn bad(detail: impl Into<String>) -> Verdict {
    (Code::TlsBadCertificate, detail.into())
}

/// A refused chain whose leaf can be read.
struct Case<'a> {
    error: &'a CertificateError,
    shown: &'a Shown<'a>,
    path: Path<'a>,
}

impl<'a> Case<'a> {
    fn judge(&self) -> Verdict {
        if is_mismatch(self.error) {
            return rest(self.error, self.shown, None);
        }
        if is_unproven(self.error) {
            let leaf = &self.path.leaf().key;
            let weak = too_weak(leaf, "its key is ");
            return weak.unwrap_or_else(|| rest(self.error, self.shown, None));
        }
        self.unreadable()
            .or_else(|| self.self_signed())
            .or_else(|| self.time())
            .or_else(|| self.other_use())
            .or_else(|| self.strength())
            .or_else(|| self.issuer())
            .unwrap_or_else(|| rest(self.error, self.shown, Some(self.path.leaf())))
    }

    /// Whether the chain itself was found good before something else was not.
    fn is_beyond_chain(&self) -> bool {
        matches!(
            self.error,
            CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }
                | CertificateError::Revoked
                | CertificateError::UnknownRevocationStatus
                | CertificateError::ExpiredRevocationList
                | CertificateError::ExpiredRevocationListContext { .. }
                | CertificateError::ApplicationVerificationFailure
        )
    }

    fn anchors(&self) -> &'a [TrustAnchor<'static>] {
        let roots = self.shown.roots.map(|store| store.roots.as_slice());
        roots.unwrap_or_default()
    }

    fn is_trusted(&self, one: &Certificate) -> bool {
        let mut anchors = self.anchors().iter();
        anchors.any(|root| one.is(&root.subject, &root.subject_public_key_info))
    }

    fn unreadable(&self) -> Option<Verdict> {
        let leaf = self.path.leaf();
        if let Some(oid) = leaf.unknown_critical.first() {
            return Some(bad(format!("unknown critical extension {oid}")));
        }
        let position = |der: &Vec<u8>| Certificate::read(der).is_none();
        match self.error {
            CertificateError::BadEncoding => {
                Some(bad(match self.shown.chain.iter().position(position) {
                    None | Some(0) => "malformed certificate".to_owned(),
                    Some(at) => format!("malformed certificate, number {} of the chain", at + 1),
                }))
            }
            other if named(other) == "UnsupportedCertVersion" && !self.path.has_issuers() => {
                Some(bad("not an X.509 certificate of version 3"))
            }
            _ => None,
        }
    }

    fn self_signed(&self) -> Option<Verdict> {
        let leaf = self.path.leaf();
        if !leaf.is_self_signed() || self.is_trusted(leaf) {
            return None;
        }
        let also = match time(self.error) {
            Some((_, text)) => format!(", {text}"),
            None => String::new(),
        };
        let detail = format!("self-signed {}{also}", leaf.subject);
        Some((Code::TlsSelfSigned, detail))
    }

    fn time(&self) -> Option<Verdict> {
        if let Some(inverted) = self
            .path
            .certificates()
            .find(|one| one.not_before > one.not_after)
        {
            let (from, to) = (date(inverted.not_before), date(inverted.not_after));
            return Some(bad(format!("valid from {from} until {to}, which is never")));
        }
        let (code, text) = time(self.error)?;
        let is_it = |one: &&Certificate| match self.error {
            CertificateError::ExpiredContext { not_after, .. } => {
                one.not_after == not_after.as_secs()
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                one.not_before == not_before.as_secs()
            }
            _ => false,
        };
        let issuer = match is_it(&self.path.leaf()) {
            true => None,
            false => self.path.certificates().find(is_it),
        };
        let which = issuer.map(|one| format!("issuer {} ", one.subject));
        Some((code, format!("{}{text}", which.unwrap_or_default())))
    }

    fn other_use(&self) -> Option<Verdict> {
        let leaf = self.path.leaf();
        if named(self.error) == CA_AS_LEAF {
            return Some(bad("a CA certificate as the server's own"));
        }
        if !leaf.for_servers {
            return Some(bad(match leaf.uses.is_empty() {
                true => "not meant for servers".to_owned(),
                false => format!("not meant for servers but for {}", leaf.uses.join(", ")),
            }));
        }
        if !leaf.may_sign {
            return Some(bad("its key usage does not allow signatures"));
        }
        None
    }

    fn strength(&self) -> Option<Verdict> {
        for (at, one) in self.path.certificates().enumerate() {
            let whose = match at {
                0 => String::new(),
                _ => format!("issuer {}: ", one.subject),
            };
            if let Some(verdict) = too_weak(&one.key, &format!("{whose}its key is ")) {
                return Some(verdict);
            }
            if self.is_beyond_chain() {
                return None;
            }
            // What a root says of itself is verified by nobody.
            if !one.self_issued
                && let Some(verdict) =
                    too_weak(&one.signed_with, &format!("{whose}its signature is "))
            {
                return Some(verdict);
            }
        }
        let top = self.path.top();
        self.anchors()
            .iter()
            .filter(|root| top.names_anchor(&root.subject))
            .filter_map(|root| algorithm::of_key_info(&root.subject_public_key_info))
            .find_map(|key| too_weak(&key, &format!("root {}: its key is ", top.issuer)))
    }

    fn issuer(&self) -> Option<Verdict> {
        if self.is_beyond_chain() {
            return None;
        }
        for (child, issuer) in self.path.links() {
            let name = &issuer.subject;
            if let Some(oid) = issuer.unknown_critical.first() {
                let detail = format!("issuer {name}: unknown critical extension {oid}");
                return Some(bad(detail));
            }
            if !issuer.may_issue {
                return Some(bad(format!("issuer {name} may not sign certificates")));
            }
            if child.is_signed_by(issuer) == Some(false) {
                return Some(match child.claims_key_of(issuer) {
                    Some(false) => (
                        Code::TlsUnknownIssuer,
                        format!("not signed by the {name} that was sent, but by another"),
                    ),
                    _ => bad(format!("broken signature: not made with the key of {name}")),
                });
            }
        }
        match self.error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => self.root(),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                let mut issuers = self.path.certificates().skip(1);
                let issuer = issuers.find(|one| !one.for_servers)?;
                let (name, uses) = (&issuer.subject, issuer.uses.join(", "));
                Some(bad(format!(
                    "issuer {name} is not meant for servers but for {uses}"
                )))
            }
            other => self.limit(named(other).as_str()),
        }
    }

    /// The chain is good as far as it goes, but not up to a root.
    fn root(&self) -> Option<Verdict> {
        let top = self.path.top();
        let (name, unknown) = (&top.issuer, Code::TlsUnknownIssuer);
        let namesakes: Vec<_> = self
            .anchors()
            .iter()
            .filter(|root| top.names_anchor(&root.subject))
            .collect();
        if top.is_self_signed() {
            return Some((unknown, format!("root not trusted: {name}")));
        }
        if namesakes.is_empty() {
            let alone = match self.shown.chain.len() {
                1 => ", and the server sent no intermediate",
                _ => "",
            };
            return Some((unknown, format!("issuer not known: {name}{alone}")));
        }
        let claims = |root: &&&TrustAnchor<'_>| {
            top.claims_anchor_key(&root.subject_public_key_info) == Some(true)
        };
        Some(match namesakes.iter().find(claims) {
            Some(_) => bad(format!("broken signature: not made with the key of {name}")),
            None => (unknown, format!("not signed by the key of {name}")),
        })
    }

    /// A limit that an issuer sets, by the name that WebPKI has for it.
    fn limit(&self, variant: &str) -> Option<Verdict> {
        let issuers = self.path.certificates().enumerate().skip(1);
        match variant {
            "PathLenConstraintViolated" => {
                let broken = |at: usize, one: &Certificate| {
                    let below = at - 1;
                    let most = usize::from(one.path_length?);
                    let name = &one.subject;
                    (below > most).then(|| {
                        format!("issuer {name} allows {most} CAs below it, the chain has {below}")
                    })
                };
                issuers
                    .into_iter()
                    .find_map(|(at, one)| broken(at, one))
                    .map(bad)
            }
            "NameConstraintViolation" => {
                let of = |one: &Certificate| {
                    let limit = one.constraint.as_ref()?;
                    Some(format!("issuer {} may issue for {limit}", one.subject))
                };
                issuers.into_iter().find_map(|(_, one)| of(one)).map(bad)
            }
            "EndEntityUsedAsCa" => {
                let issuer = self.path.certificates().nth(1)?;
                Some(bad(format!("issuer {} is not a CA", issuer.subject)))
            }
            _ => None,
        }
    }
}

fn is_mismatch(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.0.is::<PinMismatch>())
}

fn is_unproven(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.0.is::<KeyNotProven>())
}

/// Returns the name of an error that rustls has no name of its own for.
fn named(error: &CertificateError) -> String {
    match error {
        CertificateError::Other(other) => other.0.to_string(),
        _ => String::new(),
    }
}

fn too_weak(algorithm: &Algorithm, whose: &str) -> Option<Verdict> {
    let name = &algorithm.name;
    match algorithm.strength {
        Strength::Good => None,
        Strength::Weak => Some((Code::TlsWeak, format!("{whose}{name}, which is too weak"))),
        Strength::Unsupported => Some((
            Code::TlsProtocol,
            format!("{whose}{name}, which is not supported"),
        )),
    }
}

/// Returns code and words if the error is one of time.
fn time(error: &CertificateError) -> Option<Verdict> {
    Some(match error {
        CertificateError::Expired => (Code::TlsExpired, "expired".to_owned()),
        CertificateError::ExpiredContext { not_after, .. } => (
            Code::TlsExpired,
            format!("expired {}", date(not_after.as_secs())),
        ),
        CertificateError::NotValidYet => (Code::TlsNotYetValid, "not valid yet".to_owned()),
        CertificateError::NotValidYetContext { not_before, .. } => (
            Code::TlsNotYetValid,
            format!("not valid before {}", date(not_before.as_secs())),
        ),
        CertificateError::Other(other) => {
            let root = other.0.downcast_ref::<OutOfDate>()?;
            let code = match root.ended {
                true => Code::TlsExpired,
                false => Code::TlsNotYetValid,
            };
            (code, root.to_string())
        }
        _ => return None,
    })
}

/// What an error says by itself.
fn rest(error: &CertificateError, shown: &Shown<'_>, leaf: Option<&Certificate>) -> Verdict {
    if let Some(verdict) = time(error) {
        return verdict;
    }
    let unknown = |detail: String| (Code::TlsRevocationUnknown, detail);
    match error {
        CertificateError::BadEncoding => bad("malformed certificate"),
        CertificateError::UnknownIssuer => (Code::TlsUnknownIssuer, "issuer not known".to_owned()),
        CertificateError::BadSignature => bad("broken signature"),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = leaf.map(|leaf| leaf.names.as_slice());
            (
                Code::TlsWrongName,
                wrong_name(names.unwrap_or_default(), shown.name),
            )
        }
        CertificateError::Revoked => (Code::TlsRevoked, "revoked by its issuer".to_owned()),
        CertificateError::UnknownRevocationStatus => {
            unknown("no revocation list covers it".to_owned())
        }
        CertificateError::ExpiredRevocationList => {
            unknown("the revocation list is out of date".to_owned())
        }
        CertificateError::ExpiredRevocationListContext { next_update, .. } => unknown(format!(
            "the revocation list was valid until {}",
            date(next_update.as_secs())
        )),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            unsupported_signature()
        }
        CertificateError::UnhandledCriticalExtension => bad("unknown critical extension"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            bad("an issuer is not meant for servers")
        }
        CertificateError::InvalidOcspResponse => bad("its OCSP response is invalid"),
        CertificateError::ApplicationVerificationFailure => bad("refused"),
        CertificateError::Other(other) if other.0.is::<KeyNotProven>() => {
            (Code::TlsHandshake, other.0.to_string())
        }
        CertificateError::Other(other) if other.0.is::<PinMismatch>() => {
            (Code::TlsPinMismatch, other.0.to_string())
        }
        CertificateError::Other(other) => bad(web_pki(&other.0.to_string())),
        // Deprecated variants are still compiled in and can't be named without a warning.
        other if format!("{other:?}") == "UnsupportedSignatureAlgorithm" => unsupported_signature(),
        other => bad(other.to_string()),
    }
}

fn unsupported_signature() -> Verdict {
    let detail = "signed with an algorithm that is not accepted";
    (Code::TlsWeak, detail.to_owned())
}

/// WebPKI's errors without a rustls name of their own arrive as its variant's name.
fn web_pki(text: &str) -> String {
    let detail = match text {
        CA_AS_LEAF => "a CA certificate as the server's own",
        "EndEntityUsedAsCa" => "issued by a certificate that is not a CA",
        "NameConstraintViolation" => "outside of its root's name constraints",
        "UnsupportedCriticalExtension" => "unknown critical extension",
        "UnsupportedCertVersion" => "not an X.509 certificate of version 3",
        "PathLenConstraintViolated" => "the chain is longer than its issuer allows",
        "MaximumPathDepthExceeded" => "the chain has more than 6 intermediates",
        "EmptyEkuExtension" => "not meant for any use",
        "SignatureAlgorithmMismatch" => "two signature algorithms are given, which differ",
        "MaximumSignatureChecksExceeded" | "MaximumPathBuildCallsExceeded" => {
            "too many ways through its certificates"
        }
        other => return words(other),
    };
    detail.to_owned()
}

/// Says what the certificate is for and what was asked for.
pub(super) fn wrong_name(names: &[String], asked: &str) -> String {
    const SHOWN: usize = 3;
    if names.is_empty() {
        return format!("for no name at all, not for {asked}");
    }
    let mut text = String::from("for ");
    let mut shown = 0_usize;
    for name in names.iter().take(SHOWN) {
        // Room is left for what was asked for: it is the end that tells the most.
        if shown > 0 && text.len() + name.len() + asked.len() > 90 {
            break;
        }
        if shown > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
        shown += 1;
    }
    if names.len() > shown {
        text.push_str(&format!(" and {} more", names.len() - shown));
    }
    format!("{text}, not for {asked}")
}
