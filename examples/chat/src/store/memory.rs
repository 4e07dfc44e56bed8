//! A store in memory: for tests, simulated worlds, and servers that need not remember.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, Range};
use std::sync::Mutex;

use super::{Change, From, Pair, Reading, Store};
use crate::lock;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store that is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Pairs>);

/// A change, and what to put back if it fails.
struct Draft<'a> {
    pairs: &'a mut Pairs,
    before: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Reading for MemoryStore {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(lock(&self.0).get(key).cloned())
    }

    fn page(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Pair>> {
        Ok(page(&lock(&self.0), keys, from, limit))
    }

    fn keys(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        Ok(only_keys(&lock(&self.0), keys, from, limit))
    }
}

impl Store for MemoryStore {
    fn change(&self, work: &mut dyn FnMut(&mut dyn Change) -> io::Result<()>) -> io::Result<()> {
        let mut pairs = lock(&self.0);
        let mut draft = Draft {
            pairs: &mut pairs,
            before: Vec::new(),
        };
        let done = work(&mut draft);
        if done.is_err() {
            draft.undo();
        }
        done
    }
}

impl Draft<'_> {
    fn undo(self) {
        for (key, value) in self.before.into_iter().rev() {
            match value {
                Some(value) => drop(self.pairs.insert(key, value)),
                None => drop(self.pairs.remove(&key)),
            }
        }
    }
}

impl Reading for Draft<'_> {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.pairs.get(key).cloned())
    }

    fn page(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Pair>> {
        Ok(page(self.pairs, keys, from, limit))
    }

    fn keys(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        Ok(only_keys(self.pairs, keys, from, limit))
    }
}

impl Change for Draft<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let before = self.pairs.insert(key.to_vec(), value.to_vec());
        self.before.push((key.to_vec(), before));
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> io::Result<()> {
        let before = self.pairs.remove(key);
        self.before.push((key.to_vec(), before));
        Ok(())
    }
}

fn page(pairs: &Pairs, keys: Range<&[u8]>, from: From, limit: usize) -> Vec<Pair> {
    let own = |key: &Vec<u8>, value: &Vec<u8>| (key.clone(), value.clone());
    read(pairs, keys, from, limit, own)
}

fn only_keys(pairs: &Pairs, keys: Range<&[u8]>, from: From, limit: usize) -> Vec<Vec<u8>> {
    read(pairs, keys, from, limit, |key, _| key.clone())
}

/// What `own` takes of each pair of a range.
fn read<T>(
    pairs: &Pairs,
    keys: Range<&[u8]>,
    from: From,
    limit: usize,
    own: impl Fn(&Vec<u8>, &Vec<u8>) -> T,
) -> Vec<T> {
    if keys.start >= keys.end {
        return Vec::new();
    }
    let range = pairs.range::<[u8], _>((Bound::Included(keys.start), Bound::Excluded(keys.end)));
    let own = |(key, value)| own(key, value);
    match from {
        From::Oldest => range.take(limit).map(own).collect(),
        From::Newest => range.rev().take(limit).map(own).collect(),
    }
}
