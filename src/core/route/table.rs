//! Which route takes a topic: the first in file order.
//!
//! The index is a tree over levels. Each node knows the smallest position below it, so a branch
//! that can not beat the best match so far is not entered: the cost of a match grows with the
//! levels of the topic, not with the number of routes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::route::topic::Level;
use crate::core::route::{Route, RouteTopic};
use crate::core::subscriptions::FilterTree;

/// Most routes that are compared to find the nearest one: bounds the cost of a near miss.
const NEAREST_OF: usize = 64;

/// All routes in file order, with an index over their topics.
#[derive(Debug)]
pub struct RouteTable {
    /// In file order: the first that matches wins.
    pub routes: Vec<Arc<Route>>,
    index: Node,
    /// Positions by fixed first level, at most [`NEAREST_OF`] each.
    by_first_level: HashMap<Box<str>, Vec<usize>>,
    /// Where replies of the routes go.
    replies: FilterTree<()>,
}

/// One level of the index.
#[derive(Debug)]
struct Node {
    fixed: HashMap<Box<str>, Self>,
    any: Option<Box<Self>>,
    /// A route whose rest starts here.
    rest: usize,
    /// A route that ends here.
    end: usize,
    /// The smallest position at or below this node.
    smallest: usize,
}

/// No route: greater than each position.
const NONE: usize = usize::MAX;

impl RouteTable {
    /// Builds the table and its index.
    pub fn new(routes: Vec<Route>) -> Self {
        let mut index = Node::new();
        let mut by_first_level: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut replies = FilterTree::default();
        for (position, route) in routes.iter().enumerate() {
            index.insert(&route.topic, position);
            *replies.place(&route.reply.filter()) = Some(());
            if let Some(Level::Fixed(name)) = route.topic.levels().next() {
                let near = by_first_level.entry(name.into()).or_default();
                if near.len() < NEAREST_OF {
                    near.push(position);
                }
            }
        }
        Self {
            routes: routes.into_iter().map(Arc::new).collect(),
            index,
            by_first_level,
            replies,
        }
    }

    /// Returns whether replies of some route can go to the topic.
    pub(crate) fn takes_replies(&self, topic: &str) -> bool {
        self.replies.matches(topic)
    }

    /// Returns the first route in file order that takes the topic, with its position.
    ///
    /// Topics that start with `$` never enter a route.
    pub fn first_match(&self, topic: &str) -> Option<(usize, &Arc<Route>)> {
        if topic.starts_with('$') {
            return None;
        }
        let mut best = NONE;
        self.index.find(Some(topic), &mut best);
        self.routes.get(best).map(|route| (best, route))
    }

    /// Returns the route that is most like a topic which none takes, among those that begin with
    /// the same fixed level. `None` when there is none of these, or when one takes the topic.
    pub(crate) fn near_miss(&self, topic: &str) -> Option<&Arc<Route>> {
        let first = topic.split('/').next().unwrap_or_default();
        let candidates = self.by_first_level.get(first)?;
        let near = candidates.iter().filter_map(|at| self.routes.get(*at));
        near.min_by_key(|route| distance(&route.topic, topic))
            .filter(|_| self.first_match(topic).is_none())
    }
}

/// Counts the levels in which a topic differs from what a route takes.
fn distance(route: &RouteTopic, topic: &str) -> usize {
    let mut names = topic.split('/');
    let mut count = 0;
    for level in route.levels() {
        match (level, names.next()) {
            (Level::Rest, Some(_)) => return count,
            (Level::Any, Some(_)) => {}
            (Level::Fixed(a), Some(b)) if a == b => {}
            (Level::Fixed(_) | Level::Any | Level::Rest, _) => count += 1,
        }
    }
    count + names.count()
}

impl Node {
    fn new() -> Self {
        Self {
            fixed: HashMap::new(),
            any: None,
            rest: NONE,
            end: NONE,
            smallest: NONE,
        }
    }

    fn insert(&mut self, topic: &RouteTopic, position: usize) {
        let mut node = self;
        node.smallest = node.smallest.min(position);
        for level in topic.levels() {
            node = match level {
                Level::Fixed(name) => node.fixed.entry(name.into()).or_insert_with(Self::new),
                Level::Any => node.any.get_or_insert_with(|| Box::new(Self::new())),
                Level::Rest => {
                    node.rest = node.rest.min(position);
                    return;
                }
            };
            node.smallest = node.smallest.min(position);
        }
        node.end = node.end.min(position);
    }

    /// Lowers `best` to the first route below this node that takes the rest of a topic.
    ///
    /// The depth is that of the longest route topic, which is bounded.
    fn find(&self, topic: Option<&str>, best: &mut usize) {
        if self.smallest >= *best {
            return;
        }
        let Some(topic) = topic else {
            *best = self.end.min(*best);
            return;
        };
        *best = self.rest.min(*best);
        let (level, rest) = match topic.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (topic, None),
        };
        if let Some(node) = self.fixed.get(level) {
            node.find(rest, best);
        }
        if let Some(node) = &self.any {
            node.find(rest, best);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::bridge::testing::route;

    fn table(topics: &[&str]) -> RouteTable {
        RouteTable::new(topics.iter().map(|topic| route(topic).build()).collect())
    }

    #[test]
    fn the_first_route_in_file_order_takes_the_topic() {
        let table = table(&[
            "nodes/{node}/get",
            "nodes/kitchen/get",
            "nodes/{node}/{r+}",
            "{any}/x",
            "nodes/x",
            "é/{b}",
        ]);
        let cases = [
            ("nodes/kitchen/get", Some(0), "the capture came first"),
            ("nodes/kitchen/set", Some(2), "the rest takes one level"),
            ("nodes/kitchen/a/b/c", Some(2), "the rest takes several"),
            ("nodes/kitchen", None, "the rest is at least one level"),
            (
                "nodes/x",
                Some(3),
                "a capture in the first level, earlier in the file",
            ),
            ("nodes//get", Some(0), "an empty level is a level"),
            ("é/b", Some(5), "a first character outside ASCII"),
            ("nodes", None, "the topic ends early"),
            ("$SYS/x", None, "`$` never enters a route"),
        ];
        for (topic, expected, reason) in cases {
            let found = table.first_match(topic).map(|(position, _)| position);
            assert_eq!(found, expected, "{topic}: {reason}");
        }
    }

    #[test]
    fn the_nearest_route_shares_the_first_level() {
        let table = table(&["nodes/{n}/posts/{id}/get", "nodes/{n}/posts", "other/{x}"]);
        let cases = [
            ("nodes/me/posts/1/got", Some("nodes/{n}/posts/{id}/get")),
            ("nodes/me/post", Some("nodes/{n}/posts")),
            ("other", Some("other/{x}")),
            ("else/me/posts", None),
            ("nodes/me/posts", None),
            ("$SYS/x", None),
        ];
        for (topic, expected) in cases {
            let found = table
                .near_miss(topic)
                .map(|route| route.topic.text.as_str());
            assert_eq!(found, expected, "{topic}");
        }
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_trying_each_route(
            topics in prop::collection::vec("(a|b|\\{x\\})(/(a|b|\\{y\\}))?(/(a|b|\\{z\\}))?(/\\{r\\+\\})?", 1..8),
            topic in "[ab](/[abc]{0,1}){0,4}",
        ) {
            let topics: Vec<_> = topics.iter().map(String::as_str).collect();
            let table = table(&topics);
            let slow = table.routes.iter().position(|route| distance(&route.topic, &topic) == 0);
            prop_assert_eq!(table.first_match(&topic).map(|(position, _)| position), slow);
        }
    }
}
