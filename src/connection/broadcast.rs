//! Broadcasts to groups that a connection is a member of: encoded frames, straight into its output.

use bytes::Bytes;

use super::Connection;
use crate::error::CloseReason;
use crate::pipeline::Turn;

impl Connection {
    /// Whether broadcasts are for it: it is open, and not about to close.
    pub(crate) fn hears_broadcasts(&self) -> bool {
        self.state.opened && !self.state.failed && self.state.accepts_output()
    }

    /// Whether output is below the high water mark: a frame of any size may join it.
    pub(crate) fn keeps_up(&self) -> bool {
        self.state.queued() <= self.state.options.limits.high_water_bytes
    }

    /// Whether so many bytes on top of what is queued stay below the high water mark.
    pub(crate) fn stays_below_mark(&self, bytes: usize) -> bool {
        self.state.queued() + bytes <= self.state.options.limits.high_water_bytes
    }

    /// Whether so many bytes may join the output below its hard bound.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        let room = self.state.options.limits.output_room();
        room.takes(self.state.queued(), || bytes)
    }

    /// Whether messages wait that broadcasts have to keep their order with.
    pub(crate) fn is_behind(&self) -> bool {
        self.holds_back()
    }

    /// Encodes what was accepted before the next broadcast, as far as there is room below the mark.
    pub(crate) fn catch_up(&mut self, turn: &mut Turn) {
        self.drain(turn);
    }

    /// Encodes what was accepted before the next broadcast, also above the mark; its own bound has seen to it.
    pub(crate) fn catch_up_fully(&mut self, turn: &mut Turn) {
        self.drain(turn);
        self.run(turn, |link, state, turn| link.drain_all(state, turn));
    }

    /// Queues `count` frames behind what is queued; stages do not see them, filters do.
    pub(crate) fn push_frames(&mut self, turn: &mut Turn, frames: Bytes, count: u64) {
        let output = self.state.sink();
        if output.wants_buffer() {
            output.lend_buffer(turn.spare.take());
        }
        output.push(frames);
        turn.stats.messages_out.add(count);
    }

    /// The end of a member that does not keep up, where its group wants that.
    pub(crate) fn end_slow(&mut self) {
        self.break_off(CloseReason::OverLimit);
    }

    /// Broadcasts were queued, and the socket may be full: tells of the water marks.
    pub(crate) fn broadcasts_queued(&mut self, turn: &mut Turn) {
        self.progress(turn);
    }
}
