//! One server or client of a reactor: what its connections share, and how it ends.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::address::Peer;
use crate::limits::ConnectionLimits;
use crate::options::Options;
use crate::pipeline::AnyPipeline;
use crate::sync::lock;

pub(crate) type Factory = Box<dyn Fn(&Peer) -> AnyPipeline + Send + Sync>;

/// One server or client of a reactor: what its connections share, and the count of those that live.
pub(crate) struct Service {
    pub(crate) factory: Factory,
    pub(crate) options: Arc<Options>,
    active: AtomicUsize,
    /// Listeners that workers hold for themselves, on a port that they share.
    leases: AtomicUsize,
    ending: AtomicBool,
    aborted: AtomicUsize,
    gone: (Mutex<()>, Condvar),
}

impl Service {
    pub(crate) fn new(factory: Factory, options: Options) -> Arc<Self> {
        Arc::new(Self {
            factory,
            options: Arc::new(options),
            active: AtomicUsize::new(0),
            leases: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            aborted: AtomicUsize::new(0),
            gone: (Mutex::new(()), Condvar::new()),
        })
    }

    pub(crate) fn limits(&self) -> &ConnectionLimits {
        &self.options.limits
    }

    pub(crate) fn enter(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        if self.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tell_gone();
        }
    }

    fn tell_gone(&self) {
        let _guard = lock(&self.gone.0);
        self.gone.1.notify_all();
    }

    /// Counts a listener that goes to a worker.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        self.leases.fetch_add(1, Ordering::Relaxed);
        Lease(Arc::clone(self))
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

    /// From now on connections that still live are closed at once; answers how many there are.
    pub(crate) fn abort(&self) -> usize {
        let left = self.active();
        self.aborted.store(left.max(1), Ordering::Release);
        left
    }

    pub(crate) fn is_aborting(&self) -> bool {
        self.aborted.load(Ordering::Acquire) > 0
    }

    fn has_gone(&self) -> bool {
        self.active() == 0 && self.leases.load(Ordering::Acquire) == 0
    }

    /// Waits until no connection lives and no worker listens; `false` when `timeout` passed first.
    pub(crate) fn wait_gone(&self, timeout: Duration) -> bool {
        let guard = lock(&self.gone.0);
        let (_guard, result) = self
            .gone
            .1
            .wait_timeout_while(guard, timeout, |()| !self.has_gone())
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }
}

/// A worker's word that it listens for a service, until it is dropped with the listener.
///
/// A shutdown waits for it: the port is free when it returns.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Service>);

impl Deref for Lease {
    type Target = Arc<Service>;

    fn deref(&self) -> &Arc<Service> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0.leases.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.tell_gone();
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}
