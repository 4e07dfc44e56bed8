//! The side of a link that dials: one link, over all connections of a client that comes back.

use std::fmt;
use std::sync::Arc;

use super::authenticator::Credentials;
use super::engine::Side;
use super::handle::Link;
use super::handshake::DialerHandshake;
use super::identity::NodeId;
use super::listener::end;
use super::rules::LinkRules;
use super::service::Service;
use super::shared::{Parts, Shared};
use super::spool::{Cursor, Spool};
use super::wire::Wire;
use crate::error::Error;
use crate::executor::Executor;
use crate::net::Net;
use crate::pipeline::{Pipeline, PipelineBuilder};

/// A dialer to be.
pub struct LinkDialerBuilder<W: Wire> {
    wire: W,
    net: Net,
    name: String,
    rules: LinkRules,
    node: Option<NodeId>,
    credentials: Option<Arc<dyn Credentials>>,
    cursor: Option<Arc<dyn Cursor>>,
    spool: Option<Box<dyn Spool<W::Frame>>>,
}

impl<W: Wire> LinkDialerBuilder<W> {
    /// What holds for the link; those of [`LinkRules::dialer`] by default.
    #[must_use]
    pub fn rules(mut self, rules: LinkRules) -> Self {
        self.rules = rules;
        self
    }

    /// The name that this side logs in with; without one its address has to do.
    #[must_use]
    pub fn node(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }

    /// How it proves who it is, to listeners that ask.
    #[must_use]
    pub fn credentials(mut self, credentials: impl Credentials) -> Self {
        self.credentials = Some(Arc::new(credentials));
        self
    }

    /// Where it is kept what has been handled of the other side, over restarts; acknowledged mode only.
    #[must_use]
    pub fn cursor(mut self, cursor: impl Cursor) -> Self {
        self.cursor = Some(Arc::new(cursor));
        self
    }

    /// Where messages are kept over restarts; acknowledged mode only.
    #[must_use]
    pub fn spool(mut self, spool: impl Spool<W::Frame>) -> Self {
        self.spool = Some(Box::new(spool));
        self
    }

    /// Finishes with a service that runs on the workers and must not block.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for rules that cannot work, and what its spool or cursor
    /// could not read.
    pub fn serve(self, service: impl Service<W>) -> Result<LinkDialer<W>, Error> {
        self.finish(Arc::new(service), None)
    }

    /// Finishes with a service that runs on the pool and may block.
    ///
    /// # Errors
    ///
    /// As for [`serve`](Self::serve).
    pub fn serve_on(
        self,
        pool: &Executor,
        service: impl Service<W>,
    ) -> Result<LinkDialer<W>, Error> {
        self.finish(Arc::new(service), Some(pool.clone()))
    }

    fn finish(
        self,
        service: Arc<dyn Service<W>>,
        pool: Option<Executor>,
    ) -> Result<LinkDialer<W>, Error> {
        let keeps = self.spool.is_some() || self.cursor.is_some();
        self.rules.check(keeps)?;
        let parts = Parts {
            name: self.name,
            cursor: self.cursor,
            spool: self.spool,
            on_forgotten: None,
        };
        let shared = Shared::new(&Arc::new(self.wire), &self.rules, &self.net, parts)?;
        Ok(LinkDialer {
            shared,
            node: self.node,
            credentials: self.credentials,
            service,
            pool,
        })
    }
}

impl<W: Wire> fmt::Debug for LinkDialerBuilder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkDialerBuilder")
            .field("name", &self.name)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// The side of a link that dials: makes the pipelines of a [`Client`](crate::Client) that comes back.
///
/// A clone is the same dialer, and the same link.
///
/// Threads: any.
pub struct LinkDialer<W: Wire> {
    shared: Arc<Shared<W>>,
    node: Option<NodeId>,
    credentials: Option<Arc<dyn Credentials>>,
    service: Arc<dyn Service<W>>,
    pool: Option<Executor>,
}

impl<W: Wire> LinkDialer<W> {
    /// A dialer that speaks `wire`, for a client on the same network; logs call the other side `name`.
    #[must_use]
    pub fn on(net: &impl AsRef<Net>, wire: W, name: impl Into<String>) -> LinkDialerBuilder<W> {
        LinkDialerBuilder {
            wire,
            net: net.as_ref().clone(),
            name: name.into(),
            rules: LinkRules::dialer(),
            node: None,
            credentials: None,
            cursor: None,
            spool: None,
        }
    }

    /// Its link, which is up whenever a connection of the client has logged in.
    #[must_use]
    pub fn link(&self) -> Link<W> {
        Link(Arc::clone(&self.shared))
    }

    /// Calls `closer` once when the link is closed, to end the client too that dials for it.
    pub fn on_close(&self, closer: impl FnOnce() + Send + 'static) {
        self.shared.on_close(Box::new(closer));
    }

    /// The pipeline of a new connection.
    #[must_use]
    pub fn pipeline(&self) -> Pipeline<W::Frame, W::Frame> {
        self.finish(Pipeline::new(self.codec()))
    }

    /// A codec, to begin a pipeline with that has filters and stages of its own.
    #[must_use]
    pub fn codec(&self) -> W::Codec {
        self.shared.wire.codec()
    }

    /// Ends a pipeline that has filters and stages of its own: TLS, logging, shaping.
    #[must_use]
    pub fn finish(&self, pipeline: PipelineBuilder<W::Codec>) -> Pipeline<W::Frame, W::Frame> {
        let side = Side::Dialer {
            shared: Arc::clone(&self.shared),
            handshake: DialerHandshake::new(self.node.clone(), self.credentials.clone()),
        };
        end(side, pipeline, &self.service, self.pool.as_ref())
    }
}

impl<W: Wire> Clone for LinkDialer<W> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            node: self.node.clone(),
            credentials: self.credentials.clone(),
            service: Arc::clone(&self.service),
            pool: self.pool.clone(),
        }
    }
}

impl<W: Wire> fmt::Debug for LinkDialer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkDialer")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}
