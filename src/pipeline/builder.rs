//! How a pipeline is put together.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::chain::Chain;
use super::handler::{Closure, Inline, Terminal};
use super::lane::{Lane, LaneClosure, LaneContext, LaneEnd, PoolHandler, Reject};
use super::link::{Link, TypedLink};
use super::stage::{NEVER_OPENED, Slot};
use super::{Context, Filter, Handler, Stage};
use crate::codec::{Codec, Raw};
use crate::error::Result;
use crate::executor::Executor;
use crate::handle::Outbox;
use crate::whereabouts::Label;

/// A finished pipeline of one connection: messages of type `In` come in, messages of type `Out` go out.
///
/// ```
/// use netwheel::Pipeline;
/// use netwheel::codec::LengthField;
///
/// fn echo() -> Pipeline<bytes::Bytes, bytes::Bytes> {
///     Pipeline::new(LengthField::u32()).handle(|cx, frame| cx.write(frame))
/// }
/// # echo();
/// ```
///
/// Threads: made and kept on the connection's worker, hence not `Send`. Cost: one allocation, and one
/// for each stage.
pub struct Pipeline<In, Out> {
    link: Box<dyn TypedLink<Out>>,
    filters: Vec<Box<dyn Filter>>,
    messages: PhantomData<fn(Out) -> In>,
}

impl<In: 'static, Out: 'static> Pipeline<In, Out> {
    /// Begins a pipeline over `codec`.
    #[expect(
        clippy::new_ret_no_self,
        reason = "the pipeline is whole once it has a handler"
    )]
    pub fn new<C: Codec<In = In, Out = Out>>(codec: C) -> PipelineBuilder<C> {
        PipelineBuilder {
            codec,
            filters: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// Closes its connection once no message has come or gone for so long.
    pub(crate) fn close_when_disused(&mut self, time: Duration) {
        self.link.close_when_disused(time);
    }

    /// Ties the pipeline to handles that are there already.
    pub(crate) fn adopt(mut self, outbox: Arc<Outbox<Out>>) -> AnyPipeline {
        self.link.adopt(outbox);
        self.into()
    }
}

impl Pipeline<Bytes, Bytes> {
    /// Begins a pipeline of raw bytes: a message is whatever one read brought.
    #[must_use]
    pub fn raw() -> PipelineBuilder<Raw> {
        Self::new(Raw)
    }
}

/// A pipeline whose messages' types are forgotten, for factories that choose between protocols.
pub struct AnyPipeline {
    pub(crate) link: Box<dyn Link>,
    pub(crate) filters: Vec<Box<dyn Filter>>,
}

impl<In: 'static, Out: 'static> From<Pipeline<In, Out>> for AnyPipeline {
    fn from(pipeline: Pipeline<In, Out>) -> Self {
        Self {
            link: pipeline.link,
            filters: pipeline.filters,
        }
    }
}

/// A pipeline that has its codec and some of its stages; naming the handler finishes it.
pub struct PipelineBuilder<C: Codec> {
    codec: C,
    filters: Vec<Box<dyn Filter>>,
    slots: Vec<Slot<C::In, C::Out>>,
}

impl<C: Codec> PipelineBuilder<C> {
    /// Adds a filter behind those added before: next to the codec, the first next to the socket.
    ///
    /// In a pipeline that an [`upgrade`](Context::upgrade) puts in the place of another, the filters of the
    /// connection stay, and these come behind them.
    #[must_use]
    pub fn filter(mut self, filter: impl Filter) -> Self {
        self.filters.push(Box::new(filter));
        self
    }

    /// Adds a stage behind those added before: next to the handler.
    ///
    /// # Panics
    ///
    /// In debug builds, when the name is taken.
    #[must_use]
    pub fn stage(mut self, name: &'static str, stage: impl Stage<C::In, C::Out>) -> Self {
        debug_assert!(
            self.slots.iter().all(|slot| slot.name != name),
            "two stages are named {name}"
        );
        self.slots.push(Slot {
            name,
            key: NEVER_OPENED,
            label: Label::default(),
            stage: Box::new(stage),
        });
        self
    }

    /// Finishes with a closure that runs on the connection's worker and must not block.
    ///
    /// Written in the call, the closure needs no type annotations.
    pub fn handle<F>(self, handler: F) -> Pipeline<C::In, C::Out>
    where
        F: FnMut(&mut Context<'_, C::In, C::Out>, C::In) -> Result<()> + 'static,
    {
        self.finish(Closure(handler))
    }

    /// Finishes with a handler that runs on the connection's worker and must not block.
    pub fn handler<H: Handler<C::In, C::Out>>(self, handler: H) -> Pipeline<C::In, C::Out> {
        self.finish(Inline(handler))
    }

    /// Finishes with a closure that runs on the pool and may block.
    ///
    /// The messages of one connection keep their order and never run at once; when the connection's
    /// lane or the pool is full, the connection is not read until there is room.
    pub fn handle_on<F>(self, pool: &Executor, handler: F) -> Pipeline<C::In, C::Out>
    where
        C::In: Send,
        C::Out: Send,
        F: FnMut(&mut LaneContext<'_, C::Out>, C::In) -> Result<()> + Send + 'static,
    {
        self.handler_on(pool, LaneClosure(handler))
    }

    /// Finishes with a handler that runs on the pool and may block, like [`handle_on`](Self::handle_on).
    pub fn handler_on<H>(self, pool: &Executor, handler: H) -> Pipeline<C::In, C::Out>
    where
        C::In: Send,
        C::Out: Send,
        H: PoolHandler<C::In, C::Out>,
    {
        self.finish(LaneEnd::new(Lane::new(pool, handler), None))
    }

    /// Finishes like [`handle_on`](Self::handle_on) for a pool that rejects: a message that finds no
    /// room goes to `rejected`, on the worker, to be refused in the protocol's own words.
    ///
    /// Without it such a message closes the connection with
    /// [`CloseReason::OverLimit`](crate::CloseReason::OverLimit).
    pub fn handle_on_or<F, R>(
        self,
        pool: &Executor,
        handler: F,
        rejected: R,
    ) -> Pipeline<C::In, C::Out>
    where
        C::In: Send,
        C::Out: Send,
        F: FnMut(&mut LaneContext<'_, C::Out>, C::In) -> Result<()> + Send + 'static,
        R: FnMut(&mut Context<'_, C::In, C::Out>, C::In) -> Result<()> + 'static,
    {
        let rejected: Reject<C::In, C::Out> = Box::new(rejected);
        self.finish(LaneEnd::new(
            Lane::new(pool, LaneClosure(handler)),
            Some(rejected),
        ))
    }

    /// Finishes with an end of the crate's own.
    pub(crate) fn end_with<T: Terminal<C::In, C::Out>>(
        self,
        terminal: T,
    ) -> Pipeline<C::In, C::Out> {
        self.finish(terminal)
    }

    fn finish<T: Terminal<C::In, C::Out>>(mut self, terminal: T) -> Pipeline<C::In, C::Out> {
        // A vector starts with room for four; most connections never get another stage.
        self.slots.shrink_to_fit();
        Pipeline {
            link: Box::new(Chain::new(self.codec, self.slots, terminal)),
            filters: self.filters,
            messages: PhantomData,
        }
    }
}

impl<In, Out> fmt::Debug for Pipeline<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipeline")
    }
}

impl fmt::Debug for AnyPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyPipeline")
    }
}

impl<C: Codec> fmt::Debug for PipelineBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.slots.iter().map(|slot| slot.name);
        f.debug_list().entries(names).finish()
    }
}
