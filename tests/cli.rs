//! The built program in a clean environment: exit codes, what it prints, what it writes.

#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::time::Duration;

use daemon::{Daemon, program};
use temp_dir::TempDir;

const ROUTE: &str = r#"
[broker]
listen = ["127.0.0.1:0"]

[secret.token]
file = "token"

[endpoint.closed]
url = "https://localhost:1"
address = "127.0.0.1"
headers = { authorization = "Bearer {secret.token}" }

[[route]]
name = "the owner's route"
topic = "nodes/{node}/get/{id}"
endpoint = "closed"
path = "/things/{id}"
reply = "replies/{node}/get/{outcome}"
"#;

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

fn run(folder: &TempDir, arguments: &[&str]) -> Ended {
    program(folder).args(arguments).output().unwrap().into()
}

fn run_with_input(folder: &TempDir, arguments: &[&str], input: &str) -> Ended {
    let mut command = program(folder);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses before it reads has closed its end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

fn configured() -> TempDir {
    let folder = TempDir::new();
    folder.write("bridge.toml", ROUTE);
    folder.write("token", "hunter2\n");
    restrict(&folder, "token");
    folder
}

fn restrict(folder: &TempDir, name: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.path().join(name);
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
#[cfg(not(feature = "selftest"))]
fn without_the_self_test_it_is_said_where_it_is() {
    let ended = run(&TempDir::new(), &["selftest"]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.err,
        "this program is built without the self-test; run `mqtt-https-bridge-selftest`, which \
         the package of that name installs\n"
    );
}

#[test]
fn help_lists_commands_and_exit_codes() {
    let ended = run(&TempDir::new(), &["--help"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    for expected in [
        "Examples:\n  mqtt-https-bridge",
        "\n  mqtt-https-bridge  ",
        "run ",
        "check",
        "probe",
        "send",
        "user",
        "   78  bridge.toml",
        "  124  no reply",
    ] {
        assert!(
            ended.out.contains(expected),
            "{expected} is not in\n{}",
            ended.out
        );
    }
    let readme = std::fs::read_to_string("README.md").unwrap();
    // `  124  no reply in time` in one, `| 124 | no reply in time |` in the other.
    let codes = ended.out.split_once("Exit codes:\n").unwrap().1;
    let rows: String = codes
        .lines()
        .map(|line| {
            let (code, meaning) = line.trim_start().split_once("  ").unwrap();
            format!("| {code} | {meaning} |\n")
        })
        .collect();
    let table = format!("| exit code | meaning |\n|---|---|\n{rows}\n");
    assert!(readme.contains(&table), "README.md lacks\n{table}");
    let (_, listed) = ended.out.split_once("Commands:\n").unwrap();
    let commands: Vec<_> = listed
        .lines()
        .map_while(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    let (_, table) = readme
        .split_once("| command | what it does |\n|---|---|\n")
        .unwrap();
    let documented: Vec<_> = table
        .lines()
        .map_while(|row| row.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(documented, commands);
    for mark in [
        "`mqtt-https-bridge ",
        "\nmqtt-https-bridge ",
        "cargo run --release -- ",
    ] {
        for after in readme.split(mark).skip(1) {
            let word = after.split([' ', '`', '\n']).next().unwrap();
            assert!(commands.contains(&word), "{mark}{word}");
        }
    }
    let version = run(&TempDir::new(), &["--version"]);
    assert_eq!(
        version.out,
        format!("mqtt-https-bridge {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn arguments_that_make_no_sense_exit_with_64() {
    let cases: [&[&str]; 17] = [
        &["probe", "https://localhost:99999/"],
        &["probe", "https://localhost:0/"],
        &["frobnicate"],
        &["run", "--listen", "[::1]:1", "--listen-file", "x"],
        &["run", "--listen", "localhost:1883"],
        &["run", "--listen", "127.0.0.1"],
        &["run", "--listen", "[::1]:1", "--listen", "[::1]:1"],
        &["run", "--listen", "[::1]:1", "--listen", "[::]:1"],
        &["check", "--payload", "x"],
        &["send"],
        &["send", "a/#"],
        &["send", "a", "--timeout", "soon"],
        &["send", "a", "--password", "x"],
        &["probe", "http://example.com/"],
        &["probe", "https://example.com/", "--roots", "nowhere.pem"],
        &["user"],
        &["--log-level", "loud"],
    ];
    for arguments in cases {
        let ended = run(&TempDir::new(), arguments);
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (Some(64), ""),
            "{arguments:?}: {ended:?}"
        );
        assert_ne!(ended.err, "", "{arguments:?}");
    }
}

#[test]
fn every_command_reports_all_configuration_errors_and_exits_with_78() {
    let folder = TempDir::new();
    folder.write(
        "bridge.toml",
        "[gateway]\nnmae = \"x\"\n[broker]\nlisten = []\n",
    );
    let expected = "bridge.toml:2: unknown key `nmae` in [gateway]; did you mean `name`?\n\
                    bridge.toml:4: listen is empty; write `listen = [\"127.0.0.1:1883\"]`\n";
    for arguments in [&[][..], &["run"], &["check"], &["check", "--topic", "a"]] {
        let ended = run(&folder, arguments);
        assert_eq!(
            (ended.code, ended.err.as_str()),
            (Some(78), expected),
            "{arguments:?}"
        );
        assert_eq!(ended.out, "", "{arguments:?}");
    }
}

#[test]
fn without_a_configuration_the_error_says_where_one_belongs() {
    let ended = run(&TempDir::new(), &["check", "--config", "conf/bridge.toml"]);
    assert_eq!(ended.code, Some(78));
    assert_eq!(
        ended.err,
        "conf/bridge.toml: there is no such file; create it or name another with --config\n"
    );
}

#[test]
fn check_prints_what_it_understood_and_no_secret() {
    let folder = configured();
    let ended = run(&folder, &["check"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
    let expected = "\
file        bridge.toml is valid, id f76ae8ab
gateway     HOST
listener    127.0.0.1:0 (MQTT 3.1, 3.1.1 and 5)
anonymous   clients on this machine, which publish to # and subscribe to #
users file  users.toml

endpoint    closed https://localhost:1
            trusts the bundled roots; TLS 1.2 or later
            connects to 127.0.0.1; IPv4 and IPv6; follows redirects to the same origin
            2 requests at a time, 100 jobs at most, 25 of one client

route 1     the owner's route
            nodes/{node}/get/{id} → GET https://localhost:1/things/{id} (closed)
            headers authorization
            reply replies/{node}/get/{outcome}: plain, QoS 1
            packets of 256B, longer replies are an error
            success 2xx; timeout 5s, deadline 12s, responses up to 64KiB
";
    let host = ended
        .out
        .lines()
        .nth(1)
        .unwrap()
        .replace("gateway     ", "");
    assert_eq!(ended.out.replace(&host, "HOST"), expected);
}

#[test]
fn check_says_which_listeners_wait_for_a_user() {
    let folder = configured();
    let listen = "listen = [\"127.0.0.1:1883\", \"192.168.1.1:1883\"]";
    let text = ROUTE.replace("listen = [\"127.0.0.1:0\"]", listen);
    folder.write("bridge.toml", &text);
    let listeners = || -> Vec<String> {
        let lines = run(&folder, &["check"]).out;
        let lines = lines.lines().filter_map(|line| {
            let (_, listener) = line.split_once("listener    ")?;
            Some(listener.replace(" (MQTT 3.1, 3.1.1 and 5)", ""))
        });
        lines.collect()
    };
    let closed = "192.168.1.1:1883, closed until there is a user";
    assert_eq!(listeners(), ["127.0.0.1:1883", closed]);
    assert_eq!(run(&folder, &["user", "add", "n"]).code, Some(0));
    assert_eq!(listeners(), ["127.0.0.1:1883", "192.168.1.1:1883"]);
}

#[test]
fn addresses_to_listen_on_are_checked_as_in_bridge_toml() {
    let folder = configured();
    let cases: [(&[&str], &str); 3] = [
        (
            &["localhost:1883"],
            "listens on the host name `localhost`, expected an IP address; write `127.0.0.1:1883` \
             for this machine alone or `0.0.0.0:1883` for the network",
        ),
        (
            &["[::1]:1", "[::1]:1"],
            "--listen: listens on `[::1]:1` twice; remove one",
        ),
        (
            &["127.0.0.1:1", "0.0.0.0:1"],
            "--listen: listens on `0.0.0.0:1`, which includes `127.0.0.1:1`; remove one",
        ),
    ];
    for (addresses, expected) in cases {
        let given = addresses.iter().flat_map(|address| ["--listen", address]);
        let arguments: Vec<_> = ["run"].into_iter().chain(given).collect();
        let ended = run(&folder, &arguments);
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.err.contains(expected), "{ended:?}");
    }
}

#[test]
fn a_file_of_addresses_is_read_before_anything_is_opened() {
    let folder = configured();
    folder.write("listeners", "127.0.0.1:1883\n\n0.0.0.0:1883\n::1\n");
    let cases = [
        (
            "listeners",
            "listeners:3: listens on `0.0.0.0:1883`, which includes `127.0.0.1:1883`; remove one\n\
             listeners:4: listens on `::1`, which has no port; write `[::1]:1883`\n",
        ),
        (
            "missing",
            "missing: there is no such file; write an address and port a line, such as \
             `127.0.0.1:1883`\n",
        ),
    ];
    for (file, expected) in cases {
        let ended = run(&folder, &["run", "--listen-file", file]);
        assert_eq!((ended.code, &*ended.err), (Some(78), expected));
    }
}

#[test]
fn check_shows_the_request_of_a_message_without_its_secret() {
    let folder = configured();
    let ended = run(
        &folder,
        &["check", "--topic", "nodes/n1/get/a b", "--payload", "x"],
    );
    let expected = "\
route     the owner's route
request   GET https://localhost:1/things/a%20b
          authorization: Bearer ***
reply     replies/n1/get/ok
          replies/n1/get/error
";
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), expected),
        "{ended:?}"
    );
}

#[test]
fn check_says_why_a_message_makes_no_request() {
    let folder = configured();
    let cases = [
        (
            "elsewhere",
            "",
            "no route takes `elsewhere`: it is ordinary MQTT; see `mqtt-https-bridge check`\n",
        ),
        (
            "$SYS/x",
            "",
            "`$SYS/x`: nobody may publish there: it begins with `$`; name another topic\n",
        ),
        (
            "replies/n1/get/ok",
            "",
            "`replies/n1/get/ok`: nobody may publish there: it is where a route replies; name the \
             topic of a request\n",
        ),
        (
            "nodes/n1/get/..",
            "answer    bridge.bad_request - `{id}` would make a path segment `..`\n",
            "",
        ),
    ];
    for (topic, out, err) in cases {
        let ended = run(&folder, &["check", "--topic", topic]);
        assert_eq!(
            (ended.code, ended.out.as_str(), ended.err.as_str()),
            (Some(1), out, err)
        );
    }
    let asks = |user| ["check", "--topic", "nodes/n1/get/1", "--user", user];
    for user in ["n1", "n2"] {
        assert_eq!(run(&folder, &["user", "add", user]).code, Some(0));
    }
    assert_eq!(run(&folder, &asks("n1")).code, Some(0));
    let ended = run(&folder, &asks("n2"));
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (
            Some(1),
            "`nodes/n1/get/1`: user `n2` with client ID `check` may not publish there, only to \
             nodes/{user}/#; correct its `publish`\n"
        )
    );
}

#[test]
fn check_refuses_roots_with_which_the_bridge_would_not_start() {
    let folder = TempDir::new();
    folder.write("empty.pem", "no PEM");
    folder.write(
        "bridge.toml",
        "[endpoint.a]\nurl = \"https://a.example\"\nroots = [\"empty.pem\"]\n\
         [endpoint.b]\nurl = \"https://b.example\"\nroots = [\"empty.pem\"]\n",
    );
    let ended = run(&folder, &["check"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(78), ""));
    for name in ["a", "b"] {
        let line = format!(
            "bridge.toml: endpoint `{name}`: roots file `empty.pem` holds no certificate; \
             expected PEM with BEGIN CERTIFICATE\n"
        );
        assert!(ended.err.contains(&line), "{line} in {}", ended.err);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let folder = configured();
    let mut command = program(&folder);
    command
        .arg("check")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

#[test]
fn users_are_added_and_listed() {
    use std::os::unix::fs::PermissionsExt;
    // A secret that is not there yet does not stand in the way.
    let folder = configured();
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let added = run(&folder, &["user", "add", "kitchen"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    assert!(
        added
            .err
            .starts_with("the bridge would not start with this configuration yet:\n")
    );
    folder.write("token", "hunter2\n");
    restrict(&folder, "token");

    let lines: Vec<_> = added.out.lines().collect();
    assert_eq!(
        lines[0],
        "user `kitchen` added to users.toml; a running bridge takes it over at once"
    );
    let password = lines[1]
        .strip_prefix("password, shown this once: ")
        .unwrap();
    assert_eq!(password.len(), 26);
    assert!(
        lines[3].ends_with(&format!("(\"kitchen\", \"kitchen\", \"{password}\");")),
        "{added:?}"
    );
    let text = folder.read("users.toml");
    assert!(
        !text.contains(password) && text.contains("password = \"$sha256$"),
        "{text}"
    );
    let mode = std::fs::metadata(folder.path().join("users.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let again = run(&folder, &["user", "add", "kitchen"]);
    assert_eq!(
        (again.code, again.err.as_str()),
        (
            Some(1),
            "user `kitchen` is already in users.toml; use `user set kitchen` for a new password\n"
        )
    );
    let garden = run_with_input(
        &folder,
        &["user", "add", "garden", "--password-stdin"],
        "correct horse\n",
    );
    assert_eq!(
        (garden.code, garden.out.as_str(), garden.err.as_str()),
        (
            Some(0),
            "user `garden` added to users.toml; a running bridge takes it over at once\n",
            ""
        )
    );
    assert!(
        folder
            .read("users.toml")
            .contains("password = \"$argon2id$v=19$m=1536,t=1,p=1$")
    );
    let listed = run(&folder, &["user", "list"]);
    assert_eq!(listed.out, "kitchen\tusers.toml\ngarden\tusers.toml\n");

    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(
        names,
        Vec::<String>::new(),
        "temporary files are left behind"
    );
}

#[test]
fn commands_on_users_wait_for_each_other_and_follow_a_link() {
    let folder = configured();
    std::fs::create_dir(folder.path().join("kept")).unwrap();
    folder.write("kept/users.toml", "# by hand\n");
    std::os::unix::fs::symlink("kept/users.toml", folder.path().join("users.toml")).unwrap();
    let add = |number: usize| {
        let mut command = program(&folder);
        command.args(["user", "add", &format!("n{number}")]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let running: Vec<_> = (0..6).map(add).collect();
    // One who takes their time does not keep the others, nor undo what they do.
    let mut slow = program(&folder);
    slow.args(["user", "add", "slow", "--password-stdin"]);
    slow.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut slow = slow.spawn().unwrap();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(run(&folder, &["user", "remove", "n0"]).code, Some(0));
    slow.stdin
        .take()
        .unwrap()
        .write_all(b"long enough\n")
        .unwrap();
    assert!(slow.wait().unwrap().success());
    let listed = run(&folder, &["user", "list"]).out;
    let mut names: Vec<_> = listed
        .lines()
        .filter_map(|it| it.split('\t').next())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["n1", "n2", "n3", "n4", "n5", "slow"]);
    assert!(folder.read("kept/users.toml").starts_with("# by hand\n"));
    assert!(folder.path().join("users.toml").is_symlink());
}

#[test]
fn users_get_other_passwords_and_are_removed() {
    let folder = configured();
    for name in ["kitchen", "garden"] {
        assert_eq!(run(&folder, &["user", "add", name]).code, Some(0));
    }
    let before = folder.read("users.toml");
    let set = run(&folder, &["user", "set", "kitchen"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    assert_ne!(folder.read("users.toml"), before);
    let removed = run(&folder, &["user", "remove", "garden"]);
    assert_eq!(
        (removed.code, removed.out.as_str()),
        (
            Some(0),
            "user `garden` removed from users.toml; a running bridge takes it over at once\n"
        )
    );
    assert_eq!(run(&folder, &["user", "list"]).out, "kitchen\tusers.toml\n");
}

#[test]
fn users_that_can_not_be_are_refused() {
    let folder = configured();
    let cases: [(&[&str], i32, &str); 4] = [
        (
            &["user", "add", "a/b"],
            64,
            "user name `a/b` holds `/`, `+` or `#`, which mean something in topics; choose another name\n",
        ),
        (
            &["user", "remove", "nobody"],
            1,
            "there is no user `nobody` in users.toml; use `user list` or `user add nobody`\n",
        ),
        (
            &["user", "set", "nobody"],
            1,
            "there is no user `nobody` in users.toml; use `user list` or `user add nobody`\n",
        ),
        (
            &["user", "add", "a", "--password-stdin"],
            64,
            "the password has 0 bytes, shortest is 8; choose a longer one or leave --password-stdin out\n",
        ),
    ];
    for (arguments, code, err) in cases {
        let ended = run(&folder, arguments);
        assert_eq!(
            (ended.code, ended.err.as_str()),
            (Some(code), err),
            "{arguments:?}"
        );
    }
    assert!(!folder.path().join("users.toml").exists());
}

#[test]
fn send_prints_the_reply_and_tells_failure_and_silence_apart() {
    let folder = configured();
    let daemon = Daemon::start(&folder, &[]);
    let failure = run(&folder, &["send", "--port", &daemon.port, "nodes/me/get/1"]);
    assert_eq!(
        (failure.code, failure.err.as_str()),
        (Some(1), ""),
        "{failure:?}"
    );
    assert!(failure.out.starts_with("connect.refused - "), "{failure:?}");
    let silence = run(
        &folder,
        &[
            "send",
            "--port",
            &daemon.port,
            "--timeout",
            "1s",
            "elsewhere",
        ],
    );
    assert_eq!(
        (silence.code, silence.err.as_str()),
        (
            Some(124),
            "no reply to `elsewhere` within 1s; check that a route takes it with \
             `mqtt-https-bridge check --topic`\n"
        )
    );
    // One's own message is no reply, also if it goes where the reply is to go.
    let own = ["--response-topic", "elsewhere", "--timeout", "1s"];
    let port = ["send", "--port", &daemon.port];
    let ended = run(&folder, &[&port[..], &own, &["elsewhere"]].concat());
    assert_eq!((ended.code, ended.out.as_str()), (Some(124), ""));
    for qos in ["1", "2"] {
        let ended = run(&folder, &[&port[..], &["--qos", qos, "$SYS/x"]].concat());
        assert_eq!(
            (ended.code, ended.err.as_str()),
            (
                Some(1),
                "the broker refuses a message to `$SYS/x`: not authorized; publish to a topic that \
                 the user may publish to\n"
            ),
            "QoS {qos}"
        );
    }
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        !log.contains("hunter2") && !log.contains("panicked"),
        "{log}"
    );
}

#[test]
fn send_prints_a_reply_that_comes_with_the_end_of_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let broker = std::thread::spawn(move || {
        let (mut node, _) = listener.accept().unwrap();
        node.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // CONNECT, SUBSCRIBE of two filters, PUBLISH; the last is answered by reply and DISCONNECT.
        for answer in [
            &[0x20, 3, 0, 0, 0][..],
            &[0x90, 5, 0, 1, 0, 1, 1],
            b"\x30\x06\0\x01r\0ok\xE0\x01\x8B",
        ] {
            let mut header = [0; 2];
            node.read_exact(&mut header).unwrap();
            assert!(header[1] < 0x80);
            let mut body = vec![0; usize::from(header[1])];
            node.read_exact(&mut body).unwrap();
            node.write_all(answer).unwrap();
        }
    });
    let folder = TempDir::new();
    let asks = ["send", "--port", &port, "--response-topic", "r", "t"];
    let ended = run(&folder, &asks);
    broker.join().unwrap();
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), "ok\n"),
        "{ended:?}"
    );
}

#[test]
fn a_publish_that_almost_matches_a_route_is_logged_once_with_the_nearest() {
    let folder = configured();
    let daemon = Daemon::start(&folder, &[]);
    let mut node = TcpStream::connect(format!("127.0.0.1:{}", daemon.port)).unwrap();
    let packet = |first: u8, body: &[u8]| {
        let length = u8::try_from(body.len()).unwrap();
        [&[first, length][..], body].concat()
    };
    let publish = |topic: &str| {
        let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
        packet(0x30, &[&length[..], topic.as_bytes()].concat())
    };
    let connect = packet(0x10, b"\0\x04MQTT\x04\x02\0\0\0\x04a`\x1bb");
    let messages = ["nodes/me/got/1", "nodes/me/got/2", "elsewhere", "nodes"].map(publish);
    node.write_all(&[connect, messages.concat(), vec![0xC0, 0]].concat())
        .unwrap();
    let mut answers = [0; 6];
    node.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    node.read_exact(&mut answers).unwrap();
    assert_eq!(answers, [0x20, 2, 0, 0, 0xD0, 0]);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("no route"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    let expected = "INFO  client `a\\u{60}\\u{1b}b` published to `nodes/me/got/1`, which no route \
        takes; nearest is route `the owner's route` with topic `nodes/{node}/get/{id}`";
    assert!(lines[0].ends_with(expected), "{}", lines[0]);
}

#[test]
fn send_knows_its_user_and_is_refused_with_a_wrong_password() {
    let folder = configured();
    let added = run_with_input(
        &folder,
        &["user", "add", "me", "--password-stdin"],
        "correct horse\n",
    );
    assert_eq!(added.code, Some(0), "{added:?}");
    folder.write("right", "correct horse\n");
    folder.write("wrong", "battery staple\n");
    let daemon = Daemon::start(&folder, &[]);
    let port = daemon.port.as_str();
    let send = |file: &str, topic: &str| {
        let arguments = [
            "send",
            "--port",
            port,
            "--user",
            "me",
            "--password-file",
            file,
            topic,
        ];
        run(&folder, &arguments)
    };
    let own = send("right", "nodes/me/get/1");
    assert_eq!(own.code, Some(1), "{own:?}");
    assert!(own.out.starts_with("connect.refused - "), "{own:?}");
    let foreign = send("right", "nodes/other/get/1");
    assert_eq!(
        (foreign.code, foreign.err.as_str()),
        (
            Some(1),
            "the broker refuses a message to `nodes/other/get/1`: not authorized; \
             publish to a topic that the user may publish to\n"
        )
    );
    let wrong = send("wrong", "nodes/me/get/1");
    assert_eq!(wrong.code, Some(69));
    assert_eq!(
        wrong.err,
        format!(
            "the broker at 127.0.0.1:{port} refuses the connection: bad user name or password; \
             correct --user and --password-file\n"
        )
    );
}

#[test]
fn send_without_a_broker_exits_with_69() {
    // Bound and not listening any more: nothing answers there.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let ended = run(&TempDir::new(), &["send", "--port", &port, "a"]);
    assert_eq!(ended.code, Some(69));
    assert_eq!(
        ended.err,
        format!(
            "can not reach a broker at 127.0.0.1:{port}: connection refused; \
             start it, or name another with --host and --port\n"
        )
    );
}

#[test]
fn a_port_in_use_is_one_line_and_exit_code_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = configured();
    folder.write("bridge.toml", &ROUTE.replace("127.0.0.1:0", &address));
    let ended = run(&folder, &["--log-level", "error", "run"]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    let expected = format!("cannot listen on `{address}`: another program listens there");
    assert!(ended.err.contains(&expected), "{ended:?}");
}
