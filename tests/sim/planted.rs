//! Bugs that were planted on purpose, each of which the storm must find.
//!
//! ```text
//! RUSTFLAGS="--cfg netwheel_planted" cargo test --release --test sim planted -- --nocapture
//! ```

use std::panic::catch_unwind;

use netwheel::planted::{Bug, plant};
use netwheel::sim::{Faults, Runs};

use crate::storm::storm;

/// Within so many seeds each is found.
const SEEDS: u64 = 1000;

/// The first seed that finds a bug.
fn first_seed(bug: Option<Bug>, seeds: u64) -> Option<u64> {
    (0..seeds).find(|&seed| {
        let found = catch_unwind(|| {
            plant(bug);
            let one = Runs::seeds(seed..seed + 1).faults(Faults::all());
            one.run(storm);
        });
        plant(None);
        found.is_err()
    })
}

#[test]
#[expect(clippy::print_stdout, reason = "where each was found")]
fn every_planted_bug_is_found() {
    let found = Bug::ALL.map(|bug| (bug, first_seed(Some(bug), SEEDS)));
    for (bug, seed) in found {
        println!("{bug:?}: found at seed {seed:?}");
    }
    assert!(found.iter().all(|(_, seed)| seed.is_some()), "{found:?}");
}

#[test]
fn without_a_planted_bug_nothing_is_found() {
    assert_eq!(first_seed(None, 50), None);
}
