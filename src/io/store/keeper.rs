//! Brings batches to the disk and reads values; all of it waits for the disk.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use log::{error, info, warn};

use super::cause::{self, Unopened};
use super::files::Files;
use super::trouble::{Trouble, left_out};
use super::{Request, Status, Stored};
use crate::core::store::{Chain, Change, Format, Group, Key, Limits, Place, look, value};
use crate::io::clock;
use crate::io::log::caps::Line;

/// Values that are moved with a group, in bytes: at least so many, or four times the group.
const MOVED: usize = 4096;

/// The log and its files.
pub(crate) struct Keeper {
    pub(super) files: Files,
    chain: Chain,
    limits: Limits,
    /// What was to be removed with batches that could not be written. The places say nothing: they
    /// are there for the chain's kind of tree, which is in the program anyway.
    owed: BTreeMap<Key, Place>,
    /// Bytes by which the last batch that made something grow was to do so, stored or not.
    wanted: usize,
    trouble: Trouble,
    status: Status,
}

impl Keeper {
    /// Opens the store: what can be read is used, what can not is set aside and told in the log.
    ///
    /// # Errors
    /// Says why the directory can not be used, and what to do.
    pub(crate) fn open(directory: &Path, max_bytes: usize) -> Result<Self, Unopened> {
        let (files, numbers) = Self::find(directory)?;
        let mut keeper = Self::empty(files, max_bytes);
        keeper.replay(&numbers);
        keeper.update();
        Ok(keeper)
    }

    /// Opens the directory; returns also the numbers of the segments to be read. Those of a newer
    /// release are set aside.
    pub(super) fn find(directory: &Path) -> Result<(Files, Vec<u32>), Unopened> {
        let mut files = Files::open(directory)?;
        let mut numbers = files.segments()?;
        let newest = numbers.iter().filter_map(|number| {
            let file = files.read(*number).ok()?;
            match look(*number, &file) {
                Format::Newer(version) => Some(version),
                Format::Known(_) => None,
            }
        });
        if let Some(version) = newest.max() {
            let aside = files.set_all_aside(version).map_err(|cause| {
                let what = "is of a newer release and can not be set aside";
                Unopened::new(directory, what, &cause)
            })?;
            let shown = directory.display();
            error!(
                "store: `{shown}` was written by a newer release (format {version}); all of it is \
                 set aside as `{}` and the store begins empty; install that release and move it \
                 back to `log` to have it used",
                aside.display()
            );
            numbers.clear();
        }
        Ok((files, numbers))
    }

    /// Begins a log in a directory without one.
    pub(super) fn empty(files: Files, max_bytes: usize) -> Self {
        let limits = Limits { max_bytes };
        Self {
            files,
            chain: Chain::new(limits),
            limits,
            owed: BTreeMap::new(),
            wanted: 1,
            trouble: Trouble::default(),
            status: Status::default(),
        }
    }

    /// Takes note of batches that were refused before it was opened.
    pub(super) fn was_refused(&mut self, batches: u64) {
        self.status.refused = self.status.refused.wrapping_add(batches);
    }

    fn replay(&mut self, numbers: &[u32]) {
        let mut next = self.take(numbers.first());
        for (at, number) in numbers.iter().enumerate() {
            let file = next;
            let following = numbers.get(at + 1);
            next = self.take(following);
            if let Some(lost) = following.filter(|it| **it != number.saturating_add(1)) {
                self.status.damaged = self.status.damaged.saturating_add(1);
                error!(
                    "store: segments between `{}` and `{}` are missing, with what they held; \
                     restore them from a copy if there is one",
                    self.files.path(*number).display(),
                    self.files.path(*lost).display()
                );
            }
            let length = following.map(|number| match look(*number, &next) {
                Format::Known(before) => before.unwrap_or_default(),
                Format::Newer(_) => 0,
            });
            let reading = self.chain.replay(*number, &file, length);
            if let Some(damage) = reading.damage {
                self.set_aside(*number, &damage);
            } else if reading.torn > 0 {
                self.cut(*number, reading.torn);
            }
        }
    }

    /// Reads a segment, of which nothing is left if that can not be done.
    fn take(&self, number: Option<&u32>) -> Vec<u8> {
        let Some(number) = number else {
            return Vec::new();
        };
        self.files.read(*number).unwrap_or_else(|cause| {
            let path = self.files.path(*number);
            error!("store: `{}` can not be read: {cause}", path.display());
            Vec::new()
        })
    }

    fn set_aside(&mut self, number: u32, damage: &str) {
        self.status.damaged = self.status.damaged.saturating_add(1);
        let path = self.files.path(number);
        let path = path.display();
        match self.files.set_aside(number) {
            Ok((aside, true)) => warn!(
                "store: `{path}` is still in use for what could be read of it: {damage}; it is kept \
                 as `{}`",
                aside.display()
            ),
            Ok((aside, false)) => error!(
                "store: `{path}` is damaged: {damage}; what was stored there is lost, the rest is \
                 used; the file is kept as `{}`, remove it when it is not needed; check the disk",
                aside.display()
            ),
            Err(cause) => error!(
                "store: `{path}` is damaged: {damage}; what was stored there is lost, the rest is \
                 used; the file could not be set aside: {cause}; check the disk"
            ),
        }
    }

    fn cut(&self, number: u32, bytes: usize) {
        let path = self.files.path(number);
        let path = path.display();
        match self.files.cut(number, bytes) {
            Ok(()) => info!(
                "store: `{path}`: cut off {bytes} bytes of a write that was not finished; nobody \
                 was told that they are stored"
            ),
            Err(cause) => warn!(
                "store: `{path}`: {bytes} bytes of a write that was not finished can not be cut \
                 off: {cause}; make the disk writable"
            ),
        }
    }

    /// Hands over all values, in the order of their keys.
    pub(crate) fn restore(&mut self, mut take: impl FnMut(Key, Bytes)) {
        for key in self.chain.keys() {
            if let Some(value) = self.load(key) {
                take(key, value);
            }
        }
    }

    /// Reads a value.
    pub(super) fn load(&mut self, key: Key) -> Option<Bytes> {
        let place = self.chain.place(key)?;
        let read = self.files.read_at(place);
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
        let found = read.and_then(|bytes| {
            let value = value(key, &bytes).ok_or_else(damaged)?.len();
            let bytes = Bytes::from(bytes);
            Ok(bytes.slice(bytes.len().saturating_sub(value)..))
        });
        match found {
            Ok(value) => Some(value),
            Err(cause) => {
                self.status.damaged = self.status.damaged.saturating_add(1);
                let (path, offset) = (self.files.path(place.segment), place.offset);
                let shown = path.display();
                error!(
                    "store: `{shown}`: a value at {offset} can not be read: {cause}; it is lost, \
                     check the disk"
                );
                // Its segment is removed when nothing else in it counts: what may be read yet by
                // a person is kept.
                match self.files.set_aside(place.segment) {
                    Ok((aside, false)) => {
                        error!("store: `{shown}` is kept as `{}`", aside.display());
                    }
                    Ok((_, true)) => {}
                    Err(cause) => warn!("store: `{shown}` can not be set aside: {cause}"),
                }
                self.chain.lose(key);
                None
            }
        }
    }

    /// Brings batches to the disk together, each as a whole or not at all; returns what came of
    /// each.
    pub(super) fn store(&mut self, batches: Vec<Request>) -> Vec<Stored> {
        let (mut others, mut taken, mut results) = (0_usize, Vec::new(), Vec::new());
        let full = self.full();
        for batch in batches {
            let wanted = self.chain.grows(&batch.changes);
            if wanted > 0 {
                self.wanted = wanted;
            }
            let growth = match batch.refused {
                true => Err(Arc::from("the disk is too slow for what comes")),
                false => {
                    let growth = self.chain.growth(&batch.changes, others);
                    growth.ok_or_else(|| Arc::clone(&full))
                }
            };
            match growth {
                Ok(growth) => {
                    others = others.saturating_add(growth);
                    taken.push(batch.changes);
                    results.push(Ok(()));
                }
                Err(why) => {
                    self.status.refused = self.status.refused.wrapping_add(1);
                    self.owe(&batch.changes);
                    results.push(Err(why));
                }
            }
        }
        match self.write(&taken) {
            Ok(written) => {
                let count = u64::try_from(taken.len()).unwrap_or_default();
                self.status.batches = self.status.batches.wrapping_add(count);
                if written > 0 {
                    self.recover(written);
                }
            }
            Err((cause, bytes)) => {
                for batch in &taken {
                    self.status.refused = self.status.refused.wrapping_add(1);
                    self.owe(batch);
                }
                let why = self.suffer(&cause, bytes);
                for result in results.iter_mut().filter(|it| it.is_ok()) {
                    *result = Err(Arc::clone(&why));
                }
            }
        }
        self.tidy();
        self.update();
        results
    }

    fn full(&self) -> Arc<str> {
        let bytes = self.limits.live();
        format!("the store is full: {bytes} bytes find room; raise [store] max_bytes").into()
    }

    /// Remembers what a batch that is not stored was to remove.
    fn owe(&mut self, changes: &[Change]) {
        for change in changes {
            // What is not stored either is not to be removed.
            if let Change::Delete(key) = change
                && let Some(place) = self.chain.place(*key)
            {
                self.owed.insert(*key, place);
            }
        }
    }

    /// Returns the bytes that were written, 0 if there was nothing to write. An error comes with
    /// the bytes that were refused.
    fn write(&mut self, batches: &[Vec<Change>]) -> Result<u64, (io::Error, u64)> {
        let owed: Vec<_> = self.owed.keys().map(|key| Change::Delete(*key)).collect();
        let all = || std::iter::once(owed.as_slice()).chain(batches.iter().map(Vec::as_slice));
        if all().all(<[Change]>::is_empty) {
            return Ok(0);
        }
        let size = |change: &Change| match change {
            Change::Put(_, value) => value.len(),
            Change::Delete(_) => 4,
        };
        let bytes: usize = all().flatten().map(size).sum();
        let moving = self.chain.to_move(bytes.saturating_mul(4).max(MOVED));
        let moved: Vec<_> = moving
            .into_iter()
            .filter_map(|(key, _)| Some((key, self.load(key)?)))
            .collect();
        let mut result = self.write_group(all(), &moved);
        if result.is_err() && !moved.is_empty() {
            // A disk that is full may have room for what is new alone.
            result = self.write_group(all(), &[]);
        }
        if result.is_ok() {
            self.owed.clear();
        }
        result
    }

    fn write_group<'c>(
        &mut self,
        batches: impl Iterator<Item = &'c [Change]>,
        moved: &[(Key, Bytes)],
    ) -> Result<u64, (io::Error, u64)> {
        let group = self.chain.group(batches, moved);
        let group = group.ok_or_else(|| (io::Error::other("too much at once"), 0))?;
        let bytes = |group: &Group| u64::try_from(group.bytes.len()).unwrap_or_default();
        let written = self.files.write(&group);
        written.map_err(|cause| (cause, bytes(&group)))?;
        self.chain.commit(&group);
        Ok(bytes(&group))
    }

    /// Removes segments that are of no more use.
    fn tidy(&mut self) {
        while let Some(number) = self.chain.removable() {
            if let Err(cause) = self.files.remove(number) {
                if self.trouble.why().is_none() {
                    let path = self.files.path(number);
                    warn!("store: `{}` can not be removed: {cause}", path.display());
                }
                return;
            }
            self.chain.removed();
        }
    }

    /// Tries again what could not be removed, and looks whether there is room again.
    pub(super) fn retry(&mut self) {
        if self.owed.is_empty() {
            let told = self.trouble.look(self.files.room(), clock::now());
            self.tell_recovery(told);
            self.tidy();
            self.update();
        } else {
            self.store(Vec::new());
        }
    }

    /// Notes that the disk does not take what is written; told once.
    fn suffer(&mut self, cause: &io::Error, bytes: u64) -> Arc<str> {
        let told = self.trouble.refuse(cause, bytes, clock::now());
        if let Some(before) = told.and_then(left_out) {
            let path = self.files.path(0);
            let directory = path.parent().unwrap_or(Path::new("")).display();
            let remedy = cause::remedy(cause);
            error!(
                "store: `{directory}` can not be written: {cause}; {remedy}; what is not stored is \
                 refused, and it is tried again{before}"
            );
        }
        let why = self.trouble.why();
        why.unwrap_or_else(|| cause.to_string().into())
    }

    fn recover(&mut self, written: u64) {
        if self.trouble.why().is_some() {
            let told = self.trouble.take(written, self.files.room(), clock::now());
            self.tell_recovery(told);
        }
    }

    fn tell_recovery(&self, told: Option<Line>) {
        if let Some(before) = told.and_then(left_out) {
            info!("store: the disk can be written again{before}");
        }
    }

    fn update(&mut self) {
        self.status.trouble = self.trouble.why();
        self.status.room = self.limits.live();
        self.status.full = !self.chain.has_room(self.wanted, 0);
        self.status.written = self.files.written;
        self.status.syncs = self.files.syncs;
        self.status.live = self.chain.live();
        self.status.total = self.chain.total();
        self.status.segments = self.chain.segments();
        self.status.values = self.chain.values();
    }

    /// Returns how the store is.
    pub(crate) fn status(&self) -> &Status {
        &self.status
    }
}
