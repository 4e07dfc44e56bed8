//! Who may come in: how many connections a reactor has and may have, and what an accept has failed with.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use log::warn;

use crate::clock::Clock;
use crate::repeated::Repeated;
use crate::stats::{AcceptStats, WorkerStats};
use crate::sync::lock;

/// The one place that knows how many connections a reactor has, over all its workers.
///
/// Threads: the acceptor, the workers with listeners of their own, and whoever connects. Each looks
/// before it counts one in, so together they may pass the bound by as many as look at once.
pub(crate) struct Admission {
    clock: Clock,
    workers: Vec<Arc<WorkerStats>>,
    connections_max: usize,
    stats: AcceptStats,
    log: Mutex<Repeated>,
}

impl Admission {
    pub(crate) fn new(
        clock: Clock,
        workers: Vec<Arc<WorkerStats>>,
        connections_max: usize,
    ) -> Self {
        Self {
            clock,
            workers,
            connections_max,
            stats: AcceptStats::default(),
            log: Mutex::default(),
        }
    }

    pub(crate) fn stats(&self) -> &AcceptStats {
        &self.stats
    }

    pub(crate) const fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Whether there is room for one more connection; counts it as refused when there is none.
    pub(crate) fn admits(&self) -> bool {
        let count: usize = self
            .workers
            .iter()
            .map(|worker| worker.connections.count())
            .sum();
        let admits = count < self.connections_max;
        if !admits {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            self.warn(format_args!(
                "refused a connection: there are {count}, of at most {}",
                self.connections_max
            ));
        }
        admits
    }

    pub(crate) fn note_error(&self, error: &io::Error) {
        self.stats.accept_errors.fetch_add(1, Ordering::Relaxed);
        self.warn(format_args!("accept: {error}"));
    }

    pub(crate) fn note_panic(&self, what: &str) {
        self.stats.panics.fetch_add(1, Ordering::Relaxed);
        self.warn(format_args!("{what} panicked"));
    }

    fn warn(&self, text: fmt::Arguments<'_>) {
        if let Some(more) = lock(&self.log).pass(self.clock.now()) {
            warn!(target: "netwheel::acceptor", "{text} ({more} more since the last line)");
        }
    }
}
