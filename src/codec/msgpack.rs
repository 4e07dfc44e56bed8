//! Messages in MessagePack.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use rmp_serde::Deserializer;
use rmp_serde::decode::Error as DecodeError;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Body;
use crate::error::{Failure, Result};

/// How deep values may be nested, as in [`Json`](super::Json): each level takes some of the worker's stack.
const DEPTH_MAX: usize = 128;

/// Messages in MessagePack: `In` is read, `Out` is written. Needs the feature `msgpack`.
///
/// ```
/// use netwheel::codec::{Body, MessagePack};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Point { x: i32, y: i32 }
///
/// let mut body = MessagePack::<Point, Point>::new();
/// let mut wire = Vec::new();
/// body.encode(Point { x: 1, y: -1 }, &mut wire)?;
/// assert_eq!(wire, [0x92, 1, 0xFF]); // an array of two: 1, -1
/// assert_eq!(body.decode(&wire)?, Point { x: 1, y: -1 });
/// # Ok::<(), netwheel::Failure>(())
/// ```
/// A struct is written as the array of its fields, or [with their names](Self::with_names) as a map, which other
/// languages like better and which lets fields come and go; both are read. What is no MessagePack, or not of
/// the type, closes the connection with `protocol_error`; so do bytes behind the message, and values nested more
/// than 128 deep. A field that is bytes wants to be a `serde_bytes` one, or it becomes an array of numbers.
///
/// Threads: the connection's worker. Cost: read where it arrived and written where it leaves from; no
/// allocation but those of `In`. Limit: that of the framing. A message that waits behind a handle weighs its
/// own size, without what it owns.
pub struct MessagePack<In, Out> {
    names: bool,
    types: PhantomData<fn(Out) -> In>,
}

impl<In, Out> MessagePack<In, Out> {
    /// Reads `In`, writes `Out`, a struct as an array.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            names: false,
            types: PhantomData,
        }
    }

    /// Writes a struct as a map from the names of its fields.
    #[must_use]
    pub const fn with_names(mut self) -> Self {
        self.names = true;
        self
    }
}

impl<In, Out> Body for MessagePack<In, Out>
where
    In: DeserializeOwned + 'static,
    Out: Serialize + 'static,
{
    type In = In;
    type Out = Out;

    fn decode(&mut self, frame: &[u8]) -> Result<In> {
        let mut deserializer = Deserializer::from_read_ref(frame);
        deserializer.set_max_depth(DEPTH_MAX);
        let message = In::deserialize(&mut deserializer).map_err(Failure::protocol)?;
        match serde::Deserialize::deserialize(&mut deserializer) {
            // Not even the first byte of another value.
            Err(DecodeError::InvalidMarkerRead(error))
                if error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                Ok(message)
            }
            Ok(IgnoredAny) | Err(_) => Err(Failure::protocol("bytes behind the message")),
        }
    }

    fn encode(&mut self, out: Out, dst: &mut Vec<u8>) -> Result<()> {
        if self.names {
            Ok(rmp_serde::encode::write_named(dst, &out)?)
        } else {
            Ok(rmp_serde::encode::write(dst, &out)?)
        }
    }
}

// By hand, so that the types need not be `Clone` or `Debug`.
impl<In, Out> Clone for MessagePack<In, Out> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<In, Out> fmt::Debug for MessagePack<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessagePack")
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::error::CloseReason;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Ask {
        id: u64,
        key: Option<String>,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    }

    fn ask() -> Ask {
        Ask {
            id: u64::MAX,
            key: Some("ü".to_owned()),
            data: vec![0, 255],
        }
    }

    #[derive(Debug, Deserialize)]
    enum Tree {
        #[expect(dead_code, reason = "it is only there to be nested")]
        Node(Vec<Self>),
    }

    #[test]
    fn messages_come_back_as_they_were_with_names_and_without() {
        for (mut body, first) in [
            (MessagePack::<Ask, Ask>::new(), 0x93),
            (MessagePack::new().with_names(), 0x83),
        ] {
            let mut dst = b"before".to_vec();
            body.encode(ask(), &mut dst).expect("it can be written");
            let wire = dst.strip_prefix(b"before").expect("it is appended");
            assert_eq!(wire[0], first);
            assert_eq!(wire[wire.len() - 4..], [0xC4, 2, 0, 255], "bytes are bytes");
            assert_eq!(body.decode(wire).expect("it was written"), ask());
        }
    }

    #[test]
    fn what_is_not_of_the_type_breaks_the_protocol() {
        let mut body = MessagePack::<(u8, u8), ()>::new();
        assert_eq!(body.decode(&[0x92, 1, 2]).expect("two numbers"), (1, 2));
        // Nothing, cut off, of another type, too large, a byte behind, a marker behind, 4 GiB of promises.
        for bad in [
            &[][..],
            &[0x92, 1],
            &[0xC0],
            &[0x92, 1, 0xCD, 1, 0],
            &[0x92, 1, 2, 3],
            &[0x92, 1, 2, 0xCD],
            &[0xDD, 0xFF, 0xFF, 0xFF, 0xFF],
        ] {
            let failure = body.decode(bad).expect_err("it is not two numbers");
            assert_eq!(failure.reason(), CloseReason::ProtocolError, "{bad:x?}");
        }
    }

    #[test]
    fn deep_values_do_not_use_up_the_stack() {
        let deep = b"\x81\xA4Node\x91".repeat(100_000);
        let failure = MessagePack::<Tree, ()>::new().decode(&deep);
        let text = failure.expect_err("it is too deep").to_string();
        assert!(text.contains("depth"), "{text}");
    }
}
