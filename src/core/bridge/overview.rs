//! What the owner sees of the bridge.

use std::sync::Arc;
use std::time::Instant;

use super::Bridge;
use crate::core::route::RouteTable;

impl Bridge {
    /// Returns the routes that take messages at present, in file order as their counters.
    pub fn routes(&self) -> &Arc<RouteTable> {
        &self.routes
    }

    /// Returns since when the oldest message of each route waits, in file order.
    pub fn waiting_since(&self) -> Vec<Option<Instant>> {
        let routes = &self.routes.routes;
        let mut oldest = vec![None; routes.len()];
        // Those of one route wait in the order of their deadlines.
        for ((deadline, _), (_, at)) in &self.deadlines {
            if let (Some(route), Some(since)) = (routes.get(*at), oldest.get_mut(*at))
                && since.is_none()
            {
                *since = deadline.checked_sub(route.limits.deadline);
            }
        }
        oldest
    }
}
