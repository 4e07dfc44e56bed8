//! The network of a world, as servers and clients see it.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use log::error;

use super::datagrams::MemoryDatagrams;
use super::engine::run_world_of;
use super::fabric::Fabric;
use super::links::NodeId;
use super::listener::ListenerId;

use crate::address::Place;
use crate::clock::{Clock, Instant};
use crate::connection::{Listens, Service};
use crate::datagram::At;
use crate::error::{Error, ErrorKind};
use crate::executor::{Executor, Roster};
use crate::inspection::{ConnectionInfo, Inquiry, Listing};
use crate::mailbox::{Command, Mailbox};
use crate::metrics::Metrics;
use crate::net::{Listening, Network, Opening, Resolved, ShutdownReport};
use crate::options::Options;
use crate::panics::contain;
use crate::schedule::{Schedule, Task, TaskId};
use crate::stats::{Stats, WorkerStats};
use crate::sync::lock;
use crate::thread_role;
use crate::transport::{Arrival, EndpointArrival};

/// One worker, as seen from outside.
pub(super) struct Door {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) stats: Arc<WorkerStats>,
}

/// What one life of a node shares with the servers and clients on it.
pub(super) struct MemoryNetwork {
    pub(super) node: NodeId,
    /// The number of the first worker's desk.
    first_desk: usize,
    /// The node's own time.
    pub(super) clock: Clock,
    pub(super) fabric: Arc<Mutex<Fabric>>,
    pub(super) roster: Roster,
    pub(super) doors: Vec<Door>,
    pub(super) schedule: Schedule,
    next: AtomicUsize,
    /// Services that are to be cut off at a moment, because nobody could wait for them.
    aborts: Mutex<Vec<(Instant, Arc<Service>)>>,
    over: AtomicBool,
}

impl MemoryNetwork {
    pub(super) fn new(
        (node, first_desk): (NodeId, usize),
        clock: Clock,
        fabric: Arc<Mutex<Fabric>>,
        roster: Roster,
        doors: Vec<Door>,
    ) -> Self {
        Self {
            node,
            first_desk,
            clock,
            fabric,
            roster,
            doors,
            schedule: Schedule::new(),
            next: AtomicUsize::new(0),
            aborts: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn fabric(&self) -> MutexGuard<'_, Fabric> {
        lock(&self.fabric)
    }

    /// The next worker, in turn.
    fn next_worker(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.doors.len()
    }

    /// Does the acceptor's part: takes in who waits longest at one of the busy listeners.
    pub(super) fn accept(&self, nth: usize) {
        let worker = self.next_worker();
        let desk = self.first_desk + worker;
        let Some(service) = self.fabric().accept(nth, desk) else {
            return;
        };
        service.enter();
        self.announce(worker);
    }

    fn announce(&self, worker: usize) {
        let door = &self.doors[worker];
        door.stats.connections.enter();
        door.mailbox.push(Command::Arrivals);
    }

    pub(super) fn tell_workers(&self, command: Command) {
        for door in &self.doors {
            door.mailbox.push(command);
        }
    }

    /// Lets nobody in any more, and tells the workers.
    pub(super) fn begin_end(&self, service: &Service) {
        service.end();
        let mut fabric = self.fabric();
        let waited = fabric.listeners.unbind_ended();
        fabric.turn_away(waited);
        drop(fabric);
        self.tell_workers(Command::Shutdown);
    }

    /// Closes what is left; answers how many that were.
    pub(super) fn abort(&self, service: &Service) -> usize {
        let left = service.abort();
        self.tell_workers(Command::Shutdown);
        left
    }

    /// When the next service is to be cut off.
    pub(super) fn next_abort(&self) -> Option<Instant> {
        lock(&self.aborts).iter().map(|(at, _)| *at).min()
    }

    /// Cuts off the services whose time has come.
    pub(super) fn abort_due(&self, now: Instant) {
        let mut due = Vec::new();
        lock(&self.aborts).retain(|(at, service)| {
            if *at <= now {
                due.push(Arc::clone(service));
            }
            *at > now
        });
        for service in due {
            self.abort(&service);
        }
    }

    /// From now on nothing is bound or connected here: the world has ended, or the node has crashed.
    pub(super) fn set_over(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// The world has ended: nothing comes any more.
    pub(super) fn end_world(&self) {
        self.set_over();
        self.schedule.end();
        let unanswered = std::mem::take(&mut self.fabric().lookups);
        drop(unanswered);
    }

    /// Does one piece of work that was left for now.
    pub(super) fn call_task(&self) {
        let task = self.schedule.take_due(self.clock.now(), &mut 1);
        if let Some(task) = task {
            call(task);
        }
    }

    fn refuse_when_over(&self) -> Result<(), Error> {
        match self.over.load(Ordering::Relaxed) {
            true => {
                let text = "the world has ended, or the node has crashed";
                Err(Error::new(ErrorKind::Closed, text))
            }
            false => Ok(()),
        }
    }
}

/// Calls what the acceptor or the resolver would, whose thread outlives a panic.
pub(super) fn call(task: Task) {
    if contain(|| thread_role::play(true, task)).is_err() {
        error!(target: "netwheel::acceptor", "a task panicked");
    }
}

/// A place in memory that is bound; freed when it is dropped unserved.
struct MemoryBound {
    id: ListenerId,
    place: Place,
    fabric: Arc<Mutex<Fabric>>,
}

impl Listening for MemoryBound {
    fn place(&self) -> &Place {
        &self.place
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Drop for MemoryBound {
    fn drop(&mut self) {
        let mut fabric = lock(&self.fabric);
        let waited = fabric.listeners.unbind_unserved(self.id);
        fabric.turn_away(waited);
    }
}

impl Network for MemoryNetwork {
    fn bind(&self, at: &Place, options: &Options) -> Result<Box<dyn Listening>, Error> {
        self.refuse_when_over()?;
        let (id, place) = self.fabric().listeners.bind(self.node, at, options)?;
        let fabric = Arc::clone(&self.fabric);
        Ok(Box::new(MemoryBound { id, place, fabric }))
    }

    fn serve(
        &self,
        listening: Vec<Box<dyn Listening>>,
        service: &Arc<Service>,
    ) -> Result<(), Error> {
        for listening in listening {
            let bound = listening.into_any().downcast::<MemoryBound>();
            let bound = bound.map_err(|_| {
                Error::new(ErrorKind::Misuse, "a listener of another network was given")
            })?;
            self.fabric().listeners.serve(bound.id, service);
        }
        Ok(())
    }

    fn connect(&self, to: &Place, service: &Arc<Service>, timeout: Duration) -> Result<(), Error> {
        self.refuse_when_over()?;
        let worker = self.next_worker();
        let mut fabric = self.fabric();
        let (stream, peer) = fabric.connect(self.node, to, &service.options);
        service.enter();
        let arrival = Arrival {
            stream,
            peer,
            service: Arc::clone(service),
            connect_timeout: Some(timeout),
            evicts: false,
        };
        fabric.hand_over(self.first_desk + worker, arrival);
        drop(fabric);
        self.announce(worker);
        Ok(())
    }

    fn resolve(&self, host: &str, port: u16, _: Duration, done: Resolved) {
        self.fabric().look_up(self.node, host, port, done);
    }

    fn schedule(&self, after: Duration, task: Task) -> Result<TaskId, (Error, Task)> {
        self.schedule.add(self.clock.now() + after, task)
    }

    fn cancel(&self, task: TaskId) {
        self.schedule.cancel(task);
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn seed(&self) -> u64 {
        self.fabric().random.next()
    }

    fn open_datagrams(&self, opening: Opening<'_>) -> Result<SocketAddr, Error> {
        self.refuse_when_over()?;
        let shared = opening.options.share_port;
        let workers = match shared {
            true => (0..self.doors.len()).collect(),
            false => vec![self.next_worker()],
        };
        let mut at = opening.at;
        let mut local = at.address();
        for worker in workers {
            let mut fabric = self.fabric();
            let (id, bound) = fabric.bind_datagrams(self.node, at, opening.options)?;
            let arrival = EndpointArrival {
                wire: MemoryDatagrams::new(id, Arc::clone(&self.fabric)),
                seed: (opening.seed)(bound),
                listens: Listens::new(opening.service),
            };
            fabric.hand_over_endpoint(self.first_desk + worker, arrival);
            drop(fabric);
            self.doors[worker].mailbox.push(Command::Arrivals);
            if shared {
                at = At::Bound(bound);
            }
            local = bound;
        }
        Ok(local)
    }

    fn executor(&self, _: usize) -> Executor {
        self.roster.executor()
    }

    /// Runs the world until the service has ended. Where that cannot be, in a callback or on another
    /// thread, it returns at once, and the service ends as the world goes on.
    fn end(&self, service: &Arc<Service>, timeout: Duration) -> ShutdownReport {
        let start = self.clock.now();
        let before = service.active();
        if self.over.load(Ordering::Relaxed) {
            service.end();
            return ShutdownReport {
                drained: 0,
                aborted: 0,
                elapsed: Duration::ZERO,
            };
        }
        self.begin_end(service);
        let deadline = start + timeout;
        let mut aborted = 0;
        match run_world_of(self, deadline, || service.active() == 0) {
            Some(true) => {}
            Some(false) => {
                aborted = self.abort(service);
                run_world_of(self, deadline, || service.active() == 0);
            }
            None => lock(&self.aborts).push((deadline, Arc::clone(service))),
        }
        ShutdownReport {
            drained: before.saturating_sub(service.active().max(aborted)),
            aborted,
            elapsed: self.clock.now().since(start),
        }
    }

    fn stats(&self) -> Stats {
        Stats::of_workers(self.doors.iter().map(|door| &*door.stats))
    }

    fn metrics(&self) -> Metrics {
        let workers = self.doors.iter().map(|door| (&*door.stats, &*door.mailbox));
        Metrics::read(self.clock.now(), self.stats(), workers)
    }

    fn inspect(&self, inquiry: Inquiry) -> Result<Weak<Inquiry>, Error> {
        let desks: Vec<_> = self.doors.iter().map(|door| &door.stats.desk).collect();
        inquiry.spread(&desks, || self.tell_workers(Command::Inspect))
    }

    /// Runs the world until all workers have answered.
    fn connections(&self, timeout: Duration) -> Result<Vec<ConnectionInfo>, Error> {
        thread_role::refuse_on_io_thread("wait for a list of connections")?;
        let found: Arc<Mutex<Option<Listing>>> = Arc::default();
        let answer = Arc::clone(&found);
        let done = move |listing| *lock(&answer) = Some(listing);
        self.inspect(Inquiry::new(usize::MAX, done))?;
        run_world_of(self, self.clock.now() + timeout, || lock(&found).is_some());
        let listing = lock(&found).take();
        listing
            .map(|listing| listing.connections)
            .ok_or_else(|| Error::new(ErrorKind::Timeout, "the world did not get to it in time"))
    }
}
