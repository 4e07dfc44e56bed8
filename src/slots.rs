//! Slots with generations: a key that outlives its entry finds nothing.
//!
//! ```text
//!   entries      [ connection ][    free    ][ connection ]   a slab: its slots are used again
//!   generations  [     0      ][     3      ][     1      ]   how often each slot was emptied
//!
//!   key 1.2 is stale: slot 1 has moved on to generation 3
//! ```
//! A late event, a late reply of the pool or a late message names its connection by [`Key`]. The
//! connection may be gone by then and its slot may belong to another: the generation tells the two
//! apart (h2's `store::Key` and the `slotmap` crate do the same). Generations stand beside the
//! slab, since a slab forgets what it frees.

use std::fmt;

use slab::Slab;

use crate::id::Key;

/// Slots kept when the last entry goes; storage beyond it goes back to the allocator.
///
/// Few enough to be no burden (256 KiB when an entry has 256 bytes), enough that a worker that
/// empties between small bursts does not allocate for each of them.
const SLOTS_KEPT_MAX: usize = 1024;

/// Entries that are found by [`Key`], each for as long as it stays.
///
/// Threads: one at a time. Cost: every call is O(1), amortised where storage grows or goes back,
/// and the iterators pass every slot; a slot takes its entry and 4 bytes. Limit: 2^32 slots; a
/// generation wraps after its slot was used 2^32 times. Memory stays at the peak while entries
/// remain; when the last one goes, all beyond [`SLOTS_KEPT_MAX`] goes back, save 4 bytes a slot.
pub(crate) struct Slots<T> {
    entries: Slab<T>,
    /// The generation of each slot that was ever used: of its entry, or of the next one while free.
    generations: Vec<u32>,
}

impl<T> Slots<T> {
    /// No slots; holds no memory.
    pub(crate) const fn new() -> Self {
        Self {
            entries: Slab::new(),
            generations: Vec::new(),
        }
    }

    /// The key that the next entry will get, for building a value that knows its own.
    ///
    /// # Panics
    ///
    /// When 2^32 slots are in use, which no machine has the memory for.
    pub(crate) fn vacant_key(&self) -> Key {
        let slot = self.entries.vacant_key();
        Key {
            slot: u32::try_from(slot).expect("fewer than 2^32 slots"),
            generation: self.generations.get(slot).copied().unwrap_or(0),
        }
    }

    /// Keeps `value`; answers the key that finds it until it is removed.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let key = self.vacant_key();
        let slot = self.entries.insert(value);
        debug_assert_eq!(slot, key.slot as usize);
        if slot == self.generations.len() {
            self.generations.push(key.generation);
        }
        key
    }

    /// Keeps the value that `build` makes of its own key. When `build` panics, nothing is kept.
    pub(crate) fn insert_with(&mut self, build: impl FnOnce(Key) -> T) -> Key {
        let key = self.vacant_key();
        self.insert(build(key))
    }

    /// Takes out the entry of `key`; from now on `key` finds nothing.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slot_of(key)?;
        let value = self.entries.try_remove(slot)?;
        self.generations[slot] = key.generation.wrapping_add(1);
        self.release_when_empty();
        Some(value)
    }

    /// The entry of `key`, for writing.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slot_of(key)?;
        self.entries.get_mut(slot)
    }

    /// The entry of `key`.
    #[cfg(test)]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.entries.get(self.slot_of(key)?)
    }

    /// The key of every entry, in the order of the slots, from slot `first` on and round again.
    pub(crate) fn keys_from(&self, first: usize) -> impl Iterator<Item = Key> {
        let slots = self.generations.len();
        let all = (0..slots).map(move |step| (first + step) % slots);
        all.filter(|slot| self.entries.contains(*slot))
            .map(|slot| key_of(&self.generations, slot))
    }

    /// The key of every entry, in the order of the slots.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.entries
            .iter()
            .map(|(slot, _)| key_of(&self.generations, slot))
    }

    /// The entry in this slot, whatever its generation.
    pub(crate) fn at_slot(&self, slot: usize) -> Option<&T> {
        self.entries.get(slot)
    }

    /// Slots from here on have never had an entry.
    pub(crate) fn slots_used(&self) -> usize {
        self.generations.len()
    }

    /// Who has the slot of a stale key now.
    pub(crate) fn tenant(&self, key: Key) -> Option<Key> {
        let slot = key.slot as usize;
        let tenant = key_of(&self.generations, self.entries.get(slot).map(|_| slot)?);
        (tenant != key).then_some(tenant)
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The slot of `key`, unless it was emptied since `key` was given out.
    fn slot_of(&self, key: Key) -> Option<usize> {
        let slot = key.slot as usize;
        (*self.generations.get(slot)? == key.generation).then_some(slot)
    }

    /// The work is proportional to the inserts that made the storage grow, so amortised it is O(1).
    fn release_when_empty(&mut self) {
        if self.entries.is_empty() && self.entries.capacity() > SLOTS_KEPT_MAX {
            self.entries = Slab::new();
        }
    }
}

fn key_of(generations: &[u32], slot: usize) -> Key {
    let generation = generations[slot];
    Key {
        slot: u32::try_from(slot).expect("fewer than 2^32 slots"),
        generation,
    }
}

// By hand, so that an entry needs no `Debug`.
impl<T> fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("len", &self.len())
            .field("slots", &self.generations.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    #[test]
    fn keys_come_from_any_slot_on_and_round_again() {
        let mut slots = Slots::new();
        let keys: Vec<Key> = (0..5).map(|n| slots.insert(n)).collect();
        slots.remove(keys[0]);
        slots.remove(keys[3]);
        let from = |first| {
            slots
                .keys_from(first)
                .map(|key| key.slot)
                .collect::<Vec<_>>()
        };
        assert_eq!(from(0), [1, 2, 4]);
        assert_eq!(from(2), [2, 4, 1]);
        assert_eq!(from(5), [1, 2, 4]);
        assert_eq!(Slots::<u8>::new().keys_from(7).count(), 0);
    }

    #[test]
    fn a_value_is_built_with_the_key_that_finds_it() {
        let mut slots = Slots::new();
        let first = slots.insert_with(|key| key);
        slots.insert(first);
        slots.remove(first);
        let vacant = slots.vacant_key();
        let reused = slots.insert_with(|key| key);
        assert_eq!(slots.get(reused), Some(&reused));
        assert_eq!(vacant, reused);
        assert_eq!((reused.slot, reused.generation), (first.slot, 1));
    }

    #[test]
    fn a_stale_key_finds_nothing_after_any_number_of_reuses() {
        let mut slots = Slots::new();
        let mut stale = Vec::new();
        for round in 0..10_000 {
            let key = slots.insert(round);
            assert_eq!(key.slot, 0, "one slot is enough for one entry");
            assert_eq!(slots.remove(key), Some(round));
            stale.push(key);
        }
        slots.insert(-1);
        assert!(stale.iter().all(|&key| slots.get(key).is_none()));
        assert!(stale.into_iter().all(|key| slots.remove(key).is_none()));
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn a_generation_wraps() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        slots.remove(first);
        slots.generations[0] = u32::MAX;
        let last = slots.insert('b');
        assert_eq!(last.generation, u32::MAX);
        slots.remove(last);
        let wrapped = slots.insert('c');
        assert_eq!((slots.get(last), slots.get(wrapped)), (None, Some(&'c')));
        assert_eq!(
            wrapped, first,
            "the one case in which a stale key finds a stranger"
        );
    }

    #[test]
    fn a_key_that_was_never_given_out_finds_nothing() {
        let mut slots = Slots::new();
        let vacant = slots.vacant_key();
        assert_eq!(slots.get(vacant), None);
        let key = slots.insert('a');
        slots.remove(key);
        assert_eq!(slots.remove(slots.vacant_key()), None);
        assert_eq!(
            slots.get(Key {
                slot: 7,
                generation: 0
            }),
            None
        );
    }

    #[test]
    fn memory_is_bounded_by_the_peak_and_goes_back_when_all_are_gone() {
        let peak = 10 * SLOTS_KEPT_MAX;
        let mut slots = Slots::new();
        let mut stale = Vec::new();
        for _ in 0..3 {
            let keys: Vec<_> = (0..peak).map(|value| slots.insert(value)).collect();
            assert_eq!(slots.generations.len(), peak);
            assert!(slots.entries.capacity() < 2 * peak);
            for &key in &keys {
                slots.remove(key);
            }
            assert!(slots.len() == 0 && slots.entries.capacity() <= SLOTS_KEPT_MAX);
            stale.extend(keys);
        }
        let live: Vec<_> = (0..peak).map(|value| slots.insert(value)).collect();
        assert!(stale.into_iter().all(|key| slots.get(key).is_none()));
        assert!(live.into_iter().all(|key| slots.get(key).is_some()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert,
        Remove(Index),
        RemoveStale(Index),
        Write(Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Insert),
            2 => any::<Index>().prop_map(Step::Remove),
            1 => any::<Index>().prop_map(Step::RemoveStale),
            1 => any::<Index>().prop_map(Step::Write),
        ]
    }

    proptest! {
        #[test]
        fn finds_what_a_map_finds(steps in prop::collection::vec(step(), 1..100)) {
            let mut slots = Slots::new();
            let mut oracle = HashMap::new();
            let mut live: Vec<Key> = Vec::new();
            let mut stale: Vec<Key> = Vec::new();
            let mut peak = 0;
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert => {
                        let key = slots.insert(number);
                        prop_assert_eq!(oracle.insert(key, number), None, "given out twice");
                        live.push(key);
                    }
                    Step::Remove(index) if !live.is_empty() => {
                        let key = live.swap_remove(index.index(live.len()));
                        prop_assert_eq!(slots.remove(key), oracle.remove(&key));
                        stale.push(key);
                    }
                    Step::RemoveStale(index) if !stale.is_empty() => {
                        prop_assert_eq!(slots.remove(stale[index.index(stale.len())]), None);
                    }
                    Step::Write(index) if !live.is_empty() => {
                        let key = live[index.index(live.len())];
                        *slots.get_mut(key).expect("live") += 1000;
                        *oracle.get_mut(&key).expect("live") += 1000;
                    }
                    _ => {}
                }
                peak = peak.max(live.len());
                prop_assert_eq!(slots.len(), oracle.len());
                prop_assert!(live.iter().all(|key| slots.get(*key) == oracle.get(key)));
                prop_assert!(stale.iter().all(|&key| slots.get(key).is_none()));
                prop_assert!(stale.iter().all(|&key| slots.get_mut(key).is_none()));
                prop_assert_eq!(slots.generations.len(), peak);
                prop_assert!(slots.keys().all(|key| oracle.contains_key(&key)));
                prop_assert_eq!(slots.keys().count(), oracle.len());
            }
        }
    }
}
