//! What lies between the workers of a world: sockets, bytes in flight, time and chance.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::datagrams::{Datagrams, PortId};
use super::faults::{Fault, Faults};
use super::links::{Links, NodeId, address_of};
use super::listener::Listeners;
use super::pipe::Pipe;
use super::socket::{Phase, Socket, SocketId};
use super::temper::Temper;
use crate::address::{Address, Peer, Place};
use crate::clock::{Clock, Instant};
use crate::connection::Service;
use crate::error::{Error, ErrorKind};
use crate::id::Key;
use crate::net::Resolved;
use crate::options::Options;
use crate::random::{Random, mix};
use crate::schedule::Task;
use crate::transport::{Arrival, Readiness};

/// A worker's hold on a socket.
#[derive(Debug)]
pub(super) struct Stream(pub(super) SocketId);

/// Something that happens at a moment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The oldest parcel on its way to a socket arrives.
    Parcel(SocketId),
    /// A connect arrives where it was dialled.
    Syn(SocketId),
    /// The answer to a connect arrives.
    SynAck(SocketId),
    /// A name has been looked up.
    Answer(u64),
    /// A datagram arrives.
    Datagram(u64),
    /// A datagram socket has room again.
    Room(PortId),
    /// Nodes reach each other again.
    Heal(u64),
    /// A node that has crashed comes up.
    Restart(NodeId),
}

/// What follows from what has happened, once nothing is locked.
pub(super) enum Upshot {
    Nothing,
    Call(Task),
    Crash(NodeId),
    Restart(NodeId),
}

/// What leaves a trace.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trace {
    Turn,
    Pool,
    Accept,
    Connect,
    Arrive,
    Tell,
    Read,
    Write,
    Shutdown,
    Close,
    Task,
    Crash,
    Restart,
}

/// What waits for one worker.
#[derive(Default)]
pub(super) struct Desk {
    /// Sockets with news.
    listed: Vec<SocketId>,
    /// Events for sockets that have gone meanwhile.
    pub(super) stale: Vec<Readiness>,
    pub(super) arrivals: VecDeque<Arrival<Stream>>,
}

/// The network of a world, below its workers.
///
/// Whatever is left to chance is chosen here, and leaves a trace: runs with the same trace were the same.
pub(super) struct Fabric {
    pub(super) random: Random,
    pub(super) temper: Temper,
    pub(super) listeners: Listeners,
    pub(super) datagrams: Datagrams,
    pub(super) links: Links,
    clock: Clock,
    trace: u64,
    pub(super) sockets: BTreeMap<SocketId, Socket>,
    due: BinaryHeap<Reverse<(Instant, u64, Due)>>,
    /// The addresses that names have.
    pub(super) hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Names that are being looked up.
    pub(super) lookups: BTreeMap<u64, (NodeId, Task)>,
    pub(super) desks: Vec<Desk>,
    /// Numbers given out to sockets, and to what is due, so that it stays in order.
    numbers: u64,
}

/// Time and trace.
impl Fabric {
    pub(super) fn new(mut random: Random, clock: Clock, faults: &Faults) -> Self {
        Self {
            temper: Temper::draw(faults, &mut random),
            random,
            listeners: Listeners::new(),
            datagrams: Datagrams::default(),
            links: Links::new(),
            clock,
            trace: 0,
            sockets: BTreeMap::new(),
            due: BinaryHeap::new(),
            hosts: BTreeMap::new(),
            lookups: BTreeMap::new(),
            desks: Vec::new(),
            numbers: 0,
        }
    }

    /// Desks for so many workers; answers the number of the first.
    pub(super) fn add_desks(&mut self, workers: usize) -> usize {
        let first = self.desks.len();
        self.desks.resize_with(first + workers, Desk::default);
        first
    }

    /// Whether a fault happens, at a moment at which it could.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        self.temper.strikes(fault, &mut self.random)
    }

    /// Leaves a trace of what has happened, to whom, and how much.
    pub(super) fn note(&mut self, what: Trace, who: u64, count: usize) {
        let words = [what as u64, who, count as u64, self.clock.now().as_nanos()];
        for word in words {
            self.trace = mix(self.trace.rotate_left(7) ^ word);
        }
    }

    pub(super) fn note_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.trace = mix(self.trace.rotate_left(7) ^ u64::from_le_bytes(word));
        }
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace
    }

    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Lets something happen after a delay; things of one socket stay in order.
    pub(super) fn schedule(&mut self, due: Due) {
        let delay = self.delay_of(due);
        self.schedule_in(delay, due);
    }

    pub(super) fn schedule_in(&mut self, delay: Duration, due: Due) {
        let mut at = self.clock.now() + delay;
        if let Due::Parcel(id) = due
            && let Some(socket) = self.sockets.get_mut(&id)
        {
            at = at.max(socket.arrives_last);
            socket.arrives_last = at;
        }
        let number = self.number();
        self.due.push(Reverse((at, number, due)));
    }

    fn delay_of(&mut self, due: Due) -> Duration {
        let ends = self.ends(due);
        match ends.and_then(|(from, to)| self.links.delay(from, to)) {
            Some(said) => {
                let nanos =
                    |time: &Duration| usize::try_from(time.as_nanos()).unwrap_or(usize::MAX);
                let chosen = self.random.between(nanos(said.start()), nanos(said.end()));
                Duration::from_nanos(chosen as u64)
            }
            None => self.temper.delay(&mut self.random),
        }
    }

    /// From where to where something is on its way.
    pub(super) fn ends(&self, due: Due) -> Option<(NodeId, NodeId)> {
        match due {
            Due::Parcel(id) | Due::SynAck(id) => {
                let socket = self.sockets.get(&id)?;
                Some((socket.far, socket.node))
            }
            Due::Syn(id) => {
                let socket = self.sockets.get(&id)?;
                Some((socket.node, socket.far))
            }
            Due::Datagram(number) => self.ends_of_datagram(number),
            Due::Answer(_) | Due::Room(_) | Due::Heal(_) | Due::Restart(_) => None,
        }
    }

    /// When the next thing happens by itself.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// Whether something happens at this moment.
    pub(super) fn is_due(&self) -> bool {
        self.next_due().is_some_and(|at| at <= self.clock.now())
    }

    /// Lets the next thing happen, unless there is no way for it.
    pub(super) fn happen(&mut self) -> Upshot {
        let Some(Reverse((_, number, due))) = self.due.pop() else {
            return Upshot::Nothing;
        };
        self.note(Trace::Arrive, number, 0);
        let ends = self.ends(due);
        if let Some((from, to)) = ends
            && self.links.blocks(from, to)
        {
            self.obstruct(due);
            return Upshot::Nothing;
        }
        match due {
            Due::Parcel(id) => self.arrive(id),
            Due::Syn(id) => self.syn(id),
            Due::SynAck(id) => self.syn_ack(id),
            Due::Answer(id) => {
                let task = self.lookups.remove(&id);
                return task.map_or(Upshot::Nothing, |(_, task)| Upshot::Call(task));
            }
            Due::Datagram(number) => self.land(number),
            Due::Room(id) => self.has_room(id),
            Due::Heal(cut) => self.heal(cut),
            Due::Restart(node) => return Upshot::Restart(node),
        }
        ends.map_or(Upshot::Nothing, |ends| self.tempt(due, ends))
    }
}

/// Names.
impl Fabric {
    /// Looks a name up; the answer takes its time.
    pub(super) fn look_up(&mut self, node: NodeId, host: &str, port: u16, done: Resolved) {
        let found = match self.hosts.get(host).map(Vec::as_slice) {
            None | Some([]) => {
                let text = format!("no address for {host}: the world knows no such name");
                Err(Error::new(ErrorKind::Address, text))
            }
            Some(found) => Ok(found.iter().map(|&ip| (ip, port).into()).collect()),
        };
        let number = self.number();
        let answer = Box::new(move || done(found));
        self.lookups.insert(number, (node, answer));
        self.schedule(Due::Answer(number));
    }

    /// What a node has asked for and not heard of yet.
    pub(super) fn take_lookups_of(&mut self, node: NodeId) -> Vec<Task> {
        let (theirs, rest) = std::mem::take(&mut self.lookups)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, (asker, _))| *asker == node);
        self.lookups = rest.into_iter().collect();
        theirs.into_iter().map(|(_, (_, task))| task).collect()
    }
}

/// Connects.
impl Fabric {
    /// Begins a connect.
    pub(super) fn connect(
        &mut self,
        node: NodeId,
        to: &Place,
        options: &Options,
    ) -> (Stream, Peer) {
        let (addresses, far) = match to {
            Place::Inet(address) => {
                let ip = match node {
                    0 => address.ip(),
                    _ if address.ip().is_loopback() => address.ip(),
                    _ => address_of(node),
                };
                let local = SocketAddr::new(ip, self.listeners.free_port());
                let peer = Peer::new(Address::Inet(*address), Address::Inet(local));
                (peer, self.links.node_of(address.ip(), node))
            }
            Place::Unix(_) => (Peer::new(Address::Unix, Address::Unix), node),
        };
        let closes_hard = options.linger.is_some_and(|linger| linger.is_zero());
        let id = self.add((node, far), addresses, closes_hard);
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.dialled = Some(to.clone());
        }
        self.note(Trace::Connect, id, 0);
        self.schedule(Due::Syn(id));
        (Stream(id), addresses)
    }

    fn add(&mut self, ends: (NodeId, NodeId), addresses: Peer, closes_hard: bool) -> SocketId {
        let id = self.number();
        let capacity = self.temper.capacity(&mut self.random);
        let socket = Socket::new(ends, addresses, Pipe::new(capacity), closes_hard);
        self.sockets.insert(id, socket);
        id
    }

    /// A connect arrives: there is a listener with room, or it is refused.
    fn syn(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let addresses = Peer::new(socket.addresses.local, socket.addresses.address);
        let (node, far) = (socket.node, socket.far);
        let place = socket.dialled.take();
        let listener = place
            .as_ref()
            .and_then(|place| self.listeners.at(far, place));
        let Some(closes_hard) = listener.map(|listener| listener.closes_hard) else {
            socket.phase = Phase::Refused;
            socket.fail(io::ErrorKind::ConnectionRefused);
            return self.list(id);
        };
        let other = self.add((far, node), addresses, closes_hard);
        self.pair(id, other);
        let listener = place
            .as_ref()
            .and_then(|place| self.listeners.at(far, place));
        if listener.is_some_and(|listener| listener.keep(other)) {
            self.schedule(Due::SynAck(id));
        } else {
            // As Linux does: a full backlog answers nothing, and the connect times out.
            self.sockets.remove(&other);
        }
    }

    /// The answer to a connect arrives.
    fn syn_ack(&mut self, id: SocketId) {
        if self.is_ghost(id) {
            return self.haunt(id);
        }
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.phase = Phase::Connected;
        }
        self.list(id);
    }

    fn pair(&mut self, client: SocketId, server: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&client) {
            socket.other = Some(server);
        }
        if let Some(socket) = self.sockets.get_mut(&server) {
            socket.other = Some(client);
            socket.phase = Phase::Connected;
        }
    }

    /// Accepts from one of the listeners that have somebody, and hands the socket to a worker.
    pub(super) fn accept(&mut self, nth: usize, worker: usize) -> Option<Arc<Service>> {
        let (id, service) = self.listeners.accept(nth)?;
        self.note(Trace::Accept, id, worker);
        let arrival = Arrival {
            stream: Stream(id),
            peer: self.sockets.get(&id)?.addresses,
            service: Arc::clone(&service),
            connect_timeout: None,
            evicts: false,
        };
        self.hand_over(worker, arrival);
        Some(service)
    }

    pub(super) fn hand_over(&mut self, worker: usize, arrival: Arrival<Stream>) {
        self.desks[worker].arrivals.push_back(arrival);
    }

    pub(super) fn arrival(&mut self, worker: usize) -> Option<Arrival<Stream>> {
        self.desks[worker].arrivals.pop_front()
    }

    /// Resets sockets that nobody accepts any more.
    pub(super) fn turn_away(&mut self, sockets: Vec<SocketId>) {
        for id in sockets {
            self.break_off(id);
        }
    }
}

/// Readiness.
impl Fabric {
    pub(super) fn register(&mut self, stream: &Stream, worker: usize, key: Key, writable: bool) {
        if let Some(socket) = self.sockets.get_mut(&stream.0) {
            socket.register(worker, key, writable);
        }
        self.list(stream.0);
    }

    /// Puts a socket on its worker's list, if there is news of it.
    pub(super) fn list(&mut self, id: SocketId) {
        let room = self.room(id);
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        if let Some((worker, _)) = socket.home
            && !socket.listed
            && socket.has_news(room)
        {
            socket.listed = true;
            self.desks[worker].listed.push(id);
        }
    }

    /// Bytes that a socket may send. Where the other end has gone, they are thrown away there.
    pub(super) fn room(&self, id: SocketId) -> usize {
        let other = self.sockets.get(&id).and_then(|socket| socket.other);
        match other.and_then(|other| self.sockets.get(&other)) {
            Some(other) => other.incoming.room(),
            None => usize::MAX,
        }
    }

    pub(super) fn has_events(&self, worker: usize) -> bool {
        let desk = &self.desks[worker];
        !desk.listed.is_empty() || !desk.stale.is_empty() || self.has_datagram_events(worker)
    }

    /// Tells a worker its events, in any order; some come later.
    pub(super) fn tell(&mut self, worker: usize, events: &mut Vec<Readiness>) {
        let desk = &mut self.desks[worker];
        events.append(&mut desk.stale);
        let mut listed = std::mem::take(&mut desk.listed);
        if listed.len() > 1 && self.strikes(Fault::Order) {
            self.random.shuffle(&mut listed);
        }
        for id in listed {
            if self.strikes(Fault::Late) {
                self.desks[worker].listed.push(id);
                continue;
            }
            let all = self.strikes(Fault::Chatty);
            let room = self.room(id);
            let Some(socket) = self.sockets.get_mut(&id) else {
                continue;
            };
            socket.listed = false;
            events.extend(socket.tell(room, all));
        }
        if self.strikes(Fault::Spurious) {
            events.extend(self.tell_what_is_not(worker));
        }
        self.tell_datagrams(worker, events);
        self.note(Trace::Tell, worker as u64, events.len());
    }

    /// An event of some socket that says nothing.
    fn tell_what_is_not(&mut self, worker: usize) -> Option<Readiness> {
        let homes = self.sockets.values().filter_map(|socket| socket.home);
        let keys: Vec<_> = homes.filter(|home| home.0 == worker).collect();
        let (_, key) = *keys.get(self.random.below(keys.len().max(1)))?;
        Some(Readiness {
            key,
            readable: self.random.once_in(2),
            writable: self.random.once_in(2),
            read_closed: false,
            error: false,
        })
    }
}
