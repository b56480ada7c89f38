//! Which route takes a topic: the index against trying each route.
//!
//! Each line is a route's topic (`@` before it) or a topic to look up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt_https_bridge::core::route::{RouteTable, RouteTopic, never_match};
use mqtt_https_bridge_fuzz::plain_routes;

/// Routes of one input.
const MOST: usize = 24;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (routes, topics): (Vec<_>, Vec<_>) =
        text.split('\n').partition(|line| line.starts_with('@'));
    let routes: Vec<_> = routes
        .iter()
        .filter_map(|line| RouteTopic::parse(&line[1..]).ok())
        .take(MOST)
        .collect();
    for route in &routes {
        assert!(route.captures.len() <= route.text.split('/').count());
        assert_eq!(RouteTopic::parse(&route.text).as_ref(), Ok(route));
    }
    let never = never_match(&routes.iter().collect::<Vec<_>>());
    let table = RouteTable::new(
        plain_routes(routes.len())
            .into_iter()
            .zip(&routes)
            .map(|(mut route, topic)| {
                route.topic = topic.clone();
                route
            })
            .collect(),
    );
    for topic in topics.into_iter().take(4 * MOST) {
        let expected = routes.iter().position(|route| takes(&route.text, topic));
        let found = table.first_match(topic).map(|(position, _)| position);
        assert_eq!(found, expected, "{topic:?}");
        let filters = routes.iter().position(|route| route.filter.matches(topic));
        assert!(
            found.is_none() || filters.is_some_and(|first| Some(first) <= found),
            "the filter of a route takes all that the route does: {topic:?}"
        );
        assert!(
            never.iter().all(|(route, _)| Some(*route) != found),
            "{topic:?} is taken by a route that is said never to match"
        );
    }
});

/// The obvious matcher, on the text as the owner wrote it.
fn takes(route: &str, topic: &str) -> bool {
    fn levels(route: &[&str], topic: &[&str]) -> bool {
        match (route, topic) {
            ([], []) => true,
            ([last], [_, ..]) if last.ends_with("+}") => true,
            ([r, rs @ ..], [t, ts @ ..]) => (r.starts_with('{') || r == t) && levels(rs, ts),
            _ => false,
        }
    }
    let route: Vec<_> = route.split('/').collect();
    let levels_of_topic: Vec<_> = topic.split('/').collect();
    !topic.starts_with('$') && levels(&route, &levels_of_topic)
}
