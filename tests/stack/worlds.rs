//! The promises of messages, in worlds where connections break at any moment, on either side.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netwheel::link::Kept as Safety;
use netwheel::link::{Cursor, OutboxRules, PeerKey, Position, Spool, Spooled};
use netwheel::sim::{Runs, World};
use netwheel::stack::{Message, Node, StackLink};
use netwheel::{Error, RunningServer};

use crate::peer::{Echo, MILLI, PLACE, SECOND, fast, node_of, take};

const MESSAGES: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// Two nodes that have found each other, and a chance of the test's own.
struct Pair {
    ours: StackLink,
    theirs: StackLink,
    nodes: [Node; 2],
    heard: [Echo; 2],
    dice: u64,
}

impl Pair {
    fn meet(world: &World, rules: &OutboxRules, pool: bool) -> Self {
        let build = |name| {
            let (builder, echo) = node_of(world, name);
            // Worlds may be slow: what ends a link here is the test.
            let builder = builder
                .heartbeat(10 * SECOND, 3)
                .handshake_timeout(MINUTE)
                .outbox(rules.clone());
            let node = if pool {
                builder.serve_on(&world.net().executor(2), echo.clone())
            } else {
                builder.serve(echo.clone())
            };
            (node.unwrap(), echo)
        };
        let ((server, heard_there), (client, heard_here)) = (build("n1"), build("n2"));
        let running = server.server().listen(PLACE).unwrap().start().unwrap();
        std::mem::forget(running); // it goes with its world
        client.know("n1", PLACE).unwrap();
        let ours = client.get_or_connect("n1").unwrap();
        assert!(world.run_until(MINUTE, || server.link("n2").is_some_and(|l| l.is_up())));
        let theirs = server.link("n2").unwrap();
        Self {
            ours,
            theirs,
            nodes: [server, client],
            heard: [heard_there, heard_here],
            dice: world.seed(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % bound
    }

    /// Sends both ways, and breaks the connection now and then, at once and from either side.
    fn exchange(&mut self, world: &World) {
        let mut sent = [0, 0];
        while sent != [MESSAGES, MESSAGES] {
            for (side, link) in [self.ours.clone(), self.theirs.clone()].iter().enumerate() {
                let burst = u32::try_from(self.below(6)).unwrap();
                for _ in 0..burst.min(MESSAGES - sent[side]) {
                    let message = Message::one_way(format!("{:03}", sent[side]));
                    let long = message.attach("filler", vec![b'.'; 300]);
                    link.send(long).expect("room");
                    sent[side] += 1;
                }
            }
            if self.below(5) == 0 {
                let ours = self.below(2) == 0;
                let end = if ours { &self.ours } else { &self.theirs };
                end.connection().into_iter().for_each(|open| open.close());
            }
            let micros = self.below(60_000);
            world.run_for(Duration::from_micros(micros));
        }
        let empty = || self.ours.stats().kept + self.theirs.stats().kept == 0;
        let drained = world.run_until(10 * MINUTE, empty);
        assert!(drained, "{:?} {:?}", self.ours.stats(), self.theirs.stats());
        world.run_for(SECOND);
    }
}

fn numbers() -> Vec<String> {
    (0..MESSAGES).map(|n| format!("{n:03}")).collect()
}

fn acknowledged_arrive_once(world: &World, pool: bool) {
    let mut pair = Pair::meet(world, &OutboxRules::default().acknowledged(true), pool);
    pair.exchange(world);
    for echo in &pair.heard {
        assert_eq!(take(&echo.heard), numbers());
    }
    assert_eq!(world.net().stats().panics, 0);
    pair.nodes.iter().for_each(Node::close);
}

#[test]
fn acknowledged_messages_arrive_once_and_in_order_whatever_breaks() {
    Runs::seeds(0..100).run(|world| acknowledged_arrive_once(world, false));
}

#[test]
fn on_a_pool_they_arrive_once_and_in_order_too() {
    Runs::seeds(0..100).run(|world| acknowledged_arrive_once(world, true));
}

#[test]
fn plain_messages_arrive_at_most_once_and_in_order() {
    Runs::seeds(0..100).run(|world| {
        let mut pair = Pair::meet(world, &OutboxRules::default(), false);
        pair.exchange(world);
        for echo in &pair.heard {
            let heard = take(&echo.heard);
            assert!(heard.is_sorted_by(|a, b| a < b), "{heard:?}");
        }
        pair.nodes.iter().for_each(Node::close);
    });
}

#[test]
fn what_is_sent_while_the_other_side_is_away_arrives_before_anything_newer() {
    Runs::seeds(0..100).run(|world| {
        let (builder, echo) = node_of(world, "n2");
        let client = builder.serve(echo).unwrap();
        client.know("n1", PLACE).unwrap();
        let link = client.get_or_connect("n1").unwrap();
        for n in 0..100 {
            link.send(Message::one_way(format!("{n:03}"))).unwrap();
        }
        world.run_for(SECOND);
        let (builder, heard) = (fast(Node::on(world, "n1").unwrap()), Echo::default());
        let server = builder
            .heartbeat(10 * SECOND, 3)
            .serve(heard.clone())
            .unwrap();
        let _running = server.server().listen(PLACE).unwrap().start().unwrap();
        assert!(world.run_until(MINUTE, || link.is_up()));
        link.send(Message::one_way("newer")).unwrap();
        world.run_until(MINUTE, || heard.heard.lock().unwrap().len() == 101);
        let mut expected: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
        expected.push("newer".to_owned());
        assert_eq!(take(&heard.heard), expected);
        client.close();
    });
}

#[test]
fn every_call_ends_exactly_once_whatever_breaks() {
    Runs::seeds(0..100).run(|world| {
        let mut pair = Pair::meet(world, &OutboxRules::default(), false);
        let outcomes = Arc::new(Mutex::new(vec![0_u32; 100]));
        for n in 0..100 {
            let outcomes = Arc::clone(&outcomes);
            let timeout = MILLI * u32::try_from(1 + pair.below(2000)).unwrap();
            let done = move |_| outcomes.lock().unwrap()[n] += 1;
            let question = Message::request(n.to_string());
            if pair.below(2) == 0 {
                pair.ours.call(question, timeout, done).unwrap();
            } else {
                pair.theirs.call_again(question, timeout, done).unwrap();
            }
            if pair.below(10) == 0 {
                pair.ours
                    .connection()
                    .into_iter()
                    .for_each(|open| open.close());
            }
            world.run_for(MILLI * u32::try_from(pair.below(50)).unwrap());
        }
        if pair.below(2) == 0 {
            pair.ours.close();
            pair.theirs.close();
        }
        world.run_for(3 * SECOND);
        assert!(outcomes.lock().unwrap().iter().all(|count| *count == 1));
        assert_eq!(pair.ours.stats().calls + pair.theirs.stats().calls, 0);
        pair.nodes.iter().for_each(Node::close);
    });
}

/// A disk that outlives the processes of a world: one for each node.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Files>>);

#[derive(Default)]
struct Files {
    spools: BTreeMap<String, Kept>,
    cursors: BTreeMap<String, Position>,
}

/// An epoch, the next number, and messages.
type Kept = (u64, u64, BTreeMap<u64, Message>);

/// What is spooled for one peer.
struct DiskSpool(Disk, String);

impl DiskSpool {
    fn with<R>(&self, call: impl FnOnce(&mut Kept) -> R) -> R {
        let mut files = self.0.0.lock().unwrap();
        let kept = files.spools.entry(self.1.clone()).or_default();
        call(kept)
    }
}

impl Spool<Message> for DiskSpool {
    fn load(&mut self) -> Result<Spooled<Message>, Error> {
        Ok(self.with(|(epoch, next, messages)| {
            *epoch = (*epoch).max(7);
            let messages = messages
                .iter()
                .map(|(seq, message)| (*seq, message.clone()));
            Spooled {
                epoch: *epoch,
                next: (*next).max(1),
                messages: messages.collect(),
            }
        }))
    }

    fn append(&mut self, seq: u64, message: &Message) -> Result<Safety, Error> {
        self.with(|(_, next, messages)| {
            *next = seq + 1;
            messages.insert(seq, message.clone());
        });
        Ok(Safety::Safe)
    }

    fn forget(&mut self, seq: u64) -> Result<(), Error> {
        self.with(|(_, _, messages)| messages.remove(&seq));
        Ok(())
    }
}

impl Cursor for Disk {
    fn load(&self, peer: &str) -> Result<Option<Position>, Error> {
        Ok(self.0.lock().unwrap().cursors.get(peer).copied())
    }

    fn store(&self, peer: &str, position: Position) -> Result<(), Error> {
        let mut files = self.0.lock().unwrap();
        files.cursors.insert(peer.to_owned(), position);
        Ok(())
    }
}

/// A process of a node, which may die at any moment and come back.
struct Process {
    node: Node,
    server: Option<RunningServer>,
}

impl Process {
    fn start(world: &World, name: &str, disk: &Disk, heard: &Echo) -> Self {
        let (builder, _) = node_of(world, name);
        let (spools, minute) = (disk.clone(), MINUTE);
        let node = builder
            .heartbeat(10 * SECOND, 3)
            .handshake_timeout(minute)
            .outbox(OutboxRules::default().acknowledged(true))
            .spool(move |peer: &PeerKey| Ok(DiskSpool(spools.clone(), peer.to_string())))
            .cursor(disk.clone())
            .serve(heard.clone())
            .unwrap();
        let server = (name == "n1").then(|| {
            let server = node.server().listen(PLACE).unwrap();
            server.start().unwrap()
        });
        if server.is_none() {
            node.know("n1", PLACE).unwrap();
            node.get_or_connect("n1").unwrap();
        }
        Self { node, server }
    }

    /// Ends at once: what it has not put on its disk is gone.
    fn kill(self) {
        self.node.close();
        drop(self.server);
    }
}

#[test]
fn with_spools_and_cursors_nothing_is_lost_or_doubled_over_restarts() {
    Runs::seeds(0..100).run(|world| {
        let (names, disks) = (["n1", "n2"], [Disk::default(), Disk::default()]);
        let heard = [Echo::default(), Echo::default()];
        let start = |at: usize| Process::start(world, names[at], &disks[at], &heard[at]);
        let mut processes = [Some(start(0)), Some(start(1))];
        let mut dice = world.seed() | 1;
        let mut below = |bound: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % bound
        };
        let mut sent = [0, 0];
        while sent != [MESSAGES, MESSAGES] {
            let side = usize::try_from(below(2)).unwrap();
            if below(8) == 0 {
                processes[side].take().unwrap().kill();
                world.run_for(MILLI * u32::try_from(below(300)).unwrap());
                processes[side] = Some(start(side));
            }
            let node = &processes[side].as_ref().unwrap().node;
            // A peer that has not come in since a restart is not known yet.
            if let Some(link) = node.link(names[1 - side])
                && sent[side] < MESSAGES
                && link
                    .send(Message::one_way(format!("{:03}", sent[side])))
                    .is_ok()
            {
                sent[side] += 1;
            }
            world.run_for(MILLI * u32::try_from(below(200)).unwrap());
        }
        let all = || {
            heard
                .iter()
                .all(|echo| echo.heard.lock().unwrap().len() >= numbers().len())
        };
        world.run_until(10 * MINUTE, all);
        world.run_for(SECOND);
        for echo in &heard {
            assert_eq!(take(&echo.heard), numbers());
        }
        processes.into_iter().flatten().for_each(Process::kill);
    });
}
