//! The world, as a test sees it.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::engine::Engine;
use super::fabric::Fabric;
use super::faults::{Faults, FaultsFired};
use super::links::NodeId;
use super::node::Node;
use super::stuck::Stuck;
use crate::clock::{Clock, Instant};
use crate::net::Net;
use crate::stats::Stats;
use crate::sync::lock;

/// Workers of a world, and of each node, unless told otherwise: enough to be two.
const WORKERS: usize = 2;

/// Servers and clients in memory, on one thread, in virtual time; see the [module](crate::sim).
///
/// Time stands still unless the world runs, and passes at once when it does. A dropped world closes
/// everything in it.
///
/// Threads: one, from first to last. Cost: some microseconds a step. Limit: it panics where nothing but
/// steps happens any more, which is a loop that would burn a core.
pub struct World {
    engine: Rc<RefCell<Engine>>,
    clock: Clock,
    fabric: Arc<Mutex<Fabric>>,
    net: Net,
    seed: u64,
}

/// What it is made of.
impl World {
    /// A world of two workers in which everything is decided by `seed`, under [`Faults::gentle`].
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(seed, WORKERS, &Faults::gentle())
    }

    /// A world of so many workers.
    ///
    /// # Panics
    ///
    /// When `workers` is zero, or more than 65,535.
    #[must_use]
    pub fn with_workers(seed: u64, workers: usize) -> Self {
        Self::with(seed, workers, &Faults::gentle())
    }

    /// A world in which these faults happen.
    #[must_use]
    pub fn with_faults(seed: u64, faults: &Faults) -> Self {
        Self::with(seed, WORKERS, faults)
    }

    fn with(seed: u64, workers: usize, faults: &Faults) -> Self {
        assert!(workers > 0, "a world has at least one worker");
        let engine = Engine::new(seed, workers, faults);
        let borrowed = engine.borrow();
        let (clock, fabric) = (borrowed.clock.clone(), Arc::clone(&borrowed.fabric));
        let net = borrowed.hosts[0].face.net();
        drop(borrowed);
        Self {
            engine,
            clock,
            fabric,
            net,
            seed,
        }
    }

    /// The network of the world itself, for [`Server::on`](crate::Server::on), [`Client::on`](crate::Client::on)
    /// and pools: one node that has every address no [`node`](Self::node) has, and never crashes.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// A new node of two workers, which others dial by this name.
    ///
    /// # Panics
    ///
    /// When there is one of that name, or 65,535 are there.
    #[must_use]
    pub fn node(&self, name: &str) -> Node {
        self.node_of(name, WORKERS)
    }

    /// A new node of so many workers.
    ///
    /// # Panics
    ///
    /// As for [`node`](Self::node), and when `workers` is zero.
    #[must_use]
    pub fn node_of(&self, name: &str, workers: usize) -> Node {
        assert!(workers > 0, "a node has at least one worker");
        let mut engine = self.engine();
        let taken = engine.hosts.iter().any(|host| host.face.name() == name);
        assert!(!taken, "there is a node {name} already");
        let id = engine.add_node(name, workers);
        Node {
            face: Arc::clone(&engine.hosts[id].face),
            world: Rc::downgrade(&self.engine),
        }
    }

    /// The seed it was made from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The moment of virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Gives a name these addresses from now on, for clients that dial it; none takes the name away. A world
    /// knows no names but those of its nodes, not even `localhost`, until it is told.
    pub fn set_host(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().collect();
        lock(&self.fabric).hosts.insert(name.to_owned(), addresses);
    }

    /// What all nodes have counted, in all their lives.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine().stats()
    }

    /// How many nodes there are, the world itself not counted.
    #[must_use]
    pub fn nodes(&self) -> usize {
        lock(&self.fabric).links.nodes() - 1
    }

    /// A number that stands for all that has happened so far: two runs with the same hash were the same.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        lock(&self.fabric).trace()
    }

    fn engine(&self) -> std::cell::RefMut<'_, Engine> {
        self.engine
            .try_borrow_mut()
            .expect("a world is not run by what runs in it")
    }
}

/// Time.
impl World {
    /// Runs until nothing happens by itself any more: no work waits and nothing is in flight. Timers
    /// that come due meanwhile fire; those that are set for later are not waited for.
    pub fn run_until_idle(&self) {
        while self.engine().step() {}
    }

    /// Runs for so long in virtual time, with all timers that come due.
    pub fn run_for(&self, time: Duration) {
        self.run_until(time, || false);
    }

    /// Runs until `done` answers `true`, for at most so long; answers whether it did.
    pub fn run_until(&self, at_most: Duration, done: impl FnMut() -> bool) -> bool {
        let deadline = self.now() + at_most;
        self.engine().run_until(deadline, done)
    }
}

/// What goes wrong.
impl World {
    /// From now on these faults happen, as often as the seed says, and no others. What lasts goes on:
    /// partitions, nodes that are down, and the clocks of those that are up.
    pub fn set_faults(&self, faults: &Faults) {
        lock(&self.fabric).set_faults(faults);
    }

    /// How often each kind of fault has happened so far.
    #[must_use]
    pub fn faults_fired(&self) -> FaultsFired {
        lock(&self.fabric).temper.fired.clone()
    }

    /// The nodes of one side and those of the other reach each other no more, until [`heal`](Self::heal).
    ///
    /// Connections between them stay: what is sent over them waits, as a kernel sends it again and again, and
    /// comes when there is a way. Connects wait too, up to their timeout; datagrams are lost.
    pub fn partition(&self, one_side: &[&Node], other_side: &[&Node]) {
        let mut pairs = pairs(one_side, other_side);
        pairs.extend(pairs.clone().into_iter().map(|(from, to)| (to, from)));
        lock(&self.fabric).links.cut(pairs);
    }

    /// What the first nodes send does not reach the second any more; the way back is open.
    pub fn partition_one_way(&self, from: &[&Node], to: &[&Node]) {
        lock(&self.fabric).links.cut(pairs(from, to));
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        lock(&self.fabric).heal_all();
    }

    /// From now on what one node sends the other is on its way for so long, and back.
    ///
    /// # Panics
    ///
    /// When the range is empty.
    pub fn set_delay(&self, one: &Node, other: &Node, delay: RangeInclusive<Duration>) {
        assert!(!delay.is_empty(), "{delay:?} has no delay in it");
        let (one, other) = (one.face.id(), other.face.id());
        let links = &mut lock(&self.fabric).links;
        links.set_delay(one, other, delay.clone());
        links.set_delay(other, one, delay);
    }

    /// Ends all faults, gentle ones too: partitions heal, nodes that a fault took down restart, and all clocks
    /// go at the same pace from now on. A node that the test took down stays so.
    pub fn calm(&self) {
        self.engine().calm();
    }

    /// The liveness phase: ends all faults ([`calm`](Self::calm)) and runs until nothing waits for anything any
    /// more, for at most so long. Whatever the faults did, a program that is right recovers.
    ///
    /// # Errors
    ///
    /// [`Stuck`] when something still waits then, with who waits for what.
    pub fn drain(&self, within: Duration) -> Result<(), Stuck> {
        self.drain_until(within, || true)
    }

    /// The liveness phase, until `done` answers `true` as well: it is asked whenever nothing else waits.
    ///
    /// # Errors
    ///
    /// As for [`drain`](Self::drain).
    pub fn drain_until(&self, within: Duration, done: impl FnMut() -> bool) -> Result<(), Stuck> {
        self.calm();
        let deadline = self.now() + within;
        self.engine().drain(deadline, done)
    }
}

fn pairs(from: &[&Node], to: &[&Node]) -> Vec<(NodeId, NodeId)> {
    let id = |node: &&Node| node.face.id();
    let pairs = from.iter().map(id);
    pairs
        .flat_map(|from| to.iter().map(move |to| (from, id(to))))
        .collect()
}

impl AsRef<Net> for World {
    fn as_ref(&self) -> &Net {
        &self.net
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
