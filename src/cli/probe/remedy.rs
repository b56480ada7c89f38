//! What the person in front of a probe can do about a failure.

use crate::core::endpoint::{Lists, TlsVersion, Trust};
use crate::core::outcome::{Code, Failure};

/// Returns what to do about a failure: by its detail or by what is asked of the server where that
/// tells more than the code.
pub(super) fn of(failure: &Failure, trust: &Trust) -> &'static str {
    let known = BY_DETAIL
        .iter()
        .find(|(code, part, _)| *code == failure.code && failure.detail.contains(part));
    let known = known.map(|(_, _, remedy)| *remedy);
    known
        .or_else(|| of_trust(failure.code, trust))
        .unwrap_or_else(|| of_code(failure.code))
}

/// What helps where the endpoint asks for more than it has to.
fn of_trust(code: Code, trust: &Trust) -> Option<&'static str> {
    let fetches = matches!(trust.lists, Lists::Fetch { .. });
    match code {
        Code::TlsProtocol if trust.min_tls > TlsVersion::V1_2 => Some(
            "the server has to offer TLS 1.3 with a current cipher suite; if it can not, write \
             `min_tls = \"1.2\"`",
        ),
        Code::TlsClientCertificate if trust.client_certificate.is_some() => Some(
            "have `client_certificate` issued by a CA that the server accepts, or ask its owner",
        ),
        Code::TlsRevocationUnknown if fetches => Some(
            "look whether this machine reaches the list where the certificate says it is, with \
             `--log-level debug`; or write `revocation = \"check\"`",
        ),
        _ => None,
    }
}

/// Code, a part of the detail, and what helps then.
const BY_DETAIL: &[(Code, &str, &str)] = &[
    (
        Code::TlsExpired,
        "issuer ",
        "the server needs its issuer's new certificate; if the date is wrong, set the clock",
    ),
    (
        Code::TlsExpired,
        "root ",
        "put the CA's new certificate into `roots`; if the date is wrong, set the clock",
    ),
    (Code::TlsWeak, "issuer ", "have it issued by another CA"),
    (Code::TlsWeak, "root ", "have it issued by another CA"),
    (
        Code::TlsWeak,
        "its key",
        "have it issued again for a key of RSA (2048 bits or more), P-256, P-384 or Ed25519",
    ),
    (
        Code::TlsWeak,
        "its signature",
        "have it issued again, signed with SHA-256 or better",
    ),
    (
        Code::TlsWrongName,
        "no name at all",
        "have it issued again with the host in subjectAltName; a common name is none",
    ),
    (
        Code::TlsRevoked,
        ": revoked by",
        "do not use this server until it has a certificate of another CA",
    ),
    (
        Code::TlsUnknownIssuer,
        "sent no intermediate",
        "the server should send its whole chain, often a file `fullchain.pem`; if the issuer is a \
         CA of yours, name its PEM file in `roots`",
    ),
    (
        Code::TlsUnknownIssuer,
        "root not trusted",
        "if you trust that root, save it as PEM and name the file in `roots`",
    ),
    (
        Code::TlsUnknownIssuer,
        "not signed by",
        "the CA has another key than the one known here: if it was renewed, put its new \
         certificate into `roots`; else somebody uses its name",
    ),
    (
        Code::TlsBadCertificate,
        "a CA certificate as",
        "let the CA issue a certificate for the server; or name this very certificate in `roots`",
    ),
    (
        Code::TlsBadCertificate,
        "is not meant for servers",
        "have it issued by a CA that may issue for servers",
    ),
    (
        Code::TlsBadCertificate,
        "not meant for servers",
        "have it issued again with the extended key usage serverAuth",
    ),
    (
        Code::TlsBadCertificate,
        "key usage does not",
        "have it issued again with the key usage digitalSignature",
    ),
    (
        Code::TlsBadCertificate,
        "critical extension",
        "have it issued again with that extension left out, or not critical",
    ),
    (
        Code::TlsBadCertificate,
        "broken signature",
        "it was changed after it was signed: put the file that the CA issued onto the server again",
    ),
    (
        Code::TlsBadCertificate,
        "is not a CA",
        "have it issued by a CA, whose certificate says CA:TRUE",
    ),
    (
        Code::TlsBadCertificate,
        "may not sign",
        "have it issued by a CA whose key usage has keyCertSign",
    ),
    (
        Code::TlsBadCertificate,
        "CAs below it",
        "have it issued by a CA further up, or the issuer with a larger path length",
    ),
    (
        Code::TlsBadCertificate,
        "may issue for",
        "have it issued by a CA that may issue for this name",
    ),
    (
        Code::TlsBadCertificate,
        "name constraints",
        "have it issued by a CA that may issue for this name",
    ),
    (
        Code::TlsBadCertificate,
        "which is never",
        "have it issued again with an end behind its begin",
    ),
    (
        Code::TlsBadCertificate,
        "malformed",
        "look whether the file on the server is damaged; else have it issued again",
    ),
    (
        Code::TlsBadCertificate,
        "no certificate",
        "give the server a certificate",
    ),
    (
        Code::TlsProtocol,
        "its signature",
        "have it issued again, signed with SHA-256 or SHA-384 by RSA, P-256 or P-384, or with \
         Ed25519",
    ),
    (
        Code::TlsProtocol,
        "not supported",
        "the server needs a certificate whose chain has keys of RSA (2048 to 8192 bits), P-256, \
         P-384 or Ed25519",
    ),
    (
        Code::TlsHandshake,
        "does not speak TLS",
        "check the port; HTTPS is most often at 443 or 8443",
    ),
    (
        Code::TlsHandshake,
        "does not know the name",
        "check the host name; the server has no certificate for it",
    ),
    (
        Code::TlsHandshake,
        "as of certificates",
        "the server should send fewer certificates, or one with fewer names",
    ),
    (
        Code::TlsHandshake,
        "without any data",
        "look at the server's software: it sends tickets or keys without end",
    ),
    (
        Code::TlsHandshake,
        "did not prove",
        "key and certificate on the server do not belong together",
    ),
    (
        Code::BridgeDenied,
        "private address",
        "if nodes may reach what is in your own network, give the endpoint `private_addresses = \
         true`",
    ),
];

/// What helps against a code, whatever its detail.
const fn of_code(code: Code) -> &'static str {
    match code {
        Code::TlsExpired => {
            "the server's owner has to renew it; if the date is wrong, set the clock"
        }
        Code::TlsNotYetValid => "check this machine's clock; else wait, or ask the server's owner",
        Code::TlsWrongName => "use one of the names it is for, or ask the server's owner",
        Code::TlsUnknownIssuer => {
            "name its root in `roots`; if the chain above lacks the issuer, the server must send it"
        }
        Code::TlsSelfSigned => {
            "if it is your own server, save its certificate as PEM and name the file in `roots`"
        }
        Code::TlsRevoked => "do not use this server until it has another certificate",
        Code::TlsRevocationUnknown => {
            "put a list of each issuer that is up to date into `crl`; or write `revocation = \
             \"check\"`"
        }
        Code::TlsPinMismatch => {
            "if the server's key was changed on purpose, put its pin, as above, into `pins`; else \
             do not use this server"
        }
        Code::TlsBadCertificate | Code::TlsWeak => "the server needs another certificate",
        Code::TlsProtocol => {
            "the server has to offer TLS 1.2 or 1.3 with a current cipher suite and a key of RSA, \
             P-256, P-384 or Ed25519"
        }
        Code::TlsClientCertificate => "give the endpoint a `client_certificate` that it accepts",
        Code::TlsHandshake => "check host and port; something between may be interfering",
        Code::ClockUnset => "set the clock (NTP)",
        Code::DnsNotFound => "check the host name",
        Code::DnsFailed | Code::TimeoutDns => "check the network and the name servers",
        Code::ConnectRefused => "check the port, and whether the server runs",
        Code::ConnectUnreachable => "check the network, routes and firewall",
        Code::ConnectReset => "try again; look at the server's log",
        Code::TimeoutConnect => "check host, port and firewall",
        Code::TimeoutTls => "check that the port speaks TLS; look at the server's load",
        Code::TimeoutRequest | Code::TimeoutResponse | Code::TimeoutQueue => {
            "look at the server's load, or raise `timeout`"
        }
        Code::HttpMalformed => "check that the port speaks HTTP over TLS",
        Code::HttpTruncated => "try again; look at the server's log",
        Code::HttpTooLarge => "ask for less, or raise `max_response`",
        Code::HttpRedirect => "use the URL that it leads to",
        Code::HttpStatus | Code::ReplyTooLarge => "look at the response",
        Code::BridgeBadRequest | Code::BridgeDenied => "check the URL",
        Code::BridgeBusy
        | Code::BridgeRateLimited
        | Code::BridgePaused
        | Code::BridgeStorage
        | Code::BridgeExpired
        | Code::BridgeDropped
        | Code::BridgeStopping
        | Code::BridgeInternal => "please report it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_remedy() {
        for code in Code::ALL {
            assert!(of_code(*code).len() > 9, "{}", code.as_str());
        }
    }

    #[test]
    fn a_detail_that_tells_more_has_a_remedy_of_its_own() {
        let trust = Trust::default();
        for (code, part, remedy) in BY_DETAIL {
            let failure = Failure::new(*code, format!("… {part} …"));
            assert_eq!(of(&failure, &trust), *remedy, "{part}");
            assert_ne!(of(&failure, &trust), of_code(*code), "{part}");
        }
        let other = Failure::new(Code::TlsBadCertificate, "something else");
        assert_eq!(of(&other, &trust), of_code(Code::TlsBadCertificate));
    }

    #[test]
    fn what_the_endpoint_asks_for_can_be_taken_back() {
        let strict = Trust {
            min_tls: TlsVersion::V1_3,
            lists: Lists::Fetch {
                private_addresses: false,
            },
            ..Trust::default()
        };
        for (code, part) in [
            (Code::TlsProtocol, "`min_tls = \"1.2\"`"),
            (Code::TlsRevocationUnknown, "this machine reaches the list"),
        ] {
            let failure = Failure::new(code, "why");
            let remedy = of(&failure, &strict);
            assert!(remedy.contains(part), "{remedy}");
            assert_eq!(of(&failure, &Trust::default()), of_code(code));
        }
        let key = Failure::new(
            Code::TlsProtocol,
            "its key is P-521, which is not supported",
        );
        assert_eq!(of(&key, &strict), of(&key, &Trust::default()));
    }
}
