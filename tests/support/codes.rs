//! Which failure codes which test produces: a code that nobody produces fails `tests/faults.rs`.

#![allow(
    dead_code,
    reason = "each test binary that includes this uses its own part of it"
)]

use std::collections::BTreeSet;

use mqtt_https_bridge::core::outcome::Code;

/// What `tests/tls.rs` produces.
pub(crate) const TLS: &[Code] = &[
    Code::TlsExpired,
    Code::TlsNotYetValid,
    Code::TlsWrongName,
    Code::TlsUnknownIssuer,
    Code::TlsSelfSigned,
    Code::TlsBadCertificate,
    Code::TlsWeak,
    Code::TlsProtocol,
    Code::TlsClientCertificate,
    Code::TlsHandshake,
    Code::TimeoutTls,
];

/// What `tests/trust.rs` produces beside those.
pub(crate) const TRUST: &[Code] = &[
    Code::TlsRevoked,
    Code::TlsRevocationUnknown,
    Code::TlsPinMismatch,
    Code::ClockUnset,
];

/// What `tests/faults.rs` produces.
pub(crate) const FAULTS: &[Code] = &[
    Code::DnsNotFound,
    Code::ConnectRefused,
    Code::ConnectUnreachable,
    Code::ConnectReset,
    Code::TimeoutConnect,
    Code::TimeoutRequest,
    Code::TimeoutResponse,
    Code::TimeoutQueue,
    Code::HttpStatus,
    Code::HttpMalformed,
    Code::HttpTruncated,
    Code::HttpTooLarge,
    Code::HttpRedirect,
    Code::ReplyTooLarge,
    Code::BridgeBusy,
    Code::BridgeBadRequest,
    Code::BridgeDenied,
    Code::BridgeStopping,
    Code::BridgeInternal,
];

/// What depends on the machine's name servers, which no test can command: produced by the
/// resolver's own tests in `src/io/http/resolver/`, over look-ups that they answer.
pub(crate) const RESOLVER: &[Code] = &[Code::DnsFailed, Code::TimeoutDns];

/// What nothing can produce yet, with the function that will.
pub(crate) const LATER: &[(Code, &str)] = &[
    (Code::BridgeRateLimited, "rates"),
    (Code::BridgePaused, "circuits"),
    (Code::BridgeStorage, "the store"),
    (Code::BridgeExpired, "the store"),
    (Code::BridgeDropped, "the store"),
];

/// Returns the codes as nodes see them.
pub(crate) fn texts<'a>(codes: impl IntoIterator<Item = &'a Code>) -> BTreeSet<&'static str> {
    codes.into_iter().map(|code| code.as_str()).collect()
}
