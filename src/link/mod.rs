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
//! | `Engine` | when each of them is asked: the end of a pipeline, with [`LinkListener`] and [`LinkDialer`] to make it |
//! | [`Service`] | what the program does with its messages |
//! | [`Counter`], [`Snowflake`] | numbers that name things |
//!
//! Each part is a state machine without sockets, threads or a clock: what happens is told by a `handle_` method,
//! what is to be done is asked for by a `poll_` method, and `now` is handed in.
//!
//! # How a protocol is built on it
//!
//! 1. A [`Wire`] says how its frames are cut, and what each is to a link. A protocol without a login sets
//!    [`LinkRules::handshake`] to `None`, and is never asked for one.
//! 2. A [`Service`] does what the program does with messages: inline, or on a pool in the order of each link.
//! 3. A [`LinkListener`] makes the pipelines of a [`Server`](crate::Server), a [`LinkDialer`] those of a
//!    [`Client`](crate::Client) that [comes back](crate::Client::reconnect). Both end a pipeline that may have filters
//!    and stages before them (TLS, logging, shaping): [`LinkListener::finish`], [`LinkDialer::finish`].
//! 4. A [`Link`] is what programs keep: [`send`](Link::send), [`call`](Link::call),
//!    [`call_and_wait`](Link::call_and_wait).
//!
//! The end of a client's link and that of its client go together: give [`LinkDialer::on_close`] what closes the client,
//! and close the link when [`on_state`](crate::Client::on_state) tells that the client is closed.
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
//!
//! A message is *accepted* when [`Link::send`] has returned, or [`Link::send_then`] has told so: with a [`Spool`] that is
//! once it is safe there, and it leaves no sooner. What survives which fault:
//!
//! | fault | plain | acknowledged | with a spool at the sender | with a cursor at the receiver |
//! |---|---|---|---|---|
//! | the connection breaks | what had not left | all, once | all, once | as without |
//! | the sender's process dies | nothing | nothing that was not handled | all that was accepted, once | as without |
//! | the receiver's process dies | what had not left | all; what was handled and not acknowledged comes again | as without | as left; once, where the cursor is kept with the effect |
//! | both die | nothing | nothing that was not handled | all that was accepted; what was handled and not known to be acknowledged comes again | as left; once, where the cursor is kept with the effect |
//! | a machine loses its power | as its process | as its process | as its process, if the spool is synced and the disk keeps its word | as its process, with the same conditions |
//! | the disk fails or is full | | | what was safe; the rest comes back to its senders | each message that is handled closes the connection, until the program opens the file again |
//! | the file is lost | | | nothing that was not handled: a new epoch begins | as without |
//!
//! The feature `spool` brings a file for both, `SpoolFile`. Its cursors are kept beside the effects, shortly after
//! them; a program that keeps effects in a database of its own keeps the [`Position`] there too, and implements
//! [`Cursor`] to read it back. [`Wire::stamp_of`] tells the position of a message.
//!
//! *Questions* end exactly once: by their answer, by their time, or with the connection or link. Answers may pass
//! messages that wait for a pool.
//!
//! # Slow services
//!
//! While answers find no room, or a lane is full, a connection is not read. The silence of a peer that is not read
//! counts for nothing; but our own silence towards it does, since its pings are not answered. Where services may be
//! slower than heartbeats, let both sides ping ([`HeartbeatRules::pings`]).

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
mod keeping;
mod listener;
mod login;
mod outbox;
mod outbox_rules;
mod position;
mod requests;
mod room;
mod rules;
mod service;
mod shared;
mod spool;
#[cfg(feature = "spool")]
mod spool_file;
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
pub use outbox_rules::OutboxRules;
pub use position::Position;
pub use rules::LinkRules;
pub use service::Service;
pub use spool::{Cursor, Kept, Progress, Spool, Spooled};
#[cfg(feature = "spool")]
pub use spool_file::{FileCursor, FileSpool, SpoolFile, SpoolFileBuilder};
pub use stats::LinkStats;
pub use wire::{Kind, Stamp, Wire};
