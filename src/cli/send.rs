//! `send`: publishes a message as an MQTT 5 client and prints the reply.
//!
//! Works with any broker that has such a bridge: the request carries a Response Topic and
//! Correlation Data (MQTT 5 §4.10), so no route's reply topic needs to be known.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, Packet, PubAckReason, Publish, PublishProperties, SubAck,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{TlsConfiguration, Transport};

use crate::cli::Streams;
use crate::cli::arguments::duration;
use crate::cli::exit::Exit;
use crate::config::escape;
use crate::core::endpoint::{Roots, Trust};
use crate::core::topic::Topic;
use crate::io::password;

/// Largest packet taken as a reply.
const LARGEST_REPLY: u32 = 16 << 20;
/// Most chunks that are put together.
const MOST_CHUNKS: usize = 65_536;

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
    /// Where the reply is to go [default: replies/send-…, with a user replies/<user>/send-…]
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

/// One request and its reply.
struct Exchange {
    options: MqttOptions,
    broker: String,
    topic: String,
    payload: Bytes,
    qos: QoS,
    response_topic: String,
    correlation: Bytes,
}

impl Exchange {
    fn new(arguments: &Arguments) -> Result<Self, Refusal> {
        for topic in [Some(&arguments.topic), arguments.response_topic.as_ref()]
            .into_iter()
            .flatten()
        {
            let error = |error| format!("`{}` is not a topic: {error}; correct it", escape(topic));
            Topic::parse(topic).map_err(|e| Refusal::usage(error(e)))?;
        }
        let random = || {
            password::generate()
                .map_err(|_| Refusal::usage("this machine has no random numbers".into()))
        };
        let (id, correlation) = (format!("send-{:.12}", random()?), random()?);
        let response_topic = match (&arguments.response_topic, &arguments.user) {
            (Some(topic), _) => topic.clone(),
            (None, Some(user)) => format!("replies/{user}/{id}"),
            (None, None) => format!("replies/{id}"),
        };
        let tls = arguments.tls || arguments.ca.is_some();
        let port = arguments.port.unwrap_or(if tls { 8883 } else { 1883 });
        // The client joins host and port with a colon.
        let host = if arguments.host.contains(':') && !arguments.host.starts_with('[') {
            format!("[{}]", arguments.host)
        } else {
            arguments.host.clone()
        };
        let mut options = MqttOptions::new(id, &host, port);
        options.set_clean_start(true);
        options.set_max_packet_size(Some(LARGEST_REPLY));
        options.set_connection_timeout(arguments.timeout.as_secs().max(1));
        if let Some(user) = &arguments.user {
            options.set_credentials(user, read_password(arguments)?);
        }
        if tls {
            options.set_transport(Transport::Tls(tls_configuration(arguments)?));
        }
        Ok(Self {
            options,
            broker: format!("{host}:{port}"),
            topic: arguments.topic.clone(),
            payload: Bytes::from(arguments.payload.clone()),
            qos: match arguments.qos {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            },
            response_topic,
            correlation: Bytes::from(correlation),
        })
    }

    async fn perform(self, timeout: Duration) -> Result<Reply, Refusal> {
        let mut connected = false;
        let exchange = self.exchange(&mut connected);
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) if connected => Err(Refusal {
                exit: Exit::TimedOut,
                text: format!(
                    "no reply to `{}` within {}; check that a route takes it with \
                     `mqtt-https-bridge check --topic`",
                    escape(&self.topic),
                    crate::config::show_duration(timeout)
                ),
            }),
            Err(_) => {
                let (broker, timeout) = (&self.broker, crate::config::show_duration(timeout));
                let text = format!(
                    "no answer from a broker at {broker} within {timeout}; check --host and --port"
                );
                Err(Refusal::unavailable(text))
            }
        }
    }

    async fn exchange(&self, connected: &mut bool) -> Result<Reply, Refusal> {
        let (client, mut events) = AsyncClient::new(self.options.clone(), 8);
        let closed = |_| Refusal::unavailable("the client closed by itself; try again".into());
        // Chunks of a long reply come below the response topic.
        let filter = |path: String| Filter::new(path, QoS::AtLeastOnce);
        let filters = [
            filter(self.response_topic.clone()),
            filter(format!("{}/+/+", self.response_topic)),
        ];
        client.subscribe_many(filters).await.map_err(closed)?;
        let mut chunks = Chunks::default();
        loop {
            match self.next(&mut events).await? {
                Packet::ConnAck(_) => *connected = true,
                Packet::SubAck(ack) => {
                    self.check_subscription(&ack)?;
                    let (topic, payload) = (self.topic.clone(), self.payload.clone());
                    let published = client.publish_with_properties(
                        topic,
                        self.qos,
                        false,
                        payload,
                        self.properties(),
                    );
                    published.await.map_err(closed)?;
                }
                Packet::PubAck(ack) => self.check_acknowledgement(ack.reason)?,
                Packet::Publish(publish) => {
                    if let Some(reply) = self.take(&publish, &mut chunks) {
                        self.leave(&client, &mut events).await;
                        return Ok(reply);
                    }
                }
                _ => {}
            }
        }
    }

    fn properties(&self) -> PublishProperties {
        PublishProperties {
            response_topic: Some(self.response_topic.clone()),
            correlation_data: Some(self.correlation.clone()),
            ..PublishProperties::default()
        }
    }

    async fn next(&self, events: &mut EventLoop) -> Result<Packet, Refusal> {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(packet)) => return Ok(packet),
                Ok(Event::Outgoing(_)) => {}
                Err(error) => return Err(self.refusal(&error)),
            }
        }
    }

    /// Says goodbye, so that the broker does not log a lost connection.
    async fn leave(&self, client: &AsyncClient, events: &mut EventLoop) {
        if client.disconnect().await.is_ok() {
            while let Ok(event) = events.poll().await {
                if matches!(event, Event::Outgoing(rumqttc::Outgoing::Disconnect)) {
                    break;
                }
            }
        }
    }

    fn check_subscription(&self, ack: &SubAck) -> Result<(), Refusal> {
        // The filter for chunks may be refused: then only a short reply can arrive.
        match ack.return_codes.first() {
            Some(SubscribeReasonCode::Success(_)) => Ok(()),
            other => {
                let why = match other {
                    Some(SubscribeReasonCode::NotAuthorized) => "not authorized",
                    Some(SubscribeReasonCode::QuotaExceeded) => "quota exceeded",
                    _ => "it gave no usable reason",
                };
                let topic = escape(&self.response_topic);
                Err(Refusal::unavailable(format!(
                    "the broker refuses a subscription to `{topic}`: {why}; name a topic that the \
                     user may subscribe to with --response-topic"
                )))
            }
        }
    }

    fn check_acknowledgement(&self, reason: PubAckReason) -> Result<(), Refusal> {
        let why = match reason {
            // A broker without that subscriber may still have a bridge listening elsewhere.
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return Ok(()),
            PubAckReason::NotAuthorized => "not authorized",
            PubAckReason::TopicNameInvalid => "the topic is not valid",
            PubAckReason::QuotaExceeded => "quota exceeded",
            PubAckReason::PayloadFormatInvalid => "the payload is not what it says",
            PubAckReason::PacketIdentifierInUse
            | PubAckReason::UnspecifiedError
            | PubAckReason::ImplementationSpecificError => "it gave no usable reason",
        };
        let topic = escape(&self.topic);
        Err(Refusal {
            exit: Exit::Failed,
            text: format!(
                "the broker refuses a message to `{topic}`: {why}; publish to a topic that the \
                 user may publish to"
            ),
        })
    }

    /// Takes a message in; returns the reply once it is complete.
    fn take(&self, publish: &Publish, chunks: &mut Chunks) -> Option<Reply> {
        let properties = publish.properties.as_ref();
        let correlation = properties.and_then(|properties| properties.correlation_data.as_ref());
        if correlation.is_some_and(|data| *data != self.correlation) {
            return None;
        }
        let topic = std::str::from_utf8(&publish.topic).ok()?;
        let code = properties.and_then(|properties| {
            let code = properties
                .user_properties
                .iter()
                .find(|(name, _)| name == "code");
            code.map(|(_, value)| value.clone())
        });
        let below = topic.strip_prefix(&self.response_topic)?;
        if below.is_empty() {
            let payload = publish.payload.to_vec();
            return Some(Reply { payload, code });
        }
        let payload = chunks.add(below, publish.payload.clone())?;
        Some(Reply { payload, code })
    }

    fn refusal(&self, error: &ConnectionError) -> Refusal {
        let broker = &self.broker;
        Refusal::unavailable(match error {
            ConnectionError::ConnectionRefused(code)
            | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => {
                let (why, remedy) = explain(*code);
                format!("the broker at {broker} refuses the connection: {why}; {remedy}")
            }
            ConnectionError::Io(error) => {
                let cause = crate::config::io_cause(error);
                format!(
                    "can not reach a broker at {broker}: {cause}; start it, or name another with --host and --port"
                )
            }
            ConnectionError::Tls(error) => {
                format!("no TLS connection to {broker}: {error}; check --ca, --host and --port")
            }
            ConnectionError::MqttState(StateError::Io(_) | StateError::ConnectionAborted) => {
                format!("the broker at {broker} closed the connection; see its log for the reason")
            }
            other => format!("no MQTT 5 connection to {broker}: {other}; see the broker's log"),
        })
    }
}

fn explain(code: ConnectReturnCode) -> (&'static str, &'static str) {
    use ConnectReturnCode as Code;
    match code {
        Code::BadUserNamePassword => (
            "bad user name or password",
            "correct --user and --password-file",
        ),
        Code::NotAuthorized => ("not authorized", "give --user and --password-file"),
        Code::ServerBusy | Code::ServerUnavailable | Code::ServiceUnavailable => {
            ("it is busy", "try again later")
        }
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
            ("it does not speak MQTT 5", "use a broker that does")
        }
        _ => ("it gave no usable reason", "see the broker's log"),
    }
}

/// Parts of a long reply, which come on `<topic>/<i>/<n>` with `i` from 1.
#[derive(Default)]
struct Chunks {
    parts: BTreeMap<usize, Bytes>,
}

impl Chunks {
    /// Adds a part; returns the whole once nothing is missing.
    fn add(&mut self, below: &str, payload: Bytes) -> Option<Vec<u8>> {
        let (number, count) = below.strip_prefix('/')?.split_once('/')?;
        let (number, count): (usize, usize) = (number.parse().ok()?, count.parse().ok()?);
        if number == 0 || number > count || count > MOST_CHUNKS {
            return None;
        }
        self.parts.insert(number, payload);
        (self.parts.len() == count).then(|| self.parts.values().flatten().copied().collect())
    }
}

fn read_password(arguments: &Arguments) -> Result<String, Refusal> {
    let Some(file) = &arguments.password_file else {
        return Ok(arguments.password.clone().unwrap_or_default());
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        let (file, cause) = (file.display(), crate::config::io_cause(&error));
        Refusal::usage(format!(
            "{file}: can not be read: {cause}; correct --password-file"
        ))
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn tls_configuration(arguments: &Arguments) -> Result<TlsConfiguration, Refusal> {
    let roots = match &arguments.ca {
        Some(file) => Roots::Files(vec![file.clone()]),
        None => Roots::Bundled,
    };
    let trust = Trust {
        roots,
        ..Trust::default()
    };
    let client = crate::io::tls::roots::load(&trust.roots)
        .and_then(|roots| crate::io::tls::client::Client::new(&trust, roots))
        .map_err(Refusal::usage)?;
    Ok(TlsConfiguration::Rustls(client.config()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_in_order_and_once_complete() {
        let mut chunks = Chunks::default();
        let steps = [
            ("/2/3", "b", None, "two are missing"),
            ("/0/3", "x", None, "numbers start at 1"),
            ("/4/3", "x", None, "there are three"),
            ("/x", "x", None, "not a chunk's topic"),
            ("/1/3", "a", None, "one is missing"),
            ("/1/3", "a", None, "sent again"),
            ("/3/3", "c", Some("abc"), "all are there"),
        ];
        for (below, payload, expected, reason) in steps {
            let whole = chunks.add(below, Bytes::from(payload));
            assert_eq!(
                whole,
                expected.map(|text| text.as_bytes().to_vec()),
                "{reason}"
            );
        }
    }
}
