//! A node: client and server at once, with one service for all its links.

mod builder;

pub use builder::NodeBuilder;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::codec::StackCodec;
use super::message::Message;
use super::wire::StackWire;
use crate::address::Peer;
use crate::client::{Backoff, Client, ClientState, ReconnectingHandle};
use crate::error::{CloseReason, Error, ErrorKind, Result};
use crate::executor::Executor;
use crate::limits::ConnectionLimits;
use crate::link::{
    Credentials, Cursor, Link, LinkDialer, LinkListener, LinkRules, NodeId, PeerKey, Service, Spool,
};
use crate::net::Net;
use crate::pipeline::{Pipeline, PipelineBuilder};
use crate::server::{HasPipeline, Server};
use crate::sync::lock;
use crate::target::{IntoTarget, Target};

/// A link that speaks the stack's wire.
pub type StackLink = Link<StackWire>;

type Spools = Arc<dyn Fn(&PeerKey) -> Result<Box<dyn Spool<Message>>, Error> + Send + Sync>;
type Shape = Arc<dyn Fn(PipelineBuilder<StackCodec>) -> PipelineBuilder<StackCodec> + Send + Sync>;

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
        NodeBuilder::on(net.as_ref().clone(), id)
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

/// Credentials that several dials share.
struct Given(Arc<dyn Credentials>);

impl Credentials for Given {
    fn prove(&self, node: Option<&NodeId>, challenge: &[u8]) -> Option<bytes::Bytes> {
        self.0.prove(node, challenge)
    }
}
