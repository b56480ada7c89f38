//! A bridge.toml put together for a test, nodes that ask what runs with it, and the built program
//! in a process of its own where a test needs its environment.

#![allow(
    dead_code,
    reason = "each test binary that includes this uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test support: a panic is the report"
)]

use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::certificates::TemporaryFile;
use super::https::{PATIENCE, Received, Script, Step};
use super::mqtt::{Broker, Client, publish};

/// The host name that servers have certificates for; it never goes to a name server.
pub(crate) const HOST: &str = "site.example";

/// Time limits that no working exchange comes near, on a busy machine either. Each request is
/// sent once, and meets the server's certificate itself.
const PATIENT: &str = "timeout = \"20s\"\ndeadline = \"20s\"\nreply_packet = 1024\n\
                       retry = { attempts = 1 }\npause = false\n";

/// A bridge.toml in the making: nodes publish to `nodes/<node>/<route>` and hear on
/// `replies/<node>/<route>/<outcome>`.
pub(crate) struct Plan(String);

impl Plan {
    /// A broker on a free port that lets this machine in.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same with further lines for `[broker]` and whatever sections follow them.
    pub(crate) fn with(lines: &str) -> Self {
        Self(format!(
            "[broker]\nlisten = [\"127.0.0.1:0\"]\n{lines}\n[defaults]\n{PATIENT}"
        ))
    }

    /// Adds an endpoint with further lines.
    pub(crate) fn endpoint(&mut self, name: &str, url: &str, lines: &str) -> &mut Self {
        let section = format!("[endpoint.{name}]\nurl = \"{url}\"\n{lines}\n");
        self.0.push_str(&section);
        self
    }

    /// Adds a route that takes `nodes/<node>/<topic>`, with further lines. The topic's first
    /// level is the route's name.
    pub(crate) fn route(&mut self, topic: &str, endpoint: &str, lines: &str) -> &mut Self {
        let name = topic.split('/').next().unwrap();
        let section = format!(
            "[[route]]\nname = \"{name}\"\ntopic = \"nodes/{{node}}/{topic}\"\n\
             endpoint = \"{endpoint}\"\nreply = \"replies/{{node}}/{name}/{{outcome}}\"\n{lines}\n"
        );
        self.0.push_str(&section);
        self
    }

    /// Starts the bridge in this process.
    pub(crate) fn start(&self) -> Broker {
        Broker::try_start(&self.0).unwrap_or_else(|error| panic!("{error}\n{}", self.0))
    }

    /// Starts the bridge in this process if it can.
    pub(crate) fn try_start(&self) -> Result<Broker, mqtt_https_bridge::RunError> {
        Broker::try_start(&self.0)
    }

    /// Starts the built program with these variables and no others.
    pub(crate) fn start_program(&self, variables: &[(&str, &Path)]) -> Process {
        Process::start(&self.0, variables, None)
    }

    /// Starts the built program so that it can have this many files open.
    pub(crate) fn start_program_with_files(&self, files: usize) -> Process {
        Process::start(&self.0, &[], Some(files))
    }
}

/// Lines of an endpoint at 127.0.0.1 that trusts this file alone.
pub(crate) fn local(root: &TemporaryFile) -> String {
    format!(
        "address = \"127.0.0.1\"\nroots = [\"{}\"]\n",
        root.path().display()
    )
}

/// The URL of [`HOST`] at a port.
pub(crate) fn url(port: u16) -> String {
    format!("https://{HOST}:{port}")
}

/// A reply as a node receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The route that answers.
    pub(crate) route: String,
    /// `ok`, `error` or `part`.
    pub(crate) outcome: String,
    /// What it says.
    pub(crate) text: String,
}

impl Reply {
    /// The failure code: what an error begins with.
    pub(crate) fn code(&self) -> &str {
        match self.outcome.as_str() {
            "error" => self.text.split(' ').next().unwrap(),
            _ => "",
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.text)
    }
}

/// A connected node that hears its replies.
pub(crate) struct Node {
    client: Client,
    name: String,
}

impl Node {
    /// Connects under this name, which is also the client ID.
    pub(crate) fn connect(address: SocketAddr, name: &str) -> Self {
        let mut client = Client::connect(address, name);
        client.subscribe(&format!("replies/{name}/#"), 0);
        Self {
            client,
            name: name.to_owned(),
        }
    }

    /// Publishes to a route, and returns when the broker has taken it.
    ///
    /// Nothing but replies to come may be under way.
    pub(crate) fn tell(&mut self, topic: &str, payload: &[u8]) {
        let topic = format!("nodes/{}/{topic}", self.name);
        // The acknowledgement goes out once the bridge has dealt with the message.
        self.client.send(&publish(&topic, payload, 1, 7));
        let answer = self.client.packet();
        assert_eq!(answer, [0x40, 2, 0, 7], "the PUBACK comes before any reply");
    }

    /// Publishes to a route without waiting for anything.
    pub(crate) fn send(&mut self, topic: &str, payload: &[u8]) {
        let topic = format!("nodes/{}/{topic}", self.name);
        self.client.send(&publish(&topic, payload, 0, 0));
    }

    /// Returns the next reply.
    pub(crate) fn reply(&mut self) -> Reply {
        let packet = self.client.packet();
        assert_eq!(packet[0], 0x30, "not a reply: {packet:02x?}");
        let length_bytes = 1 + packet[1..]
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .unwrap();
        let (topic, payload) = packet[1 + length_bytes..].split_at(2);
        let length = usize::from(u16::from_be_bytes([topic[0], topic[1]]));
        let (topic, payload) = payload.split_at(length);
        let topic = std::str::from_utf8(topic).unwrap();
        let mut levels = topic.split('/').skip(2).map(str::to_owned);
        Reply {
            route: levels.next().unwrap(),
            outcome: levels.next().unwrap(),
            text: String::from_utf8_lossy(payload).into_owned(),
        }
    }

    /// Publishes to a route and returns the reply.
    pub(crate) fn ask(&mut self, topic: &str, payload: &[u8]) -> Reply {
        self.send(topic, payload);
        let reply = self.reply();
        assert_eq!(Some(reply.route.as_str()), topic.split('/').next());
        reply
    }

    /// Expects that nothing more comes.
    #[track_caller]
    pub(crate) fn expect_quiet(&mut self) {
        self.client.expect_quiet();
    }
}

/// Returns a text in which a time of `0.3 s` or somewhat more, as a busy machine takes it, is
/// `0.3 s`.
pub(crate) fn about_time(text: &str) -> String {
    let Some((start, rest)) = text.split_once("after ") else {
        return text.to_owned();
    };
    let seconds = rest
        .strip_suffix(" s")
        .and_then(|it| it.parse::<f64>().ok());
    match seconds {
        Some(seconds) if (0.3..5.0).contains(&seconds) => format!("{start}after 0.3 s"),
        _ => text.to_owned(),
    }
}

/// Asks one question as a node of that name.
pub(crate) fn ask(address: SocketAddr, node: &str, topic: &str, payload: &[u8]) -> Reply {
    Node::connect(address, node).ask(topic, payload)
}

/// Holds back answers until it is dropped.
pub(crate) struct Gate {
    _open: Sender<()>,
}

impl Gate {
    /// A gate, and a script whose answers wait for it.
    pub(crate) fn before(
        answer: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static,
    ) -> (Self, Script) {
        let (open, closed) = mpsc::channel();
        let gate = Arc::new(Mutex::new(closed));
        let script = Script::answering(move |request| {
            // An error is what is waited for: the other end is gone.
            let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
            answer(request)
        });
        (Self { _open: open }, script)
    }
}

/// The built program, running; killed when dropped.
pub(crate) struct Process {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Child,
    log: Receiver<String>,
    _configuration: TemporaryFile,
}

impl Process {
    fn start(text: &str, variables: &[(&str, &Path)], files: Option<usize>) -> Self {
        let configuration = TemporaryFile::new("bridge.toml", text.as_bytes());
        let program = env!("CARGO_BIN_EXE_mqtt-https-bridge");
        let mut command = match files {
            None => Command::new(program),
            Some(files) => {
                let mut command = Command::new("/bin/sh");
                let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
                command.args(["-c", &script, program]);
                command
            }
        };
        let mut child = command
            .arg("--config")
            .arg(configuration.path())
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (lines, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Read on when nobody listens any more, so that the program doesn't block.
                let _ = lines.send(line);
            }
        });
        let line = wait_for_line(&log, "listening on ");
        let (_, address) = line.split_once("listening on ").unwrap();
        let address = address.split(' ').next().unwrap().parse().unwrap();
        Self {
            address,
            child,
            log,
            _configuration: configuration,
        }
    }

    /// Waits until it has logged this.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        wait_for_line(&self.log, text)
    }

    /// Returns the most memory it has used so far, in KiB.
    pub(crate) fn peak(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.unwrap().split_whitespace().nth(1).unwrap();
        number.parse().unwrap()
    }

    /// Sends SIGTERM and expects an end without fault; returns what was logged.
    pub(crate) fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().to_string();
        // The shell's own `kill`: small systems have no program of that name.
        let mut kill = Command::new("/bin/sh");
        let sent = kill.args(["-c", "kill \"$0\"", &pid]).status().unwrap();
        assert!(sent.success());
        let mut lines = Vec::new();
        // The log ends with the process.
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            lines.push(line);
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{lines:#?}");
        let panicked = |line: &&String| line.contains("panicked");
        assert_eq!(lines.iter().find(panicked), None, "{lines:#?}");
        lines
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for_line(log: &Receiver<String>, text: &str) -> String {
    let mut seen = Vec::new();
    loop {
        match log.recv_timeout(Duration::from_secs(20)) {
            Ok(line) if line.contains(text) => return line,
            Ok(line) => seen.push(line),
            Err(_) => panic!("`{text}` was not logged; {seen:#?}"),
        }
    }
}

/// Runs the cases some at a time, and fails with all that went wrong.
pub(crate) fn in_parallel<C: Sync>(cases: &[C], check: impl Fn(&C) -> Result<(), String> + Sync) {
    const THREADS: usize = 8;
    let left = Mutex::new(cases.iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let case = left.lock().unwrap().next();
                    let Some(case) = case else { break };
                    if let Err(why) = check(case) {
                        wrong.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
