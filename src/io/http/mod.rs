//! HTTPS requests: ureq over our own resolver and connector, performed by worker threads.

pub(crate) mod client;
pub(crate) mod connector;
pub(crate) mod failure;
pub(crate) mod resolver;
pub(crate) mod workers;
