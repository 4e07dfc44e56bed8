//! The seam between the connection, which knows no types of messages, and the chain, which knows all.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::state::State;
use super::turn::Turn;
use super::{Event, TimerKey};
use crate::error::{CloseReason, Result};
use crate::handle::Outbox;

/// A finished pipeline behind one virtual call per readiness event.
pub(crate) trait Link {
    /// Ties handles that were there before to their connection.
    fn attach(&mut self, state: &mut State, turn: &mut Turn);
    /// First call on an established connection; then messages and events, then `close` or `removed`.
    fn open(&mut self, state: &mut State, turn: &mut Turn) -> Result<()>;
    /// Decodes messages from `input` and delivers them, until it needs more or [`State::stops_decoding`].
    fn ingest(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        input: &mut BytesMut,
        eof: bool,
    ) -> Result<()>;
    /// Encodes what waits in the outbox and runs the callbacks of finished jobs.
    fn drain(&mut self, state: &mut State, turn: &mut Turn) -> Result<()>;
    /// Encodes what was taken out of the outbox, also above the high water mark.
    fn drain_all(&mut self, state: &mut State, turn: &mut Turn) -> Result<()>;
    /// Tells all stages and the handler.
    fn event(&mut self, state: &mut State, turn: &mut Turn, event: Event) -> Result<()>;
    /// Tells the stage or handler whose timer it is.
    fn timer(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        owner: u32,
        key: TimerKey,
    ) -> Result<()>;
    /// The stages by name, the outermost first.
    fn stage_names(&self) -> Vec<&'static str>;
    /// Tells the handles how much output waits.
    fn tell_output_bytes(&self, bytes: usize);
    /// Whether something waits in the outbox, or behind what is held back above the high water mark.
    fn holds_back(&self) -> bool;
    /// Bytes that wait in the outbox, by their weight.
    fn waiting_bytes(&self) -> usize;
    /// From now on handles answer that the connection is closed; what they took before still leaves.
    fn refuse_more(&self);
    /// Whether no answer is under way: lane, jobs and outbox are empty.
    fn is_idle(&mut self) -> bool;
    /// Another pipeline takes over.
    fn removed(&mut self, state: &mut State, turn: &mut Turn) -> Result<()>;
    /// Last call.
    fn close(&mut self, state: &mut State, turn: &mut Turn, reason: CloseReason);
    /// Ends the handles; also right after a panic, when nothing else is called any more.
    fn shut_outbox(&mut self, turn: &mut Turn, reason: CloseReason);
}

/// A link whose outbound type is known, for a client that holds its end already.
pub(crate) trait TypedLink<Out>: Link {
    fn adopt(&mut self, outbox: Arc<Outbox<Out>>);
    /// Closes the connection once it was not used for so long; before it is open.
    fn close_when_disused(&mut self, time: Duration);
}
