//! A handler on the pool, and what it is given.

use std::fmt;

use super::Line;
use crate::address::Address;
use crate::error::{CloseReason, Failure, Result, TrySendError};
use crate::handle::{CloseRequest, ConnectionHandle, Entry, FROM_HANDLE};
use crate::id::ConnectionId;

/// The end of a pipeline on the pool: may block.
///
/// The messages of one connection come in order and one at a time, on any thread of the pool. The
/// handler is dropped once the connection has ended and the message in hand has been handled. It is told
/// neither of the open nor of the close, which are the worker's: a [`Stage`](crate::Stage) before it is.
///
/// ```
/// use std::collections::HashMap;
/// use bytes::Bytes;
/// use netwheel::{Executor, LaneContext, Pipeline, PoolHandler, Result, codec::LengthField};
///
/// struct Cached(HashMap<Bytes, Bytes>);
///
/// impl PoolHandler<Bytes, Bytes> for Cached {
///     fn on_message(&mut self, cx: &mut LaneContext<'_, Bytes>, path: Bytes) -> Result<()> {
///         if !self.0.contains_key(&path) {
///             let file = std::fs::read(std::str::from_utf8(&path)?)?; // may block
///             self.0.insert(path.clone(), file.into());
///         }
///         cx.write(self.0[&path].clone())
///     }
/// }
///
/// # let pool = Executor::new(4);
/// # let _ = Pipeline::new(LengthField::u32()).handler_on(&pool, Cached(HashMap::new()));
/// ```
pub trait PoolHandler<In, Out>: Send + 'static {
    /// A message has passed all stages.
    ///
    /// # Errors
    ///
    /// Closes the connection, after the answers to earlier messages.
    fn on_message(&mut self, cx: &mut LaneContext<'_, Out>, message: In) -> Result<()>;
}

/// A closure as a handler on the pool.
pub(crate) struct LaneClosure<F>(pub(crate) F);

impl<In, Out, F> PoolHandler<In, Out> for LaneClosure<F>
where
    F: FnMut(&mut LaneContext<'_, Out>, In) -> Result<()> + Send + 'static,
{
    fn on_message(&mut self, cx: &mut LaneContext<'_, Out>, message: In) -> Result<()> {
        (self.0)(cx, message)
    }
}

/// What a handler on the pool is given during one call.
///
/// Threads: the pool's. Its writes take the way of a [`ConnectionHandle`]: behind the last stage, in
/// order, at the worker's next turn.
pub struct LaneContext<'a, Out> {
    pub(super) line: &'a Line<Out>,
    pub(super) answers: &'a mut Vec<Entry<Out>>,
    pub(super) answers_bytes: &'a mut usize,
    pub(super) close: Option<CloseRequest>,
}

impl<Out> LaneContext<'_, Out> {
    /// Sends `out`; it goes to the worker once this call has returned.
    ///
    /// # Errors
    ///
    /// [`CloseReason::OverLimit`] when the connection's output is full, which takes one message with
    /// very large or very many answers: a connection whose answers are not read gets no more messages.
    pub fn write(&mut self, out: Out) -> Result<()> {
        self.try_write(out)
            .map_err(|refused| Failure::with(refused.reason(), refused.to_string()))
    }

    /// Sends `out` like [`write`](Self::write), or gives it back.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] when the connection's output is at its bound.
    pub fn try_write(&mut self, out: Out) -> Result<(), TrySendError<Out>> {
        let queued = self.line.handle.queued_bytes() + *self.answers_bytes;
        let weight = (self.line.weigh)(&out);
        if !self.line.limits.output_room().takes(queued, || weight) {
            return Err(TrySendError::Full(out));
        }
        *self.answers_bytes += weight;
        self.answers.push(Entry::new(out, None, FROM_HANDLE));
        Ok(())
    }

    /// Closes the connection once this call has returned and the answers have left.
    pub fn close_after_flush(&mut self, reason: CloseReason) {
        self.close.get_or_insert(CloseRequest::AfterFlush(reason));
    }

    /// Closes the connection at once.
    pub fn close(&mut self, reason: CloseReason) {
        self.close = Some(CloseRequest::Now(reason));
    }

    /// A handle to the connection.
    #[must_use]
    pub fn handle(&self) -> &ConnectionHandle<Out> {
        &self.line.handle
    }

    /// The connection's name.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.line.handle.id()
    }

    /// The other side.
    #[must_use]
    pub fn peer(&self) -> Address {
        self.line.handle.peer()
    }
}

impl<Out> fmt::Debug for LaneContext<'_, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LaneContext")
            .field(&self.line.handle)
            .finish()
    }
}
