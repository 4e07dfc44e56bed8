//! What goes wrong between nodes: broken connections, partitions, crashes, and what is left of the dead.

use super::datagrams::MemoryDatagrams;
use super::fabric::{Due, Fabric, Stream, Trace, Upshot};
use super::faults::{Fault, Faults};
use super::links::NodeId;
use super::listener::Listener;
use super::pipe::Parcel;
use super::socket::{Phase, Socket, SocketId};
use super::temper::Temper;
use crate::schedule::Task;
use crate::transport::{Arrival, EndpointArrival};

/// What the fabric held for a node that has crashed; kept, since to drop it would tell the program.
#[derive(Default)]
pub(super) struct Remains {
    _arrivals: Vec<Arrival<Stream>>,
    _endpoints: Vec<EndpointArrival<MemoryDatagrams>>,
    _lookups: Vec<Task>,
    _listeners: Vec<Listener>,
}

/// Faults that come with what arrives.
impl Fabric {
    /// Something has arrived: here things may go wrong.
    pub(super) fn tempt(&mut self, due: Due, (from, to): (NodeId, NodeId)) -> Upshot {
        if let Due::Parcel(id) = due
            && let Some(other) = self.live_pair(id)
        {
            if self.strikes(Fault::Reset) {
                self.reset_by_network(id);
                self.reset_by_network(other);
            } else if self.strikes(Fault::HalfClose) {
                self.end_by_network(id, other);
            }
        }
        if from == to {
            return Upshot::Nothing;
        }
        if self.strikes(Fault::Partition) {
            self.part_for_a_while(vec![(from, to), (to, from)]);
        }
        if self.strikes(Fault::OneWay) {
            self.part_for_a_while(vec![(from, to)]);
        }
        self.crash_one_of([from, to])
    }

    /// The other end of a socket, where both are connected and nobody has ended anything.
    fn live_pair(&self, id: SocketId) -> Option<SocketId> {
        let other_id = self.sockets.get(&id)?.other?;
        let both = [self.sockets.get(&id)?, self.sockets.get(&other_id)?];
        let live = both.iter().all(|socket| {
            socket.phase == Phase::Connected
                && !(socket.ghost || socket.is_reset() || socket.fin_sent)
        });
        live.then_some(other_id)
    }

    fn reset_by_network(&mut self, id: SocketId) {
        let loses = self.random.once_in(2);
        if let Some(socket) = self.sockets.get_mut(&id) {
            if loses {
                socket.incoming.lose_in_flight();
            }
            socket.incoming.send(Parcel::Reset);
            self.schedule(Due::Parcel(id));
        }
    }

    /// What `other` sends to `id` ends here, as behind a proxy; what it writes from now on fails.
    fn end_by_network(&mut self, id: SocketId, other: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&other) {
            socket.fin_sent = true;
            socket.arm_write();
        }
        self.list(other);
        self.send(other, Parcel::Fin);
        self.note(Trace::Shutdown, id, 1);
    }

    fn part_for_a_while(&mut self, pairs: Vec<(NodeId, NodeId)>) {
        let cut = self.links.cut(pairs);
        let time = Temper::apart(&mut self.random);
        self.schedule_in(time, Due::Heal(cut));
    }

    /// Only a node that comes up again is made to crash.
    fn crash_one_of(&mut self, nodes: [NodeId; 2]) -> Upshot {
        let mut nodes = nodes.into_iter();
        let Some(node) = nodes.find(|&node| self.links.may_crash(node)) else {
            return Upshot::Nothing;
        };
        if !self.strikes(Fault::Crash) {
            return Upshot::Nothing;
        }
        let time = Temper::down(&mut self.random);
        self.schedule_in(time, Due::Restart(node));
        Upshot::Crash(node)
    }

    /// From now on these faults happen, and no others.
    pub(super) fn set_faults(&mut self, faults: &Faults) {
        self.temper.set_faults(faults, &mut self.random);
    }
}

/// Ways that are blocked.
impl Fabric {
    /// There is no way: what belongs to a connection waits, a datagram is lost.
    pub(super) fn obstruct(&mut self, due: Due) {
        match due {
            Due::Datagram(number) => self.lose_datagram(number),
            _ => self.links.hold(due),
        }
    }

    pub(super) fn heal(&mut self, cut: u64) {
        self.links.heal(cut);
        self.send_held();
    }

    pub(super) fn heal_all(&mut self) {
        self.links.heal_all();
        self.send_held();
    }

    /// Sends what has waited for a way, unless there is still none.
    fn send_held(&mut self) {
        for due in self.links.release() {
            match self.ends(due) {
                Some((from, to)) if self.links.blocks(from, to) => self.links.hold(due),
                Some(_) => self.schedule(due),
                None => {}
            }
        }
    }
}

/// Crashes, and sockets that nobody has any more.
impl Fabric {
    /// Everything of a node is gone; its peers hear nothing of it.
    pub(super) fn crash(&mut self, node: NodeId, desks: std::ops::Range<usize>) -> Remains {
        self.note(Trace::Crash, node as u64, 0);
        self.links.set_down(node, true);
        let mine = self
            .sockets
            .iter()
            .filter(|(_, socket)| socket.node == node);
        let mine: Vec<_> = mine.map(|(id, _)| *id).collect();
        for id in mine {
            self.abandon(id);
        }
        self.forget_datagrams_of(node);
        Remains {
            _lookups: self.take_lookups_of(node),
            _endpoints: self.take_endpoints_of(&desks),
            _arrivals: desks
                .flat_map(|desk| std::mem::take(&mut self.desks[desk]).arrivals)
                .collect(),
            _listeners: self.listeners.take_node(node),
        }
    }

    pub(super) fn restart(&mut self, node: NodeId) {
        self.note(Trace::Restart, node as u64, 0);
        self.links.set_down(node, false);
        self.send_held();
    }

    /// A socket whose node has crashed. While its other end is there it stays, as the bytes on their way to it
    /// that nobody acknowledges.
    fn abandon(&mut self, id: SocketId) {
        let loses = self.random.once_in(2);
        let other = self.sockets.get(&id).and_then(|socket| socket.other);
        let lives = |other: &Socket| !other.ghost && other.node != other.far;
        let other = other.filter(|other| self.sockets.get(other).is_some_and(lives));
        let Some(other) = other else {
            self.sockets.remove(&id);
            return;
        };
        if loses && let Some(other) = self.sockets.get_mut(&other) {
            // What its kernel had not sent yet.
            other.incoming.lose_in_flight();
        }
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.ghost = true;
            socket.home = None;
            socket.incoming.lose_unread();
        }
    }

    pub(super) fn is_ghost(&self, id: SocketId) -> bool {
        self.sockets.get(&id).is_some_and(|socket| socket.ghost)
    }

    /// Something arrives for a socket that its node, up again, knows nothing of: it answers with a reset.
    pub(super) fn haunt(&mut self, id: SocketId) {
        if self.sockets.contains_key(&id) {
            self.send(id, Parcel::Reset);
            self.sockets.remove(&id);
        }
    }
}
