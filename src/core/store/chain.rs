//! The log as a chain of segments: which values are where, what comes next on the disk, what is
//! moved together and when.
//!
//! New frames are appended to the last segment; only the first one is ever removed, once no value
//! lives in it. So a record that removes a value needs no care: the values that it may have removed
//! are in segments before it. While much of what is stored is dead, the first segment's live values
//! are written once more at the end, with the batches of others.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::format::{self, FRAME, HEAD};
use super::{Change, Key};

/// What the log may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all segments together.
    pub max_bytes: usize,
}

impl Limits {
    /// Returns the bytes at which a segment is full.
    pub fn segment(self) -> usize {
        (self.max_bytes / 32).clamp(4 << 10, 256 << 10)
    }

    /// Returns the dead bytes that are not worth moving anything.
    fn slack(self) -> usize {
        self.segment().saturating_mul(3)
    }

    /// Returns the bytes of live values that find room: two thirds of all, so that what is moved
    /// is at most twice what is freed.
    pub fn live(self) -> usize {
        self.max_bytes.saturating_sub(self.slack()) / 3 * 2
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the segment.
    pub segment: u32,
    /// Where its checksum begins, which comes before it.
    pub offset: u32,
    /// Bytes of both.
    pub length: u32,
}

impl Place {
    fn record_size(self, key: Key) -> usize {
        let length = self.length.saturating_sub(4);
        format::record_size(key, usize::try_from(length).unwrap_or(usize::MAX))
    }
}

/// A file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    number: u32,
    /// Bytes that are written and on the disk.
    end: u32,
    /// Bytes of records of live values.
    live: usize,
}

/// What is to be written, with one fsync after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The segment to write to.
    pub segment: u32,
    /// Where to write; 0 if the segment is a new one.
    pub offset: u32,
    /// What to write.
    pub bytes: Vec<u8>,
    /// Bytes among them that move values.
    pub moved: usize,
    places: Vec<(Key, Option<Place>)>,
}

/// All segments and where each value is.
#[derive(Clone, Debug)]
pub struct Chain {
    limits: Limits,
    pub(super) places: BTreeMap<Key, Place>,
    segments: VecDeque<Segment>,
    /// Live bytes of all segments.
    live: usize,
    /// The number of the next segment.
    next: u32,
    /// Whether nothing may be appended to the last segment.
    sealed: bool,
    /// Values of the first segment that are still to be moved; gathered once for each segment.
    moving: Option<(u32, Vec<Key>)>,
}

impl Chain {
    /// Makes a log without segments.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            places: BTreeMap::new(),
            segments: VecDeque::new(),
            live: 0,
            next: 1,
            sealed: false,
            moving: None,
        }
    }

    /// Appends a segment that is there, of this length; nothing may be appended to it if `sealed`.
    pub(super) fn push_segment(&mut self, number: u32, end: u32, sealed: bool) {
        self.segments.push_back(Segment {
            number,
            end,
            live: 0,
        });
        self.next = number.saturating_add(1);
        self.sealed = sealed;
    }

    /// Applies what a record says.
    pub(super) fn apply(&mut self, key: Key, place: Option<Place>) {
        let before = match place {
            Some(place) => self.places.insert(key, place),
            None => self.places.remove(&key),
        };
        if let Some(before) = before {
            let size = before.record_size(key);
            self.live = self.live.saturating_sub(size);
            if let Some(segment) = self.segment(before.segment) {
                segment.live = segment.live.saturating_sub(size);
            }
        }
        if let Some(place) = place {
            let size = place.record_size(key);
            self.live = self.live.saturating_add(size);
            if let Some(segment) = self.segment(place.segment) {
                segment.live = segment.live.saturating_add(size);
            }
        }
    }

    fn segment(&mut self, number: u32) -> Option<&mut Segment> {
        let first = self.segments.front()?.number;
        // Numbers may have gaps where segments were lost, so this is where to look first only.
        let guess = usize::try_from(number.checked_sub(first)?).ok()?;
        let at = match self.segments.get(guess) {
            Some(segment) if segment.number == number => guess,
            _ => self.segments.iter().position(|it| it.number == number)?,
        };
        self.segments.get_mut(at)
    }

    /// Returns where a value is, `None` if there is none.
    pub fn place(&self, key: Key) -> Option<Place> {
        self.places.get(&key).copied()
    }

    /// Returns all keys, in order.
    pub fn keys(&self) -> Vec<Key> {
        self.places.keys().copied().collect()
    }

    /// Returns how many values there are.
    pub fn values(&self) -> usize {
        self.places.len()
    }

    /// Returns the bytes of live values, with their records.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Returns the bytes of all segments.
    pub fn total(&self) -> usize {
        let ends = self.segments.iter();
        let ends = ends.map(|it| usize::try_from(it.end).unwrap_or(usize::MAX));
        ends.fold(0, usize::saturating_add)
    }

    /// Returns how many segments there are.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Returns by how many bytes a batch makes what lives grow; `None` if there is no room for it
    /// after those that let it grow by `others`. What makes nothing grow finds room always.
    pub fn growth(&self, changes: &[Change], others: usize) -> Option<usize> {
        let growth = self.grows(changes);
        (growth == 0 || self.has_room(growth, others)).then_some(growth)
    }

    /// Returns by how many bytes a batch would make what lives grow, whether there is room or not.
    pub fn grows(&self, changes: &[Change]) -> usize {
        let (mut more, mut less) = (0_usize, 0_usize);
        for change in changes {
            let key = match change {
                Change::Put(key, value) => {
                    more = more.saturating_add(format::record_size(*key, value.len()));
                    key
                }
                Change::Delete(key) => key,
            };
            let before = self.places.get(key);
            less = less.saturating_add(before.map_or(0, |it| it.record_size(*key)));
        }
        more.saturating_sub(less)
    }

    /// Returns whether what lives may grow by so many bytes after `others`.
    pub fn has_room(&self, growth: usize, others: usize) -> bool {
        self.live.saturating_add(others).saturating_add(growth) <= self.limits.live()
    }

    /// Returns values that are to be written again, up to about so many bytes.
    pub fn to_move(&mut self, budget: usize) -> Vec<(Key, Place)> {
        let Some(first) = self.segments.front().copied() else {
            return Vec::new();
        };
        let worth = (self.live / 2 * 3).saturating_add(self.limits.slack());
        if self.segments.len() < 2 || first.live == 0 || self.total() <= worth {
            return Vec::new();
        }
        if self.moving.as_ref().map(|it| it.0) != Some(first.number) {
            let lives = |it: &(&Key, &Place)| it.1.segment == first.number;
            let keys = self.places.iter().filter(lives).map(|(key, _)| *key);
            // From the end, so that they are taken in order.
            self.moving = Some((first.number, keys.rev().collect()));
        }
        let mut moved = Vec::new();
        let mut bytes = 0_usize;
        while bytes < budget
            && let Some(key) = self.moving.as_mut().and_then(|it| it.1.pop())
        {
            if let Some(place) = self.places.get(&key)
                && place.segment == first.number
            {
                bytes = bytes.saturating_add(place.record_size(key));
                moved.push((key, *place));
            }
        }
        if moved.is_empty() {
            // All had their turn; what lives here still was not written, and is tried again.
            self.moving = None;
        }
        moved
    }

    /// Prepares what to write for batches, and for values that are moved; `None` if that is nothing
    /// or more than a segment can hold. Nothing has changed before [`Chain::commit`].
    pub fn group<'c>(
        &self,
        batches: impl Iterator<Item = &'c [Change]>,
        moved: &[(Key, Bytes)],
    ) -> Option<Group> {
        let mut body = Vec::new();
        let mut records = Vec::new();
        // What a batch says of the same key is newer.
        for (key, value) in moved {
            let change = Change::Put(*key, value.clone());
            records.push(format::write_record(&change, &mut body));
        }
        let moved = body.len();
        for change in batches.flatten() {
            records.push(format::write_record(change, &mut body));
        }
        if records.is_empty() {
            return None;
        }
        let last = self.segments.back().filter(|it| {
            let end = usize::try_from(it.end).unwrap_or(usize::MAX);
            let full = end.saturating_add(FRAME).saturating_add(body.len()) > self.limits.segment();
            !self.sealed && (!full || end <= HEAD)
        });
        let mut bytes = Vec::with_capacity(HEAD + FRAME + body.len());
        let (number, offset) = match last {
            Some(segment) => (segment.number, segment.end),
            None => {
                let before = self.segments.back().map_or(0, |it| it.end);
                format::write_head(self.next, before, &mut bytes);
                (self.next, 0)
            }
        };
        let at = usize::try_from(offset).ok()?.checked_add(bytes.len())?;
        format::write_frame(number, u32::try_from(at).ok()?, &body, &mut bytes)?;
        let start = at.checked_add(FRAME)?;
        u32::try_from(start.checked_add(body.len())?).ok()?;
        let places = records.into_iter().map(|record| {
            let place = record.value.and_then(|value| placed(number, start, value));
            (record.key, place)
        });
        Some(Group {
            segment: number,
            offset,
            moved,
            places: places.collect(),
            bytes,
        })
    }

    /// Takes note that a group is on the disk.
    pub fn commit(&mut self, group: &Group) {
        if group.offset == 0 {
            self.push_segment(group.segment, 0, false);
        }
        if let Some(last) = self.segments.back_mut() {
            let written = u32::try_from(group.bytes.len()).unwrap_or(u32::MAX);
            last.end = group.offset.saturating_add(written);
        }
        for (key, place) in &group.places {
            self.apply(*key, *place);
        }
    }

    /// Appends nothing to the last segment any more: it can not be told what is in it.
    pub fn seal(&mut self) {
        self.sealed = true;
    }

    /// Tells how long the segment is that was taken in last; one without a byte is none.
    pub(super) fn end_last(&mut self, end: u32) {
        if end == 0
            && let Some(last) = self.segments.pop_back()
        {
            self.next = last.number;
        } else if let Some(last) = self.segments.back_mut() {
            last.end = end;
        }
    }

    /// Takes note that a value can not be read.
    pub fn lose(&mut self, key: Key) {
        self.apply(key, None);
    }

    /// Returns the number of the first segment if no value lives in it and it is not the last.
    pub fn removable(&self) -> Option<u32> {
        let first = self.segments.front().filter(|it| it.live == 0)?;
        (self.segments.len() > 1).then_some(first.number)
    }

    /// Takes note that the first segment is removed.
    pub fn removed(&mut self) {
        self.segments.pop_front();
    }

    /// Returns the last segment and its length, if it may be appended to.
    pub fn last(&self) -> Option<(u32, u32)> {
        let last = self.segments.back().filter(|_| !self.sealed)?;
        Some((last.number, last.end))
    }
}

/// Returns the place of a record's value in its segment, the body of its frame starting at `start`.
pub(super) fn placed(segment: u32, start: usize, value: (usize, usize)) -> Option<Place> {
    let (offset, length) = value;
    Some(Place {
        segment,
        offset: u32::try_from(start.checked_add(offset)?).ok()?,
        length: u32::try_from(length.checked_add(4)?).ok()?,
    })
}
