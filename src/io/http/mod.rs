//! HTTPS requests: ureq over our own resolver and connector, performed by worker threads.

pub(crate) mod address;
pub(crate) mod buffers;
pub(crate) mod client;
pub(crate) mod connect;
pub(crate) mod connector;
pub(crate) mod exchange;
pub(crate) mod failure;
pub(crate) mod ledger;
pub(crate) mod lists;
pub(crate) mod pool;
pub(crate) mod redirect;
pub(crate) mod resolver;
pub(crate) mod transport;
pub(crate) mod workers;

#[cfg(test)]
#[path = "../../../tests/support"]
pub(crate) mod support {
    pub(crate) mod certificates;
    pub(crate) mod https;
}

#[cfg(test)]
pub(crate) mod testing;
