//! The private protocol stack: long links between nodes that log in, keep themselves alive, come back, and keep what
//! could not leave (feature `stack`).
//!
//! Begin with the [`guide`], or with [`Node`]. What is promised of messages is said [here](crate::link#what-is-promised).
//!
//! # The wire
//!
//! All numbers are big-endian. A frame of profile [`Spec`](Profile::Spec):
//!
//! | offset | bytes | field | value |
//! |---|---|---|---|
//! | 0 | 2 | magic | `ab ef` |
//! | 2 | 1 | major version | 1; another one closes the connection |
//! | 3 | 1 | minor version | 1; any other is accepted |
//! | 4 | 4 | length | of the whole frame, from offset 0 |
//! | 8 | 8 | session | 0, unless the listener gives numbers ([`NodeBuilder::session_ids`]) |
//! | 16 | 1 | type | see below |
//! | 17 | 1 | priority | 0 to 255 |
//! | 18 | 4 | attachments | how many |
//! | 22 | | each of them | length of the key (4), the key (UTF-8), length of the value (4), the value |
//! | | | body | the rest of the frame |
//!
//! In profile [`Book`](Profile::Book) the length leaves out the first 8 bytes, and the body has a length of 4 bytes
//! before it, also when it is empty.
//!
//! | type | what | body, attachments |
//! |---|---|---|
//! | 0 | question | `rid` (8 bytes), which its answer repeats |
//! | 1 | answer | `rid` |
//! | 2 | message that wants no answer | |
//! | 3 | login | `nodeId`; the second one `proof` too |
//! | 4 | answer to a login | `00` accepted; `ff` refused, with `reason` where it is told; `01` prove it, with `challenge` |
//! | 5 | ping | |
//! | 6 | pong; with `ack`, an acknowledgement that goes alone | |
//!
//! Acknowledged mode adds `seq` and `epoch` to types 0 to 2, and `ack` to whatever of them goes out next, 8 bytes
//! each. With checksums each frame ends its attachments with `crc32c`, 4 bytes: CRC-32C of the whole frame, these
//! four taken as zeros.
//!
//! An empty login, its acceptance and its refusal, of 22, 23 and 23 bytes:
//!
//! ```text
//! ab ef 01 01  00 00 00 16  00 00 00 00 00 00 00 00  03 00  00 00 00 00
//! ab ef 01 01  00 00 00 17  00 00 00 00 00 00 00 00  04 00  00 00 00 00  00
//! ab ef 01 01  00 00 00 17  00 00 00 00 00 00 00 00  04 00  00 00 00 00  ff
//! ```
//!
//! # When a connection closes
//!
//! The peer closes or resets it; reading or writing fails; heartbeats are missed; a frame cannot be decoded or
//! encoded; a login is refused, or takes too long; a service fails; a program closes it. Otherwise it stays.

mod access;
mod attachments;
mod codec;
mod message;
mod node;
#[cfg(test)]
mod tests;
mod wire;

#[doc = include_str!("guide.md")]
pub mod guide {}

pub use access::{Access, AccessList};
pub use codec::{FrameLimits, Profile, StackCodec};
pub use message::{
    ACKNOWLEDGED, CHALLENGE, CHECKSUM, EPOCH, Message, MessageType, NODE_ID, PROOF, REASON,
    REQUEST_ID, SEQUENCE,
};
pub use node::{Node, NodeBuilder, StackLink};
pub use wire::StackWire;
