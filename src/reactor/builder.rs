//! How a reactor is to be, and its start.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use super::Reactor;
use super::system::System;
use super::threads::{Workers, spawn};
use crate::address::Peer;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::limits::{
    CONNECTIONS_MAX, DESCRIPTORS_RESERVED, WorkerLimits, at_least_one, workers_default,
};
use crate::net::{Net, Network};
use crate::schedule::Schedule;
use crate::transport::system::{Acceptor, Admission, Order, descriptor_limit};
use crate::watchdog::{OnStall, Stall};

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
    /// accepted, or not dialled, and counted as [`refused`](crate::Stats::refused), unless their server says otherwise
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
        let schedule = Arc::new(Schedule::new());
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
        let system = Arc::new(System::new(
            clock, doors, handle, one_chosen, admission, schedule,
        ));
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
