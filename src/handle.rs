//! A connection, as seen from any thread.
//!
//! ```text
//!   handles ──try_send──> [ outbox of the connection ] ──once a turn──> stages, codec, output
//!                             └─ first message only: Ready(key) into the worker's mailbox
//! ```
//! The outbox is typed and keeps the messages; the mailbox carries one small word per connection. So a
//! burst of ten thousand messages is one command, one wake-up and no allocation.
//!
//! # Order
//!
//! The writes of one connection leave in the order in which they were accepted, whichever threads made
//! them. A write from a callback takes the short way straight into the output as long as the outbox
//! is empty; while messages of handles wait in it, it queues up behind them. A member of groups has one
//! order with their broadcasts too: each message is stamped with the broadcast that it comes behind.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::address::{Address, Peer};
use crate::completion::Completion;
use crate::error::{CloseReason, Error, ErrorKind, Result, TrySendError};
use crate::fan_out::{Audience, Board, Membership};
use crate::file_region::FileRegion;
use crate::id::{ConnectionId, Key};
use crate::limits::OutputRoom;
use crate::mailbox::{Command, Mailbox};
#[cfg(netwheel_planted)]
use crate::planted::{Bug, is_planted};
use crate::sync::lock;
use crate::thread_role;

/// Where in the chain a message enters on its way out: behind the last stage.
pub(crate) const FROM_HANDLE: u32 = u32::MAX;

/// What a file counts for while it waits to be begun: so few wait as would take up a connection's output.
const FILE_WEIGHT: usize = 64 * 1024;

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

/// Whoever outlives a connection and is told of its life; never while a lock of the outbox is held.
pub(crate) trait Watch: Send + Sync {
    /// The pipeline has been told that the connection is open.
    fn opened(&self, id: ConnectionId, peer: Peer);
    /// The connection has ended, or will never be; told once, and last.
    fn closed(&self, reason: CloseReason);
}

#[derive(Clone)]
pub(crate) struct Route {
    mailbox: Arc<Mailbox>,
    pub(crate) board: Arc<Board>,
    pub(crate) id: ConnectionId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Opening,
    Open,
    Closed(CloseReason),
}

/// What a handle asked the connection to do, besides sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseRequest {
    AfterFlush(CloseReason),
    Now(CloseReason),
}

pub(crate) struct Entry<Out> {
    pub(crate) out: Out,
    pub(crate) done: Option<Completion>,
    /// Follows it as it is.
    pub(crate) file: Option<Box<FileRegion>>,
    /// The stage that wrote it, or [`FROM_HANDLE`].
    pub(crate) from: u32,
    /// What it counts for until it is encoded; kept, so that it is counted out as it was counted in.
    pub(crate) weight: u32,
    #[cfg(netwheel_planted)]
    pub(crate) twice: bool,
    /// The newest broadcast from before it was accepted; it is encoded behind that.
    behind: usize,
}

impl<Out> Entry<Out> {
    pub(crate) const fn new(out: Out, done: Option<Completion>, from: u32) -> Self {
        Self {
            out,
            done,
            file: None,
            from,
            weight: 0,
            #[cfg(netwheel_planted)]
            twice: false,
            behind: 0,
        }
    }
}

impl<Out> Entry<Out> {
    /// Whether it comes behind a broadcast that is newer than this one.
    pub(crate) const fn is_ahead_of(&self, broadcast: usize) -> bool {
        self.behind > broadcast
    }
}

/// The result of a job that the pool has done for a connection; `None` when it panicked.
pub(crate) struct JobResult {
    pub(crate) job: usize,
    pub(crate) value: Option<Box<dyn Any + Send>>,
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

    /// Tells `watch` of the connection's life, of which nothing has happened yet.
    pub(crate) fn watch_by(&self, watch: Arc<dyn Watch>) {
        lock(&self.queue).watch = Some(watch);
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

    fn accept_entry(&self, mut entry: Entry<Out>) -> Result<(), TrySendError<Entry<Out>>> {
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

    fn queued_bytes(&self) -> usize {
        self.waiting_bytes() + self.output_bytes.load(Ordering::Relaxed)
    }
}

/// The half of an outbox that does not depend on what is sent.
pub(crate) trait Announce: Send + Sync {
    fn push_result(&self, result: JobResult);
    fn request_close(&self, request: CloseRequest);
    /// Makes the worker look at the connection.
    fn ready(&self);
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

    /// Keeps a membership until the connection ends; drops it when it has ended already.
    pub(crate) fn keep(&self, membership: Membership) -> Result<(), CloseReason> {
        let mut queue = lock(&self.queue);
        if let Life::Closed(reason) = queue.state {
            return Err(reason);
        }
        queue.memberships.push(membership);
        self.is_member.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Drops the membership of that audience; `false` when there is none.
    pub(crate) fn leave(&self, audience: &Arc<Audience>) -> bool {
        let mut queue = lock(&self.queue);
        let place = queue
            .memberships
            .iter()
            .position(|membership| membership.is_of(audience));
        let left = place.map(|index| queue.memberships.swap_remove(index));
        self.is_member
            .store(!queue.memberships.is_empty(), Ordering::Relaxed);
        left.is_some()
    }

    /// Drops all memberships.
    pub(crate) fn leave_all(&self) {
        let mut queue = lock(&self.queue);
        drop(self.take_memberships(&mut queue));
    }

    fn take_memberships(&self, queue: &mut Queue<Out>) -> Vec<Membership> {
        self.is_member.store(false, Ordering::Relaxed);
        std::mem::take(&mut queue.memberships)
    }

    /// Whether the connection is a member of groups.
    pub(crate) fn is_member(&self) -> bool {
        self.is_member.load(Ordering::Relaxed)
    }

    pub(crate) fn tell_output_bytes(&self, bytes: usize) {
        self.output_bytes.store(bytes, Ordering::Relaxed);
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

/// Gives a message back; whoever waits for its completion hears of it from the refusal itself.
pub(crate) fn refuse<Out>(
    refused: TrySendError<Out>,
    done: Option<Completion>,
) -> TrySendError<Out> {
    if let Some(done) = done {
        done.forget();
    }
    refused
}

/// A connection, as seen from any thread: sends typed messages to it and closes it.
///
/// Got from [`Context::handle`](crate::Context::handle) or from a client's `connect`. Cheap to clone
/// and to keep: it does not keep the connection open, and after the close it only says so.
///
/// Threads: any. Cost: one lock that is hardly ever contended; a wake-up only for the first message of
/// a burst, and only when the worker sleeps. Limit: the connection's
/// [`OUTPUT_BYTES_MAX`](crate::limits::OUTPUT_BYTES_MAX).
pub struct ConnectionHandle<Out>(pub(crate) Arc<Outbox<Out>>);

impl<Out> ConnectionHandle<Out> {
    /// Queues `out` for sending, without blocking.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use netwheel::{ConnectionHandle, TrySendError};
    ///
    /// /// Sends to everybody who keeps up; forgets who has gone.
    /// fn broadcast(room: &mut Vec<ConnectionHandle<Bytes>>, message: &Bytes) {
    ///     room.retain(|member| match member.try_send(message.clone()) {
    ///         Ok(()) => true,
    ///         Err(TrySendError::Full(_)) => true, // too slow for this one
    ///         Err(_) => false,
    ///     });
    /// }
    /// # broadcast(&mut Vec::new(), &Bytes::new());
    /// ```
    ///
    /// To send one message to many connections, a [`Group`](crate::Group) is cheaper: it encodes once.
    ///
    /// It passes all stages outward and leaves at the end of the worker's current or next turn. The
    /// writes of a connection leave in the order in which they were accepted, see the
    /// [module](crate::handle).
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] over the hard bound, [`TrySendError::Closed`] once the connection is
    /// closing. Both give `out` back.
    pub fn try_send(&self, out: Out) -> Result<(), TrySendError<Out>> {
        self.0.accept(out, None)
    }

    /// Queues `out` like [`try_send`](Self::try_send) and calls `done` exactly once: with `Ok` when
    /// the kernel has taken its last byte, with the reason when the connection ended before.
    ///
    /// `done` runs on the connection's worker (or where the connection is dropped) and must not block.
    /// `Ok` says nothing about the peer having read it.
    ///
    /// # Errors
    ///
    /// As for [`try_send`](Self::try_send); `done` is then dropped uncalled.
    pub fn try_send_then(
        &self,
        out: Out,
        done: impl FnOnce(Result<(), CloseReason>) + Send + 'static,
    ) -> Result<(), TrySendError<Out>> {
        self.0.accept(out, Some(Completion::new(done)))
    }

    /// Queues `out` like [`try_send`](Self::try_send) and behind it, as they are, the bytes of a file; see
    /// [`Context::write_file`](crate::Context::write_file).
    ///
    /// # Errors
    ///
    /// As for [`try_send`](Self::try_send), with both given back. A file that waits to be begun weighs 64 KiB.
    #[expect(clippy::missing_panics_doc, reason = "it gives back what it was given")]
    pub fn try_send_file(
        &self,
        out: Out,
        file: FileRegion,
    ) -> Result<(), TrySendError<(Out, FileRegion)>> {
        let mut entry = Entry::new(out, None, FROM_HANDLE);
        entry.file = Some(Box::new(file));
        let both = |entry: Entry<Out>| (entry.out, *entry.file.expect("given above"));
        self.0
            .accept_entry(entry)
            .map_err(|refused| refused.map(both))
    }

    /// Closes the connection at once; what waits for it is answered as not sent. Never refused.
    pub fn close(&self) {
        self.0.ask_to_close(CloseRequest::Now(CloseReason::Local));
    }

    /// Closes the connection once everything accepted before has left. Never refused.
    pub fn close_after_flush(&self) {
        self.0
            .ask_to_close(CloseRequest::AfterFlush(CloseReason::Local));
    }

    /// The connection's name; that of a connect under way is settled once its worker has taken it up.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        lock(&self.0.queue)
            .route
            .as_ref()
            .map_or(UNPLACED, |route| route.id)
    }

    /// The other side.
    #[must_use]
    pub fn peer(&self) -> Address {
        lock(&self.0.queue).peer.address
    }

    /// This side.
    #[must_use]
    pub fn local(&self) -> Address {
        lock(&self.0.queue).peer.local
    }

    /// Why the connection ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        match lock(&self.0.queue).state {
            Life::Closed(reason) => Some(reason),
            Life::Opening | Life::Open => None,
        }
    }

    /// Whether it takes no more messages: the connection has ended, or is about to.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.0.is_ending()
    }

    /// Bytes on their way to the socket: messages by their weight, output by its length. A snapshot.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.0.queued_bytes()
    }

    /// Waits until a connect has succeeded; returns at once for a connection that is open.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when it has failed or ended, [`ErrorKind::Timeout`] after `timeout`,
    /// [`ErrorKind::Misuse`] on an I/O thread, which would wait for itself.
    pub fn wait_open(&self, timeout: Duration) -> Result<(), Error> {
        match self.wait_while(timeout, |state| *state == Life::Opening)? {
            Life::Closed(reason) => Err(Error::new(
                ErrorKind::Closed,
                format!("the connection ended: {reason}"),
            )),
            Life::Opening | Life::Open => Ok(()),
        }
    }

    /// Waits until the connection has ended and tells why.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] after `timeout`, [`ErrorKind::Misuse`] on an I/O thread.
    pub fn wait_closed(&self, timeout: Duration) -> Result<CloseReason, Error> {
        match self.wait_while(timeout, |state| !matches!(state, Life::Closed(_)))? {
            Life::Closed(reason) => Ok(reason),
            Life::Opening | Life::Open => Err(timed_out(timeout)),
        }
    }

    fn wait_while(
        &self,
        timeout: Duration,
        mut waits: impl FnMut(&Life) -> bool,
    ) -> Result<Life, Error> {
        thread_role::refuse_on_io_thread("wait for a connection")?;
        let queue = lock(&self.0.queue);
        let (queue, _) = self
            .0
            .settled
            .wait_timeout_while(queue, timeout, |queue| waits(&queue.state))
            .unwrap_or_else(PoisonError::into_inner);
        if waits(&queue.state) {
            Err(timed_out(timeout))
        } else {
            Ok(queue.state)
        }
    }
}

fn timed_out(timeout: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("nothing happened within {timeout:?}"),
    )
}

/// The name of a connection that no worker has taken up yet.
const UNPLACED: ConnectionId = ConnectionId::new(
    u16::MAX,
    Key {
        slot: u32::MAX,
        generation: u32::MAX,
    },
);

impl<Out> Clone for ConnectionHandle<Out> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Out> fmt::Debug for ConnectionHandle<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConnectionHandle").field(&self.id()).finish()
    }
}
