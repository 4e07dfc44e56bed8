//! The queue before a full pool: who found no room is told, first come first served, when there is some.
//!
//! ```text
//!   newcomer ──refused──> waits ──room──> holds room, and is told ──> has its go
//!                           │                       └── has gone ──> its room is the next one's
//!                           └── has gone ──> out of the queue
//! ```
//! Room is set aside for who is told, so nobody overtakes it, however late its worker turns, and it is
//! never told in vain.
//!
//! # Why nobody waits for ever
//!
//! Whoever frees room looks for waiters afterwards, and who joins looks for room afterwards, so one of the
//! two sees the other. And room that was set aside for a connection that has ended meanwhile is freed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::shared::Shared;
use crate::handle::Announce;
use crate::sync::lock;

/// Those who wait for room in one pool. Bounded by who may wait: a lane, or the jobs of a connection.
#[derive(Default)]
pub(super) struct Waiters {
    queue: Mutex<Queue>,
    /// How many there are. Written with the queue locked.
    count: AtomicUsize,
}

/// Those who wait, by the order in which they came.
#[derive(Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Standing>,
}

/// One in the queue.
struct Standing {
    who: Arc<dyn Announce>,
    want: usize,
    /// Where it finds the room that it got; not 0 once it has left the queue.
    granted: Arc<AtomicUsize>,
}

impl Waiters {
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Lines up at the end.
    fn join(&self, one: Standing) -> u64 {
        let mut queue = lock(&self.queue);
        let place = queue.next;
        queue.next += 1;
        queue.waiting.insert(place, one);
        self.count.store(queue.waiting.len(), Ordering::SeqCst);
        place
    }

    /// Takes one out of the queue, if it is still there.
    fn leave(&self, place: u64) {
        let mut queue = lock(&self.queue);
        queue.waiting.remove(&place);
        self.count.store(queue.waiting.len(), Ordering::SeqCst);
    }

    /// Sets room aside for the first, as `acquire` has it, and takes it out of the queue; whom to tell.
    ///
    /// Not told under the lock: to tell means to lock an outbox.
    pub(super) fn grant(&self, acquire: impl FnOnce(usize) -> usize) -> Option<Arc<dyn Announce>> {
        let mut queue = lock(&self.queue);
        let first = queue.waiting.first_entry()?;
        let granted = acquire(first.get().want);
        if granted == 0 {
            return None;
        }
        let first = first.remove();
        first.granted.store(granted, Ordering::SeqCst);
        self.count.store(queue.waiting.len(), Ordering::SeqCst);
        Some(first.who)
    }
}

/// One who may have to wait for room in a pool: a lane, or the jobs of a connection.
///
/// Owned by its connection, so it goes with it, and the room that was set aside for it is freed.
pub(crate) struct Waiter {
    pool: Arc<Shared>,
    /// Its place in the queue; kept after it was told, until it has had its go.
    place: Option<u64>,
    /// Room set aside for it since it was told.
    granted: Arc<AtomicUsize>,
}

impl Waiter {
    pub(super) fn new(pool: Arc<Shared>) -> Self {
        Self {
            pool,
            place: None,
            granted: Arc::default(),
        }
    }

    /// Lets in up to `want` messages; answers how many. None while it waits, or others do.
    pub(crate) fn acquire(&mut self, want: usize) -> usize {
        if self.place.is_none() {
            return self.pool.acquire_new(want);
        }
        let granted = self.granted.swap(0, Ordering::SeqCst);
        if granted == 0 {
            return 0;
        }
        self.place = None;
        if granted > want {
            self.pool.release(granted - want);
            return want;
        }
        granted + self.pool.acquire_new(want - granted)
    }

    /// Asks that `who` be told once there is room for some of `want`, unless it waits already.
    pub(crate) fn wait(&mut self, who: Arc<dyn Announce>, want: usize) {
        if self.place.is_none() {
            let granted = Arc::clone(&self.granted);
            let one = Standing { who, want, granted };
            self.place = Some(self.pool.waiters.join(one));
            self.pool.serve();
        }
    }

    /// Wants no room after all, for now.
    pub(crate) fn give_up(&mut self) {
        if let Some(place) = self.place.take() {
            self.pool.waiters.leave(place);
            let granted = self.granted.swap(0, Ordering::SeqCst);
            if granted > 0 {
                self.pool.release(granted);
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Executor;
    use crate::handle::{CloseRequest, JobResult};

    /// Writes its number down when it is told.
    struct Told(usize, Arc<Mutex<Vec<usize>>>);

    impl Announce for Told {
        fn push_result(&self, _: JobResult) {}
        fn request_close(&self, _: CloseRequest) {}
        fn ready(&self) {
            lock(&self.1).push(self.0);
        }
    }

    /// A pool without room, and so many who wait for it.
    fn full_pool(room: usize, waiting: usize) -> (Executor, Vec<Waiter>, Arc<Mutex<Vec<usize>>>) {
        let pool = Executor::new(1).queue_max(room);
        let told = Arc::default();
        assert_eq!(pool.waiter().acquire(room + 1), room);
        let waiters = (0..waiting).map(|number| {
            let mut waiter = pool.waiter();
            assert_eq!(waiter.acquire(2), 0, "there is no room");
            waiter.wait(Arc::new(Told(number, Arc::clone(&told))), 2);
            waiter
        });
        let waiters = waiters.collect();
        (pool, waiters, told)
    }

    fn take(told: &Mutex<Vec<usize>>) -> Vec<usize> {
        std::mem::take(&mut *lock(told))
    }

    #[test]
    fn first_come_is_first_served_and_room_is_kept_for_who_comes_late() {
        let (pool, mut waiters, told) = full_pool(4, 6);
        pool.release(3);
        assert_eq!(take(&told), [0, 1], "two for the first, one for the second");
        assert_eq!(pool.queued(), 4, "which is set aside");
        assert_eq!(pool.waiter().acquire(1), 0, "a newcomer");
        assert_eq!(waiters[2].acquire(2), 0, "who has not been told");
        assert_eq!(waiters[1].acquire(2), 1);
        waiters[1].wait(Arc::new(Told(1, Arc::clone(&told))), 1);
        pool.release(2);
        assert_eq!(take(&told), [2]);
        assert_eq!(waiters[0].acquire(2), 2, "late, and all of it is there");
        pool.release(4);
        assert_eq!(take(&told), [3, 4]);
    }

    #[test]
    fn room_that_was_set_aside_and_is_not_wanted_is_the_next_ones() {
        let (pool, mut waiters, told) = full_pool(2, 4);
        pool.release(2);
        assert_eq!(take(&told), [0]);
        assert_eq!(waiters[0].acquire(1), 1, "it wants less by now");
        assert_eq!(take(&told), [1]);
        drop(waiters.remove(1));
        assert_eq!(take(&told), [2], "its connection has ended");
        waiters[2].give_up();
        pool.release(1);
        assert!(take(&told).is_empty(), "all have had theirs or gone");
        assert_eq!(waiters[1].acquire(2), 1 + 1);
        assert_eq!(pool.queued(), 2);
    }
}
