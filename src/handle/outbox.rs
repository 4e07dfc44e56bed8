//! What other threads want of one connection, until its worker takes it.

pub(super) mod life;
mod membership;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use self::life::Life;
pub(crate) use self::life::Watch;
use super::announce::{Announce, CloseRequest, JobResult};
use super::entry::{Entry, FILE_WEIGHT, FROM_HANDLE, refuse};
use crate::address::Peer;
use crate::completion::Completion;
use crate::error::{Result, TrySendError};
use crate::fan_out::{Board, Membership};
use crate::id::ConnectionId;
use crate::limits::OutputRoom;
use crate::mailbox::{Command, Mailbox};
#[cfg(netwheel_planted)]
use crate::planted::{Bug, is_planted};
use crate::sync::lock;

/// Messages on their way from other threads into one connection.
pub(crate) struct Outbox<Out> {
    queue: Mutex<Queue<Out>>,
    settled: Condvar,
    /// Messages accepted and not yet encoded. Above zero, writes of callbacks queue up behind them.
    waiting: AtomicUsize,
    /// What they weigh, in bytes.
    waiting_bytes: AtomicUsize,
    /// Bytes encoded and not yet written; told by the worker when it has changed.
    output_bytes: AtomicUsize,
    /// Whether the connection is a member of groups, so that messages must keep their order with broadcasts.
    is_member: AtomicBool,
    room: OutputRoom,
}

struct Queue<Out> {
    entries: VecDeque<Entry<Out>>,
    weigh: fn(&Out) -> usize,
    results: Vec<JobResult>,
    route: Option<Route>,
    /// The groups that the connection is in, until its end.
    memberships: Vec<Membership>,
    peer: Peer,
    /// Whether the worker has been told, or need not be: at most one `Ready` is on its way.
    announced: bool,
    close: Option<CloseRequest>,
    /// Whether the connection closes once what was accepted has left.
    refuses: bool,
    state: Life,
    /// Whoever outlives the connection and is told of its life.
    watch: Option<Arc<dyn Watch>>,
}

#[derive(Clone)]
pub(crate) struct Route {
    mailbox: Arc<Mailbox>,
    pub(crate) board: Arc<Board>,
    pub(crate) id: ConnectionId,
}

/// What the worker takes out of an outbox.
pub(crate) struct Taken {
    pub(crate) results: Vec<JobResult>,
    pub(crate) close: Option<CloseRequest>,
}

impl<Out> Outbox<Out> {
    pub(crate) fn new(peer: Peer, room: OutputRoom, weigh: fn(&Out) -> usize) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue {
                entries: VecDeque::new(),
                weigh,
                results: Vec::new(),
                route: None,
                memberships: Vec::new(),
                peer,
                announced: false,
                close: None,
                refuses: false,
                state: Life::Opening,
                watch: None,
            }),
            settled: Condvar::new(),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            is_member: AtomicBool::new(false),
            room,
        })
    }

    /// Settles how messages are weighed: a client's handle is there before its pipeline.
    pub(crate) fn weigh_by(&self, weigh: fn(&Out) -> usize) {
        lock(&self.queue).weigh = weigh;
    }

    /// How messages are weighed.
    pub(crate) fn weigher(&self) -> fn(&Out) -> usize {
        lock(&self.queue).weigh
    }

    /// Ties the outbox to its connection; what waits already is counted in and announced.
    pub(crate) fn place(&self, mailbox: &Arc<Mailbox>, board: &Arc<Board>, id: ConnectionId) {
        let mut queue = lock(&self.queue);
        // Accepted while there was no worker to count them into.
        mailbox.admit_always(queue.entries.len());
        queue.route = Some(Route {
            mailbox: Arc::clone(mailbox),
            board: Arc::clone(board),
            id,
        });
        if !queue.entries.is_empty() || queue.close.is_some() {
            queue.announce();
        }
    }

    pub(crate) fn accept(
        &self,
        out: Out,
        done: Option<Completion>,
    ) -> Result<(), TrySendError<Out>> {
        self.offer(out, done)
            .map_err(|(refused, done)| refuse(refused, done))
    }

    /// Queues a message, or gives all of it back.
    pub(crate) fn offer(
        &self,
        out: Out,
        done: Option<Completion>,
    ) -> Result<(), (TrySendError<Out>, Option<Completion>)> {
        let entry = Entry::new(out, done, FROM_HANDLE);
        self.accept_entry(entry).map_err(|refused| {
            let mut done = None;
            let refused = refused.map(|entry| {
                done = entry.done;
                entry.out
            });
            (refused, done)
        })
    }

    pub(super) fn accept_entry(
        &self,
        mut entry: Entry<Out>,
    ) -> Result<(), TrySendError<Entry<Out>>> {
        let mut queue = lock(&self.queue);
        if !queue.accepts() {
            return Err(TrySendError::Closed(entry));
        }
        let weight = queue.weigh(&mut entry);
        if !self.room.takes(self.queued_bytes(), || weight) {
            return Err(TrySendError::Full(entry));
        }
        if let Some(route) = &queue.route
            && !route.mailbox.admit()
        {
            return Err(TrySendError::Full(entry));
        }
        queue.push(self, entry);
        Ok(())
    }

    /// Queues what has waited for the connection, whose bound was seen to where it waited. What the
    /// connection does not take any more stays with the caller.
    pub(crate) fn accept_waiting(&self, waiting: &mut VecDeque<Entry<Out>>) {
        let mut queue = lock(&self.queue);
        if !queue.accepts() {
            return;
        }
        if let Some(route) = &queue.route {
            route.mailbox.admit_always(waiting.len());
        }
        for entry in waiting.drain(..) {
            #[cfg(netwheel_planted)]
            let entry = Entry {
                twice: is_planted(Bug::DoubledResend),
                ..entry
            };
            queue.push(self, entry);
        }
    }

    /// Queues the answers to one message of a lane, which were let in with it.
    ///
    /// Answers with the mailbox whose worker is to be woken, when `quiet` and it sleeps.
    pub(crate) fn accept_batch(
        &self,
        answers: &mut Vec<Entry<Out>>,
        quiet: bool,
    ) -> Option<Arc<Mailbox>> {
        let mut queue = lock(&self.queue);
        if !queue.accepts() {
            queue.announce();
            drop(queue);
            answers.clear();
            return None;
        }
        if let Some(route) = &queue.route {
            route.mailbox.admit_always(answers.len());
        }
        let (mut bytes, count) = (0, answers.len());
        for mut entry in answers.drain(..) {
            bytes += queue.weigh(&mut entry);
            entry.behind = queue.newest_broadcast();
            queue.entries.push_back(entry);
        }
        queue.count_in(self, count, bytes);
        if quiet {
            return queue.announce_quietly();
        }
        queue.announce();
        None
    }

    /// Queues a write of a callback behind what waits already; the caller has seen to the bound.
    pub(crate) fn defer(&self, entry: Entry<Out>) {
        let mut queue = lock(&self.queue);
        if let Some(route) = &queue.route {
            route.mailbox.admit_always(1);
        }
        queue.push(self, entry);
    }

    /// Takes everything that waits, into the emptied `entries`. Worker only; answers `Ready`.
    pub(crate) fn take(&self, entries: &mut VecDeque<Entry<Out>>) -> Taken {
        let mut queue = lock(&self.queue);
        queue.announced = false;
        if entries.is_empty() {
            std::mem::swap(&mut queue.entries, entries);
        } else {
            entries.append(&mut queue.entries);
        }
        Taken {
            results: std::mem::take(&mut queue.results),
            close: queue.close.take(),
        }
    }

    /// Messages taken before have been encoded, or dropped. Worker only.
    pub(crate) fn count_out(&self, count: usize, bytes: usize, mailbox: &Mailbox) {
        if count > 0 {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.waiting.fetch_sub(count, Ordering::Relaxed);
            mailbox.release(count);
        }
    }

    /// Whether writes of callbacks must queue up behind messages of handles.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Bytes of messages that wait, by their weight.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.waiting_bytes() + self.output_bytes.load(Ordering::Relaxed)
    }
}

impl<Out: Send> Announce for Outbox<Out> {
    fn push_result(&self, result: JobResult) {
        let mut queue = lock(&self.queue);
        if !matches!(queue.state, Life::Closed(_)) {
            queue.results.push(result);
        }
        // Announced also after the end: the worker counts what comes too late.
        queue.announce();
    }

    fn request_close(&self, request: CloseRequest) {
        self.ask_to_close(request);
    }

    fn ready(&self) {
        self.announce();
    }
}

impl<Out> Outbox<Out> {
    /// Makes the worker look at the connection.
    pub(crate) fn announce(&self) {
        lock(&self.queue).announce();
    }

    /// The connection's name, once its worker has taken it up.
    pub(super) fn id(&self) -> Option<ConnectionId> {
        lock(&self.queue).route.as_ref().map(|route| route.id)
    }

    pub(crate) fn tell_output_bytes(&self, bytes: usize) {
        self.output_bytes.store(bytes, Ordering::Relaxed);
    }
}

impl<Out> Queue<Out> {
    fn accepts(&self) -> bool {
        !self.refuses && !matches!(self.state, Life::Closed(_))
    }

    fn push(&mut self, outbox: &Outbox<Out>, mut entry: Entry<Out>) {
        let bytes = self.weigh(&mut entry);
        entry.behind = self.newest_broadcast();
        self.entries.push_back(entry);
        self.count_in(outbox, 1, bytes);
        self.announce();
    }

    /// What is accepted now comes behind it; for a connection without groups there is none.
    fn newest_broadcast(&self) -> usize {
        match &self.route {
            Some(route) if !self.memberships.is_empty() => route.board.issued(),
            _ => 0,
        }
    }

    fn weigh(&self, entry: &mut Entry<Out>) -> usize {
        let file = if entry.file.is_some() { FILE_WEIGHT } else { 0 };
        let weight = (self.weigh)(&entry.out).saturating_add(file);
        entry.weight = u32::try_from(weight).unwrap_or(u32::MAX);
        entry.weight as usize
    }

    fn count_in(&self, outbox: &Outbox<Out>, count: usize, bytes: usize) {
        outbox.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        outbox.waiting.fetch_add(count, Ordering::Release);
    }

    /// Announces without waking; answers with the mailbox whose worker somebody has to wake.
    fn announce_quietly(&mut self) -> Option<Arc<Mailbox>> {
        if self.announced {
            return None;
        }
        let route = self.route.as_ref()?;
        self.announced = true;
        let owed = route.mailbox.push_quietly(Command::Ready(route.id.key()));
        owed.then(|| Arc::clone(&route.mailbox))
    }

    fn announce(&mut self) {
        if self.announced {
            return;
        }
        if let Some(route) = &self.route {
            self.announced = true;
            route.mailbox.push(Command::Ready(route.id.key()));
        }
    }
}
