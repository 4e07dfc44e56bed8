//! Room for answers: no more questions are handled than the outbox has places for.
//!
//! Plain mode stops reading, and TCP holds the other side back. Acknowledged mode reads on, since only what is read
//! makes room there: messages wait in order, and acknowledgements pass them.

use super::engine::{Cx, Engine, Up};
use super::wire::Wire;
use crate::error::{CloseReason, Failure, Result};
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX};
use crate::pipeline::{Pause, Terminal};

impl<W: Wire, T: Terminal<W::Frame, W::Frame>> Engine<W, T> {
    /// Hands a message to the service, or keeps it until there is room for its answer.
    pub(super) fn deliver(&mut self, cx: &mut Cx<'_, W>, frame: W::Frame) -> Result<()> {
        if let Some(up) = &mut self.up
            && up.shared.rules.outbox.acknowledged
            && (!up.waiting.is_empty() || up.shared.is_crowded())
        {
            return up.keep(frame);
        }
        self.inner.on_message(cx, frame)
    }

    /// Stops taking messages while the outbox is crowded, and goes on once it is not: answers always find room.
    pub(super) fn give_way(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        let Some(up) = &mut self.up else {
            return Ok(());
        };
        if up.shared.rules.outbox.acknowledged {
            return self.catch_up(cx);
        }
        if up.paused {
            if up.shared.is_relieved() {
                up.paused = false;
                cx.resume_reading();
            }
        } else if up.shared.is_crowded() {
            up.paused = true;
            cx.pause_reading();
            cx.flush();
        }
        Ok(())
    }

    /// Handles what has waited, as far as there is room for answers.
    pub(super) fn catch_up(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        while let Some(up) = &mut self.up
            && !up.waiting.is_empty()
            && !cx.state.is_paused_by(Pause::LANE)
            && up.shared.is_relieved()
            && let Some(frame) = up.waiting.pop_front()
        {
            up.waiting_bytes -= up.shared.wire.weigh(&frame);
            // Until it is crowded again.
            self.inner.on_message(cx, frame)?;
            self.pump(cx)?;
            if let Some(up) = &self.up {
                up.shared.is_crowded();
            }
        }
        Ok(())
    }
}

impl<W: Wire> Up<W> {
    fn keep(&mut self, frame: W::Frame) -> Result<()> {
        let rules = &self.shared.rules.outbox;
        self.waiting_bytes += self.shared.wire.weigh(&frame);
        // As much as the other side keeps unacknowledged, unless it keeps more than is usual.
        let messages_max = rules.messages_max.max(OUTBOX_MESSAGES_MAX);
        let bytes_max = rules.bytes_max.max(OUTBOX_BYTES_MAX);
        if self.waiting.len() >= messages_max || self.waiting_bytes > bytes_max {
            let text = "more messages wait for room for their answers than an outbox holds";
            return Err(Failure::with(CloseReason::OverLimit, text));
        }
        self.waiting.push_back(frame);
        Ok(())
    }
}
