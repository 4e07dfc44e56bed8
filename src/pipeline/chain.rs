//! The walk along a pipeline: codec, stages, handler, and back.
//!
//! ```text
//!   input ─> decode ─> stage 0 ─> stage 1 ─> ... ─> terminal      inbound, in place
//!   output <─ encode <─ stage 0 <─ stage 1 <─ ... <─┘             outbound, in place
//! ```
//! While stage k runs, the stages before it are free (`split_at_mut`), so its writes run outward
//! through exactly those, at once and without re-entrancy. What cannot be done while a stage is
//! borrowed (edits, injected messages) waits in the tail and is done after the message.

mod edits;
mod jobs;
mod sending;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::context::Context;
use super::disuse::Disuse;
use super::handler::Terminal;
use super::link::{Link, TypedLink};
use super::stage::{Flow, NEVER_OPENED, Slot};
use super::state::{Closing, State};
use super::tail::{Action, Outlet, Tail};
use super::timers::OWNER_HANDLER;
use super::turn::Turn;
use super::{Event, Stage, TimerKey};
use crate::codec::Codec;
use crate::error::{CloseReason, Failure, Result};
use crate::handle::{CloseRequest, Outbox};
use crate::whereabouts::Label;

/// A pipeline in its final form: everything of one connection whose types are known, in one box.
pub(crate) struct Chain<C: Codec, T> {
    codec: C,
    terminal: T,
    slots: Vec<Slot<C::In, C::Out>>,
    tail: Tail<C::In, C::Out>,
    /// Whether the handler has been told of the open, and is to be told of the close.
    opened: bool,
}

impl<C: Codec, T: Terminal<C::In, C::Out>> Chain<C, T> {
    pub(crate) fn new(codec: C, slots: Vec<Slot<C::In, C::Out>>, terminal: T) -> Self {
        Self {
            codec,
            terminal,
            slots,
            tail: Tail::new(),
            opened: false,
        }
    }

    /// Runs `call` at the handler's place.
    fn at_terminal<R>(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        call: impl FnOnce(&mut T, &mut Context<'_, C::In, C::Out>) -> R,
    ) -> R {
        let mut cx = Context {
            outer: &mut self.slots,
            encoder: &mut self.codec,
            tail: &mut self.tail,
            state,
            turn,
            owner: OWNER_HANDLER,
        };
        call(&mut self.terminal, &mut cx)
    }

    /// Runs `call` at the place of one stage.
    fn at_stage<R>(
        &mut self,
        index: usize,
        state: &mut State,
        turn: &mut Turn,
        call: impl FnOnce(&mut dyn Stage<C::In, C::Out>, &mut Context<'_, C::In, C::Out>) -> R,
    ) -> R {
        let (outer, rest) = self.slots.split_at_mut(index);
        let slot = &mut rest[0];
        turn.stats.whereabouts.at(slot.label);
        let mut cx = Context {
            outer,
            encoder: &mut self.codec,
            tail: &mut self.tail,
            state,
            turn,
            owner: slot.key,
        };
        let outcome = call(&mut *slot.stage, &mut cx);
        cx.turn.stats.whereabouts.at(Label::HANDLER);
        outcome
    }

    /// Passes a message through the stages from `first` on, and to the handler.
    #[inline]
    fn pass_inward(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        mut message: C::In,
        first: usize,
    ) -> Result<()> {
        for index in first..self.slots.len() {
            let flow = self.at_stage(index, state, turn, |stage, cx| {
                stage.on_inbound(cx, &mut message)
            })?;
            match flow {
                Flow::Next => {}
                Flow::Stop => return Ok(()),
                Flow::Take => {
                    return self
                        .at_stage(index, state, turn, |stage, cx| stage.on_taken(cx, message));
                }
            }
        }
        self.at_terminal(state, turn, |terminal, cx| terminal.on_message(cx, message))
    }

    fn pass_event(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        event: &Event,
        first: usize,
    ) -> Result<()> {
        for index in first..self.slots.len() {
            let flow = self.at_stage(index, state, turn, |stage, cx| stage.on_event(cx, event))?;
            if flow != Flow::Next {
                return Ok(());
            }
        }
        self.at_terminal(state, turn, |terminal, cx| terminal.on_event(cx, event))
    }

    /// Decodes and delivers until more is needed or decoding is to stop; answers with what the codec
    /// failed with.
    fn decode_all(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        input: &mut BytesMut,
        eof: bool,
    ) -> Result<Option<Failure>> {
        let outcome = self.decode_each(state, turn, input, eof);
        turn.stats.decode_errors.add(self.codec.take_skipped());
        outcome
    }

    fn decode_each(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        input: &mut BytesMut,
        eof: bool,
    ) -> Result<Option<Failure>> {
        state.decoded = state.garbled;
        while !state.stops_decoding() {
            let decoded = if eof {
                self.codec.decode_eof(input)
            } else {
                self.codec.decode(input)
            };
            match decoded {
                Ok(Some(message)) => {
                    turn.stats.messages_in.add(1);
                    self.pass_inward(state, turn, message, 0)?;
                    self.settle(state, turn)?;
                }
                Ok(None) => {
                    state.decoded = true;
                    break;
                }
                Err(failure) => {
                    turn.stats.decode_errors.add(1);
                    state.decoded = true;
                    return Ok(Some(failure.blame(CloseReason::ProtocolError)));
                }
            }
        }
        Ok(None)
    }

    /// Does what callbacks have asked for, until they ask for nothing more.
    #[inline]
    fn settle(&mut self, state: &mut State, turn: &mut Turn) -> Result<()> {
        if self.tail.has_actions() {
            return self.settle_all(state, turn);
        }
        Ok(())
    }

    #[cold]
    fn settle_all(&mut self, state: &mut State, turn: &mut Turn) -> Result<()> {
        while let Some(action) = self.tail.next_action() {
            match action {
                Action::Edit(edit) => self.edit(state, turn, edit)?,
                Action::Inject { from, message } => {
                    let first = self.behind(from);
                    self.pass_inward(state, turn, message, first)?;
                }
                Action::Fire { from, event } => {
                    let first = self.behind(from);
                    self.pass_event(state, turn, &event, first)?;
                }
            }
        }
        Ok(())
    }

    /// Does what callbacks have asked for, and hands over what the handler has staged.
    fn finish(&mut self, state: &mut State, turn: &mut Turn) -> Result<()> {
        self.settle(state, turn)?;
        self.at_terminal(state, turn, |terminal, cx| terminal.on_settled(cx))
    }

    /// The place behind a stage; the handler's when the stage has gone.
    fn behind(&self, key: u32) -> usize {
        let place = self.slots.iter().position(|slot| slot.key == key);
        place.map_or(self.slots.len(), |index| index + 1)
    }
}

impl<C: Codec, T: Terminal<C::In, C::Out>> Link for Chain<C, T> {
    fn attach(&mut self, state: &mut State, turn: &mut Turn) {
        if let Some(outlet) = &self.tail.outlet {
            state.has_handles = true;
            outlet.outbox.place(&turn.mailbox, &turn.board, state.id);
        }
    }

    fn open(&mut self, state: &mut State, turn: &mut Turn) -> Result<()> {
        if let Some(outlet) = &self.tail.outlet {
            outlet.outbox.opened(state.peer());
        }
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            slot.key = state.new_owner();
            slot.label = turn.stats.whereabouts.label_of(slot.name);
            self.at_stage(index, state, turn, |stage, cx| stage.on_open(cx))?;
            // Whom a stage turns away at the door is not shown to those behind it.
            if !state.accepts_output() {
                return self.settle(state, turn);
            }
        }
        self.opened = true;
        self.at_terminal(state, turn, |terminal, cx| terminal.on_open(cx))?;
        self.finish(state, turn)?;
        if let Some(outlet) = &self.tail.outlet {
            // Behind what the callbacks have written: a greeting leaves before what has waited for it.
            outlet.outbox.tell_open(state.peer());
        }
        Ok(())
    }

    fn ingest(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        input: &mut BytesMut,
        eof: bool,
    ) -> Result<()> {
        let failure = self.decode_all(state, turn, input, eof)?;
        // A stop to flush is none for the handler: what the read brought comes whole.
        if !state.flush_now || state.decoded {
            self.at_terminal(state, turn, |terminal, cx| terminal.on_read_complete(cx))?;
        }
        self.finish(state, turn)?;
        if let Some(failure) = failure {
            state.fail_decoding(failure, eof);
        }
        Ok(())
    }

    fn drain(&mut self, state: &mut State, turn: &mut Turn) -> Result<()> {
        if let Some(outlet) = &mut self.tail.outlet {
            let taken = outlet.outbox.take(&mut outlet.batch);
            outlet.close = taken.close.or(outlet.close);
            if let Some(CloseRequest::Now(reason)) = outlet.close {
                state.close(Closing::Now(reason));
                return Ok(());
            }
            // A connect under way: what waits leaves once the stages have been told that it is open.
            if !state.opened {
                return Ok(());
            }
            if state.failed {
                self.give_up(state, turn);
                return Ok(());
            }
            for result in taken.results {
                // What handles have sent still leaves.
                if let Err(failure) = self.finish_job(state, turn, result) {
                    state.fail(failure);
                    break;
                }
            }
        }
        self.drain_outbox(state, turn, state.options.limits.high_water_bytes)?;
        self.retry_jobs(state, turn);
        self.at_terminal(state, turn, |terminal, cx| terminal.on_ready(cx))?;
        self.finish(state, turn)
    }

    fn drain_all(&mut self, state: &mut State, turn: &mut Turn) -> Result<()> {
        self.drain_outbox(state, turn, usize::MAX)?;
        self.finish(state, turn)
    }

    fn event(&mut self, state: &mut State, turn: &mut Turn, event: Event) -> Result<()> {
        self.pass_event(state, turn, &event, 0)?;
        self.finish(state, turn)
    }

    fn timer(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        owner: u32,
        key: TimerKey,
    ) -> Result<()> {
        let event = Event::Timer(key);
        match self.slots.iter().position(|slot| slot.key == owner) {
            Some(index) => {
                self.at_stage(index, state, turn, |stage, cx| stage.on_event(cx, &event))?;
            }
            None => self.at_terminal(state, turn, |terminal, cx| terminal.on_event(cx, &event))?,
        }
        self.finish(state, turn)
    }

    fn stage_names(&self) -> Vec<&'static str> {
        self.slots.iter().map(|slot| slot.name).collect()
    }

    fn tell_output_bytes(&self, bytes: usize) {
        if let Some(outlet) = &self.tail.outlet {
            outlet.outbox.tell_output_bytes(bytes);
        }
    }

    fn holds_back(&self) -> bool {
        let outlet = self.tail.outlet.as_ref();
        outlet.is_some_and(|outlet| outlet.close.is_some() || outlet.outbox.is_waiting())
    }

    fn waiting_bytes(&self) -> usize {
        let outlet = self.tail.outlet.as_ref();
        outlet.map_or(0, |outlet| outlet.outbox.waiting_bytes())
    }

    fn refuse_more(&self) {
        if let Some(outlet) = &self.tail.outlet {
            outlet.outbox.refuse_more();
        }
    }

    fn is_idle(&mut self) -> bool {
        self.terminal.is_idle() && self.tail.jobs_are_done() && self.tail.outlet_is_empty()
    }

    fn removed(&mut self, state: &mut State, turn: &mut Turn) -> Result<()> {
        if let Some(outlet) = &self.tail.outlet {
            // Its groups are framed for the old codec. Nothing has to wait for their broadcasts any more.
            outlet.outbox.leave_all();
        }
        // Also what was held back above the high water mark; the hard bound of handles has seen to it.
        self.drain_outbox(state, turn, usize::MAX)?;
        for index in (0..self.slots.len()).rev() {
            self.at_stage(index, state, turn, |stage, cx| stage.on_removed(cx));
        }
        self.shut_outbox(turn, CloseReason::Local);
        Ok(())
    }

    fn close(&mut self, state: &mut State, turn: &mut Turn, reason: CloseReason) {
        if self.opened {
            self.at_terminal(state, turn, |terminal, cx| terminal.on_close(cx, reason));
        }
        for index in (0..self.slots.len()).rev() {
            if self.slots[index].key != NEVER_OPENED {
                self.at_stage(index, state, turn, |stage, cx| stage.on_close(cx, reason));
            }
        }
    }

    fn shut_outbox(&mut self, turn: &mut Turn, reason: CloseReason) {
        self.discard_batch(turn, reason);
        if let Some(outlet) = self.tail.outlet.take() {
            turn.stats.panics.add(outlet.outbox.shut_down(reason));
        }
    }
}

impl<C: Codec, T: Terminal<C::In, C::Out>> TypedLink<C::Out> for Chain<C, T> {
    fn adopt(&mut self, outbox: Arc<Outbox<C::Out>>) {
        outbox.weigh_by(C::weigh);
        self.tail.outlet = Some(Box::new(Outlet::new(outbox)));
    }

    fn close_when_disused(&mut self, time: Duration) {
        // The outermost, which sees all that comes and goes.
        let stage = Slot {
            name: "disuse",
            key: NEVER_OPENED,
            label: Label::default(),
            stage: Box::new(Disuse::after(time)),
        };
        self.slots.insert(0, stage);
    }
}
