//! A stage: what stands between the codec and the handler, and may come and go.

use super::{Context, Event};
use crate::error::{CloseReason, Result};
use crate::whereabouts::Label;

/// What becomes of a message after a stage has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// It goes on to the next stage.
    Next,
    /// It ends here and is dropped.
    Stop,
    /// It ends here and is handed over whole, to [`Stage::on_taken`].
    Take,
}

/// A named, editable part of a pipeline.
///
/// Messages pass the stages in place: inbound from first to last, outbound from last to first. Every
/// method has a default that lets things pass. A stage sees `on_open` before anything else (also when
/// it is added to an open connection), `on_close` or `on_removed` as the last, never both. One that closes
/// the connection as it opens keeps it from all behind it: they are told nothing.
///
/// Threads: the connection's worker, one call at a time; must not block. Cost: one virtual call a
/// message and direction, no allocation.
///
/// ```
/// use netwheel::{Context, Flow, Result, Stage};
///
/// /// Lets so many messages in, and closes at the next.
/// struct AtMost(u32);
///
/// impl<In: 'static, Out: 'static> Stage<In, Out> for AtMost {
///     fn on_inbound(&mut self, cx: &mut Context<'_, In, Out>, _: &mut In) -> Result<Flow> {
///         let Some(left) = self.0.checked_sub(1) else {
///             cx.close(netwheel::CloseReason::OverLimit);
///             return Ok(Flow::Stop);
///         };
///         self.0 = left;
///         Ok(Flow::Next)
///     }
/// }
/// ```
#[expect(unused_variables, reason = "the defaults ignore what they are given")]
pub trait Stage<In: 'static, Out: 'static>: 'static {
    /// The connection is open, or the stage has just been added to it.
    ///
    /// # Errors
    ///
    /// Any error, here and below, closes the connection with its reason.
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        Ok(())
    }

    /// A message on its way in; may be changed in place.
    ///
    /// # Errors
    ///
    /// Closes the connection.
    fn on_inbound(&mut self, cx: &mut Context<'_, In, Out>, message: &mut In) -> Result<Flow> {
        Ok(Flow::Next)
    }

    /// The message for which [`on_inbound`](Self::on_inbound) answered [`Flow::Take`].
    ///
    /// # Errors
    ///
    /// Closes the connection.
    fn on_taken(&mut self, cx: &mut Context<'_, In, Out>, message: In) -> Result<()> {
        Ok(())
    }

    /// A message on its way out; may be changed in place. A write from here goes further outward, ahead of it.
    ///
    /// [`Flow::Take`] is the same as [`Flow::Stop`] here.
    ///
    /// # Errors
    ///
    /// Closes the connection.
    fn on_outbound(&mut self, cx: &mut Context<'_, In, Out>, message: &mut Out) -> Result<Flow> {
        Ok(Flow::Next)
    }

    /// Something happened, see [`Event`].
    ///
    /// # Errors
    ///
    /// Closes the connection.
    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<Flow> {
        Ok(Flow::Next)
    }

    /// The stage has been taken out, or another pipeline has taken over. What it writes still leaves.
    fn on_removed(&mut self, cx: &mut Context<'_, In, Out>) {}

    /// The connection has ended; nothing written now leaves. Not called after a panic.
    fn on_close(&mut self, cx: &mut Context<'_, In, Out>, reason: CloseReason) {}
}

/// The key of a stage that has not been told of the open, and so is told of no close.
pub(crate) const NEVER_OPENED: u32 = 0;

/// A stage in its place.
pub(crate) struct Slot<In, Out> {
    pub(crate) name: &'static str,
    /// Never used twice on one connection; owns the stage's timers and jobs.
    pub(crate) key: u32,
    /// What the worker says of itself while it is in here.
    pub(crate) label: Label,
    pub(crate) stage: Box<dyn Stage<In, Out>>,
}
