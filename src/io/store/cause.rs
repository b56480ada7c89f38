//! Why a disk does not do what it is asked to: whose fault that is, and what helps.
//!
//! A mistake is what only a person can repair, such as a directory that belongs to somebody else:
//! the daemon does not start with it. Whatever may pass, such as a disk that is full, read-only or
//! failing, keeps it from nothing but storing, and is tried again.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

/// Why a store can not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unopened {
    /// Whether only a person can change that.
    pub(crate) is_mistake: bool,
    /// What the system says.
    pub(crate) cause: Arc<str>,
    told: String,
}

impl fmt::Display for Unopened {
    /// Says what, why and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl Unopened {
    /// Says of a path what can not be done, as in `can not be made`.
    pub(super) fn new(path: &Path, what: &str, cause: &io::Error) -> Self {
        let (path, remedy) = (path.display(), remedy(cause));
        Self {
            is_mistake: is_mistake(cause),
            cause: cause.to_string().into(),
            told: format!("`{path}` {what}: {cause}; {remedy}"),
        }
    }
}

/// Says that another daemon has the directory.
pub(super) fn in_use(root: &Path) -> Unopened {
    let root = root.display();
    Unopened {
        is_mistake: true,
        cause: "it is in use by another mqtt-https-bridge".into(),
        told: format!(
            "`{root}` is in use by another mqtt-https-bridge; stop that one or name another \
             directory"
        ),
    }
}

/// Returns whether only a person can repair what the system complains of.
fn is_mistake(cause: &io::Error) -> bool {
    matches!(
        errno(cause),
        Some(
            Errno::ACCESS
                | Errno::PERM
                | Errno::NOTDIR
                | Errno::EXIST
                | Errno::LOOP
                | Errno::NAMETOOLONG
                | Errno::INVAL
        )
    )
}

/// Returns whether the disk, or the user's share of it, is full.
pub(super) fn is_full(cause: &io::Error) -> bool {
    matches!(errno(cause), Some(Errno::NOSPC | Errno::DQUOT))
}

/// Says what a person can do about what the system complains of.
pub(super) fn remedy(cause: &io::Error) -> &'static str {
    match errno(cause) {
        Some(Errno::ROFS) => "mount the disk writable, check it if it was, or correct directory",
        Some(Errno::NOSPC | Errno::DQUOT) => {
            "make room on the disk, or correct directory to one with room"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "give it to the user that the daemon runs as (chown), or correct directory"
        }
        Some(Errno::NOTDIR | Errno::EXIST | Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL) => {
            "correct directory"
        }
        _ => "check the disk, or correct directory",
    }
}

fn errno(cause: &io::Error) -> Option<Errno> {
    Errno::from_io_error(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_person_can_repair_is_a_mistake_and_each_cause_has_its_remedy() {
        let cases = [
            (Errno::ROFS, false, "mount the disk writable"),
            (Errno::NOSPC, false, "make room"),
            (Errno::DQUOT, false, "make room"),
            (Errno::IO, false, "check the disk"),
            (Errno::NODEV, false, "check the disk"),
            (Errno::STALE, false, "check the disk"),
            (Errno::ACCESS, true, "chown"),
            (Errno::PERM, true, "chown"),
            (Errno::NOTDIR, true, "correct directory"),
            (Errno::EXIST, true, "correct directory"),
        ];
        for (errno, is_mistake, remedy) in cases {
            let cause = io::Error::from(errno);
            let why = Unopened::new(Path::new("/a"), "can not be made", &cause);
            assert_eq!(why.is_mistake, is_mistake, "{why}");
            let told = why.to_string();
            assert!(told.starts_with("`/a` can not be made: "), "{told}");
            assert!(told.contains(remedy), "{told}");
        }
        assert!(is_full(&Errno::NOSPC.into()));
        assert!(!is_full(&Errno::IO.into()));
        assert!(in_use(Path::new("/a")).is_mistake);
    }
}
