//! No kept connection or session outlives a change of what is trusted, or the end of a
//! certificate or list.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::certificates::{Authority, DAY, Identity, TemporaryFile};
use crate::https::{PATIENCE, Script, Server, response};
use crate::nodes::{HOST, Plan, ask, in_parallel, local, url};
use crate::{OK, list_file, listed, showing};

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
