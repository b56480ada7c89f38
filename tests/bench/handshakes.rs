//! What handshakes cost: how many are full, how many resumed, and the CPU time of each, for a
//! thousand requests from fifty nodes.
//!
//! Counts are the server's. CPU time is that of the daemon's worker threads from the first byte of
//! a handshake to its last, system calls included, as the daemon says it at its end: TLS alone,
//! without MQTT, HTTP and TCP. `cargo bench --bench handshakes`; exit code 1 when a limit is not
//! kept.

#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark measures time, prints, and may end at the first surprise"
)]

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/https.rs"]
mod https;
#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;

use certificates::{Authority, TemporaryFile};
use https::{Counts, Script, Server, Step, response};
use support::{load, process};

const REQUESTS: usize = 1000;
const NODES: usize = 50;
const CONCURRENCY: usize = 4;

fn main() -> ExitCode {
    let authority = Authority::new("bench");
    let root = authority.root_file();
    let run = |script| ask(&authority, &root, script);
    let mut good = true;
    for (version, of, least) in [
        ("TLS 1.3", Script::tls13 as fn(Script) -> Script, 2.0),
        ("TLS 1.2", Script::tls12, 5.0),
    ] {
        let (kept, _) = run(of(keeping()));
        good &= limit(
            &format!("{version}, connections kept: full handshakes"),
            kept.full as f64,
            kept.full <= CONCURRENCY,
            &format!("at most {CONCURRENCY}"),
        );
        // Full ones before and after, so that a neighbour's load counts for both.
        let (_, before) = run(of(closing().without_sessions()));
        let (closed, resumed) = run(of(closing()));
        let (full, after) = run(of(closing().without_sessions()));
        assert_eq!(full.full, REQUESTS, "nothing to resume");
        let share = 100.0 * closed.resumed as f64 / REQUESTS as f64;
        good &= limit(
            &format!("{version}, closed after each response: % resumed"),
            share,
            share >= 98.0,
            "at least 98",
        );
        let full = (before.full.unwrap() + after.full.unwrap()) / 2.0;
        let resumed = resumed.resumed.unwrap();
        let ratio = full / resumed;
        good &= limit(
            &format!("{version}, full {full:.3} ms, resumed {resumed:.3} ms of CPU: ratio"),
            ratio,
            ratio >= least,
            &format!("at least {least}"),
        );
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn keeping() -> Script {
    Script::bytes(response("200 OK", &[], b"ok"))
}

fn closing() -> Script {
    let last = response("200 OK", &[("connection", "close")], b"ok");
    Script::steps(vec![Step::Send(last), Step::Close])
}

fn limit(what: &str, found: f64, met: bool, wanted: &str) -> bool {
    let verdict = if met { "met" } else { "MISSED" };
    println!("{what} {found:.1}, {wanted}: {verdict}");
    met
}

/// CPU time of one handshake in milliseconds, of each kind that there was.
struct Cost {
    full: Option<f64>,
    resumed: Option<f64>,
}

/// Lets the nodes ask a server of this script through a daemon of their own.
fn ask(authority: &Authority, root: &TemporaryFile, script: Script) -> (Counts, Cost) {
    let server = Server::start(&authority.good(&["localhost"]), script);
    let daemon = process::Daemon::start(&format!(
        r#"[broker]
listen = ["127.0.0.1:0"]

[endpoint.origin]
url = "https://localhost:{}"
address = "127.0.0.1"
roots = ["{}"]
concurrency = {CONCURRENCY}

[[route]]
name = "post"
topic = "nodes/{{node}}/post"
endpoint = "origin"
method = "POST"
reply = "replies/{{node}}/post/{{outcome}}"
"#,
        server.port(),
        root.path().display()
    ));
    let nodes = load::Ask {
        port: daemon.port,
        clients: NODES,
        ..load::Ask::default()
    };
    load::run(&nodes, REQUESTS);
    let line = daemon.last_line("endpoint `origin`: ");
    let cost = |kind: &str| {
        let (before, _) = line.split_once(&format!(" ms CPU {kind}"))?;
        before.rsplit(' ').next()?.parse().ok()
    };
    let cost = Cost {
        full: cost("full"),
        resumed: cost("resumed"),
    };
    (server.counts(), cost)
}
