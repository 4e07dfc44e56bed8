//! Caviar: requests, callbacks and pushes between clients and a server (feature `caviar`).
//!
//! ```text
//!   CaviarClient ── login, logout, send_sync ──────────────> waits ─────> ServerListener, on the pool,
//!        │       ── send_async ──────> Callback, once, on its pool         in order for each session
//!        │                                                                        │
//!        └──────── one connection, 32 bytes before each body ──────── SessionContext: respond, push, ask
//!                                                                                 │
//!   ClientListener, on the client's pool <── push, ask, broadcast ──── CaviarSessions: all of them
//! ```
//! See [`CaviarClient`] for both sides in a few lines.
//!
//! # The wire
//!
//! Integers have their high byte first. Before each body stand 32 bytes:
//!
//! | offset | bytes | type | field | value |
//! |---|---|---|---|---|
//! | 0 | 8 | i64 | request id | given by who asks, repeated by who answers; 0 in a push |
//! | 8 | 8 | i64 | address | the sender's IPv4 address as a number, -1 for any other; opaque to receivers |
//! | 16 | 4 | i32 | version | 1 (`crcCode` in the protocol's document, though it checks nothing) |
//! | 20 | 4 | i32 | type | the next table |
//! | 24 | 4 | i32 | coding | 0 JSON, 1 XML; passed through, an answer repeats its question's |
//! | 28 | 4 | i32 | length | bytes of the body alone, 0 to 1,048,576 unless configured |
//! | 32 | length | | body | the program's |
//!
//! | type | | from | answered by |
//! |---|---|---|---|
//! | 1001 | login | client | 2001 |
//! | 1002 | logout | client | 2002 |
//! | 1003 | request, its sender waits | client | 2003 |
//! | 1004 | request, its sender is called back | client | 2003 |
//! | 1013 | request, its sender waits | server | 2013 |
//! | 1014 | request, its sender is called back | server | 2013 |
//! | 1015 | push | server | nothing |
//! | 9001 | ping, body `ping` | either | 9002, body `pong`, same id |
//!
//! A ping of id 1 from an unknown address, and the request `hello` of id 2 from 127.0.0.1:
//!
//! ```text
//!   0000000000000001 ffffffffffffffff 00000001 00002329 00000000 00000004 70696e67
//!   0000000000000002 000000007f000001 00000001 000003eb 00000000 00000005 68656c6c6f
//! ```
//! Another version, a type that is unknown or not for that side, and a length below zero or above the bound close
//! the connection as soon as the header is there, with one line in the log.
//!
//! # States
//!
//! A client is what [`ClientState`](crate::ClientState) draws: connecting, up, down, waiting 2 s, connecting again,
//! until it is closed. A session is one connection of it, as the server sees it:
//!
//! ```text
//!   on_open ──> requests, on the pool ──> on_close
//!                 │   ^         │   ^
//!          log_in v   │ log_out └───┘ push, ask, respond: any thread, until the end
//!               has a name
//! ```
//! A client that says nothing for 10 s is closed; it pings after 5 s. A server that says nothing for 20 s is given
//! up, although it is asked every 5 s. A login means what the program makes of it: the library asks for none and
//! keeps none over connections. A client that has come back logs in again
//! ([`login_async`](CaviarClient::login_async) from `on_state`).
//!
//! # What is promised
//!
//! The protocol has no acknowledgements, so its links are [plain](crate::link#what-is-promised) ones.
//!
//! *A request of a client* leaves in the order in which it was accepted, and ends exactly once: answered, timed out,
//! or failed. One that is made while there is no connection waits for the next, within its timeout and the bounds of
//! the client. When a connection breaks, those under way fail with
//! [`LinkDown`](CaviarErrorKind::LinkDown): whether the server has handled them, nobody knows. A
//! [resending](CaviarClient::resending) client asks them again, with the same id and before anything newer, until they
//! are answered or out of time; then the server may handle one more than once, and can tell by the id. An answer that
//! comes late is dropped, and counted.
//!
//! *A push* leaves in order, among the answers of its session, and at most once. What had not left when the
//! connection ended is lost: sessions end with their connections.
//!
//! *A full queue* gives the message back; nothing is dropped to make room.

mod address;
mod callback;
mod client;
mod client_builder;
mod codec;
mod connecting;
mod error;
mod header;
mod listener;
mod message;
mod message_type;
mod request;
mod server;
mod service;
mod session;
mod sessions;
mod waiting;
mod wire;

pub use callback::{Callback, PendingRequest};
pub use client::CaviarClient;
pub use client_builder::CaviarClientBuilder;
pub use codec::CaviarCodec;
pub use error::{CaviarError, CaviarErrorKind};
pub use header::{HEADER_BYTES, VERSION};
pub use listener::{ClientListener, ServerListener};
pub use message::{ADDRESS_UNKNOWN, CODE_JSON, CODE_JSON_JAVA, CODE_XML, CODE_XML_JAVA, Message};
pub use message_type::MessageType;
pub use request::RequestContext;
pub use server::{CaviarServer, RunningCaviarServer};
pub use session::SessionContext;
pub use sessions::{Broadcast, CaviarSessions};
