//! What is wrong with a certificate chain: one verdict, the same every time.
//!
//! A chain can be wrong in several ways at once. They are looked for in this order, which README
//! has too:
//! 1. the server's certificate can't be read: malformed, an unknown critical extension, one that
//!    stands in it twice, not X.509 version 3;
//! 2. it is self-signed and not trusted: whatever else is wrong with it, nothing else would help;
//! 3. it, or else an issuer, is not valid at this time;
//! 4. it is for another use;
//! 5. a key or signature of the chain is too weak;
//! 6. an issuer is not known, or it or the root may not issue it;
//! 7. it is revoked, or that can't be told;
//! 8. it is for other names;
//! 9. no key of it is pinned. With pins alone, that comes first, then 3 and 8.
//!
//! WebPKI has refused the chain before, so nothing here can accept one. It names one fault; the
//! others are found by looking at the certificates.

use rustls::CertificateError;
use rustls::pki_types::TrustAnchor;

use crate::core::calendar::date;
use crate::core::outcome::{Code, Failure};
use crate::io::tls::algorithm::{self, Algorithm, Strength};
use crate::io::tls::certificate::Certificate;
use crate::io::tls::failure::alone::{of_root, rest, time};
use crate::io::tls::failure::{Shown, brief};
use crate::io::tls::path::Path;
use crate::io::tls::pins::PinMismatch;
use crate::io::tls::revocation::{NotFetched, OfIssuer};
use crate::io::tls::verifier::{CA_AS_LEAF, KeyNotProven};

pub(super) type Verdict = (Code, String);

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
    let pinned = shown.roots.is_some_and(|roots| roots.is_empty());
    let verdict = match Path::of(&chain, shown.now) {
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

pub(super) fn bad(detail: impl Into<String>) -> Verdict {
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
        ) || matches!(self.error, CertificateError::Other(other) if other.0.is::<NotFetched>())
    }

    fn anchors(&self) -> &'a [TrustAnchor<'static>] {
        let roots = self.shown.roots.map(|trusted| trusted.roots.as_slice());
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
        if let Some(oid) = &leaf.repeated {
            return Some(bad(format!("extension {oid} stands in it twice")));
        }
        let position = |der: &Vec<u8>| Certificate::read(der).is_none();
        match self.error {
            CertificateError::BadEncoding => {
                Some(bad(match self.shown.chain.iter().position(position) {
                    None | Some(0) => "malformed certificate".to_owned(),
                    Some(at) => format!("malformed certificate, number {} of the chain", at + 1),
                }))
            }
            _ if !leaf.is_version_3 => Some(bad("not an X.509 certificate of version 3")),
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
        let Some((code, text)) = time(self.error) else {
            return self.time_of_others();
        };
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

    /// WebPKI looks at the server's own certificate first: what is wrong with that hides that an
    /// issuer or the root is not valid.
    fn time_of_others(&self) -> Option<Verdict> {
        let now = self.shown.now;
        if now == 0 || self.is_beyond_chain() {
            return None;
        }
        let mut issuers = self.path.links().map(|(_, issuer)| issuer);
        // A copy of a root that is trusted in another one does no harm.
        let outdated = issuers.find(|one| !one.is_valid(now) && !self.is_trusted(one));
        if let Some(one) = outdated {
            let (code, text) = match now > one.not_after {
                true => (Code::TlsExpired, format!("expired {}", date(one.not_after))),
                false => {
                    let begin = date(one.not_before);
                    (Code::TlsNotYetValid, format!("not valid before {begin}"))
                }
            };
            return Some((code, format!("issuer {} {text}", one.subject)));
        }
        let root = self.shown.roots?.outdated_signer(self.path.top(), now)?;
        Some(of_root(&root))
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
            if let Some(oid) = &issuer.repeated {
                let detail = format!("issuer {name}: extension {oid} stands in it twice");
                return Some(bad(detail));
            }
            if !issuer.is_version_3 && !issuer.is_self_signed() {
                let detail = format!("issuer {name} is not an X.509 certificate of version 3");
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
            // Roots of version 1 are old, but trusted or not like others.
            _ if !self.path.top().is_version_3 && self.path.top().is_self_signed() => self.root(),
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
