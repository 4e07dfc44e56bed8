//! What outlives a process: the messages it still owes, and the place up to which it has handled.

use std::sync::Arc;

use super::position::Position;
use crate::error::Error;

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

/// Keeps acknowledged messages of one peer on disk until the peer has them, so that the sender loses none by its
/// own death.
///
/// Threads: whoever sends, under the lock of the link; an append on an I/O thread delays its other connections
/// by as long as the disk takes. Limit: the outbox's, which it shares.
pub trait Spool<F>: Send + 'static {
    /// What was kept; called once, first. An empty spool answers an epoch of its own, which it keeps from then on.
    ///
    /// # Errors
    ///
    /// What the disk says; the link does not begin.
    fn load(&mut self) -> Result<Spooled<F>, Error>;

    /// Keeps a message; it is safe when this returns.
    ///
    /// # Errors
    ///
    /// What the disk says; the message goes back to its sender.
    fn append(&mut self, seq: u64, message: &F) -> Result<(), Error>;

    /// Forgets a message, which the peer has handled or nobody waits for.
    ///
    /// # Errors
    ///
    /// What the disk says, which goes into the log; the message is sent again after a restart.
    fn forget(&mut self, seq: u64) -> Result<(), Error>;
}

impl<F: 'static> Spool<F> for Box<dyn Spool<F>> {
    fn load(&mut self) -> Result<Spooled<F>, Error> {
        (**self).load()
    }

    fn append(&mut self, seq: u64, message: &F) -> Result<(), Error> {
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
    /// whose handler returned just before a crash is handled twice.
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
