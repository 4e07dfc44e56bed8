//! All of it: one acceptor thread and N workers; who starts them, and how they end.

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use log::{error, info, warn};

use crate::address::{Peer, Place};
use crate::clock::{self, Clock};
use crate::connection::{Listens, Service};
use crate::datagram::At;
use crate::error::{Error, ErrorKind};
use crate::executor::Executor;
use crate::inspection::{ConnectionInfo, Inquiry, Listing};
use crate::limits::{
    CONNECTIONS_MAX, DESCRIPTORS_RESERVED, WorkerLimits, at_least_one, workers_default,
};
use crate::mailbox::{Command, Mailbox};
use crate::metrics::Metrics;
use crate::net::{Listening, Net, Network, Opening, Resolved, ShutdownReport};
use crate::options::Options;
use crate::schedule::{Schedule, Task, TaskId};
use crate::stats::{Stats, WorkerStats};
use crate::sync::lock;
use crate::thread_role;
use crate::transport::system::{
    Acceptor, AcceptorHandle, Admission, Bound, BoundDatagrams, Inbound, Order, Plug, Resolver,
    SystemDriver, WorkerDoor, begin_connect, descriptor_limit, pin_to,
};
use crate::transport::{Arrival, EndpointArrival, Worker, WorkerSeed};
use crate::watchdog::{Guard, OnStall, Stall, Watchdog};

/// Sockets on their way into one worker; the acceptor holds back the rest, and the kernel more.
const INBOUND_MAX: usize = 1024;

/// How a reactor is to be, before it starts.
///
/// Threads: none before [`start`](Self::start).
///
/// ```
/// # fn main() -> netwheel::Result<()> {
/// let reactor = netwheel::Reactor::builder().workers(2).start()?;
/// reactor.shutdown(std::time::Duration::from_secs(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct ReactorBuilder {
    workers: usize,
    limits: WorkerLimits,
    connections_max: Option<usize>,
    order: Order,
    cores: Vec<usize>,
    on_stall: Option<OnStall>,
}

impl ReactorBuilder {
    /// I/O threads; zero, the default, means one a core.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Changes what holds for each worker.
    #[must_use]
    pub fn limits(mut self, limits: WorkerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets a worker poll on for so long after its last event before it sleeps; off by default.
    ///
    /// Spares a lone round trip the wake-up, its largest part, and costs up to a whole core: only for
    /// services that own their cores.
    #[must_use]
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.limits.busy_poll = time;
        self
    }

    /// Connections over all workers; by default [`CONNECTIONS_MAX`], or what the descriptor limit allows
    /// ([`DESCRIPTORS_RESERVED`], but at most half, are left for the rest of the program). More are reset as they are
    /// accepted, or not dialled, and counted as [`refused`](Stats::refused), unless their server says otherwise
    /// ([`Server::overflow`](crate::Server::overflow)). Threads that let in at the
    /// same moment may each pass it by one.
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = Some(count);
        self
    }

    /// Keeps the workers on these cores, one after the other and round again; not pinned by default.
    ///
    /// For services that own their cores: caches stay warm and nobody else is moved onto them. On a
    /// shared machine it only takes the scheduler's choices away. Linux; elsewhere a line in the log.
    #[must_use]
    pub fn pin_workers(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores = cores.into_iter().collect();
        self
    }

    /// Hands each new connection to the worker that has the fewest; in turn by default.
    #[must_use]
    pub fn least_connections(mut self) -> Self {
        self.order = Order::LeastConnections;
        self
    }

    /// Hands each new connection to the worker that `choose` names, given the peer and the
    /// connections that each worker has; taken modulo the workers. Runs on the acceptor's thread and
    /// must not block; where it panics, the next in turn is taken. Workers that [accept by themselves](crate::Server::reuse_port)
    /// do not ask.
    #[must_use]
    pub fn choose_worker(
        mut self,
        choose: impl Fn(&Peer, &[usize]) -> usize + Send + Sync + 'static,
    ) -> Self {
        self.order = Order::Custom(Arc::new(choose));
        self
    }

    /// Changes how long a turn of a worker may take before the watchdog warns, and before it is an error;
    /// [`TURN_WARN`](crate::limits::TURN_WARN) and [`TURN_ERROR`](crate::limits::TURN_ERROR) by default.
    ///
    /// While a turn lasts nothing else on its worker is served. The watchdog is a thread that looks twice
    /// in the shorter of both times; there is none where both are `Duration::MAX`.
    #[must_use]
    pub fn turn_bounds(mut self, warn: Duration, error: Duration) -> Self {
        (self.limits.turn_warn, self.limits.turn_error) = (warn, error);
        self
    }

    /// Calls `tell` for every turn that takes too long, while it still does: once when it is worth a
    /// warning and once when it is an error, see [`turn_bounds`](Self::turn_bounds).
    ///
    /// A line in the log tells the same, and counters of [`Metrics`](crate::Metrics). A panic in the
    /// callback is contained. Threads: the watchdog's, which the reactor's end waits for. Cost: none on the
    /// path of a message.
    ///
    /// ```
    /// # fn main() -> netwheel::Result<()> {
    /// let reactor = netwheel::Reactor::builder()
    ///     .workers(1)
    ///     .on_stall(|stall| println!("{stall}")) // worker 0 hangs for 103 ms in the stage "login" of ..
    ///     .start()?;
    /// # drop(reactor);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_stall(mut self, tell: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        self.on_stall = Some(Arc::new(tell));
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for more than 65,535 workers or a limit that cannot work; otherwise when the
    /// system refuses a poll or a thread. No thread is left behind then.
    pub fn start(self) -> Result<Reactor, Error> {
        self.limits.check()?;
        at_least_one("connections_max", self.connections_max.unwrap_or(1))?;
        let count = if self.workers == 0 {
            workers_default()
        } else {
            self.workers
        };
        let count = u16::try_from(count).map_err(|_| {
            Error::new(
                ErrorKind::Config,
                format!("{count} workers; a reactor has at most 65,535"),
            )
        })?;
        let clock = Clock::system();
        let mut workers = Workers::default();
        for index in 0..count {
            let core = self.cores.iter().cycle().nth(usize::from(index)).copied();
            workers.start_one(index, &self.limits, &clock, core)?;
        }
        let guard = workers.watch(&clock, &self.limits, self.on_stall)?;
        let admission = Arc::new(Admission::new(
            clock.clone(),
            workers.stats(),
            self.connections_max
                .map_or_else(connections_default, checked_connections),
        ));
        let (schedule, resolver) = (Arc::new(Schedule::new()), Resolver::new(clock.clone()));
        let doors = workers.doors.clone();
        let one_chosen = doors.len() == 1 && !matches!(self.order, Order::Custom(_));
        let (acceptor, handle) = Acceptor::new(
            clock.clone(),
            doors.clone(),
            self.order,
            Arc::clone(&admission),
            Arc::clone(&schedule),
        )?;
        let acceptor = spawn("netwheel-accept".into(), move || acceptor.run())?;
        let mut threads = workers.keep();
        threads.push(acceptor);
        let system = Arc::new(System {
            clock,
            doors,
            acceptor: handle,
            one_chosen,
            plugs: Mutex::default(),
            admission,
            schedule,
            resolver,
            next: Mutex::new(0),
            services: Mutex::default(),
        });
        info!(target: "netwheel::reactor", "started with {count} workers");
        let net = Net::of(Arc::clone(&system) as Arc<dyn Network>);
        Ok(Reactor {
            net,
            system,
            threads,
            guard,
        })
    }
}

impl fmt::Debug for ReactorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReactorBuilder")
            .field("workers", &self.workers)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What the descriptor limit leaves for connections, and says so when that is little.
fn connections_default() -> usize {
    let Some(limit) = descriptor_limit() else {
        return CONNECTIONS_MAX;
    };
    let room = (limit - DESCRIPTORS_RESERVED.min(limit / 2)).max(1);
    if room < CONNECTIONS_MAX {
        warn!(target: "netwheel::reactor",
            "the descriptor limit of {limit} allows {room} connections; raise it with `ulimit -n`");
    }
    room.min(CONNECTIONS_MAX)
}

/// The bound that the program has set; says so when there are too few descriptors for it.
fn checked_connections(max: usize) -> usize {
    if let Some(limit) = descriptor_limit()
        && limit < max.saturating_add(DESCRIPTORS_RESERVED)
    {
        let needed = max.saturating_add(DESCRIPTORS_RESERVED);
        warn!(target: "netwheel::reactor",
            "connections_max is {max}, but the descriptor limit is {limit}; raise it with `ulimit -n {needed}`, \
             or lower connections_max");
    }
    max
}

/// The workers started so far. Unless they are kept, they end again: a reactor starts whole or not at all.
#[derive(Default)]
struct Workers {
    doors: Vec<WorkerDoor>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    fn start_one(
        &mut self,
        index: u16,
        limits: &WorkerLimits,
        clock: &Clock,
        core: Option<usize>,
    ) -> Result<(), Error> {
        let refused = |error: io::Error| Error::io("cannot start a worker", error);
        let (inbound, receiver): (Sender<Inbound>, Receiver<Inbound>) = bounded(INBOUND_MAX);
        let stats = Arc::new(WorkerStats::default());
        let driver = SystemDriver::new(
            clock.clone(),
            limits.events_per_poll,
            receiver,
            Arc::clone(&stats),
        )
        .map_err(refused)?;
        let waker = driver.waker().map_err(refused)?;
        let mailbox = Arc::new(Mailbox::new(waker, limits.mailbox_messages_max));
        let seed = WorkerSeed {
            index,
            limits: limits.clone(),
            mailbox: Arc::clone(&mailbox),
            stats: Arc::clone(&stats),
        };
        let thread = spawn(format!("netwheel-io-{index}"), move || {
            if let Some(core) = core {
                pin_to(core);
            }
            Worker::new(seed, driver).run();
        })?;
        self.threads.push(thread);
        self.doors.push(WorkerDoor {
            inbound,
            mailbox,
            stats,
        });
        Ok(())
    }

    fn stats(&self) -> Vec<Arc<WorkerStats>> {
        self.doors
            .iter()
            .map(|door| Arc::clone(&door.stats))
            .collect()
    }

    /// Starts what watches them; nothing, where no turn is ever too long.
    fn watch(
        &self,
        clock: &Clock,
        limits: &WorkerLimits,
        on_stall: Option<OnStall>,
    ) -> Result<Option<Guard>, Error> {
        if limits.turn_warn.min(limits.turn_error) == Duration::MAX {
            return Ok(None);
        }
        let watchdog = Watchdog::new(clock.clone(), self.stats(), limits, on_stall);
        Guard::start(watchdog).map(Some)
    }

    fn keep(mut self) -> Vec<JoinHandle<()>> {
        self.doors.clear();
        std::mem::take(&mut self.threads)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        stop_workers(&self.doors);
        join(&mut self.threads);
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new()
        .name(name)
        .spawn(move || {
            thread_role::become_io_thread();
            body();
        })
        .map_err(|error| Error::io("cannot start a thread", error))
}

fn stop_workers(doors: &[WorkerDoor]) {
    for door in doors {
        door.mailbox.push(Command::Stop);
    }
}

fn join(threads: &mut Vec<JoinHandle<()>>) {
    for thread in threads.drain(..) {
        if thread.join().is_err() {
            error!(target: "netwheel::reactor", "an I/O thread panicked");
        }
    }
}

/// A running acceptor and its workers (a single worker accepts by itself), which serve any number of servers and clients.
///
/// Threads: any. Ends, with everything in it, when it is shut down or dropped; a drop closes all
/// connections at once and waits for the threads.
pub struct Reactor {
    net: Net,
    system: Arc<System>,
    threads: Vec<JoinHandle<()>>,
    /// Watches the workers to their very end.
    guard: Option<Guard>,
}

impl Reactor {
    /// A reactor to be configured.
    #[must_use]
    pub fn builder() -> ReactorBuilder {
        ReactorBuilder::default()
    }

    /// The network as seen from this reactor, for [`Server::on`](crate::Server::on) and
    /// [`Client::on`](crate::Client::on).
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// What all its servers and clients have counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.system.stats()
    }

    /// What its workers measure, each and together.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.system.metrics()
    }

    /// The connections that live at this moment, by worker, each as its worker found it within `timeout`.
    ///
    /// Datagram sockets are none. Threads: any but those of the reactor. Cost: some 300 ns a connection on its
    /// worker, [`INSPECTED_PER_TURN`](crate::limits::INSPECTED_PER_TURN) of them a turn; nothing while nobody
    /// asks. Limit: [`INQUIRIES_MAX`](crate::limits::INQUIRIES_MAX) callers at once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when a worker did not answer in time, since a handler blocks it;
    /// [`ErrorKind::OverLimit`] when too many wait already, [`ErrorKind::Misuse`] on an I/O thread.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> netwheel::Result<()> {
    /// # let reactor = netwheel::Reactor::builder().workers(1).start()?;
    /// for connection in reactor.connections(Duration::from_secs(1))? {
    ///     println!("{} {}: silent for {:?}", connection.id, connection.peer, connection.read_silence);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn connections(&self, timeout: Duration) -> Result<Vec<ConnectionInfo>, Error> {
        self.system.connections(timeout)
    }

    /// Shuts down: lets nobody in any more, tells all handlers, answers what was read, flushes, closes
    /// what is left after `timeout`, and waits for the threads.
    ///
    /// Returns as soon as the last connection has gone; one that was answered still waits for its
    /// peer's FIN, at most [`LINGER_TIMEOUT`](crate::limits::LINGER_TIMEOUT). A handler that blocks
    /// its worker is waited for, whatever `timeout` says.
    ///
    /// # Panics
    ///
    /// On an I/O thread of the crate, which would wait for itself.
    pub fn shutdown(mut self, timeout: Duration) -> ShutdownReport {
        thread_role::assert_may_wait("shut its reactor down");
        self.end(timeout)
    }

    fn end(&mut self, timeout: Duration) -> ShutdownReport {
        let report = self.system.end_all(&self.system.take_services(), timeout);
        self.system.resolver.end();
        self.system.acceptor.stop();
        stop_workers(&self.system.doors);
        join(&mut self.threads);
        self.guard = None;
        self.system.resolver.join();
        report
    }
}

impl AsRef<Net> for Reactor {
    fn as_ref(&self) -> &Net {
        &self.net
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        if thread_role::may_wait() {
            self.end(Duration::ZERO);
        } else {
            // Dropped by a callback, perhaps one of its own: the threads end by themselves, unwaited for.
            for service in self.system.take_services() {
                service.end();
            }
            self.system.resolver.end();
            self.system.acceptor.stop();
            stop_workers(&self.system.doors);
            if let Some(guard) = self.guard.take() {
                guard.let_go();
            }
        }
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("workers", &self.system.doors.len())
            .finish_non_exhaustive()
    }
}

/// The network on the operating system.
struct System {
    clock: Clock,
    doors: Vec<WorkerDoor>,
    acceptor: AcceptorHandle,
    /// Whether there is nothing to choose: the only worker accepts by itself, which saves each connection
    /// the hop over the acceptor's thread.
    one_chosen: bool,
    /// The listeners of that worker, which are stopped without waiting for it.
    plugs: Mutex<Vec<(Arc<Service>, Plug)>>,
    admission: Arc<Admission>,
    /// What the acceptor does later.
    schedule: Arc<Schedule>,
    resolver: Resolver,
    next: Mutex<usize>,
    services: Mutex<Services>,
}

/// The servers and clients of a reactor. Each lives for as long as its owner or a connection of it does.
#[derive(Default)]
struct Services {
    list: Vec<Weak<Service>>,
    /// So many stood in the list after those that have gone were last taken out.
    pruned: usize,
    /// Whether the reactor has been shut down.
    ended: bool,
}

/// Below so many services it is not worth looking for those that have gone.
const SERVICES_PRUNED_MIN: usize = 64;

/// Time for the workers to cut off what is left at the end of a shutdown: they need one turn.
const CUT_OFF_TIME: Duration = Duration::from_secs(1);

impl Services {
    /// Cost: O(1), amortised; those that have gone are taken out when the list has doubled.
    fn add(&mut self, service: &Arc<Service>) {
        if self.list.len() >= 2 * self.pruned.max(SERVICES_PRUNED_MIN) {
            self.list.retain(|service| service.strong_count() > 0);
            self.pruned = self.list.len();
        }
        self.list.push(Arc::downgrade(service));
    }
}

impl System {
    /// All services there are; from now on there will be no more.
    fn take_services(&self) -> Vec<Arc<Service>> {
        let mut services = lock(&self.services);
        services.ended = true;
        let list = std::mem::take(&mut services.list);
        list.iter().filter_map(Weak::upgrade).collect()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the deadline of the calling thread, not of a loop"
    )]
    fn end_all(&self, services: &[Arc<Service>], timeout: Duration) -> ShutdownReport {
        let start = Instant::now();
        let before: usize = services.iter().map(|service| service.active()).sum();
        for service in services {
            service.end();
        }
        self.stop_ended();
        self.acceptor.close_ended();
        self.tell_workers(Command::Shutdown);
        let gone =
            |service: &Service, by: Duration| service.wait_gone(by.saturating_sub(start.elapsed()));
        let late: Vec<_> = services
            .iter()
            .filter(|service| !gone(service, timeout))
            .collect();
        let aborted = late.iter().map(|service| service.abort()).sum();
        if !late.is_empty() {
            self.tell_workers(Command::Shutdown);
            let by = timeout.saturating_add(CUT_OFF_TIME);
            if !late.iter().all(|service| gone(service, by)) {
                warn!(target: "netwheel::reactor",
                    "a handler blocks its worker: connections there close once it returns");
            }
        }
        let drained = before.saturating_sub(aborted);
        ShutdownReport {
            drained,
            aborted,
            elapsed: start.elapsed(),
        }
    }

    /// Stops the listeners of services that are ending, on a worker that may be busy.
    fn stop_ended(&self) {
        let mut plugs = lock(&self.plugs);
        for (_, plug) in plugs.extract_if(.., |(service, _)| service.is_ending()) {
            plug.stop();
        }
    }

    fn tell_workers(&self, command: Command) {
        for door in &self.doors {
            door.mailbox.push(command);
        }
    }

    /// Makes sure that the service ends with the reactor.
    fn remember(&self, service: &Arc<Service>) -> Result<(), Error> {
        let mut services = lock(&self.services);
        if services.ended {
            return Err(ended());
        }
        services.add(service);
        Ok(())
    }

    fn next_door(&self) -> &WorkerDoor {
        let mut next = lock(&self.next);
        *next = (*next + 1) % self.doors.len();
        &self.doors[*next]
    }

    /// The sockets behind one that is bound: where the port is shared, one for each worker.
    fn sockets(&self, first: Bound, options: &Options) -> Result<Vec<Bound>, Error> {
        let (shared, place) = (first.is_shared(), first.place().clone());
        let mut sockets = vec![first];
        while shared && sockets.len() < self.doors.len() {
            sockets.push(Bound::new(&place, options)?);
        }
        Ok(sockets)
    }

    fn open(&self, sockets: Vec<Bound>, service: &Arc<Service>) -> Result<(), Error> {
        for (bound, door) in sockets.into_iter().zip(&self.doors) {
            let plug = self.one_chosen.then(|| bound.plug()).flatten();
            if let Some(plug) = plug {
                lock(&self.plugs).push((Arc::clone(service), plug));
                // It may have been told to end meanwhile, and nobody looks again.
                self.stop_ended();
            } else if !bound.is_shared() {
                let asked = self
                    .acceptor
                    .listen(bound.listener(), Listens::new(service));
                return if asked { Ok(()) } else { Err(ended()) };
            }
            let (listens, admission) = (Listens::new(service), Arc::clone(&self.admission));
            hand_in(
                door,
                Inbound::Listener(bound.listener(), listens, admission),
            )?;
        }
        Ok(())
    }
}

/// Gives a worker a socket; one that it does not take is closed.
fn hand_in(door: &WorkerDoor, inbound: Inbound) -> Result<(), Error> {
    let busy = "the worker takes no more sockets at the moment; try again later";
    match door.inbound.try_send(inbound) {
        Ok(()) => {
            door.mailbox.push(Command::Arrivals);
            Ok(())
        }
        Err(TrySendError::Full(_)) => Err(Error::new(ErrorKind::OverLimit, busy)),
        Err(TrySendError::Disconnected(_)) => Err(ended()),
    }
}

/// Nobody waits for these connections any more.
fn give_up(asked: &Weak<Inquiry>, timeout: Duration) -> Error {
    if let Some(inquiry) = asked.upgrade() {
        inquiry.abandon();
    }
    let text = format!(
        "a worker did not list its connections within {timeout:?}: a handler blocks it; \
        the watchdog tells which"
    );
    Error::new(ErrorKind::Timeout, text)
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "the reactor has been shut down")
}

/// Binds a socket of the system; needs no reactor.
pub(crate) fn bind(at: &Place, options: &Options) -> Result<Box<dyn Listening>, Error> {
    Ok(Box::new(Bound::new(at, options)?))
}

/// Serves a socket that listens already.
#[cfg(unix)]
pub(crate) fn adopt(
    listener: std::os::fd::OwnedFd,
    options: &Options,
) -> Result<Box<dyn Listening>, Error> {
    Ok(Box::new(crate::transport::system::adopt(
        listener, options,
    )?))
}

/// The listeners that the process was started with.
#[cfg(unix)]
pub(crate) fn take_handed_over() -> Result<Vec<std::os::fd::OwnedFd>, Error> {
    crate::transport::system::take_handed_over()
}

impl Listening for Bound {
    fn place(&self) -> &Place {
        Self::place(self)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Network for System {
    fn bind(&self, at: &Place, options: &Options) -> Result<Box<dyn Listening>, Error> {
        bind(at, options)
    }

    fn serve(
        &self,
        listening: Vec<Box<dyn Listening>>,
        service: &Arc<Service>,
    ) -> Result<(), Error> {
        // What may be refused comes first, so that nothing is served halfway.
        let mut all = Vec::new();
        for listening in listening {
            let bound = listening.into_any().downcast::<Bound>().map_err(|_| {
                Error::new(ErrorKind::Misuse, "a listener of another network was given")
            })?;
            all.push(self.sockets(*bound, &service.options)?);
        }
        self.remember(service)?;
        for sockets in all {
            if let Err(error) = self.open(sockets, service) {
                self.cut_off(service);
                return Err(error);
            }
        }
        Ok(())
    }

    fn connect(&self, to: &Place, service: &Arc<Service>, timeout: Duration) -> Result<(), Error> {
        if !self.admission.admits_dialled() {
            let max = self.admission.connections_max();
            let text =
                format!("the reactor has {max} connections, the most it may; close some first");
            return Err(Error::new(ErrorKind::OverLimit, text));
        }
        self.remember(service)?;
        let (stream, peer) = begin_connect(to, &service.options)?;
        let door = self.next_door();
        service.enter();
        door.stats.connections.enter();
        let arrival = Arrival {
            stream,
            peer,
            service: Arc::clone(service),
            connect_timeout: Some(timeout),
            evicts: false,
        };
        hand_in(door, Inbound::Socket(arrival)).inspect_err(|_| {
            door.stats.connections.leave();
            service.leave(&peer);
        })
    }

    fn resolve(&self, host: &str, port: u16, timeout: Duration, done: Resolved) {
        self.resolver.resolve(host, port, timeout, done);
    }

    fn schedule(&self, after: Duration, task: Task) -> Result<TaskId, (Error, Task)> {
        let id = self.schedule.add(self.clock.now() + after, task)?;
        self.acceptor.wake();
        Ok(id)
    }

    fn cancel(&self, task: TaskId) {
        self.schedule.cancel(task);
    }

    fn now(&self) -> clock::Instant {
        self.clock.now()
    }

    fn seed(&self) -> u64 {
        RandomState::new().hash_one(self.clock.now().as_nanos())
    }

    fn open_datagrams(&self, opening: Opening<'_>) -> Result<SocketAddr, Error> {
        let (options, service) = (opening.options, opening.service);
        let first = BoundDatagrams::new(opening.at, options)?;
        let local = first.local();
        let mut sockets = vec![first];
        while options.share_port && sockets.len() < self.doors.len() {
            sockets.push(BoundDatagrams::new(At::Bound(local), options)?);
        }
        self.remember(service)?;
        let lone = (sockets.len() == 1).then(|| self.next_door());
        for (bound, door) in sockets.into_iter().zip(&self.doors) {
            let arrival = EndpointArrival {
                seed: (opening.seed)(bound.local()),
                wire: bound.datagrams(),
                listens: Listens::new(service),
            };
            let given = hand_in(lone.unwrap_or(door), Inbound::Datagrams(arrival));
            given.inspect_err(|_| self.cut_off(service))?;
        }
        Ok(local)
    }

    fn executor(&self, threads: usize) -> Executor {
        Executor::new(threads)
    }

    fn end(&self, service: &Arc<Service>, timeout: Duration) -> ShutdownReport {
        self.end_all(std::slice::from_ref(service), timeout)
    }

    fn cut_off(&self, service: &Arc<Service>) {
        service.end();
        service.abort();
        self.stop_ended();
        self.acceptor.close_ended_soon();
        self.tell_workers(Command::Shutdown);
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::of_workers(self.doors.iter().map(|door| &*door.stats));
        stats.add_acceptor(self.admission.stats());
        stats
    }

    fn metrics(&self) -> Metrics {
        let workers = self.doors.iter().map(|door| (&*door.stats, &*door.mailbox));
        Metrics::read(self.clock.now(), self.stats(), workers)
    }

    fn inspect(&self, inquiry: Inquiry) -> Result<Weak<Inquiry>, Error> {
        let desks: Vec<_> = self.doors.iter().map(|door| &door.stats.desk).collect();
        inquiry.spread(&desks, || self.tell_workers(Command::Inspect))
    }

    fn connections(&self, timeout: Duration) -> Result<Vec<ConnectionInfo>, Error> {
        thread_role::refuse_on_io_thread("wait for a list of connections")?;
        let (answer, answers) = bounded(1);
        let done = move |listing: Listing| drop(answer.send(listing));
        let asked = self.inspect(Inquiry::new(usize::MAX, done))?;
        match answers.recv_timeout(timeout) {
            Ok(listing) => Ok(listing.connections),
            Err(_) => Err(give_up(&asked, timeout)),
        }
    }
}
