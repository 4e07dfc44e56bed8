//! One server or client of a reactor: what its connections share, and how it ends.

use std::fmt;
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
            let _guard = lock(&self.gone.0);
            self.gone.1.notify_all();
        }
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

    /// Waits until no connection lives; `false` when `timeout` passed first.
    pub(crate) fn wait_gone(&self, timeout: Duration) -> bool {
        let guard = lock(&self.gone.0);
        let (_guard, result) = self
            .gone
            .1
            .wait_timeout_while(guard, timeout, |()| self.active() > 0)
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}
