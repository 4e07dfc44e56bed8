//! When a message counts as accepted: at once, or with a spool once it is safe there.

use std::collections::VecDeque;
use std::sync::PoisonError;

use log::error;

use super::call::{CallError, SendError};
use super::outbox::Until;
use super::shared::{Shared, nudge};
use super::spool::Kept;
use super::wire::Wire;
use crate::error::{Error, ErrorKind};
use crate::panics::contain;
use crate::sync::lock;
use crate::thread_role;

/// Told whether a message is safe.
pub(super) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Who waits until messages are safe, and whether they still may become so.
#[derive(Default)]
pub(super) struct Keeping {
    /// By the numbers of their messages, which grow. Limit: the outbox's.
    waiting: VecDeque<(u64, Awaiting)>,
    failed: Option<String>,
}

impl Keeping {
    fn why(&self) -> Option<Error> {
        let text = self.failed.as_ref()?;
        Some(Error::new(ErrorKind::Io, text.clone()))
    }
}

/// What programs send.
impl<W: Wire> Shared<W> {
    /// Sends; waits until the message is safe, where that takes a disk.
    pub(super) fn send(&self, frame: W::Frame) -> Result<(), SendError<W::Frame>> {
        if let Err(error) = self.wire.check(&frame) {
            return Err(SendError::Unsendable(frame, error));
        }
        let mut state = lock(&self.state);
        let copy = state.spool.is_some().then(|| frame.clone());
        let (seq, kept) = state.push(&*self.wire, frame, Until::Sent)?;
        if let (Kept::Writing, Some(copy)) = (kept, copy) {
            if let Err(error) = thread_role::refuse_on_io_thread("wait for the disk of a spool") {
                state.withdraw(seq, true);
                return Err(SendError::Unsendable(copy, error));
            }
            drop(state);
            return self
                .wait_safe(seq)
                .map_err(|error| SendError::Unsendable(copy, error));
        }
        let connection = self.to_tell(&state);
        drop(state);
        nudge(connection);
        Ok(())
    }

    fn wait_safe(&self, seq: u64) -> Result<(), Error> {
        let state = lock(&self.state);
        let waited = self.kept.wait_while(state, |state| {
            !state.outbox.is_safe(seq) && state.keeping.failed.is_none()
        });
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        match state.keeping.why() {
            Some(error) if !state.outbox.is_safe(seq) => {
                state.outbox.withdraw(seq);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Sends; tells `done` when the message is safe.
    pub(super) fn send_then(&self, frame: W::Frame, done: Done) -> Result<(), SendError<W::Frame>> {
        if let Err(error) = self.wire.check(&frame) {
            return Err(SendError::Unsendable(frame, error));
        }
        let mut state = lock(&self.state);
        let (seq, kept) = state.push(&*self.wire, frame, Until::Sent)?;
        let done = Awaiting(Some(done));
        if kept == Kept::Writing {
            state.keeping.waiting.push_back((seq, done));
            return Ok(());
        }
        let connection = state.connection.clone();
        drop(state);
        nudge(connection);
        done.tell(Ok(()));
        Ok(())
    }

    /// The spool has made messages safe.
    pub(super) fn handle_safe(&self, seq: u64) {
        let mut told = Vec::new();
        let mut state = lock(&self.state);
        state.outbox.handle_safe(seq);
        let waiting = &mut state.keeping.waiting;
        let count = waiting.partition_point(|(at, _)| *at <= seq);
        told.extend(waiting.drain(..count).map(|(_, done)| done));
        let connection = state.connection.clone();
        drop(state);
        self.kept.notify_all();
        nudge(connection);
        told.into_iter().for_each(|done| done.tell(Ok(())));
    }

    /// The spool keeps nothing more. What is not safe was not sent, and is taken back.
    pub(super) fn handle_unsafe(&self, why: &Error) {
        error!(target: "netwheel::link", "{}: its spool keeps nothing more: {why}", self.name);
        let (told, calls) = {
            let mut state = lock(&self.state);
            state.keeping.failed = Some(why.to_string());
            let told = std::mem::take(&mut state.keeping.waiting);
            let safe = state.outbox.safe();
            let calls = state.requests.close(|waiter| waiter.seq > safe);
            let calls_of = calls.iter().map(|(_, waiter)| waiter.seq);
            let seqs: Vec<u64> = told.iter().map(|(seq, _)| *seq).chain(calls_of).collect();
            for seq in seqs {
                state.outbox.withdraw(seq);
            }
            (told, calls)
        };
        self.kept.notify_all();
        for (_, done) in told {
            done.tell(Err(Error::new(ErrorKind::Io, why.to_string())));
        }
        for (_, waiter) in calls {
            waiter.settle(Err(CallError::Unkept));
        }
    }
}

/// Whoever waits until a message is safe: told exactly once.
struct Awaiting(Option<Done>);

impl Awaiting {
    fn tell(mut self, outcome: Result<(), Error>) {
        if let Some(done) = self.0.take() {
            call(done, outcome);
        }
    }
}

/// Whatever drops it has given the link up while the spool was writing.
impl Drop for Awaiting {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            let text =
                "the link was dropped before its spool had answered; the message may be safe";
            call(done, Err(Error::new(ErrorKind::Closed, text)));
        }
    }
}

fn call(done: Done, outcome: Result<(), Error>) {
    if contain(|| done(outcome)).is_err() {
        error!(target: "netwheel::link", "a callback panicked that was told whether a message is safe");
    }
}
