//! The embedded broker's sockets: listener, one task per client, codec.

pub(crate) mod codec;
pub(crate) mod listener;
pub(crate) mod login;
mod pace;
mod patience;
pub(crate) mod session;
mod transport;
#[cfg(feature = "websocket")]
mod websocket;
