//! Who may name whom, found by searching the sources.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "what is not as expected has to fail"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// All Rust files below a folder.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert_ne!(files, Vec::<PathBuf>::new(), "{folder} holds no source");
    files
}

/// A file's code: no comments, and nothing from the tests at its end on.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap()
        .lines()
        .map(|line| line.split("//").next().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether a path such as `rumqttd::` stands in code, and not as the end of a longer name.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Files outside of tests, as paths from `src/`.
fn offenders(folder: &str, path: &str, allowed: &[&str]) -> Vec<String> {
    sources(folder)
        .into_iter()
        .filter(|file| !file.components().any(|part| part.as_os_str() == "tests"))
        .filter(|file| !file.ends_with("tests.rs") && !file.ends_with("testing.rs"))
        .filter(|file| names(&code(file), path))
        .map(|file| file.strip_prefix("src").unwrap().display().to_string())
        .filter(|file| !allowed.iter().any(|place| file.starts_with(place)))
        .collect()
}

#[test]
fn core_is_pure() {
    let forbidden = [
        (
            "crate::config",
            "validated configuration comes in as core's own types",
        ),
        (
            "crate::io",
            "the shell depends on core, not the other way round",
        ),
        ("crate::cli", "nobody depends on the command line"),
        ("Instant::now", "time comes in as an argument"),
        ("SystemTime", "time comes in as an argument"),
        ("std::net::Tcp", "no sockets"),
        ("std::net::Udp", "no sockets"),
        ("std::fs", "no files"),
        ("std::env::", "no environment"),
        ("std::thread", "no threads"),
        ("std::process", "no processes"),
        ("log::", "no logging: reports are values"),
        ("println!", "no output"),
        ("tokio", "no runtime"),
        ("rumqttd", "packets are core's own"),
        ("rumqttc", "no client"),
        ("rustls", "no TLS"),
        ("ureq", "no HTTP"),
    ];
    for (path, reason) in forbidden {
        let found = offenders("src/core", path, &[]);
        assert_eq!(found, Vec::<String>::new(), "`{path}` in core: {reason}");
    }
}

#[test]
fn config_and_io_know_nothing_of_what_calls_them() {
    for (folder, path) in [
        ("src/config", "crate::io"),
        ("src/config", "crate::cli"),
        ("src/io", "crate::cli"),
    ] {
        assert_eq!(
            offenders(folder, path, &[]),
            Vec::<String>::new(),
            "`{path}` in {folder}"
        );
    }
}

#[test]
fn each_foreign_crate_is_named_in_one_place() {
    let places: [(&str, &[&str]); 12] = [
        ("rumqttd::", &["io/broker/codec"]),
        ("rumqttc::", &["cli/send"]),
        ("ureq::", &["io/http/"]),
        ("rustls::", &["io/tls/"]),
        ("webpki::", &["io/tls/"]),
        ("webpki_roots::", &["io/tls/"]),
        ("clap::", &["cli/"]),
        ("toml::", &["config/"]),
        ("argon2::", &["io/password.rs"]),
        ("env_logger::", &["io/log"]),
        ("httparse::", &["io/broker/websocket/"]),
        ("thread_priority::", &["io/scheduling.rs"]),
    ];
    for (path, allowed) in places {
        assert_eq!(
            offenders("src", path, allowed),
            Vec::<String>::new(),
            "`{path}` beside {allowed:?}"
        );
        assert_ne!(
            offenders("src", path, &[]),
            Vec::<String>::new(),
            "`{path}` is named nowhere"
        );
    }
}

#[test]
fn clocks_are_read_in_one_place() {
    for path in ["Instant::now", "SystemTime::now"] {
        assert_eq!(
            offenders("src", path, &["io/clock.rs"]),
            Vec::<String>::new(),
            "{path}"
        );
    }
}

#[test]
fn the_top_level_holds_what_was_agreed_and_nothing_else() {
    let agreed = [
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "bridge.toml",
        "openwrt-package",
        "src",
        "tests",
    ];
    // What a build or a run leaves behind is ignored by git and by this test.
    let left_behind = ["target", "users.toml"];
    let mut found: Vec<String> = fs::read_dir(".")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !left_behind.contains(&name.as_str()))
        // The package comes with a later change.
        .filter(|name| name != "openwrt-package")
        .collect();
    found.sort();
    let expected: Vec<_> = agreed
        .iter()
        .filter(|name| **name != "openwrt-package")
        .collect();
    assert_eq!(
        found,
        expected
            .into_iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
}

#[test]
fn every_module_opens_with_what_it_decides() {
    for file in sources("src")
        .into_iter()
        .filter(|file| !file.ends_with("tests.rs"))
    {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} has no module documentation",
            file.display()
        );
    }
}

/// Runs a program of the toolchain and returns what it prints.
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_rust_version_is_the_highest_that_a_dependency_asks_for() {
    let version = printed("rustc", &["-vV"]);
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    // Packages for other platforms are not downloaded by a build.
    let metadata = printed(
        env!("CARGO"),
        &[
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
            "--filter-platform",
            host,
        ],
    );
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let (mut own, mut highest) = (None, (0, 0));
    for package in metadata["packages"].as_array().unwrap() {
        let Some(wanted) = package["rust_version"].as_str() else {
            continue;
        };
        let mut numbers = wanted.split('.').map(|number| number.parse().unwrap());
        let wanted: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap_or(0));
        if package["name"] == env!("CARGO_PKG_NAME") {
            own = Some(wanted);
        } else {
            highest = highest.max(wanted);
        }
    }
    assert_eq!(own, Some(highest));
    let readme = fs::read_to_string("README.md").unwrap();
    let line = format!("Rust {}.{} or later and a C compiler", highest.0, highest.1);
    assert!(readme.contains(&line), "README.md lacks `{line}`");
}

/// A lock file or manifest as TOML.
fn read_toml(path: &str) -> toml::Table {
    fs::read_to_string(path).unwrap().parse().unwrap()
}

/// What a lock file holds: names with their versions.
fn locked(file: &toml::Table) -> Vec<(&str, &str)> {
    let packages = file["package"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap();
            (text("name"), text("version"))
        })
        .collect()
}

#[test]
fn the_fuzz_crate_builds_what_is_locked_here() {
    let remedy = "say `cp Cargo.lock tests/fuzz/ && cargo update --workspace --manifest-path \
                  tests/fuzz/Cargo.toml`";
    let (ours, theirs) = (read_toml("Cargo.lock"), read_toml("tests/fuzz/Cargo.lock"));
    let (known, used) = (locked(&ours), locked(&theirs));
    let other = |package: &&(&str, &str)| {
        known.iter().any(|(name, _)| *name == package.0) && !known.contains(package)
    };
    let others: Vec<_> = used.iter().filter(other).collect();
    assert!(others.is_empty(), "other versions: {others:?}; {remedy}");

    let packages = theirs["package"].as_array().unwrap().iter();
    let mut own = packages.filter(|it| it["name"].as_str() == Some(env!("CARGO_PKG_NAME")));
    let own = own.next().unwrap()["dependencies"].as_array().unwrap();
    // A version follows where there are several.
    let name = |it: &'_ toml::Value| it.as_str().unwrap().split(' ').next().unwrap().to_owned();
    let own: Vec<_> = own.iter().map(name).collect();
    let manifest = read_toml("Cargo.toml");
    for wanted in manifest["dependencies"].as_table().unwrap().keys() {
        assert!(own.contains(wanted), "`{wanted}` is missing; {remedy}");
    }
}
