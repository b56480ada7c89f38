//! One HTTPS destination: where it is, whom it trusts, how much it may be asked at once.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::core::retry::Retry;

/// An `[endpoint.<name>]` after validation. The request itself is rendered by the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The name in `[endpoint.<name>]`.
    pub name: String,
    /// The URL as configured, for people; never holds a secret.
    pub url: String,
    /// Connect here instead of looking the host name up; the certificate must still fit the name.
    pub address: Option<IpAddr>,
    /// Which IP versions to use.
    pub ip: IpVersions,
    /// Whether the host name comes from a topic capture.
    pub captured_host: bool,
    /// Whether private, loopback and link-local addresses may be connected to. Always true for
    /// a host name that is written in the configuration; for a captured one only if it says so.
    pub private_addresses: bool,
    /// Whom to trust.
    pub trust: Trust,
    /// Which redirects are followed.
    pub redirects: Redirects,
    /// Requests performed at the same time, 1 to 64.
    pub concurrency: usize,
    /// Jobs that wait or run at the same time; one more is answered `bridge.busy`.
    pub queue: usize,
    /// Of these, how many one client may hold.
    pub share: usize,
    /// How it is treated when it fails, and how fast it may be asked.
    pub conduct: Conduct,
}

/// How an endpoint is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// How often and when a request is sent again.
    pub retry: Retry,
    /// Whether a refused certificate pauses it. One with a captured host never is: the verdict is
    /// on that host alone.
    pub pause: bool,
    /// How fast requests may start.
    pub rate: Option<Rate>,
    /// How fast those of one client may start.
    pub client_rate: Option<Rate>,
    /// Name of the header, in lower case, by which a server knows a repeated request; `None`
    /// sends none.
    pub idempotency_key: Option<String>,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            pause: true,
            rate: None,
            client_rate: None,
            idempotency_key: Some("idempotency-key".to_owned()),
        }
    }
}

/// So many requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In this time.
    pub per: Duration,
}

/// Which IP versions an endpoint is reached over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpVersions {
    /// Both, without waiting for a dead one.
    #[default]
    Both,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// What a server's certificate chain is judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Where trusted roots come from.
    pub roots: Roots,
    /// Keys of which the server has to show one, besides all else; any if empty.
    pub pins: Vec<Pin>,
    /// What is not looked at where a pin is all there is; only with [`Roots::None`].
    pub unchecked: Unchecked,
    /// Whether certificates may be revoked; not looked at with [`Roots::None`].
    pub revocation: Revocation,
    /// Where revocation lists come from.
    pub lists: Lists,
    /// The lowest TLS version to accept.
    pub min_tls: TlsVersion,
    /// What the gateway shows to servers that ask who it is.
    pub client_certificate: Option<ClientCertificate>,
}

/// Whether certificates may be revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Revocation {
    /// It is not looked at.
    #[default]
    Off,
    /// Not as far as a list says so.
    Check,
    /// Not, and a list that is up to date has to say so for each certificate of the chain.
    Require,
}

/// Where revocation lists come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lists {
    /// Nowhere.
    #[default]
    None,
    /// These files, PEM or DER.
    Files(Vec<PathBuf>),
    /// Where the certificates say, over plain HTTP.
    Fetch {
        /// Whether private, loopback and link-local addresses may be connected to for it.
        private_addresses: bool,
    },
}

impl Trust {
    /// Returns the files that it is made of, besides those of its roots.
    pub fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = Vec::new();
        if let Lists::Files(lists) = &self.lists {
            files.extend(lists.iter().map(PathBuf::as_path));
        }
        if let Some(own) = &self.client_certificate {
            files.extend([own.chain.as_path(), own.key.as_path()]);
        }
        files
    }
}

/// SHA-256 of a public key with its algorithm: the pin of RFC 7469 §2.4.
pub type Pin = [u8; 32];

/// What of a pinned certificate is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unchecked {
    /// Whether it is for the host name.
    pub name: bool,
    /// Whether it is valid at this time.
    pub dates: bool,
}

impl Unchecked {
    /// Says in words what is not checked; `None` if everything is.
    pub const fn describe(self) -> Option<&'static str> {
        match (self.name, self.dates) {
            (false, false) => None,
            (true, false) => Some("whether the certificate is for this host"),
            (false, true) => Some("whether the certificate is valid at this time"),
            (true, true) => Some("for which host and until when the certificate is"),
        }
    }
}

/// A certificate and its key, both in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, the gateway's own certificate first.
    pub chain: PathBuf,
    /// The key of the first certificate: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Where trusted roots come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// Mozilla's roots, compiled in.
    #[default]
    Bundled,
    /// The roots of the operating system.
    System,
    /// These PEM files and nothing else.
    Files(Vec<PathBuf>),
    /// None: the server's own key has to be a pinned one.
    None,
}

/// TLS protocol versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Which redirects are followed; always to `https://` only, and without credentials elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirects {
    /// None: a 3xx status is the response.
    None,
    /// To the same host and port.
    #[default]
    SameOrigin,
    /// To any host.
    Any,
}

/// Most redirects that one request follows.
pub const MAX_REDIRECTS: u32 = 5;

/// How long and how large one exchange may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One attempt, and each of its phases, at most.
    pub timeout: Duration,
    /// From the node's publish to its reply.
    pub deadline: Duration,
    /// Largest response body, in bytes.
    pub max_response: usize,
}
