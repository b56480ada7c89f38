//! The log against a model, on a disk that tears writes and flips bits.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;

type Files = BTreeMap<u32, Vec<u8>>;
type State = BTreeMap<Key, Bytes>;

const LIMITS: Limits = Limits { max_bytes: 1 << 20 };

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below).unwrap()).unwrap()
    }
}

/// What was done to the disk.
enum Step {
    Write(Group),
    Remove(u32),
}

/// A log on a disk in memory, with every state that was committed.
struct Run {
    chain: Chain,
    files: Files,
    state: State,
    steps: Vec<(Step, State)>,
    written: usize,
    deleted: usize,
    payload: usize,
}

fn write(files: &mut Files, group: &Group, bytes: &[u8]) {
    let file = files.entry(group.segment).or_default();
    file.truncate(usize::try_from(group.offset).unwrap());
    file.extend_from_slice(bytes);
}

fn key(kind: Kind, id: u64) -> Key {
    Key { kind, id }
}

impl Run {
    fn new(limits: Limits) -> Self {
        Self {
            chain: Chain::new(limits),
            files: Files::new(),
            state: State::new(),
            steps: Vec::new(),
            written: 0,
            deleted: 0,
            payload: 0,
        }
    }

    fn commit(&mut self, batches: &[Vec<Change>]) {
        let size: usize = batches.iter().flatten().map(size).sum();
        let moved: Vec<_> = self
            .chain
            .to_move((size * 4).max(4096))
            .into_iter()
            .map(|(key, place)| (key, load(&self.files, key, place).unwrap()))
            .collect();
        let batches = batches.iter().map(Vec::as_slice);
        let group = self.chain.group(batches.clone(), &moved).unwrap();
        write(&mut self.files, &group, &group.bytes);
        self.written += group.bytes.len();
        self.chain.commit(&group);
        for change in batches.flatten() {
            match change {
                Change::Put(key, value) => {
                    self.payload += value.len();
                    self.state.insert(*key, value.clone());
                }
                Change::Delete(key) => {
                    self.deleted += 1;
                    self.state.remove(key);
                }
            }
        }
        self.steps.push((Step::Write(group), self.state.clone()));
        while let Some(number) = self.chain.removable() {
            self.files.remove(&number).unwrap();
            self.chain.removed();
            self.steps.push((Step::Remove(number), self.state.clone()));
        }
    }

    /// Random work of all kinds.
    fn work(dice: &mut Dice, limits: Limits, commits: usize) -> Self {
        let mut run = Self::new(limits);
        for id in 0..commits {
            let batches: Vec<Vec<Change>> = (0..=dice.roll(3))
                .map(|_| (0..=dice.roll(4)).map(|_| change(dice, id)).collect())
                .collect();
            run.commit(&batches);
        }
        run
    }
}

fn change(dice: &mut Dice, round: usize) -> Change {
    let kinds = [Kind::Counters, Kind::Session, Kind::Message, Kind::Message];
    let kind = kinds[dice.roll(4)];
    let near = match kind {
        Kind::Message => round + dice.roll(8),
        _ => dice.roll(6),
    };
    let key = key(kind, u64::try_from(near).unwrap());
    if dice.roll(5) < 2 {
        return Change::Delete(key);
    }
    let value: Vec<u8> = (0..dice.roll(120))
        .map(|_| u8::try_from(dice.roll(256)).unwrap())
        .collect();
    Change::Put(key, value.into())
}

fn size(change: &Change) -> usize {
    match change {
        Change::Put(_, value) => value.len(),
        Change::Delete(_) => 4,
    }
}

fn load(files: &Files, key: Key, place: Place) -> Option<Bytes> {
    let start = usize::try_from(place.offset).unwrap();
    let end = start + usize::try_from(place.length).unwrap();
    let bytes = files.get(&place.segment)?.get(start..end)?;
    value(key, bytes).map(Bytes::copy_from_slice)
}

/// Opens what is on the disk; tells what was found beside the log.
fn open(files: &Files, limits: Limits) -> (Chain, Vec<Reading>) {
    let mut chain = Chain::new(limits);
    let mut readings = Vec::new();
    let mut rest = files.iter().peekable();
    while let Some((number, file)) = rest.next() {
        let length = rest.peek().map(|(next, file)| match look(**next, file) {
            Format::Known(before) => before.unwrap_or_default(),
            Format::Newer(version) => panic!("version {version}"),
        });
        readings.push(chain.replay(*number, file, length));
    }
    (chain, readings)
}

fn state(files: &Files, chain: &Chain) -> State {
    let read = |key: Key| {
        let place = chain.place(key)?;
        Some((key, load(files, key, place)?))
    };
    chain.keys().into_iter().filter_map(read).collect()
}

#[test]
fn a_segment_is_about_a_32nd_of_the_store() {
    let run = Run::work(&mut Dice(5), LIMITS, 3000);
    let full = run.files.len() - 1;
    assert!(full > 1, "{full} are full");
    let most = LIMITS.max_bytes / 32;
    for file in run.files.values().take(full) {
        let length = file.len();
        assert!((most / 2..=most * 3 / 2).contains(&length), "{length}");
    }
}

#[test]
fn torn_write_opens_to_what_was_committed_wherever_it_is_cut() {
    let limits = Limits { max_bytes: 1 << 15 };
    let run = Run::work(&mut Dice(7), limits, 240);
    let removed = run
        .steps
        .iter()
        .any(|(it, _)| matches!(it, Step::Remove(_)));
    assert!(removed, "the run is to remove segments");
    let mut files = Files::new();
    let mut before = State::new();
    for (number, (step, after)) in run.steps.iter().enumerate() {
        match step {
            Step::Remove(number) => {
                files.remove(number);
                let (chain, _) = open(&files, limits);
                assert_eq!(&state(&files, &chain), after);
            }
            Step::Write(group) => {
                for cut in 0..=group.bytes.len() {
                    // A sample of the steps is cut at every byte, each at some.
                    if number % 80 != 0 && cut % 199 != 0 && cut != group.bytes.len() {
                        continue;
                    }
                    let (start, end) = group.bytes.split_at(cut);
                    let zeros = vec![0; end.len()];
                    let hole = [&vec![0; start.len()], end].concat();
                    let padded = [start, &zeros].concat();
                    for bytes in [start, &hole[..], &padded] {
                        let mut torn = files.clone();
                        write(&mut torn, group, bytes);
                        let (chain, readings) = open(&torn, limits);
                        let expected = if bytes == group.bytes { after } else { &before };
                        assert_eq!(&state(&torn, &chain), expected, "step {number} at {cut}");
                        let damage = readings.iter().find_map(|it| it.damage.as_ref());
                        assert_eq!(damage, None, "step {number} at {cut}");
                    }
                }
                write(&mut files, group, &group.bytes);
            }
        }
        before.clone_from(after);
    }
}

#[test]
fn what_was_opened_goes_on_as_if_it_had_not_been_closed() {
    let mut dice = Dice(3);
    let mut run = Run::work(&mut dice, LIMITS, 50);
    for round in 0..200 {
        let (chain, readings) = open(&run.files, LIMITS);
        assert!(readings.iter().all(|it| *it == Reading::default()));
        assert_eq!(state(&run.files, &chain), run.state);
        assert_eq!(chain.live(), run.chain.live());
        assert_eq!(chain.total(), run.chain.total());
        assert_eq!(chain.last(), run.chain.last());
        run.chain = chain;
        let changes = (0..40).map(|_| change(&mut dice, round)).collect();
        run.commit(&[changes]);
    }
}

#[test]
fn flipped_bits_never_give_a_wrong_value_and_are_told_before_the_last_write() {
    let limits = Limits { max_bytes: 1 << 15 };
    let mut dice = Dice(11);
    let run = Run::work(&mut dice, limits, 300);
    let mut all: BTreeMap<Key, Vec<Bytes>> = BTreeMap::new();
    for (_, state) in &run.steps {
        for (key, value) in state {
            let values = all.entry(*key).or_default();
            if values.last() != Some(value) {
                values.push(value.clone());
            }
        }
    }
    let writes = run.steps.iter().rev().find_map(|(step, _)| match step {
        Step::Write(group) => Some((group.segment, group.offset)),
        Step::Remove(_) => None,
    });
    let (last, offset) = writes.unwrap();
    for _ in 0..600 {
        let mut files = run.files.clone();
        let at = dice.roll(files.len());
        let (number, file) = files.iter_mut().nth(at).unwrap();
        let byte = dice.roll(file.len());
        file[byte] ^= 1 << dice.roll(8);
        let in_last = *number == last && byte >= usize::try_from(offset).unwrap();
        let (chain, readings) = open(&files, limits);
        let found = state(&files, &chain);
        for (key, value) in &found {
            assert!(all[key].contains(value), "{key:?}");
        }
        let told = readings.iter().any(|it| it.damage.is_some());
        let torn = readings.iter().any(|it| it.torn > 0);
        if in_last {
            assert!(torn || told, "in the last write, at {byte}");
        } else {
            assert!(told, "segment {at} at {byte}");
        }
        // A flip after the start is met when the value is read.
        let mut rotten = run.files.clone();
        let file = rotten.values_mut().nth(at).unwrap();
        file[byte] ^= 1 << dice.roll(8);
        for (key, value) in state(&rotten, &run.chain) {
            assert_eq!(run.state[&key], value);
        }
    }
}

#[test]
fn missing_end_of_a_segment_is_told() {
    let run = Run::work(&mut Dice(5), Limits { max_bytes: 1 << 15 }, 300);
    let mut files = run.files.clone();
    assert!(files.len() > 1);
    files.first_entry().unwrap().get_mut().clear();
    let (_, readings) = open(&files, LIMITS);
    assert!(readings[0].damage.is_some(), "{readings:?}");
}

#[test]
fn disk_is_written_at_most_twice_the_payload_when_messages_come_and_go() {
    let mut run = Run::new(LIMITS);
    let message = Bytes::from(vec![b'x'; 100]);
    for round in 0..3000_u64 {
        let keys = |round: u64| (0..10).map(move |it| key(Kind::Message, round * 10 + it));
        let put = |key| Change::Put(key, message.clone());
        run.commit(&[keys(round).map(put).collect()]);
        if let Some(old) = round.checked_sub(100) {
            run.commit(&[keys(old).map(Change::Delete).collect()]);
        }
    }
    let ratio = run.written * 100 / run.payload;
    assert!(ratio <= 200, "{ratio} % of the payload");
}

#[test]
fn disk_is_written_at_most_six_times_the_payload_when_much_lives_for_long() {
    let mut run = Run::new(LIMITS);
    let mut dice = Dice(9);
    let message = Bytes::from(vec![b'x'; 100]);
    // As much as there is room for, replaced in no order: the worst there is for a log.
    let count = LIMITS.live() / 110;
    for round in 0..6000 {
        let ids: Vec<_> = (0..10).map(|_| dice.roll(count)).collect();
        let put = |id| Change::Put(key(Kind::Retained, id), message.clone());
        let ids = ids.into_iter().map(|it| u64::try_from(it).unwrap());
        let changes: Vec<_> = ids.map(put).collect();
        if run.chain.growth(&changes, 0).is_some() {
            run.commit(&[changes]);
        }
        let total = run.chain.total();
        assert!(total <= LIMITS.max_bytes, "{total} bytes in round {round}");
        run.steps.clear();
    }
    let ratio = run.written * 100 / run.payload;
    assert!(ratio <= 600, "{ratio} % of the payload");
}

#[test]
fn what_makes_nothing_grow_finds_room_in_a_full_log() {
    let mut run = Run::new(LIMITS);
    let value = Bytes::from(vec![0; 1000]);
    let put = |id| vec![Change::Put(key(Kind::Message, id), value.clone())];
    let full = (0..).find(|id| match run.chain.growth(&put(*id), 0) {
        Some(_) => {
            run.commit(&[put(*id)]);
            false
        }
        None => true,
    });
    let full = full.unwrap();
    assert!(run.chain.live() <= LIMITS.live());
    assert!(run.chain.live() + 1100 > LIMITS.live());
    assert_eq!(
        run.chain
            .growth(&[Change::Delete(key(Kind::Message, 9999))], 0),
        Some(0)
    );
    assert_eq!(run.chain.growth(&put(full - 1), 0), Some(0));
    let swap = [vec![Change::Delete(key(Kind::Message, 0))], put(full)].concat();
    assert!(run.chain.growth(&swap, 0).is_some());
    assert_eq!(run.chain.growth(&put(0), 1 << 20), Some(0));
}
