//! All clients of a server.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::message::Message;
use super::message_type::MessageType;
use super::session::{SessionContext, Users};
use super::wire::CaviarWire;
use crate::link::{LinkListener, PeerKey};

/// All clients of a server, to be told something.
///
/// A clone sees the same clients. A broadcast keeps its place among the other messages of each session.
///
/// Threads: any; nothing blocks. Cost of a broadcast: a lock and a wake-up a session, the body is shared.
#[derive(Clone)]
pub struct CaviarSessions {
    pub(super) listener: LinkListener<CaviarWire>,
    pub(super) users: Users,
}

/// What became of a broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast {
    /// Sessions that have taken it.
    pub taken: usize,
    /// Sessions that have not: their clients do not read, or had just gone.
    pub refused: usize,
}

impl CaviarSessions {
    /// The key of a session in its listener.
    pub(super) fn key(index: u64) -> PeerKey {
        PeerKey::Named(index.to_string().into())
    }

    /// The session of this number, while it lives.
    #[must_use]
    pub fn get(&self, session_index: u64) -> Option<SessionContext> {
        let link = self.listener.link(&Self::key(session_index))?;
        SessionContext::of(&link)
    }

    /// All sessions at this moment, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<SessionContext> {
        let links = self.listener.links();
        links
            .iter()
            .filter_map(|(_, link)| SessionContext::of(link))
            .collect()
    }

    /// Sessions at this moment, those included whose listener has yet to be told of them.
    #[must_use]
    pub fn online(&self) -> usize {
        self.listener.online()
    }

    /// The session that has [taken](SessionContext::log_in) this name.
    #[must_use]
    pub fn of_user(&self, user: &str) -> Option<SessionContext> {
        let (login, _) = self.users.of_user(user).pop()?;
        self.get(self.users.user(login)?.session)
    }

    /// Tells every client something (type 1015).
    #[must_use = "says who has not taken it"]
    pub fn broadcast(&self, body: impl Into<Bytes>) -> Broadcast {
        self.broadcast_to(body, |_| true)
    }

    /// Tells the clients something that `wanted` chooses.
    #[must_use = "says who has not taken it"]
    pub fn broadcast_to(
        &self,
        body: impl Into<Bytes>,
        wanted: impl Fn(&SessionContext) -> bool,
    ) -> Broadcast {
        let message = Message::new(MessageType::ServerMsgPush, body);
        let mut outcome = Broadcast::default();
        for session in self.all().iter().filter(|session| wanted(session)) {
            match session.write_and_flush(message.clone()) {
                Ok(()) => outcome.taken += 1,
                Err(_) => outcome.refused += 1,
            }
        }
        outcome
    }
}

impl fmt::Debug for CaviarSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaviarSessions")
            .field("online", &self.online())
            .finish()
    }
}

/// Names for sessions, each given once.
pub(super) fn numbered() -> crate::link::LoginKey {
    let numbers = Arc::new(crate::link::Counter::new());
    crate::link::LoginKey::custom(move |_, _| Some(CaviarSessions::key(numbers.next())))
}
