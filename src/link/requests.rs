//! Questions that wait for their answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Instant;

/// The questions that one side has asked and that are not settled yet.
///
/// ```text
///   begin ──> pending ──answer──> answered          exactly one of them takes the waiter out,
///                │ ├──deadline──> timed out         so it is told exactly once
///                │ └──close─────> closed
///                v
///             any answer that comes later is dropped, and counted
/// ```
/// What waits, `T`, is the caller's: a callback, a channel, a number in a test.
///
/// Cost: two sorted maps, a few hundred nanoseconds a question. Limit: `max` questions at once.
#[derive(Debug)]
pub(super) struct Requests<T> {
    next: u64,
    max: usize,
    pending: BTreeMap<u64, Pending<T>>,
    deadlines: BTreeSet<(Instant, u64)>,
    late: u64,
}

#[derive(Debug)]
struct Pending<T> {
    waiter: T,
    deadline: Instant,
}

impl<T> Requests<T> {
    /// No questions; the first will have the id `first`.
    pub(super) const fn new(first: u64, max: usize) -> Self {
        Self {
            next: first,
            max,
            pending: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            late: 0,
        }
    }

    /// Notes a question; answers its id, or gives the waiter back when too many wait.
    pub(super) fn begin(&mut self, now: Instant, timeout: Duration, waiter: T) -> Result<u64, T> {
        if self.pending.len() >= self.max {
            return Err(waiter);
        }
        let (id, deadline) = (self.next, now + timeout);
        self.next = self.next.wrapping_add(1);
        self.deadlines.insert((deadline, id));
        self.pending.insert(id, Pending { waiter, deadline });
        Ok(id)
    }

    /// Who waits for the answer to a question.
    pub(super) fn waiter_mut(&mut self, id: u64) -> Option<&mut T> {
        Some(&mut self.pending.get_mut(&id)?.waiter)
    }

    /// An answer has come; `None` when nobody waits for it any more, which is counted.
    pub(super) fn answer(&mut self, id: u64) -> Option<T> {
        let waiter = self.take(id);
        self.late += u64::from(waiter.is_none());
        waiter
    }

    /// Takes a question back; the answer that may come is a late one.
    pub(super) fn take(&mut self, id: u64) -> Option<T> {
        let pending = self.pending.remove(&id)?;
        self.deadlines.remove(&(pending.deadline, id));
        Some(pending.waiter)
    }

    /// The next question whose time is over.
    pub(super) fn poll_timed_out(&mut self, now: Instant) -> Option<(u64, T)> {
        let &(deadline, id) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.take(id).map(|waiter| (id, waiter))
    }

    /// When to look for questions whose time is over.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes all questions out that `ends` says have ended, oldest first.
    pub(super) fn close(&mut self, mut ends: impl FnMut(&T) -> bool) -> Vec<(u64, T)> {
        let ended = self.pending.iter().filter(|(_, one)| ends(&one.waiter));
        let ids: Vec<u64> = ended.map(|(id, _)| *id).collect();
        ids.into_iter()
            .filter_map(|id| self.take(id).map(|waiter| (id, waiter)))
            .collect()
    }

    /// Questions that wait.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Answers that came when nobody waited for them.
    pub(super) const fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Instant {
        Instant::START + seconds * SECOND
    }

    #[test]
    fn an_answer_finds_its_question_in_any_order() {
        let mut requests = Requests::new(1, 1000);
        let ids: Vec<u64> = (0..1000)
            .map(|n| requests.begin(at(0), SECOND, n).expect("room"))
            .collect();
        for (n, id) in ids.iter().enumerate().rev() {
            assert_eq!(requests.answer(*id), Some(n));
        }
        assert_eq!((requests.len(), requests.late()), (0, 0));
        assert_eq!(requests.next_timeout(), None);
    }

    #[test]
    fn a_late_answer_is_dropped_and_counted() {
        let mut requests = Requests::new(1, 10);
        let id = requests.begin(at(0), SECOND, 'a').expect("room");
        assert_eq!(requests.poll_timed_out(at(0)), None);
        assert_eq!(requests.poll_timed_out(at(1)), Some((id, 'a')));
        assert_eq!(requests.answer(id), None);
        assert_eq!(requests.answer(77), None);
        assert_eq!(requests.late(), 2);
    }

    #[test]
    fn one_question_too_many_comes_back() {
        let mut requests = Requests::new(1, 1);
        let id = requests.begin(at(0), SECOND, 'a').expect("room");
        assert_eq!(requests.begin(at(0), SECOND, 'b'), Err('b'));
        assert_eq!(requests.take(id), Some('a'));
        assert!(requests.begin(at(0), SECOND, 'b').is_ok());
    }

    #[test]
    fn a_close_takes_those_that_end_and_leaves_the_others() {
        let mut requests = Requests::new(1, 10);
        for n in 0..6 {
            requests.begin(at(0), SECOND, n).expect("room");
        }
        let closed = requests.close(|n| n % 2 == 0);
        assert_eq!(closed, [(1, 0), (3, 2), (5, 4)]);
        assert_eq!(requests.len(), 3);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Begin(u8),
        Answer(u8),
        Pass(u8),
        Close,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (1..20_u8).prop_map(Act::Begin),
            4 => any::<u8>().prop_map(Act::Answer),
            2 => (0..10_u8).prop_map(Act::Pass),
            1 => Just(Act::Close),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: each question ends once, and none stays behind.
        #[test]
        fn each_question_is_settled_exactly_once(acts in prop::collection::vec(act(), 0..200)) {
            let mut requests = Requests::new(1, 50);
            let (mut now, mut begun, mut settled) = (0, 0_u64, Vec::new());
            for act in acts {
                match act {
                    Act::Begin(timeout) => {
                        let timeout = u32::from(timeout) * SECOND;
                        if let Ok(id) = requests.begin(at(now), timeout, begun) {
                            prop_assert_eq!(requests.waiter_mut(id).copied(), Some(begun));
                            begun += 1;
                        }
                    }
                    Act::Answer(id) => settled.extend(requests.answer(id.into())),
                    Act::Pass(seconds) => {
                        now += u32::from(seconds);
                        while let Some((_, waiter)) = requests.poll_timed_out(at(now)) {
                            settled.push(waiter);
                        }
                        prop_assert!(requests.next_timeout().is_none_or(|next| next > at(now)));
                    }
                    Act::Close => settled.extend(requests.close(|_| true).into_iter().map(|(_, w)| w)),
                }
                prop_assert_eq!(requests.len() + settled.len(), usize::try_from(begun).expect("few"));
            }
            settled.extend(requests.close(|_| true).into_iter().map(|(_, waiter)| waiter));
            settled.sort_unstable();
            prop_assert!(settled.into_iter().eq(0..begun));
        }
    }
}
