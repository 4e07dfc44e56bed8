//! Messages in protobuf.

use std::fmt;
use std::marker::PhantomData;

use prost::Message;

use super::Body;
use crate::error::{Failure, Result};

/// Messages in protobuf, by `prost`: `In` is read, `Out` is written. Needs the feature `protobuf`.
///
/// ```
/// use bytes::BytesMut;
/// use netwheel::codec::{Codec, Framing, Protobuf, Varint32};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Ask {
///     #[prost(uint64, tag = "1")]
///     id: u64,
///     #[prost(string, tag = "2")]
///     key: String,
/// }
///
/// let mut codec = Varint32::new().then(Protobuf::<Ask, Ask>::new());
/// let mut input = BytesMut::from("\x05\x08\x07\x12\x01x");
/// let ask = codec.decode(&mut input)?.expect("a whole frame");
/// assert_eq!((ask.id, &*ask.key), (7, "x"));
/// # Ok::<(), netwheel::Failure>(())
/// ```
/// Types come from `prost-build`, from `prost`'s derive as above, or by hand. With
/// [`Varint32`](super::Varint32) the stream is that of Java's `writeDelimitedTo` and of Netty's protobuf
/// handlers. What is not of the type closes the connection with `protocol_error`, as do messages nested more
/// than 100 deep; fields that the type does not know are passed over.
///
/// Threads: the connection's worker. Cost: read where it arrived and written where it leaves from; no
/// allocation but those of `In`. Limit: that of the framing. A message that waits behind a handle weighs its
/// encoded length.
pub struct Protobuf<In, Out> {
    types: PhantomData<fn(Out) -> In>,
}

impl<In, Out> Protobuf<In, Out> {
    /// Reads `In`, writes `Out`.
    #[must_use]
    pub const fn new() -> Self {
        Self { types: PhantomData }
    }
}

impl<In, Out> Body for Protobuf<In, Out>
where
    In: Message + Default + 'static,
    Out: Message + 'static,
{
    type In = In;
    type Out = Out;

    fn decode(&mut self, frame: &[u8]) -> Result<In> {
        In::decode(frame).map_err(Failure::protocol)
    }

    fn encode(&mut self, out: Out, dst: &mut Vec<u8>) -> Result<()> {
        Ok(out.encode(dst)?)
    }

    fn weigh(out: &Out) -> usize {
        out.encoded_len()
    }
}

// By hand, so that the types need not be `Clone` or `Debug`.
impl<In, Out> Clone for Protobuf<In, Out> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<In, Out> fmt::Debug for Protobuf<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protobuf")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CloseReason;

    #[derive(Clone, PartialEq, Message)]
    struct Ask {
        #[prost(uint64, tag = "1")]
        id: u64,
        #[prost(string, tag = "2")]
        key: String,
        #[prost(message, optional, boxed, tag = "3")]
        inner: Option<Box<Self>>,
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let inner = Ask {
            id: 150,
            ..Ask::default()
        };
        let ask = Ask {
            id: u64::MAX,
            key: "ü".to_owned(),
            inner: Some(inner.into()),
        };
        let (mut body, mut dst) = (Protobuf::<Ask, Ask>::new(), b"before".to_vec());
        body.encode(ask.clone(), &mut dst)
            .expect("it can be written");
        let wire = dst.strip_prefix(b"before").expect("it is appended");
        assert_eq!(wire.len(), Protobuf::<Ask, Ask>::weigh(&ask));
        assert_eq!(wire[wire.len() - 5..], [0x1A, 3, 0x08, 0x96, 1]);
        assert_eq!(body.decode(wire).expect("it was written"), ask);
        assert_eq!(body.decode(b"").expect("all is left out"), Ask::default());
    }

    #[test]
    fn what_is_not_of_the_type_breaks_the_protocol() {
        let mut deep = Ask::default();
        for _ in 0..1000 {
            deep = Ask {
                inner: Some(deep.into()),
                ..Ask::default()
            };
        }
        // Cut off, a length beyond the end, no UTF-8, another type, a tag of zero, too deep.
        for bad in [
            &b"\x08"[..],
            b"\x12\x7Fx",
            b"\x12\x01\xFF",
            b"\x0A\x01x",
            b"\x00\x00",
            &deep.encode_to_vec(),
        ] {
            let failure = Protobuf::<Ask, Ask>::new().decode(bad);
            let failure = failure.expect_err("it is no question");
            assert_eq!(failure.reason(), CloseReason::ProtocolError, "{bad:.9x?}");
        }
    }
}
