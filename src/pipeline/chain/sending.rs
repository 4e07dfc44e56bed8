//! What handles have sent, on its way through the chain.

use super::Chain;
use crate::codec::Codec;
use crate::error::{CloseReason, Result};
use crate::handle::{CloseRequest, Entry, FROM_HANDLE};
use crate::pipeline::context::{Context, Parts};
use crate::pipeline::handler::Terminal;
use crate::pipeline::state::{Closing, State};
use crate::pipeline::timers::OWNER_HANDLER;
use crate::pipeline::turn::Turn;

impl<C: Codec, T: Terminal<C::In, C::Out>> Chain<C, T> {
    /// Sends a message of a handle, or one that had to wait behind those, from its place outward.
    fn send_entry(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        entry: Entry<C::Out>,
    ) -> Result<()> {
        let place = match entry.from {
            FROM_HANDLE | OWNER_HANDLER => None,
            key => self.slots.iter().position(|slot| slot.key == key),
        };
        let mut cx = Context {
            outer: match place {
                Some(index) => &mut self.slots[..index],
                None => &mut self.slots[..],
            },
            encoder: &mut self.codec,
            tail: &mut self.tail,
            state,
            turn,
            owner: entry.from,
        };
        #[cfg(netwheel_planted)]
        let (twice, start) = (entry.twice, cx.state.sink().len());
        let sent = cx.send_outward(Parts {
            out: entry.out,
            done: entry.done,
            file: entry.file,
        });
        #[cfg(netwheel_planted)]
        if twice {
            cx.state.sink().repeat_from(start);
        }
        sent
    }

    /// Encodes what handles have sent, until the output is above `output_max`.
    pub(super) fn drain_outbox(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        output_max: usize,
    ) -> Result<()> {
        let outcome = self.send_entries(state, turn, output_max);
        match &outcome {
            // Those behind a message that could not be sent go with it: the connection ends, and would
            // wait for them for ever.
            Err(failure) => self.discard_batch(turn, failure.reason()),
            Ok(()) => self.count_out(turn),
        }
        outcome
    }

    fn count_out(&mut self, turn: &Turn) {
        if let Some(outlet) = &mut self.tail.outlet {
            outlet.count_out(&turn.mailbox);
        }
    }

    fn send_entries(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        output_max: usize,
    ) -> Result<()> {
        state.held_back = false;
        while state.queued() <= output_max {
            let Some(outlet) = &mut self.tail.outlet else {
                return Ok(());
            };
            if outlet.is_ahead_of(turn.fanned_out) {
                // Broadcasts from before it come first; the worker gets to them at its next turn.
                outlet.outbox.announce();
                return Ok(());
            }
            let Some(entry) = outlet.next() else {
                if let Some(CloseRequest::AfterFlush(reason)) = outlet.close.take() {
                    state.close(Closing::AfterFlush(reason));
                }
                return Ok(());
            };
            self.send_entry(state, turn, entry)?;
            self.settle(state, turn)?;
        }
        state.held_back = true;
        Ok(())
    }

    /// Answers what was taken out of the outbox and is not encoded as not sent.
    pub(super) fn discard_batch(&mut self, turn: &Turn, reason: CloseReason) {
        let Some(outlet) = &mut self.tail.outlet else {
            return;
        };
        while let Some(entry) = outlet.next() {
            if entry.done.is_some_and(|done| !done.complete(Err(reason))) {
                turn.stats.panics.add(1);
            }
        }
        outlet.count_out(&turn.mailbox);
    }
}
