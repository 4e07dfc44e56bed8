//! Keys and values that survive a crash, in the order of their keys: as little as the chat needs of a database.

mod disk;
mod memory;

pub use disk::DiskStore;
pub use memory::MemoryStore;

use std::io;
use std::ops::Range;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Which end of a range is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The smallest keys.
    Oldest,
    /// The largest keys; they come first in the answer.
    Newest,
}

/// What can be read, at one moment or inside a change.
pub trait Reading {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// What the disk has failed with; here and below.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// At most `limit` pairs of a range of keys.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    fn page(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Pair>>;

    /// The keys of at most `limit` pairs of a range. A store that can spares itself the values.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    fn keys(&self, keys: Range<&[u8]>, from: From, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        let page = self.page(keys, from, limit)?;
        Ok(page.into_iter().map(|(key, _)| key).collect())
    }
}

/// A change under way: reads what it has written itself.
pub trait Change: Reading {
    /// Sets the value of a key.
    ///
    /// # Errors
    ///
    /// As for [`get`](Reading::get).
    fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()>;

    /// Forgets a key, unless it is not there.
    ///
    /// # Errors
    ///
    /// As for [`get`](Reading::get).
    fn remove(&mut self, key: &[u8]) -> io::Result<()>;
}

/// A store. Threads: any that may block; changes come one after the other.
pub trait Store: Reading + Send + Sync + 'static {
    /// Makes one change: all of it or, when `work` fails, nothing. It is on the disk once this has returned.
    ///
    /// # Errors
    ///
    /// What `work` or the disk has failed with.
    fn change(&self, work: &mut dyn FnMut(&mut dyn Change) -> io::Result<()>) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pairs: &[Pair]) -> Vec<&[u8]> {
        pairs.iter().map(|(key, _)| &**key).collect()
    }

    /// What every store has to do.
    fn holds(store: &dyn Store) {
        store
            .change(&mut |change| {
                for key in [b"a1", b"a2", b"a3", b"b1"] {
                    change.put(key, b"old")?;
                }
                change.put(b"a2", b"new")?;
                change.remove(b"a1")?;
                assert_eq!(change.get(b"a2")?.as_deref(), Some(&b"new"[..]));
                assert_eq!(change.get(b"a1")?, None);
                let page = change.page(b"a"..b"b", From::Newest, 9)?;
                assert_eq!(keys(&page), [b"a3", b"a2"]);
                assert_eq!(change.keys(b"a"..b"b", From::Oldest, 9)?, [b"a2", b"a3"]);
                assert_eq!(change.keys(b"a"..b"c", From::Newest, 1)?, [b"b1"]);
                assert!(change.keys(b"b"..b"a", From::Newest, 1)?.is_empty());
                Ok(())
            })
            .expect("kept");
        let failed = store.change(&mut |change| {
            change.put(b"a2", b"never")?;
            change.remove(b"a3")?;
            Err(io::Error::other("no"))
        });
        assert!(failed.is_err());
        let value = store.get(b"a2").expect("readable");
        assert_eq!(value.as_deref(), Some(&b"new"[..]));
        let page = store.page(b"a"..b"c", From::Oldest, 2).expect("readable");
        assert_eq!(keys(&page), [b"a2", b"a3"]);
        let found = store.keys(b"a"..b"c", From::Oldest, 2).expect("readable");
        assert_eq!(found, [b"a2", b"a3"]);
        let page = store.page(b"a3"..b"b", From::Newest, 9).expect("readable");
        assert_eq!(keys(&page), [b"a3"]);
    }

    #[test]
    fn a_store_in_memory_changes_as_a_whole_or_not_at_all() {
        holds(&MemoryStore::default());
    }

    #[test]
    fn a_store_on_disk_does_the_same_and_is_there_after_a_restart() {
        let path = std::env::temp_dir().join(format!("chat-store-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let store = DiskStore::open(&path).expect("a new store");
        assert_eq!(store.get(b"a2").expect("readable"), None);
        holds(&store);
        drop(store);
        let store = DiskStore::open(&path).expect("the store");
        let value = store.get(b"a2").expect("readable");
        assert_eq!(value.as_deref(), Some(&b"new"[..]));
        drop(store);
        std::fs::remove_file(&path).expect("ours");
    }
}
