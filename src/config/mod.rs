//! `bridge.toml` as a validated [`Config`]: the only form the rest of the program sees.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::core::access::Rules;
use crate::core::endpoint::Endpoint;
use crate::core::hub::Limits;
use crate::core::route::RouteTable;

/// A configuration without errors. Shared behind an `Arc`, so that it can be replaced whole.
#[derive(Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// `{gateway}`: the configured name or the host name.
    pub gateway: Arc<str>,
    /// The embedded broker.
    pub broker: Broker,
    /// Users of bridge.toml and of the users file.
    pub users: Vec<User>,
    /// All endpoints.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// All routes.
    pub routes: Arc<RouteTable>,
    /// How long a stop waits for what is in flight.
    pub stop_timeout: Duration,
}

/// `[broker]`.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Addresses to listen on; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// Who may connect without credentials.
    pub anonymous: Anonymous,
    /// What anonymous clients may do.
    pub anonymous_rules: Arc<Rules>,
    /// Limits of the hub.
    pub limits: Limits,
    /// Where `user add` writes, resolved against the directory of bridge.toml.
    pub users_file: Option<PathBuf>,
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

/// A `[[user]]`.
#[derive(Clone, Debug)]
pub struct User {
    /// The user name.
    pub name: Arc<str>,
    /// The password as stored: salted and hashed.
    pub password: PasswordHash,
    /// What the user's clients may do.
    pub rules: Arc<Rules>,
    /// Largest packet this user's nodes take, in bytes.
    pub reply_packet: Option<usize>,
}

/// A password as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordHash(pub String);
