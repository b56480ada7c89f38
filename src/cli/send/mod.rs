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

use clap::Args;

use crate::cli::Streams;
use crate::cli::arguments::duration;
use crate::cli::exit::Exit;
use exchange::Exchange;

/// Arguments of `send`.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints the reply's payload. Exits with 0 if the request succeeded, 1 if the reply is a failure,
69 if the broker can't be reached or refuses, 124 if no reply came in time.")]
pub(super) struct Arguments {
    /// The topic to publish to, such as nodes/me/posts/1/get
    topic: String,
    /// The payload
    #[arg(default_value = "")]
    payload: String,
    /// The broker's host name or address
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The broker's port [default: 1883, with TLS 8883]
    #[arg(long)]
    port: Option<u16>,
    /// User name
    #[arg(long, short)]
    user: Option<String>,
    /// Password; other users of this machine can see it, --password-file keeps it from them
    #[arg(long, requires = "user", conflicts_with = "password_file")]
    password: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Speak TLS
    #[arg(long)]
    tls: bool,
    /// PEM file of the roots to trust instead of the bundled ones; implies --tls
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where the reply is to go [default: responses/send-…, with a user replies/NAME/send-…]
    #[arg(long, value_name = "TOPIC")]
    response_topic: Option<String>,
    /// QoS of the message: 0, 1 or 2
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Longest wait for the reply
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    timeout: Duration,
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
        payload: String::new(),
        host: broker.ip().to_string(),
        port: Some(broker.port()),
        user: None,
        password: None,
        password_file: None,
        tls: false,
        ca: None,
        response_topic: None,
        qos: 1,
        timeout,
    };
    let exchange = Exchange::new(&arguments).map_err(|refusal| refusal.text)?;
    let reply = exchange.perform(timeout).await;
    let Reply { payload, code } = reply.map_err(|refusal| refusal.text)?;
    let text = String::from_utf8_lossy(&payload).into_owned();
    Ok((code.unwrap_or_default(), text))
}

/// Publishes, waits, prints.
pub(super) fn send(arguments: &Arguments, streams: &mut Streams<'_>) -> io::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
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
        Err(refusal) => {
            writeln!(streams.err, "{}", refusal.text)?;
            Ok(refusal.exit)
        }
    }
}
