//! Clients: connections that this side dials.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::address::{Address, IntoPlace, Peer, Place};
use crate::connection::Service;
use crate::error::{CloseReason, Error};
use crate::handle::{ConnectionHandle, Outbox};
use crate::limits::{CONNECT_TIMEOUT, ConnectionLimits};
use crate::net::Net;
use crate::options::Options;
use crate::pipeline::Pipeline;

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
pub struct Client<P = ()> {
    net: Net,
    options: Options,
    connect_timeout: Duration,
    pipeline: P,
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
        }
    }

    /// Names what a connection does: `factory` makes its pipeline, on the connection's worker.
    #[must_use]
    pub fn pipeline<In, Out, F>(self, factory: F) -> Client<Dial<F>>
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
        }
    }
}

/// A client that knows what its connections do.
pub struct Dial<F>(Arc<F>);

/// Settings.
impl<P> Client<P> {
    /// How long a connect may take; 3 s by default.
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
    /// [`closed`](ConnectionHandle::closed); [`wait_open`](ConnectionHandle::wait_open) waits for it.
    ///
    /// # Errors
    ///
    /// When the address is none, or the system refuses at once.
    pub fn connect(&self, to: impl IntoPlace) -> Result<ConnectionHandle<Out>, Error> {
        let place = to.into_place()?;
        let address = match &place {
            Place::Inet(address) => Address::Inet(*address),
            Place::Unix(_) => Address::Unix,
        };
        let peer = Peer::new(address, Address::Unix);
        let outbox = Outbox::new(peer, self.options.limits.output_room(), size_of_val);
        let service = Service::new(self.factory(&outbox), self.options.clone());
        if let Err(error) = self
            .net
            .network()
            .connect(&place, &service, self.connect_timeout)
        {
            outbox.shut_down(CloseReason::Refused);
            return Err(error);
        }
        Ok(ConnectionHandle(outbox))
    }

    /// The factory of one connection: ties its pipeline to the handle that is given out.
    fn factory(&self, outbox: &Arc<Outbox<Out>>) -> crate::connection::Factory {
        let (make, outbox) = (Arc::clone(&self.pipeline.0), Abandoned(Arc::clone(outbox)));
        Box::new(move |_peer| make().adopt(Arc::clone(&outbox.0)))
    }
}

/// Ends the handle of a connect whose socket was dropped before a worker made a connection of it.
struct Abandoned<Out>(Arc<Outbox<Out>>);

impl<Out> Drop for Abandoned<Out> {
    fn drop(&mut self) {
        self.0.shut_down(CloseReason::Shutdown);
    }
}

impl<P> fmt::Debug for Client<P> {
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
