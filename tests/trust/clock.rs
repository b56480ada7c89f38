//! Certificates while the time is not known.

use crate::certificates::{Authority, TemporaryFile};
use crate::https::{Script, Server};
use crate::nodes::{HOST, Node, Plan, ask, local, url};
use crate::{OK, mqtt};

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
