//! The end of the chain, where messages become the program's own business.

use super::{Context, Event};
use crate::error::{CloseReason, Result};

/// The end of a pipeline: owns the messages. For small ones a closure will do, see
/// [`PipelineBuilder::handle`](crate::PipelineBuilder::handle).
///
/// The order of calls is a promise: [`on_open`](Self::on_open) first, then messages and events one at
/// a time, [`on_close`](Self::on_close) exactly once and last. (What has panicked is not called again,
/// not even with the close.)
///
/// ```
/// use bytes::Bytes;
/// use netwheel::{CloseReason, Context, Handler, Pipeline, Result};
///
/// /// Greets, echoes, and counts.
/// struct Echo {
///     bytes: usize, // plain state: one handler a connection, one call at a time
/// }
///
/// impl Handler<Bytes, Bytes> for Echo {
///     fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
///         cx.write(format!("hello {}\n", cx.peer()).into())
///     }
///
///     fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result<()> {
///         self.bytes += message.len();
///         cx.write(message)
///     }
///
///     fn on_close(&mut self, cx: &mut Context<'_, Bytes, Bytes>, reason: CloseReason) {
///         println!("{}: {} bytes, {reason}", cx.id(), self.bytes);
///     }
/// }
/// # let _ = Pipeline::raw().handler(Echo { bytes: 0 });
/// ```
///
/// Threads: the connection's worker; must not block (use
/// [`handler_on`](crate::PipelineBuilder::handler_on) or [`Context::offload`] for work that does). Cost: inlined, no virtual
/// call per message.
#[expect(unused_variables, reason = "the defaults ignore what they are given")]
pub trait Handler<In: 'static, Out: 'static>: 'static {
    /// The connection is open.
    ///
    /// # Errors
    ///
    /// Any error, here and below, closes the connection with its reason.
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        Ok(())
    }

    /// A message has passed all stages.
    ///
    /// # Errors
    ///
    /// Closes the connection.
    fn on_message(&mut self, cx: &mut Context<'_, In, Out>, message: In) -> Result<()>;

    /// Everything that one read brought has been handled (Netty's `channelReadComplete`).
    ///
    /// # Errors
    ///
    /// Closes the connection.
    fn on_read_complete(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        Ok(())
    }

    /// Something happened, see [`Event`].
    ///
    /// # Errors
    ///
    /// Closes the connection.
    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<()> {
        Ok(())
    }

    /// The connection has ended; nothing written now leaves. Not called after a panic.
    fn on_close(&mut self, cx: &mut Context<'_, In, Out>, reason: CloseReason) {}
}

/// What a chain needs of its end, inline or on the pool.
#[expect(unused_variables, reason = "the defaults ignore what they are given")]
pub(crate) trait Terminal<In: 'static, Out: 'static>: 'static {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        Ok(())
    }
    fn on_message(&mut self, cx: &mut Context<'_, In, Out>, message: In) -> Result<()>;
    fn on_read_complete(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        Ok(())
    }
    /// Whatever led into the chain is done: the last moment to hand over what is staged.
    fn on_settled(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        Ok(())
    }
    /// The worker was told to look at this connection.
    fn on_ready(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        Ok(())
    }
    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<()> {
        Ok(())
    }
    /// Whether no message is being handled elsewhere; asks to be told when that changes.
    fn is_idle(&mut self) -> bool {
        true
    }
    fn on_close(&mut self, cx: &mut Context<'_, In, Out>, reason: CloseReason) {}
}

/// A handler that runs on the worker.
pub(crate) struct Inline<H>(pub(crate) H);

impl<In: 'static, Out: 'static, H: Handler<In, Out>> Terminal<In, Out> for Inline<H> {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        self.0.on_open(cx)
    }

    fn on_message(&mut self, cx: &mut Context<'_, In, Out>, message: In) -> Result<()> {
        self.0.on_message(cx, message)
    }

    fn on_read_complete(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        self.0.on_read_complete(cx)
    }

    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<()> {
        self.0.on_event(cx, event)
    }

    fn on_close(&mut self, cx: &mut Context<'_, In, Out>, reason: CloseReason) {
        self.0.on_close(cx, reason);
    }
}

/// A handler that is a closure.
pub(crate) struct Closure<F>(pub(crate) F);

impl<In: 'static, Out: 'static, F> Terminal<In, Out> for Closure<F>
where
    F: FnMut(&mut Context<'_, In, Out>, In) -> Result<()> + 'static,
{
    fn on_message(&mut self, cx: &mut Context<'_, In, Out>, message: In) -> Result<()> {
        (self.0)(cx, message)
    }
}
