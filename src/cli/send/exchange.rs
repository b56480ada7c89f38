//! One request over MQTT 5 and the reply to it.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, Packet, PubAckReason, PubRecReason, Publish, PublishProperties,
    SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{TlsConfiguration, Transport};

use super::chunks::Chunks;
use super::{Arguments, Refusal, Reply};
use crate::cli::exit::Exit;
use crate::config::{escape, show_duration};
use crate::core::endpoint::{Roots, Trust};
use crate::core::topic::Topic;
use crate::io::password;

/// Largest packet taken as a reply.
const LARGEST_REPLY: u32 = 16 << 20;

/// One request and its reply.
pub(super) struct Exchange {
    options: MqttOptions,
    broker: String,
    topic: String,
    payload: Bytes,
    qos: QoS,
    response_topic: String,
    correlation: Bytes,
}

impl Exchange {
    /// Prepares the request; nothing is sent yet.
    pub(super) fn new(arguments: &Arguments) -> Result<Self, Refusal> {
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
            // Not below `replies/`, where a route may answer: only a user has a tree there that is
            // its own.
            (None, None) => format!("responses/{id}"),
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

    /// Performs it within the time given.
    pub(super) async fn perform(self, timeout: Duration) -> Result<Reply, Refusal> {
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
                    show_duration(timeout)
                ),
            }),
            Err(_) => {
                let (broker, timeout) = (&self.broker, show_duration(timeout));
                let text = format!(
                    "no answer from a broker at {broker} within {timeout}; check --host and --port"
                );
                Err(Refusal::unavailable(text))
            }
        }
    }

    async fn exchange(&self, connected: &mut bool) -> Result<Reply, Refusal> {
        // Room for all that is ever asked of it: who polls the events can not wait for room.
        let (client, mut events) = AsyncClient::new(self.options.clone(), 8);
        let closed = |_| Refusal::unavailable("the client closed by itself; try again".into());
        // Chunks of a long reply come below the response topic.
        // Not one's own message, if it goes to the response topic itself.
        let filter = |path: String| Filter {
            nolocal: true,
            ..Filter::new(path, QoS::AtLeastOnce)
        };
        let filters = [
            filter(self.response_topic.clone()),
            filter(format!("{}/+/+", self.response_topic)),
        ];
        client.try_subscribe_many(filters).map_err(closed)?;
        let mut chunks = Chunks::default();
        loop {
            let packet = match self.next(&mut events).await {
                Ok(packet) => packet,
                Err(refusal) => return self.left_over(&mut events, &mut chunks).ok_or(refusal),
            };
            match packet {
                Packet::ConnAck(_) => *connected = true,
                Packet::SubAck(ack) => {
                    self.check_subscription(&ack)?;
                    let (topic, payload) = (self.topic.clone(), self.payload.clone());
                    let published = client.try_publish_with_properties(
                        topic,
                        self.qos,
                        false,
                        payload,
                        self.properties(),
                    );
                    published.map_err(closed)?;
                }
                Packet::PubAck(ack) => self.check_acknowledgement(ack.reason)?,
                Packet::PubRec(ack) => self.check_acknowledgement(as_puback(&ack.reason))?,
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

    /// Returns the reply if it came together with the end of the connection: a broker that stops
    /// says both at once.
    fn left_over(&self, events: &mut EventLoop, chunks: &mut Chunks) -> Option<Reply> {
        let mut left = events.state.events.drain(..);
        left.find_map(|event| match event {
            Event::Incoming(Packet::Publish(publish)) => self.take(&publish, chunks),
            _ => None,
        })
    }

    /// Says goodbye, so that the broker does not log a lost connection.
    async fn leave(&self, client: &AsyncClient, events: &mut EventLoop) {
        if client.try_disconnect().is_ok() {
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

/// PUBREC refuses a message with the same reason codes as PUBACK.
const fn as_puback(reason: &PubRecReason) -> PubAckReason {
    match reason {
        PubRecReason::Success => PubAckReason::Success,
        PubRecReason::NoMatchingSubscribers => PubAckReason::NoMatchingSubscribers,
        PubRecReason::NotAuthorized => PubAckReason::NotAuthorized,
        PubRecReason::TopicNameInvalid => PubAckReason::TopicNameInvalid,
        PubRecReason::QuotaExceeded => PubAckReason::QuotaExceeded,
        PubRecReason::PayloadFormatInvalid => PubAckReason::PayloadFormatInvalid,
        PubRecReason::PacketIdentifierInUse
        | PubRecReason::UnspecifiedError
        | PubRecReason::ImplementationSpecificError => PubAckReason::UnspecifiedError,
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
