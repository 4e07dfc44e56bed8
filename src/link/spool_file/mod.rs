//! A file that keeps what links owe, and where receivers have got to (feature `spool`).

mod disk;
mod owed;
mod queue;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use self::disk::{Disk, Stored};
pub use self::owed::FileSpool;
use self::queue::{Bounds, Queue, State, Tenancy};
use super::position::Position;
use super::spool::Cursor;
use crate::codec::Codec;
use crate::error::{Error, ErrorKind};
use crate::limits::{SPOOL_BYTES_MAX, SPOOL_NAMES_MAX, SPOOL_WAITING_BYTES_MAX, SPOOL_WAITING_MAX};
use crate::panics::contain;
#[cfg(test)]
use crate::sync::lock;
use crate::thread_role;

/// How much a [`SpoolFile`] keeps, to be opened.
#[derive(Clone, Debug)]
pub struct SpoolFileBuilder(Bounds);

impl SpoolFileBuilder {
    /// Bytes of messages in the file at most, over all links; [`SPOOL_BYTES_MAX`] by default. One more comes back as
    /// [`SendError::Full`](crate::link::SendError::Full).
    #[must_use]
    pub const fn bytes_max(mut self, bytes: usize) -> Self {
        self.0.bytes = bytes;
        self
    }

    /// Messages that wait for the disk at most, over all links, besides those that are being written;
    /// [`SPOOL_WAITING_MAX`] by default, and [`SPOOL_WAITING_BYTES_MAX`] bytes of them.
    #[must_use]
    pub const fn waiting_max(mut self, count: usize) -> Self {
        self.0.waiting = count;
        self
    }

    /// Links, and cursors, in the file at most; [`SPOOL_NAMES_MAX`] each by default.
    #[must_use]
    pub const fn names_max(mut self, count: usize) -> Self {
        self.0.names = count;
        self
    }

    /// Opens the file, or makes it; reads all it keeps, and may wait for the disk.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misuse`] when the file is open, here or in another process; [`ErrorKind::Io`] when it cannot be
    /// read or is damaged; [`ErrorKind::Config`] when another version of this crate has made it.
    pub fn open(self, path: impl AsRef<Path>) -> Result<SpoolFile, Error> {
        let path = path.as_ref();
        self.start(path.display().to_string(), || Disk::open(path))
    }

    fn start(
        self,
        path: String,
        open: impl FnOnce() -> Result<Disk, Error>,
    ) -> Result<SpoolFile, Error> {
        // Bytes that nobody foresaw may make it panic.
        let opened = contain(|| {
            let disk = open()?;
            let (links, cursors) = disk.read()?;
            Ok((disk, links, cursors))
        });
        let opened = opened.map_err(|_| disk::damaged(&path, "reading it has panicked"))?;
        let (disk, links, cursors) = opened?;
        let messages = links.values().flat_map(|stored| &stored.messages);
        let bytes = messages.map(|(_, bytes)| bytes.len()).sum();
        let links = links.into_iter();
        let links = links.map(|(name, stored)| (name, Tenancy::Fresh(stored)));
        let state = State::new(bytes, links.collect(), cursors);
        let queue = Arc::new(Queue::new(disk, path, self.0, state));
        let theirs = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name("netwheel-spool".to_owned())
            .spawn(move || {
                // What links and programs are told runs here, and must not wait for what only this thread does.
                thread_role::become_io_thread();
                theirs.run();
            })
            .map_err(|error| Error::io("cannot start the thread of a spool", error))?;
        Ok(SpoolFile(Arc::new(Open {
            queue,
            thread: Some(thread),
        })))
    }
}

/// A file that keeps what links owe their peers, and where receivers have got to, over the death of the process.
///
/// One file serves all links of a program: [`spool`](Self::spool) is what one link owes, [`cursor`](Self::cursor)
/// where all links of one listener or dialer have got to. A clone is the same file; it is closed with the last of
/// them, its spools and its cursors. On an I/O thread that is not waited for: to open it again in the same process,
/// drop a clone last, on another thread.
///
/// ```
/// use netwheel::link::SpoolFile;
/// # let path = std::env::temp_dir().join(format!("netwheel-doc-{}", std::process::id()));
///
/// let file = SpoolFile::open(&path)?;
/// let cursor = file.cursor("orders"); // for LinkListenerBuilder::cursor
/// # drop((file, cursor));
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), netwheel::Error>(())
/// ```
/// # On the disk
///
/// It is a [redb](https://docs.rs/redb) database. A thread of the file's own writes: what has come while it was
/// writing goes with the next commit, which ends with one fsync. So a message is safe from the death of the process
/// and, as far as the disk keeps its word, of the machine; and senders share the cost of the fsync. What a peer has
/// acknowledged, and cursors, wait up to [`SPOOL_DELAY`](crate::limits::SPOOL_DELAY) for a message to go with.
///
/// A commit costs about what its fsync does. Commits of redb by itself, measured in one run, with values of 256 bytes,
/// on a virtual disk whose fsync takes 3.6 ms:
///
/// | messages in a commit | commit | messages a second |
/// |---|---|---|
/// | 1 | 4.0 ms | 250 |
/// | 16 | 4.9 ms | 3,200 |
/// | 256 | 3.9 ms | 65,000 |
/// | 4,096 | 25 ms | 165,000 |
///
/// So one thread that waits in [`Link::send`](crate::link::Link::send) sends no more than 250 a second there; many threads, or
/// [`send_then`](crate::link::Link::send_then), share the commits. The file grows with what it keeps at its fullest,
/// and does not shrink.
///
/// After an error of the disk nothing more is written until the file is opened again, since nobody knows what a
/// failed commit has left there: senders are told, and their messages come back; what was safe goes on to be sent.
/// A message that came back so may be sent after all by the next process.
///
/// Threads: any; only opening it, [`flush`](Self::flush), and the end of its last handle wait for the disk. A link
/// that is made a second time under one name reads it from the disk, while the first finds it in memory. Cost: a lock
/// and a copy for each message. Limit: see [`SpoolFileBuilder`]; of a link, its
/// [`OutboxRules`](crate::link::OutboxRules).
#[derive(Clone, Debug)]
pub struct SpoolFile(Arc<Open>);

struct Open {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl SpoolFile {
    /// Opens a file, or makes it, with the limits by default; reads all it keeps, and may wait for the disk.
    ///
    /// # Errors
    ///
    /// As for [`SpoolFileBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// A file with limits of its own.
    #[must_use]
    pub const fn builder() -> SpoolFileBuilder {
        SpoolFileBuilder(Bounds {
            bytes: SPOOL_BYTES_MAX,
            waiting: SPOOL_WAITING_MAX,
            waiting_bytes: SPOOL_WAITING_BYTES_MAX,
            names: SPOOL_NAMES_MAX,
        })
    }

    /// What one link owes, by a name that tells it from the others of the file; messages are kept in the bytes of
    /// `codec`, each of which must be readable without the one before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misuse`] while another link has the name; [`ErrorKind::OverLimit`] for one name too many.
    pub fn spool<C: Codec>(&self, name: &str, codec: C) -> Result<FileSpool<C>, Error> {
        let queue = &self.0.queue;
        let mut state = queue.lock();
        let full = state.links.len() >= queue.bounds.names;
        let stored = match state.links.get_mut(name) {
            None if full => {
                let text = format!("spool {} keeps as many links as it may", queue.path);
                return Err(Error::new(ErrorKind::OverLimit, text));
            }
            None => {
                state.links.insert(name.to_owned(), Tenancy::Taken);
                Some(Stored::default())
            }
            Some(tenancy) => match std::mem::replace(tenancy, Tenancy::Taken) {
                Tenancy::Fresh(stored) => Some(stored),
                Tenancy::Left => None,
                Tenancy::Taken => {
                    let text =
                        format!("another link has the name {name:?} in spool {}", queue.path);
                    return Err(Error::new(ErrorKind::Misuse, text));
                }
            },
        };
        drop(state);
        Ok(FileSpool::new(self.clone(), name, codec, stored))
    }

    /// Where the links of one listener or dialer have got to; `scope` tells it from the others of the file.
    ///
    /// It is kept beside the effects of messages: what was handled within
    /// [`SPOOL_DELAY`](crate::limits::SPOOL_DELAY) before a crash may be handled again, at the same
    /// [`Position`]. For once and only once, keep the position with the effect, see [`Cursor`].
    #[must_use]
    pub fn cursor(&self, scope: &str) -> FileCursor {
        FileCursor {
            file: self.clone(),
            scope: scope.to_owned(),
        }
    }

    /// Waits until all that was handed over is on the disk.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misuse`] on an I/O thread; and why the file could not be written.
    pub fn flush(&self) -> Result<(), Error> {
        thread_role::refuse_on_io_thread("wait for the disk of a spool")?;
        self.0.queue.flush()
    }
}

/// Writes what waits; a thread that may wait does so.
impl Drop for Open {
    fn drop(&mut self) {
        self.queue.end();
        // Not on that very thread, where the last handle may go in a callback.
        if let Some(thread) = self.thread.take()
            && thread_role::may_wait()
        {
            // It contains its panics.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.queue.path)
    }
}

/// Where the links of one listener or dialer have got to, in a [`SpoolFile`]; see [`SpoolFile::cursor`].
#[derive(Clone, Debug)]
pub struct FileCursor {
    file: SpoolFile,
    scope: String,
}

impl Cursor for FileCursor {
    fn load(&self, peer: &str) -> Result<Option<Position>, Error> {
        let state = self.file.0.queue.lock();
        let key = (self.scope.clone(), peer.to_owned());
        Ok(state.cursors.get(&key).copied())
    }

    fn store(&self, peer: &str, position: Position) -> Result<(), Error> {
        self.file.0.queue.store(&self.scope, peer, position)
    }
}
