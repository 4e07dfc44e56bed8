//! Who may come in: how many connections a reactor has and may have, and what an accept has failed with.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use log::warn;

use super::reserve::Reserve;
use crate::clock::Clock;
use crate::connection::Service;
use crate::repeated::Repeated;
use crate::stats::{AcceptStats, WorkerStats};
use crate::sync::lock;

/// Why most are turned away.
pub(super) const NO_ROOM: &str = "there are as many as connections_max allows";

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
    reserve: Mutex<Reserve>,
    /// Whether the descriptor is given up at the moment, or somebody was faster to take it.
    reserve_lost: AtomicBool,
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
            reserve: Mutex::new(Reserve::new()),
            reserve_lost: AtomicBool::new(false),
        }
    }

    pub(crate) fn stats(&self) -> &AcceptStats {
        &self.stats
    }

    pub(crate) const fn connections_max(&self) -> usize {
        self.connections_max
    }

    fn count(&self) -> usize {
        let counts = self.workers.iter().map(|worker| worker.connections.count());
        counts.sum()
    }

    /// Whether no worker has memory for more connections.
    pub(super) fn is_pressed(&self) -> bool {
        self.workers.iter().all(|worker| worker.is_pressed())
    }

    /// Whether there is room for one more connection of `service`.
    pub(super) fn has_room(&self, service: &Service) -> bool {
        self.count() < self.connections_max && service.has_room()
    }

    /// Whether there is room for one more connection that is dialled; counts it as refused when there is none.
    pub(crate) fn admits_dialled(&self) -> bool {
        let admits = self.count() < self.connections_max;
        if !admits {
            self.note_refused(NO_ROOM);
        }
        admits
    }

    /// A connection is turned away.
    pub(super) fn note_refused(&self, why: &str) {
        self.stats.refused.fetch_add(1, Ordering::Relaxed);
        self.warn(format_args!(
            "refused a connection: {why} (the reactor has {}, of at most {})",
            self.count(),
            self.connections_max
        ));
    }

    /// Connections wait in the backlog for room.
    pub(super) fn note_waiting(&self) {
        self.warn(format_args!("connections wait to be accepted: {NO_ROOM}"));
    }

    pub(super) fn note_error(&self, error: &io::Error, advice: &str) {
        self.stats.accept_errors.fetch_add(1, Ordering::Relaxed);
        self.warn(format_args!("accept: {error}{advice}"));
    }

    /// Calls with one descriptor more than there was, if it can be had.
    pub(super) fn with_reserve(&self, call: impl FnOnce()) {
        let mut reserve = lock(&self.reserve);
        // Before it is given up: whoever accepts with it sees this, and waits for the lock.
        self.reserve_lost.store(true, Ordering::SeqCst);
        let is_back = reserve.spend(call);
        self.reserve_lost.store(!is_back, Ordering::SeqCst);
    }

    /// Whether the descriptor in reserve is there. Where another thread took it for a connection it is taken back
    /// as soon as one is free.
    pub(super) fn has_reserve(&self) -> bool {
        if !self.reserve_lost.load(Ordering::SeqCst) {
            return true;
        }
        let mut reserve = lock(&self.reserve);
        let is_back = reserve.refill();
        self.reserve_lost.store(!is_back, Ordering::SeqCst);
        is_back
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
