//! The handle of a client that comes back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::ClientState;
use super::redial::Redial;
use crate::completion::Completion;
use crate::error::{CloseReason, Error, Result, TrySendError};
use crate::handle::{CloseRequest, ConnectionHandle};

/// A [client that comes back](crate::Client::reconnect), as seen from any thread: outlives its connections.
///
/// # What becomes of a message
///
/// It leaves at most once. One that was given to a connection which then ends is lost, unless it had left
/// before, and is not sent again over the next: only the peer knows what it has got.
/// [`try_send_then`](Self::try_send_then) tells of each message whether it has left. One that is sent while
/// there is no connection comes back, or waits for the next, see [`WhileDown`](crate::WhileDown).
///
/// A clone is the same client. It ends with the last of them, as by
/// [`close_after_flush`](Self::close_after_flush). One that the client's own pipelines or `on_state` keep counts
/// as well: such a client ends by [`close`](Self::close).
///
/// Threads: any. Cost: as a [`ConnectionHandle`], and one more lock. Limit: the connection's, and that of
/// [`WhileDown`](crate::WhileDown).
#[must_use = "the client ends with its last handle"]
pub struct ReconnectingHandle<Out: Send + 'static>(Arc<Owner<Out>>);

/// Ends the client when the last handle goes: what it does refers to it in circles.
struct Owner<Out: Send + 'static>(Arc<Redial<Out>>);

impl<Out: Send + 'static> Drop for Owner<Out> {
    fn drop(&mut self) {
        self.0.close(CloseRequest::AfterFlush(CloseReason::Local));
    }
}

impl<Out: Send + 'static> ReconnectingHandle<Out> {
    pub(super) fn new(redial: Arc<Redial<Out>>) -> Self {
        Self(Arc::new(Owner(redial)))
    }

    /// Queues `out` for sending over the connection, or for the next one, without blocking.
    ///
    /// Messages leave in the order in which they were accepted.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Down`] while there is no connection, unless messages wait for it;
    /// [`TrySendError::Full`] over the bound of the connection or of what waits;
    /// [`TrySendError::Closed`] once the client has ended. All of them give `out` back.
    pub fn try_send(&self, out: Out) -> Result<(), TrySendError<Out>> {
        self.0.0.send(out, None)
    }

    /// Queues `out` like [`try_send`](Self::try_send) and calls `done` exactly once: with `Ok` when the
    /// kernel has taken its last byte, with the reason when its connection, or the client, ended before.
    ///
    /// `done` runs on the connection's worker, or on the thread that ends the client, and must not block.
    ///
    /// # Errors
    ///
    /// As for [`try_send`](Self::try_send); `done` is then dropped uncalled.
    pub fn try_send_then(
        &self,
        out: Out,
        done: impl FnOnce(Result<(), CloseReason>) + Send + 'static,
    ) -> Result<(), TrySendError<Out>> {
        self.0.0.send(out, Some(Completion::new(done)))
    }

    /// Waits until a connection is open; returns at once while one is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) when the client has ended,
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) after `timeout`,
    /// [`ErrorKind::Misuse`](crate::ErrorKind::Misuse) on an I/O thread, which would wait for itself.
    pub fn wait_up(&self, timeout: Duration) -> Result<(), Error> {
        self.0.0.wait_up(timeout)
    }

    /// What the client is doing. Never behind what `on_state` has been told.
    #[must_use]
    pub fn state(&self) -> ClientState {
        self.0.0.state()
    }

    /// The connection that is up, where one is: its handle ends with it.
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionHandle<Out>> {
        self.0.0.outbox().map(ConnectionHandle)
    }

    /// Messages that wait for a connection. A snapshot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.0.waiting()
    }

    /// Ends the client at once and for good: its connection is closed, a wait or a connect under way is
    /// given up, and what waits is answered as not sent. No dial begins after it has returned.
    ///
    /// Never refused, from any callback too; all but the first call do nothing.
    pub fn close(&self) {
        self.0.0.close(CloseRequest::Now(CloseReason::Local));
    }

    /// Ends the client like [`close`](Self::close), but its connection once everything that was accepted
    /// for it has left. What waits for another one is answered as not sent.
    pub fn close_after_flush(&self) {
        self.0.0.close(CloseRequest::AfterFlush(CloseReason::Local));
    }
}

impl<Out: Send + 'static> Clone for ReconnectingHandle<Out> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Out: Send + 'static> fmt::Debug for ReconnectingHandle<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReconnectingHandle")
            .field(&self.state())
            .finish()
    }
}
