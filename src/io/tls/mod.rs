//! TLS: alone may name rustls.

pub(crate) mod accepted;
pub(crate) mod algorithm;
mod anchor;
pub(crate) mod certificate;
pub(crate) mod client;
mod client_certificate;
mod der;
pub(crate) mod failure;
mod general_name;
pub(crate) mod list;
pub(crate) mod listener;
#[cfg(feature = "selftest")]
pub(crate) mod local;
mod name;
mod path;
mod pins;
mod points;
pub(crate) mod revocation;
pub(crate) mod roots;
pub(crate) mod sessions;
mod shelf;
pub(crate) mod stream;
mod strict;
mod time;
pub(crate) mod verifier;
