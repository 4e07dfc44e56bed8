//! Everything at once: nodes that crash and are parted, connections that break, clocks that drift; and then a
//! calm in which everybody must come to rest.

mod ledger;
mod town;

use netwheel::sim::{Faults, Summary, World};

use self::town::{Town, Way};
use crate::{Dice, MINUTE, Runs};

fn storm(world: &World) {
    let mut dice = Dice(world.seed());
    let town = Town::build(world, Way::ALL[world.seed() as usize % 4]);
    town.weather(world, &mut dice);
    let rest = world.drain_until(2 * MINUTE, || town.is_done());
    rest.unwrap_or_else(|stuck| panic!("{:?}: {stuck}", town.way));
}

fn run(seeds: std::ops::Range<u64>) -> Summary {
    Runs::seeds(seeds).faults(Faults::all()).threads(2).run(storm)
}

#[test]
fn everybody_recovers_from_a_storm() {
    let summary = run(0..200);
    println!("{summary}");
    assert!(summary.nodes_least >= 2 && summary.messages_least >= 200, "{summary}");
}
