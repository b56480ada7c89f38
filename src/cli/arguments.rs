//! The arguments of the program and of `probe`; other commands keep theirs beside their code.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use log::LevelFilter;

use crate::cli::probe::ProbeOptions;
use crate::cli::{check, listener_cert, run, send, status, user};
use crate::config;
use crate::core::endpoint::Roots;

const AFTER_HELP: &str = "\
Examples:
  mqtt-https-bridge selftest                            see bad certificates refused, offline
  mqtt-https-bridge                                     run with ./bridge.toml
  mqtt-https-bridge check                               validate it and show what it means
  mqtt-https-bridge check --topic nodes/me/posts/1/get  show the request of such a message
  mqtt-https-bridge status                              show what the daemon is doing
  mqtt-https-bridge send nodes/me/posts/1/get           ask as a node would, print the reply
  mqtt-https-bridge probe https://expired.badssl.com    try a server, explain its certificate
  mqtt-https-bridge user add kitchen                    make a user, print its password once

Exit codes:
    0  all well
    1  the answer is no: a failure as reply, a bad certificate, no such user or route, a self-test that differs
   64  the arguments make no sense
   69  a port is taken, or the broker or the daemon can't be reached
   70  a fault of this program
   78  bridge.toml, or a file it names, has to be corrected
  124  no reply in time
  130  SIGINT came a second time before all requests were finished, or in the self-test
  143  SIGTERM came a second time before all requests were finished, or in the self-test";

/// An MQTT broker for small nodes that performs their HTTPS requests for them.
#[derive(Debug, Parser)]
#[command(name = "mqtt-https-bridge", version, after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Configuration [default: bridge.toml here, else /etc/mqtt-https-bridge/bridge.toml]
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// What to log: error, warn, info, debug or trace [default: $RUST_LOG, else info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(super) log_level: Option<LevelFilter>,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run broker and bridge until SIGTERM or SIGINT; the default
    Run(run::Arguments),
    /// Validate bridge.toml and print what it means, or what one message would cause
    Check(check::Arguments),
    /// Make one HTTPS request with the trust of an endpoint and explain the result
    Probe(ProbeArguments),
    /// Judge good and bad certificates, made on the spot, and show what a node is told; offline
    Selftest,
    /// Ask the daemon that runs for its clients, routes, endpoints and counters
    Status(status::Arguments),
    /// Publish a message as an MQTT 5 client and print the reply
    Send(send::Arguments),
    /// Make a certificate for the TLS listener, its key, and a small CA that nodes trust
    ListenerCert(listener_cert::Arguments),
    /// Add, change, remove or list users in the users file
    User(user::Arguments),
}

/// Arguments of `probe`.
#[derive(Args, Debug)]
pub(super) struct ProbeArguments {
    /// The server, such as `https://example.com/path`
    url: String,
    /// The endpoint whose trust to use [default: the one of bridge.toml with this host and port]
    #[arg(long, value_name = "NAME")]
    pub(super) endpoint: Option<String>,
    /// Whom to trust instead: bundled, system, or a PEM file; may be given several times for files
    #[arg(long, value_name = "ROOTS")]
    roots: Vec<String>,
    /// Connect to this address; the certificate must still fit the host name
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Longest wait for each phase, such as 5s
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

impl From<ProbeArguments> for ProbeOptions {
    fn from(arguments: ProbeArguments) -> Self {
        let roots = match arguments.roots.as_slice() {
            [] => None,
            [one] if one == "bundled" => Some(Roots::Bundled),
            [one] if one == "system" => Some(Roots::System),
            files => Some(Roots::Files(files.iter().map(PathBuf::from).collect())),
        };
        Self {
            url: arguments.url,
            endpoint: arguments.endpoint,
            roots,
            address: arguments.address,
            timeout: arguments.timeout,
        }
    }
}

/// Parses a duration argument.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text)
        .filter(|duration| !duration.is_zero() && *duration <= Duration::from_secs(86_400))
        .ok_or_else(|| "expected a duration from `1ms` to `1d`, such as `5s`".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_agree_with_each_other() {
        Arguments::command().debug_assert();
    }
}
