//! Servers that break TLS once the handshake is over, in records that are properly encrypted, and
//! servers that go on for ever without coming to the point.

use crate::handshakes::{ALERT, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, doctored, hello, record};
use crate::https::{Script, Step, response};
use crate::records::{encrypted, padded, provider};
use crate::{Fault, announcing, ok, send};

const HEARTBEAT: u8 = 0x18;
const NO_DATA: &str = "tls.handshake - more than 128 KiB of TLS without any data";
const NO_SUCH_TYPE: &str = "tls.handshake - a record of a type that does not exist";
const EMPTY: &str = "tls.handshake - the server breaks TLS: too many empty fragments";
const WARNINGS: &str = "tls.handshake - the server breaks TLS: too many warning alerts received";
const UNREADABLE: &str = "tls.handshake - a record can not be decrypted";
const TOO_LARGE: &str = "tls.handshake - handshake payload too large: more than 64 KiB";
const SHORT: &str = "http.truncated 200 4 of 1000 bytes";
const CLOSED: &str = "connect.reset - closed by the server before a response";
const GARBLED: &str = "tls.handshake - garbled message: message too short";
const NO_PIECE: &str = "tls.handshake - garbled message: invalid empty payload";
/// TLS 1.2 has none after the handshake but HelloRequest.
const NO_MESSAGE: &str =
    "tls.handshake - received unexpected message: got Handshake when expecting ApplicationData";

const NOT_AGAIN: &str =
    "tls.handshake - the server breaks TLS: illegal middlebox change cipher spec";
const TOO_EARLY: &str =
    "tls.handshake - received unexpected message: got ChangeCipherSpec when expecting Handshake";
const NOT_YET: &str =
    "tls.handshake - received unexpected message: got Handshake when expecting ChangeCipherSpec";

/// TLS 1.3 has two after the handshake.
macro_rules! unexpected {
    ($message:literal) => {
        concat!(
            "tls.handshake - received unexpected handshake message: got ",
            $message,
            " when expecting NewSessionTicket or KeyUpdate"
        )
    };
}

/// A handshake message.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

/// NewSessionTicket of TLS 1.3 (RFC 8446 §4.6.1) with a ticket of that many bytes.
fn ticket(length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let start = [0, 0, 0, 60, 1, 2, 3, 4, 1, 9, high, low];
    let ticket = vec![7; usize::from(length)];
    message(4, &[&start[..], &ticket, &[0, 0]].concat())
}

/// The same of TLS 1.2 (RFC 5077 §3.3).
fn old_ticket() -> Vec<u8> {
    message(4, &[0, 0, 0, 60, 0, 2, 7, 7])
}

/// Tickets as large as a message may be, in records as large as they may be.
fn large_tickets(count: usize) -> Vec<Step> {
    let ticket = ticket(65_000);
    let records = ticket.chunks(16_000);
    let once: Vec<_> = records.map(|it| send(encrypted(HANDSHAKE, it))).collect();
    vec![once; count].concat()
}

fn hello_request() -> Vec<u8> {
    message(0, &[])
}

fn endless(kind: u8, contents: &[u8]) -> Vec<Step> {
    vec![Step::Endlessly(encrypted(kind, contents))]
}

fn endless_message(kind: u8, body: &[u8]) -> Vec<Step> {
    endless(HANDSHAKE, &message(kind, body))
}

/// The begin of a message of 65,280 bytes, and then pieces of it.
fn message_in(piece: &[u8]) -> Vec<Step> {
    let begin = send(encrypted(HANDSHAKE, &[4, 0, 0xFF, 0]));
    [vec![begin], endless(HANDSHAKE, piece)].concat()
}

/// The begin of a response, and then these.
fn within(steps: Vec<Step>) -> Vec<Step> {
    [vec![announcing(1000, "half")], steps].concat()
}

fn with_limit(fault: Fault) -> Fault {
    let fault = fault.with_route("timeout = \"4s\"\n");
    fault.of(|script| script.encrypting_by(provider()))
}

/// In TLS 1.2, instead of a response.
fn old(why: &'static str, steps: Vec<Step>, told: &'static str) -> Fault {
    with_limit(Fault::steps(why, steps, told)).of(Script::tls12)
}

/// In TLS 1.3, instead of a response.
fn new(why: &'static str, steps: Vec<Step>, told: &'static str) -> Fault {
    with_limit(Fault::steps(why, steps, told)).of(Script::tls13)
}

/// In either version.
fn both(why: &'static str, steps: Vec<Step>, told: &'static str) -> [Fault; 2] {
    [old(why, steps.clone(), told), new(why, steps, told)]
}

/// Each once the handshake is over.
pub(crate) fn afterwards() -> Vec<Fault> {
    let mut all = floods();
    all.extend(messages());
    all.extend(strange_records());
    all.extend(odd_but_right());
    all
}

/// Servers that want to fill the daemon's memory.
pub(crate) fn hoarded() -> Vec<Script> {
    let hostile = [
        endless(HANDSHAKE, &ticket(100)),
        large_tickets(9),
        vec![Step::NewKeys; 100],
        message_in(&[0]),
        message_in(&[0; 16_000]),
    ];
    let scripts = hostile.map(|steps| Script::steps(steps).tls13().encrypting_by(provider()));
    scripts.to_vec()
}

fn floods() -> Vec<Fault> {
    let canceled = || endless(ALERT, &[1, 90]);
    let no_renegotiation = || endless(ALERT, &[1, 100]);
    let tickets = || endless(HANDSHAKE, &ticket(100));
    let requests = || endless(HANDSHAKE, &hello_request());
    let padded_tickets = vec![Step::Endlessly(padded(HANDSHAKE, &ticket(9), 10_000))];
    let padded_data = vec![Step::Endlessly(padded(DATA, &[], 10_000))];
    let keys_and_data = [vec![Step::NewKeys; 30], vec![send("x")]].concat();
    let in_turns = [vec![keys_and_data; 9].concat(), vec![Step::Cut]].concat();
    let mut all = vec![
        old("no_renegotiation", no_renegotiation(), WARNINGS),
        new(
            "no_renegotiation",
            no_renegotiation(),
            "tls.handshake - the server sent alert no renegotiation after the handshake; \
             renegotiation is not supported",
        ),
        old(
            "HelloRequest",
            requests(),
            "tls.handshake - the server breaks TLS: too many renegotiation requests",
        ),
        old("the same in a response", within(requests()), SHORT),
        old("tickets", endless(HANDSHAKE, &old_ticket()), NO_MESSAGE),
        new("tickets", tickets(), NO_DATA),
        new("tickets in a response", within(tickets()), SHORT),
        new("the largest tickets", large_tickets(9), NO_DATA),
        new("the largest padding", padded_tickets, NO_DATA),
        new("the largest padding around nothing", padded_data, NO_DATA),
        new("new keys", within(vec![Step::NewKeys; 100]), SHORT),
        new(
            "new keys and data in turns, and no end",
            within(in_turns),
            "http.truncated 200 13 of 1000 bytes",
        ),
    ];
    all.extend(both("data of no bytes", endless(DATA, &[]), EMPTY));
    all.extend(both("in a response", within(endless(DATA, &[])), SHORT));
    all.extend(both("user_canceled", canceled(), WARNINGS));
    all.extend(both("in a response", within(canceled()), SHORT));
    all
}

/// Messages of the handshake that come when it is over, are none, or never end.
fn messages() -> Vec<Fault> {
    let mut all = Vec::new();
    for (why, kind, body, told) in [
        ("ServerHello", 2, &[3; 70][..], GARBLED),
        ("ClientHello", 1, &[3; 70], GARBLED),
        ("Finished", 20, &[1; 12], NO_MESSAGE),
        ("EndOfEarlyData", 5, &[], NO_MESSAGE),
        ("a message that does not exist", 99, &[], NO_MESSAGE),
        ("KeyUpdate", 24, &[0], NO_MESSAGE),
    ] {
        all.push(old(why, endless_message(kind, body), told));
    }
    for (why, kind, body, told) in [
        ("ServerHello", 2, &[3; 70][..], GARBLED),
        ("ClientHello", 1, &[3; 70], GARBLED),
        ("HelloRequest", 0, &[], unexpected!("HelloRequest")),
        ("Certificate", 11, &[0, 0, 0, 0], unexpected!("Certificate")),
        ("Finished", 20, &[1; 12], unexpected!("Finished")),
        ("EndOfEarlyData", 5, &[], unexpected!("EndOfEarlyData")),
        (
            "a message that does not exist",
            99,
            &[],
            unexpected!("HandshakeType(0x63)"),
        ),
        (
            "CertificateRequest, which was not offered",
            13,
            &[0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3],
            unexpected!("CertificateRequest"),
        ),
        (
            "KeyUpdate of no known kind",
            24,
            &[2],
            "tls.handshake - garbled message: invalid key update",
        ),
        ("KeyUpdate that changes no key", 24, &[0], UNREADABLE),
        (
            "a ticket of nothing",
            4,
            &[0, 0, 0, 60, 1, 2, 3, 4, 1, 9, 0, 0, 0, 0],
            "tls.handshake - garbled message: empty ticket value",
        ),
    ] {
        all.push(new(why, endless_message(kind, body), told));
    }
    let begin = send(encrypted(HANDSHAKE, &[4, 0, 1, 0]));
    let interrupted = vec![begin, ok("hi"), Step::Stall];
    all.extend(both("empty pieces", endless(HANDSHAKE, &[]), EMPTY));
    all.extend(both("a message of empty pieces", message_in(&[]), EMPTY));
    all.extend(both("a message of bytes", message_in(&[0]), TOO_LARGE));
    all.extend(both(
        "a message of all",
        message_in(&[0; 16_000]),
        TOO_LARGE,
    ));
    all.extend(both(
        "data within a message",
        interrupted,
        "tls.handshake - the server breaks TLS: message interleaved with handshake message",
    ));
    all
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn strange_records() -> Vec<Fault> {
    let bare = |kind, length: u16| {
        let [high, low] = length.to_be_bytes();
        let contents = vec![1; usize::from(length)];
        let record = [&[kind, 3, 3, high, low], &contents[..]].concat();
        vec![Step::Bare(record.repeat(100)), Step::Stall]
    };
    let close_notify = send(encrypted(ALERT, &[1, 0]));
    let notified = vec![close_notify, Step::Endlessly(vec![b'x'; 1000])];
    let mut all = vec![
        old(
            "ChangeCipherSpec, encrypted",
            endless(CHANGE_CIPHER_SPEC, &[1]),
            "tls.handshake - garbled message: invalid ccs",
        ),
        new(
            "ChangeCipherSpec, encrypted",
            endless(CHANGE_CIPHER_SPEC, &[1]),
            NOT_AGAIN,
        ),
        old(
            "ChangeCipherSpec",
            bare(CHANGE_CIPHER_SPEC, 1),
            "tls.handshake - received unexpected message: got ChangeCipherSpec when expecting \
             ApplicationData",
        ),
        new(
            "ChangeCipherSpec",
            bare(CHANGE_CIPHER_SPEC, 1),
            "tls.handshake - received unexpected message: got ChangeCipherSpec when expecting \
             ApplicationData or Handshake",
        ),
        new(
            "padding alone",
            endless(0, &[0; 100]),
            "tls.handshake - the server breaks TLS: illegal tls inner plaintext",
        ),
    ];
    for (why, steps, told) in [
        (
            "an alert of a level that does not exist",
            endless(ALERT, &[3, 80]),
            "tls.handshake - the server sent alert internal error",
        ),
        (
            "an alert",
            endless(ALERT, &[2, 80]),
            "tls.handshake - the server sent alert internal error",
        ),
        (
            "half an alert",
            endless(ALERT, &[1]),
            "tls.handshake - garbled message: missing data: alert description",
        ),
        (
            "an alert of no bytes",
            endless(ALERT, &[]),
            "tls.handshake - garbled message: missing data: alert level",
        ),
        (
            "two alerts in a record",
            endless(ALERT, &[1, 90, 1, 90]),
            "tls.handshake - garbled message: trailing data: alert message payload",
        ),
        (
            "a heartbeat that lies about its length",
            endless(HEARTBEAT, &[1, 0xFF, 0xFF]),
            NO_SUCH_TYPE,
        ),
        (
            "a type that does not exist",
            endless(99, &[1]),
            NO_SUCH_TYPE,
        ),
        ("data that is not encrypted", bare(DATA, 100), UNREADABLE),
        (
            "a record larger than any may be",
            bare(DATA, 0x5000),
            "tls.handshake - garbled message: message too large",
        ),
        ("data behind close_notify", notified.clone(), CLOSED),
        ("the same in a response", within(notified), SHORT),
    ] {
        all.extend(both(why, steps, told));
    }
    all
}

/// What is strange, and no fault.
fn odd_but_right() -> Vec<Fault> {
    let hi = response("200 OK", &[], b"hi");
    let bytes = || hi.iter().map(|byte| send([*byte]));
    let padded = hi.iter().map(|byte| send(padded(DATA, &[*byte], 16_000)));
    let between = bytes().flat_map(|byte| [Step::NewKeys, byte]);
    let interleaved = bytes().flat_map(|byte| [send(encrypted(DATA, &[])), byte]);
    let warning = send(encrypted(ALERT, &[1, 90]));
    let warned = [vec![warning; 4], vec![ok("hi")]].concat();
    let mut all = vec![
        new("as much padding as may be", padded.collect(), "ok: hi"),
        new("new keys for each byte", between.collect(), "ok: hi"),
    ];
    all.extend(both("a byte in each record", bytes().collect(), "ok: hi"));
    let every_second = interleaved.collect();
    all.extend(both("every second record empty", every_second, "ok: hi"));
    all.extend(both("four warnings", warned, "ok: hi"));
    all
}

/// Each while the handshake is going on, in either version.
pub(crate) fn in_handshake() -> Vec<Fault> {
    let versions = [Script::tls12, Script::tls13];
    let mut all: Vec<Fault> = versions.into_iter().flat_map(early).collect();
    all.extend(behind_server_hello());
    all.push(
        flood(
            "HelloRetryRequest",
            |flight| vec![Step::Endlessly(retry(&flight))],
            "tls.handshake - received unexpected handshake message: got HelloRetryRequest when \
         expecting ServerHello",
        )
        .of(Script::tls13),
    );
    all
}

fn early(version: fn(Script) -> Script) -> Vec<Fault> {
    let server = Script::echo;
    let faults = vec![
        flood(
            "HelloRequest",
            |_| endlessly(HANDSHAKE, &hello_request()),
            "tls.handshake - received unexpected handshake message: got HelloRequest when \
             expecting ServerHello or HelloRetryRequest",
        ),
        flood(
            "KeyUpdate",
            |_| endlessly(HANDSHAKE, &message(24, &[1])),
            "tls.handshake - received unexpected handshake message: got KeyUpdate when expecting \
             ServerHello or HelloRetryRequest",
        ),
        flood("tickets", |_| endlessly(HANDSHAKE, &ticket(9)), GARBLED),
        flood(
            "ChangeCipherSpec",
            |_| endlessly(CHANGE_CIPHER_SPEC, &[1]),
            TOO_EARLY,
        ),
        flood(
            "a message of bytes",
            |_| [begin(), endlessly(HANDSHAKE, &[3])].concat(),
            "tls.handshake - handshake payload too large: more than 64 KiB, as of certificates",
        ),
        flood(
            "a message of empty pieces",
            |_| [begin(), endlessly(HANDSHAKE, &[])].concat(),
            NO_PIECE,
        ),
        flood(
            "warnings behind ServerHello",
            |flight| [vec![hello(&flight)], endlessly(ALERT, &[1, 90])].concat(),
            WARNINGS,
        ),
        flood(
            "empty pieces behind ServerHello",
            |flight| [vec![hello(&flight)], endlessly(HANDSHAKE, &[])].concat(),
            NO_PIECE,
        ),
        // These are only slow.
        with_limit(Fault::script("bytes", server().byte_by_byte(), "ok: GET /")),
        with_limit(Fault::script(
            "pieces",
            server().in_records_of(32),
            "ok: GET /",
        )),
    ];
    faults.into_iter().map(|fault| fault.of(version)).collect()
}

/// What the versions tell in different words.
fn behind_server_hello() -> Vec<Fault> {
    type Doctor = fn(Vec<u8>) -> Vec<Step>;
    let requests: Doctor =
        |flight| [vec![hello(&flight)], endlessly(HANDSHAKE, &hello_request())].concat();
    let specs: Doctor =
        |flight| [vec![hello(&flight)], endlessly(CHANGE_CIPHER_SPEC, &[1])].concat();
    let hellos: Doctor = |flight| match hello(&flight) {
        Step::Send(hello) => vec![Step::Endlessly(hello)],
        other => panic!("{other:?} is not sent"),
    };
    let cases = [
        ("HelloRequest", requests, [NOT_YET, UNREADABLE]),
        ("ChangeCipherSpec", specs, [TOO_EARLY, NOT_AGAIN]),
        ("ServerHello", hellos, [NOT_YET, UNREADABLE]),
    ];
    let both = |(why, doctor, told): (_, Doctor, [_; 2])| {
        [
            flood(why, doctor, told[0]).of(Script::tls12),
            flood(why, doctor, told[1]).of(Script::tls13),
        ]
    };
    cases.into_iter().flat_map(both).collect()
}

fn endlessly(kind: u8, contents: &[u8]) -> Vec<Step> {
    vec![Step::Endlessly(record(kind, contents))]
}

/// The begin of a ServerHello of 65,280 bytes.
fn begin() -> Vec<Step> {
    vec![send(record(HANDSHAKE, &[2, 0, 0xFF, 0]))]
}

fn flood(why: &'static str, doctor: fn(Vec<u8>) -> Vec<Step>, told: &'static str) -> Fault {
    doctored(why, doctor, told).with_route("timeout = \"4s\"\n")
}

/// HelloRetryRequest (RFC 8446 §4.1.4) in answer to what this answers, for another group.
fn retry(flight: &[u8]) -> Vec<u8> {
    let random = ring::digest::digest(&ring::digest::SHA256, b"HelloRetryRequest");
    let session = usize::from(flight[43]);
    let suite = &flight[43..47 + session];
    let extensions = [0, 12, 0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0, 24];
    let body = [&[3, 3], random.as_ref(), suite, &extensions].concat();
    record(HANDSHAKE, &message(2, &body))
}
