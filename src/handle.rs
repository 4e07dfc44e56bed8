//! A connection, as seen from any thread.
//!
//! ```text
//!   handles ──try_send──> [ outbox of the connection ] ──once a turn──> stages, codec, output
//!                             └─ first message only: Ready(key) into the worker's mailbox
//! ```
//! The outbox is typed and keeps the messages; the mailbox carries one small word per connection. So a
//! burst of ten thousand messages is one command, one wake-up and no allocation.
//!
//! # Order
//!
//! The writes of one connection leave in the order in which they were accepted, whichever threads made
//! them. A write from a callback takes the short way straight into the output as long as the outbox
//! is empty; while messages of handles wait in it, it queues up behind them. A member of groups has one
//! order with their broadcasts too: each message is stamped with the broadcast that it comes behind.

mod announce;
mod entry;
mod outbox;

pub(crate) use announce::{Announce, CloseRequest, JobResult};
pub(crate) use entry::{Entry, FROM_HANDLE, refuse};
pub(crate) use outbox::{Outbox, Route, Watch};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::outbox::life::{Life, timed_out};
use crate::address::Address;
use crate::completion::Completion;
use crate::error::{CloseReason, Error, ErrorKind, Result, TrySendError};
use crate::file_region::FileRegion;
use crate::id::{ConnectionId, Key};

/// A connection, as seen from any thread: sends typed messages to it and closes it.
///
/// Got from [`Context::handle`](crate::Context::handle) or from a client's `connect`. Cheap to clone
/// and to keep: it does not keep the connection open, and after the close it only says so.
///
/// Threads: any. Cost: one lock that is hardly ever contended; a wake-up only for the first message of
/// a burst, and only when the worker sleeps. Limit: the connection's
/// [`OUTPUT_BYTES_MAX`](crate::limits::OUTPUT_BYTES_MAX).
pub struct ConnectionHandle<Out>(pub(crate) Arc<Outbox<Out>>);

impl<Out> ConnectionHandle<Out> {
    /// Queues `out` for sending, without blocking.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use netwheel::{ConnectionHandle, TrySendError};
    ///
    /// /// Sends to everybody who keeps up; forgets who has gone.
    /// fn broadcast(room: &mut Vec<ConnectionHandle<Bytes>>, message: &Bytes) {
    ///     room.retain(|member| match member.try_send(message.clone()) {
    ///         Ok(()) => true,
    ///         Err(TrySendError::Full(_)) => true, // too slow for this one
    ///         Err(_) => false,
    ///     });
    /// }
    /// # broadcast(&mut Vec::new(), &Bytes::new());
    /// ```
    ///
    /// To send one message to many connections, a [`Group`](crate::Group) is cheaper: it encodes once.
    ///
    /// It passes all stages outward and leaves at the end of the worker's current or next turn. The
    /// writes of a connection leave in the order in which they were accepted, see the
    /// [module](crate::handle).
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] over the hard bound, [`TrySendError::Closed`] once the connection is
    /// closing. Both give `out` back.
    pub fn try_send(&self, out: Out) -> Result<(), TrySendError<Out>> {
        self.0.accept(out, None)
    }

    /// Queues `out` like [`try_send`](Self::try_send) and calls `done` exactly once: with `Ok` when
    /// the kernel has taken its last byte, with the reason when the connection ended before.
    ///
    /// `done` runs on the connection's worker (or where the connection is dropped) and must not block.
    /// `Ok` says nothing about the peer having read it.
    ///
    /// # Errors
    ///
    /// As for [`try_send`](Self::try_send); `done` is then dropped uncalled.
    pub fn try_send_then(
        &self,
        out: Out,
        done: impl FnOnce(Result<(), CloseReason>) + Send + 'static,
    ) -> Result<(), TrySendError<Out>> {
        self.0.accept(out, Some(Completion::new(done)))
    }

    /// Queues `out` like [`try_send`](Self::try_send) and behind it, as they are, the bytes of a file; see
    /// [`Context::write_file`](crate::Context::write_file).
    ///
    /// # Errors
    ///
    /// As for [`try_send`](Self::try_send), with both given back. A file that waits to be begun weighs 64 KiB.
    #[expect(clippy::missing_panics_doc, reason = "it gives back what it was given")]
    pub fn try_send_file(
        &self,
        out: Out,
        file: FileRegion,
    ) -> Result<(), TrySendError<(Out, FileRegion)>> {
        let mut entry = Entry::new(out, None, FROM_HANDLE);
        entry.file = Some(Box::new(file));
        let both = |entry: Entry<Out>| (entry.out, *entry.file.expect("given above"));
        self.0
            .accept_entry(entry)
            .map_err(|refused| refused.map(both))
    }

    /// Closes the connection at once; what waits for it is answered as not sent. Never refused.
    pub fn close(&self) {
        self.0.ask_to_close(CloseRequest::Now(CloseReason::Local));
    }

    /// Closes the connection once everything accepted before has left. Never refused.
    pub fn close_after_flush(&self) {
        self.0
            .ask_to_close(CloseRequest::AfterFlush(CloseReason::Local));
    }

    /// The connection's name; that of a connect under way is settled once its worker has taken it up.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.0.id().unwrap_or(UNPLACED)
    }

    /// The other side.
    #[must_use]
    pub fn peer(&self) -> Address {
        self.0.peer().address
    }

    /// This side.
    #[must_use]
    pub fn local(&self) -> Address {
        self.0.peer().local
    }

    /// Why the connection ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        match self.0.state() {
            Life::Closed(reason) => Some(reason),
            Life::Opening | Life::Open => None,
        }
    }

    /// Whether it takes no more messages: the connection has ended, or is about to.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.0.is_ending()
    }

    /// Bytes on their way to the socket: messages by their weight, output by its length. A snapshot.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.0.queued_bytes()
    }

    /// Waits until a connect has succeeded; returns at once for a connection that is open.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when it has failed or ended, [`ErrorKind::Timeout`] after `timeout`,
    /// [`ErrorKind::Misuse`] on an I/O thread, which would wait for itself.
    pub fn wait_open(&self, timeout: Duration) -> Result<(), Error> {
        match self
            .0
            .wait_while(timeout, |state| *state == Life::Opening)?
        {
            Life::Closed(reason) => Err(Error::new(
                ErrorKind::Closed,
                format!("the connection ended: {reason}"),
            )),
            Life::Opening | Life::Open => Ok(()),
        }
    }

    /// Waits until the connection has ended and tells why.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] after `timeout`, [`ErrorKind::Misuse`] on an I/O thread.
    pub fn wait_closed(&self, timeout: Duration) -> Result<CloseReason, Error> {
        match self
            .0
            .wait_while(timeout, |state| !matches!(state, Life::Closed(_)))?
        {
            Life::Closed(reason) => Ok(reason),
            Life::Opening | Life::Open => Err(timed_out(timeout)),
        }
    }
}

/// The name of a connection that no worker has taken up yet.
const UNPLACED: ConnectionId = ConnectionId::new(
    u16::MAX,
    Key {
        slot: u32::MAX,
        generation: u32::MAX,
    },
);

impl<Out> Clone for ConnectionHandle<Out> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Out> fmt::Debug for ConnectionHandle<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConnectionHandle").field(&self.id()).finish()
    }
}
