//! The link engine: logins, heartbeats, questions and answers, and messages that are not lost, for any protocol.
//!
//! ```text
//!   a program                        Link: sends, asks, outlives connections            any thread
//!                                     │
//!   what outlives a connection       Outbox ─ Requests ─ Intake                         one lock a link
//!                                     │
//!   what one connection needs        Handshake ─ Heartbeat                              its worker
//!                                     │
//!   a protocol                       Wire: frames <-> what they are to a link
//!                                     │
//!   the pipeline                     codec, stages of the program, and the engine as their end
//! ```
//! | part | what it decides |
//! |---|---|
//! | [`Wire`] | what a frame is: a login, a ping, an answer, the program's own |
//! | `Handshake` | who is let in: address, node, proof ([`Authenticator`]), one at a time ([`LoginKey`]) |
//! | `Heartbeat` | when to ping, and when the other side has gone ([`HeartbeatRules`]) |
//! | `Requests` | which question an answer belongs to, and which were not answered in time |
//! | `Outbox` | what is kept, what goes next, what goes again ([`OutboxRules`]) |
//! | `Intake` | what is a repeat, and what to acknowledge |
//! | [`Spool`], [`Cursor`] | what outlives a process |
//! | [`Counter`], [`Snowflake`] | numbers that name things |
//!
//! Each part is a state machine without sockets, threads or a clock: what happens is told by a `handle_` method,
//! what is to be done is asked for by a `poll_` method, and `now` is handed in.
//!
//! # What is promised
//!
//! *Plain*, the default. A message that was accepted leaves in order and at most once whole: what had not left
//! when the connection ended goes again over the next, after its handshake and before anything newer. What the
//! system had taken is lost with a connection that breaks: only the peer knows what it has got.
//!
//! *Acknowledged* ([`OutboxRules::acknowledged`], on both sides). A message is kept until the peer says that its
//! handler has returned. The sender loses nothing it accepted while its process lives, or with a [`Spool`] across
//! restarts. The receiver handles each message once and in order while its process lives, or when its [`Cursor`] is
//! stored together with the effect; otherwise at least once, with the same [`Position`]. A handler that fails
//! closes the connection, and its message comes again.

mod alarm;
mod authenticator;
mod call;
mod delivery;
mod dialer;
mod engine;
mod handle;
mod handshake;
mod heartbeat;
mod identity;
mod ids;
mod intake;
mod listener;
mod login;
mod outbox;
mod position;
mod requests;
mod room;
mod rules;
mod service;
mod shared;
mod spool;
mod stats;
#[cfg(test)]
mod tests;
mod wire;

#[cfg(feature = "auth")]
pub use authenticator::SharedSecret;
pub use authenticator::{Admission, Anybody, Authenticator, Credentials, KnownNodes};
pub use call::{CallError, SendError};
pub use dialer::{LinkDialer, LinkDialerBuilder};
pub use handle::Link;
pub use handshake::{Hello, Refusal, Reply};
pub use heartbeat::HeartbeatRules;
pub use identity::{LoginKey, NodeId, PeerKey};
pub use ids::{Counter, Snowflake, SnowflakeLayout};
pub use listener::{LinkListener, LinkListenerBuilder};
pub use outbox::OutboxRules;
pub use position::Position;
pub use rules::LinkRules;
pub use service::Service;
pub use spool::{Cursor, Spool, Spooled};
pub use stats::LinkStats;
pub use wire::{Kind, Stamp, Wire};
