//! What a connection is told from other threads, whatever it sends.

use std::any::Any;

use crate::error::CloseReason;

/// The half of an outbox that does not depend on what is sent.
pub(crate) trait Announce: Send + Sync {
    fn push_result(&self, result: JobResult);
    fn request_close(&self, request: CloseRequest);
    /// Makes the worker look at the connection.
    fn ready(&self);
}

/// The result of a job that the pool has done for a connection; `None` when it panicked.
pub(crate) struct JobResult {
    pub(crate) job: usize,
    pub(crate) value: Option<Box<dyn Any + Send>>,
}

/// What a handle asked the connection to do, besides sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseRequest {
    AfterFlush(CloseReason),
    Now(CloseReason),
}
