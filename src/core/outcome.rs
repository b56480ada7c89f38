//! Every way an exchange can end, and the stable code of each failure.

use std::time::Duration;

use bytes::Bytes;

/// How a job ended: with an HTTP response of any status, or without a usable one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete response; whether it counts as success is the route's decision.
    Response(Response),
    /// No usable response.
    Failure(Failure),
}

/// A complete HTTP response within the response limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code, 200 to 999.
    pub status: u16,
    /// Content-Type header, if there was one and it was text.
    pub content_type: Option<String>,
    /// For how long the server asks to be left alone (Retry-After, RFC 9110 §10.2.3).
    pub retry_after: Option<Duration>,
    /// The body, at most `max_response` bytes.
    pub body: Bytes,
}

/// Why there is no usable response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable code.
    pub code: Code,
    /// For a person: short, one line, never a secret, may change between releases.
    pub detail: String,
    /// HTTP status, when a response had begun.
    pub status: Option<u16>,
}

impl Failure {
    /// Builds a failure without an HTTP status.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            status: None,
        }
    }
}

/// Which part of an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before anything was sent: limits, queue, templates, access.
    Prepare,
    /// Name look-up.
    Resolve,
    /// TCP connect.
    Connect,
    /// TLS handshake and certificate validation.
    Handshake,
    /// Sending the request.
    Send,
    /// Waiting for and reading the response.
    Receive,
    /// Fitting the reply to the node.
    Reply,
}

/// Who has to act on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The HTTPS server or its certificate.
    Peer,
    /// The network between.
    Network,
    /// This gateway: its configuration, clock, limits or disk.
    Gateway,
    /// The node that published.
    Node,
}

impl Code {
    /// Returns whether the gateway's owner must fix something: no remote party can cause it.
    pub(crate) const fn needs_owner(self) -> bool {
        matches!(
            self,
            Self::ClockUnset
                | Self::TlsClientCertificate
                | Self::BridgeStorage
                | Self::BridgeInternal
        )
    }
}

macro_rules! codes {
    ($($variant:ident $text:literal $phase:ident $fault:ident $doc:literal;)+) => {
        /// A stable failure code: part of the product, listed in README.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $doc] $variant,)+ }

        impl Code {
            /// All codes, in the order of the README table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the code as nodes see it, such as `tls.expired`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Returns the phase in which this code arises.
            pub const fn phase(self) -> Phase {
                match self { $(Self::$variant => Phase::$phase,)+ }
            }

            /// Returns who has to act.
            pub const fn fault(self) -> Fault {
                match self { $(Self::$variant => Fault::$fault,)+ }
            }

            /// Returns what the code means, as the README table says it.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc,)+ }
            }
        }
    };
}

codes! {
    TlsExpired "tls.expired" Handshake Peer "a certificate of the chain is past its not-after date";
    TlsNotYetValid "tls.not_yet_valid" Handshake Peer "a certificate of the chain is before its not-before date";
    TlsWrongName "tls.wrong_name" Handshake Peer "the certificate is for other names than the one asked for";
    TlsUnknownIssuer "tls.unknown_issuer" Handshake Peer "the chain does not end at a root that is trusted";
    TlsSelfSigned "tls.self_signed" Handshake Peer "the server's certificate is signed by itself and not trusted";
    TlsRevoked "tls.revoked" Handshake Peer "a certificate of the chain is on its issuer's revocation list";
    TlsRevocationUnknown "tls.revocation_unknown" Handshake Peer "revocation must be checked and could not be";
    TlsPinMismatch "tls.pin_mismatch" Handshake Peer "no key of the chain is one of the pinned ones";
    TlsBadCertificate "tls.bad_certificate" Handshake Peer "malformed, for another use, a signature or a constraint broken, or a CA as leaf";
    TlsWeak "tls.weak" Handshake Peer "a signature or key is too weak";
    TlsProtocol "tls.protocol" Handshake Peer "no TLS version, cipher suite or signature algorithm in common";
    TlsClientCertificate "tls.client_certificate" Handshake Gateway "the server requires a client certificate or refused ours";
    TlsHandshake "tls.handshake" Handshake Peer "anything else in the handshake or behind it: closed, garbage, an alert, no end of messages that are no data";
    ClockUnset "clock.unset" Prepare Gateway "the gateway does not know the time yet, so no certificate can be judged";
    DnsNotFound "dns.not_found" Resolve Peer "the name does not exist";
    DnsFailed "dns.failed" Resolve Network "no name server gave an answer";
    ConnectRefused "connect.refused" Connect Peer "nothing listens on that port";
    ConnectUnreachable "connect.unreachable" Connect Network "no route to the host or network";
    ConnectReset "connect.reset" Connect Peer "the connection was closed before a response had begun";
    TimeoutDns "timeout.dns" Resolve Network "the name look-up took too long";
    TimeoutConnect "timeout.connect" Connect Network "no answer to the TCP connect";
    TimeoutTls "timeout.tls" Handshake Peer "the TLS handshake took too long";
    TimeoutRequest "timeout.request" Send Peer "sending the request took too long";
    TimeoutResponse "timeout.response" Receive Peer "the response took too long";
    TimeoutQueue "timeout.queue" Prepare Gateway "the deadline passed before the request was tried";
    HttpStatus "http.status" Receive Peer "the status is not one of the route's `success`";
    HttpMalformed "http.malformed" Receive Peer "the response is not HTTP, or lacks what the route selects from it";
    HttpTruncated "http.truncated" Receive Peer "the response ended early";
    HttpTooLarge "http.too_large" Receive Peer "headers or body are larger than allowed";
    HttpRedirect "http.redirect" Receive Peer "a redirect that may not be followed";
    ReplyTooLarge "reply.too_large" Reply Node "the reply does not fit the node's packet";
    BridgeBusy "bridge.busy" Prepare Gateway "the endpoint's queue, or the client's share of it, is full";
    BridgeRateLimited "bridge.rate_limited" Prepare Node "more requests than the rate allows";
    BridgePaused "bridge.paused" Prepare Peer "the endpoint is paused after failures; the detail says why";
    BridgeBadRequest "bridge.bad_request" Prepare Node "a capture or the payload can not be used in the request";
    BridgeDenied "bridge.denied" Prepare Node "the access rules or the address rules forbid it";
    BridgeStorage "bridge.storage" Prepare Gateway "the store's disk is full or read-only";
    BridgeExpired "bridge.expired" Prepare Gateway "a stored message became too old";
    BridgeDropped "bridge.dropped" Prepare Gateway "a stored message was dropped to make room";
    BridgeStopping "bridge.stopping" Prepare Gateway "the gateway is shutting down";
    BridgeInternal "bridge.internal" Prepare Gateway "a fault of this program, described in its log";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_of_a_known_family() {
        let families = [
            "tls", "clock", "dns", "connect", "timeout", "http", "reply", "bridge",
        ];
        let mut seen = HashSet::new();
        for code in Code::ALL {
            let (family, name) = code.as_str().split_once('.').unwrap();
            assert!(families.contains(&family), "{family}");
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(!name.is_empty() && name.chars().all(plain), "{name}");
            assert!(seen.insert(code.as_str()), "{code:?} stands twice");
            assert!(!code.meaning().is_empty() && !code.meaning().ends_with('.'));
            // The least room that captures must leave holds every code, in JSON too.
            assert!(format!("{{\"ok\":false,\"error\":\"{}\"}}", code.as_str()).len() <= 48);
        }
        assert_eq!(seen.len(), Code::ALL.len());
    }
}
