//! What a loop asks of its timers, answered by the wheel and by what others use instead.
//!
//! Shared with `benches/versus`, which draws how the cost grows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use crate::clock::Instant;
use crate::id::Key;
use crate::internal::slots::Slots;
use crate::internal::wheel::{TimerId, Wheel};
use crate::random::Random;

/// What a worker keeps with a timer: a slot and its generation.
pub(crate) type Value = [u32; 2];

/// Timers on a clock that moves when one is fired.
pub(crate) trait Timers {
    /// Names an armed timer.
    type Id: Copy;

    /// No timers, at the start of the clock.
    fn new() -> Self;

    /// Arms a timer so many milliseconds from now, at least one.
    fn arm(&mut self, delay_ms: u64, value: Value) -> Self::Id;

    /// Cancels an armed timer.
    fn cancel(&mut self, id: Self::Id);

    /// Moves an armed timer.
    fn rearm(&mut self, id: Self::Id, delay_ms: u64, value: Value) -> Self::Id {
        self.cancel(id);
        self.arm(delay_ms, value)
    }

    /// Lets time pass until a timer is due, and fires it.
    fn fire(&mut self) -> Value;
}

/// Timers are due up to a minute from now, as those of requests and of idle connections are.
pub(crate) const DELAY_MS_MAX: usize = 60_000;

/// The timers of a busy service: of ten, nine are for answers that come in time, and one fires.
///
/// The requests are given a minute and answered after half of that, in the order in which they were
/// asked. So a structure that leaves cancelled timers lying meets them again.
pub(crate) struct Service<T: Timers> {
    timers: T,
    requests: VecDeque<T::Id>,
    random: Random,
}

/// Timers that a step of a [`Service`] ends, and as many are armed in it.
pub(crate) const PER_STEP: usize = 10;

const REQUEST: Value = [0, 1];
const BEAT: Value = [0, 2];

impl<T: Timers> Service<T> {
    /// A service that has had so many timers armed for a minute.
    pub(crate) fn new(count: usize) -> Self {
        let mut service = Self {
            timers: T::new(),
            requests: VecDeque::new(),
            random: Random::new(),
        };
        for _ in 0..count / PER_STEP {
            service.arm();
        }
        // One heartbeat fires in each, half a minute after it was armed on average: so that is twice over.
        for _ in 0..2 * count / PER_STEP {
            service.step();
        }
        service
    }

    pub(crate) fn step(&mut self) {
        for _ in 1..PER_STEP {
            let answered = self.requests.pop_front().expect("some are always open");
            self.timers.cancel(answered);
        }
        assert_eq!(self.timers.fire(), BEAT, "answers come in time");
        self.arm();
    }

    fn arm(&mut self) {
        for _ in 1..PER_STEP {
            let id = self.timers.arm(DELAY_MS_MAX as u64, REQUEST);
            self.requests.push_back(id);
        }
        let delay = 1 + self.random.below(DELAY_MS_MAX) as u64;
        self.timers.arm(delay, BEAT);
    }
}

/// The wheel of a worker.
pub(crate) struct OurWheel {
    wheel: Wheel<Value>,
    now: Instant,
}

impl Timers for OurWheel {
    type Id = TimerId;

    fn new() -> Self {
        Self {
            wheel: Wheel::new(),
            now: Instant::START,
        }
    }

    fn arm(&mut self, delay_ms: u64, value: Value) -> TimerId {
        let deadline = self.now + Duration::from_millis(delay_ms);
        self.wheel.arm(deadline, value)
    }

    fn cancel(&mut self, id: TimerId) {
        self.wheel.cancel(id).expect("it is armed");
    }

    fn rearm(&mut self, id: TimerId, delay_ms: u64, _: Value) -> TimerId {
        let deadline = self.now + Duration::from_millis(delay_ms);
        assert!(self.wheel.rearm(id, deadline), "it is armed");
        id
    }

    fn fire(&mut self) -> Value {
        let mut budget = usize::MAX;
        loop {
            if let Some(value) = self.wheel.expire(self.now, &mut budget) {
                return value;
            }
            self.now = self.wheel.next_expiry().expect("timers are armed");
        }
    }
}

/// A binary heap, from which a cancelled timer goes when it comes up, or when most of them are cancelled.
pub(crate) struct Heap {
    queue: BinaryHeap<Reverse<(u64, Key)>>,
    armed: Slots<Value>,
    now_ms: u64,
}

impl Timers for Heap {
    type Id = Key;

    fn new() -> Self {
        Self {
            queue: BinaryHeap::new(),
            armed: Slots::new(),
            now_ms: 0,
        }
    }

    fn arm(&mut self, delay_ms: u64, value: Value) -> Key {
        let key = self.armed.insert(value);
        self.queue.push(Reverse((self.now_ms + delay_ms, key)));
        key
    }

    fn cancel(&mut self, key: Key) {
        self.armed.remove(key).expect("it is armed");
        if self.queue.len() > 64 + 2 * self.armed.len() {
            let armed = &mut self.armed;
            self.queue
                .retain(|Reverse((_, key))| armed.get_mut(*key).is_some());
        }
    }

    fn fire(&mut self) -> Value {
        loop {
            let Reverse((deadline, key)) = self.queue.pop().expect("timers are armed");
            if let Some(value) = self.armed.remove(key) {
                self.now_ms = deadline;
                return value;
            }
        }
    }
}

/// A search tree, ordered by deadline.
pub(crate) struct Tree {
    queue: BTreeMap<(u64, u64), Value>,
    armed_ever: u64,
    now_ms: u64,
}

impl Timers for Tree {
    type Id = (u64, u64);

    fn new() -> Self {
        Self {
            queue: BTreeMap::new(),
            armed_ever: 0,
            now_ms: 0,
        }
    }

    fn arm(&mut self, delay_ms: u64, value: Value) -> (u64, u64) {
        self.armed_ever += 1;
        let id = (self.now_ms + delay_ms, self.armed_ever);
        self.queue.insert(id, value);
        id
    }

    fn cancel(&mut self, id: (u64, u64)) {
        self.queue.remove(&id).expect("it is armed");
    }

    fn fire(&mut self) -> Value {
        let ((deadline, _), value) = self.queue.pop_first().expect("timers are armed");
        self.now_ms = deadline;
        value
    }
}
