//! What the connections of a link tell it and ask of it: what has come, what goes next, what has gone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::debug;

use super::call::CallError;
use super::position::Position;
use super::shared::{Shared, nudge};
use super::wire::{Stamp, Wire};
use crate::clock::Instant;
use crate::error::{CloseReason, Error};
use crate::handle::ConnectionHandle;
use crate::sync::lock;

/// What its connections tell and ask, each on its worker.
impl<W: Wire> Shared<W> {
    /// A connection has logged in; answers its number. One that was there before is out.
    pub(super) fn attach(&self, connection: ConnectionHandle<W::Frame>) -> u64 {
        let (number, old) = {
            let mut state = lock(&self.state);
            let number = state.outbox.begin_link();
            state.intake.begin_link(number);
            (state.parted, state.waits, state.attended) = (None, false, false);
            (number, state.connection.replace(connection))
        };
        drop(old);
        self.changed.notify_all();
        number
    }

    /// A connection has ended.
    ///
    /// Answers whether the link is to [`be_forgotten`](Self::be_forgotten) now: its listener keeps nothing for peers
    /// that are away.
    pub(super) fn detach(self: &Arc<Self>, number: u64, now: Instant, reason: CloseReason) -> bool {
        let (old, ended, closing) = {
            let mut state = lock(&self.state);
            if state.outbox.link() != number {
                return false;
            }
            state.outbox.end_link(number, now);
            (state.parted, state.attended) = (Some(now), false);
            let ended = state.requests.close(|waiter| !waiter.retries);
            for (_, waiter) in &ended {
                state.withdraw(waiter.seq, false);
            }
            (state.connection.take(), ended, state.closing)
        };
        drop(old);
        self.changed.notify_all();
        for (_, waiter) in ended {
            waiter.settle(Err(CallError::Down(reason)));
        }
        if closing {
            self.close();
        }
        let keeps_nothing = self.rules.outbox.age_max == Some(Duration::ZERO);
        let forgotten = keeps_nothing && self.on_forgotten.is_some();
        if !forgotten {
            self.arm();
        }
        forgotten
    }

    /// Its listener forgets it, and closes it, once its peer has left its place.
    pub(super) fn be_forgotten(&self) {
        if let Some(tell) = &self.on_forgotten {
            tell();
        }
    }

    /// Whether no later connection has logged in.
    pub(super) fn is_current(&self, number: u64) -> bool {
        lock(&self.state).outbox.link() == number
    }

    /// The next frames for this connection, stamped, up to so many; none when another has its place.
    pub(super) fn next_frames(
        &self,
        number: u64,
        max: usize,
        into: &mut VecDeque<(u64, W::Frame)>,
    ) {
        let mut state = lock(&self.state);
        if state.outbox.link() != number {
            return;
        }
        while into.len() < max
            && let Some(mut out) = state.outbox.next()
        {
            if let Some(position) = state.outbox.position(out.seq) {
                let stamp = Stamp {
                    position: Some(position),
                    ack: state.intake.take_ack(),
                };
                self.wire.stamp(&mut out.message, stamp);
            }
            into.push_back((out.handing, out.message));
        }
    }

    /// Whether the engine of this connection looks at the outbox by itself, so that nobody need call it.
    pub(super) fn attend(&self, number: u64, on: bool) {
        let mut state = lock(&self.state);
        if state.outbox.link() == number {
            state.attended = on;
        }
    }

    /// The system has taken messages up to this one; wakes an engine that waits for room.
    pub(super) fn handle_left(&self, number: u64, handing: u64) {
        let connection = {
            let mut state = lock(&self.state);
            state.outbox.handle_left(number, handing);
            let wakes = state.waits && state.outbox.is_relieved();
            state.connection.as_ref().filter(|_| wakes).cloned()
        };
        nudge(connection);
    }

    /// Whether the outbox is so full that no more questions are to be handled; `true` asks to be woken.
    pub(super) fn is_crowded(&self) -> bool {
        let mut state = lock(&self.state);
        let crowded = state.outbox.is_crowded();
        self.crowded.store(crowded, Ordering::Relaxed);
        state.waits |= crowded;
        state.waits
    }

    /// `false` when the outbox was not crowded a moment ago, by what this thread has sent; without the lock.
    pub(super) fn may_be_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Whether there is room again for those who wait for it.
    pub(super) fn is_relieved(&self) -> bool {
        let mut state = lock(&self.state);
        state.waits &= !state.outbox.is_relieved();
        !state.waits
    }

    pub(super) fn handle_ack(&self, number: u64, seq: u64) {
        let mut state = lock(&self.state);
        if state.outbox.link() == number {
            let gone = state.outbox.handle_ack(seq);
            state.forget(gone);
        }
    }

    /// A message has come; answers whether it is to be handled.
    pub(super) fn arrive(&self, now: Instant, number: u64, at: Position) -> bool {
        lock(&self.state).intake.arrive(now, number, at)
    }

    pub(super) fn is_new(&self, at: Position) -> bool {
        lock(&self.state).intake.is_new(at)
    }

    /// A message has been handled. Answers whether its worker has to see to the acknowledgement.
    pub(super) fn handle_handled(&self, at: Position) -> Result<(), Error> {
        let now = self.now();
        let mut state = lock(&self.state);
        let due = state.intake.next_timeout();
        state.intake.handle_handled(now, at);
        let changed = state.intake.next_timeout() != due;
        let reached = state.intake.cursor();
        let connection = state.connection.as_ref().filter(|_| changed).cloned();
        drop(state);
        nudge(connection);
        match (&self.cursor, reached) {
            (Some(cursor), Some(reached)) => cursor.store(&self.name, reached),
            _ => Ok(()),
        }
    }

    pub(super) fn poll_ack(&self, now: Instant) -> Option<u64> {
        lock(&self.state).intake.poll_ack(now)
    }

    pub(super) fn ack_at(&self) -> Option<Instant> {
        lock(&self.state).intake.next_timeout()
    }

    /// An answer has come: whoever asked is told.
    pub(super) fn handle_answer(&self, id: u64, frame: W::Frame) {
        let waiter = {
            let mut state = lock(&self.state);
            let waiter = state.requests.answer(id);
            if let Some(waiter) = &waiter {
                state.withdraw(waiter.seq, true);
            }
            waiter
        };
        match waiter {
            Some(waiter) => waiter.settle(Ok(frame)),
            None => debug!(target: "netwheel::link", "{}: a late answer to {id}", self.name),
        }
    }

    pub(super) fn tell_rtt(&self, rtt: Option<Duration>) {
        lock(&self.state).rtt = rtt;
    }
}
