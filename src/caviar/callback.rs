//! Who is called back, on which thread, and how often: once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use log::error;

use super::error::{Asker, CaviarError, CaviarErrorKind};
use super::message::Message;
use crate::executor::Executor;
use crate::limits::CALLS_MAX;
use crate::link::CallError;
use crate::panics::contain;
use crate::sync::lock;

/// Who is told how an asynchronous request has ended: exactly one method is called, once.
///
/// A closure of the outcome is a callback.
///
/// Threads: one of the client's own pool, never an I/O thread; it may block, and then delays those behind it.
/// Those of one client are called one at a time, in the order in which their requests ended. A panic is logged.
pub trait Callback: Send + 'static {
    /// The server has answered.
    fn on_response(self, body: Bytes);

    /// It did not answer in time; `request` is what was asked.
    fn on_timeout(self, request: Bytes);

    /// There will be no answer: the connection broke, or the client was closed.
    fn on_error(self, error: CaviarError);
}

impl<F> Callback for F
where
    F: FnOnce(Result<Bytes, CaviarError>) + Send + 'static,
{
    fn on_response(self, body: Bytes) {
        self(Ok(body));
    }

    fn on_timeout(self, _: Bytes) {
        self(Err(CaviarError::unanswered(
            Asker::Client,
            CallError::TimedOut,
        )));
    }

    fn on_error(self, error: CaviarError) {
        self(Err(error));
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The callbacks of one client, and where they run.
pub(super) struct Callbacks {
    /// The client's own, so that there is always room for the one job that runs them.
    pool: Executor,
    queue: Mutex<Queue>,
    /// Whether the program has closed the client: then that, and no broken connection, is why nobody answers.
    closed: AtomicBool,
}

#[derive(Default)]
struct Queue {
    due: VecDeque<Job>,
    running: bool,
    /// Requests that are not answered, and callbacks that have not returned.
    open: usize,
}

impl Callbacks {
    pub(super) fn new(pool: Executor) -> Arc<Self> {
        Arc::new(Self {
            pool,
            queue: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// The client is being closed.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Why there is no answer, as the program sees it.
    pub(super) fn explain(&self, error: CallError) -> CallError {
        match error {
            CallError::Down(_) if self.closed.load(Ordering::Acquire) => CallError::Closed,
            error => error,
        }
    }

    /// Notes a callback to come; answers whether there is room for it.
    pub(super) fn begin(&self) -> bool {
        let mut queue = lock(&self.queue);
        let room = queue.open < CALLS_MAX;
        queue.open += usize::from(room);
        room
    }

    /// One that was begun is not called: its request came back.
    pub(super) fn forget(&self) {
        lock(&self.queue).open -= 1;
    }

    /// Calls one that was begun, on the pool.
    fn call(self: &Arc<Self>, job: Job) {
        let starts = {
            let mut queue = lock(&self.queue);
            queue.due.push_back(job);
            !std::mem::replace(&mut queue.running, true)
        };
        if !starts {
            return;
        }
        let this = Arc::clone(self);
        if let Err(run) = self.pool.try_execute(move || this.run()) {
            error!(target: "netwheel::caviar", "the pool of a client is full of other work");
            run();
        }
    }

    fn run(&self) {
        loop {
            let job = {
                let mut queue = lock(&self.queue);
                let job = queue.due.pop_front();
                queue.running = job.is_some();
                job
            };
            let Some(job) = job else { return };
            if contain(job).is_err() {
                error!(target: "netwheel::caviar", "the callback of a request panicked");
            }
            self.forget();
        }
    }
}

/// An asynchronous request that may be taken back.
///
/// Dropping it changes nothing: the callback is called all the same.
#[derive(Clone)]
pub struct PendingRequest(Arc<dyn Cancel>);

impl PendingRequest {
    /// Takes the callback back; answers whether it had not been called, and now never will be. The request itself
    /// may be answered all the same, for nobody.
    #[expect(clippy::must_use_candidate, reason = "most callers do not care")]
    pub fn cancel(&self) -> bool {
        self.0.cancel()
    }
}

impl fmt::Debug for PendingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingRequest")
    }
}

trait Cancel: Send + Sync {
    fn cancel(&self) -> bool;
}

/// A callback until it is called or taken back.
pub(super) struct Waiting<C>(Mutex<Option<C>>);

impl<C: Callback> Waiting<C> {
    pub(super) fn new(callback: C) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(callback))))
    }

    pub(super) fn pending(self: &Arc<Self>) -> PendingRequest {
        PendingRequest(self.clone())
    }

    /// The request has ended: calls back, on the pool.
    pub(super) fn end(
        self: Arc<Self>,
        callbacks: &Arc<Callbacks>,
        request: Bytes,
        outcome: Result<Message, CallError>,
    ) {
        let outcome = outcome.map_err(|error| callbacks.explain(error));
        callbacks.call(Box::new(move || {
            let taken = lock(&self.0).take();
            if let Some(callback) = taken {
                tell(callback, request, outcome);
            }
        }));
    }
}

impl<C: Callback> Cancel for Waiting<C> {
    fn cancel(&self) -> bool {
        let taken = lock(&self.0).take();
        taken.is_some()
    }
}

fn tell(callback: impl Callback, request: Bytes, outcome: Result<Message, CallError>) {
    let outcome = outcome.map_err(|error| CaviarError::unanswered(Asker::Client, error));
    match outcome {
        Ok(answer) => callback.on_response(answer.body),
        Err(error) if error.kind() == CaviarErrorKind::ClientReqTimeout => {
            callback.on_timeout(request);
        }
        Err(error) => callback.on_error(error),
    }
}
