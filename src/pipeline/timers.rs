//! The timers of one connection, which share one entry of the worker's wheel.
//!
//! A connection has few timers, so the earliest is found by looking at each; the wheel holds that one
//! moment. Timers belong to the stage that armed them and go when it goes.

use super::valve::Way;
use crate::clock::Instant;
use crate::error::CloseReason;

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
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    at: Instant,
    owner: u32,
    due: Due,
}

/// The timers of one connection.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    armed: Vec<Timer>,
}

impl Timers {
    /// Arms the owner's timer of this kind, or moves it.
    pub(crate) fn arm(&mut self, at: Instant, owner: u32, due: Due) {
        self.cancel(owner, due);
        if self.armed.is_empty() {
            self.armed.reserve_exact(1);
        }
        self.armed.push(Timer { at, owner, due });
    }

    pub(crate) fn cancel(&mut self, owner: u32, due: Due) {
        self.armed
            .retain(|timer| (timer.owner, timer.due) != (owner, due));
    }

    pub(crate) fn cancel_owner(&mut self, owner: u32) {
        self.armed.retain(|timer| timer.owner != owner);
    }

    /// Cancels the timers of all stages and of the handler: another pipeline takes over.
    pub(crate) fn cancel_users(&mut self) {
        self.armed.retain(|timer| timer.owner == OWNER_LIBRARY);
    }

    pub(crate) fn clear(&mut self) {
        self.armed = Vec::new();
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.armed.iter().map(|timer| timer.at).min()
    }

    pub(crate) fn count_due(&self, now: Instant) -> usize {
        self.armed.iter().filter(|timer| timer.at <= now).count()
    }

    /// Takes the earliest timer that is due; of several at one moment, the one that was armed first.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(u32, Due)> {
        let (index, _) = self
            .armed
            .iter()
            .enumerate()
            .filter(|(_, timer)| timer.at <= now)
            .min_by_key(|(_, timer)| timer.at)?;
        let timer = self.armed.remove(index);
        Some((timer.owner, timer.due))
    }
}
