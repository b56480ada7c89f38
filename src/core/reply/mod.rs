//! From an outcome to what the node gets: topic, payload that fits, QoS, retain.
//!
//! Decides whether a response is a success (`answer`), where the reply goes (`address`), how
//! it looks (`form`) and how it is made to fit the node's packet (`fit`). When a request is
//! made, and who else hears the reply, is left to others.

mod address;
mod answer;
mod fit;
mod form;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::core::template::Template;
use crate::core::topic::TopicFilter;

pub(crate) use address::{Address, Word};
pub(crate) use answer::Answer;
pub(crate) use fit::Composer;

/// What a route's node gets back, where and how.
#[derive(Debug)]
pub struct ReplyPlan {
    /// Template of the reply topic.
    pub topic: Template,
    /// How payloads look. It is the same when an MQTT 5 Response Topic takes the place of
    /// `topic`; the user property `code` tells the outcome there.
    pub form: Form,
    /// JSON pointers applied to the response: one without name, or several with names.
    pub select: Vec<(Option<String>, String)>,
    /// Largest packet the node takes, in bytes; a user's own value wins.
    pub packet: usize,
    /// What happens to a reply that is larger.
    pub oversize: Oversize,
    /// Whether the last reply is retained; a reply to a Response Topic never is, since the node
    /// chooses that topic.
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
    /// A text of the owner's own, parsed with [`crate::core::template::Scope::reply`] set.
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
    /// Several messages on `<topic>/<i>/<n>`, at most 99.
    Chunks,
}

impl ReplyPlan {
    /// Returns a filter that matches every topic this plan can publish to, chunks included:
    /// nobody but the bridge may publish there, and no route may take such a topic.
    ///
    /// A level with a placeholder is `+`, since no value can add a level.
    #[expect(
        clippy::expect_used,
        reason = "levels are `+` or hold no wildcard and no NUL"
    )]
    pub fn filter(&self) -> TopicFilter {
        // NUL stands in no topic, so it marks the placeholders.
        let sample = self.topic.with_sample("\0");
        let wild = |level| {
            if str::contains(level, '\0') {
                "+"
            } else {
                level
            }
        };
        let mut levels: Vec<_> = sample.split('/').map(wild).collect();
        if self.oversize == Oversize::Chunks {
            levels.push("#");
        }
        // A template of more than 64 KiB is no topic either: nothing is ever published there.
        let text = levels.join("/");
        TopicFilter::parse(&text)
            .or_else(|_| TopicFilter::parse("#"))
            .expect("`#` is a filter")
    }
}
