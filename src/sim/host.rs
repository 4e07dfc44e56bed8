//! One node from the inside: its workers, its time, its programs, and its lives.

use std::any::Any;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::drift::Drift;
use super::driver::MemoryDriver;
use super::fabric::Fabric;
use super::links::NodeId;
use super::misfortune::Remains;
use super::network::{Door, MemoryNetwork};
use super::node::Face;
use super::temper::Temper;
use crate::clock::{Clock, Instant};
use crate::executor::Roster;
use crate::limits::WorkerLimits;
use crate::mailbox::{Mailbox, Wake};
use crate::net::{Net, Network};
use crate::stats::WorkerStats;
use crate::sync::lock;
use crate::thread_role;
use crate::transport::{Worker, WorkerSeed};

/// Sets a program up on a network; what it returns lives as long as the node does.
pub(super) type Setup = Box<dyn FnMut(&Net) -> Box<dyn Any>>;

/// A node of the world.
pub(super) struct Host {
    pub(super) face: Arc<Face>,
    workers: usize,
    drift: Drift,
    pub(super) life: Life,
    /// Lives that ended in a crash: stopped where they were, since to drop them would tell their programs.
    pub(super) dead: Vec<Life>,
    programs: Vec<Setup>,
    /// Whether it is a fault that took it down, which also brings it up again.
    pub(super) downed_by_fault: bool,
}

/// A node from its start to its crash.
pub(super) struct Life {
    pub(super) network: Arc<MemoryNetwork>,
    pub(super) stations: Vec<Station>,
    pub(super) desks: Range<usize>,
    kept: Vec<Box<dyn Any>>,
    pub(super) remains: Remains,
}

/// A worker, as the scheduler sees it.
pub(super) struct Station {
    worker: Worker<MemoryDriver>,
    pub(super) mailbox: Arc<Mailbox>,
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

impl Host {
    /// A node that begins to live at a moment of the world's.
    pub(super) fn new(
        fabric: &Arc<Mutex<Fabric>>,
        (node, name): (NodeId, &str),
        workers: usize,
        now: Instant,
    ) -> Self {
        let (life, drift) = Life::begin(fabric, node, workers, now);
        Self {
            face: Arc::new(Face::new(node, name, &life.network)),
            workers,
            drift,
            life,
            dead: Vec::new(),
            programs: Vec::new(),
            downed_by_fault: false,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.face.is_up()
    }

    /// Moves its clock to where it stands at a moment of the world's.
    pub(super) fn sync(&self, now: Instant) {
        let clock = &self.life.network.clock;
        clock.advance(self.drift.node_at(now).since(clock.now()));
    }

    /// From now on its clock is fast by so many millionths.
    pub(super) fn set_drift(&mut self, now: Instant, fast_by: i32) {
        self.drift = Drift::new(now, self.life.network.clock.now(), fast_by);
    }

    /// The moment of the world's at which its clock shows `at`.
    pub(super) fn world_at(&self, at: Instant) -> Instant {
        self.drift.world_at(at)
    }

    /// When it does something by itself.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let (network, stations) = (&self.life.network, &self.life.stations);
        let wakes = stations.iter().filter_map(|station| station.wakes_at);
        let others = network
            .next_abort()
            .into_iter()
            .chain(network.schedule.next());
        wakes.chain(others).min().map(|at| self.world_at(at))
    }

    /// Starts a program, and again after each crash.
    pub(super) fn run(&mut self, mut setup: Setup) {
        if self.is_up() {
            self.life.kept.push(setup(&self.face.net()));
        }
        self.programs.push(setup);
    }

    /// Stops it where it is.
    pub(super) fn crash(&mut self, fabric: &Mutex<Fabric>) {
        self.face.set_up(false);
        self.life.network.set_over();
        let mut fabric = lock(fabric);
        self.life.remains = fabric.crash(self.face.id(), self.life.desks.clone());
    }

    /// Begins another life, with nothing of the one before.
    pub(super) fn restart(&mut self, fabric: &Arc<Mutex<Fabric>>, now: Instant) {
        let node = self.face.id();
        let (life, drift) = Life::begin(fabric, node, self.workers, now);
        self.drift = drift;
        self.dead.push(std::mem::replace(&mut self.life, life));
        self.downed_by_fault = false;
        self.face.live(&self.life.network);
        lock(fabric).restart(node);
        let net = self.face.net();
        for program in &mut self.programs {
            self.life.kept.push(program(&net));
        }
    }

    /// Every life it has had.
    pub(super) fn lives(&self) -> impl Iterator<Item = &Life> {
        self.dead.iter().chain([&self.life])
    }
}

impl Life {
    fn begin(
        shared: &Arc<Mutex<Fabric>>,
        node: NodeId,
        workers: usize,
        now: Instant,
    ) -> (Self, Drift) {
        let mut fabric = lock(shared);
        let Fabric { temper, random, .. } = &mut *fabric;
        // The world's own network has the world's time.
        let (skew, fast_by) = match node {
            0 => (now.since(Instant::START), 0),
            _ => temper.clock(random),
        };
        let limits = Temper::worker_limits(random);
        let first = fabric.add_desks(workers);
        drop(fabric);
        let (clock, roster) = (Clock::manual(), Roster::default());
        clock.advance(skew);
        let drift = Drift::new(now, clock.now(), fast_by);
        let station = |index| {
            let driver = MemoryDriver {
                worker: first + index,
                clock: clock.clone(),
                fabric: Arc::clone(shared),
                roster: roster.clone(),
            };
            Station::new(index, &limits, driver)
        };
        let (stations, doors) = (0..workers).map(station).unzip();
        let fabric = Arc::clone(shared);
        let network = MemoryNetwork::new((node, first), clock, fabric, roster, doors);
        let life = Self {
            network: Arc::new(network),
            stations,
            desks: first..first + workers,
            kept: Vec::new(),
            remains: Remains::default(),
        };
        (life, drift)
    }

    pub(super) fn net(network: &Arc<MemoryNetwork>) -> Net {
        Net::of(Arc::clone(network) as Arc<dyn Network>)
    }

    /// Closes everything, as a program does that ends.
    pub(super) fn close_all(&mut self) {
        for station in &mut self.stations {
            thread_role::play(true, || station.worker.close_all());
        }
    }
}

impl Station {
    fn new(index: usize, limits: &WorkerLimits, driver: MemoryDriver) -> (Self, Door) {
        let woken = Arc::new(AtomicBool::new(false));
        let wake = Box::new(Woken(Arc::clone(&woken)));
        let mailbox = Arc::new(Mailbox::new(wake, limits.mailbox_messages_max));
        let stats = Arc::new(WorkerStats::default());
        let seed = WorkerSeed {
            index: u16::try_from(index).expect("at most 65,535 workers"),
            limits: limits.clone(),
            mailbox: Arc::clone(&mailbox),
            stats: Arc::clone(&stats),
        };
        let station = Self {
            worker: Worker::new(seed, driver),
            mailbox: Arc::clone(&mailbox),
            woken,
            asleep: false,
            wakes_at: None,
        };
        (station, Door { mailbox, stats })
    }

    /// Whether its poll would return.
    pub(super) fn is_awake(&self, now: Instant) -> bool {
        !self.asleep
            || self.woken.load(Ordering::Relaxed)
            || self.wakes_at.is_some_and(|at| at <= now)
    }

    /// One turn, at whose end it goes to sleep if it may. It sleeps by the mailbox's own protocol, so
    /// whoever does not wake it is found out.
    pub(super) fn turn(&mut self, clock: &Clock) {
        self.woken.store(false, Ordering::Relaxed);
        let worker = &mut self.worker;
        thread_role::play(true, || worker.turn(worker.timeout()));
        let timeout = worker.timeout();
        let may_wait = timeout.is_none_or(|timeout: Duration| !timeout.is_zero());
        self.asleep = may_wait && self.mailbox.may_sleep();
        self.wakes_at = timeout.map(|timeout| clock.now() + timeout);
    }
}
