//! How a client hears of what it waits for, and that it waits in vain.

use std::sync::Arc;

use super::redial::Redial;
use crate::address::Peer;
use crate::error::CloseReason;
use crate::handle::Watch;
use crate::id::ConnectionId;

/// Tells a client of its connection.
pub(super) struct Watcher<Out: Send + 'static> {
    pub(super) redial: Arc<Redial<Out>>,
    pub(super) step: u64,
}

impl<Out: Send + 'static> Watch for Watcher<Out> {
    fn opened(&self, id: ConnectionId, peer: Peer) {
        self.redial.opened(self.step, id, peer);
    }

    fn closed(&self, reason: CloseReason) {
        self.redial.lost(self.step, reason);
    }
}

/// News that are to come. Where they are dropped untold, the network has gone.
pub(super) struct News<Out: Send + 'static> {
    redial: Option<Arc<Redial<Out>>>,
    step: u64,
}

impl<Out: Send + 'static> News<Out> {
    pub(super) fn new(redial: &Arc<Redial<Out>>, step: u64) -> Self {
        let redial = Some(Arc::clone(redial));
        Self { redial, step }
    }

    pub(super) fn tell(mut self, how: impl FnOnce(&Arc<Redial<Out>>)) {
        if let Some(redial) = self.redial.take() {
            how(&redial);
        }
    }
}

impl<Out: Send + 'static> Drop for News<Out> {
    fn drop(&mut self) {
        if let Some(redial) = self.redial.take() {
            redial.orphaned(self.step);
        }
    }
}
