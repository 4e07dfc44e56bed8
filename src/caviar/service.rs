//! The listeners of a program, as the link engine calls them.

use std::sync::Arc;

use log::{error, warn};

use super::listener::{ClientListener, ServerListener};
use super::message::Message;
use super::message_type::MessageType;
use super::request::RequestContext;
use super::session::{SessionContext, Users};
use super::wire::CaviarWire;
use crate::error::{CloseReason, Failure, Result};
use crate::executor::Executor;
use crate::link::{Link, Service};
use crate::panics::contain;

/// What a server does with each link.
pub(super) struct ServerService {
    pub(super) calls: Arc<Calls>,
    pub(super) users: Users,
    /// Where the requests of one session run at once, if they do.
    pub(super) concurrent: Option<Executor>,
}

/// How a listener is called.
pub(super) struct Calls {
    pub(super) listener: Arc<dyn ServerListener>,
    pub(super) keep_after_panic: bool,
}

impl Calls {
    fn call(&self, session: &SessionContext, message: Message) -> Result<()> {
        if !self.keep_after_panic {
            return self.dispatch(session, message);
        }
        contain(|| self.dispatch(session, message)).unwrap_or_else(|_| {
            error!(target: "netwheel::caviar", "{session:?}: its listener panicked; the session goes on");
            Ok(())
        })
    }

    fn dispatch(&self, session: &SessionContext, message: Message) -> Result<()> {
        let kind = message.kind;
        let link = session.link().clone();
        let request = RequestContext::new(link, session.session_index(), message);
        match kind {
            MessageType::ClientLoginReq => self.listener.on_login(session, request),
            MessageType::ClientLogoutReq => self.listener.on_logout(session, request),
            _ => self.listener.on_message(session, request),
        }
    }

    /// Calls it beside other requests of the session: there is no pipeline left to fail.
    fn call_apart(&self, session: &SessionContext, message: Message) {
        let outcome = contain(|| self.call(session, message));
        let why = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => "its listener panicked".to_owned(),
        };
        warn!(target: "netwheel::caviar", "{session:?}: closed: {why}");
        if let Some(connection) = session.channel() {
            connection.close();
        }
    }
}

impl Service<CaviarWire> for ServerService {
    fn on_up(&self, link: &Link<CaviarWire>) {
        if let Some(session) = SessionContext::open(link, &self.users) {
            self.calls.listener.on_open(&session);
        }
    }

    fn on_message(&self, link: &Link<CaviarWire>, message: Message) -> Result<()> {
        let Some(session) = SessionContext::of(link) else {
            return Ok(());
        };
        let Some(pool) = &self.concurrent else {
            return self.calls.call(&session, message);
        };
        let calls = Arc::clone(&self.calls);
        // A full pool is waited for by running the request here, on the session's lane, which holds back the peer.
        if let Err(job) = pool.try_execute(move || calls.call_apart(&session, message)) {
            job();
        }
        Ok(())
    }

    fn on_down(&self, link: &Link<CaviarWire>, reason: CloseReason) {
        if let Some(session) = SessionContext::of(link) {
            session.end();
            self.calls.listener.on_close(&session, reason);
        }
    }
}

/// What a client does with what comes unasked.
pub(super) struct ClientService(pub(super) Arc<dyn ClientListener>);

impl Service<CaviarWire> for ClientService {
    fn on_message(&self, link: &Link<CaviarWire>, message: Message) -> Result<()> {
        match message.kind {
            MessageType::ServerMsgPush => self.0.on_push(message.body),
            kind if kind.response().is_some() => {
                self.0
                    .on_request(RequestContext::new(link.clone(), 0, message))
            }
            kind => Err(Failure::protocol(format!("a {kind} nobody asked for"))),
        }
    }
}
