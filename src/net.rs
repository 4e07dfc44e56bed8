//! The network that servers and clients live on: the operating system's, or one in memory.
//!
//! The one dynamic seam of the crate, used when something starts and never on the path of a message. A
//! function that takes a [`Net`] runs unchanged on a reactor and inside a simulated world.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::address::Place;
use crate::clock::Instant;
use crate::connection::Service;
use crate::datagram::{At, EndpointSeed, UdpOptions};
use crate::error::Error;
use crate::executor::Executor;
use crate::inspection::{ConnectionInfo, Inquiry};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::schedule::{Task, TaskId};
use crate::stats::Stats;

/// A network, as seen by the servers and clients on it. A clone is the same network.
#[derive(Clone)]
pub struct Net(Arc<dyn Network>);

impl Net {
    pub(crate) fn of(network: Arc<dyn Network>) -> Self {
        Self(network)
    }

    pub(crate) fn network(&self) -> &dyn Network {
        &*self.0
    }

    /// A pool for handlers that may block, on this network's threads; in memory there are none, and
    /// the world runs the work itself. Zero threads means the default.
    #[must_use]
    pub fn executor(&self, threads: usize) -> Executor {
        self.0.executor(threads)
    }

    /// What the network's servers and clients have counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// What the network's workers measure.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.metrics()
    }

    /// The connections that live at this moment, see [`Reactor::connections`](crate::Reactor::connections).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn connections(&self, timeout: Duration) -> Result<Vec<ConnectionInfo>, Error> {
        self.0.connections(timeout)
    }
}

impl AsRef<Self> for Net {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections that had been answered, flushed and closed in time.
    pub drained: usize,
    /// Connections that were cut off at the deadline.
    pub aborted: usize,
    /// How long it took.
    pub elapsed: Duration,
}

/// A place that is bound and not yet served.
pub(crate) trait Listening: Send {
    fn place(&self) -> &Place;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// Told what addresses a name has; at least one, where it has any.
pub(crate) type Resolved = Box<dyn FnOnce(Result<Vec<SocketAddr>, Error>) + Send>;

/// Datagram sockets that are to be opened: one, or with a shared port one a worker.
pub(crate) struct Opening<'a> {
    pub(crate) at: At,
    pub(crate) options: &'a UdpOptions,
    pub(crate) service: &'a Arc<Service>,
    /// Makes what each socket becomes on its worker, given where it is bound.
    pub(crate) seed: &'a mut dyn FnMut(SocketAddr) -> EndpointSeed,
}

/// What a network does.
pub(crate) trait Network: Send + Sync {
    fn bind(&self, at: &Place, options: &Options) -> Result<Box<dyn Listening>, Error>;
    fn serve(
        &self,
        listening: Vec<Box<dyn Listening>>,
        service: &Arc<Service>,
    ) -> Result<(), Error>;
    /// Begins a connect; the outcome goes to the pipeline that the service makes.
    fn connect(&self, to: &Place, service: &Arc<Service>, timeout: Duration) -> Result<(), Error>;
    /// Looks a name up, off the I/O threads and within `timeout`. `done` is called once, or dropped where
    /// the network ends before.
    fn resolve(&self, host: &str, port: u16, timeout: Duration, done: Resolved);
    /// Does something later, on an I/O thread; dropped where the network ends before. What it refuses
    /// comes back.
    fn schedule(&self, after: Duration, task: Task) -> Result<TaskId, (Error, Task)>;
    /// Drops a task uncalled, unless it has been called.
    fn cancel(&self, task: TaskId);
    /// This moment, on the clock of its workers.
    fn now(&self) -> Instant;
    /// Where the chance of a client begins: another one for each, and in memory the world's choice.
    fn seed(&self) -> u64;
    /// Opens the sockets of a [`Udp`](crate::Udp), and tells where.
    fn open_datagrams(&self, opening: Opening<'_>) -> Result<SocketAddr, Error>;
    fn executor(&self, threads: usize) -> Executor;
    /// Ends a service: drains it until `timeout`, then cuts off what is left.
    fn end(&self, service: &Arc<Service>, timeout: Duration) -> ShutdownReport;
    /// Ends a service and waits for nothing: what lives of it is closed soon.
    fn cut_off(&self, service: &Arc<Service>) {
        self.end(service, Duration::ZERO);
    }
    fn stats(&self) -> Stats;
    fn metrics(&self) -> Metrics;
    /// Asks every worker for its connections.
    fn inspect(&self, inquiry: Inquiry) -> Result<Weak<Inquiry>, Error>;
    /// Asks every worker for its connections, and waits.
    fn connections(&self, timeout: Duration) -> Result<Vec<ConnectionInfo>, Error>;
}
