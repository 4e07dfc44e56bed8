//! Servers and clients on an event loop, without an async runtime.
//!
#![doc = include_str!("front_page.md")]

mod address;
#[cfg(feature = "admin")]
pub mod admin;
mod buffer;
#[cfg(feature = "caviar")]
pub mod caviar;
mod client;
mod clock;
pub mod codec;
mod completion;
mod connection;
mod counter;
mod datagram;
mod error;
mod executor;
mod fan_out;
mod file_region;
mod group;
pub mod handle;
mod histogram;
mod id;
mod inspection;
mod json;
pub mod limits;
pub mod link;
mod mailbox;
mod metrics;
mod net;
mod options;
mod panics;
mod pipeline;
#[cfg(not(netwheel_planted))]
mod planted;
#[cfg(netwheel_planted)]
#[doc(hidden)]
pub mod planted;
mod random;
mod reactor;
mod repeated;
mod schedule;
mod server;
mod sessions;
pub mod sim;
mod slots;
#[cfg(feature = "stack")]
pub mod stack;
pub mod stages;
mod stats;
mod sync;
mod target;
pub mod testing;
mod thread_role;
#[cfg(feature = "tls")]
pub mod tls;
mod transport;
pub mod udp;
mod watchdog;
mod wheel;
mod whereabouts;

pub use address::{Address, IntoPlace, Peer, Place};
#[cfg(feature = "admin")]
pub use admin::Admin;
pub use buffer::{Output, SHARED_BYTES_MIN};
pub use client::{
    Backoff, Batch, BatchBuilder, Client, ClientState, ClosedCause, ConnectionPool, Dial, DialOnce,
    DownCause, Pooled, Reconnect, ReconnectingHandle, WhileDown,
};
pub use clock::{Clock, Instant};
pub use codec::{Body, Codec, Framing};
pub use error::{
    CloseReason, DuplicateLogin, Error, ErrorKind, Failure, Initiator, Result, TrySendError,
};
pub use executor::{Executor, WhenFull};
pub use fan_out::SlowMember;
pub use file_region::FileRegion;
pub use group::{BroadcastError, Group, GroupStats};
pub use handle::ConnectionHandle;
pub use histogram::Histogram;
pub use id::ConnectionId;
pub use inspection::{ConnectionInfo, ConnectionPhase};
pub use metrics::{Metrics, WorkerMetrics};
pub use net::{Net, ShutdownReport};
pub use options::Overflow;
pub use pipeline::{
    AnyPipeline, Attributes, Context, Edits, Event, Filter, Flow, Handler, Inbound, LaneContext,
    Pipeline, PipelineBuilder, PoolHandler, Stage, TimerKey,
};
pub use reactor::{Reactor, ReactorBuilder};
pub use server::{HasPipeline, NoPipeline, RunningServer, Server, Stopper};
pub use sessions::{Duplicate, Session, SessionId, Sessions};
pub use stats::Stats;
pub use target::{IntoTarget, Target};
pub use udp::Udp;
pub use watchdog::{Stall, StallLevel};
pub use whereabouts::StallPlace;

/// Compiles the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDocTests;
