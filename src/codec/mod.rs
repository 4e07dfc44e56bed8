//! Codecs: bytes to messages and back, without I/O.
//!
//! ```text
//!   Codec            bytes <-> messages, what a pipeline is built on
//!   Framing          bytes <-> frames: where a message starts and ends
//!   Body             frame <-> message: what it means
//!   Framing.then(Body) = Framed: Codec
//! ```
//!
//! | framing | a message ends |
//! |---|---|
//! | [`LengthField`] | where its header says, in any layout that Netty knows |
//! | [`Varint32`] | where protobuf's prefix says |
//! | [`FixedLength`] | after a number of bytes that is always the same |
//! | [`Lines`] | at the end of a line |
//! | [`Delimiter`] | at bytes of one's own choice |
//! | [`Raw`], no framing | nowhere: bytes as they come |
//!
//! | body | a message is | feature |
//! |---|---|---|
//! | [`Utf8`] | text, strict or lossy | |
//! | [`Blob`] | bytes | |
//! | `Json` | any type that serde knows | `json` |
//! | `MessagePack` | any type that serde knows | `msgpack` |
//! | `Protobuf` | a message of prost | `protobuf` |
//! | `Gzip` | another body's, compressed | `gzip` |
//!
//! A framing alone is a codec of [`Bytes`](bytes::Bytes); `LengthField::u32().then(Json::new())` is a
//! codec of the types that the body names. A codec never sees a socket, a clock or a thread, and the
//! messages it makes do not depend on how the stream was cut into reads.

mod blob;
mod chunk;
mod delimiter;
mod fixed_length;
mod frame_error;
mod framed;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "json")]
mod json;
#[cfg(test)]
mod law;
mod length_field;
mod lines;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(feature = "protobuf")]
mod protobuf;
mod raw;
mod utf8;
mod varint32;

pub use crate::limits::FRAME_BYTES_MAX;
pub use blob::Blob;
pub use delimiter::Delimiter;
pub use fixed_length::FixedLength;
pub use frame_error::{FrameError, FrameErrorKind, OnFrameError};
pub use framed::{Body, FRAME_COPY_BYTES_MAX, Framed, Framing, Scan};
#[cfg(feature = "gzip")]
pub use gzip::Gzip;
#[cfg(feature = "json")]
pub use json::Json;
pub use length_field::{HEADER_BYTES_MAX, LengthField, LengthFieldBuilder};
pub use lines::Lines;
#[cfg(feature = "msgpack")]
pub use msgpack::MessagePack;
#[cfg(feature = "protobuf")]
pub use protobuf::Protobuf;
pub use raw::Raw;
pub use utf8::Utf8;
pub use varint32::Varint32;

use bytes::BytesMut;

use crate::buffer::Output;
use crate::error::Result;

/// Turns the bytes of a connection into messages and messages into bytes.
///
/// The shape is that of `tokio_util::codec`, in one trait: [`decode`](Self::decode) is called until it
/// answers `None`, with everything that has arrived and was not consumed; [`encode`](Self::encode)
/// appends to the connection's output, which leaves at the end of the turn.
///
/// Threads: the connection's worker. Cost: inlined into the pipeline, no virtual call per message.
pub trait Codec: 'static {
    /// What arrives.
    type In: 'static;
    /// What is sent.
    type Out: 'static;

    /// Takes one message from the front of `input`, or answers `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// An error closes the connection with the reason it carries; use
    /// [`CloseReason::ProtocolError`](crate::CloseReason::ProtocolError) for bytes that break the protocol.
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Self::In>>;

    /// Takes what is left once the peer has sent its FIN; called until it answers `None`.
    ///
    /// # Errors
    ///
    /// As for [`decode`](Self::decode).
    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<Self::In>> {
        self.decode(input)
    }

    /// Appends one message to the connection's output.
    ///
    /// # Errors
    ///
    /// An error closes the connection; nothing of the failed message may be left in `dst`.
    fn encode(&mut self, out: Self::Out, dst: &mut Output) -> Result<()>;

    /// Bad frames passed over since this was last asked, under [`OnFrameError::Skip`].
    ///
    /// The connection adds them to its counters.
    fn take_skipped(&mut self) -> u64 {
        0
    }

    /// Bytes that a message counts for while it waits to be encoded (Netty's size estimator).
    ///
    /// Decides when a [`ConnectionHandle`](crate::ConnectionHandle) refuses; the default is the size of the
    /// type itself, which is right for messages that own no heap memory.
    fn weigh(out: &Self::Out) -> usize {
        size_of_val(out)
    }
}
