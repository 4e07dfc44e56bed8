//! A store that does what a test tells it to.

use std::io;
use std::ops::Range;
use std::sync::{Condvar, Mutex};

use chat::store::{Change, From, MemoryStore, Pair, Reading, Store};

/// How a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// Each change fails at its end.
    Broken,
    /// Each change panics.
    Mad,
    /// Each reading of several pairs panics, outside of a change.
    Blind,
    /// Each change waits until the store is anything else.
    Slow,
}

#[derive(Default)]
pub(crate) struct Fragile {
    store: MemoryStore,
    mood: Mutex<Mood>,
    changed: Condvar,
}

impl Fragile {
    pub(crate) fn is(&self, mood: Mood) {
        *self.mood.lock().expect("no panic") = mood;
        self.changed.notify_all();
    }

    fn mood(&self) -> Mood {
        let mood = self.mood.lock().expect("no panic");
        let slow = |mood: &mut Mood| *mood == Mood::Slow;
        *self.changed.wait_while(mood, slow).expect("no panic")
    }
}

impl Reading for Fragile {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.store.get(key)
    }

    fn page(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Pair>> {
        let blind = *self.mood.lock().expect("no panic") == Mood::Blind;
        assert!(!blind, "the store panics, as it was told to");
        self.store.page(keys, from, limit)
    }
}

impl Store for Fragile {
    fn change(&self, work: &mut dyn FnMut(&mut dyn Change) -> io::Result<()>) -> io::Result<()> {
        let mood = self.mood();
        assert!(mood != Mood::Mad, "the store panics, as it was told to");
        self.store.change(&mut |change| {
            work(change)?;
            match mood {
                Mood::Broken => Err(io::Error::other("the disk is full")),
                _ => Ok(()),
            }
        })
    }
}
