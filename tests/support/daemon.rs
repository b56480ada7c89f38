//! The built program as a daemon, in a clean environment: its log tells a test what it does.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    reason = "a helper of tests: what is not as expected has to fail"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::temp_dir::TempDir;

/// Limit of every wait for a line of the log.
const LIMIT: Duration = Duration::from_secs(20);

/// The built program, in a folder and without environment and input.
pub(crate) fn program(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-https-bridge"));
    command
        .env_clear()
        .current_dir(folder.path())
        .stdin(Stdio::null());
    command
}

/// The daemon, stopped and waited for on drop.
pub(crate) struct Daemon {
    child: Child,
    /// Its first port on 127.0.0.1.
    pub(crate) port: String,
    /// What it logged until it listened there.
    pub(crate) log: Vec<String>,
    lines: mpsc::Receiver<String>,
}

impl Daemon {
    /// Starts it with these arguments and waits until it listens on 127.0.0.1.
    pub(crate) fn start(folder: &TempDir, arguments: &[&str]) -> Self {
        let mut daemon = Self::launch(folder, arguments);
        let line = daemon.line("listening on 127.0.0.1:");
        daemon.port = port(&line);
        daemon
    }

    /// Starts it with these arguments and waits for nothing.
    pub(crate) fn launch(folder: &TempDir, arguments: &[&str]) -> Self {
        let mut command = program(folder);
        command.args(arguments).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self {
            child,
            port: String::new(),
            log: Vec::new(),
            lines,
        }
    }

    /// Waits for a line that holds a text, and returns it without its time.
    #[track_caller]
    pub(crate) fn line(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(LIMIT) else {
                panic!("`{text}` is not in\n{}", self.log.join("\n"));
            };
            let (_, line) = line.split_once(' ').unwrap_or_default();
            self.log.push(line.to_owned());
            if line.contains(text) {
                return line.to_owned();
            }
        }
    }

    /// Returns a size from the kernel's view of the process, in KiB: `VmRSS`, or its peak `VmHWM`.
    #[track_caller]
    pub(crate) fn memory(&self, name: &str) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let size = line.and_then(|rest| rest.split_whitespace().nth(1));
        size.unwrap().parse().unwrap()
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let (option, pid) = (format!("-{name}"), self.child.id().to_string());
        let kill = Command::new("kill").args([option, pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Sends SIGTERM and returns the exit code with what was logged since the last line that was
    /// waited for.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        let rest: Vec<_> = self.lines.iter().collect();
        (code, rest.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the port at the end of the address in a `listening on` line.
pub(crate) fn port(line: &str) -> String {
    let (_, after) = line.split_once("listening on ").unwrap_or_default();
    let address = after.split(' ').next().unwrap_or_default();
    let (_, port) = address.rsplit_once(':').unwrap_or_default();
    port.to_owned()
}
