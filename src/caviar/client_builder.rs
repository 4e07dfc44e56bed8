//! How a client is put together.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::callback::Callbacks;
use super::client::{CaviarClient, Shared};
use super::codec::CaviarCodec;
use super::connecting::Connecting;
use super::error::{CaviarError, CaviarErrorKind};
use super::listener::{ClientListener, Deaf};
use super::message::Message;
use super::service::ClientService;
use super::wire::{CaviarWire, Role};
use crate::caviar::address::Signed;
use crate::client::{Backoff, Client, ClientState};
use crate::error::Error;
use crate::limits::{
    CAVIAR_BODY_BYTES_MAX, CAVIAR_CLIENT_THREADS, CAVIAR_PING_INTERVAL, CAVIAR_RECONNECT_INTERVAL,
    CAVIAR_TIMEOUT,
};
use crate::link::{HeartbeatRules, Link, LinkDialer, LinkRules, OutboxRules};
use crate::net::Net;
use crate::pipeline::{Pipeline, PipelineBuilder};
use crate::reactor::Reactor;
use crate::target::{IntoTarget, Target};
use crate::thread_role;

type OnState = Arc<dyn Fn(&ClientState) + Send + Sync>;
type Stages =
    Arc<dyn Fn(PipelineBuilder<CaviarCodec>) -> PipelineBuilder<CaviarCodec> + Send + Sync>;

/// A client to be: how it asks, who hears what its server says unasked, and when it comes back.
///
/// Threads: with a reactor of its own, an acceptor and one worker; and [`CAVIAR_CLIENT_THREADS`] of a pool, once there
/// is something to call back. Cost: share a reactor among many clients, by [`on`](Self::on).
#[must_use = "it does nothing before it connects"]
pub struct CaviarClientBuilder {
    net: Option<Net>,
    connect_timeout: Duration,
    request_timeout: Duration,
    backoff: Backoff,
    heartbeat: HeartbeatRules,
    outbox: OutboxRules,
    body_bytes_max: usize,
    listener: Arc<dyn ClientListener>,
    on_state: Option<OnState>,
    stages: Option<Stages>,
}

impl CaviarClientBuilder {
    pub(super) fn new() -> Self {
        Self {
            net: None,
            connect_timeout: CAVIAR_TIMEOUT,
            request_timeout: CAVIAR_TIMEOUT,
            backoff: Backoff::every(CAVIAR_RECONNECT_INTERVAL),
            heartbeat: HeartbeatRules::dialer().interval(CAVIAR_PING_INTERVAL),
            outbox: OutboxRules::default(),
            body_bytes_max: CAVIAR_BODY_BYTES_MAX,
            listener: Arc::new(Deaf),
            on_state: None,
            stages: None,
        }
    }

    /// A client on a reactor that is there already, or any other network; by default it has a reactor of its own.
    pub fn on(mut self, net: &impl AsRef<Net>) -> Self {
        self.net = Some(net.as_ref().clone());
        self
    }

    /// Time for a connect, and for the answer to each request; 5 s ([`CAVIAR_TIMEOUT`]) by default.
    pub fn timeout(self, time: Duration) -> Self {
        self.connect_timeout(time).request_timeout(time)
    }

    /// Time for a connect.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// Time for the answer to each request that says no other.
    pub fn request_timeout(mut self, time: Duration) -> Self {
        self.request_timeout = time;
        self
    }

    /// How long to wait before each dial once the connection is lost; always 2 s by default
    /// ([`CAVIAR_RECONNECT_INTERVAL`]).
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// When to ping, and when the server has gone: a ping after [`CAVIAR_PING_INTERVAL`] of silence by default, and
    /// the end after four.
    pub fn heartbeat(mut self, rules: HeartbeatRules) -> Self {
        self.heartbeat = rules;
        self
    }

    /// What is kept while there is no connection, how much and for how long; not acknowledged, as the protocol has
    /// no such mode.
    pub fn outbox(mut self, rules: OutboxRules) -> Self {
        self.outbox = rules;
        self
    }

    /// The longest body, sent or received; 1 MiB ([`CAVIAR_BODY_BYTES_MAX`]) by default.
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// Who hears what the server says unasked; nobody by default.
    pub fn listener(mut self, listener: impl ClientListener) -> Self {
        self.listener = Arc::new(listener);
        self
    }

    /// Tells of each state, once and in order, on an I/O thread: must not block.
    pub fn on_state(mut self, tell: impl Fn(&ClientState) + Send + Sync + 'static) -> Self {
        self.on_state = Some(Arc::new(tell));
        self
    }

    /// Puts filters and stages of the program between socket and client: TLS, logging, rates.
    pub fn stages(
        mut self,
        add: impl Fn(PipelineBuilder<CaviarCodec>) -> PipelineBuilder<CaviarCodec>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.stages = Some(Arc::new(add));
        self
    }

    /// Connects, and waits for it. The client comes back by itself from then on, and not before.
    ///
    /// # Errors
    ///
    /// [`ClientConnectFail`](CaviarErrorKind::ClientConnectFail) at once where nobody listens,
    /// [`ClientConnectTimeout`](CaviarErrorKind::ClientConnectTimeout) where nobody answers,
    /// [`UnknownHost`](CaviarErrorKind::UnknownHost) where a name has no address,
    /// [`WouldDeadlock`](CaviarErrorKind::WouldDeadlock) on an I/O thread,
    /// [`Config`](CaviarErrorKind::Config) for a setting that cannot work.
    pub fn connect(self, to: impl IntoTarget) -> Result<CaviarClient, CaviarError> {
        thread_role::refuse_on_io_thread("wait for a connection")
            .map_err(|error| failed(&error))?;
        let target = to.into_target().map_err(|error| failed(&error))?;
        let named = matches!(target, Target::Name { .. });
        let timeout = self.connect_timeout;
        let client = self.start(&target)?;
        let waited = client.shared().connecting.wait(timeout, &target, named);
        waited.map(|()| client)
    }

    /// Begins to connect, and returns: it tries until it succeeds, and requests wait meanwhile.
    ///
    /// # Errors
    ///
    /// [`Config`](CaviarErrorKind::Config) for a setting that cannot work, and what the system refuses at once.
    pub fn start(self, to: impl IntoTarget) -> Result<CaviarClient, CaviarError> {
        let target = to.into_target().map_err(|error| failed(&error))?;
        let (net, reactor) = self.home()?;
        let pool = net.executor(CAVIAR_CLIENT_THREADS);
        let wire = CaviarWire::new(Role::Client, self.body_bytes_max);
        let dialer = LinkDialer::on(&net, wire, target.to_string())
            .rules(self.rules())
            .serve_on(&pool, ClientService(Arc::clone(&self.listener)))
            .map_err(|error| failed(&error))?;
        let connecting = Arc::<Connecting>::default();
        let tell = self.tell(dialer.link(), &connecting);
        let (link, stages) = (dialer.link(), self.stages);
        let handle = Client::on(&net)
            .connect_timeout(self.connect_timeout)
            .reconnect(self.backoff)
            .on_state(tell)
            .pipeline(move || {
                let pipeline = Pipeline::<Message, Message>::new(dialer.codec());
                let pipeline = match &stages {
                    Some(add) => add(pipeline),
                    None => pipeline,
                };
                dialer.finish(pipeline.stage("caviar.address", Signed))
            })
            .connect(&target)
            .map_err(|error| failed(&error))?;
        let shared = Shared {
            link,
            handle,
            connecting,
            callbacks: Callbacks::new(pool),
            reactor: Mutex::new(reactor),
        };
        Ok(CaviarClient::new(Arc::new(shared), self.request_timeout))
    }

    /// The network it is on, and its own reactor where it has one.
    fn home(&self) -> Result<(Net, Option<Reactor>), CaviarError> {
        if let Some(net) = &self.net {
            return Ok((net.clone(), None));
        }
        let reactor = Reactor::builder().workers(1).start();
        let reactor = reactor.map_err(|error| failed(&error))?;
        Ok((reactor.net().clone(), Some(reactor)))
    }

    fn rules(&self) -> LinkRules {
        let mut rules = LinkRules::dialer();
        rules.handshake = None;
        rules.heartbeat = self.heartbeat.clone();
        rules.outbox = self.outbox.clone().acknowledged(false);
        rules.call_timeout = self.request_timeout;
        rules
    }

    /// Who is told of each state: whoever waits for the first, and the program. Once there will be no connection any
    /// more, nobody waits for an answer.
    fn tell(
        &self,
        link: Link<CaviarWire>,
        connecting: &Arc<Connecting>,
    ) -> impl Fn(&ClientState) + Send + Sync + use<> {
        let (connecting, on_state) = (Arc::clone(connecting), self.on_state.clone());
        move |state| {
            connecting.handle_state(state);
            if let ClientState::Closed(_) = state {
                link.close_after_flush();
            }
            if let Some(tell) = &on_state {
                tell(state);
            }
        }
    }
}

fn failed(error: &Error) -> CaviarError {
    CaviarError::of(CaviarErrorKind::ClientConnectFail, error)
}

impl fmt::Debug for CaviarClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaviarClientBuilder")
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}
