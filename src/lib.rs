//! Servers and clients on an event loop, without an async runtime.
//!
#![doc = include_str!("front_page.md")]

mod address;
mod buffer;
#[cfg(feature = "caviar")]
pub mod caviar;
mod client;
mod clock;
pub mod codec;
mod completion;
mod connection;
mod datagram;
mod error;
mod executor;
mod fan_out;
mod file_region;
mod group;
pub mod handle;
mod id;
pub mod limits;
pub mod link;
mod mailbox;
mod net;
mod options;
mod panics;
mod pipeline;
mod random;
mod reactor;
mod repeated;
mod schedule;
mod server;
mod sessions;
pub mod sim;
mod slots;
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
mod wheel;

pub use address::{Address, IntoPlace, Peer, Place};
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
pub use id::ConnectionId;
pub use net::{Net, ShutdownReport};
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

/// Compiles the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDocTests;
