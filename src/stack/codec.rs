//! Bytes to messages and back, in both profiles.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::attachments::Attachments;
use super::message::{ACKNOWLEDGED, CHECKSUM, EPOCH, Message, MessageType, REQUEST_ID, SEQUENCE};
use crate::buffer::Output;
use crate::codec::{Codec, FrameError, FrameErrorKind, Framing, Scan};
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::limits::{
    STACK_ATTACHMENTS_MAX, STACK_FRAME_BYTES_MAX, STACK_KEY_BYTES_MAX, STACK_VALUE_BYTES_MAX,
};
use crate::link::Counter;

/// The first four bytes of each frame: the magic number, the major and the minor version.
const MAGIC: [u8; 4] = [0xab, 0xef, 1, 1];
/// Bytes of the header, up to the attachments.
const HEADER_BYTES: usize = 22;
/// Where the length stands in it.
const LENGTH: std::ops::Range<usize> = 4..8;
/// What the length does not count in profile `book`: itself and what stands before it.
const BOOK_UNCOUNTED: usize = 8;

/// How frames are laid out, in what the sources differ on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// The length is that of the whole frame, and the body is the rest of it: 22 bytes without both.
    #[default]
    Spec,
    /// As the code of the book has it: the length leaves out the first eight bytes, and the body has a length of
    /// its own before it: 26 bytes without both. Values that are Java objects are bytes here.
    Book,
}

impl Profile {
    /// Bytes of the smallest frame.
    const fn frame_bytes_min(self) -> usize {
        match self {
            Self::Spec => HEADER_BYTES,
            Self::Book => HEADER_BYTES + 4,
        }
    }

    const fn uncounted(self) -> usize {
        match self {
            Self::Spec => 0,
            Self::Book => BOOK_UNCOUNTED,
        }
    }
}

/// How large frames and what is in them may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameLimits {
    /// See [`STACK_FRAME_BYTES_MAX`].
    pub frame_bytes_max: usize,
    /// See [`STACK_ATTACHMENTS_MAX`].
    pub attachments_max: usize,
    /// See [`STACK_KEY_BYTES_MAX`].
    pub key_bytes_max: usize,
    /// See [`STACK_VALUE_BYTES_MAX`].
    pub value_bytes_max: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: STACK_FRAME_BYTES_MAX,
            attachments_max: STACK_ATTACHMENTS_MAX,
            key_bytes_max: STACK_KEY_BYTES_MAX,
            value_bytes_max: STACK_VALUE_BYTES_MAX,
        }
    }
}

/// Finds frames by their length, and refuses what cannot be one as soon as it shows.
#[derive(Clone, Copy, Debug)]
struct Frames {
    profile: Profile,
    frame_bytes_max: usize,
}

impl Framing for Frames {
    fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        let malformed = |text| FrameError::new(FrameErrorKind::Malformed(text), input);
        let magic = input.len().min(2);
        if input[..magic] != MAGIC[..magic] {
            return Err(malformed("it does not begin with ab ef"));
        }
        // A higher minor version may bring attachments that are passed over; a higher major one anything.
        if input.get(2).is_some_and(|major| *major != MAGIC[2]) {
            return Err(malformed("its major version is not 1"));
        }
        let Some(length) = input.get(LENGTH) else {
            return Ok(Scan::More(HEADER_BYTES));
        };
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let bytes = length as usize + self.profile.uncounted();
        let (min, max) = (self.profile.frame_bytes_min(), self.frame_bytes_max);
        if bytes < min {
            let kind = FrameErrorKind::TooShort {
                bytes: bytes as u64,
                min: min as u64,
            };
            return Err(FrameError::new(kind, input));
        }
        if bytes > max {
            let kind = FrameErrorKind::TooLong {
                bytes: bytes as u64,
                max: max as u64,
            };
            return Err(FrameError::new(kind, input));
        }
        if input.len() < bytes {
            return Ok(Scan::More(bytes));
        }
        Ok(Scan::Frame {
            body: 0..bytes,
            len: bytes,
        })
    }

    fn begin(&mut self, _: &mut Vec<u8>) {}

    fn end(&mut self, dst: &mut Vec<u8>, start: usize) -> Result<()> {
        let bytes = dst.len() - start;
        if bytes > self.frame_bytes_max {
            return Err(too_large("frame", bytes, self.frame_bytes_max).into());
        }
        let length = u32::try_from(bytes - self.profile.uncounted())?;
        dst[start..][LENGTH].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

/// What the frames of a node have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) profile: Profile,
    pub(super) limits: FrameLimits,
    pub(super) checksum: bool,
    /// Numbers for sessions, where this side gives some.
    pub(super) sessions: Option<Arc<Counter>>,
}

/// Bytes to messages and back; one for each connection.
#[derive(Debug)]
pub struct StackCodec {
    layout: Layout,
    frames: Frames,
    /// The session of the connection, once the accepting answer has named one.
    session: i64,
}

impl StackCodec {
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            frames: Frames {
                profile: layout.profile,
                frame_bytes_max: layout.limits.frame_bytes_max,
            },
            layout: layout.clone(),
            session: 0,
        }
    }

    fn parse(&self, mut frame: Bytes) -> Result<Message> {
        let malformed = |text: &'static str| {
            FrameError::new(FrameErrorKind::Malformed(text), &frame).into_failure()
        };
        // Numbers and keys are read in place: only values and body share the frame's memory.
        let mut rest = &frame[LENGTH.end..];
        let session = rest.get_i64();
        let (kind, priority) = (MessageType::of(rest.get_u8()), rest.get_u8());
        let count = rest.get_u32() as usize;
        if count > self.layout.limits.attachments_max {
            return Err(malformed("it has more attachments than are allowed"));
        }
        let mut attachments = Attachments::new();
        for _ in 0..count {
            let key = take(&mut rest, self.layout.limits.key_bytes_max)
                .ok_or_else(|| malformed("the key of an attachment is too long"))?;
            let key =
                key_of(key).ok_or_else(|| malformed("the key of an attachment is no UTF-8"))?;
            let value = take(&mut rest, self.layout.limits.value_bytes_max)
                .ok_or_else(|| malformed("the value of an attachment is too long"))?;
            attachments.push((key, frame.slice_ref(value)));
        }
        if self.layout.profile == Profile::Book {
            let body = take(&mut rest, self.layout.limits.frame_bytes_max);
            let body = body.filter(|_| rest.is_empty());
            rest = body.ok_or_else(|| malformed("its body does not end where its frame does"))?;
        }
        let mut message = Message {
            kind,
            priority,
            session,
            attachments,
            body: Bytes::new(),
        };
        if self.layout.checksum && !is_whole(&frame, &message) {
            return Err(malformed("its checksum is wrong"));
        }
        // The rest of the frame itself, for it costs no count of owners.
        let body_at = frame.len() - rest.len();
        frame.advance(body_at);
        message.body = frame;
        Ok(message)
    }

    fn write(&self, message: &Message, dst: &mut Vec<u8>) -> Result<()> {
        let start = dst.len();
        let session = match message.session {
            0 => self.session,
            session => session,
        };
        dst.extend_from_slice(&MAGIC);
        dst.extend_from_slice(&[0; 4]);
        dst.extend_from_slice(&session.to_be_bytes());
        dst.extend_from_slice(&[message.kind.number(), message.priority]);
        let checked = self.layout.checksum;
        let others = message
            .attachments()
            .filter(|(key, _)| !checked || *key != CHECKSUM);
        let count = others.clone().count() + usize::from(checked);
        put_length(dst, count)?;
        for (key, value) in others {
            put(dst, key.as_bytes())?;
            put(dst, value)?;
        }
        let mut sum_at = None;
        if checked {
            put(dst, CHECKSUM.as_bytes())?;
            put(dst, &[0; 4])?;
            sum_at = Some(dst.len() - 4);
        }
        if self.layout.profile == Profile::Book {
            put_length(dst, message.body.len())?;
        }
        dst.extend_from_slice(&message.body);
        let mut frames = self.frames;
        frames.end(dst, start)?;
        if let Some(at) = sum_at {
            let sum = crc32c::crc32c(&dst[start..]);
            dst[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        }
        Ok(())
    }

    /// Notes, or gives, the session of a connection whose login was accepted.
    fn take_session(&mut self, message: &Message) {
        if message.kind == MessageType::HandshakeResponse && message.body[..] == [0] {
            self.session = message.session;
        }
    }
}

impl Codec for StackCodec {
    type In = Message;
    type Out = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>> {
        let Some(frame) = Codec::decode(&mut self.frames, input)? else {
            return Ok(None);
        };
        let message = self.parse(frame)?;
        self.take_session(&message);
        Ok(Some(message))
    }

    fn encode(&mut self, mut out: Message, dst: &mut Output) -> Result<()> {
        if let Some(sessions) = &self.layout.sessions
            && out.kind == MessageType::HandshakeResponse
            && out.body[..] == [0]
        {
            out.session = i64::try_from(sessions.next())?;
            self.take_session(&out);
        }
        let tail = dst.tail();
        let start = tail.len();
        let written = self.write(&out, tail);
        if written.is_err() {
            tail.truncate(start);
        }
        written
    }

    fn weigh(out: &Message) -> usize {
        weigh(out)
    }
}

/// Bytes of a message's frame in profile `book`; in `spec` it is four shorter.
pub(super) fn weigh(message: &Message) -> usize {
    let attachments = message.attachments();
    let attachments = attachments.map(|(key, value)| 8 + key.len() + value.len());
    HEADER_BYTES + 4 + attachments.sum::<usize>() + message.body.len()
}

/// What a link adds to a message at the most: an id, a stamp, a checksum.
const ADDED_ATTACHMENTS: usize = 5;
const ADDED_BYTES: usize = 128;

/// Refuses a message that the other side would refuse.
pub(super) fn check(message: &Message, limits: &FrameLimits) -> Result<(), Error> {
    let bytes = weigh(message) + ADDED_BYTES;
    if bytes > limits.frame_bytes_max {
        return Err(too_large("frame", bytes, limits.frame_bytes_max));
    }
    let count = message.attachments.len() + ADDED_ATTACHMENTS;
    if count > limits.attachments_max {
        let text = format!(
            "{} attachments and up to {ADDED_ATTACHMENTS} of the link's own; at most {} are allowed",
            message.attachments.len(),
            limits.attachments_max
        );
        return Err(Error::new(ErrorKind::Config, text));
    }
    for (key, value) in message.attachments() {
        if key.len() > limits.key_bytes_max {
            return Err(too_large(
                "key of an attachment",
                key.len(),
                limits.key_bytes_max,
            ));
        }
        if value.len() > limits.value_bytes_max {
            let max = limits.value_bytes_max;
            return Err(too_large("value of an attachment", value.len(), max));
        }
    }
    Ok(())
}

fn too_large(what: &str, bytes: usize, max: usize) -> Error {
    let text = format!("a {what} of {bytes} bytes, where at most {max} are allowed");
    Error::new(ErrorKind::Config, text)
}

/// Takes bytes that have their length before them; `None` when they are too long, or there are fewer.
fn take<'a>(rest: &mut &'a [u8], max: usize) -> Option<&'a [u8]> {
    let length = rest.try_get_u32().ok()? as usize;
    if length > max {
        return None;
    }
    rest.split_off(..length)
}

/// A key as text; those that links use cost no memory.
fn key_of(key: &[u8]) -> Option<Cow<'static, str>> {
    const USUAL: [&str; 4] = [REQUEST_ID, SEQUENCE, EPOCH, ACKNOWLEDGED];
    if let Some(usual) = USUAL.iter().find(|usual| usual.as_bytes() == key) {
        return Some(Cow::Borrowed(usual));
    }
    let key = std::str::from_utf8(key).ok()?;
    Some(Cow::Owned(key.to_owned()))
}

fn put(dst: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    put_length(dst, bytes.len())?;
    dst.extend_from_slice(bytes);
    Ok(())
}

fn put_length(dst: &mut Vec<u8>, length: usize) -> Result<()> {
    let length = u32::try_from(length).map_err(Failure::protocol)?;
    dst.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Whether a frame's checksum is right, where it has one.
fn is_whole(frame: &Bytes, message: &Message) -> bool {
    let Some(sum) = message.attachment(CHECKSUM) else {
        return true;
    };
    let Ok(claimed) = <[u8; 4]>::try_from(&sum[..]) else {
        return false;
    };
    // The value is a part of the frame, or a copy of one as long; its place follows from what stands before it.
    let mut at = HEADER_BYTES;
    for (key, value) in message.attachments() {
        at += 8 + key.len();
        if key == CHECKSUM {
            break;
        }
        at += value.len();
    }
    let before = crc32c::crc32c(&frame[..at]);
    let zeros = crc32c::crc32c_append(before, &[0; 4]);
    crc32c::crc32c_append(zeros, &frame[at + 4..]) == u32::from_be_bytes(claimed)
}
