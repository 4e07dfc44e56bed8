//! The places of a world that are bound, and who waits there to be accepted.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::links::{NodeId, address_of};
use super::socket::SocketId;
use crate::address::Place;
use crate::connection::Service;
use crate::error::{Error, ErrorKind};
use crate::options::Options;

/// The first port that is given out where none was asked for (RFC 6335: the dynamic ports).
const PORT_FIRST: u16 = 49_152;

/// Names a listener of one world; never used twice.
pub(super) type ListenerId = u64;

/// A place that is bound.
#[derive(Debug)]
pub(super) struct Listener {
    id: ListenerId,
    node: NodeId,
    place: Place,
    shared: bool,
    /// Accepted sockets close with a reset: SO_LINGER of zero.
    pub(super) closes_hard: bool,
    backlog: VecDeque<SocketId>,
    backlog_max: usize,
    /// For whom is accepted, once somebody does.
    service: Option<Arc<Service>>,
}

impl Listener {
    /// Keeps a socket until it is accepted; `false` when there are too many.
    pub(super) fn keep(&mut self, socket: SocketId) -> bool {
        let has_room = self.backlog.len() < self.backlog_max;
        if has_room {
            self.backlog.push_back(socket);
        }
        has_room
    }

    fn has_somebody(&self) -> bool {
        self.service.is_some() && !self.backlog.is_empty()
    }

    fn is_ended(&self) -> bool {
        let service = self.service.as_ref();
        service.is_some_and(|service| service.is_ending())
    }

    fn answers_to(&self, node: NodeId, place: &Place) -> bool {
        if self.node != node {
            return false;
        }
        match (&self.place, place) {
            (Place::Inet(bound), Place::Inet(dialled)) => {
                bound.port() == dialled.port()
                    && (bound.ip().is_unspecified() || bound.ip() == dialled.ip())
            }
            (bound, dialled) => bound == dialled,
        }
    }
}

/// All places that are bound, in the order in which they were.
#[derive(Debug)]
pub(super) struct Listeners {
    bound: Vec<Listener>,
    ports: u16,
    ids: ListenerId,
}

impl Listeners {
    pub(super) fn new() -> Self {
        Self {
            bound: Vec::new(),
            ports: PORT_FIRST,
            ids: 0,
        }
    }

    /// A port that nobody listens on.
    pub(super) fn free_port(&mut self) -> u16 {
        loop {
            let port = self.ports;
            self.ports = port.checked_add(1).unwrap_or(PORT_FIRST);
            let taken = |listener: &Listener| {
                let address = listener.place.inet();
                address.is_some_and(|address| address.port() == port)
            };
            if !self.bound.iter().any(taken) {
                return port;
            }
        }
    }

    /// Binds a place on a node; port 0 becomes a free one.
    pub(super) fn bind(
        &mut self,
        node: NodeId,
        at: &Place,
        options: &Options,
    ) -> Result<(ListenerId, Place), Error> {
        if let Place::Inet(address) = at {
            check_address(node, *address)?;
        }
        let place = match at {
            Place::Inet(address) if address.port() == 0 => {
                Place::Inet(SocketAddr::new(address.ip(), self.free_port()))
            }
            _ => at.clone(),
        };
        let taken = self.bound.iter().any(|other| {
            let overlaps = other.answers_to(node, &place) || {
                let wildcard = matches!(place, Place::Inet(at) if at.ip().is_unspecified());
                let ports = other.place.inet().zip(place.inet());
                wildcard
                    && other.node == node
                    && ports.is_some_and(|(one, two)| one.port() == two.port())
            };
            overlaps && !(other.shared && options.share_port)
        });
        if taken {
            let error = io::Error::from(io::ErrorKind::AddrInUse);
            return Err(Error::io(format!("cannot listen on {place}"), error));
        }
        self.ids += 1;
        self.bound.push(Listener {
            id: self.ids,
            node,
            place: place.clone(),
            shared: options.share_port,
            closes_hard: options.linger.is_some_and(|linger| linger.is_zero()),
            backlog: VecDeque::new(),
            backlog_max: usize::try_from(options.backlog).unwrap_or(0),
            service: None,
        });
        Ok((self.ids, place))
    }

    /// From now on what is connected to the place is accepted for `service`.
    pub(super) fn serve(&mut self, id: ListenerId, service: &Arc<Service>) {
        if let Some(listener) = self.bound.iter_mut().find(|listener| listener.id == id) {
            listener.service = Some(Arc::clone(service));
        }
    }

    /// Frees a place, unless it is served; answers with who waited there.
    pub(super) fn unbind_unserved(&mut self, id: ListenerId) -> Vec<SocketId> {
        self.unbind(|listener| listener.id == id && listener.service.is_none())
    }

    /// Frees the places of services that are ending; answers with who waited there.
    pub(super) fn unbind_ended(&mut self) -> Vec<SocketId> {
        self.unbind(Listener::is_ended)
    }

    /// Takes away what is bound on a node.
    pub(super) fn take_node(&mut self, node: NodeId) -> Vec<Listener> {
        self.bound
            .extract_if(.., |listener| listener.node == node)
            .collect()
    }

    /// Takes away all that is bound.
    pub(super) fn take_all(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.bound)
    }

    fn unbind(&mut self, which: impl Fn(&Listener) -> bool) -> Vec<SocketId> {
        let mut waited = Vec::new();
        self.bound.retain_mut(|listener| {
            let unbinds = which(listener);
            if unbinds {
                waited.extend(listener.backlog.drain(..));
            }
            !unbinds
        });
        waited
    }

    /// Who listens there. Of several on a shared port, the one with the fewest to accept: the kernel
    /// spreads by a hash, and any choice will do.
    pub(super) fn at(&mut self, node: NodeId, place: &Place) -> Option<&mut Listener> {
        self.bound
            .iter_mut()
            .filter(|listener| listener.answers_to(node, place))
            .min_by_key(|listener| listener.backlog.len())
    }

    /// How many listeners have somebody to accept.
    pub(super) fn busy(&self) -> usize {
        let busy = self.bound.iter().filter(|listener| listener.has_somebody());
        busy.count()
    }

    /// On which node the nth [`busy`](Self::busy) listener is.
    pub(super) fn node_of_busy(&self, nth: usize) -> Option<NodeId> {
        let mut busy = self.bound.iter().filter(|listener| listener.has_somebody());
        busy.nth(nth).map(|listener| listener.node)
    }

    /// Accepts from one of the [`busy`](Self::busy) listeners.
    pub(super) fn accept(&mut self, nth: usize) -> Option<(SocketId, Arc<Service>)> {
        let mut busy = self
            .bound
            .iter_mut()
            .filter(|listener| listener.has_somebody());
        let listener = busy.nth(nth)?;
        let socket = listener.backlog.pop_front()?;
        Some((socket, Arc::clone(listener.service.as_ref()?)))
    }
}

/// A node has the address of its own, and the loopback's.
pub(super) fn check_address(node: NodeId, address: SocketAddr) -> Result<(), Error> {
    let ip = address.ip();
    if node == 0 || ip.is_unspecified() || ip.is_loopback() || ip == address_of(node) {
        return Ok(());
    }
    let text = format!(
        "cannot listen on {address}: the node has {}; bind that, or 0.0.0.0",
        address_of(node)
    );
    Err(Error::new(ErrorKind::Address, text))
}
