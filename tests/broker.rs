//! The broker on raw sockets: what kills or misleads other brokers, one test each.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "what is not as expected has to fail, and time is what some tests are about"
)]

#[path = "broker/connect.rs"]
mod connect;
#[path = "broker/damage.rs"]
mod damage;
#[path = "broker/messages.rs"]
mod messages;
#[path = "support/mqtt.rs"]
mod mqtt;
#[path = "broker/parting.rs"]
mod parting;
#[path = "broker/sockets.rs"]
mod sockets;
#[path = "broker/traps.rs"]
mod traps;

use mqtt::{block, connect_with};

/// Two users: `kitchen` with the password `right`, `attic` with a binary one.
const USERS: &str = r#"
anonymous = "no"
[[user]]
name = "kitchen"
password = "$sha256$c2FsdHNhbHQ$FR8UeCMT3/fKTEhhldTae/b+v/u/qEX+413/4joENeU"
publish = ["nodes/{user}/#"]
subscribe = ["nodes/{user}/#", "replies/{user}/#"]
[[user]]
name = "attic"
password = "$sha256$c2FsdHNhbHQ$CLzVL4GQJb9GAlGJK95IsULRu/HME9ti+J1w9O5SZAs"
[[user]]
name = "slow"
password = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
"#;

/// CONNECT of 3.1.1 with a user name and a password.
fn with_password(user: &str, password: &[u8]) -> Vec<u8> {
    let payload = [block("c"), block(user), block(password)].concat();
    connect_with(4, 0xC2, 0, &payload)
}

/// CONNECT of 3.1.1 with a will at QoS 0.
fn with_will(id: &str, flags: u8, topic: &str, payload: &str) -> Vec<u8> {
    let payload = [block(id), block(topic), block(payload)].concat();
    connect_with(4, flags | 0x04, 0, &payload)
}
