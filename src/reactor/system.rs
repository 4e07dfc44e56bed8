//! The network on the operating system.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{TrySendError, bounded};
use log::warn;

use super::listening::bind;
use super::services::Services;
use crate::address::Place;
use crate::clock::{self, Clock};
use crate::connection::{Listens, Service};
use crate::datagram::At;
use crate::error::{Error, ErrorKind};
use crate::executor::Executor;
use crate::inspection::{ConnectionInfo, Inquiry, Listing};
use crate::mailbox::Command;
use crate::metrics::Metrics;
use crate::net::{Listening, Network, Opening, Resolved, ShutdownReport};
use crate::options::Options;
use crate::schedule::{Schedule, Task, TaskId};
use crate::stats::Stats;
use crate::sync::lock;
use crate::thread_role;
use crate::transport::system::{
    AcceptorHandle, Admission, Bound, BoundDatagrams, Inbound, Plug, Resolver, WorkerDoor,
    begin_connect,
};
use crate::transport::{Arrival, EndpointArrival};

/// The network on the operating system.
pub(super) struct System {
    clock: Clock,
    pub(super) doors: Vec<WorkerDoor>,
    pub(super) acceptor: AcceptorHandle,
    /// Whether there is nothing to choose: the only worker accepts by itself, which saves each connection
    /// the hop over the acceptor's thread.
    one_chosen: bool,
    /// The listeners of that worker, which are stopped without waiting for it.
    plugs: Mutex<Vec<(Arc<Service>, Plug)>>,
    admission: Arc<Admission>,
    /// What the acceptor does later.
    schedule: Arc<Schedule>,
    pub(super) resolver: Resolver,
    next: Mutex<usize>,
    services: Mutex<Services>,
}

/// Time for the workers to cut off what is left at the end of a shutdown: they need one turn.
const CUT_OFF_TIME: Duration = Duration::from_secs(1);

impl System {
    pub(super) fn new(
        clock: Clock,
        doors: Vec<WorkerDoor>,
        acceptor: AcceptorHandle,
        one_chosen: bool,
        admission: Arc<Admission>,
        schedule: Arc<Schedule>,
    ) -> Self {
        Self {
            resolver: Resolver::new(clock.clone()),
            clock,
            doors,
            acceptor,
            one_chosen,
            plugs: Mutex::default(),
            admission,
            schedule,
            next: Mutex::new(0),
            services: Mutex::default(),
        }
    }

    /// All services there are; from now on there will be no more.
    pub(super) fn take_services(&self) -> Vec<Arc<Service>> {
        let mut services = lock(&self.services);
        services.ended = true;
        let list = std::mem::take(&mut services.list);
        list.iter().filter_map(Weak::upgrade).collect()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the deadline of the calling thread, not of a loop"
    )]
    pub(super) fn end_all(&self, services: &[Arc<Service>], timeout: Duration) -> ShutdownReport {
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
