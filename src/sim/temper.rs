//! What a world is like: how slow, how narrow, how moody.

use std::time::Duration;

use super::faults::{Fault, Faults, FaultsFired, Often};
use crate::limits::{READ_BUFFER_BYTES, WorkerLimits};
use crate::random::Random;

/// The longest that a [`Fault::Delay`] takes: more than a retransmission, less than most patience.
const DELAY_MICROS_MAX: usize = 2_000_000;
/// The longest that a turn takes.
const TURN_MICROS_MAX: usize = 1000;
/// The longest that nodes are apart: more than most timeouts.
const PARTITION_MICROS_MAX: usize = 10_000_000;
/// The longest that a node is down.
const DOWN_MICROS_MAX: usize = 5_000_000;
/// The most that a clock is off by, in millionths: far beyond what quartz does, as clocks of virtual machines are.
const DRIFT_MILLIONTHS_MAX: usize = 100_000;
/// The latest moment at which a clock begins.
const SKEW_MICROS_MAX: usize = 3_600_000_000;

/// The bounds and rates by which chance works in one world; drawn from its seed, so that some worlds are
/// fast and even and others are all delays and scraps.
#[derive(Debug)]
pub(super) struct Temper {
    /// The longest that a parcel of bytes is on its way.
    delay_max: Duration,
    /// The least and most bytes that fit between a writer and its reader.
    capacity: (usize, usize),
    /// How often each fault happens: once in so many times, or never for zero.
    rates: [usize; Fault::ALL.len()],
    pub(super) fired: FaultsFired,
}

impl Temper {
    pub(super) fn draw(faults: &Faults, random: &mut Random) -> Self {
        let micros = random.magnitude(1, 100_000);
        let narrow = random.magnitude(64, 16 * 1024);
        let mut temper = Self {
            delay_max: Duration::from_micros(micros as u64),
            capacity: (narrow, 16 * narrow),
            rates: [0; Fault::ALL.len()],
            fired: FaultsFired::default(),
        };
        temper.set_faults(faults, random);
        temper
    }

    /// Draws the rates anew.
    pub(super) fn set_faults(&mut self, faults: &Faults, random: &mut Random) {
        for fault in Fault::ALL {
            // Drawn whether or not it is wanted, so that leaving one kind out changes no other.
            let left_out = random.once_in(if fault.is_gentle() { 3 } else { 2 });
            let (most, least) = fault.odds();
            let drawn = random.magnitude(most, least);
            self.rates[fault as usize] = match faults.often(fault) {
                Often::Never => 0,
                Often::OnceIn(times) => times,
                Often::Drawn if left_out => 0,
                Often::Drawn => drawn,
            };
        }
    }

    /// Whether a fault happens, at a moment at which it could; counts it if so.
    pub(super) fn strikes(&mut self, fault: Fault, random: &mut Random) -> bool {
        let strikes = random.once_in(self.rates[fault as usize]);
        if strikes {
            self.fired.note(fault);
        }
        strikes
    }

    /// How long a parcel is on its way.
    pub(super) fn delay(&mut self, random: &mut Random) -> Duration {
        if self.strikes(Fault::Delay, random) {
            return micros(random.magnitude(1000, DELAY_MICROS_MAX));
        }
        let most = usize::try_from(self.delay_max.as_micros()).expect("far below a second");
        micros(random.between(0, most))
    }

    /// How long a turn takes.
    pub(super) fn turn(&mut self, random: &mut Random) -> Duration {
        match self.strikes(Fault::SlowTurn, random) {
            true => micros(random.magnitude(1, TURN_MICROS_MAX)),
            false => Duration::ZERO,
        }
    }

    /// How long nodes stay apart.
    pub(super) fn apart(random: &mut Random) -> Duration {
        micros(random.magnitude(1000, PARTITION_MICROS_MAX))
    }

    /// How long a node stays down.
    pub(super) fn down(random: &mut Random) -> Duration {
        micros(random.magnitude(1000, DOWN_MICROS_MAX))
    }

    /// Where a node's clock begins, and by how many millionths it is fast.
    pub(super) fn clock(&mut self, random: &mut Random) -> (Duration, i32) {
        let (mut skew, mut drift) = (Duration::ZERO, 0);
        if self.strikes(Fault::Skew, random) {
            skew = micros(random.magnitude(1, SKEW_MICROS_MAX));
        }
        if self.strikes(Fault::Drift, random) {
            let by = random.magnitude(1, DRIFT_MILLIONTHS_MAX);
            let by = i32::try_from(by).expect("less than a million");
            drift = if random.once_in(2) { by } else { -by };
        }
        (skew, drift)
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

const fn micros(count: usize) -> Duration {
    Duration::from_micros(count as u64)
}
