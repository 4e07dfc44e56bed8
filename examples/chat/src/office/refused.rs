//! Messages that were refused for a while, so that those behind them do not pass them.
//!
//! ```text
//!   5 refused   6, 7 refused, behind it   5 comes again, is kept   8 refused, behind 6   6, 7, 8 come again
//! ```
//! A client sends again what was refused, and may say something new before it has heard of all of it.

use std::collections::{BTreeSet, HashMap};

use crate::limits::REFUSED_MESSAGES_MAX;

/// The refused messages of a session.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Their numbers, by receiver; never an empty set.
    numbers: HashMap<String, BTreeSet<u64>>,
    /// How many there are.
    count: usize,
}

impl Refused {
    /// Whether a message has to wait for one before it.
    pub(super) fn is_before(&self, to: &str, number: u64) -> bool {
        let first = self.numbers.get(to).and_then(BTreeSet::first);
        first.is_some_and(|first| *first < number)
    }

    /// A message is refused; `false` when there are more than can be remembered.
    pub(super) fn add(&mut self, to: &str, number: u64) -> bool {
        if !self.numbers.contains_key(to) {
            self.numbers.insert(to.to_owned(), BTreeSet::new());
        }
        if let Some(numbers) = self.numbers.get_mut(to)
            && numbers.insert(number)
        {
            self.count += 1;
        }
        self.count <= REFUSED_MESSAGES_MAX
    }

    /// A message is kept.
    pub(super) fn remove(&mut self, to: &str, number: u64) {
        let Some(numbers) = self.numbers.get_mut(to) else {
            return;
        };
        if numbers.remove(&number) {
            self.count -= 1;
        }
        if numbers.is_empty() {
            self.numbers.remove(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a message, where there is room in the inbox or not.
    fn say(refused: &mut Refused, number: u64, has_room: bool) -> bool {
        if has_room && !refused.is_before("bob", number) {
            refused.remove("bob", number);
            return true;
        }
        assert!(refused.add("bob", number));
        false
    }

    #[test]
    fn a_message_waits_for_those_refused_before_it() {
        let mut refused = Refused::default();
        assert!(say(&mut refused, 4, true));
        for number in [5, 7, 9] {
            assert!(!say(&mut refused, number, false));
        }
        assert!(!say(&mut refused, 7, true) && !say(&mut refused, 10, true));
        assert!(!refused.is_before("cid", 10), "another receiver");
        assert!(say(&mut refused, 3, true), "it was said before them");
        for number in [5, 7, 9] {
            assert!(say(&mut refused, number, true), "{number} comes again");
        }
        assert!(say(&mut refused, 10, true));
        assert!(refused.numbers.is_empty());
    }

    #[test]
    fn however_messages_come_none_is_kept_before_a_refused_one_with_a_lower_number() {
        let mut chance = 1_u64;
        let mut draw = |below: u64| {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (chance >> 33) % below
        };
        for _ in 0..2000 {
            let mut refused = Refused::default();
            let (mut unsaid, mut again, mut kept) = (1..=20, BTreeSet::new(), Vec::new());
            while kept.len() < 20 {
                // Something new, or anything that was refused, whatever else its sender has heard of by now.
                let nth = usize::try_from(draw(again.len() as u64 + 1)).expect("few");
                let Some(number) = again.iter().nth(nth).copied().or_else(|| unsaid.next()) else {
                    continue;
                };
                if say(&mut refused, number, draw(2) == 0) {
                    again.remove(&number);
                    kept.push(number);
                } else {
                    again.insert(number);
                }
            }
            assert!(kept.is_sorted(), "{kept:?}");
            assert!(refused.numbers.is_empty());
        }
    }

    #[test]
    fn more_than_can_be_remembered_are_told() {
        let mut refused = Refused::default();
        for number in 1..=REFUSED_MESSAGES_MAX as u64 {
            assert!(refused.add("bob", number) && refused.add("bob", number));
        }
        assert!(!refused.add("cid", 1));
        refused.remove("bob", 1);
        refused.remove("bob", 1);
        assert!(refused.add("cid", 1));
        assert!(!refused.add("cid", 2));
    }
}
