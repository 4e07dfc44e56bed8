//! A server at work.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Stopper;
use crate::address::Place;
use crate::connection::Service;
use crate::error::Error;
use crate::inspection::ConnectionInfo;
use crate::limits::SHUTDOWN_TIMEOUT;
use crate::metrics::Metrics;
use crate::net::{Net, ShutdownReport};
use crate::reactor::Reactor;
use crate::stats::Stats;
use crate::thread_role::{assert_may_wait, may_wait};

/// A server at work. Dropped without a shutdown, it closes everything at once; a drop in a callback, on a
/// thread of the crate, does not wait for that.
///
/// ```
/// use std::time::Duration;
/// use netwheel::{Pipeline, Server};
///
/// # fn main() -> Result<(), netwheel::Error> {
/// let server = Server::new()
///     .workers(1)
///     .pipeline(|_peer| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
///     .listen("127.0.0.1:0")?
///     .start()?;
/// let stopper = server.stopper(); // for another thread, such as one that waits for signals
/// println!("listening on {}", server.address());
/// stopper.stop();
/// let report = server.wait();
/// assert_eq!((report.drained, report.aborted), (0, 0));
/// # Ok(())
/// # }
/// ```
pub struct RunningServer {
    pub(super) net: Net,
    pub(super) reactor: Option<Reactor>,
    pub(super) service: Arc<Service>,
    pub(super) places: Vec<Place>,
    pub(super) stop: Stopper,
}

impl RunningServer {
    /// Where it listens, with the real ports, in the order in which they were asked for.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The first internet address it listens on.
    ///
    /// # Panics
    ///
    /// When it listens on Unix sockets only.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.places
            .iter()
            .find_map(Place::inet)
            .expect("the server listens on no internet address")
    }

    /// Connections that are open at this moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.service.active()
    }

    /// What its network has counted: with a reactor of its own, the server alone.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.net.stats()
    }

    /// What the workers of its network measure.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.net.metrics()
    }

    /// The connections that live on its network, see [`Reactor::connections`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn list_connections(&self, timeout: Duration) -> Result<Vec<ConnectionInfo>, Error> {
        self.net.connections(timeout)
    }

    /// The network it is on, for clients beside it.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// What ends [`wait`](Self::wait), from any thread; the same as the server's before its start.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Serves until a [`Stopper`] says so, then shuts down within [`SHUTDOWN_TIMEOUT`].
    ///
    /// Without a stopper it never returns. Threads: any but the crate's own, which it would block.
    ///
    /// # Panics
    ///
    /// On an I/O thread of the crate.
    pub fn wait(self) -> ShutdownReport {
        assert_may_wait("wait for a server");
        self.stop.wait();
        self.shutdown(SHUTDOWN_TIMEOUT)
    }

    /// Shuts down: closes the listeners, tells the handlers, answers what was read, flushes, and cuts
    /// off what is left after `timeout`. With a reactor of its own, its threads have ended on return.
    ///
    /// A connection that was answered and flushed counts as drained, also where its peer's FIN had not
    /// come by then. Threads: any but the crate's own, which it would block: a callback stops its
    /// server by a [`Stopper`], or drops it.
    ///
    /// # Panics
    ///
    /// On an I/O thread of the crate, which would wait for itself.
    pub fn shutdown(mut self, timeout: Duration) -> ShutdownReport {
        assert_may_wait("shut a server down");
        match self.reactor.take() {
            Some(reactor) => reactor.shutdown(timeout),
            None => self.net.network().end(&self.service, timeout),
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        if self.reactor.is_some() || self.service.is_ending() {
            return;
        }
        if may_wait() {
            self.net.network().end(&self.service, Duration::ZERO);
        } else {
            // Dropped by a callback, perhaps one of its own.
            self.net.network().cut_off(&self.service);
        }
    }
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}
