//! Where threads of a pool sleep while there is no work.
//!
//! A channel's own blocking receive spins and yields before it sleeps, which burns a core at low rates,
//! and wakes a thread for every message sent. Here a thread sleeps at once, and at most one is on its
//! way to look for work: when it has found some and sees more, it sends the next. So a burst of fast
//! handlers is done by one or two threads, and handlers that block still get them all, one after the other.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};

use crossbeam_channel::Receiver;

use crate::sync::lock;

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
    /// counting as searching before that look.
    pub(super) fn work_came(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) > 0 && self.searching.load(Ordering::SeqCst) == 0 {
            self.call_one();
        }
    }

    /// A thread has found work: it searches no more, and calls the next if there is more to do.
    pub(super) fn work_found<T>(&self, work: &Receiver<T>) {
        // Whoever finds work relieves the one that was called for it, whichever of them it is. The
        // look at the queue comes after: work that came meanwhile was left to the searcher.
        if self.searching.load(Ordering::SeqCst) > 0 {
            self.searching.store(0, Ordering::SeqCst);
            fence(Ordering::SeqCst);
        }
        if !work.is_empty() {
            self.work_came();
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

    /// Sleeps until called, unless work comes meanwhile or the pool has closed.
    pub(super) fn park<T>(&self, work: &Receiver<T>) {
        let mut beds = lock(&self.beds);
        self.searching.store(0, Ordering::SeqCst);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !work.is_empty() || beds.closed {
            self.asleep.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        while beds.called == 0 && !beds.closed {
            beds = self.wake.wait(beds).unwrap_or_else(PoisonError::into_inner);
        }
        beds.called = beds.called.saturating_sub(1);
    }

    /// Wakes all threads for good.
    pub(super) fn close(&self) {
        lock(&self.beds).closed = true;
        self.wake.notify_all();
    }
}
