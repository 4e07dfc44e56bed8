//! Bytes to messages and back.

use bytes::{Bytes, BytesMut};

use super::header::{BadHeader, HEADER_BYTES, Header, LENGTH_OFFSET};
use super::message::Message;
use crate::buffer::Output;
use crate::codec::{Codec, LengthField};
use crate::error::Result;
use crate::limits::CAVIAR_BODY_BYTES_MAX;

/// The codec of the Caviar protocol.
///
/// ```
/// use bytes::BytesMut;
/// use netwheel::Codec;
/// use netwheel::caviar::{CaviarCodec, MessageType};
///
/// let mut input = BytesMut::from(
///     &b"\0\0\0\0\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x01\0\0\x23\x29\0\0\0\0\0\0\0\x04ping"[..],
/// );
/// let ping = CaviarCodec::new().decode(&mut input)?.expect("a whole message");
/// assert_eq!((ping.request_id, ping.kind), (1, MessageType::Ping));
/// assert_eq!(ping.body, "ping");
/// # Ok::<(), netwheel::Failure>(())
/// ```
/// A header that the protocol does not allow closes the connection as soon as it is there, before memory grows.
///
/// Threads: the connection's worker. Cost: a copy of bodies up to 2 KiB, none of longer ones. Limit:
/// [`CAVIAR_BODY_BYTES_MAX`] bytes of body, unless configured.
#[derive(Clone, Debug)]
pub struct CaviarCodec {
    frames: LengthField,
    body_bytes_max: usize,
}

impl CaviarCodec {
    /// Bodies of up to 1 MiB ([`CAVIAR_BODY_BYTES_MAX`]).
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the layout works")]
    pub fn new() -> Self {
        let frames = LengthField::builder(4).offset(LENGTH_OFFSET).build();
        let codec = Self {
            frames: frames.expect("a length of four bytes at the end of a header"),
            body_bytes_max: 0,
        };
        codec.body_bytes_max(CAVIAR_BODY_BYTES_MAX)
    }

    /// Sets the longest body, sent or received; no more than a length of 31 bits can tell.
    #[must_use]
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes.min(i32::MAX as usize);
        self.frames = self
            .frames
            .frame_bytes_max(HEADER_BYTES + self.body_bytes_max);
        self
    }

    /// The header of the next message, once it is there.
    fn header(&self, input: &[u8]) -> Result<Option<Header>> {
        let Some(bytes) = input.first_chunk() else {
            return Ok(None);
        };
        let header = Header::read(bytes, self.body_bytes_max);
        header.map(Some).map_err(BadHeader::failure)
    }
}

impl Default for CaviarCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for CaviarCodec {
    type In = Message;
    type Out = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>> {
        let Some(header) = self.header(input)? else {
            return Ok(None);
        };
        let frame = Codec::decode(&mut self.frames, input)?;
        Ok(frame.map(|frame| message(header, &frame)))
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<Message>> {
        let header = self.header(input)?;
        let frame = Codec::decode_eof(&mut self.frames, input)?;
        Ok(header
            .zip(frame)
            .map(|(header, frame)| message(header, &frame)))
    }

    fn encode(&mut self, out: Message, dst: &mut Output) -> Result<()> {
        let (bytes, max) = (out.body.len(), self.body_bytes_max);
        if bytes > max {
            return Err(BadHeader::TooLong(bytes, max).failure());
        }
        let header = Header {
            request_id: out.request_id,
            address: out.address,
            kind: out.kind,
            code_type: out.code_type,
            body_bytes: bytes,
        };
        dst.put(&header.bytes());
        dst.push(out.body);
        Ok(())
    }

    fn weigh(out: &Message) -> usize {
        out.wire_bytes()
    }
}

fn message(header: Header, frame: &Bytes) -> Message {
    Message {
        request_id: header.request_id,
        address: header.address,
        kind: header.kind,
        code_type: header.code_type,
        body: frame.slice(HEADER_BYTES..),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::caviar::MessageType;
    use crate::testing::Harness;
    use crate::{CloseReason, Pipeline};

    fn encoded(messages: &[Message]) -> Vec<u8> {
        let mut codec = CaviarCodec::new();
        let mut wire = Output::new();
        for message in messages {
            codec.encode(message.clone(), &mut wire).expect("short");
        }
        let mut flat = Output::new();
        flat.append(&mut wire);
        flat.tail().clone()
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let kinds = prop::sample::select(MessageType::ALL.to_vec());
        let body = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(any::<u8>(), 2000..6000)
        ];
        (any::<i64>(), any::<i64>(), kinds, any::<i32>(), body).prop_map(
            |(request_id, address, kind, code_type, body)| Message {
                request_id,
                address,
                kind,
                code_type,
                body: body.into(),
            },
        )
    }

    proptest! {
        /// Any messages come out of any split of their bytes.
        #[test]
        fn any_split_of_any_sequence_decodes_equal(
            messages in prop::collection::vec(any_message(), 0..6),
            cuts in prop::collection::vec(1..500_usize, 1..20),
        ) {
            let wire = encoded(&messages);
            let (mut codec, mut input, mut decoded) = (CaviarCodec::new(), BytesMut::new(), Vec::new());
            let (mut rest, mut cuts) = (&wire[..], cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(cuts.next().expect("endless")));
                input.extend_from_slice(piece);
                rest = behind;
                while let Some(message) = codec.decode(&mut input).expect("well formed") {
                    decoded.push(message);
                }
            }
            prop_assert_eq!(decoded, messages);
            prop_assert!(codec.decode_eof(&mut input).expect("nothing is left").is_none());
        }
    }

    #[test]
    fn a_bad_header_is_refused_before_its_body_comes() {
        let codec = CaviarCodec::new().body_bytes_max(10);
        let pipeline = Pipeline::new(codec).handle(|cx, message| cx.write(message));
        let mut harness = Harness::new(pipeline);
        let mut wire = encoded(&[Message::new(MessageType::Ping, vec![0; 11])]);
        wire.truncate(HEADER_BYTES);
        harness.receive(&wire);
        assert_eq!(harness.closed(), Some(CloseReason::OverLimit));
    }

    #[test]
    fn a_body_that_is_too_long_is_not_sent() {
        let mut wire = Output::new();
        let long = Message::new(MessageType::ServerMsgPush, vec![0; 11]);
        let sent = CaviarCodec::new()
            .body_bytes_max(10)
            .encode(long, &mut wire);
        assert!(sent.is_err() && wire.is_empty());
    }
}
