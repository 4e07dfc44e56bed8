//! The queue before a full pool: who found no room is told, first come first served, when there is some.
//!
//! ```text
//!   newcomer ──refused──> waits ──room──> told ──> has its go ─┐
//!                           │               └── has gone ──────┴──> the next is told, if room is left
//!                           └── has gone ──> out of the queue
//! ```
//! # Why nobody waits for ever
//!
//! While there is room and somebody waits, somebody has been told and not had its go. Whoever frees room
//! looks for waiters afterwards, and who joins looks for room afterwards, so one of the two sees the
//! other. And who was told tells the next if it leaves room, also when it leaves all of it because its
//! connection has ended meanwhile.

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
    waiting: BTreeMap<u64, Arc<dyn Announce>>,
}

impl Waiters {
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Lines up: at the end, or at the place that was held before.
    fn join(&self, who: Arc<dyn Announce>, held: Option<u64>) -> u64 {
        let mut queue = lock(&self.queue);
        let place = held.unwrap_or(queue.next);
        queue.next = queue.next.max(place + 1);
        queue.waiting.insert(place, who);
        self.count.store(queue.waiting.len(), Ordering::SeqCst);
        place
    }

    fn has(&self, place: u64) -> bool {
        lock(&self.queue).waiting.contains_key(&place)
    }

    /// Takes one out of the queue; `false` when it had been told.
    fn leave(&self, place: u64) -> bool {
        let mut queue = lock(&self.queue);
        let left = queue.waiting.remove(&place);
        self.count.store(queue.waiting.len(), Ordering::SeqCst);
        left.is_some()
    }

    fn take_first(&self) -> Option<Arc<dyn Announce>> {
        let mut queue = lock(&self.queue);
        let (_, first) = queue.waiting.pop_first()?;
        self.count.store(queue.waiting.len(), Ordering::SeqCst);
        Some(first)
    }

    /// Tells up to `count`, first come first served.
    pub(super) fn tell(&self, count: usize) {
        for _ in 0..count {
            // Not under the lock: to tell means to lock an outbox.
            let Some(first) = self.take_first() else {
                return;
            };
            first.ready();
        }
    }
}

/// One who may have to wait for room in a pool: a lane, or the jobs of a connection.
///
/// Owned by its connection, so it goes with it, and what it was told is then told to the next.
pub(crate) struct Waiter {
    pool: Arc<Shared>,
    /// Its place in the queue; kept after it was told, until it has had its go.
    place: Option<u64>,
    /// The place it held when it was told and those before it had taken all the room.
    missed: Option<u64>,
}

impl Waiter {
    pub(super) const fn new(pool: Arc<Shared>) -> Self {
        Self {
            pool,
            place: None,
            missed: None,
        }
    }

    /// Lets in up to `want` messages; answers how many. None while others are before it in the queue.
    pub(crate) fn acquire(&mut self, want: usize) -> usize {
        match self.place {
            None => self.pool.acquire_new(want),
            Some(place) if self.pool.waiters.has(place) => 0,
            Some(place) => {
                let granted = self.pool.acquire(want);
                self.place = None;
                self.missed = (granted == 0).then_some(place);
                self.pool.pass_on();
                granted
            }
        }
    }

    /// Asks that `who` be told once there is room, unless it waits already.
    pub(crate) fn wait(&mut self, who: Arc<dyn Announce>) {
        if self.place.is_none() {
            let held = self.missed.take();
            self.place = Some(self.pool.waiters.join(who, held));
            self.pool.pass_on();
        }
    }

    /// Wants no room after all, for now.
    pub(crate) fn give_up(&mut self) {
        if let Some(place) = self.place.take()
            && !self.pool.waiters.leave(place)
        {
            self.pool.pass_on();
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.give_up();
    }
}
