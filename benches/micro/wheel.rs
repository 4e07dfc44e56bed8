//! Timers: the wheel beside a heap, a tree, and a wheel from crates.io, by how many are armed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use std::vec;

use divan::Bencher;
use hierarchical_hash_wheel_timer::wheels::Skip;
use hierarchical_hash_wheel_timer::wheels::cancellable::{
    CancellableTimerEntry, QuadWheelWithOverflow,
};

use crate::random::Random;
use crate::timers::{DELAY_MS_MAX, Heap, OurWheel, Service, Timers, Tree, Value};

const COUNTS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

// Each runs with `count` timers armed, give or take the calls of a sample. What stands in
// `with_inputs` is not measured: it keeps the count, and chooses what is to be done.

#[divan::bench(types = [OurWheel, Heap, Tree, HashWheel], args = COUNTS, sample_size = 100)]
fn arm<T: Timers>(bencher: Bencher<'_, '_>, count: usize) {
    let armed = RefCell::new(Armed::<T>::new(count));
    bencher
        .with_inputs(|| {
            let mut armed = armed.borrow_mut();
            let id = armed.pick();
            armed.timers.cancel(id);
            armed.delay()
        })
        .bench_local_values(|delay| armed.borrow_mut().arm(delay));
}

/// Of all timers any, as answers and bytes come in no order.
#[divan::bench(types = [OurWheel, Heap, Tree, HashWheel], args = COUNTS, sample_size = 100)]
fn cancel<T: Timers>(bencher: Bencher<'_, '_>, count: usize) {
    let armed = RefCell::new(Armed::<T>::new(count));
    bencher
        .with_inputs(|| {
            let mut armed = armed.borrow_mut();
            let delay = armed.delay();
            armed.arm(delay);
            armed.pick()
        })
        .bench_local_values(|id| armed.borrow_mut().timers.cancel(id));
}

/// A timer is cancelled and another armed.
#[divan::bench(types = [OurWheel, Heap, Tree, HashWheel], args = COUNTS, sample_size = 100)]
fn cancel_and_arm<T: Timers>(bencher: Bencher<'_, '_>, count: usize) {
    let armed = RefCell::new(Armed::<T>::new(count));
    bencher
        .with_inputs(|| armed.borrow_mut().pick_and_delay())
        .bench_local_values(|(id, delay)| {
            let mut armed = armed.borrow_mut();
            armed.timers.cancel(id);
            armed.arm(delay);
        });
}

/// A timer is moved, in one call where there is one.
#[divan::bench(types = [OurWheel, Heap, Tree, HashWheel], args = COUNTS, sample_size = 100)]
fn rearm<T: Timers>(bencher: Bencher<'_, '_>, count: usize) {
    let armed = RefCell::new(Armed::<T>::new(count));
    bencher
        .with_inputs(|| armed.borrow_mut().pick_and_delay())
        .bench_local_values(|(id, delay)| {
            let armed = &mut *armed.borrow_mut();
            armed.ids.push(armed.timers.rearm(id, delay, VALUE));
        });
}

/// Time passes until the next timer fires, with all that is moved down on the way.
#[divan::bench(types = [OurWheel, Heap, Tree, HashWheel], args = COUNTS, sample_size = 100)]
fn expire<T: Timers>(bencher: Bencher<'_, '_>, count: usize) {
    let armed = RefCell::new(Armed::<T>::new(count));
    bencher
        .with_inputs(|| {
            let mut armed = armed.borrow_mut();
            let delay = armed.delay();
            armed.timers.arm(delay, VALUE);
        })
        .bench_local_values(|()| armed.borrow_mut().timers.fire());
}

/// All together, as time goes by: ten timers are armed, nine are cancelled and one fires.
#[divan::bench(types = [OurWheel, Heap, Tree, HashWheel], args = COUNTS, sample_size = 10)]
fn ten_lives<T: Timers>(bencher: Bencher<'_, '_>, count: usize) {
    let mut service = Service::<T>::new(count);
    bencher.bench_local(|| service.step());
}

const VALUE: Value = [1, 2];

/// Timers with so many armed, and the names of those.
struct Armed<T: Timers> {
    timers: T,
    ids: Vec<T::Id>,
    random: Random,
}

impl<T: Timers> Armed<T> {
    fn new(count: usize) -> Self {
        let mut armed = Self {
            timers: T::new(),
            ids: Vec::new(),
            random: Random::new(),
        };
        for _ in 0..count {
            let delay = armed.delay();
            armed.arm(delay);
        }
        armed
    }

    fn arm(&mut self, delay: u64) {
        let id = self.timers.arm(delay, VALUE);
        self.ids.push(id);
    }

    /// When a timer may be due, in milliseconds from now.
    fn delay(&mut self) -> u64 {
        1 + self.random.below(DELAY_MS_MAX) as u64
    }

    /// Any of the armed timers, each as likely as another; its name is taken away.
    fn pick(&mut self) -> T::Id {
        let index = self.random.below(self.ids.len());
        self.ids.swap_remove(index)
    }

    fn pick_and_delay(&mut self) -> (T::Id, u64) {
        (self.pick(), self.delay())
    }
}

/// The wheel of hierarchical_hash_wheel_timer: four levels of 256 slots, and a hash map of what is armed.
struct HashWheel {
    wheel: QuadWheelWithOverflow<Entry>,
    /// Of the last tick, those that have not fired yet.
    due: vec::IntoIter<Rc<Entry>>,
    armed_ever: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    value: Value,
}

impl CancellableTimerEntry for Entry {
    type Id = u64;

    fn id(&self) -> &u64 {
        &self.id
    }
}

impl Timers for HashWheel {
    type Id = u64;

    fn new() -> Self {
        Self {
            wheel: QuadWheelWithOverflow::new(),
            due: Vec::new().into_iter(),
            armed_ever: 0,
        }
    }

    fn arm(&mut self, delay_ms: u64, value: Value) -> u64 {
        self.armed_ever += 1;
        let id = self.armed_ever;
        let entry = Rc::new(Entry { id, value });
        let armed = self
            .wheel
            .insert_ref_with_delay(entry, Duration::from_millis(delay_ms));
        assert!(armed.is_ok(), "it lies ahead");
        id
    }

    fn cancel(&mut self, id: u64) {
        assert!(self.wheel.cancel(&id).is_ok(), "it is armed");
    }

    fn fire(&mut self) -> Value {
        loop {
            if let Some(entry) = self.due.next() {
                return entry.value;
            }
            if let Skip::Millis(millis) = self.wheel.can_skip() {
                self.wheel.skip(millis);
            }
            self.due = self.wheel.tick().into_iter();
        }
    }
}
