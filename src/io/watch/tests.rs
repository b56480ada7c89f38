use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;

#[path = "../../../tests/support/temp_dir.rs"]
pub(crate) mod temp_dir;

use temp_dir::TempDir;

/// Limit of every wait, far below the time of a look that no notice gave reason to.
const LIMIT: Duration = Duration::from_secs(60);

fn in_event_loop<R>(task: impl Future<Output = R>) -> R {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(task)
}

/// Watches a file, makes the changes one after the other and waits for each.
fn noticed(folder: &TempDir, file: &str, changes: &[&dyn Fn(&Path)]) {
    in_event_loop(async {
        let path = folder.path().join(file);
        let mut watch = Watch::new(vec![(path.clone(), Stamp::of(&path))]);
        for (number, change) in changes.iter().enumerate() {
            // To where it waits for a notice.
            let begun = timeout(Duration::ZERO, watch.changed()).await;
            assert!(begun.is_err(), "before change {number} of {file}");
            change(folder.path());
            let found = timeout(LIMIT, watch.changed()).await;
            assert!(found.is_ok(), "change {number} of {file}");
        }
    });
}

fn replace(folder: &Path, file: &str, text: &str) {
    fs::write(folder.join("new"), text).unwrap();
    fs::rename(folder.join("new"), folder.join(file)).unwrap();
}

#[test]
fn files_are_followed_whatever_becomes_of_them() {
    let folder = TempDir::new();
    noticed(
        &folder,
        "file",
        &[
            &|at| fs::write(at.join("file"), "made").unwrap(),
            &|at| fs::write(at.join("file"), "written anew").unwrap(),
            &|at| replace(at, "file", "replaced"),
            &|at| fs::set_permissions(at.join("file"), Permissions::from_mode(0o600)).unwrap(),
            &|at| fs::remove_file(at.join("file")).unwrap(),
            &|at| replace(at, "file", "back"),
        ],
    );
}

#[test]
fn folders_are_followed_too() {
    let folder = TempDir::new();
    noticed(
        &folder,
        "a/b/file",
        &[
            &|at| {
                fs::create_dir_all(at.join("a/b")).unwrap();
                fs::write(at.join("a/b/file"), "made").unwrap();
            },
            &|at| fs::remove_dir_all(at.join("a")).unwrap(),
            &|at| {
                fs::create_dir_all(at.join("next/b")).unwrap();
                fs::write(at.join("next/b/file"), "made").unwrap();
                fs::rename(at.join("next"), at.join("a")).unwrap();
            },
            &|at| replace(at, "a/b/file", "replaced"),
            &|at| fs::rename(at.join("a"), at.join("elsewhere")).unwrap(),
        ],
    );
}

#[test]
fn links_are_followed_as_mounted_secrets_need_it() {
    let folder = TempDir::new();
    for version in ["1", "2"] {
        fs::create_dir(folder.path().join(version)).unwrap();
        folder.write(&format!("{version}/token"), version);
    }
    symlink("1", folder.path().join("data")).unwrap();
    symlink("data/token", folder.path().join("token")).unwrap();
    noticed(
        &folder,
        "token",
        &[
            &|at| {
                symlink("2", at.join("next")).unwrap();
                fs::rename(at.join("next"), at.join("data")).unwrap();
            },
            &|at| replace(at, "2/token", "replaced"),
            &|at| fs::remove_file(at.join("data")).unwrap(),
            &|at| symlink(at.join("1"), at.join("data")).unwrap(),
        ],
    );
}

#[test]
fn one_of_many_is_enough_and_what_changed_before_counts() {
    let folder = TempDir::new();
    let paths = ["a", "b"].map(|name| folder.path().join(name));
    in_event_loop(async {
        let files = paths.iter().map(|path| (path.clone(), Stamp::of(path)));
        let mut watch = Watch::new(files.collect());
        folder.write("b", "made");
        assert!(timeout(LIMIT, watch.changed()).await.is_ok());
        assert!(timeout(Duration::ZERO, watch.changed()).await.is_err());
        folder.write("a", "made");
        assert!(timeout(LIMIT, watch.changed()).await.is_ok());
    });
}

#[test]
fn what_happens_beside_the_files_is_not_noticed() {
    let folder = TempDir::new();
    fs::create_dir(folder.path().join("inner")).unwrap();
    folder.write("inner/file", "made");
    in_event_loop(async {
        let mut notices = Notices::new();
        let path = folder.path().join("inner/file");
        assert!(notices.follow(&[path.as_path()]));
        folder.write("beside", "made");
        folder.read("inner/file");
        assert!(notices.are_none());
        folder.write("inner/beside", "made");
        assert!(!notices.are_none());
    });
}
