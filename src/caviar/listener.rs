//! What a program does with what the other side sends.

use bytes::Bytes;

use super::request::RequestContext;
use super::session::SessionContext;
use crate::error::{CloseReason, Result};

/// What a server does with what its clients send: one value for all sessions.
///
/// A closure of a session and a request is a listener that answers messages.
///
/// Threads: requests on the server's pool, one session's one at a time and in order unless the server is
/// [concurrent](super::CaviarServer::concurrent); they may block. `on_open` and `on_close` on the connection's
/// worker, which must not. A panic or an error closes the one session, with a line in the log.
pub trait ServerListener: Send + Sync + 'static {
    /// A client has connected; nothing of it has been handled yet.
    fn on_open(&self, session: &SessionContext) {
        let _ = session;
    }

    /// A client logs in (1001). It is told yes with an empty body unless the program says otherwise; nothing
    /// depends on it that the program does not see to.
    ///
    /// # Errors
    ///
    /// Any error closes the session, without an answer.
    fn on_login(&self, session: &SessionContext, request: RequestContext) -> Result<()> {
        let _ = session;
        Ok(request.respond(Bytes::new())?)
    }

    /// A client logs out (1002). It is answered with an empty body, and its name is free again, unless the
    /// program says otherwise; the session goes on.
    ///
    /// # Errors
    ///
    /// Any error closes the session, without an answer.
    fn on_logout(&self, session: &SessionContext, request: RequestContext) -> Result<()> {
        session.log_out();
        Ok(request.respond(Bytes::new())?)
    }

    /// A request (1003, 1004), to be answered now or later, by any thread.
    ///
    /// # Errors
    ///
    /// Any error closes the session, without an answer.
    fn on_message(&self, session: &SessionContext, request: RequestContext) -> Result<()>;

    /// The connection has ended; told once. A request of it may still be under way on the pool.
    fn on_close(&self, session: &SessionContext, reason: CloseReason) {
        let _ = (session, reason);
    }
}

impl<F> ServerListener for F
where
    F: Fn(&SessionContext, RequestContext) -> Result<()> + Send + Sync + 'static,
{
    fn on_message(&self, session: &SessionContext, request: RequestContext) -> Result<()> {
        self(session, request)
    }
}

/// What a client does with what its server sends unasked. A closure of a body takes pushes.
///
/// Threads: a thread of the client's own pool, one message at a time and in order; may block. A panic or an error
/// closes the connection, and the client comes back.
pub trait ClientListener: Send + Sync + 'static {
    /// The server tells something (1015).
    ///
    /// # Errors
    ///
    /// Any error closes the connection.
    fn on_push(&self, body: Bytes) -> Result<()> {
        let _ = body;
        Ok(())
    }

    /// The server asks something (1013, 1014), to be answered now or later, by any thread. Unanswered unless the
    /// program says otherwise, so that the server's request times out.
    ///
    /// # Errors
    ///
    /// Any error closes the connection.
    fn on_request(&self, request: RequestContext) -> Result<()> {
        drop(request);
        Ok(())
    }
}

impl<F> ClientListener for F
where
    F: Fn(Bytes) -> Result<()> + Send + Sync + 'static,
{
    fn on_push(&self, body: Bytes) -> Result<()> {
        self(body)
    }
}

/// Passes over all that a server sends unasked.
pub(super) struct Deaf;

impl ClientListener for Deaf {}
