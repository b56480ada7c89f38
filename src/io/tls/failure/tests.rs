//! Verdicts on real handshakes with every kind of chain, and on each error of rustls by itself.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, OtherError, PeerIncompatible, PeerMisbehaved};

use super::alone::wrong_name;
use super::*;
use crate::core::endpoint::TlsVersion;
use crate::core::outcome::Outcome;
use crate::io::http::support::certificates::{
    self, Authority, Identity, self_signed, self_signed_expired,
};
use crate::io::http::support::https::{Greeting, Script};
use crate::io::http::testing::{HOST, Site};
use crate::io::tls::verifier::KeyNotProven;

fn verdict_on(identity: &Identity, authority: &Authority) -> (Code, String) {
    let site = Site::presenting(identity, authority, Script::echo(), |_| {});
    let failure = site.fail(site.get("/"));
    (failure.code, failure.detail)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_fault_of_a_chain_has_its_verdict() {
    let us = Authority::new("test");
    let them = Authority::new("other");
    let namesake = Authority::new("test");
    let names = &[HOST][..];
    for (identity, code, detail, why) in [
        (
            us.expired(names),
            Code::TlsExpired,
            "expired 2015-04-12",
            "expired",
        ),
        (
            us.not_yet_valid(names),
            Code::TlsNotYetValid,
            "not valid before 2100-01-10",
            "not yet valid",
        ),
        (
            us.good(&["a.example", "b.example"]),
            Code::TlsWrongName,
            "for a.example, b.example, not for site.example",
            "wrong name",
        ),
        (
            us.good(&[
                "a.example",
                "b.example",
                "c.example",
                "d.example",
                "e.example",
            ]),
            Code::TlsWrongName,
            "for a.example, b.example, c.example and 2 more, not for site.example",
            "many wrong names",
        ),
        (
            us.good(&["192.0.2.1"]),
            Code::TlsWrongName,
            "for 192.0.2.1, not for site.example",
            "an address instead of a name",
        ),
        (
            us.good(&["*.site.example"]),
            Code::TlsWrongName,
            "for *.site.example, not for site.example",
            "a wildcard doesn't cover its own domain",
        ),
        (
            us.nameless(),
            Code::TlsWrongName,
            "for no name at all, not for site.example",
            "no name; the common name doesn't count",
        ),
        (
            them.good(names),
            Code::TlsUnknownIssuer,
            "issuer not known: CN=other root",
            "unknown root",
        ),
        (
            namesake.good(names),
            Code::TlsUnknownIssuer,
            "not signed by the key of CN=test root",
            "another root of the same name",
        ),
        (
            us.without_intermediate(names),
            Code::TlsUnknownIssuer,
            "issuer not known: CN=test intermediate, and the server sent no intermediate",
            "intermediate not sent",
        ),
        (
            us.broken_signature(names),
            Code::TlsBadCertificate,
            "broken signature: not made with the key of CN=test intermediate",
            "signature broken",
        ),
        (
            self_signed(names, false),
            Code::TlsSelfSigned,
            "self-signed CN=site.example",
            "self-signed",
        ),
        (
            self_signed(names, true),
            Code::TlsSelfSigned,
            "self-signed CN=site.example",
            "self-signed as openssl req -x509 makes it",
        ),
        (
            self_signed_expired(names),
            Code::TlsSelfSigned,
            "self-signed CN=site.example, expired 2015-04-12",
            "self-signed comes before expired",
        ),
        (
            self_signed(&["a.example"], false),
            Code::TlsSelfSigned,
            "self-signed CN=a.example",
            "self-signed comes before wrong name",
        ),
        (
            them.expired(&["a.example"]),
            Code::TlsExpired,
            "expired 2015-04-12",
            "expired comes before unknown issuer and wrong name",
        ),
        (
            them.good(&["a.example"]),
            Code::TlsUnknownIssuer,
            "issuer not known: CN=other root",
            "unknown issuer comes before wrong name",
        ),
        (
            us.ca_as_leaf(names),
            Code::TlsBadCertificate,
            "a CA certificate as the server's own",
            "CA as leaf",
        ),
        (
            us.for_clients(names),
            Code::TlsBadCertificate,
            "not meant for servers but for clients",
            "wrong use",
        ),
        (
            us.critical_extension(names),
            Code::TlsBadCertificate,
            "unknown critical extension 2.5.29.4711",
            "critical extension",
        ),
        (
            us.malformed(names),
            Code::TlsBadCertificate,
            "malformed certificate",
            "malformed",
        ),
    ] {
        let verdict = verdict_on(&identity, &us);
        assert_eq!(verdict, (code, detail.to_owned()), "{why}");
    }
}

#[test]
fn a_fault_of_an_intermediate_is_named() {
    let expired = certificates::with_expired_intermediate();
    assert_eq!(
        verdict_on(&expired.good(&[HOST]), &expired),
        (
            Code::TlsExpired,
            "issuer CN=expired intermediate expired 2016-07-03".to_owned()
        )
    );
    let constrained = certificates::with_name_constraint();
    assert_eq!(
        verdict_on(&constrained.good(&[HOST]), &constrained),
        (
            Code::TlsBadCertificate,
            "issuer CN=constrained intermediate may issue for example.org only".to_owned()
        )
    );
}

#[test]
fn good_chains_are_accepted() {
    let us = Authority::new("test");
    for (names, host) in [
        (&[HOST][..], HOST),
        (&["*.site.example"][..], "a.site.example"),
        (&["a.example", "site.example"][..], HOST),
        (&["127.0.0.1"][..], "127.0.0.1"),
    ] {
        let site = Site::presenting(&us.good(names), &us, Script::echo(), |_| {});
        let mut request = site.get("/");
        request.host = host.to_owned();
        assert_eq!(site.respond(request).status, 200, "{names:?}");
    }
}

#[test]
fn what_else_goes_wrong_in_a_handshake_has_its_code() {
    let us = Authority::new("test");
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let handshake_failure = vec![0x15, 3, 3, 0, 2, 2, 40];
    let protocol_version = vec![0x15, 3, 1, 0, 2, 2, 70];
    let internal_error = vec![0x15, 3, 3, 0, 2, 2, 80];
    for (script, code, detail) in [
        (
            Script::echo().greeting(Greeting::Plain(http)),
            Code::TlsHandshake,
            "the server does not speak TLS on this port",
        ),
        (
            Script::echo().greeting(Greeting::Plain(handshake_failure)),
            Code::TlsProtocol,
            "the server sent alert handshake failure",
        ),
        (
            Script::echo().greeting(Greeting::Plain(protocol_version)),
            Code::TlsProtocol,
            "the server sent alert protocol version",
        ),
        (
            Script::echo().greeting(Greeting::Plain(internal_error)),
            Code::TlsHandshake,
            "the server sent alert internal error",
        ),
        (
            Script::echo().greeting(Greeting::CloseInHandshake),
            Code::TlsHandshake,
            "cut off in the handshake",
        ),
        (
            Script::echo().greeting(Greeting::ResetInHandshake),
            Code::TlsHandshake,
            "reset by the server in the handshake",
        ),
        (
            Script::echo().tls12().requiring_client_certificate(&us),
            Code::TlsClientCertificate,
            "the server requires one",
        ),
        (
            Script::echo().tls13().requiring_client_certificate(&us),
            Code::TlsClientCertificate,
            "the server requires one",
        ),
    ] {
        let site = Site::presenting(&us.good(&[HOST]), &us, script, |_| {});
        let failure = site.fail(site.get("/"));
        assert_eq!((failure.code, failure.detail.as_str()), (code, detail));
    }
}

#[test]
fn a_server_below_the_lowest_version_is_refused() {
    let us = Authority::new("test");
    let site = Site::presenting(&us.good(&[HOST]), &us, Script::echo().tls12(), |endpoint| {
        endpoint.trust.min_tls = TlsVersion::V1_3;
    });
    let failure = site.fail(site.get("/"));
    assert_eq!(failure.code, Code::TlsProtocol);
    assert_eq!(failure.detail, "the server sent alert protocol version");
}

#[test]
fn a_self_signed_certificate_that_is_trusted_itself_is_accepted() {
    use crate::core::endpoint::Roots;
    use crate::io::http::client::Client;
    use crate::io::http::resolver::Resolver;
    use crate::io::http::support::https::Server;
    use crate::io::http::testing::{LONG, endpoint, job, request};

    let identity = self_signed(&[HOST], false);
    let file = certificates::TemporaryFile::new("leaf.pem", identity.leaf_pem().as_bytes());
    let roots = Roots::Files(vec![file.path().to_owned()]);
    let roots = crate::io::tls::roots::load(&roots).unwrap();
    let endpoint = Arc::new(endpoint());
    let tls = crate::io::tls::client::Client::new(&endpoint.trust, roots).unwrap();
    let resolver = Arc::new(Resolver::new());
    let client = Client::new(Arc::clone(&endpoint), tls, resolver, Arc::default());
    let server = Server::start(&identity, Script::echo());
    let request = request(crate::core::request::Method::Get, server.port(), "/");
    let outcome = client.perform(&job(&endpoint, request, LONG));
    assert!(matches!(outcome, Outcome::Response(_)), "{outcome:?}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_error_of_rustls_has_a_code_without_a_chain_too() {
    let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let other = |text: &'static str| OtherError(Arc::new(std::io::Error::other(text)));
    let name = || ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let certificate = |error: CertificateError| Error::InvalidCertificate(error);
    for (error, code) in [
        (
            certificate(CertificateError::BadEncoding),
            Code::TlsBadCertificate,
        ),
        (certificate(CertificateError::Expired), Code::TlsExpired),
        (
            certificate(CertificateError::ExpiredContext {
                time: at(9),
                not_after: at(5),
            }),
            Code::TlsExpired,
        ),
        (
            certificate(CertificateError::NotValidYet),
            Code::TlsNotYetValid,
        ),
        (
            certificate(CertificateError::NotValidYetContext {
                time: at(5),
                not_before: at(9),
            }),
            Code::TlsNotYetValid,
        ),
        (certificate(CertificateError::Revoked), Code::TlsRevoked),
        (
            certificate(CertificateError::UnknownRevocationStatus),
            Code::TlsRevocationUnknown,
        ),
        (
            certificate(CertificateError::ExpiredRevocationList),
            Code::TlsRevocationUnknown,
        ),
        (
            certificate(CertificateError::ExpiredRevocationListContext {
                time: at(9),
                next_update: at(5),
            }),
            Code::TlsRevocationUnknown,
        ),
        (
            certificate(CertificateError::UnhandledCriticalExtension),
            Code::TlsBadCertificate,
        ),
        (
            certificate(CertificateError::UnknownIssuer),
            Code::TlsUnknownIssuer,
        ),
        (
            certificate(CertificateError::BadSignature),
            Code::TlsBadCertificate,
        ),
        (
            certificate(CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![],
                supported_algorithms: vec![],
            }),
            Code::TlsWeak,
        ),
        (
            certificate(
                CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: vec![],
                    public_key_algorithm_id: vec![],
                },
            ),
            Code::TlsWeak,
        ),
        (
            certificate(CertificateError::NotValidForName),
            Code::TlsWrongName,
        ),
        (
            certificate(CertificateError::NotValidForNameContext {
                expected: name(),
                presented: vec![],
            }),
            Code::TlsWrongName,
        ),
        (
            certificate(CertificateError::InvalidPurpose),
            Code::TlsBadCertificate,
        ),
        (
            certificate(CertificateError::InvalidOcspResponse),
            Code::TlsBadCertificate,
        ),
        (
            certificate(CertificateError::ApplicationVerificationFailure),
            Code::TlsBadCertificate,
        ),
        (
            certificate(CertificateError::Other(other("PathLenConstraintViolated"))),
            Code::TlsBadCertificate,
        ),
        (
            certificate(CertificateError::Other(OtherError(Arc::new(KeyNotProven)))),
            Code::TlsHandshake,
        ),
        (Error::NoCertificatesPresented, Code::TlsBadCertificate),
        (
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            Code::TlsProtocol,
        ),
        (
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            Code::TlsProtocol,
        ),
        (
            Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare),
            Code::TlsHandshake,
        ),
        (
            Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion),
            Code::TlsProtocol,
        ),
        (
            Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge),
            Code::TlsHandshake,
        ),
        (Error::DecryptError, Code::TlsHandshake),
        (Error::PeerSentOversizedRecord, Code::TlsHandshake),
        (Error::General("x".to_owned()), Code::TlsHandshake),
        (Error::FailedToGetCurrentTime, Code::ClockUnset),
        (Error::FailedToGetRandomBytes, Code::BridgeInternal),
        (
            Error::AlertReceived(AlertDescription::CertificateRequired),
            Code::TlsClientCertificate,
        ),
        (
            Error::AlertReceived(AlertDescription::UnknownCA),
            Code::TlsHandshake,
        ),
        (
            Error::AlertReceived(AlertDescription::UnrecognisedName),
            Code::TlsHandshake,
        ),
        (
            Error::AlertReceived(AlertDescription::InsufficientSecurity),
            Code::TlsProtocol,
        ),
    ] {
        let failure = classify(&error, &Shown::default());
        assert_eq!(failure.code, code, "{error:?}: {}", failure.detail);
        assert!(!failure.detail.is_empty(), "{error:?}");
    }
}

#[test]
fn an_error_of_tls_is_found_within_whatever_is_wrapped_around_it() {
    use std::io::Error as Io;

    let expired = || Error::InvalidCertificate(CertificateError::Expired);
    let io = |depth: usize| (0..depth).fold(Io::other(expired()), |inner, _| Io::other(inner));
    let boxed: Box<dyn StdError + Send + Sync> = Box::new(io(2));
    for error in [
        &expired() as &(dyn StdError + 'static),
        &io(0),
        &io(3),
        &Io::other(boxed),
    ] {
        let found = within(error).map(|failure| failure.code);
        assert_eq!(found, Some(Code::TlsExpired), "{error:?}");
    }
    assert_eq!(within(&io(40)), None, "there is an end to it");
    assert_eq!(within(&Io::other("nothing")), None);
}

#[test]
fn alerts_about_certificates_mean_ours_once_one_was_asked_for() {
    let shown = Shown {
        asked_for_certificate: true,
        ..Shown::default()
    };
    for alert in [
        AlertDescription::HandshakeFailure,
        AlertDescription::BadCertificate,
        AlertDescription::UnknownCA,
        AlertDescription::AccessDenied,
    ] {
        let failure = classify(&Error::AlertReceived(alert), &shown);
        assert_eq!(failure.code, Code::TlsClientCertificate, "{alert:?}");
    }
    let failure = classify(
        &Error::AlertReceived(AlertDescription::ProtocolVersion),
        &shown,
    );
    assert_eq!(failure.code, Code::TlsProtocol);
}

#[test]
fn what_is_refused_after_the_handshake_is_another_handshake() {
    let error = Error::AlertReceived(AlertDescription::HandshakeFailure);
    for (established, code) in [(false, Code::TlsProtocol), (true, Code::TlsHandshake)] {
        let shown = Shown {
            established,
            ..Shown::default()
        };
        assert_eq!(classify(&error, &shown).code, code);
    }
}

#[test]
fn details_are_one_short_printable_line() {
    assert_eq!(brief("a\r\nb\u{1b}[31m"), "a??b?[31m");
    assert_eq!(brief(&"é".repeat(120)), "é".repeat(120));
    assert_eq!(brief(&"é".repeat(121)), format!("{}…", "é".repeat(119)));
    assert_eq!(
        words("NoCipherSuitesInCommon"),
        "no cipher suites in common"
    );
    assert_eq!(words("UnknownCA"), "unknown ca");
    let long: Vec<String> = (0..9)
        .map(|n| format!("{}{n}.example", "x".repeat(50)))
        .collect();
    let text = wrong_name(&long, "asked.example");
    assert!(
        text.ends_with(" and 8 more, not for asked.example"),
        "{text}"
    );
    assert!(text.chars().count() <= 120, "{text}");
}
