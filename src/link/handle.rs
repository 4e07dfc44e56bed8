//! A link, as seen from any thread.

#[cfg(feature = "caviar")]
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::call::{CallError, SendError, Waiter};
use super::shared::Shared;
use super::stats::LinkStats;
use super::wire::Wire;
use crate::error::{Error, ErrorKind};
use crate::handle::ConnectionHandle;
use crate::thread_role;

/// A link to one peer: outlives its connections, keeps what could not leave, and asks questions.
///
/// Messages leave in the order in which they were accepted, over all connections; see the
/// [guarantees](crate::link#what-is-promised). A clone is the same link.
///
/// Threads: any. Cost: a lock for each message, and a wake-up for the first of a burst. Limit: the outbox's
/// ([`OutboxRules`](crate::link::OutboxRules)), and [`CALLS_MAX`](crate::limits::CALLS_MAX) calls that wait.
pub struct Link<W: Wire>(pub(super) Arc<Shared<W>>);

impl<W: Wire> Link<W> {
    /// Sends a message, now or once there is a connection.
    ///
    /// Never blocks, unless the link has a spool that writes to a disk: then it returns once the message is safe
    /// there. [`send_then`](Self::send_then) does not wait.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] at the outbox's bounds, or the spool's; [`SendError::Closed`] once the link is closed;
    /// [`SendError::Unsendable`] for what the protocol cannot carry or the spool could not keep, and on an I/O
    /// thread that would have to wait for the disk. All of them give the message back.
    pub fn send(&self, message: W::Frame) -> Result<(), SendError<W::Frame>> {
        self.0.send(message)
    }

    /// Sends a message without waiting for the spool; `done` is called exactly once, when the message is safe there
    /// or never will be.
    ///
    /// Without a spool it is called before this returns. Else it runs on a thread of the spool, and must not block.
    /// Messages of one thread keep their order, whichever way they are sent.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send); `done` is then dropped uncalled.
    pub fn send_then(
        &self,
        message: W::Frame,
        done: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) -> Result<(), SendError<W::Frame>> {
        self.0.send_then(message, Box::new(done))
    }

    /// Asks a question; `done` is called exactly once: with the answer, or with why there is none.
    ///
    /// `done` runs on the connection's worker or another I/O thread, and must not block. By default the question
    /// fails at once when the connection breaks over which it may have been asked, see
    /// [`call_again`](Self::call_again).
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), and [`SendError::Full`] also when too many calls wait; `done` is then dropped
    /// uncalled.
    pub fn call(
        &self,
        question: W::Frame,
        timeout: Duration,
        done: impl FnOnce(Result<W::Frame, CallError>) + Send + 'static,
    ) -> Result<(), SendError<W::Frame>> {
        let waiter = Waiter::new(Box::new(done), false);
        self.0.call(question, timeout, waiter)
    }

    /// Asks like [`call`](Self::call), and asks again over each new connection until the answer has come or the
    /// time is over: for questions that may be heard twice.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    pub fn call_again(
        &self,
        question: W::Frame,
        timeout: Duration,
        done: impl FnOnce(Result<W::Frame, CallError>) + Send + 'static,
    ) -> Result<(), SendError<W::Frame>> {
        let waiter = Waiter::new(Box::new(done), true);
        self.0.call(question, timeout, waiter)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misuse`] on an I/O thread, which would wait for itself; [`ErrorKind::Timeout`] when no answer
    /// came in time; [`ErrorKind::Closed`] when the connection broke or the link is closed;
    /// [`ErrorKind::OverLimit`] when the outbox is full or too many calls wait; [`ErrorKind::Config`] for what the
    /// protocol cannot carry.
    pub fn call_and_wait(&self, question: W::Frame, timeout: Duration) -> Result<W::Frame, Error> {
        thread_role::refuse_on_io_thread("wait for an answer")?;
        let (tell, told) = sync_channel(1);
        let done = move |outcome| {
            // Whoever waits has the other end; it cannot be full.
            let _ = tell.send(outcome);
        };
        self.call(question, timeout, done).map_err(refusal)?;
        match told.recv() {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error @ CallError::TimedOut)) => {
                Err(Error::new(ErrorKind::Timeout, error.to_string()))
            }
            Ok(Err(error)) => Err(Error::new(ErrorKind::Closed, error.to_string())),
            Err(_) => Err(Error::new(ErrorKind::Closed, CallError::Closed.to_string())),
        }
    }

    /// The time for an answer that its rules name, for calls that say no other.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.0.rules.call_timeout
    }

    /// Waits until the link is up; returns at once while it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] after `timeout`, [`ErrorKind::Closed`] when the link is closed,
    /// [`ErrorKind::Misuse`] on an I/O thread.
    pub fn wait_up(&self, timeout: Duration) -> Result<(), Error> {
        thread_role::refuse_on_io_thread("wait for a link")?;
        if !self.0.wait_up(timeout) {
            let text = format!("no login within {timeout:?}");
            return Err(Error::new(ErrorKind::Timeout, text));
        }
        if self.0.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the link is closed"));
        }
        Ok(())
    }

    /// Whether a connection is logged in at this moment.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.is_up()
    }

    /// Whether it takes no more messages, for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// The connection that is logged in, where one is.
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionHandle<W::Frame>> {
        self.0.connection()
    }

    /// The other side, as logs name it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Keeps a protocol's own state with the link, for all its connections; the first one stays.
    #[cfg(feature = "caviar")]
    pub(crate) fn keep(&self, companion: Arc<dyn Any + Send + Sync>) {
        let _ = self.0.companion.set(companion);
    }

    /// The state that a protocol keeps with the link.
    #[cfg(feature = "caviar")]
    pub(crate) fn kept<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(self.0.companion.get()?).downcast().ok()
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.0.stats()
    }

    /// Closes the link at once and for good: its connection ends, calls are told so, what is kept is given up.
    pub fn close(&self) {
        self.0.close();
    }

    /// Closes the link for good once all that it has accepted has left; at once where no connection is up. It takes
    /// nothing more. A connection that breaks meanwhile ends it too.
    pub fn close_after_flush(&self) {
        self.0.close_after_flush();
    }
}

fn refusal<F>(refused: SendError<F>) -> Error {
    match refused {
        SendError::Unsendable(_, error) => error,
        SendError::Full(_) => Error::new(ErrorKind::OverLimit, refused.to_string()),
        SendError::Closed(_) => Error::new(ErrorKind::Closed, refused.to_string()),
    }
}

impl<W: Wire> Clone for Link<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Wire> fmt::Debug for Link<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.0.name)
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}
