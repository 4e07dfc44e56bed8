//! One test in many worlds.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::World;

/// The environment variable that names the one seed, or the range of seeds, to run instead.
const VARIABLE: &str = "SEED";

/// Runs a test under one seed after the other, and tells which one failed.
///
/// ```
/// use netwheel::sim::Runs;
///
/// Runs::seeds(0..100).run(|world| {
///     world.run_until_idle();
///     assert_eq!(world.now(), netwheel::Instant::START, "nothing happens in an empty world");
/// });
/// ```
///
/// A failure ends with the command to repeat it, such as `SEED=731 cargo test every_order_arrives`. The
/// variable takes a range as well, for a longer search than the one that is worth the time every day:
/// `SEED=0..1000000 cargo test --release`.
#[derive(Clone, Debug)]
pub struct Runs(Range<u64>);

impl Runs {
    /// Under these seeds, unless the environment says otherwise.
    ///
    /// # Panics
    ///
    /// When the variable `SEED` is set to something that is no number and no range.
    #[must_use]
    pub fn seeds(seeds: Range<u64>) -> Self {
        match std::env::var(VARIABLE) {
            Ok(text) => {
                Self(parse(&text).unwrap_or_else(|| {
                    panic!("{VARIABLE}={text:?} is no seed; write 731 or 0..1000")
                }))
            }
            Err(_) => Self(seeds),
        }
    }

    /// Runs `test` in one world after the other.
    ///
    /// # Panics
    ///
    /// When the test does, with the seed.
    pub fn run(self, test: impl Fn(&World)) {
        for seed in self.0 {
            if catch_unwind(AssertUnwindSafe(|| test(&World::new(seed)))).is_err() {
                let thread = std::thread::current();
                let name = thread.name().unwrap_or_default();
                panic!(
                    "failed under seed {seed}; repeat it with: {VARIABLE}={seed} cargo test {name}"
                );
            }
        }
    }
}

fn parse(text: &str) -> Option<Range<u64>> {
    if let Some((first, end)) = text.split_once("..") {
        return Some(first.parse().ok()?..end.parse().ok()?);
    }
    let seed = text.parse().ok()?;
    Some(seed..seed + 1)
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
    fn a_failure_names_its_seed() {
        let failure = catch_unwind(|| {
            Runs(5..9).run(|world| assert!(world.seed() < 7));
        });
        let text = failure.expect_err("seed 7 fails");
        let text = text.downcast_ref::<String>().expect("a formatted panic");
        assert!(
            text.starts_with("failed under seed 7; repeat it with: SEED=7 "),
            "{text}"
        );
    }
}
