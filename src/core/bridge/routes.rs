//! What a new configuration changes: routes and endpoints are known again by their names.

use std::sync::Arc;
use std::time::Instant;

use crate::core::bridge::queue::Queue;
use crate::core::bridge::{Action, Bridge, Counters, Slot};
use crate::core::endpoint::Endpoint;
use crate::core::outcome::{Code, Failure};
use crate::core::route::RouteTable;

impl Bridge {
    /// Takes routes over. What waits keeps its request, and its old route for the reply; if its
    /// endpoint is gone, it is answered.
    pub(super) fn replace_routes(
        &mut self,
        routes: Arc<RouteTable>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.take_over(routes);
        for at in 0..self.queues.len() {
            let queue = self.queues.get(at);
            if queue.is_some_and(|queue| !self.is_configured(&queue.endpoint)) {
                let detail = "its endpoint is no longer in the configuration";
                let failure = Failure::new(Code::BridgeStopping, detail);
                self.answer_direct(at, &failure, actions);
            }
        }
        self.probe_now(now, actions);
    }

    /// Finds or makes the queues and slots of routes.
    pub(super) fn take_over(&mut self, routes: Arc<RouteTable>) {
        self.slot_of.clear();
        for route in &routes.routes {
            let queue = self.queue_of(&route.endpoint);
            let known = self.slots.iter().position(|slot| slot.name == route.name);
            let at = known.unwrap_or(self.slots.len());
            self.slot_of.push(at);
            match self.slots.get_mut(at) {
                Some(slot) => slot.queue = queue,
                None => self.slots.push(Slot {
                    name: route.name.clone(),
                    queue,
                    counters: Counters::default(),
                }),
            }
        }
        self.routes = routes;
    }

    fn queue_of(&mut self, endpoint: &Arc<Endpoint>) -> usize {
        let known = self.queues.iter().position(|it| it.serves(endpoint));
        let at = known.unwrap_or(self.queues.len());
        match self.queues.get_mut(at) {
            Some(queue) => queue.endpoint = Arc::clone(endpoint),
            None => self.queues.push(Queue::new(endpoint)),
        }
        at
    }

    /// Returns whether a route names the endpoint.
    pub(super) fn is_configured(&self, endpoint: &Endpoint) -> bool {
        let routes = &self.routes.routes;
        routes.iter().any(|it| it.endpoint.name == endpoint.name)
    }
}
