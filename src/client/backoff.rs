//! How long a client waits before it dials again.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::limits::RECONNECT_INTERVAL;

/// A whole, in the unit that jitter is kept in.
const MILLION: u32 = 1_000_000;
/// The longest wait before jitter.
const NANOS_MAX: u128 = (1 << 63) - 1;

/// How long a client waits before it dials again, and how often it does so in vain.
///
/// ```
/// use std::time::Duration;
/// use netwheel::Backoff;
///
/// let second = Duration::from_secs(1);
/// let backoff = Backoff::every(second).up_to(5 * second);
/// let waits: Vec<u64> = (1..=5).map(|nth| backoff.wait(nth, 0).as_secs()).collect();
/// assert_eq!(waits, [1, 2, 4, 5, 5]);
/// ```
///
/// A connection that opened resets it, at the moment its pipeline has been told of the open: the next wait
/// is the first again, and all tries are there again. So a server that lets in and hangs up at once is
/// dialled once an interval, not more and not less.
///
/// By default [`RECONNECT_INTERVAL`], always the same, without jitter and for ever.
///
/// Cost: none; it is a value, and [`wait`](Self::wait) a function of its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    interval: Duration,
    max: Duration,
    /// In millionths.
    jitter: u32,
    tries_max: u32,
}

impl Backoff {
    /// The same time before every retry, the first one included.
    #[must_use]
    pub const fn every(interval: Duration) -> Self {
        Self {
            interval,
            max: interval,
            jitter: 0,
            tries_max: u32::MAX,
        }
    }

    /// Doubles the time with each retry, up to `max`.
    #[must_use]
    pub const fn up_to(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Makes each wait longer or shorter by chance, by up to this share of it: 0.2 is plus or minus 20 %.
    ///
    /// Spreads the clients of a server that comes back. It is added last, so a wait may be longer than the
    /// ceiling by that share. A share below 0 counts as 0, one above 1 as 1.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float that does not fit becomes the nearest that does, and NaN zero"
    )]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = (share.clamp(0.0, 1.0) * f64::from(MILLION)).round() as u32;
        self
    }

    /// Gives up after so many tries in a row have failed, the first one included; never by default.
    #[must_use]
    pub const fn tries_max(mut self, count: u32) -> Self {
        self.tries_max = count;
        self
    }

    /// The wait before the `nth` retry since the last open, counted from 1, under the chance `random`.
    #[must_use]
    pub fn wait(&self, nth: u32, random: u64) -> Duration {
        let doublings = nth.saturating_sub(1).min(64);
        let plain = (nanos(self.interval) << doublings).min(nanos(self.max));
        let span = plain * u128::from(self.jitter) / u128::from(MILLION);
        // Scaled, not taken modulo: as likely as any other, for spans of any length that is waited for.
        let chance = ((2 * span + 1) * u128::from(random)) >> 64;
        let nanos = u64::try_from(plain - span + chance).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos)
    }

    /// Whether there is another try after so many in a row that failed.
    pub(crate) const fn allows(&self, failed: u32) -> bool {
        failed < self.tries_max
    }

    /// Refuses what cannot work, in words that say what would.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let (interval, max) = (self.interval, self.max);
        if interval < Duration::from_millis(1) {
            return Err(senseless(format!(
                "Backoff::every({interval:?}) dials without a rest; wait at least 1 ms"
            )));
        }
        if max < interval {
            return Err(senseless(format!(
                "up_to({max:?}) is below the interval, {interval:?}; set it to at least that"
            )));
        }
        if self.tries_max == 0 {
            return Err(senseless(
                "tries_max is 0, which never dials; set it to at least 1",
            ));
        }
        Ok(())
    }
}

/// At most 292 years, half of what the clock has: what is scaled by chance then fits a `u128`.
fn nanos(time: Duration) -> u128 {
    time.as_nanos().min(NANOS_MAX)
}

fn senseless(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, text)
}

impl Default for Backoff {
    fn default() -> Self {
        Self::every(RECONNECT_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const SECOND: Duration = Duration::from_secs(1);

    fn waits(backoff: &Backoff, count: u32) -> Vec<Duration> {
        (1..=count).map(|nth| backoff.wait(nth, 7)).collect()
    }

    #[test]
    fn without_a_ceiling_every_wait_is_the_interval() {
        assert_eq!(waits(&Backoff::every(SECOND), 4), [SECOND; 4]);
        assert_eq!(Backoff::default(), Backoff::every(RECONNECT_INTERVAL));
        assert_eq!(
            Backoff::every(SECOND).wait(0, 0),
            SECOND,
            "there is no wait before the first"
        );
    }

    #[test]
    fn waits_double_up_to_the_ceiling_and_stay_there() {
        let backoff = Backoff::every(SECOND).up_to(5 * SECOND);
        assert_eq!(waits(&backoff, 5), [1, 2, 4, 5, 5].map(|n| n * SECOND));
        for nth in [64, 65, 66, 1000, u32::MAX] {
            assert_eq!(backoff.wait(nth, 0), 5 * SECOND);
        }
        let even = Backoff::every(SECOND).up_to(SECOND);
        assert_eq!(waits(&even, 3), [SECOND; 3]);
    }

    #[test]
    fn the_longest_times_there_are_overflow_nothing() {
        let endless = Backoff::every(Duration::MAX)
            .up_to(Duration::MAX)
            .jitter(1.0);
        let end = Duration::from_nanos((1 << 63) - 1);
        assert_eq!(endless.wait(u32::MAX, u64::MAX), 2 * end);
        assert_eq!(endless.wait(u32::MAX, 0), Duration::ZERO);
        let small = Backoff::every(Duration::from_millis(1)).up_to(Duration::MAX);
        assert_eq!(small.wait(u32::MAX, 0), end);
    }

    #[test]
    fn jitter_keeps_to_its_share_and_reaches_it() {
        let backoff = Backoff::every(SECOND).jitter(0.2);
        let (low, high) = (SECOND * 8 / 10, SECOND * 12 / 10);
        assert_eq!(backoff.wait(1, 0), low);
        assert_eq!(backoff.wait(1, u64::MAX), high);
        let mut random = Random::new(1);
        let (mut sum, count) = (Duration::ZERO, 10_000);
        for _ in 0..count {
            let wait = backoff.wait(1, random.next());
            assert!((low..=high).contains(&wait), "{wait:?}");
            sum += wait;
        }
        let off = (sum / count).abs_diff(SECOND);
        assert!(
            off < Duration::from_millis(10),
            "the mean is off by {off:?}"
        );
        assert_eq!(Backoff::every(SECOND).jitter(-3.0), Backoff::every(SECOND));
        assert_eq!(
            Backoff::every(SECOND).jitter(f64::NAN),
            Backoff::every(SECOND)
        );
    }

    #[test]
    fn tries_are_counted_from_the_first() {
        let backoff = Backoff::every(SECOND).tries_max(3);
        assert_eq!(
            [1, 2, 3, 4].map(|failed| backoff.allows(failed)),
            [true, true, false, false]
        );
        assert!(Backoff::every(SECOND).allows(1_000_000));
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let spoiled = [
            (Backoff::every(Duration::ZERO), "every"),
            (Backoff::every(SECOND).up_to(SECOND / 2), "up_to"),
            (Backoff::every(SECOND).tries_max(0), "tries_max"),
        ];
        for (backoff, name) in spoiled {
            let error = backoff.check().expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(name), "{error}");
        }
        Backoff::every(SECOND)
            .up_to(SECOND)
            .jitter(1.0)
            .tries_max(1)
            .check()
            .expect("it works");
    }
}
