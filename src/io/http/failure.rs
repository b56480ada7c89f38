//! From errors of ureq and the system to a failure code; those of TLS come judged.
//!
//! Our connector and transport know best what happened, so they make the [`Failure`] and ureq
//! carries it back unopened. What ureq finds out by itself is about HTTP.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::core::decimal;
use crate::core::outcome::{Code, Failure, Phase};
use crate::io::http::exchange::{Plan, Progress};
use crate::io::tls::failure::{brief, within};
use crate::io::tls::stream::Fault;

/// A failure on its way through ureq.
#[derive(Debug)]
struct Carried(Failure);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.detail)
    }
}

impl std::error::Error for Carried {}

/// Wraps a failure for its way through ureq.
pub(crate) fn carry(failure: Failure) -> ureq::Error {
    ureq::Error::Other(Box::new(Carried(failure)))
}

/// Returns the failure of an exchange whose deadline passed.
pub(crate) fn timed_out(phase: Option<Phase>, after: Duration) -> Failure {
    let code = match phase {
        Some(Phase::Resolve) => Code::TimeoutDns,
        Some(Phase::Connect) => Code::TimeoutConnect,
        Some(Phase::Handshake) => Code::TimeoutTls,
        Some(Phase::Send) => Code::TimeoutRequest,
        Some(Phase::Receive) => Code::TimeoutResponse,
        Some(Phase::Prepare | Phase::Reply) | None => Code::TimeoutQueue,
    };
    Failure::new(code, format!("after {} s", decimal::seconds(after, 1)))
}

/// Returns the failure for what went wrong beneath an exchange.
pub(crate) fn of_fault(fault: Fault, progress: &Progress, plan: &Plan, now: Instant) -> Failure {
    match fault {
        Fault::TimedOut => timed_out(progress.phase, now.saturating_duration_since(plan.started)),
        Fault::Cut => closed(progress, "cut off"),
        Fault::Io(error) => of_io(&error, progress),
        // An alert in the middle of a response ends it; before one it says why there is none.
        Fault::Tls(failure) if progress.received && failure.code == Code::TlsHandshake => {
            Failure::new(Code::HttpTruncated, failure.detail)
        }
        Fault::Tls(failure) => failure,
    }
}

/// Returns the failure for an error of the system, or the one of TLS that it is wrapped around.
pub(crate) fn of_io(error: &io::Error, progress: &Progress) -> Failure {
    if let Some(failure) = within(error) {
        return failure;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::new(Code::ConnectRefused, "connection refused"),
        ErrorKind::HostUnreachable => Failure::new(Code::ConnectUnreachable, "host unreachable"),
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable => {
            Failure::new(Code::ConnectUnreachable, "network unreachable")
        }
        ErrorKind::PermissionDenied => {
            Failure::new(Code::ConnectUnreachable, "forbidden by a firewall rule")
        }
        // The kernel gave up before we did.
        ErrorKind::TimedOut => {
            let mut failure = timed_out(progress.phase, Duration::ZERO);
            failure.detail = "the network gave up".to_owned();
            failure
        }
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            closed(progress, "reset by the server")
        }
        ErrorKind::UnexpectedEof => closed(progress, "closed by the server"),
        _ => Failure::new(Code::BridgeInternal, brief(&error.to_string())),
    }
}

/// The connection ended: what that means depends on what came before.
fn closed(progress: &Progress, how: &str) -> Failure {
    let (code, detail) = match progress.phase {
        // A connect that is answered by RST is refused: one that is reset had succeeded.
        Some(Phase::Connect | Phase::Handshake) => {
            (Code::TlsHandshake, format!("{how} in the handshake"))
        }
        _ if progress.received => (Code::HttpTruncated, format!("{how} within the response")),
        _ => (Code::ConnectReset, format!("{how} before a response")),
    };
    Failure::new(code, detail)
}

/// Returns the failure that an error of ureq stands for.
pub(crate) fn of_ureq(error: ureq::Error, progress: &Progress) -> Failure {
    let bad_request = |detail: String| Failure::new(Code::BridgeBadRequest, brief(&detail));
    match error {
        ureq::Error::Other(other) => match other.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(other) => match other.downcast::<ureq::Error>() {
                // One of ureq's doesn't tell its source.
                Ok(inner) => of_ureq(*inner, progress),
                Err(other) => within(other.as_ref()).unwrap_or_else(|| {
                    Failure::new(Code::BridgeInternal, brief(&other.to_string()))
                }),
            },
        },
        ureq::Error::Io(error) => of_body(error, progress),
        ureq::Error::Protocol(error) => of_protocol(&format!("{error:?}"), &error.to_string()),
        ureq::Error::LargeResponseHeader(_, limit) => Failure::new(
            Code::HttpTooLarge,
            format!("response header over {} KiB", limit / 1024),
        ),
        ureq::Error::BodyStalled => closed(progress, "stalled"),
        ureq::Error::Http(error) => bad_request(format!("the request is not HTTP: {error}")),
        ureq::Error::BadUri(what) => bad_request(format!("bad URL: {what}")),
        ureq::Error::Timeout(_) => timed_out(progress.phase, Duration::ZERO),
        other => Failure::new(Code::BridgeInternal, brief(&other.to_string())),
    }
}

/// Returns the failure for an error of reading a body, which wraps one of ureq's or is one of
/// the system.
pub(crate) fn of_body(error: io::Error, progress: &Progress) -> Failure {
    if error
        .get_ref()
        .is_some_and(|inner| inner.is::<ureq::Error>())
    {
        return of_ureq(ureq::Error::from(error), progress);
    }
    of_io(&error, progress)
}

/// Tells faults of our request from those of the response, by the name of the variant: its crate
/// is not ours to name.
fn of_protocol(variant: &str, text: &str) -> Failure {
    let name = variant.split(['(', ' ']).next().unwrap_or_default();
    match name {
        "OutputOverflow" => Failure::new(
            Code::BridgeBadRequest,
            "the path or a header field is longer than 16 KiB",
        ),
        "HttpParseTooManyHeaders" => {
            Failure::new(Code::HttpTooLarge, "more than 128 header fields")
        }
        "BadHeader"
        | "BadHostHeader"
        | "TooManyHostHeaders"
        | "BadAuthorizationHeader"
        | "MethodVersionMismatch"
        | "BodyNotAllowed" => Failure::new(Code::BridgeBadRequest, brief(text)),
        "HttpParseFail" => {
            let text = text.trim_start_matches("http parse fail: ");
            Failure::new(Code::HttpMalformed, brief(&format!("not HTTP: {text}")))
        }
        _ => Failure::new(Code::HttpMalformed, brief(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(phase: Phase, received: bool) -> Progress {
        let mut progress = Progress::default();
        progress.phase = Some(phase);
        progress.received = received;
        progress
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn errors_of_the_system_depend_on_the_phase() {
        use Phase::{Connect, Handshake, Receive, Resolve, Send};
        for (kind, phase, received, code) in [
            (
                ErrorKind::ConnectionRefused,
                Connect,
                false,
                Code::ConnectRefused,
            ),
            (
                ErrorKind::HostUnreachable,
                Connect,
                false,
                Code::ConnectUnreachable,
            ),
            (
                ErrorKind::NetworkUnreachable,
                Connect,
                false,
                Code::ConnectUnreachable,
            ),
            (
                ErrorKind::NetworkDown,
                Connect,
                false,
                Code::ConnectUnreachable,
            ),
            (
                ErrorKind::AddrNotAvailable,
                Connect,
                false,
                Code::ConnectUnreachable,
            ),
            (
                ErrorKind::PermissionDenied,
                Connect,
                false,
                Code::ConnectUnreachable,
            ),
            (
                ErrorKind::HostUnreachable,
                Receive,
                false,
                Code::ConnectUnreachable,
            ),
            (
                ErrorKind::ConnectionReset,
                Connect,
                false,
                Code::TlsHandshake,
            ),
            (
                ErrorKind::ConnectionReset,
                Handshake,
                false,
                Code::TlsHandshake,
            ),
            (
                ErrorKind::UnexpectedEof,
                Handshake,
                false,
                Code::TlsHandshake,
            ),
            (ErrorKind::ConnectionReset, Send, false, Code::ConnectReset),
            (ErrorKind::BrokenPipe, Send, false, Code::ConnectReset),
            (
                ErrorKind::ConnectionAborted,
                Receive,
                false,
                Code::ConnectReset,
            ),
            (ErrorKind::UnexpectedEof, Receive, false, Code::ConnectReset),
            (ErrorKind::UnexpectedEof, Receive, true, Code::HttpTruncated),
            (
                ErrorKind::ConnectionReset,
                Receive,
                true,
                Code::HttpTruncated,
            ),
            (ErrorKind::TimedOut, Resolve, false, Code::TimeoutDns),
            (ErrorKind::TimedOut, Connect, false, Code::TimeoutConnect),
            (ErrorKind::TimedOut, Handshake, false, Code::TimeoutTls),
            (ErrorKind::TimedOut, Send, false, Code::TimeoutRequest),
            (ErrorKind::TimedOut, Receive, true, Code::TimeoutResponse),
            (ErrorKind::OutOfMemory, Connect, false, Code::BridgeInternal),
        ] {
            let error = io::Error::from(kind);
            let failure = of_io(&error, &at(phase, received));
            assert_eq!(failure.code, code, "{kind:?} in {phase:?}");
            // ureq may hand the same error back by either way.
            let through = of_ureq(ureq::Error::Io(kind.into()), &at(phase, received));
            assert_eq!(through, failure, "{kind:?} in {phase:?}");
            let body = of_body(io::Error::from(kind), &at(phase, received));
            assert_eq!(body, failure, "{kind:?} in {phase:?}");
        }
    }

    #[test]
    fn a_carried_failure_comes_back_as_it_was() {
        let failure = Failure::new(Code::TlsExpired, "expired 2015-04-12");
        let progress = at(Phase::Receive, true);
        assert_eq!(of_ureq(carry(failure.clone()), &progress), failure);
        let wrapped = carry(failure.clone()).into_io();
        assert_eq!(of_body(wrapped, &progress), failure);
    }

    #[test]
    fn an_error_of_tls_keeps_its_code_in_every_wrapping() {
        use crate::io::tls::failure::testing::expired;

        let progress = at(Phase::Handshake, false);
        let io = || io::Error::new(ErrorKind::InvalidData, expired());
        for error in [
            ureq::Error::Io(io()),
            ureq::Error::Io(io::Error::other(io())),
            ureq::Error::Other(Box::new(expired())),
            ureq::Error::Other(Box::new(io())),
            ureq::Error::Io(ureq::Error::Io(io()).into_io()),
            ureq::Error::Io(io::Error::other(ureq::Error::Io(io()))),
            ureq::Error::Other(Box::new(ureq::Error::Io(io()))),
        ] {
            let text = format!("{error:?}");
            assert_eq!(of_ureq(error, &progress).code, Code::TlsExpired, "{text}");
        }
        assert_eq!(of_body(io(), &progress).code, Code::TlsExpired);
        assert_eq!(of_io(&io(), &progress).code, Code::TlsExpired);
    }

    #[test]
    fn errors_of_ureq_are_told_apart() {
        let progress = at(Phase::Receive, true);
        for (error, code) in [
            (
                ureq::Error::LargeResponseHeader(9, 32 << 10),
                Code::HttpTooLarge,
            ),
            (ureq::Error::BodyStalled, Code::HttpTruncated),
            (ureq::Error::BadUri("x".to_owned()), Code::BridgeBadRequest),
            (
                ureq::Error::Timeout(ureq::Timeout::Global),
                Code::TimeoutResponse,
            ),
            (ureq::Error::Other("x".into()), Code::BridgeInternal),
            (ureq::Error::ConnectionFailed, Code::BridgeInternal),
            (ureq::Error::TlsRequired, Code::BridgeInternal),
            (ureq::Error::HostNotFound, Code::BridgeInternal),
        ] {
            let text = error.to_string();
            assert_eq!(of_ureq(error, &progress).code, code, "{text}");
        }
        for (variant, code) in [
            ("OutputOverflow", Code::BridgeBadRequest),
            ("BadHeader(\"x\")", Code::BridgeBadRequest),
            ("HttpParseTooManyHeaders", Code::HttpTooLarge),
            ("HttpParseFail(\"x\")", Code::HttpMalformed),
            ("ChunkLenNotANumber", Code::HttpMalformed),
            ("UnsupportedVersion", Code::HttpMalformed),
            ("HeadersWith100", Code::HttpMalformed),
        ] {
            assert_eq!(of_protocol(variant, "text").code, code, "{variant}");
        }
    }

    #[test]
    fn a_fault_is_judged_by_how_far_the_exchange_came() {
        let now = crate::io::clock::now();
        let plan = Plan {
            started: now,
            deadline: now,
            address: None,
            ip: crate::core::endpoint::IpVersions::Both,
            private_addresses: true,
            foreign_host: false,
            fresh: false,
        };
        let alert = || Fault::Tls(Failure::new(Code::TlsHandshake, "alert"));
        let ours = || Fault::Tls(Failure::new(Code::TlsClientCertificate, "alert"));
        for (fault, phase, received, code) in [
            (Fault::TimedOut, Phase::Connect, false, Code::TimeoutConnect),
            (Fault::Cut, Phase::Handshake, false, Code::TlsHandshake),
            (Fault::Cut, Phase::Receive, false, Code::ConnectReset),
            (Fault::Cut, Phase::Receive, true, Code::HttpTruncated),
            (alert(), Phase::Handshake, false, Code::TlsHandshake),
            (alert(), Phase::Receive, false, Code::TlsHandshake),
            (alert(), Phase::Receive, true, Code::HttpTruncated),
            (ours(), Phase::Receive, false, Code::TlsClientCertificate),
        ] {
            let failure = of_fault(fault, &at(phase, received), &plan, now);
            assert_eq!(failure.code, code, "{phase:?}, {received}");
        }
    }
}
