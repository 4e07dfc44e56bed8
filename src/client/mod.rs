//! Clients: connections that this side dials.

mod backlog;
mod backoff;
mod batch;
mod dial;
mod machine;
mod news;
mod pool;
mod reconnecting;
mod redial;
mod rotation;
mod state;

pub use backlog::WhileDown;
pub use backoff::Backoff;
pub use batch::{Batch, BatchBuilder};
pub use pool::{ConnectionPool, Pooled};
pub use reconnecting::ReconnectingHandle;
pub use state::{ClientState, ClosedCause, DownCause};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::dial::{FirstDial, make_by};
use self::machine::{OnState, Plan};
use self::redial::Redial;
use crate::address::{Address, Peer};
use crate::error::{Error, ErrorKind};
use crate::handle::{ConnectionHandle, Outbox};
use crate::limits::{CONNECT_TIMEOUT, ConnectionLimits};
use crate::net::Net;
use crate::options::Options;
use crate::pipeline::Pipeline;
use crate::target::{IntoTarget, Target};

/// A client to be: what its connections do. It may dial any number of times.
///
/// ```no_run
/// use std::time::Duration;
/// use netwheel::{Client, Pipeline, Reactor, codec::LengthField};
///
/// # fn main() -> netwheel::Result<()> {
/// let reactor = Reactor::builder().workers(1).start()?;
/// let handle = Client::on(&reactor)
///     .pipeline(|| Pipeline::new(LengthField::u32()).handle(|_, answer| {
///         println!("{answer:?}");
///         Ok(())
///     }))
///     .connect("127.0.0.1:7001")?;
/// handle.try_send("hello".into())?;
/// handle.wait_open(Duration::from_secs(3))?;
/// # Ok(())
/// # }
/// ```
///
/// Messages sent before the connection is open wait for it, within its bound.
///
/// A connection that ends is not dialled again, unless the client is told to
/// [come back](Self::reconnect).
pub struct Client<P = (), M = DialOnce> {
    net: Net,
    options: Options,
    connect_timeout: Duration,
    pipeline: P,
    mode: M,
}

/// A client that dials once: its `connect` gives the handle of that connection.
#[derive(Debug)]
pub struct DialOnce(());

/// A client that comes back: its `connect` gives a handle that outlives connections.
pub struct Reconnect {
    backoff: Backoff,
    while_down: WhileDown,
    /// Of a client on demand: how long a connection lives that nobody uses.
    idle: Option<Duration>,
    on_state: Option<OnState>,
}

impl Client {
    /// A client on a reactor, or any other network.
    #[must_use]
    pub fn on(net: &impl AsRef<Net>) -> Self {
        Self {
            net: net.as_ref().clone(),
            options: Options::default(),
            connect_timeout: CONNECT_TIMEOUT,
            pipeline: (),
            mode: DialOnce(()),
        }
    }
}

impl<M> Client<(), M> {
    /// Names what a connection does: `factory` makes its pipeline, on the connection's worker.
    #[must_use]
    pub fn pipeline<In, Out, F>(self, factory: F) -> Client<Dial<F>, M>
    where
        In: 'static,
        Out: 'static,
        F: Fn() -> Pipeline<In, Out> + Send + Sync + 'static,
    {
        Client {
            net: self.net,
            options: self.options,
            connect_timeout: self.connect_timeout,
            pipeline: Dial(Arc::new(factory)),
            mode: self.mode,
        }
    }
}

impl Reconnect {
    fn check(&self) -> Result<(), Error> {
        self.backoff.check()?;
        let Some(idle) = self.idle else { return Ok(()) };
        let text = if idle.is_zero() {
            "on_demand closes a connection after no time at all; give at least 1 ms"
        } else if self.while_down == WhileDown::Refuse {
            "a client on demand that refuses what is sent while it is down never dials; let it queue"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Config, text))
    }
}

impl<P> Client<P> {
    /// Makes it a client that comes back: whenever there is no connection it waits as `backoff` says, and
    /// dials again, until it is closed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use netwheel::{Backoff, Client, Pipeline, WhileDown, codec::LengthField, sim::World};
    ///
    /// let world = World::new(1); // or a reactor
    /// let client = Client::on(&world)
    ///     .reconnect(Backoff::every(Duration::from_secs(1)).up_to(Duration::from_secs(30)).jitter(0.2))
    ///     .while_down(WhileDown::queue())
    ///     .on_state(|state| println!("{state}"))
    ///     .pipeline(|| Pipeline::new(LengthField::u32()).handle(|_, answer| {
    ///         println!("{answer:?}");
    ///         Ok(())
    ///     }))
    ///     .connect("10.0.0.1:7001")?;
    /// client.try_send("kept until there is a connection".into())?;
    /// # Ok::<(), netwheel::Failure>(())
    /// ```
    ///
    /// It comes back whatever the end was: refused, reset, closed by the peer or by the pipeline itself.
    /// Only [`ReconnectingHandle::close`], the drop of the last handle, the shutdown of the reactor, and
    /// [`Backoff::tries_max`] end it. Each connection gets a pipeline of its own, from the factory.
    ///
    /// A pipeline that replaces itself by [`upgrade`](crate::Context::upgrade) takes the connection away
    /// from the handle, whose messages have the type of the first: the client takes it for lost, and dials.
    /// Upgrade inside one type of messages, or dial once.
    ///
    /// Threads: none of its own. The network waits and dials on its acceptor's thread; names are looked up
    /// on the resolver's. Limit: [`TASKS_MAX`](crate::limits::TASKS_MAX) clients of a network wait.
    #[must_use]
    pub fn reconnect(self, backoff: Backoff) -> Client<P, Reconnect> {
        self.into_mode(Reconnect {
            backoff,
            while_down: WhileDown::Refuse,
            idle: None,
            on_state: None,
        })
    }

    /// Makes it a client that dials when there is something to send, closes once no message has come or
    /// gone for `idle`, and dials again for the next one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use netwheel::{Client, Pipeline, codec::LengthField, sim::World};
    ///
    /// let world = World::new(1); // or a reactor
    /// let client = Client::on(&world)
    ///     .on_demand(Duration::from_secs(60))
    ///     .pipeline(|| Pipeline::new(LengthField::u32()).handle(|_, _answer| Ok(())))
    ///     .connect("10.0.0.1:7001")?; // nobody is dialled yet
    /// client.try_send("this dials".into())?;
    /// # Ok::<(), netwheel::Failure>(())
    /// ```
    ///
    /// Messages wait until the connection is open, within the bounds of [`WhileDown::queue`] unless told
    /// otherwise. While some wait and the server is away it dials again by its [backoff](Self::backoff).
    #[must_use]
    pub fn on_demand(self, idle: Duration) -> Client<P, Reconnect> {
        self.into_mode(Reconnect {
            backoff: Backoff::default(),
            while_down: WhileDown::queue(),
            idle: Some(idle),
            on_state: None,
        })
    }

    fn into_mode<M>(self, mode: M) -> Client<P, M> {
        Client {
            net: self.net,
            options: self.options,
            connect_timeout: self.connect_timeout,
            pipeline: self.pipeline,
            mode,
        }
    }
}

/// Settings of a client that comes back.
impl<P> Client<P, Reconnect> {
    /// Tells of each state, once and in order.
    ///
    /// `tell` runs on the thread on which it happens, mostly an I/O thread, and must not block: the next
    /// dial waits until it has returned. Where it panics, it is told nothing any more, and the client goes
    /// on. It is dropped once it was told that the client is closed.
    #[must_use]
    pub fn on_state(mut self, tell: impl Fn(&ClientState) + Send + Sync + 'static) -> Self {
        self.mode.on_state = Some(Arc::new(tell));
        self
    }

    /// How long to wait before another try; by default that of [`Backoff::default`].
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.mode.backoff = backoff;
        self
    }

    /// What becomes of messages that are sent while there is no connection; they come back by default,
    /// those of a client on demand wait.
    #[must_use]
    pub fn while_down(mut self, what: WhileDown) -> Self {
        self.mode.while_down = what;
        self
    }
}

/// A client that knows what its connections do.
pub struct Dial<F>(Arc<F>);

/// Settings.
impl<P, M> Client<P, M> {
    /// How long a connect may take, and as long again the lookup of its name; 3 s by default. Of a client
    /// that comes back it holds for each try.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// Changes what holds for each connection.
    #[must_use]
    pub fn limits(mut self, limits: ConnectionLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Whether reading pauses by itself while output is above the high water mark; on by default.
    #[must_use]
    pub fn auto_pause(mut self, on: bool) -> Self {
        self.options.auto_pause = on;
        self
    }

    /// Whether the peer's FIN is an event rather than the end; off by default.
    #[must_use]
    pub fn half_open(mut self, on: bool) -> Self {
        self.options.half_open = on;
        self
    }

    /// TCP_NODELAY; on by default.
    #[must_use]
    pub fn nodelay(mut self, on: bool) -> Self {
        self.options.nodelay = on;
        self
    }

    /// TCP keepalive after so long a silence; off by default.
    #[must_use]
    pub fn keepalive(mut self, time: Duration) -> Self {
        self.options.keepalive = Some(time);
        self
    }

    /// SO_LINGER; zero makes every close a reset. Not set by default.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.options.linger = Some(time);
        self
    }
}

impl<In, Out, F> Client<Dial<F>>
where
    In: 'static,
    Out: Send + 'static,
    F: Fn() -> Pipeline<In, Out> + Send + Sync + 'static,
{
    /// Begins to connect, and returns a handle to the connection that will be.
    ///
    /// The outcome comes as the pipeline's `on_open`, or as the handle's
    /// [`closed`](ConnectionHandle::closed); [`wait_open`](ConnectionHandle::wait_open) waits for it. A name
    /// is looked up off the calling thread, and its first address is dialled; one that has none ends the
    /// handle as [`Refused`](crate::CloseReason::Refused), with a line in the log.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for limits that cannot work, [`ErrorKind::Address`] when the address is none.
    /// Where there is no name to look up also [`ErrorKind::OverLimit`] when the reactor has the most
    /// connections it may, [`ErrorKind::Closed`] when it has been shut down, and what the system refuses
    /// at once.
    pub fn connect(&self, to: impl IntoTarget) -> Result<ConnectionHandle<Out>, Error> {
        self.options.check()?;
        let target = to.into_target()?;
        let peer = Peer::new(target.address(), Address::Unix);
        let outbox = Outbox::new(peer, self.options.limits.output_room(), size_of_val);
        let first = FirstDial {
            net: self.net.clone(),
            options: self.options.clone(),
            connect_timeout: self.connect_timeout,
            make: make_by(&self.pipeline.0, None),
            outbox: Arc::clone(&outbox),
        };
        match target {
            Target::Place(place) => first.dial(&place)?,
            Target::Name { host, port } => first.look_up(host, port)?,
        }
        Ok(ConnectionHandle(outbox))
    }
}

impl<In, Out, F> Client<Dial<F>, Reconnect>
where
    In: 'static,
    Out: Send + 'static,
    F: Fn() -> Pipeline<In, Out> + Send + Sync + 'static,
{
    /// Begins to dial, and returns a handle that outlives connections.
    ///
    /// A name is looked up at each dial, off the I/O threads, and all its addresses get their turn.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for limits or a backoff that cannot work, [`ErrorKind::Address`] when the
    /// address is none. What happens to its tries is no error: [`on_state`](Self::on_state) and
    /// [`state`](ReconnectingHandle::state) tell.
    pub fn connect(&self, to: impl IntoTarget) -> Result<ReconnectingHandle<Out>, Error> {
        self.connect_any([to])
    }

    /// Begins to dial the first of several addresses, and returns a handle that outlives connections.
    ///
    /// Each try goes to the next address, also the one after a connection that was open, and to each
    /// address of a name before the next.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect); [`ErrorKind::Config`] also when there is no address.
    pub fn connect_any(
        &self,
        to: impl IntoIterator<Item = impl IntoTarget>,
    ) -> Result<ReconnectingHandle<Out>, Error> {
        self.options.check()?;
        self.mode.check()?;
        let targets: Vec<Target> = to
            .into_iter()
            .map(IntoTarget::into_target)
            .collect::<Result<_, _>>()?;
        if targets.is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                "there is no address to dial; give at least one",
            ));
        }
        let plan = Plan {
            net: self.net.clone(),
            options: self.options.clone(),
            connect_timeout: self.connect_timeout,
            backoff: self.mode.backoff.clone(),
            while_down: self.mode.while_down,
            on_demand: self.mode.idle.is_some(),
            make: make_by(&self.pipeline.0, self.mode.idle),
        };
        let redial = Redial::start(plan, targets, self.mode.on_state.clone());
        Ok(ReconnectingHandle::new(redial))
    }
}

impl<P, M> fmt::Debug for Client<P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Dial<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

impl fmt::Debug for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect")
            .field("backoff", &self.backoff)
            .field("while_down", &self.while_down)
            .finish_non_exhaustive()
    }
}
