//! The store's files: one directory for this process alone, in it a directory with the segments.
//!
//! A write that fails leaves nothing behind: the file is cut back, at once or before the next write.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, StatVfsMountFlags, flock, fstatvfs};

use super::cause::{self, Unopened};
use crate::core::store::{Group, Place};

/// The directory of the segments, within the store's.
pub(super) const LOG: &str = "log";

/// The store's directory, locked, and what is open of it.
pub(super) struct Files {
    root: PathBuf,
    /// Holds the lock, for as long as it is open.
    handle: File,
    log: File,
    /// The segment that is written to, and its length.
    writing: Option<(u32, u64, File)>,
    reading: Option<(u32, File)>,
    /// Bytes passed to write.
    pub(super) written: u64,
    /// Calls that wait for the disk.
    pub(super) syncs: u64,
    /// Bytes that the disk has room for, if it is about to be full.
    #[cfg(test)]
    pub(super) room: Option<usize>,
}

impl Files {
    /// Makes the directory if need be, and takes it for this process.
    pub(super) fn open(root: &Path) -> Result<Self, Unopened> {
        let refused = |what, cause| Unopened::new(root, what, &cause);
        if let Err(cause) = fs::metadata(root) {
            if cause.kind() != io::ErrorKind::NotFound {
                return Err(refused("can not be looked at", cause));
            }
            make(root).map_err(|cause| refused("can not be made", cause))?;
        }
        let handle = File::open(root).map_err(|cause| refused("can not be opened", cause))?;
        match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(cause::in_use(root)),
            Err(cause) => return Err(refused("can not be locked", cause.into())),
        }
        let log = root.join(LOG);
        let opened = || {
            if !log.is_dir() {
                make(&log)?;
                handle.sync_all()?;
            }
            File::open(&log)
        };
        let opened = opened();
        let log = opened.map_err(|cause| Unopened::new(&log, "can not be used", &cause))?;
        Ok(Self {
            root: root.to_owned(),
            handle,
            log,
            writing: None,
            reading: None,
            written: 0,
            syncs: 0,
            #[cfg(test)]
            room: None,
        })
    }

    /// Returns the bytes that the disk has room for, as far as the file system knows; `None` if
    /// it does not say, or can not be written at all.
    pub(super) fn room(&self) -> Option<u64> {
        #[cfg(test)]
        if let Some(room) = self.room {
            return u64::try_from(room).ok();
        }
        let disk = fstatvfs(&self.handle).ok()?;
        let writable = !disk.f_flag.contains(StatVfsMountFlags::RDONLY);
        writable.then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Returns the path of a segment.
    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.root.join(LOG).join(format!("{number:08x}.log"))
    }

    /// Returns the numbers of the segments, in order.
    pub(super) fn segments(&self) -> Result<Vec<u32>, Unopened> {
        let numbers = self.numbers();
        numbers.map_err(|cause| Unopened::new(&self.root.join(LOG), "can not be read", &cause))
    }

    fn numbers(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(self.root.join(LOG))? {
            numbers.extend(number_of(&entry?.file_name()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads a segment as a whole.
    pub(super) fn read(&self, number: u32) -> io::Result<Vec<u8>> {
        fs::read(self.path(number))
    }

    /// Reads what stands at a place.
    pub(super) fn read_at(&mut self, place: Place) -> io::Result<Vec<u8>> {
        let file = match self.reading.take() {
            Some((number, file)) if number == place.segment => file,
            _ => File::open(self.path(place.segment))?,
        };
        let mut bytes = vec![0; usize::try_from(place.length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, u64::from(place.offset))?;
        self.reading = Some((place.segment, file));
        Ok(bytes)
    }

    /// Writes a group and waits until it is on the disk.
    pub(super) fn write(&mut self, group: &Group) -> io::Result<()> {
        let result = self.try_write(group);
        if result.is_err()
            && let Some((_, _, file)) = self.writing.take()
        {
            // Where this fails as well, it is done before the next write.
            let _ = file.set_len(u64::from(group.offset));
        }
        result
    }

    fn try_write(&mut self, group: &Group) -> io::Result<()> {
        let start = u64::from(group.offset);
        let is_new = group.offset == 0;
        self.still_there()?;
        let known = matches!(&self.writing, Some((number, end, _))
            if *number == group.segment && *end == start && !is_new);
        if !known {
            self.writing = None;
            let mut options = OpenOptions::new();
            options.write(true).create(is_new).truncate(is_new);
            let file = options.mode(0o600).open(self.path(group.segment))?;
            let length = file.metadata()?.len();
            if length < start {
                let why = format!("the segment has lost {} bytes", start - length);
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if length > start {
                file.set_len(start)?;
            }
            self.writing = Some((group.segment, start, file));
        }
        let Some((_, end, file)) = &mut self.writing else {
            return Ok(());
        };
        #[cfg(test)]
        if let Some(room) = &mut self.room {
            let fits = group.bytes.len().min(*room);
            file.write_all_at(&group.bytes[..fits], start)?;
            *room -= fits;
            if fits < group.bytes.len() {
                *room += fits;
                return Err(io::Error::from_raw_os_error(28));
            }
        }
        file.write_all_at(&group.bytes, start)?;
        let length = u64::try_from(group.bytes.len()).unwrap_or_default();
        self.written = self.written.wrapping_add(length);
        file.sync_data()?;
        self.syncs = self.syncs.wrapping_add(1);
        if is_new {
            self.log.sync_all()?;
            self.syncs = self.syncs.wrapping_add(1);
        }
        *end = start.saturating_add(length);
        Ok(())
    }

    /// Fails if the directory of the segments, or the one that is written to, was removed, moved
    /// away or mounted over: what is written to the open file would not be found again.
    fn still_there(&self) -> io::Result<()> {
        let segment = self.writing.as_ref();
        let segment = segment.map(|(number, _, file)| (self.path(*number), file));
        for (path, file) in [Some((self.root.join(LOG), &self.log)), segment]
            .into_iter()
            .flatten()
        {
            let (there, opened) = (fs::metadata(path)?, file.metadata()?);
            if (there.dev(), there.ino()) != (opened.dev(), opened.ino()) {
                let why = "another file or directory is in its place; put it back or restart";
                return Err(io::Error::other(why));
            }
        }
        Ok(())
    }

    /// Cuts off what an unfinished write has left at the end of a segment.
    pub(super) fn cut(&self, number: u32, bytes: usize) -> io::Result<()> {
        let path = self.path(number);
        let length = fs::metadata(&path)?.len();
        let rest = length.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        if rest == 0 {
            fs::remove_file(&path)?;
            return self.log.sync_all();
        }
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(rest)?;
        file.sync_data()
    }

    /// Removes a segment for good.
    pub(super) fn remove(&mut self, number: u32) -> io::Result<()> {
        self.reading = None;
        // It may be gone since the last attempt, whose second step failed.
        match fs::remove_file(self.path(number)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            Ok(()) | Err(_) => {}
        }
        // If the next one went and this one came back, so would what it holds.
        self.log.sync_all()?;
        self.syncs = self.syncs.wrapping_add(1);
        Ok(())
    }

    /// Keeps a segment as it is beside the log; returns where, and whether it was there already.
    pub(super) fn set_aside(&self, number: u32) -> io::Result<(PathBuf, bool)> {
        let aside = self.root.join(format!("damaged-{number:08x}.log"));
        if aside.exists() {
            return Ok((aside, true));
        }
        let path = self.path(number);
        // Another name for it takes no room; not every file system has that.
        if fs::hard_link(&path, &aside).is_err() {
            fs::copy(&path, &aside)?;
        }
        self.handle.sync_all()?;
        Ok((aside, false))
    }

    /// Sets all segments aside and begins anew; returns where they are.
    pub(super) fn set_all_aside(&mut self, version: u8) -> io::Result<PathBuf> {
        let name = |count: u32| match count {
            0 => format!("log-version-{version}"),
            count => format!("log-version-{version}-{count}"),
        };
        let aside = (0..u32::MAX)
            .map(|count| self.root.join(name(count)))
            .find(|path| !path.exists())
            .ok_or(io::ErrorKind::AlreadyExists)?;
        let log = self.root.join(LOG);
        fs::rename(&log, &aside)?;
        make(&log)?;
        self.handle.sync_all()?;
        self.log = File::open(&log)?;
        Ok(aside)
    }
}

/// Returns the number of the segment with this file name; `None` if it is another file.
pub(super) fn number_of(name: &OsStr) -> Option<u32> {
    let digits = name.to_str()?.strip_suffix(".log")?;
    let digits = Some(digits).filter(|it| it.len() == 8)?;
    u32::from_str_radix(digits, 16).ok()
}

/// Makes a directory that only its owner can look into.
fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
