//! What the benchmarks share: an origin, a load of nodes, and the processes that are measured.

#![allow(dead_code, reason = "each benchmark uses what it needs")]

pub(crate) mod bare;
pub(crate) mod echo;
pub(crate) mod load;
pub(crate) mod origin;
pub(crate) mod process;
pub(crate) mod publish;
pub(crate) mod wire;
