//! Packets of several clients for the hub, in any order: what it holds stays within its limits,
//! what it sends keeps to the protocol, and nothing of a client stays when it is gone.
//!
//! The first byte chooses the limits and whether clients read and acknowledge at once (then
//! every publish must reach exactly whom it should); then each step is a byte that says what
//! happens, and the bytes that it needs.

#![no_main]

mod client;
mod packets;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use client::Client;
use libfuzzer_sys::fuzz_target;
use mqtt_https_bridge::core::bridge::Ticket;
use mqtt_https_bridge::core::hub::{ConnectionId, Effect, Ended, Hub, Limits};
use mqtt_https_bridge::core::message::QoS;
use mqtt_https_bridge::core::packet::{Delivery, Incoming, Outgoing, Publish, Version, reason};
use mqtt_https_bridge::core::topic::{Topic, TopicFilter};
use mqtt_https_bridge::fuzzing::{Census, anyone};
use mqtt_https_bridge_fuzz::{Input, message, tell};
use packets::{CLIENTS, connect, packet, topic};

/// Steps of one input.
const MOST: usize = 300;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let mut world = World::new(input.flag());
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.check_bounds();
    }
    world.finish();
});

struct World {
    hub: Hub,
    limits: Limits,
    /// Clients read, acknowledge and are acknowledged at once.
    eager: bool,
    now: Instant,
    /// By number; those that are gone stay, and must stay silent.
    clients: BTreeMap<ConnectionId, Client>,
    /// What is subscribed to, by client ID.
    held: BTreeMap<String, packets::Held>,
    awake: BTreeSet<ConnectionId>,
    tickets: Vec<Ticket>,
    published: usize,
}

impl World {
    fn new(eager: bool) -> Self {
        let small = Limits {
            clients: 3,
            queue_messages: 5,
            queue_bytes: 100,
            in_flight: 2,
            offline_sessions: 2,
            retained_messages: 3,
            retained_bytes: 100,
            ..Limits::default()
        };
        let limits = if eager { Limits::default() } else { small };
        let reserved = vec![TopicFilter::parse("replies/#").unwrap()];
        Self {
            hub: Hub::new(limits.clone(), reserved),
            limits,
            eager,
            now: Instant::now(),
            clients: BTreeMap::new(),
            held: BTreeMap::new(),
            awake: BTreeSet::new(),
            tickets: Vec::new(),
            published: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 32 {
            0..4 => self.connect(input),
            4..20 => self.send(input),
            20..25 => {
                if let Some(id) = self.pick(input) {
                    self.read(id, input.flag());
                }
            }
            25 => {
                if let Some(id) = self.pick(input) {
                    let ended = [
                        Ended::KeepAlive,
                        Ended::TooLarge,
                        Ended::Stopping,
                        Ended::Lost,
                    ];
                    self.close(id, input.pick(&ended));
                }
            }
            26 | 27 => {
                if !self.tickets.is_empty() {
                    let ticket = self.tickets.swap_remove(input.below(self.tickets.len()));
                    let code = input.pick(&[reason::SUCCESS, reason::QUOTA_EXCEEDED]);
                    self.hub.acknowledge(ticket, code);
                }
            }
            28 => {
                if let Ok(topic) = Topic::parse(&topic(input)) {
                    let mut own = message(topic, b"own");
                    own.retain = input.flag();
                    own.qos = QoS::AtLeastOnce;
                    self.hub.publish(&own, self.now);
                }
            }
            29 => self.wait(Duration::from_millis(500 * u64::from(input.byte() % 8))),
            _ => self.touch_unknown(input),
        }
        self.run();
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let id = ConnectionId(self.clients.len() + 1);
        let connect = connect(input, self.eager);
        let client = Client::new(&connect);
        self.clients.insert(id, client);
        tell(|| format!("{id:?}: {connect:?}"));
        self.hub.connect(id, connect, anyone(), self.now);
        self.run();
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.pick(input) else { return };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let (version, name) = (client.version, client.name.clone());
        self.published += 1;
        let packet = packet(input, version, self.published, self.eager);
        client.sends(&packet);
        tell(|| format!("{id:?}: {packet:?}"));
        let expected = match &packet {
            Incoming::Publish(publish) if self.eager => self.expected(id, &name, publish),
            _ => None,
        };
        let before = self.delivered();
        let was_live = client_is_live(&self.clients, id);
        self.hub.receive(id, packet.clone(), self.now);
        if !was_live {
            assert!(self.hub.next_effect().is_none(), "{packet:?} after the end");
        }
        self.run();
        if let Incoming::Subscribe(_) | Incoming::Unsubscribe(_) = &packet
            && self.eager
            && client_is_live(&self.clients, id)
        {
            let codes = self
                .clients
                .get_mut(&id)
                .and_then(|client| client.codes.take());
            let codes = codes.expect("an answer with a code for each filter");
            self.held.entry(name).or_default().change(&packet, &codes);
        }
        if let Some(expected) = expected {
            self.compare(&expected, &before, version, &packet);
        }
    }

    /// Returns whom a publish has to reach: by connection.
    fn expected(
        &self,
        publisher: ConnectionId,
        name: &str,
        publish: &Publish,
    ) -> Option<packets::Expected> {
        let live = |id: &ConnectionId| client_is_live(&self.clients, *id);
        let topic = Topic::parse(&publish.topic).ok()?;
        let refused = topic.is_reserved()
            || publish.alias.is_some()
            || publish.qos == QoS::ExactlyOnce
            || (publish.qos > QoS::AtMostOnce && publish.packet_id == 0)
            || topic.as_str().split('/').next() == Some("replies");
        if refused || !live(&publisher) {
            return None;
        }
        let receivers = self.clients.iter().filter(|(id, _)| live(id));
        let receivers = receivers.map(|(id, client)| (*id, client.name.as_str()));
        Some(packets::Expected::of(receivers, &self.held, name, publish))
    }

    fn delivered(&self) -> BTreeMap<ConnectionId, usize> {
        let counts = self.clients.iter();
        counts
            .map(|(id, client)| (*id, client.delivered.len()))
            .collect()
    }

    fn compare(
        &self,
        expected: &packets::Expected,
        before: &BTreeMap<ConnectionId, usize>,
        version: Version,
        packet: &Incoming,
    ) {
        let fresh: BTreeMap<ConnectionId, &[Delivery]> = self
            .clients
            .iter()
            .map(|(id, client)| (*id, &client.delivered[before[id]..]))
            .collect();
        let told = format!("{version:?} {packet:?}");
        expected.compare(&fresh, &self.clients, &told);
    }

    fn close(&mut self, id: ConnectionId, ended: Ended) {
        tell(|| format!("{id:?}: {ended:?}"));
        let was_live = client_is_live(&self.clients, id);
        self.hub.close(id, ended, self.now);
        if !was_live {
            assert!(self.hub.next_effect().is_none(), "the end of {id:?} twice");
        }
        self.run();
        if let (Ended::Lost, Some(client)) = (ended, self.clients.get_mut(&id)) {
            client.closed = true;
            self.awake.remove(&id);
            assert_eq!(self.hub.next_packet(id, self.now), None, "{id:?} is gone");
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        if self.hub.next_timeout().is_some_and(|due| due <= self.now) {
            self.hub.handle_timeout(self.now);
        }
        assert!(self.hub.next_timeout().is_none_or(|due| due > self.now));
    }

    /// A connection that never was has no effect.
    fn touch_unknown(&mut self, input: &mut Input<'_>) {
        let id = ConnectionId(usize::MAX);
        let before = self.hub.census();
        let packet = packet(input, Version::V5, 0, false);
        self.hub.receive(id, packet, self.now);
        self.hub.close(id, Ended::KeepAlive, self.now);
        let ticket = Ticket {
            connection: id,
            packet_id: 1,
        };
        self.hub.acknowledge(ticket, reason::SUCCESS);
        assert!(self.hub.next_effect().is_none());
        assert_eq!(self.hub.next_packet(id, self.now), None);
        assert_eq!(self.hub.silence(id), None);
        assert_eq!(self.hub.census(), before);
    }

    /// Executes effects as the shell does; eager clients read what they get.
    fn run(&mut self) {
        loop {
            while let Some(effect) = self.hub.next_effect() {
                self.perform(effect);
            }
            let next = self.awake.iter().copied().find(|_| self.eager);
            let Some(id) = next else { return };
            self.read_one(id, true);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Wake(id) => {
                assert!(self.awake.insert(id), "{id:?} was woken twice");
                assert!(!self.clients[&id].closed, "{id:?} was woken after its end");
            }
            Effect::Close(id) => {
                let client = self.clients.get_mut(&id).expect("it was connected");
                assert!(!client.closed, "{id:?} was closed twice");
                client.closed = true;
                if self.eager {
                    self.awake.insert(id);
                }
            }
            Effect::Offer(offer) => match offer.ticket {
                Some(ticket) if self.eager => self.hub.acknowledge(ticket, reason::SUCCESS),
                ticket => self.tickets.extend(ticket),
            },
            Effect::Store { .. } => panic!("nothing is to be stored without a store"),
            Effect::Report(_) => {}
        }
    }

    fn read(&mut self, id: ConnectionId, acknowledge: bool) {
        let mut count = 0;
        while self.read_one(id, acknowledge) {
            count += 1;
            assert!(count < 10_000, "{id:?} is written to for ever");
            while let Some(effect) = self.hub.next_effect() {
                self.perform(effect);
            }
        }
    }

    /// Takes a packet of a connection and lets the client answer it; false if there is none.
    fn read_one(&mut self, id: ConnectionId, acknowledge: bool) -> bool {
        let packet = self.hub.next_packet(id, self.now);
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        let Some(packet) = packet else {
            self.awake.remove(&id);
            return false;
        };
        let known = self.awake.contains(&id) || client.closed;
        assert!(known, "{packet:?} without a wake-up");
        tell(|| format!("    to {id:?}: {packet:?}"));
        let answer = client
            .receives(&packet)
            .filter(|_| acknowledge && !client.closed);
        if let Outgoing::ConnAck(ack) = &packet {
            let name = &client.name;
            if ack.reason == reason::SUCCESS && !ack.session_present {
                self.held.remove(name);
            }
        }
        if let Some(answer) = answer {
            client.sends(&answer);
            self.hub.receive(id, answer, self.now);
        }
        true
    }

    fn pick(&self, input: &mut Input<'_>) -> Option<ConnectionId> {
        let index = input.below(5);
        self.clients.keys().rev().nth(index).copied()
    }

    fn check_bounds(&self) {
        let (census, limits) = (self.hub.census(), &self.limits);
        assert!(census.connections <= limits.clients, "{census:?}");
        assert!(census.queued <= limits.queue_messages, "{census:?}");
        assert!(
            census.in_flight <= usize::from(limits.in_flight),
            "{census:?}"
        );
        assert!(census.offline <= limits.offline_sessions, "{census:?}");
        assert!(census.retained <= limits.retained_messages, "{census:?}");
        assert!(census.unfinished <= 1024, "{census:?}");
        assert!(census.timers <= census.sessions, "{census:?}");
        assert_eq!(
            census.sessions,
            census.connections + census.offline,
            "{census:?}"
        );
        assert_eq!(census.unsubscribed, census.filters == 0, "{census:?}");
        let live = self.clients.values().filter(|client| !client.closed);
        assert_eq!(census.connections, live.count(), "{census:?}");
    }

    /// Takes everybody's leave, and checks that nothing is kept.
    fn finish(&mut self) {
        let ids: Vec<_> = self.clients.keys().copied().collect();
        for id in ids {
            self.hub.close(id, Ended::Lost, self.now);
            self.run();
        }
        for name in CLIENTS {
            let id = ConnectionId(self.clients.len() + 1);
            let connect = packets::clean(name);
            self.clients.insert(id, Client::new(&connect));
            self.hub.connect(id, connect, anyone(), self.now);
            self.run();
            self.hub.close(id, Ended::Lost, self.now);
            self.awake.remove(&id);
            self.run();
        }
        self.wait(Duration::from_secs(10));
        let census = self.hub.census();
        let nothing = Census {
            retained: census.retained,
            unsubscribed: true,
            ..Census::default()
        };
        assert_eq!(census, nothing);
    }
}

fn client_is_live(clients: &BTreeMap<ConnectionId, Client>, id: ConnectionId) -> bool {
    clients.get(&id).is_some_and(|client| !client.closed)
}
