//! Datagrams in a world: they get lost, come twice, overtake each other, and find sockets full.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::fabric::{Due, Fabric, Trace};
use super::faults::Fault;
use super::links::{NodeId, address_of};
use super::listener::check_address;
use crate::datagram::{At, Group, UdpOptions, Wire};
use crate::error::Error;
use crate::id::Key;
use crate::random::mix;
use crate::sync::lock;
use crate::transport::{EndpointArrival, Readiness};

/// The longest that UDP carries over IPv4.
const BYTES_MAX: usize = 65_507;
/// Datagrams that a socket keeps unread; more are lost, as in a kernel.
const UNREAD_MAX: usize = 64;

/// Names a datagram socket of one world; never used twice.
pub(super) type PortId = u64;

/// A worker's hold on a datagram socket.
pub(super) struct MemoryDatagrams {
    id: PortId,
    fabric: Arc<Mutex<Fabric>>,
}

/// The datagram sockets of a world, and what is on its way to them.
#[derive(Default)]
pub(super) struct Datagrams {
    ports: BTreeMap<PortId, Port>,
    flights: BTreeMap<u64, Flight>,
    pub(super) arrivals: Vec<(usize, EndpointArrival<MemoryDatagrams>)>,
}

struct Port {
    node: NodeId,
    local: SocketAddr,
    peer: Option<SocketAddr>,
    shared: bool,
    broadcasts: bool,
    groups: Vec<Group>,
    home: Option<(usize, Key)>,
    unread: VecDeque<(Vec<u8>, SocketAddr)>,
    /// Nobody listens where it sent to.
    refused: bool,
    /// Takes nothing for a while.
    full: bool,
    watches_writable: bool,
    /// What the worker is to be told.
    readable: bool,
    writable: bool,
}

#[derive(Clone)]
struct Flight {
    from: PortId,
    /// The node that it comes from.
    node: NodeId,
    source: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Port {
    /// Whether a datagram to this address, from there, is for this socket.
    fn hears(&self, node: NodeId, to: SocketAddr, source: SocketAddr) -> bool {
        let is_member = self.groups.iter().any(|group| match group {
            Group::V4(group, _) => to.ip() == IpAddr::V4(*group),
            Group::V6(group, _) => to.ip() == IpAddr::V6(*group),
        });
        let is_here =
            self.node == node && (self.local.ip().is_unspecified() || self.local.ip() == to.ip());
        self.local.port() == to.port()
            && (is_member || is_here || is_to_all(to))
            && (!to.ip().is_multicast() || is_member)
            && self.peer.is_none_or(|peer| peer == source)
    }

    /// Where what it sends comes from.
    fn source(&self, to: SocketAddr) -> SocketAddr {
        match self.local {
            local if self.node > 0 && local.ip().is_unspecified() && !to.ip().is_loopback() => {
                (address_of(self.node), local.port()).into()
            }
            SocketAddr::V4(local) if local.ip().is_unspecified() => {
                (Ipv4Addr::LOCALHOST, local.port()).into()
            }
            SocketAddr::V6(local) if local.ip().is_unspecified() => {
                (Ipv6Addr::LOCALHOST, local.port()).into()
            }
            local => local,
        }
    }

    fn has_news(&self) -> bool {
        self.readable || (self.writable && self.watches_writable)
    }
}

fn is_to_all(to: SocketAddr) -> bool {
    to.ip() == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Sockets, from bind to close.
impl Fabric {
    pub(super) fn bind_datagrams(
        &mut self,
        node: NodeId,
        at: At,
        options: &UdpOptions,
    ) -> Result<(PortId, SocketAddr), Error> {
        let (mut local, peer) = match at {
            At::Bound(local) => (local, None),
            At::Connected(peer) => {
                let far = node > 0 && !peer.ip().is_loopback();
                let ip = if far { address_of(node) } else { peer.ip() };
                (SocketAddr::new(ip, 0), Some(peer))
            }
        };
        check_address(node, local)?;
        if local.port() == 0 {
            local.set_port(self.listeners.free_port());
        }
        let same = |port: &Port| port.node == node && port.local == local;
        let taken = |port: &Port| same(port) && !(port.shared && options.share_port);
        if self.datagrams.ports.values().any(taken) {
            let error = io::ErrorKind::AddrInUse.into();
            return Err(Error::io(format!("cannot bind udp {local}"), error));
        }
        let id = self.number();
        let port = Port {
            node,
            local,
            peer,
            shared: options.share_port,
            broadcasts: options.broadcast,
            groups: options.groups.clone(),
            home: None,
            unread: VecDeque::new(),
            refused: false,
            full: false,
            watches_writable: false,
            readable: false,
            writable: false,
        };
        self.datagrams.ports.insert(id, port);
        Ok((id, local))
    }

    pub(super) fn hand_over_endpoint(
        &mut self,
        worker: usize,
        arrival: EndpointArrival<MemoryDatagrams>,
    ) {
        self.datagrams.arrivals.push((worker, arrival));
    }

    pub(super) fn endpoint_arrival(
        &mut self,
        worker: usize,
    ) -> Option<EndpointArrival<MemoryDatagrams>> {
        let arrivals = &mut self.datagrams.arrivals;
        let index = arrivals.iter().position(|(home, _)| *home == worker)?;
        Some(arrivals.remove(index).1)
    }

    pub(super) fn register_endpoint(&mut self, wire: &MemoryDatagrams, worker: usize, key: Key) {
        if let Some(port) = self.datagrams.ports.get_mut(&wire.id) {
            port.home = Some((worker, key));
            port.readable |= !port.unread.is_empty();
        }
    }

    pub(super) fn watch_endpoint(&mut self, wire: &MemoryDatagrams, writable: bool) {
        if let Some(port) = self.datagrams.ports.get_mut(&wire.id) {
            port.watches_writable = writable;
            port.writable = !port.full;
        }
    }

    pub(super) fn close_endpoint(&mut self, wire: &MemoryDatagrams) {
        self.note(Trace::Close, wire.id, 0);
        self.datagrams.ports.remove(&wire.id);
    }

    pub(super) fn has_datagram_events(&self, worker: usize) -> bool {
        let mut ports = self.datagrams.ports.values();
        ports.any(|port| port.has_news() && port.home.is_some_and(|home| home.0 == worker))
    }

    /// Tells a worker of its datagram sockets.
    pub(super) fn tell_datagrams(&mut self, worker: usize, events: &mut Vec<Readiness>) {
        for port in self.datagrams.ports.values_mut() {
            let Some((home, key)) = port.home else {
                continue;
            };
            if home != worker || !port.has_news() {
                continue;
            }
            events.push(Readiness {
                key,
                readable: std::mem::take(&mut port.readable),
                writable: port.watches_writable && std::mem::take(&mut port.writable),
                read_closed: false,
                error: port.refused,
            });
        }
    }
}

/// Datagrams.
impl Fabric {
    fn send_datagram(
        &mut self,
        id: PortId,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> io::Result<()> {
        let port = self.datagrams.ports.get_mut(&id).ok_or_else(gone)?;
        if std::mem::take(&mut port.refused) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let to = to.or(port.peer).ok_or_else(gone)?;
        if bytes.len() > BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if is_to_all(to) && !port.broadcasts {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if port.full {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.temper.strikes(Fault::FullSocket, &mut self.random) {
            (port.full, port.writable) = (true, false);
            self.schedule(Due::Room(id));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let flight = Flight {
            from: id,
            node: port.node,
            source: port.source(to),
            to,
            bytes: bytes.to_vec(),
        };
        self.note(Trace::Write, id, bytes.len());
        self.note_bytes(bytes);
        if self.strikes(Fault::Duplicate) {
            self.fly(flight.clone());
        }
        if !self.strikes(Fault::Loss) {
            self.fly(flight);
        }
        Ok(())
    }

    fn fly(&mut self, flight: Flight) {
        let number = self.number();
        self.datagrams.flights.insert(number, flight);
        self.schedule(Due::Datagram(number));
    }

    /// From where to where a datagram is on its way.
    pub(super) fn ends_of_datagram(&self, number: u64) -> Option<(NodeId, NodeId)> {
        let flight = self.datagrams.flights.get(&number)?;
        Some((flight.node, self.links.node_of(flight.to.ip(), flight.node)))
    }

    /// A datagram is lost on its way.
    pub(super) fn lose_datagram(&mut self, number: u64) {
        self.datagrams.flights.remove(&number);
    }

    /// The sockets of a node are gone.
    pub(super) fn forget_datagrams_of(&mut self, node: NodeId) {
        self.datagrams.ports.retain(|_, port| port.node != node);
    }

    /// Sockets on their way to these workers.
    pub(super) fn take_endpoints_of(
        &mut self,
        desks: &Range<usize>,
    ) -> Vec<EndpointArrival<MemoryDatagrams>> {
        let arrivals = &mut self.datagrams.arrivals;
        let taken = arrivals.extract_if(.., |(desk, _)| desks.contains(desk));
        taken.map(|(_, arrival)| arrival).collect()
    }

    /// A socket has room again.
    pub(super) fn has_room(&mut self, id: PortId) {
        if let Some(port) = self.datagrams.ports.get_mut(&id) {
            (port.full, port.writable) = (false, true);
        }
    }

    /// A datagram arrives: at whoever hears it, or, of a connected sender, as word that nobody does.
    pub(super) fn land(&mut self, number: u64) {
        let Some(flight) = self.datagrams.flights.remove(&number) else {
            return;
        };
        let (to, source) = (flight.to, flight.source);
        let node = self.links.node_of(to.ip(), flight.node);
        let ports = &mut self.datagrams.ports;
        let mut heard: Vec<_> = ports
            .iter()
            .filter(|(_, port)| port.hears(node, to, source))
            .map(|(id, _)| *id)
            .collect();
        if heard.is_empty() {
            if let Some(port) = ports.get_mut(&flight.from)
                && port.peer.is_some()
            {
                (port.refused, port.readable) = (true, true);
            }
            return;
        }
        if !to.ip().is_multicast() && !is_to_all(to) {
            // As a kernel spreads a shared port: by the hash of both ends.
            let hash = mix(u64::from(source.port()) << 16 | u64::from(to.port()));
            heard = vec![heard[(hash % heard.len() as u64) as usize]];
        }
        for id in heard {
            if let Some(port) = ports.get_mut(&id)
                && port.unread.len() < UNREAD_MAX
            {
                port.unread.push_back((flight.bytes.clone(), source));
                port.readable = true;
            }
        }
    }

    fn receive_datagram(&mut self, id: PortId, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let would_block = self.strikes(Fault::WouldBlock);
        let port = self.datagrams.ports.get_mut(&id).ok_or_else(gone)?;
        if std::mem::take(&mut port.refused) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if would_block {
            // An event tells of what is there anew.
            port.readable |= !port.unread.is_empty();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let next = port.unread.pop_front();
        let (bytes, source) = next.ok_or(io::ErrorKind::WouldBlock)?;
        let len = bytes.len().min(into.len());
        into[..len].copy_from_slice(&bytes[..len]);
        self.note(Trace::Read, id, len);
        Ok((len, source))
    }
}

impl MemoryDatagrams {
    pub(super) const fn new(id: PortId, fabric: Arc<Mutex<Fabric>>) -> Self {
        Self { id, fabric }
    }
}

impl Wire for MemoryDatagrams {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        lock(&self.fabric).receive_datagram(self.id, into)
    }

    fn send(&mut self, bytes: &[u8], to: Option<SocketAddr>) -> io::Result<()> {
        lock(&self.fabric).send_datagram(self.id, bytes, to)
    }

    fn join(&mut self, group: &Group) -> io::Result<()> {
        let mut fabric = lock(&self.fabric);
        let port = fabric.datagrams.ports.get_mut(&self.id).ok_or_else(gone)?;
        port.groups.push(*group);
        Ok(())
    }

    fn leave(&mut self, group: &Group) -> io::Result<()> {
        let mut fabric = lock(&self.fabric);
        let port = fabric.datagrams.ports.get_mut(&self.id).ok_or_else(gone)?;
        port.groups.retain(|joined| joined != group);
        Ok(())
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
