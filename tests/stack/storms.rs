//! Nodes in bad networks: partitions, resets, late bytes, drifting clocks, and a receiver that crashes.
//!
//! ```sh
//! NETWHEEL_SEED=0..10000 cargo test --release --features stack --test stack storms -- --nocapture
//! ```

use std::sync::{Arc, Mutex};
use std::time::Duration;

use netwheel::link::{Cursor, Link, OutboxRules, Position, Wire};
use netwheel::sim::{self, Fault, Faults, Runs, World};
use netwheel::stack::{Message, Node, StackLink, StackWire};
use netwheel::{Backoff, Error, Result};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MESSAGES: u32 = 200;

/// What the receiver has done, and how far that goes, in one step: outlives its process.
#[derive(Clone, Default)]
struct Effects(Arc<Mutex<(Vec<u32>, Option<Position>)>>);

impl Cursor for Effects {
    fn load(&self, _: &str) -> Result<Option<Position>, Error> {
        Ok(self.0.lock().unwrap().1)
    }
}

impl Effects {
    fn note(&self, message: &Message) -> Result<()> {
        let number = String::from_utf8_lossy(message.body()).parse()?;
        let position = StackWire::default().stamp_of(message)?.position;
        let mut effects = self.0.lock().unwrap();
        effects.0.push(number);
        effects.1 = position;
        Ok(())
    }
}

fn kept() -> OutboxRules {
    OutboxRules::default().acknowledged(true)
}

/// A node that sends to one that receives; the sender lives on.
fn link_in(world: &World, hub: &sim::Node, effects: &Effects) -> StackLink {
    let effects = effects.clone();
    hub.start(move |net| {
        let database = effects.clone();
        let service = move |_: &Link<StackWire>, message: Message| database.note(&message);
        let node = Node::on(net, "hub").unwrap().outbox(kept());
        let node = node.cursor(effects.clone()).serve(service).unwrap();
        let running = node.server().listen("0.0.0.0:7000").unwrap().start();
        (node, running.unwrap())
    });
    let (tell, told) = std::sync::mpsc::channel();
    world.node("edge").start(move |net| {
        let node = Node::on(net, "edge")
            .unwrap()
            .outbox(kept())
            .reconnect(Backoff::every(SECOND));
        let node = node.serve(|_: &StackLink, _: Message| Ok(())).unwrap();
        node.know("hub", "hub:7000").unwrap();
        tell.send(node.get_or_connect("hub").unwrap()).unwrap();
        node
    });
    told.recv().unwrap()
}

/// Sends all of them in a storm, ends it, and sees that each was handled once and in order.
fn weather(world: &World, storm: impl Fn(&sim::Node, u32)) {
    let effects = Effects::default();
    let hub = world.node("hub");
    let link = link_in(world, &hub, &effects);
    for number in 0..MESSAGES {
        link.send(Message::one_way(number.to_string())).unwrap();
        storm(&hub, number);
        let pace = (world.seed() * 7 + u64::from(number) * 13) % 400;
        world.run_for(Duration::from_millis(pace));
    }
    hub.restart();
    world.calm();
    let over = || link.stats().kept == 0;
    world.drain_until(10 * MINUTE, over).unwrap();
    let handled = effects.0.lock().unwrap().0.clone();
    let all: Vec<u32> = (0..MESSAGES).collect();
    assert_eq!(handled, all, "each once and in order");
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "what went wrong in the worlds, for whoever asks for it"
)]
fn a_storm_costs_no_message_and_brings_none_twice() {
    let faults = Faults::all().without(Fault::Crash);
    let summary = Runs::seeds(0..60)
        .faults(faults)
        .threads(2)
        .run(|world| weather(world, |_, _| {}));
    println!("{summary}");
}

#[test]
fn a_receiver_that_crashes_in_it_handles_each_message_once() {
    let faults = Faults::all().without(Fault::Crash);
    Runs::seeds(0..60).faults(faults).threads(2).run(|world| {
        weather(world, |hub, number| {
            match (u64::from(number) + world.seed()) % 50 {
                20 => hub.crash(),
                25 => hub.restart(),
                _ => {}
            }
        });
    });
}
