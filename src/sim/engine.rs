//! Whose turn it is, and what time.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::fabric::{Fabric, Trace, Upshot};
use super::faults::Faults;
use super::host::{Host, Setup};
use super::links::{NodeId, address_of};
use super::network::{MemoryNetwork, call};
use super::stuck::{Stuck, waits};
use crate::clock::{Clock, Instant};
use crate::random::Random;
use crate::stats::Stats;
use crate::sync::lock;

/// Steps at one moment after which the world is held to spin: far more than any burst takes.
const STEPS_PER_MOMENT_MAX: usize = 2_000_000;

thread_local! {
    /// The worlds of this thread, for those who know one by its network only.
    static WORLDS: RefCell<Vec<Weak<RefCell<Engine>>>> = const { RefCell::new(Vec::new()) };
}

/// What may be done next.
#[derive(Clone, Copy)]
enum Step {
    /// Something that is due in the fabric.
    Happen,
    /// Somebody is taken in at the nth busy listener.
    Accept(usize),
    /// The nth busy pool of a node does a piece of work.
    Pool(NodeId, usize),
    /// The pools of a node pay the wake-ups they owe.
    Pay(NodeId),
    /// A task of a node that is due is called.
    Task(NodeId),
    /// A worker of a node turns.
    Turn(NodeId, usize),
}

/// The scheduler of a world: does one thing after the other, of those that may be done.
pub(super) struct Engine {
    pub(super) clock: Clock,
    pub(super) fabric: Arc<Mutex<Fabric>>,
    /// By their numbers; the first is the world's own network.
    pub(super) hosts: Vec<Host>,
    steps: Vec<Step>,
    /// Steps since time last moved.
    steps_now: usize,
}

/// From the first moment to the last.
impl Engine {
    pub(super) fn new(seed: u64, workers: usize, faults: &Faults) -> Rc<RefCell<Self>> {
        let clock = Clock::manual();
        let fabric = Fabric::new(Random::new(seed), clock.clone(), faults);
        let fabric = Arc::new(Mutex::new(fabric));
        let first = Host::new(&fabric, (0, "world"), workers, clock.now());
        let engine = Rc::new(RefCell::new(Self {
            clock,
            fabric,
            hosts: vec![first],
            steps: Vec::new(),
            steps_now: 0,
        }));
        WORLDS.with_borrow_mut(|worlds| {
            worlds.retain(|world| world.strong_count() > 0);
            worlds.push(Rc::downgrade(&engine));
        });
        engine
    }

    fn fabric(&self) -> MutexGuard<'_, Fabric> {
        lock(&self.fabric)
    }

    /// Does one thing, of those that may be done now; else lets time pass until something is due in
    /// the fabric. `false` when nothing happens by itself.
    pub(super) fn step(&mut self) -> bool {
        if self.step_now() {
            return true;
        }
        let Some(due) = self.fabric().next_due() else {
            return false;
        };
        let next = self.next_wake().map_or(due, |at| at.min(due));
        self.pass_until(next);
        true
    }

    /// Runs until `done`, at most until `deadline`.
    pub(super) fn run_until(&mut self, deadline: Instant, mut done: impl FnMut() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            if self.step_now() {
                continue;
            }
            match self.next() {
                Some(next) if next <= deadline => self.pass_until(next),
                _ => {
                    self.pass_until(deadline);
                    return done();
                }
            }
        }
    }

    /// Runs until nothing waits for anything and `done`, at most until `deadline`.
    pub(super) fn drain(
        &mut self,
        deadline: Instant,
        mut done: impl FnMut() -> bool,
    ) -> Result<(), Stuck> {
        loop {
            if self.step_now() {
                continue;
            }
            if self.is_quiet() && done() {
                return Ok(());
            }
            match self.next() {
                Some(next) if next <= deadline => self.pass_until(next),
                _ => {
                    self.pass_until(deadline);
                    return Err(Stuck::new(waits(self), done()));
                }
            }
        }
    }

    /// Whether nothing is on its way, and nobody waits to dial or to send.
    fn is_quiet(&self) -> bool {
        let fabric = self.fabric();
        let up = |host: &&Host| host.is_up();
        fabric.is_quiet()
            && self.hosts.iter().filter(up).all(|host| {
                let (network, stations) = (&host.life.network, &host.life.stations);
                let mut mailboxes = stations.iter().map(|station| &station.mailbox);
                network.schedule.next().is_none() && mailboxes.all(|one| one.holds_no_messages())
            })
    }

    /// When the next thing happens by itself.
    fn next(&self) -> Option<Instant> {
        let due = self.fabric().next_due();
        due.into_iter().chain(self.next_wake()).min()
    }

    /// When the next timer of a worker fires, a task is due, or a service is cut off.
    fn next_wake(&self) -> Option<Instant> {
        let up = self.hosts.iter().filter(|host| host.is_up());
        up.filter_map(Host::next_wake).min()
    }

    fn pass_until(&mut self, at: Instant) {
        self.pass(at.since(self.clock.now()));
        self.steps_now = 0;
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        for host in self.hosts.iter().filter(|host| host.is_up()) {
            host.sync(self.clock.now());
        }
    }
}

/// One step.
impl Engine {
    /// Does one of the things that may be done at this moment; `false` when there are none.
    fn step_now(&mut self) -> bool {
        self.list_steps();
        if self.steps.is_empty() {
            return false;
        }
        self.steps_now += 1;
        assert!(
            self.steps_now < STEPS_PER_MOMENT_MAX,
            "the world spins: there is always more to do, and no time passes"
        );
        let chosen = match self.steps.len() {
            1 => 0,
            count => self.fabric().random.below(count),
        };
        self.take(self.steps[chosen]);
        true
    }

    fn list_steps(&mut self) {
        let fabric = lock(&self.fabric);
        let steps = &mut self.steps;
        steps.clear();
        if fabric.is_due() {
            steps.push(Step::Happen);
        }
        steps.extend((0..fabric.listeners.busy()).map(Step::Accept));
        drop(fabric);
        for (node, host) in self.hosts.iter().enumerate() {
            if host.is_up() {
                list_steps_of(node, host, &self.fabric, steps);
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Happen => self.happen(),
            Step::Accept(nth) => {
                let node = self.fabric().listeners.node_of_busy(nth);
                if let Some(node) = node {
                    self.hosts[node].life.network.accept(nth);
                }
            }
            Step::Pool(node, nth) => {
                let mut fabric = self.fabric();
                let quiet = fabric.random.once_in(2);
                fabric.note(Trace::Pool, nth as u64, node);
                drop(fabric);
                self.hosts[node].life.network.roster.run_one(nth, quiet);
            }
            Step::Pay(node) => self.hosts[node].life.network.roster.pay(),
            Step::Task(node) => {
                self.fabric().note(Trace::Task, node as u64, 0);
                self.hosts[node].life.network.call_task();
            }
            Step::Turn(node, index) => {
                self.fabric().note(Trace::Turn, index as u64, node);
                let life = &mut self.hosts[node].life;
                life.stations[index].turn(&life.network.clock);
                self.let_turn_take_time();
            }
        }
    }

    fn let_turn_take_time(&self) {
        let mut fabric = self.fabric();
        let Fabric { temper, random, .. } = &mut *fabric;
        let time = temper.turn(random);
        drop(fabric);
        if !time.is_zero() {
            self.pass(time);
        }
    }

    fn happen(&mut self) {
        let upshot = self.fabric().happen();
        match upshot {
            Upshot::Nothing => {}
            Upshot::Call(task) => call(task),
            Upshot::Crash(node) => {
                self.crash(node);
                self.hosts[node].downed_by_fault = true;
            }
            Upshot::Restart(node) if self.hosts[node].downed_by_fault => self.restart(node),
            Upshot::Restart(_) => {}
        }
    }
}

fn list_steps_of(node: NodeId, host: &Host, fabric: &Mutex<Fabric>, steps: &mut Vec<Step>) {
    let network = &host.life.network;
    let (now, roster) = (network.clock.now(), &network.roster);
    network.abort_due(now);
    steps.extend((0..roster.busy()).map(|nth| Step::Pool(node, nth)));
    if roster.owes() {
        steps.push(Step::Pay(node));
    }
    if network.schedule.next().is_some_and(|at| at <= now) {
        steps.push(Step::Task(node));
    }
    let fabric = lock(fabric);
    let desks = host.life.desks.clone();
    for (index, (station, desk)) in host.life.stations.iter().zip(desks).enumerate() {
        if station.is_awake(now) || fabric.has_events(desk) {
            steps.push(Step::Turn(node, index));
        }
    }
}

/// Nodes.
impl Engine {
    pub(super) fn add_node(&mut self, name: &str, workers: usize) -> NodeId {
        let mut fabric = self.fabric();
        let node = fabric.links.add_node();
        fabric.hosts.insert(name.to_owned(), vec![address_of(node)]);
        drop(fabric);
        let host = Host::new(&self.fabric, (node, name), workers, self.clock.now());
        self.hosts.push(host);
        node
    }

    pub(super) fn start(&mut self, node: NodeId, setup: Setup) {
        self.fabric().links.restarts[node] = true;
        self.hosts[node].run(setup);
    }

    /// Takes a node down, unless it is.
    pub(super) fn crash(&mut self, node: NodeId) {
        let host = &mut self.hosts[node];
        if host.is_up() {
            host.crash(&self.fabric);
        }
        host.downed_by_fault = false;
    }

    /// Brings a node up, unless it is.
    pub(super) fn restart(&mut self, node: NodeId) {
        let host = &mut self.hosts[node];
        if !host.is_up() {
            host.restart(&self.fabric, self.clock.now());
        }
    }

    /// No faults any more, and none that lasts.
    pub(super) fn calm(&mut self) {
        let mut fabric = self.fabric();
        fabric.set_faults(&Faults::none());
        fabric.heal_all();
        drop(fabric);
        for node in 0..self.hosts.len() {
            if self.hosts[node].downed_by_fault {
                self.restart(node);
            }
            let now = self.clock.now();
            self.hosts[node].set_drift(now, 0);
        }
    }

    /// What has been counted in all lives of all nodes.
    pub(super) fn stats(&self) -> Stats {
        let lives = self.hosts.iter().flat_map(Host::lives);
        let doors = lives.flat_map(|life| &life.network.doors);
        Stats::of_workers(doors.map(|door| &*door.stats))
    }

    /// A moment of one of its networks, as one of the world's; `None` when the network is none of them.
    fn world_at(&self, network: &MemoryNetwork, at: Instant) -> Option<Instant> {
        let is_it = |host: &&Host| std::ptr::eq(&*host.life.network, network);
        let host = self.hosts.iter().find(is_it)?;
        Some(host.world_at(at))
    }
}

/// Nothing of a program is told of a crash, but all of it is dropped with the world.
impl Drop for Engine {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            for life in host.dead.iter().chain([&host.life]) {
                life.network.end_world();
            }
            if host.is_up() {
                host.life.close_all();
            }
        }
        // What is made for a listener may hold on to the network, which holds the listener.
        let listeners = self.fabric().listeners.take_all();
        drop(listeners);
    }
}

/// Runs the world of a network until `done`, at most until `deadline` on the network's clock; `None` when it
/// runs already, or on another thread.
pub(super) fn run_world_of(
    network: &MemoryNetwork,
    deadline: Instant,
    done: impl FnMut() -> bool,
) -> Option<bool> {
    let is_it = |engine: &Rc<RefCell<Engine>>| {
        let engine = engine.try_borrow();
        engine.is_ok_and(|engine| engine.world_at(network, deadline).is_some())
    };
    let worlds = WORLDS.try_with(|worlds| {
        let worlds = worlds.borrow();
        worlds.iter().filter_map(Weak::upgrade).find(is_it)
    });
    let engine = worlds.ok().flatten()?;
    let mut engine = engine.try_borrow_mut().ok()?;
    let deadline = engine.world_at(network, deadline)?;
    Some(engine.run_until(deadline, done))
}
