//! Client IDs that belong to users.
//!
//! A client ID is chosen by the client. Only where it is bound to a user can a rule trust it, and
//! only if nobody else may have it: so a binding works both ways.

use std::fmt;
use std::sync::Arc;

use crate::core::access::USER;

/// One client ID, or all that begin with a text: as written, it ends in `*` then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIds {
    text: String,
    begins: bool,
}

/// Why a text names no client IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIdError {
    /// It is empty, or nothing but `*`.
    Any,
    /// A `*` stands somewhere else than at the end.
    Star,
    /// It holds `/ + #` or a control character: it could not stand in a topic.
    Topic,
    /// It is longer than a client ID may be.
    TooLong,
}

impl fmt::Display for ClientIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "stands for every client ID",
            Self::Star => "has a `*` that is not its last character",
            Self::Topic => "cannot stand in a topic: it holds `/`, `+`, `#` or a control character",
            Self::TooLong => "is longer than 256 bytes",
        })
    }
}

/// Longest client ID in bytes; the standard asks for 23.
pub const MAX_CLIENT_ID: usize = 256;

impl ClientIds {
    /// Parses an entry of `client_ids`; `{user}` in it stands for the user's name.
    ///
    /// # Errors
    /// Says why it names no client IDs.
    pub fn parse(text: &str, user: &str) -> Result<Self, ClientIdError> {
        let text = text.replace(USER, user);
        let (text, begins) = match text.strip_suffix('*') {
            Some(start) => (start.to_owned(), true),
            None => (text, false),
        };
        if text.is_empty() {
            return Err(ClientIdError::Any);
        }
        if text.contains('*') {
            return Err(ClientIdError::Star);
        }
        if text.contains(['/', '+', '#']) || text.chars().any(char::is_control) {
            return Err(ClientIdError::Topic);
        }
        if text.len() > MAX_CLIENT_ID {
            return Err(ClientIdError::TooLong);
        }
        Ok(Self { text, begins })
    }
}

/// Whose the client IDs are that belong to somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// With who has them; sorted, so that what begins alike stands together.
    bound: Vec<(ClientIds, Arc<str>)>,
}

impl Bindings {
    /// Gives client IDs to a user.
    ///
    /// # Errors
    /// Returns another user who has some of them already.
    pub fn insert(&mut self, ids: &ClientIds, user: &Arc<str>) -> Result<(), Arc<str>> {
        if let Some(other) = self.holder(ids, user) {
            return Err(other);
        }
        if let Err(at) = self.find(&ids.text, ids.begins) {
            self.bound.insert(at, (ids.clone(), Arc::clone(user)));
        }
        Ok(())
    }

    /// Returns whose a client ID is, `None` if anybody may have it.
    pub fn owner<'b>(&'b self, client: &'b str) -> Option<&'b Arc<str>> {
        let whole = self.get(client, false);
        whole.or_else(|| self.starts(client).next())
    }

    /// The users who have all that begins with a start of the text, or with the whole of it.
    fn starts<'b>(&'b self, text: &'b str) -> impl Iterator<Item = &'b Arc<str>> {
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
        ends.filter_map(|end| self.get(text.get(..end)?, true))
    }

    fn holder(&self, ids: &ClientIds, user: &Arc<str>) -> Option<Arc<str>> {
        let text = ids.text.as_str();
        let other = |own: &&Arc<str>| *own != user;
        if let Some(found) = self.starts(text).find(other) {
            return Some(Arc::clone(found));
        }
        if !ids.begins {
            return self.get(text, false).filter(other).map(Arc::clone);
        }
        let from = self.find(text, false).unwrap_or_else(|at| at);
        let behind = self.bound.iter().skip(from);
        let mut below = behind.take_while(|(own, _)| own.text.starts_with(text));
        let (_, found) = below.find(|(_, own)| own != user)?;
        Some(Arc::clone(found))
    }

    fn get(&self, text: &str, begins: bool) -> Option<&Arc<str>> {
        let at = self.find(text, begins).ok()?;
        self.bound.get(at).map(|(_, user)| user)
    }

    /// Returns where client IDs are, or where they belong.
    fn find(&self, text: &str, begins: bool) -> Result<usize, usize> {
        let order = |own: &ClientIds| own.text.as_str().cmp(text).then(own.begins.cmp(&begins));
        self.bound.binary_search_by(|(own, _)| order(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> ClientIds {
        ClientIds::parse(text, "me").unwrap()
    }

    #[test]
    fn entries_name_one_client_or_all_that_begin_alike() {
        let cases = [
            ("", Some(ClientIdError::Any)),
            ("*", Some(ClientIdError::Any)),
            ("a*b", Some(ClientIdError::Star)),
            ("a**", Some(ClientIdError::Star)),
            ("a/b", Some(ClientIdError::Topic)),
            ("+", Some(ClientIdError::Topic)),
            ("a\0", Some(ClientIdError::Topic)),
            ("a", None),
            ("{user}-*", None),
        ];
        for (text, expected) in cases {
            assert_eq!(ClientIds::parse(text, "me").err(), expected, "{text}");
        }
        let long = "x".repeat(MAX_CLIENT_ID + 1);
        assert_eq!(ClientIds::parse(&long, ""), Err(ClientIdError::TooLong));
        assert_eq!(ids("{user}-*"), ids("me-*"));
    }

    #[test]
    fn a_client_id_has_one_owner_or_none() {
        let (kitchen, attic) = (Arc::from("kitchen"), Arc::from("attic"));
        let mut bindings = Bindings::default();
        for text in ["k", "kitchen-*", "kitchen-1", "é*"] {
            bindings.insert(&ids(text), &kitchen).unwrap();
        }
        bindings.insert(&ids("attic"), &attic).unwrap();
        let cases = [
            ("k", Some("kitchen")),
            ("kk", None),
            ("kitchen", None),
            ("kitchen-", Some("kitchen")),
            ("kitchen-17", Some("kitchen")),
            ("éa", Some("kitchen")),
            ("attic", Some("attic")),
            ("attic2", None),
            ("", None),
        ];
        for (client, owner) in cases {
            assert_eq!(bindings.owner(client).map(|own| &**own), owner, "{client}");
        }
    }

    #[test]
    fn two_users_cannot_have_the_same_client_id() {
        let (one, other) = (Arc::from("one"), Arc::from("other"));
        let cases = [
            ("a", "a", true),
            ("a", "b", false),
            ("a*", "a", true),
            ("a*", "ab", true),
            ("ab", "a*", true),
            ("ab*", "a*", true),
            ("a*", "ab*", true),
            ("ab*", "ac*", false),
            ("b", "a*", false),
        ];
        for (first, second, collide) in cases {
            let mut bindings = Bindings::default();
            bindings.insert(&ids(first), &one).unwrap();
            bindings.insert(&ids(second), &one).unwrap();
            let mut bindings = Bindings::default();
            bindings.insert(&ids(first), &one).unwrap();
            let expected = if collide {
                Err(Arc::clone(&one))
            } else {
                Ok(())
            };
            assert_eq!(
                bindings.insert(&ids(second), &other),
                expected,
                "{first} {second}"
            );
        }
    }
}
