//! What was measured: a tally for each worker, so that no two threads meet at a lock.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart from longer ones, in nanoseconds: two minutes.
const LATENCY_MAX: u64 = 120_000_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

type Nanos = Histogram<u64>;

/// What the connections of one worker have measured; on cache lines of its own.
#[repr(align(128))]
pub(super) struct Tally {
    messages: u64,
    latencies: Nanos,
}

impl Tally {
    /// Counts messages that have come back.
    pub(super) fn count(&mut self, messages: usize) {
        self.messages += messages as u64;
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanos);
    }
}

/// A tally for each worker. Only that worker locks it while messages flow.
pub(super) struct Tallies(Vec<Mutex<Tally>>);

impl Tallies {
    pub(super) fn new(workers: usize) -> Self {
        let tally = || Tally {
            messages: 0,
            latencies: no_latencies(),
        };
        Self((0..workers).map(|_| Mutex::new(tally())).collect())
    }

    pub(super) fn of_worker(&self, worker: usize) -> MutexGuard<'_, Tally> {
        lock(&self.0[worker])
    }

    /// Messages that have come back so far.
    pub(super) fn messages(&self) -> u64 {
        self.0.iter().map(|tally| lock(tally).messages).sum()
    }

    /// How long they took.
    pub(super) fn latencies(&self) -> Nanos {
        let mut sum = no_latencies();
        self.0
            .iter()
            .for_each(|tally| sum += &lock(tally).latencies);
        sum
    }
}

fn no_latencies() -> Nanos {
    Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS).expect("the bounds are in order")
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The figures of one run.
pub(crate) struct Report {
    pub(super) messages: u64,
    pub(super) elapsed: Duration,
    /// Bytes of one message, without its length.
    pub(super) size: usize,
    pub(super) latencies: Nanos,
}

impl Report {
    fn messages_per_second(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    /// Millions of bytes a second, in each direction.
    fn megabytes_per_second(&self) -> f64 {
        self.messages_per_second() * self.size as f64 / 1e6
    }

    /// p50, p99, p99.9 and the maximum, in microseconds.
    fn micros(&self) -> [f64; 4] {
        let at = |quantile| self.latencies.value_at_quantile(quantile);
        [at(0.5), at(0.99), at(0.999), self.latencies.max()].map(|nanos| nanos as f64 / 1e3)
    }

    /// The members of a JSON object, without its braces.
    pub(crate) fn json(&self) -> String {
        let [p50, p99, p999, max] = self.micros();
        format!(
            "\"seconds\":{:.3},\"messages\":{},\"messages_per_second\":{:.1},\
             \"megabytes_per_second\":{:.3},\"p50_us\":{p50:.1},\"p99_us\":{p99:.1},\
             \"p999_us\":{p999:.1},\"max_us\":{max:.1}",
            self.elapsed.as_secs_f64(),
            self.messages,
            self.messages_per_second(),
            self.megabytes_per_second(),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999, max] = self.micros();
        writeln!(f, "{:>12.0} messages/s", self.messages_per_second())?;
        writeln!(f, "{:>12.1} MB/s each way", self.megabytes_per_second())?;
        writeln!(f, "{p50:>12.1} us p50")?;
        writeln!(f, "{p99:>12.1} us p99")?;
        writeln!(f, "{p999:>12.1} us p99.9")?;
        write!(f, "{max:>12.1} us max")
    }
}
