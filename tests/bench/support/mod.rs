//! What the benchmarks share: an origin, a load of nodes, and the processes that are measured.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a benchmark may end at the first surprise, measures time, and uses what it needs"
)]

pub(crate) mod bare;
pub(crate) mod echo;
pub(crate) mod load;
pub(crate) mod origin;
pub(crate) mod process;
pub(crate) mod wire;
