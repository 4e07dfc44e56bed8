//! The server: where it listens, who answers, and how it ends.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::codec::CaviarCodec;
use super::error::{CaviarError, CaviarErrorKind};
use super::listener::ServerListener;
use super::message::Message;
use super::service::{Calls, ServerService};
use super::session::Users;
use super::sessions::{CaviarSessions, numbered};
use super::wire::{CaviarWire, Role};
use crate::address::{IntoPlace, Place};
use crate::caviar::address::Signed;
use crate::error::Error;
use crate::executor::Executor;
use crate::limits::{CAVIAR_BODY_BYTES_MAX, CAVIAR_PING_INTERVAL, CAVIAR_PINGS_MISSED_MAX};
use crate::link::{HeartbeatRules, LinkListener, LinkRules, OutboxRules};
use crate::net::{Net, ShutdownReport};
use crate::pipeline::{Pipeline, PipelineBuilder};
use crate::reactor::{Reactor, ReactorBuilder};
use crate::server::{HasPipeline, RunningServer, Server, Stopper};
use crate::sessions::{Duplicate, Sessions};

type Stages =
    Arc<dyn Fn(PipelineBuilder<CaviarCodec>) -> PipelineBuilder<CaviarCodec> + Send + Sync>;

/// A Caviar server to be: who answers, and where it listens.
///
/// ```no_run
/// use netwheel::caviar::CaviarServer;
///
/// # fn main() -> Result<(), netwheel::caviar::CaviarError> {
/// CaviarServer::new(|_session: &_, request: netwheel::caviar::RequestContext| {
///     let echo = request.body().clone();
///     Ok(request.respond(echo)?)
/// })
/// .listen("127.0.0.1:7001")?
/// .run() // until it is told to stop
/// # }
/// ```
/// Logins, a life of sessions, and who is told what: see [`ServerListener`].
///
/// Threads: the listener runs on a pool, so that a slow request holds up its own session only. Limit:
/// [`LANE_MESSAGES_MAX`](crate::limits::LANE_MESSAGES_MAX) requests of a session wait, then it is not read;
/// [`PEERS_MAX`](crate::limits::PEERS_MAX) sessions.
#[must_use = "it serves once it is started"]
pub struct CaviarServer {
    listener: Arc<dyn ServerListener>,
    home: Home,
    places: Vec<Place>,
    pool: Option<Executor>,
    threads: usize,
    concurrent: bool,
    keep_after_panic: bool,
    duplicate: Duplicate,
    heartbeat: HeartbeatRules,
    outbox: OutboxRules,
    body_bytes_max: usize,
    sessions_max: Option<usize>,
    stages: Option<Stages>,
}

enum Home {
    Own(ReactorBuilder),
    On(Net),
}

impl CaviarServer {
    /// A server with a reactor and a pool of its own, whose requests go to `listener`.
    pub fn new(listener: impl ServerListener) -> Self {
        Self {
            listener: Arc::new(listener),
            home: Home::Own(Reactor::builder()),
            places: Vec::new(),
            pool: None,
            threads: 0,
            concurrent: false,
            keep_after_panic: false,
            duplicate: Duplicate::RejectNew,
            heartbeat: HeartbeatRules::listener()
                .interval(CAVIAR_PING_INTERVAL)
                .missed_max(CAVIAR_PINGS_MISSED_MAX),
            outbox: OutboxRules::default().age_max(Some(Duration::ZERO)),
            body_bytes_max: CAVIAR_BODY_BYTES_MAX,
            sessions_max: None,
            stages: None,
        }
    }

    /// Serves on a reactor that is there already, or any other network.
    pub fn on(mut self, net: &impl AsRef<Net>) -> Self {
        self.home = Home::On(net.as_ref().clone());
        self
    }

    /// I/O threads of the server's own reactor; zero, the default, means one a core.
    pub fn workers(mut self, count: usize) -> Self {
        if let Home::Own(builder) = self.home {
            self.home = Home::Own(builder.workers(count));
        }
        self
    }

    /// Business threads of the server's own pool; zero, the default, means twice the cores and at least four.
    pub fn threads(mut self, count: usize) -> Self {
        self.threads = count;
        self
    }

    /// Runs the listener on a pool that is there already.
    pub fn pool(mut self, pool: &Executor) -> Self {
        self.pool = Some(pool.clone());
        self
    }

    /// Whether requests of one session run at once, in no order; off by default: they run one after the other.
    ///
    /// For clients that ask much at once and tell their answers apart by id. Logins and logouts are requests too.
    pub fn concurrent(mut self, on: bool) -> Self {
        self.concurrent = on;
        self
    }

    /// Whether a session outlives a panic of its listener, unanswered; off by default: it is closed.
    pub fn keep_after_panic(mut self, on: bool) -> Self {
        self.keep_after_panic = on;
        self
    }

    /// What becomes of the second session that [takes a name](super::SessionContext::log_in): it is refused by
    /// default.
    pub fn duplicate(mut self, duplicate: Duplicate) -> Self {
        self.duplicate = duplicate;
        self
    }

    /// When a silent client has gone: after twice [`CAVIAR_PING_INTERVAL`] by default, 10 s. What counts is whole
    /// messages, so that a long body must have come in that time.
    pub fn heartbeat(mut self, rules: HeartbeatRules) -> Self {
        self.heartbeat = rules;
        self
    }

    /// Messages and bytes that wait for one client that does not read, at most; one more comes back to its sender.
    pub fn outbox_max(mut self, messages: usize, bytes: usize) -> Self {
        self.outbox = self.outbox.messages_max(messages).bytes_max(bytes);
        self
    }

    /// The longest body, received or sent; 1 MiB ([`CAVIAR_BODY_BYTES_MAX`]) by default.
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// Sessions at once; [`PEERS_MAX`](crate::limits::PEERS_MAX) by default. One more is closed, with a line in the
    /// log.
    pub fn sessions_max(mut self, count: usize) -> Self {
        self.sessions_max = Some(count);
        self
    }

    /// Puts filters and stages of the program between socket and listener: TLS, logging, rates.
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

    /// Listens there too, once it is started. Port 0 is any free one.
    ///
    /// # Errors
    ///
    /// [`Config`](CaviarErrorKind::Config) or [`ServerStartFail`](CaviarErrorKind::ServerStartFail) for what is no
    /// address.
    pub fn listen(mut self, at: impl IntoPlace) -> Result<Self, CaviarError> {
        self.places.push(at.into_place().map_err(failed)?);
        Ok(self)
    }

    /// Starts serving, and returns.
    ///
    /// # Errors
    ///
    /// [`ServerStartFail`](CaviarErrorKind::ServerStartFail) when an address is taken or the system refuses;
    /// [`Config`](CaviarErrorKind::Config) for a setting that cannot work.
    pub fn start(mut self) -> Result<RunningCaviarServer, CaviarError> {
        let (net, reactor) = match std::mem::replace(&mut self.home, Home::Own(Reactor::builder()))
        {
            Home::On(net) => (net, None),
            Home::Own(builder) => {
                let reactor = builder.start().map_err(failed)?;
                (reactor.net().clone(), Some(reactor))
            }
        };
        let places = std::mem::take(&mut self.places);
        let (mut server, sessions) = self.into_server(&net)?;
        for place in places {
            server = server.listen(place).map_err(failed)?;
        }
        let server = server.start().map_err(failed)?;
        Ok(RunningCaviarServer {
            server,
            reactor,
            sessions,
        })
    }

    /// Starts serving, and returns once a [`Stopper`] has said so; without one it serves for as long as the process
    /// lives.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    ///
    /// # Panics
    ///
    /// On an I/O thread of the crate, which it would block.
    pub fn run(self) -> Result<(), CaviarError> {
        self.start()?.wait();
        Ok(())
    }

    /// The same as a plain [`Server`] on that network, for programs that set what sockets do, and its sessions. It
    /// listens where that one is told to.
    ///
    /// # Errors
    ///
    /// [`Config`](CaviarErrorKind::Config) for a setting that cannot work.
    pub fn into_server(
        self,
        net: &impl AsRef<Net>,
    ) -> Result<(Server<HasPipeline>, CaviarSessions), CaviarError> {
        let net = net.as_ref();
        let stages = self.stages.clone();
        let sessions = self.links(net)?;
        let listener = sessions.listener.clone();
        let server = Server::on(net).pipeline(move |peer| {
            let pipeline = Pipeline::<Message, Message>::new(listener.codec());
            let pipeline = match &stages {
                Some(add) => add(pipeline),
                None => pipeline,
            };
            listener.finish(peer.address, pipeline.stage("caviar.address", Signed))
        });
        Ok((server, sessions))
    }

    /// The end of each pipeline: the link engine, and the program's listener behind it.
    fn links(self, net: &Net) -> Result<CaviarSessions, CaviarError> {
        let pool = self.pool.unwrap_or_else(|| net.executor(self.threads));
        let users: Users = Sessions::with(1, self.duplicate);
        let service = ServerService {
            calls: Arc::new(Calls {
                listener: self.listener,
                keep_after_panic: self.keep_after_panic,
            }),
            users: users.clone(),
            concurrent: self.concurrent.then(|| pool.clone()),
        };
        let mut rules = LinkRules::listener();
        rules.handshake = None; // a login is the program's affair
        rules.heartbeat = self.heartbeat;
        rules.outbox = self.outbox;
        let mut links = LinkListener::on(net, CaviarWire::new(Role::Server, self.body_bytes_max))
            .rules(rules)
            .login_key(numbered());
        if let Some(count) = self.sessions_max {
            links = links.peers_max(count);
        }
        let listener = links.serve_on(&pool, service).map_err(failed)?;
        Ok(CaviarSessions { listener, users })
    }
}

fn failed(error: Error) -> CaviarError {
    CaviarError::of(CaviarErrorKind::ServerStartFail, &error)
}

impl fmt::Debug for CaviarServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaviarServer")
            .field("places", &self.places)
            .field("concurrent", &self.concurrent)
            .finish_non_exhaustive()
    }
}

/// A server that serves. Dropped, it ends at once; [`shutdown`](Self::shutdown) lets it answer first.
#[must_use = "the server ends when it is dropped"]
pub struct RunningCaviarServer {
    server: RunningServer,
    /// Goes last: the server is on it.
    reactor: Option<Reactor>,
    sessions: CaviarSessions,
}

impl RunningCaviarServer {
    /// Where it listens, with the real ports.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        self.server.places()
    }

    /// The first internet address it listens on.
    ///
    /// # Panics
    ///
    /// When it listens on Unix sockets only.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its clients, to be told something.
    #[must_use]
    pub const fn sessions(&self) -> &CaviarSessions {
        &self.sessions
    }

    /// The framework's server under it: counters, network, connections.
    #[must_use]
    pub const fn server(&self) -> &RunningServer {
        &self.server
    }

    /// What ends [`wait`](Self::wait) and [`CaviarServer::run`], from any thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.server.stopper()
    }

    /// Serves until a [`Stopper`] says so, then shuts down.
    ///
    /// # Panics
    ///
    /// On an I/O thread of the crate.
    pub fn wait(self) -> ShutdownReport {
        let report = self.server.wait();
        end(self.reactor);
        report
    }

    /// Ends it: takes nobody new, answers what was read, flushes, and cuts off what is left after `timeout`.
    ///
    /// # Panics
    ///
    /// On an I/O thread of the crate, which would wait for itself.
    pub fn shutdown(self, timeout: Duration) -> ShutdownReport {
        let report = self.server.shutdown(timeout);
        end(self.reactor);
        report
    }
}

/// The threads of a server that has ended.
fn end(reactor: Option<Reactor>) {
    if let Some(reactor) = reactor {
        reactor.shutdown(Duration::ZERO);
    }
}

impl fmt::Debug for RunningCaviarServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningCaviarServer")
            .field("places", &self.places())
            .field("online", &self.sessions.online())
            .finish_non_exhaustive()
    }
}
