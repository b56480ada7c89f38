//! Certificates and handshakes, good and bad, through the whole bridge: what the node is told.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what is not as expected has to fail"
)]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/codes.rs"]
mod codes;
#[path = "support/https.rs"]
mod https;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/nodes.rs"]
mod nodes;

#[path = "tls/chains.rs"]
mod chains;
#[path = "tls/fields.rs"]
mod fields;
#[path = "tls/maker.rs"]
mod maker;
#[path = "tls/names.rs"]
mod names;
#[path = "tls/orders.rs"]
mod orders;
#[path = "tls/roots.rs"]
mod roots;
#[path = "tls/times.rs"]
mod times;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use certificates::{
    Authority, Identity, TemporaryFile, self_signed, self_signed_ca_expired,
    self_signed_ca_for_clients, self_signed_expired, self_signed_named, with_expired_intermediate,
    with_name_constraint,
};
use https::{Counts, Greeting, Script, Server, response};
use nodes::{HOST, Node, Plan, about_time, ask, in_parallel, local, url};

/// One server, and what a node that asks it is told.
struct Case {
    why: &'static str,
    identity: Identity,
    /// The PEM that the endpoint trusts.
    roots: String,
    host: &'static str,
    script: Script,
    lines: &'static str,
    /// A revocation list that the endpoint goes by.
    list: Option<Vec<u8>>,
    told: String,
}

impl Case {
    /// A server that presents `identity` to an endpoint that trusts `roots`.
    fn new(why: &'static str, identity: Identity, roots: String, told: &str) -> Self {
        Self {
            why,
            identity,
            roots,
            host: HOST,
            script: Script::echo(),
            lines: "",
            list: None,
            told: match told {
                told::OK => told.to_owned(),
                failure => format!("error: {failure}"),
            },
        }
    }
}

/// What nodes are told in many cases.
mod told {
    pub(crate) const OK: &str = "ok: GET /";
    pub(crate) const EXPIRED_2015: &str = "tls.expired - expired 2015-01-01";
}

/// Authorities that the cases share, made once.
struct World {
    us: Authority,
    them: Authority,
}

impl World {
    fn new() -> Self {
        Self {
            us: Authority::new("test"),
            them: Authority::new("other"),
        }
    }

    /// A server that presents `identity` to an endpoint that trusts us.
    fn case(&self, why: &'static str, identity: Identity, told: &str) -> Case {
        Case {
            why,
            identity,
            roots: self.us.root_pem(),
            host: HOST,
            script: Script::echo(),
            lines: "",
            list: None,
            told: told.to_owned(),
        }
    }

    /// A server whose certificate is good and whose greeting is not.
    fn greeted(&self, why: &'static str, script: Script, told: &str) -> Case {
        let identity = self.us.good(&[HOST]);
        let mut case = self.case(why, identity, told);
        case.script = script;
        case
    }
}

/// Starts a server for each case and one bridge for all, asks, and returns the codes it heard.
fn judge(cases: &[Case]) -> BTreeSet<String> {
    let mut plan = Plan::new();
    let mut files = Vec::new();
    let mut servers = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let server = Server::start(&case.identity, case.script.clone());
        let roots = TemporaryFile::new("roots.pem", case.roots.as_bytes());
        let name = format!("case{at}");
        let url = format!("https://{}:{}", case.host, server.port());
        let mut lines = format!("{}concurrency = 1\n{}", local(&roots), case.lines);
        if let Some(list) = &case.list {
            let file = TemporaryFile::new("list.crl", list);
            lines += &format!("crl = [\"{}\"]\n", file.path().display());
            files.push(file);
        }
        plan.endpoint(&name, &url, &lines).route(&name, &name, "");
        files.push(roots);
        servers.push(server);
    }
    let broker = plan.start();
    let codes = Mutex::new(BTreeSet::new());
    let numbered: Vec<_> = cases.iter().enumerate().collect();
    in_parallel(&numbered, |(at, case)| {
        let route = format!("case{at}");
        let reply = ask(broker.address, &route, &route, b"");
        codes.lock().unwrap().insert(reply.code().to_owned());
        match about_time(&reply.to_string()) == case.told {
            true => Ok(()),
            false => {
                let (why, host, told) = (case.why, case.host, &case.told);
                Err(format!("{why} ({host}):\n   {reply}\n   {told}"))
            }
        }
    });
    codes.into_inner().unwrap()
}

/// Each case with servers of both TLS versions.
fn in_both_versions(cases: impl Fn() -> Vec<Case>) -> Vec<Case> {
    let with = |change: fn(Script) -> Script| {
        cases().into_iter().map(move |case| Case {
            script: change(case.script),
            ..case
        })
    };
    with(Script::tls12).chain(with(Script::tls13)).collect()
}

fn good_chains(world: &World) -> Vec<Case> {
    let World { us, them } = world;
    let ok = "ok: GET /";
    let hosted = |host, case: Case| Case { host, ..case };
    let trusted_itself = self_signed(&[HOST], false);
    let trusted_ca = self_signed(&[HOST], true);
    vec![
        world.case("leaf and intermediate", us.good(&[HOST]), ok),
        world.case("the root is sent too", us.with_root(&[HOST]), ok),
        world.case(
            "a certificate that belongs to another chain stands between",
            us.with_stranger(&[HOST], &them.good(&["a.example"])),
            ok,
        ),
        world.case("second of two names", us.good(&["a.example", HOST]), ok),
        hosted(
            "a.site.example",
            world.case("wildcard", us.good(&["*.site.example"]), ok),
        ),
        hosted(
            "127.0.0.1",
            world.case("IP address", us.good(&["127.0.0.1"]), ok),
        ),
        Case {
            roots: trusted_itself.leaf_pem(),
            ..world.case("self-signed and trusted itself", trusted_itself, ok)
        },
        Case {
            roots: trusted_ca.leaf_pem(),
            ..world.case("so, as `openssl req -x509` makes them", trusted_ca, ok)
        },
        Case {
            roots: format!("{}{}", them.root_pem(), us.root_pem()),
            ..world.case("second root of a file", us.good(&[HOST]), ok)
        },
    ]
}

/// A case in which the certificate that the server shows is the only root.
fn trusting_itself(case: Case) -> Case {
    Case {
        roots: case.identity.leaf_pem(),
        ..case
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn bad_chains(world: &World) -> Vec<Case> {
    let World { us, them } = world;
    let names = &[HOST][..];
    let (late, narrow) = (with_expired_intermediate(), with_name_constraint());
    let many: Vec<String> = (0..6000).map(|n| format!("{n}.site.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    vec![
        world.case(
            "expired",
            us.expired(names),
            "error: tls.expired - expired 2015-04-12",
        ),
        Case {
            roots: late.root_pem(),
            ..world.case(
                "expired intermediate",
                late.good(names),
                "error: tls.expired - issuer CN=expired intermediate expired 2016-07-03",
            )
        },
        world.case(
            "not yet valid",
            us.not_yet_valid(names),
            "error: tls.not_yet_valid - not valid before 2100-01-10",
        ),
        world.case(
            "wrong name",
            us.good(&["a.example"]),
            "error: tls.wrong_name - for a.example, not for site.example",
        ),
        world.case(
            "a wildcard doesn't cover its own domain",
            us.good(&["*.site.example"]),
            "error: tls.wrong_name - for *.site.example, not for site.example",
        ),
        Case {
            host: "a.b.site.example",
            ..world.case(
                "a wildcard stands for one label",
                us.good(&["*.site.example"]),
                "error: tls.wrong_name - for *.site.example, not for a.b.site.example",
            )
        },
        Case {
            host: "127.0.0.1",
            ..world.case(
                "a name instead of the address",
                us.good(names),
                "error: tls.wrong_name - for site.example, not for 127.0.0.1",
            )
        },
        world.case(
            "no name; the common name doesn't count",
            us.nameless(),
            "error: tls.wrong_name - for no name at all, not for site.example",
        ),
        world.case(
            "unknown root",
            them.good(names),
            "error: tls.unknown_issuer - issuer not known: CN=other root",
        ),
        world.case(
            "another root of the same name",
            Authority::new("test").good(names),
            "error: tls.unknown_issuer - not signed by the key of CN=test root",
        ),
        world.case(
            "intermediate not sent",
            us.without_intermediate(names),
            "error: tls.unknown_issuer - issuer not known: CN=test intermediate, and the server \
             sent no intermediate",
        ),
        world.case(
            "broken signature",
            us.broken_signature(names),
            "error: tls.bad_certificate - broken signature: not made with the key of CN=test \
             intermediate",
        ),
        world.case(
            "weak signature",
            us.weak_signature(names),
            "error: tls.weak - its signature is ECDSA with SHA-224, which is too weak",
        ),
        world.case(
            "self-signed",
            self_signed(names, false),
            "error: tls.self_signed - self-signed CN=site.example",
        ),
        world.case(
            "self-signed as openssl req -x509 makes it",
            self_signed(names, true),
            "error: tls.self_signed - self-signed CN=site.example",
        ),
        world.case(
            "self-signed and expired",
            self_signed_expired(names),
            "error: tls.self_signed - self-signed CN=site.example, expired 2015-04-12",
        ),
        world.case(
            "a name that would write more lines",
            self_signed_named("a\r\nok\u{1b}[2Jé", names),
            "error: tls.self_signed - self-signed CN=a??ok?[2Jé",
        ),
        world.case(
            "a name without end",
            self_signed_named(&"é".repeat(3000), names),
            &format!(
                "error: tls.self_signed - self-signed CN={}…",
                "é".repeat(104)
            ),
        ),
        world.case(
            "longer than a handshake message may be",
            us.good(&many),
            "error: tls.handshake - handshake payload too large: more than 64 KiB, as of \
             certificates",
        ),
        world.case(
            "CA as leaf",
            us.ca_as_leaf(names),
            "error: tls.bad_certificate - a CA certificate as the server's own",
        ),
        trusting_itself(world.case(
            "CA as leaf, trusted itself, for another name",
            self_signed(&["a.example"], true),
            "error: tls.wrong_name - for a.example, not for site.example",
        )),
        trusting_itself(world.case(
            "CA as leaf, trusted itself, expired",
            self_signed_ca_expired(names),
            "error: tls.expired - expired 2015-04-12",
        )),
        trusting_itself(world.case(
            "CA as leaf, trusted itself, for clients",
            self_signed_ca_for_clients(names),
            "error: tls.bad_certificate - not meant for servers but for clients",
        )),
        Case {
            roots: self_signed(names, true).leaf_pem(),
            ..world.case(
                "CA as leaf where another of the same name is trusted",
                self_signed(names, true),
                "error: tls.self_signed - self-signed CN=site.example",
            )
        },
        world.case(
            "for clients",
            us.for_clients(names),
            "error: tls.bad_certificate - not meant for servers but for clients",
        ),
        world.case(
            "unknown critical extension",
            us.critical_extension(names),
            "error: tls.bad_certificate - unknown critical extension 2.5.29.4711",
        ),
        Case {
            roots: narrow.root_pem(),
            ..world.case(
                "outside of name constraints",
                narrow.good(names),
                "error: tls.bad_certificate - issuer CN=constrained intermediate may issue for \
                 example.org only",
            )
        },
        world.case(
            "malformed",
            us.malformed(names),
            "error: tls.bad_certificate - malformed certificate",
        ),
        Case {
            script: Script::echo().requiring_client_certificate(us),
            ..world.case(
                "client certificate required",
                us.good(names),
                "error: tls.client_certificate - the server requires one",
            )
        },
    ]
}

fn bad_handshakes(world: &World) -> Vec<Case> {
    let greeting = |greeting| Script::echo().greeting(greeting);
    let alert = |number| Greeting::Plain(vec![0x15, 3, 3, 0, 2, 2, number]);
    let http = Greeting::Plain(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let impatient = "timeout = \"300ms\"\n";
    vec![
        Case {
            lines: "min_tls = \"1.3\"\n",
            ..world.greeted(
                "TLS 1.2 where 1.3 is wanted",
                Script::echo().tls12(),
                "error: tls.protocol - the server sent alert protocol version",
            )
        },
        world.greeted(
            "nothing in common",
            greeting(alert(40)),
            "error: tls.protocol - the server sent alert handshake failure",
        ),
        world.greeted(
            "an alert",
            greeting(alert(80)),
            "error: tls.handshake - the server sent alert internal error",
        ),
        world.greeted(
            "plain HTTP",
            greeting(http),
            "error: tls.handshake - the server does not speak TLS on this port",
        ),
        world.greeted(
            "garbage",
            greeting(Greeting::Plain(vec![0xFF; 200])),
            "error: tls.handshake - the server does not speak TLS on this port",
        ),
        world.greeted(
            "closed after ClientHello",
            greeting(Greeting::CloseInHandshake),
            "error: tls.handshake - cut off in the handshake",
        ),
        world.greeted(
            "reset after ClientHello",
            greeting(Greeting::ResetInHandshake),
            "error: tls.handshake - reset by the server in the handshake",
        ),
        Case {
            lines: impatient,
            ..world.greeted(
                "silent from the start",
                greeting(Greeting::Stall),
                "error: timeout.tls - after 0.3 s",
            )
        },
        Case {
            lines: impatient,
            ..world.greeted(
                "silent after ClientHello",
                greeting(Greeting::StallInHandshake),
                "error: timeout.tls - after 0.3 s",
            )
        },
    ]
}

#[test]
fn good_chains_are_accepted_in_both_versions() {
    let world = World::new();
    let codes = judge(&in_both_versions(|| good_chains(&world)));
    assert_eq!(codes, BTreeSet::from([String::new()]));
}

#[test]
fn each_fault_of_chain_and_handshake_reaches_the_node_with_its_code() {
    let world = World::new();
    let mut cases = in_both_versions(|| bad_chains(&world));
    cases.extend(bad_handshakes(&world));
    let produced = judge(&cases);
    let produced: BTreeSet<&str> = produced.iter().map(String::as_str).collect();
    assert_eq!(produced, codes::texts(codes::TLS));
}

#[test]
fn certificates_are_judged_by_their_time_in_both_versions() {
    judge(&in_both_versions(times::cases));
}

#[test]
fn certificates_are_judged_by_their_names_in_both_versions() {
    judge(&in_both_versions(names::cases));
}

#[test]
fn certificates_are_judged_by_their_issuers_in_both_versions() {
    judge(&in_both_versions(chains::cases));
}

#[test]
fn certificates_are_judged_by_what_stands_in_them_in_both_versions() {
    judge(&in_both_versions(fields::cases));
}

#[test]
fn of_several_faults_the_first_of_the_documented_order_is_told_in_both_versions() {
    judge(&in_both_versions(orders::cases));
}

#[test]
fn certificates_are_judged_by_what_their_roots_allow_in_both_versions() {
    judge(&in_both_versions(roots::cases));
}

/// Probes the server of a case with the built program.
fn probe(case: &Case) -> std::process::Output {
    let server = Server::start(&case.identity, case.script.clone());
    let roots = TemporaryFile::new("roots.pem", case.roots.as_bytes());
    std::process::Command::new(env!("CARGO_BIN_EXE_mqtt-https-bridge"))
        .env_clear()
        .args([
            "probe",
            "--address",
            "127.0.0.1",
            "--timeout",
            "20s",
            "--roots",
        ])
        .arg(roots.path())
        .arg(format!("https://{}:{}/", case.host, server.port()))
        .output()
        .unwrap()
}

#[test]
fn probe_says_of_each_certificate_what_a_node_is_told_and_what_to_do() {
    let mut cases = times::cases();
    cases.extend(names::cases());
    cases.extend(chains::cases());
    cases.extend(fields::cases());
    cases.extend(roots::cases());
    in_parallel(&cases, |case| {
        let output = probe(case);
        let text = String::from_utf8(output.stdout).unwrap();
        let told = case
            .told
            .replacen("error: ", "", 1)
            .replacen(" - ", ": ", 1);
        let complete = match told.strip_prefix("ok: ") {
            Some(_) => output.status.success() && text.contains("\nok: status 200, "),
            None => {
                let verdict = format!("\n{told}\n  meaning    ");
                let remedy = text.split("\n  what to do ").nth(1).unwrap_or_default();
                let dated = told.contains("expired") || told.contains("not_yet_valid");
                output.status.code() == Some(1)
                    && text.contains(&verdict)
                    && remedy.lines().next().unwrap_or_default().len() > 20
                    && (remedy.contains("\n  clock      20") || !dated)
            }
        };
        match complete {
            true => Ok(()),
            false => Err(format!("{}: {told}\n{text}", case.why)),
        }
    });
}

#[test]
fn expired_certificate_is_reported_and_not_retried() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    let server = Server::start(&authority.expired(&[HOST]), Script::echo());
    let broker = Plan::new()
        .endpoint("site", &url(server.port()), &local(&root))
        .route("door", "site", "")
        .start();
    let reply = ask(broker.address, "kitchen", "door", b"open");
    assert_eq!(reply.code(), "tls.expired");
    let counts = server.wait(|counts| counts.ended == 1);
    let once = Counts {
        connections: 1,
        failed: 1,
        ended: 1,
        ..Counts::default()
    };
    assert_eq!(counts, once);
}

#[test]
fn a_fault_that_is_mended_is_gone_with_the_next_request() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    let script = Script::echo().greeting_by(|number| match number {
        1 => Greeting::CloseInHandshake,
        _ => Greeting::Tls,
    });
    let server = Server::start(&authority.good(&[HOST]), script);
    let broker = Plan::new()
        .endpoint("site", &url(server.port()), &local(&root))
        .route("door", "site", "")
        .start();
    let mut node = Node::connect(broker.address, "kitchen");
    assert_eq!(node.ask("door", b"").code(), "tls.handshake");
    assert_eq!(node.ask("door", b"").to_string(), "ok: GET /");
}

#[test]
fn all_nodes_share_kept_connections() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    let server = Server::start(&authority.good(&[HOST]), Script::echo());
    let broker = Plan::new()
        .endpoint("site", &url(server.port()), &local(&root))
        .route("door", "site", "")
        .route("window", "site", "")
        .start();
    for (node, route) in [("a", "door"), ("b", "door"), ("c", "window")] {
        assert_eq!(ask(broker.address, node, route, b"").outcome, "ok");
    }
    let counts = server.wait(|counts| counts.answered == 3);
    let shared = Counts {
        connections: 1,
        full: 1,
        requests: 3,
        answered: 3,
        ..Counts::default()
    };
    assert_eq!(counts, shared);
}

#[test]
fn all_nodes_share_resumed_sessions_in_both_versions() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    let closing = || Script::bytes(response("200 OK", &[("connection", "close")], b"ok"));
    for (script, version) in [(closing().tls12(), "1.2"), (closing().tls13(), "1.3")] {
        let server = Server::start(&authority.good(&[HOST]), script);
        let broker = Plan::new()
            .endpoint("site", &url(server.port()), &local(&root))
            .route("door", "site", "")
            .start();
        for node in ["a", "b", "c"] {
            assert_eq!(ask(broker.address, node, "door", b"").outcome, "ok");
        }
        let counts = server.counts();
        let handshakes = (counts.connections, counts.full, counts.resumed);
        assert_eq!(handshakes, (3, 1, 2), "TLS {version}");
    }
}

#[test]
fn endpoints_do_not_share_sessions_that_others_trust() {
    let authority = Authority::new("test");
    let root = authority.root_file();
    let server = Server::start(&authority.good(&[HOST]), Script::echo());
    let url = url(server.port());
    let broker = Plan::new()
        .endpoint("trusting", &url, &local(&root))
        .endpoint("wary", &url, "address = \"127.0.0.1\"")
        .route("trusting", "trusting", "")
        .route("wary", "wary", "")
        .start();
    let mut node = Node::connect(broker.address, "kitchen");
    for _ in 0..2 {
        assert_eq!(node.ask("trusting", b"").outcome, "ok");
        let reply = node.ask("wary", b"");
        assert_eq!(reply.code(), "tls.unknown_issuer");
    }
}

#[test]
fn roots_come_from_several_files() {
    let authorities = [Authority::new("one"), Authority::new("other")];
    let files = [authorities[0].root_file(), authorities[1].root_file()];
    let servers = [
        Server::start(&authorities[0].good(&[HOST]), Script::echo()),
        Server::start(&authorities[1].good(&[HOST]), Script::echo()),
    ];
    let lines = format!(
        "address = \"127.0.0.1\"\nroots = [\"{}\", \"{}\"]",
        files[0].path().display(),
        files[1].path().display()
    );
    let broker = Plan::new()
        .endpoint("one", &url(servers[0].port()), &lines)
        .endpoint("other", &url(servers[1].port()), &lines)
        .route("one", "one", "")
        .route("other", "other", "")
        .start();
    for route in ["one", "other"] {
        assert_eq!(
            ask(broker.address, "kitchen", route, b"").to_string(),
            "ok: GET /"
        );
    }
}

#[test]
fn roots_that_can_not_be_used_are_told_at_the_start() {
    let malformed = "-----BEGIN CERTIFICATE-----\nMAMBAQ==\n-----END CERTIFICATE-----\n";
    for (contents, what) in [
        (
            "no PEM",
            "holds no certificate; expected PEM with BEGIN CERTIFICATE",
        ),
        (malformed, ": certificate 1 is malformed"),
    ] {
        let file = TemporaryFile::new("roots.pem", contents.as_bytes());
        let mut plan = Plan::new();
        plan.endpoint("site", "https://site.example", &local(&file))
            .route("door", "site", "");
        let error = plan.try_start().err().unwrap().to_string();
        let start = format!("endpoint `site`: roots file `{}`", file.path().display());
        let rest = error.strip_prefix(&start).unwrap_or(&error);
        assert_eq!(rest.trim_start(), what);
    }
}

#[test]
fn system_roots_are_those_that_the_system_names() {
    let (ours, others) = (Authority::new("test"), Authority::new("other"));
    let server = Server::start(&ours.good(&[HOST]), Script::echo());
    let lines = "address = \"127.0.0.1\"\nroots = \"system\"";
    let mut plan = Plan::new();
    plan.endpoint("site", &url(server.port()), lines)
        .route("door", "site", "");
    for (authority, told) in [
        (&ours, "ok: GET /"),
        (
            &others,
            "error: tls.unknown_issuer - issuer not known: CN=test root",
        ),
    ] {
        let file = authority.root_file();
        let variables: [(&str, &Path); 1] = [("SSL_CERT_FILE", file.path())];
        let program = plan.start_program(&variables);
        let reply = ask(program.address, "kitchen", "door", b"");
        assert_eq!(reply.to_string(), told);
        program.stop();
    }
}
