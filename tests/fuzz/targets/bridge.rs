//! Events for the bridge in any order: every message gets its reply once, and the counters of
//! each route add up all the time.
//!
//! Each event is a byte that says what happens, and the bytes that it needs.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use mqtt_https_bridge::config::Config;
use mqtt_https_bridge::core::bridge::{
    Action, Bridge, Counters, Event, Job, JobId, Report, Ticket,
};
use mqtt_https_bridge::core::hub::ConnectionId;
use mqtt_https_bridge::core::message::{Message, Properties};
use mqtt_https_bridge::core::outcome::{Code, Failure, Outcome, Response};
use mqtt_https_bridge::core::topic::Topic;
use mqtt_https_bridge_fuzz::{Input, config, message, publisher, tell};

/// Two endpoints with little room, where each message is one attempt; the last route can refuse to render, and cuts into chunks.
const TEXT: &str = r#"
[endpoint.narrow]
url = "https://narrow.example.com"
retry = { attempts = 1 }
pause = false
concurrency = 1
queue = 4
share = 2
[endpoint.wide]
url = "https://wide.example.com"
retry = { attempts = 1 }
pause = false
concurrency = 3
[[route]]
topic = "n/{id}/a"
endpoint = "narrow"
path = "/{id}"
reply = "r/{id}/{outcome}"
[[route]]
topic = "n/{id}/b"
endpoint = "narrow"
path = "/b"
deadline = "7s"
timeout = "5s"
reply = "r/{id}/{outcome}"
[[route]]
topic = "n/{id}/c"
endpoint = "wide"
path = "/c"
form = "json"
oversize = "cut"
reply = "r/{id}"
[[route]]
topic = "n/{id}/d"
endpoint = "wide"
path = "/{payload}"
oversize = "chunks"
reply = "r/{id}"
"#;

/// Events of one input.
const MOST: usize = 400;

fuzz_target!(|bytes: &[u8]| {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    let config = CONFIG.get_or_init(|| config(TEXT));
    let mut input = Input::new(bytes);
    let mut world = World::new(config);
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.check();
    }
    world.finish();
});

struct World {
    bridge: Bridge,
    now: Instant,
    /// Messages that were handed in: their routes, by their number.
    routes: BTreeMap<usize, usize>,
    /// How many replies each has; chunks of one reply count as one.
    replies: BTreeMap<usize, BTreeSet<usize>>,
    running: Vec<Job>,
    started: BTreeSet<(JobId, u32)>,
    acknowledged: BTreeMap<u16, usize>,
    tickets: BTreeMap<u16, usize>,
    settled: Vec<usize>,
    stopping: bool,
    concurrency: BTreeMap<String, usize>,
    names: Vec<String>,
}

impl World {
    fn new(config: &Config) -> Self {
        let table = Arc::clone(&config.routes);
        let endpoints = config.endpoints.iter();
        Self {
            names: table
                .routes
                .iter()
                .map(|route| route.name.clone())
                .collect(),
            settled: vec![0; table.routes.len()],
            concurrency: endpoints
                .map(|it| (it.name.clone(), it.concurrency))
                .collect(),
            bridge: Bridge::new(table, "attic".into(), 7),
            now: Instant::now(),
            routes: BTreeMap::new(),
            replies: BTreeMap::new(),
            running: Vec::new(),
            started: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            tickets: BTreeMap::new(),
            stopping: false,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..8 => self.publish(input),
            8..12 => {
                if !self.running.is_empty() {
                    let job = self.running.swap_remove(input.below(self.running.len()));
                    let outcome = outcome(input);
                    self.handle(Event::Finished {
                        id: job.id,
                        outcome,
                    });
                    if input.below(8) == 7 {
                        self.finish_nothing(job.id);
                    }
                }
            }
            12 => {
                let id = JobId(input.below(64));
                if self.running.iter().all(|job| job.id != id) {
                    self.finish_nothing(id);
                }
            }
            13 | 14 => self.wait(Duration::from_millis(500 * u64::from(input.byte()))),
            _ if input.below(8) > 0 => {}
            _ if input.flag() => {
                self.stopping = true;
                self.handle(Event::Stop);
            }
            _ => {
                self.stopping = true;
                self.running.clear();
                self.handle(Event::GiveUp);
            }
        }
    }

    fn publish(&mut self, input: &mut Input<'_>) {
        let number = self.routes.len();
        let route = input.below(5);
        let last = ["a", "b", "c", "d", "e"][route];
        let payload: &[u8] = match input.below(4) {
            0 => b"x",
            1 => b"a/b",
            _ => b"{}",
        };
        let topic = Topic::parse(&format!("n/{number}/{last}")).unwrap();
        let mut message = message(topic, payload);
        if input.flag() {
            message.properties = Some(Arc::new(Properties {
                response_topic: input.flag().then(|| format!("own/{number}")),
                correlation_data: Some(vec![7; input.below(256)].into()),
                ..Properties::default()
            }));
        }
        let ticket = input.flag().then(|| Ticket {
            connection: ConnectionId(1),
            packet_id: u16::try_from(number + 1).unwrap(),
        });
        if let Some(ticket) = ticket {
            self.tickets.insert(ticket.packet_id, 1);
        }
        let mut publisher = publisher(input.pick(&["c0", "c1", "c2"]), None);
        publisher.maximum_packet = input.flag().then(|| 16 * input.below(64));
        self.routes.insert(number, route);
        self.handle(Event::Message {
            message,
            publisher,
            ticket,
            unix_time: 0,
        });
    }

    /// Reports an outcome for a job that nobody waits for: it changes nothing.
    fn finish_nothing(&mut self, id: JobId) {
        let before = self.bridge.counters();
        let mut actions = Vec::new();
        let event = Event::Finished {
            id,
            outcome: Outcome::Failure(Failure::new(Code::DnsFailed, "late")),
        };
        self.bridge.handle(event, self.now, &mut actions);
        assert!(actions.is_empty(), "{actions:?}");
        assert_eq!(self.bridge.counters(), before);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let mut actions = Vec::new();
        self.bridge.handle_timeout(self.now, &mut actions);
        self.perform(actions);
        let next = self.bridge.next_timeout();
        assert!(
            next.is_none_or(|next| next > self.now),
            "it would be called for ever"
        );
    }

    fn handle(&mut self, event: Event) {
        tell(|| format!("{event:?}"));
        let mut actions = Vec::new();
        self.bridge.handle(event, self.now, &mut actions);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            tell(|| format!("    {action:?}"));
            match action {
                Action::Start(job) => self.start(job),
                Action::Acknowledge(ticket, _) => {
                    *self.acknowledged.entry(ticket.packet_id).or_default() += 1;
                }
                Action::Publish(reply) => self.reply(&reply),
                Action::Report(Report::Settled { route, .. }) => {
                    let at = self.names.iter().position(|name| *name == route);
                    self.settled[at.expect("a route's name")] += 1;
                }
                Action::Store { .. } | Action::Load(_) | Action::Refuse(_) | Action::Report(_) => {}
            }
        }
    }

    fn start(&mut self, job: Job) {
        assert!(!self.stopping, "{job:?} was started in the end");
        assert!(
            self.started.insert((job.id, job.attempt)),
            "{job:?} was started twice"
        );
        assert!(job.deadline > self.now, "{job:?} is of no use");
        let endpoint = &job.endpoint.name;
        let running = self
            .running
            .iter()
            .filter(|own| own.endpoint.name == *endpoint);
        assert!(
            running.count() < self.concurrency[endpoint],
            "{job:?} is one too many"
        );
        self.running.push(job);
    }

    /// Takes note of a reply. Its topic is `r/<number>/…`, or `own/<number>`.
    fn reply(&mut self, reply: &Message) {
        let mut levels = reply.topic.as_str().split('/').skip(1);
        let number: usize = levels.next().unwrap().parse().unwrap();
        assert!(self.routes.contains_key(&number), "{reply:?} to nobody");
        let word = levels.next();
        let chunk = word.and_then(|word| word.parse().ok()).unwrap_or(0);
        let is_new = self.replies.entry(number).or_default().insert(chunk);
        assert!(is_new, "two replies to one message: {reply:?}");
        if let (Some(of), true) = (levels.next(), chunk > 0) {
            assert!(chunk <= of.parse().unwrap(), "{reply:?}");
        }
    }

    fn check(&self) {
        let mut pending = 0;
        for (at, counters) in self.bridge.counters().iter().enumerate() {
            let Counters {
                received,
                succeeded,
                failed,
                queued,
                in_flight,
                dropped,
            } = *counters;
            let sum = succeeded + failed + queued + in_flight + dropped;
            assert_eq!(received, sum, "{}: {counters:?}", self.names[at]);
            let taken = self.routes.values().filter(|route| **route == at).count();
            assert_eq!(received, taken, "{}", self.names[at]);
            let settled = succeeded + failed + dropped;
            assert_eq!(settled, self.settled[at], "{}", self.names[at]);
            let told = self
                .replies
                .keys()
                .filter(|number| self.routes[*number] == at);
            assert_eq!(
                told.count(),
                self.settled[at],
                "replies of {}",
                self.names[at]
            );
            pending += queued + in_flight;
        }
        assert_eq!(pending, self.bridge.pending());
        let in_flight: usize = self.bridge.counters().iter().map(|it| it.in_flight).sum();
        assert_eq!(in_flight, self.running.len());
        let waits = pending > self.running.len();
        assert_eq!(
            self.bridge.next_timeout().is_some(),
            waits,
            "a deadline for what waits"
        );
        assert_eq!(
            self.acknowledged, self.tickets,
            "each ticket comes back once"
        );
    }

    /// Lets everything end, and checks that nothing is left.
    fn finish(&mut self) {
        while let Some(job) = self.running.pop() {
            let outcome = Outcome::Response(Response {
                status: 200,
                content_type: None,
                retry_after: None,
                body: "x".into(),
            });
            self.handle(Event::Finished {
                id: job.id,
                outcome,
            });
            self.check();
        }
        assert_eq!(self.bridge.pending(), 0);
        let told = self.replies.len();
        let expected = self.routes.values().filter(|route| **route < 4).count();
        assert_eq!(told, expected, "messages without a reply");
    }
}

fn outcome(input: &mut Input<'_>) -> Outcome {
    let status = match input.below(8) {
        0 => 404,
        1 => 500,
        2 => 599,
        3 => {
            let code = input.pick(Code::ALL);
            return Outcome::Failure(Failure::new(code, "x".repeat(input.below(200))));
        }
        _ => 200,
    };
    let size = 4 * input.below(256);
    Outcome::Response(Response {
        status,
        retry_after: (input.below(4) == 0).then(|| Duration::from_secs(4)),
        content_type: input.flag().then(|| "text/plain".to_owned()),
        body: input.pick(&["x", "é", "\"", "\u{1}"]).repeat(size).into(),
    })
}
