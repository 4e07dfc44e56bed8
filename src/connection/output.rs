//! What a connection sends: what may leave, what has left, and the water marks.

use super::Connection;
use crate::buffer::Output;
use crate::pipeline::{Closing, Event, Pause, Turn, Way};

impl Connection {
    /// Bytes to be written; tell [`flushed`](Self::flushed) how it went.
    ///
    /// # Panics
    ///
    /// When filters have not seen all of it, see [`seal`](Self::seal): nothing may leave in the clear.
    pub(crate) fn output(&mut self) -> &mut Output {
        if let Some(filters) = &self.filters {
            filters.assert_sealed(&self.state.output);
        }
        &mut self.state.output
    }

    #[inline]
    pub(crate) fn output_ref(&self) -> &Output {
        &self.state.output
    }

    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        self.state.has_output()
    }

    /// Whether there is output that may leave now.
    #[inline]
    pub(crate) fn wants_write(&self) -> bool {
        self.has_output() && !self.state.output_held
    }

    /// Whether output waits for its rate.
    #[inline]
    pub(crate) fn holds_output(&self) -> bool {
        self.state.output_held
    }

    /// So many bytes that the socket has taken pay to the valve.
    pub(crate) fn pay_written(&mut self, turn: &Turn, count: usize) {
        self.state.pay(Way::Out, turn, count);
    }

    /// Whether a callback has asked for a flush at once.
    #[inline]
    pub(crate) fn asks_for_flush(&self) -> bool {
        self.state.flush_now && !matches!(self.state.closing, Closing::Now(_))
    }

    /// Whether what is queued should leave before the rest of the turn; a callback that asked for it has
    /// been heard then.
    #[inline]
    pub(crate) fn take_flush_request(&mut self) -> bool {
        std::mem::take(&mut self.state.flush_now)
            || self.state.queued() > self.state.options.limits.high_water_bytes
    }

    /// Whether output is above the high water mark and nobody has been told yet.
    #[inline]
    pub(crate) fn is_overfull(&self) -> bool {
        !self.state.above_high_water
            && self.state.queued() > self.state.options.limits.high_water_bytes
    }

    /// The socket has taken `count` bytes; `blocked` when it would take no more.
    pub(crate) fn flushed(&mut self, turn: &mut Turn, count: usize, blocked: bool) {
        self.blocked = blocked;
        if count > 0 {
            self.state.pulse.note_written(turn.stamp);
        }
        let plain = self.is_plain();
        let state = &mut self.state;
        if let Some(buffer) = state.output.return_buffer() {
            turn.spare.give(buffer);
            if plain {
                return;
            }
        }
        state.complete_flushed(&turn.stats);
        if !state.has_output() || state.output_held {
            self.lift_stall();
        } else if (blocked && !state.stall_armed) || (state.stall_armed && count > 0) {
            self.arm_stall(turn);
        }
        self.tell_output_bytes();
        self.cross_water_marks(turn);
        self.progress(turn);
    }

    /// The valve lets bytes pass again. Where the socket is still full, its deadline was lifted meanwhile.
    pub(super) fn let_out(&mut self, turn: &Turn) {
        self.state.output_held = false;
        if self.blocked && self.has_output() {
            self.arm_stall(turn);
        }
    }

    /// The socket has taken what was last consumed of the output, and then failed.
    pub(crate) fn complete_flushed(&mut self, turn: &Turn) {
        self.state.complete_flushed(&turn.stats);
    }

    /// Tells of a crossing of the water marks, and pauses or resumes by it.
    pub(super) fn cross_water_marks(&mut self, turn: &mut Turn) {
        if self.is_overfull() {
            self.state.above_high_water = true;
            self.watch_reader(turn);
            if self.state.options.auto_pause {
                self.state.pause(Pause::OUTPUT);
            }
            return self.tell(turn, Event::Unwritable);
        }
        let low = self.state.options.limits.low_water_bytes;
        if self.state.queued() > low {
            return;
        }
        // What handles and a parked lane have goes first; there is room only once all of it is encoded.
        // A look at the chain and its outbox, which are in nobody's cache, only where something may wait.
        let may_wait = self.state.held_back || !turn.mailbox.holds_no_messages();
        if (may_wait && self.holds_back()) || self.state.is_paused_by(Pause::LANE) {
            self.drain(turn);
        }
        // Where one write took a whole burst, nothing was above the mark before or after it.
        let owed = self.state.above_high_water || self.state.owes_writable.get();
        if owed && self.state.queued() <= low {
            if std::mem::take(&mut self.state.above_high_water) {
                self.state.timers.cancel_reader();
            }
            self.state.owes_writable.set(false);
            self.state.resume(Pause::OUTPUT, turn.stamp);
            self.tell(turn, Event::Writable);
        }
    }

    pub(super) fn tell_output_bytes(&mut self) {
        let len = self.state.queued();
        if self.state.has_handles
            && !(self.state.told_empty && len == 0)
            && let Some(link) = &self.link
        {
            self.state.told_empty = len == 0;
            link.tell_output_bytes(len);
        }
    }
}
