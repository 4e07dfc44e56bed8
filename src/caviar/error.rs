//! What can go wrong with a request, a client or a server.

use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;

use super::message::Message;
use crate::client::DownCause;
use crate::error::{CloseReason, Error, ErrorKind};
use crate::link::{CallError, SendError};

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CaviarErrorKind {
    /// The server could not start: the address is taken, or the system refused.
    ServerStartFail,
    /// The client has ended by itself: its reactor was shut down, or its tries were used up.
    ClientNotRunning,
    /// The server did not answer in time; an answer that comes later is dropped.
    ClientReqTimeout,
    /// Nobody listens there, or the system refused to dial.
    ClientConnectFail,
    /// The server did not take the connection in time.
    ClientConnectTimeout,
    /// The client did not answer the server's request in time.
    ServerReqTimeout,
    /// The server's name has no address.
    UnknownHost,
    /// The connection broke while the answer was awaited: whether the other side has heard the request, nobody
    /// knows.
    LinkDown,
    /// The client, or the session, was closed.
    Closed,
    /// As many messages wait as may: try again later.
    QueueFull,
    /// The protocol cannot carry it, such as a body that is too long.
    Protocol,
    /// The call would wait on an I/O thread, which would wait for itself: use the callbacks.
    WouldDeadlock,
    /// A setting makes no sense; the text says which and what would.
    Config,
}

/// What went wrong, in words that say what to do; a body that was not taken comes back.
pub struct CaviarError {
    kind: CaviarErrorKind,
    text: String,
    body: Option<Bytes>,
}

/// Who asks: the side decides how a timeout is called.
#[derive(Clone, Copy)]
pub(super) enum Asker {
    Client,
    Server,
}

impl CaviarError {
    /// An error of `kind`, told in words.
    #[must_use]
    pub fn new(kind: CaviarErrorKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            kind,
            text,
            body: None,
        }
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub const fn kind(&self) -> CaviarErrorKind {
        self.kind
    }

    /// The body, where it was not taken: it has not been sent, and will not be.
    #[must_use]
    pub fn into_body(self) -> Option<Bytes> {
        self.body
    }

    /// The same, told in another way.
    pub(super) fn turned(self, kind: CaviarErrorKind, text: String) -> Self {
        Self { kind, text, ..self }
    }

    /// Why a message was not taken.
    pub(super) fn refused(refused: SendError<Message>) -> Self {
        let text = refused.to_string();
        let kind = match &refused {
            SendError::Full(_) => CaviarErrorKind::QueueFull,
            SendError::Closed(_) => CaviarErrorKind::Closed,
            SendError::Unsendable(..) => CaviarErrorKind::Protocol,
        };
        Self {
            body: Some(refused.into_inner().body),
            ..Self::new(kind, text)
        }
    }

    /// Why there is no answer.
    pub(super) fn unanswered(asker: Asker, error: CallError) -> Self {
        let kind = match (error, asker) {
            (CallError::TimedOut, Asker::Client) => CaviarErrorKind::ClientReqTimeout,
            (CallError::TimedOut, Asker::Server) => CaviarErrorKind::ServerReqTimeout,
            (CallError::Down(_), _) => CaviarErrorKind::LinkDown,
            // Links of Caviar have no spool that could fail to keep something.
            (CallError::Closed | CallError::Unkept, _) => CaviarErrorKind::Closed,
        };
        Self::new(kind, error.to_string())
    }

    /// Why the first connect has failed; `named` tells that a name had to be looked up.
    pub(super) fn connect(cause: &DownCause, to: &str, named: bool) -> Self {
        let kind = match cause {
            DownCause::Closed(CloseReason::HandshakeTimeout) => {
                CaviarErrorKind::ClientConnectTimeout
            }
            DownCause::Failed(_) if named => CaviarErrorKind::UnknownHost,
            _ => CaviarErrorKind::ClientConnectFail,
        };
        Self::new(
            kind,
            format!("no connection to {to}: {cause}; is the server running?"),
        )
    }

    /// An error of the framework under a call of that kind.
    pub(super) fn of(kind: CaviarErrorKind, error: &Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Misuse => CaviarErrorKind::WouldDeadlock,
            ErrorKind::Config => CaviarErrorKind::Config,
            _ => kind,
        };
        Self::new(kind, error.to_string())
    }
}

impl fmt::Display for CaviarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CaviarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.text, self.kind)
    }
}

impl StdError for CaviarError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caviar::MessageType;

    #[test]
    fn each_outcome_has_a_kind_of_its_own() {
        let asked = |asker, error| CaviarError::unanswered(asker, error).kind();
        use CaviarErrorKind as Kind;
        assert_eq!(
            asked(Asker::Client, CallError::TimedOut),
            Kind::ClientReqTimeout
        );
        assert_eq!(
            asked(Asker::Server, CallError::TimedOut),
            Kind::ServerReqTimeout
        );
        let down = CallError::Down(CloseReason::Reset);
        assert_eq!(asked(Asker::Client, down), Kind::LinkDown);
        let dialled = |cause, named| CaviarError::connect(&cause, "here", named).kind();
        let refused = || DownCause::Closed(CloseReason::Refused);
        assert_eq!(dialled(refused(), true), Kind::ClientConnectFail);
        assert_eq!(
            dialled(DownCause::Closed(CloseReason::HandshakeTimeout), false),
            Kind::ClientConnectTimeout
        );
        assert_eq!(
            dialled(DownCause::Failed("none".into()), true),
            Kind::UnknownHost
        );
    }

    #[test]
    fn a_body_that_was_not_taken_comes_back() {
        let message = Message::new(MessageType::ServerMsgPush, "mine");
        let error = CaviarError::refused(SendError::Full(message));
        assert_eq!(error.kind(), CaviarErrorKind::QueueFull);
        assert_eq!(error.into_body().as_deref(), Some(&b"mine"[..]));
    }
}
