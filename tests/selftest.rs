//! The self-test of the built program: the table, the exit code, and that nothing stays behind.

#![cfg(feature = "selftest")]
#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use temp_dir::TempDir;

/// Faults that have a case.
const FAULTS: [&str; 17] = [
    "tls.expired",
    "tls.not_yet_valid",
    "tls.wrong_name",
    "tls.unknown_issuer",
    "tls.self_signed",
    "tls.bad_certificate",
    "tls.weak",
    "tls.revoked",
    "tls.revocation_unknown",
    "tls.pin_mismatch",
    "tls.protocol",
    "tls.client_certificate",
    "tls.handshake",
    "timeout.tls",
    "connect.refused",
    "http.status",
    "http.truncated",
];

/// The program with `selftest`, in an empty folder and without environment, files below `folder`.
fn selftest(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-https-bridge"));
    command
        .arg("selftest")
        .current_dir(folder.path())
        .env_clear()
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null());
    command
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// One row: the case, what was expected, and what the node was told.
struct Row<'a> {
    expected: &'a str,
    got: &'a str,
}

/// Reads the rows of the table by the places of its columns.
fn rows(out: &str) -> Vec<Row<'_>> {
    let mut lines = out.lines();
    let head = lines.next().unwrap();
    let [expected, time, got] = ["expected", "   time", "got"].map(|it| head.find(it).unwrap());
    lines
        .take_while(|line| !line.is_empty())
        .map(|line| Row {
            expected: line.get(expected..time).unwrap().trim(),
            got: line.get(got..).unwrap(),
        })
        .collect()
}

#[test]
fn every_case_is_judged_as_expected_and_nothing_stays_behind() {
    let folder = TempDir::new();
    let output = selftest(&folder).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{out}");
    assert!(is_empty(folder.path()), "files were left behind");

    let rows = rows(&out);
    let (mut good, mut codes) = (0, BTreeSet::new());
    for row in &rows {
        if row.expected.starts_with("ok ") {
            good += 1;
            assert_eq!(row.got, row.expected, "{out}");
        } else {
            let code = row.got.split(' ').next().unwrap();
            assert_eq!(code, row.expected, "{out}");
            codes.insert(code);
        }
    }
    assert!(good >= 15, "good ones have to be let in: {out}");
    assert!(rows.len() >= 60, "{out}");
    let missing: Vec<_> = FAULTS.iter().filter(|it| !codes.contains(*it)).collect();
    assert_eq!(missing, Vec::<&&str>::new(), "no case for these");
    let count = format!("\n{} cases in ", rows.len());
    assert!(out.contains(&count), "{out}");
    assert!(out.contains("2030-01-01"), "the clock it judges by: {out}");
    assert!(out.contains("Not made here"), "{out}");
}

#[test]
#[cfg(feature = "selftest-program")]
fn the_program_of_its_own_judges_the_same_cases() {
    let folder = TempDir::new();
    let alone = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-https-bridge-selftest"));
        let command = command.args(arguments).current_dir(folder.path());
        let output = command.env_clear().env("TMPDIR", folder.path());
        output.output().unwrap()
    };
    let names = |out: &[u8]| {
        let out = String::from_utf8(out.to_vec()).unwrap();
        let lines = out.lines().take_while(|line| !line.is_empty());
        let names = lines.map(|line| line.split("  ").next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let (one, other) = (alone(&[]), selftest(&folder).output().unwrap());
    assert_eq!(one.status.code(), Some(0));
    assert_eq!(names(&one.stdout), names(&other.stdout));
    let version = alone(&["--version"]).stdout;
    let expected = concat!("mqtt-https-bridge-selftest ", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.trim_ascii_end(), expected.as_bytes());
    assert_eq!(alone(&["--help"]).status.code(), Some(0));
    assert_eq!(alone(&["anything"]).status.code(), Some(64));
}

#[test]
fn a_signal_ends_it_and_nothing_stays_behind() {
    let folder = TempDir::new();
    let mut child = selftest(&folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    // The daemon runs once the first case is in the table.
    for _ in 0..2 {
        out.read_line(&mut String::new()).unwrap();
    }
    assert!(!is_empty(folder.path()));
    let pid = child.id().to_string();
    let mut kill = Command::new("/bin/sh");
    let sent = kill.args(["-c", "kill -INT \"$0\"", &pid]).status();
    assert!(sent.unwrap().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(!rest.contains("as expected"), "it was too fast: {rest}");
    assert!(is_empty(folder.path()), "files were left behind");
}
