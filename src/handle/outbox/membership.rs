//! The groups that a connection is in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::life::Life;
use super::{Outbox, Queue};
use crate::error::{CloseReason, Result};
use crate::fan_out::{Audience, Membership};
use crate::sync::lock;

impl<Out> Outbox<Out> {
    /// Keeps a membership until the connection ends; drops it when it has ended already.
    pub(crate) fn keep(&self, membership: Membership) -> Result<(), CloseReason> {
        let mut queue = lock(&self.queue);
        if let Life::Closed(reason) = queue.state {
            return Err(reason);
        }
        queue.memberships.push(membership);
        self.is_member.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Drops the membership of that audience; `false` when there is none.
    pub(crate) fn leave(&self, audience: &Arc<Audience>) -> bool {
        let mut queue = lock(&self.queue);
        let place = queue
            .memberships
            .iter()
            .position(|membership| membership.is_of(audience));
        let left = place.map(|index| queue.memberships.swap_remove(index));
        self.is_member
            .store(!queue.memberships.is_empty(), Ordering::Relaxed);
        left.is_some()
    }

    /// Drops all memberships.
    pub(crate) fn leave_all(&self) {
        let mut queue = lock(&self.queue);
        drop(self.take_memberships(&mut queue));
    }

    pub(super) fn take_memberships(&self, queue: &mut Queue<Out>) -> Vec<Membership> {
        self.is_member.store(false, Ordering::Relaxed);
        std::mem::take(&mut queue.memberships)
    }

    /// Whether the connection is a member of groups.
    pub(crate) fn is_member(&self) -> bool {
        self.is_member.load(Ordering::Relaxed)
    }
}
