//! Datagrams of other threads on their way to a socket's worker.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::counters::Counters;
use crate::error::{CloseReason, TrySendError};
use crate::id::Key;
use crate::limits::DatagramLimits;
use crate::mailbox::{Command, Mailbox};
use crate::sync::lock;

/// What the handles of one socket share with its worker.
///
/// The first datagram since the worker last looked pushes one command into its mailbox, so a burst is one
/// wake-up.
#[derive(Debug)]
pub(crate) struct Outbox {
    desk: Mutex<Desk>,
    closed: Condvar,
    datagrams_max: usize,
    bytes_max: usize,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
struct Desk {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    /// Where the worker is told, once there is one.
    route: Option<(Arc<Mailbox>, Key)>,
    /// Whether the worker has been told, or need not be.
    announced: bool,
    /// Whether the socket is to close once what was accepted has left.
    closes: bool,
    closed: Option<CloseReason>,
}

/// A datagram that was accepted from another thread.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) bytes: Bytes,
    pub(super) to: Option<SocketAddr>,
}

impl Desk {
    fn announce(&mut self) {
        if let Some((mailbox, key)) = &self.route
            && !std::mem::replace(&mut self.announced, true)
        {
            mailbox.push(Command::Ready(*key));
        }
    }
}

impl Outbox {
    pub(crate) fn new(limits: &DatagramLimits) -> Arc<Self> {
        Arc::new(Self {
            desk: Mutex::default(),
            closed: Condvar::new(),
            datagrams_max: limits.queue_datagrams_max,
            bytes_max: limits.queue_bytes_max,
            counters: Counters::default(),
        })
    }

    /// Threads: any.
    pub(crate) fn accept(
        &self,
        bytes: Bytes,
        to: Option<SocketAddr>,
    ) -> Result<(), TrySendError<Bytes>> {
        let mut desk = lock(&self.desk);
        if desk.closes || desk.closed.is_some() {
            return Err(TrySendError::Closed(bytes));
        }
        let fits = desk.queue.is_empty() || desk.bytes + bytes.len() <= self.bytes_max;
        if !fits || desk.queue.len() >= self.datagrams_max {
            let refused = &self.counters.refused_to_handles;
            refused.fetch_add(1, Ordering::Relaxed);
            return Err(TrySendError::Full(bytes));
        }
        desk.bytes += bytes.len();
        desk.queue.push_back(Outgoing { bytes, to });
        desk.announce();
        Ok(())
    }

    /// Asks the socket to close once what was accepted has left. Threads: any.
    pub(crate) fn close(&self) {
        let mut desk = lock(&self.desk);
        desk.closes = true;
        desk.announce();
    }

    /// Accepts nothing more: the socket is about to close. Worker only.
    pub(super) fn refuse_more(&self) {
        lock(&self.desk).closes = true;
    }

    /// The socket has a worker, which looks for the first time behind this. Worker only.
    pub(super) fn attach(&self, mailbox: &Arc<Mailbox>, key: Key) {
        let mut desk = lock(&self.desk);
        desk.route = Some((Arc::clone(mailbox), key));
        desk.announced = true;
    }

    /// The next one; when there is none, the next to be accepted is announced again. Worker only.
    pub(super) fn take(&self) -> Option<Outgoing> {
        let mut desk = lock(&self.desk);
        let Some(outgoing) = desk.queue.pop_front() else {
            desk.announced = false;
            return None;
        };
        desk.bytes -= outgoing.bytes.len();
        Some(outgoing)
    }

    /// Whether it was asked to close.
    pub(super) fn closes(&self) -> bool {
        lock(&self.desk).closes
    }

    /// The socket has ended; the first reason stays.
    fn shut_down(&self, reason: CloseReason) {
        let mut desk = lock(&self.desk);
        desk.closed.get_or_insert(reason);
        desk.queue = VecDeque::new();
        desk.route = None;
        drop(desk);
        self.closed.notify_all();
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        lock(&self.desk).closed
    }

    /// Waits for the end; `None` when `timeout` passed first.
    pub(crate) fn wait_closed(&self, timeout: Duration) -> Option<CloseReason> {
        let desk = lock(&self.desk);
        let (desk, _) = self
            .closed
            .wait_timeout_while(desk, timeout, |desk| desk.closed.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        desk.closed
    }
}

/// A worker's hold on an outbox, or that of a socket on its way there: however it lets go, the handles hear of
/// the end.
#[derive(Debug)]
pub(crate) struct Tied {
    pub(super) outbox: Arc<Outbox>,
    /// What they are told.
    pub(super) reason: CloseReason,
}

impl Tied {
    pub(crate) const fn new(outbox: Arc<Outbox>) -> Self {
        Self {
            outbox,
            reason: CloseReason::Shutdown,
        }
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        self.outbox.shut_down(self.reason);
    }
}
