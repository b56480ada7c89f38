//! Clients that send anything in any order: nothing panics, and nothing of them stays.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Connect(Connect),
    Send(usize, Incoming),
    Read(usize),
    Lose(usize, Ended),
    Own(String, bool),
    Wait(u64),
}

fn topic() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[ab]{1,2}(/[abé]{0,1}){0,2}", 1 => "[ab+#$\\x00]{0,3}"]
}

fn filter() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[ab+](/[abé+]{0,1}){0,2}(/#)?",
        2 => "[$]share/[gh]/[ab+#]",
        1 => "[ab+#$/]{0,4}",
    ]
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(Q0), Just(Q1), Just(Q2)]
}

fn will() -> impl Strategy<Value = Will> {
    (topic(), qos(), any::<bool>(), 0..3_u64).prop_map(|(topic, qos, retain, delay)| Will {
        topic,
        payload: bytes("will"),
        qos,
        retain,
        delay: Duration::from_secs(delay),
        properties: None,
    })
}

fn connect() -> impl Strategy<Value = Connect> {
    let version = prop_oneof![
        Just(Version::V3_1),
        Just(Version::V3_1_1),
        Just(Version::V5)
    ];
    let maximum_packet = proptest::option::of(16..60_u32);
    let will = proptest::option::of(will());
    (
        version,
        "[abc]{0,1}",
        any::<bool>(),
        0..4_u32,
        1..4_u16,
        maximum_packet,
        will,
    )
        .prop_map(
            |(version, client_id, clean_start, expiry, receive_maximum, maximum_packet, will)| {
                Connect {
                    version,
                    clean_start,
                    // A session whose client ID was assigned could not be ended below.
                    session_expiry: match expiry {
                        3 if !client_id.is_empty() => u32::MAX,
                        _ => expiry,
                    },
                    client_id,
                    receive_maximum,
                    maximum_packet,
                    will,
                    ..v4("")
                }
            },
        )
}

fn publish() -> impl Strategy<Value = Incoming> {
    let alias = proptest::option::of(0..18_u16);
    let expiry = proptest::option::of(0..4_u32);
    let flags = (any::<bool>(), any::<bool>());
    (topic(), alias, "[xy]{0,30}", qos(), 0..5_u16, flags, expiry).prop_map(
        |(topic, alias, payload, qos, packet_id, (dup, retain), expiry)| {
            Incoming::Publish(Publish {
                alias,
                dup,
                retain,
                properties: expiry.and_then(expiring),
                ..publishing(&topic, &payload, qos, packet_id)
            })
        },
    )
}

fn packet() -> impl Strategy<Value = Incoming> {
    let code = prop_oneof![Just(0_u8), Just(0x80)];
    let options = (qos(), any::<bool>(), any::<bool>(), 0..3_u8).prop_map(
        |(qos, no_local, retain_as_published, handling)| SubscribeOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling: match handling {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        },
    );
    let id = proptest::option::of(1..4_u32);
    prop_oneof![
        6 => publish(),
        4 => (filter(), id, options).prop_map(|(filter, id, o)| subscribe_with(&filter, id, o)),
        2 => filter().prop_map(|filter| unsubscribe(1, &[&filter])),
        1 => Just(Incoming::PingReq),
        8 => (0..5_u8, 0..8_u16, code).prop_map(|(kind, id, code)| match kind {
            0 | 1 => Incoming::PubAck(id, code),
            2 => Incoming::PubRec(id, code),
            3 => Incoming::PubRel(id, code),
            _ => Incoming::PubComp(id, code),
        }),
        1 => (0..5_u8, proptest::option::of(0..3_u32)).prop_map(|(r, e)| disconnect(r, e)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let ended = prop_oneof![
        Just(Ended::Lost),
        Just(Ended::KeepAlive),
        Just(Ended::TooLarge),
        Just(Ended::Stopping),
    ];
    prop_oneof![
        3 => connect().prop_map(Step::Connect),
        20 => (0..4_usize, packet()).prop_map(|(index, packet)| Step::Send(index, packet)),
        6 => (0..4_usize).prop_map(Step::Read),
        1 => (0..4_usize, ended).prop_map(|(index, ended)| Step::Lose(index, ended)),
        2 => (topic(), any::<bool>()).prop_map(|(topic, retain)| Step::Own(topic, retain)),
        2 => (0..3_u64).prop_map(Step::Wait),
    ]
}

/// Executes a step; `live` are the latest connections, gone ones among them.
fn perform(s: &mut Scenario, live: &mut Vec<ConnectionId>, step: Step) {
    let pick = |live: &[ConnectionId], index: usize| live.iter().rev().nth(index).copied();
    match step {
        Step::Connect(connect) => live.push(s.connect(connect, &anyone())),
        Step::Send(index, packet) => {
            if let Some(id) = pick(live, index) {
                s.send(id, packet);
            }
        }
        Step::Read(index) => {
            if let Some(id) = pick(live, index) {
                s.packets(id);
            }
        }
        Step::Lose(index, ended) => {
            if let Some(id) = pick(live, index) {
                s.hub.close(id, ended, s.now);
                s.run();
            }
        }
        Step::Own(topic, retain) => {
            if let Ok(topic) = Topic::parse(&topic) {
                let own = Message {
                    topic,
                    retain,
                    qos: Q1,
                    ..message("x", "own")
                };
                s.hub.publish(&own, s.now);
                s.run();
            }
        }
        Step::Wait(seconds) => s.wait(Duration::from_secs(seconds)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_sequence_of_packets_is_survived_and_leaves_nothing(
        steps in proptest::collection::vec(step(), 0..120)
    ) {
        let mut s = Scenario::with(Limits {
            clients: 3,
            queue_messages: 5,
            queue_bytes: 100,
            in_flight: 2,
            offline_sessions: 2,
            retained_messages: 3,
            retained_bytes: 100,
            ..Limits::default()
        });
        let mut live = Vec::new();
        for step in steps {
            perform(&mut s, &mut live, step);
            for session in s.hub.connections.values() {
                let own = s.hub.sessions.get(*session).unwrap();
                let (queued, in_flight) = own.outbox.len();
                prop_assert!(queued <= 5 && in_flight <= 2);
            }
            prop_assert!(s.hub.connections.len() <= 3 && s.hub.offline.len() <= 2);
            prop_assert!(s.hub.retained.len() <= 3);
        }
        for id in live {
            s.hub.close(id, Ended::Lost, s.now);
            s.run();
        }
        for client in ["a", "b", "c"] {
            let id = s.connect(v4(client), &anyone());
            s.lose(id);
        }
        s.wait(Duration::from_secs(10));
        s.assert_empty();
    }
}
