//! Pools without threads, for tests and simulated worlds.

use std::sync::{Arc, Mutex, Weak};

use super::shared::Shared;
use super::{Crew, Executor};
use crate::limits::EXECUTOR_MESSAGES_MAX;
use crate::sync::lock;

/// The pools whose work the holder of the roster does itself, on its own thread, one piece at a time.
///
/// A pool that is made from one of them by [`Executor::queue_max`] is on the roster too.
#[derive(Clone, Default)]
pub(crate) struct Roster(Arc<Mutex<Vec<Weak<Shared>>>>);

impl Roster {
    /// A pool without threads.
    pub(crate) fn executor(&self) -> Executor {
        Executor::with(Crew::Roster(self.clone()), EXECUTOR_MESSAGES_MAX)
    }

    pub(super) fn add(&self, pool: &Arc<Shared>) {
        let mut pools = lock(&self.0);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// How many pools have work.
    pub(crate) fn busy(&self) -> usize {
        lock(&self.0)
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|pool| !pool.receiver.is_empty())
            .count()
    }

    /// Runs the work that has waited longest in one of the [`busy`](Self::busy) pools; `false` when
    /// there are not so many.
    pub(crate) fn run_one(&self, nth: usize) -> bool {
        let pool = lock(&self.0)
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|pool| !pool.receiver.is_empty())
            .nth(nth);
        // Not under the lock: the work may make or drop pools.
        let Some((pool, work)) = pool.and_then(|pool| {
            let work = pool.receiver.try_recv().ok()?;
            Some((pool, work))
        }) else {
            return false;
        };
        pool.run(work, false);
        true
    }
}
