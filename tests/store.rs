//! The store of the real daemon: what it says of a directory it can not use, and what it does
//! about files that it can not read.

#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

use std::fs;
use std::path::PathBuf;

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use daemon::{Daemon, program};
use temp_dir::TempDir;

/// A folder with a bridge.toml of these lines in `[store]`.
fn folder(store: &str) -> TempDir {
    let folder = TempDir::new();
    let text = format!("[broker]\nlisten = [\"127.0.0.1:0\"]\n\n[store]\n{store}\n");
    folder.write("bridge.toml", &text);
    folder
}

/// Runs it with these arguments; returns its exit code and what it printed.
fn run(folder: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let output = program(folder).args(arguments).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).unwrap();
    (output.status.code(), printed)
}

/// A segment of a format that there is not yet, with nothing in it.
fn newer() -> Vec<u8> {
    let mut head = b"mhbstore".to_vec();
    head.extend([200, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let sum = head.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1))
        })
    });
    head.extend((!sum).to_le_bytes());
    head
}

fn segment(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let log = folder.path().join("kept/log");
    fs::create_dir_all(&log).unwrap();
    let path = log.join("00000001.log");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn check_tells_where_the_store_is_and_makes_nothing() {
    let folder = folder("directory = \"kept\"");
    let (code, printed) = run(&folder, &["check"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("store       kept, up to 4MiB"),
        "{printed}"
    );
    assert!(!folder.path().join("kept").exists());
}

#[test]
fn directory_that_can_not_be_used_is_told_with_a_remedy() {
    let folder = folder("directory = \"file/kept\"");
    folder.write("file", "");
    for command in ["check", "run"] {
        let (code, printed) = run(&folder, &[command]);
        assert_eq!(code, Some(78), "{command}: {printed}");
        assert!(printed.contains("[store] `"), "{command}: {printed}");
        assert!(
            printed.contains("correct directory"),
            "{command}: {printed}"
        );
    }
}

#[test]
fn second_daemon_does_not_take_the_store_of_the_first() {
    let folder = folder("directory = \"kept\"");
    let daemon = Daemon::start(&folder, &["run"]);
    let (code, printed) = run(&folder, &["run", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(78), "{printed}");
    assert!(
        printed.contains("in use by another mqtt-https-bridge"),
        "{printed}"
    );
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn idle_daemon_writes_nothing_to_its_store() {
    let folder = folder("directory = \"kept\"");
    for _ in 0..2 {
        let daemon = Daemon::start(&folder, &["run"]);
        let (code, log) = daemon.stop();
        assert_eq!(code, Some(0), "{log}");
    }
    let log = fs::read_dir(folder.path().join("kept/log")).unwrap();
    assert_eq!(log.count(), 0);
}

#[test]
fn store_of_a_newer_release_is_set_aside_whole_and_the_daemon_runs() {
    let folder = folder("directory = \"kept\"");
    segment(&folder, &newer());
    let (code, printed) = run(&folder, &["check"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("written by a newer release (format 200)"),
        "{printed}"
    );
    let mut daemon = Daemon::start(&folder, &["run"]);
    let log = daemon.log.join("\n");
    assert!(
        log.contains("was written by a newer release (format 200)"),
        "{log}"
    );
    assert!(log.contains("kept/log-version-200"), "{log}");
    let aside = folder.path().join("kept/log-version-200/00000001.log");
    assert_eq!(fs::read(aside).unwrap(), newer());
    daemon.signal("TERM");
    daemon.line("stopped");
}

#[test]
fn damaged_file_is_set_aside_and_the_daemon_runs() {
    let folder = folder("directory = \"kept\"");
    let path = segment(&folder, &[b'?'; 5000]);
    let after = path.with_file_name("00000002.log");
    // Another after it: these bytes are no unfinished write.
    fs::write(after, [b'?'; 100]).unwrap();
    let mut daemon = Daemon::start(&folder, &["run"]);
    let log = daemon.log.join("\n");
    assert!(log.contains("kept/log/00000001.log` is damaged"), "{log}");
    let aside = folder.path().join("kept/damaged-00000001.log");
    assert_eq!(fs::read(aside).unwrap(), [b'?'; 5000]);
    daemon.signal("TERM");
    daemon.line("stopped");
}
