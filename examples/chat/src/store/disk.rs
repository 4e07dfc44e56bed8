//! The store on a disk: redb, one table.

use std::io;
use std::ops::Range;
use std::path::Path;

use redb::{AccessGuard, Database, ReadableTable, StorageError, Table, TableDefinition};

use super::{Change, From, Pair, Reading, Store};

const PAIRS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("chat");

/// A store in one file. A change is flushed to the disk before it counts, so a crash loses none.
#[derive(Debug)]
pub struct DiskStore(Database);

impl DiskStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// When it cannot be written, is no such store, or another process has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        let database = Database::create(path).map_err(io::Error::other)?;
        let write = database.begin_write().map_err(io::Error::other)?;
        // Readers look for it from now on.
        write.open_table(PAIRS).map_err(io::Error::other)?;
        write.commit().map_err(io::Error::other)?;
        Ok(Self(database))
    }
}

impl Reading for DiskStore {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let read = self.0.begin_read().map_err(io::Error::other)?;
        get(&read.open_table(PAIRS).map_err(io::Error::other)?, key)
    }

    fn page(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Pair>> {
        let read = self.0.begin_read().map_err(io::Error::other)?;
        let table = read.open_table(PAIRS).map_err(io::Error::other)?;
        page(&table, keys, from, limit)
    }

    fn keys(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        let read = self.0.begin_read().map_err(io::Error::other)?;
        let table = read.open_table(PAIRS).map_err(io::Error::other)?;
        only_keys(&table, keys, from, limit)
    }
}

impl Store for DiskStore {
    fn change(&self, work: &mut dyn FnMut(&mut dyn Change) -> io::Result<()>) -> io::Result<()> {
        // One that is dropped without a commit has never been.
        let write = self.0.begin_write().map_err(io::Error::other)?;
        let table = write.open_table(PAIRS).map_err(io::Error::other)?;
        let mut draft = Draft(table);
        work(&mut draft)?;
        drop(draft);
        write.commit().map_err(io::Error::other)
    }
}

type Found<'a> = (
    AccessGuard<'a, &'static [u8]>,
    AccessGuard<'a, &'static [u8]>,
);

struct Draft<'a>(Table<'a, &'static [u8], &'static [u8]>);

impl Reading for Draft<'_> {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        get(&self.0, key)
    }

    fn page(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Pair>> {
        page(&self.0, keys, from, limit)
    }

    fn keys(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        only_keys(&self.0, keys, from, limit)
    }
}

impl Change for Draft<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let before = self.0.insert(key, value).map_err(io::Error::other)?;
        drop(before);
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> io::Result<()> {
        let before = self.0.remove(key).map_err(io::Error::other)?;
        drop(before);
        Ok(())
    }
}

fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> io::Result<Option<Vec<u8>>> {
    let value = table.get(key).map_err(io::Error::other)?;
    Ok(value.map(|value| value.value().to_vec()))
}

fn page(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    keys: Range<&[u8]>,
    from: From,
    limit: usize,
) -> io::Result<Vec<Pair>> {
    read(table, keys, from, limit, |key, value| {
        (key.to_vec(), value.to_vec())
    })
}

fn only_keys(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    keys: Range<&[u8]>,
    from: From,
    limit: usize,
) -> io::Result<Vec<Vec<u8>>> {
    read(table, keys, from, limit, |key, _| key.to_vec())
}

/// What `own` takes of each pair of a range.
fn read<T>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    keys: Range<&[u8]>,
    from: From,
    limit: usize,
    own: impl Fn(&[u8], &[u8]) -> T,
) -> io::Result<Vec<T>> {
    if keys.start >= keys.end {
        return Ok(Vec::new());
    }
    let range = table.range::<&[u8]>(keys).map_err(io::Error::other)?;
    let own = |pair: Result<Found<'_>, StorageError>| {
        let (key, value) = pair.map_err(io::Error::other)?;
        Ok(own(key.value(), value.value()))
    };
    match from {
        From::Oldest => range.take(limit).map(own).collect(),
        From::Newest => range.rev().take(limit).map(own).collect(),
    }
}
