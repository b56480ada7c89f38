//! The HTTPS server that all ways of asking ask: keep-alive, one fixed answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::support::process::folder;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";

/// An origin; its threads end with the process.
pub(crate) struct Origin {
    pub(crate) port: u16,
    root: PathBuf,
    /// Until it listens.
    socket: Mutex<Option<Socket>>,
    config: Arc<ServerConfig>,
    /// What each answer takes.
    work: Duration,
    tally: Arc<Tally>,
}

/// What an origin has answered.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    /// When the first request came, and the last.
    span: Mutex<Option<(Instant, Instant)>>,
}

impl Origin {
    /// Starts it with a root and a leaf of its own.
    pub(crate) fn start() -> Self {
        Self::taking(Duration::ZERO)
    }

    /// Starts one that takes so long for each answer.
    pub(crate) fn taking(work: Duration) -> Self {
        let origin = Self::down(work);
        origin.come_up();
        origin
    }

    /// Makes one that refuses connections until [`Origin::come_up`].
    pub(crate) fn down(work: Duration) -> Self {
        let (root_pem, config) = certificates();
        let root = folder().join("root.pem");
        std::fs::write(&root, root_pem).unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self {
            port: address.port(),
            root,
            socket: Mutex::new(Some(socket)),
            config,
            work,
            tally: Arc::default(),
        }
    }

    /// Listens.
    pub(crate) fn come_up(&self) {
        let socket = self.socket.lock().unwrap().take().expect("down");
        socket.listen(1024).unwrap();
        let listener = TcpListener::from(socket);
        let (config, work, tally) = (self.config.clone(), self.work, self.tally.clone());
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (config, tally) = (config.clone(), tally.clone());
                std::thread::spawn(move || serve(socket, config, work, &tally));
            }
        });
    }

    /// Returns how many requests it has answered.
    pub(crate) fn answered(&self) -> usize {
        self.tally.answered.load(Ordering::Relaxed)
    }

    /// Returns the time between the first request and the last.
    pub(crate) fn span(&self) -> Duration {
        let span = *self.tally.span.lock().unwrap();
        span.map_or(Duration::ZERO, |(first, last)| last - first)
    }

    /// Returns the PEM file of the root to trust.
    pub(crate) fn root_file(&self) -> &PathBuf {
        &self.root
    }

    /// Returns the lines of an endpoint that lead here.
    pub(crate) fn endpoint(&self) -> String {
        format!(
            "url = \"https://localhost:{}\"\naddress = \"127.0.0.1\"\nroots = [\"{}\"]\n",
            self.port,
            self.root.display()
        )
    }

    /// Returns a configuration whose route `nodes/{node}/post` asks this origin.
    pub(crate) fn bridge_toml(&self) -> String {
        format!(
            r#"[broker]
listen = ["127.0.0.1:0"]

[endpoint.origin]
{}concurrency = 8
queue = 256

[[route]]
name = "post"
topic = "nodes/{{node}}/post"
endpoint = "origin"
method = "POST"
path = "/post"
reply = "replies/{{node}}/post/{{outcome}}"

[[route]]
name = "many topics"
topic = "nodes/{{node}}/many/{{id}}"
endpoint = "origin"
method = "POST"
path = "/post"
reply = "replies/{{node}}/many/{{id}}/{{outcome}}"
"#,
            self.endpoint()
        )
    }
}

fn certificates() -> (String, Arc<ServerConfig>) {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let issuer = Issuer::new(root, root_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(leaf.der().to_vec())],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (root_certificate.pem(), Arc::new(config))
}

fn serve(socket: TcpStream, config: Arc<ServerConfig>, work: Duration, tally: &Tally) {
    socket.set_nodelay(true).unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&chunk[..read]),
        }
        if whole(&request) {
            request.clear();
            if !work.is_zero() {
                std::thread::sleep(work);
            }
            tally.count();
            if stream.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}

impl Tally {
    fn count(&self) {
        let now = Instant::now();
        let mut span = self.span.lock().unwrap();
        span.get_or_insert((now, now)).1 = now;
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether head and body of a request are all there.
fn whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |value| value.trim().parse::<usize>().unwrap());
    request.len() >= end + 4 + length
}
