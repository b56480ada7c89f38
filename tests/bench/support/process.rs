//! The processes that are measured: started, found ready, read from /proc, ended on drop.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// A child process whose lines are read.
pub(crate) struct Child {
    child: std::process::Child,
    lines: Receiver<String>,
}

impl Child {
    /// Starts this very program in another role.
    pub(crate) fn of_this_program(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments).stdout(Stdio::piped());
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "{:?} does not start ({error}); is it installed?",
                command.get_program()
            )
        });
        let output: Box<dyn Read + Send> = match (child.stdout.take(), child.stderr.take()) {
            (Some(stdout), _) => Box::new(stdout),
            (None, Some(stderr)) => Box::new(stderr),
            (None, None) => Box::new(std::io::empty()),
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line); // nobody listens any more: read on, so that it does not block
            }
        });
        Self { child, lines }
    }

    /// Waits for a line that holds this text and returns it.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        loop {
            let line = self
                .lines
                .recv_timeout(LIMIT)
                .expect("a line within the limit");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The built daemon with a configuration of its own.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) port: u16,
    folder: PathBuf,
}

impl Daemon {
    /// Starts it and waits until it listens.
    pub(crate) fn start(bridge_toml: &str) -> Self {
        let folder = folder();
        let file = folder.join("bridge.toml");
        std::fs::write(&file, bridge_toml).unwrap();
        let mut command = Command::new(release_binary());
        command
            .arg("--config")
            .arg(&file)
            .arg("run")
            .stderr(Stdio::piped());
        let child = Child::start(command);
        let line = child.wait_for_line("listening on 127.0.0.1:");
        let port = line.rsplit_once("127.0.0.1:").unwrap().1;
        let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
        Self {
            child,
            port: digits.parse().unwrap(),
            folder,
        }
    }

    /// Returns the CPU time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// Returns how often its threads went to sleep so far.
    pub(crate) fn switches(&self) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let count = |task: std::io::Result<std::fs::DirEntry>| -> usize {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse().unwrap()
        };
        tasks.map(count).sum()
    }

    /// Asks it to stop and returns the line with this text that it then logs.
    pub(crate) fn last_line(&self, text: &str) -> String {
        self.signal("TERM");
        self.child.wait_for_line(text)
    }

    /// Sends it a signal, such as `USR1`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let mut kill = Command::new("/bin/sh");
        let sent = kill
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &id])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for a line of its log.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        self.child.wait_for_line(text)
    }

    /// Returns what `status --json` tells.
    pub(crate) fn status(&self) -> serde_json::Value {
        let mut command = Command::new(release_binary());
        command.arg("--config").arg(self.folder.join("bridge.toml"));
        let output = command.args(["status", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).expect("a status")
    }

    /// Returns its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the resident memory in KiB.
    pub(crate) fn resident(&self) -> usize {
        resident_of(self.child.id())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Builds the daemon as its users do and returns where it is; `BRIDGE_BINARY` names another build,
/// to compare two.
fn release_binary() -> PathBuf {
    if let Some(other) = std::env::var_os("BRIDGE_BINARY") {
        return other.into();
    }
    static BUILT: std::sync::Once = std::sync::Once::new();
    BUILT.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--release",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ]);
        assert!(cargo.status().unwrap().success(), "cargo build --release");
    });
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../release/mqtt-https-bridge")
}

/// Debian's mosquitto with TCP_NODELAY.
pub(crate) struct Mosquitto {
    child: Child,
    pub(crate) port: u16,
    folder: PathBuf,
}

impl Mosquitto {
    /// Starts it and waits until it listens.
    pub(crate) fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = folder();
        let file = folder.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n"
        );
        std::fs::write(&file, text).unwrap();
        let program = ["/usr/sbin/mosquitto", "mosquitto"];
        let program = program
            .into_iter()
            .find(|p| PathBuf::from(p).exists())
            .unwrap_or("mosquitto");
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).stderr(Stdio::piped());
        let child = Child::start(command);
        child.wait_for_line("running");
        Self {
            child,
            port,
            folder,
        }
    }

    /// Returns the CPU time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Returns user and system time of a process, all threads, in ticks of 10 ms.
pub(crate) fn cpu_of(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Returns the resident memory of a process in KiB.
pub(crate) fn resident_of(id: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Makes an empty folder for one process.
pub(crate) fn folder() -> PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!(
        "bench-{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    );
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
