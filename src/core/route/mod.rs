//! Routes: which message becomes which request, and where the reply goes.
//!
//! Decides which route takes a topic. What the request holds is [`crate::core::request`]'s, what
//! the node gets back [`crate::core::reply`]'s.

mod preview;
mod status;
mod table;
mod topic;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::endpoint::{Endpoint, Limits};
use crate::core::message::QoS;
use crate::core::reply::ReplyPlan;
use crate::core::request::Method;
use crate::core::template::Template;

pub use preview::Preview;
pub use status::StatusSet;
pub use table::RouteTable;
pub use topic::{Capture, RouteTopic, never_match};

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
    /// How its messages are stored; `None` for a direct route, which keeps them in memory.
    pub stored: Option<Stored>,
}

/// How a route's messages are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Bytes that they may take of the store.
    pub max_bytes: usize,
    /// How old they may become.
    pub max_age: Duration,
    /// What becomes of one more when the bytes are taken.
    pub on_full: OnFull,
    /// Whether it is told that a message is stored; `None` for those at QoS 0, which have no other
    /// acknowledgement.
    pub ack_reply: Option<bool>,
}

impl Default for Stored {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_age: Duration::from_secs(7 * 86_400),
            on_full: OnFull::Refuse,
            ack_reply: None,
        }
    }
}

/// What becomes of a message for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It is left with the client.
    Refuse,
    /// The oldest ones make room.
    DropOldest,
}

impl Route {
    /// Returns the header by which the server can tell that it has had a request before: where
    /// requests are sent again that do something each time.
    pub(crate) fn idempotency_key(&self) -> Option<&str> {
        let conduct = &self.endpoint.conduct;
        let changes = !matches!(self.method, Method::Get | Method::Head);
        let again = match self.stored {
            Some(_) => changes,
            None => !self.method.is_idempotent() && conduct.retry.direct_attempts() > 1,
        };
        conduct.idempotency_key.as_deref().filter(|_| again)
    }
}

/// Why a text is not a route topic or a status set, for the person who wrote it: `what; remedy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError(pub String);

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RouteError {}
