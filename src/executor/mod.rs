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
mod shared;
#[cfg(test)]
mod tests;
mod waiting;

use std::fmt;
use std::sync::{Arc, Mutex, Once, Weak};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};
use log::{error, warn};

use self::shared::Shared;
use crate::limits::{EXECUTOR_MESSAGES_MAX, executor_threads_default};
use crate::mailbox::Mailbox;
use crate::stats::Gauge;
use crate::sync::lock;
use crate::thread_role;

pub(crate) use roster::Roster;
pub(crate) use waiting::Waiter;

/// A job for any thread.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// The messages of one connection, handled in order by one thread at a time.
pub(crate) trait RunLane: Send + Sync {
    /// Handles what waits, at most a lane's worth; submits itself again when there is more.
    ///
    /// With `quiet`, wake-ups of workers are better [owed](Executor::owe): a thread is on its way that
    /// may pay for many at once.
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
/// the last handle is dropped, which waits for the work that was let in, unless it happens on one of the
/// crate's threads. Pipelines of the pool hold handles too.
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

/// A pool's threads, and the only way to give them work: they end when it goes.
struct Pool {
    shared: Arc<Shared>,
    sender: Option<Sender<Work>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    crew: Crew,
    started: Once,
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
        Self::with(Crew::Threads(threads), EXECUTOR_MESSAGES_MAX)
    }

    fn with(crew: Crew, queued_max: usize) -> Self {
        let (sender, receiver) = bounded(queued_max);
        let shared = Arc::new(Shared::new(receiver, queued_max));
        if let Crew::Roster(roster) = &crew {
            roster.add(&shared);
        }
        let pool = Arc::new(Pool {
            shared,
            sender: Some(sender),
            threads: Mutex::new(Vec::new()),
            crew,
            started: Once::new(),
        });
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
        self.pool.shared.queued()
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
        if !self.acquire_one() {
            return Err(job);
        }
        self.run_admitted(Box::new(job));
        Ok(())
    }

    /// Lets one job of a newcomer in, if there is room; [`run_admitted`](Self::run_admitted) takes it.
    pub(crate) fn acquire_one(&self) -> bool {
        self.pool.shared.acquire_new(1) == 1
    }

    /// Runs a job that was let in.
    pub(crate) fn run_admitted(&self, task: Task) {
        self.submit(Work::Task(task));
    }

    pub(crate) fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// Who lets messages and jobs in, and waits for room where there is none.
    pub(crate) fn waiter(&self) -> Waiter {
        Waiter::new(Arc::clone(&self.pool.shared))
    }

    /// What waits in the pool, to be told with the counters of the workers that use it.
    pub(crate) fn gauge(&self) -> Weak<dyn Gauge> {
        let shared: Weak<Shared> = Arc::downgrade(&self.pool.shared);
        shared
    }

    /// Counts out what has been handled, which makes room for those who wait.
    pub(crate) fn release(&self, count: usize) {
        self.pool.shared.release(count);
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
        self.pool.shared.parking.work_came();
    }

    /// Notes that a worker is to be woken, by the next thread that pays: at once where none comes.
    pub(crate) fn owe(&self, mailbox: Arc<Mailbox>) {
        self.pool.shared.owe(mailbox);
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

impl Pool {
    fn start(&self) {
        let Crew::Threads(count) = self.crew else {
            return;
        };
        let mut threads = lock(&self.threads);
        for index in 0..count {
            let shared = Arc::clone(&self.shared);
            let body = move || shared.run_until_closed();
            let builder = thread::Builder::new().name(format!("netwheel-pool-{index}"));
            match builder.spawn(body) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    warn!(target: "netwheel::executor", "no thread for the pool: {error}");
                }
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.pay();
        self.sender = None;
        self.shared.parking.close();
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
