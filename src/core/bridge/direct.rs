//! What becomes of a message that a route takes: a job, or an answer why there is none.

use std::sync::Arc;
use std::time::Instant;

use crate::core::bridge::queue::{Item, Waiting};
use crate::core::bridge::{Action, Bridge, Job, JobId, Pending, Publisher, Report, stopping};
use crate::core::memory::ENTRY;
use crate::core::message::Message;
use crate::core::outcome::{Code, Failure};
use crate::core::reply::Address;
use crate::core::request::Request;
use crate::core::route::Route;
use crate::core::template::{MessageId, Values};

impl Bridge {
    /// Takes a message for a route: makes a job of it, or answers at once why not.
    pub(super) fn take(
        &mut self,
        at: usize,
        route: Arc<Route>,
        (message, publisher, unix_time): (Message, Publisher, u64),
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.slot_of.get(at).copied() else {
            return;
        };
        let queue = self.slots.get(slot).map_or(0, |slot| slot.queue);
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
            None => self.render(&route, queue, &values, now),
        };
        let pending = Pending {
            route,
            slot,
            queue,
            message,
            publisher,
            address: resolved.address,
            id,
            unix_time,
        };
        self.count(slot, |counters| counters.received += 1);
        match request {
            Ok(request) => self.enqueue(pending, request, now, actions),
            Err(failure) => self.settle_failed(&pending, failure, actions),
        }
    }

    /// Renders the request if there is room for its job. Room comes first: it costs less to find
    /// out, and a flood is when it counts.
    fn render(
        &self,
        route: &Route,
        queue: usize,
        values: &Values<'_>,
        now: Instant,
    ) -> Result<Request, Failure> {
        if self.stopping {
            return Err(stopping());
        }
        if let Some(queue) = self.queues.get(queue) {
            if let Some(why) = queue.circuit.refuses(now) {
                return Err(Failure::new(Code::BridgePaused, why));
            }
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
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let id = JobId(pending.id.number);
        request.body = request.body.map(|body| self.meter.hold(body, ENTRY));
        let route = &pending.route;
        let job = Job {
            id,
            endpoint: Arc::clone(&route.endpoint),
            request: Arc::new(request),
            attempt: 1,
            deadline: now + route.limits.deadline,
            limits: route.limits,
        };
        let place = pending.place();
        self.deadlines.insert((job.deadline, id), place.clone());
        if let Some(queue) = self.queues.get_mut(place.queue) {
            let waiting = Box::new(Waiting {
                job,
                pending,
                last: None,
                entry: None,
            });
            queue.push(&place.client, place.slot, Item::Direct(waiting));
        }
        self.count(place.slot, |counters| counters.queued += 1);
        self.start_waiting(place.queue, now, actions);
    }
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
