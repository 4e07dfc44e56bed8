//! Room for answers: no more questions are handled than the outbox has places for.
//!
//! Plain mode stops reading, and TCP holds the other side back. Acknowledged mode reads on, since only what is read
//! makes room there: messages wait in order, and acknowledgements pass them.
//!
//! And when answers go: in plain mode once a read, or when it gets crowded; meanwhile whoever sends need not tell the
//! worker, which is there. A word that is spared is always made good: each look at the outbox begins by asking for
//! the next word, and whatever leads into the chain ends with a look.

use super::engine::{Cx, Engine, Up};
use super::wire::Wire;
use crate::error::{CloseReason, Failure, Result};
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX};
use crate::pipeline::{Pause, Terminal};

impl<W: Wire, T: Terminal<W::Frame, W::Frame>> Engine<W, T> {
    /// After each message. Where it is not pressing, what services have sent leaves with the whole read, see
    /// [`Terminal::on_read_complete`].
    pub(super) fn after_message(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        let Some(up) = &self.up else {
            return Ok(());
        };
        if up.attending && !up.shared.may_be_crowded() {
            return Ok(());
        }
        self.pump(cx)?;
        self.give_way(cx)
    }

    /// Looks at the outbox where senders have left it to this engine.
    pub(super) fn look_after(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        if !self.up.as_ref().is_some_and(|up| up.attending) {
            return Ok(());
        }
        self.pump(cx)?;
        self.give_way(cx)
    }

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
    /// Spares senders the word to the worker while it is here anyway: it looks when the read is done. Not in
    /// acknowledged mode, where each message that is handled may be something to say.
    pub(super) fn attend(&mut self) {
        if !self.attending && !self.shared.rules.outbox.acknowledged {
            self.attending = true;
            self.shared.attend(self.number, true);
        }
    }

    /// Whoever sends from now on has to tell the worker again: before the outbox is looked at, so that nothing is missed.
    pub(super) fn look(&mut self) {
        if std::mem::take(&mut self.attending) {
            self.shared.attend(self.number, false);
        }
    }

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
