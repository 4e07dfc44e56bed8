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

mod end;
mod handler;

pub(crate) use end::{LaneEnd, Reject};
pub(crate) use handler::LaneClosure;
pub use handler::{LaneContext, PoolHandler};

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::turn::Turn;
use crate::error::CloseReason;
use crate::executor::{Executor, RunLane};
use crate::handle::{Announce, CloseRequest, ConnectionHandle, Entry};
use crate::limits::ConnectionLimits;
use crate::stats::WorkerStats;
use crate::sync::lock;

/// Handled messages are counted out of the pool so many at a time (and at the end of the lane's turn),
/// so that threads seldom meet on the count. A handler that blocks holds at most so many places too many.
const COUNTED_OUT_TOGETHER: usize = 8;

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
