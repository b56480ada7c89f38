//! TLS on the client side: alone may name rustls.

pub(crate) mod certificate;
pub(crate) mod client;
pub(crate) mod verifier;
