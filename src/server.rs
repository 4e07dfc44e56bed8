//! Servers: the builder most readers begin with.

#[cfg(unix)]
mod handed_over;
mod running;
mod stopper;

pub use running::RunningServer;
pub use stopper::Stopper;

use std::fmt;
use std::time::Duration;

use crate::address::{IntoPlace, Peer};
use crate::connection::{Factory, Service};
use crate::error::{Error, ErrorKind};
use crate::limits::ConnectionLimits;
use crate::net::{Listening, Net};
use crate::options::{AcceptRate, Options, Overflow};
use crate::pipeline::AnyPipeline;
use crate::reactor::{self, Reactor, ReactorBuilder};

/// A server to be: what its connections do, and where it listens.
///
/// ```no_run
/// use netwheel::{Pipeline, Server};
///
/// fn main() -> netwheel::Result<()> {
///     Server::new()
///         .pipeline(|_peer| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
///         .listen("127.0.0.1:7000")?
///         .run()?; // until it is told to stop
///     Ok(())
/// }
/// ```
///
/// Nothing starts before [`start`](Server::start) or [`run`](Server::run): no thread, no logger, no
/// signal handler. Ports are bound by [`listen`](Server::listen). A server has a reactor of its own
/// unless it is put [`on`](Server::on) one.
pub struct Server<P = NoPipeline> {
    home: Home,
    options: Options,
    listening: Vec<Box<dyn Listening>>,
    stop: Stopper,
    pipeline: P,
}

/// A server that does not know yet what its connections do.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NoPipeline;

/// A server that knows what its connections do.
pub struct HasPipeline(Factory);

enum Home {
    Own(ReactorBuilder),
    On(Net),
}

impl Server {
    /// A server with a reactor of its own, which starts and ends with it.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Home::Own(Reactor::builder()))
    }

    /// A server on a reactor, or any other network, that is there already, and goes on without it.
    #[must_use]
    pub fn on(net: &impl AsRef<Net>) -> Self {
        Self::at(Home::On(net.as_ref().clone()))
    }

    fn at(home: Home) -> Self {
        Self {
            home,
            options: Options::default(),
            listening: Vec::new(),
            stop: Stopper::new(),
            pipeline: NoPipeline,
        }
    }

    /// Names what each new connection does: `factory` makes its pipeline, on the connection's worker.
    ///
    /// State that connections share is cloned in its first line, one clone per connection. A factory
    /// that chooses between protocols returns [`AnyPipeline`]; it must not block. A panic in it
    /// closes the new connection.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use netwheel::{Pipeline, Server};
    ///
    /// let total = Arc::new(AtomicU64::new(0));
    /// let server = Server::new().pipeline(move |peer| {
    ///     let (total, address) = (Arc::clone(&total), peer.address);
    ///     Pipeline::raw().handle(move |cx, bytes| {
    ///         total.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    ///         cx.write(format!("{} bytes from {address}\n", bytes.len()).into())
    ///     })
    /// });
    /// # let _ = server;
    /// ```
    #[must_use]
    pub fn pipeline<P: Into<AnyPipeline>>(
        self,
        factory: impl Fn(&Peer) -> P + Send + Sync + 'static,
    ) -> Server<HasPipeline> {
        let factory: Factory = Box::new(move |peer| factory(peer).into());
        Server {
            home: self.home,
            options: self.options,
            listening: self.listening,
            stop: self.stop,
            pipeline: HasPipeline(factory),
        }
    }
}

impl<P> Server<P> {
    /// What ends [`run`](Server::run) or [`wait`](RunningServer::wait), from any thread or callback.
    ///
    /// ```
    /// use netwheel::{Pipeline, Server};
    ///
    /// # fn main() -> Result<(), netwheel::Error> {
    /// let server = Server::new();
    /// let stopper = server.stopper();
    /// let server = server
    ///     .workers(1)
    ///     .pipeline(move |_peer| {
    ///         let stopper = stopper.clone();
    ///         Pipeline::raw().handle(move |cx, bytes| {
    ///             if bytes.starts_with(b"quit") {
    ///                 stopper.stop(); // answers what is on its way, and then `run` returns
    ///             }
    ///             cx.write(bytes)
    ///         })
    ///     })
    ///     .listen("127.0.0.1:0")?;
    /// # server.stopper().stop();
    /// server.run()
    /// # }
    /// ```
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }
}

/// Settings; those of sockets hold for what is listened on afterwards, so set them first.
impl<P> Server<P> {
    /// I/O threads of the server's own reactor; zero, the default, means one a core. Changes nothing
    /// for a server on a reactor that is there already.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        if let Home::Own(builder) = self.home {
            self.home = Home::Own(builder.workers(count));
        }
        self
    }

    /// The server's own reactor, to be configured in full. Changes nothing for a server on a reactor
    /// that is there already.
    #[must_use]
    pub fn reactor(mut self, builder: ReactorBuilder) -> Self {
        if let Home::Own(_) = self.home {
            self.home = Home::Own(builder);
        }
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

    /// Whether a peer's FIN is told as [`Event::ReadClosed`](crate::Event::ReadClosed) and the
    /// connection stays open; off by default: it answers what it has read, and closes.
    #[must_use]
    pub fn half_open(mut self, on: bool) -> Self {
        self.options.half_open = on;
        self
    }

    /// TCP_NODELAY; on by default, because the loop gathers small messages itself.
    #[must_use]
    pub fn nodelay(mut self, on: bool) -> Self {
        self.options.nodelay = on;
        self
    }

    /// TCP keepalive after so long a silence; off by default (an application's heartbeat says more).
    #[must_use]
    pub fn keepalive(mut self, time: Duration) -> Self {
        self.options.keepalive = Some(time);
        self
    }

    /// The kernel's send buffer, in bytes; the system's default unless set.
    #[must_use]
    pub fn send_buffer_bytes(mut self, bytes: usize) -> Self {
        self.options.send_buffer_bytes = Some(bytes);
        self
    }

    /// The kernel's receive buffer, in bytes; the system's default unless set.
    #[must_use]
    pub fn receive_buffer_bytes(mut self, bytes: usize) -> Self {
        self.options.receive_buffer_bytes = Some(bytes);
        self
    }

    /// SO_LINGER; zero makes every close a reset. Not set by default.
    ///
    /// Longer times are of no use here: unsent output is flushed before a socket is closed in any case,
    /// and on Linux a close that lingers blocks the worker.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.options.linger = Some(time);
        self
    }

    /// TCP_USER_TIMEOUT (Linux): how long sent bytes may stay unacknowledged. Not set by default.
    #[must_use]
    pub fn user_timeout(mut self, time: Duration) -> Self {
        self.options.user_timeout = Some(time);
        self
    }

    /// Connections that the kernel keeps until they are accepted; 1,024 by default.
    #[must_use]
    pub fn backlog(mut self, connections: i32) -> Self {
        self.options.backlog = connections;
        self
    }

    /// Connections of this server at a time, over all its listeners; the reactor's bound
    /// ([`ReactorBuilder::connections_max`]) unless set. What becomes of more, [`overflow`](Self::overflow) says.
    ///
    /// Threads that let in at the same moment may each pass it by one.
    ///
    /// ```
    /// use netwheel::{Overflow, Pipeline, Server};
    ///
    /// let server = Server::new()
    ///     .connections_max(10_000)
    ///     .connections_per_address_max(100)
    ///     .accept_rate(2_000, 500)
    ///     .overflow(Overflow::EvictIdle)
    ///     .pipeline(|_peer| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    /// # let _ = server;
    /// ```
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.options.connections_max = Some(count);
        self
    }

    /// Connections of one IP address at a time; not bounded unless set. More are reset as they are accepted,
    /// before a pipeline is made, and counted as [`refused`](crate::Stats::refused).
    ///
    /// IPv4 mapped into IPv6 is IPv4; Unix sockets have no address and pass. Many users may share an address
    /// (NAT). Cost: a lock and a look into a hash map at each start and end of a connection; nothing a message.
    #[must_use]
    pub fn connections_per_address_max(mut self, count: usize) -> Self {
        self.options.connections_per_address_max = Some(count);
        self
    }

    /// What becomes of a connection for which there is no room, in the server or in its reactor;
    /// [`Overflow::Refuse`] unless set.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.options.overflow = overflow;
        self
    }

    /// Accepts so many connections a second, over all listeners, and `burst` of them at once after a quiet time;
    /// as fast as they come unless set. Those beyond wait in the backlog.
    ///
    /// Spreads the work of a whole crowd that comes back after an outage. Who waits is looked for once a millisecond, so
    /// a burst below a thousandth of the rate makes it slower.
    #[must_use]
    pub fn accept_rate(mut self, per_second: u32, burst: u32) -> Self {
        self.options.accept_rate = Some(AcceptRate { per_second, burst });
        self
    }

    /// Lets every worker accept by itself on a shared port (SO_REUSEPORT), without the acceptor's hop.
    ///
    /// For many short connections on many cores; the kernel spreads by hash, so few connections spread
    /// unevenly. Off by default.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.options.share_port = on;
        self
    }
}

impl Server<HasPipeline> {
    /// Binds an address, at once; may be called several times, for one server on several addresses.
    ///
    /// Peers that connect before [`start`](Self::start) wait in the backlog. The socket file of a
    /// process that died is replaced.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for limits that cannot work,
    /// [`ErrorKind::Address`] when the address is taken or none of this machine's, [`ErrorKind::Io`]
    /// when the system refuses for another reason, such as a port that needs privileges.
    pub fn listen(mut self, at: impl IntoPlace) -> Result<Self, Error> {
        self.options.check()?;
        let place = at.into_place()?;
        let listening = match &self.home {
            Home::Own(_) => reactor::bind(&place, &self.options)?,
            Home::On(net) => net.network().bind(&place, &self.options)?,
        };
        self.listening.push(listening);
        Ok(self)
    }

    /// Starts serving, and returns.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when it listens nowhere or a limit cannot work, [`ErrorKind::Closed`] on a
    /// reactor that has been shut down; otherwise what the system refused.
    pub fn start(self) -> Result<RunningServer, Error> {
        if self.listening.is_empty() {
            let text = "the server listens nowhere; call listen(\"127.0.0.1:7000\") first";
            return Err(Error::new(ErrorKind::Config, text));
        }
        self.options.check()?;
        let (net, reactor) = match self.home {
            Home::On(net) => (net, None),
            Home::Own(builder) => {
                let reactor = builder.start()?;
                (reactor.net().clone(), Some(reactor))
            }
        };
        let places = self
            .listening
            .iter()
            .map(|listening| listening.place().clone())
            .collect();
        let service = Service::new(self.pipeline.0, self.options);
        net.network().serve(self.listening, &service)?;
        Ok(RunningServer {
            net,
            reactor,
            service,
            places,
            stop: self.stop,
        })
    }

    /// Starts serving, and returns once a [`Stopper`] has said so and the server has shut down, within
    /// [`SHUTDOWN_TIMEOUT`](crate::limits::SHUTDOWN_TIMEOUT). Without a stopper it serves for as long as the process
    /// lives.
    ///
    /// For small programs. One that asks the running server anything, or wants its report, calls
    /// [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    ///
    /// # Panics
    ///
    /// On an I/O thread of the crate, which it would block.
    pub fn run(self) -> Result<(), Error> {
        self.start()?.wait();
        Ok(())
    }
}

impl<P> fmt::Debug for Server<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self
            .listening
            .iter()
            .map(|listening| listening.place().to_string());
        f.debug_struct("Server")
            .field("listening", &places.collect::<Vec<_>>())
            .finish()
    }
}

impl fmt::Debug for HasPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HasPipeline")
    }
}
