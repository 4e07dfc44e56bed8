//! One message, as a program sees it.

use bytes::Bytes;

use super::header::HEADER_BYTES;
use super::message_type::MessageType;

/// The sender's address where it is not known, or not of IPv4.
pub const ADDRESS_UNKNOWN: i64 = -1;

/// A body in JSON, as the protocol's document has it. Receivers pass the number on and do not look at it.
pub const CODE_JSON: i32 = 0;

/// A body in XML, as the protocol's document has it.
pub const CODE_XML: i32 = 1;

/// A body in JSON, as the Java program of the same name sends it.
pub const CODE_JSON_JAVA: i32 = 1;

/// A body in XML, as the Java program of the same name sends it.
pub const CODE_XML_JAVA: i32 = 2;

/// One message: what the header says, and the body.
///
/// Threads: any. Cost: a clone shares the body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// What ties an answer to its question: given by who asks, repeated by who answers.
    pub request_id: i64,
    /// The sender's IPv4 address as a number, [`ADDRESS_UNKNOWN`] otherwise. Filled in as the message leaves, and
    /// opaque to receivers: older peers put the port beside it.
    pub address: i64,
    /// What it is for.
    pub kind: MessageType,
    /// How the body is coded: [`CODE_JSON`], [`CODE_XML`], or any number that both sides understand.
    pub code_type: i32,
    /// The bytes that the program sent.
    pub body: Bytes,
}

impl Message {
    /// A message whose id and address are given later.
    #[must_use]
    pub fn new(kind: MessageType, body: impl Into<Bytes>) -> Self {
        Self {
            request_id: 0,
            address: ADDRESS_UNKNOWN,
            kind,
            code_type: CODE_JSON,
            body: body.into(),
        }
    }

    /// The same with another coding of the body.
    #[must_use]
    pub fn code_type(mut self, code_type: i32) -> Self {
        self.code_type = code_type;
        self
    }

    /// The answer to it, where it is a question: its id, its coding, and the type that goes with its own.
    #[must_use]
    pub fn answer(&self, body: impl Into<Bytes>) -> Option<Self> {
        let kind = self.kind.response()?;
        Some(Self {
            request_id: self.request_id,
            code_type: self.code_type,
            ..Self::new(kind, body)
        })
    }

    /// Bytes on the wire.
    pub(super) fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_the_id_and_the_coding() {
        let mut question = Message::new(MessageType::ClientMsgSendAsyncReq, "?").code_type(7);
        question.request_id = 42;
        let answer = question.answer("!").expect("a question");
        assert_eq!(answer.kind, MessageType::ClientMsgSendResp);
        assert_eq!((answer.request_id, answer.code_type), (42, 7));
        assert_eq!(answer.answer(""), None);
    }
}
