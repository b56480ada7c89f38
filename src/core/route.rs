//! Routes: which message becomes which request, and where the reply goes.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::bridge::Publisher;
use crate::core::endpoint::{Endpoint, Limits};
use crate::core::message::{Message, QoS};
use crate::core::outcome::Failure;
use crate::core::reply::ReplyPlan;
use crate::core::request::Method;
use crate::core::template::Template;
use crate::core::topic::TopicFilter;

/// A `[[route]]` after validation, with all it inherits filled in.
#[derive(Debug)]
pub struct Route {
    /// The name, for people; defaults to the topic.
    pub name: String,
    /// The topic as configured, with `{captures}`.
    pub topic: RouteTopic,
    /// Where requests go.
    pub endpoint: Arc<Endpoint>,
    /// The method.
    pub method: Method,
    /// Host name, or the template of one with a captured label.
    pub host: Template,
    /// TCP port.
    pub port: u16,
    /// Path segments' template: endpoint's base path and route's path joined; starts with `/`.
    pub path: Template,
    /// Query parameters, name and value template, endpoint's first.
    pub query: Vec<(String, Template)>,
    /// Header names in lower case and value templates; the route's replace the endpoint's.
    pub headers: Vec<(String, Template)>,
    /// The body: `None` sends none.
    pub body: Option<Template>,
    /// How long and how large.
    pub limits: Limits,
    /// What counts as success.
    pub success: StatusSet,
    /// What the node gets back.
    pub reply: ReplyPlan,
    /// QoS of the reply.
    pub reply_qos: QoS,
}

/// A route's topic: levels that are fixed, captured (`{name}`) or the rest (`{name+}`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTopic {
    /// As configured.
    pub text: String,
    /// The same as a topic filter: captures are `+`, the rest is `#`.
    pub filter: TopicFilter,
    /// The captures in the order of their levels.
    pub captures: Vec<Capture>,
}

/// A named part of a route's topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The name without braces: a lower-case letter, then lower-case letters, digits and `_`.
    pub name: String,
    /// The level at which it stands, from 0.
    pub level: usize,
    /// Whether it takes this level and all that follow (`{name+}`), at least one.
    pub rest: bool,
}

/// What a message would cause, for `check --topic`; secrets are shown as `***`.
#[derive(Debug)]
pub struct Preview<'a> {
    /// The route that takes it.
    pub route: &'a Route,
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// Header names in lower case and their values.
    pub headers: Vec<(String, String)>,
    /// The body, `None` for none.
    pub body: Option<Bytes>,
    /// Where the reply goes after success.
    pub reply_topic_ok: String,
    /// Where the reply goes after a failure.
    pub reply_topic_error: String,
}

/// A set of HTTP status codes such as `["2xx", "404"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet {
    /// Inclusive ranges.
    pub ranges: Vec<(u16, u16)>,
}

/// All routes in file order, with an index over their topics.
#[derive(Debug)]
pub struct RouteTable {
    /// In file order: the first that matches wins.
    pub routes: Vec<Arc<Route>>,
}

/// Why a text is not a route topic or a status set, for the person who wrote it: `what; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError(pub String);

impl RouteTopic {
    /// Parses a topic with captures; wildcards are written as captures.
    ///
    /// # Errors
    /// Names the level that is wrong.
    pub fn parse(_text: &str) -> Result<Self, RouteError> {
        todo!()
    }
}

impl StatusSet {
    /// Parses entries such as `2xx`, `404` or `200-204`.
    ///
    /// # Errors
    /// Quotes the entry that is none of these.
    pub fn parse<'a>(_entries: impl IntoIterator<Item = &'a str>) -> Result<Self, RouteError> {
        todo!()
    }

    /// Returns whether the status is in the set.
    pub fn contains(&self, _status: u16) -> bool {
        todo!()
    }
}

impl RouteTable {
    /// Builds the table and its index.
    pub fn new(_routes: Vec<Route>) -> Self {
        todo!()
    }

    /// Returns the first route in file order that takes the topic, with its position.
    pub fn first_match(&self, _topic: &str) -> Option<(usize, &Arc<Route>)> {
        todo!()
    }

    /// Returns what a message would cause, `None` when no route takes it.
    pub fn preview(
        &self,
        _message: &Message,
        _publisher: &Publisher,
        _gateway: &str,
        _unix_time: u64,
    ) -> Option<Result<Preview<'_>, Failure>> {
        todo!()
    }
}

/// Returns for each topic that can never match the position of the earlier one that takes all
/// of its messages: pairs of (never matches, taken by).
pub fn never_match(_topics: &[&RouteTopic]) -> Vec<(usize, usize)> {
    todo!()
}
