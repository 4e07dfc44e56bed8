//! One server or client of a reactor: what its connections share, and how it ends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use log::error;

use crate::address::Peer;
use crate::clock::Instant;
use crate::limits::ConnectionLimits;
use crate::options::Options;
use crate::panics::{Panicked, contain};
use crate::pipeline::AnyPipeline;
use crate::sync::lock;

use super::quota::Quota;

pub(crate) type Factory = Box<dyn Fn(&Peer) -> AnyPipeline + Send + Sync>;

/// One server or client of a reactor: what its connections share, and the count of those that live.
pub(crate) struct Service {
    /// Absent while it is dropped, and where there are no connections.
    factory: Option<Factory>,
    pub(crate) options: Arc<Options>,
    quota: Quota,
    active: AtomicUsize,
    /// Listeners that are open, or on their way to whoever serves them.
    listeners: AtomicUsize,
    /// Of the active ones, those that wait for the peer's FIN only.
    lingering: AtomicUsize,
    ending: AtomicBool,
    aborting: AtomicBool,
    gone: (Mutex<()>, Condvar),
}

impl Service {
    pub(crate) fn new(factory: Factory, options: Options) -> Arc<Self> {
        Self::with(Some(factory), options)
    }

    /// Of sockets that listen and have no connections: those of datagrams.
    pub(crate) fn without_connections() -> Arc<Self> {
        Self::with(None, Options::default())
    }

    fn with(factory: Option<Factory>, options: Options) -> Arc<Self> {
        Arc::new(Self {
            factory,
            quota: Quota::new(&options),
            options: Arc::new(options),
            active: AtomicUsize::new(0),
            listeners: AtomicUsize::new(0),
            lingering: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
            gone: (Mutex::new(()), Condvar::new()),
        })
    }

    /// The pipeline of a new connection.
    pub(crate) fn make(&self, peer: &Peer) -> Result<AnyPipeline, Panicked> {
        let factory = self
            .factory
            .as_ref()
            .expect("a service with connections has it until it is dropped");
        contain(|| factory(peer))
    }

    pub(crate) fn limits(&self) -> &ConnectionLimits {
        &self.options.limits
    }

    pub(crate) fn enter(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection in that was accepted; `false`, and nothing is counted, when its address has its fill.
    pub(crate) fn admit(&self, peer: &Peer) -> bool {
        let admits = self.quota.enter(peer);
        if admits {
            self.enter();
        }
        admits
    }

    /// Whether there is room for one more.
    pub(crate) fn has_room(&self) -> bool {
        let max = self.options.connections_max;
        max.is_none_or(|max| self.active() < max)
    }

    /// How long the next connection has to wait to be accepted; zero when it may come.
    pub(crate) fn accept_wait(&self, now: Instant) -> Duration {
        self.quota.wait(now)
    }

    /// A connection was accepted, whatever becomes of it.
    pub(crate) fn note_accepted(&self, now: Instant) {
        self.quota.note_accepted(now);
    }

    pub(crate) fn leave(&self, peer: &Peer) {
        self.quota.leave(peer);
        self.count_out(&self.active);
    }

    fn count_out(&self, count: &AtomicUsize) {
        if count.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _guard = lock(&self.gone.0);
            self.gone.1.notify_all();
        }
    }

    /// A connection has been told of its end and its last byte has left; it still waits for the peer's FIN.
    pub(crate) fn begin_linger(&self) {
        self.lingering.fetch_add(1, Ordering::Relaxed);
    }

    /// Follows [`leave`](Self::leave), so that nobody takes a connection that was drained for a live one.
    pub(crate) fn end_linger(&self) {
        self.lingering.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    /// Tells every worker, at its next look, to flush and close the service's connections.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// From now on connections that still live are closed at once; answers how many are cut off by it.
    /// One that lingers is not: it has been answered.
    pub(crate) fn abort(&self) -> usize {
        let lingering = self.lingering.load(Ordering::Relaxed);
        let cut_off = self.active().saturating_sub(lingering);
        self.aborting.store(true, Ordering::Release);
        cut_off
    }

    pub(crate) fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::Acquire)
    }

    fn is_gone(&self) -> bool {
        self.active() == 0 && self.listeners.load(Ordering::Acquire) == 0
    }

    /// Waits until no connection lives and nobody listens; `false` when `timeout` passed first.
    pub(crate) fn wait_gone(&self, timeout: Duration) -> bool {
        let guard = lock(&self.gone.0);
        let (_guard, result) = self
            .gone
            .1
            .wait_timeout_while(guard, timeout, |()| !self.is_gone())
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }
}

/// Whoever is the last to hold a service may be a worker, which a destructor of the program's must not end.
impl Drop for Service {
    fn drop(&mut self) {
        let factory = self.factory.take();
        if contain(|| drop(factory)).is_err() {
            error!(target: "netwheel::connection", "a pipeline's factory panicked while it was dropped");
        }
    }
}

/// Goes with a listener of the service, from hand to hand: while it lives, the service is not gone.
pub(crate) struct Listens(Arc<Service>);

impl Listens {
    pub(crate) fn new(service: &Arc<Service>) -> Self {
        service.listeners.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(service))
    }

    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.0
    }
}

impl Drop for Listens {
    fn drop(&mut self) {
        self.0.count_out(&self.0.listeners);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}
