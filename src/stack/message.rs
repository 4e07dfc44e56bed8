//! A message of the stack: a type, a priority, attachments and a body.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::attachments::Attachments;
use crate::codec::Body;
use crate::error::Result;

/// What a message is, as its header says in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageType {
    /// 0: a question.
    Request,
    /// 1: the answer to one.
    Response,
    /// 2: wants no answer.
    OneWay,
    /// 3: a login.
    HandshakeRequest,
    /// 4: the answer to a login.
    HandshakeResponse,
    /// 5: a ping.
    HeartbeatRequest,
    /// 6: a pong; with the attachment `ack`, an acknowledgement that goes alone.
    HeartbeatResponse,
    /// Any other, which this version does not know.
    Unknown(u8),
}

impl MessageType {
    /// The type of this number.
    #[must_use]
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Request,
            1 => Self::Response,
            2 => Self::OneWay,
            3 => Self::HandshakeRequest,
            4 => Self::HandshakeResponse,
            5 => Self::HeartbeatRequest,
            6 => Self::HeartbeatResponse,
            other => Self::Unknown(other),
        }
    }

    /// The number of this type.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Response => 1,
            Self::OneWay => 2,
            Self::HandshakeRequest => 3,
            Self::HandshakeResponse => 4,
            Self::HeartbeatRequest => 5,
            Self::HeartbeatResponse => 6,
            Self::Unknown(number) => number,
        }
    }

    /// Whether it is the program's own, and not the link's.
    #[must_use]
    pub const fn is_business(self) -> bool {
        matches!(self, Self::Request | Self::Response | Self::OneWay)
    }
}

/// Attachment of a login: the node's name, as text.
pub const NODE_ID: &str = "nodeId";
/// Attachment of a refused login: why, as text.
pub const REASON: &str = "reason";
/// Attachment of a challenge: bytes of chance.
pub const CHALLENGE: &str = "challenge";
/// Attachment of the second login that answers a challenge: the proof.
pub const PROOF: &str = "proof";
/// Attachment of a question and its answer: which it is, in eight bytes.
pub const REQUEST_ID: &str = "rid";
/// Attachments of acknowledged mode, eight bytes each: the message, the life of its sender, and the last message of
/// the other side that was handled.
pub const SEQUENCE: &str = "seq";
/// See [`SEQUENCE`].
pub const EPOCH: &str = "epoch";
/// See [`SEQUENCE`].
pub const ACKNOWLEDGED: &str = "ack";
/// Attachment of a frame with a checksum: CRC-32C of the whole frame, its own four bytes taken as zeros.
pub const CHECKSUM: &str = "crc32c";

/// A message: a frame of the wire without its framing.
///
/// ```
/// use netwheel::stack::{Message, MessageType};
///
/// let question = Message::request("how late is it?").priority(200).attach("zone", "UTC");
/// let answer = question.answer("late");
/// assert_eq!(answer.kind(), MessageType::Response);
/// assert_eq!(question.attachment("zone").map(|zone| &zone[..]), Some(&b"UTC"[..]));
/// ```
///
/// Cost: a clone shares its bytes; a decoded message shares those of its frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub(super) kind: MessageType,
    pub(super) priority: u8,
    pub(super) session: i64,
    pub(super) attachments: Attachments,
    pub(super) body: Bytes,
}

impl Message {
    /// A message of any type, for protocols beside this one.
    #[must_use]
    pub fn new(kind: MessageType, body: impl Into<Bytes>) -> Self {
        Self {
            kind,
            priority: 0,
            session: 0,
            attachments: Attachments::new(),
            body: body.into(),
        }
    }

    /// A question, for [`Link::call`](crate::link::Link::call).
    #[must_use]
    pub fn request(body: impl Into<Bytes>) -> Self {
        Self::new(MessageType::Request, body)
    }

    /// A message that wants no answer.
    #[must_use]
    pub fn one_way(body: impl Into<Bytes>) -> Self {
        Self::new(MessageType::OneWay, body)
    }

    /// The answer to this question.
    #[must_use]
    pub fn answer(&self, body: impl Into<Bytes>) -> Self {
        let mut answer = Self::new(MessageType::Response, body);
        answer.priority = self.priority;
        if let Some(id) = self.attachment(REQUEST_ID) {
            answer.set(REQUEST_ID, id.clone());
        }
        answer
    }

    /// A message whose body is what `codec` makes of `value`.
    ///
    /// # Errors
    ///
    /// What the codec says; passed on by `?` in a service, it closes the connection.
    pub fn encode<B: Body>(kind: MessageType, codec: &mut B, value: B::Out) -> Result<Self> {
        let mut body = Vec::new();
        codec.encode(value, &mut body)?;
        Ok(Self::new(kind, body))
    }

    /// What `codec` reads out of the body.
    ///
    /// # Errors
    ///
    /// What the codec says; passed on by `?` in a service, it closes the connection.
    pub fn decode<B: Body>(&self, codec: &mut B) -> Result<B::In> {
        codec.decode(&self.body)
    }

    /// Gives it a priority: of 128 and above it passes others, where the node has two lanes.
    #[must_use]
    pub const fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Attaches a value, in the place of one with this key.
    #[must_use]
    pub fn attach(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        self.set(key.into(), value.into());
        self
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> MessageType {
        self.kind
    }

    /// The number of the session that its frame names; zero for none. Never to be trusted.
    #[must_use]
    pub const fn session(&self) -> i64 {
        self.session
    }

    /// Its priority, from 0 to 255.
    #[must_use]
    pub const fn priority_value(&self) -> u8 {
        self.priority
    }

    /// Its body.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The attachment of this key.
    #[must_use]
    pub fn attachment(&self, key: &str) -> Option<&Bytes> {
        let mut attachments = self.attachments.iter();
        attachments
            .find(|(found, _)| found == key)
            .map(|(_, value)| value)
    }

    /// All attachments, in the order of the wire.
    pub fn attachments(&self) -> impl Iterator<Item = (&str, &Bytes)> + Clone {
        self.attachments.iter().map(|(key, value)| (&**key, value))
    }

    pub(super) fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        self.attachments.set(key.into(), value.into());
    }

    pub(super) fn set_number(&mut self, key: &'static str, number: u64) {
        self.set(key, Bytes::copy_from_slice(&number.to_be_bytes()));
    }

    /// The number that an attachment holds; `None` where there is none, or it is none.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        let bytes = self.attachment(key)?;
        Some(u64::from_be_bytes(bytes[..].try_into().ok()?))
    }
}

/// Its bodies are not shown: they may be long, or secret.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.attachments().map(|(key, _)| key).collect();
        f.debug_struct("Message")
            .field("kind", &self.kind)
            .field("priority", &self.priority)
            .field("attachments", &keys)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}
