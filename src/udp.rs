//! UDP: sockets of datagrams, on the workers that serve connections.
//!
//! ```
//! use netwheel::{Reactor, Udp};
//!
//! # fn main() -> netwheel::Result<()> {
//! let reactor = Reactor::builder().workers(1).start()?;
//! let socket = Udp::on(&reactor)
//!     .handle(|cx, datagram| cx.send_to(datagram.bytes, datagram.peer))
//!     .bind("127.0.0.1:0")?;
//! println!("listening on {}", socket.local_address());
//! # Ok(())
//! # }
//! ```
//! # Cost
//!
//! Two system calls a datagram that is answered, `recvfrom` and `sendto`, and two more for each burst: the poll,
//! and the `recvfrom` that finds nothing left (measured with 50 peers under load: 2.02 a datagram). No allocation,
//! and no copy but the kernel's. Many datagrams in one call (`recvmmsg`, `sendmmsg`) are not used: there is no safe
//! way to the first, a reply would have to be copied and wait for its batch, and a loop in C gained 5 % by both.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::address::{IntoPlace, Place};
use crate::codec::Body;
use crate::connection::Service;
use crate::datagram::{
    At, Closure, EndpointSeed, Group, MakeHandler, Messages, Outbox, Tied, UdpOptions,
};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::DatagramLimits;
use crate::net::{Net, Opening};

pub use crate::datagram::{
    Datagram, DatagramContext, DatagramHandler, MessageContext, UdpHandle, UdpStats,
};

/// A UDP socket to be: how it behaves, and what it does with datagrams.
///
/// It lives on one worker of the reactor, or with [`reuse_port`](Self::reuse_port) on each, and shares its turns
/// with the connections there. It ends by [`close`](UdpHandle::close), in a callback, or with the reactor;
/// dropping its handle does not end it.
///
/// ```
/// use netwheel::{Reactor, Udp};
///
/// # fn main() -> netwheel::Result<()> {
/// let reactor = Reactor::builder().workers(1).start()?;
/// let server = Udp::on(&reactor)
///     .handle(|cx, datagram| cx.send_to(datagram.bytes, datagram.peer))
///     .bind("127.0.0.1:0")?;
///
/// let (tx, rx) = std::sync::mpsc::channel();
/// let client = Udp::on(&reactor)
///     .handle(move |_, datagram| Ok(tx.send(datagram.bytes.to_vec())?))
///     .connect(server.local_address())?;
/// client.try_send("hello")?;
/// assert_eq!(rx.recv()?, b"hello");
/// # Ok(())
/// # }
/// ```
pub struct Udp<H = NoHandler> {
    net: Net,
    options: UdpOptions,
    handler: H,
}

/// A socket that does not know yet what it does.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NoHandler;

/// A socket that knows what it does.
pub struct HasHandler(Box<dyn Fn() -> MakeHandler + Send>);

/// A socket whose datagrams are messages.
pub struct HasCodec<F>(Arc<F>);

impl Udp {
    /// A socket on a reactor, or on the one of a server ([`RunningServer::net`](crate::RunningServer::net)).
    #[must_use]
    pub fn on(net: &impl AsRef<Net>) -> Self {
        Self {
            net: net.as_ref().clone(),
            options: UdpOptions::default(),
            handler: NoHandler,
        }
    }

    /// Names what is done with each datagram: a closure, cloned for each worker with
    /// [`reuse_port`](Self::reuse_port).
    ///
    /// A failure costs the datagram, not the socket; a panic ends the socket. Runs on the worker, and must not
    /// block.
    #[must_use]
    pub fn handle(
        self,
        handle: impl FnMut(&mut DatagramContext<'_>, Datagram<'_>) -> Result<()>
        + Clone
        + Send
        + 'static,
    ) -> Udp<HasHandler> {
        self.with(move || {
            let handle = handle.clone();
            Box::new(move || Box::new(Closure(handle)))
        })
    }

    /// Names the type that handles datagrams and what else happens: `make` makes it on its worker, once a socket.
    ///
    /// It need not be `Send`, since it never leaves the worker. A panic in `make` ends the socket.
    #[must_use]
    pub fn handler<H: DatagramHandler>(
        self,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Udp<HasHandler> {
        let make = Arc::new(make);
        self.with(move || {
            let make = Arc::clone(&make);
            Box::new(move || Box::new(make()))
        })
    }

    /// Makes each datagram one message of a [`Body`], such as JSON; `make` makes the body, once a socket.
    ///
    /// A datagram that cannot be read, or was cut off, is dropped, counted and logged, once a second at most:
    /// anybody can send one.
    ///
    /// ```
    /// use netwheel::{Reactor, Udp, codec::Utf8};
    ///
    /// # fn main() -> netwheel::Result<()> {
    /// let reactor = Reactor::builder().workers(1).start()?;
    /// let socket = Udp::on(&reactor)
    ///     .codec(Utf8::new)
    ///     .handle(|cx, text, peer| cx.send_to(text.to_uppercase(), peer))
    ///     .bind("127.0.0.1:0")?;
    /// # let _ = socket;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn codec<B, F>(self, make: F) -> Udp<HasCodec<F>>
    where
        B: Body,
        F: Fn() -> B + Send + Sync + 'static,
    {
        Udp {
            net: self.net,
            options: self.options,
            handler: HasCodec(Arc::new(make)),
        }
    }

    fn with(self, make: impl Fn() -> MakeHandler + Send + 'static) -> Udp<HasHandler> {
        Udp {
            net: self.net,
            options: self.options,
            handler: HasHandler(Box::new(make)),
        }
    }
}

impl<B, F> Udp<HasCodec<F>>
where
    B: Body,
    F: Fn() -> B + Send + Sync + 'static,
{
    /// Names what is done with each message: a closure, cloned for each worker with
    /// [`reuse_port`](Self::reuse_port).
    ///
    /// As [`Udp::handle`] on datagrams.
    #[must_use]
    pub fn handle(
        self,
        handle: impl FnMut(&mut MessageContext<'_, '_, B>, B::In, SocketAddr) -> Result<()>
        + Clone
        + Send
        + 'static,
    ) -> Udp<HasHandler> {
        let make = self.handler.0;
        Udp {
            net: self.net,
            options: self.options,
            handler: HasHandler(Box::new(move || {
                let (make, handle) = (Arc::clone(&make), handle.clone());
                Box::new(move || Box::new(Messages::new(make(), handle)))
            })),
        }
    }
}

/// Settings.
impl<H> Udp<H> {
    /// Changes what holds for each socket: the longest datagram, budgets, queues.
    #[must_use]
    pub fn limits(mut self, limits: DatagramLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Lets it send to broadcast addresses (SO_BROADCAST); off by default.
    #[must_use]
    pub fn broadcast(mut self, on: bool) -> Self {
        self.options.broadcast = on;
        self
    }

    /// One socket a worker on a shared port (SO_REUSEPORT), each with a handler of its own: the kernel spreads
    /// by the hash of both addresses, so that one peer always meets the same handler. Off by default.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.options.share_port = on;
        self
    }

    /// Lets others bind the same port (SO_REUSEADDR), so that several programs hear one multicast group; a
    /// datagram for one of them reaches only the last. Off by default.
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.options.share_address = on;
        self
    }

    /// Whether an IPv6 socket hears IPv6 only (IPV6_V6ONLY); the system's default unless set.
    #[must_use]
    pub fn ipv6_only(mut self, on: bool) -> Self {
        self.options.ipv6_only = Some(on);
        self
    }

    /// The kernel's send buffer, in bytes; the system's default unless set.
    #[must_use]
    pub fn send_buffer_bytes(mut self, bytes: usize) -> Self {
        self.options.send_buffer_bytes = Some(bytes);
        self
    }

    /// The kernel's receive buffer, in bytes: what comes in a burst while the worker is busy, and finds no room
    /// there, is lost. The system's default unless set; the system may give less (`net.core.rmem_max`).
    #[must_use]
    pub fn receive_buffer_bytes(mut self, bytes: usize) -> Self {
        self.options.receive_buffer_bytes = Some(bytes);
        self
    }

    /// Joins an IPv4 group on the interface with this address; unspecified means the system's choice. May be
    /// called several times.
    #[must_use]
    pub fn join_v4(mut self, group: Ipv4Addr, interface: Ipv4Addr) -> Self {
        self.options.groups.push(Group::V4(group, interface));
        self
    }

    /// Joins an IPv6 group on the interface of this index; 0 means the system's choice. May be called several
    /// times.
    #[must_use]
    pub fn join_v6(mut self, group: Ipv6Addr, interface: u32) -> Self {
        self.options.groups.push(Group::V6(group, interface));
        self
    }

    /// How many routers multicasts may pass; the system's default, 1, stays on the local network.
    #[must_use]
    pub fn multicast_ttl(mut self, hops: u32) -> Self {
        self.options.multicast_ttl = Some(hops);
        self
    }

    /// Whether members on this machine hear what it sends; the system's default is that they do.
    #[must_use]
    pub fn multicast_loop(mut self, on: bool) -> Self {
        self.options.multicast_loop = Some(on);
        self
    }

    /// The interface, by its address, that IPv4 multicasts leave by; the system's choice unless set.
    #[must_use]
    pub fn multicast_interface_v4(mut self, interface: Ipv4Addr) -> Self {
        self.options.multicast_v4_interface = Some(interface);
        self
    }

    /// The interface, by its index, that IPv6 multicasts leave by; the system's choice unless set.
    #[must_use]
    pub fn multicast_interface_v6(mut self, interface: u32) -> Self {
        self.options.multicast_v6_interface = Some(interface);
        self
    }
}

impl Udp<HasHandler> {
    /// Binds an address and begins to serve; port 0 means any free one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for settings that cannot work;
    /// [`ErrorKind::Address`] when the address is taken or none of this machine's; [`ErrorKind::Closed`] when
    /// the reactor has been shut down; [`ErrorKind::Io`] when the system refuses for another reason.
    pub fn bind(&self, at: impl IntoPlace) -> Result<UdpHandle, Error> {
        self.open(At::Bound(inet(at)?))
    }

    /// Binds any free port, hears this peer only, and sends to it without naming it.
    ///
    /// Nothing is sent by that: whether somebody listens there shows when a datagram was sent
    /// ([`on_error`](DatagramHandler::on_error)).
    ///
    /// # Errors
    ///
    /// As for [`bind`](Self::bind).
    pub fn connect(&self, to: impl IntoPlace) -> Result<UdpHandle, Error> {
        self.open(At::Connected(inet(to)?))
    }

    fn open(&self, at: At) -> Result<UdpHandle, Error> {
        self.options.check(at)?;
        let peer = match at {
            At::Bound(_) => None,
            At::Connected(peer) => Some(peer),
        };
        let limits = &self.options.limits;
        let mut outboxes = Vec::new();
        let mut seed = |local| {
            let outbox = Outbox::new(limits);
            outboxes.push(Arc::clone(&outbox));
            EndpointSeed {
                make: (self.handler.0)(),
                limits: limits.clone(),
                local,
                peer,
                outbox: Tied::new(outbox),
            }
        };
        let local = self.net.network().open_datagrams(Opening {
            at,
            options: &self.options,
            service: &Service::without_connections(),
            seed: &mut seed,
        })?;
        Ok(UdpHandle::new(local, peer, outboxes))
    }
}

fn inet(place: impl IntoPlace) -> Result<SocketAddr, Error> {
    match place.into_place()? {
        Place::Inet(address) => Ok(address),
        place @ Place::Unix(_) => {
            let text = format!("{place} is no internet address; write 127.0.0.1:7001");
            Err(Error::new(ErrorKind::Address, text))
        }
    }
}

impl<H> fmt::Debug for Udp<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Udp")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HasHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HasHandler")
    }
}

impl<F> fmt::Debug for HasCodec<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HasCodec")
    }
}
