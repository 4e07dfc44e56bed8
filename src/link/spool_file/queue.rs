//! What waits for the disk, and the thread that takes it there: all that has come meanwhile in one commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::disk::{Cursors, Disk};
use crate::error::{Error, ErrorKind};
use crate::limits::SPOOL_DELAY;
use crate::link::Position;
use crate::link::spool::Progress;
use crate::panics::contain;
use crate::sync::lock;

/// One link in the file.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) name: String,
    pub(super) epoch: u64,
    pub(super) progress: OnceLock<Progress>,
}

/// One thing to write.
#[derive(Debug)]
pub(super) enum Op {
    Append {
        seat: Arc<Seat>,
        seq: u64,
        bytes: Vec<u8>,
    },
    Forget {
        seat: Arc<Seat>,
        seq: u64,
    },
}

/// What goes to the disk in one commit, in the order in which it was asked for.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) ops: Vec<Op>,
    pub(super) cursors: Cursors,
    /// Messages among them, and their bytes. Each of them is forgotten once at most, which bounds the rest.
    messages: usize,
    bytes: usize,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.cursors.is_empty()
    }

    /// The links that have messages in it, each with the number of its last one.
    pub(super) fn reached(&self) -> impl Iterator<Item = (&Arc<Seat>, u64)> {
        let mut reached: HashMap<&str, (&Arc<Seat>, u64)> = HashMap::new();
        for op in &self.ops {
            if let Op::Append { seat, seq, .. } = op {
                reached.insert(&seat.name, (seat, *seq));
            }
        }
        reached.into_values()
    }
}

/// How much may wait, and how much may be in the file.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) waiting: usize,
    pub(super) waiting_bytes: usize,
    pub(super) names: usize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    batch: Batch,
    /// Bytes of all messages that the file keeps or will.
    bytes: usize,
    /// What is known of links by name: that they are in use, or not yet asked for with what was read at the start.
    pub(super) links: BTreeMap<String, Tenancy>,
    pub(super) cursors: Cursors,
    /// Batches begun and done, so that one can wait for all before.
    begun: u64,
    done: u64,
    /// Somebody waits for the disk: nothing is put off.
    urgent: bool,
    ended: bool,
    failed: Option<String>,
}

/// Who has a link's place in the file.
#[derive(Debug)]
pub(super) enum Tenancy {
    /// Nobody has asked for it since the start.
    Fresh(super::disk::Stored),
    Taken,
    /// Somebody had it: what it keeps is on the disk only.
    Left,
}

/// What handles and the thread share.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) bounds: Bounds,
    pub(super) path: String,
    state: Mutex<State>,
    /// There is something for the thread.
    work: Condvar,
    /// A batch is done.
    progress: Condvar,
    /// `None` once the file is closed.
    disk: Mutex<Option<Disk>>,
    thread: OnceLock<ThreadId>,
}

impl Queue {
    pub(super) fn new(disk: Disk, path: String, bounds: Bounds, state: State) -> Self {
        Self {
            bounds,
            path,
            state: Mutex::new(state),
            work: Condvar::new(),
            progress: Condvar::new(),
            disk: Mutex::new(Some(disk)),
            thread: OnceLock::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Takes a message to be written.
    pub(super) fn append(&self, seat: &Arc<Seat>, seq: u64, bytes: Vec<u8>) -> Result<(), Error> {
        let mut state = self.lock();
        state.check()?;
        let (batch, bounds, size) = (&state.batch, &self.bounds, bytes.len());
        let waits = batch.messages >= bounds.waiting
            || (batch.messages > 0 && batch.bytes.saturating_add(size) > bounds.waiting_bytes);
        if waits || state.bytes.saturating_add(size) > bounds.bytes {
            let text = if waits {
                "the disk does not keep up"
            } else {
                "it is full"
            };
            let text = format!("spool {} takes no message now: {text}", self.path);
            return Err(Error::new(ErrorKind::OverLimit, text));
        }
        state.bytes += size;
        state.batch.messages += 1;
        state.batch.bytes += size;
        let seat = Arc::clone(seat);
        state.batch.ops.push(Op::Append { seat, seq, bytes });
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    pub(super) fn forget(&self, seat: &Arc<Seat>, seq: u64, size: usize) -> Result<(), Error> {
        let mut state = self.lock();
        state.check()?;
        state.bytes -= size;
        let seat = Arc::clone(seat);
        state.batch.ops.push(Op::Forget { seat, seq });
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Notes a cursor; of several before a commit the last is written.
    pub(super) fn store(&self, scope: &str, peer: &str, at: Position) -> Result<(), Error> {
        let mut state = self.lock();
        state.check()?;
        let key = (scope.to_owned(), peer.to_owned());
        if !state.cursors.contains_key(&key) && state.cursors.len() >= self.bounds.names {
            let text = format!(
                "spool {} keeps cursors of as many peers as it may",
                self.path
            );
            return Err(Error::new(ErrorKind::OverLimit, text));
        }
        state.cursors.insert(key.clone(), at);
        state.batch.cursors.insert(key, at);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Waits until all that was handed over before is on the disk.
    pub(super) fn flush(&self) -> Result<(), Error> {
        if self.thread.get() == Some(&thread::current().id()) {
            let text = format!("spool {}: its own thread cannot wait for it", self.path);
            return Err(Error::new(ErrorKind::Misuse, text));
        }
        let mut state = self.lock();
        // What waits now goes with the batch after the one that is being written.
        let until = state.begun + u64::from(!state.batch.is_empty());
        state.urgent |= !state.batch.is_empty();
        self.work.notify_one();
        while state.done < until && state.failed.is_none() {
            state = self
                .progress
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.check()
    }

    /// Reads what the file keeps of a link that has left it.
    pub(super) fn reload(&self, name: &str) -> Result<super::disk::Stored, Error> {
        self.flush()?;
        match &*lock(&self.disk) {
            Some(disk) => disk.reload(name),
            None => Err(Error::new(ErrorKind::Closed, "the spool is closed")),
        }
    }

    /// No handle is left: the thread writes what waits, and ends.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.work.notify_one();
    }

    /// The thread.
    pub(super) fn run(&self) {
        self.thread.get_or_init(|| thread::current().id());
        while let Some(batch) = self.next_batch() {
            let written = match &*lock(&self.disk) {
                Some(disk) => contain(|| disk.commit(&batch)).unwrap_or_else(|_| {
                    Err(super::disk::damaged(&self.path, "writing it has panicked"))
                }),
                None => Ok(()),
            };
            match written {
                Ok(()) => self.succeed(&batch),
                Err(error) => self.fail(&batch, &error),
            }
        }
        // Closing it writes too.
        let disk = lock(&self.disk).take();
        if contain(|| drop(disk)).is_err() {
            log::error!(target: "netwheel::link", "spool {}: closing it has panicked", self.path);
        }
    }

    /// All that waits, as soon as there is a message among it, or the rest has waited for long enough.
    fn next_batch(&self) -> Option<Batch> {
        let mut state = self.lock();
        let mut patience = SPOOL_DELAY;
        loop {
            let hurries = state.urgent || state.ended || state.batch.messages > 0;
            if !state.batch.is_empty() && (hurries || patience.is_zero()) {
                break;
            }
            if state.ended {
                return None;
            }
            if state.batch.is_empty() {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.work.wait_timeout_while(state, patience, |state| {
                !state.urgent && !state.ended && state.batch.messages == 0
            });
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            patience = Duration::ZERO;
        }
        state.urgent = false;
        state.begun += 1;
        Some(std::mem::take(&mut state.batch))
    }

    fn succeed(&self, batch: &Batch) {
        self.lock().done += 1;
        self.progress.notify_all();
        for (seat, seq) in batch.reached() {
            if let Some(progress) = seat.progress.get() {
                tell(|| progress.safe(seq));
            }
        }
    }

    /// Nothing more is written: what a failed commit has left on the disk nobody knows before it is read again.
    fn fail(&self, batch: &Batch, error: &Error) {
        let waiting = {
            let mut state = self.lock();
            state.failed.get_or_insert_with(|| error.to_string());
            state.done += 1;
            std::mem::take(&mut state.batch)
        };
        self.progress.notify_all();
        for (seat, _) in batch.reached().chain(waiting.reached()) {
            if let Some(progress) = seat.progress.get() {
                tell(|| progress.failed(Error::new(ErrorKind::Io, error.to_string())));
            }
        }
    }
}

impl State {
    pub(super) fn new(bytes: usize, links: BTreeMap<String, Tenancy>, cursors: Cursors) -> Self {
        Self {
            bytes,
            links,
            cursors,
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), Error> {
        match &self.failed {
            Some(text) => Err(Error::new(ErrorKind::Io, text.clone())),
            None => Ok(()),
        }
    }
}

/// Links contain what they call; this is for all else, so that the thread lives.
fn tell(call: impl FnOnce()) {
    if contain(call).is_err() {
        log::error!(target: "netwheel::link", "a link panicked that was told of its spool");
    }
}
