//! Pools without threads, for tests and simulated worlds.

use std::sync::{Arc, Mutex, Weak};

use super::{Crew, Executor, Pool, run};
use crate::limits::EXECUTOR_MESSAGES_MAX;
use crate::sync::lock;

/// The pools whose work the holder of the roster does itself, on its own thread, one piece at a time.
///
/// A pool that is made from one of them by [`Executor::queue_max`] is on the roster too.
#[derive(Clone, Default)]
pub(crate) struct Roster(Arc<Mutex<Vec<Weak<Pool>>>>);

impl Roster {
    /// A pool without threads.
    pub(crate) fn executor(&self) -> Executor {
        Executor::with(Crew::Roster(self.clone()), EXECUTOR_MESSAGES_MAX)
    }

    pub(super) fn add(&self, pool: &Arc<Pool>) {
        let mut pools = lock(&self.0);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// The pools that are still held, in the order in which they were made.
    fn pools(&self) -> Vec<Arc<Pool>> {
        lock(&self.0).iter().filter_map(Weak::upgrade).collect()
    }

    /// How many pools have work.
    pub(crate) fn busy(&self) -> usize {
        let pools = lock(&self.0);
        let busy = |pool: &&Weak<Pool>| pool.upgrade().is_some_and(|pool| pool.has_work());
        pools.iter().filter(busy).count()
    }

    /// Does what has waited longest in one of the [`busy`](Self::busy) pools; `false` when there are
    /// not so many. Done quietly, the wake-ups it owes wait for [`pay`](Self::pay).
    pub(crate) fn run_one(&self, nth: usize, quiet: bool) -> bool {
        // Not under the lock: the work may make pools, and drop them.
        let mut busy = self.pools().into_iter().filter(|pool| pool.has_work());
        let Some(pool) = busy.nth(nth) else {
            return false;
        };
        if let Ok(work) = pool.receiver.try_recv() {
            run(Some(&pool), work, quiet);
        }
        true
    }

    /// Whether wake-ups are owed.
    pub(crate) fn owes(&self) -> bool {
        self.pools().iter().any(|pool| pool.owes())
    }

    /// Pays the wake-ups that quiet work owes, as a thread of the pool does before it sleeps.
    pub(crate) fn pay(&self) {
        for pool in self.pools() {
            pool.pay();
        }
    }
}
