//! bridge.toml as people write it: every mistake with its exact message, every example valid.
//!
//! Beside each file of `tests/config/invalid/` stands what is reported about it, beside one of
//! `tests/config/valid/` its warnings, if it has any. `UPDATE_EXPECTED=1 cargo test --test config`
//! writes these; read the difference before keeping it.

#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::fs;
use std::path::{Path, PathBuf};

use mqtt_https_bridge::config::{Config, ConfigError, Key, Stamp, Warning, keys};
use temp_dir::TempDir;

type Loaded = Result<(Config, Vec<Warning>), Vec<ConfigError>>;

const ROUTE: &str = "[endpoint.e]\nurl = \"https://example.com\"\n\
    [[route]]\ntopic = \"a/{x}\"\nendpoint = \"e\"\nreply = \"r/{x}\"\n";

fn environment(name: &str) -> Option<String> {
    (name == "PRESENT").then(|| "hunter2".to_owned())
}

fn parse(path: &Path, text: &str) -> Loaded {
    Config::parse(path, text, &environment)
}

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .filter(|path| {
            !path
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .ends_with("users")
        })
        .collect();
    files.sort();
    assert_ne!(files, Vec::<PathBuf>::new(), "{folder} holds no fixture");
    files
}

/// Compares with the file beside the fixture; a missing one stands for nothing to say.
fn compare(fixture: &Path, lines: impl IntoIterator<Item = String>) {
    let folder = format!("{}/", fixture.parent().unwrap().display());
    let actual: String = lines
        .into_iter()
        .map(|line| line.replace(&folder, "") + "\n")
        .collect();
    let beside = fixture.with_extension("expected");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        match actual.as_str() {
            "" => drop(fs::remove_file(&beside)),
            text => fs::write(&beside, text).unwrap(),
        }
    }
    let expected = fs::read_to_string(&beside).unwrap_or_default();
    assert_eq!(actual, expected, "{}", fixture.display());
}

#[test]
fn what_a_message_quotes_stays_on_its_line() {
    let hostile = "\\n\\r\\u001b[2J\\u0085";
    let mut quoting = 0;
    for folder in ["tests/config/invalid", "tests/config/valid"] {
        for fixture in fixtures(folder) {
            let text = fs::read_to_string(&fixture).unwrap();
            for (at, quote) in text.match_indices('"') {
                let (before, after) = text.split_at(at + quote.len());
                let (errors, warnings) = match parse(&fixture, &format!("{before}{hostile}{after}"))
                {
                    Ok((_, warnings)) => (Vec::new(), warnings),
                    Err(errors) => (errors, Vec::new()),
                };
                let errors = errors.iter().map(ToString::to_string);
                for line in errors.chain(warnings.iter().map(ToString::to_string)) {
                    assert!(!line.contains(char::is_control), "{line:?}");
                    quoting += usize::from(line.contains("\\u{1b}[2J"));
                }
            }
        }
    }
    assert!(
        quoting > 100,
        "only {quoting} messages quote what was written"
    );
}

#[test]
fn every_mistake_is_reported_with_line_and_remedy() {
    for fixture in fixtures("tests/config/invalid") {
        let text = fs::read_to_string(&fixture).unwrap();
        let Err(errors) = parse(&fixture, &text) else {
            panic!("{} has no error", fixture.display());
        };
        assert_ne!(errors, Vec::new(), "{}", fixture.display());
        for error in &errors {
            let line = error.to_string();
            assert!(
                line.contains("; ") || line.ends_with('?'),
                "no remedy: {line}"
            );
            assert!(!line.contains("hunter2"), "a secret is shown: {line}");
        }
        compare(&fixture, errors.iter().map(ToString::to_string));
    }
}

#[test]
fn valid_files_are_accepted_with_their_warnings() {
    for fixture in fixtures("tests/config/valid") {
        let text = fs::read_to_string(&fixture).unwrap();
        match parse(&fixture, &text) {
            Ok((_, warnings)) => compare(&fixture, warnings.iter().map(ToString::to_string)),
            Err(errors) => panic!("{}: {errors:#?}", fixture.display()),
        }
    }
}

#[test]
fn the_users_file_is_read_again_by_the_rules_of_the_first_time() {
    let folder = TempDir::new();
    let hash = "$sha256$c2FsdHNhbHQ$FR8UeCMT3/fKTEhhldTae/b+v/u/qEX+413/4joENeU";
    let user = |name: &str| format!("[[user]]\nname = \"{name}\"\npassword = \"{hash}\"\n");
    let path = folder.path().join("bridge.toml");
    let (config, _) = parse(&path, &(user("fixed") + ROUTE)).unwrap();
    let reader = config.users_reader;
    let read = || match reader.read() {
        Ok(users) => users.iter().map(|user| user.name.to_string()).collect(),
        Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    assert_eq!(Stamp::of(reader.file()), reader.seen());
    assert_eq!(read(), ["fixed"]);
    folder.write("users.toml", &user("new"));
    let first = Stamp::of(reader.file());
    assert_ne!(first, reader.seen());
    assert_eq!(read(), ["fixed", "new"]);

    let file = folder.path().join("users.toml");
    let (file, main) = (file.display(), path.display());
    folder.write("users.toml", &user("fixed"));
    let twice = format!("{file}:2: user `fixed` is already defined at {main}:2; remove one");
    assert_eq!(read(), [twice]);
    folder.write("users.toml", &(user("forger") + "publish = [\"r/#\"]\n"));
    let forged = format!(
        "{file}:4: publish rule `r/#` would let user `forger` forge replies of route `a/{{x}}`; \
         write a narrower filter, such as `nodes/{{user}}/#`"
    );
    assert_eq!(read(), [forged]);

    // Of the same size, and perhaps within the same tick of the clock.
    folder.write("next", &user("old"));
    std::fs::rename(folder.path().join("next"), reader.file()).unwrap();
    assert_ne!(Stamp::of(reader.file()), first);
    assert_eq!(read(), ["fixed", "old"]);
}

#[test]
fn the_repository_example_is_valid_without_a_warning() {
    let text = fs::read_to_string("bridge.toml").unwrap();
    let (config, warnings) = parse(Path::new("bridge.toml"), &text).unwrap();
    assert_eq!(warnings, Vec::new());
    assert_eq!(config.routes.routes.len(), 4);
}

/// Returns what stands between two marks of the README.
fn between_marks<'r>(readme: &'r str, name: &str) -> &'r str {
    let (_, rest) = readme.split_once(&format!("<!-- {name} -->\n")).unwrap();
    let (found, _) = rest.split_once(&format!("<!-- /{name} -->\n")).unwrap();
    found
}

/// The table of one section's keys, under the section as it is written.
fn table_of(section: &str) -> String {
    let header = match section {
        "user" | "route" => format!("[[{section}]]"),
        "endpoint" | "secret" => format!("[{section}.<name>]"),
        section => match section.split_once('.') {
            Some(("route", table)) => format!("[[route]] {table} = {{ … }}"),
            Some((parent, table)) => format!("[{parent}] {table} = {{ … }}"),
            None => format!("[{section}]"),
        },
    };
    let row = |key: &Key| {
        let written = key.default.starts_with(['"', '[']) || key.default.parse::<u32>().is_ok();
        let default = match key.default {
            text if written || ["true", "false"].contains(&text) => format!("`{text}`"),
            text => text.to_owned(),
        };
        format!(
            "| `{}` | {} | {default} | {} |\n",
            key.name, key.kind, key.meaning
        )
    };
    let rows: String = keys()
        .iter()
        .filter(|key| key.section == section)
        .map(row)
        .collect();
    format!("`{header}`\n\n| key | type | default | meaning |\n|---|---|---|---|\n{rows}\n")
}

#[test]
fn the_readme_lists_every_key_and_no_other() {
    let mut sections: Vec<_> = keys().iter().map(|key| key.section).collect();
    sections.dedup();
    let wanted: String = sections.into_iter().map(table_of).collect();
    assert!(!wanted.contains("||"), "a cell is empty or breaks its row");
    let wanted = format!("\n{wanted}");
    let readme = fs::read_to_string("README.md").unwrap();
    let found = between_marks(&readme, "keys");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let begin = "<!-- keys -->\n";
        let anew = readme.replacen(&format!("{begin}{found}"), &format!("{begin}{wanted}"), 1);
        fs::write("README.md", anew).unwrap();
        return;
    }
    assert_eq!(
        found, wanted,
        "README.md; UPDATE_EXPECTED=1 cargo test --test config writes it anew"
    );
}

#[test]
fn the_readme_lists_every_code_with_its_meaning_and_a_remedy() {
    use mqtt_https_bridge::core::outcome::Code;
    let readme = fs::read_to_string("README.md").unwrap();
    let found = between_marks(&readme, "codes");
    let rows: Vec<Vec<&str>> = found
        .lines()
        .skip(2)
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let codes: Vec<_> = Code::ALL
        .iter()
        .map(|code| format!("`{}`", code.as_str()))
        .collect();
    let wanted: Vec<_> = Code::ALL
        .iter()
        .zip(&codes)
        .map(|(code, text)| [text.as_str(), code.meaning()])
        .collect();
    let listed: Vec<_> = rows.iter().map(|row| [row[0], row[1]]).collect();
    assert_eq!(listed, wanted);
    for row in rows {
        assert!(
            row.len() == 3 && row[2].ends_with('.'),
            "{row:?} has no remedy"
        );
    }
}

#[test]
fn every_example_of_the_readme_is_valid() {
    let readme = fs::read_to_string("README.md").unwrap();
    let mut examples = 0;
    for block in readme.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        // A block that only shows a part has no route of its own.
        if text.contains("[[route]]") {
            let loaded = parse(Path::new("README.md"), text);
            assert!(loaded.is_ok(), "{:#?}", loaded.unwrap_err());
            examples += 1;
        }
    }
    assert_ne!(examples, 0);
}

#[test]
fn an_empty_file_is_a_broker_without_routes() {
    let (config, warnings) = parse(Path::new("bridge.toml"), "").unwrap();
    let listeners: Vec<_> = config
        .broker
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(listeners, ["127.0.0.1:1883", "[::1]:1883"]);
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["bridge.toml: there is no [[route]], so no message becomes a request; add one"]
    );
}

#[test]
fn a_file_that_is_not_there_is_one_clear_error() {
    let errors = Config::load(Path::new("tests/config/nowhere.toml")).unwrap_err();
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "tests/config/nowhere.toml: there is no such file; create it or name another with --config"
        ]
    );
}

/// What a store can not do without.
const STORE: &str = "[store]\ndirectory = \"store\"\n";

/// Puts `key = value` into the section a key belongs to.
fn with_key(key: &Key, value: &str) -> String {
    let line = format!("{} = {value}\n", key.name);
    match key.section {
        "user" => format!("{ROUTE}[[user]]\n{line}"),
        "secret" => format!("{ROUTE}[secret.s]\n{line}"),
        "endpoint" | "route" => {
            let header = if key.section == "route" {
                "[[route]]"
            } else {
                "[endpoint.e]"
            };
            // A key that the example has already is replaced; none is in both sections.
            let twin = format!("{} =", key.name);
            let kept: Vec<_> = ROUTE
                .lines()
                .filter(|line| !line.starts_with(&twin))
                .collect();
            kept.join("\n")
                .replacen(header, &format!("{header}\n{}", line.trim_end()), 1)
        }
        "store" if key.name != "directory" => format!("{ROUTE}{STORE}{line}"),
        section => match section.split_once('.') {
            Some(("route", table)) => format!("{ROUTE}{table} = {{ {} = {value} }}\n", key.name),
            Some((section, table)) => {
                format!(
                    "{ROUTE}[{section}]\n{table} = {{ {} = {value} }}\n",
                    key.name
                )
            }
            None => format!("{ROUTE}[{section}]\n{line}"),
        },
    }
}

#[test]
fn every_key_of_the_registry_is_read() {
    for key in keys() {
        // No key takes a date: one that is read complains, one that is only listed does not.
        let text = with_key(key, "1979-05-27");
        let errors = parse(Path::new("bridge.toml"), &text).unwrap_err();
        let name = key.name;
        assert!(
            errors
                .iter()
                .any(|error| error.text.contains(name) && !error.text.contains("unknown")),
            "{}.{name} is not read: {errors:#?}",
            key.section
        );
    }
}

#[test]
fn a_default_that_is_written_out_changes_nothing() {
    let shown = |text: &str| {
        let (config, _) = parse(Path::new("bridge.toml"), text).unwrap();
        let routes = format!("{:?}", config.routes.routes);
        format!(
            "{:?} {:?} {:?} {:?} {routes}",
            config.broker, config.endpoints, config.stop_timeout, config.store
        )
    };
    let mut compared = 0;
    let plain = |default: &str| {
        default.parse::<u32>().is_ok() || default.starts_with(['"', '[']) || default == "false"
    };
    for key in keys()
        .iter()
        .filter(|key| plain(key.default) && key.section != "user")
    {
        let written = shown(&with_key(key, key.default));
        let store = if key.section == "store" { STORE } else { "" };
        let without = shown(&format!("{ROUTE}{store}"));
        assert_eq!(written, without, "{}.{}", key.section, key.name);
        compared += 1;
    }
    assert!(
        compared > 20,
        "only {compared} defaults are written as TOML"
    );
}

#[test]
fn a_route_inherits_from_its_endpoint_and_that_from_the_defaults() {
    let text = "
[defaults]
timeout = \"1s\"
deadline = \"2s\"
max_response = 1000
oversize = \"cut\"
concurrency = 7
[endpoint.e]
url = \"https://example.com/api/\"
deadline = \"3s\"
max_response = 2000
headers = { X-One = \"e\", x-two = \"e\" }
query = { k = \"e\" }
[[route]]
topic = \"a/{x}\"
endpoint = \"e\"
reply = \"r/{x}\"
path = \"/v/{x}\"
max_response = 3000
headers = { x-one = \"r\" }
query = { l = \"r\" }
";
    let (config, _) = parse(Path::new("bridge.toml"), text).unwrap();
    let route = &config.routes.routes[0];
    let limits = route.limits;
    assert_eq!(
        (limits.timeout.as_secs(), limits.deadline.as_secs()),
        (1, 3)
    );
    assert_eq!(limits.max_response, 3000);
    assert_eq!(route.endpoint.concurrency, 7);
    assert_eq!(route.path.as_str(), "/api/v/{x}");
    let values = |named: &[(String, mqtt_https_bridge::core::template::Template)]| -> Vec<String> {
        named
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str()))
            .collect()
    };
    assert_eq!(values(&route.headers), ["x-two=e", "x-one=r"]);
    assert_eq!(values(&route.query), ["k=e", "l=r"]);
}

#[test]
fn a_body_is_a_form_when_route_or_endpoint_says_so() {
    use mqtt_https_bridge::core::template::Place;
    let form = "headers = { Content-Type = \"application/x-www-form-urlencoded\" }\n";
    let text = "headers = { content-type = \"text/plain\" }\n";
    let cases = [
        (form, "", Place::Form, "from the endpoint"),
        ("", form, Place::Form, "from the route"),
        (form, text, Place::Text, "the route's own wins"),
        ("", "", Place::Text, "nobody says so"),
    ];
    for (endpoint, route, expected, reason) in cases {
        let text = format!(
            "[endpoint.e]\nurl = \"https://example.com\"\n{endpoint}[[route]]\n\
             topic = \"a/{{x}}\"\nendpoint = \"e\"\nreply = \"r/{{x}}\"\n\
             method = \"POST\"\nbody = \"a={{payload}}\"\n{route}"
        );
        let (config, _) = parse(Path::new("bridge.toml"), &text).unwrap();
        let body = config.routes.routes[0].body.as_ref().unwrap();
        assert_eq!(body.place(), expected, "{reason}");
    }
}

#[test]
fn a_timeout_never_exceeds_a_deadline_that_is_shorter_than_its_default() {
    let (config, _) = parse(
        Path::new("bridge.toml"),
        &format!("{ROUTE}deadline = \"3s\"\n"),
    )
    .unwrap();
    assert_eq!(config.routes.routes[0].limits.timeout.as_secs(), 3);
}

#[test]
fn secrets_are_not_in_the_debug_output() {
    let text = "[secret.s]\nenv = \"PRESENT\"\n[endpoint.e]\nurl = \"https://example.com\"\n\
        headers = { authorization = \"Bearer {secret.s}\" }\n\
        [[route]]\ntopic = \"a/{x}\"\nendpoint = \"e\"\nreply = \"r/{x}\"\n";
    let (config, _) = parse(Path::new("bridge.toml"), text).unwrap();
    assert!(config.routes.routes[0].headers[0].1.holds_secret());
    assert!(!format!("{config:?}").contains("hunter2"));
}
