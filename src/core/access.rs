//! Who may publish and subscribe to what.

use std::sync::Arc;

use crate::core::topic::TopicFilter;

/// Who a connection is, after its credentials were checked.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user, `None` for an anonymous client.
    pub user: Option<Arc<str>>,
    /// The rules as configured, not yet expanded for this client.
    pub rules: Arc<Rules>,
    /// The user's own `reply_packet`, in bytes.
    pub reply_packet: Option<usize>,
}

/// Access rules as configured: filters in which `{user}` and `{client}` may stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Filters a client may publish to.
    pub publish: Vec<String>,
    /// Filters a client may subscribe to.
    pub subscribe: Vec<String>,
}

/// The rules of one session, expanded with its user and client ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Filters the session may publish to.
    pub publish: Vec<TopicFilter>,
    /// Filters the session may subscribe to.
    pub subscribe: Vec<TopicFilter>,
}
