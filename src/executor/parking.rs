//! Where threads of a pool sleep while there is no work.
//!
//! A channel's own blocking receive spins and yields before it sleeps, which burns a core at low rates,
//! and wakes a thread for every message sent. Here a thread sleeps at once, and at most one is on its
//! way to look for work: when it has found some and sees more, it sends the next. So a burst of fast
//! handlers is done by one or two threads, and handlers that block still get them all, one after the other.

use std::sync::PoisonError;

use crate::sync::{AtomicUsize, Condvar, Mutex, Ordering, fence, lock};

/// The sleeping threads of one pool.
#[derive(Debug, Default)]
pub(super) struct Parking {
    beds: Mutex<Beds>,
    wake: Condvar,
    /// Threads asleep and not yet called. Written with the beds locked.
    asleep: AtomicUsize,
    /// Threads that were called and have not found work yet; at most one.
    searching: AtomicUsize,
}

#[derive(Debug, Default)]
struct Beds {
    called: usize,
    closed: bool,
}

impl Parking {
    /// Work has been put into the channel: calls a thread, unless one is on its way already.
    ///
    /// # Why no work is left lying
    ///
    /// The caller queues and then reads `asleep`; a thread counts itself asleep and then looks at the
    /// queue, with a full fence between in both. So either the caller sees the sleeper or the sleeper
    /// sees the work. A thread that searches looks at the queue before it sleeps again, and stops
    /// counting as searching before that look. `tests/loom.rs` explores every interleaving of this.
    pub(super) fn work_came(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) > 0 && self.searching.load(Ordering::SeqCst) == 0 {
            self.call_one();
        }
    }

    /// A thread has found work: it searches no more, and calls the next if there is more to do. It pays
    /// what is owed then, unless [another comes](Self::is_one_coming).
    pub(super) fn work_found(&self, has_more: impl FnOnce() -> bool) {
        // Whoever finds work relieves the one that was called for it, whichever of them it is. The
        // look at the queue comes after: work that came meanwhile was left to the searcher.
        self.search_ended();
        if has_more() {
            self.work_came();
        }
    }

    /// A thread searches no more; it pays what is owed then, before it [parks](Self::park) or ends.
    pub(super) fn search_ended(&self) {
        if self.searching.load(Ordering::SeqCst) > 0 {
            self.searching.store(0, Ordering::SeqCst);
            fence(Ordering::SeqCst);
        }
    }

    /// Whether a thread is on its way that will look for work, and pay what is owed, without waiting
    /// for the calling thread.
    pub(super) fn is_one_coming(&self) -> bool {
        self.searching.load(Ordering::SeqCst) > 0
    }

    fn call_one(&self) {
        let mut beds = lock(&self.beds);
        if self.asleep.load(Ordering::SeqCst) == 0 {
            return;
        }
        self.asleep.fetch_sub(1, Ordering::SeqCst);
        self.searching.store(1, Ordering::SeqCst);
        beds.called += 1;
        drop(beds);
        self.wake.notify_one();
    }

    /// Sleeps until called, unless work comes meanwhile or the pool has closed; the thread's search has
    /// [ended](Self::search_ended).
    pub(super) fn park(&self, has_work: impl FnOnce() -> bool) {
        let mut beds = lock(&self.beds);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if has_work() || beds.closed {
            self.asleep.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        while beds.called == 0 && !beds.closed {
            beds = self.wake.wait(beds).unwrap_or_else(PoisonError::into_inner);
        }
        beds.called = beds.called.saturating_sub(1);
    }

    /// Whether so many threads sleep.
    #[cfg(test)]
    pub(super) fn all_asleep(&self, threads: usize) -> bool {
        let _beds = lock(&self.beds);
        self.asleep.load(Ordering::SeqCst) == threads
    }

    /// Wakes all threads for good.
    pub(super) fn close(&self) {
        lock(&self.beds).closed = true;
        self.wake.notify_all();
    }
}
