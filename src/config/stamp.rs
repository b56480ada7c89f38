//! What shows that a file was changed or replaced.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Device, inode, size and times of a file; one of its own for a file that is not there.
///
/// The time of the last change of status is part of it: it also tells of new permissions, and
/// two replacements of one size within a tick of the clock differ in their inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Option<(u64, u64, u64, [i64; 4])>);

impl Stamp {
    /// Returns the stamp of the file as it is, at the end of any links.
    ///
    /// Taken before the file is read: a change meanwhile is then seen as one.
    pub fn of(file: &Path) -> Self {
        Self(std::fs::metadata(file).ok().map(|data| {
            let times = [
                data.mtime(),
                data.mtime_nsec(),
                data.ctime(),
                data.ctime_nsec(),
            ];
            (data.dev(), data.ino(), data.size(), times)
        }))
    }
}
