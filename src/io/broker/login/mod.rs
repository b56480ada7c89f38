//! Who a client is: credentials against the configured users, anonymous clients by address.
//!
//! What an identity may do is for `core::access`. A password is checked as seldom as can be: what
//! was right once is remembered, and slow checks wait for each other, so that nodes that come
//! back together cost one check for each password and not one for each node.

mod brake;
mod memory;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::{sleep_until, timeout};

use crate::config::{Anonymous, Broker, PasswordHash, User};
use crate::core::access::{Bindings, Identity, Rules};
use crate::core::hub::Standing;
use crate::core::packet::{Credentials, reason};
use crate::io::task::aside;
use crate::io::{clock, password};
use brake::Brake;
use memory::Memory;

/// How long a login waits for its turn to be checked: nodes wait 15 s for CONNACK.
const TURN: Duration = Duration::from_secs(14);

/// The configured users and what anonymous clients may do.
#[derive(Debug)]
pub(crate) struct Logins {
    users: HashMap<Arc<str>, User>,
    bindings: Bindings,
    anonymous: Anonymous,
    anonymous_rules: Arc<Rules>,
    guard: Rc<Guard>,
}

/// What is known of earlier logins, and outlives a change of users.
#[derive(Debug)]
struct Guard {
    memory: RefCell<Memory>,
    brake: RefCell<Brake>,
    /// One slow check at a time: the router has one core and little memory.
    slow: Semaphore,
    #[cfg(test)]
    checks: std::cell::Cell<usize>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            memory: RefCell::default(),
            brake: RefCell::default(),
            slow: Semaphore::new(1),
            #[cfg(test)]
            checks: std::cell::Cell::default(),
        }
    }
}

/// Where a client comes from, and what it has shown there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// Its address.
    pub(crate) address: IpAddr,
    /// The common name of its certificate, which was verified; empty if that has none.
    pub(crate) certificate: Option<&'a str>,
    /// Whether it has to say who it is, whatever anonymous clients may: it comes from a page in a
    /// browser, or through a proxy whose address is not its own.
    pub(crate) must_log_in: bool,
}

/// What credentials amount to before the password is checked.
#[derive(Debug)]
enum Claim {
    /// No password is needed.
    Known(Identity),
    User(Identity, PasswordHash, Credentials),
    Unknown(Credentials),
    Refused(u8),
}

impl Logins {
    /// Prepares the look-up.
    pub(crate) fn new(broker: &Broker, users: Vec<User>) -> Self {
        Self {
            bindings: bindings(&users),
            users: by_name(users),
            anonymous: broker.anonymous,
            anonymous_rules: Arc::clone(&broker.anonymous_rules),
            guard: Rc::default(),
        }
    }

    /// Returns the look-up with other users.
    pub(crate) fn with_users(&self, users: Vec<User>) -> Self {
        self.with(self.anonymous, Arc::clone(&self.anonymous_rules), users)
    }

    /// Returns the look-up of another configuration.
    pub(crate) fn with_broker(&self, broker: &Broker, users: Vec<User>) -> Self {
        self.with(broker.anonymous, Arc::clone(&broker.anonymous_rules), users)
    }

    fn with(&self, anonymous: Anonymous, anonymous_rules: Arc<Rules>, users: Vec<User>) -> Self {
        let bindings = bindings(&users);
        let users = by_name(users);
        let mut memory = self.guard.memory.borrow_mut();
        memory.retain(|user| users.contains_key(user));
        Self {
            users,
            bindings,
            anonymous,
            anonymous_rules,
            guard: Rc::clone(&self.guard),
        }
    }

    /// Returns what a user may do, or clients without one; `None` if there is no such user.
    pub(crate) fn rules(&self, user: Option<&str>) -> Option<Arc<Rules>> {
        match user {
            Some(user) => self.users.get(user).map(|user| Arc::clone(&user.rules)),
            None if self.anonymous == Anonymous::No => None,
            None => Some(Arc::clone(&self.anonymous_rules)),
        }
    }

    /// Returns what a client may do whose session was stored; `None` if nobody may have it.
    pub(crate) fn rules_of(&self, user: Option<&str>, client: &str) -> Option<Arc<Rules>> {
        self.rules(user).filter(|_| !self.is_others(user, client))
    }

    /// Returns whether a client ID is for another user alone.
    fn is_others(&self, user: Option<&str>, client: &str) -> bool {
        let owner = self.bindings.owner(client);
        owner.is_some_and(|owner| Some(&**owner) != user)
    }

    /// Returns whether somebody from the network could connect.
    pub(crate) fn lets_network_in(&self) -> bool {
        self.anonymous.lets_network_in(self.users.len())
    }

    /// Returns whether a rule lets anybody hear a topic.
    pub(crate) fn let_anybody_hear(&self, topic: &str) -> bool {
        let users = self.users.values().map(|user| &user.rules);
        let mut rules = users.chain([&self.anonymous_rules]);
        rules.any(|rules| rules.may_let_hear(topic))
    }

    /// Returns what has become of a client of a user, or without one of an anonymous client, if
    /// this look-up comes after `before`.
    pub(crate) fn standing(&self, before: &Self, user: Option<&str>, client: &str) -> Standing {
        if self.is_others(user, client) {
            return Standing::Remove;
        }
        let Some(user) = user else {
            return self.anonymous_standing(before);
        };
        match self.users.get(user) {
            None => Standing::Remove,
            now if now == before.users.get(user) => Standing::Keep,
            Some(user) => Standing::Change(Arc::clone(&user.rules)),
        }
    }

    fn anonymous_standing(&self, before: &Self) -> Standing {
        let narrowed = before.anonymous == Anonymous::Anywhere;
        match self.anonymous {
            Anonymous::No if before.anonymous != Anonymous::No => Standing::Remove,
            // Those on this machine come again.
            Anonymous::Loopback if narrowed => Standing::Change(Arc::clone(&self.anonymous_rules)),
            _ if self.anonymous_rules != before.anonymous_rules => {
                Standing::Change(Arc::clone(&self.anonymous_rules))
            }
            _ => Standing::Keep,
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
    /// A check that takes long runs on a thread of its own. After wrong passwords for the same
    /// user from the same address, the next one is slowed.
    pub(crate) async fn identify(
        &self,
        credentials: Option<Credentials>,
        client: &str,
        from: Origin<'_>,
    ) -> Result<Identity, u8> {
        let peer = from.address;
        let mut identity = match self.claim(credentials, from) {
            Claim::Known(identity) => identity,
            Claim::Refused(reason) => return Err(reason),
            Claim::Unknown(credentials) => {
                // As slow as for a known user: what names there are is nobody's business.
                let user = credentials.user.as_str();
                let turn = timeout(TURN, self.turn(peer, user)).await;
                turn.map_err(|_| reason::BUSY)?;
                return Err(self.fail(peer, user));
            }
            Claim::User(identity, hash, credentials) => {
                if !self.is_remembered(&identity, &hash, &credentials) {
                    let check = self.check(&identity, &hash, &credentials, peer);
                    // Busy, not wrong: whoever has the right password is to come again.
                    timeout(TURN, check).await.map_err(|_| reason::BUSY)??;
                }
                identity
            }
        };
        identity.owns_client_id = self.owns(&identity, client)?;
        Ok(identity)
    }

    /// Returns whether the client ID is the user's alone, or refuses it.
    fn owns(&self, identity: &Identity, client: &str) -> Result<bool, u8> {
        let owner = self.bindings.owner(client);
        if owner.is_some() && owner != identity.user.as_ref() {
            return Err(reason::CLIENT_ID_INVALID);
        }
        let user = identity.user.as_ref().and_then(|user| self.users.get(user));
        if owner.is_none() && user.is_some_and(|user| !user.client_ids.is_empty()) {
            return Err(reason::CLIENT_ID_INVALID);
        }
        Ok(owner.is_some())
    }

    fn is_remembered(&self, who: &Identity, hash: &PasswordHash, own: &Credentials) -> bool {
        let user = who.user.as_deref().unwrap_or_default();
        let memory = self.guard.memory.borrow();
        memory.knows(user, hash, &own.password)
    }

    /// Checks a password when its turn has come.
    async fn check(
        &self,
        who: &Identity,
        hash: &PasswordHash,
        own: &Credentials,
        peer: IpAddr,
    ) -> Result<(), u8> {
        let user = own.user.as_str();
        let right = loop {
            self.turn(peer, user).await;
            if !password::is_slow(hash) {
                break password::verify(hash, &own.password);
            }
            let Ok(turn) = self.guard.slow.acquire().await else {
                return Err(reason::BUSY);
            };
            // Others had their turn meanwhile: with the same password, or with wrong ones.
            if self.is_remembered(who, hash, own) {
                return Ok(());
            }
            if self.opens(peer, user).is_none() {
                let right = self.check_slowly(hash, own).await;
                drop(turn);
                break right;
            }
        };
        if !right {
            return Err(self.fail(peer, user));
        }
        self.guard.brake.borrow_mut().pass(peer, user);
        if let Some(user) = &who.user {
            let mut memory = self.guard.memory.borrow_mut();
            memory.learn(user, hash, &own.password);
        }
        Ok(())
    }

    /// Waits while earlier failures forbid a try.
    async fn turn(&self, peer: IpAddr, user: &str) {
        while let Some(at) = self.opens(peer, user) {
            sleep_until(at.into()).await;
        }
    }

    fn opens(&self, peer: IpAddr, user: &str) -> Option<Instant> {
        self.guard.brake.borrow().opens(peer, user, clock::now())
    }

    fn fail(&self, peer: IpAddr, user: &str) -> u8 {
        let mut brake = self.guard.brake.borrow_mut();
        brake.fail(peer, user, clock::now());
        reason::BAD_CREDENTIALS
    }

    async fn check_slowly(&self, hash: &PasswordHash, own: &Credentials) -> bool {
        #[cfg(test)]
        self.guard.checks.set(self.guard.checks.get() + 1);
        let (hash, password) = (hash.clone(), own.password.clone());
        let check = aside(move || password::verify(&hash, &password));
        check.await.unwrap_or(false)
    }

    fn claim(&self, credentials: Option<Credentials>, from: Origin<'_>) -> Claim {
        if let Some(name) = from.certificate {
            return self.certified(name, credentials.as_ref());
        }
        let Some(credentials) = credentials else {
            return self.anonymous(from);
        };
        match self.users.get(credentials.user.as_str()) {
            Some(user) => Claim::User(identity(user), user.password.clone(), credentials),
            None => Claim::Unknown(credentials),
        }
    }

    /// A certificate says who it is; a user name beside it may say the same.
    fn certified(&self, name: &str, credentials: Option<&Credentials>) -> Claim {
        if credentials.is_some_and(|own| own.user != name) {
            return Claim::Refused(reason::BAD_CREDENTIALS);
        }
        match self.users.get(name) {
            Some(user) => Claim::Known(identity(user)),
            None => Claim::Refused(reason::NOT_AUTHORIZED),
        }
    }

    fn anonymous(&self, from: Origin<'_>) -> Claim {
        let welcome = match self.anonymous {
            _ if from.must_log_in => false,
            Anonymous::No => false,
            Anonymous::Loopback => from.address.to_canonical().is_loopback(),
            Anonymous::Anywhere => true,
        };
        if !welcome {
            return Claim::Refused(reason::NOT_AUTHORIZED);
        }
        Claim::Known(Identity {
            user: None,
            rules: Arc::clone(&self.anonymous_rules),
            reply_packet: None,
            owns_client_id: false,
            peer: None,
        })
    }
}

fn identity(user: &User) -> Identity {
    Identity {
        user: Some(Arc::clone(&user.name)),
        rules: Arc::clone(&user.rules),
        reply_packet: user.reply_packet,
        owns_client_id: false,
        peer: None,
    }
}

fn by_name(users: Vec<User>) -> HashMap<Arc<str>, User> {
    let named = users.into_iter().map(|user| (Arc::clone(&user.name), user));
    named.collect()
}

fn bindings(users: &[User]) -> Bindings {
    let mut bindings = Bindings::default();
    for user in users {
        for ids in &user.client_ids {
            // The configuration has refused those of two users.
            let _ = bindings.insert(ids, &user.name);
        }
    }
    bindings
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::access::ClientIds;

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
            client_ids: Vec::new(),
        };
        Logins {
            users: HashMap::from([(Arc::clone(&user.name), user)]),
            anonymous,
            anonymous_rules: Arc::default(),
            bindings: Bindings::default(),
            guard: Rc::default(),
        }
    }

    fn at(address: IpAddr) -> Origin<'static> {
        Origin {
            address,
            certificate: None,
            must_log_in: false,
        }
    }

    #[test]
    fn a_certificate_says_who_a_client_is() {
        let logins = logins(Anonymous::Anywhere);
        let cases = [
            ("kitchen", None, Ok("kitchen")),
            ("kitchen", credentials("kitchen"), Ok("kitchen")),
            (
                "kitchen",
                credentials("attic"),
                Err(reason::BAD_CREDENTIALS),
            ),
            ("attic", None, Err(reason::NOT_AUTHORIZED)),
            ("", None, Err(reason::NOT_AUTHORIZED)),
        ];
        for (name, credentials, expected) in cases {
            let from = Origin {
                certificate: Some(name),
                ..at(PEER)
            };
            let claim = logins.claim(credentials, from);
            let found = match &claim {
                Claim::Known(identity) => Ok(identity.user.as_deref().unwrap()),
                Claim::Refused(code) => Err(*code),
                Claim::User(..) | Claim::Unknown(_) => panic!("{claim:?}"),
            };
            assert_eq!(found, expected, "{name}");
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
            match logins(anonymous).claim(None, at(peer)) {
                Claim::Known(identity) => assert!(welcome && identity.user.is_none()),
                Claim::Refused(code) => assert!(!welcome && code == reason::NOT_AUTHORIZED),
                Claim::User(..) | Claim::Unknown(_) => panic!("{anonymous:?} {peer}"),
            }
        }
    }

    #[test]
    fn who_has_to_log_in_is_never_anonymous() {
        let from = Origin {
            must_log_in: true,
            ..at(IpAddr::from([127, 0, 0, 1]))
        };
        for anonymous in [Anonymous::Loopback, Anonymous::Anywhere] {
            let claim = logins(anonymous).claim(None, from);
            assert!(matches!(claim, Claim::Refused(reason::NOT_AUTHORIZED)));
            let claim = logins(anonymous).claim(credentials("kitchen"), from);
            assert!(matches!(claim, Claim::User(..)));
        }
    }

    #[test]
    fn unknown_user_is_not_taken_for_anonymous() {
        let claim = logins(Anonymous::Anywhere).claim(credentials("attic"), at(PEER));
        assert!(matches!(claim, Claim::Unknown(own) if own.user == "attic"));
    }

    #[test]
    fn known_user_brings_rules_and_packet_size() {
        let claim = logins(Anonymous::No).claim(credentials("kitchen"), at(PEER));
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
        let other = kitchen.clone();
        let changes = [
            (kitchen.clone(), false),
            (
                User {
                    password: hash,
                    ..kitchen.clone()
                },
                true,
            ),
            (
                User {
                    rules: Arc::new(rules),
                    ..kitchen.clone()
                },
                true,
            ),
            (
                User {
                    client_ids: vec![ClientIds::parse("x", "kitchen").unwrap()],
                    ..kitchen.clone()
                },
                true,
            ),
            (
                User {
                    reply_packet: None,
                    ..kitchen
                },
                true,
            ),
        ];
        for (user, changed) in changes {
            let expected = match changed {
                true => Standing::Change(Arc::clone(&user.rules)),
                false => Standing::Keep,
            };
            let after = before.with_users(vec![user]);
            assert_eq!(after.standing(&before, Some("kitchen"), "c"), expected);
        }
        let bound = User {
            name: "hall".into(),
            client_ids: vec![ClientIds::parse("c-*", "hall").unwrap()],
            ..other.clone()
        };
        let after = before.with_users(vec![other, bound]);
        for (user, client, expected) in [
            (Some("kitchen"), "c-1", Standing::Remove),
            (None, "c-1", Standing::Remove),
            (Some("kitchen"), "d", Standing::Keep),
        ] {
            assert_eq!(after.standing(&before, user, client), expected);
            let is_allowed = after.rules_of(user, client).is_some();
            assert_eq!(is_allowed, expected == Standing::Keep);
        }
        let after = before.with_users(Vec::new());
        assert_eq!(
            after.standing(&before, Some("kitchen"), "c"),
            Standing::Remove
        );
        assert!(before.lets_network_in() && !after.lets_network_in());
        assert!(
            logins(Anonymous::Anywhere)
                .with_users(Vec::new())
                .lets_network_in()
        );
    }

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// A user whose password is its name, behind a check that takes a thread.
    fn slow(name: &str) -> User {
        User {
            name: name.into(),
            password: password::hash_chosen_with((8, 1), name).unwrap(),
            rules: Arc::default(),
            reply_packet: None,
            client_ids: Vec::new(),
        }
    }

    /// Lets clients with these user names and passwords log in at the same time.
    fn log_in(logins: &Rc<Logins>, all: Vec<(String, String)>) -> Vec<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime.unwrap(), async {
            let clients = all.into_iter().map(|(user, password)| {
                let logins = Rc::clone(logins);
                tokio::task::spawn_local(async move {
                    let password = password.into();
                    let own = Some(Credentials { user, password });
                    logins.identify(own, "c", at(PEER)).await.is_ok()
                })
            });
            let clients: Vec<_> = clients.collect();
            let mut welcome = Vec::new();
            for client in clients {
                welcome.push(client.await.unwrap());
            }
            welcome
        })
    }

    #[test]
    fn two_hundred_nodes_that_come_back_cost_a_check_for_each_password() {
        let same = |name: &str| (name.to_owned(), name.to_owned());
        let mut users = vec![slow("shared")];
        users.extend((0..20).map(|user| slow(&user.to_string())));
        let logins = Rc::new(logins(Anonymous::No).with_users(users));
        let checks = || logins.guard.checks.replace(0);

        assert_eq!(log_in(&logins, vec![same("shared"); 200]), vec![true; 200]);
        assert_eq!(checks(), 1, "after a restart of the gateway");
        assert_eq!(log_in(&logins, vec![same("shared"); 200]), vec![true; 200]);
        assert_eq!(checks(), 0, "after a power cut of the nodes");

        let own: Vec<_> = (0..200)
            .map(|node| same(&(node % 20).to_string()))
            .collect();
        assert_eq!(log_in(&logins, own.clone()), vec![true; 200]);
        assert_eq!(checks(), 20);
        assert_eq!(log_in(&logins, own), vec![true; 200]);
        assert_eq!(checks(), 0);
    }

    #[test]
    fn wrong_passwords_are_slowed_and_verified_ones_are_not() {
        let logins = Rc::new(logins(Anonymous::No).with_users(vec![slow("a"), slow("b")]));
        let pair = |user: &str, password: &str| (user.to_owned(), password.to_owned());
        assert_eq!(log_in(&logins, vec![pair("a", "a")]), [true]);
        assert_eq!(
            log_in(
                &logins,
                vec![pair("a", "x"), pair("a", "y"), pair("x", "y")]
            ),
            [false; 3]
        );
        assert_eq!(logins.opens(PEER, "a"), None);
        log_in(&logins, vec![pair("a", "z")]);
        assert!(logins.opens(PEER, "a").is_some());
        // Neither of these waits: one is known, the other has done nothing.
        let held = logins.guard.slow.try_acquire().unwrap();
        assert_eq!(log_in(&logins, vec![pair("a", "a")]), [true]);
        drop(held);
        assert_eq!(logins.opens(PEER, "b"), None);
        assert_eq!(log_in(&logins, vec![pair("b", "b")]), [true]);
    }

    #[test]
    fn bound_client_ids_are_their_users_alone() {
        let bound = User {
            client_ids: vec![ClientIds::parse("{user}-*", "a").unwrap()],
            ..slow("a")
        };
        let logins = logins(Anonymous::Anywhere).with_users(vec![bound, slow("b")]);
        let identity = |user: Option<&str>| Identity {
            user: user.map(Arc::from),
            rules: Arc::default(),
            reply_packet: None,
            owns_client_id: false,
            peer: None,
        };
        let cases = [
            (Some("a"), "a-1", Ok(true)),
            (Some("a"), "b-1", Err(reason::CLIENT_ID_INVALID)),
            (Some("a"), "", Err(reason::CLIENT_ID_INVALID)),
            (Some("b"), "a-1", Err(reason::CLIENT_ID_INVALID)),
            (Some("b"), "b-1", Ok(false)),
            (None, "a-1", Err(reason::CLIENT_ID_INVALID)),
            (None, "", Ok(false)),
        ];
        for (user, client, expected) in cases {
            assert_eq!(
                logins.owns(&identity(user), client),
                expected,
                "{user:?} {client}"
            );
        }
    }
}
