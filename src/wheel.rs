//! Timers by the million: a hierarchical timing wheel.
//!
//! ```text
//!             a slot lasts    the level spans
//!   level 0         1 ms            64 ms       a slot is a tick: exact
//!   level 1        64 ms           4.1 s
//!   level 2       4.1 s            4.4 min
//!   level 3       4.4 min          4.7 h
//!   level 4       4.7 h           12.4 days
//!   level 5      12.4 days         2.2 years
//!   level 6       2.2 years        139 years
//!   level 7       139 years      8,919 years    the clock ends after 584
//!
//!   in digits of base 64, a digit a level     7  6  5  4  3  2  1  0
//!   the tick that time has reached            0  0  0  0  0  3 17 60
//!   a timer's tick                            0  0  0  0  0  3 20  5
//!                                                             ^^ the highest digit that differs:
//!                                                                level 1, slot 20
//! ```
//! A timer hangs on the level of the highest digit in which its tick differs from the tick reached,
//! in the slot of that digit. So occupied slots lie ahead, a level never wraps, and every timer of
//! a lower level is due before any of a higher one: the next slot is the lowest set bit of the
//! lowest level that has one, and empty time costs nothing. When time reaches a slot of level 0,
//! its timers are due; those of a higher slot move down (they cascade), each straight to where it
//! belongs now.
//!
//! The wheel has no clock: time comes with each call, and time that stands still, runs backwards or
//! jumps by years fires nothing early and loses nothing.
//!
//! G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7. tokio's
//! wheel has 6 such levels; Linux has 8 or 9, and since 4.8 it fires distant timers late rather
//! than move them down. Eight levels hold every [`Instant`], so there is no horizon, and no special
//! case for what lies beyond it.

use std::fmt;
use std::num::NonZeroU32;

use crate::clock::Instant;

/// Nanoseconds of a tick: one millisecond, which is the unit that a poll sleeps in.
const TICK_NANOS: u64 = 1_000_000;

/// Bits of a digit: 64 slots a level, so that one word tells which are occupied.
const DIGIT_BITS: u32 = 6;

/// Slots of a level.
const SLOTS: u32 = 1 << DIGIT_BITS;

/// Levels: the end of an [`Instant`]'s 584 years is a tick of 45 bits, which is eight digits.
const LEVELS: usize = 8;

const _: () = assert!(u64::MAX.div_ceil(TICK_NANOS).ilog2() / DIGIT_BITS < LEVELS as u32);

/// The list of due timers; the lists before it are the slots, level by level.
const DUE: u32 = LEVELS as u32 * SLOTS;

/// The list of timers whose slot was reached and that have not moved down yet.
const CASCADE: u32 = DUE + 1;

/// How many lists there are; nodes from here on are timers.
const LISTS: u32 = CASCADE + 1;

/// Names one armed timer; after it fired or was cancelled, it names nothing.
///
/// Threads: any. Cost: 8 bytes, also in an `Option`. A generation is 32 bits, so a stale id finds a
/// stranger only after one node of the wheel was used 4,294,967,296 times while the id was kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TimerId {
    node: NonZeroU32,
    generation: u32,
}

impl fmt::Debug for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.generation)
    }
}

/// Timers, each of which gives its value back once: when it is due, or when it is cancelled.
///
/// A timer fires in the first tick that begins at its deadline or later: never early, and less than
/// a tick late when [`expire`](Self::expire) is called at [`next_expiry`](Self::next_expiry).
/// Timers fire in the order of their ticks, those of one tick in the order they were armed. One
/// armed after its deadline fires behind those that are due already.
///
/// Threads: one at a time. Cost: arm and cancel are O(1), arm amortised where storage grows; in its
/// life a timer moves down at most 7 times. It takes 32 bytes when `Option<T>` has 12 bytes or
/// fewer (as of a slot with its generation), 40 when it has 16; an empty wheel takes 16 to 20 KiB.
/// Limit: 2^32 timers, less some hundred; storage stays at the peak.
pub(crate) struct Wheel<T> {
    timers: Timers<T>,
    len: usize,
    /// The tick that time has reached. Invariant: every timer in a slot has a later one.
    reached: u64,
    /// A bit for each slot of each level. Invariant: set exactly while the slot's list has timers.
    occupied: [u64; LEVELS],
    /// The first tick behind the slot that cascades; 0 while none does.
    cascade_end: u64,
}

impl<T> Wheel<T> {
    /// A wheel without timers, at the start of the clock.
    pub(crate) fn new() -> Self {
        Self {
            timers: Timers::new(),
            len: 0,
            reached: 0,
            occupied: [0; LEVELS],
            cascade_end: 0,
        }
    }

    /// Arms a timer: `value` comes back from [`expire`](Self::expire) at `deadline`.
    ///
    /// A deadline that has passed is due at the next call of `expire`. One in the last, incomplete
    /// tick of the clock's 584 years never comes.
    ///
    /// Cost: O(1), amortised.
    ///
    /// # Panics
    ///
    /// Over the limit of timers, which take 128 GiB then.
    pub(crate) fn arm(&mut self, deadline: Instant, value: T) -> TimerId {
        let tick = tick_of(deadline);
        let id = self.timers.insert(tick, value);
        self.link(id.node.get(), self.entrance(tick));
        self.len += 1;
        id
    }

    /// Moves an armed timer to another `deadline`, as if it was armed only now; its id stays.
    ///
    /// Answers false, and does nothing, when the timer fired or was cancelled. Cost: O(1).
    pub(crate) fn rearm(&mut self, id: TimerId, deadline: Instant) -> bool {
        let Some(node) = self.timers.find(id) else {
            return false;
        };
        let tick = tick_of(deadline);
        self.unlink(node);
        self.timers.set_tick(node, tick);
        self.link(node, self.entrance(tick));
        true
    }

    /// Cancels a timer and gives its value back; nothing when it fired or was cancelled before.
    ///
    /// A timer that is due can be cancelled until [`expire`](Self::expire) answers it. Cost: O(1).
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<T> {
        let node = self.timers.find(id)?;
        Some(self.take(node))
    }

    /// The value of the next timer that is due at `now`, or nothing.
    ///
    /// Takes one from `budget` for the timer it answers and for each that it moves down on the way;
    /// at zero it stops, and the next call goes on from there. So nothing, with budget left, means
    /// that nothing more is due. With none left there may be more, and as long as there is,
    /// [`next_expiry`](Self::next_expiry) is not later than `now`. A turn needs no other test:
    ///
    /// ```text
    /// let mut budget = TIMERS_PER_TURN;
    /// while let Some(value) = wheel.expire(now, &mut budget) { .. }
    /// poll until wheel.next_expiry()
    /// ```
    ///
    /// A timer that is armed meanwhile and due at once comes in the same turn, within the budget. A
    /// `now` that lies before an earlier one does no harm.
    ///
    /// Cost: O(1) for each unit taken from the budget. Limit: `budget`.
    pub(crate) fn expire(&mut self, now: Instant, budget: &mut usize) -> Option<T> {
        let now = now.as_nanos() / TICK_NANOS;
        while *budget > 0 {
            if let Some(node) = self.timers.first(DUE) {
                *budget -= 1;
                return Some(self.take(node));
            }
            if let Some(node) = self.timers.first(CASCADE) {
                *budget -= 1;
                self.move_down(node);
                continue;
            }
            match self.next_slot() {
                Some(slot) if slot.start <= now => self.open(&slot),
                _ => {
                    self.reached = self.reached.max(now);
                    break;
                }
            }
        }
        None
    }

    /// When to call [`expire`](Self::expire) next; nothing when no timer is armed.
    ///
    /// Never later than the tick in which the first timer fires. Earlier only for timers that have
    /// to move down first, at most 7 times in a timer's life; exact for one that fires in the
    /// current 64 ms, counted from the start of the clock.
    ///
    /// Cost: O(levels), of which there are 8.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let is_pending = |list| self.timers.first(list).is_some();
        if is_pending(DUE) || is_pending(CASCADE) {
            return Some(start_of(self.reached));
        }
        self.next_slot().map(|slot| start_of(slot.start))
    }

    /// How many timers are armed, due ones included.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is armed.
    #[cfg(test)]
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first occupied slot: on the lowest level that has one, as higher levels lie behind it.
    fn next_slot(&self) -> Option<Slot> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let digit = self.occupied[level].trailing_zeros();
        let shift = DIGIT_BITS * level as u32;
        let above = self.reached >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
        Some(Slot {
            level,
            digit,
            start: above | u64::from(digit) << shift,
        })
    }

    /// Lets time reach `slot`: its timers are due, or about to move down.
    fn open(&mut self, slot: &Slot) {
        debug_assert!(slot.start > self.reached, "slots lie ahead");
        self.reached = slot.start;
        self.occupied[slot.level] &= !(1 << slot.digit);
        if slot.level == 0 {
            self.timers.splice(slot.list(), DUE);
        } else {
            self.cascade_end = slot.start + (1 << (DIGIT_BITS * slot.level as u32));
            self.timers.splice(slot.list(), CASCADE);
        }
    }

    fn move_down(&mut self, node: u32) {
        self.unlink(node);
        self.link(node, self.place(self.timers.tick(node)));
    }

    /// The list for a new timer: behind those that are still moving down to the same ticks, so that
    /// timers of one tick keep their order however many turns a cascade takes.
    fn entrance(&self, tick: u64) -> u32 {
        if tick < self.cascade_end {
            CASCADE
        } else {
            self.place(tick)
        }
    }

    /// The list that a timer of `tick` belongs to, as far as time has come.
    fn place(&self, tick: u64) -> u32 {
        if tick <= self.reached {
            return DUE;
        }
        let level = (tick ^ self.reached).ilog2() / DIGIT_BITS;
        let digit = (tick >> (DIGIT_BITS * level)) % u64::from(SLOTS);
        level * SLOTS + digit as u32
    }

    fn link(&mut self, node: u32, list: u32) {
        self.timers.push_back(list, node);
        if list < DUE {
            self.occupied[(list / SLOTS) as usize] |= 1 << (list % SLOTS);
        }
    }

    fn unlink(&mut self, node: u32) {
        match self.timers.unlink(node) {
            Some(CASCADE) => self.cascade_end = 0,
            Some(list) if list < DUE => {
                self.occupied[(list / SLOTS) as usize] &= !(1 << (list % SLOTS));
            }
            _ => {}
        }
    }

    fn take(&mut self, node: u32) -> T {
        self.unlink(node);
        self.len -= 1;
        self.timers.remove(node)
    }
}

// By hand, so that a value needs no `Debug`.
impl<T> fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel")
            .field("len", &self.len)
            .field("reached", &start_of(self.reached))
            .field("next_expiry", &self.next_expiry())
            .finish()
    }
}

/// The first tick that begins at `deadline` or later.
const fn tick_of(deadline: Instant) -> u64 {
    deadline.as_nanos().div_ceil(TICK_NANOS)
}

/// The moment that `tick` begins.
const fn start_of(tick: u64) -> Instant {
    Instant::from_nanos(tick.saturating_mul(TICK_NANOS))
}

/// A slot of the wheel, and the tick in which it begins.
struct Slot {
    level: usize,
    digit: u32,
    start: u64,
}

impl Slot {
    const fn list(&self) -> u32 {
        self.level as u32 * SLOTS + self.digit
    }
}

/// The storage: nodes linked into rings, one ring for each list, and a chain of free nodes.
///
/// The first [`LISTS`] nodes are the lists themselves, each the head of its ring. So a timer leaves
/// without knowing its list, and the last to leave finds the list on either side.
struct Timers<T> {
    nodes: Vec<Node<T>>,
    /// The first free node, chained by `next`; 0, which is a list, stands for none.
    free: u32,
}

struct Node<T> {
    tick: u64,
    /// Invariant: present exactly while the node is an armed timer, and then it is in a ring.
    value: Option<T>,
    prev: u32,
    next: u32,
    /// How often the node was freed.
    generation: u32,
}

impl<T> Timers<T> {
    fn new() -> Self {
        let head = |list| Node {
            tick: 0,
            value: None,
            prev: list,
            next: list,
            generation: 0,
        };
        Self {
            nodes: (0..LISTS).map(head).collect(),
            free: 0,
        }
    }

    /// Takes a free node, or a new one, for a timer that is not in any list yet.
    fn insert(&mut self, tick: u64, value: T) -> TimerId {
        if self.free == 0 {
            self.free = u32::try_from(self.nodes.len()).expect("fewer than 2^32 timers");
            self.nodes.push(Node {
                tick,
                value: None,
                prev: 0,
                next: 0,
                generation: 0,
            });
        }
        let node = NonZeroU32::new(self.free).expect("node 0 is a list");
        let timer = &mut self.nodes[node.get() as usize];
        self.free = timer.next;
        timer.tick = tick;
        timer.value = Some(value);
        let generation = timer.generation;
        TimerId { node, generation }
    }

    /// Frees the node of a timer that has left its list.
    fn remove(&mut self, node: u32) -> T {
        let timer = &mut self.nodes[node as usize];
        timer.generation = timer.generation.wrapping_add(1);
        timer.next = self.free;
        self.free = node;
        timer.value.take().expect("an armed timer has its value")
    }

    fn find(&self, id: TimerId) -> Option<u32> {
        let timer = self.nodes.get(id.node.get() as usize)?;
        (timer.generation == id.generation && timer.value.is_some()).then_some(id.node.get())
    }

    fn tick(&self, node: u32) -> u64 {
        self.nodes[node as usize].tick
    }

    fn set_tick(&mut self, node: u32, tick: u64) {
        self.nodes[node as usize].tick = tick;
    }

    fn first(&self, list: u32) -> Option<u32> {
        let first = self.nodes[list as usize].next;
        (first != list).then_some(first)
    }

    fn push_back(&mut self, list: u32, node: u32) {
        let last = self.nodes[list as usize].prev;
        self.join(last, node);
        self.join(node, list);
    }

    /// Takes a timer out of its list; answers the list when that is empty now.
    fn unlink(&mut self, node: u32) -> Option<u32> {
        let Node { prev, next, .. } = self.nodes[node as usize];
        self.join(prev, next);
        (prev == next).then_some(prev)
    }

    /// Moves all timers of the list `from` to the empty list `to`.
    fn splice(&mut self, from: u32, to: u32) {
        debug_assert!(self.first(from).is_some() && self.first(to).is_none());
        let Node {
            prev: last,
            next: first,
            ..
        } = self.nodes[from as usize];
        self.join(to, first);
        self.join(last, to);
        self.join(from, from);
    }

    fn join(&mut self, prev: u32, next: u32) {
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
    }
}

// By path, which holds too where a bench includes this file.
#[cfg(test)]
#[path = "wheel/tests.rs"]
mod tests;
