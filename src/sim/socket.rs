//! One end of a connection in memory, and what its worker has been told of it.

use std::io;

use super::links::NodeId;
use super::pipe::Pipe;
use crate::address::{Peer, Place};
use crate::clock::Instant;
use crate::id::Key;
use crate::transport::Readiness;

/// Names a socket of one world; never used twice.
pub(super) type SocketId = u64;

/// How far a connect has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Refused,
    Connected,
}

/// What a worker hears of a socket, each once until it has answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Edges {
    read: bool,
    write: bool,
    error: bool,
}

/// One end of a connection.
///
/// Readiness is edge-triggered, and stricter than epoll's: what was told is told again only after a call
/// has come up short or answered `WouldBlock`, however many bytes arrive meanwhile. So whoever stops early
/// and counts on one more event waits for ever here, and a test shows it.
#[derive(Debug)]
pub(super) struct Socket {
    /// The node it is on.
    pub(super) node: NodeId,
    /// The node that the other end is on.
    pub(super) far: NodeId,
    /// Its node has crashed: nobody has it any more, which its other end does not know yet.
    pub(super) ghost: bool,
    /// The other end, from the start or once there is one; it may have gone.
    pub(super) other: Option<SocketId>,
    pub(super) addresses: Peer,
    pub(super) incoming: Pipe,
    pub(super) phase: Phase,
    /// Where a connect goes, until it arrives there.
    pub(super) dialled: Option<Place>,
    /// When the last parcel on its way to here arrives: none overtakes another.
    pub(super) arrives_last: Instant,
    /// The worker, and its name for the socket, once it is registered.
    pub(super) home: Option<(usize, Key)>,
    /// Whether it stands in its worker's list of sockets with news.
    pub(super) listed: bool,
    pub(super) fin_sent: bool,
    /// A close sends a reset: SO_LINGER of zero.
    pub(super) closes_hard: bool,
    reset: bool,
    error: Option<io::ErrorKind>,
    wants_writable: bool,
    armed: Edges,
}

impl Socket {
    pub(super) fn new(
        (node, far): (NodeId, NodeId),
        addresses: Peer,
        incoming: Pipe,
        closes_hard: bool,
    ) -> Self {
        Self {
            node,
            far,
            ghost: false,
            other: None,
            addresses,
            incoming,
            phase: Phase::Connecting,
            dialled: None,
            arrives_last: Instant::START,
            home: None,
            listed: false,
            fin_sent: false,
            closes_hard,
            reset: false,
            error: None,
            wants_writable: false,
            armed: Edges::default(),
        }
    }

    /// Its worker wants to hear of it, and anew of what it may have heard before.
    pub(super) fn register(&mut self, worker: usize, key: Key, writable: bool) {
        self.home = Some((worker, key));
        self.wants_writable |= writable;
        self.armed = Edges {
            read: true,
            write: true,
            error: true,
        };
    }

    /// A read came up short: the worker wants to hear of more.
    pub(super) fn arm_read(&mut self) {
        self.armed.read = true;
    }

    /// A write came up short: the worker wants to hear of room.
    pub(super) fn arm_write(&mut self) {
        self.armed.write = true;
    }

    pub(super) fn fail(&mut self, error: io::ErrorKind) {
        self.reset = true;
        self.error = Some(error);
    }

    pub(super) fn is_reset(&self) -> bool {
        self.reset
    }

    /// What it has failed with, told once.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take().map(io::Error::from)
    }

    /// Whether a read would answer something other than `WouldBlock`.
    pub(super) fn is_readable(&self) -> bool {
        self.incoming.unread() > 0 || self.incoming.fin || self.reset
    }

    /// What it is ready for, given the room of its other end.
    fn level(&self, room: usize) -> Edges {
        if self.phase == Phase::Connecting {
            return Edges::default();
        }
        Edges {
            read: self.is_readable(),
            write: self.wants_writable && (room > 0 || self.reset),
            error: self.error.is_some(),
        }
    }

    /// What there is to tell.
    fn news(&self, room: usize) -> Edges {
        let level = self.level(room);
        Edges {
            read: level.read && self.armed.read,
            write: level.write && self.armed.write,
            error: level.error && self.armed.error,
        }
    }

    pub(super) fn has_news(&self, room: usize) -> bool {
        self.home.is_some() && self.news(room) != Edges::default()
    }

    /// Tells the news, or all that is so; `None` when there are none.
    pub(super) fn tell(&mut self, room: usize, all: bool) -> Option<Readiness> {
        let (_, key) = self.home?;
        let news = self.news(room);
        if news == Edges::default() {
            return None;
        }
        let told = if all { self.level(room) } else { news };
        self.armed.read &= !told.read;
        self.armed.write &= !told.write;
        self.armed.error &= !told.error;
        Some(Readiness {
            key,
            readable: told.read,
            writable: told.write,
            read_closed: told.read && (self.incoming.fin || self.reset),
            error: told.error,
        })
    }
}
