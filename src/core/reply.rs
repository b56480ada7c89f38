//! From an outcome to what the node gets: topic, payload that fits, QoS, retain.

use std::time::Duration;

use crate::core::template::Template;

/// What a route's node gets back, where and how.
#[derive(Debug)]
pub struct ReplyPlan {
    /// Template of the reply topic.
    pub topic: Template,
    /// How payloads look.
    pub form: Form,
    /// JSON pointers applied to the response: one without name, or several with names.
    pub select: Vec<(Option<String>, String)>,
    /// Largest packet the node takes, in bytes; a user's own value wins.
    pub packet: usize,
    /// What happens to a reply that is larger.
    pub oversize: Oversize,
    /// Whether the last reply is retained.
    pub retain: bool,
    /// MQTT 5 Message Expiry Interval of the reply.
    pub expiry: Option<Duration>,
}

/// How reply payloads look.
#[derive(Debug)]
pub enum Form {
    /// Success is the body, failure is `code status-or-dash detail`.
    Plain,
    /// One JSON object.
    Json,
    /// A text of the owner's own.
    Template(Template),
}

/// What happens to a reply that does not fit the node's packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oversize {
    /// `reply.too_large` with the size.
    #[default]
    Error,
    /// The start of it, marked as such.
    Cut,
    /// Several messages on `<topic>/<i>/<n>`.
    Chunks,
}

impl ReplyPlan {
    /// Returns a filter that matches every topic this plan can publish to, chunks included:
    /// nobody but the bridge may publish there, and no route may take such a topic.
    pub fn filter(&self) -> crate::core::topic::TopicFilter {
        todo!()
    }
}
