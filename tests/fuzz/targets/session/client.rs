//! What one connection has seen, and what it may be sent.

use std::collections::BTreeMap;

use mqtt_https_bridge::core::message::QoS;
use mqtt_https_bridge::core::packet::{Connect, Delivery, Incoming, Outgoing, Version, reason};
use mqtt_https_bridge::core::topic::Topic;

/// One connection as its client sees it.
pub struct Client {
    pub version: Version,
    /// The client ID; one that was assigned is known from the CONNACK.
    pub name: String,
    /// The shell was told to close it, or it is lost.
    pub closed: bool,
    pub delivered: Vec<Delivery>,
    /// Codes of the latest SUBACK or UNSUBACK.
    pub codes: Option<Vec<u8>>,
    /// How many deliveries that it has not finished it may be sent at most (MQTT 5 §4.9).
    receive_maximum: usize,
    maximum_packet: Option<usize>,
    greeted: bool,
    alias_maximum: u16,
    /// Topics by alias, as the broker has defined them.
    aliases: BTreeMap<u16, Topic>,
    /// Deliveries that are not finished.
    open: BTreeMap<u16, Stage>,
    /// Publishes that were not answered, by packet identifier.
    unanswered: BTreeMap<u16, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Published(QoS),
    Released,
}

impl Client {
    pub fn new(connect: &Connect) -> Self {
        let maximum_packet = connect.maximum_packet;
        Self {
            version: connect.version,
            name: connect.client_id.clone(),
            closed: false,
            delivered: Vec::new(),
            codes: None,
            receive_maximum: usize::from(connect.receive_maximum),
            maximum_packet: maximum_packet.and_then(|max| usize::try_from(max).ok()),
            greeted: false,
            alias_maximum: connect.topic_alias_maximum,
            aliases: BTreeMap::new(),
            open: BTreeMap::new(),
            unanswered: BTreeMap::new(),
        }
    }

    /// Takes note of what it sends.
    pub fn sends(&mut self, packet: &Incoming) {
        match packet {
            Incoming::Publish(own) if own.qos > QoS::AtMostOnce => {
                *self.unanswered.entry(own.packet_id).or_default() += 1;
            }
            Incoming::PubAck(id, _) => {
                if self.open.get(id) == Some(&Stage::Published(QoS::AtLeastOnce)) {
                    self.open.remove(id);
                }
            }
            Incoming::PubRec(id, code) => {
                if self.open.contains_key(id)
                    && self.open.get(id) != Some(&Stage::Published(QoS::AtLeastOnce))
                {
                    if *code >= reason::UNSPECIFIED {
                        self.open.remove(id);
                    } else {
                        self.open.insert(*id, Stage::Released);
                    }
                }
            }
            Incoming::PubComp(id, _) => {
                if self.open.get(id) == Some(&Stage::Released) {
                    self.open.remove(id);
                }
            }
            _ => {}
        }
    }

    /// Checks what it is sent; returns what a client answers.
    pub fn receives(&mut self, packet: &Outgoing) -> Option<Incoming> {
        let is_greeting = matches!(packet, Outgoing::ConnAck(_));
        assert_ne!(
            is_greeting, self.greeted,
            "CONNACK comes first and once: {packet:?}"
        );
        self.greeted = true;
        match packet {
            Outgoing::ConnAck(ack) => {
                let assigned = ack.grant.as_ref().and_then(|grant| grant.client_id.clone());
                assert!(assigned.is_none() || self.name.is_empty());
                self.name = assigned.unwrap_or_else(|| self.name.clone());
                None
            }
            Outgoing::Publish(delivery) => self.receives_delivery(delivery),
            Outgoing::PubAck(id, _) | Outgoing::PubRec(id, _) => {
                let left = self.unanswered.get_mut(id).filter(|left| **left > 0);
                *left.expect("an answer to a publish") -= 1;
                match packet {
                    Outgoing::PubRec(_, code) if *code < reason::UNSPECIFIED => {
                        Some(Incoming::PubRel(*id, 0))
                    }
                    _ => None,
                }
            }
            Outgoing::PubRel(id, code) => {
                if *code == reason::SUCCESS {
                    self.open.insert(*id, Stage::Released);
                }
                Some(Incoming::PubComp(*id, 0))
            }
            Outgoing::SubAck(_, codes) | Outgoing::UnsubAck(_, codes) => {
                self.codes = Some(codes.clone());
                None
            }
            Outgoing::PubComp(..) | Outgoing::PingResp | Outgoing::Disconnect(_) => None,
        }
    }

    fn receives_delivery(&mut self, delivery: &Delivery) -> Option<Incoming> {
        let old = self.version != Version::V5;
        if old {
            assert!(
                delivery.properties.is_none(),
                "properties in {:?}",
                self.version
            );
            assert!(delivery.subscription_ids.is_empty());
        }
        if let Some(max) = self.maximum_packet {
            assert!(
                delivery.wire_bytes() <= max,
                "{delivery:?} is larger than {max}"
            );
        }
        self.resolves(delivery);
        self.delivered.push(delivery.clone());
        let id = delivery.packet_id;
        assert_eq!(id == 0, delivery.qos == QoS::AtMostOnce, "{delivery:?}");
        if delivery.qos == QoS::AtMostOnce {
            assert!(!delivery.dup);
            return None;
        }
        let before = self.open.insert(id, Stage::Published(delivery.qos));
        assert_eq!(before, None, "{id} is in use: {delivery:?}");
        let published = self
            .open
            .values()
            .filter(|stage| **stage != Stage::Released);
        assert!(
            published.count() <= self.receive_maximum,
            "more than the receive maximum of {}",
            self.receive_maximum
        );
        Some(match delivery.qos {
            QoS::ExactlyOnce => Incoming::PubRec(id, 0),
            QoS::AtMostOnce | QoS::AtLeastOnce => Incoming::PubAck(id, 0),
        })
    }

    /// Learns and uses aliases: what the client takes the topic for is what was meant.
    fn resolves(&mut self, delivery: &Delivery) {
        let Some(alias) = delivery.alias else {
            assert!(delivery.names_topic, "{delivery:?}");
            return;
        };
        assert!((1..=self.alias_maximum).contains(&alias), "{delivery:?}");
        if delivery.names_topic {
            self.aliases.insert(alias, delivery.topic.clone());
        }
        assert_eq!(
            self.aliases.get(&alias),
            Some(&delivery.topic),
            "{delivery:?}"
        );
    }
}
