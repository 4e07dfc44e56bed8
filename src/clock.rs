//! Time as the loop sees it: a number that is read once a turn and handed down.
//!
//! Nothing below the transport asks the operating system for the time. A worker's driver supplies a
//! [`Clock`]; the one of a running system counts from the start of the reactor, the one of a test or a
//! simulator is moved by hand.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A moment on a reactor's clock: nanoseconds since that clock started.
///
/// Eight bytes, so that a connection can keep several, and the same in every run of a simulated world.
/// Moments of different reactors do not compare.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The moment the clock started.
    pub const START: Self = Self(0);

    /// A moment so many nanoseconds after the start of the clock.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start of the clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, or zero when `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The moment `duration` later; the end of time (584 years) when there is none.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = duration
            .as_secs()
            .saturating_mul(NANOS_PER_SECOND)
            .saturating_add(u64::from(duration.subsec_nanos()));
        Self(self.0.saturating_add(nanos))
    }
}

/// Time since the right-hand moment, or zero when that is the later one.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{:?}", Duration::from_nanos(self.0))
    }
}

/// Where moments come from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(std::time::Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The monotonic clock of the system, counting from now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's clock"
    )]
    pub fn system() -> Self {
        Self(Source::System(std::time::Instant::now()))
    }

    /// A clock that stands still until it is moved by [`advance`](Self::advance).
    #[must_use]
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::default()))
    }

    /// This moment. Cost: about 20 ns for the system's clock, which is why a turn reads it once.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System(origin) => Instant::START + origin.elapsed(),
            Source::Manual(nanos) => Instant(nanos.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    ///
    /// On the system's clock, which nobody moves.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::System(_) => panic!("the system's clock cannot be moved; use Clock::manual()"),
            Source::Manual(nanos) => {
                let now = Instant(nanos.load(Ordering::Relaxed)) + by;
                nanos.store(now.0, Ordering::Relaxed);
            }
        }
    }
}
