//! TLS on the client side: alone may name rustls.

pub(crate) mod certificate;
pub(crate) mod client;
pub(crate) mod failure;
pub(crate) mod roots;
pub(crate) mod sessions;
pub(crate) mod stream;
pub(crate) mod verifier;

/// Returns a client configuration for protocols other than HTTPS.
///
/// # Errors
/// Says what is wrong with the roots.
pub(crate) fn client_config(
    _trust: &crate::core::endpoint::Trust,
) -> Result<std::sync::Arc<rustls::ClientConfig>, String> {
    todo!()
}
