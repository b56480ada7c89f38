//! The HTTPS server that all ways of asking ask: keep-alive, one fixed answer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::process::folder;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";

/// A running origin; its threads end with the process.
pub(crate) struct Origin {
    pub(crate) port: u16,
    root: PathBuf,
}

impl Origin {
    /// Starts it with a root and a leaf of its own.
    pub(crate) fn start() -> Self {
        let (root_pem, config) = certificates();
        let root = folder().join("root.pem");
        std::fs::write(&root, root_pem).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                std::thread::spawn(move || serve(socket, config));
            }
        });
        Self { port, root }
    }

    /// Returns the PEM file of the root to trust.
    pub(crate) fn root_file(&self) -> &PathBuf {
        &self.root
    }

    /// Returns a configuration whose route `nodes/{node}/post` asks this origin.
    pub(crate) fn bridge_toml(&self) -> String {
        format!(
            r#"[broker]
listen = ["127.0.0.1:0"]

[endpoint.origin]
url = "https://localhost:{}"
address = "127.0.0.1"
roots = ["{}"]
concurrency = 8
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
            self.port,
            self.root.display()
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

fn serve(socket: TcpStream, config: Arc<ServerConfig>) {
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
            if stream.write_all(ANSWER).is_err() {
                return;
            }
        }
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
