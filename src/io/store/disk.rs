//! A store whose disk may not be there: full, read-only or failing at the start, and well later.
//!
//! Without its disk a store refuses everything, as it does when the disk fails later on. It is
//! tried again with each batch, and by itself. One that turns out to hold something can not be
//! used by a daemon that has begun without that: then all begins anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use log::{error, info};

use super::cause::Unopened;
use super::{Keeper, Request, Status, Stored};
use crate::core::store::Key;

/// A store, with its disk or without.
pub(crate) enum Disk {
    /// It is open.
    Open(Box<Keeper>),
    /// It can not be opened for now.
    Away(Away),
}

/// A store that can not be opened for now.
pub(crate) struct Away {
    directory: PathBuf,
    max_bytes: usize,
    /// Whether it could be opened by now, and holds what an earlier process has stored.
    holds: bool,
    status: Status,
}

impl Disk {
    /// Opens the store, or tells in the log why that can not be done for now.
    ///
    /// # Errors
    /// Says what only a person can change, and what to do.
    pub(crate) fn open(directory: &Path, max_bytes: usize) -> Result<Self, Unopened> {
        let why = match Keeper::open(directory, max_bytes) {
            Ok(keeper) => return Ok(Self::Open(Box::new(keeper))),
            Err(why) => why,
        };
        if why.is_mistake {
            return Err(why);
        }
        error!(
            "store: {why}; nothing is stored until it can be used, and what needs it is refused; \
             it is tried again"
        );
        let trouble = Some(Arc::clone(&why.cause));
        Ok(Self::Away(Away {
            directory: directory.to_owned(),
            max_bytes,
            holds: false,
            status: Status {
                trouble,
                ..Status::default()
            },
        }))
    }

    /// Returns how the store is.
    pub(crate) fn status(&self) -> &Status {
        match self {
            Self::Open(keeper) => keeper.status(),
            Self::Away(away) => &away.status,
        }
    }

    /// Returns whether it has to be tried again though nothing is to be stored.
    pub(super) fn is_ill(&self) -> bool {
        match self {
            Self::Open(keeper) => keeper.status().trouble.is_some(),
            Self::Away(away) => !away.holds,
        }
    }

    /// Returns whether it could be used if all began anew.
    pub(super) fn holds(&self) -> bool {
        matches!(self, Self::Away(Away { holds: true, .. }))
    }

    /// Tries again what the disk did not take.
    pub(super) fn retry(&mut self) {
        if let Self::Open(keeper) = self {
            return keeper.retry();
        }
        let Self::Away(away) = self else { return };
        if let Some(keeper) = away.open() {
            *self = Self::Open(Box::new(keeper));
        }
    }

    /// Brings batches to the disk together; returns what came of each.
    pub(super) fn store(&mut self, batches: Vec<Request>) -> Vec<Stored> {
        if matches!(self, Self::Away(_)) {
            self.retry();
        }
        match self {
            Self::Open(keeper) => keeper.store(batches),
            Self::Away(away) => away.refuse(batches.len()),
        }
    }

    /// Reads a value.
    pub(super) fn load(&mut self, key: Key) -> Option<Bytes> {
        match self {
            Self::Open(keeper) => keeper.load(key),
            Self::Away(_) => None,
        }
    }
}

impl Away {
    /// Opens the store if that can be done by now, and there is nothing in it.
    fn open(&mut self) -> Option<Keeper> {
        if self.holds {
            return None;
        }
        let shown = self.directory.display();
        match Keeper::find(&self.directory) {
            Ok((_, numbers)) if !numbers.is_empty() => {
                self.holds = true;
                info!("store: `{shown}` can be used now; all begins anew with what it holds");
                None
            }
            Ok((files, _)) => {
                info!("store: `{shown}` can be used now");
                let mut keeper = Keeper::empty(files, self.max_bytes);
                keeper.was_refused(self.status.refused);
                Some(keeper)
            }
            Err(why) => {
                self.status.trouble = Some(why.cause);
                None
            }
        }
    }

    fn refuse(&mut self, count: usize) -> Vec<Stored> {
        let refused = u64::try_from(count).unwrap_or(u64::MAX);
        self.status.refused = self.status.refused.wrapping_add(refused);
        let why = self.status.trouble.clone();
        let why = why.unwrap_or_else(|| "the disk can not be used".into());
        vec![Err(why); count]
    }
}
