//! The side of links that listens: one door, and a link for each peer that has come through it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::authenticator::{Anybody, Authenticator};
use super::engine::{Engine, Side};
use super::handle::Link;
use super::handshake::{Door, ListenerHandshake, Refusal};
use super::identity::{LoginKey, PeerKey};
use super::rules::LinkRules;
use super::service::{Service, ServiceEnd};
use super::shared::{Parts, Shared};
use super::spool::{Cursor, Spool};
use super::wire::Wire;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::handle::ConnectionHandle;
use crate::limits::PEERS_MAX;
use crate::net::Net;
use crate::pipeline::{Lane, LaneEnd, Pipeline, PipelineBuilder};
use crate::sessions::{Duplicate, Session, Sessions};
use crate::sync::lock;

type Spools<W> =
    Arc<dyn Fn(&PeerKey) -> Result<Box<dyn Spool<<W as Wire>::Frame>>, Error> + Send + Sync>;

/// What the connections of one listener share.
pub(super) struct Hub<W: Wire> {
    pub(super) wire: Arc<W>,
    pub(super) rules: LinkRules,
    pub(super) net: Net,
    pub(super) door: Door,
    sessions: Sessions<PeerKey, W::Frame>,
    peers: Mutex<BTreeMap<PeerKey, Arc<Shared<W>>>>,
    peers_max: usize,
    cursor: Option<Arc<dyn Cursor>>,
    spools: Option<Spools<W>>,
    service: Arc<dyn Service<W>>,
    pool: Option<Executor>,
}

/// A peer's place, and its link.
pub(super) type Claimed<W> = (Session<PeerKey, <W as Wire>::Frame>, Arc<Shared<W>>);

impl<W: Wire> Hub<W> {
    /// Takes the place of a peer that may come in. Of logins that race for it one wins.
    pub(super) fn claim(
        self: &Arc<Self>,
        key: &PeerKey,
        connection: &ConnectionHandle<W::Frame>,
    ) -> Result<Claimed<W>, Refusal> {
        let session = self.sessions.login(key.clone(), connection);
        let session = session.map_err(|_| Refusal::Duplicate)?;
        // Behind the login: who is logged in is not forgotten.
        let shared = self.peer(key)?;
        Ok((session, shared))
    }

    /// Lets in whoever comes, where the protocol has no login.
    pub(super) fn let_in(
        self: &Arc<Self>,
        from: Address,
        connection: &ConnectionHandle<W::Frame>,
    ) -> Result<Claimed<W>, Refusal> {
        if !(self.door.allows)(from) {
            return Err(Refusal::IpDenied);
        }
        let key = self.door.key.of(None, from).ok_or(Refusal::BadNodeId)?;
        self.claim(&key, connection)
    }

    fn peer(self: &Arc<Self>, key: &PeerKey) -> Result<Arc<Shared<W>>, Refusal> {
        let mut peers = lock(&self.peers);
        if let Some(shared) = peers.get(key) {
            return Ok(Arc::clone(shared));
        }
        if peers.len() >= self.peers_max {
            // Somebody who is away, and for whom nothing is kept, makes room.
            let idle = peers.iter().find(|(key, shared)| self.is_idle(key, shared));
            let idle = idle.map(|(key, _)| key.clone()).ok_or(Refusal::OverLimit)?;
            let gone = peers.remove(&idle);
            drop(peers);
            gone.into_iter().for_each(|shared| shared.close());
            peers = lock(&self.peers);
        }
        let shared = self.remember(key).map_err(|error| {
            log::error!(target: "netwheel::link", "{key}: {error}");
            Refusal::Unknown
        })?;
        peers.insert(key.clone(), Arc::clone(&shared));
        Ok(shared)
    }

    /// Whether nothing is lost when a peer is forgotten. What was acknowledged to it would be.
    fn is_idle(&self, key: &PeerKey, shared: &Shared<W>) -> bool {
        !self.rules.outbox.acknowledged && !self.sessions.is_online(key) && !shared.keeps_any()
    }

    fn remember(self: &Arc<Self>, key: &PeerKey) -> Result<Arc<Shared<W>>, Error> {
        let (hub, forgotten): (Weak<Self>, _) = (Arc::downgrade(self), key.clone());
        let spool = self.spools.as_ref().map(|make| make(key)).transpose()?;
        let parts = Parts {
            name: key.to_string(),
            cursor: self.cursor.clone(),
            spool,
            on_forgotten: Some(Box::new(move || {
                if let Some(hub) = hub.upgrade() {
                    hub.forget(&forgotten);
                }
            })),
        };
        Shared::new(&self.wire, &self.rules, &self.net, parts)
    }

    /// Forgets a peer that has been away for as long as messages are kept for it.
    fn forget(&self, key: &PeerKey) {
        let gone = {
            let mut peers = lock(&self.peers);
            if self.sessions.is_online(key) {
                return;
            }
            peers.remove(key)
        };
        if let Some(shared) = gone {
            shared.close();
        }
    }
}

/// A listener of links to be.
pub struct LinkListenerBuilder<W: Wire> {
    wire: W,
    net: Net,
    rules: LinkRules,
    door: Door,
    duplicate: Duplicate,
    peers_max: usize,
    cursor: Option<Arc<dyn Cursor>>,
    spools: Option<Spools<W>>,
}

impl<W: Wire> LinkListenerBuilder<W> {
    /// Another wire than the one it began with.
    #[must_use]
    pub fn wire(mut self, wire: W) -> Self {
        self.wire = wire;
        self
    }

    /// What holds for each link; those of [`LinkRules::listener`] by default.
    #[must_use]
    pub fn rules(mut self, rules: LinkRules) -> Self {
        self.rules = rules;
        self
    }

    /// From where peers may come; from anywhere by default. Asked before anything else.
    #[must_use]
    pub fn allow(mut self, allows: impl Fn(Address) -> bool + Send + Sync + 'static) -> Self {
        self.door.allows = Arc::new(allows);
        self
    }

    /// Which nodes may come in; all by default.
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.door.authenticator = Arc::new(authenticator);
        self
    }

    /// By what peers are told apart.
    #[must_use]
    pub fn login_key(mut self, key: LoginKey) -> Self {
        self.door.key = key;
        self
    }

    /// What becomes of a second login of the same peer; it is refused by default.
    ///
    /// Where the old one is kicked, messages on their way to it may still reach it, and go to the new one too, unless
    /// they are acknowledged, which tells them apart.
    #[must_use]
    pub fn duplicate(mut self, duplicate: Duplicate) -> Self {
        self.duplicate = duplicate;
        self
    }

    /// Peers that are remembered at most; [`PEERS_MAX`] by default.
    #[must_use]
    pub fn peers_max(mut self, count: usize) -> Self {
        self.peers_max = count;
        self
    }

    /// Where it is kept what has been handled of each peer, over restarts; acknowledged mode only.
    ///
    /// Read at a peer's first login, while the listener's table is locked: it must not ask the listener.
    #[must_use]
    pub fn cursor(mut self, cursor: impl Cursor) -> Self {
        self.cursor = Some(Arc::new(cursor));
        self
    }

    /// Where messages to each peer are kept over restarts; acknowledged mode only. What an earlier process has kept
    /// goes out when its peer has logged in.
    ///
    /// Made and loaded at a peer's first login, while the listener's table is locked: it must not ask the listener.
    #[must_use]
    pub fn spool<S: Spool<W::Frame>>(
        mut self,
        spool: impl Fn(&PeerKey) -> Result<S, Error> + Send + Sync + 'static,
    ) -> Self {
        self.spools = Some(Arc::new(move |key| Ok(Box::new(spool(key)?))));
        self
    }

    /// Finishes with a service that runs on the workers and must not block.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for rules that cannot work.
    pub fn serve(self, service: impl Service<W>) -> Result<LinkListener<W>, Error> {
        self.finish(Arc::new(service), None)
    }

    /// Finishes with a service that runs on the pool and may block. Messages of one link keep their order.
    ///
    /// # Errors
    ///
    /// As for [`serve`](Self::serve).
    pub fn serve_on(
        self,
        pool: &Executor,
        service: impl Service<W>,
    ) -> Result<LinkListener<W>, Error> {
        self.finish(Arc::new(service), Some(pool.clone()))
    }

    fn finish(
        self,
        service: Arc<dyn Service<W>>,
        pool: Option<Executor>,
    ) -> Result<LinkListener<W>, Error> {
        let keeps = self.spools.is_some() || self.cursor.is_some();
        self.rules.check(keeps)?;
        Ok(LinkListener(Arc::new(Hub {
            wire: Arc::new(self.wire),
            rules: self.rules,
            net: self.net,
            door: self.door,
            sessions: Sessions::with(1, self.duplicate),
            peers: Mutex::default(),
            peers_max: self.peers_max,
            cursor: self.cursor,
            spools: self.spools,
            service,
            pool,
        })))
    }
}

impl<W: Wire> fmt::Debug for LinkListenerBuilder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkListenerBuilder")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// The side of links that listens: makes the pipelines of a [`Server`](crate::Server), and knows its peers.
///
/// A clone is the same listener. A peer that has gone is remembered, with what is kept for it, for as long as
/// [`OutboxRules::age_max`](crate::link::OutboxRules::age_max) says.
///
/// Threads: any. Limit: [`PEERS_MAX`] peers.
pub struct LinkListener<W: Wire>(Arc<Hub<W>>);

impl<W: Wire> LinkListener<W> {
    /// A listener that speaks `wire`, for a server on the same network.
    #[must_use]
    pub fn on(net: &impl AsRef<Net>, wire: W) -> LinkListenerBuilder<W> {
        LinkListenerBuilder {
            wire,
            net: net.as_ref().clone(),
            rules: LinkRules::listener(),
            door: Door {
                allows: Arc::new(|_| true),
                authenticator: Arc::new(Anybody),
                key: LoginKey::default(),
            },
            duplicate: Duplicate::RejectNew,
            peers_max: PEERS_MAX,
            cursor: None,
            spools: None,
        }
    }

    /// The pipeline of a new connection.
    #[must_use]
    pub fn pipeline(&self, from: Address) -> Pipeline<W::Frame, W::Frame> {
        self.finish(from, Pipeline::new(self.codec()))
    }

    /// A codec, to begin a pipeline with that has filters and stages of its own.
    #[must_use]
    pub fn codec(&self) -> W::Codec {
        self.0.wire.codec()
    }

    /// Ends a pipeline that has filters and stages of its own: TLS, logging, shaping.
    #[must_use]
    pub fn finish(
        &self,
        from: Address,
        pipeline: PipelineBuilder<W::Codec>,
    ) -> Pipeline<W::Frame, W::Frame> {
        let side = Side::Listener {
            hub: Arc::clone(&self.0),
            handshake: ListenerHandshake::new(from),
            session: None,
        };
        end(side, pipeline, &self.0.service, self.0.pool.as_ref())
    }

    /// The link to a peer that is logged in, or was not long ago.
    #[must_use]
    pub fn link(&self, peer: &PeerKey) -> Option<Link<W>> {
        lock(&self.0.peers).get(peer).cloned().map(Link)
    }

    /// All peers that it remembers, with their links.
    #[must_use]
    pub fn links(&self) -> Vec<(PeerKey, Link<W>)> {
        let peers = lock(&self.0.peers);
        let links = peers.iter();
        links
            .map(|(key, shared)| (key.clone(), Link(Arc::clone(shared))))
            .collect()
    }

    /// Peers that are logged in at this moment.
    #[must_use]
    pub fn online(&self) -> usize {
        self.0.sessions.online()
    }

    /// Closes the connections of peers that come from where they may not come from any more.
    pub fn close_denied(&self) {
        for (_, link) in self.links() {
            if let Some(connection) = link.connection()
                && !(self.0.door.allows)(connection.peer())
            {
                connection.close();
            }
        }
    }
}

/// Puts the engine at the end of a pipeline, and the service behind it.
pub(super) fn end<W: Wire>(
    side: Side<W>,
    pipeline: PipelineBuilder<W::Codec>,
    service: &Arc<dyn Service<W>>,
    pool: Option<&Executor>,
) -> Pipeline<W::Frame, W::Frame> {
    let seat = Arc::new(OnceLock::new());
    let inner = ServiceEnd {
        seat: Arc::clone(&seat),
        service: Arc::clone(service),
    };
    let service = Arc::clone(service);
    match pool {
        None => pipeline.end_with(Engine::new(side, seat, service, inner)),
        Some(pool) => {
            let lane = LaneEnd::new(Lane::new(pool, inner), None);
            pipeline.end_with(Engine::new(side, seat, service, lane))
        }
    }
}

impl<W: Wire> Clone for LinkListener<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Wire> fmt::Debug for LinkListener<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkListener")
            .field("online", &self.online())
            .finish_non_exhaustive()
    }
}
