//! A device that is there, and how far it has been told.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::Visitor;
use crate::ledger;
use crate::limits::{CATCH_UP_MESSAGES, PARKED_BYTES_MAX};
use crate::protocol::Packet;
use crate::store::Store;

/// With more than so many bytes on the way, the office is told when they have left.
const RESUMED_BYTES: usize = PARKED_BYTES_MAX / 8;

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
        if !self.try_send(id, packet) {
            self.fall_behind();
        }
    }

    /// Sends what is in the inbox and was not sent, as far as there is room.
    pub(super) fn catch_up(&mut self, store: &dyn Store) -> io::Result<()> {
        while !self.live {
            let uid = &self.visitor.device.uid;
            let page = ledger::inbox(store, uid, self.sent, CATCH_UP_MESSAGES)?;
            for (id, packet) in &page {
                if !self.try_send(*id, packet) {
                    self.fall_behind();
                    return Ok(());
                }
            }
            if page.len() < CATCH_UP_MESSAGES {
                self.live = true;
                self.visitor.park(false);
            }
        }
        Ok(())
    }

    /// How far the inbox is acknowledged, if it is farther than before.
    ///
    /// Numbers that were not sent from the inbox, such as those of rooms, say nothing of it.
    pub(super) fn acknowledge(&mut self, id: u64) -> Option<u64> {
        let nth = self.unacknowledged.binary_search(&id).ok()?;
        self.unacknowledged.drain(..=nth);
        Some(id)
    }

    fn try_send(&mut self, id: u64, packet: &Packet) -> bool {
        let queued = self.visitor.handle.queued_bytes();
        let sent = match queued {
            PARKED_BYTES_MAX.. => false,
            // The next one may find no room: the office hears of it as soon as there is.
            _ if queued + packet.0.len() > RESUMED_BYTES => {
                Visitor::send_and_look(&self.visitor, packet.clone())
            }
            _ => self.visitor.send(packet.clone()),
        };
        if sent {
            self.sent = id;
            self.unacknowledged.push_back(id);
        }
        sent
    }

    fn fall_behind(&mut self) {
        self.live = false;
        self.visitor.park(true);
    }
}
