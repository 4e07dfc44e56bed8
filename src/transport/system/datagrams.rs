//! Datagram sockets, and their options.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::datagram::{At, Group, UdpOptions, Wire};
use crate::error::Error;

/// A datagram socket that is bound and not yet served.
#[derive(Debug)]
pub(crate) struct BoundDatagrams {
    socket: Socket,
    local: SocketAddr,
}

impl BoundDatagrams {
    /// Sets the options, binds, joins groups, and connects where that is asked for.
    pub(crate) fn new(at: At, options: &UdpOptions) -> Result<Self, Error> {
        open(at, options).map_err(|error| {
            let doing = match at {
                At::Bound(address) => format!("cannot bind udp {address}"),
                At::Connected(address) => format!("cannot connect udp {address}"),
            };
            Error::io(doing, error)
        })
    }

    /// Where it is bound, with the real port.
    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn datagrams(self) -> Datagrams {
        Datagrams(mio::net::UdpSocket::from_std(self.socket.into()))
    }
}

fn open(at: At, options: &UdpOptions) -> io::Result<BoundDatagrams> {
    let address = at.address();
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    apply(&socket, options)?;
    apply_multicast(&socket, options, address)?;
    match at {
        At::Bound(address) => socket.bind(&address.into())?,
        At::Connected(peer) => {
            socket.bind(&any(peer).into())?;
            socket.connect(&peer.into())?;
        }
    }
    for group in &options.groups {
        join(&socket, group)?;
    }
    let local = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(BoundDatagrams { socket, local })
}

/// Any address and port of a family.
const fn any(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(_) => SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

fn apply(socket: &Socket, options: &UdpOptions) -> io::Result<()> {
    if options.share_port {
        super::socket::set_share_port(socket)?;
    }
    if options.share_address {
        socket.set_reuse_address(true)?;
    }
    if options.broadcast {
        socket.set_broadcast(true)?;
    }
    if let Some(only) = options.ipv6_only {
        socket.set_only_v6(only)?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}

fn apply_multicast(socket: &Socket, options: &UdpOptions, address: SocketAddr) -> io::Result<()> {
    if let Some(interface) = options.multicast_v4_interface {
        socket.set_multicast_if_v4(&interface)?;
    }
    if let Some(interface) = options.multicast_v6_interface {
        socket.set_multicast_if_v6(interface)?;
    }
    let is_v4 = address.is_ipv4();
    if let Some(ttl) = options.multicast_ttl {
        match is_v4 {
            true => socket.set_multicast_ttl_v4(ttl)?,
            false => socket.set_multicast_hops_v6(ttl)?,
        }
    }
    if let Some(on) = options.multicast_loop {
        match is_v4 {
            true => socket.set_multicast_loop_v4(on)?,
            false => socket.set_multicast_loop_v6(on)?,
        }
    }
    Ok(())
}

fn join(socket: &Socket, group: &Group) -> io::Result<()> {
    match group {
        Group::V4(group, interface) => socket.join_multicast_v4(group, interface),
        Group::V6(group, interface) => socket.join_multicast_v6(group, *interface),
    }
}

/// A datagram socket at work.
#[derive(Debug)]
pub(crate) struct Datagrams(mio::net::UdpSocket);

impl Datagrams {
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.0, token, Interest::READABLE)
    }

    pub(crate) fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        writable: bool,
    ) -> io::Result<()> {
        let interest = match writable {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        registry.reregister(&mut self.0, token, interest)
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) {
        let _ = registry.deregister(&mut self.0);
    }
}

/// By mio's own calls, which arm the socket anew where readiness is emulated.
impl Wire for Datagrams {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(into)
    }

    fn send(&mut self, bytes: &[u8], to: Option<SocketAddr>) -> io::Result<()> {
        match to {
            Some(to) => self.0.send_to(bytes, to)?,
            None => self.0.send(bytes)?,
        };
        Ok(())
    }

    fn join(&mut self, group: &Group) -> io::Result<()> {
        match group {
            Group::V4(group, interface) => self.0.join_multicast_v4(group, interface),
            Group::V6(group, interface) => self.0.join_multicast_v6(group, *interface),
        }
    }

    fn leave(&mut self, group: &Group) -> io::Result<()> {
        match group {
            Group::V4(group, interface) => self.0.leave_multicast_v4(group, interface),
            Group::V6(group, interface) => self.0.leave_multicast_v6(group, *interface),
        }
    }
}
