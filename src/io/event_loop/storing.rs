//! Gathers what hub and bridge want stored in one turn of the loop, and hands back what came of it.
//!
//! All changes of a turn are one batch, which is stored as a whole or not at all. What is asked
//! for first is answered first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use log::{error, info, warn};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::RunError;
use crate::config::StoreSettings;
use crate::core::bridge::{Bridge, Event};
use crate::core::hub::{Hub, Restored};
use crate::core::status::Store as Status;
use crate::core::store::{Change, Key, Kind};
use crate::io::broker::login::Logins;
use crate::io::clock::{self, Wall};
use crate::io::store::{Disk, Done, Keeper, OnDone, Store, Stored};

/// Who waits for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The hub, with its own number.
    Hub(usize),
    /// The bridge, with its own number.
    Bridge(usize),
}

/// Opens the store and hands over what it holds, before anybody can connect. Returns also where
/// comes what the store has done.
pub(super) fn open(
    settings: Option<&StoreSettings>,
    (hub, bridge): (&mut Hub, &mut Bridge),
    (logins, clock): (&Logins, &Wall),
) -> Result<(Storing, UnboundedReceiver<Done>), RunError> {
    let (sender, stored) = mpsc::unbounded_channel();
    let done: OnDone = Arc::new(move |done| {
        // An error means that the loop is gone, and with it whoever waits for the disk.
        let _ = sender.send(done);
    });
    let Some(settings) = settings else {
        return Ok((Storing::new(None, done), stored));
    };
    let disk = Disk::open(&settings.directory, settings.max_bytes);
    let mut disk = disk.map_err(|why| RunError::Store(why.to_string()))?;
    let now = clock::now();
    let unix_time = clock.now().map(|time| time.as_secs());
    if settings.sessions {
        hub.open_store(settings.interval);
    }
    hub.set_clock(unix_time, now);
    if let Disk::Open(keeper) = &mut disk {
        let time = (unix_time, now);
        take_up(keeper, settings, (hub, bridge), logins, time);
    }
    let store = Store::start(disk, settings.commit_window, Arc::clone(&done));
    let store = store.map_err(RunError::System)?;
    Ok((Storing::new(Some(store), done), stored))
}

/// Hands over what the store holds.
fn take_up(
    keeper: &mut Keeper,
    settings: &StoreSettings,
    (hub, bridge): (&mut Hub, &mut Bridge),
    logins: &Logins,
    (unix_time, now): (Option<u64>, Instant),
) {
    let owner = |user: Option<&str>, client: &str| logins.rules_of(user, client);
    let mut restoring = hub.restoring(&owner, now);
    let mut unread = 0_usize;
    keeper.restore(|key, value| match key.kind {
        Kind::Session | Kind::Delivery | Kind::Retained if !settings.sessions => {}
        Kind::Session | Kind::Delivery | Kind::Retained => restoring.add(key, &value),
        Kind::Counters | Kind::Message => {
            unread += usize::from(!bridge.restore(key, &value, unix_time, now));
        }
    });
    tell(&restoring.finish());
    let directory = settings.directory.display();
    if unread > 0 {
        error!(
            "store `{directory}`: {unread} values of stored routes can not be read, most likely of \
             another version of this program; they stay there untouched"
        );
    }
    let (values, bytes) = (keeper.status().values, keeper.status().live);
    info!("store `{directory}`: {values} values, {bytes} bytes");
}

/// Says what came back, and what did not.
fn tell(restored: &Restored) {
    if *restored == Restored::default() {
        return;
    }
    let Restored {
        sessions,
        deliveries,
        retained,
        expired,
        ..
    } = restored;
    info!(
        "from the store: {sessions} sessions with {deliveries} messages, {retained} retained \
         messages; expired meanwhile: {expired}"
    );
    let lost = [
        (
            restored.damaged,
            "values of the store can not be read and are left there; update this program if a newer one has written them",
        ),
        (
            restored.disowned,
            "sessions in the store are of users that there are no more, and are deleted",
        ),
        (
            restored.orphans,
            "messages in the store belong to no session, and are deleted",
        ),
        (
            restored.foreign,
            "retained messages of clients in the store are where replies go now, and are deleted",
        ),
        (
            restored.surplus,
            "retained messages in the store find no room, and are deleted; raise [broker] retained",
        ),
    ];
    for (count, what) in lost {
        if count > 0 {
            warn!("{count} {what}");
        }
    }
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
    /// For the loop: all has to begin anew, with what the store holds.
    BeginAnew,
}

/// The batch in the making, and who waits for those before it.
pub(crate) struct Storing {
    store: Option<Store>,
    done: OnDone,
    changes: Vec<Change>,
    tokens: Vec<Token>,
    loads: Vec<Key>,
    /// Who waits for the batches that have no answer yet, the oldest first.
    waiting: VecDeque<Vec<Token>>,
}

impl Storing {
    /// Hands batches to a store that answers to `done`; without one every batch is answered so.
    pub(super) fn new(store: Option<Store>, done: OnDone) -> Self {
        Self {
            store,
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
            let changes = std::mem::take(&mut self.changes);
            self.waiting.push_back(std::mem::take(&mut self.tokens));
            match &self.store {
                Some(store) => store.commit(changes),
                None => (self.done)(Done::Batch(Err("bridge.toml has no [store]".into()))),
            }
        }
        for key in self.loads.drain(..) {
            match &self.store {
                Some(store) => store.load(key),
                None => (self.done)(Done::Loaded(key, None)),
            }
        }
    }

    /// Returns how many batches wait for the disk.
    pub(super) fn pending(&self) -> usize {
        self.waiting.len()
    }

    /// Brings all to the disk and closes the store.
    pub(super) fn close(&mut self) {
        self.flush();
        if let Some(mut store) = self.store.take() {
            store.close();
        }
    }

    /// Returns how the store is, `None` if there is none.
    pub(crate) fn status(&self) -> Option<Status> {
        self.store.as_ref().map(Store::status)
    }

    /// Returns whom to tell what of what was done.
    pub(super) fn take_in(&mut self, done: Done) -> Vec<Answer> {
        let stored = match done {
            Done::Loaded(key, value) => return vec![Answer::Bridge(Event::Loaded { key, value })],
            Done::Back => return vec![Answer::BeginAnew],
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

    #[test]
    fn what_is_asked_for_first_is_answered_first() {
        let (sender, done) = mpsc::channel();
        let mut storing = Storing::new(None, Arc::new(move |it| sender.send(it).unwrap()));
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
                other => format!("{other:?}"),
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
