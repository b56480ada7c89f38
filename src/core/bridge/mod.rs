//! The bridge's state machine: messages and outcomes in, jobs, acknowledgements and replies out.
//!
//! It owns the waiting jobs and decides order, fairness and limits. It knows nothing of sockets,
//! of the hub, or of where messages come from.

mod event;
mod overview;
mod queue;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::core::memory::{ENTRY, Meter};
use crate::core::message::Message;
use crate::core::outcome::{Code, Failure, Outcome};
use crate::core::packet::reason;
use crate::core::reply::{Address, Answer, Composer};
use crate::core::request::Request;
use crate::core::route::{Route, RouteTable};
use crate::core::template::{MessageId, Values};

pub use event::{Action, Counters, Event, Job, JobId, Publisher, Report, Ticket};
use queue::{Queue, Waiting};

/// The state machine.
///
/// Nothing in it grows with what has passed: what it holds is bounded by the endpoints' queues.
#[derive(Debug)]
pub struct Bridge {
    routes: Arc<RouteTable>,
    gateway: Arc<str>,
    boot: u32,
    /// Numbers messages and their jobs.
    last: usize,
    stopping: bool,
    /// Why the time is not known.
    clock_unset: Option<String>,
    /// One per endpoint.
    queues: Vec<Queue>,
    /// The position in `queues` for each route.
    queue_of: Vec<usize>,
    running: HashMap<JobId, Pending>,
    /// Deadlines of waiting jobs, with the place where each waits.
    deadlines: BTreeMap<(Instant, JobId), (Arc<str>, usize)>,
    counters: Vec<Counters>,
    meter: Meter,
}

/// What is needed to answer a message.
#[derive(Debug)]
struct Pending {
    route: usize,
    message: Message,
    publisher: Publisher,
    address: Address,
    id: MessageId,
    unix_time: u64,
}

impl Bridge {
    /// Makes a bridge without jobs.
    ///
    /// `gateway` is the value of `{gateway}`. `boot` tells this start of the program from others
    /// in `{message_id}`: a random number.
    pub fn new(routes: Arc<RouteTable>, gateway: Arc<str>, boot: u32) -> Self {
        let mut queues: Vec<Queue> = Vec::new();
        let mut queue_of = Vec::with_capacity(routes.routes.len());
        for route in &routes.routes {
            let known = queues.iter().position(|it| it.serves(&route.endpoint));
            queue_of.push(known.unwrap_or(queues.len()));
            if known.is_none() {
                queues.push(Queue::new(&route.endpoint));
            }
        }
        Self {
            gateway,
            boot,
            last: 0,
            stopping: false,
            clock_unset: None,
            queues,
            queue_of,
            running: HashMap::new(),
            deadlines: BTreeMap::new(),
            counters: vec![Counters::default(); routes.routes.len()],
            meter: Meter::default(),
            routes,
        }
    }

    /// Counts the requests that wait, and takes none on while memory is short.
    #[must_use]
    pub fn with_meter(mut self, meter: Meter) -> Self {
        self.meter = meter;
        self
    }

    /// Takes in an event and appends what is to be done to `actions`.
    ///
    /// A message is acknowledged at once, whether or not a route takes it: nothing of it is
    /// stored, and the acknowledgement does not wait for the response.
    pub fn handle(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        match event {
            Event::Message {
                message,
                publisher,
                ticket,
                unix_time,
            } => {
                actions.extend(ticket.map(|it| Action::Acknowledge(it, reason::SUCCESS)));
                match self.routes.first_match(message.topic.as_str()) {
                    None => self.report_near_miss(&message, &publisher, actions),
                    Some((route, _)) => {
                        self.take(route, message, publisher, unix_time, now, actions);
                    }
                }
            }
            Event::Finished { id, outcome } => self.finish(id, &outcome, now, actions),
            Event::Clock(unset) => {
                self.clock_unset = unset;
                for queue in 0..self.queues.len() {
                    self.start_waiting(queue, now, actions);
                }
            }
            Event::Committed { .. } | Event::NotStored { .. } | Event::Loaded { .. } => {}
            Event::Stop => self.stop(actions),
            Event::GiveUp => self.give_up(actions),
        }
    }

    /// Returns when to call [`Bridge::handle_timeout`]: the earliest deadline of a waiting job.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Answers waiting jobs whose deadline has passed with `timeout.queue`.
    pub fn handle_timeout(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some(entry) = self.deadlines.first_entry() {
            let (deadline, id) = *entry.key();
            if deadline > now {
                return;
            }
            let (client, route) = entry.remove();
            let queue = self
                .queue_of
                .get(route)
                .and_then(|at| self.queues.get_mut(*at));
            if let Some(waiting) = queue.and_then(|queue| queue.remove(&client, route, id)) {
                self.settle_late(&waiting, actions);
            }
        }
    }

    /// Returns whether jobs wait.
    pub fn has_waiting(&self) -> bool {
        !self.deadlines.is_empty()
    }

    /// Returns how many jobs wait or are with a worker.
    pub fn pending(&self) -> usize {
        self.deadlines.len() + self.running.len()
    }

    /// Returns the counters of each route, in file order.
    pub fn counters(&self) -> &[Counters] {
        &self.counters
    }

    fn report_near_miss(
        &self,
        message: &Message,
        publisher: &Publisher,
        actions: &mut Vec<Action>,
    ) {
        let topic = message.topic.as_str();
        actions.extend(self.routes.near_miss(topic).map(|route| {
            Action::Report(Report::NearMiss {
                client: Arc::clone(&publisher.client),
                topic: topic.to_owned(),
                route: route.name.clone(),
                expected: route.topic.text.clone(),
            })
        }));
    }

    /// Takes a message for a route: makes a job of it, or answers at once why not.
    fn take(
        &mut self,
        at: usize,
        message: Message,
        publisher: Publisher,
        unix_time: u64,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(route) = self.routes.routes.get(at).map(Arc::clone) else {
            return;
        };
        self.last = self.last.wrapping_add(1);
        let id = MessageId {
            boot: self.boot,
            number: self.last,
        };
        let values = Values {
            message: &message,
            publisher: &publisher,
            gateway: &self.gateway,
            id,
            unix_time,
            reply: None,
            mask_secrets: false,
        };
        let resolved = Address::resolve(&route, &self.routes, &values);
        actions.extend(resolved.refused.map(|why| report_refused(&values, why)));
        let request = match resolved.unusable {
            Some(failure) => Err(failure),
            None => self.render(&route, at, &values),
        };
        let pending = Pending {
            route: at,
            message,
            publisher,
            address: resolved.address,
            id,
            unix_time,
        };
        self.count(at, |counters| counters.received += 1);
        match request {
            Ok(request) => self.enqueue(pending, request, &route, now, actions),
            Err(failure) => self.settle(&pending, &Outcome::Failure(failure), actions),
        }
    }

    /// Renders the request if there is room for its job. Room comes first: it costs less to find
    /// out, and a flood is when it counts.
    fn render(&self, route: &Route, at: usize, values: &Values<'_>) -> Result<Request, Failure> {
        if self.stopping {
            return Err(stopping());
        }
        if let Some(queue) = self.queue_of.get(at).and_then(|at| self.queues.get(*at)) {
            queue.admit(&values.publisher.client)?;
        }
        if self.meter.is_tight() {
            let detail = "the gateway's memory is taken";
            return Err(Failure::new(Code::BridgeBusy, detail));
        }
        Request::render(route, values)
    }

    fn enqueue(
        &mut self,
        pending: Pending,
        mut request: Request,
        route: &Route,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let at = pending.route;
        let Some(queue) = self.queue_of.get(at).copied() else {
            return;
        };
        let id = JobId(pending.id.number);
        request.body = request.body.map(|body| self.meter.hold(body, ENTRY));
        let job = Job {
            id,
            endpoint: Arc::clone(&route.endpoint),
            request,
            attempt: 1,
            deadline: now + route.limits.deadline,
            limits: route.limits,
        };
        let client = Arc::clone(&pending.publisher.client);
        self.deadlines
            .insert((job.deadline, id), (Arc::clone(&client), at));
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.push(client, at, Waiting { job, pending });
        }
        self.count(at, |counters| counters.queued += 1);
        self.start_waiting(queue, now, actions);
    }

    /// Hands jobs to workers while the endpoint has any to spare.
    fn start_waiting(&mut self, queue: usize, now: Instant, actions: &mut Vec<Action>) {
        if self.clock_unset.is_some() {
            return;
        }
        while let Some(waiting) = self.queues.get_mut(queue).and_then(Queue::start_next) {
            let Waiting { job, pending } = waiting;
            self.deadlines.remove(&(job.deadline, job.id));
            if job.deadline <= now {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.finish(&pending.publisher.client, pending.route);
                }
                self.settle_late(&Waiting { job, pending }, actions);
                continue;
            }
            self.count(pending.route, |counters| {
                counters.queued -= 1;
                counters.in_flight += 1;
            });
            self.running.insert(job.id, pending);
            actions.push(Action::Start(job));
        }
    }

    /// The one place that decides what an outcome leads to. There is one attempt per job, so each
    /// outcome settles it; an unknown job was settled before.
    fn finish(&mut self, id: JobId, outcome: &Outcome, now: Instant, actions: &mut Vec<Action>) {
        let Some(pending) = self.running.remove(&id) else {
            return;
        };
        self.count(pending.route, |counters| counters.in_flight -= 1);
        self.settle(&pending, outcome, actions);
        let Some(queue) = self.queue_of.get(pending.route).copied() else {
            return;
        };
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.finish(&pending.publisher.client, pending.route);
        }
        self.start_waiting(queue, now, actions);
    }

    fn stop(&mut self, actions: &mut Vec<Action>) {
        self.stopping = true;
        for ((_, id), (client, route)) in std::mem::take(&mut self.deadlines) {
            let queue = self
                .queue_of
                .get(route)
                .and_then(|at| self.queues.get_mut(*at));
            if let Some(waiting) = queue.and_then(|queue| queue.remove(&client, route, id)) {
                self.count(route, |counters| counters.queued -= 1);
                self.settle(&waiting.pending, &Outcome::Failure(stopping()), actions);
            }
        }
    }

    fn give_up(&mut self, actions: &mut Vec<Action>) {
        self.stop(actions);
        let mut running: Vec<_> = std::mem::take(&mut self.running).into_iter().collect();
        running.sort_unstable_by_key(|(id, _)| *id);
        for (_, pending) in running {
            self.count(pending.route, |counters| counters.in_flight -= 1);
            let detail = "no response before the gateway stopped";
            let failure = Failure::new(Code::BridgeStopping, detail);
            self.settle(&pending, &Outcome::Failure(failure), actions);
            let queue = self.queue_of.get(pending.route).copied();
            if let Some(queue) = queue.and_then(|at| self.queues.get_mut(at)) {
                queue.finish(&pending.publisher.client, pending.route);
            }
        }
    }

    fn settle_late(&mut self, waiting: &Waiting, actions: &mut Vec<Action>) {
        self.count(waiting.pending.route, |counters| counters.queued -= 1);
        let seconds = waiting.job.limits.deadline.as_secs_f64();
        let failure = match &self.clock_unset {
            Some(why) => Failure::new(Code::ClockUnset, why.clone()),
            None => Failure::new(Code::TimeoutQueue, format!("no turn within {seconds} s")),
        };
        self.settle(&waiting.pending, &Outcome::Failure(failure), actions);
    }

    /// Replies, counts and reports. What counts is what the node was told.
    fn settle(&mut self, pending: &Pending, outcome: &Outcome, actions: &mut Vec<Action>) {
        let Some(route) = self.routes.routes.get(pending.route) else {
            return;
        };
        let composer = Composer {
            route,
            address: &pending.address,
            values: Values {
                message: &pending.message,
                publisher: &pending.publisher,
                gateway: &self.gateway,
                id: pending.id,
                unix_time: pending.unix_time,
                reply: None,
                mask_secrets: false,
            },
        };
        let composed = composer.compose(Answer::judge(route, outcome));
        let told = composed.told;
        actions.extend(composed.messages.into_iter().map(Action::Publish));
        actions.push(Action::Report(Report::Settled {
            route: route.name.clone(),
            client: Arc::clone(&pending.publisher.client),
            code: told.code(),
            status: told.telling_status(),
            gateway_fault: told.code.is_some_and(Code::needs_owner),
            detail: told.detail.into_owned(),
        }));
        self.count(pending.route, |counters| match told.code {
            None => counters.succeeded += 1,
            Some(_) => counters.failed += 1,
        });
    }

    fn count(&mut self, route: usize, change: impl FnOnce(&mut Counters)) {
        if let Some(counters) = self.counters.get_mut(route) {
            change(counters);
        }
    }
}

fn stopping() -> Failure {
    Failure::new(Code::BridgeStopping, "the gateway is shutting down")
}

fn report_refused(values: &Values<'_>, why: &'static str) -> Action {
    let properties = values.message.properties.as_deref();
    let topic = properties.and_then(|properties| properties.response_topic.clone());
    Action::Report(Report::ResponseTopicRefused {
        client: Arc::clone(&values.publisher.client),
        topic: topic.unwrap_or_default(),
        why,
    })
}
