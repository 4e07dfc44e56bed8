//! When the messages of one connection are due, however the server does.

use std::time::Duration;

use netwheel::Instant;

/// Nanoseconds of a tick, the unit of the loop's timers: messages are due at its multiples, because the
/// time to the next one would be the tool's lateness and not the server's.
const TICK_NANOS: u64 = 1_000_000;
/// The longest time that a connection with nothing to send does not look whether the run is over.
const LOOK: Duration = Duration::from_millis(100);

/// The schedule of one connection: its share of the rate, its neighbours' turns in between.
pub(super) struct Schedule {
    begin: Instant,
    /// Nanoseconds between two messages.
    interval: f64,
    /// Intervals from `begin` to the next message.
    next: f64,
}

impl Schedule {
    /// The schedule of one of so many connections, which share `rate` messages a second.
    pub(super) fn new(rate: f64, number: usize, connections: usize) -> Self {
        Self {
            begin: Instant::START,
            interval: 1e9 * connections as f64 / rate,
            next: number as f64 / connections as f64,
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.begin = now;
    }

    /// Takes the next message's moment, once that has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.due();
        (due <= now).then(|| {
            self.next += 1.0;
            due
        })
    }

    /// How long to wait for the next message.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        // A timer is never early: armed for the tick before, at its middle, it fires in the right one.
        let half_tick = Duration::from_nanos(TICK_NANOS / 2);
        self.due().since(now + half_tick).min(LOOK)
    }

    fn due(&self) -> Instant {
        let nanos = self.begin.as_nanos() + (self.next * self.interval) as u64;
        Instant::from_nanos(nanos.next_multiple_of(TICK_NANOS))
    }
}
