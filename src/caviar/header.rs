//! The 32 bytes before each body.

use std::error::Error as StdError;
use std::fmt;

use super::message_type::MessageType;
use crate::error::{CloseReason, Failure};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 32;

/// The version of the protocol, the only one there is; the seed calls it `crcCode`, though it checks nothing.
pub const VERSION: i32 = 1;

/// Where the length of the body stands.
pub(super) const LENGTH_OFFSET: usize = 28;

/// What stands before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) request_id: i64,
    pub(super) address: i64,
    pub(super) kind: MessageType,
    pub(super) code_type: i32,
    pub(super) body_bytes: usize,
}

impl Header {
    /// Reads a header, and refuses what the protocol does not allow before a byte of its body is waited for.
    pub(super) fn read(
        bytes: &[u8; HEADER_BYTES],
        body_bytes_max: usize,
    ) -> Result<Self, BadHeader> {
        let (ids, words) = bytes.split_at(16);
        let long = |at: usize| i64::from_be_bytes(array(&ids[at..at + 8]));
        let word = |at: usize| i32::from_be_bytes(array(&words[at..at + 4]));
        let (version, code, length) = (word(0), word(4), word(12));
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let kind = MessageType::of_code(code).ok_or(BadHeader::MessageType(code))?;
        let body_bytes = usize::try_from(length).map_err(|_| BadHeader::NegativeLength(length))?;
        if body_bytes > body_bytes_max {
            return Err(BadHeader::TooLong(body_bytes, body_bytes_max));
        }
        Ok(Self {
            request_id: long(0),
            address: long(8),
            kind,
            code_type: word(8),
            body_bytes,
        })
    }

    /// The header as it stands on the wire; the body is known to fit its length.
    pub(super) fn bytes(&self) -> [u8; HEADER_BYTES] {
        let length = i32::try_from(self.body_bytes).unwrap_or(i32::MAX);
        let words = [VERSION, self.kind.code(), self.code_type, length];
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.request_id.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.address.to_be_bytes());
        for (place, word) in bytes[16..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("a slice of this length")
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Version(i32),
    MessageType(i32),
    NegativeLength(i32),
    TooLong(usize, usize),
}

impl BadHeader {
    const fn reason(self) -> CloseReason {
        match self {
            Self::TooLong(..) => CloseReason::OverLimit,
            _ => CloseReason::ProtocolError,
        }
    }

    /// The failure that closes the connection.
    pub(super) fn failure(self) -> Failure {
        Failure::with(self.reason(), self)
    }
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "version {version} instead of {VERSION}: is the peer speaking Caviar?"
            ),
            Self::MessageType(code) => write!(f, "unknown message type {code}"),
            Self::NegativeLength(length) => write!(f, "a body of {length} bytes"),
            Self::TooLong(bytes, max) => {
                write!(f, "a body of {bytes} bytes, where {max} are allowed")
            }
        }
    }
}

impl StdError for BadHeader {}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: Header = Header {
        request_id: 1,
        address: -1,
        kind: MessageType::Ping,
        code_type: 0,
        body_bytes: 4,
    };

    #[test]
    fn a_header_is_the_fixture_byte_for_byte() {
        let wire = PING.bytes();
        let hex: String = wire.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "0000000000000001ffffffffffffffff00000001000023290000000000000004"
        );
        assert_eq!(Header::read(&wire, 4), Ok(PING));
    }

    #[test]
    fn what_the_protocol_does_not_allow_is_named() {
        let spoiled = |at: usize, word: i32| {
            let mut wire = PING.bytes();
            wire[at..at + 4].copy_from_slice(&word.to_be_bytes());
            Header::read(&wire, 1024)
        };
        assert_eq!(spoiled(16, 2), Err(BadHeader::Version(2)));
        assert_eq!(spoiled(20, 4242), Err(BadHeader::MessageType(4242)));
        assert_eq!(spoiled(28, -1), Err(BadHeader::NegativeLength(-1)));
        assert_eq!(spoiled(28, 1025), Err(BadHeader::TooLong(1025, 1024)));
        assert_eq!(
            spoiled(28, i32::MAX).map_err(BadHeader::reason),
            Err(CloseReason::OverLimit)
        );
        assert!(spoiled(24, -7).is_ok_and(|header| header.code_type == -7));
    }
}
