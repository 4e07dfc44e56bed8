//! A device that is there, and how far it has been told.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::{Visitor, backlog};
use crate::ledger;
use crate::limits::INBOX_MESSAGES_MAX;
use crate::protocol::Packet;
use crate::store::Store;

pub(super) struct Seat {
    pub(super) visitor: Arc<Visitor>,
    /// The last message of the inbox that was sent.
    sent: u64,
    /// Those that were sent and not acknowledged, ascending; no more than an inbox holds.
    unacknowledged: VecDeque<u64>,
    /// Whether everything in the inbox was sent, so that what is new may be sent at once.
    live: bool,
}

impl Seat {
    /// One who has acknowledged the inbox up to `cursor`.
    pub(super) fn new(visitor: Arc<Visitor>, cursor: u64) -> Self {
        Self {
            visitor,
            sent: cursor,
            unacknowledged: VecDeque::new(),
            live: false,
        }
    }

    /// A message has come into the inbox.
    pub(super) fn deliver(&mut self, id: u64, packet: &Packet) {
        if !self.live || id <= self.sent {
            return;
        }
        if Visitor::deliver(&self.visitor, packet) {
            self.has_sent(id);
        } else {
            self.live = false;
            self.visitor.park(true);
        }
    }

    /// Sends what is in the inbox and was not sent, as far as there is room; whether that was all of it.
    pub(super) fn catch_up(&mut self, store: &dyn Store) -> io::Result<bool> {
        if !self.live {
            let visitor = Arc::clone(&self.visitor);
            let page = |after, limit| ledger::inbox(store, &visitor.device.uid, after, limit);
            self.live = backlog::send(&visitor, self.sent, page, |id| self.has_sent(id))?;
        }
        Ok(self.live)
    }

    /// How far the inbox is acknowledged, if it is farther than before.
    ///
    /// Numbers that were not sent from the inbox, such as those of rooms, say nothing of it.
    pub(super) fn acknowledge(&mut self, id: u64) -> Option<u64> {
        let nth = self.unacknowledged.binary_search(&id).ok()?;
        self.unacknowledged.drain(..=nth);
        Some(id)
    }

    fn has_sent(&mut self, id: u64) {
        self.sent = id;
        self.unacknowledged.push_back(id);
        if self.unacknowledged.len() as u64 > INBOX_MESSAGES_MAX {
            // It has left the inbox for a newer one: another device of the user acknowledges, and this one does not.
            self.unacknowledged.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use netwheel::sim::World;

    use super::*;
    use crate::office::tests::visitor;

    #[test]
    fn one_that_never_acknowledges_costs_no_more_than_an_inbox_holds() {
        let world = World::new(1);
        let (visitor, _server) = visitor(&world, "10.0.0.1:7000");
        let mut seat = Seat::new(visitor, 0);
        (1..=INBOX_MESSAGES_MAX + 5).for_each(|id| seat.has_sent(id));
        assert_eq!(seat.unacknowledged.len() as u64, INBOX_MESSAGES_MAX);
        assert_eq!(seat.acknowledge(5), None);
        assert_eq!(seat.acknowledge(6), Some(6));
        assert_eq!(seat.acknowledge(6), None);
        assert_eq!(
            seat.acknowledge(INBOX_MESSAGES_MAX + 5),
            Some(INBOX_MESSAGES_MAX + 5)
        );
        assert!(seat.unacknowledged.is_empty());
    }
}
