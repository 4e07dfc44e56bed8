//! How a node is to be, and its beginning.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Dialing, Inner, Node, Same, Shape, Spools};
use crate::client::Backoff;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::limits::{CONNECT_TIMEOUT, ConnectionLimits, RECONNECT_INTERVAL};
use crate::link::{
    Authenticator, Credentials, Cursor, LinkListener, LinkListenerBuilder, LinkRules, LoginKey,
    NodeId, OutboxRules, PeerKey, Service, Spool,
};
#[cfg(feature = "spool")]
use crate::link::{SpoolFile, Wire};
use crate::net::Net;
use crate::pipeline::PipelineBuilder;
use crate::sessions::Duplicate;
use crate::stack::access::{Access, AtAccept};
use crate::stack::codec::StackCodec;
use crate::stack::message::Message;
use crate::stack::wire::StackWire;

/// A node to be.
#[must_use = "a node begins with `serve` or `serve_on`"]
pub struct NodeBuilder {
    id: NodeId,
    net: Net,
    wire: StackWire,
    listener: LinkListenerBuilder<StackWire>,
    listener_rules: LinkRules,
    dialing: Dialing,
    access: Access,
    inbound: Shape,
    limits: ConnectionLimits,
    #[cfg(feature = "spool")]
    file: Option<SpoolFile>,
}

impl NodeBuilder {
    pub(super) fn on(net: Net, id: &str) -> Result<Self, Error> {
        Ok(Self {
            id: NodeId::new(id)?,
            wire: StackWire::default(),
            listener: LinkListener::on(&net, StackWire::default()),
            listener_rules: LinkRules::listener(),
            dialing: Dialing {
                rules: LinkRules::dialer(),
                credentials: None,
                backoff: Backoff::every(RECONNECT_INTERVAL),
                connect_timeout: CONNECT_TIMEOUT,
                outbound: Arc::new(|pipeline| pipeline),
                spools: None,
                cursor: None,
            },
            access: Access::default(),
            inbound: Arc::new(|pipeline| pipeline),
            limits: ConnectionLimits::default(),
            #[cfg(feature = "spool")]
            file: None,
            net,
        })
    }
}

/// Settings.
impl NodeBuilder {
    /// The wire: profile, limits of frames, checksums. That of [`StackWire::default`] by default.
    pub fn wire(mut self, wire: StackWire) -> Self {
        let sessions = self.wire.layout.sessions.take();
        self.wire = wire;
        self.wire.layout.sessions = sessions;
        self
    }

    /// Whether the accepting answer gives each connection a number, which all its frames carry from then on; by
    /// default they carry zero. The number is never trusted.
    pub fn session_ids(mut self, on: bool) -> Self {
        self.wire.layout.sessions = on.then(Arc::default);
        self
    }

    /// From where peers may come; the lists may change later. From everywhere by default.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Which nodes may come in; all by default.
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.listener = self.listener.authenticator(authenticator);
        self
    }

    /// How this node proves who it is where it dials.
    pub fn credentials(mut self, credentials: impl Credentials) -> Self {
        self.dialing.credentials = Some(Arc::new(credentials));
        self
    }

    /// By what nodes that come in are told apart.
    pub fn login_key(mut self, key: LoginKey) -> Self {
        self.listener = self.listener.login_key(key);
        self
    }

    /// What becomes of a second login of one node; it is refused by default. See
    /// [`LinkListenerBuilder::duplicate`] for what a kick means to messages.
    pub fn duplicate(mut self, duplicate: Duplicate) -> Self {
        self.listener = self.listener.duplicate(duplicate);
        self
    }

    /// T and N: the silence after which a ping goes, and the heartbeats that may be missed. By default
    /// [`HEARTBEAT_INTERVAL`](crate::limits::HEARTBEAT_INTERVAL) and
    /// [`HEARTBEATS_MISSED_MAX`](crate::limits::HEARTBEATS_MISSED_MAX).
    pub fn heartbeat(mut self, interval: Duration, missed_max: u32) -> Self {
        for rules in [&mut self.listener_rules, &mut self.dialing.rules] {
            let heartbeat = rules.heartbeat.clone();
            rules.heartbeat = heartbeat.interval(interval).missed_max(missed_max);
        }
        self
    }

    /// Whether the side that listens pings too; it only answers by default.
    pub fn listener_pings(mut self, on: bool) -> Self {
        let heartbeat = self.listener_rules.heartbeat.clone();
        self.listener_rules.heartbeat = heartbeat.pings(on);
        self
    }

    /// INTERVAL: the time before each dial but the first one, or a backoff. By default
    /// [`RECONNECT_INTERVAL`], always the same.
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.dialing.backoff = backoff;
        self
    }

    /// The longest that a connect may take; [`CONNECT_TIMEOUT`] by default.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.dialing.connect_timeout = time;
        self
    }

    /// The longest that a login may take, on both sides; by default
    /// [`HANDSHAKE_TIMEOUT`](crate::limits::HANDSHAKE_TIMEOUT).
    pub fn handshake_timeout(mut self, time: Duration) -> Self {
        self.listener_rules.handshake = Some(time);
        self.dialing.rules.handshake = Some(time);
        self
    }

    /// What is kept for each peer, and whether messages are acknowledged.
    pub fn outbox(mut self, rules: OutboxRules) -> Self {
        self.listener_rules.outbox = rules.clone();
        self.dialing.rules.outbox = rules;
        self
    }

    /// Where messages to each peer are kept over restarts of this node; for acknowledged messages only. `spool` is
    /// called once for each peer, also for nodes that are dialled.
    pub fn spool<S: Spool<Message>>(
        mut self,
        spool: impl Fn(&PeerKey) -> Result<S, Error> + Send + Sync + 'static,
    ) -> Self {
        let spools: Spools = Arc::new(move |peer| Ok(Box::new(spool(peer)?)));
        let ours = Arc::clone(&spools);
        self.listener = self.listener.spool(move |peer| ours(peer));
        self.dialing.spools = Some(spools);
        self
    }

    /// Where it is kept what has been handled of each peer, over restarts; for acknowledged messages only.
    pub fn cursor(mut self, cursor: impl Cursor) -> Self {
        let cursor: Arc<dyn Cursor> = Arc::new(cursor);
        self.listener = self.listener.cursor(Arc::clone(&cursor));
        self.dialing.cursor = Some(cursor);
        self
    }

    /// Keeps in one file what its links owe, and where they have got to; instead of [`spool`](Self::spool) and
    /// [`cursor`](Self::cursor).
    ///
    /// [`Link::send`](crate::link::Link::send) waits for the disk then, so that a service that sends is
    /// best served on a pool. Messages must be acknowledged, and both sides keep the same wire over restarts.
    ///
    /// ```
    /// use netwheel::link::{OutboxRules, SpoolFile};
    /// use netwheel::stack::{Node, StackLink};
    /// # let world = netwheel::sim::World::new(1);
    /// # let path = std::env::temp_dir().join(format!("netwheel-node-doc-{}", std::process::id()));
    ///
    /// let file = SpoolFile::open(&path)?;
    /// let node = Node::on(&world, "n2")?
    ///     .outbox(OutboxRules::default().acknowledged(true))
    ///     .spool_file(&file)
    ///     .serve(|_: &StackLink, _| Ok(()))?;
    /// # node.close();
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), netwheel::Error>(())
    /// ```
    #[cfg(feature = "spool")]
    pub fn spool_file(mut self, file: &SpoolFile) -> Self {
        self.file = Some(file.clone());
        self
    }

    /// Changes what holds for each connection.
    pub fn limits(mut self, limits: ConnectionLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds filters and stages to the pipelines of connections that come in: TLS, logging, shaping.
    pub fn inbound(
        mut self,
        shape: impl Fn(PipelineBuilder<StackCodec>) -> PipelineBuilder<StackCodec>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.inbound = Arc::new(shape);
        self
    }

    /// Adds filters and stages to the pipelines of connections that it dials.
    pub fn outbound(
        mut self,
        shape: impl Fn(PipelineBuilder<StackCodec>) -> PipelineBuilder<StackCodec>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.dialing.outbound = Arc::new(shape);
        self
    }

    /// Turns denied addresses away as they are accepted, without an answer; by default their login is answered.
    pub fn drop_at_accept(self) -> Self {
        let (access, inbound) = (self.access.clone(), Arc::clone(&self.inbound));
        self.inbound(move |pipeline| {
            let door = AtAccept(access.clone());
            inbound(pipeline).stage("access", door)
        })
    }

    /// Begins a node whose service runs on the workers and must not block.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for settings that cannot work.
    pub fn serve(self, service: impl Service<StackWire>) -> Result<Node, Error> {
        self.finish(Arc::new(service), None)
    }

    /// Begins a node whose service runs on the pool and may block. Messages of one link keep their order.
    ///
    /// # Errors
    ///
    /// As for [`serve`](Self::serve).
    pub fn serve_on(
        self,
        pool: &Executor,
        service: impl Service<StackWire>,
    ) -> Result<Node, Error> {
        self.finish(Arc::new(service), Some(pool.clone()))
    }

    /// Tells both sides of the file, under names that tell them apart: one node may come in and be dialled.
    #[cfg(feature = "spool")]
    fn use_file(mut self) -> Self {
        let Some(file) = self.file.take() else {
            return self;
        };
        // Messages are kept without the number of a connection.
        let mut wire = self.wire.clone();
        wire.layout.sessions = None;
        let side = |side: &'static str| -> Spools {
            let (file, wire) = (file.clone(), wire.clone());
            Arc::new(move |peer| {
                let spool = file.spool(&format!("{side}/{peer}"), wire.codec())?;
                Ok(Box::new(spool))
            })
        };
        let ours = side("in");
        self.listener = self
            .listener
            .spool(move |peer| ours(peer))
            .cursor(file.cursor("in"));
        self.dialing.spools = Some(side("out"));
        self.dialing.cursor = Some(Arc::new(file.cursor("out")));
        self
    }

    fn finish(
        self,
        service: Arc<dyn Service<StackWire>>,
        pool: Option<Executor>,
    ) -> Result<Node, Error> {
        #[cfg(feature = "spool")]
        let this = self.use_file();
        #[cfg(not(feature = "spool"))]
        let this = self;
        let access = this.access.clone();
        let listener = this
            .listener
            .wire(this.wire.clone())
            .rules(this.listener_rules)
            .allow(move |from| access.allows(from));
        let listener = match &pool {
            None => listener.serve(Same(Arc::clone(&service)))?,
            Some(pool) => listener.serve_on(pool, Same(Arc::clone(&service)))?,
        };
        // A session is given by the side that listens.
        let mut wire = this.wire;
        wire.layout.sessions = None;
        Ok(Node(Arc::new(Inner {
            id: this.id,
            net: this.net,
            wire,
            listener,
            dialing: this.dialing,
            inbound: this.inbound,
            limits: this.limits,
            service,
            pool,
            book: Mutex::default(),
        })))
    }
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeBuilder")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
