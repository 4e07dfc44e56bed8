//! Business threads: where handlers may block.
//!
//! ```text
//!   worker ──lane or job──> [ crossbeam channel ] ──> N threads ──answers──> outbox of the connection
//! ```
//! What waits is counted when it is let in and counted out when it is done, so the channel, which has
//! room for all that may be let in, is never full. Whoever found no room is told, first come first
//! served, when there is some.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{error, warn};

use crate::handle::Announce;
use crate::limits::{EXECUTOR_MESSAGES_MAX, executor_threads_default};
use crate::sync::lock;
use crate::thread_role;

/// A job for any thread.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// The messages of one connection, handled in order by one thread at a time.
pub(crate) trait RunLane: Send + Sync {
    /// Handles what waits, at most a lane's worth; submits itself again when there is more.
    fn run(self: Arc<Self>);
}

enum Work {
    Lane(Arc<dyn RunLane>),
    Task(Task),
}

/// What becomes of a message for which the pool has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// The connection that it came from is not read until there is room, first come first served;
    /// nothing is lost, and TCP holds back the peer.
    #[default]
    Pause,
    /// The caller gets an error, and may answer "busy".
    Reject,
}

/// A bounded pool of threads for handlers and jobs that may block.
///
/// A clone is another handle to the same threads. The threads start with the first work and end when
/// the last handle is dropped (which waits for them, unless it happens on one of the crate's threads).
///
/// Threads: any. Cost: a channel operation per lane and burst, not per message. Limit:
/// [`EXECUTOR_MESSAGES_MAX`] messages and jobs waiting, unless configured.
///
/// ```
/// let pool = netwheel::Executor::new(8).queue_max(4096);
/// pool.try_execute(|| println!("on the pool")).expect("an empty pool has room");
/// ```
#[derive(Clone)]
pub struct Executor {
    pool: Arc<Pool>,
    when_full: WhenFull,
}

struct Pool {
    sender: Option<Sender<Work>>,
    receiver: Receiver<Work>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    threads_max: usize,
    started: Once,
    queued: AtomicUsize,
    queued_max: usize,
    waiters: Mutex<VecDeque<Arc<dyn Announce>>>,
    waiting: AtomicUsize,
}

impl Executor {
    /// A pool of `threads` threads; zero means the default, twice the cores and at least four.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let threads = if threads == 0 {
            executor_threads_default()
        } else {
            threads
        };
        Self::with(threads, EXECUTOR_MESSAGES_MAX)
    }

    /// A pool without threads: whoever made it runs the work, see [`run_one`](Self::run_one).
    pub(crate) fn manual() -> Self {
        Self::with(0, EXECUTOR_MESSAGES_MAX)
    }

    fn with(threads_max: usize, queued_max: usize) -> Self {
        let (sender, receiver) = bounded(queued_max);
        let pool = Pool {
            sender: Some(sender),
            receiver,
            threads: Mutex::new(Vec::new()),
            threads_max,
            started: Once::new(),
            queued: AtomicUsize::new(0),
            queued_max,
            waiters: Mutex::default(),
            waiting: AtomicUsize::new(0),
        };
        Self {
            pool: Arc::new(pool),
            when_full: WhenFull::default(),
        }
    }

    /// Changes how many messages and jobs may wait, over all lanes; at least one.
    ///
    /// Call it first: it makes a new pool.
    #[must_use]
    pub fn queue_max(self, messages: usize) -> Self {
        Self {
            when_full: self.when_full,
            ..Self::with(self.pool.threads_max, messages.max(1))
        }
    }

    /// Changes what becomes of messages that find no room, for pipelines built with this handle.
    #[must_use]
    pub fn on_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }

    /// Messages and jobs that wait or run at this moment.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.pool.queued.load(Ordering::Relaxed)
    }

    /// Runs `job` on a thread of the pool.
    ///
    /// # Errors
    ///
    /// Gives the job back when the pool is full.
    pub fn try_execute<J: FnOnce() + Send + 'static>(&self, job: J) -> Result<(), J> {
        if self.acquire(1, false) == 0 {
            return Err(job);
        }
        self.submit(Work::Task(Box::new(job)));
        Ok(())
    }

    /// Runs a job of a connection, or gives it back when the pool is full or others wait for it.
    pub(crate) fn try_run(&self, task: Task, was_waiting: bool) -> Result<(), Task> {
        if self.acquire(1, was_waiting) == 0 {
            return Err(task);
        }
        self.submit(Work::Task(task));
        Ok(())
    }

    pub(crate) fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// Lets in up to `want` messages; answers how many. Newcomers queue up behind those who wait.
    pub(crate) fn acquire(&self, want: usize, was_waiting: bool) -> usize {
        let pool = &*self.pool;
        if !was_waiting && pool.waiting.load(Ordering::SeqCst) > 0 {
            return 0;
        }
        let mut granted = 0;
        let _ = pool
            .queued
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |queued| {
                granted = want.min(pool.queued_max.saturating_sub(queued));
                Some(queued + granted)
            });
        granted
    }

    /// Counts out what has been handled, and tells as many who wait for room.
    pub(crate) fn release(&self, count: usize) {
        self.pool.release(count);
    }

    /// Tells `waiter` once there is room.
    pub(crate) fn notify_when_free(&self, waiter: Arc<dyn Announce>) {
        let pool = &*self.pool;
        if !waiter.begin_wait() {
            return;
        }
        lock(&pool.waiters).push_back(waiter);
        pool.waiting.fetch_add(1, Ordering::SeqCst);
        // Room that came between the refusal and now was told to nobody. Whoever frees room looks for
        // waiters afterwards, so one of the two sees the other.
        if pool.queued.load(Ordering::SeqCst) < pool.queued_max {
            pool.notify(1);
        }
    }

    /// Hands over a lane that holds at least one message which was let in.
    pub(crate) fn submit_lane(&self, lane: Arc<dyn RunLane>) {
        self.submit(Work::Lane(lane));
    }

    fn submit(&self, work: Work) {
        self.pool.started.call_once(|| self.pool.start());
        let sender = self
            .pool
            .sender
            .as_ref()
            .expect("the sender goes with the last handle");
        // A lane stands in the channel once and holds a message that was let in, so there is room.
        if sender.try_send(work).is_err() {
            error!(target: "netwheel::executor", "the pool's channel is full or closed; work is lost");
            debug_assert!(false, "more work was submitted than was let in");
        }
    }

    /// Runs the work that has waited longest, on the calling thread; `false` when there is none.
    pub(crate) fn run_one(&self) -> bool {
        let work = self.pool.receiver.try_recv();
        work.is_ok_and(|work| {
            run(&self.pool, work);
            true
        })
    }
}

fn run(pool: &Pool, work: Work) {
    match work {
        Work::Lane(lane) => lane.run(),
        Work::Task(task) => {
            // A panic has been told to the connection already where there is one.
            if catch_unwind(AssertUnwindSafe(task)).is_err() {
                error!(target: "netwheel::executor", "a job of the pool panicked");
            }
            pool.release(1);
        }
    }
}

impl Pool {
    fn start(self: &Arc<Self>) {
        let mut threads = lock(&self.threads);
        for index in 0..self.threads_max {
            let receiver = self.receiver.clone();
            let pool = Arc::downgrade(self);
            let body = move || {
                for work in receiver {
                    match pool.upgrade() {
                        Some(pool) => run(&pool, work),
                        // The last handle has gone; what was let in before is still done.
                        None => run_orphan(work),
                    }
                }
            };
            let builder = thread::Builder::new().name(format!("netwheel-pool-{index}"));
            match builder.spawn(body) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    warn!(target: "netwheel::executor", "no thread for the pool: {error}");
                }
            }
        }
    }

    fn release(&self, count: usize) {
        let left = self.queued.fetch_sub(count, Ordering::SeqCst) - count;
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // One who is told may have gone meanwhile and use nothing. Whatever still runs tells the
            // next when it is done; when nothing does, nobody would, so all are told.
            self.notify(if left == 0 { usize::MAX } else { count });
        }
    }

    fn notify(&self, count: usize) {
        let told: Vec<_> = {
            let mut waiters = lock(&self.waiters);
            let count = count.min(waiters.len());
            self.waiting.fetch_sub(count, Ordering::SeqCst);
            waiters.drain(..count).collect()
        };
        for waiter in told {
            waiter.end_wait();
        }
    }
}

fn run_orphan(work: Work) {
    match work {
        Work::Lane(lane) => lane.run(),
        Work::Task(task) => {
            let _ = catch_unwind(AssertUnwindSafe(task));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.sender = None;
        let threads = std::mem::take(&mut *lock(&self.threads));
        let current = thread::current().id();
        // Neither an I/O thread nor a thread of the pool itself may wait for a handler to end.
        let may_wait = thread_role::refuse_on_io_thread("wait for a pool").is_ok()
            && threads.iter().all(|thread| thread.thread().id() != current);
        if may_wait {
            for thread in threads {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("threads", &self.pool.threads_max)
            .field("queued", &self.queued())
            .field("when_full", &self.when_full)
            .finish()
    }
}
