//! Everything at once: nodes that crash and are parted, connections that break, clocks that drift; and then a
//! calm in which everybody must come to rest.

mod beacon;
mod guard;
mod ledger;
mod strict;
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
    world.set_faults(&Faults::gentle());
    for client in 10..13 {
        strict::ask_once(world, &town, &mut dice, client);
    }
    guard::hear_to_the_end(world, &town.nodes[0]);
    guard::churn(world, &town.nodes[1], &town.handles, &mut dice);
    guard::misbehave(world, &town);
    let rest = world.drain(2 * MINUTE);
    rest.unwrap_or_else(|stuck| panic!("{:?}: {stuck}", town.way));
    let faults = &town.eye.lock().unwrap().faults;
    assert!(faults.is_empty(), "{:?}: {faults:#?}", town.way);
}

fn run(seeds: std::ops::Range<u64>) -> Summary {
    Runs::seeds(seeds)
        .faults(Faults::all())
        .threads(2)
        .run(storm)
}

#[test]
fn everybody_recovers_from_a_storm() {
    let summary = run(0..200);
    println!("{summary}");
    assert!(
        summary.nodes_least >= 2 && summary.messages_least >= 200,
        "{summary}"
    );
}
