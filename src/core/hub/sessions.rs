//! The sessions by number and by client ID.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::core::session::{Session, SessionId};

/// All sessions. Numbers of ended ones are used again, so that a lookup is an index.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    slots: Vec<Option<Session>>,
    free: Vec<usize>,
    by_client: HashMap<Arc<str>, SessionId>,
    /// Makes assigned client IDs that can't be guessed.
    random: RandomState,
    assigned: usize,
}

impl Sessions {
    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.slots.get(id.0)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.slots.get_mut(id.0)?.as_mut()
    }

    /// Returns all sessions with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| Some((SessionId(index), slot.as_ref()?)))
    }

    /// Returns all sessions with their numbers, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (SessionId, &mut Session)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(index, slot)| Some((SessionId(index), slot.as_mut()?)))
    }

    pub(super) fn find(&self, client: &str) -> Option<SessionId> {
        self.by_client.get(client).copied()
    }

    /// Adds a session, in place of none: its client ID must be free.
    pub(super) fn insert(&mut self, session: Session) -> SessionId {
        let client = Arc::clone(&session.client);
        let index = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(index) {
            Some(slot) => *slot = Some(session),
            None => self.slots.push(Some(session)),
        }
        self.by_client.insert(client, SessionId(index));
        SessionId(index)
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.slots.get_mut(id.0)?.take()?;
        self.by_client.remove(&session.client);
        self.free.push(id.0);
        if self.by_client.is_empty() {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.by_client.shrink_to_fit();
        }
        Some(session)
    }

    /// Makes a client ID that no session has.
    pub(super) fn assign_client_id(&mut self) -> String {
        loop {
            self.assigned = self.assigned.wrapping_add(1);
            let client = format!("auto-{:016x}", self.random.hash_one(self.assigned));
            if !self.by_client.contains_key(client.as_str()) {
                return client;
            }
        }
    }

    /// Returns how many sessions there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_client.len()
    }
}
