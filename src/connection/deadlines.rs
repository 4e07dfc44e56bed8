//! The deadlines that every connection has: of output that stays, and of a frame that does not end.
//!
//! Nothing is armed or moved on the path of a message. The write stall begins when the socket is full, the look at a
//! slow reader when output crosses the high water mark, and the look at a frame when one has begun and none is
//! armed: what it finds when it is due decides, so a connection of many frames pays for one timer a period.

use std::time::Duration;

use log::debug;

use super::Connection;
use crate::error::CloseReason;
use crate::pipeline::{Closing, Due, OWNER_LIBRARY, Turn, Way};

/// The deadline of output that does not leave.
const STALL: Due = Due::Close(CloseReason::WriteStall);
/// No look comes sooner than the worker's tick.
const LOOK_MIN: Duration = Duration::from_millis(1);

impl Connection {
    /// The write-stall deadline begins anew.
    pub(super) fn arm_stall(&mut self, turn: &Turn) {
        self.state.stall_armed = true;
        self.arm(turn, self.state.options.limits.write_stall_timeout, STALL);
    }

    pub(super) fn lift_stall(&mut self) {
        if self.state.stall_armed {
            self.state.stall_armed = false;
            self.state.timers.cancel(OWNER_LIBRARY, STALL);
        }
    }

    /// More than the high water mark waits for the peer: looks later whether it takes enough of it.
    pub(super) fn watch_reader(&mut self, turn: &Turn) {
        let after = self.state.options.limits.slow_reader_timeout;
        self.arm(turn, after, Due::Reader(self.taken_kib()));
    }

    /// Ends a connection whose output has stayed above the marks and has not been taken once over meanwhile.
    pub(super) fn check_reader(&mut self, turn: &Turn, since: u32) {
        if !self.state.above_high_water {
            return;
        }
        let fair = kib(self.state.options.limits.output_bytes_max as u64).max(1);
        // What leaves slowly by our own rate is not the peer's doing.
        let is_ours = self.state.output_held || self.state.piece(Way::Out) < usize::MAX;
        if is_ours || self.taken_kib().wrapping_sub(since) >= fair {
            self.watch_reader(turn);
        } else {
            self.cut_off(CloseReason::WriteStall);
        }
    }

    /// What the system has taken so far; wraps after 4 TiB, of which only the difference is of interest.
    #[expect(clippy::cast_possible_truncation, reason = "it wraps")]
    fn taken_kib(&self) -> u32 {
        (self.state.output.flushed() >> 10) as u32
    }

    /// A frame is under way: looks at its age when that may be too much, unless it looks already.
    #[inline]
    pub(super) fn watch_frame(&mut self, turn: &Turn) {
        if !self.state.pulse.watched {
            self.state.pulse.watched = true;
            self.arm(turn, self.state.options.limits.frame_timeout, Due::Frame);
        }
    }

    /// Ends a connection whose peer has begun a frame and not finished it in time.
    pub(super) fn check_frame(&mut self, turn: &Turn) {
        self.state.pulse.watched = false;
        // Where nothing more is read, the frame will never be whole, and something else ends the connection.
        let is_read = !self.eof && self.state.closing == Closing::No;
        let (true, Some(age)) = (is_read, self.state.pulse.frame_age(turn.now)) else {
            return;
        };
        let after = self.state.options.limits.frame_timeout;
        // While our side does not read, the peer can do nothing; its time begins anew when that ends. Where memory
        // is short it goes on, because a frame that is not read for its memory's sake would keep that for ever.
        let counted = if self.state.is_paused_by_us() {
            Duration::ZERO
        } else {
            age
        };
        let left = after.saturating_sub(counted);
        if left.is_zero() {
            return self.cut_off(CloseReason::FrameTimeout);
        }
        self.state.pulse.watched = true;
        self.arm(turn, left.max(LOOK_MIN), Due::Frame);
    }

    fn arm(&mut self, turn: &Turn, after: Duration, due: Due) {
        // Read anew: a long turn must not shorten it.
        let at = turn.clock.now() + after;
        self.state.timers.arm(at, OWNER_LIBRARY, due);
    }

    /// A deadline has passed.
    pub(super) fn cut_off(&mut self, reason: CloseReason) {
        debug!(target: "netwheel::connection", "{} {}: deadline passed: {reason}",
            self.state.id, self.state.peer().address);
        self.state.close(Closing::Now(reason));
    }
}

/// In KiB; a bound that high is as good as the highest.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes >> 10).unwrap_or(u32::MAX)
}
