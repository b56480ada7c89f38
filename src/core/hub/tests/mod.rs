//! Behaviour of the hub as its clients see it.

mod connecting;
mod delivering;
mod memory;
mod publishing;
mod quirks;
mod quota;
mod random;
mod resent;
mod review;
mod storing;
mod subscribing;
mod traps;

use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;
use crate::core::access::{Hearing, Rules};
use crate::core::message::{Properties, QoS};
use crate::core::packet::{Disconnect, Publish, RetainHandling, Subscribe, SubscribeOptions};
use crate::core::packet::{Unsubscribe, Will};
use crate::core::store::Change;
use crate::core::topic::Topic;

/// A hub with clients, and a shell that does what the hub says.
struct Scenario {
    hub: Hub,
    now: Instant,
    connections: usize,
    /// Whom the hub has woken; only these may have packets.
    awake: BTreeSet<ConnectionId>,
    closed: BTreeSet<ConnectionId>,
    offers: Vec<Offer>,
    reports: Vec<Report>,
    /// What is to be stored, the oldest first, and the token that waits for it.
    batches: VecDeque<(Vec<Change>, Option<usize>)>,
    /// Whether publishes are acknowledged as soon as they are offered.
    acknowledges: bool,
}

impl Scenario {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to start from"
    )]
    fn with(limits: Limits) -> Self {
        let reserved = vec![TopicFilter::parse("replies/#").unwrap()];
        Self {
            hub: Hub::new(limits, reserved),
            now: Instant::now(),
            connections: 0,
            awake: BTreeSet::new(),
            closed: BTreeSet::new(),
            offers: Vec::new(),
            reports: Vec::new(),
            batches: VecDeque::new(),
            acknowledges: true,
        }
    }

    /// Connects a client that may do anything and takes its CONNACK.
    fn join(&mut self, connect: Connect) -> ConnectionId {
        let id = self.connect(connect, &anyone());
        assert!(matches!(self.packet(id), Some(Outgoing::ConnAck(ack)) if ack.reason == 0));
        id
    }

    fn connect(&mut self, connect: Connect, who: &Identity) -> ConnectionId {
        self.connections += 1;
        let id = ConnectionId(self.connections);
        self.hub.connect(id, connect, who.clone(), self.now);
        self.run();
        id
    }

    fn send(&mut self, id: ConnectionId, packet: Incoming) {
        self.hub.receive(id, packet, self.now);
        self.run();
    }

    fn lose(&mut self, id: ConnectionId) {
        self.hub.close(id, Ended::Lost, self.now);
        self.awake.remove(&id);
        self.run();
    }

    fn leave(&mut self, id: ConnectionId) {
        self.send(id, disconnect(0, None));
        assert!(self.closed.contains(&id));
        self.awake.remove(&id);
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        if self.hub.next_timeout().is_some_and(|due| due <= self.now) {
            self.hub.handle_timeout(self.now);
        }
        assert!(self.hub.next_timeout().is_none_or(|due| due > self.now));
        self.run();
    }

    /// Executes effects as the shell does.
    fn run(&mut self) {
        while let Some(effect) = self.hub.next_effect() {
            match effect {
                Effect::Wake(id) => {
                    assert!(self.awake.insert(id), "{id:?} was woken twice");
                    assert!(!self.closed.contains(&id), "{id:?} was woken after its end");
                }
                Effect::Close(id) => assert!(self.closed.insert(id), "{id:?} closed twice"),
                Effect::Offer(offer) => {
                    if let Some(ticket) = offer.ticket
                        && self.acknowledges
                    {
                        self.hub.acknowledge(ticket, reason::SUCCESS);
                    }
                    self.offers.push(offer);
                }
                Effect::Store { changes, token } => self.batches.push_back((changes, token)),
                Effect::Report(report) => self.reports.push(report),
            }
        }
    }

    fn packet(&mut self, id: ConnectionId) -> Option<Outgoing> {
        let packet = self.hub.next_packet(id, self.now);
        if packet.is_some() {
            let known = self.awake.contains(&id) || self.closed.contains(&id);
            assert!(known, "{packet:?} without a wake-up");
        } else {
            self.awake.remove(&id);
        }
        self.run();
        packet
    }

    /// Takes all packets of a connection, as text.
    fn packets(&mut self, id: ConnectionId) -> Vec<String> {
        let mut packets = Vec::new();
        while let Some(packet) = self.packet(id) {
            packets.push(show(&packet));
        }
        packets
    }

    fn subscribe(&mut self, id: ConnectionId, filter: &str, qos: QoS) {
        self.send(id, subscribe(1, &[(filter, qos)]));
        let packets = self.packets(id);
        assert_eq!(
            packets[0],
            format!("suback 1 [0x{:02x}]", qos.level()),
            "{filter}"
        );
    }

    fn reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// Topics and payloads of what was offered to the bridge.
    fn offered(&mut self) -> Vec<String> {
        let offers = std::mem::take(&mut self.offers);
        let texts = offers.iter().map(|offer| {
            let payload = String::from_utf8_lossy(&offer.message.payload);
            format!("{}={payload}", offer.message.topic)
        });
        texts.collect()
    }

    /// Asserts that nothing is kept of what has passed.
    fn assert_empty(&self) {
        assert_eq!(self.hub.sessions.len(), 0, "sessions");
        assert!(self.hub.subscriptions.is_empty(), "subscriptions");
        assert!(self.hub.connections.is_empty(), "connections");
        assert_eq!(self.hub.closing.len(), 0, "closing");
        assert!(self.hub.parted.is_empty(), "parted");
        assert!(self.hub.timers.is_empty(), "timers");
        assert!(self.hub.offline.is_empty(), "offline");
    }
}

fn show(packet: &Outgoing) -> String {
    match packet {
        Outgoing::ConnAck(ack) => {
            let present = if ack.session_present { " present" } else { "" };
            format!("connack 0x{:02x}{present}", ack.reason)
        }
        Outgoing::Publish(own) => {
            let payload = String::from_utf8_lossy(&own.payload);
            let mut text = format!("{}={payload} q{}", own.topic, own.qos.level());
            if own.packet_id > 0 {
                text += &format!(" #{}", own.packet_id);
            }
            if own.dup {
                text += " dup";
            }
            if own.retain {
                text += " retain";
            }
            if !own.subscription_ids.is_empty() {
                text += &format!(" {:?}", own.subscription_ids);
            }
            text
        }
        Outgoing::PubAck(id, code) => format!("puback {id} 0x{code:02x}"),
        Outgoing::PubRec(id, code) => format!("pubrec {id} 0x{code:02x}"),
        Outgoing::PubRel(id, code) => format!("pubrel {id} 0x{code:02x}"),
        Outgoing::PubComp(id, code) => format!("pubcomp {id} 0x{code:02x}"),
        Outgoing::SubAck(id, codes) => format!("suback {id} {}", hexadecimal(codes)),
        Outgoing::UnsubAck(id, codes) => format!("unsuback {id} {}", hexadecimal(codes)),
        Outgoing::PingResp => "pingresp".to_owned(),
        Outgoing::Disconnect(code) => format!("disconnect 0x{code:02x}"),
    }
}

fn hexadecimal(codes: &[u8]) -> String {
    let codes: Vec<_> = codes.iter().map(|code| format!("0x{code:02x}")).collect();
    format!("[{}]", codes.join(", "))
}

const Q0: QoS = QoS::AtMostOnce;
const Q1: QoS = QoS::AtLeastOnce;
const Q2: QoS = QoS::ExactlyOnce;

fn identity(user: Option<&str>, publish: &[&str], subscribe: &[&str]) -> Identity {
    let owned = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect();
    Identity {
        user: user.map(Arc::from),
        rules: Arc::new(Rules {
            publish: owned(publish),
            subscribe: owned(subscribe),
        }),
        reply_packet: None,
        owns_client_id: false,
        peer: None,
    }
}

fn anyone() -> Identity {
    identity(None, &["#", "$sys/#"], &["#", "$sys/#"])
}

/// CONNECT of a 3.1.1 client with a clean session.
fn v4(client: &str) -> Connect {
    Connect {
        version: Version::V3_1_1,
        client_id: client.to_owned(),
        clean_start: true,
        keep_alive: 60,
        session_expiry: 0,
        receive_maximum: u16::MAX,
        maximum_packet: None,
        topic_alias_maximum: 0,
        will: None,
        credentials: None,
    }
}

/// CONNECT of a 3.1.1 client with a session that stays.
fn v4_persistent(client: &str) -> Connect {
    Connect {
        clean_start: false,
        session_expiry: u32::MAX,
        ..v4(client)
    }
}

/// CONNECT of an MQTT 5 client whose session ends with the connection.
fn v5(client: &str) -> Connect {
    Connect {
        version: Version::V5,
        ..v4(client)
    }
}

/// CONNECT of an MQTT 5 client whose session lasts so many seconds.
fn v5_lasting(client: &str, session_expiry: u32) -> Connect {
    Connect {
        clean_start: false,
        session_expiry,
        ..v5(client)
    }
}

fn will(topic: &str, payload: &str) -> Will {
    Will {
        topic: topic.to_owned(),
        payload: bytes(payload),
        qos: Q0,
        retain: false,
        delay: Duration::ZERO,
        properties: None,
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn message(topic: &str, payload: &str) -> Message {
    Message {
        topic: Topic::parse(topic).unwrap(),
        payload: bytes(payload),
        qos: Q0,
        retain: false,
        properties: None,
    }
}

fn publishing(topic: &str, payload: &str, qos: QoS, packet_id: u16) -> Publish {
    Publish {
        topic: topic.to_owned(),
        alias: None,
        payload: bytes(payload),
        qos,
        packet_id,
        dup: false,
        retain: false,
        properties: None,
    }
}

fn publish(topic: &str, payload: &str, qos: QoS, packet_id: u16) -> Incoming {
    Incoming::Publish(publishing(topic, payload, qos, packet_id))
}

fn retain(topic: &str, payload: &str) -> Incoming {
    Incoming::Publish(Publish {
        retain: true,
        ..publishing(topic, payload, Q0, 0)
    })
}

fn expiring(seconds: u32) -> Option<Arc<Properties>> {
    Some(Arc::new(Properties {
        expiry_interval: Some(seconds),
        ..Properties::default()
    }))
}

fn subscribe(packet_id: u16, filters: &[(&str, QoS)]) -> Incoming {
    let with_options = |(filter, qos): &(&str, QoS)| {
        let options = SubscribeOptions {
            qos: *qos,
            ..SubscribeOptions::default()
        };
        ((*filter).to_owned(), options)
    };
    Incoming::Subscribe(Subscribe {
        packet_id,
        id: None,
        filters: filters.iter().map(with_options).collect(),
    })
}

fn subscribe_with(filter: &str, id: Option<u32>, options: SubscribeOptions) -> Incoming {
    Incoming::Subscribe(Subscribe {
        packet_id: 1,
        id,
        filters: vec![(filter.to_owned(), options)],
    })
}

fn unsubscribe(packet_id: u16, filters: &[&str]) -> Incoming {
    Incoming::Unsubscribe(Unsubscribe {
        packet_id,
        filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
    })
}

fn disconnect(reason: u8, session_expiry: Option<u32>) -> Incoming {
    Incoming::Disconnect(Disconnect {
        reason,
        session_expiry,
    })
}
