//! What a worker lends to whatever runs during one turn.

use std::sync::Arc;

use crate::buffer::Spare;
use crate::clock::{Clock, Instant};
use crate::mailbox::Mailbox;
use crate::stats::WorkerStats;

/// The untyped, per-worker part of what callbacks see.
#[derive(Debug)]
pub(crate) struct Turn {
    /// When the turn began; read once, after the poll.
    pub(crate) now: Instant,
    pub(crate) clock: Clock,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) spare: Spare,
}

impl Turn {
    pub(crate) fn new(clock: Clock, mailbox: Arc<Mailbox>, stats: Arc<WorkerStats>) -> Self {
        Self {
            now: clock.now(),
            clock,
            mailbox,
            stats,
            spare: Spare::default(),
        }
    }
}
