//! What only shows when all parts are known: routes, replies and rules that get into each
//! other's way, and parts that nothing uses.

use crate::core::route::{RouteTopic, never_match};
use crate::core::topic::TopicFilter;

use super::endpoints::Destination;
use super::error::Report;
use super::routes::Candidate;
use super::show::quote;
use super::users::Rule;

/// A route's name and where its replies go.
pub(super) type ReplyFilter = (String, TopicFilter);

/// Returns where the replies of all routes go.
pub(super) fn reply_filters(routes: &[Candidate]) -> Vec<ReplyFilter> {
    let filter = |route: &Candidate| Some((route.name.clone(), route.replies.clone()?));
    routes.iter().filter_map(filter).collect()
}

/// Reports routes that no message can reach, replies that would be requests, and rules that
/// would let a client publish where replies go.
pub(super) fn check(
    routes: &[Candidate],
    replies: &[ReplyFilter],
    rules: &[Rule],
    report: &Report,
) {
    refuse_unreachable(routes, report);
    refuse_loops(routes, report);
    refuse_forgery(replies, rules, report);
}

fn refuse_unreachable(routes: &[Candidate], report: &Report) {
    let topics: Vec<&RouteTopic> = routes.iter().map(|candidate| &candidate.topic).collect();
    for (never, taken_by) in never_match(&topics) {
        let (Some(never), Some(taken_by)) = (routes.get(never), routes.get(taken_by)) else {
            continue;
        };
        let text = format!(
            "route {} can never match: route {} at {} takes all its messages; \
             move it before that one or remove it",
            quote(&never.name),
            quote(&taken_by.name),
            report.origin(taken_by.topic_origin)
        );
        report.error(never.topic_origin, text);
    }
}

fn refuse_loops(routes: &[Candidate], report: &Report) {
    for from in routes {
        let Some(filter) = &from.replies else {
            continue;
        };
        let into = routes
            .iter()
            .find(|other| other.topic.filter.overlaps(filter));
        if let Some(into) = into {
            let text = format!(
                "replies of route {} can go to topics that route {} at {} takes; \
                 keep requests and replies in separate trees, such as `nodes/…` and `replies/…`",
                quote(&from.name),
                quote(&into.name),
                report.origin(into.topic_origin)
            );
            report.error(from.reply_origin, text);
        }
    }
}

/// Reports rules that would let a client publish where replies go.
pub(super) fn refuse_forgery(replies: &[ReplyFilter], rules: &[Rule], report: &Report) {
    let grants = rules
        .iter()
        .filter(|rule| !rule.text.value.starts_with('!'));
    for rule in grants {
        let mut replies = replies.iter();
        let Some((forged, _)) = replies.find(|(_, reply)| reply.overlaps(&rule.filter)) else {
            continue;
        };
        let who = match &rule.user {
            Some(user) => format!("user {}", quote(user)),
            None => "anonymous clients".into(),
        };
        let narrow = match &rule.user {
            Some(_) => "nodes/{user}/#",
            None => "nodes/+/#",
        };
        // Who has written that already has to move the replies.
        let remedy = if rule.text.value == narrow {
            "have the route reply in another tree, such as `replies/…`".into()
        } else {
            format!("write a narrower filter, such as `{narrow}`")
        };
        let text = format!(
            "publish rule {} would let {who} forge replies of route {}; \
             {remedy}",
            quote(&rule.text.value),
            quote(forged),
        );
        report.error(rule.text.origin, text);
    }
}

/// Warns of endpoints that no route uses: their templates are not checked either.
pub(super) fn warn_of_unused(destinations: &[Destination<'_>], report: &Report) {
    for destination in destinations
        .iter()
        .filter(|destination| !destination.used.get())
    {
        let text = format!(
            "endpoint {} is used by no route; use it or remove it",
            quote(&destination.name)
        );
        report.warning(destination.origin, text);
    }
}
