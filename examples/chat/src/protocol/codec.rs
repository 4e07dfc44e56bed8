//! The head-content codec.

use bytes::{Bytes, BytesMut};
use netwheel::codec::{Codec, FrameError, FrameErrorKind, Scan};
use netwheel::{Failure, Framing, Output, Result};
use prost::Message as _;

use super::{Frame, HEAD_BYTES, MAGIC, Message, Packet, VERSION};
use crate::limits::FRAME_BYTES_MAX;

/// What stands before every body, but for the length.
const START: [u8; 4] = [
    (MAGIC >> 8) as u8,
    MAGIC as u8,
    (VERSION >> 8) as u8,
    VERSION as u8,
];

/// Frames of the chat, and the messages in them.
///
/// A head that is not the chat's is refused at its first wrong byte, a length that is negative or too long as
/// soon as it is whole: memory never grows on its word. Messages nested more than 100 deep are refused too.
///
/// Threads: the connection's worker. Cost: one copy of a small frame, none of a large one. Limit:
/// [`FRAME_BYTES_MAX`] bytes of body.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadContent;

/// The half of [`HeadContent`] that knows frames and no messages.
struct Head;

impl Framing for Head {
    fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        let known = input.len().min(START.len());
        if input[..known] != START[..known] {
            let what = "no frame of the chat: it begins with 00 86 00 01";
            return Err(FrameError::new(FrameErrorKind::Malformed(what), input));
        }
        let Some(length) = input.get(START.len()..HEAD_BYTES) else {
            return Ok(Scan::More(HEAD_BYTES));
        };
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let Ok(body) = usize::try_from(length) else {
            let value = i64::from(length);
            return Err(FrameError::new(
                FrameErrorKind::NegativeLength { value },
                input,
            ));
        };
        if body > FRAME_BYTES_MAX {
            let (bytes, max) = (body as u64, FRAME_BYTES_MAX as u64);
            return Err(FrameError::new(
                FrameErrorKind::TooLong { bytes, max },
                input,
            ));
        }
        let len = HEAD_BYTES + body;
        Ok(match input.len() < len {
            true => Scan::More(len),
            false => Scan::Frame {
                body: HEAD_BYTES..len,
                len,
            },
        })
    }

    fn begin(&mut self, dst: &mut Vec<u8>) {
        dst.extend_from_slice(&START);
        dst.extend_from_slice(&[0; 4]);
    }

    fn end(&mut self, dst: &mut Vec<u8>, start: usize) -> Result<()> {
        let body = dst.len() - start - HEAD_BYTES;
        if body > FRAME_BYTES_MAX {
            return Err(Failure::msg("a message of ours is too long for a frame"));
        }
        let length = i32::try_from(body)?.to_be_bytes();
        dst[start + START.len()..start + HEAD_BYTES].copy_from_slice(&length);
        Ok(())
    }
}

impl Codec for HeadContent {
    type In = Frame;
    type Out = Packet;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>> {
        Codec::decode(&mut Head, input)?.map(read).transpose()
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<Frame>> {
        Codec::decode_eof(&mut Head, input)?.map(read).transpose()
    }

    fn encode(&mut self, out: Packet, dst: &mut Output) -> Result<()> {
        Codec::encode(&mut Head, out.0, dst)
    }

    fn weigh(out: &Packet) -> usize {
        size_of::<Packet>() + out.0.len()
    }
}

fn read(raw: Bytes) -> Result<Frame> {
    let message = Message::decode(&*raw).map_err(Failure::protocol)?;
    Ok(Frame { message, raw })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{HeadType, LoginRequest, MessageHeartBeat};

    const HEART_BEAT: &[u8] =
        b"\x00\x86\x00\x01\x00\x00\x00\x0d\x08\x04\x10\x01\x1a\x01sJ\x04\x12\x02u1";
    const LOGIN: &[u8] =
        b"\x00\x86\x00\x01\x00\x00\x00\x19\x10\x01\"\x15\n\x02u1\x12\x041111\x1a\x02pw \x01*\x031.0";

    fn encoded(message: &Message) -> Vec<u8> {
        let mut wire = Vec::new();
        Head.begin(&mut wire);
        wire.extend_from_slice(&message.encode_to_vec());
        Head.end(&mut wire, 0).expect("short");
        wire
    }

    fn heart_beat() -> Message {
        Message {
            r#type: HeadType::HeartBeat.into(),
            sequence: 1,
            session_id: "s".into(),
            heart_beat: Some(MessageHeartBeat {
                uid: "u1".into(),
                ..MessageHeartBeat::default()
            }),
            ..Message::default()
        }
    }

    fn login() -> Message {
        Message {
            sequence: 1,
            login_request: Some(LoginRequest {
                uid: "u1".into(),
                device_id: "1111".into(),
                token: "pw".into(),
                platform: 1,
                app_version: "1.0".into(),
            }),
            ..Message::default()
        }
    }

    #[test]
    fn the_fixtures_are_made_and_read_byte_for_byte() {
        for (bytes, message) in [(HEART_BEAT, heart_beat()), (LOGIN, login())] {
            assert_eq!(encoded(&message), bytes);
            let mut input = BytesMut::from(bytes);
            let frame = HeadContent.decode(&mut input);
            let frame = frame.expect("no fault").expect("whole");
            assert_eq!(frame.message, message);
            assert_eq!(&*frame.raw, &bytes[HEAD_BYTES..]);
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_frame_may_come_byte_by_byte() {
        let mut input = BytesMut::new();
        for (nth, byte) in LOGIN.iter().enumerate() {
            input.extend_from_slice(&[*byte]);
            let frame = HeadContent.decode(&mut input).expect("no fault");
            assert_eq!(frame.is_some(), nth + 1 == LOGIN.len(), "after {nth}");
        }
    }

    #[test]
    fn wrong_heads_are_refused_as_soon_as_they_are_known() {
        use netwheel::CloseReason::{OverLimit, ProtocolError};
        let long = (FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
        let long = [b"\x00\x86\x00\x01", &long[..]].concat();
        let cases: [(&[u8], _); 6] = [
            (b"\x00\x87", ProtocolError),
            (b"G", ProtocolError),
            (b"\x00\x86\x00\x02", ProtocolError),
            (b"\x00\x86\x00\x01\xff\xff\xff\xff", ProtocolError),
            (b"\x00\x86\x00\x01\x40\x00\x00\x00", OverLimit),
            (&long, OverLimit),
        ];
        for (bytes, reason) in cases {
            let refused = HeadContent.decode(&mut BytesMut::from(bytes));
            assert_eq!(refused.expect_err("wrong").reason(), reason, "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused_however_deep_it_goes() {
        // Groups in an unknown field, each begun inside the last.
        let deep = [0xa3, 0x06].repeat(500_000);
        let deep = [&(deep.len() as u32).to_be_bytes()[..], &deep].concat();
        let deep = [&b"\x00\x86\x00\x01"[..], &deep].concat();
        let cut = b"\x00\x86\x00\x01\x00\x00\x00\x02\"\x15";
        for bytes in [&deep[..], cut] {
            let refused = HeadContent.decode(&mut BytesMut::from(bytes));
            let reason = refused.expect_err("no message").reason();
            assert_eq!(reason, netwheel::CloseReason::ProtocolError);
        }
    }
}
