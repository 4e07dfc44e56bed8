//! The file on a disk that loses power, fills up, and fails, against a model.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::codec::{Blob, Framing, LengthField};
use crate::link::spool::{Kept, Progress, Spool, Spooled};
use crate::random::Random;

type Message = bytes::Bytes;

/// Bytes in memory that behave like a disk: what was not synced may be lost, in any part and order.
#[derive(Clone, Debug, Default)]
struct Platter(Arc<Mutex<Tracks>>);

#[derive(Debug, Default)]
struct Tracks {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    /// Bytes that fit on it.
    room: Option<usize>,
}

#[derive(Debug)]
enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(len) => bytes.resize(*len, 0),
            Self::Bytes(at, new) => {
                let end = at + new.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*at..end].copy_from_slice(new);
            }
        }
    }
}

impl Platter {
    /// What a machine finds that comes back after a power failure: pages of what was not synced, or not.
    fn after_power_failure(&self, random: &mut Random) -> Self {
        let tracks = lock(&self.0);
        let mut bytes = tracks.synced.clone();
        let luck = random.below(3);
        for change in &tracks.unsynced {
            if luck == 2 || (luck == 1 && random.once_in(2)) {
                change.apply(&mut bytes);
            }
        }
        Self(Arc::new(Mutex::new(Tracks {
            now: bytes.clone(),
            synced: bytes,
            ..Tracks::default()
        })))
    }

    fn fill(&self) {
        let mut tracks = lock(&self.0);
        tracks.room = Some(0);
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut tracks = lock(&self.0);
        if tracks.room == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.apply(&mut tracks.now);
        tracks.unsynced.push(change);
        Ok(())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a small file")
}

impl redb::StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).now.len() as u64)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let at = index(offset);
        let tracks = lock(&self.0);
        let bytes = tracks.now.get(at..at + len);
        Ok(bytes.ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(index(len)))
    }

    fn sync_data(&self, _: bool) -> io::Result<()> {
        let mut tracks = lock(&self.0);
        for change in std::mem::take(&mut tracks.unsynced) {
            change.apply(&mut tracks.synced);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Bytes(index(offset), data.to_vec()))
    }
}

type Codec32 = crate::codec::Framed<LengthField, Blob>;

fn codec() -> Codec32 {
    LengthField::u32().then(Blob)
}

fn open(platter: &Platter) -> Result<SpoolFile, Error> {
    let platter = platter.clone();
    SpoolFile::builder().start("memory".to_owned(), move || Disk::open_on(platter))
}

/// A link's side of its spool: what it was told.
struct Owner {
    spool: FileSpool<Codec32>,
    loaded: Spooled<Message>,
    told: Receiver<Result<u64, Error>>,
}

impl Owner {
    fn new(file: &SpoolFile, name: &str) -> Self {
        let mut spool = file.spool(name, codec()).expect("a free name");
        let loaded = spool.load().expect("a sound file");
        let (tell, told) = channel();
        spool.watch(Progress::new(move |result| {
            let _ = tell.send(result);
        }));
        Self {
            spool,
            loaded,
            told,
        }
    }

    fn numbers(&self) -> Vec<u64> {
        self.loaded.messages.iter().map(|(seq, _)| *seq).collect()
    }

    fn append(&mut self, seq: u64) -> Result<Kept, Error> {
        self.spool.append(seq, &body(seq))
    }
}

/// What a message of this number says, so that a wrong one shows.
fn body(seq: u64) -> Message {
    let len = usize::try_from(seq * 37 % 3000).expect("small");
    let mut bytes = seq.to_be_bytes().to_vec();
    bytes.resize(8 + len, b'.');
    bytes.into()
}

#[derive(Clone, Debug)]
enum Step {
    /// Messages, by link and how many.
    Append(usize, u64),
    /// One of those that the link keeps.
    Forget(usize, usize),
    Store(u64),
    Flush,
    Restart,
    PowerFailure,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_usize, 1..20_u64).prop_map(|(link, count)| Step::Append(link, count)),
        4 => (0..2_usize, any::<usize>()).prop_map(|(link, nth)| Step::Forget(link, nth)),
        1 => any::<u64>().prop_map(Step::Store),
        2 => Just(Step::Flush),
        1 => Just(Step::Restart),
        1 => Just(Step::PowerFailure),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a link was promised: which of its messages are safe, which were taken and not, which need not come back.
#[derive(Debug)]
struct Model {
    epoch: u64,
    next: u64,
    safe: Vec<u64>,
    taken: Vec<u64>,
    forgotten: Vec<u64>,
}

impl Model {
    fn flushed(&mut self) {
        self.safe.append(&mut self.taken);
        self.forgotten.clear();
    }

    /// Holds what was found against the promise, and goes on from there.
    fn hold(&mut self, owner: &Owner) {
        let found = owner.numbers();
        assert!(
            found.is_sorted_by(|a, b| a < b),
            "in order, each once: {found:?}"
        );
        for seq in &self.safe {
            assert!(found.contains(seq), "message {seq} was safe: {found:?}");
        }
        for (seq, message) in &owner.loaded.messages {
            let known = [&self.safe, &self.taken, &self.forgotten];
            assert!(
                known.iter().any(|seqs| seqs.contains(seq)),
                "{seq} has come from nowhere"
            );
            assert_eq!(*message, body(*seq));
        }
        // A batch is on the disk whole or not at all.
        let came = self.taken.iter().filter(|seq| found.contains(seq)).count();
        let first: Vec<u64> = self.taken.iter().copied().take(came).collect();
        assert!(
            first.iter().all(|seq| found.contains(seq)),
            "{found:?} {self:?}"
        );
        let sent = self.next - 1 - self.taken.len() as u64;
        assert!(
            owner.loaded.next > sent,
            "a number that the peer may have seen again"
        );
        assert!(found.iter().all(|seq| *seq < owner.loaded.next));
        if sent > 0 {
            assert_eq!(owner.loaded.epoch, self.epoch);
        }
        (self.epoch, self.next) = (owner.loaded.epoch, owner.loaded.next);
        self.safe = found;
        self.taken.clear();
        self.forgotten.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_happens_the_file_keeps_what_it_has_promised(steps in steps(), seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let mut platter = Platter::default();
        let mut file = open(&platter).unwrap();
        let mut owners = [Owner::new(&file, "a"), Owner::new(&file, "b")];
        let mut models = owners.each_ref().map(|owner| Model {
            epoch: owner.loaded.epoch,
            next: 1,
            safe: Vec::new(),
            taken: Vec::new(),
            forgotten: Vec::new(),
        });
        let (mut cursor, mut durable) = (None, None);
        for step in steps {
            match step {
                Step::Append(link, count) => for _ in 0..count {
                    let model = &mut models[link];
                    prop_assert_eq!(owners[link].append(model.next).unwrap(), Kept::Writing);
                    model.taken.push(model.next);
                    model.next += 1;
                },
                Step::Forget(link, nth) => {
                    let model = &mut models[link];
                    if !model.safe.is_empty() {
                        let seq = model.safe.remove(nth % model.safe.len());
                        owners[link].spool.forget(seq).unwrap();
                        model.forgotten.push(seq);
                    }
                }
                Step::Store(seq) => {
                    cursor = Some(Position::new(5, seq));
                    file.cursor("in").store("a", Position::new(5, seq)).unwrap();
                }
                Step::Flush => {
                    file.flush().unwrap();
                    models.iter_mut().for_each(Model::flushed);
                    durable = cursor;
                }
                Step::Restart | Step::PowerFailure => {
                    let fails = matches!(step, Step::PowerFailure);
                    let after = fails.then(|| platter.after_power_failure(&mut random));
                    drop(owners);
                    drop(file);
                    match after {
                        Some(after) => platter = after,
                        None => {
                            models.iter_mut().for_each(Model::flushed);
                            durable = cursor;
                        }
                    }
                    file = open(&platter).unwrap();
                    owners = [Owner::new(&file, "a"), Owner::new(&file, "b")];
                    for (owner, model) in owners.iter().zip(&mut models) {
                        model.hold(owner);
                    }
                    let found = file.cursor("in").load("a").unwrap();
                    prop_assert!(found.is_some() || durable.is_none());
                    (cursor, durable) = (found, found);
                }
            }
        }
    }
}

#[test]
fn what_is_told_to_be_safe_survives_a_power_failure_at_that_very_moment() {
    let platter = Platter::default();
    let file = open(&platter).unwrap();
    let mut owner = Owner::new(&file, "a");
    let mut random = Random::new(7);
    for seq in 1..=12 {
        owner.append(seq).unwrap();
        let safe = owner.told.recv().unwrap().unwrap();
        assert_eq!(safe, seq);
        let after = open(&platter.after_power_failure(&mut random)).unwrap();
        let numbers = Owner::new(&after, "a").numbers();
        assert_eq!(numbers, (1..=seq).collect::<Vec<_>>());
    }
}

#[test]
fn a_full_disk_is_told_and_what_was_safe_is_there_once_it_is_opened_again() {
    let platter = Platter::default();
    let file = open(&platter).unwrap();
    let mut owner = Owner::new(&file, "a");
    owner.append(1).unwrap();
    file.flush().unwrap();
    assert!(matches!(owner.told.recv(), Ok(Ok(1))));
    platter.fill();
    owner.append(2).unwrap();
    let error = owner.told.recv().unwrap().unwrap_err();
    assert!(error.to_string().contains("make room"), "{error}");
    let error = owner.append(3).unwrap_err();
    assert!(error.to_string().contains("make room"), "{error}");
    assert!(file.flush().is_err());
    assert!(file.cursor("in").store("a", Position::new(1, 1)).is_err());
    drop((owner, file));
    let after = open(&platter.after_power_failure(&mut Random::new(1))).unwrap();
    assert_eq!(Owner::new(&after, "a").numbers()[..1], [1]);
}
