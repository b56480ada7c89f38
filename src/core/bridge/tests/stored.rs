//! Stored routes before a disk of the test's own: what is acknowledged is on it, and what is on it
//! arrives, whenever the program ends.

mod moving;

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::core::bridge::{Share, Standing};
use crate::core::endpoint::{Endpoint, Rate};
use crate::core::route::{OnFull, Stored};
use crate::core::store::{Change, Key, Kind};

/// The time when a world begins, in seconds since 1970.
const BEGIN: u64 = 1_800_000_000;

/// A route that posts what it takes and stores it before.
fn keeping(topic: &str, change: impl Fn(&mut Stored)) -> RouteBuilder {
    let mut stored = Stored::default();
    change(&mut stored);
    route(topic)
        .method(Method::Post)
        .path("/{topic}")
        .body("{payload}")
        .with(|route| route.stored = Some(stored))
}

/// Retries as configured by default.
fn stubborn(change: impl Fn(&mut Endpoint)) -> std::sync::Arc<Endpoint> {
    endpoint("api", |it| {
        it.conduct.retry.attempts = None;
        it.conduct.pause = true;
        change(it);
    })
}

/// A bridge, its disk, and everything between them.
struct World {
    scenario: Scenario,
    routes: Arc<dyn Fn() -> Vec<RouteBuilder>>,
    disk: BTreeMap<Key, Bytes>,
    batches: VecDeque<(Vec<Change>, Vec<usize>)>,
    /// Deletions of batches that could not be written.
    owed: Vec<Change>,
    loads: VecDeque<Key>,
    running: Vec<Job>,
    seen: Vec<String>,
    boot: u32,
}

impl World {
    fn new(routes: impl Fn() -> Vec<RouteBuilder> + 'static) -> Self {
        Self {
            scenario: Scenario::new(routes()),
            routes: Arc::new(routes),
            disk: BTreeMap::new(),
            batches: VecDeque::new(),
            owed: Vec::new(),
            loads: VecDeque::new(),
            running: Vec::new(),
            seen: Vec::new(),
            boot: 1,
        }
    }

    /// With one route `a/{x}` and an endpoint that is tried again and again.
    fn simple() -> Self {
        let api = stubborn(|_| {});
        Self::new(move || vec![keeping("a/{x}", |_| {}).with(|it| it.endpoint = api.clone())])
    }

    fn handle(&mut self, event: Event) {
        let now = self.scenario.now;
        let mut actions = Vec::new();
        self.scenario.bridge.handle(event, now, &mut actions);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let (mut batch, mut tokens) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Store { changes, token } => {
                    batch.extend(changes);
                    tokens.extend(token);
                }
                Action::Load(key) => self.loads.push_back(key),
                Action::Start(job) => {
                    self.seen.push(text(&Action::Start(job.clone())));
                    self.running.push(job);
                }
                other => self.seen.push(text(&other)),
            }
        }
        if !batch.is_empty() {
            self.batches.push_back((batch, tokens));
        }
        self.scenario.seen();
    }

    fn take_seen(&mut self) -> Vec<String> {
        let seen = std::mem::take(&mut self.seen);
        let plain = seen
            .into_iter()
            .map(|text| match text.strip_prefix("start ") {
                // Jobs have numbers of no interest.
                Some(start) => format!("start {}", start.split_once(' ').unwrap().1),
                None => text,
            });
        plain.collect()
    }

    fn publish(&mut self, client: &str, topic: &str, packet_id: u16) {
        let ticket = (packet_id > 0).then_some(Ticket {
            connection: ConnectionId(1),
            packet_id,
        });
        let elapsed = self.scenario.now - self.scenario.start;
        self.handle(Event::Message {
            message: message(topic, "payload"),
            publisher: publisher(client),
            ticket,
            unix_time: BEGIN + elapsed.as_secs(),
        });
    }

    /// Lets the disk finish one batch, or fail at it; `false` if there is none.
    fn commit(&mut self, well: bool) -> bool {
        let Some((batch, tokens)) = self.batches.pop_front() else {
            return false;
        };
        if well {
            for change in std::mem::take(&mut self.owed).into_iter().chain(batch) {
                match change {
                    Change::Put(key, value) => drop(self.disk.insert(key, value)),
                    Change::Delete(key) => drop(self.disk.remove(&key)),
                }
            }
        } else {
            let deletes = batch.into_iter();
            let deletes = deletes.filter(|change| matches!(change, Change::Delete(_)));
            self.owed.extend(deletes);
        }
        for token in tokens {
            let event = match well {
                true => Event::Committed { token },
                false => {
                    let why = "the disk is full".into();
                    Event::NotStored { token, why }
                }
            };
            self.handle(event);
        }
        true
    }

    /// Reads one value that was asked for.
    fn load(&mut self) -> bool {
        let Some(key) = self.loads.pop_front() else {
            return false;
        };
        let value = self.disk.get(&key).cloned();
        self.handle(Event::Loaded { key, value });
        true
    }

    /// Lets the disk do all that it was asked for.
    fn flush(&mut self) {
        while self.commit(true) || self.load() {}
    }

    fn finish(&mut self, at: usize, status: u16) -> Option<Job> {
        if self.running.is_empty() {
            return None;
        }
        let job = self.running.remove(at % self.running.len());
        let outcome = Outcome::Response(Response {
            status,
            content_type: None,
            retry_after: None,
            body: Bytes::new(),
        });
        self.handle(Event::Finished {
            id: job.id,
            outcome,
        });
        Some(job)
    }

    /// Has the server ask the first to come again in so many seconds.
    fn respond_later(&mut self, seconds: u64) {
        let job = self.running.remove(0);
        let outcome = Outcome::Response(Response {
            status: 429,
            content_type: None,
            retry_after: Some(Duration::from_secs(seconds)),
            body: Bytes::new(),
        });
        self.handle(Event::Finished {
            id: job.id,
            outcome,
        });
    }

    fn fail(&mut self, code: Code) {
        let job = self.running.remove(0);
        let outcome = Outcome::Failure(Failure::new(code, "why"));
        self.handle(Event::Finished {
            id: job.id,
            outcome,
        });
    }

    fn wait(&mut self, time: Duration) {
        self.scenario.now += time;
        let now = self.scenario.now;
        let mut actions = Vec::new();
        self.scenario.bridge.handle_timeout(now, &mut actions);
        self.perform(actions);
        let next = self.scenario.bridge.next_timeout();
        assert!(next.is_none_or(|next| next > now), "called for ever");
    }

    /// Ends the program as a power cut does, and starts it again.
    fn restart(&mut self) {
        self.batches.clear();
        self.owed.clear();
        self.loads.clear();
        self.running.clear();
        self.boot += 1;
        let table = (self.routes)().into_iter().map(RouteBuilder::build);
        let table = Arc::new(RouteTable::new(table.collect()));
        let mut bridge = Bridge::new(table, "attic".into(), self.boot);
        let now = self.scenario.now;
        let time = BEGIN + (now - self.scenario.start).as_secs();
        for (key, value) in &self.disk {
            assert!(bridge.restore(*key, value, Some(time), now), "{key:?}");
        }
        self.scenario.bridge = bridge;
        let mut actions = Vec::new();
        self.scenario.bridge.restored(now, &mut actions);
        self.perform(actions);
    }

    fn counters(&self) -> Counters {
        self.scenario.bridge.counters()[0]
    }

    fn share(&self) -> Share {
        let states = self.scenario.bridge.route_states(self.scenario.now);
        states[0].share.unwrap()
    }

    fn messages(&self) -> usize {
        let keys = self.disk.keys();
        keys.filter(|key| key.kind == Kind::Message).count()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn acknowledged_means_on_the_disk() {
    let mut world = World::simple();
    world.publish("c", "a/1", 7);
    assert!(
        world.take_seen().is_empty(),
        "neither acknowledged nor sent"
    );
    assert_eq!(world.scenario.bridge.pending(), 1);
    world.flush();
    assert_eq!(world.take_seen(), ["acknowledge 7 0", "start /a/1"]);
    assert_eq!(world.messages(), 1);
    world.finish(0, 200);
    world.flush();
    assert_eq!(
        world.take_seen(),
        ["publish replies/c/ok ", "settled a/{x} c ok"]
    );
    assert_eq!(world.messages(), 0);
    assert!(world.scenario.is_empty());
}

#[test]
fn at_qos_0_a_reply_tells_that_it_is_stored() {
    let mut world = World::simple();
    world.publish("c", "a/1", 0);
    world.flush();
    assert_eq!(
        world.take_seen(),
        ["publish replies/c/queued 0000b007-1", "start /a/1"]
    );
}

#[test]
fn ack_reply_says_for_which_messages() {
    for (wanted, packet_id, told) in [(true, 7, true), (false, 0, false)] {
        let mut world =
            World::new(move || vec![keeping("a/{x}", |it| it.ack_reply = Some(wanted))]);
        world.publish("c", "a/1", packet_id);
        world.flush();
        let seen = world.take_seen();
        assert_eq!(
            seen.iter().any(|it| it.contains("/queued")),
            told,
            "{seen:?}"
        );
    }
}

#[test]
fn what_can_not_be_written_stays_with_the_client() {
    let mut world = World::simple();
    world.publish("c", "a/1", 7);
    world.commit(false);
    assert_eq!(
        world.take_seen(),
        [
            "publish replies/c/error bridge.storage - the disk is full",
            "settled a/{x} c bridge.storage",
            "refuse 7"
        ]
    );
    assert!(world.scenario.is_empty());
    assert_eq!(world.counters().failed, 1);
}

#[test]
fn what_can_never_be_sent_is_told_at_once() {
    let mut world = World::new(|| vec![keeping("a/{x}", |_| {}).path("/{payload}")]);
    let ticket = Some(Ticket {
        connection: ConnectionId(1),
        packet_id: 3,
    });
    let seen = world
        .scenario
        .offer(message("a/1", ".."), publisher("c"), ticket);
    assert_eq!(seen[0], "acknowledge 3 0");
    assert!(seen[1].contains("bridge.bad_request"), "{seen:?}");
}

#[test]
fn a_full_route_refuses_or_drops_its_oldest() {
    let api = stubborn(|it| it.concurrency = 1);
    let world = |on_full| {
        let api = api.clone();
        World::new(move || {
            let few = |it: &mut Stored| {
                it.max_bytes = 200;
                it.on_full = on_full;
            };
            vec![keeping("a/{x}", few).with(|it| it.endpoint = api.clone())]
        })
    };
    let mut refusing = world(OnFull::Refuse);
    let mut dropping = world(OnFull::DropOldest);
    for world in [&mut refusing, &mut dropping] {
        for packet_id in 1..4 {
            let share = world.share();
            assert!(!share.is_full, "{packet_id}: {share:?}");
            world.publish("c", &format!("a/{packet_id}"), packet_id);
            world.flush();
        }
        let seen = world.take_seen();
        assert_eq!(
            seen.len(),
            4,
            "three are taken, one is on its way: {seen:?}"
        );
        world.publish("d", "a/4", 4);
        world.flush();
    }
    let refused = [
        "publish replies/d/error bridge.storage - the route's 200 bytes are taken",
        "settled a/{x} d bridge.storage",
        "refuse 4",
    ];
    assert_eq!(refusing.take_seen(), refused);
    assert_eq!(refusing.counters().failed, 1);
    let dropped = [
        "publish replies/c/error bridge.dropped - newer messages needed its room",
        "settled a/{x} c bridge.dropped",
        "acknowledge 4 0",
    ];
    assert_eq!(dropping.take_seen(), dropped);
    assert_eq!((dropping.counters().dropped, dropping.messages()), (1, 3));
    for world in [&refusing, &dropping] {
        let share = world.share();
        assert!(share.is_full && share.bytes <= 200, "{share:?}");
        assert_eq!(share.max_bytes, Some(200));
    }
}

#[test]
fn what_waits_too_long_is_told_so() {
    let api = stubborn(|_| {});
    let mut world = World::new(move || {
        let hour = |it: &mut Stored| it.max_age = SECOND * 3600;
        vec![keeping("a/{x}", hour).with(|it| it.endpoint = api.clone())]
    });
    world.publish("c", "a/1", 1);
    world.flush();
    world.wait(SECOND * 600);
    world.publish("c", "a/2", 2);
    world.flush();
    world.fail(Code::ConnectUnreachable);
    world.take_seen();
    world.restart();
    world.flush();
    world.fail(Code::ConnectUnreachable);
    world.take_seen();
    world.scenario.now += SECOND * 3060;
    world.wait(SECOND);
    world.flush();
    let seen = world.take_seen();
    let told = "publish replies/c/error bridge.expired - waited longer than 3600 s";
    assert!(seen.iter().any(|it| it == told), "{seen:?}");
    assert_eq!(world.messages(), 1, "the second one is younger");
    let counters = world.counters();
    assert_eq!((counters.received, counters.failed), (2, 1));
}

#[test]
fn an_outage_is_waited_for_with_one_probe_at_a_time() {
    let mut world = World::simple();
    for client in 0..6 {
        for number in 0..5 {
            world.publish(&format!("c{client}"), &format!("a/{number}"), 1);
        }
    }
    world.flush();
    let mut attempts = 0;
    let begin = world.scenario.now;
    while world.scenario.now - begin < SECOND * 600 {
        while !world.running.is_empty() {
            world.fail(Code::ConnectUnreachable);
            world.flush();
            attempts += 1;
        }
        world.wait(SECOND / 4);
        world.flush();
    }
    assert!((8..20).contains(&attempts), "{attempts}");
    let standing = world.scenario.bridge.endpoints()[0].standing;
    assert_eq!(standing, Standing::Unreachable);
    world.handle(Event::ProbeNow);
    world.flush();
    world.take_seen();
    let mut order: HashMap<String, Vec<String>> = HashMap::new();
    while let Some(job) = world.finish(0, 200) {
        world.flush();
        let topic = job.request.target.clone();
        let seen = world.take_seen();
        let reply = seen
            .iter()
            .find_map(|it| it.strip_prefix("publish replies/"));
        let client = reply.unwrap().split('/').next().unwrap().to_owned();
        order.entry(client).or_default().push(topic);
    }
    assert_eq!(order.len(), 6);
    for topics in order.values() {
        assert_eq!(topics, &["/a/0", "/a/1", "/a/2", "/a/3", "/a/4"]);
    }
    assert_eq!((world.counters().succeeded, world.messages()), (30, 0));
}

#[test]
fn hosts_that_nodes_choose_hold_up_nobody_else() {
    let api = stubborn(|it| it.captured_host = true);
    let mut world = World::new(move || {
        let plan = |_: &mut Stored| {};
        vec![keeping("a/{x}", plan).with(|it| it.endpoint = api.clone())]
    });
    let good = |world: &mut World, number: u16| {
        world.publish(&format!("good{number}"), "a/good", number);
        world.flush();
        assert_eq!(world.running.len(), 1, "it starts at once");
        world.finish(0, 200);
        world.flush();
    };
    for number in 1..10 {
        world.publish(&format!("bad{number}"), "a/bad", number);
        world.flush();
        world.fail(Code::ConnectUnreachable);
        world.flush();
        good(&mut world, 100 + number);
    }
    let job = world.running.len();
    assert_eq!(job, 0);
    world.publish("asks", "a/bad", 20);
    world.flush();
    world.respond_later(3600);
    good(&mut world, 200);
    let state = &world.scenario.bridge.endpoints()[0];
    assert_eq!(state.standing, Standing::Works);
    let last = state.last_failure.as_ref().unwrap();
    assert_eq!(
        last.code,
        Code::ConnectUnreachable,
        "it is shown all the same"
    );
}

#[test]
fn a_refused_certificate_holds_messages_back_and_loses_none() {
    let mut world = World::simple();
    world.publish("c", "a/1", 1);
    world.flush();
    world.fail(Code::TlsExpired);
    world.flush();
    let seen = world.take_seen();
    assert_eq!(
        seen[2].split(',').next().unwrap(),
        "Endpoint { endpoint: \"api\""
    );
    assert_eq!(seen.len(), 3, "the node is told the end alone: {seen:?}");
    world.wait(SECOND * 4);
    assert!(world.running.is_empty());
    world.wait(SECOND);
    world.flush();
    world.finish(0, 200);
    world.flush();
    assert_eq!(world.messages(), 0);
}

#[test]
fn what_ends_for_good_is_settled_and_attempts_can_be_bounded() {
    let api = stubborn(|it| it.conduct.retry.attempts = Some(2));
    let mut world =
        World::new(move || vec![keeping("a/{x}", |_| {}).with(|it| it.endpoint = api.clone())]);
    for (statuses, left) in [(vec![400], 0), (vec![503, 503], 0), (vec![503], 1)] {
        world.publish("c", "a/1", 1);
        world.flush();
        for status in statuses {
            world.finish(0, status);
            world.flush();
            world.wait(SECOND * 2);
            world.flush();
        }
        assert_eq!(world.messages(), left);
    }
    assert_eq!(world.counters().failed, 2);
}

#[test]
fn a_restart_sends_what_was_acknowledged_with_the_same_key() {
    let mut world = World::simple();
    world.publish("c", "a/1", 1);
    world.flush();
    let key = |world: &World| {
        let headers = &world.running[0].request.headers;
        let mut keys = headers.iter().filter(|(name, _)| name == "idempotency-key");
        keys.next().unwrap().1.clone()
    };
    let first = key(&world);
    world.publish("c", "a/2", 2);
    world.restart();
    world.flush();
    assert_eq!(key(&world), first);
    assert_eq!(
        world.counters().received,
        1,
        "the other was not on the disk"
    );
    // Other messages have other keys.
    world.finish(0, 200);
    world.publish("c", "a/2", 2);
    world.flush();
    assert_ne!(key(&world), first);
}

#[test]
fn a_message_waits_for_its_route_to_come_back() {
    let mut world = World::simple();
    world.publish("c", "a/1", 1);
    world.publish("c", "a/2", 2);
    world.flush();
    let without = Arc::new(RouteTable::new(vec![route("z").build()]));
    world.take_seen();
    world.handle(Event::Routes(without));
    assert_eq!(
        world.take_seen(),
        ["Orphans { route: \"a/{x}\", count: 1 }"]
    );
    world.finish(0, 503);
    world.flush();
    assert_eq!(world.messages(), 2);
    let back = || keeping("a/{x}", |_| {}).path("/new/{x}").build();
    world.handle(Event::Routes(Arc::new(RouteTable::new(vec![back()]))));
    world.flush();
    world.finish(0, 200);
    world.flush();
    world.finish(0, 200);
    world.flush();
    let seen = world.take_seen();
    let started: Vec<_> = seen.iter().filter(|it| it.starts_with("start")).collect();
    assert_eq!(started, ["start /new/1", "start /new/2"], "rendered anew");
    assert_eq!((world.messages(), world.counters().succeeded), (0, 2));
    // The same over a restart.
    world.publish("c", "a/3", 3);
    world.commit(true);
    world.routes = Arc::new(|| vec![route("z")]);
    world.restart();
    assert!(world.running.is_empty());
    world.handle(Event::Routes(Arc::new(RouteTable::new(vec![back()]))));
    world.flush();
    assert_eq!(world.running.len(), 1);
}

#[test]
fn a_value_that_can_not_be_read_is_reported_and_holds_up_nothing() {
    let mut world = World::simple();
    world.publish("c", "a/1", 1);
    world.publish("c", "a/2", 2);
    world.commit(true);
    world.commit(true);
    world.restart();
    // The first is read from the disk at its turn.
    world.loads.clear();
    let key = *world.disk.keys().next().unwrap();
    world.take_seen();
    world.handle(Event::Loaded { key, value: None });
    world.flush();
    assert_eq!(
        world.take_seen(),
        ["Lost { route: \"a/{x}\" }", "start /a/2"]
    );
    assert_eq!((world.counters().failed, world.messages()), (1, 1));
    let strange = Bytes::from_static(&[99]);
    let bridge = &mut world.scenario.bridge;
    assert!(!bridge.restore(key, &strange, None, world.scenario.now));
}

#[test]
fn ten_thousand_waiting_messages_take_little_memory() {
    let room = |it: &mut Stored| it.max_bytes = 8 << 20;
    let mut world = World::new(move || vec![keeping("a/{x}", room)]);
    let meter = |world: &World| {
        let queue = &world.scenario.bridge.queues[0];
        let lanes = queue.clients.values().flat_map(|client| &client.lanes);
        lanes.map(|lane| lane.waiting.capacity()).sum::<usize>()
    };
    world.handle(Event::Clock(Some("not yet".to_owned())));
    for number in 0..10_000 {
        world.publish(&format!("c{}", number % 16), "a/1", 0);
        world.flush();
    }
    world.take_seen();
    let entries = meter(&world) * size_of::<queue::Item>();
    assert!(entries < 1 << 20, "{entries} bytes of entries");
    assert!(world.scenario.bridge.shelf.cached_bytes() <= 256 << 10);
}

/// One flooding and 20 polite clients: how long the requests of the polite ones take, by 99 of 100.
fn polite_p99(flood: bool, change: impl Fn(&mut Endpoint)) -> Duration {
    let api = endpoint("api", |it| {
        it.queue = 100;
        it.share = 25;
        change(it);
    });
    let mut scenario = Scenario::new([route("a/{x}").with(|it| it.endpoint = api)]);
    let tick = Duration::from_millis(10);
    let work = tick * 2;
    let mut running: Vec<(usize, Instant)> = Vec::new();
    let mut asked: HashMap<usize, Instant> = HashMap::new();
    let (mut took, mut last) = (Vec::new(), 0);
    for round in 0..3000_usize {
        scenario.now += tick;
        let now = scenario.now;
        let mut seen = Vec::new();
        scenario.bridge.handle_timeout(now, &mut scenario.actions);
        seen.extend(scenario.seen());
        let done: Vec<_> = running.extract_if(.., |(_, end)| *end <= now).collect();
        for (id, _) in done {
            seen.extend(scenario.finish(id, 200));
            took.extend(asked.remove(&id).map(|since| now - since));
        }
        // Each of the polite ones asks once a second, one after the other.
        if round % 5 == 0 {
            last += 1;
            asked.insert(last, now);
            seen.extend(scenario.publish(&format!("polite{}", round / 5 % 20), "a/1"));
        }
        for _ in 0..if flood { 5 } else { 0 } {
            last += 1;
            seen.extend(scenario.publish("flooding", "a/1"));
        }
        for action in seen {
            if let Some(start) = action.strip_prefix("start ") {
                let id = start.split(' ').next().unwrap().parse().unwrap();
                running.push((id, now + work));
            }
        }
    }
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

#[test]
fn a_flooding_node_at_most_doubles_the_p99_of_polite_ones() {
    for (rate, own) in [(None, None), (Some(40), None), (Some(40), Some(4))] {
        let per = SECOND;
        let change = |it: &mut Endpoint| {
            it.conduct.rate = rate.map(|count| Rate { count, per });
            it.conduct.client_rate = own.map(|count| Rate { count, per });
        };
        let (alone, flooded) = (polite_p99(false, change), polite_p99(true, change));
        assert!(
            flooded <= alone * 2,
            "{rate:?}, {own:?}: {flooded:?}, alone {alone:?}"
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    Commit(bool),
    Load,
    Finish(usize, u16),
    Fail(bool),
    Wait(u64),
    Restart,
    Probe,
}

fn any_step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![4 => Just(200), 2 => Just(503), 1 => Just(400)];
    prop_oneof![
        8 => (0..3_u8).prop_map(Step::Publish),
        10 => (0..10_u8).prop_map(|it| Step::Commit(it > 0)),
        8 => Just(Step::Load),
        6 => (0..4_usize, status).prop_map(|(at, status)| Step::Finish(at, status)),
        2 => any::<bool>().prop_map(Step::Fail),
        2 => (0..40_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => Just(Step::Probe),
    ]
}

proptest! {
    #[test]
    fn what_was_acknowledged_arrives_in_order_and_counts_add_up_over_restarts(
        steps in prop::collection::vec(any_step(), 0..150), drop_oldest in any::<bool>()
    ) {
        let api = stubborn(|_| {});
        let mut world = World::new(move || {
            let few = |it: &mut Stored| {
                it.max_bytes = 700;
                it.on_full = if drop_oldest { OnFull::DropOldest } else { OnFull::Refuse };
            };
            vec![keeping("{x}/{n}", few).with(|it| it.endpoint = api.clone())]
        });
        let mut number = 0;
        let mut acknowledged: Vec<u16> = Vec::new();
        let mut sent: Vec<(String, u16)> = Vec::new();
        let mut settled = 0;
        let mut steps: Vec<_> = steps;
        for _ in 0..600 {
            steps.extend([Step::Commit(true), Step::Load, Step::Probe, Step::Wait(400), Step::Finish(0, 200)]);
        }
        for step in steps {
            match step {
                Step::Publish(client) => {
                    number += 1;
                    // Its number is its packet identifier and its topic.
                    world.publish(&format!("c{client}"), &format!("c{client}/{number}"), number);
                }
                Step::Commit(well) => drop(world.commit(well)),
                Step::Load => drop(world.load()),
                Step::Finish(at, status) => {
                    if let Some(job) = world.finish(at, status) {
                        let mut parts = job.request.target.split('/').skip(1);
                        let client = parts.next().unwrap().to_owned();
                        let id: u16 = parts.next().unwrap().parse().unwrap();
                        sent.push((client, id));
                        if status != 503 { settled += 1; }
                    }
                }
                Step::Fail(verdict) => {
                    let code = if verdict { Code::TlsExpired } else { Code::ConnectRefused };
                    if !world.running.is_empty() {
                        world.fail(code);
                    }
                }
                Step::Wait(more) => world.wait(Duration::from_secs(more)),
                Step::Restart => world.restart(),
                Step::Probe => world.handle(Event::ProbeNow),
            }
            for seen in world.take_seen() {
                if let Some(id) = seen.strip_prefix("acknowledge ") {
                    acknowledged.push(id.split(' ').next().unwrap().parse().unwrap());
                }
            }
        }
        // What could not be deleted is with the next batch, whosever that is.
        world.batches.push_back((Vec::new(), Vec::new()));
        world.commit(true);
        let counters = world.counters();
        prop_assert_eq!(world.messages(), 0);
        prop_assert_eq!((counters.queued, counters.in_flight), (0, 0));
        prop_assert!(world.scenario.is_empty());
        let mut first: HashMap<&str, u16> = HashMap::new();
        let mut met = std::collections::HashSet::new();
        for (client, id) in &sent {
            // What is sent for the first time is younger than all that was sent before.
            if met.insert(*id) {
                let last = first.insert(client, *id);
                // One that was told to be dropped may be there again after a power cut.
                let in_order = drop_oldest || last.is_none_or(|last| last < *id);
                prop_assert!(in_order, "order of {client}");
            }
        }
        if !drop_oldest {
            for id in acknowledged {
                prop_assert!(met.contains(&id), "{id} was acknowledged and never sent");
            }
        }
        prop_assert!(settled <= sent.len());
    }
}
