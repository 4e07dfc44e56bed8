//! A handler on the pool: one ordered lane per connection.
//!
//! ```text
//!  worker                              any thread of the pool, one at a time
//!  messages ─> staged ─batch─> [ lane, at most 64 ] ─> handler ─> answers ─batch─> outbox ─> worker
//! ```
//! Messages of one read are handed over together. The answers to a message go back as soon as it has
//! been handled, because the next one may block; only the first of them tells the worker, so a burst
//! still costs one wake-up.
//!
//! A lane whose answers are not read parks: what it has not handled goes back to the worker, counted
//! out of the pool, so that a slow reader takes no room from others.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::handler::Terminal;
use super::state::Pause;
use super::turn::Turn;
use super::{Context, Event};
use crate::address::Address;
use crate::error::{CloseReason, Failure, Result, TrySendError};
use crate::executor::{Executor, RunLane, Waiter, WhenFull};
use crate::handle::{Announce, CloseRequest, ConnectionHandle, Entry, FROM_HANDLE};
use crate::id::ConnectionId;
use crate::limits::{ConnectionLimits, LANE_MESSAGES_MAX};
use crate::stats::WorkerStats;
use crate::sync::lock;

/// Messages handed over at once; more would wait for the end of a long read.
const STAGED_MAX: usize = 16;

/// Handled messages are counted out of the pool so many at a time (and at the end of the lane's turn),
/// so that threads seldom meet on the count. A handler that blocks holds at most so many places too many.
const COUNTED_OUT_TOGETHER: usize = 8;

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
    line: &'a Line<Out>,
    answers: &'a mut Vec<Entry<Out>>,
    answers_bytes: &'a mut usize,
    close: Option<CloseRequest>,
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

/// The queue of one connection, and its handler.
pub(crate) struct Lane<In, Out, H> {
    queue: Mutex<Queue<In>>,
    /// Held by the one thread that runs the lane; never contended.
    work: Mutex<Work<In, Out, H>>,
    line: OnceLock<Line<Out>>,
    executor: Executor,
    /// Messages in the queue or being handled.
    queued: AtomicUsize,
    /// The worker wants to hear when fewer than so many are queued; 0: it does not.
    tell_below: AtomicUsize,
    /// Whether the worker is to take the messages back, because answers are not read. Changes with the
    /// queue locked.
    parked: AtomicBool,
    /// Nothing more is handled: the connection has ended, or the handler has failed.
    dead: AtomicBool,
}

struct Queue<In> {
    messages: VecDeque<In>,
    /// Whether the lane is with the executor.
    scheduled: bool,
}

struct Work<In, Out, H> {
    handler: Option<H>,
    batch: VecDeque<In>,
    answers: Vec<Entry<Out>>,
    answers_bytes: usize,
    /// Messages of the batch that were handled, and are still to be counted out.
    handled: usize,
}

/// The way back to the connection.
struct Line<Out> {
    handle: ConnectionHandle<Out>,
    weigh: fn(&Out) -> usize,
    limits: ConnectionLimits,
    /// The worker's, for what happens on the pool.
    stats: Arc<WorkerStats>,
}

impl<Out> Line<Out> {
    /// Whether answers wait because the peer does not read them.
    fn is_congested(&self) -> bool {
        self.handle.queued_bytes() > self.limits.high_water_bytes
    }

    fn note_panic(&self, of: &str) {
        self.stats.pool_panics.fetch_add(1, Ordering::Relaxed);
        log::error!(target: "netwheel::executor", "{} {}: {of} panicked",
            self.handle.id(), self.handle.peer());
    }

    /// Drops a message or a handler; a panic in its destructor is noted and goes no further.
    fn drop_quietly<T>(&self, value: T) {
        if catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
            self.note_panic(std::any::type_name::<T>());
        }
    }
}

impl<In, Out, H> Lane<In, Out, H>
where
    In: Send + 'static,
    Out: Send + 'static,
    H: PoolHandler<In, Out>,
{
    pub(crate) fn new(executor: &Executor, handler: H) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue {
                messages: VecDeque::new(),
                scheduled: false,
            }),
            parked: AtomicBool::new(false),
            work: Mutex::new(Work {
                handler: Some(handler),
                batch: VecDeque::new(),
                answers: Vec::new(),
                answers_bytes: 0,
                handled: 0,
            }),
            line: OnceLock::new(),
            executor: executor.clone(),
            queued: AtomicUsize::new(0),
            tell_below: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
        })
    }

    /// Takes the first `count` of `staged`, which were let in; hands the lane to the executor unless
    /// it is there. `false`, and nothing taken, when the lane has parked meanwhile. Worker only.
    fn push(self: &Arc<Self>, turn: &mut Turn, staged: &mut VecDeque<In>, count: usize) -> bool {
        let mut queue = lock(&self.queue);
        // What a parked lane holds is counted out and goes back to the worker, all of it.
        if self.is_parked() {
            return false;
        }
        self.queued.fetch_add(count, Ordering::SeqCst);
        queue.messages.extend(staged.drain(..count));
        if !std::mem::replace(&mut queue.scheduled, true) {
            drop(queue);
            turn.submit_lane(&self.executor, Arc::clone(self) as Arc<dyn RunLane>);
        }
        true
    }

    fn handle_batch(&self, line: &Line<Out>, work: &mut Work<In, Out, H>, quiet: bool) {
        while let Some(message) = work.batch.pop_front() {
            let dead = self.dead.load(Ordering::Relaxed);
            // Looked at before the first, too: it may be the answers to an earlier batch that wait.
            if !dead && line.is_congested() {
                work.batch.push_front(message);
                self.count_out(line, std::mem::take(&mut work.handled));
                return self.park(line, work);
            }
            work.handled += 1;
            if dead {
                continue;
            }
            let close = self.handle_one(line, work, message);
            self.send_answers(line, work, quiet);
            if let Some(request) = close {
                self.dead.store(true, Ordering::Relaxed);
                line.handle.0.request_close(request);
            }
            if work.handled == COUNTED_OUT_TOGETHER {
                self.count_out(line, std::mem::take(&mut work.handled));
            }
        }
        self.count_out(line, std::mem::take(&mut work.handled));
    }

    /// A destructor has panicked in the middle of a batch: ends the connection, and counts out the rest.
    fn abandon_batch(&self, line: &Line<Out>, work: &mut Work<In, Out, H>) {
        line.note_panic(std::any::type_name::<H>());
        self.dead.store(true, Ordering::Relaxed);
        let request = CloseRequest::AfterFlush(CloseReason::Panic);
        line.handle.0.request_close(request);
        while let Some(message) = work.batch.pop_front() {
            work.handled += 1;
            line.drop_quietly(message);
        }
        self.count_out(line, std::mem::take(&mut work.handled));
    }

    fn send_answers(&self, line: &Line<Out>, work: &mut Work<In, Out, H>, quiet: bool) {
        if work.answers.is_empty() {
            return;
        }
        if let Some(mailbox) = line.handle.0.accept_batch(&mut work.answers, quiet) {
            self.executor.owe(mailbox);
        }
        work.answers_bytes = 0;
    }

    /// Counts out what was handled, and tells the worker what it asked to be told.
    fn count_out(&self, line: &Line<Out>, count: usize) {
        if count == 0 {
            return;
        }
        let before = self.queued.fetch_sub(count, Ordering::SeqCst);
        debug_assert!(
            before >= count,
            "a message is counted in before it is counted out"
        );
        let left = before - count;
        self.executor.release(count);
        if left < self.tell_below.load(Ordering::SeqCst) {
            self.tell_below.store(0, Ordering::SeqCst);
            line.handle.0.ready();
        }
    }

    /// Leaves what is not handled to the worker, until the answers have been read.
    fn park(&self, line: &Line<Out>, work: &mut Work<In, Out, H>) {
        let mut queue = lock(&self.queue);
        while let Some(message) = work.batch.pop_back() {
            queue.messages.push_front(message);
        }
        self.parked.store(true, Ordering::SeqCst);
        let count = queue.messages.len();
        drop(queue);
        self.count_out(line, count);
        line.handle.0.ready();
    }

    /// Takes back what a parked lane has not handled. Worker only.
    fn recall(&self) -> Option<VecDeque<In>> {
        let mut queue = lock(&self.queue);
        let parked = self.parked.swap(false, Ordering::SeqCst);
        parked.then(|| std::mem::take(&mut queue.messages))
    }

    fn is_parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst)
    }

    /// Handles one message; answers with how the connection is to end, if it is.
    fn handle_one(
        &self,
        line: &Line<Out>,
        work: &mut Work<In, Out, H>,
        message: In,
    ) -> Option<CloseRequest> {
        let handler = work.handler.as_mut()?;
        let mut cx = LaneContext {
            line,
            answers: &mut work.answers,
            answers_bytes: &mut work.answers_bytes,
            close: None,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| handler.on_message(&mut cx, message)));
        let close = cx.close;
        match outcome {
            Ok(Ok(())) => close,
            Ok(Err(failure)) => {
                log::warn!(target: "netwheel::executor", "{} {}: closing: {}", line.handle.id(),
                    line.handle.peer(), failure.to_string().escape_debug());
                Some(CloseRequest::AfterFlush(failure.reason()))
            }
            Err(_) => {
                line.note_panic(std::any::type_name::<H>());
                Some(CloseRequest::AfterFlush(CloseReason::Panic))
            }
        }
    }
}

/// The last to let go of a lane may be a thread of the pool: no destructor ends it.
impl<In, Out, H> Drop for Lane<In, Out, H> {
    fn drop(&mut self) {
        let Some(line) = self.line.get() else { return };
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        while let Some(message) = queue.messages.pop_front() {
            line.drop_quietly(message);
        }
        let work = self.work.get_mut().unwrap_or_else(PoisonError::into_inner);
        line.drop_quietly(work.handler.take());
    }
}

impl<In, Out, H> RunLane for Lane<In, Out, H>
where
    In: Send + 'static,
    Out: Send + 'static,
    H: PoolHandler<In, Out>,
{
    fn run(self: Arc<Self>, quiet: bool) {
        let line = self
            .line
            .get()
            .expect("a lane gets messages once its connection is open");
        {
            let mut work = lock(&self.work);
            std::mem::swap(&mut lock(&self.queue).messages, &mut work.batch);
            let work = &mut *work;
            let batch = || self.handle_batch(line, work, quiet);
            if catch_unwind(AssertUnwindSafe(batch)).is_err() {
                self.abandon_batch(line, work);
            }
            if self.dead.load(Ordering::Relaxed) {
                line.drop_quietly(work.handler.take());
            }
        }
        let mut queue = lock(&self.queue);
        queue.scheduled = !queue.messages.is_empty() && !self.is_parked();
        if queue.scheduled {
            drop(queue);
            let executor = self.executor.clone();
            executor.submit_lane(self);
        }
    }
}

pub(crate) type Reject<In, Out> = Box<dyn FnMut(&mut Context<'_, In, Out>, In) -> Result<()>>;

/// The worker's end of a lane.
pub(crate) struct LaneEnd<In: 'static, Out: 'static, H> {
    lane: Arc<Lane<In, Out, H>>,
    /// Messages on their way to the lane; some stay here while it has no room.
    staged: VecDeque<In>,
    waiter: Waiter,
    reject: Option<Reject<In, Out>>,
}

impl<In, Out, H> LaneEnd<In, Out, H>
where
    In: Send + 'static,
    Out: Send + 'static,
    H: PoolHandler<In, Out>,
{
    pub(crate) fn new(lane: Arc<Lane<In, Out, H>>, reject: Option<Reject<In, Out>>) -> Self {
        Self {
            waiter: lane.executor.waiter(),
            lane,
            staged: VecDeque::new(),
            reject,
        }
    }

    /// Hands over what is staged, as far as there is room; pauses reading, or rejects, when there is not.
    fn commit(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        loop {
            if self.is_congested_and_parked(cx) {
                // What was given room leaves it to the next.
                self.waiter.give_up();
                cx.state.pause(Pause::LANE);
                return Ok(());
            }
            // A lane that is just parking is counted out after its messages can be taken back.
            let room = LANE_MESSAGES_MAX.saturating_sub(self.lane.queued.load(Ordering::SeqCst));
            let want = self.staged.len().min(room);
            let granted = self.waiter.acquire(want);
            if granted > 0 && !self.lane.push(cx.turn, &mut self.staged, granted) {
                self.lane.executor.release(granted);
                continue;
            }
            if self.staged.is_empty() {
                cx.state.resume(Pause::LANE, cx.turn.stamp);
                return Ok(());
            }
            if self.lane.executor.when_full() == WhenFull::Reject {
                return self.reject_staged(cx);
            }
            cx.state.pause(Pause::LANE);
            if granted < want {
                let waiter: Arc<dyn Announce> = cx.outlet().outbox.clone();
                self.waiter.wait(waiter, want - granted);
                return Ok(());
            }
            if !self.tell_below(LANE_MESSAGES_MAX / 2 + 1) {
                return Ok(());
            }
        }
    }

    /// Takes messages back from a parked lane once the answers have been read; `true` while they have not.
    fn is_congested_and_parked(&mut self, cx: &Context<'_, In, Out>) -> bool {
        if !self.lane.is_parked() {
            return false;
        }
        if cx.queued_bytes() > cx.state.options.limits.high_water_bytes {
            return true;
        }
        if let Some(mut messages) = self.lane.recall() {
            messages.append(&mut self.staged);
            self.staged = messages;
        }
        false
    }

    /// Asks to be told once fewer than `count` messages are in the lane; `true` when that holds already.
    fn tell_below(&self, count: usize) -> bool {
        self.lane.tell_below.store(count, Ordering::SeqCst);
        // Whoever handles messages counts them out before it looks at `tell_below`, so one of the
        // two sees the other.
        self.lane.queued.load(Ordering::SeqCst) < count
    }

    fn reject_staged(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        let Some(reject) = &mut self.reject else {
            return Err(Failure::with(
                CloseReason::OverLimit,
                "the pool is full and rejects",
            ));
        };
        self.staged
            .drain(..)
            .try_for_each(|message| reject(cx, message))
    }
}

impl<In, Out, H> Terminal<In, Out> for LaneEnd<In, Out, H>
where
    In: Send + 'static,
    Out: Send + 'static,
    H: PoolHandler<In, Out>,
{
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        let line = Line {
            handle: cx.handle(),
            weigh: cx.encoder.weigher(),
            limits: cx.state.options.limits.clone(),
            stats: Arc::clone(&cx.turn.stats),
        };
        cx.turn.stats.know_pool(self.lane.executor.gauge());
        let _ = self.lane.line.set(line);
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Context<'_, In, Out>, message: In) -> Result<()> {
        self.staged.push_back(message);
        if self.staged.len() >= STAGED_MAX {
            self.commit(cx)
        } else {
            Ok(())
        }
    }

    fn on_settled(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        if self.staged.is_empty() || cx.state.is_paused_by(Pause::LANE) {
            return Ok(());
        }
        self.commit(cx)
    }

    fn on_ready(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        if cx.state.is_paused_by(Pause::LANE) || self.lane.is_parked() {
            return self.commit(cx);
        }
        Ok(())
    }

    fn on_event(&mut self, _: &mut Context<'_, In, Out>, _: &Event) -> Result<()> {
        Ok(())
    }

    fn is_idle(&mut self) -> bool {
        self.staged.is_empty()
            && !self.lane.is_parked()
            && (self.lane.queued.load(Ordering::SeqCst) == 0 || self.tell_below(1))
    }

    fn give_up(&mut self) {
        self.waiter.give_up();
    }

    fn on_close(&mut self, _: &mut Context<'_, In, Out>, _: CloseReason) {
        self.lane.dead.store(true, Ordering::Relaxed);
    }
}

impl<In: 'static, Out: 'static, H> Drop for LaneEnd<In, Out, H> {
    fn drop(&mut self) {
        self.lane.dead.store(true, Ordering::Relaxed);
    }
}
