//! Whom an endpoint trusts beyond its roots, through the whole bridge: pins, client certificates,
//! revocation lists; and that no kept connection or session outlives a change of it.

#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/https.rs"]
mod https;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/nodes.rs"]
mod nodes;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use certificates::{
    Authority, DAY, Identity, TemporaryFile, list_pem, pin, self_signed, self_signed_expired,
    self_signed_named, stray_listed_at,
};
use https::{PATIENCE, Script, Server, response};
use mqtt_https_bridge::core::outcome::Code;
use nodes::{HOST, Node, Plan, ask, in_parallel, local, url};

/// A key that nobody has.
const ANOTHER: &str = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A server, the lines of its endpoint, and what a node is told.
struct Case {
    why: &'static str,
    identity: Identity,
    lines: String,
    told: String,
}

/// Asks the server of each case, in both TLS versions, and returns the codes that were heard.
fn judge(cases: &[Case]) -> BTreeSet<String> {
    let mut plan = Plan::new();
    let mut servers = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        for (version, script) in [
            ("12", Script::echo().tls12()),
            ("13", Script::echo().tls13()),
        ] {
            let server = Server::start(&case.identity, script);
            let name = format!("case{at}v{version}");
            plan.endpoint(&name, &url(server.port()), &case.lines)
                .route(&name, &name, "");
            servers.push(server);
        }
    }
    let broker = plan.start();
    let codes = Mutex::new(BTreeSet::new());
    let numbered: Vec<_> = cases.iter().enumerate().collect();
    in_parallel(&numbered, |(at, case)| {
        for version in ["12", "13"] {
            let route = format!("case{at}v{version}");
            let reply = ask(broker.address, &route, &route, b"");
            codes.lock().unwrap().insert(reply.code().to_owned());
            if reply.to_string() != case.told {
                return Err(format!("{}: `{reply}`, not `{}`", case.why, case.told));
            }
        }
        Ok(())
    });
    codes.into_inner().unwrap()
}

fn pins(pins: &[&str]) -> String {
    format!("address = \"127.0.0.1\"\npins = {pins:?}\n")
}

fn pinned_only(pins: &[&str], unchecked: &str) -> String {
    format!("address = \"127.0.0.1\"\nroots = \"none\"\npins = {pins:?}\n{unchecked}\n")
}

const OK: &str = "ok: GET /";

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn pins_are_required_beside_roots_and_stand_in_for_them() {
    let (us, them) = (Authority::new("test"), Authority::new("other"));
    let root = us.root_file();
    let good = us.good(&[HOST]);
    let device = self_signed(&[HOST], true);
    let (late, named) = (
        self_signed_expired(&[HOST]),
        self_signed(&["a.example"], false),
    );
    let plain = self_signed_named("device", &[]);
    let strangers = us.with_stranger(&[HOST], &them.good(&["a.example"]));
    let beside = |keys: &[&str]| format!("{}pins = {keys:?}\n", local(&root));
    let found = |identity: &Identity| {
        let found = identity.pin(0);
        format!("error: tls.pin_mismatch - the server's key is {found}, which is not pinned")
    };
    let case = |why, identity: &Identity, lines, told: &str| Case {
        why,
        identity: identity.clone(),
        lines,
        told: told.to_owned(),
    };
    let codes = judge(&[
        case("the leaf is pinned", &good, beside(&[&good.pin(0)]), OK),
        case("one of two is", &good, beside(&[ANOTHER, &good.pin(0)]), OK),
        case("the intermediate is", &good, beside(&[&good.pin(1)]), OK),
        case("the root is", &good, beside(&[&pin(us.root())]), OK),
        case(
            "no key of the chain is",
            &good,
            beside(&[ANOTHER]),
            &found(&good),
        ),
        case(
            "a certificate that is not of the path is",
            &strangers,
            beside(&[&strangers.pin(1), &strangers.pin(2)]),
            &found(&strangers),
        ),
        case(
            "a pin doesn't mend another fault",
            &us.expired(&[HOST]),
            beside(&[&us.expired(&[HOST]).pin(1)]),
            "error: tls.expired - expired 2015-04-12",
        ),
        case(
            "the other fault comes first",
            &us.good(&["a.example"]),
            beside(&[ANOTHER]),
            "error: tls.wrong_name - for a.example, not for site.example",
        ),
        case(
            "a pinned key that no root vouches for",
            &device,
            pins(&[&device.pin(0)]),
            "error: tls.self_signed - self-signed CN=site.example",
        ),
        case("a device", &device, pinned_only(&[&device.pin(0)], ""), OK),
        case(
            "another device",
            &device,
            pinned_only(&[ANOTHER], ""),
            &found(&device),
        ),
        case(
            "a chain whose root nobody knows",
            &good,
            pinned_only(&[&good.pin(0)], ""),
            OK,
        ),
        case(
            "the key alone counts, not its issuer's",
            &good,
            pinned_only(&[&good.pin(1)], ""),
            &found(&good),
        ),
        case(
            "an expired device",
            &late,
            pinned_only(&[&late.pin(0)], ""),
            "error: tls.expired - expired 2015-04-12",
        ),
        case(
            "of which the name is not checked",
            &late,
            pinned_only(&[&late.pin(0)], "unchecked = [\"name\"]"),
            "error: tls.expired - expired 2015-04-12",
        ),
        case(
            "nor the dates",
            &late,
            pinned_only(&[&late.pin(0)], "unchecked = [\"dates\"]"),
            OK,
        ),
        case(
            "a device for another name",
            &named,
            pinned_only(&[&named.pin(0)], ""),
            "error: tls.wrong_name - for a.example, not for site.example",
        ),
        case(
            "which is not checked",
            &named,
            pinned_only(&[&named.pin(0)], "unchecked = [\"name\"]"),
            OK,
        ),
        case(
            "a device without any name",
            &plain,
            pinned_only(&[&plain.pin(0)], "unchecked = [\"name\", \"dates\"]"),
            OK,
        ),
        case(
            "the key is checked always",
            &plain,
            pinned_only(&[ANOTHER], "unchecked = [\"name\", \"dates\"]"),
            &found(&plain),
        ),
    ]);
    assert!(codes.contains(Code::TlsPinMismatch.as_str()));
}

/// Lines of an endpoint that trusts a root and shows a certificate of its own.
fn showing(root: &TemporaryFile, own: &TemporaryFile, key: &TemporaryFile) -> String {
    let (own, key) = (own.path().display(), key.path().display());
    let shown = format!("client_certificate = \"{own}\"\nclient_key = \"{key}\"\n");
    format!("{}{shown}", local(root))
}

#[test]
fn a_client_certificate_is_shown_to_servers_that_ask_for_one() {
    let (us, them) = (Authority::new("test"), Authority::new("other"));
    let root = us.root_file();
    let own = us.for_clients(&["gateway"]);
    let chain = TemporaryFile::new("own.pem", own.chain_pem().as_bytes());
    let keys = [
        TemporaryFile::new("pkcs8.key", own.key_pem().as_bytes()),
        TemporaryFile::new("sec1.key", own.key_sec1_pem().as_bytes()),
    ];
    for key in &keys {
        for (authority, told) in [
            (&us, OK),
            (
                &them,
                "error: tls.client_certificate - the server refused ours with alert unknown ca",
            ),
        ] {
            for script in [Script::echo().tls12(), Script::echo().tls13()] {
                let script = script.requiring_client_certificate(authority);
                let server = Server::start(&us.good(&[HOST]), script);
                let broker = Plan::new()
                    .endpoint("site", &url(server.port()), &showing(&root, &chain, key))
                    .route("door", "site", "")
                    .start();
                let reply = ask(broker.address, "kitchen", "door", b"");
                assert_eq!(reply.to_string(), told);
            }
        }
    }
}

#[test]
fn a_client_certificate_that_can_not_be_used_is_told_at_the_start() {
    let us = Authority::new("test");
    let root = us.root_file();
    let (own, other) = (us.for_clients(&["gateway"]), us.for_clients(&["other"]));
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAMBAQ==\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let malformed = "-----BEGIN PRIVATE KEY-----\nMAMBAQ==\n-----END PRIVATE KEY-----\n";
    for (certificate, key, what) in [
        (
            own.chain_pem(),
            other.key_pem(),
            "client_key `KEY` is not the key of the first certificate in `OWN`; name the two that \
             belong together",
        ),
        (
            own.key_pem(),
            own.key_pem(),
            "client_certificate `OWN` holds no certificate; expected PEM with BEGIN CERTIFICATE",
        ),
        (
            own.chain_pem(),
            own.chain_pem(),
            "client_key `KEY` holds no key; expected PEM with BEGIN PRIVATE KEY, BEGIN RSA PRIVATE \
             KEY or BEGIN EC PRIVATE KEY",
        ),
        (
            own.chain_pem(),
            encrypted.to_owned(),
            "client_key `KEY` is encrypted; decrypt it with `openssl pkey -in <file> -out <file>`",
        ),
        (
            own.chain_pem(),
            malformed.to_owned(),
            "client_key `KEY` is a kind of key that can not be used; use ECDSA P-256 or P-384, \
             Ed25519, or RSA of 2048 to 4096 bits",
        ),
    ] {
        let chain = TemporaryFile::new("own.pem", certificate.as_bytes());
        let key = TemporaryFile::new("own.key", key.as_bytes());
        let mut plan = Plan::new();
        plan.endpoint(
            "site",
            "https://site.example",
            &showing(&root, &chain, &key),
        )
        .route("door", "site", "");
        let error = plan.try_start().err().unwrap().to_string();
        let error = error.replace(&chain.path().display().to_string(), "OWN");
        let error = error.replace(&key.path().display().to_string(), "KEY");
        assert_eq!(error, format!("endpoint `site`: {what}"));
    }
}

/// Lines of an endpoint that asks these lists.
fn listed(root: &TemporaryFile, lists: &[&TemporaryFile], policy: &str) -> String {
    let lists: Vec<_> = lists
        .iter()
        .map(|list| list.path().display().to_string())
        .collect();
    format!(
        "{}crl = {lists:?}\nrevocation = \"{policy}\"\n",
        local(root)
    )
}

fn list_file(der: &[u8]) -> TemporaryFile {
    TemporaryFile::new("list.pem", list_pem(der).as_bytes())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn revocation_is_looked_up_in_lists() {
    let us = Authority::new("test");
    let root = us.root_file();
    let (good, bad) = (us.good(&[HOST]), us.good(&[HOST]));
    let leaves = list_file(&us.list(&[&bad], DAY));
    let der = TemporaryFile::new("list.crl", &us.list(&[&bad], DAY));
    let old = list_file(&us.old_list(&[&bad]));
    let issuers = list_file(&us.root_list(false));
    let revoking_issuers = list_file(&us.root_list(true));
    let forged = list_file(&us.forged_list());
    let forged_issuers = list_file(&us.forged_root_list());
    let both = TemporaryFile::new(
        "lists.pem",
        format!(
            "{}{}",
            list_pem(&us.list(&[&bad], DAY)),
            list_pem(&us.root_list(false))
        )
        .as_bytes(),
    );
    let case = |why, identity: &Identity, lists: &[&TemporaryFile], policy, told: &str| Case {
        why,
        identity: identity.clone(),
        lines: listed(&root, lists, policy),
        told: told.to_owned(),
    };
    let revoked = "error: tls.revoked - revoked by its issuer";
    let revoked_issuer =
        "error: tls.revoked - its issuer CN=test intermediate: revoked by its issuer";
    let unknown = |why: &str| format!("error: tls.revocation_unknown - {why}");
    let (uncovered, uncovered_issuer, outdated, unsigned) = (
        unknown("no revocation list covers it"),
        unknown("its issuer CN=test intermediate: no revocation list covers it"),
        unknown("the revocation list was valid until 2024-11-23"),
        unknown("the revocation list can not be used: bad signature"),
    );
    let codes = judge(&[
        case("not on the list", &good, &[&leaves], "check", OK),
        case("on the list", &bad, &[&leaves], "check", revoked),
        case("on the list in DER", &bad, &[&der], "check", revoked),
        case("nobody looks", &bad, &[&leaves], "off", OK),
        case("no list of its issuer", &bad, &[&issuers], "check", OK),
        case("not on an old list", &good, &[&old], "check", OK),
        case("on an old list", &bad, &[&old], "check", revoked),
        case(
            "a newer list counts",
            &good,
            &[&old, &leaves, &issuers],
            "require",
            OK,
        ),
        case(
            "the issuer is on a list",
            &good,
            &[&revoking_issuers],
            "check",
            revoked_issuer,
        ),
        case(
            "a list that its issuer did not sign",
            &good,
            &[&forged],
            "check",
            OK,
        ),
        case(
            "on a list beside one that its issuer did not sign",
            &bad,
            &[&forged, &leaves],
            "check",
            revoked,
        ),
        case(
            "on a list, and that of its issuer's issuer is forged",
            &bad,
            &[&leaves, &forged_issuers],
            "check",
            revoked,
        ),
        case(
            "a forged one takes nothing from the others",
            &good,
            &[&forged, &leaves, &forged_issuers, &issuers],
            "require",
            OK,
        ),
        case(
            "its issuer is on a list, and its own is forged",
            &good,
            &[&forged, &revoking_issuers],
            "check",
            revoked_issuer,
        ),
        case(
            "lists of all issuers",
            &good,
            &[&leaves, &issuers],
            "require",
            OK,
        ),
        case("all lists in a file", &good, &[&both], "require", OK),
        case("on one of them", &bad, &[&both], "require", revoked),
        case(
            "none of the root",
            &good,
            &[&leaves],
            "require",
            &uncovered_issuer,
        ),
        case(
            "none of the intermediate",
            &good,
            &[&issuers],
            "require",
            &uncovered,
        ),
        case(
            "old and required",
            &good,
            &[&old, &issuers],
            "require",
            &outdated,
        ),
        case(
            "revoked by an old list",
            &bad,
            &[&old, &issuers],
            "require",
            revoked,
        ),
        case(
            "forged and required",
            &good,
            &[&forged, &issuers],
            "require",
            &unsigned,
        ),
        case(
            "expired comes first",
            &us.expired(&[HOST]),
            &[&issuers],
            "require",
            "error: tls.expired - expired 2015-04-12",
        ),
        case(
            "unknown comes before the name",
            &us.good(&["a.example"]),
            &[&issuers],
            "require",
            &uncovered,
        ),
        case(
            "the name comes last",
            &us.good(&["a.example"]),
            &[&both],
            "require",
            "error: tls.wrong_name - for a.example, not for site.example",
        ),
    ]);
    for code in [Code::TlsRevoked, Code::TlsRevocationUnknown] {
        assert!(codes.contains(code.as_str()), "{code:?}");
    }
}

#[test]
fn revocation_lists_that_can_not_be_used_are_told_at_the_start() {
    let root = Authority::new("test").root_file();
    for contents in [
        "no list",
        "-----BEGIN X509 CRL-----\nMAMBAQ==\n-----END X509 CRL-----\n",
        "0\u{3}\u{1}",
    ] {
        let file = TemporaryFile::new("list.pem", contents.as_bytes());
        let mut plan = Plan::new();
        plan.endpoint(
            "site",
            "https://site.example",
            &listed(&root, &[&file], "check"),
        )
        .route("door", "site", "");
        let error = plan.try_start().err().unwrap().to_string();
        let shown = file.path().display();
        let what = "holds no revocation list; expected DER, or PEM with BEGIN X509 CRL";
        assert_eq!(error, format!("endpoint `site`: crl file `{shown}` {what}"));
    }
}

/// How a server keeps what it knows of a client from one request to the next.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Connection,
    Session,
}

impl Kept {
    fn all() -> Vec<(Self, Script)> {
        let closing = || Script::bytes(response("200 OK", &[("connection", "close")], b"ok"));
        vec![
            (Self::Connection, Script::fixed("200 OK", "ok").tls12()),
            (Self::Connection, Script::fixed("200 OK", "ok").tls13()),
            (Self::Session, closing().tls12()),
            (Self::Session, closing().tls13()),
        ]
    }

    /// Asks twice, and sees that the second request goes over what the first has left.
    fn warm_up(self, address: SocketAddr, server: &Server) {
        for _ in 0..2 {
            assert_eq!(ask(address, "kitchen", "door", b"").to_string(), "ok: ok");
        }
        let counts = server.counts();
        let expected = match self {
            Self::Connection => (1, 1, 0),
            Self::Session => (2, 1, 1),
        };
        let handshakes = (counts.connections, counts.full, counts.resumed);
        assert_eq!(handshakes, expected, "{self:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "every wait has a limit")]
/// Asks until it is told something else than `ok`, and returns that.
#[track_caller]
fn ask_until_refused(address: SocketAddr) -> String {
    let started = Instant::now();
    while started.elapsed() < PATIENCE + SOON {
        let reply = ask(address, "kitchen", "door", b"");
        if reply.outcome != "ok" {
            return reply.to_string();
        }
    }
    panic!("it is still accepted");
}

/// Keeps a connection or session, makes the change, and expects that it is refused soon.
fn outlived_by_nothing(
    authority: &Authority,
    lines: impl Fn() -> String,
    change: impl Fn(&Identity),
    told: &str,
) {
    for (kept, script) in Kept::all() {
        let identity = authority.good(&[HOST]);
        let server = Server::start(&identity, script);
        let broker = Plan::new()
            .endpoint("site", &url(server.port()), &lines())
            .route("door", "site", "")
            .start();
        kept.warm_up(broker.address, &server);
        change(&identity);
        assert_eq!(ask_until_refused(broker.address), told, "{kept:?}");
    }
}

#[test]
fn nothing_outlives_a_root_that_is_taken_away() {
    let (us, others) = (Authority::new("test"), Authority::new("other"));
    let root = us.root_file();
    outlived_by_nothing(
        &us,
        || {
            root.replace(us.root_pem().as_bytes());
            local(&root)
        },
        |_| root.replace(others.root_pem().as_bytes()),
        "error: tls.unknown_issuer - issuer not known: CN=test root",
    );
}

#[test]
fn nothing_outlives_a_revocation() {
    let us = Authority::new("test");
    let root = us.root_file();
    let list = list_file(&us.list(&[], DAY));
    outlived_by_nothing(
        &us,
        || listed(&root, &[&list], "check"),
        |identity| list.replace(&us.list(&[identity], DAY)),
        "error: tls.revoked - revoked by its issuer",
    );
}

#[test]
fn nothing_outlives_a_client_certificate() {
    let (us, them) = (Authority::new("test"), Authority::new("other"));
    let root = us.root_file();
    for script in [
        Script::fixed("200 OK", "ok").tls12(),
        Script::fixed("200 OK", "ok").tls13(),
    ] {
        let (old, new) = (us.for_clients(&["gateway"]), them.for_clients(&["gateway"]));
        let chain = TemporaryFile::new("own.pem", old.chain_pem().as_bytes());
        let key = TemporaryFile::new("own.key", old.key_pem().as_bytes());
        let server = Server::start(&us.good(&[HOST]), script.requiring_client_certificate(&us));
        let broker = Plan::new()
            .endpoint("site", &url(server.port()), &showing(&root, &chain, &key))
            .route("door", "site", "")
            .start();
        Kept::Connection.warm_up(broker.address, &server);
        // For a moment the two do not belong together, which changes nothing.
        chain.replace(new.chain_pem().as_bytes());
        key.replace(new.key_pem().as_bytes());
        assert_eq!(
            ask_until_refused(broker.address),
            "error: tls.client_certificate - the server refused ours with alert unknown ca"
        );
    }
}

#[test]
fn a_file_that_becomes_unusable_changes_nothing() {
    let us = Authority::new("test");
    let root = us.root_file();
    let server = Server::start(&us.good(&[HOST]), Script::echo());
    let mut plan = Plan::new();
    plan.endpoint("site", &url(server.port()), &local(&root))
        .route("door", "site", "");
    let program = plan.start_program(&[]);
    assert_eq!(ask(program.address, "kitchen", "door", b"").to_string(), OK);
    root.replace(b"half a fi");
    let line = program.wait_for_line("endpoint `site`: roots file");
    assert!(
        line.ends_with("until then it trusts and shows what it did before"),
        "{line}"
    );
    assert_eq!(ask(program.address, "kitchen", "door", b"").to_string(), OK);
    root.replace(us.root_pem().as_bytes());
    program.wait_for_line("endpoint `site`: what it trusts or shows was read anew");
    assert_eq!(ask(program.address, "kitchen", "door", b"").to_string(), OK);
    assert_eq!(server.counts().full, 2);
    program.stop();
}

/// Long enough for two requests on a busy machine.
const SOON: Duration = Duration::from_secs(6);

/// Keeps a connection or session of a server that `start` starts with the lines of its endpoint,
/// and expects that it is refused soon.
fn ends_by_itself(start: impl Fn(Script) -> (Server, String) + Sync, told: &str) {
    in_parallel(&Kept::all(), |(kept, script)| {
        let (server, lines) = start(script.clone());
        let broker = Plan::new()
            .endpoint("site", &url(server.port()), &lines)
            .route("door", "site", "")
            .start();
        kept.warm_up(broker.address, &server);
        let heard = ask_until_refused(broker.address);
        match heard.starts_with(told) {
            true => Ok(()),
            false => Err(format!("{kept:?}: {heard}")),
        }
    });
}

#[test]
fn nothing_outlives_the_end_of_its_certificate() {
    let us = Authority::new("test");
    let root = us.root_file();
    ends_by_itself(
        |script| {
            (
                Server::start(&us.ending(&[HOST], SOON), script),
                local(&root),
            )
        },
        "error: tls.expired - expired 20",
    );
}

#[test]
fn nothing_outlives_a_list_that_is_required() {
    let us = Authority::new("test");
    let root = us.root_file();
    let issuers = list_file(&us.root_list(false));
    let lists = Mutex::new(Vec::new());
    ends_by_itself(
        |script| {
            let leaves = list_file(&us.list(&[], SOON));
            let lines = listed(&root, &[&leaves, &issuers], "require");
            lists.lock().unwrap().push(leaves);
            (Server::start(&us.good(&[HOST]), script), lines)
        },
        "error: tls.revocation_unknown - the revocation list was valid until 20",
    );
}

/// A bridge whose clock waits for a file, with further lines for its endpoint.
fn waiting_for(file: &std::path::Path, server: &Server, lines: &str) -> mqtt::Broker {
    let clock = format!(
        "[gateway]\nclock = {{ synchronised_file = \"{}\" }}",
        file.display()
    );
    Plan::with(&clock)
        .endpoint("site", &url(server.port()), lines)
        .route("door", "site", "")
        .start()
}

#[test]
fn no_certificate_is_judged_while_the_time_is_not_known() {
    let us = Authority::new("test");
    let root = us.root_file();
    let lines = format!("{}deadline = \"1s\"\ntimeout = \"1s\"\n", local(&root));
    for identity in [
        us.good(&[HOST]),
        us.expired(&[HOST]),
        us.not_yet_valid(&[HOST]),
    ] {
        let server = Server::start(&identity, Script::echo());
        let broker = waiting_for(&root.path().with_file_name("none"), &server, &lines);
        let reply = ask(broker.address, "kitchen", "door", b"");
        assert_eq!(
            reply.to_string(),
            "error: clock.unset - the gateway's clock has not been set yet"
        );
        assert_eq!(server.counts().connections, 0);
    }
}

#[test]
fn requests_that_wait_for_the_time_go_as_soon_as_it_is_known() {
    let us = Authority::new("test");
    let root = us.root_file();
    for (identity, told) in [
        (us.good(&[HOST]), OK),
        (
            us.expired(&[HOST]),
            "error: tls.expired - expired 2015-04-12",
        ),
    ] {
        let server = Server::start(&identity, Script::echo());
        let file = TemporaryFile::new("clock", b"");
        std::fs::remove_file(file.path()).unwrap();
        let broker = waiting_for(file.path(), &server, &local(&root));
        let mut node = Node::connect(broker.address, "kitchen");
        node.tell("door", b"");
        node.expect_quiet();
        assert_eq!(server.counts().connections, 0);
        file.replace(b"stratum 3");
        assert_eq!(node.reply().to_string(), told);
        // Once known, it stays known.
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(node.ask("door", b"").to_string(), told);
    }
}

/// A server of revocation lists over plain HTTP, which answers each path with its bytes.
struct Shelf {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Shelf {
    fn at(listener: TcpListener, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        // Ends with the test's process: it serves whoever still asks.
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let mut line = String::new();
                let mut reader = BufReader::new(&socket);
                let _ = reader.read_line(&mut line);
                let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {}
                noted.lock().unwrap().push(path.clone());
                let _ = (&socket).write_all(&answer(&path));
            }
        });
        Self { asked }
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort();
        asked
    }
}

/// A server whose chain names lists on a shelf, the shelf's door, and who signs the lists.
struct Listed {
    us: Authority,
    identity: Identity,
    listener: TcpListener,
}

impl Listed {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let us = Authority::with_list_at("test", &format!("http://{at}/root.crl"));
        let identity = us.listed_at(&[HOST], &format!("http://{at}/leaf.crl"));
        Self {
            us,
            identity,
            listener,
        }
    }

    /// What a node is told when nothing comes from the place of the leaf's list.
    fn not_fetched(&self) -> String {
        format!(
            "error: tls.revocation_unknown - no revocation list of its issuer from http://{}/leaf.crl",
            self.listener.local_addr().unwrap()
        )
    }
}

#[test]
fn nothing_that_a_server_adds_hides_what_lists_say() {
    for (intermediate, strays) in [(false, 0), (false, 1), (true, 5), (true, 0)] {
        let Listed {
            us,
            mut identity,
            listener,
        } = Listed::new();
        let at = listener.local_addr().unwrap();
        let forged = us.forged_list();
        let (root_list, leaves) = match intermediate {
            true => (us.root_list(true), us.list(&[], DAY)),
            // A forged list of the root must not hide the leaf's.
            false => (us.forged_root_list(), us.list(&[&identity], DAY)),
        };
        for stray in 0..strays {
            let stray = stray_listed_at(&format!("http://{at}/stray{stray}.crl"));
            identity.chain.insert(1, stray);
        }
        let shelf = Shelf::at(listener, move |path| match path {
            "/root.crl" => http(&root_list),
            "/leaf.crl" => http(&leaves),
            _ => http(&forged),
        });
        let root = us.root_file();
        let revoked = match intermediate {
            true => "error: tls.revoked - its issuer CN=test intermediate: revoked by its issuer",
            false => "error: tls.revoked - revoked by its issuer",
        };
        for lines in [PRIVATE, REQUIRED] {
            assert_eq!(ask_fetching(&root, &identity, lines), [revoked, revoked]);
        }
        let mut asked = shelf.asked();
        asked.dedup();
        assert_eq!(asked, ["/leaf.crl", "/root.crl"], "{strays} strays");
    }
}

fn http(body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n", body].concat()
}

/// Asks a server that has been presented so, twice over new connections.
fn ask_fetching(root: &TemporaryFile, identity: &Identity, lines: &str) -> Vec<String> {
    let closing = Script::bytes(response("200 OK", &[("connection", "close")], b"ok"));
    let server = Server::start(identity, closing.without_tickets().tls13());
    let lines = format!("{}crl = \"fetch\"\n{lines}", local(root));
    let broker = Plan::new()
        .endpoint("site", &url(server.port()), &lines)
        .route("door", "site", "")
        .start();
    let ask = |_| ask(broker.address, "kitchen", "door", b"").to_string();
    let told = (0..2).map(ask).collect();
    assert_eq!(server.counts().resumed, 0);
    told
}

const PRIVATE: &str = "private_addresses = true\n";
const REQUIRED: &str = "private_addresses = true\nrevocation = \"require\"\n";

#[test]
fn lists_are_fetched_once_from_where_certificates_say() {
    for (revoked, lines, told) in [
        (false, PRIVATE, "ok: ok"),
        (false, REQUIRED, "ok: ok"),
        (true, PRIVATE, "error: tls.revoked - revoked by its issuer"),
        (true, REQUIRED, "error: tls.revoked - revoked by its issuer"),
    ] {
        let Listed {
            us,
            identity,
            listener,
        } = Listed::new();
        let (root_list, leaves) = (
            us.root_list(false),
            match revoked {
                true => us.list(&[&identity], DAY),
                false => us.list(&[], DAY),
            },
        );
        let shelf = Shelf::at(listener, move |path| match path {
            "/root.crl" => http(&root_list),
            _ => http(&leaves),
        });
        let root = us.root_file();
        assert_eq!(ask_fetching(&root, &identity, lines), [told, told]);
        assert_eq!(shelf.asked(), ["/leaf.crl", "/root.crl"], "once each");
    }
}

#[test]
fn what_can_not_be_fetched_is_told_by_the_policy() {
    let other = Authority::new("test");
    let endless: Vec<u8> = http(&vec![0x30; 3 << 20]);
    for (why, answer) in [
        ("not there", b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()),
        ("not HTTP", vec![0; 100]),
        ("not a list", http(b"hello")),
        ("cut off", http(other.list(&[], DAY).get(..100).unwrap())),
        ("too long", endless),
        ("out of date", http(&other.old_list(&[]))),
        ("not signed by the issuer", http(&other.list(&[], DAY))),
    ] {
        let listed = Listed::new();
        let root = listed.us.root_file();
        let _shelf = Shelf::at(listed.listener, move |_| answer.clone());
        let told = ask_fetching(&root, &listed.identity, PRIVATE);
        assert_eq!(told, ["ok: ok", "ok: ok"], "{why}");
        for told in ask_fetching(&root, &listed.identity, REQUIRED) {
            let expected = "error: tls.revocation_unknown - ";
            assert!(told.starts_with(expected), "{why}: {told}");
        }
    }
}

#[test]
fn a_place_that_keeps_the_connection_open_costs_no_time() {
    let Listed {
        us,
        identity,
        listener,
    } = Listed::new();
    let (root_list, leaves) = (us.root_list(false), us.list(&[], DAY));
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for socket in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            let _ = reader.read_line(&mut line);
            let leaf = line.contains("leaf");
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {}
            let _ = (&socket).write_all(&http(if leaf { &leaves } else { &root_list }));
            kept.push(socket);
        }
    });
    let root = us.root_file();
    let told = ask_fetching(&root, &identity, REQUIRED);
    assert_eq!(told, ["ok: ok", "ok: ok"]);
}

#[test]
fn slow_places_of_one_endpoint_do_not_hold_up_another() {
    let closing = || Script::bytes(response("200 OK", &[("connection", "close")], b"ok"));
    let (slow, quick) = (Listed::new(), Listed::new());
    let (root_list, leaves) = (quick.us.root_list(false), quick.us.list(&[], DAY));
    let _shelf = Shelf::at(quick.listener, move |path| match path {
        "/root.crl" => http(&root_list),
        _ => http(&leaves),
    });
    let servers = [&slow.identity, &quick.identity].map(|one| Server::start(one, closing()));
    let roots = [slow.us.root_file(), quick.us.root_file()];
    let mut plan = Plan::new();
    for (name, server, root) in [
        ("slow", &servers[0], &roots[0]),
        ("quick", &servers[1], &roots[1]),
    ] {
        let lines = format!("{}crl = \"fetch\"\n{REQUIRED}", local(root));
        plan.endpoint(name, &url(server.port()), &lines)
            .route(name, name, "");
    }
    let broker = plan.start();
    let mut waiting = Node::connect(broker.address, "kitchen");
    waiting.tell("slow", b"");
    // Its list is being asked for once its connection waits at the door of nobody.
    slow.listener.accept().unwrap();
    let told = ask(broker.address, "cellar", "quick", b"").to_string();
    assert_eq!(told, "ok: ok");
}

#[test]
fn nobody_is_asked_about_a_server_of_another_name() {
    let Listed { us, listener, .. } = Listed::new();
    let url = format!("http://{}/leaf.crl", listener.local_addr().unwrap());
    let shelf = Shelf::at(listener, |_| Vec::new());
    let identity = us.listed_at(&["a.example"], &url);
    for told in ask_fetching(&us.root_file(), &identity, REQUIRED) {
        assert!(told.starts_with("error: tls.wrong_name"), "{told}");
    }
    assert!(shelf.asked().is_empty());
}

#[test]
fn a_place_that_does_not_answer_takes_no_longer_than_half_the_time() {
    let listed = Listed::new();
    let root = listed.us.root_file();
    let unknown = listed.not_fetched();
    for (lines, told) in [
        ("timeout = \"2s\"\nprivate_addresses = true\n", "ok: ok"),
        (
            "timeout = \"2s\"\nprivate_addresses = true\nrevocation = \"require\"\n",
            unknown.as_str(),
        ),
    ] {
        // Connections come into the queue of a listener that nobody serves.
        assert_eq!(ask_fetching(&root, &listed.identity, lines), [told, told]);
    }
}

#[test]
fn no_certificate_leads_into_the_owners_network() {
    let listed = Listed::new();
    let root = listed.us.root_file();
    let unknown = listed.not_fetched();
    let shelf = Shelf::at(listed.listener, |_| Vec::new());
    let told = ask_fetching(&root, &listed.identity, "");
    assert_eq!(told, ["ok: ok", "ok: ok"]);
    let told = ask_fetching(&root, &listed.identity, "revocation = \"require\"\n");
    assert_eq!(told, [unknown.as_str(); 2]);
    assert!(shelf.asked().is_empty());
}

#[test]
fn lists_are_fetched_for_chains_alone_that_are_good_otherwise() {
    let (listed, others) = (Listed::new(), Authority::new("other"));
    let root = others.root_file();
    let shelf = Shelf::at(listed.listener, |_| Vec::new());
    for told in ask_fetching(&root, &listed.identity, REQUIRED) {
        assert!(told.starts_with("error: tls.unknown_issuer"), "{told}");
    }
    assert!(shelf.asked().is_empty());
}
