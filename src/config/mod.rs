//! `bridge.toml` as a validated [`Config`]: the only form the rest of the program sees.
//!
//! Decides what a configuration means and reports every mistake at once, with its line and what
//! to do about it. It reads the files that bridge.toml names (users, secrets) and opens no socket.

mod broker;
mod conduct;
mod conflicts;
mod endpoints;
mod error;
mod keys;
mod limits;
mod password;
mod placeholders;
mod replies;
mod rereader;
mod routes;
mod secrets;
mod section;
mod show;
mod source;
mod stamp;
mod store;
mod stored;
mod trust;
mod url;
mod users;
mod users_reader;
mod value;
mod websocket;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::core::access::{ClientIds, Rules};
use crate::core::endpoint::Endpoint;
use crate::core::hub::Limits;
use crate::core::route::RouteTable;
use crate::core::status::fingerprint;

pub use error::{ConfigError, Origin, Warning};
pub use keys::{Key, keys};
pub use password::{HashError, MAX_LANES, MAX_MEMORY, MAX_PASSES, PasswordHash};
pub use rereader::{Listen, Rereader};
pub use secrets::Environment;
pub use stamp::Stamp;
pub use store::StoreSettings;
pub use users::{UserFiles, names_in};
pub use users_reader::UsersReader;

pub(crate) use keys::nearest;
pub(crate) use secrets::io_cause;
pub(crate) use show::escape;
pub(crate) use users::{check_name, read_text};
pub(crate) use value::{
    duration as parse_duration, is_network, listen_address, listen_collision, show_duration,
    show_size,
};

use error::Report;
use section::Section;
use source::Source;

/// Where a service tells what it is doing.
const SERVICE_SOCKET: &str = "/var/run/mqtt-https-bridge/daemon/status.sock";

/// A configuration without errors. Shared behind an `Arc`, so that it can be replaced whole.
#[derive(Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// `{gateway}`: the configured name or the host name.
    pub gateway: Arc<str>,
    /// The embedded broker.
    pub broker: Broker,
    /// Where things survive a restart, `None` if nothing does.
    pub store: Option<StoreSettings>,
    /// Users of bridge.toml and of the users file.
    pub users: Vec<User>,
    /// Reads the users file again.
    pub users_reader: UsersReader,
    /// All endpoints.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// All routes.
    pub routes: Arc<RouteTable>,
    /// How long a stop waits for what is in flight.
    pub stop_timeout: Duration,
    /// When the clock is believed.
    pub clock: ClockTrust,
    /// Where the daemon tells what it is doing; `None` if that is not configured.
    pub status_socket: Option<PathBuf>,
    /// The [`fingerprint`] of bridge.toml.
    pub id: String,
    /// Reads it again.
    pub rereader: Rereader,
}

/// When the clock is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClockTrust {
    /// Whenever it shows no time before this program was built.
    #[default]
    Trusted,
    /// Once this file is there as well: it is written when the clock has been set.
    SynchronisedFile(PathBuf),
}

/// `[broker]`.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Addresses to listen on without TLS; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// Whether they come from a file that follows the addresses of networks.
    pub follows_networks: bool,
    /// Where to listen with TLS, if anywhere.
    pub tls: Option<TlsListener>,
    /// Where to listen for WebSocket, if anywhere; never in a build without it.
    pub websocket: Option<WebSocketListener>,
    /// Who may connect without credentials.
    pub anonymous: Anonymous,
    /// What anonymous clients may do.
    pub anonymous_rules: Arc<Rules>,
    /// Limits of the hub.
    pub limits: Limits,
    /// Limits of each connection.
    pub connections: ConnectionLimits,
    /// Where `user add` writes, resolved against the directory of bridge.toml.
    pub users_file: PathBuf,
}

/// `[broker] tls`: files are resolved against the directory of bridge.toml and not read yet.
#[derive(Clone, Debug)]
pub struct TlsListener {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// PEM: the certificate that is shown, and those between it and its root.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: who issues the certificates of clients; without it none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// `[broker] websocket`.
#[derive(Clone, Debug)]
pub struct WebSocketListener {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Whether it is over TLS, with the certificate of [`TlsListener`].
    pub tls: bool,
    /// The path that is asked for, as it stands in a request.
    pub path: String,
    /// Sites whose pages may connect, as browsers write them: `https://host`, a port behind it
    /// unless it is the scheme's own.
    pub origins: Vec<String>,
}

/// What connections may take of the gateway. A number that is not configured, `None`, has a default
/// that programs on this machine are exempt from; 0 stands for no limit.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections from one address at most.
    pub per_address: Option<usize>,
    /// New connections from one address in a second.
    pub connect_rate: Option<usize>,
    /// Publishes of one client in a second.
    pub publish_rate: Option<usize>,
    /// Time until CONNECT is there, and the same for a TLS handshake before it.
    pub connect_timeout: Duration,
    /// Time from the first byte of a packet to its last.
    pub packet_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            per_address: None,
            connect_rate: None,
            publish_rate: None,
            connect_timeout: Duration::from_secs(10),
            packet_timeout: Duration::from_secs(30),
        }
    }
}

/// Who may connect without credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nobody.
    No,
    /// Clients on this machine.
    #[default]
    Loopback,
    /// Anyone who reaches the listener.
    Anywhere,
}

impl Anonymous {
    /// Returns whether somebody from the network could connect, with so many users.
    pub fn lets_network_in(self, users: usize) -> bool {
        users > 0 || self == Self::Anywhere
    }
}

/// A `[[user]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user name.
    pub name: Arc<str>,
    /// The password as stored: salted and hashed.
    pub password: PasswordHash,
    /// What the user's clients may do.
    pub rules: Arc<Rules>,
    /// Largest packet this user's nodes take, in bytes.
    pub reply_packet: Option<usize>,
    /// The client IDs that this user's clients may have, and nobody else; empty for any.
    pub client_ids: Vec<ClientIds>,
}

/// A configuration with its warnings, or every error; both sorted by file and line.
pub type Loaded = Result<(Config, Vec<Warning>), Vec<ConfigError>>;

impl Config {
    /// Reads and validates a file and the files it names.
    ///
    /// # Errors
    /// Returns every mistake, in file order.
    pub fn load(path: &Path) -> Loaded {
        let report = Report::default();
        match read_main(path, &report) {
            Some(text) => Self::parse(path, &text, &|name| std::env::var(name).ok()),
            None => report
                .finish(&path.display().to_string())
                .and_then(|_| Err(Vec::new())),
        }
    }

    /// Validates the text of a file. Relative paths in it start at the directory of `path`, which
    /// itself is not read.
    ///
    /// # Errors
    /// Returns every mistake, in file order.
    pub fn parse(path: &Path, text: &str, environment: Environment<'_>) -> Loaded {
        let shown = path.display().to_string();
        let report = Report::default();
        let config = {
            let source = Source::new(&shown, text, &report);
            let table = source.table();
            let top = Section::top(table.get_ref(), &source, &report, keys::SECTIONS);
            let read = assemble(&top, path, environment);
            let rereader = Rereader {
                named_files: read.rereader.named_files,
                ..Rereader::new(path, text)
            };
            Self {
                id: fingerprint(text),
                rereader,
                ..read
            }
        };
        let warnings = report.finish(&shown)?;
        Ok((config, warnings))
    }

    /// Returns where a daemon with this configuration file tells what it is doing, whatever else
    /// is wrong with the file.
    pub fn status_socket(path: &Path) -> PathBuf {
        let text = users::read_text(path).ok().flatten().unwrap_or_default();
        let report = Report::default();
        let shown = path.display().to_string();
        let source = Source::new(&shown, &text, &report);
        let table = source.table();
        let top = Section::top(table.get_ref(), &source, &report, keys::SECTIONS);
        let gateway = broker::read_gateway(&top, &directory_of(path), String::new);
        gateway
            .status_socket
            .unwrap_or_else(|| default_socket(path))
    }

    /// Returns the user of that name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| &*user.name == name)
    }

    /// Returns the endpoints whose requests can go to this host, in lower case and without
    /// brackets, and port: in file order, but those whose host a topic completes last.
    pub(crate) fn endpoints_at(&self, host: &str, port: u16) -> Vec<&Arc<Endpoint>> {
        let covers = |endpoint: &&Arc<Endpoint>| {
            url::Url::parse(&endpoint.url).is_ok_and(|url| url.covers(host, port))
        };
        let mut found: Vec<_> = self.endpoints.iter().filter(covers).collect();
        found.sort_by_key(|endpoint| endpoint.captured_host);
        found
    }
}

/// Builds the configuration of what could be understood; it is used only if no error was reported.
fn assemble(top: &Section<'_>, path: &Path, environment: Environment<'_>) -> Config {
    let directory = directory_of(path);
    let report = top.report;
    let gateway = broker::read_gateway(top, &directory, broker::host_name);
    let broker::ReadBroker {
        broker,
        written_rules,
    } = broker::read_broker(top, &directory);
    let store = store::read_store(top, &directory);
    let secrets = secrets::Secrets::read(top, &directory, environment);
    let defaults = endpoints::Defaults::read(top, &directory);
    let destinations = endpoints::read_endpoints(top, &directory, &defaults);
    let parts = routes::Parts::new(&defaults, &destinations, &secrets, top.has("store"));
    let candidates = routes::read_routes(top, &parts);
    let mut users = users::Users::default();
    users.read(top);
    let file = broker.users_file.clone();
    let shown = file.display().to_string();
    let mut users_reader = UsersReader::new(file, users.clone());
    users.read_file(users_reader.file(), &shown, report);
    // `#` stands for everything but replies, which the hub reserves anyway.
    let anonymous = written_rules
        .into_iter()
        .filter(|rule| rule.text.value != "#");
    let rules: Vec<_> = users.publish_rules.into_iter().chain(anonymous).collect();
    let replies = conflicts::reply_filters(&candidates);
    conflicts::check(&candidates, &replies, &rules, report);
    users_reader.reserve(replies);
    conflicts::warn_of_unused(&destinations, report);
    secrets.warn_of_unused(top);
    broker::warn_of_locked_doors(top, &broker, users.users.len());
    if candidates.is_empty() {
        let text = "there is no [[route]], so no message becomes a request; add one";
        report.warning(top.origin, text);
    }
    let routes = candidates
        .into_iter()
        .filter_map(|candidate| candidate.route)
        .collect();
    Config {
        path: path.to_owned(),
        gateway: gateway.name,
        broker,
        store,
        users: users.users,
        users_reader,
        endpoints: destinations
            .into_iter()
            .map(|destination| destination.endpoint)
            .collect(),
        routes: Arc::new(RouteTable::new(routes)),
        stop_timeout: gateway.stop_timeout,
        clock: gateway.clock,
        status_socket: gateway.status_socket,
        id: String::new(),
        rereader: Rereader {
            named_files: secrets.files,
            ..Rereader::default()
        },
    }
}

/// Returns where the daemon of a configuration file tells what it is doing, if the file does not
/// say. What is below /etc belongs to a service of the system, and may lie on flash.
pub(crate) fn default_socket(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match path.starts_with("/etc") {
        true => SERVICE_SOCKET.into(),
        false => path.with_extension("sock"),
    }
}

fn directory_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn read_main(path: &Path, report: &Report) -> Option<String> {
    let origin = report.open(&path.display().to_string());
    match users::read_text(path) {
        Ok(Some(text)) => Some(text),
        Ok(None) => {
            report.error(
                origin,
                "there is no such file; create it or name another with --config",
            );
            None
        }
        Err(cause) => {
            report.error(
                origin,
                format!("can not be read: {cause}; correct the file or name another with --config"),
            );
            None
        }
    }
}
