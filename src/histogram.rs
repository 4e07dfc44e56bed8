//! How long things took: counts in buckets that grow with the value, in fixed memory.
//!
//! ```text
//!   1 ns      each            16 ns     16 of 1 ns    32 ns     16 of 2 ns    64 ns     16 of 4 ns ..
//!   |1|2|3| .. |16| 17 | 18 | .. | 32 | 33-34 | 35-36 | .. | 64 | 65-68 | ..
//! ```
//! Every power of two is cut into 16 buckets of one width (log-linear, as in HdrHistogram), so a bucket is
//! at most a sixteenth as wide as what it counts. Its upper end belongs to it, so that the powers of two,
//! at which Prometheus is told, are exact.

use std::fmt;
use std::time::Duration;

use crate::clock::Instant;
use crate::counter::Counter;

/// Buckets of one power of two, as a power of two.
const CUTS_BITS: u32 = 4;
const CUTS: usize = 1 << CUTS_BITS;
/// What takes longer counts as this long: 2^40 ns are 18 minutes.
const NANOS_BITS: u32 = 40;
const BUCKETS: usize = CUTS * (NANOS_BITS - CUTS_BITS + 1) as usize;

/// A histogram that one thread writes and any thread reads.
///
/// Cost: three plain stores a value, no locked instruction; 4.7 KiB.
pub(crate) struct Recorder {
    buckets: Box<[Counter]>,
    sum: Counter,
    max: Counter,
}

impl Recorder {
    /// Counts the time from one moment to a later one.
    #[inline]
    pub(crate) fn record(&self, from: Instant, to: Instant) {
        self.record_nanos(to.as_nanos().saturating_sub(from.as_nanos()));
    }

    #[inline]
    pub(crate) fn record_nanos(&self, nanos: u64) {
        self.buckets[bucket_of(nanos)].add(1);
        self.sum.add(nanos);
        if nanos > self.max.value() {
            self.max.set(nanos);
        }
    }

    /// What has been recorded so far.
    pub(crate) fn read(&self) -> Histogram {
        let counts = self.buckets.iter().map(Counter::value).collect();
        Histogram {
            counts,
            sum: self.sum.value(),
            max: self.max.value(),
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Counter::default()).collect(),
            sum: Counter::default(),
            max: Counter::default(),
        }
    }
}

/// How long something took, as counted so far; part of [`Metrics`](crate::Metrics).
///
/// Threads: any, it is a copy. Cost: 4.7 KiB. Limit: what took longer than 18 minutes counts as that long,
/// but in [`max`](Self::max) and [`sum`](Self::sum).
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64]>,
    sum: u64,
    max: u64,
}

impl Histogram {
    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The longest, exactly.
    #[must_use]
    pub const fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The time that a share `q` of them did not exceed, such as 0.99; zero when there are none.
    ///
    /// Never below the true one, and above it by at most a sixteenth of it. Outside of 0 to 1 it is held to
    /// that.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank between 1 and the count"
    )]
    pub fn quantile(&self, q: f64) -> Duration {
        let count = self.count();
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (bucket, in_it) in self.counts.iter().enumerate() {
            seen += in_it;
            if seen >= rank {
                return Duration::from_nanos(last_of(bucket).min(self.max));
            }
        }
        self.max()
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// The buckets that are not empty: the longest time each counts, in nanoseconds, and its count.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let counted = self.counts.iter().copied().enumerate();
        counted
            .filter(|(_, count)| *count > 0)
            .map(|(bucket, count)| (last_of(bucket), count))
    }

    /// How many took at most 2^`bits` nanoseconds; exact.
    pub(crate) fn count_to(&self, bits: u32) -> u64 {
        let end = bucket_of(1 << bits) + 1;
        self.counts[..end].iter().sum()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into(),
            sum: 0,
            max: 0,
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max())
            .finish()
    }
}

/// The bucket that counts so many nanoseconds.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    // One less, so that the upper end of a bucket belongs to it.
    let value = nanos.saturating_sub(1).min((1 << NANOS_BITS) - 1);
    let power = value.checked_ilog2().unwrap_or(0).max(CUTS_BITS);
    let shift = power - CUTS_BITS;
    // The first sixteen stand for themselves; every power beyond them has sixteen of its own.
    (shift as usize) * CUTS + small(value >> shift)
}

/// The longest time that a bucket counts, in nanoseconds.
fn last_of(bucket: usize) -> u64 {
    let shift = (bucket / CUTS).saturating_sub(1);
    let cut = bucket - shift * CUTS;
    (cut as u64 + 1) << shift
}

#[expect(clippy::cast_possible_truncation, reason = "below 32")]
const fn small(value: u64) -> usize {
    value as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(nanos: &[u64]) -> Histogram {
        let recorder = Recorder::default();
        for &nanos in nanos {
            recorder.record_nanos(nanos);
        }
        recorder.read()
    }

    #[test]
    fn every_bucket_begins_where_the_one_before_it_ends() {
        for bucket in 0..BUCKETS - 1 {
            let last = last_of(bucket);
            assert_eq!(bucket_of(last), bucket, "{last}");
            assert_eq!(bucket_of(last + 1), bucket + 1, "{last}");
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(last_of(BUCKETS - 1), 1 << NANOS_BITS);
    }

    #[test]
    fn nothing_counted_has_quantiles_of_zero() {
        assert_eq!(of(&[]).quantile(0.5), Duration::ZERO);
        assert_eq!(of(&[]), Histogram::default());
    }

    #[test]
    fn counts_up_to_a_power_of_two_are_exact() {
        let histogram = of(&[1, 1_024, 1_025, 2_048, 1 << 39]);
        assert_eq!(histogram.count_to(10), 2);
        assert_eq!(histogram.count_to(11), 4);
        assert_eq!(histogram.count_to(NANOS_BITS), 5);
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_low_and_at_most_a_sixteenth_high(
            mut times in prop::collection::vec(0..1_u64 << 39, 1..200),
            q in 0.0..=1.0_f64,
        ) {
            let told = u64::try_from(of(&times).quantile(q).as_nanos()).expect("short");
            times.sort_unstable();
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss,
                reason = "a place in a short list")]
            let rank = ((q * times.len() as f64).ceil() as usize).max(1);
            let real = times[rank - 1];
            prop_assert!(told >= real && told <= real + real / 16 + 1, "{told} for {real}");
        }

        #[test]
        fn merged_histograms_are_those_of_both(
            one in prop::collection::vec(any::<u32>().prop_map(u64::from), 0..50),
            other in prop::collection::vec(any::<u32>().prop_map(u64::from), 0..50),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(merged, of(&[one, other].concat()));
        }
    }
}
