//! The send quota (MQTT 5 §4.9): never more unacknowledged PUBLISH packets than a client takes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What one connection's client has received and not finished.
#[derive(Debug, Default)]
struct Receiver {
    id: Option<ConnectionId>,
    receive_maximum: usize,
    /// By packet identifier: QoS, and whether PUBREC was sent.
    open: BTreeMap<u16, (QoS, bool)>,
}

impl Receiver {
    /// Takes note of a packet that it is sent.
    fn receive(&mut self, packet: &Outgoing) -> Result<(), TestCaseError> {
        match packet {
            Outgoing::Publish(own) if own.qos > Q0 => {
                let before = self.open.insert(own.packet_id, (own.qos, false));
                prop_assert_eq!(before, None, "{} is in use", own.packet_id);
                let counted = self.open.values().filter(|(qos, _)| *qos > Q0).count();
                prop_assert!(
                    counted <= self.receive_maximum,
                    "{:?} are more than {}",
                    self.open,
                    self.receive_maximum
                );
            }
            // May be sent whatever the quota is, and takes nothing of it.
            Outgoing::PubRel(id, reason::SUCCESS) => {
                self.open.entry(*id).or_insert((Q0, false)).1 = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes note of a packet that it sends.
    fn send(&mut self, packet: &Incoming) {
        match packet {
            Incoming::PubAck(id, _) if self.open.get(id) == Some(&(Q1, false)) => {
                self.open.remove(id);
            }
            Incoming::PubRec(id, code) => {
                if let Some((Q2, released)) = self.open.get_mut(id) {
                    *released = true;
                    if *code >= reason::UNSPECIFIED {
                        self.open.remove(id);
                    }
                }
            }
            Incoming::PubComp(id, _) if self.open.get(id).is_some_and(|own| own.1) => {
                self.open.remove(id);
            }
            _ => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(QoS),
    Read,
    Answer(usize, u8),
    Come(u16),
    Lose,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop_oneof![Just(Q1), Just(Q2)].prop_map(Step::Publish),
        4 => Just(Step::Read),
        4 => (0..4_usize, prop_oneof![3 => Just(0), 1 => Just(0x80)])
            .prop_map(|(index, code)| Step::Answer(index, code)),
        2 => (1..4_u16).prop_map(Step::Come),
        1 => Just(Step::Lose),
        2 => (1..61_u64).prop_map(Step::Wait),
    ]
}

/// Answers one of the open exchanges.
fn answer(receiver: &Receiver, index: usize, code: u8) -> Option<Incoming> {
    let (id, (qos, released)) = receiver.open.iter().nth(index)?;
    Some(match (*qos, *released) {
        (_, true) => Incoming::PubComp(*id, 0),
        (Q2, false) => Incoming::PubRec(*id, code),
        (Q0 | Q1, false) => Incoming::PubAck(*id, code),
    })
}

fn perform(s: &mut Scenario, receiver: &mut Receiver, step: &Step) -> Result<(), TestCaseError> {
    match step {
        Step::Publish(qos) => {
            let own = Message {
                qos: *qos,
                ..message("a", "x")
            };
            s.hub.publish(&own, s.now);
            s.run();
        }
        Step::Read => {
            while let Some(packet) = receiver.id.and_then(|id| s.packet(id)) {
                receiver.receive(&packet)?;
            }
        }
        Step::Answer(index, code) => {
            if let (Some(id), Some(packet)) = (receiver.id, answer(receiver, *index, *code)) {
                receiver.send(&packet);
                s.send(id, packet);
            }
        }
        Step::Come(receive_maximum) => {
            let connect = Connect {
                receive_maximum: *receive_maximum,
                ..v5_lasting("a", u32::MAX)
            };
            let old = receiver.id;
            *receiver = Receiver {
                id: Some(s.connect(connect, &anyone())),
                receive_maximum: usize::from(*receive_maximum),
                open: BTreeMap::new(),
            };
            if let Some(old) = old {
                s.lose(old);
            }
        }
        Step::Lose => {
            if let Some(id) = receiver.id.take() {
                s.lose(id);
            }
        }
        Step::Wait(seconds) => s.wait(Duration::from_secs(*seconds)),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nobody_is_sent_more_than_its_receive_maximum(
        steps in proptest::collection::vec(step(), 0..80)
    ) {
        let mut s = Scenario::with(Limits { in_flight: 2, ..Limits::default() });
        let first = s.join(v5_lasting("a", u32::MAX));
        s.subscribe(first, "#", Q2);
        s.lose(first);
        let mut receiver = Receiver::default();
        for step in &steps {
            perform(&mut s, &mut receiver, step)?;
        }
    }
}
