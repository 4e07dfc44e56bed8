//! The memory that a worker's connections hold together, and its bound.
//!
//! ```text
//!   0 ........ half ......... three quarters ......... worker_bytes_max
//!              over: all     begins: nobody new,       above: the largest
//!              go on again   the largest not read      are closed
//! ```
//! Counted where a connection is settled, from lengths that are at hand there. Nothing is searched before there is
//! pressure, and then once in [`LOOK`] at most.

use std::cmp::Reverse;
use std::time::Duration;

use log::{info, warn};

use super::Worker;
use crate::clock::Instant;
use crate::error::CloseReason;
use crate::id::Key;
use crate::transport::driver::Driver;
use crate::transport::entry::{Entry, Phase, bytes_u32};

/// Time between two searches for the largest.
const LOOK: Duration = Duration::from_millis(10);
/// Connections that are paused, or closed, by one search.
const ACTIONS_MAX: usize = 32;

/// What the connections of a worker hold, and since when that is too much.
#[derive(Default)]
pub(super) struct Pressure {
    /// Bytes that all of them hold.
    held: usize,
    /// When to look next; while there is pressure only.
    next_look: Option<Instant>,
    /// Those that are not read for its sake.
    paused: Vec<Key>,
}

impl Pressure {
    /// Counts anew what a connection holds.
    #[inline]
    pub(super) fn weigh<S>(&mut self, entry: &mut Entry<S>) {
        let held = bytes_u32(entry.connection.held_bytes());
        if held != entry.held {
            self.held = self.held - entry.held as usize + held as usize;
            entry.held = held;
        }
    }

    /// A connection that held so much has gone.
    pub(super) fn note_freed(&mut self, held: u32) {
        self.held -= held as usize;
    }

    /// How long the worker may wait for the pressure's sake: where it has to close, until it may.
    pub(super) fn timeout(&self, bytes_max: usize, now: Instant) -> Option<Duration> {
        let at = self.next_look.filter(|_| self.held > bytes_max)?;
        Some(at.since(now))
    }
}

impl<D: Driver> Worker<D> {
    /// The end of a turn: sees to it that the connections do not hold too much together.
    #[inline]
    pub(super) fn relieve(&mut self) {
        let high = self.limits.worker_bytes_max / 4 * 3;
        if self.pressure.held > high || self.pressure.next_look.is_some() {
            self.relieve_pressure();
        }
        self.turn.stats.held_bytes.set(self.pressure.held as u64);
    }

    #[cold]
    fn relieve_pressure(&mut self) {
        let (max, now) = (self.limits.worker_bytes_max, self.turn.now);
        let Some(next_look) = self.pressure.next_look else {
            warn!(target: "netwheel::worker",
                "worker {}: its connections hold {} bytes, of at most {max}: the largest are not read, nobody is let in",
                self.index, self.pressure.held);
            self.turn.stats.set_pressed(true);
            return self.shed(max);
        };
        if self.pressure.held <= max / 2 {
            self.let_go_on();
        } else if now >= next_look {
            self.shed(max);
        }
    }

    /// Pauses the largest, and closes as many of them as it takes.
    fn shed(&mut self, max: usize) {
        self.pressure.next_look = Some(self.turn.now + LOOK);
        for (held, key) in self.largest() {
            let Some(entry) = self.slots.get_mut(key) else {
                continue;
            };
            if self.pressure.held > max {
                warn!(target: "netwheel::worker", "worker {}: closes {}, which holds {held} bytes",
                    self.index, entry.connection.peer().address);
                self.close(key, CloseReason::OverLimit);
            } else if !entry.connection.is_paused_for_memory() {
                entry.connection.pause_for_memory();
                self.pressure.paused.push(key);
            }
        }
    }

    /// Those that hold most, the largest first.
    fn largest(&mut self) -> Vec<(u32, Key)> {
        let mut all = Vec::new();
        for key in self.keys() {
            let Some(entry) = self.slots.get_mut(key) else {
                continue;
            };
            if entry.held > 0 && entry.phase == Phase::Open {
                all.push((entry.held, key));
            }
        }
        let by_weight = |(held, key): &(u32, Key)| (Reverse(*held), key.slot);
        if all.len() > ACTIONS_MAX {
            all.select_nth_unstable_by_key(ACTIONS_MAX, by_weight);
            all.truncate(ACTIONS_MAX);
        }
        all.sort_unstable_by_key(by_weight);
        all
    }

    /// The pressure is over.
    fn let_go_on(&mut self) {
        info!(target: "netwheel::worker", "worker {}: its connections hold {} bytes, and go on",
            self.index, self.pressure.held);
        self.pressure.next_look = None;
        self.turn.stats.set_pressed(false);
        for key in std::mem::take(&mut self.pressure.paused) {
            if let Some(entry) = self.slots.get_mut(key) {
                entry.connection.resume_for_memory(&self.turn);
                self.settle(key);
            }
        }
    }
}
