//! `probe` against servers, with a bridge.toml beside it: whose trust it uses, what comes of it,
//! and what it advises.

#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/https.rs"]
mod https;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use certificates::{Authority, DAY, Identity, list_pem, self_signed_expired};
use daemon::program;
use https::{Script, Server};
use temp_dir::TempDir;

const HOST: &str = "site.example";
/// A key that nobody has.
const ANOTHER: &str = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OK: &str = "\nok: status 200, ";

/// An authority, a folder with its root, and a bridge.toml to come.
struct Site {
    us: Authority,
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let (us, folder) = (Authority::new("test"), TempDir::new());
        folder.write("root.pem", &us.root_pem());
        Self { us, folder }
    }

    /// Starts a server and writes a bridge.toml whose endpoint `site` has its host and port.
    fn server(&self, identity: &Identity, script: Script, lines: &str) -> Server {
        let server = Server::start(identity, script);
        self.configure(&format!("https://{HOST}:{}", server.port()), lines);
        server
    }

    fn configure(&self, url: &str, lines: &str) {
        let text = format!(
            "[endpoint.site]\nurl = \"{url}\"\naddress = \"127.0.0.1\"\nroots = [\"root.pem\"]\n\
             {lines}\n"
        );
        self.folder.write("bridge.toml", &text);
    }

    /// Probes and returns the exit code, and all that was printed.
    fn probe(&self, host: &str, server: &Server, arguments: &[&str]) -> (i32, String) {
        let url = format!("https://{host}:{}/path", server.port());
        let mut command = program(&self.folder);
        let ended = command.args(["probe", &url]).args(arguments).output();
        let ended = ended.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let printed = text(ended.stdout) + &text(ended.stderr);
        (ended.status.code().unwrap(), printed)
    }
}

fn assert_says(printed: &str, lines: &[&str]) {
    for line in lines {
        assert!(printed.contains(line), "`{line}` in\n{printed}");
    }
}

#[test]
fn the_endpoint_of_the_host_lends_its_trust() {
    let site = Site::new();
    let server = site.server(&site.us.good(&[HOST]), Script::echo(), "");
    let (code, printed) = site.probe("Site.example", &server, &[]);
    let first = "endpoint    `site` of bridge.toml\n            trusts only root.pem; TLS 1.2 or \
                 later\n\nlook-up ";
    assert!(printed.starts_with(first), "{printed}");
    assert_says(&printed, &[OK]);
    assert_eq!(code, 0);
}

#[test]
fn a_key_that_is_not_pinned_is_told_with_its_pin() {
    let site = Site::new();
    let identity = site.us.good(&[HOST]);
    let pins = format!("pins = [\"{ANOTHER}\"]");
    let server = site.server(&identity, Script::echo(), &pins);
    let (code, printed) = site.probe(HOST, &server, &[]);
    let found = identity.pin(0);
    assert_says(
        &printed,
        &[
            "            the chain must hold one of 1 pinned key\n",
            &format!("  pin        {found}\n"),
            &format!("\ntls.pin_mismatch: the server's key is {found}, which is not pinned\n"),
            "  what to do if the server's key was changed on purpose, put its pin, as above, into \
             `pins`; else do not use this server\n",
        ],
    );
    assert_eq!(code, 1);
}

#[test]
fn lists_of_files_are_asked() {
    let site = Site::new();
    let bad = site.us.good(&[HOST]);
    let list = |der: &[u8]| site.folder.write("list.pem", &list_pem(der));
    list(&site.us.list(&[&bad], DAY));
    let server = site.server(&bad, Script::echo(), "crl = [\"list.pem\"]");
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(
        &printed,
        &[
            "            refuses what is revoked by list.pem\n",
            "\ntls.revoked: ",
            "  what to do do not use this server until it has another certificate\n",
        ],
    );
    assert_eq!(code, 1);

    list(&site.us.old_list(&[]));
    let required = "crl = [\"list.pem\"]\nrevocation = \"require\"";
    let server = site.server(&bad, Script::echo(), required);
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(
        &printed,
        &[
            "\ntls.revocation_unknown: ",
            "  what to do put a list of each issuer that is up to date into `crl`; or write \
             `revocation = \"check\"`\n",
        ],
    );
    assert_eq!(code, 1);
}

#[test]
fn lists_are_fetched_and_what_hinders_that_is_told() {
    let site = Site::new();
    // Nobody listens there.
    let identity = site.us.listed_at(&[HOST], "http://127.0.0.1:1/leaf.crl");
    let fetch = "crl = \"fetch\"\nprivate_addresses = true\nrevocation = \"require\"";
    let server = site.server(&identity, Script::echo(), fetch);
    let (code, printed) = site.probe(HOST, &server, &["--log-level", "debug"]);
    assert_says(
        &printed,
        &[
            "no revocation list from `http://127.0.0.1:1/leaf.crl`: ",
            "\ntls.revocation_unknown: ",
            "  what to do look whether this machine reaches the list where the certificate says it \
             is, with `--log-level debug`; or write `revocation = \"check\"`\n",
        ],
    );
    assert_eq!(code, 1);
}

#[test]
fn the_client_certificate_is_shown() {
    let (site, them) = (Site::new(), Authority::new("other"));
    let own = site.us.for_clients(&["gateway"]);
    site.folder.write("own.pem", &own.chain_pem());
    site.folder.write("own.key", &own.key_pem());
    let shown = "client_certificate = \"own.pem\"\nclient_key = \"own.key\"";
    let requiring = |of| Script::echo().requiring_client_certificate(of);
    let good = site.us.good(&[HOST]);

    let server = site.server(&good, requiring(&site.us), shown);
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(&printed, &["            shows own.pem if asked\n", OK]);
    assert_eq!(code, 0);

    let server = site.server(&good, requiring(&them), shown);
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(
        &printed,
        &[
            "\ntls.client_certificate: the server refused ours with alert unknown ca\n",
            "  what to do have `client_certificate` issued by a CA that the server accepts, or ask \
             its owner\n",
        ],
    );
    assert_eq!(code, 1);

    let server = site.server(&good, requiring(&site.us), "");
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(
        &printed,
        &[
            "\ntls.client_certificate: ",
            "  what to do give the endpoint a `client_certificate` that it accepts\n",
        ],
    );
    assert_eq!(code, 1);
}

#[test]
fn a_server_below_min_tls_is_refused() {
    let site = Site::new();
    let good = site.us.good(&[HOST]);
    let server = site.server(&good, Script::echo().tls12(), "min_tls = \"1.3\"");
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(
        &printed,
        &[
            "            trusts only root.pem; TLS 1.3 or later\n",
            "\ntls.protocol: ",
            "  what to do the server has to offer TLS 1.3 with a current cipher suite; if it can \
             not, write `min_tls = \"1.2\"`\n",
        ],
    );
    assert_eq!(code, 1);
}

#[test]
fn the_clock_is_believed_as_the_gateway_believes_it() {
    let site = Site::new();
    let server = site.server(
        &site.us.good(&[HOST]),
        Script::echo(),
        "[gateway]\nclock = { synchronised_file = \"set\" }",
    );
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(
        &printed,
        &[
            "\nclock.unset: the gateway does not know the time\n",
            "  what to do set the clock (NTP)\n  clock      20",
            "             not believed before `set` is there\n",
        ],
    );
    assert_eq!(code, 1);
    site.folder.write("set", "stratum 3");
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(&printed, &[OK]);
    assert_eq!(code, 0);
}

#[test]
fn a_topics_host_is_probed_as_a_topic_may_reach_it() {
    let site = Site::new();
    let server = Server::start(&site.us.good(&["a.site.example"]), Script::echo());
    site.configure(&format!("https://{{x}}.{HOST}:{}", server.port()), "");
    let (code, printed) = site.probe("a.site.example", &server, &[]);
    assert_says(&printed, &["endpoint    `site` of bridge.toml\n", OK]);
    assert_eq!(code, 0);
}

#[test]
fn the_command_line_wins() {
    let site = Site::new();
    let device = self_signed_expired(&[HOST]);
    let server = Server::start(&device, Script::echo());
    let text = format!(
        "[endpoint.site]\nurl = \"https://{HOST}:{}\"\naddress = \"127.0.0.1\"\nroots = \"none\"\n\
         pins = [\"{}\"]\nunchecked = [\"dates\"]\n",
        server.port(),
        device.pin(0)
    );
    site.folder.write("bridge.toml", &text);
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(&printed, &[OK]);
    assert_eq!(code, 0);

    site.folder.write("device.pem", &device.leaf_pem());
    let (code, printed) = site.probe(HOST, &server, &["--roots", "device.pem"]);
    assert_says(
        &printed,
        &[
            "endpoint    `site` of bridge.toml\n            trusts only device.pem; ",
            "            the chain must hold one of 1 pinned key\n",
            "\ntls.expired: expired 2015-04-12\n",
        ],
    );
    assert_eq!(code, 1);

    // Nobody listens there: who wins shows in where it goes.
    let (_, printed) = site.probe(
        HOST,
        &server,
        &["--address", "127.0.0.2", "--timeout", "2s"],
    );
    assert_says(&printed, &["\nconnect."]);
}

#[test]
fn an_endpoint_is_chosen_by_its_name() {
    let site = Site::new();
    let server = Server::start(&site.us.good(&[HOST]), Script::echo());
    let url = format!("https://{HOST}:{}", server.port());
    let second = format!(
        "[endpoint.pinned]\nurl = \"{url}/base\"\naddress = \"127.0.0.1\"\nroots = [\"root.pem\"]\n\
         pins = [\"{ANOTHER}\"]\n"
    );
    site.configure(&url, &second);
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(
        &printed,
        &[
            "endpoint    `site` of bridge.toml\n            `pinned` reaches this host too; \
             --endpoint pinned chooses it\n            trusts",
            OK,
        ],
    );
    assert_eq!(code, 0);

    let (code, printed) = site.probe(HOST, &server, &["--endpoint", "pinned"]);
    assert_says(
        &printed,
        &[
            "endpoint    `pinned` of bridge.toml\n",
            "\ntls.pin_mismatch: ",
        ],
    );
    assert_eq!(code, 1);

    let (code, printed) = site.probe(HOST, &server, &["--endpoint", "pined"]);
    assert_eq!(
        (code, printed.as_str()),
        (
            64,
            "bridge.toml has no endpoint `pined`; did you mean `pinned`?\n"
        )
    );
    let (code, printed) = site.probe(HOST, &server, &["--endpoint", "kitchen"]);
    let told = "bridge.toml has no endpoint `kitchen`; `mqtt-https-bridge check` shows all\n";
    assert_eq!((code, printed.as_str()), (64, told));
}

#[test]
fn without_an_endpoint_for_the_host_the_default_is_used_and_said() {
    let site = Site::new();
    let server = Server::start(&site.us.good(&[HOST]), Script::echo());
    let here = ["--address", "127.0.0.1"];
    let (code, printed) = site.probe(HOST, &server, &here);
    assert_says(
        &printed,
        &[
            "endpoint    none, as there is no bridge.toml; the default is used\n            trusts \
             the bundled roots; TLS 1.2 or later\n\n",
            "\ntls.unknown_issuer: ",
        ],
    );
    assert_eq!(code, 1);

    site.configure("https://other.example", "");
    let (code, printed) = site.probe(HOST, &server, &here);
    let none = format!(
        "endpoint    none, as bridge.toml has none for {HOST} port {}; the default is used\n",
        server.port()
    );
    assert_says(&printed, &[&none, "\ntls.unknown_issuer: "]);
    assert_eq!(code, 1);

    // Its trust is lent, its address is that of another host.
    let named = [&here[..], &["--endpoint", "site"]].concat();
    let (code, printed) = site.probe(HOST, &server, &named);
    assert_says(&printed, &["endpoint    `site` of bridge.toml\n", OK]);
    assert_eq!(code, 0);
}

#[test]
fn a_configuration_that_can_not_be_used_is_told() {
    let site = Site::new();
    let server = site.server(&site.us.good(&[HOST]), Script::echo(), "pin = []");
    let (code, printed) = site.probe(HOST, &server, &[]);
    assert_says(&printed, &["bridge.toml:5: unknown key `pin` in "]);
    assert_eq!(code, 78);
    let (code, printed) = site.probe(HOST, &server, &["--config", "none.toml"]);
    assert_says(&printed, &["none.toml: there is no such file; "]);
    assert_eq!(code, 78);
    // A way past it.
    let (code, printed) = site.probe(
        HOST,
        &server,
        &[
            "--config",
            "/dev/null",
            "--address",
            "127.0.0.1",
            "--roots",
            "root.pem",
        ],
    );
    assert_says(
        &printed,
        &["endpoint    none, as /dev/null has none for ", OK],
    );
    assert_eq!(code, 0);

    site.configure(&format!("https://{HOST}:{}", server.port()), "");
    site.folder.write("root.pem", "no PEM");
    let (code, printed) = site.probe(HOST, &server, &[]);
    let told = "bridge.toml: endpoint `site`: roots file `root.pem` holds no certificate; expected \
                PEM with BEGIN CERTIFICATE\n";
    assert_eq!((code, printed.as_str()), (78, told));
    assert_eq!(server.counts().connections, 1);
}
