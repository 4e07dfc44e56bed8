//! Business threads: where handlers may block.
//!
//! ```text
//!   worker ──lane or job──> [ crossbeam channel ] ──> N threads ──answers──> outbox of the connection
//! ```
//! What waits is counted when it is let in and counted out when it is done, so the channel, which has
//! room for all that may be let in, is never full. Whoever found no room is told, first come first
//! served, when there is some.

mod parking;
mod roster;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, Weak};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use log::{error, warn};

use self::parking::Parking;
use crate::handle::Announce;
use crate::limits::{EXECUTOR_MESSAGES_MAX, executor_threads_default};
use crate::mailbox::Mailbox;
use crate::sync::lock;
use crate::thread_role;

pub(crate) use roster::Roster;

/// A job for any thread.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// The messages of one connection, handled in order by one thread at a time.
pub(crate) trait RunLane: Send + Sync {
    /// Handles what waits, at most a lane's worth; submits itself again when there is more.
    ///
    /// With `quiet`, wake-ups of workers may be [owed](Executor::owe): somebody else will pay them even
    /// if a handler blocks.
    fn run(self: Arc<Self>, quiet: bool);
}

enum Work {
    Lane(Arc<dyn RunLane>),
    Task(Task),
}

/// Who does a pool's work.
#[derive(Clone)]
enum Crew {
    /// So many threads of its own.
    Threads(usize),
    /// Whoever holds the roster.
    Roster(Roster),
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
/// assert!(pool.try_execute(|| println!("on the pool")).is_ok(), "an empty pool has room");
/// ```
#[derive(Clone)]
pub struct Executor {
    pool: Arc<Pool>,
    when_full: WhenFull,
}

struct Pool {
    sender: Option<Sender<Work>>,
    receiver: Receiver<Work>,
    parking: Arc<Parking>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    crew: Crew,
    started: Once,
    queued: AtomicUsize,
    queued_max: usize,
    waiters: Mutex<VecDeque<Arc<dyn Announce>>>,
    waiting: AtomicUsize,
    /// Workers that are to be woken: at most one entry for each.
    owed: Mutex<Vec<Arc<Mailbox>>>,
    owes: AtomicBool,
}

/// Lanes after which a thread pays the wake-ups that it owes, however much work there still is.
const LANES_OWED_MAX: usize = 16;

impl Executor {
    /// A pool of `threads` threads; zero means the default, twice the cores and at least four.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let threads = if threads == 0 {
            executor_threads_default()
        } else {
            threads
        };
        Self::with(Crew::Threads(threads), EXECUTOR_MESSAGES_MAX)
    }

    fn with(crew: Crew, queued_max: usize) -> Self {
        let (sender, receiver) = bounded(queued_max);
        let pool = Arc::new(Pool {
            sender: Some(sender),
            receiver,
            parking: Arc::default(),
            threads: Mutex::new(Vec::new()),
            crew,
            started: Once::new(),
            queued: AtomicUsize::new(0),
            queued_max,
            waiters: Mutex::default(),
            waiting: AtomicUsize::new(0),
            owed: Mutex::default(),
            owes: AtomicBool::new(false),
        });
        if let Crew::Roster(roster) = &pool.crew {
            roster.add(&pool);
        }
        Self {
            pool,
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
            ..Self::with(self.pool.crew.clone(), messages.max(1))
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

    /// Runs `job` on a thread of the pool, without blocking for room.
    ///
    /// A panic in it is caught and logged. Threads: any. Limit: the pool's
    /// [`EXECUTOR_MESSAGES_MAX`], unless configured.
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

    /// Hands over a lane like [`submit_lane`](Self::submit_lane); a thread is called for it only by
    /// [`call`](Self::call), which the caller sees to.
    pub(crate) fn submit_lane_quietly(&self, lane: Arc<dyn RunLane>) {
        self.queue(Work::Lane(lane));
    }

    /// Calls a thread for work that was submitted quietly.
    pub(crate) fn call(&self) {
        self.pool.parking.work_came();
    }

    /// Notes that a worker is to be woken, by the next thread that pays.
    pub(crate) fn owe(&self, mailbox: Arc<Mailbox>) {
        lock(&self.pool.owed).push(mailbox);
        self.pool.owes.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pool, &other.pool)
    }

    fn submit(&self, work: Work) {
        self.queue(work);
        self.call();
    }

    fn queue(&self, work: Work) {
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
}

/// A thread of the pool: ends once the last handle has gone and all that was let in is done.
fn run_until_closed(receiver: &Receiver<Work>, parking: &Parking, pool: &Weak<Pool>) {
    let pay = || {
        if let Some(pool) = pool.upgrade() {
            pool.pay();
        }
    };
    let mut lanes_owed = 0;
    loop {
        match receiver.try_recv() {
            Ok(work) => {
                parking.work_found(receiver);
                // Nobody else may come for a long while, and this handler may block.
                let quiet = parking.is_one_coming();
                if !quiet || lanes_owed >= LANES_OWED_MAX {
                    pay();
                    lanes_owed = 0;
                }
                lanes_owed += usize::from(quiet);
                run(pool.upgrade().as_deref(), work, quiet);
            }
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                pay();
                lanes_owed = 0;
                parking.park(receiver);
                // Whoever called this thread may be in a handler that blocks by now.
                pay();
            }
        }
    }
}

/// Does a piece of work; without a pool, what was let in before the last handle went.
fn run(pool: Option<&Pool>, work: Work, quiet: bool) {
    match work {
        Work::Lane(lane) => lane.run(quiet),
        Work::Task(task) => {
            // A panic has been told to the connection already where there is one.
            if catch_unwind(AssertUnwindSafe(task)).is_err() {
                error!(target: "netwheel::executor", "a job of the pool panicked");
            }
            if let Some(pool) = pool {
                pool.release(1);
            }
        }
    }
}

impl Pool {
    fn start(self: &Arc<Self>) {
        let Crew::Threads(count) = self.crew else {
            return;
        };
        let mut threads = lock(&self.threads);
        for index in 0..count {
            let (receiver, parking) = (self.receiver.clone(), Arc::clone(&self.parking));
            let pool = Arc::downgrade(self);
            let body = move || run_until_closed(&receiver, &parking, &pool);
            let builder = thread::Builder::new().name(format!("netwheel-pool-{index}"));
            match builder.spawn(body) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    warn!(target: "netwheel::executor", "no thread for the pool: {error}");
                }
            }
        }
    }

    fn has_work(&self) -> bool {
        !self.receiver.is_empty()
    }

    fn owes(&self) -> bool {
        self.owes.load(Ordering::SeqCst)
    }

    /// Wakes the workers that are owed it.
    fn pay(&self) {
        if self.owes.swap(false, Ordering::SeqCst) {
            for mailbox in lock(&self.owed).drain(..) {
                mailbox.pay();
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

impl Drop for Pool {
    fn drop(&mut self) {
        self.pay();
        self.sender = None;
        self.parking.close();
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
        let threads = match self.pool.crew {
            Crew::Threads(count) => count,
            Crew::Roster(_) => 0,
        };
        f.debug_struct("Executor")
            .field("threads", &threads)
            .field("queued", &self.queued())
            .field("when_full", &self.when_full)
            .finish()
    }
}
