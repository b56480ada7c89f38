//! From a TLS error to a failure code and a few words.
//!
//! What is wrong with a chain is told by [`verdict`]; this is about everything else, and about
//! finding the error in whatever it is wrapped in.

mod alone;
mod verdict;

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};

use crate::core::outcome::{Code, Failure};
use crate::io::tls::roots::Trusted;

/// What the judge may look at beside the error itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shown<'a> {
    /// The name asked for.
    pub(crate) name: &'a str,
    /// The chain that was refused, leaf first, in DER; empty if none was.
    pub(crate) chain: &'a [Vec<u8>],
    /// The trusted roots.
    pub(crate) roots: Option<&'a Trusted>,
    /// By which time the chain was judged, seconds since 1970; 0 if it was not.
    pub(crate) now: u64,
    /// Whether the server asked for a client certificate.
    pub(crate) asked_for_certificate: bool,
    /// Whether it got one.
    pub(crate) showed_certificate: bool,
    /// Whether the handshake was over.
    pub(crate) established: bool,
}

/// Returns the failure that a TLS error stands for.
pub(crate) fn classify(error: &Error, shown: &Shown<'_>) -> Failure {
    match error {
        Error::InvalidCertificate(error) => verdict::judge(error, shown),
        Error::InvalidCertRevocationList(error) => Failure::new(
            Code::TlsRevocationUnknown,
            brief(&format!(
                "the revocation list can not be used: {}",
                words(&format!("{error:?}"))
            )),
        ),
        Error::AlertReceived(alert) => received(*alert, shown),
        Error::NoCertificatesPresented => {
            Failure::new(Code::TlsBadCertificate, "the server showed no certificate")
        }
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => Failure::new(
            Code::TlsProtocol,
            "nothing in common: the server speaks neither TLS 1.2 nor 1.3",
        ),
        Error::PeerIncompatible(why) => Failure::new(
            Code::TlsProtocol,
            brief(&format!(
                "nothing in common: {}",
                words(&format!("{why:?}"))
            )),
        ),
        // What these say is that the server chose what was not offered.
        Error::PeerMisbehaved(
            why @ (PeerMisbehaved::SelectedUnofferedCipherSuite
            | PeerMisbehaved::SelectedUnusableCipherSuiteForVersion
            | PeerMisbehaved::SelectedUnofferedKxGroup
            | PeerMisbehaved::SelectedTls12UsingTls13VersionExtension
            | PeerMisbehaved::SelectedUnofferedCompression
            | PeerMisbehaved::SelectedUnofferedApplicationProtocol
            | PeerMisbehaved::SignedKxWithWrongAlgorithm
            | PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme),
        ) => Failure::new(
            Code::TlsProtocol,
            brief(&format!("the server {}", words(&format!("{why:?}")))),
        ),
        Error::PeerMisbehaved(why) => handshake(&format!(
            "the server breaks TLS: {}",
            words(&format!("{why:?}"))
        )),
        Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => {
            Failure::new(Code::TlsProtocol, "unknown TLS version")
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            handshake(match shown.established {
                true => "a record of a type that does not exist",
                false => "the server does not speak TLS on this port",
            })
        }
        Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
            handshake(match shown.established {
                true => "handshake payload too large: more than 64 KiB",
                false => "handshake payload too large: more than 64 KiB, as of certificates",
            })
        }
        Error::InvalidMessage(why) => handshake(&format!("garbled message: {}", garbled(why))),
        Error::DecryptError => handshake("a record can not be decrypted"),
        Error::PeerSentOversizedRecord => handshake("a record is larger than 16 KiB"),
        Error::FailedToGetCurrentTime => {
            Failure::new(Code::ClockUnset, "the gateway does not know the time")
        }
        Error::FailedToGetRandomBytes => {
            Failure::new(Code::BridgeInternal, brief(&error.to_string()))
        }
        other => handshake(&other.to_string()),
    }
}

/// Returns the failure of a TLS error that something else is wrapped around, however deep;
/// `None` if there is none.
pub(crate) fn within(error: &(dyn StdError + 'static)) -> Option<Failure> {
    /// More than any layer of ours has.
    const DEPTH: usize = 16;
    let mut layer = Some(error);
    for _ in 0..DEPTH {
        let this = layer?;
        if let Some(error) = this.downcast_ref::<Error>() {
            return Some(classify(error, &Shown::default()));
        }
        // What an io::Error wraps is not its source, but its source's source is.
        let wrapped = this
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        layer = match wrapped {
            Some(inner) => Some(inner),
            None => this.source(),
        };
    }
    None
}

/// Returns the failure of a server that goes on and on after the handshake, and sends no data in
/// `limit` bytes.
pub(crate) fn without_data(limit: usize) -> Failure {
    handshake(&format!(
        "more than {} KiB of TLS without any data",
        limit >> 10
    ))
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
    let text = match alert {
        AlertDescription::Unknown(number) => number.to_string(),
        known => words(&format!("{known:?}")),
    };
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
            match shown.showed_certificate {
                true => ours(&format!("the server refused ours with alert {text}")),
                false => ours(&format!("the server asked for one, then sent alert {text}")),
            }
        }
        AlertDescription::UnrecognisedName => handshake(&format!(
            "the server does not know the name {}: it sent alert {text}",
            shown.name
        )),
        // It asked for another handshake, and rustls said no.
        AlertDescription::HandshakeFailure | AlertDescription::NoRenegotiation
            if shown.established =>
        {
            handshake(&format!(
                "the server sent alert {text} after the handshake; renegotiation is not supported"
            ))
        }
        AlertDescription::HandshakeFailure
        | AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity
        | AlertDescription::InappropriateFallback
        | AlertDescription::ExportRestriction
        | AlertDescription::NoApplicationProtocol => {
            Failure::new(Code::TlsProtocol, format!("the server sent alert {text}"))
        }
        _ => handshake(&format!("the server sent alert {text}")),
    }
}

fn garbled(why: &InvalidMessage) -> String {
    match why {
        InvalidMessage::MissingData(of) => format!("missing data: {}", words(of)),
        InvalidMessage::TrailingData(of) => format!("trailing data: {}", words(of)),
        other => words(&format!("{other:?}")),
    }
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

/// Errors for tests that may not name rustls.
#[cfg(test)]
pub(crate) mod testing {
    /// The error of an expired certificate.
    pub(crate) fn expired() -> rustls::Error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Expired)
    }
}

#[cfg(test)]
mod tests;
