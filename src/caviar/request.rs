//! A request, to be answered at any time and by any thread.

use std::fmt;

use bytes::Bytes;

use super::error::CaviarError;
use super::message::Message;
use super::message_type::MessageType;
use super::wire::CaviarWire;
use crate::link::Link;

/// A request of the other side, with all that its answer needs.
///
/// It may be kept and answered later, by any thread, and is answered at most once: [`respond`](Self::respond)
/// takes it. Dropped unanswered, it times out on the other side. Who is told of the answer there is that side's
/// affair: whoever waits, or a [`Callback`](super::Callback).
///
/// Threads: any. Cost: a count, and the body is shared.
#[must_use = "whoever asked waits for the answer"]
pub struct RequestContext {
    link: Link<CaviarWire>,
    session: u64,
    message: Message,
}

impl RequestContext {
    pub(super) const fn new(link: Link<CaviarWire>, session: u64, message: Message) -> Self {
        Self {
            link,
            session,
            message,
        }
    }

    /// The session that it came over; 0 at a client, which has one server.
    #[must_use]
    pub const fn session_index(&self) -> u64 {
        self.session
    }

    /// What names it among the requests of its sender.
    #[must_use]
    pub const fn request_id(&self) -> i64 {
        self.message.request_id
    }

    /// Whether its sender waits, rather than being called back.
    #[must_use]
    pub const fn is_sync(&self) -> bool {
        !matches!(
            self.message.kind,
            MessageType::ClientMsgSendAsyncReq | MessageType::ServerMsgSendAsyncReq
        )
    }

    /// The whole message.
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// The bytes that its sender gave.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.message.body
    }

    /// Answers it; never blocks.
    ///
    /// # Errors
    ///
    /// [`Closed`](super::CaviarErrorKind::Closed) when the session has ended,
    /// [`QueueFull`](super::CaviarErrorKind::QueueFull) when its client does not read,
    /// [`Protocol`](super::CaviarErrorKind::Protocol) for a body that is too long. All of them give the body back.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the engine hands over nothing but questions"
    )]
    pub fn respond(self, body: impl Into<Bytes>) -> Result<(), CaviarError> {
        let answer = self.message.answer(body);
        let answer = answer.expect("only questions become requests");
        self.link.send(answer).map_err(CaviarError::refused)
    }
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("session", &self.session)
            .field("id", &self.message.request_id)
            .field("kind", &self.message.kind)
            .finish_non_exhaustive()
    }
}
