//! What becomes due while there may be no connection: calls whose time is over, messages that were kept too long.
//!
//! Timers of a connection live on its worker. These are the network's, one at a time for each link, for what is due
//! first.

use std::sync::{Arc, Weak};

use log::error;

use super::call::CallError;
use super::shared::Shared;
use super::wire::Wire;
use crate::sync::lock;

/// What is due when there may be no connection: told by the network's schedule.
impl<W: Wire> Shared<W> {
    /// Sees to it that the alarm rings no later than something is due; the caller holds nothing.
    pub(super) fn arm(self: &Arc<Self>) {
        let now = self.now();
        let (after, number, old) = {
            let mut state = lock(&self.state);
            let forgets = self.on_forgotten.is_some();
            let Some(next) = state.next_timeout(&self.rules, forgets) else {
                return;
            };
            if state.closed || state.alarm.as_ref().is_some_and(|(at, _)| *at <= next) {
                return;
            }
            state.alarms += 1;
            let old = state.alarm.replace((next, None));
            (
                next.since(now),
                state.alarms,
                old.and_then(|(_, task)| task),
            )
        };
        if let Some(task) = old {
            self.net.network().cancel(task);
        }
        let alarm = Alarm {
            shared: Arc::downgrade(self),
            number,
            rung: false,
        };
        match self
            .net
            .network()
            .schedule(after, Box::new(move || alarm.ring()))
        {
            Ok(task) => {
                let mut state = lock(&self.state);
                let current = state.alarms == number;
                match &mut state.alarm {
                    Some((_, id)) if current => *id = Some(task),
                    _ => {
                        drop(state);
                        self.net.network().cancel(task);
                    }
                }
            }
            Err((error, task)) => {
                error!(target: "netwheel::link", "{}: {error}", self.name);
                drop(task);
            }
        }
    }

    fn ring(self: &Arc<Self>, number: u64) {
        let now = self.now();
        let (timed_out, forgotten) = {
            let mut state = lock(&self.state);
            if state.alarms != number || state.closed {
                return;
            }
            state.alarm = None;
            let mut timed_out = Vec::new();
            while let Some((_, waiter)) = state.requests.poll_timed_out(now) {
                state.withdraw(waiter.seq, false);
                timed_out.push(waiter);
            }
            while let Some(seq) = state.outbox.poll_expired(now) {
                state.dropped += 1;
                state.forget([seq]);
            }
            let age = self.rules.outbox.age_max;
            let forgotten = state
                .parted
                .zip(age)
                .is_some_and(|(at, age)| at + age <= now);
            if forgotten {
                state.parted = None;
            }
            (timed_out, forgotten)
        };
        for waiter in timed_out {
            waiter.settle(Err(CallError::TimedOut));
        }
        match &self.on_forgotten {
            Some(tell) if forgotten => tell(),
            _ => self.arm(),
        }
    }
}

/// Rings once; dropped before, while it counts, the network has ended.
struct Alarm<W: Wire> {
    shared: Weak<Shared<W>>,
    number: u64,
    rung: bool,
}

impl<W: Wire> Alarm<W> {
    fn ring(mut self) {
        self.rung = true;
        if let Some(shared) = self.shared.upgrade() {
            shared.ring(self.number);
        }
    }
}

impl<W: Wire> Drop for Alarm<W> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade().filter(|_| !self.rung) else {
            return;
        };
        let counts = {
            let state = lock(&shared.state);
            state.alarms == self.number && !state.closed
        };
        if counts {
            shared.close();
        }
    }
}
