//! The worker's end of a lane: what is handed over, held back, rejected or taken back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Lane, Line, PoolHandler};
use crate::error::{CloseReason, Failure, Result};
use crate::executor::{Waiter, WhenFull};
use crate::handle::Announce;
use crate::limits::LANE_MESSAGES_MAX;
use crate::pipeline::handler::Terminal;
use crate::pipeline::state::Pause;
use crate::pipeline::{Context, Event};

/// Messages handed over at once; more would wait for the end of a long read.
const STAGED_MAX: usize = 16;

pub(crate) type Reject<In, Out> = Box<dyn FnMut(&mut Context<'_, In, Out>, In) -> Result<()>>;

/// The worker's end of a lane.
pub(crate) struct LaneEnd<In: 'static, Out: 'static, H> {
    lane: Arc<Lane<In, Out, H>>,
    /// Messages on their way to the lane; some stay here while it has no room.
    staged: VecDeque<In>,
    waiter: Waiter,
    reject: Option<Reject<In, Out>>,
}

impl<In, Out, H> LaneEnd<In, Out, H>
where
    In: Send + 'static,
    Out: Send + 'static,
    H: PoolHandler<In, Out>,
{
    pub(crate) fn new(lane: Arc<Lane<In, Out, H>>, reject: Option<Reject<In, Out>>) -> Self {
        Self {
            waiter: lane.executor.waiter(),
            lane,
            staged: VecDeque::new(),
            reject,
        }
    }

    /// Hands over what is staged, as far as there is room; pauses reading, or rejects, when there is not.
    fn commit(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        loop {
            if self.is_congested_and_parked(cx) {
                // What was given room leaves it to the next.
                self.waiter.give_up();
                cx.state.pause(Pause::LANE);
                return Ok(());
            }
            // A lane that is just parking is counted out after its messages can be taken back.
            let room = LANE_MESSAGES_MAX.saturating_sub(self.lane.queued.load(Ordering::SeqCst));
            let want = self.staged.len().min(room);
            let granted = self.waiter.acquire(want);
            if granted > 0 && !self.lane.push(cx.turn, &mut self.staged, granted) {
                self.lane.executor.release(granted);
                continue;
            }
            if self.staged.is_empty() {
                cx.state.resume(Pause::LANE, cx.turn.stamp);
                return Ok(());
            }
            if self.lane.executor.when_full() == WhenFull::Reject {
                return self.reject_staged(cx);
            }
            cx.state.pause(Pause::LANE);
            if granted < want {
                let waiter: Arc<dyn Announce> = cx.outlet().outbox.clone();
                self.waiter.wait(waiter, want - granted);
                return Ok(());
            }
            if !self.tell_below(LANE_MESSAGES_MAX / 2 + 1) {
                return Ok(());
            }
        }
    }

    /// Takes messages back from a parked lane once the answers have been read; `true` while they have not.
    fn is_congested_and_parked(&mut self, cx: &Context<'_, In, Out>) -> bool {
        if !self.lane.is_parked() {
            return false;
        }
        if cx.queued_bytes() > cx.state.options.limits.high_water_bytes {
            return true;
        }
        if let Some(mut messages) = self.lane.recall() {
            messages.append(&mut self.staged);
            self.staged = messages;
        }
        false
    }

    /// Asks to be told once fewer than `count` messages are in the lane; `true` when that holds already.
    fn tell_below(&self, count: usize) -> bool {
        self.lane.tell_below.store(count, Ordering::SeqCst);
        // Whoever handles messages counts them out before it looks at `tell_below`, so one of the
        // two sees the other.
        self.lane.queued.load(Ordering::SeqCst) < count
    }

    fn reject_staged(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        let Some(reject) = &mut self.reject else {
            return Err(Failure::with(
                CloseReason::OverLimit,
                "the pool is full and rejects",
            ));
        };
        self.staged
            .drain(..)
            .try_for_each(|message| reject(cx, message))
    }
}

impl<In, Out, H> Terminal<In, Out> for LaneEnd<In, Out, H>
where
    In: Send + 'static,
    Out: Send + 'static,
    H: PoolHandler<In, Out>,
{
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        let line = Line {
            handle: cx.handle(),
            weigh: cx.encoder.weigher(),
            limits: cx.state.options.limits.clone(),
            stats: Arc::clone(&cx.turn.stats),
        };
        cx.turn.stats.know_pool(self.lane.executor.gauge());
        let _ = self.lane.line.set(line);
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Context<'_, In, Out>, message: In) -> Result<()> {
        self.staged.push_back(message);
        if self.staged.len() >= STAGED_MAX {
            self.commit(cx)
        } else {
            Ok(())
        }
    }

    fn on_settled(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        if self.staged.is_empty() || cx.state.is_paused_by(Pause::LANE) {
            return Ok(());
        }
        self.commit(cx)
    }

    fn on_ready(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        if cx.state.is_paused_by(Pause::LANE) || self.lane.is_parked() {
            return self.commit(cx);
        }
        Ok(())
    }

    fn on_event(&mut self, _: &mut Context<'_, In, Out>, _: &Event) -> Result<()> {
        Ok(())
    }

    fn is_idle(&mut self) -> bool {
        self.staged.is_empty()
            && !self.lane.is_parked()
            && (self.lane.queued.load(Ordering::SeqCst) == 0 || self.tell_below(1))
    }

    fn give_up(&mut self) {
        self.waiter.give_up();
    }

    fn on_close(&mut self, _: &mut Context<'_, In, Out>, _: CloseReason) {
        self.lane.dead.store(true, Ordering::Relaxed);
    }
}

impl<In: 'static, Out: 'static, H> Drop for LaneEnd<In, Out, H> {
    fn drop(&mut self) {
        self.lane.dead.store(true, Ordering::Relaxed);
    }
}
