//! What an error about a certificate says by itself, without a look at the chain.

use rustls::CertificateError;

use crate::core::calendar::date;
use crate::core::outcome::Code;
use crate::io::tls::anchor::{Forbidden, OutOfDate};
use crate::io::tls::certificate::Certificate;
use crate::io::tls::failure::verdict::{Verdict, bad};
use crate::io::tls::failure::{Shown, words};
use crate::io::tls::pins::PinMismatch;
use crate::io::tls::revocation::NotFetched;
use crate::io::tls::verifier::{CA_AS_LEAF, KeyNotProven};

/// Returns code and words if the error is one of time.
pub(super) fn time(error: &CertificateError) -> Option<Verdict> {
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
        CertificateError::Other(other) => of_root(other.0.downcast_ref::<OutOfDate>()?),
        _ => return None,
    })
}

pub(super) fn of_root(root: &OutOfDate) -> Verdict {
    let code = match root.ended {
        true => Code::TlsExpired,
        false => Code::TlsNotYetValid,
    };
    (code, root.to_string())
}

/// What an error says by itself.
pub(super) fn rest(
    error: &CertificateError,
    shown: &Shown<'_>,
    leaf: Option<&Certificate>,
) -> Verdict {
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
        CertificateError::Other(other) if other.0.is::<NotFetched>() => {
            unknown(other.0.to_string())
        }
        CertificateError::Other(other) if other.0.is::<Forbidden>() => bad(other.0.to_string()),
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
