//! Work of a callback that is done elsewhere.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::Context;
use super::state::Pause;
use super::tail::Job;
use crate::error::{CloseReason, Failure, Result};
use crate::executor::{Executor, Task, WhenFull};
use crate::handle::{Announce, JobResult};
use crate::limits::LANE_MESSAGES_MAX;
use crate::stats::WorkerStats;

/// Work elsewhere.
impl<In: 'static, Out: Send + 'static> Context<'_, In, Out> {
    /// Runs `job` on the pool, and `done` with its result back here, as the same stage or handler.
    ///
    /// Jobs of one connection may run at once and end in any order. When the stage or the connection
    /// has gone meanwhile, the result is dropped. A panic in `job` closes the connection. When the
    /// pool is full the job waits and reading pauses.
    ///
    /// ```
    /// use netwheel::{Executor, Pipeline};
    ///
    /// let pool = Executor::new(4);
    /// let pipeline = Pipeline::raw().handle(move |cx, name| {
    ///     let path = String::from_utf8_lossy(&name).trim().to_owned();
    ///     cx.offload(&pool, move || std::fs::read(path), |cx, read| cx.write(read?.into()))
    /// });
    /// # let _ = pipeline;
    /// ```
    ///
    /// # Errors
    ///
    /// [`CloseReason::OverLimit`] when the pool is full and it rejects, or when 64 jobs of this
    /// connection wait for it already.
    pub fn offload<T, J, D>(&mut self, pool: &Executor, job: J, done: D) -> Result<()>
    where
        T: Send + 'static,
        J: FnOnce() -> T + Send + 'static,
        D: FnOnce(&mut Context<'_, In, Out>, T) -> Result<()> + 'static,
    {
        let outbox: Arc<dyn Announce> = self.outlet().outbox.clone();
        self.turn.stats.know_pool(pool.gauge());
        let deferred = self.tail.deferred();
        if deferred.backlog_len() >= LANE_MESSAGES_MAX {
            return Err(Failure::with(
                CloseReason::OverLimit,
                "too many jobs wait for the pool",
            ));
        }
        // No job overtakes those of its connection that wait.
        let admitted = !deferred.has_backlog(pool) && pool.acquire_one();
        if !admitted && pool.when_full() == WhenFull::Reject {
            return Err(Failure::with(CloseReason::OverLimit, "the pool is full"));
        }
        let vacant = deferred.jobs.vacant_entry();
        let stats = Arc::clone(&self.turn.stats);
        let task = task(vacant.key(), job, Arc::clone(&outbox), stats);
        vacant.insert(Job {
            owner: self.owner,
            done: Some(Box::new(move |cx, value| match value.downcast() {
                Ok(value) => done(cx, *value),
                Err(_) => unreachable!("a job's result has the job's type"),
            })),
        });
        if admitted {
            pool.run_admitted(task);
        } else {
            deferred.keep(pool, task, outbox);
            self.state.pause(Pause::JOBS);
        }
        Ok(())
    }
}

/// A job as the pool runs it: its result, or the news of its panic, goes to the outbox.
fn task<T: Send + 'static>(
    key: usize,
    job: impl FnOnce() -> T + Send + 'static,
    outbox: Arc<dyn Announce>,
    stats: Arc<WorkerStats>,
) -> Task {
    Box::new(move || {
        let value = catch_unwind(AssertUnwindSafe(job)).ok();
        if value.is_none() {
            stats.pool_panics.fetch_add(1, Ordering::Relaxed);
        }
        let value = value.map(|value| Box::new(value) as Box<dyn Any + Send>);
        outbox.push_result(JobResult { job: key, value });
    })
}
