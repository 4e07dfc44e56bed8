//! The promise that an accepted write is answered exactly once.

use std::fmt;

use log::error;

use crate::error::CloseReason;
use crate::panics::contain;

type Callback = Box<dyn FnOnce(Result<(), CloseReason>) + Send>;

/// Called once when a message has left for the kernel or never will.
///
/// Exactly once by construction: calling it consumes it, and dropping it uncalled, wherever a message
/// may get lost with its connection, answers [`CloseReason::Local`].
pub(crate) struct Completion(Option<Callback>);

impl Completion {
    pub(crate) fn new(callback: impl FnOnce(Result<(), CloseReason>) + Send + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }

    /// Calls the callback; `false` when it panicked, which is logged here and counted by the caller.
    #[must_use]
    pub(crate) fn complete(mut self, result: Result<(), CloseReason>) -> bool {
        self.0.take().is_none_or(|callback| call(callback, result))
    }

    /// Drops the callback uncalled: for a message that is given back to its sender.
    pub(crate) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            call(callback, Err(CloseReason::Local));
        }
    }
}

/// The program's code, called on a thread that serves others too: a panic stays here.
fn call(callback: Callback, result: Result<(), CloseReason>) -> bool {
    let returned = contain(|| callback(result)).is_ok();
    if !returned {
        error!(target: "netwheel::connection", "the completion of a write panicked");
    }
    returned
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}
