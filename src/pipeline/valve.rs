//! What lets the bytes of a connection pass: counts them, and holds them back where they are too fast.
//!
//! Each [`Bucket`] may be one connection's or shared by many. Bytes pay when they have passed: the bucket knows
//! until when its rate is used up, and whoever has paid waits until then. So no order of asking starves
//! anybody, the average is exact however many share a bucket, and what is read or written is one piece of at
//! most [`PIECE_BYTES_MAX`] too much. Nothing waits on a thread: reading stops, or writing does, and the
//! connection's timer lets them go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Instant;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Time that a rate not used is kept for later: a short pause costs no throughput.
const SAVED: Duration = Duration::from_millis(100);
/// A piece is what its rate lets pass in this time, so that shaped traffic is smooth.
const PIECES_PER_SECOND: u64 = 50;
const PIECE_BYTES_MIN: u64 = 1024;
const PIECE_BYTES_MAX: u64 = 64 * 1024;

/// Bytes that have passed, and how fast they may.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    bytes: AtomicU64,
    /// Bytes a second; zero means any number.
    rate: AtomicU64,
    /// Until when the rate is used up, on the reactor's clock (the cell rate algorithm of ATM, I.371).
    used_until: AtomicU64,
}

impl Bucket {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn rate(&self) -> Option<u64> {
        match self.rate.load(Ordering::Relaxed) {
            0 => None,
            rate => Some(rate),
        }
    }

    pub(crate) fn set_rate(&self, bytes_per_second: Option<u64>) {
        let rate = bytes_per_second.map_or(0, |rate| rate.max(1));
        self.rate.store(rate, Ordering::Relaxed);
        // What was used up at the old rate says nothing about the new one.
        self.used_until.store(0, Ordering::Relaxed);
    }

    /// Bytes that may pass at once.
    fn piece(&self) -> u64 {
        self.rate().map_or(u64::MAX, |rate| {
            (rate / PIECES_PER_SECOND).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
        })
    }

    /// So many bytes have passed; answers with the moment at which the next may.
    fn pay(&self, now: Instant, bytes: u64) -> Instant {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let Some(rate) = self.rate() else { return now };
        let cost = u128::from(bytes) * u128::from(NANOS_PER_SECOND) / u128::from(rate);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let saved = u64::try_from(SAVED.as_nanos()).expect("a short time");
        let floor = now.as_nanos().saturating_sub(saved);
        let add = |used: u64| used.max(floor).saturating_add(cost);
        let before = self
            .used_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(add(used)))
            .expect("always some");
        Instant::from_nanos(add(before))
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// What the bytes of one connection pay to, both ways.
#[derive(Debug, Default)]
pub(crate) struct Valve {
    tolls: Vec<Toll>,
}

#[derive(Debug)]
struct Toll {
    /// The stage that asked for it.
    owner: u32,
    way: Way,
    bucket: Arc<Bucket>,
}

impl Valve {
    pub(crate) fn add(&mut self, owner: u32, way: Way, bucket: &Arc<Bucket>) {
        self.tolls.push(Toll {
            owner,
            way,
            bucket: Arc::clone(bucket),
        });
    }

    /// Takes out what a stage has asked for; `true` where that was something.
    pub(crate) fn remove(&mut self, owner: u32) -> bool {
        let before = self.tolls.len();
        self.tolls.retain(|toll| toll.owner != owner);
        self.tolls.len() < before
    }

    /// Bytes that may pass at once.
    pub(crate) fn piece(&self, way: Way) -> usize {
        let pieces = self.of(way).map(Bucket::piece);
        usize::try_from(pieces.min().unwrap_or(u64::MAX)).unwrap_or(usize::MAX)
    }

    /// So many bytes have passed; answers with the moment at which the next may, where that is to come.
    pub(crate) fn pay(&self, way: Way, now: Instant, bytes: usize) -> Option<Instant> {
        let moments = self.of(way).map(|bucket| bucket.pay(now, bytes as u64));
        moments.max().filter(|at| *at > now)
    }

    fn of(&self, way: Way) -> impl Iterator<Item = &Bucket> {
        let tolls = self.tolls.iter().filter(move |toll| toll.way == way);
        tolls.map(|toll| &*toll.bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(rate: u64) -> Bucket {
        let bucket = Bucket::default();
        bucket.set_rate(Some(rate));
        bucket
    }

    #[test]
    fn who_pays_waits_as_long_as_the_rate_says() {
        let bucket = bucket(1_000);
        let mut now = Instant::START + Duration::from_secs(10);
        let start = now;
        for _ in 0..50 {
            now = bucket.pay(now, 1_000).max(now);
        }
        // 50 seconds' worth, less what was saved before.
        assert_eq!(now.since(start), Duration::from_millis(49_900));
        assert_eq!(bucket.bytes(), 50_000);
    }

    #[test]
    fn many_that_share_a_bucket_get_the_rate_together() {
        let bucket = bucket(1_000_000);
        let start = Instant::START + Duration::from_secs(1);
        let mut ready = [start; 10];
        let mut passed = 0;
        while let Some(at) = ready.iter_mut().min()
            && at.since(start) < Duration::from_secs(10)
        {
            *at = bucket.pay(*at, 10_000).max(*at);
            passed += 10_000;
        }
        assert!((10_000_000..10_400_000).contains(&passed), "{passed}");
    }

    #[test]
    fn without_a_rate_bytes_are_counted_and_nobody_waits() {
        let bucket = Bucket::default();
        let now = Instant::START + Duration::from_secs(1);
        assert_eq!(bucket.pay(now, u64::MAX / 2), now);
        assert_eq!((bucket.bytes(), bucket.rate()), (u64::MAX / 2, None));
        assert_eq!(bucket.piece(), u64::MAX);
    }

    #[test]
    fn the_slowest_bucket_decides_each_way_for_itself() {
        let (slow, fast) = (Arc::new(bucket(100)), Arc::new(bucket(10_000_000)));
        let mut valve = Valve::default();
        valve.add(1, Way::In, &fast);
        valve.add(2, Way::In, &slow);
        valve.add(2, Way::Out, &fast);
        assert_eq!(valve.piece(Way::In), 1_024);
        assert_eq!(valve.piece(Way::Out), 65_536);
        let now = Instant::START + Duration::from_secs(1);
        assert_eq!(valve.pay(Way::Out, now, 1_000), None);
        let waits = valve.pay(Way::In, now, 110).expect("beyond what was saved");
        assert_eq!(waits.since(now), Duration::from_secs(1));
        assert!(valve.remove(2) && !valve.remove(2));
        assert_eq!(valve.pay(Way::In, now, 1_000), None);
    }
}
