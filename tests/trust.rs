//! Whom an endpoint trusts beyond its roots, through the whole bridge: pins, client certificates,
//! revocation lists; and that no kept connection or session outlives a change of it.

#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "trust/changes.rs"]
mod changes;
#[path = "trust/clock.rs"]
mod clock;
#[path = "trust/fetched.rs"]
mod fetched;
#[path = "support/https.rs"]
mod https;
#[path = "trust/lists.rs"]
mod lists;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/nodes.rs"]
mod nodes;
#[path = "trust/pins.rs"]
mod pins;

use std::collections::BTreeSet;
use std::sync::Mutex;

use certificates::{Identity, TemporaryFile, list_pem};
use https::{Script, Server};
use nodes::{Plan, ask, in_parallel, local, url};

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

const OK: &str = "ok: GET /";

/// Lines of an endpoint that trusts a root and shows a certificate of its own.
fn showing(root: &TemporaryFile, own: &TemporaryFile, key: &TemporaryFile) -> String {
    let (own, key) = (own.path().display(), key.path().display());
    let shown = format!("client_certificate = \"{own}\"\nclient_key = \"{key}\"\n");
    format!("{}{shown}", local(root))
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
