//! Decides which outcomes are worth another attempt, and when.
//!
//! Knows nothing of queues or sockets, and has no chance of its own: the caller hands in a random
//! number. Whether there is still somebody who waits for the response is the caller's to know.

use std::time::Duration;

use crate::core::outcome::{Code, Outcome};
use crate::core::request::Method;
use crate::core::route::StatusSet;

/// Attempts of a direct route unless the configuration says otherwise.
pub const ATTEMPTS: u32 = 3;

/// Longest Retry-After that is kept to.
pub(crate) const LONGEST_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How often and when a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all; `None` for [`ATTEMPTS`] on direct routes and no limit on stored ones.
    pub attempts: Option<u32>,
    /// The wait before the second attempt; it doubles with each.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: None,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(300),
        }
    }
}

impl Retry {
    /// Returns how often a direct route asks at most.
    pub fn direct_attempts(&self) -> u32 {
        self.attempts.unwrap_or(ATTEMPTS)
    }

    /// Returns the wait after an attempt, counted from 1: exponential, and between half and the
    /// whole of it as `random` has it, so that many nodes do not come back as one.
    ///
    /// What the server asks for with Retry-After is never undercut.
    pub fn delay(&self, attempt: u32, after: Option<Duration>, random: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        let part = share(whole / 2, random);
        match after {
            Some(after) => after.min(LONGEST_AFTER) + self.first.min(part),
            None => whole / 2 + part,
        }
    }
}

/// Returns as much of a duration as `random` is of the largest number, to the microsecond.
fn share(whole: Duration, random: u32) -> Duration {
    // 26 bits of it, so that the product of a day fits.
    let (random, largest) = (u64::from(random >> 6), u64::from(u32::MAX >> 6));
    let micros = whole.as_secs().saturating_mul(1_000_000) + u64::from(whole.subsec_micros());
    Duration::from_micros(micros.saturating_mul(random) / largest)
}

/// What an outcome says of the way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A connection stood, and with it the certificate was good.
    Open,
    /// The server's certificate was refused: it will be the next time.
    Refused,
    /// No connection came about.
    Closed,
    /// Nothing.
    Unknown,
}

impl Way {
    /// Judges an outcome.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Response(_) => Self::Open,
            Outcome::Failure(failure) => Self::of_code(failure.code),
        }
    }

    const fn of_code(code: Code) -> Self {
        match code {
            Code::TlsExpired
            | Code::TlsNotYetValid
            | Code::TlsWrongName
            | Code::TlsUnknownIssuer
            | Code::TlsSelfSigned
            | Code::TlsRevoked
            | Code::TlsRevocationUnknown
            | Code::TlsPinMismatch
            | Code::TlsBadCertificate
            | Code::TlsWeak => Self::Refused,
            Code::TlsProtocol
            | Code::TlsClientCertificate
            | Code::TlsHandshake
            | Code::DnsNotFound
            | Code::DnsFailed
            | Code::ConnectRefused
            | Code::ConnectUnreachable
            | Code::TimeoutDns
            | Code::TimeoutConnect
            | Code::TimeoutTls => Self::Closed,
            Code::ConnectReset
            | Code::TimeoutRequest
            | Code::TimeoutResponse
            | Code::HttpStatus
            | Code::HttpMalformed
            | Code::HttpTruncated
            | Code::HttpTooLarge
            | Code::HttpRedirect => Self::Open,
            Code::ClockUnset
            | Code::TimeoutQueue
            | Code::ReplyTooLarge
            | Code::BridgeBusy
            | Code::BridgeRateLimited
            | Code::BridgePaused
            | Code::BridgeBadRequest
            | Code::BridgeDenied
            | Code::BridgeStorage
            | Code::BridgeExpired
            | Code::BridgeDropped
            | Code::BridgeStopping
            | Code::BridgeInternal => Self::Unknown,
        }
    }
}

/// Returns whether another attempt may end better: after 408, 429 and 5xx but 501, as far as they
/// are no success, and where name look-up, connection or time failed.
pub fn is_transient(outcome: &Outcome, success: &StatusSet) -> bool {
    match outcome {
        Outcome::Response(response) => {
            let status = response.status;
            let transient = matches!(status, 408 | 429 | 500 | 502..=599);
            transient && !success.contains(status)
        }
        Outcome::Failure(failure) => matches!(
            failure.code,
            Code::DnsNotFound
                | Code::DnsFailed
                | Code::ConnectRefused
                | Code::ConnectUnreachable
                | Code::ConnectReset
                | Code::TimeoutDns
                | Code::TimeoutConnect
                | Code::TimeoutTls
                | Code::TimeoutRequest
                | Code::TimeoutResponse
        ),
    }
}

/// Returns whether the request can be sent again without doing anything twice: it is of a method
/// for which that is as good as once, or nothing of it can have been processed.
///
/// That is so where no connection came about, and where the server says that it did not take the
/// request: 408 (RFC 9110 §15.5.9), 429 (RFC 6585 §4), and 503 with Retry-After (RFC 9110
/// §10.2.3). A connection that broke, or a response that did not come, leaves it open.
pub fn is_repeatable(outcome: &Outcome, method: Method) -> bool {
    if method.is_idempotent() {
        return true;
    }
    match outcome {
        Outcome::Response(response) => match response.status {
            408 | 429 => true,
            503 => response.retry_after.is_some(),
            _ => false,
        },
        Outcome::Failure(_) => matches!(Way::of(outcome), Way::Closed | Way::Refused),
    }
}

/// Returns for how long a server asks to be left alone (RFC 9110 §10.2.3): a number of seconds, or
/// a date, which is compared with the response's own `date` or, without one, with `unix_time`.
///
/// `None` if it is neither. A date that has passed is no wait.
pub fn parse_after(text: &str, date: Option<&str>, unix_time: u64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = parse_date(text)?;
    let now = date.and_then(parse_date).unwrap_or(unix_time);
    Some(Duration::from_secs(until.saturating_sub(now)))
}

/// Parses a date in the format of RFC 9110 §5.6.7, or one of the two that are obsolete.
fn parse_date(text: &str) -> Option<u64> {
    let mut parts = text.split([' ', ',', '-']).filter(|part| !part.is_empty());
    let mut next = || parts.next();
    let (_, second, third, fourth, fifth) = (next()?, next()?, next()?, next()?, next()?);
    // The last of `Sun Nov  6 08:49:37 1994` is the year, that of the others the time.
    let (day, month, year, time) = match fifth.contains(':') {
        true => (second, third, fourth, fifth),
        false => (third, second, fifth, fourth),
    };
    let month = 1 + MONTHS.iter().position(|name| *name == month)?;
    let mut year: u64 = year.parse().ok()?;
    if year < 100 {
        year += if year < 70 { 2000 } else { 1900 };
    }
    let mut time = time.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let days = days(year, u64::try_from(month).ok()?, day.parse().ok()?)?;
    let in_day = hour < 24 && minute < 60 && second <= 60;
    in_day.then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Returns the days from 1970 to a date of the Gregorian calendar; `None` before 1970.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the day that leap years have more is their last.
    let year = if month < 3 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leaps = year / 4 - year / 100 + year / 400;
    let until_year = 365 * year + leaps;
    (until_year + (153 * month + 2) / 5 + day - 1).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::outcome::{Failure, Response};

    fn status(status: u16, retry_after: Option<Duration>) -> Outcome {
        Outcome::Response(Response {
            status,
            content_type: None,
            retry_after,
            body: Bytes::new(),
        })
    }

    fn failure(code: Code) -> Outcome {
        Outcome::Failure(Failure::new(code, ""))
    }

    #[test]
    fn what_may_end_better_is_tried_again() {
        let success = StatusSet::parse(["2xx", "503"]).unwrap();
        for (code, expected) in [
            (200, false),
            (404, false),
            (408, true),
            (429, true),
            (500, true),
            (501, false),
            (502, true),
            (503, false),
            (504, true),
            (600, false),
        ] {
            assert_eq!(
                is_transient(&status(code, None), &success),
                expected,
                "{code}"
            );
        }
        for code in Code::ALL {
            let family = code.as_str().split('.').next().unwrap();
            let expected = ["dns", "connect", "timeout"].contains(&family);
            let expected = expected && *code != Code::TimeoutQueue;
            assert_eq!(
                is_transient(&failure(*code), &success),
                expected,
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_post_is_sent_again_only_if_nothing_can_have_been_processed() {
        let some = Some(Duration::from_secs(1));
        for (outcome, expected) in [
            (failure(Code::ConnectRefused), true),
            (failure(Code::DnsFailed), true),
            (failure(Code::TimeoutConnect), true),
            (failure(Code::TimeoutTls), true),
            (failure(Code::ConnectReset), false),
            (failure(Code::TimeoutRequest), false),
            (failure(Code::TimeoutResponse), false),
            (status(408, None), true),
            (status(429, None), true),
            (status(503, some), true),
            (status(503, None), false),
            (status(500, some), false),
        ] {
            for method in [Method::Post, Method::Patch] {
                assert_eq!(is_repeatable(&outcome, method), expected, "{outcome:?}");
            }
            for method in [Method::Get, Method::Head, Method::Put, Method::Delete] {
                assert!(is_repeatable(&outcome, method), "{outcome:?}");
            }
        }
    }

    #[test]
    fn delays_double_up_to_the_longest_and_are_spread() {
        let retry = Retry::default();
        let range = |attempt| {
            let at = |random| retry.delay(attempt, None, random).as_millis();
            (at(0), at(u32::MAX))
        };
        assert_eq!(range(1), (250, 500));
        assert_eq!(range(2), (500, 1000));
        assert_eq!(range(5), (4000, 8000));
        assert_eq!(range(30), (150_000, 300_000));
        assert_eq!(range(u32::MAX), (150_000, 300_000));
    }

    #[test]
    fn what_the_server_asks_for_is_not_undercut() {
        let retry = Retry::default();
        let after = |seconds, random| {
            let after = Some(Duration::from_secs(seconds));
            retry.delay(1, after, random).as_millis()
        };
        assert_eq!(after(7, 0), 7000);
        assert_eq!(after(7, u32::MAX), 7250);
        assert_eq!(after(1_000_000, 0), 86_400_000);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 784_111_777;
        for (text, date, expected) in [
            ("120", None, Some(120)),
            (" 0 ", None, Some(0)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", None, Some(3)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", None, Some(60)),
            ("Sun Nov  6 09:49:37 1994", None, Some(3600)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", None, Some(0)),
            (
                "Thu, 29 Feb 2024 00:00:10 GMT",
                Some("Wed, 28 Feb 2024 23:59:50 GMT"),
                Some(20),
            ),
            (
                "Fri, 01 Mar 2024 00:00:00 GMT",
                Some("x"),
                Some(925_139_423),
            ),
            ("-1", None, None),
            ("soon", None, None),
            ("Sun, 06 Nov 1994 8 GMT", None, None),
            ("Sun, 06 Nov 1994 25:00:00 GMT", None, None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None, None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None, None),
            ("", None, None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(parse_after(text, date, now), expected, "{text}");
        }
    }

    #[test]
    fn dates_are_counted_from_1970() {
        for (year, month, day, expected) in [
            (1970, 1, 1, Some(0)),
            (2000, 3, 1, Some(11_017)),
            (2024, 2, 29, Some(19_782)),
            (1969, 12, 31, None),
            (2024, 1, 0, None),
        ] {
            assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
        }
    }
}
