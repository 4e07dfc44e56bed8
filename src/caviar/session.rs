//! A client, as its server sees it, for as long as its connection lives.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::error::{Asker, CaviarError};
use super::message::Message;
use super::message_type::MessageType;
use super::waiting::ask_and_wait;
use super::wire::CaviarWire;
use crate::address::Address;
use crate::error::DuplicateLogin;
use crate::handle::ConnectionHandle;
use crate::link::Link;
use crate::sessions::{Session, Sessions};
use crate::sync::lock;

/// Who is logged in, by the name that the program gives.
pub(super) type Users = Sessions<Name, Message>;

/// A name, and the session that has taken it; as a key the name alone counts.
#[derive(Clone)]
pub(super) struct Name {
    text: Arc<str>,
    pub(super) session: u64,
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.text
    }
}

/// What a server keeps with each link.
pub(super) struct Kept {
    index: u64,
    remote: Address,
    local: Address,
    users: Users,
    user: Mutex<Option<Session<Name, Message>>>,
}

impl Kept {
    /// Ends a login that outlived its session.
    pub(super) fn log_out(&self) {
        let user = lock(&self.user).take();
        drop(user);
    }
}

/// A client, as its server sees it: one connection, from its open to its end.
///
/// A clone is the same session. What is sent over a session that has ended comes back as
/// [`Closed`](super::CaviarErrorKind::Closed); what had not left when it ended is lost.
///
/// Threads: any; nothing here blocks but [`ask_and_wait`](Self::ask_and_wait). Cost: a lock for each message, and
/// a wake-up for the first of a burst. Limit: [`OUTBOX_MESSAGES_MAX`](crate::limits::OUTBOX_MESSAGES_MAX)
/// messages and [`OUTBOX_BYTES_MAX`](crate::limits::OUTBOX_BYTES_MAX) bytes wait for a client that does not read.
#[derive(Clone)]
pub struct SessionContext {
    link: Link<CaviarWire>,
    kept: Arc<Kept>,
}

impl SessionContext {
    /// The session of a link that has just come up.
    pub(super) fn open(link: &Link<CaviarWire>, users: &Users) -> Option<Self> {
        let connection = link.connection()?;
        let kept = Arc::new(Kept {
            index: link.name().parse().unwrap_or_default(),
            remote: connection.peer(),
            local: connection.local(),
            users: users.clone(),
            user: Mutex::default(),
        });
        link.keep(kept);
        Self::of(link)
    }

    /// The session of a link.
    pub(super) fn of(link: &Link<CaviarWire>) -> Option<Self> {
        let kept = link.kept()?;
        Some(Self {
            link: link.clone(),
            kept,
        })
    }

    pub(super) fn end(&self) {
        self.kept.log_out();
    }

    pub(super) const fn link(&self) -> &Link<CaviarWire> {
        &self.link
    }

    /// Its number, counted from 1: never given twice by one server.
    #[must_use]
    pub fn session_index(&self) -> u64 {
        self.kept.index
    }

    /// The client's end of the connection.
    #[must_use]
    pub fn remote_addr(&self) -> Address {
        self.kept.remote
    }

    /// This server's end of the connection.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.kept.local
    }

    /// The connection, while it lives.
    #[must_use]
    pub fn channel(&self) -> Option<ConnectionHandle<Message>> {
        self.link.connection()
    }

    /// Whether the connection lives.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.is_up()
    }

    /// Sends any message, as it is but for the address; never blocks.
    ///
    /// For answers there is [`RequestContext::respond`](super::RequestContext::respond).
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push).
    pub fn write_and_flush(&self, message: Message) -> Result<(), CaviarError> {
        self.link.send(message).map_err(CaviarError::refused)
    }

    /// Tells the client something (type 1015), which wants no answer; never blocks.
    ///
    /// # Errors
    ///
    /// [`Closed`](super::CaviarErrorKind::Closed) once the session has ended,
    /// [`QueueFull`](super::CaviarErrorKind::QueueFull) when the client does not read,
    /// [`Protocol`](super::CaviarErrorKind::Protocol) for a body that is too long. All of them give the body back.
    pub fn push(&self, body: impl Into<Bytes>) -> Result<(), CaviarError> {
        self.write_and_flush(Message::new(MessageType::ServerMsgPush, body))
    }

    /// Asks the client (type 1014); `done` is called exactly once, with the answer or why there is none.
    ///
    /// `done` runs on the connection's worker or another I/O thread, and must not block.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push); `done` is then dropped uncalled.
    pub fn ask(
        &self,
        body: impl Into<Bytes>,
        timeout: Duration,
        done: impl FnOnce(Result<Bytes, CaviarError>) + Send + 'static,
    ) -> Result<(), CaviarError> {
        let question = Message::new(MessageType::ServerMsgSendAsyncReq, body);
        let done = move |outcome: Result<Message, _>| {
            let outcome = outcome.map(|answer| answer.body);
            done(outcome.map_err(|error| CaviarError::unanswered(Asker::Server, error)));
        };
        let asked = self.link.call(question, timeout, done);
        asked.map_err(CaviarError::refused)
    }

    /// Asks the client (type 1013), and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`WouldDeadlock`](super::CaviarErrorKind::WouldDeadlock) on an I/O thread,
    /// [`ServerReqTimeout`](super::CaviarErrorKind::ServerReqTimeout) when no answer came in time,
    /// [`LinkDown`](super::CaviarErrorKind::LinkDown) when the session ended before, and as for
    /// [`push`](Self::push).
    pub fn ask_and_wait(
        &self,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Bytes, CaviarError> {
        let question = Message::new(MessageType::ServerMsgSendReq, body);
        ask_and_wait(&self.link, question, timeout, false, |error| {
            CaviarError::unanswered(Asker::Server, error)
        })
    }

    /// Takes a name for this session, for as long as it lives or until [`log_out`](Self::log_out): the ready-made
    /// guard against duplicate logins, for programs that want one.
    ///
    /// The server's policy says what becomes of the session that has the name
    /// ([`CaviarServer::duplicate`](super::CaviarServer::duplicate)): it stays, or it is closed. A second name
    /// takes the place of the first.
    ///
    /// # Errors
    ///
    /// [`DuplicateLogin`] when another session has the name, and keeps it; this one keeps what it had. Passed on by `?` in a listener, it
    /// closes the session.
    pub fn log_in(&self, user: &str) -> Result<(), DuplicateLogin> {
        let Some(connection) = self.link.connection() else {
            return Ok(()); // Who has gone needs no name.
        };
        if self.user().as_deref() == Some(user) {
            return Ok(());
        }
        let name = Name {
            text: user.into(),
            session: self.session_index(),
        };
        let taken = self.kept.users.login(name, &connection)?;
        let old = lock(&self.kept.user).replace(taken);
        drop(old);
        if !self.is_open() {
            self.kept.log_out();
        }
        Ok(())
    }

    /// Gives the name back.
    pub fn log_out(&self) {
        self.kept.log_out();
    }

    /// The name that it has taken.
    #[must_use]
    pub fn user(&self) -> Option<Arc<str>> {
        let user = lock(&self.kept.user);
        user.as_ref()
            .map(|session| Arc::clone(&session.user().text))
    }

    /// Ends the session, once what was sent has left.
    pub fn close(&self) {
        if let Some(connection) = self.link.connection() {
            connection.close_after_flush();
        }
    }
}

impl fmt::Debug for SessionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionContext")
            .field("index", &self.kept.index)
            .field("remote", &self.kept.remote)
            .finish_non_exhaustive()
    }
}
