//! Numbers that name things: a counter for one process, and snowflakes for many.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::sync::lock;

/// Numbers from 1 on, each of which is given once.
///
/// ```
/// let ids = netwheel::link::Counter::new();
/// assert_eq!((ids.next(), ids.next()), (1, 2));
/// ```
///
/// Threads: any. Cost: one atomic addition. Limit: 2^64 numbers.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter whose first number is 1.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

/// How the 63 bits of a snowflake are shared out, from the highest to the lowest.
///
/// ```text
///   0 | time since the epoch | node | sequence within one unit of time | tail, a constant
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnowflakeLayout {
    epoch: Duration,
    unit: Duration,
    node_bits: u32,
    sequence_bits: u32,
    tail_bits: u32,
}

impl SnowflakeLayout {
    /// Milliseconds since 2017-01-01 (UTC), 13 bits of node, 10 of sequence: 1,024,000 ids a second and node,
    /// for 34 years.
    pub const MILLIS: Self = Self {
        epoch: Duration::from_millis(1_483_200_000_000),
        unit: Duration::from_millis(1),
        node_bits: 13,
        sequence_bits: 10,
        tail_bits: 0,
    };

    /// Seconds since 2015-01-01 (Beijing time), 5 bits of node, 16 of sequence, 10 of shard: the request ids of
    /// older Caviar peers.
    pub const SECONDS: Self = Self {
        epoch: Duration::from_secs(1_420_041_600),
        unit: Duration::from_secs(1),
        node_bits: 5,
        sequence_bits: 16,
        tail_bits: 10,
    };

    const fn time_bits(self) -> u32 {
        63 - self.node_bits - self.sequence_bits - self.tail_bits
    }
}

/// How far the clock may step back, and be waited for; further back is an error.
const STEP_BACK_MAX: Duration = Duration::from_millis(10);

/// Ids that grow with time and are unique over all nodes, as long as no two nodes share a number.
///
/// It reads no clock: the caller gives the time since 1970, which may stand still or step back a little. When
/// the sequence of a unit of time is used up, ids are taken from the next unit, up to 10 ms ahead; then the
/// caller is told how long to wait.
///
/// ```
/// use std::time::Duration;
/// use netwheel::link::{Snowflake, SnowflakeLayout};
///
/// let ids = Snowflake::new(SnowflakeLayout::MILLIS, 7)?;
/// let now = Duration::from_millis(1_483_200_000_005);
/// assert_eq!(ids.next(now)?, (5 << 23) | (7 << 10));
/// assert_eq!(ids.next(now)?, (5 << 23) | (7 << 10) | 1);
/// # Ok::<(), netwheel::Error>(())
/// ```
///
/// Threads: any. Cost: a lock held for a few instructions.
pub struct Snowflake {
    layout: SnowflakeLayout,
    node: u64,
    /// The unit of time of the last id, and its sequence.
    last: Mutex<(u64, u64)>,
}

impl Snowflake {
    /// A generator for one node.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when the node's number has more bits than the layout gives it.
    pub fn new(layout: SnowflakeLayout, node: u64) -> Result<Self, Error> {
        if node >> layout.node_bits != 0 {
            let text = format!(
                "node {node} does not fit into {} bits; give it a number below {}",
                layout.node_bits,
                1_u64 << layout.node_bits
            );
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(Self {
            layout,
            node,
            last: Mutex::new((0, 0)),
        })
    }

    /// The next id, at a moment that is given as the time since 1970-01-01 (UTC).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OverLimit`] when the ids of this moment are used up, or the clock has stepped back by more
    /// than 10 ms: try again later. [`ErrorKind::Config`] before the epoch of the layout and after its end.
    pub fn next(&self, now: Duration) -> Result<u64, Error> {
        let layout = self.layout;
        let since = now
            .checked_sub(layout.epoch)
            .ok_or_else(|| out_of_range(now))?;
        let unit = layout.unit.as_nanos();
        let time = u64::try_from(since.as_nanos() / unit).map_err(|_| out_of_range(now))?;
        // At most so far ahead of the clock, be it that it stepped back or that a sequence was used up.
        let ahead_max = u64::try_from(STEP_BACK_MAX.as_nanos().div_ceil(unit)).unwrap_or(1);
        let mut last = lock(&self.last);
        let (mut at, mut sequence) = if time > last.0 {
            (time, 0)
        } else {
            (last.0, last.1 + 1)
        };
        if sequence >> layout.sequence_bits != 0 {
            (at, sequence) = (at + 1, 0);
        }
        if at - time.min(at) > ahead_max {
            let text = format!(
                "the clock is behind the last id ({now:?}), or all ids of it are used up; wait"
            );
            return Err(Error::new(ErrorKind::OverLimit, text));
        }
        if at >> layout.time_bits() != 0 {
            return Err(out_of_range(now));
        }
        *last = (at, sequence);
        let high = at << layout.node_bits | self.node;
        Ok((high << layout.sequence_bits | sequence) << layout.tail_bits)
    }
}

fn out_of_range(now: Duration) -> Error {
    let text = format!("{now:?} since 1970 lies outside the time that the ids can name");
    Error::new(ErrorKind::Config, text)
}

impl fmt::Debug for Snowflake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snowflake")
            .field("layout", &self.layout)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_millis(1_483_200_000_000);

    fn millis(count: u64) -> Duration {
        START + Duration::from_millis(count)
    }

    #[test]
    fn ids_grow_and_are_unique_however_the_clock_moves() {
        let ids = Snowflake::new(SnowflakeLayout::MILLIS, 3).expect("a node");
        let mut last = 0;
        let mut refused = 0;
        for round in 0..20_000_u64 {
            // Runs ahead, stands still, and steps back now and then.
            let now = millis(20 + round / 900 - 8 * u64::from(round % 1000 == 0));
            match ids.next(now) {
                Ok(id) => {
                    assert!(id > last, "{id} after {last}");
                    assert_eq!(id >> 10 & 0x1fff, 3);
                    last = id;
                }
                Err(_) => refused += 1,
            }
        }
        assert_eq!(refused, 0);
    }

    #[test]
    fn a_clock_far_behind_and_a_used_up_moment_are_errors() {
        let ids = Snowflake::new(SnowflakeLayout::MILLIS, 0).expect("a node");
        ids.next(millis(100)).expect("the first");
        let error = ids.next(millis(80)).expect_err("20 ms back");
        assert_eq!(error.kind(), ErrorKind::OverLimit);
        let given = (0..20_000).filter(|_| ids.next(millis(100)).is_ok());
        assert_eq!(given.count(), 11 * 1024 - 1, "this moment, and ten ahead");
        assert!(ids.next(millis(120)).is_ok());
    }

    #[test]
    fn times_and_nodes_that_do_not_fit_are_refused() {
        assert!(Snowflake::new(SnowflakeLayout::SECONDS, 32).is_err());
        let ids = Snowflake::new(SnowflakeLayout::SECONDS, 31).expect("a node");
        assert!(ids.next(Duration::from_secs(1)).is_err());
        let now = Duration::from_secs(1_420_041_601);
        assert_eq!(ids.next(now).expect("a second in"), (1 << 31) | (31 << 26));
    }
}
