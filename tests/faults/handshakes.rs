//! Servers that misbehave before the first request: in TCP, in the TLS handshake, right behind it.

use std::time::Duration;

use crate::https::{Greeting, Script, Step};
use crate::{Fault, IMPATIENT, ok, send};

pub(crate) const CHANGE_CIPHER_SPEC: u8 = 0x14;
pub(crate) const ALERT: u8 = 0x15;
pub(crate) const HANDSHAKE: u8 = 0x16;
pub(crate) const DATA: u8 = 0x17;

/// A TLS record.
pub(crate) fn record(kind: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3, high, low], contents].concat()
}

/// The records of a flight.
fn records(mut flight: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !flight.is_empty() {
        let length = usize::from(u16::from_be_bytes([flight[3], flight[4]]));
        let (record, rest) = flight.split_at(5 + length);
        records.push(record);
        flight = rest;
    }
    records
}

fn half(flight: &[u8]) -> Step {
    send(&flight[..flight.len() / 2])
}

/// ServerHello up to its random value.
fn some(flight: &[u8]) -> Step {
    send(&flight[..20])
}

pub(crate) fn hello(flight: &[u8]) -> Step {
    send(records(flight)[0])
}

/// A ServerHello with two of its bytes changed: those of the version, or of the cipher suite.
fn changed_hello(flight: &[u8], version: Option<[u8; 2]>, suite: Option<[u8; 2]>) -> Step {
    let mut hello = records(flight)[0].to_vec();
    if let Some(version) = version {
        hello[9..11].copy_from_slice(&version);
    }
    if let Some(suite) = suite {
        let session = usize::from(hello[43]);
        hello[44 + session..46 + session].copy_from_slice(&suite);
    }
    send(hello)
}

pub(crate) const CUT: &str = "tls.handshake - cut off in the handshake";
const RESET: &str = "tls.handshake - reset by the server in the handshake";
const LATE: &str = "timeout.tls - after 0.3 s";
const NO_TLS: &str = "tls.handshake - the server does not speak TLS on this port";

fn met(why: &'static str, greeting: Greeting, told: &'static str) -> Fault {
    let fault = Fault::script(why, Script::echo().greeting(greeting), told);
    match told == LATE {
        true => fault.with_route(IMPATIENT),
        false => fault,
    }
}

pub(crate) fn doctored(
    why: &'static str,
    doctor: fn(Vec<u8>) -> Vec<Step>,
    told: &'static str,
) -> Fault {
    met(why, Greeting::Doctored(doctor), told)
}

fn first(why: &'static str, bytes: impl Into<Vec<u8>>, told: &'static str) -> Fault {
    let steps = vec![send(bytes), Step::Cut];
    met(why, Greeting::First(steps), told)
}

/// Each in both versions of TLS.
pub(crate) fn faults() -> Vec<Fault> {
    let both = |faults: fn() -> Vec<Fault>| {
        let with = move |change: fn(Script) -> Script| {
            faults().into_iter().map(move |fault| Fault {
                script: fault.script.map(change),
                ..fault
            })
        };
        with(Script::tls12).chain(with(Script::tls13))
    };
    let mut all: Vec<Fault> = both(within).collect();
    all.extend(instead());
    all.extend(alerts());
    all.extend(behind());
    // One that is not noticed shall be told as such, and not break off the test.
    for fault in all.iter_mut().filter(|fault| fault.route.is_empty()) {
        fault.route = "timeout = \"4s\"\n";
    }
    all
}

/// Something else than TLS.
fn instead() -> Vec<Fault> {
    vec![
        first("FIN at once", [], CUT),
        met("RST at once", Greeting::Reset, RESET),
        met("silence", Greeting::Stall, LATE),
        met("FIN after ClientHello", Greeting::CloseInHandshake, CUT),
        met("RST after ClientHello", Greeting::ResetInHandshake, RESET),
        met(
            "silence after ClientHello",
            Greeting::StallInHandshake,
            LATE,
        ),
        met(
            "the ClientHello comes back",
            Greeting::Mirror,
            "tls.handshake - received unexpected handshake message: got ClientHello when expecting \
             ServerHello or HelloRetryRequest",
        ),
        first(
            "HTTP without TLS",
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            NO_TLS,
        ),
        first("an HTML page", "<html>", NO_TLS),
        first("SSH", "SSH-2.0-OpenSSH_9.9\r\n", NO_TLS),
        first("SMTP", "220 mail.example ESMTP\r\n", NO_TLS),
        first("MQTT", [0x20, 2, 0, 0, 0xE0, 0], NO_TLS),
        first("HTTP/2 without TLS", [0, 0, 6, 4, 0, 0, 0, 0, 0], NO_TLS),
        first("zeros", [0; 64], NO_TLS),
        first("garbage", [0xFF; 2000], NO_TLS),
        first("nothing but the begin of a record", [HANDSHAKE, 3], CUT),
        first("SSL 2", [0x80, 0x2B, 4, 0, 1, 0, 2], NO_TLS),
        first(
            "a version of TLS that doesn't exist",
            [HANDSHAKE, 9, 9, 0, 1, 2],
            "tls.protocol - unknown TLS version",
        ),
        met(
            "garbage without end",
            Greeting::First(vec![Step::Endlessly(vec![0xFF; 4096])]),
            NO_TLS,
        ),
        met(
            "one byte now and then",
            Greeting::First(vec![Step::Drip(
                record(HANDSHAKE, &[2; 500]),
                Duration::from_millis(20),
            )]),
            LATE,
        ),
    ]
}

/// Handshakes that begin well, in either version.
#[expect(clippy::too_many_lines, reason = "a table")]
fn within() -> Vec<Fault> {
    vec![
        doctored("FIN within ServerHello", |f| vec![some(&f), Step::Cut], CUT),
        doctored(
            "RST within ServerHello",
            |f| vec![some(&f), Step::Reset],
            RESET,
        ),
        doctored(
            "silence within ServerHello",
            |f| vec![some(&f), Step::Stall],
            LATE,
        ),
        doctored("FIN after ServerHello", |f| vec![hello(&f), Step::Cut], CUT),
        doctored(
            "silence after ServerHello",
            |f| vec![hello(&f), Step::Stall],
            LATE,
        ),
        doctored(
            "FIN within the certificate",
            |f| vec![half(&f), Step::Cut],
            CUT,
        ),
        doctored(
            "RST within the certificate",
            |f| vec![half(&f), Step::Reset],
            RESET,
        ),
        doctored(
            "silence within the certificate",
            |f| vec![half(&f), Step::Stall],
            LATE,
        ),
        doctored(
            "a handshake that drips",
            |f| vec![Step::Drip(f, Duration::from_millis(20))],
            LATE,
        ),
        doctored(
            "close_notify, TCP left open",
            |_| vec![send(record(ALERT, &[1, 0])), Step::Stall],
            LATE,
        ),
        doctored(
            "an old version in ServerHello",
            |f| vec![changed_hello(&f, Some([3, 2]), None), Step::Cut],
            "tls.protocol - nothing in common: the server speaks neither TLS 1.2 nor 1.3",
        ),
        doctored(
            "SSL 3 in ServerHello",
            |f| vec![changed_hello(&f, Some([3, 0]), None), Step::Cut],
            "tls.protocol - nothing in common: the server speaks neither TLS 1.2 nor 1.3",
        ),
        doctored(
            "a cipher suite that was not offered",
            |f| vec![changed_hello(&f, None, Some([0, 5])), Step::Cut],
            "tls.protocol - the server selected unoffered cipher suite",
        ),
        doctored(
            "a record larger than any may be",
            |_| {
                vec![
                    send([HANDSHAKE, 3, 3, 0xFF, 0xFF]),
                    Step::Endlessly(vec![2; 4096]),
                ]
            },
            "tls.handshake - garbled message: message too large",
        ),
        doctored(
            "a message larger than any may be",
            |_| {
                let start = record(HANDSHAKE, &[2, 0xFF, 0xFF, 0xFF]);
                vec![send(start), Step::Endlessly(record(HANDSHAKE, &[7; 1024]))]
            },
            "tls.handshake - handshake payload too large: more than 64 KiB, as of certificates",
        ),
        doctored(
            "empty records without end",
            |_| vec![Step::Endlessly(record(HANDSHAKE, &[]))],
            "tls.handshake - garbled message: invalid empty payload",
        ),
        doctored(
            "data before the handshake",
            |_| vec![send(record(DATA, b"hello")), Step::Cut],
            "tls.handshake - received unexpected message: got ApplicationData when expecting Handshake",
        ),
        doctored(
            "garbage after ServerHello",
            |f| vec![hello(&f), send([0xFF; 100]), Step::Cut],
            NO_TLS,
        ),
        doctored(
            "warnings without end",
            |_| vec![Step::Endlessly(record(ALERT, &[1, 100]))],
            "tls.handshake - the server breaks TLS: too many warning alerts received",
        ),
        doctored(
            "an alert after ServerHello",
            |f| vec![hello(&f), send(record(ALERT, &[2, 80])), Step::Cut],
            "tls.handshake - the server sent alert internal error",
        ),
    ]
}

/// Every alert that says why there is no handshake (RFC 8446 §6, RFC 5246 §7.2).
#[expect(clippy::too_many_lines, reason = "a table")]
fn alerts() -> Vec<Fault> {
    const ALERTS: &[(u8, &str)] = &[
        (
            10,
            "tls.handshake - the server sent alert unexpected message",
        ),
        (20, "tls.handshake - the server sent alert bad record mac"),
        (
            21,
            "tls.handshake - the server sent alert decryption failed",
        ),
        (22, "tls.handshake - the server sent alert record overflow"),
        (
            30,
            "tls.handshake - the server sent alert decompression failure",
        ),
        (40, "tls.protocol - the server sent alert handshake failure"),
        (41, "tls.handshake - the server sent alert no certificate"),
        (42, "tls.handshake - the server sent alert bad certificate"),
        (
            43,
            "tls.handshake - the server sent alert unsupported certificate",
        ),
        (
            44,
            "tls.handshake - the server sent alert certificate revoked",
        ),
        (
            45,
            "tls.handshake - the server sent alert certificate expired",
        ),
        (
            46,
            "tls.handshake - the server sent alert certificate unknown",
        ),
        (
            47,
            "tls.handshake - the server sent alert illegal parameter",
        ),
        (48, "tls.handshake - the server sent alert unknown ca"),
        (49, "tls.handshake - the server sent alert access denied"),
        (50, "tls.handshake - the server sent alert decode error"),
        (51, "tls.handshake - the server sent alert decrypt error"),
        (
            60,
            "tls.protocol - the server sent alert export restriction",
        ),
        (70, "tls.protocol - the server sent alert protocol version"),
        (
            71,
            "tls.protocol - the server sent alert insufficient security",
        ),
        (80, "tls.handshake - the server sent alert internal error"),
        (
            86,
            "tls.protocol - the server sent alert inappropriate fallback",
        ),
        (90, "tls.handshake - the server sent alert user canceled"),
        (
            109,
            "tls.handshake - the server sent alert missing extension",
        ),
        (
            110,
            "tls.handshake - the server sent alert unsupported extension",
        ),
        (
            112,
            "tls.handshake - the server does not know the name site.example: it sent alert \
             unrecognised name",
        ),
        (
            113,
            "tls.handshake - the server sent alert bad certificate status response",
        ),
        (
            115,
            "tls.handshake - the server sent alert unknown pskidentity",
        ),
        (116, "tls.client_certificate - the server requires one"),
        (
            120,
            "tls.protocol - the server sent alert no application protocol",
        ),
        (255, "tls.handshake - the server sent alert 255"),
    ];
    let alert = |(number, told): &(u8, &'static str)| {
        let bytes = record(ALERT, &[2, *number]);
        let greeting = Greeting::Plain(bytes);
        Fault::script("an alert", Script::echo().greeting(greeting), told)
    };
    ALERTS.iter().map(alert).collect()
}

/// What comes right behind the handshake, before or instead of a response.
fn behind() -> Vec<Fault> {
    let before = |steps| Script::echo().speaking_first(steps);
    vec![
        doctored("FIN instead of Finished", |f| vec![send(f), Step::Cut], CUT).of(Script::tls12),
        doctored(
            "silence instead of Finished",
            |f| vec![send(f), Step::Stall],
            LATE,
        )
        .of(Script::tls12),
        // In TLS 1.3 the server is finished first.
        doctored(
            "FIN behind Finished",
            |f| vec![send(f), Step::Cut],
            "connect.reset - cut off before a response",
        )
        .of(Script::tls13),
        Fault {
            told: "timeout.response - after 0.3 s",
            ..doctored(
                "silence behind Finished",
                |f| vec![send(f), Step::Stall],
                LATE,
            )
            .of(Script::tls13)
        },
        doctored(
            "ServerHello twice",
            |f| vec![hello(&f), hello(&f), Step::Cut],
            "tls.handshake - a record can not be decrypted",
        )
        .of(Script::tls13),
        Fault::script(
            "FIN behind the handshake",
            before(vec![Step::Cut]),
            "connect.reset - cut off before a response",
        ),
        Fault::script(
            "close_notify behind the handshake",
            before(vec![Step::Close]),
            "connect.reset - closed by the server before a response",
        ),
        Fault::script(
            "an alert that is not encrypted",
            before(vec![Step::Alert]).tls13(),
            "tls.handshake - a record can not be decrypted",
        ),
        Fault::script(
            "new keys without end",
            before(vec![Step::NewKeys; 100]).tls13(),
            "tls.handshake - the server breaks TLS: too many key update requests",
        ),
        Fault::script(
            "a response before the request, which HTTP can't tell from a quick one",
            before(vec![ok("early"), Step::Cut]),
            "ok: early",
        ),
    ]
}
