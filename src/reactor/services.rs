//! What a reactor serves, so that all of it ends with the reactor.

use std::sync::{Arc, Weak};

use crate::connection::Service;

/// The servers and clients of a reactor. Each lives for as long as its owner or a connection of it does.
#[derive(Default)]
pub(super) struct Services {
    pub(super) list: Vec<Weak<Service>>,
    /// So many stood in the list after those that have gone were last taken out.
    pruned: usize,
    /// Whether the reactor has been shut down.
    pub(super) ended: bool,
}

/// Below so many services it is not worth looking for those that have gone.
const SERVICES_PRUNED_MIN: usize = 64;

impl Services {
    /// Cost: O(1), amortised; those that have gone are taken out when the list has doubled.
    pub(super) fn add(&mut self, service: &Arc<Service>) {
        if self.list.len() >= 2 * self.pruned.max(SERVICES_PRUNED_MIN) {
            self.list.retain(|service| service.strong_count() > 0);
            self.pruned = self.list.len();
        }
        self.list.push(Arc::downgrade(service));
    }
}
