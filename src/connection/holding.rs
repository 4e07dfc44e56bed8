//! The memory that a connection holds, and what its worker does about it.

use super::Connection;
use crate::pipeline::{Pause, Turn};

impl Connection {
    /// Bytes held: arrived and not decoded, waiting to leave, sent by handles and not encoded yet.
    ///
    /// Lengths that are at hand. Messages of handles are looked at where some had to stay behind only: else the
    /// turn that is told of them encodes them.
    #[inline]
    pub(crate) fn held_bytes(&self) -> usize {
        let held = self.input.len() + self.state.queued();
        if self.state.held_back {
            return held + self.waiting_bytes();
        }
        held
    }

    #[cold]
    fn waiting_bytes(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.waiting_bytes())
    }

    /// The worker holds too much: this connection is not read until that is over.
    pub(crate) fn pause_for_memory(&mut self) {
        self.state.pause(Pause::MEMORY);
    }

    pub(crate) fn is_paused_for_memory(&self) -> bool {
        self.state.is_paused_by(Pause::MEMORY)
    }

    pub(crate) fn resume_for_memory(&mut self, turn: &Turn) {
        self.state.resume(Pause::MEMORY, turn.stamp);
    }
}
