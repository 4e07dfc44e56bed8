//! The wait of a turn: for how long, and how late it ended.

use std::io;
use std::time::Duration;

use log::error;

use super::Worker;
use crate::clock::Instant;
use crate::transport::driver::Driver;

impl<D: Driver> Worker<D> {
    /// Counts a wait that could sleep, and how much later than it was to end it did.
    pub(super) fn note_wait(&self, slept: bool, due: Option<Instant>) {
        if !slept {
            return;
        }
        let stats = &self.turn.stats;
        stats.sleeps.add(1);
        if let Some(due) = due
            && self.turn.now >= due
            && self.events.is_empty()
        {
            stats.poll_delays.record(due, self.turn.now);
        }
    }

    /// Whether something waits for the next turn that no event will tell of.
    pub(super) fn has_left_over(&self) -> bool {
        self.more_arrivals
            || self.turn.has_broadcasts()
            || !self.ready.is_empty()
            || !self.dirty.is_empty()
            || !self.commands.is_empty()
            || self.endpoints.is_busy()
            || self.inspection.is_busy()
    }

    /// How long the next wait may take.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout_at(self.driver.clock().now())
    }

    pub(super) fn timeout_at(&self, now: Instant) -> Option<Duration> {
        if self.has_left_over() {
            return Some(Duration::ZERO);
        }
        if !self.limits.busy_poll.is_zero()
            && self.turn.now.since(self.last_event) < self.limits.busy_poll
        {
            return Some(Duration::ZERO);
        }
        let timer = self.wheel.next_expiry().map(|at| at.since(now));
        let look = self.pressure.timeout(self.limits.worker_bytes_max, now);
        timer.into_iter().chain(look).min()
    }

    /// Waits for events; answers whether it could sleep.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> bool {
        let sleeps = timeout.is_none_or(|timeout| !timeout.is_zero());
        let sleeps = sleeps && self.turn.mailbox.may_sleep();
        let timeout = if sleeps {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let outcome = self.driver.wait(timeout, &mut self.events);
        if sleeps {
            self.turn.mailbox.awake();
        }
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                error!(target: "netwheel::worker", "worker {}: poll: {error}", self.index);
            }
            _ => {}
        }
        sleeps
    }
}
