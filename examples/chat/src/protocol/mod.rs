//! The chat on the wire: frames, messages, codes. PROTOCOL.md is the same for people.
//!
//! ```text
//!   00 86   00 01   00 00 00 0d   08 04 10 01 ..
//!   magic   version length        a protobuf `Message` of so many bytes
//! ```

mod blocks;
mod codec;
mod rewrite;
#[expect(missing_docs, reason = "proto/chat.proto documents it")]
mod schema;

pub use blocks::blocks;
pub use codec::HeadContent;
pub use rewrite::{Delivery, rewrite};
pub use schema::{
    HeadType, LoginRequest, LoginResponse, Message, MessageHeartBeat, MessageNotification,
    MessageRequest, MessageResponse,
};

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

/// The first two bytes of every frame.
pub const MAGIC: u16 = 0x0086;
/// The two behind them.
pub const VERSION: u16 = 1;
/// Magic, version and length.
pub const HEAD_BYTES: usize = 8;
/// The session id of whoever has none.
pub const NO_SESSION: &str = "-1";

/// What has become of a request, as it stands in responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// Done; of a message: it is kept, and will be delivered.
    Ok = 0,
    /// The password is wrong, or there is no such user.
    AuthFailed = 1,
    /// No password was given.
    NoToken = 2,
    /// The request makes no sense, or the server has failed; the text says which.
    Unknown = 3,
    /// The user is logged in on this platform already, or logs in at this moment.
    AlreadyLoggedIn = 4,
    /// There is nobody of that name to send to.
    Offline = 5,
    /// Only who is logged in may do this.
    NotLoggedIn = 6,
    /// The message is longer than is allowed.
    TooLarge = 7,
    /// The server, or the receiver's inbox, is full: try again later.
    Busy = 8,
}

/// A message as it came: what it says, and its bytes as they were, with fields that the schema does not know.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The message, read.
    pub message: Message,
    /// Its bytes, without the head.
    pub raw: Bytes,
}

/// A message as it leaves: its bytes without the head, shared by all to whom it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet(pub Bytes);

impl Packet {
    /// A message of that type, completed by `fill`.
    pub fn new(kind: HeadType, sequence: u64, fill: impl FnOnce(&mut Message)) -> Self {
        let mut message = Message {
            r#type: kind.into(),
            sequence,
            ..Message::default()
        };
        fill(&mut message);
        Self(message.encode_to_vec().into())
    }

    /// The answer to a login; the session is [`NO_SESSION`] where it has failed.
    #[must_use]
    pub fn login_response(sequence: u64, session: &str, code: Code, info: &str) -> Self {
        Self::new(HeadType::LoginResponse, sequence, |message| {
            session.clone_into(&mut message.session_id);
            message.login_response = Some(LoginResponse {
                result: code == Code::Ok,
                code: code as u32,
                info: info.to_owned(),
                expose: u32::from(code != Code::Ok),
            });
        })
    }

    /// The answer to a message or a command, in one block.
    #[must_use]
    pub fn response(sequence: u64, code: Code, info: &str) -> Self {
        Self::block(sequence, code, info, 0, true)
    }

    /// One block of an answer.
    #[must_use]
    pub fn block(sequence: u64, code: Code, info: &str, index: u32, last: bool) -> Self {
        Self::new(HeadType::MessageResponse, sequence, |message| {
            message.message_response = Some(MessageResponse {
                result: code == Code::Ok,
                code: code as u32,
                info: info.to_owned(),
                expose: u32::from(code != Code::Ok),
                last_block: last,
                block_index: index,
            });
        })
    }

    /// An acknowledgement of a delivery: of it, and of what came before it on the connection.
    #[must_use]
    pub fn acknowledgement(sequence: u64) -> Self {
        Self::response(sequence, Code::Ok, "")
    }

    /// A command to the server, or an event from it, as JSON.
    #[must_use]
    pub fn notification(sequence: u64, json: &impl fmt::Display) -> Self {
        Self::new(HeadType::MessageNotification, sequence, |message| {
            message.notification = Some(MessageNotification {
                json: json.to_string(),
                ..MessageNotification::default()
            });
        })
    }

    /// The answer to a logout.
    #[must_use]
    pub fn logout_response(sequence: u64) -> Self {
        Self::new(HeadType::LogoutResponse, sequence, |message| {
            NO_SESSION.clone_into(&mut message.session_id);
        })
    }
}

impl From<&Message> for Packet {
    fn from(message: &Message) -> Self {
        Self(message.encode_to_vec().into())
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    /// FNV-1a, of 64 bits.
    fn sum(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    #[test]
    fn the_code_is_made_from_the_schema_as_it_stands() {
        let sum = sum(include_bytes!("../../proto/chat.proto"));
        let code = include_str!("schema.rs");
        assert!(
            code.contains(&format!("sum {sum:016x},")),
            "proto/chat.proto has changed: run codegen, see codegen/src/main.rs"
        );
    }
}
