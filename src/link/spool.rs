//! What outlives a process: the messages it still owes, and the place up to which it has handled.

use std::fmt;
use std::sync::Arc;

use super::position::Position;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;

/// What a spool has kept over a restart.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "spools make it")]
pub struct Spooled<F> {
    /// The life of the sender that goes on.
    pub epoch: u64,
    /// The number of the next message.
    pub next: u64,
    /// Messages that were not acknowledged, by their number, oldest first.
    pub messages: Vec<(u64, F)>,
}

/// Whether a message that a spool has taken is safe by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "spools answer it, links handle both"
)]
pub enum Kept {
    /// It is.
    Safe,
    /// It will be: the [`Progress`] of the link is told.
    Writing,
}

/// Tells a link which of its messages are safe, or that no more will be. A clone tells the same link.
///
/// Threads: any but one that is inside the spool at that moment: the link's lock is taken.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Result<u64, Error>) + Send + Sync>);

impl Progress {
    /// What is told is told to `tell`: for links, and for tests of a spool.
    #[must_use]
    pub fn new(tell: impl Fn(Result<u64, Error>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// All messages up to this number are safe, and may go.
    pub fn safe(&self, seq: u64) {
        (self.0)(Ok(seq));
    }

    /// Messages that are not safe yet may be lost: they are taken back, and their senders told. The spool takes no
    /// more from now on.
    pub fn failed(&self, error: Error) {
        (self.0)(Err(error));
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// Keeps acknowledged messages of one peer until the peer has them, so that the sender loses none by its own death.
///
/// A message is handed to a connection only once it is safe: otherwise its number might be given away again after
/// a crash, and the peer would take the other message for a repeat.
///
/// Threads: whoever sends or reads, under the lock of the link, workers among them: no method but `load` may wait
/// for a disk. Limit: the outbox's, which it shares; its own it tells by [`ErrorKind::OverLimit`].
pub trait Spool<F>: Send + 'static {
    /// What was kept; called once, first. An empty spool answers an epoch of its own, which it keeps from then on.
    ///
    /// # Errors
    ///
    /// What the disk says; the link does not begin.
    fn load(&mut self) -> Result<Spooled<F>, Error>;

    /// Whom to tell of messages that are [`Kept::Writing`]; called once, after `load`.
    fn watch(&mut self, progress: Progress) {
        drop(progress);
    }

    /// Takes a message, and says whether it is safe.
    ///
    /// # Errors
    ///
    /// Why it cannot be kept; it goes back to its sender, as [`SendError::Full`](crate::link::SendError::Full) for
    /// [`ErrorKind::OverLimit`], else as [`SendError::Unsendable`](crate::link::SendError::Unsendable).
    fn append(&mut self, seq: u64, message: &F) -> Result<Kept, Error>;

    /// Forgets a message, which the peer has handled or nobody waits for; not at once, perhaps.
    ///
    /// # Errors
    ///
    /// Why it cannot, which goes into the log; the message is sent again after a restart.
    fn forget(&mut self, seq: u64) -> Result<(), Error>;
}

impl<F: 'static> Spool<F> for Box<dyn Spool<F>> {
    fn load(&mut self) -> Result<Spooled<F>, Error> {
        (**self).load()
    }

    fn watch(&mut self, progress: Progress) {
        (**self).watch(progress);
    }

    fn append(&mut self, seq: u64, message: &F) -> Result<Kept, Error> {
        (**self).append(seq, message)
    }

    fn forget(&mut self, seq: u64) -> Result<(), Error> {
        (**self).forget(seq)
    }
}

/// Where a receiver has got to with one peer, kept with the effects of what it has handled.
///
/// A message is handled once over restarts where its effect and its [`Position`] become durable in one step:
/// the handler does that itself, with the position of the message, and this trait reads it back.
pub trait Cursor: Send + Sync + 'static {
    /// The last message of a peer whose effect is durable.
    ///
    /// # Errors
    ///
    /// What the disk says; the peer is not let in.
    fn load(&self, peer: &str) -> Result<Option<Position>, Error>;

    /// A message has been handled; for cursors that are kept beside the effects, not with them. Then a message
    /// whose handler returned just before a crash is handled twice. Called on a worker where the service runs
    /// there, so that it must not wait for a disk.
    ///
    /// # Errors
    ///
    /// What the disk says; the connection closes, and the message comes again.
    fn store(&self, peer: &str, position: Position) -> Result<(), Error> {
        let _ = (peer, position);
        Ok(())
    }
}

impl<C: Cursor + ?Sized> Cursor for Arc<C> {
    fn load(&self, peer: &str) -> Result<Option<Position>, Error> {
        (**self).load(peer)
    }

    fn store(&self, peer: &str, position: Position) -> Result<(), Error> {
        (**self).store(peer, position)
    }
}
