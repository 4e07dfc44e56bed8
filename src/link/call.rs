//! Questions over a link, as their callers see them.

use std::fmt;

use log::error;

use crate::error::{CloseReason, Error};
use crate::panics::contain;

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The answer did not come in time; if it comes later it is dropped.
    TimedOut,
    /// The connection over which it was asked ended, for this reason: whether the other side has heard the
    /// question, nobody knows.
    Down(CloseReason),
    /// The link was closed, by this program or with its network.
    Closed,
    /// The spool could not keep the question, which was not asked; the log says why.
    Unkept,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer came in time"),
            Self::Down(reason) => write!(f, "the link broke before the answer: {reason}"),
            Self::Closed => f.write_str("the link is closed"),
            Self::Unkept => f.write_str("the spool could not keep the question"),
        }
    }
}

impl std::error::Error for CallError {}

/// A message that a link did not take, and that comes back.
#[non_exhaustive]
pub enum SendError<F> {
    /// The outbox is full, or too many calls wait: try again later.
    Full(F),
    /// The link is closed for good.
    Closed(F),
    /// It could never be sent; the error says why.
    Unsendable(F, Error),
}

impl<F> SendError<F> {
    /// The message.
    pub fn into_inner(self) -> F {
        match self {
            Self::Full(frame) | Self::Closed(frame) | Self::Unsendable(frame, _) => frame,
        }
    }

    /// Whether a bound was reached, so that trying again later may help.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the link is closed for good.
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

// By hand, so that a message needs no `Debug`.
impl<F> fmt::Debug for SendError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::Unsendable(_, error) => write!(f, "Unsendable(.., {error})"),
        }
    }
}

impl<F> fmt::Display for SendError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the link keeps as many messages as it may"),
            Self::Closed(_) => f.write_str("the link is closed"),
            Self::Unsendable(_, error) => error.fmt(f),
        }
    }
}

impl<F> std::error::Error for SendError<F> {}

type Callback<F> = Box<dyn FnOnce(Result<F, CallError>) + Send>;

/// Whoever waits for an answer: told exactly once, however the call ends.
pub(super) struct Waiter<F> {
    done: Option<Callback<F>>,
    /// The number of the question in the outbox; zero until it is there.
    pub(super) seq: u64,
    /// Whether it is asked again over the next connection.
    pub(super) retries: bool,
}

impl<F> Waiter<F> {
    pub(super) fn new(done: Callback<F>, retries: bool) -> Self {
        Self {
            done: Some(done),
            seq: 0,
            retries,
        }
    }

    /// Tells the outcome. It is the program's code that runs here: no lock is held.
    pub(super) fn settle(mut self, outcome: Result<F, CallError>) {
        if let Some(done) = self.done.take() {
            call(done, outcome);
        }
    }

    /// Drops the callback uncalled: the question is given back to its caller.
    pub(super) fn forget(mut self) {
        self.done = None;
    }
}

/// Whatever drops a waiter has closed the link.
impl<F> Drop for Waiter<F> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            call(done, Err(CallError::Closed));
        }
    }
}

fn call<F>(done: Callback<F>, outcome: Result<F, CallError>) {
    if contain(|| done(outcome)).is_err() {
        error!(target: "netwheel::link", "the callback of a call panicked");
    }
}

impl<F> fmt::Debug for Waiter<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}
