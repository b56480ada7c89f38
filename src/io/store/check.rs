//! What is wrong with the place of a store, found without making or changing anything.
//!
//! What it calls a mistake is what keeps the daemon from starting; all else is a warning, for the
//! daemon runs without its disk.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use rustix::io::Errno;

use super::cause::Unopened;
use super::files::{LOG, number_of};
use crate::core::store::{Format, look};

/// Something that is wrong, for the owner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether the daemon does not start like that.
    pub(crate) is_mistake: bool,
    /// What is wrong, and what to do.
    pub(crate) text: String,
}

impl From<Unopened> for Finding {
    fn from(why: Unopened) -> Self {
        let told = why.to_string();
        let text = match why.is_mistake {
            true => told,
            false => format!("{told}; until then what needs the store is refused"),
        };
        Self {
            is_mistake: why.is_mistake,
            text,
        }
    }
}

impl Finding {
    fn warning(text: String) -> Self {
        Self {
            is_mistake: false,
            text,
        }
    }
}

/// Looks at the directory that is to hold a store of at most so many bytes.
pub(crate) fn check(directory: &Path, max_bytes: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    match survey(directory, &mut findings) {
        Err(why) => findings.push(why.into()),
        Ok(ground) => findings.extend(lacks_room(directory, &ground, max_bytes)),
    }
    findings
}

/// Where a store would be written, and what is there of it.
struct Ground {
    place: PathBuf,
    /// Bytes of its segments.
    taken: u64,
}

fn survey(root: &Path, findings: &mut Vec<Finding>) -> Result<Ground, Unopened> {
    let mut ground = Ground {
        place: root.to_owned(),
        taken: 0,
    };
    if !is_there(root)? {
        ground.place = nearest(root)?;
        may(&ground.place, Access::WRITE_OK | Access::EXEC_OK)?;
        return Ok(ground);
    }
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    may(root, all)?;
    let log = root.join(LOG);
    if !is_there(&log)? {
        return Ok(ground);
    }
    may(&log, all)?;
    let unread = |cause| Unopened::new(&log, "can not be read", &cause);
    let mut segments = Vec::new();
    for entry in fs::read_dir(&log).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        segments.extend(number_of(&entry.file_name()).map(|number| (number, entry.path())));
    }
    segments.sort_unstable();
    let mut newest = None;
    for (number, path) in &segments {
        match fs::read(path) {
            Ok(bytes) => {
                let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                ground.taken = ground.taken.saturating_add(size);
                if let Format::Newer(version) = look(*number, &bytes) {
                    newest = newest.max(Some(version));
                }
            }
            Err(cause) => {
                let path = path.display();
                findings.push(Finding::warning(format!(
                    "`{path}` can not be read: {cause}; what it holds will count as lost: give it \
                     to the user that the daemon runs as, or check the disk"
                )));
            }
        }
    }
    if let Some(version) = newest {
        let log = log.display();
        findings.push(Finding::warning(format!(
            "`{log}` was written by a newer release (format {version}); all of it will be set aside \
             and the store begin empty: install that release to have it used"
        )));
    } else if let Some((_, last)) = segments.last() {
        let written = access(last, Access::WRITE_OK);
        written.map_err(|cause| Unopened::new(last, "can not be written", &cause.into()))?;
    }
    Ok(ground)
}

/// Whether there is anything at this place.
fn is_there(path: &Path) -> Result<bool, Unopened> {
    let Err(cause) = fs::metadata(path) else {
        return Ok(true);
    };
    if Errno::from_io_error(&cause) != Some(Errno::NOENT) {
        return Err(Unopened::new(path, "can not be looked at", &cause));
    }
    match fs::symlink_metadata(path) {
        // A link to nothing: no directory can be made in its place.
        Ok(_) => Err(Unopened::new(path, "can not be made", &Errno::EXIST.into())),
        Err(_) => Ok(false),
    }
}

/// Finds the directory below which all others would be made.
fn nearest(root: &Path) -> Result<PathBuf, Unopened> {
    for place in root.ancestors().skip(1) {
        let place = match place.as_os_str().is_empty() {
            true => Path::new("."),
            false => place,
        };
        if is_there(place)? {
            return Ok(place.to_owned());
        }
    }
    Ok(PathBuf::from("/"))
}

/// Whether it is a directory in which this process may do all of this.
fn may(place: &Path, what: Access) -> Result<(), Unopened> {
    let refused = |cause: Errno| Unopened::new(place, "can not be used", &cause.into());
    if !place.is_dir() {
        return Err(refused(Errno::NOTDIR));
    }
    access(place, what).map_err(refused)
}

/// Says that the disk is smaller than what may be written to it.
fn lacks_room(directory: &Path, ground: &Ground, max_bytes: usize) -> Option<Finding> {
    let disk = statvfs(&ground.place).ok()?;
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return None;
    }
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let room = free.saturating_add(ground.taken);
    let most = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    (room < most).then(|| {
        let (directory, room) = (directory.display(), room >> 10);
        Finding::warning(format!(
            "the disk of `{directory}` has room for {room} KiB of the {} KiB that `max_bytes` \
             allows; make room or lower max_bytes: what the disk does not take is refused",
            most >> 10
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::io::store::Disk;
    use crate::io::watch::tests::temp_dir::TempDir;

    const SMALL: usize = 64 << 10;

    fn mistakes(directory: &Path) -> Vec<bool> {
        let findings = check(directory, SMALL);
        findings.iter().map(|it| it.is_mistake).collect()
    }

    #[test]
    fn check_says_before_what_the_daemon_would_say_and_makes_nothing() {
        let folder = TempDir::new();
        let path = |name: &str| folder.path().join(name);
        folder.write("file", "");
        fs::create_dir_all(path("log-is-a-file")).unwrap();
        folder.write("log-is-a-file/log", "");
        fs::create_dir_all(path("log-is-a-link")).unwrap();
        symlink("nowhere", path("log-is-a-link/log")).unwrap();
        fs::create_dir_all(path("there")).unwrap();
        symlink("nowhere", path("link")).unwrap();
        symlink("there", path("link-to-there")).unwrap();
        symlink("loop", path("loop")).unwrap();
        let cases = [
            ("new", false),
            ("new/below/new", false),
            ("there", false),
            ("link-to-there", false),
            ("file", true),
            ("file/below", true),
            ("link", true),
            ("link/below", true),
            ("loop", true),
            ("loop/below", true),
            ("log-is-a-file", true),
            ("log-is-a-link", true),
        ];
        let before = fs::read_dir(folder.path()).unwrap().count();
        for (name, is_mistake) in cases {
            let findings = check(&path(name), SMALL);
            assert_eq!(!findings.is_empty(), is_mistake, "{name}: {findings:?}");
            for finding in findings {
                assert!(finding.is_mistake, "{name}: {finding:?}");
                assert!(finding.text.ends_with("correct directory"), "{finding:?}");
            }
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
        for (name, is_mistake) in cases {
            let opened = Disk::open(&path(name), SMALL);
            assert_eq!(opened.is_err(), is_mistake, "{name}");
        }
    }

    #[test]
    fn check_warns_of_segments_that_can_not_be_used() {
        let folder = TempDir::new();
        let root = folder.path().join("kept");
        fs::create_dir_all(root.join("log/00000001.log")).unwrap();
        assert_eq!(
            mistakes(&root),
            [false],
            "a directory in place of a segment"
        );
        let text = &check(&root, SMALL)[0].text;
        assert!(text.contains("00000001.log` can not be read"), "{text}");

        fs::remove_dir(root.join("log/00000001.log")).unwrap();
        let mut head = b"mhbstore".to_vec();
        head.extend([200, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        let sum = crate::core::store::checksum(0, &head);
        head.extend(sum.to_le_bytes());
        fs::write(root.join("log/00000001.log"), head).unwrap();
        assert_eq!(mistakes(&root), [false]);
        let text = &check(&root, SMALL)[0].text;
        assert!(text.contains("newer release (format 200)"), "{text}");
    }

    #[test]
    fn check_warns_of_a_disk_with_less_room_than_the_store_may_take() {
        let folder = TempDir::new();
        let findings = check(&folder.path().join("new"), usize::MAX);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(!findings[0].is_mistake);
        let text = &findings[0].text;
        assert!(text.contains("make room or lower max_bytes"), "{text}");
    }
}
