//! Kills the daemon at any moment while nodes publish to a stored route, to a session that is away
//! and to retained messages. Nothing that was acknowledged may be missing then.
//!
//! `KILLS` says how often (5 unless told otherwise), `KILLS_SEED` when: the same seed has the same
//! moments.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what is not as expected has to fail"
)]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/https.rs"]
mod https;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use certificates::Authority;
use daemon::{Daemon, program};
use https::{Script, Server, Step, response};
use mqtt::{Client, ack, connect_4, flagged, publish};
use serde_json::Value;
use temp_dir::TempDir;

/// Nodes that publish at once.
const NODES: usize = 16;
/// Messages of a node that wait for their acknowledgement.
const WINDOW: usize = 4;
/// How long nothing may be sent while something waits, after the last kill.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server was asked, in one order: node, number and key.
type Seen = Arc<Mutex<Vec<(usize, usize, String)>>>;

/// Notes what it is asked, and fails every eleventh time in a way that may pass.
fn server(authority: &Authority, seen: &Seen) -> Server {
    let seen = Arc::clone(seen);
    let script = Script::answering(move |request| {
        let mut seen = seen.lock().unwrap();
        let target = request.line().strip_prefix("POST /").unwrap();
        let (node, number) = target.split_once('/').unwrap();
        let key = request.header("idempotency-key").unwrap().to_owned();
        seen.push((node.parse().unwrap(), number.parse().unwrap(), key));
        let status = match seen.len() % 11 {
            0 => "503 Service Unavailable",
            _ => "200 OK",
        };
        vec![Step::Send(response(status, &[], b""))]
    });
    Server::start(&authority.good(&["api.test"]), script)
}

fn folder(authority: &Authority, server: &Server) -> TempDir {
    let folder = TempDir::new();
    folder.write("root.pem", &authority.root_pem());
    let text = format!(
        "[broker]\nlisten = [\"127.0.0.1:0\"]\n\
         queue = {{ messages = 100000, bytes = \"16MiB\" }}\nmemory = \"64MiB\"\n\
         [store]\ndirectory = \"kept\"\nmax_bytes = \"64MiB\"\n\
         [endpoint.api]\nurl = \"https://api.test:{}\"\naddress = \"127.0.0.1\"\n\
         roots = [\"root.pem\"]\nretry = {{ first = \"10ms\" }}\nconcurrency = 4\n\
         [[route]]\nname = \"keep\"\ntopic = \"keep/{{node}}/{{number}}\"\nendpoint = \"api\"\n\
         method = \"POST\"\npath = \"/{{node}}/{{number}}\"\ndelivery = \"stored\"\n\
         max_bytes = \"32MiB\"\nreply = \"replies/{{node}}\"\n",
        server.port()
    );
    folder.write("bridge.toml", &text);
    folder
}

/// Waits until the server has read all that a killed daemon has sent: what it reads while the next
/// one runs would seem to come late.
fn wait_for_the_dead(server: &Server) {
    // Connections are accepted in their order, and whoever speaks no TLS is hung up on.
    let mut last = TcpStream::connect(server.address()).unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    last.write_all(b"no TLS").unwrap();
    // The end may be a reset.
    let _ = last.read_to_end(&mut Vec::new());
    server.wait(|counts| counts.ended == counts.connections);
}

fn address(daemon: &Daemon) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, daemon.port.parse().unwrap()).into()
}

/// Publishes at QoS 1, from this number on, until the connection breaks: even numbers to the
/// stored route, odd ones retained to whoever listens. Returns the number to go on with and how
/// many were acknowledged.
fn publish_until_the_end(address: SocketAddr, node: usize, first: usize) -> (usize, usize) {
    let id = |number: usize| u16::try_from(number % 60_000 + 1).unwrap();
    let mut client = Client::open(address);
    client.send_if_open(&connect_4(&format!("node{node}"), mqtt::CLEAN));
    let mut next = first;
    if client.next_packet().is_none() {
        return (first, 0);
    }
    for acknowledged in 0.. {
        while next < first + acknowledged + WINDOW {
            let text = format!("{node} {next}");
            client.send_if_open(&match next % 2 {
                0 => publish(format!("keep/{node}/{next}"), text, 1, id(next)),
                _ => flagged(format!("n/{node}"), text, 3, id(next)),
            });
            next += 1;
        }
        let number = first + acknowledged;
        match client.next_packet() {
            Some(packet) => assert_eq!(packet, ack(0x40, id(number)), "message {number}"),
            None => return (next, acknowledged),
        }
    }
    (next, 0)
}

/// Takes all that waits for a client, or is retained: node and number of each, in order.
fn drain(client: &mut Client) -> Vec<(usize, usize)> {
    let mut messages = Vec::new();
    // What answers the second of these comes after all that waits.
    client.send(&mqtt::PINGREQ);
    let mut quiet = false;
    loop {
        let packet = client.packet();
        if packet == mqtt::PINGRESP {
            if quiet {
                return messages;
            }
            quiet = true;
            client.send(&mqtt::PINGREQ);
            continue;
        }
        assert_eq!(packet[0] & 0xF6, 0x32, "{packet:02x?}");
        quiet = false;
        // One byte each of remaining length and of the topic's length count.
        let topic = 4 + usize::from(packet[3]);
        let text = std::str::from_utf8(&packet[topic + 2..]).unwrap();
        let (node, number) = text.split_once(' ').unwrap();
        messages.push((node.parse().unwrap(), number.parse().unwrap()));
        let id = u16::from_be_bytes([packet[topic], packet[topic + 1]]);
        client.send(&ack(0x40, id));
    }
}

fn wake(address: SocketAddr) -> Vec<(usize, usize)> {
    let (mut client, is_present) = Client::resume(address, "sleeper");
    assert!(is_present, "the session is gone");
    let messages = drain(&mut client);
    client.leave();
    messages
}

/// What `status` says of the stored route, which adds up.
fn counters(folder: &TempDir) -> Value {
    let output = program(folder).args(["status", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let route = status["routes"][0].clone();
    let count = |name: &str| route[name].as_u64().unwrap();
    let parts = ["succeeded", "failed", "queued", "in_flight", "dropped"];
    let sum: u64 = parts.map(count).iter().sum();
    assert_eq!(count("received"), sum, "{route}");
    route
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wait for the real daemon has a limit by the real clock"
)]
fn settled(folder: &TempDir) -> Value {
    let (mut succeeded, mut since) = (0, Instant::now());
    loop {
        let counters = counters(folder);
        if counters["queued"] == 0 && counters["in_flight"] == 0 {
            return counters;
        }
        let now = counters["succeeded"].as_u64().unwrap();
        if now != succeeded {
            (succeeded, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "{counters}");
        // The daemon needs the processor more than who asks.
        thread::park_timeout(Duration::from_millis(100));
    }
}

/// What became of the messages of one node.
#[derive(Default)]
struct Own {
    /// The number to go on with.
    next: usize,
    acknowledged: BTreeSet<usize>,
}

/// Even numbers: the server was asked all that were acknowledged, in order, again only under the
/// same key. What a kill has kept from being noted as done comes again, with what came after it, in
/// order too: `lives` says how much had come at each kill. Returns how many it was asked.
fn check_served(seen: &[(usize, usize, String)], lives: &[usize], nodes: &[Own]) -> usize {
    let mut keys: HashMap<(usize, usize), &str> = HashMap::new();
    let mut newest = [0; NODES];
    let starts = std::iter::once(0).chain(lives.iter().copied());
    let ends = lives.iter().copied().chain([seen.len()]);
    for (start, end) in starts.zip(ends) {
        let mut last = [0; NODES];
        for (node, number, key) in &seen[start..end] {
            let is_new = !keys.contains_key(&(*node, *number));
            let first = keys.entry((*node, *number)).or_insert(key);
            assert_eq!(first, key, "{node}/{number} came under two keys");
            let in_order = last[*node] <= *number && (!is_new || newest[*node] <= *number);
            assert!(in_order, "{node}/{number} came late");
            last[*node] = *number;
            newest[*node] = newest[*node].max(*number);
        }
    }
    for (node, own) in nodes.iter().enumerate() {
        let even = own.acknowledged.iter().filter(|it| *it % 2 == 0);
        let lost: Vec<_> = even
            .filter(|it| !keys.contains_key(&(node, **it)))
            .collect();
        assert_eq!(lost, Vec::<&usize>::new(), "of node {node}, at the server");
    }
    keys.len()
}

/// Odd numbers: the session has got all that were acknowledged, in order, and the last one or a
/// later one is retained.
fn check_heard(heard: &[(usize, usize)], retained: &[(usize, usize)], nodes: &[Own]) {
    for (node, own) in nodes.iter().enumerate() {
        let of = |all: &[(usize, usize)]| -> Vec<usize> {
            let own = all.iter().filter(|(from, _)| *from == node);
            own.map(|(_, number)| *number).collect()
        };
        let numbers = of(heard);
        assert!(numbers.is_sorted(), "node {node}: {numbers:?}");
        let kept: BTreeSet<usize> = numbers.iter().copied().collect();
        let odd = || own.acknowledged.iter().filter(|it| *it % 2 == 1);
        let lost: Vec<_> = odd().filter(|it| !kept.contains(it)).collect();
        assert_eq!(lost, Vec::<&usize>::new(), "of node {node}, in the session");
        let retained = of(retained);
        assert_eq!(retained.len(), 1, "node {node}");
        assert!(
            odd().next_back().is_none_or(|last| *last <= retained[0]),
            "node {node}"
        );
    }
}

#[test]
fn kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let number = |name: &str| -> Option<u32> { Some(std::env::var(name).ok()?.parse().unwrap()) };
    let kills = number("KILLS").unwrap_or(5);
    let mut random = number("KILLS_SEED").unwrap_or(5);
    println!("kills: {kills}, seed {random}");
    let (authority, seen) = (Authority::new("test"), Seen::default());
    let server = server(&authority, &seen);
    let folder = folder(&authority, &server);
    let daemon = Daemon::start(&folder, &["run"]);
    let (mut sleeper, _) = Client::resume(address(&daemon), "sleeper");
    sleeper.subscribe("n/#", 1);
    sleeper.leave();
    // Neither CONNACK nor SUBACK waits for the disk; a stop does.
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    let mut nodes: [Own; NODES] = Default::default();
    let (mut heard, mut lives) = (Vec::new(), Vec::new());
    for round in 0..kills {
        let daemon = Daemon::start(&folder, &["run"]);
        let log = daemon.log.join("\n");
        assert!(!log.contains("damaged"), "round {round}: {log}");
        let address = address(&daemon);
        // Whoever is let in finds the socket of `status` open.
        Client::connect(address, "first").leave();
        counters(&folder);
        if round % 3 == 2 {
            heard.extend(wake(address));
        }
        let publishing: Vec<_> = (0..NODES)
            .map(|node| {
                let first = nodes[node].next;
                thread::spawn(move || publish_until_the_end(address, node, first))
            })
            .collect();
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Any moment will do.
        thread::park_timeout(Duration::from_millis(50 + u64::from(random >> 23)));
        drop(daemon);
        wait_for_the_dead(&server);
        lives.push(seen.lock().unwrap().len());
        for (own, thread) in nodes.iter_mut().zip(publishing) {
            let (next, acknowledged) = thread.join().unwrap();
            own.acknowledged.extend(own.next..own.next + acknowledged);
            own.next = next;
        }
    }
    let daemon = Daemon::start(&folder, &["run"]);
    Client::connect(address(&daemon), "first").leave();
    let counters = settled(&folder);
    heard.extend(wake(address(&daemon)));
    let mut reader = Client::connect(address(&daemon), "reader");
    reader.send(&mqtt::subscribe(1, &[("n/#", 1)]));
    assert_eq!(reader.packet(), [0x90, 3, 0, 1, 1]);
    check_heard(&heard, &drain(&mut reader), &nodes);
    let served = check_served(&seen.lock().unwrap(), &lives, &nodes);
    assert_eq!(counters["succeeded"], served);
    assert_eq!(counters["received"], served);
    for (node, own) in nodes.iter().enumerate() {
        let heard = own.acknowledged.len();
        assert!(heard > 10, "node {node} was heard {heard} times only");
    }
}
