//! What the store costs and what it saves: the promises on stored routes, measured.
//!
//! Ratios are between figures of one run on one file system. `cargo bench --bench store`; exit code 1 when a limit is not kept.
//!
//! A build that commits each message for itself can be no faster than the log alone, without
//! broker and without network, written with one group and one fdatasync for each message. That is
//! what the rate with group commit is compared with.

#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark measures time, prints, and may end at the first surprise"
)]

#[path = "support/mod.rs"]
mod support;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mqtt_https_bridge::core::store::{Chain, Change, Key, Kind, Limits};
use support::load;
use support::origin::Origin;
use support::process::{Daemon, folder};
use support::publish::{Node, together};

/// Nodes that publish at once.
const NODES: usize = 16;
/// Messages that many libraries leave unacknowledged at most.
const INFLIGHT: usize = 20;
const PAYLOAD: [u8; 100] = [b'x'; 100];
/// `commit_window` as it is by default.
const WINDOW: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let mut good = enqueue();
    good &= lone();
    good &= wear();
    good &= day();
    good &= drain();
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn at_most(what: &str, value: f64, most: f64) -> bool {
    verdict(what, value, ("at most", most), value <= most)
}

fn at_least(what: &str, value: f64, least: f64) -> bool {
    verdict(what, value, ("at least", least), value >= least)
}

fn verdict(what: &str, value: f64, (word, bound): (&str, f64), met: bool) -> bool {
    println!(
        "  {what}: {value:.2}, {word} {bound:.2}: {}",
        if met { "met" } else { "MISSED" }
    );
    met
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A bridge.toml with a stored route `keep/{x}` and a direct one `ask/{x}` to this origin.
fn bridge_toml(origin: &Origin) -> String {
    let route = |name: &str, topic: &str, delivery: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\ntopic = \"{topic}\"\nendpoint = \"origin\"\n\
             method = \"POST\"\npath = \"/post\"\nreply = \"replies/{{node}}/{name}/{{outcome}}\"\n\
             delivery = \"{delivery}\"\n"
        )
    };
    format!(
        "[broker]\nlisten = [\"127.0.0.1:0\"]\n\
         [store]\ndirectory = \"store\"\nmax_bytes = \"64MiB\"\n\
         [endpoint.origin]\n{}concurrency = 8\nqueue = 256\n{}max_bytes = \"32MiB\"\n{}",
        origin.endpoint(),
        route("keep", "keep/{node}", "stored"),
        route("ask", "nodes/{node}/post", "direct"),
    )
}

fn nodes(daemon: &Daemon, topic: &str, count: usize) -> Vec<Node> {
    let connect = |number| {
        let topic = topic.replace("{n}", &format!("n{number}"));
        Node::connect(daemon.port, &format!("node-{number}"), &topic)
    };
    (0..count).map(connect).collect()
}

/// Returns a number of the status, by its JSON pointer.
fn number(daemon: &Daemon, pointer: &str) -> u64 {
    let status = daemon.status();
    let value = status.pointer(pointer).and_then(|it| it.as_u64());
    value.unwrap_or_else(|| panic!("{pointer} in {status}"))
}

/// A file of which each append waits for the disk.
struct Appended(File, u64);

impl Appended {
    fn new() -> Self {
        Self(File::create(folder().join("sync")).unwrap(), 0)
    }

    /// Appends the bytes of one message; returns how long that took.
    fn append(&mut self) -> Duration {
        let start = Instant::now();
        self.0.write_all_at(&[b'x'; 200], self.1).unwrap();
        self.0.sync_data().unwrap();
        self.1 += 200;
        start.elapsed()
    }
}

/// Commits so many messages one by one to a log without a daemon; returns how many in a second.
fn commit_each(folder: &Path, count: u64) -> f64 {
    let mut chain = Chain::new(Limits {
        max_bytes: 64 << 20,
    });
    let start = Instant::now();
    let mut file: Option<File> = None;
    for id in 1..=count {
        let kind = Kind::Message;
        // As large as what the daemon stores of one.
        let put = [Change::Put(Key { kind, id }, vec![b'x'; 160].into())];
        let group = chain.group(std::iter::once(&put[..]), &[]).unwrap();
        if group.offset == 0 {
            let path = folder.join(format!("{}.log", group.segment));
            let mut options = OpenOptions::new();
            file = Some(
                options
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(path)
                    .unwrap(),
            );
        }
        let file = file.as_ref().unwrap();
        file.write_all_at(&group.bytes, group.offset.into())
            .unwrap();
        file.sync_data().unwrap();
        chain.commit(&group);
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// 16 nodes at QoS 1 and an endpoint that is down.
fn enqueue() -> bool {
    const COUNT: usize = 1_000;
    let origin = Origin::down(Duration::ZERO);
    let daemon = Daemon::start(&bridge_toml(&origin));
    let mut nodes = nodes(&daemon, "keep/{n}", NODES);
    together(&mut nodes, &PAYLOAD, (20, 1));
    let mut good = true;
    println!("durable enqueue, {NODES} nodes at QoS 1, endpoint down, 100-byte messages");
    for window in [1, INFLIGHT] {
        let alone = commit_each(&folder(), 250);
        let [syncs, segments] = ["/store/syncs", "/store/segments"].map(|it| number(&daemon, it));
        let took = together(&mut nodes, &PAYLOAD, (COUNT, window));
        let syncs = number(&daemon, "/store/syncs") - syncs;
        let segments = number(&daemon, "/store/segments") - segments;
        let rate = (COUNT * NODES) as f64 / took.as_secs_f64();
        println!("  {window} unacknowledged each; a commit for each message: {alone:.0}/s");
        good &= at_least("messages a second", rate, 2000.0);
        let times = rate / alone;
        if window == 1 {
            // No more than 16 in a commit_window, however fast the disk is.
            println!("  times a commit for each message: {times:.2}");
        } else {
            good &= at_least("times a commit for each message", times, 5.0);
        }
        // A new file takes one more, for its name.
        let most = took.as_secs_f64() / WINDOW.as_secs_f64() + 1.0 + segments as f64;
        good &= at_most("fsyncs, one for each commit_window", syncs as f64, most);
    }
    let kept = number(&daemon, "/routes/0/queued");
    let all = (20 + 2 * COUNT) * NODES;
    good & at_least("messages in the store", kept as f64, all as f64)
}

/// A node alone: what the store adds to the time until its PUBACK.
fn lone() -> bool {
    const COUNT: usize = 200;
    let origin = Origin::down(Duration::ZERO);
    let daemon = Daemon::start(&bridge_toml(&origin));
    let mut stored = Node::connect(daemon.port, "stored", "keep/lone");
    let mut plain = Node::connect(daemon.port, "plain", "plain/lone");
    let mut file = Appended::new();
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..COUNT {
        // Each until the disk has nothing to do, and the message is alone in its commit window.
        for (at, times) in times.iter_mut().enumerate() {
            std::thread::sleep(WINDOW);
            times.push(match at {
                0 => stored.publish(&PAYLOAD, 1, 1),
                1 => file.append(),
                _ => plain.publish(&PAYLOAD, 1, 1),
            });
        }
    }
    let [stored, sync, plain] = times.map(median);
    let added = stored.saturating_sub(plain);
    println!(
        "a lone message: stored {:.2} ms, not stored {:.2} ms until PUBACK; one fdatasync {:.2} ms",
        millis(stored),
        millis(plain),
        millis(sync)
    );
    let ratio = added.as_secs_f64() / sync.as_secs_f64();
    at_most("added median latency / fdatasync", ratio, 3.0)
}

/// What is written for 100-byte messages that come ten at a time, with their deletion.
fn wear() -> bool {
    const ROUNDS: usize = 200;
    const BATCH: usize = 10;
    let origin = Origin::start();
    let daemon = Daemon::start(&bridge_toml(&origin));
    let mut nodes = nodes(&daemon, "keep/{n}", BATCH);
    let before = number(&daemon, "/store/written");
    for round in 1..=ROUNDS {
        nodes.iter_mut().for_each(|node| node.send(&PAYLOAD));
        nodes.iter_mut().for_each(Node::acknowledged);
        wait(|| origin.answered() >= round * BATCH);
    }
    wait(|| number(&daemon, "/routes/0/succeeded") == (ROUNDS * BATCH) as u64);
    wait(|| number(&daemon, "/store/values") <= 1);
    let written = number(&daemon, "/store/written") - before;
    let payload = ROUNDS * BATCH * PAYLOAD.len();
    println!(
        "bytes written for {} messages, stored, sent, deleted",
        ROUNDS * BATCH
    );
    at_most("written / payload", written as f64 / payload as f64, 6.0)
}

/// A day of ten nodes with a message each a minute: what is written for messages that come alone.
fn day() -> bool {
    const MESSAGES: u32 = 10 * 24 * 60;
    const MEASURED: u32 = 150;
    let origin = Origin::start();
    let daemon = Daemon::start(&bridge_toml(&origin));
    let mut nodes = nodes(&daemon, "keep/{n}", 10);
    let read = || ["written", "syncs"].map(|it| number(&daemon, &format!("/store/{it}")));
    let before = read();
    for round in 1..=MEASURED {
        let node = &mut nodes[round as usize % 10];
        node.send(&PAYLOAD);
        node.acknowledged();
        wait(|| number(&daemon, "/routes/0/succeeded") == u64::from(round));
        wait(|| number(&daemon, "/store/values") <= 1);
    }
    let after = read();
    let [written, syncs] = [0, 1].map(|at| (after[at] - before[at]) as f64 / f64::from(MEASURED));
    println!(
        "ten nodes, a message each a minute, {} bytes",
        PAYLOAD.len()
    );
    println!("  a message: {written:.0} bytes written, {syncs:.2} waits for the disk");
    println!(
        "  a day: {:.1} MiB in {:.0} writes",
        written * f64::from(MESSAGES) / f64::from(1 << 20),
        syncs * f64::from(MESSAGES)
    );
    at_most("waits for the disk / message", syncs, 2.1)
        & at_most("written / payload", written / PAYLOAD.len() as f64, 6.0)
}

/// An outage: 10,000 messages while the endpoint is down.
fn drain() -> bool {
    const COUNT: usize = 10_000;
    let direct_origin = Origin::start();
    let direct = Daemon::start(&bridge_toml(&direct_origin));
    let ask = load::Ask {
        port: direct.port,
        clients: NODES,
        qos: 1,
        topic: "nodes/n{n}/post",
        payload: &PAYLOAD,
    };
    load::run(&ask, NODES * 20);
    let rate = || COUNT as f64 / load::run(&ask, COUNT).total.as_secs_f64();
    let mut direct_rate = rate();
    let origin = Origin::down(Duration::ZERO);
    let daemon = Daemon::start(&bridge_toml(&origin));
    let mut nodes = nodes(&daemon, "keep/{n}", NODES);
    let idle = daemon.resident();
    let mut most = idle;
    for _ in 0..5 {
        together(&mut nodes, &PAYLOAD, (COUNT / NODES / 5, 10));
        most = most.max(daemon.resident());
    }
    origin.come_up();
    daemon.signal("USR1");
    wait(|| {
        most = most.max(daemon.resident());
        origin.answered() >= COUNT
    });
    let drained = COUNT as f64 / origin.span().as_secs_f64();
    direct_rate = (direct_rate + rate()) / 2.0;
    wait(|| number(&daemon, "/routes/0/succeeded") >= COUNT as u64);
    println!("{COUNT} messages during an outage, {NODES} nodes, 8 requests at a time");
    println!("  drained at {drained:.0}/s, asked directly {direct_rate:.0}/s");
    let sent = origin.answered();
    let mut good = verdict(
        "requests",
        sent as f64,
        ("exactly", COUNT as f64),
        sent == COUNT,
    );
    good &= at_most("MiB above idle", (most - idle) as f64 / 1024.0, 4.0);
    good & at_least("drain rate / direct rate", drained / direct_rate, 0.8)
}

/// Waits until something is so.
fn wait(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it does not come to that"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
