//! The wheel against cases by hand, and against a sorted map.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::id::Key;

const NO_LIMIT: usize = usize::MAX;

fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * TICK_NANOS)
}

fn drain<T>(wheel: &mut Wheel<T>, now: Instant) -> Vec<T> {
    std::iter::from_fn(|| wheel.expire(now, &mut { NO_LIMIT })).collect()
}

/// Numbers that look random and are the same in every run (splitmix64, Steele et al. 2014).
fn random_numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }
}

#[test]
fn a_timer_takes_32_bytes_and_its_id_8() {
    assert_eq!(size_of::<Node<Key>>(), 32);
    assert_eq!(size_of::<Node<u64>>(), 40);
    assert_eq!(size_of::<Option<TimerId>>(), 8);
}

#[test]
fn a_deadline_is_rounded_up_to_a_tick_and_never_met_early() {
    let mut wheel = Wheel::new();
    wheel.arm(Instant::from_nanos(1), "just after the start");
    wheel.arm(ms(1), "on the tick");
    wheel.arm(Instant::from_nanos(TICK_NANOS + 1), "just after the tick");
    assert_eq!(
        drain(&mut wheel, Instant::from_nanos(TICK_NANOS - 1)),
        [""; 0]
    );
    assert_eq!(
        drain(&mut wheel, ms(1)),
        ["just after the start", "on the tick"]
    );
    assert_eq!(
        drain(&mut wheel, Instant::from_nanos(2 * TICK_NANOS - 1)),
        [""; 0]
    );
    assert_eq!(drain(&mut wheel, ms(2)), ["just after the tick"]);
    assert!(wheel.is_empty());
}

#[test]
fn a_deadline_in_the_past_is_due_at_the_next_call() {
    let mut wheel = Wheel::new();
    drain(&mut wheel, ms(5000));
    wheel.arm(ms(10), 'a');
    wheel.arm(Instant::START, 'b');
    wheel.arm(ms(5000), 'c');
    assert_eq!(wheel.next_expiry(), Some(ms(5000)));
    assert_eq!(drain(&mut wheel, ms(5000)), ['a', 'b', 'c']);
}

#[test]
fn a_cancelled_timer_gives_its_value_back_once_and_never_fires() {
    let mut wheel = Wheel::new();
    let (a, b) = (wheel.arm(ms(10), 'a'), wheel.arm(ms(10), 'b'));
    assert_eq!(wheel.cancel(a), Some('a'));
    assert_eq!(wheel.cancel(a), None);
    let reused = wheel.arm(ms(10), 'c');
    assert_eq!(
        (reused.node, wheel.cancel(a)),
        (a.node, None),
        "the node is another timer's now"
    );
    assert_eq!(drain(&mut wheel, ms(10)), ['b', 'c']);
    assert_eq!(
        (wheel.cancel(b), wheel.cancel(reused), wheel.len()),
        (None, None, 0)
    );
    assert_eq!(wheel.next_expiry(), None);
}

#[test]
fn a_due_timer_can_be_cancelled_until_it_came_out() {
    let mut wheel = Wheel::new();
    let ids: Vec<_> = (0..3).map(|value| wheel.arm(ms(10), value)).collect();
    assert_eq!(wheel.expire(ms(20), &mut { NO_LIMIT }), Some(0));
    assert_eq!(wheel.cancel(ids[1]), Some(1));
    assert_eq!(drain(&mut wheel, ms(20)), [2]);
}

#[test]
fn a_rearmed_timer_keeps_its_id_and_fires_at_the_new_deadline() {
    let mut wheel = Wheel::new();
    let id = wheel.arm(ms(10), ());
    assert!(wheel.rearm(id, ms(100_000)));
    assert_eq!(drain(&mut wheel, ms(99_999)), []);
    assert!(wheel.rearm(id, ms(1)));
    assert_eq!(drain(&mut wheel, ms(99_999)), [()]);
    assert!(!wheel.rearm(id, ms(200_000)));
    assert!(wheel.is_empty());
}

#[test]
fn time_that_runs_backwards_does_no_harm() {
    let mut wheel = Wheel::new();
    wheel.arm(ms(1000), 'a');
    assert_eq!(drain(&mut wheel, ms(999)), []);
    assert_eq!(drain(&mut wheel, ms(3)), []);
    wheel.arm(ms(500), 'b');
    assert_eq!(
        drain(&mut wheel, ms(3)),
        ['b'],
        "it was due at 999 ms, which have been"
    );
    assert_eq!(drain(&mut wheel, ms(1000)), ['a']);
}

#[test]
fn deadlines_reach_to_the_end_of_the_clock() {
    let end = Instant::from_nanos(u64::MAX);
    let last_tick = u64::MAX / TICK_NANOS;
    let mut wheel = Wheel::new();
    wheel.arm(end, "never");
    wheel.arm(ms(last_tick), "last");
    assert_eq!(drain(&mut wheel, ms(last_tick - 1)), [""; 0]);
    assert_eq!(drain(&mut wheel, ms(last_tick)), ["last"]);
    assert_eq!(drain(&mut wheel, end), [""; 0]);
    assert_eq!((wheel.len(), wheel.next_expiry()), (1, Some(end)));
}

#[test]
fn the_budget_bounds_a_call_and_the_next_call_goes_on() {
    let mut wheel = Wheel::new();
    let deadline = ms(1_000_000);
    for value in 0..1000 {
        wheel.arm(deadline, value);
    }
    let (mut fired, mut calls) = (Vec::new(), 0);
    while !wheel.is_empty() {
        let mut budget = 64;
        while let Some(value) = wheel.expire(deadline, &mut budget) {
            fired.push(value);
        }
        calls += 1;
        assert!(
            wheel.is_empty() || wheel.next_expiry() <= Some(deadline),
            "there is work left"
        );
    }
    assert_eq!(fired, (0..1000).collect::<Vec<_>>());
    // Each timer moves from level 3 to 2, 1, 0 and fires: four units.
    assert_eq!(calls, 4_000_usize.div_ceil(64));
}

#[test]
fn timers_of_one_tick_keep_their_order_when_armed_amid_a_cascade() {
    let mut wheel = Wheel::new();
    for value in 0..10 {
        wheel.arm(ms(100), value);
    }
    assert_eq!(wheel.expire(ms(64), &mut 5), None);
    wheel.arm(ms(100), 10);
    assert_eq!(
        wheel.next_expiry(),
        Some(ms(64)),
        "the cascade is unfinished"
    );
    assert!(drain(&mut wheel, ms(99)).is_empty());
    assert_eq!(drain(&mut wheel, ms(100)), (0..=10).collect::<Vec<_>>());
}

#[test]
fn a_timer_that_arms_itself_for_now_costs_budget_not_the_turn() {
    let mut wheel = Wheel::new();
    wheel.arm(ms(1), ());
    let (mut budget, mut fired) = (100, 0);
    while wheel.expire(ms(1), &mut budget).is_some() {
        wheel.arm(ms(1), ());
        fired += 1;
    }
    assert_eq!((fired, wheel.len()), (100, 1));
}

/// 100,000 timers over ten minutes, walked tick by tick across the wrap of levels 0, 1, 2 and 3.
#[test]
fn of_100_000_timers_each_fires_in_its_tick_and_none_is_lost() {
    let mut random = random_numbers(86);
    let start = 64_u64.pow(4) - 64_u64.pow(3);
    let span = 600_000;
    let mut wheel = Wheel::new();
    drain(&mut wheel, ms(start));
    let deadlines: Vec<_> = (0..100_000)
        .map(|_| Instant::from_nanos((start * TICK_NANOS) + random() % (span * TICK_NANOS)))
        .collect();
    let ids: Vec<_> = deadlines
        .iter()
        .enumerate()
        .map(|(timer, &at)| wheel.arm(at, timer))
        .collect();
    let mut done = vec![false; ids.len()];
    for timer in (0..ids.len()).filter(|timer| timer % 3 == 0) {
        assert_eq!(wheel.cancel(ids[timer]), Some(timer));
        done[timer] = true;
    }
    for tick in start..=start + span {
        let now = Instant::from_nanos(tick * TICK_NANOS + random() % TICK_NANOS);
        for timer in drain(&mut wheel, now) {
            assert!(
                !std::mem::replace(&mut done[timer], true),
                "fired twice, or cancelled"
            );
            let late = (tick * TICK_NANOS).checked_sub(deadlines[timer].as_nanos());
            assert!(
                late.expect("never early") < TICK_NANOS,
                "more than a tick late"
            );
        }
    }
    assert!(wheel.is_empty() && done.into_iter().all(|done| done));
}

#[test]
fn a_clock_that_jumps_fires_nothing_early_and_loses_nothing() {
    let mut random = random_numbers(7);
    let year = 365 * 24 * 3_600_000;
    let mut wheel = Wheel::new();
    for _ in 0..10_000 {
        // Magnitudes from a millisecond to 31 years, each as likely.
        let bits = random() % 40 + 1;
        let tick = random() % (1 << bits);
        wheel.arm(ms(tick), tick);
    }
    let mut before = 0;
    for now in [
        1,
        63,
        64,
        4097,
        3_600_000,
        3_600_001,
        year / 12,
        3 * year,
        40 * year,
    ] {
        let fired = drain(&mut wheel, ms(now));
        assert!(!fired.is_empty() || now - before == 1);
        assert!(fired.is_sorted());
        assert!(
            fired
                .iter()
                .all(|&tick| tick <= now && (tick > before || before == 0))
        );
        before = now;
    }
    assert!(wheel.is_empty());
}

#[test]
fn memory_is_flat_under_a_million_arms_and_cancels() {
    let mut random = random_numbers(1);
    let mut wheel = Wheel::new();
    let mut ids: Vec<_> = (0..1000).map(|value| wheel.arm(ms(value), value)).collect();
    let capacity = wheel.timers.nodes.capacity();
    for round in 0..1_000_000_u64 {
        let id = &mut ids[random() as usize % 1000];
        assert!(wheel.cancel(*id).is_some());
        *id = wheel.arm(ms(random() % 100_000), round);
    }
    assert_eq!(wheel.timers.nodes.len(), LISTS as usize + 1000);
    assert_eq!(
        (wheel.timers.nodes.capacity(), wheel.len()),
        (capacity, 1000)
    );
}

#[test]
fn memory_is_flat_under_timers_that_fire() {
    let mut wheel = Wheel::new();
    for tick in 0..1000 {
        for value in 0..100 {
            wheel.arm(ms(tick + 1 + value % 9), value);
        }
        drain(&mut wheel, ms(tick));
    }
    // A tick's worth for each of the ten ticks that timers wait at most.
    assert!(wheel.timers.nodes.len() <= LISTS as usize + 1000);
}

/// A moment, told from another: so many nanoseconds later, or around the next boundary of a level.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Past(u64),
    After(u64),
    NearBoundary { level: u32, nanos: i64 },
}

impl Moment {
    fn resolve(self, now: Instant) -> Instant {
        Instant::from_nanos(match self {
            Self::Past(nanos) => now.as_nanos().saturating_sub(nanos),
            Self::After(nanos) => now.as_nanos().saturating_add(nanos),
            Self::NearBoundary { level, nanos } => {
                let span = TICK_NANOS << (DIGIT_BITS * level);
                (now.as_nanos() / span + 1)
                    .saturating_mul(span)
                    .saturating_add_signed(nanos)
            }
        })
    }
}

fn moment() -> impl Strategy<Value = Moment> {
    let three_ticks = 3 * TICK_NANOS as i64;
    prop_oneof![
        1 => (0..100 * TICK_NANOS).prop_map(Moment::Past),
        4 => (0..3 * TICK_NANOS).prop_map(Moment::After),
        4 => (0_u64..200).prop_map(|ticks| Moment::After(ticks * TICK_NANOS)),
        // Every magnitude up to years as likely as the next.
        4 => (0_u32..60, any::<u64>()).prop_map(|(bits, n)| Moment::After(n % (1 << bits))),
        4 => (1_u32..7, -three_ticks..three_ticks)
            .prop_map(|(level, nanos)| Moment::NearBoundary { level, nanos }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Arm(Moment),
    ArmTwin(Index),
    Cancel(Index),
    Rearm(Index, Moment),
    Expire(Moment, usize),
    ExpireAll(Moment),
    ExpireNext,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => moment().prop_map(Step::Arm),
        4 => any::<Index>().prop_map(Step::ArmTwin),
        2 => any::<Index>().prop_map(Step::Cancel),
        2 => (any::<Index>(), moment()).prop_map(|(timer, at)| Step::Rearm(timer, at)),
        3 => (moment(), 0_usize..6).prop_map(|(to, budget)| Step::Expire(to, budget)),
        2 => moment().prop_map(Step::ExpireAll),
        2 => Just(Step::ExpireNext),
    ]
}

struct Timer {
    id: TimerId,
    deadline: Instant,
    /// Its place in the oracle when it was armed last.
    order: (u64, usize),
}

/// The wheel beside a map of what it must do.
struct Checked {
    wheel: Wheel<usize>,
    /// Armed timers in the order that they must fire: by tick, and by age within a tick.
    oracle: BTreeMap<(u64, usize), usize>,
    /// Every timer there ever was, live or not.
    timers: Vec<Timer>,
    arms: usize,
    now: Instant,
}

impl Checked {
    fn new(start: Instant) -> Self {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.expire(start, &mut 1), None);
        Self {
            wheel,
            oracle: BTreeMap::new(),
            timers: Vec::new(),
            arms: 0,
            now: start,
        }
    }

    fn order(&mut self, deadline: Instant) -> (u64, usize) {
        self.arms += 1;
        (tick_of(deadline).max(self.wheel.reached), self.arms)
    }

    fn arm(&mut self, deadline: Instant) {
        let (timer, order) = (self.timers.len(), self.order(deadline));
        let id = self.wheel.arm(deadline, timer);
        self.timers.push(Timer {
            id,
            deadline,
            order,
        });
        self.oracle.insert(order, timer);
    }

    fn cancel(&mut self, timer: usize) {
        let Timer { id, order, .. } = self.timers[timer];
        assert_eq!(self.wheel.cancel(id), self.oracle.remove(&order));
    }

    fn rearm(&mut self, timer: usize, deadline: Instant) {
        let Timer { id, order, .. } = self.timers[timer];
        let armed = self.oracle.remove(&order).is_some();
        let order = self.order(deadline);
        assert_eq!(self.wheel.rearm(id, deadline), armed);
        if armed {
            self.timers[timer] = Timer {
                id,
                deadline,
                order,
            };
            self.oracle.insert(order, timer);
        }
    }

    fn expire(&mut self, to: Instant, mut budget: usize) {
        self.now = self.now.max(to);
        while let Some(timer) = self.wheel.expire(to, &mut budget) {
            let (_, expected) = self.oracle.pop_first().expect("fired twice, or cancelled");
            assert_eq!(timer, expected, "out of order");
            assert!(self.timers[timer].deadline <= self.now, "early");
        }
        let one_tick_ago = to.as_nanos().saturating_sub(TICK_NANOS);
        let is_late = |&timer: &usize| self.timers[timer].deadline.as_nanos() <= one_tick_ago;
        assert!(
            budget == 0 || to < ms(1) || !self.oracle.values().any(is_late),
            "late"
        );
    }

    fn check(&self) {
        assert_eq!(self.wheel.len(), self.oracle.len());
        assert_eq!(self.wheel.is_empty(), self.oracle.is_empty());
        self.check_next_expiry();
        self.check_lists();
    }

    fn check_next_expiry(&self) {
        let next = self.wheel.next_expiry();
        let Some((&(tick, _), _)) = self.oracle.first_key_value() else {
            return assert_eq!(next, None);
        };
        assert!(next.expect("a timer is armed") <= start_of(tick));
        let settled = self.wheel.timers.first(CASCADE).is_none();
        if settled && tick / 64 == self.wheel.reached / 64 {
            assert_eq!(next, Some(start_of(tick)), "exact on level 0");
        }
    }

    /// The invariants of the wheel: lists, places and bits agree.
    fn check_lists(&self) {
        let Wheel {
            timers, occupied, ..
        } = &self.wheel;
        let mut linked = 0;
        for list in 0..LISTS {
            let (mut node, mut prev) = (timers.first(list).unwrap_or(list), list);
            while node != list {
                assert_eq!(timers.nodes[node as usize].prev, prev);
                assert!(timers.nodes[node as usize].value.is_some());
                assert!(list == CASCADE || self.wheel.place(timers.tick(node)) == list);
                (node, prev) = (timers.nodes[node as usize].next, node);
                linked += 1;
            }
            assert_eq!(timers.nodes[list as usize].prev, prev);
            if list < DUE {
                let bit = occupied[(list / SLOTS) as usize] >> (list % SLOTS) & 1;
                assert_eq!(bit == 1, timers.first(list).is_some());
            }
        }
        assert_eq!(linked, self.wheel.len());
        assert_eq!(self.wheel.cascade_end != 0, timers.first(CASCADE).is_some());
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Arm(at) => self.arm(at.resolve(self.now)),
            Step::Expire(to, budget) => self.expire(to.resolve(self.now), budget),
            Step::ExpireAll(to) => self.expire(to.resolve(self.now), NO_LIMIT),
            Step::ExpireNext => {
                if let Some(next) = self.wheel.next_expiry() {
                    self.expire(next, NO_LIMIT);
                }
            }
            _ if self.timers.is_empty() => {}
            Step::ArmTwin(timer) => {
                self.arm(self.timers[timer.index(self.timers.len())].deadline);
            }
            Step::Cancel(timer) => self.cancel(timer.index(self.timers.len())),
            Step::Rearm(timer, at) => {
                self.rearm(timer.index(self.timers.len()), at.resolve(self.now));
            }
        }
    }
}

proptest! {
    #[test]
    fn fires_what_a_map_fires_in_its_order(
        start in moment(),
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut checked = Checked::new(start.resolve(Instant::START));
        for step in steps {
            checked.take(step);
            checked.check();
        }
        // The last complete tick: whatever is not beyond it has to come.
        checked.expire(ms(u64::MAX / TICK_NANOS), NO_LIMIT);
        checked.check();
    }

    #[test]
    fn walking_time_by_next_expiry_alone_meets_every_tick(
        start in moment(),
        moments in prop::collection::vec(moment(), 1..50),
    ) {
        let start = start.resolve(Instant::START);
        let mut wheel = Wheel::new();
        drain(&mut wheel, start);
        for at in &moments {
            let deadline = at.resolve(start);
            wheel.arm(deadline, deadline);
        }
        let (mut now, mut walks) = (start, 0);
        while let Some(next) = wheel.next_expiry() {
            now = now.max(next);
            for deadline in drain(&mut wheel, now) {
                prop_assert!(deadline <= now);
                let late = now - deadline.max(start);
                prop_assert!(late < Duration::from_nanos(TICK_NANOS));
            }
            walks += 1;
            prop_assert!(walks <= LEVELS * moments.len(), "a wake-up for nothing");
        }
        prop_assert!(wheel.is_empty());
    }
}
