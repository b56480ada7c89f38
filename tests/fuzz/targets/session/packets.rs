//! Packets made of a fuzzer's bytes, and whom a publish has to reach.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqtt_https_bridge::core::hub::ConnectionId;
use mqtt_https_bridge::core::message::{Properties, QoS};
use mqtt_https_bridge::core::packet::{
    Connect, Delivery, Disconnect, Incoming, Publish, RetainHandling, Subscribe, SubscribeOptions,
    Unsubscribe, Version, Will,
};
use mqtt_https_bridge::core::topic::TopicFilter;
use mqtt_https_bridge::fuzzing::decode_connect;
use mqtt_https_bridge_fuzz::{Input, takes};

use crate::client::Client;

/// Client IDs that connect.
pub const CLIENTS: [&str; 3] = ["a", "b", "c"];

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const LEVELS: [&str; 8] = ["a", "b", "é", "", "a", "b", "replies", "$x"];
const WILD: [&str; 8] = ["a", "b", "é", "", "+", "+", "#", "$x"];

/// CONNECT of 3.1.1 with a clean session.
pub fn clean(name: &str) -> Connect {
    let mut bytes = BytesMut::from(&b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01a"[..]);
    let connect = decode_connect(&mut bytes, 64).unwrap().unwrap();
    Connect {
        client_id: name.to_owned(),
        ..connect
    }
}

/// Any CONNECT; an eager client takes packets of any size.
pub fn connect(input: &mut Input<'_>, eager: bool) -> Connect {
    let version = input.pick(&[Version::V3_1, Version::V3_1_1, Version::V5, Version::V5]);
    let name = input.pick(&["a", "b", "c", ""]);
    let clean_start = input.flag();
    let session_expiry = match version {
        // A session whose client ID was assigned could not be ended.
        Version::V5 if name.is_empty() => input.pick(&[0, 1, 3]),
        Version::V5 => input.pick(&[0, 1, 3, u32::MAX]),
        Version::V3_1 | Version::V3_1_1 if clean_start => 0,
        Version::V3_1 | Version::V3_1_1 => u32::MAX,
    };
    let is_v5 = version == Version::V5;
    let maximum_packet =
        (is_v5 && input.flag() && !eager).then(|| 8 + u32::from(input.byte() % 40));
    Connect {
        version,
        clean_start,
        session_expiry,
        receive_maximum: if is_v5 {
            input.pick(&[1, 2, 65_535])
        } else {
            65_535
        },
        maximum_packet,
        topic_alias_maximum: if is_v5 { input.pick(&[0, 0, 1, 2]) } else { 0 },
        will: input.flag().then(|| will(input)),
        ..clean(name)
    }
}

fn will(input: &mut Input<'_>) -> Will {
    Will {
        topic: topic(input),
        payload: Bytes::from_static(b"will"),
        qos: input.pick(&QOS),
        retain: input.flag(),
        delay: Duration::from_secs(u64::from(input.byte() % 3)),
        properties: None,
    }
}

/// Any packet. The payload of a publish names its number.
pub fn packet(input: &mut Input<'_>, version: Version, number: usize, eager: bool) -> Incoming {
    let id = u16::from(input.byte() % 8);
    let code = input.pick(&[0, 0, 0x80]);
    match input.byte() % 16 {
        0..6 => Incoming::Publish(publish(input, version, number, eager)),
        6..9 => Incoming::Subscribe(Subscribe {
            packet_id: id,
            id: (version == Version::V5 && input.flag()).then(|| u32::from(input.byte()) + 1),
            filters: (0..1 + input.below(3))
                .map(|_| subscription(input, version, eager))
                .collect(),
        }),
        9 => Incoming::Unsubscribe(Unsubscribe {
            packet_id: id,
            filters: (0..1 + input.below(3)).map(|_| filter(input)).collect(),
        }),
        10 => Incoming::PubAck(id, code),
        11 => Incoming::PubRec(id, code),
        12 => Incoming::PubRel(id, code),
        13 => Incoming::PubComp(id, code),
        14 => Incoming::PingReq,
        _ => Incoming::Disconnect(Disconnect {
            reason: input.pick(&[0, 4]),
            session_expiry: input.flag().then(|| u32::from(input.byte() % 4)),
        }),
    }
}

fn publish(input: &mut Input<'_>, version: Version, number: usize, eager: bool) -> Publish {
    let is_v5 = version == Version::V5;
    let qos = input.pick(&QOS);
    let packet_id = u16::from(input.byte() % 8);
    let alias = (is_v5 && input.byte() % 4 == 0).then(|| u16::from(input.byte() % 18));
    let topic = match alias {
        Some(_) if input.flag() => String::new(),
        _ => topic(input),
    };
    let expiry = (is_v5 && !eager && input.flag()).then(|| u32::from(input.byte() % 4));
    Publish {
        topic,
        alias,
        payload: format!("{number}{}", "x".repeat(input.below(60))).into(),
        qos,
        packet_id: if qos == QoS::AtMostOnce { 0 } else { packet_id },
        dup: qos > QoS::AtMostOnce && input.flag(),
        retain: input.flag(),
        properties: expiry.map(|seconds| {
            Arc::new(Properties {
                expiry_interval: Some(seconds),
                ..Properties::default()
            })
        }),
    }
}

/// Most often a valid topic.
pub fn topic(input: &mut Input<'_>) -> String {
    let levels = (0..1 + input.below(3)).map(|_| input.pick(&LEVELS));
    levels.collect::<Vec<_>>().join("/")
}

fn filter(input: &mut Input<'_>) -> String {
    let group = input.pick(&["", "", "", "$share/g/", "$share/h/"]);
    let levels: Vec<_> = (0..1 + input.below(3)).map(|_| input.pick(&WILD)).collect();
    format!("{group}{}", levels.join("/"))
}

fn subscription(
    input: &mut Input<'_>,
    version: Version,
    eager: bool,
) -> (String, SubscribeOptions) {
    let filter = filter(input);
    let qos = input.pick(&QOS);
    let options = SubscribeOptions {
        qos,
        ..SubscribeOptions::default()
    };
    if version != Version::V5 {
        return (filter, options);
    }
    let handling = [
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ];
    // Half of a SUBSCRIBE would be taken in before that violation, which no SUBACK tells.
    let may_be_deaf = !eager || !filter.starts_with("$share/");
    let options = SubscribeOptions {
        no_local: input.byte() % 4 == 0 && may_be_deaf,
        retain_as_published: input.flag(),
        retain_handling: input.pick(&handling),
        ..options
    };
    (filter, options)
}

/// What a client ID has subscribed to, as its SUBACKs say.
#[derive(Default)]
pub struct Held(BTreeMap<String, (SubscribeOptions, Option<u32>)>);

impl Held {
    /// Takes note of a SUBSCRIBE or UNSUBSCRIBE that was answered with these codes.
    pub fn change(&mut self, packet: &Incoming, codes: &[u8]) {
        match packet {
            Incoming::Subscribe(own) => {
                assert_eq!(codes.len(), own.filters.len());
                for ((filter, options), code) in own.filters.iter().zip(codes) {
                    let plain = filter
                        .strip_prefix("$share/")
                        .and_then(|it| it.split_once('/'));
                    let text = plain.map_or(filter.as_str(), |(_, text)| text);
                    assert_eq!(
                        *code < 0x80,
                        is_granted(text, filter),
                        "{filter:?}: {code:#x}"
                    );
                    if *code < 0x80 {
                        assert_eq!(*code, options.qos.level());
                        self.0.insert(filter.clone(), (*options, own.id));
                    }
                }
            }
            Incoming::Unsubscribe(own) => {
                assert_eq!(codes.len(), own.filters.len());
                for (filter, code) in own.filters.iter().zip(codes) {
                    assert_eq!(self.0.remove(filter).is_some(), *code == 0, "{filter:?}");
                }
            }
            _ => {}
        }
    }
}

/// Everything but `$…` may be subscribed to.
fn is_granted(text: &str, whole: &str) -> bool {
    TopicFilter::parse(text).is_ok() && !text.starts_with('$') && whole != "$share"
}

/// Whom a publish has to reach.
pub struct Expected {
    qos: QoS,
    retain: bool,
    payload: Bytes,
    /// For each connection the subscriptions of its own that match.
    own: BTreeMap<ConnectionId, Vec<(SubscribeOptions, Option<u32>)>>,
    /// Shared subscriptions that match, with the connections that could have the message.
    shared: BTreeMap<String, Vec<ConnectionId>>,
}

impl Expected {
    pub fn of<'a>(
        receivers: impl Iterator<Item = (ConnectionId, &'a str)>,
        held: &BTreeMap<String, Held>,
        publisher: &str,
        publish: &Publish,
    ) -> Self {
        let mut expected = Self {
            qos: publish.qos,
            retain: publish.retain,
            payload: publish.payload.clone(),
            own: BTreeMap::new(),
            shared: BTreeMap::new(),
        };
        for (id, name) in receivers {
            for (filter, (options, number)) in held.get(name).into_iter().flat_map(|own| &own.0) {
                let shared = filter
                    .strip_prefix("$share/")
                    .and_then(|it| it.split_once('/'));
                let text = shared.map_or(filter.as_str(), |(_, text)| text);
                if !takes(text, &publish.topic) || (options.no_local && name == publisher) {
                    continue;
                }
                if shared.is_some() {
                    expected.shared.entry(filter.clone()).or_default().push(id);
                } else {
                    expected
                        .own
                        .entry(id)
                        .or_default()
                        .push((*options, *number));
                }
            }
        }
        expected
    }

    /// Compares with what was delivered since.
    pub fn compare(
        &self,
        fresh: &BTreeMap<ConnectionId, &[Delivery]>,
        clients: &BTreeMap<ConnectionId, Client>,
        told: &str,
    ) {
        let mut shared = 0;
        for (id, deliveries) in fresh {
            let copies: Vec<_> = deliveries
                .iter()
                .filter(|it| it.payload == self.payload)
                .collect();
            let own = self.own.get(id);
            let groups = self.shared.values();
            let most = groups.filter(|members| members.contains(id)).count();
            let of_own = usize::from(own.is_some());
            let range = of_own..=of_own + most;
            assert!(
                range.contains(&copies.len()),
                "{id:?} got {copies:?} of {told}"
            );
            shared += copies.len() - of_own;
            if let (Some(own), [copy]) = (own, &copies[..]) {
                self.compare_own(copy, own, clients[id].version, told);
            }
        }
        assert_eq!(
            shared,
            self.shared.len(),
            "shared subscriptions have {told}"
        );
    }

    /// Compares the one copy for all of a session's own subscriptions that match.
    fn compare_own(
        &self,
        copy: &Delivery,
        own: &[(SubscribeOptions, Option<u32>)],
        version: Version,
        told: &str,
    ) {
        let highest = own.iter().map(|(options, _)| options.qos).max().unwrap();
        assert_eq!(copy.qos, self.qos.min(highest), "{copy:?} of {told}");
        let as_published = own.iter().any(|(options, _)| options.retain_as_published);
        assert_eq!(
            copy.retain,
            self.retain && as_published,
            "{copy:?} of {told}"
        );
        let ids = own.iter().filter_map(|(_, id)| *id);
        let mut ids: Vec<_> = ids.filter(|_| version == Version::V5).collect();
        let mut got = copy.subscription_ids.clone();
        ids.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, ids, "{copy:?} of {told}");
    }
}
