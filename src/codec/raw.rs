//! No framing at all: bytes as they come.

use bytes::{Bytes, BytesMut};

use super::Codec;
use crate::buffer::Output;
use crate::error::Result;

/// Bytes as they come: each message is everything that has arrived and was not taken yet.
///
/// Where one message ends and the next begins means nothing; only the order of the bytes does.
///
/// ```
/// use bytes::BytesMut;
/// use netwheel::codec::{Codec, Raw};
///
/// let mut input = BytesMut::from("hello");
/// assert_eq!(Raw.decode(&mut input)?.as_deref(), Some(&b"hello"[..]));
/// assert_eq!(Raw.decode(&mut input)?, None);
/// # Ok::<(), netwheel::Failure>(())
/// ```
///
/// Cost: no copy and no allocation inwards, so a message that is kept holds the memory of the read it
/// came with; copy what is to be kept for long. Outwards as [`Output::push`].
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it has no settings, and is written `Raw`"
)]
pub struct Raw;

impl Codec for Raw {
    type In = Bytes;
    type Out = Bytes;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>> {
        // All of it: the buffer itself becomes the message, which no count of references notices.
        Ok((!input.is_empty()).then(|| std::mem::take(input).freeze()))
    }

    fn encode(&mut self, out: Bytes, dst: &mut Output) -> Result<()> {
        dst.push(out);
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
    fn everything_that_arrived_is_one_message_without_a_copy() {
        let mut input = BytesMut::from(&b"abc"[..]);
        let start = input.as_ptr();
        let message = Raw
            .decode(&mut input)
            .expect("never fails")
            .expect("bytes have arrived");
        assert_eq!((&*message, message.as_ptr()), (&b"abc"[..], start));
        assert_eq!(Raw.decode(&mut input).expect("never fails"), None);
        assert_eq!(Raw.decode_eof(&mut input).expect("never fails"), None);
    }

    #[test]
    fn what_is_sent_is_appended_as_it_is() {
        let mut output = Output::new();
        for part in ["a", "", "bc"] {
            Raw.encode(Bytes::from(part), &mut output)
                .expect("never fails");
        }
        assert_eq!(output.tail(), b"abc");
    }
}
