//! All of it: one acceptor thread and N workers; who starts them, and how they end.

mod builder;
mod listening;
mod services;
mod system;
mod threads;

pub use builder::ReactorBuilder;
pub(crate) use listening::bind;
#[cfg(unix)]
pub(crate) use listening::{adopt, take_handed_over};

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use self::system::System;
use self::threads::{join, stop_workers};
use crate::error::Error;
use crate::inspection::ConnectionInfo;
use crate::metrics::Metrics;
use crate::net::{Net, Network, ShutdownReport};
use crate::stats::Stats;
use crate::thread_role;
use crate::watchdog::Guard;

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
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) when a worker did not answer in time, since a handler
    /// blocks it; [`ErrorKind::OverLimit`](crate::ErrorKind::OverLimit) when too many wait already,
    /// [`ErrorKind::Misuse`](crate::ErrorKind::Misuse) on an I/O thread.
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
