//! The promise that an accepted write is answered exactly once.

use std::fmt;

use log::error;

use crate::error::CloseReason;
use crate::panics::contain;

type Callback = Box<dyn FnOnce(Result<(), CloseReason>) + Send>;

/// What is told the number of the last marked message that has left, and with it of all before.
pub(crate) type Watcher = Box<dyn Fn(u64)>;

/// Called once when a message has left for the kernel or never will.
///
/// Exactly once by construction: calling it consumes it, and dropping it uncalled, wherever a message
/// may get lost with its connection, answers [`CloseReason::Local`].
pub(crate) struct Completion(Option<Answer>);

enum Answer {
    Call(Callback),
    Mark(u64),
}

impl Completion {
    pub(crate) fn new(callback: impl FnOnce(Result<(), CloseReason>) + Send + 'static) -> Self {
        Self(Some(Answer::Call(Box::new(callback))))
    }

    /// A number for the connection's [`Watcher`], which is told the last of those that have left together, and
    /// nothing of those that never will.
    pub(crate) const fn mark(number: u64) -> Self {
        Self(Some(Answer::Mark(number)))
    }

    /// The number, if it is a mark.
    pub(crate) const fn number(&self) -> Option<u64> {
        match self.0 {
            Some(Answer::Mark(number)) => Some(number),
            _ => None,
        }
    }

    /// Calls the callback; `false` when it panicked, which is logged here and counted by the caller.
    #[must_use]
    pub(crate) fn complete(mut self, result: Result<(), CloseReason>) -> bool {
        self.0.take().is_none_or(|answer| answer.give(result))
    }

    /// Drops the callback uncalled: for a message that is given back to its sender.
    pub(crate) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer.give(Err(CloseReason::Local));
        }
    }
}

impl Answer {
    /// Calls the program's code on a thread that serves others too: a panic stays here.
    fn give(self, result: Result<(), CloseReason>) -> bool {
        let Self::Call(callback) = self else {
            return true;
        };
        let returned = contain(|| callback(result)).is_ok();
        if !returned {
            error!(target: "netwheel::connection", "the completion of a write panicked");
        }
        returned
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}
