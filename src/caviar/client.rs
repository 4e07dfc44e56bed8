//! The client: asks, waits or is called back, and comes back when the connection is lost.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::callback::{Callback, Callbacks, PendingRequest, Waiting};
use super::client_builder::CaviarClientBuilder;
use super::connecting::Connecting;
use super::error::{Asker, CaviarError, CaviarErrorKind};
use super::message::Message;
use super::message_type::MessageType;
use super::waiting::ask_and_wait;
use super::wire::CaviarWire;
use crate::client::{ClientState, ReconnectingHandle};
use crate::limits::CAVIAR_CLOSE_TIMEOUT;
use crate::link::{Link, LinkStats, SendError};
use crate::reactor::Reactor;
use crate::sync::lock;
use crate::thread_role;

/// A client of one server, which comes back whenever its connection is lost, until it is closed.
///
/// ```
/// use std::time::Duration;
/// use netwheel::caviar::{CaviarClient, CaviarServer, RequestContext, SessionContext};
///
/// # fn main() -> Result<(), netwheel::caviar::CaviarError> {
/// let server = CaviarServer::new(|_: &SessionContext, request: RequestContext| {
///     let echo = request.body().clone();
///     Ok(request.respond(echo)?)
/// })
/// .listen("127.0.0.1:0")?
/// .start()?;
///
/// let client = CaviarClient::connect(server.address())?;
/// client.login("who I am")?;
/// assert_eq!(client.send_sync("hello")?, "hello");
///
/// let (tell, told) = std::sync::mpsc::channel();
/// client.send_async("and this", move |outcome: Result<_, _>| tell.send(outcome).unwrap())?;
/// assert_eq!(told.recv().unwrap()?, "and this");
/// client.close();
/// # Ok(())
/// # }
/// ```
/// A request that is made while there is no connection waits for one, for as long as its timeout allows. One that
/// the connection takes along with it fails at once, unless it [may be heard twice](Self::resending). See the
/// [guarantees](crate::caviar#what-is-promised).
///
/// A clone is the same client; [`timeout`](Self::timeout) and [`resending`](Self::resending) give clones that ask in
/// another way. The client is closed when its last clone is dropped.
///
/// Threads: any. Cost: a lock for each request, and a wake-up for the first of a burst. Limit:
/// [`OUTBOX_MESSAGES_MAX`](crate::limits::OUTBOX_MESSAGES_MAX) messages and
/// [`OUTBOX_BYTES_MAX`](crate::limits::OUTBOX_BYTES_MAX) bytes that wait to leave, unless configured;
/// [`CALLS_MAX`](crate::limits::CALLS_MAX) requests that wait for their answers.
#[derive(Clone)]
#[must_use = "the client is closed when it is dropped"]
pub struct CaviarClient {
    shared: Arc<Shared>,
    timeout: Duration,
    resends: bool,
    code_type: i32,
}

/// What the clones of a client share.
pub(super) struct Shared {
    pub(super) link: Link<CaviarWire>,
    pub(super) handle: ReconnectingHandle<Message>,
    pub(super) connecting: Arc<Connecting>,
    pub(super) callbacks: Arc<Callbacks>,
    /// The client's own, while it is not closed.
    pub(super) reactor: Mutex<Option<Reactor>>,
}

impl CaviarClient {
    /// A client to be configured.
    pub fn builder() -> CaviarClientBuilder {
        CaviarClientBuilder::new()
    }

    /// Connects with the defaults, and waits for it; see [`CaviarClientBuilder::connect`].
    ///
    /// # Errors
    ///
    /// As for [`CaviarClientBuilder::connect`].
    pub fn connect(to: impl crate::target::IntoTarget) -> Result<Self, CaviarError> {
        Self::builder().connect(to)
    }

    pub(super) const fn new(shared: Arc<Shared>, timeout: Duration) -> Self {
        Self {
            shared,
            timeout,
            resends: false,
            code_type: super::message::CODE_JSON,
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The same client, whose requests wait so long for their answers; the connect that is under way counts.
    pub fn timeout(&self, time: Duration) -> Self {
        Self {
            timeout: time,
            ..self.clone()
        }
    }

    /// The same client, whose requests go again over each new connection, with the same id, until they are answered
    /// or their time is over: for requests that may be heard twice.
    pub fn resending(&self) -> Self {
        Self {
            resends: true,
            ..self.clone()
        }
    }

    /// The same client, whose messages carry this coding of the body; [`CODE_JSON`](super::CODE_JSON) by default.
    pub fn code_type(&self, code_type: i32) -> Self {
        Self {
            code_type,
            ..self.clone()
        }
    }

    /// Logs in (type 1001), and waits for what the server says. Of no meaning but what the server gives it: other
    /// requests need no login.
    ///
    /// A server forgets a login with its connection: log in again once the client has come back.
    ///
    /// # Errors
    ///
    /// As for [`send_sync`](Self::send_sync).
    pub fn login(&self, body: impl Into<Bytes>) -> Result<Bytes, CaviarError> {
        self.ask(MessageType::ClientLoginReq, body.into())
    }

    /// Logs out (type 1002), and waits for what the server says. The connection stays.
    ///
    /// # Errors
    ///
    /// As for [`send_sync`](Self::send_sync).
    pub fn logout(&self, body: impl Into<Bytes>) -> Result<Bytes, CaviarError> {
        self.ask(MessageType::ClientLogoutReq, body.into())
    }

    /// Sends a request (type 1003), and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`ClientReqTimeout`](CaviarErrorKind::ClientReqTimeout) when no answer came in time,
    /// [`LinkDown`](CaviarErrorKind::LinkDown) when the connection broke meanwhile,
    /// [`Closed`](CaviarErrorKind::Closed) or [`ClientNotRunning`](CaviarErrorKind::ClientNotRunning) when the client
    /// has ended, [`QueueFull`](CaviarErrorKind::QueueFull) when as much waits as may,
    /// [`Protocol`](CaviarErrorKind::Protocol) for a body that is too long,
    /// [`WouldDeadlock`](CaviarErrorKind::WouldDeadlock) on an I/O thread.
    pub fn send_sync(&self, body: impl Into<Bytes>) -> Result<Bytes, CaviarError> {
        self.ask(MessageType::ClientMsgSendReq, body.into())
    }

    /// Sends a request (type 1004), and returns; `callback` is told exactly once how it ended, on the client's pool.
    ///
    /// # Errors
    ///
    /// [`QueueFull`](CaviarErrorKind::QueueFull), [`Protocol`](CaviarErrorKind::Protocol),
    /// [`Closed`](CaviarErrorKind::Closed), [`ClientNotRunning`](CaviarErrorKind::ClientNotRunning); `callback` is then
    /// dropped uncalled, and the body comes back.
    pub fn send_async(
        &self,
        body: impl Into<Bytes>,
        callback: impl Callback,
    ) -> Result<PendingRequest, CaviarError> {
        self.ask_then(MessageType::ClientMsgSendAsyncReq, body.into(), callback)
    }

    /// Logs in like [`login`](Self::login), and returns; for callbacks such as
    /// [`on_state`](CaviarClientBuilder::on_state), which must not wait.
    ///
    /// # Errors
    ///
    /// As for [`send_async`](Self::send_async).
    pub fn login_async(
        &self,
        body: impl Into<Bytes>,
        callback: impl Callback,
    ) -> Result<PendingRequest, CaviarError> {
        self.ask_then(MessageType::ClientLoginReq, body.into(), callback)
    }

    /// What the client is doing: connecting, up, down, waiting, closed.
    #[must_use]
    pub fn state(&self) -> ClientState {
        self.shared.handle.state()
    }

    /// Waits until there is a connection; returns at once while there is one.
    ///
    /// # Errors
    ///
    /// [`ClientConnectTimeout`](CaviarErrorKind::ClientConnectTimeout) after `timeout`,
    /// [`Closed`](CaviarErrorKind::Closed) when the client is closed,
    /// [`WouldDeadlock`](CaviarErrorKind::WouldDeadlock) on an I/O thread.
    pub fn wait_up(&self, timeout: Duration) -> Result<(), CaviarError> {
        let waited = self.shared.link.wait_up(timeout);
        waited.map_err(|error| {
            let kind = match error.kind() {
                crate::error::ErrorKind::Closed => CaviarErrorKind::Closed,
                _ => CaviarErrorKind::ClientConnectTimeout,
            };
            CaviarError::of(kind, &error)
        })
    }

    /// What it has counted: messages that wait, requests under way, late answers, the last ping's round trip.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.shared.link.stats()
    }

    /// Closes the client for good: its connection ends once what was handed to it has left, no other is dialled, and
    /// whoever waits is told [`Closed`](CaviarErrorKind::Closed). All but the first call do nothing.
    ///
    /// With a reactor of its own it returns when that has ended, within twice [`CAVIAR_CLOSE_TIMEOUT`].
    pub fn close(&self) {
        self.shared.close();
    }

    fn question(&self, kind: MessageType, body: Bytes) -> Message {
        Message::new(kind, body).code_type(self.code_type)
    }

    fn ask(&self, kind: MessageType, body: Bytes) -> Result<Bytes, CaviarError> {
        let (link, question) = (&self.shared.link, self.question(kind, body));
        let asked = ask_and_wait(link, question, self.timeout, self.resends, |error| {
            CaviarError::unanswered(Asker::Client, self.shared.callbacks.explain(error))
        });
        asked.map_err(|error| self.shared.explain(error))
    }

    fn ask_then<C: Callback>(
        &self,
        kind: MessageType,
        body: Bytes,
        callback: C,
    ) -> Result<PendingRequest, CaviarError> {
        let question = self.question(kind, body.clone());
        if !self.shared.callbacks.begin() {
            return Err(CaviarError::refused(SendError::Full(question)));
        }
        let waiting = Waiting::new(callback);
        let pending = waiting.pending();
        let callbacks = Arc::clone(&self.shared.callbacks);
        let done = move |outcome| waiting.end(&callbacks, body, outcome);
        let asked = if self.resends {
            self.shared.link.call_again(question, self.timeout, done)
        } else {
            self.shared.link.call(question, self.timeout, done)
        };
        asked.map(|()| pending).map_err(|refused| {
            self.shared.callbacks.forget();
            self.shared.explain(CaviarError::refused(refused))
        })
    }
}

impl Shared {
    fn close(&self) {
        self.callbacks.close();
        // First the one that would dial again.
        self.handle.close_after_flush();
        self.link.close_after_flush();
        let reactor = lock(&self.reactor).take();
        match reactor {
            Some(reactor) if thread_role::may_wait() => {
                reactor.shutdown(CAVIAR_CLOSE_TIMEOUT);
            }
            other => drop(other),
        }
    }

    /// Tells a client that was closed from one that has ended by itself.
    fn explain(&self, error: CaviarError) -> CaviarError {
        match (error.kind(), self.connecting.ended()) {
            (CaviarErrorKind::Closed, Some(cause)) => {
                let text = format!("the client has ended: {cause}");
                error.turned(CaviarErrorKind::ClientNotRunning, text)
            }
            _ => error,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for CaviarClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaviarClient")
            .field("state", &self.state())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
