//! A node: client and server at once, with one service for all its links.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::access::{Access, AtAccept};
use super::codec::StackCodec;
use super::message::Message;
use super::wire::StackWire;
use crate::address::Peer;
use crate::client::{Backoff, Client, ClientState, ReconnectingHandle};
use crate::error::{CloseReason, Error, ErrorKind, Result};
use crate::executor::Executor;
use crate::limits::{CONNECT_TIMEOUT, ConnectionLimits, RECONNECT_INTERVAL};
use crate::link::{
    Authenticator, Credentials, Cursor, Link, LinkDialer, LinkListener, LinkListenerBuilder,
    LinkRules, LoginKey, NodeId, OutboxRules, PeerKey, Service, Spool,
};
#[cfg(feature = "spool")]
use crate::link::{SpoolFile, Wire};
use crate::net::Net;
use crate::pipeline::{Pipeline, PipelineBuilder};
use crate::server::{HasPipeline, Server};
use crate::sessions::Duplicate;
use crate::sync::lock;
use crate::target::{IntoTarget, Target};

/// A link that speaks the stack's wire.
pub type StackLink = Link<StackWire>;

type Spools = Arc<dyn Fn(&PeerKey) -> Result<Box<dyn Spool<Message>>, Error> + Send + Sync>;
type Shape = Arc<dyn Fn(PipelineBuilder<StackCodec>) -> PipelineBuilder<StackCodec> + Send + Sync>;

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

/// What its dials have in common.
#[derive(Clone)]
struct Dialing {
    rules: LinkRules,
    credentials: Option<Arc<dyn Credentials>>,
    backoff: Backoff,
    connect_timeout: Duration,
    outbound: Shape,
    spools: Option<Spools>,
    cursor: Option<Arc<dyn Cursor>>,
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
    /// [`Link::send`] waits for the disk then, so that a service that sends is best served on a pool. Messages must be
    /// acknowledged, and both sides keep the same wire over restarts.
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
    /// [`ErrorKind::Config`] for settings that cannot work.
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

/// One service for both sides.
struct Same(Arc<dyn Service<StackWire>>);

impl Service<StackWire> for Same {
    fn on_up(&self, link: &StackLink) {
        self.0.on_up(link);
    }

    fn on_message(&self, link: &StackLink, message: Message) -> Result<()> {
        self.0.on_message(link, message)
    }

    fn on_down(&self, link: &StackLink, reason: CloseReason) {
        self.0.on_down(link, reason);
    }
}

/// A node of the stack: it listens and dials, with one service for all its links.
///
/// ```
/// use std::time::Duration;
/// use netwheel::link::Link;
/// use netwheel::sim::World;
/// use netwheel::stack::{Message, MessageType, Node, StackWire};
///
/// fn echo(link: &Link<StackWire>, message: Message) -> netwheel::Result<()> {
///     if message.kind() == MessageType::Request {
///         link.send(message.answer(message.body().clone()))?;
///     }
///     Ok(())
/// }
///
/// let world = World::new(1); // or a reactor
/// let server = Node::on(&world, "n1")?.serve(echo)?;
/// let _running = server.server().listen("10.0.0.1:7000")?.start()?;
/// let client = Node::on(&world, "n2")?.serve(echo)?;
/// client.know("n1", "10.0.0.1:7000")?;
/// let link = client.get_or_connect("n1")?;
/// let (tell, told) = std::sync::mpsc::channel();
/// link.call(Message::request("hello"), Duration::from_secs(1), move |answer| {
///     tell.send(answer).unwrap();
/// })?;
/// world.run_for(Duration::from_secs(1));
/// assert_eq!(told.recv()??.body(), "hello");
/// # Ok::<(), netwheel::Failure>(())
/// ```
///
/// A clone is the same node. Links that it dialled end with the last clone, or by [`close`](Self::close).
///
/// Threads: any.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    id: NodeId,
    net: Net,
    wire: StackWire,
    listener: LinkListener<StackWire>,
    dialing: Dialing,
    inbound: Shape,
    limits: ConnectionLimits,
    service: Arc<dyn Service<StackWire>>,
    pool: Option<Executor>,
    book: Mutex<Book>,
}

/// Where other nodes are, and which of them were dialled.
#[derive(Default)]
struct Book {
    addresses: BTreeMap<NodeId, Vec<Target>>,
    dialled: BTreeMap<NodeId, StackLink>,
    closed: bool,
}

impl Node {
    /// A node of this name on a reactor, or any other network.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when the name is none, see [`NodeId`].
    pub fn on(net: &impl AsRef<Net>, id: &str) -> Result<NodeBuilder, Error> {
        let net = net.as_ref().clone();
        Ok(NodeBuilder {
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

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.0.id
    }

    /// A server that lets other nodes in, to be told where it listens.
    #[must_use]
    pub fn server(&self) -> Server<HasPipeline> {
        let inner = Arc::clone(&self.0);
        Server::on(&self.0.net)
            .limits(self.0.limits.clone())
            .pipeline(move |peer: &Peer| inner.accept(peer))
    }

    /// Notes where a node is, for [`get_or_connect`](Self::get_or_connect); further addresses are tried in turn.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when the name is none, [`ErrorKind::Address`] when the address is none.
    pub fn know(&self, node: &str, at: impl IntoTarget) -> Result<(), Error> {
        let (node, at) = (NodeId::new(node)?, at.into_target()?);
        let mut book = lock(&self.0.book);
        book.addresses.entry(node).or_default().push(at);
        Ok(())
    }

    /// The link to a node: the one over which it has come in and is logged in, else the one that was dialled; else
    /// it is dialled now, and what is sent meanwhile is kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when the name is none, or nobody has said where it is; [`ErrorKind::Closed`] when this
    /// node is closed; and what a [`Client`] refuses.
    pub fn get_or_connect(&self, node: &str) -> Result<StackLink, Error> {
        let node = NodeId::new(node)?;
        if let Some(link) = self.come_in(&node).filter(Link::is_up) {
            return Ok(link);
        }
        // Held until it is dialled, so that of two that ask one dials.
        let mut book = lock(&self.0.book);
        if book.closed {
            return Err(Error::new(ErrorKind::Closed, "the node is closed"));
        }
        if let Some(link) = book.dialled.get(&node).filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        let Some(targets) = book.addresses.get(&node).cloned() else {
            let text =
                format!("nobody has said where node {node} is; call know({node:?}, address)");
            return Err(Error::new(ErrorKind::Config, text));
        };
        let link = self.0.dial(&node, targets)?;
        book.dialled.insert(node, link.clone());
        Ok(link)
    }

    /// The link to a node, where there is one: logged in, dialled, or remembered.
    #[must_use]
    pub fn link(&self, node: &str) -> Option<StackLink> {
        let node = NodeId::new(node).ok()?;
        let come_in = self.come_in(&node);
        if come_in.as_ref().is_some_and(Link::is_up) {
            return come_in;
        }
        let dialled = lock(&self.0.book).dialled.get(&node).cloned();
        dialled.or(come_in)
    }

    fn come_in(&self, node: &NodeId) -> Option<StackLink> {
        self.0.listener.link(&PeerKey::Node(node.clone()))
    }

    /// The side that listens: its peers, and who of them is logged in.
    #[must_use]
    pub fn listener(&self) -> &LinkListener<StackWire> {
        &self.0.listener
    }

    /// Closes what it has dialled, for good. Its servers are closed by whoever runs them.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn accept(&self, peer: &Peer) -> Pipeline<Message, Message> {
        let pipeline = Pipeline::new(self.listener.codec());
        self.listener.finish(peer.address, (self.inbound)(pipeline))
    }

    fn dial(&self, node: &NodeId, targets: Vec<Target>) -> Result<StackLink, Error> {
        let dialing = &self.dialing;
        let mut dialer = LinkDialer::on(&self.net, self.wire.clone(), node.as_str())
            .rules(dialing.rules.clone())
            .node(self.id.clone());
        if let Some(credentials) = &dialing.credentials {
            dialer = dialer.credentials(Given(Arc::clone(credentials)));
        }
        if let Some(spools) = &dialing.spools {
            dialer = dialer.spool(spools(&PeerKey::Node(node.clone()))?);
        }
        if let Some(cursor) = &dialing.cursor {
            dialer = dialer.cursor(Arc::clone(cursor));
        }
        let service = Same(Arc::clone(&self.service));
        let dialer = match &self.pool {
            None => dialer.serve(service)?,
            Some(pool) => dialer.serve_on(pool, service)?,
        };
        let (link, ended) = (dialer.link(), dialer.link());
        let (outbound, end) = (Arc::clone(&dialing.outbound), dialer.clone());
        let client = Client::on(&self.net)
            .limits(self.limits.clone())
            .connect_timeout(dialing.connect_timeout)
            .reconnect(dialing.backoff.clone())
            .on_state(move |state| {
                if let ClientState::Closed(_) = state {
                    ended.close();
                }
            })
            .pipeline(move || end.finish(outbound(Pipeline::new(end.codec()))))
            .connect_any(targets)?;
        dialer.on_close(move || close(&client));
        Ok(link)
    }

    fn close(&self) {
        let dialled = {
            let mut book = lock(&self.book);
            book.closed = true;
            std::mem::take(&mut book.dialled)
        };
        for link in dialled.into_values() {
            link.close();
        }
    }
}

fn close(client: &ReconnectingHandle<Message>) {
    client.close();
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.0.id).finish()
    }
}

/// Credentials that several dials share.
struct Given(Arc<dyn Credentials>);

impl Credentials for Given {
    fn prove(&self, node: Option<&NodeId>, challenge: &[u8]) -> Option<bytes::Bytes> {
        self.0.prove(node, challenge)
    }
}
