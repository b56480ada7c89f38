//! Pins and client certificates: what is asked of a server beside its roots, and what it is shown.

use mqtt_https_bridge::core::outcome::Code;

use crate::certificates::{
    Authority, Identity, TemporaryFile, pin, self_signed, self_signed_expired, self_signed_named,
};
use crate::https::{Script, Server};
use crate::nodes::{HOST, Plan, ask, local, url};
use crate::{ANOTHER, Case, OK, judge, showing};

fn pins(pins: &[&str]) -> String {
    format!("address = \"127.0.0.1\"\npins = {pins:?}\n")
}

fn pinned_only(pins: &[&str], unchecked: &str) -> String {
    format!("address = \"127.0.0.1\"\nroots = \"none\"\npins = {pins:?}\n{unchecked}\n")
}

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
