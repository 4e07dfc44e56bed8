//! Messages that mean nothing but their bytes.

use bytes::Bytes;

use super::framed::FRAME_COPY_BYTES_MAX;
use super::{Body, chunk};
use crate::error::Result;

/// Bytes, as they are.
///
/// A framing by itself is a codec of bytes already, and shares large ones; this is the same as a [`Body`], for
/// what wraps one or takes one as a parameter.
///
/// ```
/// use bytes::BytesMut;
/// use netwheel::codec::{Blob, Codec, Framing, LengthField};
///
/// let mut codec = LengthField::u8().then(Blob);
/// let mut input = BytesMut::from("\x05hello");
/// assert_eq!(codec.decode(&mut input)?.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), netwheel::Failure>(())
/// ```
///
/// Threads: the connection's worker. Cost: a copy each way; an allocation above [`FRAME_COPY_BYTES_MAX`], and
/// below it one for many messages. Limit: that of the framing.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it has no settings, and is written `Blob`"
)]
pub struct Blob;

impl Body for Blob {
    type In = Bytes;
    type Out = Bytes;

    fn decode(&mut self, frame: &[u8]) -> Result<Bytes> {
        Ok(if frame.len() <= FRAME_COPY_BYTES_MAX {
            chunk::copy(frame)
        } else {
            Bytes::copy_from_slice(frame)
        })
    }

    fn encode(&mut self, out: Bytes, dst: &mut Vec<u8>) -> Result<()> {
        dst.extend_from_slice(&out);
        Ok(())
    }

    fn weigh(out: &Bytes) -> usize {
        out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_and_go_as_they_are() {
        for size in [0, 1, FRAME_COPY_BYTES_MAX, FRAME_COPY_BYTES_MAX + 1] {
            let (frame, mut dst) = (vec![7; size], b"before".to_vec());
            let message = Blob.decode(&frame).expect("never fails");
            assert_eq!((&*message, Blob::weigh(&message)), (&*frame, size));
            Blob.encode(message, &mut dst).expect("never fails");
            assert_eq!(dst.strip_prefix(b"before"), Some(&*frame));
        }
    }
}
