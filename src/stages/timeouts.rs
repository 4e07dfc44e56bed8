//! Deadlines of a connection that look at what moves: arriving bytes, a leaving message, a frame under way.

use std::time::Duration;

use crate::clock::Instant;
use crate::error::{CloseReason, Result};
use crate::pipeline::{Context, Event, Flow, Stage, TimerKey};

const CHECK: TimerKey = TimerKey(0);
/// No look comes sooner than the worker's tick.
const LOOK_MIN: Duration = Duration::from_millis(1);

/// Closes with [`CloseReason::Idle`] once nothing has arrived for a time.
///
/// Silence is what [`Context::read_silence`] says: bytes at the socket, and none of it counts while our side does
/// not read. Unlike [`Idle::close_after`](super::Idle::close_after) it does not care what leaves.
///
/// Threads: the connection's worker. Cost: one timer a connection, armed once a period.
///
/// ```
/// use std::time::Duration;
/// use netwheel::{CloseReason, Pipeline, stages::ReadTimeout, testing::Harness};
///
/// let timeout = ReadTimeout::after(Duration::from_secs(10));
/// let mut harness = Harness::new(Pipeline::raw().stage("timeout", timeout).handle(|cx, bytes| cx.write(bytes)));
/// harness.pass(Duration::from_secs(9)).receive(b"still here").pass(Duration::from_secs(9));
/// assert_eq!(harness.closed(), None);
/// assert_eq!(harness.pass(Duration::from_secs(1)).closed(), Some(CloseReason::Idle));
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ReadTimeout {
    after: Duration,
}

impl ReadTimeout {
    /// Closes after so long a silence.
    pub fn after(time: Duration) -> Self {
        Self { after: time }
    }
}

impl<In: 'static, Out: 'static> Stage<In, Out> for ReadTimeout {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        cx.timer(self.after, CHECK);
        Ok(())
    }

    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<Flow> {
        if let Event::Timer(CHECK) = event {
            let silence = cx.read_silence();
            look_again(cx, self.after, silence, CloseReason::Idle);
        }
        Ok(Flow::Next)
    }
}

/// Closes with [`CloseReason::FrameTimeout`] a peer that has begun a frame and not finished it in time, however
/// busily it dribbles (slow-loris).
///
/// Needs a framing; raw bytes are always whole. Time in which our side does not read does not count. Every
/// connection has the deadline of [`frame_timeout`](crate::limits::ConnectionLimits::frame_timeout) without it:
/// this stage is for a shorter one, or for one that an upgrade brings.
///
/// Threads: the connection's worker. Cost: one timer a connection, armed once a period.
///
/// ```
/// use std::time::Duration;
/// use netwheel::{CloseReason, Pipeline, codec::LengthField, stages::FrameTimeout, testing::Harness};
///
/// let timeout = FrameTimeout::after(Duration::from_secs(10));
/// let pipeline = Pipeline::new(LengthField::u8()).stage("frame", timeout).handle(|cx, frame| cx.write(frame));
/// let mut harness = Harness::new(pipeline);
/// harness.pass(Duration::from_secs(60)).receive(b"\x05a");
/// for letter in [b"b", b"c", b"d"] {
///     harness.pass(Duration::from_secs(3)).receive(letter);
/// }
/// assert_eq!(harness.closed(), None);
/// assert_eq!(harness.pass(Duration::from_secs(1)).closed(), Some(CloseReason::FrameTimeout));
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct FrameTimeout {
    after: Duration,
}

impl FrameTimeout {
    /// Closes when a frame takes longer; [`FRAME_TIMEOUT`](crate::limits::FRAME_TIMEOUT) is a good time for most.
    pub fn after(time: Duration) -> Self {
        Self { after: time }
    }
}

impl<In: 'static, Out: 'static> Stage<In, Out> for FrameTimeout {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        cx.timer(self.after, CHECK);
        Ok(())
    }

    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<Flow> {
        if let Event::Timer(CHECK) = event {
            let age = cx.frame_age().unwrap_or_default();
            look_again(cx, self.after, age, CloseReason::FrameTimeout);
        }
        Ok(Flow::Next)
    }
}

/// Closes what has lasted for `after`; what has not is looked at again when it may have.
fn look_again<In: 'static, Out: 'static>(
    cx: &mut Context<'_, In, Out>,
    after: Duration,
    lasts: Duration,
    reason: CloseReason,
) {
    let left = after.saturating_sub(lasts);
    if left.is_zero() {
        cx.close(reason);
    } else {
        cx.timer(left.max(LOOK_MIN), CHECK);
    }
}

/// Closes with [`CloseReason::WriteStall`] when a message takes too long to leave, even if its bytes trickle.
///
/// Counted from the moment it passes this stage to the moment the system has taken its last byte. Beside it every
/// connection has the deadline of [`write_stall_timeout`](crate::limits::ConnectionLimits::write_stall_timeout),
/// which is met by any progress, and that of [`slow_reader_timeout`](crate::limits::ConnectionLimits::slow_reader_timeout),
/// which is met by a fair share of it.
///
/// Threads: the connection's worker. Cost: two comparisons a message and one timer, armed while something waits.
/// Limit: at most a quarter of the time late.
#[derive(Clone, Debug)]
#[must_use]
pub struct WriteTimeout {
    after: Duration,
    marks: [Option<Mark>; MARKS],
}

/// A message that may still be under way.
#[derive(Clone, Copy, Debug)]
struct Mark {
    since: Instant,
    /// Where in the stream it ends; known once it is encoded, and nothing has passed since.
    end: Option<u64>,
}

/// Messages are followed that pass a quarter of the time apart; those between them with the later one.
const MARKS_PER_TIME: u32 = 4;
const MARKS: usize = MARKS_PER_TIME as usize + 1;

impl WriteTimeout {
    /// Closes when a message takes longer.
    pub fn after(time: Duration) -> Self {
        Self {
            after: time,
            marks: [None; MARKS],
        }
    }

    /// Follows the message that is just passing, unless one is followed that passed a little before.
    fn mark<In: 'static, Out: 'static>(&mut self, cx: &mut Context<'_, In, Out>) {
        let now = cx.now();
        let free = self.marks.iter().position(Option::is_none);
        let Some(free) = free else { return };
        let last = self.marks[..free].last().copied().flatten();
        if last.is_some_and(|last| now.since(last.since) < self.after / MARKS_PER_TIME) {
            return;
        }
        self.marks[free] = Some(Mark {
            since: now,
            end: None,
        });
        if free == 0 {
            cx.timer(self.after, CHECK);
        }
    }

    /// The message that passed last has been encoded: it ends where the output ends.
    fn note_end<In: 'static, Out: 'static>(&mut self, cx: &Context<'_, In, Out>) {
        if let Some(last) = self.marks.iter_mut().flatten().last() {
            last.end.get_or_insert_with(|| cx.stream_end());
        }
    }

    /// Forgets what has left; closes when the oldest of the rest has waited too long.
    fn check<In: 'static, Out: 'static>(&mut self, cx: &mut Context<'_, In, Out>) {
        self.note_end(cx);
        let (sent, now) = (cx.sent_bytes(), cx.now());
        let mut left = self.marks.into_iter().flatten();
        let mut left = left.by_ref().filter(|mark| mark.end > Some(sent));
        self.marks = std::array::from_fn(|_| left.next());
        if let Some(oldest) = self.marks[0] {
            look_again(
                cx,
                self.after,
                now.since(oldest.since),
                CloseReason::WriteStall,
            );
        }
    }
}

impl<In: 'static, Out: 'static> Stage<In, Out> for WriteTimeout {
    fn on_outbound(&mut self, cx: &mut Context<'_, In, Out>, _: &mut Out) -> Result<Flow> {
        self.note_end(cx);
        self.mark(cx);
        Ok(Flow::Next)
    }

    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<Flow> {
        if let Event::Timer(CHECK) = event {
            self.check(cx);
        }
        Ok(Flow::Next)
    }
}
