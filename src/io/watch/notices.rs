//! The kernel's notices (inotify) about the folders that lead to files.
//!
//! A folder with a file, or with a link on the way to it, is watched for what happens in it; the
//! folders above for being moved or removed themselves, which happens next to never, while what is
//! in them changes all the time.

use std::ffi::OsString;
use std::future::pending;
use std::path::{Component, Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::core::few::Few;

/// Links in one path, as in the kernel.
const LINKS: usize = 40;
/// How often the folders are gone through again because they changed in the meantime.
const ROUNDS: usize = 3;
/// Reads at a time, of a dozen notices or more: a folder may be a busy one.
const READS: usize = 1024;

/// Folders and what is to be watched of them.
type Folders = Few<PathBuf, WatchFlags>;

/// An inotify queue, or nothing where it cannot be had.
#[derive(Debug)]
pub(super) struct Notices {
    queue: Option<AsyncFd<OwnedFd>>,
    watched: Vec<i32>,
}

impl Notices {
    /// Asks the kernel for a queue.
    #[expect(
        deprecated,
        reason = "its successor is unsafe to call, for types other than OwnedFd"
    )]
    pub(super) fn new() -> Self {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        Self {
            queue: queue.ok().and_then(|queue| AsyncFd::new(queue).ok()),
            watched: Vec::new(),
        }
    }

    /// Watches the folders that lead to these files now, and no others.
    ///
    /// Returns whether a change of any of the files will give a notice.
    pub(super) fn follow(&mut self, files: &[&Path]) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        let mut folders = Folders::default();
        for _ in 0..ROUNDS {
            let before = std::mem::replace(&mut folders, folders_to(files));
            if before == folders {
                break;
            }
            let (complete, watched) = watch(queue, &folders);
            for stale in &self.watched {
                if !watched.contains(stale) {
                    // Fails for a folder that is gone, and its watch with it.
                    let _ = inotify::remove_watch(queue, *stale);
                }
            }
            self.watched = watched;
            if !complete {
                return false;
            }
        }
        true
    }

    /// Waits for a notice. Whether it is there is all that it says.
    pub(super) async fn notice(&self) {
        match &self.queue {
            Some(queue) if queue.readable().await.is_ok() => {}
            _ => pending().await,
        }
    }

    /// Takes the notices that are there; what they say, a look at the files says better.
    pub(super) fn take(&self) {
        let Some(queue) = &self.queue else { return };
        let mut buffer = [0_u8; 1024];
        for _ in 0..READS {
            let read = |queue: &OwnedFd| Ok(rustix::io::read(queue, &mut buffer)?);
            if queue.try_io(Interest::READABLE, read).is_err() {
                break;
            }
        }
    }
}

/// Sets up the watches; returns whether all that matter are there, and their numbers.
fn watch(queue: &AsyncFd<OwnedFd>, folders: &Folders) -> (bool, Vec<i32>) {
    let mut complete = true;
    let mut watched = Vec::new();
    for (folder, flags) in folders.iter() {
        match inotify::add_watch(queue, folder, *flags) {
            Ok(number) => watched.push(number),
            // Gone since, of which the next round tells. Of folders that must not be read, those
            // above the files do without.
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(_) => complete &= *flags == itself(),
        }
    }
    (complete, watched)
}

/// What tells that a folder is no longer where it was.
fn itself() -> WatchFlags {
    WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR
}

/// What tells that something in a folder came, went, or was changed or written to its end.
fn inside() -> WatchFlags {
    itself()
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::ATTRIB
}

/// Returns the folders that lead to the files, and what is to be watched in each.
fn folders_to(files: &[&Path]) -> Folders {
    let mut folders = Folders::default();
    for file in files {
        lead(file, &mut folders);
    }
    folders
}

/// Goes down a path, along its links, as far as it exists.
fn lead(file: &Path, folders: &mut Folders) {
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut ahead = names(file);
    while let Some(name) = ahead.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let found = next.symlink_metadata().map(|data| data.file_type());
        match found {
            Ok(kind) if kind.is_dir() && !ahead.is_empty() => {
                if !folders.contains(&at) {
                    folders.insert(at, itself());
                }
                at = next;
            }
            Ok(kind) if kind.is_symlink() && links < LINKS => {
                folders.insert(at.clone(), inside());
                let Ok(target) = next.read_link() else { return };
                links += 1;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                ahead.extend(names(&target));
            }
            // The file itself, or what has to come before it can.
            _ => {
                folders.insert(at, inside());
                return;
            }
        }
    }
}

/// Splits a path into its names, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

#[cfg(test)]
impl Notices {
    /// Returns whether there is no notice, and takes some if there is.
    pub(super) fn are_none(&self) -> bool {
        let queue = self.queue.as_ref().unwrap();
        rustix::io::read(queue, &mut [0_u8; 1024]) == Err(Errno::AGAIN)
    }
}
