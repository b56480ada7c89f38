//! The arguments of the program and of `probe`; other commands keep theirs beside their code.

use std::net::{AddrParseError, IpAddr};
use std::num::ParseIntError;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use crate::cli::probe::ProbeOptions;
use crate::cli::syntax::{Argument, Given, Syntax};
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

/// The program.
pub(super) const PROGRAM: Syntax = Syntax {
    name: "mqtt-https-bridge",
    about: "An MQTT broker for small nodes that performs their HTTPS requests for them",
    arguments: &[
        Argument::option(
            "config",
            "FILE",
            "Configuration [default: bridge.toml here, else /etc/mqtt-https-bridge/bridge.toml]",
        )
        .short('c')
        .path()
        .global(),
        Argument::option(
            "log-level",
            "LEVEL",
            "What to log: error, warn, info, debug or trace [default: $RUST_LOG, else info]",
        )
        .checked(|text| level(text).map(drop))
        .global(),
    ],
    commands: &[
        run::SYNTAX,
        check::SYNTAX,
        PROBE,
        Syntax::new(
            "selftest",
            "Judge good and bad certificates, made on the spot, and show what a node is told; \
             offline",
            &[],
        ),
        status::SYNTAX,
        send::SYNTAX,
        listener_cert::SYNTAX,
        user::SYNTAX,
    ],
    after_help: AFTER_HELP,
};

const PROBE: Syntax = Syntax::new(
    "probe",
    "Make one HTTPS request with the trust of an endpoint and explain the result",
    &[
        Argument::operand(
            "url",
            "URL",
            "The server, such as `https://example.com/path`",
        )
        .required(),
        Argument::option(
            "endpoint",
            "NAME",
            "The endpoint whose trust to use [default: the one of bridge.toml with this host and \
             port]",
        ),
        Argument::option(
            "roots",
            "ROOTS",
            "Whom to trust instead: bundled, system, or a PEM file; may be given several times \
             for files",
        )
        .several(),
        Argument::option(
            "address",
            "IP",
            "Connect to this address; the certificate must still fit the host name",
        )
        .checked(|text| address(text).map(drop)),
        Argument::option(
            "timeout",
            "DURATION",
            "Longest wait for each phase, such as 5s",
        )
        .default("5s")
        .checked(|text| duration(text).map(drop)),
    ],
);

/// Returns the program as clap knows it, which runs without a command as well.
pub(super) fn program() -> clap::Command {
    PROGRAM
        .command()
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(false)
        .arg_required_else_help(false)
}

/// Reads the arguments of `probe`.
pub(super) fn probe_options(given: Given<'_>) -> ProbeOptions {
    let roots = given.texts("roots");
    ProbeOptions {
        url: given.text("url").unwrap_or_default(),
        endpoint: given.text("endpoint"),
        roots: match roots.as_slice() {
            [] => None,
            [one] if one == "bundled" => Some(Roots::Bundled),
            [one] if one == "system" => Some(Roots::System),
            files => Some(Roots::Files(files.iter().map(PathBuf::from).collect())),
        },
        address: given.parsed("address", address),
        timeout: given.parsed("timeout", duration).unwrap_or_default(),
    }
}

/// Parses what to log.
pub(super) fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse()
        .map_err(|_| "write error, warn, info, debug or trace".to_owned())
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|error: AddrParseError| error.to_string())
}

/// Parses a whole number from 0 to `largest`.
pub(super) fn number(text: &str, largest: u16) -> Result<u16, String> {
    let number: i64 = text
        .parse()
        .map_err(|error: ParseIntError| error.to_string())?;
    let fits = u16::try_from(number)
        .ok()
        .filter(|number| *number <= largest);
    fits.ok_or_else(|| format!("{number} is not in 0..={largest}"))
}

/// Parses a duration argument.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text)
        .filter(|duration| !duration.is_zero() && *duration <= Duration::from_secs(86_400))
        .ok_or_else(|| "expected a duration from `1ms` to `1d`, such as `5s`".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;

    #[test]
    fn the_arguments_agree_with_each_other() {
        program().debug_assert();
    }

    #[test]
    fn commands_find_their_arguments_by_name() {
        let given = |line: &str, read: fn(Given<'_>)| {
            let words = std::iter::once(PROGRAM.name).chain(line.split(' '));
            let matches = program().try_get_matches_from(words).unwrap();
            let (_, own) = Given::new(&matches).command().unwrap();
            // Asking for a name that is not in the table panics.
            read(own);
        };
        given("run --listen 127.0.0.1:0", |own| {
            let addresses = vec!["127.0.0.1:0".parse().unwrap()];
            assert_eq!(run::listen(own), Some(Listen::At(addresses)));
        });
        given("run --listen-file x", |own| {
            assert_eq!(run::listen(own), Some(Listen::File("x".into())));
        });
        given("run --config x", |own| assert_eq!(run::listen(own), None));
        given("check", |own| drop(check::Arguments::read(own)));
        given("send topic", |own| drop(send::Arguments::read(own)));
        given("listener-cert name", |own| {
            drop(listener_cert::Arguments::read(own));
        });
        given("probe https://a --timeout 2s", |own| {
            let options = probe_options(own);
            assert_eq!((&*options.url, options.timeout.as_secs()), ("https://a", 2));
        });
    }

    #[test]
    fn numbers_have_bounds() {
        let cases = [
            ("0", Ok(0)),
            ("2", Ok(2)),
            ("3", Err("3 is not in 0..=2")),
            ("-1", Err("-1 is not in 0..=2")),
            ("70000", Err("70000 is not in 0..=2")),
            ("x", Err("invalid digit found in string")),
            ("", Err("cannot parse integer from empty string")),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text, 2), expected.map_err(str::to_owned), "{text}");
        }
    }
}
