//! The timers of one connection, which share one entry of the worker's wheel.
//!
//! A connection has few timers, so the earliest is found by looking at each; the wheel holds that one
//! moment. Timers belong to the stage that armed them and go when it goes.

use super::valve::Way;
use crate::clock::Instant;
use crate::error::CloseReason;
use crate::planted::{Bug, is_planted};

/// Names a timer among those of one stage or handler; arming it again moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a number of the user's own")]
pub struct TimerKey(pub u32);

/// Whose timer it is: the connection's own.
pub(crate) const OWNER_LIBRARY: u32 = 0;
/// Whose timer it is: the handler's. Other owners are the keys of stages.
pub(crate) const OWNER_HANDLER: u32 = u32::MAX - 1;

/// What happens when a timer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The owner is told.
    Tell(TimerKey),
    /// The connection closes.
    Close(CloseReason),
    /// Bytes may pass again.
    Open(Way),
    /// A frame that is under way may have become too old.
    Frame,
    /// A peer to whom much waits may have taken too little since it had so many KiB.
    Reader(u32),
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    at: Instant,
    owner: u32,
    due: Due,
}

impl Timer {
    /// When it fires.
    fn due_at(&self) -> Instant {
        if is_planted(Bug::EarlyTimer) {
            return Instant::from_nanos(self.at.as_nanos().saturating_sub(1_000_000));
        }
        self.at
    }
}

/// The timers of one connection. Most have one, which needs no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    first: Option<Timer>,
    /// Absent until there are two. Invariant: no timers are here while there is no first.
    #[expect(
        clippy::box_collection,
        reason = "8 bytes in every connection instead of 24"
    )]
    others: Option<Box<Vec<Timer>>>,
}

impl Timers {
    /// Arms the owner's timer of this kind, or moves it.
    pub(crate) fn arm(&mut self, at: Instant, owner: u32, due: Due) {
        self.cancel(owner, due);
        let timer = Timer { at, owner, due };
        match self.first {
            None => self.first = Some(timer),
            Some(_) => self.others.get_or_insert_default().push(timer),
        }
    }

    pub(crate) fn cancel(&mut self, owner: u32, due: Due) {
        self.retain(|timer| (timer.owner, timer.due) != (owner, due));
    }

    pub(crate) fn cancel_owner(&mut self, owner: u32) {
        self.retain(|timer| timer.owner != owner);
    }

    /// Cancels the look at a slow reader, since whenever it was.
    pub(crate) fn cancel_reader(&mut self) {
        self.retain(|timer| !matches!(timer.due, Due::Reader(_)));
    }

    /// Cancels the timers of all stages and of the handler: another pipeline takes over.
    pub(crate) fn cancel_users(&mut self) {
        self.retain(|timer| timer.owner == OWNER_LIBRARY);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.all().map(Timer::due_at).min()
    }

    pub(crate) fn count_due(&self, now: Instant) -> usize {
        self.all().filter(|timer| timer.due_at() <= now).count()
    }

    /// Takes the earliest timer that is due; of several at one moment, the one that was armed first.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(u32, Due)> {
        let due = self.all().filter(|timer| timer.due_at() <= now);
        let Timer { owner, due, .. } = *due.min_by_key(|timer| timer.at)?;
        self.cancel(owner, due);
        Some((owner, due))
    }

    /// In the order in which they were armed.
    fn all(&self) -> impl Iterator<Item = &Timer> {
        self.first
            .iter()
            .chain(self.others.iter().flat_map(|others| others.iter()))
    }

    fn retain(&mut self, keep: impl Fn(&Timer) -> bool) {
        self.first = self.first.filter(|timer| keep(timer));
        if let Some(others) = &mut self.others {
            others.retain(keep);
            if self.first.is_none() && !others.is_empty() {
                self.first = Some(others.remove(0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn due(timers: &mut Timers, now: u64) -> Vec<u32> {
        std::iter::from_fn(|| timers.take_due(at(now)))
            .map(|(owner, _)| owner)
            .collect()
    }

    #[test]
    fn timers_come_in_order_and_of_one_moment_in_that_of_arming() {
        let mut timers = Timers::default();
        let tell = Due::Tell(TimerKey(0));
        for (owner, moment) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
            timers.arm(at(moment), owner, tell);
        }
        assert_eq!((timers.next(), timers.count_due(at(20))), (Some(at(10)), 3));
        assert_eq!(due(&mut timers, 20), [2, 4, 3]);
        timers.arm(at(25), 1, tell);
        assert_eq!(timers.next(), Some(at(25)), "moved");
        timers.arm(at(25), 5, tell);
        timers.cancel_owner(1);
        assert_eq!(due(&mut timers, 99), [5]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn those_of_the_library_stay_when_a_pipeline_goes() {
        let mut timers = Timers::default();
        timers.arm(at(1), OWNER_HANDLER, Due::Tell(TimerKey(7)));
        timers.arm(at(2), OWNER_LIBRARY, Due::Close(CloseReason::WriteStall));
        timers.arm(at(3), 9, Due::Open(Way::In));
        timers.cancel_users();
        assert_eq!(due(&mut timers, 9), [OWNER_LIBRARY]);
        timers.arm(at(1), 1, Due::Tell(TimerKey(0)));
        timers.clear();
        assert_eq!(timers.next(), None);
    }
}
