//! The broker's TLS listener, as nodes meet it: rustls on their side, certificates made on the
//! spot, the built program on the other.

#![expect(clippy::unwrap_used, reason = "what is not as expected has to fail")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "tls_listener/strangers.rs"]
mod strangers;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use certificates::{Authority, Identity};
use daemon::{Daemon, port, program};
use mqtt::{CLEAN, Client, block, connect_4, connect_with, publish};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion, version,
};
use temp_dir::TempDir;

/// The hash of `right`.
const RIGHT: &str = "$sha256$c2FsdHNhbHQ$FR8UeCMT3/fKTEhhldTae/b+v/u/qEX+413/4joENeU";
const NAME: &str = "router.test";
const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// A gateway with a TLS listener whose certificate an authority has issued.
struct Router {
    folder: TempDir,
    daemon: Daemon,
    authority: Authority,
    address: SocketAddr,
}

impl Router {
    fn start(settings: &str) -> Self {
        Self::trusting(None, settings)
    }

    /// Starts one that takes client certificates of an authority.
    fn trusting(clients: Option<&Authority>, settings: &str) -> Self {
        let (folder, authority) = (TempDir::new(), Authority::new("listener"));
        show(&folder, &authority.good(&[NAME]));
        let mut tls = "listen = [\"127.0.0.1:0\"], certificate = \"router.pem\", \
                       key = \"router.key\""
            .to_owned();
        if let Some(clients) = clients {
            folder.write("clients.pem", &clients.root_pem());
            tls += ", client_ca = \"clients.pem\"";
        }
        let text = format!("[broker]\nlisten = []\ntls = {{ {tls} }}\n{settings}");
        folder.write("bridge.toml", &text);
        let mut daemon = Daemon::launch(&folder, &[]);
        daemon.line("certificate of the listener: router.test, valid until 2090-01-01");
        let line = daemon.line("listening on 127.0.0.1:");
        assert!(line.ends_with("(MQTT 3.1, 3.1.1 and 5 over TLS)"), "{line}");
        let address = SocketAddr::from(([127, 0, 0, 1], port(&line).parse().unwrap()));
        Self {
            folder,
            daemon,
            authority,
            address,
        }
    }

    fn node(&self) -> Node {
        Node::new(self.authority.root(), BOTH, None)
    }

    fn assert_alive(&self) {
        let mut client = self.node().connect(self.address);
        client.send(&connect_4("liveness", CLEAN));
        client.expect(&[0x20, 2, 0, 0]);
    }
}

/// Puts a certificate and its key where the gateway looks for them.
fn show(folder: &TempDir, identity: &Identity) {
    folder.write("router.pem", &identity.chain_pem());
    folder.write("router.key", &identity.key_pem());
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// The TLS side of a node.
struct Node(Arc<ClientConfig>);

impl Node {
    fn new(
        root: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Identity>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            Some(own) => config.with_client_auth_cert(own.chain.clone(), own.key.clone_key()),
            None => Ok(config.with_no_client_auth()),
        };
        Self(Arc::new(config.unwrap()))
    }

    /// Performs the handshake as far as this side sees it.
    fn shake_hands(&self, address: SocketAddr) -> std::io::Result<Stream> {
        let name = ServerName::try_from(NAME).unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.0), name).unwrap();
        let mut stream = StreamOwned::new(tls, Client::socket(address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    fn connect(&self, address: SocketAddr) -> Client {
        Client::over(self.shake_hands(address).unwrap())
    }
}

/// CONNECT of 3.1.1 with a user name and a password.
fn login(user: &str, password: &str) -> Vec<u8> {
    let payload = [block(user), block(user), block(password)].concat();
    connect_with(4, 0xC2, 0, &payload)
}

fn users(names: &[&str]) -> String {
    let user = |name: &&str| format!("[[user]]\nname = \"{name}\"\npassword = \"{RIGHT}\"\n");
    names.iter().map(user).collect()
}

#[test]
fn nodes_speak_mqtt_over_both_versions_of_tls() {
    let router = Router::start("");
    for only in [&version::TLS12, &version::TLS13] {
        let node = Node::new(router.authority.root(), &[only], None);
        let mut client = node.connect(router.address);
        client.send(&connect_4("node", CLEAN));
        client.expect(&[0x20, 2, 0, 0]);
        client.subscribe("t", 1);
        for length in [0, 1, 16_384, 60_000] {
            let message = publish("t", vec![b'x'; length], 0, 0);
            client.send(&message);
            client.expect(&message);
        }
        client.leave();
    }
}

#[test]
fn a_node_that_comes_again_resumes_its_session() {
    let router = Router::start("");
    for only in [&version::TLS12, &version::TLS13] {
        let node = Node::new(router.authority.root(), &[only], None);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut stream = node.shake_hands(router.address).unwrap();
            stream.write_all(&connect_4("node", CLEAN)).unwrap();
            stream.read_exact(&mut [0; 4]).unwrap();
            kinds.push(stream.conn.handshake_kind());
        }
        let expected = [HandshakeKind::Full, HandshakeKind::Resumed].map(Some);
        assert_eq!(kinds, expected, "{only:?}");
    }
}

#[test]
fn silent_and_senseless_connections_hold_up_nobody_and_end() {
    let router = Router::start("connect_timeout = \"1s\"");
    let silent: Vec<_> = (0..30).map(|_| Client::open(router.address)).collect();
    router.assert_alive();
    let mut plain = Client::open(router.address);
    plain.send(&connect_4("plain", CLEAN));
    // It may be answered with an alert, never with MQTT.
    let alert = plain.next_packet();
    assert_ne!(alert.as_deref(), Some(&[0x20, 2, 0, 0][..]));
    let mut cut = Client::socket(router.address);
    // The start of a ClientHello, then nothing.
    cut.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).unwrap();
    for mut client in silent {
        client.expect_end();
    }
    let mut rest = Vec::new();
    // An end or a reset: it is over either way.
    let _ = cut.read_to_end(&mut rest);
    let mut mute = router.node().connect(router.address);
    mute.expect_end();
    router.assert_alive();
}

#[test]
fn a_reader_that_pauses_gets_all_that_waited() {
    let router = Router::start("queue = { messages = 1000, bytes = \"6MiB\" }");
    let mut reader = router.node().connect(router.address);
    reader.send(&connect_4("reader", CLEAN));
    reader.expect(&[0x20, 2, 0, 0]);
    reader.subscribe("t", 0);
    let mut writer = router.node().connect(router.address);
    writer.send(&connect_4("writer", CLEAN));
    writer.expect(&[0x20, 2, 0, 0]);
    let message = |index: usize| publish("t", format!("{index:010000}"), 0, 0);
    for index in 0..400 {
        writer.send(&message(index));
    }
    writer.expect_quiet();
    for index in 0..400 {
        reader.expect(&message(index));
    }
}

#[test]
fn the_subject_of_a_client_certificate_is_the_user() {
    let clients = Authority::new("clients");
    let settings = format!(
        "anonymous = \"no\"\n{}[[user]]\nname = \"door\"\npassword = \"none\"\n",
        users(&["kitchen"])
    );
    let router = Router::trusting(Some(&clients), &settings);
    let attempt = |own: Option<&Identity>, connect: &[u8]| {
        let node = Node::new(router.authority.root(), BOTH, own);
        let mut client = node.connect(router.address);
        client.send(connect);
        (client.packet(), client)
    };
    let certificate = |name: &str| clients.for_clients(&[name]);
    let plain = connect_4("c", CLEAN);
    let cases = [
        (Some("kitchen"), plain.clone(), 0, "it names a user"),
        (Some("door"), plain.clone(), 0, "one without a password"),
        (
            Some("kitchen"),
            login("kitchen", "any"),
            0,
            "the same name beside it",
        ),
        (
            Some("kitchen"),
            login("door", "right"),
            4,
            "another name beside it",
        ),
        (Some("attic"), plain.clone(), 5, "it names nobody"),
        (None, plain, 5, "neither certificate nor password"),
        (None, login("kitchen", "right"), 0, "a password"),
        (None, login("door", "none"), 4, "no password is right"),
    ];
    for (name, connect, code, why) in cases {
        let own = name.map(certificate);
        let (answer, _) = attempt(own.as_ref(), &connect);
        assert_eq!(answer, [0x20, 2, 0, code], "{why}");
    }
    let (_, mut node) = attempt(Some(&certificate("kitchen")), &connect_4("k", CLEAN));
    node.send(&mqtt::subscribe(
        1,
        &[("replies/kitchen/#", 0), ("replies/door/#", 0)],
    ));
    node.expect(&[0x90, 4, 0, 1, 0, 0x80]);
    let stranger = Authority::new("strangers").for_clients(&["kitchen"]);
    for only in [&version::TLS12, &version::TLS13] {
        let node = Node::new(router.authority.root(), &[only], Some(&stranger));
        // In TLS 1.3 the client hears of it only after its own last word.
        let refused = node.shake_hands(router.address).and_then(|mut stream| {
            stream.write_all(&connect_4("c", CLEAN))?;
            stream.read_exact(&mut [0; 4])
        });
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("UnknownCA"), "{error}");
    }
}

#[test]
fn a_new_certificate_is_shown_from_then_on_and_connections_stay() {
    let mut router = Router::start("");
    let mut old = router.node().connect(router.address);
    old.send(&connect_4("old", CLEAN));
    old.expect(&[0x20, 2, 0, 0]);
    old.subscribe("t", 0);

    // A certificate without its key is no pair.
    let next = Authority::new("next");
    let identity = next.good(&[NAME, "192.0.2.1"]);
    router.folder.write("router.pem", &identity.chain_pem());
    let line = router
        .daemon
        .line("the certificate of the listener stays as it was");
    assert!(
        line.contains("is not the key of the first certificate"),
        "{line}"
    );
    router.assert_alive();

    router.folder.write("router.key", &identity.key_pem());
    router
        .daemon
        .line("certificate of the listener: router.test, 192.0.2.1, valid until");
    let node = Node::new(next.root(), BOTH, None);
    let mut new = node.connect(router.address);
    new.send(&connect_4("new", CLEAN));
    new.expect(&[0x20, 2, 0, 0]);
    assert!(router.node().shake_hands(router.address).is_err());
    new.send(&publish("t", "still here", 0, 0));
    old.expect(&publish("t", "still here", 0, 0));
    assert_eq!(router.daemon.stop().0, Some(0));
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start_and_by_check() {
    let authority = Authority::new("listener");
    let (one, other) = (authority.good(&[NAME]), authority.good(&[NAME]));
    let cases = [
        (
            None,
            "[broker] tls: certificate file `router.pem` cannot be read: no such file",
        ),
        (
            Some((other.chain_pem(), one.key_pem())),
            "[broker] tls: key `router.key` is not the key of the first certificate in `router.pem`",
        ),
        (
            Some(("x".to_owned(), one.key_pem())),
            "[broker] tls: certificate `router.pem` holds no certificate",
        ),
    ];
    for (files, expected) in cases {
        let folder = TempDir::new();
        folder.write(
            "bridge.toml",
            "[broker]\ntls = { listen = [\"127.0.0.1:0\"], certificate = \"router.pem\", \
             key = \"router.key\" }\n",
        );
        if let Some((certificate, key)) = files {
            folder.write("router.pem", &certificate);
            folder.write("router.key", &key);
        }
        for command in ["run", "check"] {
            let output = program(&folder).arg(command).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.contains(expected), "{command}: {text}");
            assert_eq!(output.status.code(), Some(78), "{command}");
        }
    }
}

#[test]
fn two_hundred_nodes_come_back_at_once() {
    let router = Router::start("");
    let nodes: Vec<_> = (0..200)
        .map(|index| {
            let (config, address) = (router.node(), router.address);
            std::thread::spawn(move || {
                let mut client = config.connect(address);
                client.send(&connect_4(&format!("node-{index}"), CLEAN));
                client.packet()
            })
        })
        .collect();
    for node in nodes {
        assert_eq!(node.join().unwrap(), [0x20, 2, 0, 0]);
    }
}

/// Runs `listener-cert` and returns what it printed.
#[track_caller]
fn listener_cert(folder: &TempDir, arguments: &[&str]) -> String {
    let mut command = program(folder);
    let output = command
        .arg("listener-cert")
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

fn certificates_of(folder: &TempDir, file: &str) -> Vec<CertificateDer<'static>> {
    let text = folder.read(file);
    let read = CertificateDer::pem_slice_iter(text.as_bytes());
    read.map(Result::unwrap).collect()
}

#[test]
fn certificates_that_listener_cert_makes_serve_listener_and_nodes() {
    let folder = TempDir::new();
    let printed = listener_cert(&folder, &["127.0.0.1", NAME, "::1"]);
    for text in [
        "listener.pem and listener.key: certificate and key for 127.0.0.1, router.test, ::1",
        "tls = { listen = [\"0.0.0.0:8883\"], certificate = \"listener.pem\", key = \"listener.key\" }",
        "const char CA[] PROGMEM = R\"EOF(",
        "network.setFingerprint(\"",
    ] {
        assert!(printed.contains(text), "{text} is not in\n{printed}");
    }
    let root = folder.read("listener-ca.pem");
    assert!(printed.contains(root.trim_end()), "{printed}");
    for key in ["listener.key", "listener-ca.key"] {
        let mode = std::fs::metadata(folder.path().join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    listener_cert(&folder, &["--client", "kitchen"]);
    // The node's may be made anew, and nothing else goes with it.
    listener_cert(&folder, &["--client", "kitchen"]);
    folder.write("roots.pem", "kept");
    let mut other = program(&folder);
    let other = other.args(["listener-cert", "--client", "roots"]).output();
    let other = String::from_utf8(other.unwrap().stderr).unwrap();
    assert!(
        other.contains("roots.pem is no certificate of user `roots`; move it away"),
        "{other}"
    );
    assert_eq!(folder.read("roots.pem"), "kept");
    let mut command = program(&folder);
    let add = command.args(["user", "add", "kitchen", "--no-password"]);
    folder.write(
        "bridge.toml",
        "[broker]\nlisten = []\nanonymous = \"no\"\n\
         tls = { listen = [\"127.0.0.1:0\"], certificate = \"listener.pem\", \
         key = \"listener.key\", client_ca = \"listener-ca.pem\" }\n",
    );
    assert!(add.output().unwrap().status.success());
    assert!(folder.read("users.toml").contains("password = \"none\""));
    let mut daemon = Daemon::launch(&folder, &[]);
    let line = daemon.line("listening on 127.0.0.1:");
    let address = SocketAddr::from(([127, 0, 0, 1], port(&line).parse().unwrap()));
    let authority = certificates_of(&folder, "listener-ca.pem").remove(0);
    let own = Identity {
        chain: certificates_of(&folder, "kitchen.pem"),
        key: PrivateKeyDer::from_pem_slice(folder.read("kitchen.key").as_bytes()).unwrap(),
    };
    let node = Node::new(&authority, BOTH, Some(&own));
    let mut client = node.connect(address);
    client.send(&connect_4("k", CLEAN));
    client.expect(&[0x20, 2, 0, 0]);

    // A new certificate of the same CA: nodes need not know.
    let before = folder.read("listener.pem");
    listener_cert(&folder, &[NAME]);
    assert_ne!(folder.read("listener.pem"), before);
    assert_eq!(folder.read("listener-ca.pem"), root);
    daemon.line("certificate of the listener: router.test, valid until");
    let mut client = node.connect(address);
    client.send(&connect_4("k", CLEAN));
    client.expect(&[0x20, 2, 0, 0]);
}

#[test]
fn listener_cert_says_what_it_cannot_do() {
    let cases: [(&[&str], i32, &str); 6] = [
        (&[], 64, "NAME"),
        (&["--client", "listener-ca"], 64, "are the listener's own"),
        (&["--client", "listener"], 64, "are the listener's own"),
        (&["a b"], 64, "neither a host name nor an IP address"),
        (&["--client", "a/b"], 64, "user name `a/b`"),
        (
            &["--client", "kitchen"],
            1,
            "make the listener's certificate first",
        ),
    ];
    for (arguments, code, text) in cases {
        let folder = TempDir::new();
        let mut command = program(&folder);
        let output = command
            .arg("listener-cert")
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(text), "{arguments:?}: {error}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}
