//! A clock that goes at its own pace.

use std::time::Duration;

use crate::clock::Instant;

const MILLION: u128 = 1_000_000;

/// How a node's time follows from the world's.
///
/// Invariant: both directions round so that a node that is woken at [`world_at`](Self::world_at) of one of its
/// moments finds that the moment has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drift {
    world_base: Instant,
    node_base: Instant,
    /// Millionths of a second that the node counts for each of the world's.
    rate: u128,
}

impl Drift {
    /// A clock that shows `node` while the world's shows `world`, and is fast by so many millionths.
    pub(super) fn new(world: Instant, node: Instant, fast_by: i32) -> Self {
        let rate = i64::from(fast_by) + 1_000_000;
        Self {
            world_base: world,
            node_base: node,
            rate: u128::try_from(rate.max(1)).expect("positive"),
        }
    }

    /// What the node's clock shows at a moment of the world's.
    pub(super) fn node_at(&self, world: Instant) -> Instant {
        let passed = world.since(self.world_base).as_nanos() * self.rate / MILLION;
        self.node_base + nanos(passed)
    }

    /// The first moment of the world's at which the node's clock shows at least `node`.
    pub(super) fn world_at(&self, node: Instant) -> Instant {
        let passed = (node.since(self.node_base).as_nanos() * MILLION).div_ceil(self.rate);
        self.world_base + nanos(passed)
    }
}

fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn whoever_waits_for_a_moment_does_not_wake_before_it() {
        let mut random = Random::new(3);
        for _ in 0..10_000 {
            let fast_by = i32::try_from(random.below(200_001)).expect("small") - 100_000;
            let at = |nanos: usize| Instant::from_nanos(nanos as u64);
            let drift = Drift::new(
                at(random.below(1 << 40)),
                at(random.below(1 << 40)),
                fast_by,
            );
            let moment = drift.node_base + Duration::from_nanos(random.below(1 << 40) as u64);
            let world = drift.world_at(moment);
            assert!(drift.node_at(world) >= moment, "{drift:?} {moment:?}");
            let before = Instant::from_nanos(world.as_nanos().saturating_sub(2));
            assert!(drift.node_at(before) <= moment, "{drift:?} {moment:?}");
        }
    }

    #[test]
    fn a_fast_clock_is_ahead_and_a_slow_one_behind() {
        let second = Instant::START + Duration::from_secs(1);
        let shows = |fast_by| Drift::new(Instant::START, Instant::START, fast_by).node_at(second);
        assert_eq!(shows(100_000).as_nanos(), 1_100_000_000);
        assert_eq!(shows(0), second);
        assert_eq!(shows(-100_000).as_nanos(), 900_000_000);
    }
}
