//! The pipeline: filters, codec, stages, handler, and what they are given.
//!
//! ```text
//!  socket bytes <-> [filters...] <-> [codec: bytes <-> messages] <-> [stages...] <-> handler
//!                   run-time list       static type                  run-time list   static type
//! ```
//! Filters belong to the connection: they stay when a pipeline takes over from another.
//!
//! The builder is typed and erases itself when the handler is named, so codec and handler are inlined
//! into each other and one virtual call leads in per readiness event. Stages are boxed, named and
//! editable at any time, also from inside a callback; messages pass them in place.

mod attributes;
mod builder;
mod chain;
mod context;
mod disuse;
mod event;
mod filter;
mod handler;
mod lane;
mod link;
mod offload;
mod parcels;
mod pulse;
mod silence;
mod stage;
mod state;
mod tail;
mod timers;
mod turn;
mod valve;

pub use attributes::Attributes;
pub use builder::{AnyPipeline, Pipeline, PipelineBuilder};
pub(crate) use context::Encode;
pub use context::{Context, Edits};
pub use event::Event;
pub use filter::{Filter, Inbound};
pub use handler::Handler;
pub(crate) use handler::Terminal;
pub(crate) use lane::{Lane, LaneEnd};
pub use lane::{LaneContext, PoolHandler};
pub(crate) use link::Link;
pub(crate) use parcels::Parcels;
pub use stage::{Flow, Stage};
pub(crate) use state::{Closing, Pause, State};
pub use timers::TimerKey;
pub(crate) use timers::{Due, OWNER_HANDLER, OWNER_LIBRARY, Timers};
pub(crate) use turn::Turn;
pub(crate) use valve::{Bucket, Way};
