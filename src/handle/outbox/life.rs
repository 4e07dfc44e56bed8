//! How a connection begins and ends, as other threads see it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Outbox, Route};
use crate::address::Peer;
use crate::error::{CloseReason, Error, ErrorKind, Result};
use crate::handle::announce::CloseRequest;
use crate::id::ConnectionId;
use crate::sync::lock;
use crate::thread_role;

/// Whoever outlives a connection and is told of its life; never while a lock of the outbox is held.
pub(crate) trait Watch: Send + Sync {
    /// The pipeline has been told that the connection is open.
    fn opened(&self, id: ConnectionId, peer: Peer);
    /// The connection has ended, or will never be; told once, and last.
    fn closed(&self, reason: CloseReason);
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::handle) enum Life {
    Opening,
    Open,
    Closed(CloseReason),
}

impl<Out> Outbox<Out> {
    /// Tells `watch` of the connection's life, of which nothing has happened yet.
    pub(crate) fn watch_by(&self, watch: Arc<dyn Watch>) {
        lock(&self.queue).watch = Some(watch);
    }

    pub(crate) fn opened(&self, peer: Peer) {
        let mut queue = lock(&self.queue);
        queue.peer = peer;
        if queue.state == Life::Opening {
            queue.state = Life::Open;
        }
        self.settled.notify_all();
    }

    /// The pipeline has been told of the open.
    pub(crate) fn tell_open(&self, peer: Peer) {
        let told = {
            let queue = lock(&self.queue);
            let id = queue.route.as_ref().map(|route| route.id);
            queue.watch.clone().zip(id)
        };
        if let Some((watch, id)) = told {
            watch.opened(id, peer);
        }
    }

    pub(crate) fn ask_to_close(&self, request: CloseRequest) {
        let mut queue = lock(&self.queue);
        // A close at once outranks one that waits for the flush; the first of a kind stays.
        match (queue.close, request) {
            (None, _) | (Some(CloseRequest::AfterFlush(_)), CloseRequest::Now(_)) => {
                queue.close = Some(request);
                queue.refuses = true;
                queue.announce();
            }
            _ => {}
        }
    }

    /// Whether it accepts nothing more: it has ended, or was told to.
    pub(crate) fn is_ending(&self) -> bool {
        !lock(&self.queue).accepts()
    }

    /// Accepts nothing more; what was accepted still leaves.
    pub(crate) fn refuse_more(&self) {
        lock(&self.queue).refuses = true;
    }

    /// Where the connection lives, once it is open; why it has ended, once it has.
    pub(crate) fn home(&self) -> Result<Option<Route>, CloseReason> {
        let queue = lock(&self.queue);
        match queue.state {
            Life::Opening => Ok(None),
            Life::Open => Ok(queue.route.clone()),
            Life::Closed(reason) => Err(reason),
        }
    }

    pub(in crate::handle) fn peer(&self) -> Peer {
        lock(&self.queue).peer
    }

    pub(in crate::handle) fn state(&self) -> Life {
        lock(&self.queue).state
    }

    pub(in crate::handle) fn wait_while(
        &self,
        timeout: Duration,
        mut waits: impl FnMut(&Life) -> bool,
    ) -> Result<Life, Error> {
        thread_role::refuse_on_io_thread("wait for a connection")?;
        let queue = lock(&self.queue);
        let (queue, _) = self
            .settled
            .wait_timeout_while(queue, timeout, |queue| waits(&queue.state))
            .unwrap_or_else(PoisonError::into_inner);
        if waits(&queue.state) {
            Err(timed_out(timeout))
        } else {
            Ok(queue.state)
        }
    }

    /// Ends the outbox: what waits is answered with `reason`, later messages come back as closed. Tells
    /// how many completions have panicked.
    pub(crate) fn shut_down(&self, reason: CloseReason) -> u64 {
        let (entries, mailbox, watch) = {
            let mut queue = lock(&self.queue);
            if let Life::Closed(_) = queue.state {
                return 0;
            }
            queue.state = Life::Closed(reason);
            queue.results.clear();
            drop(self.take_memberships(&mut queue));
            let mailbox = queue.route.as_ref().map(|route| Arc::clone(&route.mailbox));
            let entries = std::mem::take(&mut queue.entries);
            (entries, mailbox, queue.watch.take())
        };
        self.tell_output_bytes(0);
        self.settled.notify_all();
        let mut panics = 0;
        for entry in entries {
            let weight = entry.weight as usize;
            self.waiting_bytes.fetch_sub(weight, Ordering::Relaxed);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            if let Some(mailbox) = &mailbox {
                mailbox.release(1);
            }
            if entry.done.is_some_and(|done| !done.complete(Err(reason))) {
                panics += 1;
            }
        }
        if let Some(watch) = watch {
            watch.closed(reason);
        }
        panics
    }
}

pub(in crate::handle) fn timed_out(timeout: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("nothing happened within {timeout:?}"),
    )
}
