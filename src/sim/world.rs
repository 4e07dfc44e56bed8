//! The world: whose turn it is, and what time.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::driver::MemoryDriver;
use super::fabric::{Fabric, Trace};
use super::network::{Door, MemoryNetwork};
use super::temper::Temper;
use crate::clock::{Clock, Instant};
use crate::executor::Roster;
use crate::mailbox::{Mailbox, Wake};
use crate::net::{Net, Network};
use crate::random::Random;
use crate::stats::WorkerStats;
use crate::thread_role;
use crate::transport::{Worker, WorkerSeed};

/// Workers of a world unless told otherwise: enough to be two.
const WORKERS: usize = 2;
/// Steps at one moment after which the world is held to spin: far more than any burst takes.
const STEPS_PER_MOMENT_MAX: usize = 2_000_000;

thread_local! {
    /// The worlds of this thread, for those who know one by its network only.
    static WORLDS: RefCell<Vec<Weak<RefCell<Engine>>>> = const { RefCell::new(Vec::new()) };
}

/// Servers and clients in memory, on one thread, in virtual time; see the [module](crate::sim).
///
/// Time stands still unless the world runs, and passes at once when it does. A dropped world closes
/// everything in it.
///
/// Threads: one, from first to last. Cost: some microseconds a step. Limit: it panics where nothing but
/// steps happens any more, which is a loop that would burn a core.
pub struct World {
    engine: Rc<RefCell<Engine>>,
    net: Net,
    seed: u64,
}

impl World {
    /// A world of two workers in which everything is decided by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_workers(seed, WORKERS)
    }

    /// A world of so many workers.
    ///
    /// # Panics
    ///
    /// When `workers` is zero, or more than 65,535.
    #[must_use]
    pub fn with_workers(seed: u64, workers: usize) -> Self {
        assert!(workers > 0, "a world has at least one worker");
        let engine = Engine::new(seed, workers);
        let net = Net::of(Arc::clone(&engine.network) as Arc<dyn Network>);
        let engine = Rc::new(RefCell::new(engine));
        WORLDS.with_borrow_mut(|worlds| {
            worlds.retain(|world| world.strong_count() > 0);
            worlds.push(Rc::downgrade(&engine));
        });
        Self { engine, net, seed }
    }

    /// The network, for [`Server::on`](crate::Server::on), [`Client::on`](crate::Client::on) and pools.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The seed it was made from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The moment of virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.engine.borrow().network.clock.now()
    }

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

    /// Gives a name these addresses from now on, for clients that dial it; none takes the name away. A world
    /// knows no names, not even `localhost`, until it is told.
    pub fn set_host(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let engine = self.engine.borrow();
        let mut fabric = engine.network.fabric();
        fabric
            .hosts
            .insert(name.to_owned(), addresses.into_iter().collect());
    }

    /// A number that stands for all that has happened so far: two runs with the same hash were the same.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.engine.borrow().network.fabric().trace()
    }

    fn engine(&self) -> std::cell::RefMut<'_, Engine> {
        self.engine
            .try_borrow_mut()
            .expect("a world is not run by what runs in it")
    }
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

/// Runs the world of a network until `done`, at most until `deadline`; `None` when it runs already, or on
/// another thread.
pub(super) fn run_world_of(
    network: &MemoryNetwork,
    deadline: Instant,
    done: impl FnMut() -> bool,
) -> Option<bool> {
    let is_it = |engine: &Rc<RefCell<Engine>>| {
        let engine = engine.try_borrow();
        engine.is_ok_and(|engine| std::ptr::eq(&*engine.network, network))
    };
    let worlds = WORLDS.try_with(|worlds| {
        let worlds = worlds.borrow();
        worlds.iter().filter_map(Weak::upgrade).find(is_it)
    });
    let engine = worlds.ok().flatten()?;
    let mut engine = engine.try_borrow_mut().ok()?;
    Some(engine.run_until(deadline, done))
}

/// What may be done next.
#[derive(Clone, Copy)]
enum Step {
    /// Something that is due in the fabric.
    Happen,
    /// Somebody is taken in at the nth busy listener.
    Accept(usize),
    /// The nth busy pool does a piece of work.
    Pool(usize),
    /// The pools pay the wake-ups they owe.
    Pay,
    /// A task that is due is called.
    Task,
    Turn(usize),
}

/// A worker, as the scheduler sees it.
struct Station {
    worker: Worker<MemoryDriver>,
    mailbox: Arc<Mailbox>,
    woken: Arc<AtomicBool>,
    /// Whether it sleeps in its poll, so to speak, and until when at the latest.
    asleep: bool,
    wakes_at: Option<Instant>,
}

struct Woken(Arc<AtomicBool>);

impl Wake for Woken {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Engine {
    network: Arc<MemoryNetwork>,
    stations: Vec<Station>,
    steps: Vec<Step>,
    /// Steps since time last moved.
    steps_now: usize,
}

impl Engine {
    fn new(seed: u64, workers: usize) -> Self {
        let mut random = Random::new(seed);
        let (clock, roster) = (Clock::manual(), Roster::default());
        let limits = Temper::worker_limits(&mut random);
        let fabric = Fabric::new(random, clock.clone(), workers);
        let fabric = Arc::new(Mutex::new(fabric));
        let (mut doors, mut stations) = (Vec::new(), Vec::new());
        for worker in 0..workers {
            let woken = Arc::new(AtomicBool::new(false));
            let wake = Box::new(Woken(Arc::clone(&woken)));
            let mailbox = Arc::new(Mailbox::new(wake, limits.mailbox_messages_max));
            let stats = Arc::new(WorkerStats::default());
            let seed = WorkerSeed {
                index: u16::try_from(worker).expect("at most 65,535 workers"),
                limits: limits.clone(),
                mailbox: Arc::clone(&mailbox),
                stats: Arc::clone(&stats),
            };
            let driver = MemoryDriver {
                worker,
                clock: clock.clone(),
                fabric: Arc::clone(&fabric),
                roster: roster.clone(),
            };
            stations.push(Station {
                worker: Worker::new(seed, driver),
                mailbox: Arc::clone(&mailbox),
                woken,
                asleep: false,
                wakes_at: None,
            });
            doors.push(Door { mailbox, stats });
        }
        Self {
            network: Arc::new(MemoryNetwork::new(clock, fabric, roster, doors)),
            stations,
            steps: Vec::new(),
            steps_now: 0,
        }
    }

    /// Does one thing, of those that may be done now; else lets time pass until something is due in
    /// the fabric. `false` when nothing happens by itself.
    fn step(&mut self) -> bool {
        if self.step_now() {
            return true;
        }
        let Some(due) = self.network.fabric().next_due() else {
            return false;
        };
        let next = self.next_wake().map_or(due, |at| at.min(due));
        self.pass_until(next);
        true
    }

    /// Runs until `done`, at most until `deadline`.
    fn run_until(&mut self, deadline: Instant, mut done: impl FnMut() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            if self.step_now() {
                continue;
            }
            let due = self.network.fabric().next_due();
            let next = due.into_iter().chain(self.next_wake()).min();
            match next {
                Some(next) if next <= deadline => self.pass_until(next),
                _ => {
                    self.pass_until(deadline);
                    return done();
                }
            }
        }
    }

    /// When the next timer of a worker fires, a task is due, or a service is cut off.
    fn next_wake(&self) -> Option<Instant> {
        let wakes = self.stations.iter().filter_map(|station| station.wakes_at);
        let tasks = self.network.schedule.next();
        wakes.chain(self.network.next_abort()).chain(tasks).min()
    }

    fn pass_until(&mut self, at: Instant) {
        let clock = &self.network.clock;
        clock.advance(at.since(clock.now()));
        self.steps_now = 0;
    }

    /// Does one of the things that may be done at this moment; `false` when there are none.
    fn step_now(&mut self) -> bool {
        self.network.abort_due(self.network.clock.now());
        self.list_steps();
        if self.steps.is_empty() {
            return false;
        }
        self.steps_now += 1;
        assert!(
            self.steps_now < STEPS_PER_MOMENT_MAX,
            "the world spins: there is always more to do, and no time passes"
        );
        let chosen = self.network.fabric().random.below(self.steps.len());
        self.take(self.steps[chosen]);
        true
    }

    fn list_steps(&mut self) {
        let (now, fabric) = (self.network.clock.now(), self.network.fabric());
        let (steps, roster) = (&mut self.steps, &self.network.roster);
        steps.clear();
        if fabric.is_due() {
            steps.push(Step::Happen);
        }
        steps.extend((0..fabric.listeners.busy()).map(Step::Accept));
        steps.extend((0..roster.busy()).map(Step::Pool));
        if roster.owes() {
            steps.push(Step::Pay);
        }
        if self.network.schedule.next().is_some_and(|at| at <= now) {
            steps.push(Step::Task);
        }
        for (index, station) in self.stations.iter().enumerate() {
            if station.is_awake(now) || fabric.has_events(index) {
                steps.push(Step::Turn(index));
            }
        }
    }

    fn take(&mut self, step: Step) {
        let network = &self.network;
        match step {
            Step::Happen => network.happen(),
            Step::Accept(nth) => network.accept(nth),
            Step::Pool(nth) => {
                let mut fabric = network.fabric();
                let quiet = fabric.random.once_in(2);
                fabric.note(Trace::Pool, nth as u64, 0);
                drop(fabric);
                network.roster.run_one(nth, quiet);
            }
            Step::Pay => network.roster.pay(),
            Step::Task => {
                network.fabric().note(Trace::Task, 0, 0);
                network.call_task();
            }
            Step::Turn(index) => {
                network.fabric().note(Trace::Turn, index as u64, 0);
                self.stations[index].turn(&network.clock);
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.network.end_world();
        for station in &mut self.stations {
            thread_role::play(true, || station.worker.close_all());
        }
    }
}

impl Station {
    /// Whether its poll would return.
    fn is_awake(&self, now: Instant) -> bool {
        !self.asleep
            || self.woken.load(Ordering::Relaxed)
            || self.wakes_at.is_some_and(|at| at <= now)
    }

    /// One turn, at whose end it goes to sleep if it may. It sleeps by the mailbox's own protocol, so
    /// whoever does not wake it is found out.
    fn turn(&mut self, clock: &Clock) {
        self.woken.store(false, Ordering::Relaxed);
        let worker = &mut self.worker;
        thread_role::play(true, || worker.turn(worker.timeout()));
        let timeout = worker.timeout();
        let may_wait = timeout.is_none_or(|timeout| !timeout.is_zero());
        self.asleep = may_wait && self.mailbox.may_sleep();
        self.wakes_at = timeout.map(|timeout| clock.now() + timeout);
    }
}
