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
        self.shelf.news = true;
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
        let before: Vec<usize> = self.slots.iter().map(|slot| slot.queue).collect();
        for slot in &mut self.slots {
            slot.route = None;
        }
        for route in &routes.routes {
            let queue = self.queue_of(&route.endpoint);
            let at = self.slot_named(&route.name);
            self.slot_of.push(at);
            if let Some(slot) = self.slots.get_mut(at) {
                slot.queue = queue;
                slot.route = Some(Arc::clone(route));
            }
        }
        self.routes = routes;
        for (at, queue) in before.into_iter().enumerate() {
            self.move_stored(at, queue);
        }
    }

    /// Moves messages of a stored route to where its requests go now.
    fn move_stored(&mut self, at: usize, before: usize) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let mut moving = Vec::new();
        if slot.route.is_some() {
            moving = std::mem::take(&mut slot.orphans);
            moving.sort_by_key(|(_, entry)| entry.id);
        }
        let present = slot.route.as_ref().map(|_| slot.queue);
        let moves = present != Some(before);
        if let Some(queue) = self.queues.get_mut(before).filter(|_| moves) {
            moving.extend(queue.take_stored(at));
        }
        if let Some(present) = present.filter(|_| moves) {
            self.hold_back(at, before, present);
        }
        for (client, entry) in moving {
            self.shelve(at, &client, entry);
        }
    }

    /// Finds or makes the slot of a name.
    pub(super) fn slot_named(&mut self, name: &str) -> usize {
        let known = self.slots.iter().position(|slot| slot.name == name);
        known.unwrap_or_else(|| {
            self.slots.push(Slot {
                name: name.to_owned(),
                queue: 0,
                counters: Counters::default(),
                route: None,
                bytes: 0,
                wanted: 1,
                stored_as: None,
                orphans: Vec::new(),
            });
            self.slots.len() - 1
        })
    }

    fn queue_of(&mut self, endpoint: &Arc<Endpoint>) -> usize {
        let known = self.queues.iter().position(|it| it.serves(endpoint));
        let at = known.unwrap_or(self.queues.len());
        match self.queues.get_mut(at) {
            Some(queue) => queue.serve(endpoint),
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
