//! The word that a server is to end.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::sync::lock;

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

/// Ends a server that [runs](crate::Server::run) or [waits](crate::RunningServer::wait), from any thread.
#[derive(Clone)]
pub struct Stopper(Arc<Stop>);

impl Stopper {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Tells the server to shut down; returns at once. A second call does nothing; one before the start
    /// ends the server as soon as it runs.
    pub fn stop(&self) {
        *lock(&self.0.stopped) = true;
        self.0.changed.notify_all();
    }

    /// Waits until somebody has called it.
    pub(super) fn wait(&self) {
        let stopped = lock(&self.0.stopped);
        let stopped = self
            .0
            .changed
            .wait_while(stopped, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        drop(stopped);
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stopper")
    }
}
