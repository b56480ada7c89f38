//! Servers that have no end of things to say: the daemon keeps none of it.

use crate::floods;
use crate::https::{Script, Step};
use crate::nodes::{Node, Plan, url};
use crate::{chunked, send, serve, trusting};

#[test]
fn endless_bodies_and_header_bombs_leave_memory_as_it_was() {
    let head = |fields: &str| send(format!("HTTP/1.1 200 OK\r\n{fields}"));
    let hostile = [
        vec![
            send("HTTP/1.0 200 OK\r\n\r\n"),
            Step::Endlessly(vec![b'x'; 16_384]),
        ],
        vec![
            chunked(""),
            Step::Endlessly([&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat()),
        ],
        vec![head("x: "), Step::Endlessly(vec![b'y'; 16_384])],
        vec![head(""), Step::Endlessly(b"x: y\r\n".repeat(1000))],
        vec![chunked("4;"), Step::Endlessly(vec![b'z'; 16_384])],
    ];
    let scripts = hostile.map(Script::steps).to_vec();
    memory_stays(scripts, &["http.too_large", "http.malformed"], 0);
}

#[test]
fn endless_tickets_and_new_keys_leave_memory_as_it_was() {
    // Sessions of one of them are kept: 8 tickets of 64 KiB, with as many chains.
    memory_stays(floods::hoarded(), &["tls.handshake"], 640);
}

/// Asks each of these servers ten times what ends in one of these codes, and one beside them, and
/// expects that no more memory is taken than the first round took and `kept`, in KiB.
fn memory_stays(hostile: Vec<Script>, expected: &[&str], kept: usize) {
    const ROUNDS: usize = 10;
    let servers: Vec<_> = hostile.into_iter().map(serve).collect();
    let good = serve(Script::fixed("200 OK", &"x".repeat(60_000)));
    let mut plan = Plan::new();
    let lines = "oversize = \"cut\"";
    plan.endpoint("good", &url(good.port()), &trusting())
        .route("good", "good", lines);
    for (at, server) in servers.iter().enumerate() {
        let name = format!("hostile{at}");
        plan.endpoint(&name, &url(server.port()), &trusting())
            .route(&name, &name, "");
    }
    let program = plan.start_program(&[]);
    let mut node = Node::connect(program.address, "kitchen");
    // What each endpoint's worker needs at all is needed by the first round.
    let mut round = || {
        assert_eq!(node.ask("good", b"").outcome, "part");
        for at in 0..servers.len() {
            let reply = node.ask(&format!("hostile{at}"), b"");
            assert!(expected.contains(&reply.code()), "{at}: {reply}");
        }
    };
    round();
    let before = program.peak();
    (0..ROUNDS).for_each(|_| round());
    let grown = program.peak() - before;
    assert!(grown < 1024 + kept, "{grown} KiB more than {before}");
    for server in &servers {
        let counts = server.wait(|counts| counts.ended == counts.connections);
        assert_eq!(counts.requests, ROUNDS + 1, "nothing was repeated");
    }
    program.stop();
}
