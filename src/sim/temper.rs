//! What a world is like: how slow, how narrow, how moody.

use std::time::Duration;

use crate::limits::{READ_BUFFER_BYTES, WorkerLimits};
use crate::random::Random;

/// The bounds and rates by which chance works in one world; drawn from its seed, so that some worlds are
/// fast and even and others are all delays and scraps. A rate says how often: once in so many times, or
/// never for zero.
#[derive(Debug)]
pub(super) struct Temper {
    /// The longest that a parcel of bytes is on its way.
    delay_max: Duration,
    /// The least and most bytes that fit between a writer and its reader.
    capacity: (usize, usize),
    /// A read or write moves less than it could.
    pub(super) short: usize,
    /// A read or write finds nothing or no room, though there is some; an event tells of it anew.
    pub(super) would_block: usize,
    /// An event tells of what is not so.
    pub(super) spurious: usize,
    /// An event comes a turn later than it could.
    pub(super) late: usize,
    /// An event tells of all that the socket is ready for, not only of what has changed.
    pub(super) chatty: usize,
    /// The pool gets ahead in the middle of a worker's turn.
    pub(super) pool_between: usize,
}

impl Temper {
    pub(super) fn draw(random: &mut Random) -> Self {
        let micros = random.magnitude(1, 100_000);
        let narrow = random.magnitude(64, 16 * 1024);
        let mut rate = || match random.below(3) {
            0 => 0,
            _ => random.magnitude(2, 64),
        };
        Self {
            short: rate(),
            would_block: rate(),
            spurious: rate(),
            late: rate(),
            chatty: rate(),
            pool_between: rate(),
            delay_max: Duration::from_micros(micros as u64),
            capacity: (narrow, 16 * narrow),
        }
    }

    /// How long a parcel is on its way.
    pub(super) fn delay(&self, random: &mut Random) -> Duration {
        let micros = usize::try_from(self.delay_max.as_micros()).expect("far below a second");
        Duration::from_micros(random.between(0, micros) as u64)
    }

    /// What fits into one direction of a connection.
    pub(super) fn capacity(&self, random: &mut Random) -> usize {
        random.magnitude(self.capacity.0, self.capacity.1)
    }

    /// Limits of the workers: some do little in a turn, so that much is left for the next.
    pub(super) fn worker_limits(random: &mut Random) -> WorkerLimits {
        let mut limits = WorkerLimits {
            read_buffer_bytes: random.magnitude(256, READ_BUFFER_BYTES),
            ..WorkerLimits::default()
        };
        if random.once_in(3) {
            limits.mailbox_commands_per_turn = random.magnitude(1, 8);
            limits.timers_per_turn = random.magnitude(1, 8);
            limits.broadcast_bytes_per_turn = random.magnitude(1, 4096);
        }
        limits
    }
}
