//! Revocation lists that are fetched from where certificates say.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::certificates::{Authority, DAY, Identity, TemporaryFile, stray_listed_at};
use crate::https::{Script, Server, response};
use crate::nodes::{HOST, Node, Plan, ask, local, url};

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
