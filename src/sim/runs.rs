//! One test in many worlds.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::faults::Faults;
use super::progress::Progress;
use super::replay::replay;
use super::{Summary, World};
use crate::clock::{Clock, Instant};
use crate::sync::lock;

/// The environment variable that names the one seed, or the range of seeds, to run instead.
pub(super) const VARIABLE: &str = "NETWHEEL_SEED";

/// Runs a test under one seed after the other, and tells which one failed.
///
/// ```
/// use netwheel::sim::Runs;
///
/// let summary = Runs::seeds(0..100).run(|world| {
///     world.run_until_idle();
///     assert_eq!(world.now(), netwheel::Instant::START, "nothing happens in an empty world");
/// });
/// assert_eq!(summary.seeds, 100);
/// ```
///
/// A failure ends with the command to repeat it, such as
/// `NETWHEEL_SEED=731 cargo test --test shop every_order_arrives`. The
/// variable takes a range as well, for a longer search than the one that is worth the time every day:
/// `NETWHEEL_SEED=0..1000000 cargo test --release`. Where stderr is a terminal, a bar shows how far it is.
#[derive(Clone, Debug)]
pub struct Runs {
    seeds: Range<u64>,
    faults: Faults,
    threads: usize,
}

impl Runs {
    /// Under these seeds, unless the environment says otherwise.
    ///
    /// # Panics
    ///
    /// When the variable `NETWHEEL_SEED` is set to something that is no number and no range.
    #[must_use]
    pub fn seeds(seeds: Range<u64>) -> Self {
        let seeds = match std::env::var(VARIABLE) {
            Ok(text) => parse(&text)
                .unwrap_or_else(|| panic!("{VARIABLE}={text:?} is no seed; write 731 or 0..1000")),
            Err(_) => seeds,
        };
        Self::exactly(seeds)
    }

    pub(super) fn exactly(seeds: Range<u64>) -> Self {
        Self {
            seeds,
            faults: Faults::gentle(),
            threads: 1,
        }
    }

    /// The faults of each world; by default [`Faults::gentle`].
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// How many threads share the seeds; by default one, since a test has others beside it. Each world stays
    /// on its thread, and which one that is changes nothing.
    ///
    /// # Panics
    ///
    /// For zero.
    #[must_use]
    pub fn threads(mut self, count: usize) -> Self {
        assert!(count > 0, "somebody has to do it");
        self.threads = count;
        self
    }

    /// Runs `test` in one world after the other; answers what they have been through.
    ///
    /// # Panics
    ///
    /// When the test does, with the least seed under which it did.
    pub fn run(self, test: impl Fn(&World) + Sync) -> Summary {
        let clock = Clock::system();
        let shared = Shared {
            next: AtomicU64::new(self.seeds.start),
            summary: Mutex::default(),
            failed: AtomicU64::new(u64::MAX),
            progress: Progress::new(&self.seeds),
        };
        let work = || self.work(&shared, &test);
        if self.threads == 1 {
            work();
        } else {
            self.work_on_threads(&work);
        }
        shared.progress.end();
        let failed = shared.failed.into_inner();
        assert!(
            failed == u64::MAX,
            "failed under seed {failed}; repeat it with: {}",
            replay(failed)
        );
        let mut summary = lock(&shared.summary).clone();
        summary.elapsed = clock.now().since(Instant::START);
        summary
    }

    fn work_on_threads(&self, work: &(impl Fn() + Sync)) {
        // Named as this one, so that what they print is told apart.
        let name = thread::current().name().unwrap_or("sim").to_owned();
        thread::scope(|scope| {
            let start = |_| {
                let builder = thread::Builder::new().name(name.clone());
                let started = builder.spawn_scoped(scope, work);
                started.expect("the system starts threads")
            };
            let threads: Vec<_> = (0..self.threads).map(start).collect();
            for thread in threads {
                if let Err(panic) = thread.join() {
                    resume_unwind(panic);
                }
            }
        });
    }

    /// Runs one seed after the other, until one has failed; those below it are run to their ends.
    fn work(&self, shared: &Shared, test: &impl Fn(&World)) {
        let mut sum = Summary::default();
        while shared.failed.load(Ordering::Relaxed) == u64::MAX {
            let seed = shared.next.fetch_add(1, Ordering::Relaxed);
            if !self.seeds.contains(&seed) {
                break;
            }
            match self.run_one(seed, test) {
                Some(summary) => sum.add(&summary),
                None => drop(shared.failed.fetch_min(seed, Ordering::Relaxed)),
            }
            shared.progress.step();
        }
        lock(&shared.summary).add(&sum);
    }

    /// `None` when it fails.
    fn run_one(&self, seed: u64, test: &impl Fn(&World)) -> Option<Summary> {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let world = World::with_faults(seed, &self.faults);
            test(&world);
            Summary::of(&world)
        }));
        outcome.ok()
    }
}

/// What the threads of a run share.
struct Shared {
    next: AtomicU64,
    summary: Mutex<Summary>,
    /// The least seed that has failed; the highest number while none has.
    failed: AtomicU64,
    progress: Progress,
}

fn parse(text: &str) -> Option<Range<u64>> {
    if let Some((first, end)) = text.split_once("..") {
        return Some(first.parse().ok()?..end.parse().ok()?);
    }
    let seed: u64 = text.parse().ok()?;
    Some(seed..seed.checked_add(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_as_they_are_told() {
        assert_eq!(parse("731"), Some(731..732));
        assert_eq!(parse("5..9"), Some(5..9));
        assert_eq!(parse("many"), None);
        assert_eq!(parse("5.."), None);
    }

    #[test]
    fn a_failure_names_its_least_seed_on_any_number_of_threads() {
        for threads in [1, 3] {
            let failure = catch_unwind(|| {
                let runs = Runs::exactly(5..90).threads(threads);
                runs.run(|world| assert!(world.seed() < 7))
            });
            let text = failure.expect_err("seed 7 fails");
            let text = text.downcast_ref::<String>().expect("a formatted panic");
            assert!(
                text.starts_with("failed under seed 7; repeat it with: NETWHEEL_SEED=7 cargo "),
                "{text}"
            );
        }
    }

    #[test]
    fn threads_share_the_seeds_and_change_nothing() {
        let run = |threads| {
            let runs = Runs::exactly(0..40).threads(threads).faults(Faults::all());
            let summary = runs.run(|world| drop(world.node("a")));
            (summary.seeds, summary.trace_hash, summary.faults)
        };
        assert_eq!(run(1), run(4));
        assert_eq!(run(2).0, 40);
    }
}
