//! Processes that die on either side of a link, in simulated worlds: with a spool here and a cursor there, each
//! message is handled exactly once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netwheel::link::{
    Cursor, Link, LinkDialer, LinkListener, LinkRules, NodeId, OutboxRules, Position, Wire,
};
use netwheel::sim::{Runs, World};
use netwheel::stack::{Message, StackLink, StackWire};
use netwheel::{Backoff, Client, Error, ReconnectingHandle, Result, Server};

use crate::memory::MemoryDisk;

const PLACE: &str = "10.0.0.1:7000";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MESSAGES: u32 = 80;

/// The receiver's database: effects, and how far they go, changed in one step.
#[derive(Clone, Default)]
struct Effects(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    numbers: Vec<u32>,
    positions: BTreeMap<String, Position>,
}

impl Cursor for Effects {
    fn load(&self, peer: &str) -> Result<Option<Position>, Error> {
        Ok(self.0.lock().unwrap().positions.get(peer).copied())
    }
}

impl Effects {
    fn numbers(&self) -> Vec<u32> {
        self.0.lock().unwrap().numbers.clone()
    }
}

fn rules(rules: LinkRules) -> LinkRules {
    let mut rules = rules;
    rules.outbox = OutboxRules::default().acknowledged(true);
    rules.handshake = Some(MINUTE);
    rules.heartbeat = rules.heartbeat.interval(10 * SECOND);
    rules
}

/// A process that receives; `keeps` says whether its cursor outlives it.
fn receiver(world: &World, effects: &Effects, keeps: bool) -> LinkListener<StackWire> {
    let database = effects.clone();
    let service = move |link: &Link<StackWire>, message: Message| {
        let number = String::from_utf8_lossy(message.body()).parse()?;
        let position = StackWire::default().stamp_of(&message)?.position;
        let mut tables = database.0.lock().unwrap();
        tables.numbers.push(number);
        let peer = link.name().to_owned();
        tables.positions.insert(peer, position.unwrap());
        Ok(())
    };
    let listener =
        LinkListener::on(world, StackWire::default()).rules(rules(LinkRules::listener()));
    if keeps {
        listener.cursor(effects.clone()).serve(service).unwrap()
    } else {
        listener.serve(service).unwrap()
    }
}

/// A process that sends, and what becomes of what it is told.
struct Sender {
    link: StackLink,
    client: ReconnectingHandle<Message>,
}

impl Sender {
    fn start(world: &World, disk: &MemoryDisk) -> Self {
        let dialer = LinkDialer::on(world, StackWire::default(), "n1")
            .rules(rules(LinkRules::dialer()))
            .node(NodeId::new("n2").unwrap())
            .spool(disk.spool())
            .serve(|_: &StackLink, _| Ok(()))
            .unwrap();
        let link = dialer.link();
        let client = Client::on(world)
            .reconnect(Backoff::every(SECOND))
            .pipeline(move || dialer.pipeline())
            .connect(PLACE)
            .unwrap();
        Self { link, client }
    }

    fn die(self) {
        self.link.close();
        self.client.close();
    }
}

struct Scene<'a> {
    world: &'a World,
    disk: MemoryDisk,
    effects: Effects,
    keeps_cursor: bool,
    current: Arc<Mutex<LinkListener<StackWire>>>,
    sender: Option<Sender>,
    sent: u32,
    accepted: Arc<Mutex<Vec<u32>>>,
    dice: u64,
}

impl<'a> Scene<'a> {
    fn new(world: &'a World, keeps_cursor: bool) -> Self {
        let effects = Effects::default();
        let current = Arc::new(Mutex::new(receiver(world, &effects, keeps_cursor)));
        let serving = Arc::clone(&current);
        let running = Server::on(world)
            .pipeline(move |peer| serving.lock().unwrap().pipeline(peer.address))
            .listen(PLACE)
            .unwrap()
            .start()
            .unwrap();
        std::mem::forget(running); // it goes with its world
        let disk = MemoryDisk::default();
        Self {
            sender: Some(Sender::start(world, &disk)),
            world,
            disk,
            effects,
            keeps_cursor,
            current,
            sent: 0,
            accepted: Arc::default(),
            dice: world.seed(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.dice >> 33).unwrap() % bound
    }

    fn link(&self) -> &StackLink {
        &self.sender.as_ref().unwrap().link
    }

    fn send(&mut self) {
        let (number, accepted) = (self.sent, Arc::clone(&self.accepted));
        let message = Message::one_way(number.to_string());
        let told = self.link().send_then(message, move |outcome| {
            if outcome.is_ok() {
                accepted.lock().unwrap().push(number);
            }
        });
        self.sent += u32::from(told.is_ok());
    }

    fn kill_sender(&mut self) {
        // Some of what it wrote is on the disk, and it never heard so.
        let lucky = self.below(3);
        self.disk.sync(lucky, false);
        self.sender.take().unwrap().die();
        self.sender = Some(Sender::start(self.world, &self.disk));
    }

    fn kill_receiver(&self) {
        let next = receiver(self.world, &self.effects, self.keeps_cursor);
        let dead = std::mem::replace(&mut *self.current.lock().unwrap(), next);
        for (_, link) in dead.links() {
            link.close();
        }
    }

    fn step(&mut self) {
        match self.below(12) {
            0 => self.kill_sender(),
            1 => self.kill_receiver(),
            2 => self
                .link()
                .connection()
                .into_iter()
                .for_each(|open| open.close()),
            3..=5 => {
                let count = self.below(8);
                self.disk.sync(count, true);
            }
            _ => (0..self.below(5)).for_each(|_| self.send()),
        }
        let micros = u64::try_from(self.below(300_000)).unwrap();
        self.world.run_for(Duration::from_micros(micros));
    }

    fn run(&mut self) {
        while self.sent < MESSAGES {
            self.step();
        }
        self.disk.sync(usize::MAX, true);
        assert!(self.disk.is_idle());
        let link = self.link().clone();
        let drained = self.world.run_until(10 * MINUTE, || link.stats().kept == 0);
        assert!(drained, "{:?}", link.stats());
        self.world.run_for(SECOND);
    }
}

#[test]
fn with_a_spool_and_a_cursor_each_message_is_handled_exactly_once_whoever_dies() {
    Runs::seeds(0..150).run(|world| {
        let mut scene = Scene::new(world, true);
        scene.run();
        let (handled, accepted) = (scene.effects.numbers(), scene.accepted.lock().unwrap());
        assert!(
            handled.is_sorted_by(|a, b| a < b),
            "once and in order: {handled:?}"
        );
        for number in accepted.iter() {
            assert!(
                handled.contains(number),
                "{number} was accepted: {handled:?}"
            );
        }
    });
}

#[test]
fn without_a_cursor_nothing_is_lost_and_some_come_again_in_order() {
    let repeats = AtomicUsize::new(0);
    Runs::seeds(0..50).run(|world| {
        let mut scene = Scene::new(world, false);
        scene.run();
        let (handled, accepted) = (scene.effects.numbers(), scene.accepted.lock().unwrap());
        let mut once = handled.clone();
        once.sort_unstable();
        once.dedup();
        repeats.fetch_add(handled.len() - once.len(), Ordering::Relaxed);
        for number in accepted.iter() {
            assert!(once.contains(number), "{number} was accepted: {handled:?}");
        }
        // Whatever comes for the first time comes in order.
        let mut first = handled;
        let mut newest = None;
        first.retain(|number| {
            let new = newest.is_none_or(|newest| *number > newest);
            newest = newest.max(Some(*number));
            new
        });
        assert_eq!(first, once);
    });
    assert!(
        repeats.load(Ordering::Relaxed) > 0,
        "the scenes are too tame to tell anything"
    );
}
