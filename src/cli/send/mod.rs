//! `send`: publishes a message as an MQTT 5 client and prints the reply.
//!
//! Works with any broker that has such a bridge: the request carries a Response Topic and
//! Correlation Data (MQTT 5 §4.10), so no route's reply topic needs to be known.

mod chunks;
mod exchange;

use std::io;
#[cfg(feature = "selftest")]
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};

use crate::cli::Streams;
use crate::cli::arguments::{duration, number};
use crate::cli::exit::Exit;
use crate::cli::syntax::{Argument, Given, Syntax};
use exchange::Exchange;

/// How `send` is written.
pub(super) const SYNTAX: Syntax = Syntax {
    after_help: "\
Prints the reply's payload. Exits with 0 if the request succeeded, 1 if the reply is a failure,
69 if the broker can't be reached or refuses, 124 if no reply came in time.",
    ..Syntax::new(
        "send",
        "Publish a message as an MQTT 5 client and print the reply",
        ARGUMENTS,
    )
};

const ARGUMENTS: &[Argument] = &[
    Argument::operand(
        "topic",
        "TOPIC",
        "The topic to publish to, such as nodes/me/posts/1/get",
    )
    .required(),
    Argument::operand("payload", "PAYLOAD", "The payload").default(""),
    Argument::option("host", "HOST", "The broker's host name or address").default("127.0.0.1"),
    Argument::option(
        "port",
        "PORT",
        "The broker's port [default: 1883, with TLS 8883]",
    )
    .checked(|text| port(text).map(drop)),
    Argument::option("user", "USER", "User name").short('u'),
    Argument::option(
        "password",
        "PASSWORD",
        "Password; other users of this machine can see it, --password-file keeps it from them",
    )
    .requires("user")
    .excludes("password-file"),
    Argument::option(
        "password-file",
        "FILE",
        "File whose first line is the password",
    )
    .requires("user")
    .path(),
    Argument::flag("tls", "Speak TLS"),
    Argument::option(
        "ca",
        "FILE",
        "PEM file of the roots to trust instead of the bundled ones; implies --tls",
    )
    .path(),
    Argument::option(
        "response-topic",
        "TOPIC",
        "Where the reply is to go [default: responses/send-…, with a user replies/NAME/send-…]",
    ),
    Argument::option("qos", "QOS", "QoS of the message: 0, 1 or 2")
        .default("1")
        .checked(|text| qos(text).map(drop)),
    Argument::option("timeout", "DURATION", "Longest wait for the reply")
        .default("15s")
        .checked(|text| duration(text).map(drop)),
];

fn port(text: &str) -> Result<u16, String> {
    number(text, u16::MAX)
}

fn qos(text: &str) -> Result<u16, String> {
    number(text, 2)
}

/// Arguments of `send`.
#[derive(Default)]
pub(super) struct Arguments {
    topic: String,
    payload: String,
    host: String,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    tls: bool,
    ca: Option<PathBuf>,
    response_topic: Option<String>,
    qos: u16,
    timeout: Duration,
}

impl Arguments {
    /// Reads what was given.
    pub(super) fn read(given: Given<'_>) -> Self {
        Self {
            topic: given.text("topic").unwrap_or_default(),
            payload: given.text("payload").unwrap_or_default(),
            host: given.text("host").unwrap_or_default(),
            port: given.parsed("port", port),
            user: given.text("user"),
            password: given.text("password"),
            password_file: given.path("password-file"),
            tls: given.flag("tls"),
            ca: given.path("ca"),
            response_topic: given.text("response-topic"),
            qos: given.parsed("qos", qos).unwrap_or_default(),
            timeout: given.parsed("timeout", duration).unwrap_or_default(),
        }
    }
}

/// Why there is no reply.
#[derive(Debug)]
struct Refusal {
    exit: Exit,
    text: String,
}

impl Refusal {
    fn usage(text: String) -> Self {
        let exit = Exit::Usage;
        Self { exit, text }
    }

    fn unavailable(text: String) -> Self {
        let exit = Exit::Unavailable;
        Self { exit, text }
    }
}

/// A reply as received.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    payload: Vec<u8>,
    /// The user property `code`, which other bridges may leave out.
    code: Option<String>,
}

/// Asks a broker on this machine as `send` does unless told otherwise; returns the reply's code,
/// empty without one, and its text.
///
/// # Errors
/// Says why there is no reply.
#[cfg(feature = "selftest")]
pub(super) async fn ask(
    broker: SocketAddr,
    topic: String,
    timeout: Duration,
) -> Result<(String, String), String> {
    let arguments = Arguments {
        topic,
        host: broker.ip().to_string(),
        port: Some(broker.port()),
        qos: 1,
        timeout,
        ..Arguments::default()
    };
    let exchange = Exchange::new(&arguments).map_err(|refusal| refusal.text)?;
    let reply = exchange.perform(timeout).await;
    let Reply { payload, code } = reply.map_err(|refusal| refusal.text)?;
    let text = String::from_utf8_lossy(&payload).into_owned();
    Ok((code.unwrap_or_default(), text))
}

/// Publishes, waits, prints.
pub(super) fn send(arguments: &Arguments, streams: &mut Streams<'_>) -> io::Result<Exit> {
    // As the daemon's own: the other kind would be linked for this alone.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let result = match Exchange::new(arguments) {
        Ok(exchange) => runtime.block_on(exchange.perform(arguments.timeout)),
        Err(refusal) => Err(refusal),
    };
    // A name look-up that hangs must not keep the program from ending.
    runtime.shutdown_background();
    match result {
        Ok(reply) => {
            streams.out.write_all(&reply.payload)?;
            if !reply.payload.ends_with(b"\n") {
                writeln!(streams.out)?;
            }
            let good = reply.code.is_none_or(|code| code == "ok");
            Ok(if good { Exit::Ok } else { Exit::Failed })
        }
        Err(refusal) => streams.refuse(refusal.exit, refusal.text),
    }
}
