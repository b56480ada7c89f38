//! Whether a directory outlives the power.

use std::path::Path;

/// Returns whether a directory, or where it will be made, lies on a file system in memory. What
/// can't be told is taken for a disk.
pub(crate) fn is_in_memory(directory: &Path) -> bool {
    let place = directory.ancestors().find(|it| it.exists());
    let place = place.and_then(|it| it.canonicalize().ok());
    let mounts = std::fs::read_to_string("/proc/self/mounts");
    match (place, mounts) {
        (Some(place), Ok(mounts)) => lies_in_memory(&place, &mounts),
        _ => false,
    }
}

/// Of the mounts that hold the place the deepest counts, of several there the last.
fn lies_in_memory(place: &Path, mounts: &str) -> bool {
    let mut deepest = (0, false);
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(point), Some(kind)) = (fields.nth(1), fields.next()) else {
            continue;
        };
        let depth = Path::new(point).components().count();
        if place.starts_with(point) && depth >= deepest.0 {
            deepest = (depth, matches!(kind, "tmpfs" | "ramfs"));
        }
    }
    deepest.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deepest_mount_decides() {
        let mounts = "/dev/root /rom squashfs ro 0 0\noverlayfs:/overlay / overlay rw 0 0\n\
            tmpfs /tmp tmpfs rw 0 0\n/dev/sda1 /tmp/disk ext4 rw 0 0\nramfs /run ramfs rw 0 0\n";
        let cases = [
            ("/etc/store", false),
            ("/tmp", true),
            ("/tmp/store", true),
            ("/tmpx", false),
            ("/tmp/disk/store", false),
            ("/run/store", true),
        ];
        for (place, expected) in cases {
            assert_eq!(
                lies_in_memory(Path::new(place), mounts),
                expected,
                "{place}"
            );
        }
        assert!(!lies_in_memory(Path::new("/a"), "what it says is unclear"));
    }
}
