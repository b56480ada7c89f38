//! A door for the fuzz targets in `tests/fuzz`, which are a crate of their own and see public
//! items only.
//!
//! It is there when the compiler is told `--cfg fuzzing`, and in unit tests so that it is compiled
//! now and then. It decides nothing.

use std::sync::Arc;

use bytes::BytesMut;

use crate::core::access::{Identity, Rules};
use crate::core::packet::{Connect, Incoming, Outgoing, Version};
use crate::core::subscriptions::{self, FilterTree};
use crate::core::topic::TopicFilter;
use crate::io::broker::codec;

pub use crate::core::hub::Census;

/// Takes the CONNECT at the start of a connection off the buffer, `None` while it is incomplete.
///
/// # Errors
/// Says why the bytes are refused.
pub fn decode_connect(buffer: &mut BytesMut, max_packet: usize) -> Result<Option<Connect>, String> {
    codec::decode_connect(buffer, max_packet).map_err(|error| format!("{error:?}"))
}

/// Takes the next packet of an accepted connection off the buffer, `None` while it is incomplete.
///
/// # Errors
/// Says why the bytes are refused.
pub fn decode(
    version: Version,
    buffer: &mut BytesMut,
    max_packet: usize,
) -> Result<Option<Incoming>, String> {
    codec::decode(version, buffer, max_packet).map_err(|error| format!("{error:?}"))
}

/// Appends a packet in the form of a version; one that it does not have appends nothing.
pub fn encode(version: Version, packet: Outgoing, out: &mut BytesMut) {
    codec::encode(version, packet, out);
}

/// An anonymous client that may do everything but what nobody may.
pub fn anyone() -> Identity {
    let all = || vec!["#".to_owned()];
    Identity {
        user: None,
        rules: Arc::new(Rules {
            publish: all(),
            subscribe: all(),
        }),
        reply_packet: None,
        owns_client_id: false,
        peer: None,
    }
}

/// Returns whether a topic or filter has more levels than the broker takes.
pub fn is_too_deep(text: &str) -> bool {
    subscriptions::is_too_deep(text)
}

/// Numbers by topic filter, in the tree that subscriptions and replies are looked up in.
#[derive(Debug, Default)]
pub struct Filters(FilterTree<usize>);

impl Filters {
    /// Puts a number in place of the one that the filter had.
    pub fn insert(&mut self, filter: &TopicFilter, number: usize) {
        *self.0.place(filter) = Some(number);
    }

    /// Takes the filter's number away.
    pub fn remove(&mut self, filter: &TopicFilter) {
        self.0.edit(filter, |place| *place = None);
    }

    /// Returns the numbers of all filters that match the topic.
    pub fn find(&mut self, topic: &str) -> Vec<usize> {
        let mut found = Vec::new();
        self.0.visit(topic, &mut |number| found.push(*number));
        found
    }

    /// Returns whether some filter matches the topic.
    pub fn matches(&self, topic: &str) -> bool {
        self.0.matches(topic)
    }

    /// Returns whether no node is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
