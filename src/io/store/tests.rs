//! The store on a real directory, and on a disk that is full.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::*;
use crate::core::store::Kind;
use crate::io::watch::tests::temp_dir::TempDir;

const BYTES: usize = 1 << 20;

fn key(id: u64) -> Key {
    Key {
        kind: Kind::Message,
        id,
    }
}

fn put(id: u64, length: usize) -> Change {
    let byte = u8::try_from(id % 251).unwrap();
    Change::Put(key(id), vec![byte; length].into())
}

fn batch(changes: Vec<Change>) -> Request {
    Request {
        changes,
        refused: false,
    }
}

fn commit(keeper: &mut Keeper, changes: Vec<Change>) -> Stored {
    keeper.store(vec![batch(changes)]).remove(0)
}

fn open(directory: &TempDir) -> Keeper {
    let place = directory.path().join("store");
    // A program that another test starts holds all files for a moment, and with them the lock.
    for _ in 0..200 {
        match Keeper::open(&place, BYTES) {
            Err(error) if error.to_string().contains("is in use") => {
                thread::park_timeout(Duration::from_millis(50));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("the lock stays");
}

/// Every value, by its id.
fn values(keeper: &mut Keeper) -> Vec<(u64, usize)> {
    let mut values = Vec::new();
    keeper.restore(|key, value| {
        let byte = u8::try_from(key.id % 251).unwrap();
        assert!(value.iter().all(|it| *it == byte));
        values.push((key.id, value.len()));
    });
    values
}

fn segments(directory: &TempDir) -> Vec<PathBuf> {
    let log = directory.path().join("store/log");
    let entries = fs::read_dir(log).unwrap();
    let mut paths: Vec<_> = entries.map(|it| it.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_stored_is_there_after_a_restart_and_nobody_else_can_read_it() {
    let directory = TempDir::new();
    let mut keeper = open(&directory);
    commit(&mut keeper, vec![put(1, 10), put(2, 0), put(3, 70_000)]).unwrap();
    commit(&mut keeper, vec![Change::Delete(key(1)), put(4, 4)]).unwrap();
    let busy = Keeper::open(&directory.path().join("store"), BYTES);
    let why = busy.err().unwrap().to_string();
    assert!(why.contains("in use by another"), "{why}");
    drop(keeper);
    assert_eq!(values(&mut open(&directory)), [(2, 0), (3, 70_000), (4, 4)]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.path().join("store")), 0o700);
    assert_eq!(mode(&directory.path().join("store/log")), 0o700);
    assert_eq!(mode(&segments(&directory)[0]), 0o600);
}

#[test]
fn full_disk_refuses_batches_as_a_whole_and_recovers() {
    let directory = TempDir::new();
    let mut keeper = open(&directory);
    commit(&mut keeper, vec![put(1, 100)]).unwrap();
    keeper.files.room = Some(300);
    let before = fs::read(&segments(&directory)[0]).unwrap();
    let results = keeper.store(vec![batch(vec![put(2, 200)]), batch(vec![put(3, 200)])]);
    let why = results[1].clone().unwrap_err();
    assert!(why.contains("No space left"), "{why}");
    assert_eq!(results[0], results[1]);
    assert_eq!(fs::read(&segments(&directory)[0]).unwrap(), before);
    assert_eq!(values(&mut keeper), [(1, 100)]);
    assert!(keeper.status().trouble.is_some());
    // What is small fits still; what is to be removed is, as soon as it can be.
    commit(&mut keeper, vec![put(4, 20)]).unwrap();
    commit(&mut keeper, vec![Change::Delete(key(1)), put(5, 1000)]).unwrap_err();
    assert_eq!(values(&mut keeper), [(1, 100), (4, 20)]);
    keeper.files.room = None;
    commit(&mut keeper, vec![put(6, 6)]).unwrap();
    assert_eq!(keeper.status().trouble, None);
    drop(keeper);
    assert_eq!(values(&mut open(&directory)), [(4, 20), (6, 6)]);
}

#[test]
fn nothing_is_stored_in_files_that_were_removed_or_moved_away() {
    let directory = TempDir::new();
    let log = directory.path().join("store/log");
    let away = directory.path().join("away");
    let segment = |keeper: &Keeper| keeper.files.path(1);
    // What is done to the store, how it is undone, and what is said of a write between.
    type Act<'a> = &'a dyn Fn(&Path);
    let acts: [(Act<'_>, Act<'_>, &str); 4] = [
        (
            &|_| fs::rename(&log, &away).unwrap(),
            &|_| fs::rename(&away, &log).unwrap(),
            "No such file",
        ),
        (
            &|_| {
                fs::rename(&log, &away).unwrap();
                fs::create_dir(&log).unwrap();
            },
            &|_| {
                fs::remove_dir(&log).unwrap();
                fs::rename(&away, &log).unwrap();
            },
            "put it back or restart",
        ),
        (
            &|segment| fs::rename(segment, &away).unwrap(),
            &|segment| fs::rename(&away, segment).unwrap(),
            "No such file",
        ),
        (
            &|segment| {
                fs::rename(segment, &away).unwrap();
                fs::write(segment, b"").unwrap();
            },
            &|segment| fs::rename(&away, segment).unwrap(),
            "put it back or restart",
        ),
    ];
    let mut keeper = open(&directory);
    commit(&mut keeper, vec![put(1, 100)]).unwrap();
    for ((act, undo, said), id) in acts.into_iter().zip(10..) {
        commit(&mut keeper, vec![put(id, 10)]).unwrap();
        let segment = segment(&keeper);
        act(&segment);
        let why = commit(&mut keeper, vec![put(99, 10)]).unwrap_err();
        assert!(why.contains(said), "{why}");
        // Nor is a file that holds less than was written filled up.
        commit(&mut keeper, vec![put(99, 10)]).unwrap_err();
        commit(&mut keeper, Vec::new()).unwrap();
        assert!(keeper.status().trouble.is_some(), "nothing was written");
        undo(&segment);
        commit(&mut keeper, vec![put(id + 10, 10)]).unwrap();
        assert_eq!(keeper.status().trouble, None);
    }
    drop(keeper);
    let ids: Vec<_> = values(&mut open(&directory))
        .iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(ids, [1, 10, 11, 12, 13, 20, 21, 22, 23]);
}

#[test]
fn full_store_refuses_what_grows_and_takes_what_makes_room() {
    let directory = TempDir::new();
    let mut keeper = open(&directory);
    let full = (0..).find(|id| commit(&mut keeper, vec![put(*id, 4000)]).is_err());
    let full = full.unwrap();
    let why = commit(&mut keeper, vec![put(full, 4000)]).unwrap_err();
    assert!(why.contains("raise [store] max_bytes"), "{why}");
    assert!(keeper.status().full);
    assert!(keeper.status().live <= keeper.status().room);
    commit(&mut keeper, vec![Change::Delete(key(0))]).unwrap();
    assert!(
        !keeper.status().full,
        "there is room for as much as was refused"
    );
    commit(&mut keeper, vec![put(full, 4000)]).unwrap();
    assert!(keeper.status().full, "and not for as much again");
    for id in 1..400 {
        commit(&mut keeper, vec![Change::Delete(key(id))]).unwrap();
        let total = keeper.status().total;
        assert!(total <= BYTES, "{total} bytes");
        commit(&mut keeper, vec![put(full + id, 4000)]).unwrap();
    }
    let on_disk: u64 = segments(&directory)
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(on_disk <= u64::try_from(BYTES).unwrap());
    assert_eq!(usize::try_from(on_disk).unwrap(), keeper.status().total);
    let values = values(&mut keeper);
    drop(keeper);
    assert_eq!(self::values(&mut open(&directory)), values);
}

#[test]
fn damaged_segment_is_set_aside_and_the_rest_is_used() {
    let directory = TempDir::new();
    let mut keeper = open(&directory);
    for id in 1..=3 {
        commit(&mut keeper, vec![put(id, 50)]).unwrap();
    }
    drop(keeper);
    let path = segments(&directory).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.iter().position(|it| *it == 2 && *it != 0).unwrap();
    let middle = bytes[middle..]
        .windows(9)
        .position(|it| it == [2; 9])
        .unwrap()
        + middle;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let mut keeper = open(&directory);
    assert_eq!(values(&mut keeper), [(1, 50), (3, 50)]);
    assert_eq!(keeper.status().damaged, 1);
    let aside = directory.path().join("store/damaged-00000001.log");
    assert_eq!(fs::read(aside).unwrap(), bytes);
    commit(&mut keeper, vec![put(4, 50)]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    drop(keeper);
    assert_eq!(values(&mut open(&directory)), [(1, 50), (3, 50), (4, 50)]);
}

#[test]
fn missing_segment_is_told_and_the_rest_is_used() {
    let directory = TempDir::new();
    let mut keeper = open(&directory);
    for id in 0..30 {
        commit(&mut keeper, vec![put(id, 4000)]).unwrap();
    }
    drop(keeper);
    let paths = segments(&directory);
    assert!(paths.len() > 2);
    fs::remove_file(&paths[1]).unwrap();
    let mut keeper = open(&directory);
    assert_eq!(keeper.status().damaged, 1);
    let left = values(&mut keeper).len();
    assert!((10..30).contains(&left), "{left} values");
}

#[test]
fn end_of_an_unfinished_write_is_cut_off() {
    let directory = TempDir::new();
    let mut keeper = open(&directory);
    commit(&mut keeper, vec![put(1, 50)]).unwrap();
    drop(keeper);
    let path = segments(&directory).remove(0);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole, &whole[24..40]].concat()).unwrap();
    let mut keeper = open(&directory);
    assert_eq!(values(&mut keeper), [(1, 50)]);
    assert_eq!(keeper.status().damaged, 0);
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn store_of_a_newer_release_is_set_aside_whole() {
    let directory = TempDir::new();
    let mut keeper = open(&directory);
    for id in 0..30 {
        commit(&mut keeper, vec![put(id, 4000)]).unwrap();
    }
    drop(keeper);
    let paths = segments(&directory);
    let last = paths.last().unwrap();
    let mut bytes = fs::read(last).unwrap();
    bytes[8] = 2;
    // A head is checked in the same way whatever its version.
    let sum = crate::core::store::checksum(0, &bytes[..20]);
    bytes[20..24].copy_from_slice(&sum.to_le_bytes());
    fs::write(last, bytes).unwrap();
    let mut keeper = open(&directory);
    assert_eq!(values(&mut keeper), []);
    commit(&mut keeper, vec![put(1, 1)]).unwrap();
    let aside = fs::read_dir(directory.path().join("store/log-version-2"));
    assert_eq!(aside.unwrap().count(), paths.len());
}

/// Starts the thread; what it has done comes over the channel.
fn start(keeper: Keeper, window: Duration) -> (Store, Receiver<Done>) {
    let (sender, done) = mpsc::channel();
    let done_: OnDone = Arc::new(move |done| sender.send(done).unwrap());
    let disk = Disk::Open(Box::new(keeper));
    (Store::start(disk, window, done_).unwrap(), done)
}

#[test]
fn writes_are_bounded_by_the_commit_window_and_idle_writes_nothing() {
    let directory = TempDir::new();
    let window = Duration::from_millis(100);
    let (mut store, done) = start(open(&directory), window);
    let began = clock::now();
    for id in 0..500 {
        store.commit(vec![put(id, 100)]);
        if id % 50 == 0 {
            thread::park_timeout(Duration::from_millis(2));
        }
    }
    for _ in 0..500 {
        let done = done.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(done, Done::Batch(Ok(())));
    }
    let windows = began.elapsed().as_millis() / window.as_millis() + 1;
    let status = store.status();
    assert_eq!((status.batches, status.values), (500, 500));
    // New segments cost one more each.
    let most = windows + u128::try_from(status.segments).unwrap();
    assert!(u128::from(status.syncs) <= most, "{status:?}");
    assert!(status.written < 2 * 500 * 100, "{status:?}");
    store.load(key(7));
    let loaded = done.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(loaded, Done::Loaded(key(7), Some(vec![7; 100].into())));
    assert_eq!(store.status(), status);
    store.close();
    assert_eq!(values(&mut open(&directory)).len(), 500);
}

#[test]
fn what_is_refused_is_forgotten_at_once() {
    let directory = TempDir::new();
    let (mut store, done) = start(open(&directory), Duration::from_secs(30));
    for id in 0..200 {
        store.commit(vec![put(id, 100 << 10), Change::Delete(key(id + 1000))]);
    }
    let queue = store.desk.lock();
    let kept: usize = queue.batches.iter().map(|it| size(&it.changes)).sum();
    assert_eq!(queue.bytes, kept);
    assert!(kept <= WAITING, "{kept}");
    drop(queue);
    store.close();
    let done: Vec<_> = done.try_iter().collect();
    let refused = |it: &&Done| matches!(it, Done::Batch(Err(_)));
    assert_eq!(done.len(), 200);
    assert!(done.iter().filter(refused).count() > 150);
}

#[test]
fn close_brings_to_the_disk_what_is_on_its_way() {
    let directory = TempDir::new();
    let (mut store, done) = start(open(&directory), Duration::from_secs(10));
    for id in 0..100 {
        store.commit(vec![put(id, 100)]);
    }
    store.load(key(99));
    store.close();
    let done: Vec<_> = done.try_iter().collect();
    assert_eq!(done.len(), 101);
    assert_eq!(done[100], Done::Loaded(key(99), Some(vec![99; 100].into())));
    assert_eq!(values(&mut open(&directory)).len(), 100);
}

#[test]
fn disk_is_written_at_most_six_times_the_payload_of_short_lived_messages() {
    let directory = TempDir::new();
    let mut keeper = open(&directory);
    for round in 0..300_u64 {
        let ids = || round * 10..(round + 1) * 10;
        commit(&mut keeper, ids().map(|id| put(id, 100)).collect()).unwrap();
        let gone = ids().map(|id| Change::Delete(key(id))).collect();
        commit(&mut keeper, gone).unwrap();
    }
    let status = keeper.status();
    let payload = 300 * 10 * 100;
    assert!(status.written <= 6 * payload, "{status:?}");
    assert_eq!(status.live, 0);
    assert!(status.total <= 64 << 10, "{status:?}");
}

#[test]
fn a_message_that_comes_alone_costs_two_writes() {
    let directory = TempDir::new();
    let mut keeper = open(&directory);
    for id in 0..50 {
        commit(&mut keeper, vec![put(id, 100)]).unwrap();
        commit(&mut keeper, vec![Change::Delete(key(id))]).unwrap();
    }
    let status = keeper.status();
    // And one for the directory, when the first segment is made.
    assert_eq!(status.syncs, 50 * 2 + 1);
    assert!(status.written <= 50 * 100 * 2, "{status:?}");
}

/// What the child of the kill test keeps: the last messages, and how many there have been.
const KEPT: u64 = 50;

const COUNTER: Key = Key {
    kind: Kind::Counters,
    id: 0,
};

fn nth(number: u64) -> Vec<Change> {
    let length = usize::try_from(number % 300).unwrap();
    let mut changes = vec![put(number, length)];
    changes.push(Change::Put(COUNTER, number.to_le_bytes().to_vec().into()));
    changes.extend(number.checked_sub(KEPT).map(|it| Change::Delete(key(it))));
    changes
}

/// The child of the test below, which runs it in a process of its own; else it does nothing.
#[test]
fn stores_until_it_is_killed() {
    let Some(directory) = std::env::var_os("STORE_UNTIL_KILLED") else {
        return;
    };
    let mut keeper = Keeper::open(Path::new(&directory), 256 << 10).unwrap();
    let mut next = 1;
    keeper.restore(|key, value| {
        if key == COUNTER {
            next = u64::from_le_bytes(value[..].try_into().unwrap()) + 1;
        }
    });
    let (store, done) = start(keeper, Duration::ZERO);
    let (mut asked, mut stored) = (next, next);
    loop {
        while asked < stored + 8 {
            store.commit(nth(asked));
            asked += 1;
        }
        let done = done.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(done, Done::Batch(Ok(())));
        println!("stored {stored}");
        stored += 1;
    }
}

#[test]
fn kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let directory = TempDir::new();
    let store = directory.path().join("store");
    let (mut total, mut random) = (0, 77_u32);
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "io::store::tests::stores_until_it_is_killed"])
            .arg("--nocapture")
            .env("STORE_UNTIL_KILLED", &store)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = lines.map_while(Result::ok).filter_map(|line| {
            let number = line.strip_prefix("stored ")?.parse::<u64>();
            number.ok()
        });
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut last = acknowledged.next().unwrap();
        for _ in 0..random >> 25 {
            last = acknowledged.next().unwrap();
        }
        // Wherever it is now: it does not wait for who reads.
        child.kill().unwrap();
        last = acknowledged.last().unwrap_or(last);
        child.wait().unwrap();
        let mut keeper = Keeper::open(&store, 256 << 10).unwrap();
        assert_eq!(keeper.status().damaged, 0, "round {round}");
        let (mut counter, mut found) = (0, Vec::new());
        keeper.restore(|key, value| match key.kind {
            Kind::Counters => counter = u64::from_le_bytes(value[..].try_into().unwrap()),
            _ => found.push((key.id, value.len())),
        });
        assert!(counter >= last, "round {round}: {last} of {counter}");
        let first = counter.saturating_sub(KEPT) + 1;
        let length = |it: u64| usize::try_from(it % 300).unwrap();
        let expected: Vec<_> = (first..=counter).map(|it| (it, length(it))).collect();
        assert_eq!(found, expected, "round {round}");
        total = counter;
    }
    assert!(total > 300, "only {total} batches were stored");
}
