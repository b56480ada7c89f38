//! Who a client is: credentials against the configured users, anonymous clients by address.
//!
//! What an identity may do is for `core::access`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Anonymous, Broker, PasswordHash, User};
use crate::core::access::{Identity, Rules};
use crate::core::hub::Standing;
use crate::core::packet::{Credentials, reason};
use crate::io::password;

/// The configured users and what anonymous clients may do.
#[derive(Debug)]
pub(crate) struct Logins {
    users: HashMap<Arc<str>, User>,
    anonymous: Anonymous,
    anonymous_rules: Arc<Rules>,
}

/// What credentials amount to before the password is checked.
#[derive(Debug)]
enum Claim {
    Anonymous(Identity),
    User(Identity, PasswordHash, Credentials),
    Refused(u8),
}

impl Logins {
    /// Prepares the look-up.
    pub(crate) fn new(broker: &Broker, users: Vec<User>) -> Self {
        Self {
            users: by_name(users),
            anonymous: broker.anonymous,
            anonymous_rules: Arc::clone(&broker.anonymous_rules),
        }
    }

    /// Returns the look-up with other users.
    pub(crate) fn with_users(&self, users: Vec<User>) -> Self {
        Self {
            users: by_name(users),
            anonymous: self.anonymous,
            anonymous_rules: Arc::clone(&self.anonymous_rules),
        }
    }

    /// Returns whether somebody from the network could connect.
    pub(crate) fn lets_network_in(&self) -> bool {
        self.anonymous.lets_network_in(self.users.len())
    }

    /// Returns what has become of a user, if this look-up comes after `before`.
    pub(crate) fn standing(&self, before: &Self, user: &str) -> Standing {
        match self.users.get(user) {
            None => Standing::Remove,
            now if now == before.users.get(user) => Standing::Keep,
            Some(_) => Standing::Change,
        }
    }

    /// Says in words who may connect.
    pub(crate) fn describe(&self) -> String {
        let users = match self.users.len() {
            0 => "no users".to_owned(),
            1 => "1 user".to_owned(),
            count => format!("{count} users"),
        };
        let anonymous = match self.anonymous {
            Anonymous::No => "nobody without a password",
            Anonymous::Loopback => "without a password only programs on this machine",
            Anonymous::Anywhere => "anyone without a password",
        };
        format!("{users}, {anonymous}")
    }

    /// Returns who a client is, or the MQTT 5 reason code to refuse it with.
    ///
    /// A check that takes long runs on a thread of its own, at most two at a time.
    pub(crate) async fn identify(
        &self,
        credentials: Option<Credentials>,
        peer: IpAddr,
    ) -> Result<Identity, u8> {
        match self.claim(credentials, peer) {
            Claim::Anonymous(identity) => Ok(identity),
            Claim::Refused(reason) => Err(reason),
            Claim::User(identity, hash, credentials) => {
                let right = if password::is_slow(&hash) {
                    tokio::task::spawn_blocking(move || {
                        password::verify(&hash, &credentials.password)
                    })
                    .await
                    .unwrap_or(false)
                } else {
                    password::verify(&hash, &credentials.password)
                };
                right.then_some(identity).ok_or(reason::BAD_CREDENTIALS)
            }
        }
    }

    fn claim(&self, credentials: Option<Credentials>, peer: IpAddr) -> Claim {
        let Some(credentials) = credentials else {
            return self.anonymous(peer);
        };
        match self.users.get(credentials.user.as_str()) {
            Some(user) => {
                let identity = Identity {
                    user: Some(Arc::clone(&user.name)),
                    rules: Arc::clone(&user.rules),
                    reply_packet: user.reply_packet,
                };
                Claim::User(identity, user.password.clone(), credentials)
            }
            None => Claim::Refused(reason::BAD_CREDENTIALS),
        }
    }

    fn anonymous(&self, peer: IpAddr) -> Claim {
        let welcome = match self.anonymous {
            Anonymous::No => false,
            Anonymous::Loopback => peer.to_canonical().is_loopback(),
            Anonymous::Anywhere => true,
        };
        if !welcome {
            return Claim::Refused(reason::NOT_AUTHORIZED);
        }
        Claim::Anonymous(Identity {
            user: None,
            rules: Arc::clone(&self.anonymous_rules),
            reply_packet: None,
        })
    }
}

fn by_name(users: Vec<User>) -> HashMap<Arc<str>, User> {
    let named = users.into_iter().map(|user| (Arc::clone(&user.name), user));
    named.collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn some_hash() -> PasswordHash {
        PasswordHash::Sha256 {
            salt: vec![0; 8],
            digest: [0; 32],
        }
    }

    fn logins(anonymous: Anonymous) -> Logins {
        let user = User {
            name: "kitchen".into(),
            password: some_hash(),
            rules: Arc::default(),
            reply_packet: Some(512),
        };
        Logins {
            users: HashMap::from([(Arc::clone(&user.name), user)]),
            anonymous,
            anonymous_rules: Arc::default(),
        }
    }

    fn credentials(user: &str) -> Option<Credentials> {
        Some(Credentials {
            user: user.to_owned(),
            password: Bytes::from_static(b"p"),
        })
    }

    #[test]
    fn anonymous_clients_are_judged_by_their_address() {
        let (near, far) = (IpAddr::from([127, 8, 8, 8]), IpAddr::from([192, 168, 1, 9]));
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xFFFF, 0x7F00, 1]);
        let cases = [
            (Anonymous::No, near, false),
            (Anonymous::Loopback, near, true),
            (
                Anonymous::Loopback,
                IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
                true,
            ),
            (Anonymous::Loopback, mapped, true),
            (Anonymous::Loopback, far, false),
            (Anonymous::Anywhere, far, true),
        ];
        for (anonymous, peer, welcome) in cases {
            match logins(anonymous).claim(None, peer) {
                Claim::Anonymous(identity) => assert!(welcome && identity.user.is_none()),
                Claim::Refused(code) => assert!(!welcome && code == reason::NOT_AUTHORIZED),
                Claim::User(..) => panic!("{anonymous:?} {peer}"),
            }
        }
    }

    #[test]
    fn unknown_user_is_not_taken_for_anonymous() {
        let claim = logins(Anonymous::Anywhere).claim(credentials("attic"), [127, 0, 0, 1].into());
        assert!(matches!(claim, Claim::Refused(reason::BAD_CREDENTIALS)));
    }

    #[test]
    fn known_user_brings_rules_and_packet_size() {
        let claim = logins(Anonymous::No).claim(credentials("kitchen"), [127, 0, 0, 1].into());
        let Claim::User(identity, hash, _) = claim else {
            panic!("{claim:?}");
        };
        assert_eq!(identity.user.as_deref(), Some("kitchen"));
        assert_eq!(identity.reply_packet, Some(512));
        assert_eq!(hash, some_hash());
    }

    #[test]
    fn users_change_with_password_rules_or_packet_size() {
        let before = logins(Anonymous::No);
        let kitchen = before.users["kitchen"].clone();
        let rules = Rules {
            publish: vec!["a".to_owned()],
            ..Rules::default()
        };
        let hash = PasswordHash::Sha256 {
            salt: vec![1; 8],
            digest: [0; 32],
        };
        let changes: [(User, Standing); 4] = [
            (kitchen.clone(), Standing::Keep),
            (
                User {
                    password: hash,
                    ..kitchen.clone()
                },
                Standing::Change,
            ),
            (
                User {
                    rules: Arc::new(rules),
                    ..kitchen.clone()
                },
                Standing::Change,
            ),
            (
                User {
                    reply_packet: None,
                    ..kitchen
                },
                Standing::Change,
            ),
        ];
        for (user, expected) in changes {
            let after = before.with_users(vec![user]);
            assert_eq!(after.standing(&before, "kitchen"), expected);
        }
        let after = before.with_users(Vec::new());
        assert_eq!(after.standing(&before, "kitchen"), Standing::Remove);
        assert!(before.lets_network_in() && !after.lets_network_in());
        assert!(
            logins(Anonymous::Anywhere)
                .with_users(Vec::new())
                .lets_network_in()
        );
    }
}
