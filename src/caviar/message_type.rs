//! What a message is for: the numbers of the wire, by name.

use std::fmt;

/// What a message is for.
///
/// Threads: any. Cost: four bytes, `Copy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageType {
    /// 1001: a client logs in.
    ClientLoginReq,
    /// 1002: a client logs out.
    ClientLogoutReq,
    /// 1003: a client asks, and waits.
    ClientMsgSendReq,
    /// 1004: a client asks, and is called back.
    ClientMsgSendAsyncReq,
    /// 1013: the server asks a client, and waits.
    ServerMsgSendReq,
    /// 1014: the server asks a client, and is called back.
    ServerMsgSendAsyncReq,
    /// 1015: the server tells a client something, and wants no answer.
    ServerMsgPush,
    /// 2001: the answer to a login.
    ClientLoginResp,
    /// 2002: the answer to a logout.
    ClientLogoutResp,
    /// 2003: the answer to what a client asked, in either way.
    ClientMsgSendResp,
    /// 2013: the answer to what the server asked, in either way.
    ServerMsgSendResp,
    /// 9001: are you there?
    Ping,
    /// 9002: I am.
    Pong,
}

impl MessageType {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::ClientLoginReq,
        Self::ClientLogoutReq,
        Self::ClientMsgSendReq,
        Self::ClientMsgSendAsyncReq,
        Self::ServerMsgSendReq,
        Self::ServerMsgSendAsyncReq,
        Self::ServerMsgPush,
        Self::ClientLoginResp,
        Self::ClientLogoutResp,
        Self::ClientMsgSendResp,
        Self::ServerMsgSendResp,
        Self::Ping,
        Self::Pong,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::ClientLoginReq => 1001,
            Self::ClientLogoutReq => 1002,
            Self::ClientMsgSendReq => 1003,
            Self::ClientMsgSendAsyncReq => 1004,
            Self::ServerMsgSendReq => 1013,
            Self::ServerMsgSendAsyncReq => 1014,
            Self::ServerMsgPush => 1015,
            Self::ClientLoginResp => 2001,
            Self::ClientLogoutResp => 2002,
            Self::ClientMsgSendResp => 2003,
            Self::ServerMsgSendResp => 2013,
            Self::Ping => 9001,
            Self::Pong => 9002,
        }
    }

    /// The type of this number.
    #[must_use]
    pub const fn of_code(code: i32) -> Option<Self> {
        Some(match code {
            1001 => Self::ClientLoginReq,
            1002 => Self::ClientLogoutReq,
            1003 => Self::ClientMsgSendReq,
            1004 => Self::ClientMsgSendAsyncReq,
            1013 => Self::ServerMsgSendReq,
            1014 => Self::ServerMsgSendAsyncReq,
            1015 => Self::ServerMsgPush,
            2001 => Self::ClientLoginResp,
            2002 => Self::ClientLogoutResp,
            2003 => Self::ClientMsgSendResp,
            2013 => Self::ServerMsgSendResp,
            9001 => Self::Ping,
            9002 => Self::Pong,
            _ => return None,
        })
    }

    /// The type of the answer to a question; `None` for what is none.
    #[must_use]
    pub const fn response(self) -> Option<Self> {
        match self {
            Self::ClientLoginReq => Some(Self::ClientLoginResp),
            Self::ClientLogoutReq => Some(Self::ClientLogoutResp),
            Self::ClientMsgSendReq | Self::ClientMsgSendAsyncReq => Some(Self::ClientMsgSendResp),
            Self::ServerMsgSendReq | Self::ServerMsgSendAsyncReq => Some(Self::ServerMsgSendResp),
            _ => None,
        }
    }

    /// Whether it answers a question.
    #[must_use]
    pub const fn is_response(self) -> bool {
        matches!(
            self,
            Self::ClientLoginResp
                | Self::ClientLogoutResp
                | Self::ClientMsgSendResp
                | Self::ServerMsgSendResp
        )
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_as_it_is_written_and_no_other() {
        for kind in MessageType::ALL {
            assert_eq!(MessageType::of_code(kind.code()), Some(kind));
        }
        let known = (-1..10_000).filter(|code| MessageType::of_code(*code).is_some());
        assert_eq!(known.count(), MessageType::ALL.len());
    }

    #[test]
    fn every_question_has_an_answer_and_only_questions_do() {
        for kind in MessageType::ALL {
            let asks = kind.code() < 2000 && kind != MessageType::ServerMsgPush;
            assert_eq!(kind.response().is_some(), asks, "{kind}");
            assert!(kind.response().is_none_or(MessageType::is_response));
        }
    }
}
