//! What outlives the process: values by key, changed in batches.
//!
//! Says what is stored, not how: each kind's owner writes and reads its own values. A batch of
//! changes is in the store as a whole or not at all.
//!
//! The store is a log in segments. [`Chain`] decides what is written where and when a segment can
//! go; the shell has the files.

mod chain;
mod crc32;
mod format;
mod replay;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use chain::{Chain, Group, Limits, Place};
#[cfg(test)]
pub(crate) use crc32::checksum;
pub use replay::{Format, Reading, look, value};

/// Whose values they are, in the order in which they are read at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Per-route counters.
    Counters,
    /// A client's session.
    Session,
    /// A message on its way to a session.
    Delivery,
    /// A retained message.
    Retained,
    /// A message that a stored route took.
    Message,
}

/// Where a value is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose it is.
    pub kind: Kind,
    /// Given by the owner of the kind; never used for another value while there is this one.
    pub id: u64,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Stores a value, in place of the one that was there.
    Put(Key, Bytes),
    /// Removes a value; no error if there is none.
    Delete(Key),
}
