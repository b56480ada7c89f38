//! Revocation lists in files.

use mqtt_https_bridge::core::outcome::Code;

use crate::certificates::{Authority, DAY, Identity, TemporaryFile, list_pem};
use crate::https::{Script, Server};
use crate::nodes::{HOST, Plan, ask, url};
use crate::{Case, OK, judge, list_file, listed};

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

/// How many serial numbers are on a list of about a megabyte.
#[cfg(target_os = "linux")]
const LONG: usize = 30_000;

#[test]
#[cfg(target_os = "linux")]
fn a_list_is_in_memory_once_however_many_endpoints_name_it() {
    let us = Authority::new("test");
    let (root, good) = (us.root_file(), us.good(&[HOST]));
    let server = Server::start(&good, Script::echo());
    let list = us.long_list(LONG);
    let length = list.len() / 1024;
    let file = TemporaryFile::new("list.crl", &list);
    let start = |endpoints: usize| {
        let mut plan = Plan::new();
        for at in 0..endpoints {
            let name = format!("site{at}");
            let lines = listed(&root, &[&file], "check");
            plan.endpoint(&name, &url(server.port()), &lines)
                .route(&name, &name, "");
        }
        plan.start_program(&[])
    };
    let ask_all = |address, endpoints: usize| {
        for at in 0..endpoints {
            let reply = ask(address, "kitchen", &format!("site{at}"), b"");
            assert_eq!(reply.to_string(), OK);
        }
    };
    let (one, many) = (start(1), start(12));
    ask_all(one.address, 1);
    ask_all(many.address, 12);
    // Each endpoint has threads and buffers of its own.
    let more = many.peak() - one.peak();

    assert!(more < 6 * length, "{more} KiB more for a list of {length}");
    // Read anew it is one again, beside the old one until that is let go.
    let before = many.peak();
    file.replace(&us.long_list(LONG + 1));
    for _ in 0..12 {
        many.wait_for_line("was read anew");
    }
    ask_all(many.address, 12);
    let more = many.peak() - before;

    assert!(more < 4 * length, "{more} KiB more for another list");
    one.stop();
    many.stop();
}
