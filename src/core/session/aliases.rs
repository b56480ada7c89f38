//! Topic aliases towards a client (MQTT 5 §3.3.2.3.4): the first topics of a connection, as many as
//! the client allows, are named once and then stood for by a number.

use crate::core::packet::Delivery;
use crate::core::topic::Topic;

/// Most aliases of a connection, whatever the client allows: they are searched one by one.
const MOST: u16 = 16;

/// A topic that is no longer saves nothing: the alias takes as many bytes.
const SHORT: usize = 3;

/// The aliases of one connection: numbers from 1 for topics in this order.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    topics: Vec<Topic>,
    most: usize,
}

impl Aliases {
    /// Begins a connection whose client allows so many.
    pub(crate) fn new(allowed: u16) -> Self {
        Self {
            topics: Vec::new(),
            most: allowed.min(MOST).into(),
        }
    }

    /// Puts an alias into a delivery, in place of its topic if the client knows it.
    pub(crate) fn apply(&mut self, delivery: &mut Delivery, largest: Option<usize>) {
        if self.most == 0 || delivery.topic.as_str().len() <= SHORT {
            return;
        }
        let known = self.topics.iter().position(|own| *own == delivery.topic);
        let index = known.unwrap_or(self.topics.len());
        if index >= self.most {
            return;
        }
        delivery.alias = u16::try_from(index + 1).ok();
        delivery.names_topic = known.is_none();
        if known.is_some() {
            return;
        }
        if largest.is_some_and(|largest| delivery.wire_bytes() > largest) {
            delivery.alias = None;
        } else {
            self.topics.push(delivery.topic.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::message::QoS;

    fn delivery(topic: &str) -> Delivery {
        Delivery {
            topic: Topic::parse(topic).unwrap(),
            names_topic: true,
            alias: None,
            payload: Bytes::new(),
            qos: QoS::AtMostOnce,
            packet_id: 0,
            dup: false,
            retain: false,
            properties: None,
            subscription_ids: Vec::new(),
        }
    }

    /// The aliases that deliveries of these topics get, and whether they name the topic.
    fn applied(allowed: u16, topics: &[&str]) -> Vec<(Option<u16>, bool)> {
        let mut aliases = Aliases::new(allowed);
        let deliveries = topics.iter().map(|topic| {
            let mut delivery = delivery(topic);
            aliases.apply(&mut delivery, None);
            (delivery.alias, delivery.names_topic)
        });
        deliveries.collect()
    }

    #[test]
    fn first_topics_get_the_aliases_and_are_named_once() {
        let topics = ["long/a", "long/b", "long/a", "long/c", "abc", "long/b"];
        let expected = [
            (Some(1), true),
            (Some(2), true),
            (Some(1), false),
            (None, true),
            (None, true),
            (Some(2), false),
        ];
        assert_eq!(applied(2, &topics), expected);
        assert_eq!(applied(0, &topics), [(None, true); 6]);
    }

    #[test]
    fn alias_does_not_make_a_packet_too_large() {
        let mut aliases = Aliases::new(1);
        let plain = delivery("long/a").wire_bytes();
        for (largest, alias, names_topic) in [
            (plain + 2, None, true),
            (plain + 3, Some(1), true),
            (plain, Some(1), false),
        ] {
            let mut own = delivery("long/a");
            aliases.apply(&mut own, Some(largest));
            assert_eq!((own.alias, own.names_topic), (alias, names_topic));
            assert!(own.wire_bytes() <= largest);
        }
    }
}
