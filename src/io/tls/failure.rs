//! From a TLS error to a failure code and a few words.
//!
//! A chain can be wrong in several ways at once. There is one verdict, the same every time, in
//! this order: malformed; self-signed and not trusted, whatever else is wrong with it, since
//! nothing else would help; not valid at this time; another fault of the leaf, such as its use;
//! no trusted issuer; wrong name. The last five are WebPKI's own order.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, RootCertStore};

use crate::core::outcome::{Code, Failure};
use crate::io::tls::certificate::{Certificate, date};
use crate::io::tls::verifier::{CA_AS_LEAF, KeyNotProven};

/// What the judge may look at beside the error itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shown<'a> {
    /// The name asked for.
    pub(crate) name: &'a str,
    /// The chain that was refused, leaf first, in DER; empty if none was.
    pub(crate) chain: &'a [Vec<u8>],
    /// The trusted roots.
    pub(crate) roots: Option<&'a RootCertStore>,
    /// Whether the server asked for a client certificate.
    pub(crate) asked_for_certificate: bool,
}

/// Returns the failure that a TLS error stands for.
pub(crate) fn classify(error: &Error, shown: &Shown<'_>) -> Failure {
    match error {
        Error::InvalidCertificate(error) => certificate(error, shown),
        Error::AlertReceived(alert) => received(*alert, shown),
        Error::NoCertificatesPresented => {
            Failure::new(Code::TlsBadCertificate, "the server showed no certificate")
        }
        Error::PeerIncompatible(why) => Failure::new(
            Code::TlsProtocol,
            brief(&format!(
                "nothing in common: {}",
                words(&format!("{why:?}"))
            )),
        ),
        Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => {
            Failure::new(Code::TlsProtocol, "unknown TLS version")
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Failure::new(
            Code::TlsHandshake,
            "the server does not speak TLS on this port",
        ),
        Error::InvalidMessage(why) => handshake(&words(&format!("{why:?}"))),
        Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes => {
            Failure::new(Code::BridgeInternal, brief(&error.to_string()))
        }
        other => handshake(&other.to_string()),
    }
}

/// Returns the failure for a host name that no certificate can be for.
pub(crate) fn unusable_name(name: &str) -> Failure {
    Failure::new(
        Code::BridgeBadRequest,
        brief(&format!("`{name}` is not a host name")),
    )
}

/// Makes a text fit for a reply and a log line: one line of at most 120 printable characters.
pub(crate) fn brief(text: &str) -> String {
    const LIMIT: usize = 120;
    let mut out: String = text
        .chars()
        .take(LIMIT + 1)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if out.chars().count() > LIMIT {
        out = out.chars().take(LIMIT - 1).collect();
        out.push('…');
    }
    out
}

fn handshake(detail: &str) -> Failure {
    Failure::new(Code::TlsHandshake, brief(detail))
}

fn received(alert: AlertDescription, shown: &Shown<'_>) -> Failure {
    let text = words(&format!("{alert:?}"));
    let ours = |detail: &str| Failure::new(Code::TlsClientCertificate, detail);
    match alert {
        AlertDescription::CertificateRequired => ours("the server requires one"),
        // In TLS 1.2 there is no word for it; the server asked, got none and gave up.
        AlertDescription::HandshakeFailure
        | AlertDescription::BadCertificate
        | AlertDescription::NoCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
            if shown.asked_for_certificate =>
        {
            ours(&format!("the server asked for one, then sent alert {text}"))
        }
        AlertDescription::HandshakeFailure
        | AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity
        | AlertDescription::NoApplicationProtocol => {
            Failure::new(Code::TlsProtocol, format!("the server sent alert {text}"))
        }
        _ => handshake(&format!("the server sent alert {text}")),
    }
}

/// Judges a refused certificate, once it is clear that the leaf isn't simply self-signed.
fn certificate(error: &CertificateError, shown: &Shown<'_>) -> Failure {
    let chain: Vec<Certificate> = shown
        .chain
        .iter()
        .filter_map(|der| Certificate::read(der))
        .collect();
    if let Some(failure) = too_small_key(error, &chain) {
        return failure;
    }
    if let Some(failure) = self_signed(error, &chain, shown.roots) {
        return failure;
    }
    let (code, detail) = verdict(error, &chain, shown.name);
    Failure::new(code, brief(&detail))
}

/// ring doesn't verify with RSA keys below 2048 bits and calls every such signature bad.
fn too_small_key(error: &CertificateError, chain: &[Certificate]) -> Option<Failure> {
    let is_bad_signature = match error {
        CertificateError::BadSignature => true,
        CertificateError::Other(other) => other.0.is::<KeyNotProven>(),
        _ => false,
    };
    let bits = chain.iter().filter_map(|one| one.rsa_bits).min()?;
    (is_bad_signature && bits < 2048)
        .then(|| Failure::new(Code::TlsWeak, format!("RSA key of {bits} bits")))
}

fn self_signed(
    error: &CertificateError,
    chain: &[Certificate],
    roots: Option<&RootCertStore>,
) -> Option<Failure> {
    let leaf = chain.first().filter(|leaf| leaf.self_issued)?;
    let roots = roots
        .map(|store| store.roots.as_slice())
        .unwrap_or_default();
    let trusted = roots
        .iter()
        .any(|root| leaf.is(&root.subject, &root.subject_public_key_info));
    if trusted || matches!(error, CertificateError::BadEncoding) {
        return None;
    }
    let also = match times(error) {
        Some((_, text)) => format!(", {text}"),
        None => String::new(),
    };
    let detail = brief(&format!("self-signed {}{also}", leaf.subject));
    Some(Failure::new(Code::TlsSelfSigned, detail))
}

/// Returns code and words if the error is one of time.
fn times(error: &CertificateError) -> Option<(Code, String)> {
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
        _ => return None,
    })
}

fn verdict(error: &CertificateError, chain: &[Certificate], name: &str) -> (Code, String) {
    if let Some((code, text)) = times(error) {
        return (code, format!("{}{text}", which(error, chain)));
    }
    let last_issuer = || chain.last().map_or("unknown", |one| one.issuer.as_str());
    let bad = |detail: &str| (Code::TlsBadCertificate, detail.to_owned());
    match error {
        CertificateError::BadEncoding => bad("malformed certificate"),
        CertificateError::UnknownIssuer => (
            Code::TlsUnknownIssuer,
            format!("issuer not known: {}", last_issuer()),
        ),
        // The issuer's name is known, its key is another one.
        CertificateError::BadSignature => (
            Code::TlsUnknownIssuer,
            format!("not signed by the key of {}", last_issuer()),
        ),
        CertificateError::NotValidForName => (Code::TlsWrongName, format!("not for {name}")),
        CertificateError::NotValidForNameContext { .. } => {
            let names = chain.first().map(|leaf| leaf.names.as_slice());
            (
                Code::TlsWrongName,
                wrong_name(names.unwrap_or_default(), name),
            )
        }
        CertificateError::Revoked => (Code::TlsRevoked, "revoked by its issuer".to_owned()),
        CertificateError::UnknownRevocationStatus => (
            Code::TlsRevocationUnknown,
            "no revocation list covers it".to_owned(),
        ),
        CertificateError::ExpiredRevocationList => (
            Code::TlsRevocationUnknown,
            "the revocation list is out of date".to_owned(),
        ),
        CertificateError::ExpiredRevocationListContext { next_update, .. } => (
            Code::TlsRevocationUnknown,
            format!(
                "the revocation list was valid until {}",
                date(next_update.as_secs())
            ),
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            Code::TlsWeak,
            "signed with an algorithm that is not accepted".to_owned(),
        ),
        CertificateError::UnhandledCriticalExtension => bad("unknown critical extension"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            bad("not meant for servers")
        }
        CertificateError::InvalidOcspResponse => bad("its OCSP response is invalid"),
        CertificateError::ApplicationVerificationFailure => bad("refused"),
        CertificateError::Other(other) if other.0.is::<KeyNotProven>() => {
            (Code::TlsHandshake, other.0.to_string())
        }
        CertificateError::Other(other) => web_pki(&other.0.to_string()),
        // Deprecated variants are still compiled in and can't be named without a warning.
        other if format!("{other:?}") == "UnsupportedSignatureAlgorithm" => (
            Code::TlsWeak,
            "signed with an algorithm that is not accepted".to_owned(),
        ),
        other => bad(&other.to_string()),
    }
}

/// WebPKI's errors without a rustls name of their own arrive as its variant's name.
fn web_pki(text: &str) -> (Code, String) {
    let detail = match text {
        CA_AS_LEAF => "a CA certificate as the server's own".to_owned(),
        "EndEntityUsedAsCa" => "issued by a certificate that is not a CA".to_owned(),
        "NameConstraintViolation" => "outside of its issuer's name constraints".to_owned(),
        "UnsupportedCriticalExtension" => "unknown critical extension".to_owned(),
        "PathLenConstraintViolated" => "the chain is longer than its issuer allows".to_owned(),
        other => words(other),
    };
    (Code::TlsBadCertificate, detail)
}

/// Names the certificate that an error of time is about, if it isn't the leaf.
fn which(error: &CertificateError, chain: &[Certificate]) -> String {
    let is_it = |one: &Certificate| match error {
        CertificateError::ExpiredContext { not_after, .. } => one.not_after == not_after.as_secs(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            one.not_before == not_before.as_secs()
        }
        _ => false,
    };
    match chain.iter().position(is_it) {
        None | Some(0) => String::new(),
        Some(at) => chain
            .get(at)
            .map(|one| format!("issuer {} ", one.subject))
            .unwrap_or_default(),
    }
}

fn wrong_name(names: &[String], asked: &str) -> String {
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

/// Turns a variant's name such as `NoCipherSuitesInCommon` into `no cipher suites in common`.
fn words(variant: &str) -> String {
    let mut out = String::with_capacity(variant.len() + 8);
    let mut previous = ' ';
    for c in variant.chars() {
        if c.is_ascii_uppercase() && (previous.is_ascii_lowercase() || previous.is_ascii_digit()) {
            out.push(' ');
        }
        out.push(c.to_ascii_lowercase());
        previous = c;
    }
    out
}

#[cfg(test)]
mod tests;
