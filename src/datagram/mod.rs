//! One datagram socket: what its handler is given, what waits to leave, and how it ends. No socket and no clock
//! of its own.
//!
//! ```text
//!   wire ──receive──> [ worker's buffer ] ──> handler ──send_to──> wire, at once
//!                                                        └─ socket full: [ queue ] ──> wire, once it has room
//!   any thread ──try_send_to──> [ outbox ] ──Ready(key)──> wire
//! ```
//! Nothing is copied on the short way: a handler looks at a datagram where the kernel put it, and what it sends
//! goes to the kernel from where it lies. Both queues are bounded, in datagrams and in bytes.

mod context;
mod counters;
mod endpoint;
mod handle;
mod handler;
mod messages;
mod options;
mod outbox;
mod queue;
mod state;
#[cfg(test)]
mod tests;
mod wire;

pub use context::DatagramContext;
pub use counters::UdpStats;
pub(crate) use endpoint::{Endpoint, EndpointSeed, MakeHandler, Used};
pub use handle::UdpHandle;
pub(crate) use handler::Closure;
pub use handler::{Datagram, DatagramHandler};
pub use messages::MessageContext;
pub(crate) use messages::Messages;
pub(crate) use options::{At, UdpOptions};
pub(crate) use outbox::{Outbox, Tied};
#[cfg(test)]
pub(crate) use wire::NoDatagrams;
pub(crate) use wire::{Group, Wire};
