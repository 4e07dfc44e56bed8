//! Slots with generations, beside a slab without them and a map.

use std::cell::RefCell;
use std::collections::HashMap;

use divan::Bencher;
use slab::Slab;

use crate::id::Key;
use crate::internal::slots::Slots;
use crate::random::Random;

const COUNTS: [usize; 3] = [1_000, 10_000, 100_000];

/// As large as a cache line, so that an entry is fetched like a connection's first.
type Entry = [u64; 8];

const ENTRY: Entry = [7; 8];

/// Finds an entry by what naming it gave.
trait Store {
    type Key: Copy;
    fn new() -> Self;
    fn insert(&mut self, entry: Entry) -> Self::Key;
    fn remove(&mut self, key: Self::Key) -> Option<Entry>;
    fn get(&mut self, key: Self::Key) -> Option<&mut Entry>;
}

/// A store with so many entries, and their keys.
struct Filled<S: Store> {
    store: S,
    keys: Vec<S::Key>,
    random: Random,
}

impl<S: Store> Filled<S> {
    fn new(count: usize) -> Self {
        let mut store = S::new();
        let keys = (0..count).map(|_| store.insert(ENTRY)).collect();
        Self {
            store,
            keys,
            random: Random::new(),
        }
    }

    fn any(&mut self) -> usize {
        self.random.below(self.keys.len())
    }
}

/// One of the entries is taken out and another put in.
#[divan::bench(types = [Slots<Entry>, Slab<Entry>, Map], args = COUNTS, sample_size = 100)]
fn remove_and_insert<S: Store>(bencher: Bencher<'_, '_>, count: usize) {
    let filled = RefCell::new(Filled::<S>::new(count));
    bencher
        .with_inputs(|| {
            let mut filled = filled.borrow_mut();
            let index = filled.any();
            filled.keys.swap_remove(index)
        })
        .bench_local_values(|key| {
            let filled = &mut *filled.borrow_mut();
            let removed = filled.store.remove(key);
            filled.keys.push(filled.store.insert(ENTRY));
            removed
        });
}

#[divan::bench(types = [Slots<Entry>, Slab<Entry>, Map], args = COUNTS, sample_size = 100)]
fn get<S: Store>(bencher: Bencher<'_, '_>, count: usize) {
    let filled = RefCell::new(Filled::<S>::new(count));
    bencher
        .with_inputs(|| {
            let mut filled = filled.borrow_mut();
            let index = filled.any();
            filled.keys[index]
        })
        .bench_local_values(|key| {
            let mut filled = filled.borrow_mut();
            filled.store.get(key).map(|entry| entry[0])
        });
}

impl Store for Slots<Entry> {
    type Key = Key;

    fn new() -> Self {
        Self::new()
    }

    fn insert(&mut self, entry: Entry) -> Key {
        self.insert(entry)
    }

    fn remove(&mut self, key: Key) -> Option<Entry> {
        self.remove(key)
    }

    fn get(&mut self, key: Key) -> Option<&mut Entry> {
        self.get_mut(key)
    }
}

/// Without generations: a stale key finds a stranger.
impl Store for Slab<Entry> {
    type Key = usize;

    fn new() -> Self {
        Self::new()
    }

    fn insert(&mut self, entry: Entry) -> usize {
        self.insert(entry)
    }

    fn remove(&mut self, key: usize) -> Option<Entry> {
        self.try_remove(key)
    }

    fn get(&mut self, key: usize) -> Option<&mut Entry> {
        self.get_mut(key)
    }
}

/// The standard library's map, with names that are never given out twice.
struct Map {
    entries: HashMap<u64, Entry>,
    named: u64,
}

impl Store for Map {
    type Key = u64;

    fn new() -> Self {
        Self {
            entries: HashMap::new(),
            named: 0,
        }
    }

    fn insert(&mut self, entry: Entry) -> u64 {
        self.named += 1;
        self.entries.insert(self.named, entry);
        self.named
    }

    fn remove(&mut self, key: u64) -> Option<Entry> {
        self.entries.remove(&key)
    }

    fn get(&mut self, key: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&key)
    }
}
