//! All of it: one acceptor thread and N workers; who starts them, and how they end.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{error, info, warn};

use crate::address::{Peer, Place};
use crate::clock::Clock;
use crate::connection::Service;
use crate::error::{Error, ErrorKind};
use crate::executor::Executor;
use crate::limits::{CONNECTIONS_MAX, DESCRIPTORS_RESERVED, WorkerLimits, workers_default};
use crate::mailbox::{Command, Mailbox};
use crate::net::{Listening, Net, Network, ShutdownReport};
use crate::options::Options;
use crate::stats::{AcceptStats, Stats, WorkerStats};
use crate::sync::lock;
use crate::thread_role;
use crate::transport::system::{
    Acceptor, AcceptorHandle, Bound, Inbound, Order, SystemDriver, WorkerDoor, begin_connect,
    descriptor_limit, pin_to,
};
use crate::transport::{Arrival, Worker, WorkerSeed};

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
    /// ([`DESCRIPTORS_RESERVED`] are left for the rest of the program). More are closed as they are
    /// accepted and counted as [`refused`](Stats::refused).
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
    /// must neither block nor panic. Workers that [accept by themselves](crate::Server::reuse_port)
    /// do not ask.
    #[must_use]
    pub fn choose_worker(
        mut self,
        choose: impl Fn(&Peer, &[usize]) -> usize + Send + Sync + 'static,
    ) -> Self {
        self.order = Order::Custom(Arc::new(choose));
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for more than 65,535 workers; otherwise when the system refuses a poll or
    /// a thread.
    pub fn start(self) -> Result<Reactor, Error> {
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
        let (mut doors, mut threads) = (Vec::new(), Vec::new());
        let system = match self.start_threads(count, &mut doors, &mut threads) {
            Ok(system) => Arc::new(system),
            Err(error) => {
                end_workers(&doors, &mut threads);
                return Err(error);
            }
        };
        info!(target: "netwheel::reactor", "started with {count} workers");
        let net = Net::of(Arc::clone(&system) as Arc<dyn Network>);
        Ok(Reactor {
            net,
            system,
            threads,
        })
    }

    /// Starts the workers, then the acceptor; what runs already when that fails is in `doors` and
    /// `threads`.
    fn start_threads(
        self,
        count: u16,
        doors: &mut Vec<WorkerDoor>,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> Result<System, Error> {
        let clock = Clock::system();
        for index in 0..count {
            let core = self.cores.iter().cycle().nth(usize::from(index)).copied();
            let (door, thread) = start_worker(index, &self.limits, &clock, core)?;
            doors.push(door);
            threads.push(thread);
        }
        let accept_stats = Arc::new(AcceptStats::default());
        let connections_max = self.connections_max.unwrap_or_else(connections_default);
        let (acceptor, handle) = Acceptor::new(
            clock,
            doors.clone(),
            self.order,
            connections_max,
            Arc::clone(&accept_stats),
        )?;
        let acceptor = spawn("netwheel-accept".into(), move || acceptor.run())?;
        threads.push(acceptor);
        Ok(System {
            doors: doors.clone(),
            acceptor: handle,
            accept_stats,
            connections_max,
            next: Mutex::new(0),
            services: Mutex::default(),
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
    let room = limit.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    if room < CONNECTIONS_MAX {
        warn!(target: "netwheel::reactor",
            "the descriptor limit of {limit} allows {room} connections; raise it with `ulimit -n`");
    }
    room.min(CONNECTIONS_MAX)
}

fn start_worker(
    index: u16,
    limits: &WorkerLimits,
    clock: &Clock,
    core: Option<usize>,
) -> Result<(WorkerDoor, JoinHandle<()>), Error> {
    let refused = |error: io::Error| Error::io("cannot start a worker", error);
    let (sender, receiver): (Sender<Inbound>, Receiver<Inbound>) = bounded(INBOUND_MAX);
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
    Ok((
        WorkerDoor {
            inbound: sender,
            mailbox,
            stats,
        },
        thread,
    ))
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

/// Stops the workers, and waits for all threads.
fn end_workers(doors: &[WorkerDoor], threads: &mut Vec<JoinHandle<()>>) {
    stop_workers(doors);
    for thread in threads.drain(..) {
        if thread.join().is_err() {
            error!(target: "netwheel::reactor", "an I/O thread panicked");
        }
    }
}

fn stop_workers(doors: &[WorkerDoor]) {
    for door in doors {
        door.mailbox.push(Command::Stop);
    }
}

/// A running acceptor and its workers, which serve any number of servers and clients.
///
/// Threads: any. Ends, with everything in it, when it is shut down or dropped; a drop closes all
/// connections at once and waits for the threads.
pub struct Reactor {
    net: Net,
    system: Arc<System>,
    threads: Vec<JoinHandle<()>>,
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

    /// Shuts down: lets nobody in any more, tells all handlers, answers what was read, flushes, closes
    /// what is left after `timeout`, and waits for the threads.
    ///
    /// Returns as soon as the last connection has gone; one that was answered still waits for its
    /// peer's FIN, at most [`LINGER_TIMEOUT`](crate::limits::LINGER_TIMEOUT). A handler that blocks
    /// its worker is waited for, whatever `timeout` says.
    ///
    /// # Panics
    ///
    /// On one of the reactor's own threads, which cannot wait for itself.
    pub fn shutdown(mut self, timeout: Duration) -> ShutdownReport {
        self.end(timeout)
    }

    fn end(&mut self, timeout: Duration) -> ShutdownReport {
        if let Err(error) = thread_role::refuse_on_io_thread("shut its reactor down") {
            panic!("{error}");
        }
        let report = self.system.end_services(timeout);
        self.system.acceptor.stop();
        end_workers(&self.system.doors, &mut self.threads);
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
        if thread_role::refuse_on_io_thread("wait for itself").is_ok() {
            self.end(Duration::ZERO);
        } else {
            // Dropped by one of its own handlers: the threads end by themselves, unwaited for.
            self.system.acceptor.stop();
            stop_workers(&self.system.doors);
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
    doors: Vec<WorkerDoor>,
    acceptor: AcceptorHandle,
    accept_stats: Arc<AcceptStats>,
    connections_max: usize,
    next: Mutex<usize>,
    services: Mutex<Vec<Arc<Service>>>,
}

impl System {
    fn end_services(&self, timeout: Duration) -> ShutdownReport {
        let services = std::mem::take(&mut *lock(&self.services));
        self.end_all(&services, timeout)
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
        self.acceptor.close_ended();
        self.tell_workers(Command::Shutdown);
        let mut aborted = 0;
        for service in services {
            if service.wait_gone(timeout.saturating_sub(start.elapsed())) {
                continue;
            }
            aborted += service.abort();
            self.tell_workers(Command::Shutdown);
            // A worker needs one turn; only a handler that blocks it can make this wait in vain.
            if !service.wait_gone(Duration::from_secs(1)) {
                warn!(target: "netwheel::reactor", "a handler blocks its worker; not waiting for it");
            }
        }
        let drained = before.saturating_sub(aborted);
        ShutdownReport {
            drained,
            aborted,
            elapsed: start.elapsed(),
        }
    }

    fn tell_workers(&self, command: Command) {
        for door in &self.doors {
            door.mailbox.push(command);
        }
    }

    fn remember(&self, service: &Arc<Service>) {
        let mut services = lock(&self.services);
        // Clients that have ended and are held by nobody else need not be shut down.
        services.retain(|service| Arc::strong_count(service) > 1 || service.active() > 0);
        services.push(Arc::clone(service));
    }

    fn next_door(&self) -> &WorkerDoor {
        let mut next = lock(&self.next);
        *next = (*next + 1) % self.doors.len();
        &self.doors[*next]
    }

    /// A listener of its own for each worker, on the one port.
    fn share(&self, first: Bound, service: &Arc<Service>) -> Result<(), Error> {
        let place = first.place().clone();
        let mut bound = vec![first];
        while bound.len() < self.doors.len() {
            bound.push(Bound::new(&place, &service.options)?);
        }
        for (bound, door) in bound.into_iter().zip(&self.doors) {
            let inbound = Inbound::Listener(bound.listener(), service.lease());
            door.inbound.send(inbound).map_err(|_| ended())?;
            door.mailbox.push(Command::Arrivals);
        }
        Ok(())
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "the reactor has been shut down")
}

/// Binds a socket of the system; needs no reactor.
pub(crate) fn bind(at: &Place, options: &Options) -> Result<Box<dyn Listening>, Error> {
    Ok(Box::new(Bound::new(at, options)?))
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
        self.remember(service);
        for listening in listening {
            let bound = listening.into_any().downcast::<Bound>().map_err(|_| {
                Error::new(ErrorKind::Misuse, "a listener of another network was given")
            })?;
            if service.options.share_port && bound.place().inet().is_some() {
                self.share(*bound, service)?;
            } else {
                self.acceptor.listen(bound.listener(), Arc::clone(service));
            }
        }
        Ok(())
    }

    fn connect(&self, to: &Place, service: &Arc<Service>, timeout: Duration) -> Result<(), Error> {
        let door = self.next_door();
        if door.stats.connections.count() >= self.connections_max {
            return Err(Error::new(
                ErrorKind::Io,
                "the reactor has the most connections it may",
            ));
        }
        let (stream, peer) = begin_connect(to, &service.options)?;
        self.remember(service);
        service.enter();
        door.stats.connections.enter();
        let service = Arc::clone(service);
        let arrival = Arrival {
            stream,
            peer,
            service,
            connect_timeout: Some(timeout),
        };
        let Err(refused) = door.inbound.try_send(Inbound::Socket(arrival)) else {
            door.mailbox.push(Command::Arrivals);
            return Ok(());
        };
        door.stats.connections.leave();
        if let Inbound::Socket(arrival) = refused.into_inner() {
            arrival.service.leave();
        }
        Err(Error::new(
            ErrorKind::Closed,
            "the worker takes no more sockets at the moment",
        ))
    }

    fn executor(&self, threads: usize) -> Executor {
        Executor::new(threads)
    }

    fn end(&self, service: &Arc<Service>, timeout: Duration) -> ShutdownReport {
        lock(&self.services).retain(|other| !Arc::ptr_eq(other, service));
        self.end_all(std::slice::from_ref(service), timeout)
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for door in &self.doors {
            stats.add_worker(&door.stats);
        }
        stats.add_acceptor(&self.accept_stats);
        stats
    }
}
