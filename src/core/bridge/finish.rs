//! The one place that decides what an outcome leads to: an answer, another attempt, a pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::bridge::circuit::{Change, Standing};
use crate::core::bridge::queue::{Item, Queue, Waiting};
use crate::core::bridge::{Action, Bridge, JobId, Pending, Report};
use crate::core::decimal;
use crate::core::endpoint::{Endpoint, Redirects};
use crate::core::outcome::{Code, Failure, Outcome};
use crate::core::reply::{Answer, Composer};
use crate::core::retry;

/// What has to be left of the deadline for another attempt, unless the timeout is shorter.
const WORTH_IT: Duration = Duration::from_secs(1);

impl Bridge {
    /// Takes in how a job ended; an unknown one was settled before.
    pub(super) fn finish(
        &mut self,
        id: JobId,
        outcome: Outcome,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(mut waiting) = self.running.remove(&id) else {
            return;
        };
        let place = waiting.pending.place();
        self.count(place.slot, |counters| counters.in_flight -= 1);
        self.observe(&waiting, &outcome, now, actions);
        if let Some(entry) = waiting.entry {
            self.finish_stored(&waiting, entry, &outcome, now, actions);
        } else if let Some(until) = self.next_attempt(&waiting, &outcome, now) {
            waiting.job.attempt += 1;
            waiting.last = Some(outcome);
            let key = (waiting.job.deadline, id);
            self.deadlines.insert(key, place.clone());
            self.count(place.slot, |counters| counters.queued += 1);
            if let Some(queue) = self.queues.get_mut(place.queue) {
                let item = Item::Direct(waiting);
                queue.put_back(&place, item, (until, id));
            }
        } else {
            self.settle(&waiting.pending, &outcome, actions);
            if let Some(queue) = self.queues.get_mut(place.queue) {
                queue.finish(&place.client, place.slot, true);
            }
        }
        self.answer_paused(place.queue, now, actions);
        self.start_waiting(place.queue, now, actions);
    }

    /// Returns when a job of a direct route is tried again, `None` if it is not: while the node
    /// can still use the answer, and only if nothing is done twice.
    fn next_attempt(
        &mut self,
        waiting: &Waiting,
        outcome: &Outcome,
        now: Instant,
    ) -> Option<Instant> {
        let Waiting { job, pending, .. } = waiting;
        let policy = job.endpoint.conduct.retry;
        let again = job.attempt < policy.direct_attempts()
            && retry::is_transient(outcome, &pending.route.success)
            && retry::is_repeatable(outcome, job.request.method)
            && !self.stopping
            && self.is_configured(&job.endpoint);
        if !again {
            return None;
        }
        let after = match outcome {
            Outcome::Response(response) => response.retry_after,
            Outcome::Failure(_) => None,
        };
        let until = now + policy.delay(job.attempt, after, self.random());
        let least = WORTH_IT.min(job.limits.timeout);
        let left = job.deadline.saturating_duration_since(until);
        (left >= least).then_some(until)
    }

    /// Tells the circuit, and the owner what that changed.
    fn observe(
        &mut self,
        waiting: &Waiting,
        outcome: &Outcome,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let job = &waiting.job;
        let Some(queue) = self.queues.get_mut(waiting.pending.queue) else {
            return;
        };
        if !queue.asks_where(&job.endpoint) {
            return;
        }
        if !speaks_for_endpoint(&job.endpoint) {
            queue.circuit.note(outcome);
            return;
        }
        let pauses = job.endpoint.conduct.pause;
        let change = queue.circuit.observe(job.id, outcome, pauses, now);
        if let Outcome::Response(response) = outcome
            && let (429 | 503, Some(after)) = (response.status, response.retry_after)
        {
            queue
                .circuit
                .hold_until(now + after.min(retry::LONGEST_AFTER));
        }
        let endpoint = || job.endpoint.name.clone();
        match (change, outcome) {
            (Change::Opened, Outcome::Failure(failure)) => {
                actions.push(Action::Report(Report::Endpoint {
                    endpoint: endpoint(),
                    standing: queue.circuit.standing(),
                    code: failure.code.as_str(),
                    detail: failure.detail.clone(),
                }));
            }
            (Change::Closed(since), _) => {
                self.portal.leave();
                queue.hurry();
                actions.push(Action::Report(Report::EndpointWorks {
                    endpoint: endpoint(),
                    after: now.saturating_duration_since(since),
                }));
            }
            (Change::None | Change::Opened, _) => {}
        }
        if let Outcome::Failure(failure) = outcome
            && !job.endpoint.captured_host
            && let Some(hosts) = self.portal.observe(failure.code, &job.request.host, now)
        {
            actions.push(Action::Report(Report::CaptivePortal { hosts }));
        }
    }

    /// Answers the waiting jobs of direct routes of an endpoint that is paused.
    fn answer_paused(&mut self, at: usize, now: Instant, actions: &mut Vec<Action>) {
        let Some(queue) = self.queues.get(at) else {
            return;
        };
        if queue.circuit.standing() != Standing::Paused || queue.circuit.next_probe().is_none() {
            return;
        }
        let Some(why) = queue.circuit.refuses(now) else {
            return;
        };
        self.answer_direct(at, &Failure::new(Code::BridgePaused, why), actions);
    }

    /// Answers all waiting jobs of direct routes of an endpoint.
    pub(super) fn answer_direct(
        &mut self,
        at: usize,
        failure: &Failure,
        actions: &mut Vec<Action>,
    ) {
        let direct = self.queues.get(at).map(Queue::direct).unwrap_or_default();
        for (client, slot, id) in direct {
            let queue = self.queues.get_mut(at);
            if let Some(waiting) = queue.and_then(|queue| queue.remove(&client, slot, id)) {
                self.deadlines.remove((waiting.job.deadline, id));
                self.answer_waiting(*waiting, failure.clone(), actions);
            }
        }
    }

    /// Answers a job that was withdrawn with what its last attempt came to, else with `failure`.
    pub(super) fn answer_waiting(
        &mut self,
        waiting: Waiting,
        failure: Failure,
        actions: &mut Vec<Action>,
    ) {
        let Waiting { pending, last, .. } = waiting;
        self.count(pending.slot, |counters| counters.queued -= 1);
        let outcome = last.unwrap_or(Outcome::Failure(failure));
        self.settle(&pending, &outcome, actions);
    }

    /// Answers a job whose deadline has passed while it waited.
    pub(super) fn settle_late(
        &mut self,
        waiting: Waiting,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let seconds = decimal::seconds(waiting.job.limits.deadline, 3).short();
        let queue = self.queues.get(waiting.pending.queue);
        let client = &waiting.pending.publisher.client;
        let failure = match &self.clock_unset {
            Some(why) => Failure::new(Code::ClockUnset, why.clone()),
            None if queue.is_some_and(|queue| queue.is_slowed(client, now)) => {
                let detail = format!("no turn within {seconds} s at this rate");
                Failure::new(Code::BridgeRateLimited, detail)
            }
            None => Failure::new(Code::TimeoutQueue, format!("no turn within {seconds} s")),
        };
        self.answer_waiting(waiting, failure, actions);
    }

    /// Settles a message that failed.
    pub(super) fn settle_failed(
        &mut self,
        pending: &Pending,
        failure: Failure,
        actions: &mut Vec<Action>,
    ) {
        self.settle(pending, &Outcome::Failure(failure), actions);
    }

    /// Replies, counts and reports. What counts is what the node was told.
    pub(super) fn settle(
        &mut self,
        pending: &Pending,
        outcome: &Outcome,
        actions: &mut Vec<Action>,
    ) {
        let route = &pending.route;
        let composer = Composer {
            route,
            address: &pending.address,
            values: self.values(pending),
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
        self.count(pending.slot, |counters| match told.code {
            None => counters.succeeded += 1,
            Some(Code::BridgeDropped) => counters.dropped += 1,
            Some(_) => counters.failed += 1,
        });
    }
}

/// Returns whether what becomes of a request says something of the endpoint: not if a node has
/// chosen the host, or a server another one. Each job has its own waits then.
fn speaks_for_endpoint(endpoint: &Endpoint) -> bool {
    !endpoint.captured_host && endpoint.redirects != Redirects::Any
}
