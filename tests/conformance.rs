//! The MQTT standards, statement by statement, as raw bytes on real sockets.
//!
//! `conformance/mqtt-3.1.1.txt` and `conformance/mqtt-5.txt` list every normative statement of the
//! two standards with the test that holds the broker to it, or the reason why there is none. Each
//! test names its statements; `tables` checks that both agree and that nothing is left out.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "what is not as expected has to fail, and time is what some statements are about"
)]

#[path = "support/mqtt.rs"]
mod mqtt;
#[cfg(feature = "websocket")]
#[path = "support/websocket.rs"]
mod web;

#[path = "conformance/connect.rs"]
mod connect;
#[path = "conformance/exchange.rs"]
mod exchange;
#[path = "conformance/format.rs"]
mod format;
#[path = "conformance/peer.rs"]
mod peer;
#[path = "conformance/publish.rs"]
mod publish;
#[path = "conformance/session.rs"]
mod session;
#[path = "conformance/subscribe.rs"]
mod subscribe;
#[path = "conformance/tables.rs"]
mod tables;
#[cfg(feature = "websocket")]
#[path = "conformance/websocket.rs"]
mod websocket;
