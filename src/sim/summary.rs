//! What many worlds have been through.

use std::fmt;
use std::time::Duration;

use super::World;
use super::faults::FaultsFired;
use crate::clock::Instant;
use crate::error::CloseReason;
use crate::random::mix;

/// What came of a run over many seeds; printed, it is a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Worlds that were run.
    pub seeds: u64,
    /// The fewest nodes of a world.
    pub nodes_least: usize,
    /// Messages decoded, in all worlds.
    pub messages: u64,
    /// The fewest in a world.
    pub messages_least: u64,
    /// What went wrong, and how often.
    pub faults: FaultsFired,
    /// Virtual time that has passed.
    pub virtual_time: Duration,
    /// Time that has passed for those who waited for it.
    pub elapsed: Duration,
    /// Stands for all that has happened: two runs of the same seeds with the same hash were the same.
    pub trace_hash: u64,
    closes: [u64; CloseReason::ALL.len()],
}

impl Summary {
    /// Connections that ended for `reason`.
    #[must_use]
    pub fn closes(&self, reason: CloseReason) -> u64 {
        self.closes[reason as usize]
    }

    /// Worlds a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    pub fn seeds_per_second(&self) -> f64 {
        self.seeds as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// What one world has been through.
    pub(super) fn of(world: &World) -> Self {
        let stats = world.stats();
        Self {
            seeds: 1,
            nodes_least: world.nodes(),
            messages: stats.messages_in,
            messages_least: stats.messages_in,
            faults: world.faults_fired(),
            virtual_time: world.now().since(Instant::START),
            elapsed: Duration::ZERO,
            trace_hash: mix(world.trace_hash() ^ mix(world.seed())),
            closes: CloseReason::ALL.map(|reason| stats.closes(reason)),
        }
    }

    /// Adds what other worlds have been through, in any order.
    pub(super) fn add(&mut self, other: &Self) {
        if self.seeds == 0 {
            // There is no least of nothing.
            return self.clone_from(other);
        }
        if other.seeds == 0 {
            return;
        }
        self.nodes_least = self.nodes_least.min(other.nodes_least);
        self.messages_least = self.messages_least.min(other.messages_least);
        self.seeds += other.seeds;
        self.messages += other.messages;
        self.faults.add(&other.faults);
        self.virtual_time += other.virtual_time;
        self.trace_hash ^= other.trace_hash;
        for (sum, count) in self.closes.iter_mut().zip(other.closes) {
            *sum += count;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, hours) = (
            self.elapsed.as_secs_f64(),
            self.virtual_time.as_secs_f64() / 3600.0,
        );
        let rate = self.seeds_per_second();
        writeln!(
            f,
            "{} worlds in {seconds:.1} s ({rate:.0} a second): {hours:.1} hours, {} messages, trace {:016x}",
            self.seeds, self.messages, self.trace_hash
        )?;
        writeln!(f, "{:<16}{:>12}", "fault", "fired")?;
        for (fault, count) in self.faults.iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "{fault:<16}{count:>12}")?;
        }
        writeln!(f, "{:<20}{:>8}", "connections ended by", "")?;
        for reason in CloseReason::ALL {
            if self.closes(reason) > 0 {
                writeln!(f, "{:<16}{:>12}", reason.name(), self.closes(reason))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Faults;

    #[test]
    fn a_sum_keeps_the_least_and_does_not_mind_the_order() {
        let worlds = [2, 3, 1].map(|nodes| {
            let world = World::with_faults(nodes, &Faults::all());
            for node in 0..nodes {
                let _ = world.node(&node.to_string());
            }
            Summary::of(&world)
        });
        let sum = |order: [usize; 3]| {
            let mut sum = Summary::default();
            for world in order {
                sum.add(&worlds[world]);
            }
            sum.add(&Summary::default());
            sum
        };
        assert_eq!(sum([0, 1, 2]), sum([2, 0, 1]));
        let sum = sum([0, 1, 2]);
        assert_eq!((sum.seeds, sum.nodes_least), (3, 1));
        assert!(sum.to_string().starts_with("3 worlds in 0.0 s"), "{sum}");
    }
}
