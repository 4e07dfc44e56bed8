//! Servers and clients in simulated worlds: each test runs under many seeds, each of which is another
//! network, kernel and scheduler. `NETWHEEL_SEED=0..100000 cargo test --release --test sim` searches further.
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod crowd;
mod datagrams;
mod echo;
mod groups;
mod nodes;
#[cfg(netwheel_planted)]
mod planted;
mod storm;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use netwheel::sim::Runs;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Chance of a test's own (a linear congruence; Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Bytes {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// What callbacks write and a test reads.
type Shared<T> = Arc<Mutex<T>>;

fn take<T: Default>(shared: &Shared<T>) -> T {
    std::mem::take(&mut *shared.lock().unwrap())
}
