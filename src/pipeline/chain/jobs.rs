//! Jobs of the pool that come back to the chain, and those that still wait for room.

use super::Chain;
use crate::codec::Codec;
use crate::error::{CloseReason, Failure, Result};
use crate::handle::JobResult;
use crate::pipeline::handler::Terminal;
use crate::pipeline::state::{Pause, State};
use crate::pipeline::turn::Turn;

impl<C: Codec, T: Terminal<C::In, C::Out>> Chain<C, T> {
    pub(super) fn finish_job(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        result: JobResult,
    ) -> Result<()> {
        let Some(deferred) = self.tail.deferred_mut() else {
            return Ok(());
        };
        let job = deferred.jobs.remove(result.job);
        let Some(value) = result.value else {
            return Err(Failure::with(
                CloseReason::Panic,
                "a job of the pool panicked",
            ));
        };
        let Some(done) = job.done else {
            turn.stats.stale_events.add(1);
            return Ok(());
        };
        match self.slots.iter().position(|slot| slot.key == job.owner) {
            Some(index) => self.at_stage(index, state, turn, |_, cx| done(cx, value))?,
            None => self.at_terminal(state, turn, |_, cx| done(cx, value))?,
        }
        self.settle(state, turn)
    }

    /// Leaves the pools' room to others: nothing more is begun.
    pub(super) fn give_up(&mut self, state: &mut State, turn: &mut Turn) {
        if let Some(deferred) = self.tail.deferred_mut() {
            deferred.backlogs.clear();
        }
        self.at_terminal(state, turn, |terminal, _| terminal.give_up());
    }

    /// Tries jobs again that found their pool full.
    pub(super) fn retry_jobs(&mut self, state: &mut State, turn: &Turn) {
        let Some(deferred) = self.tail.deferred_mut() else {
            return;
        };
        if deferred.retry_jobs() {
            state.resume(Pause::JOBS, turn.stamp);
        }
    }
}
