//! Gathers what hub and bridge want stored in one turn of the loop, and hands back what came of it.
//!
//! All changes of a turn are one batch, which is stored as a whole or not at all. What is asked
//! for first is answered first.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::core::bridge::Event;
use crate::core::store::{Change, Key};

/// Who waits for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The hub, with its own number.
    Hub(usize),
    /// The bridge, with its own number.
    Bridge(usize),
}

/// What came of a batch: why it is not stored, for a person.
pub(crate) type Stored = Result<(), Arc<str>>;

/// What the store has done, in the order in which it was asked.
#[derive(Debug)]
pub(crate) enum Done {
    /// The oldest batch that has no answer yet.
    Batch(Stored),
    /// A value that was asked for.
    Loaded(Key, Option<Bytes>),
}

/// What is to be handed on.
#[derive(Debug)]
pub(crate) enum Answer {
    /// For the hub.
    Hub {
        /// The hub's number.
        token: usize,
        /// What came of its changes.
        stored: Stored,
    },
    /// For the bridge.
    Bridge(Event),
}

/// Is told what the store has done, from any thread.
type OnDone = Box<dyn Fn(Done) + Send + Sync>;

/// The batch in the making, and who waits for those before it.
pub(crate) struct Storing {
    done: OnDone,
    changes: Vec<Change>,
    tokens: Vec<Token>,
    loads: Vec<Key>,
    /// Who waits for the batches that have no answer yet, the oldest first.
    waiting: VecDeque<Vec<Token>>,
}

impl Storing {
    /// Begins without a store: every batch is answered so.
    pub(super) fn new(done: OnDone) -> Self {
        Self {
            done,
            changes: Vec::new(),
            tokens: Vec::new(),
            loads: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Adds changes to the batch of this turn.
    pub(super) fn add(&mut self, changes: Vec<Change>, token: Option<Token>) {
        self.changes.extend(changes);
        self.tokens.extend(token);
    }

    /// Asks for a value. It is the one that the batch of this turn will leave.
    pub(super) fn load(&mut self, key: Key) {
        self.loads.push(key);
    }

    /// Hands over the batch of this turn, and what is to be read after it.
    pub(super) fn flush(&mut self) {
        if !self.changes.is_empty() || !self.tokens.is_empty() {
            self.changes.clear();
            self.waiting.push_back(std::mem::take(&mut self.tokens));
            let why = "bridge.toml has no [store]";
            (self.done)(Done::Batch(Err(why.into())));
        }
        for key in self.loads.drain(..) {
            (self.done)(Done::Loaded(key, None));
        }
    }

    /// Returns whom to tell what of what was done.
    pub(super) fn take_in(&mut self, done: Done) -> Vec<Answer> {
        let stored = match done {
            Done::Loaded(key, value) => return vec![Answer::Bridge(Event::Loaded { key, value })],
            Done::Batch(stored) => stored,
        };
        let tokens = self.waiting.pop_front().unwrap_or_default();
        let answer = |token| match (token, stored.clone()) {
            (Token::Hub(token), stored) => Answer::Hub { token, stored },
            (Token::Bridge(token), Ok(())) => Answer::Bridge(Event::Committed { token }),
            (Token::Bridge(token), Err(why)) => Answer::Bridge(Event::NotStored { token, why }),
        };
        tokens.into_iter().map(answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::core::store::Kind;

    #[test]
    fn what_is_asked_for_first_is_answered_first() {
        let (sender, done) = mpsc::channel();
        let mut storing = Storing::new(Box::new(move |it| sender.send(it).unwrap()));
        let key = Key {
            kind: Kind::Message,
            id: 7,
        };
        storing.flush();
        storing.add(vec![Change::Delete(key)], Some(Token::Bridge(1)));
        storing.add(Vec::new(), None);
        storing.add(vec![Change::Delete(key)], Some(Token::Hub(1)));
        storing.load(key);
        storing.flush();
        storing.add(Vec::new(), Some(Token::Bridge(2)));
        storing.flush();
        let answers: Vec<String> = done
            .try_iter()
            .flat_map(|done| storing.take_in(done))
            .map(|answer| match answer {
                Answer::Hub { token, stored } => format!("hub {token} {}", stored.is_ok()),
                Answer::Bridge(Event::NotStored { token, why }) => format!("{token}: {why}"),
                Answer::Bridge(Event::Loaded { key, value }) => format!("{} {value:?}", key.id),
                Answer::Bridge(event) => format!("{event:?}"),
            })
            .collect();
        assert_eq!(
            answers,
            [
                "1: bridge.toml has no [store]",
                "hub 1 false",
                "7 None",
                "2: bridge.toml has no [store]"
            ]
        );
    }
}
