//! Tells when files have changed, without looking at them all the time.
//!
//! What a change means is for the caller. Files are known by path: they may be replaced by
//! renaming, lie behind links (mounted secrets are two links deep), come and go, and their
//! folders with them. [`Notices`] says when to look; whether a file has changed, its [`Stamp`]
//! says. So a notice too many costs a look, and one too few is made up for by a look every few
//! minutes: what another machine changes on a network file system gives none.

mod notices;

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use self::notices::Notices;
use crate::config::Stamp;

/// Files that did not change for so long are taken as written to their end.
const SETTLED: Duration = Duration::from_millis(100);
/// After so many changes within [`SETTLED`] of each other a file is taken as it is.
const RESTLESS: usize = 50;
/// Time between two looks that nothing gave reason to.
const ANYWAY: Duration = Duration::from_secs(300);
/// The same where the kernel gives no notices.
const UNTOLD: Duration = Duration::from_secs(5);

/// A set of files and how they were when they were last found changed.
#[derive(Debug)]
pub(crate) struct Watch {
    files: Vec<(PathBuf, Stamp)>,
    notices: Notices,
}

impl Watch {
    /// Watches files, each from when it had its stamp, so from before it was first read.
    ///
    /// A file need not be there, nor its folder. Has to be called within the event loop.
    pub(crate) fn new(files: Vec<(PathBuf, Stamp)>) -> Self {
        let files = files.into_iter();
        Self {
            files: files.map(|(file, seen)| (whole(file), seen)).collect(),
            notices: Notices::new(),
        }
    }

    /// Waits until a file differs from when it was last found changed, and is written to its end.
    ///
    /// What changes after the return is found by the next call, even if it is while the caller
    /// reads the files. Dropping the future forgets nothing.
    pub(crate) async fn changed(&mut self) {
        while !self.differs() {
            let paths: Vec<_> = self.files.iter().map(|(file, _)| file.as_path()).collect();
            let limit = if self.notices.follow(&paths) {
                ANYWAY
            } else {
                UNTOLD
            };
            // What changed before the notices were set up gives none.
            if !self.differs() && timeout(limit, self.notices.notice()).await.is_ok() {
                sleep(SETTLED).await;
                self.notices.take();
            }
        }
        self.settle().await;
    }

    fn differs(&self) -> bool {
        let mut files = self.files.iter();
        files.any(|(file, seen)| Stamp::of(file) != *seen)
    }

    /// Waits until nobody writes to the files any more: half of one may be valid too.
    async fn settle(&mut self) {
        let mut stamps = self.stamps();
        for _ in 0..RESTLESS {
            sleep(SETTLED).await;
            let before = std::mem::replace(&mut stamps, self.stamps());
            if before == stamps {
                break;
            }
        }
        for ((_, seen), stamp) in self.files.iter_mut().zip(stamps) {
            *seen = stamp;
        }
    }

    fn stamps(&self) -> Vec<Stamp> {
        self.files.iter().map(|(file, _)| Stamp::of(file)).collect()
    }
}

/// Makes a path absolute; one that cannot be is looked at from the current directory.
fn whole(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
pub(crate) mod tests;
