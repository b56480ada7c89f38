//! TLS on the client side: alone may name rustls.

pub(crate) mod certificate;
pub(crate) mod client;
pub(crate) mod failure;
pub(crate) mod roots;
pub(crate) mod sessions;
pub(crate) mod stream;
pub(crate) mod verifier;
