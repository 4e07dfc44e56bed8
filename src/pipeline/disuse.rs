//! The stage of a client on demand: closes a connection that is not used any more.

use std::time::Duration;

use super::{Context, Event, Flow, Stage, TimerKey};
use crate::clock::Instant;
use crate::error::{CloseReason, Result};

/// The stage's one timer.
const LOOK: TimerKey = TimerKey(0);

/// Closes the connection once no message has come or gone for some time, and nothing waits to leave.
///
/// Cost: a store a message; the timer is armed once an idle time, not once a message.
pub(crate) struct Disuse {
    time: Duration,
    last: Instant,
}

impl Disuse {
    pub(crate) const fn after(time: Duration) -> Self {
        Self {
            time,
            last: Instant::START,
        }
    }
}

impl<In: 'static, Out: 'static> Stage<In, Out> for Disuse {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        self.last = cx.now();
        cx.timer(self.time, LOOK);
        Ok(())
    }

    fn on_inbound(&mut self, cx: &mut Context<'_, In, Out>, _: &mut In) -> Result<Flow> {
        self.last = cx.now();
        Ok(Flow::Next)
    }

    fn on_outbound(&mut self, cx: &mut Context<'_, In, Out>, _: &mut Out) -> Result<Flow> {
        self.last = cx.now();
        Ok(Flow::Next)
    }

    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<Flow> {
        if !matches!(event, Event::Timer(LOOK)) {
            return Ok(Flow::Next);
        }
        if cx.queued_bytes() > 0 {
            // What cannot leave is the affair of the write-stall deadline.
            self.last = cx.now();
        }
        let left = self.time.saturating_sub(cx.now().since(self.last));
        if left.is_zero() {
            cx.close_after_flush(CloseReason::Idle);
        } else {
            cx.timer(left, LOOK);
        }
        Ok(Flow::Stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Pipeline;
    use crate::testing::Harness;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_connection_closes_once_it_was_not_used_for_the_time() {
        let pipeline = Pipeline::raw()
            .stage("disuse", Disuse::after(10 * SECOND))
            .handle(|cx, bytes| cx.write(bytes));
        let mut harness = Harness::new(pipeline);
        for _ in 0..5 {
            harness.pass(9 * SECOND);
            assert_eq!(harness.closing(), None);
            harness.receive(b"still there");
            assert_eq!(harness.sent(), b"still there");
        }
        harness.pass(10 * SECOND);
        assert_eq!(harness.closing(), Some(CloseReason::Idle));
    }
}
