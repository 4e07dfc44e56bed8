//! What a callback of a datagram socket may do.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::handle::UdpHandle;
use super::options::check_group;
use super::state::{Sent, State};
use super::wire::{Group, Wire};
use crate::clock::Instant;
use crate::error::{CloseReason, Error, ErrorKind, Failure, Result, TrySendError};
use crate::pipeline::{Due, OWNER_HANDLER, TimerKey, Turn};

/// A datagram socket, in the hands of one of its callbacks.
///
/// Threads: the socket's worker. Cost: sending is one system call, from where the bytes lie.
/// Limit: a full socket lets so much wait as
/// [`queue_datagrams_max`](crate::limits::DatagramLimits::queue_datagrams_max) and
/// [`queue_bytes_max`](crate::limits::DatagramLimits::queue_bytes_max) say.
pub struct DatagramContext<'a> {
    pub(super) wire: &'a mut dyn Wire,
    pub(super) state: &'a mut State,
    pub(super) turn: &'a mut Turn,
}

/// Sending. What was taken leaves at once, or, from a full socket, in order once there is room.
impl DatagramContext<'_> {
    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// `over_limit` when the socket is full and too much waits already; else what the system says of this
    /// datagram, such as that it is too long. Passed on by `?` it costs the datagram in hand, not the socket.
    pub fn send_to(&mut self, bytes: impl AsRef<[u8]>, to: SocketAddr) -> Result<()> {
        let to = self.route(to)?;
        self.send_by(bytes.as_ref(), to)
    }

    /// Sends a datagram to the peer of a [connected](crate::Udp::connect) socket.
    ///
    /// # Errors
    ///
    /// As for [`send_to`](Self::send_to); on a socket without a peer, that it has none.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        if self.state.peer.is_none() {
            return Err(misuse("the socket has no peer; use send_to, or connect it").into());
        }
        self.send_by(bytes.as_ref(), None)
    }

    /// Sends a datagram, or gives it back when the socket is full and too much waits already.
    ///
    /// [`on_writable`](super::DatagramHandler::on_writable) tells of room. What the system refuses is told to
    /// [`on_error`](super::DatagramHandler::on_error), behind this callback.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`], with the datagram.
    ///
    /// # Panics
    ///
    /// On a connected socket, when `to` is not its peer.
    pub fn try_send_to<B: AsRef<[u8]>>(
        &mut self,
        bytes: B,
        to: SocketAddr,
    ) -> std::result::Result<(), TrySendError<B>> {
        let route = match self.route(to) {
            Ok(route) => route,
            Err(error) => panic!("{error}"),
        };
        match self.state.send(self.wire, self.turn, bytes.as_ref(), route) {
            Sent::Taken => Ok(()),
            Sent::Full => Err(TrySendError::Full(bytes)),
            Sent::Failed(error) => {
                self.state.untold = Some((error, Some(to)));
                Ok(())
            }
        }
    }

    /// Datagrams that wait for the socket to have room.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.state.queue.len()
    }

    fn send_by(&mut self, bytes: &[u8], to: Option<SocketAddr>) -> Result<()> {
        match self.state.send(self.wire, self.turn, bytes, to) {
            Sent::Taken => Ok(()),
            Sent::Full => Err(Failure::with(
                CloseReason::OverLimit,
                "the socket is full and so is its queue",
            )),
            Sent::Failed(error) => Err(error.into()),
        }
    }

    /// The address to name to the system: none on a connected socket, which knows it.
    fn route(&self, to: SocketAddr) -> Result<Option<SocketAddr>, Error> {
        match self.state.peer {
            None => Ok(Some(to)),
            Some(peer) if peer == to => Ok(None),
            Some(peer) => Err(misuse(format!(
                "the socket is connected to {peer} and cannot send to {to}; bind one that is not connected"
            ))),
        }
    }
}

/// Time.
impl DatagramContext<'_> {
    /// Arms a timer, or moves it; [`on_timer`](super::DatagramHandler::on_timer) is told, never early.
    pub fn timer(&mut self, after: Duration, key: TimerKey) {
        let at = self.turn.clock.now() + after;
        self.state.timers.arm(at, OWNER_HANDLER, Due::Tell(key));
    }

    /// Takes a timer back.
    pub fn cancel_timer(&mut self, key: TimerKey) {
        self.state.timers.cancel(OWNER_HANDLER, Due::Tell(key));
    }

    /// When this turn began.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.turn.now
    }
}

/// The socket.
impl DatagramContext<'_> {
    /// Where it is bound, with the real port.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.state.local
    }

    /// The peer of a connected socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.state.peer
    }

    /// A handle to this socket, for other threads: to answer later, from a pool or a database's thread. With a
    /// shared port it is this worker's socket alone. Cost: an allocation; clone one that is kept.
    #[must_use]
    pub fn handle(&self) -> UdpHandle {
        let outbox = Arc::clone(&self.state.outbox.outbox);
        UdpHandle::new(self.state.local, self.state.peer, vec![outbox])
    }

    /// Ends the socket once what waits has left. It hears nothing more.
    pub fn close(&mut self) {
        self.state.end(self.turn, CloseReason::Local);
    }

    /// Joins an IPv4 group on the interface with this address; unspecified means the system's choice.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for an address that is no group or of the other family, else what the system says.
    pub fn join_v4(&mut self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<(), Error> {
        self.join(Group::V4(group, interface))
    }

    /// Leaves an IPv4 group.
    ///
    /// # Errors
    ///
    /// As for [`join_v4`](Self::join_v4).
    pub fn leave_v4(&mut self, group: Ipv4Addr, interface: Ipv4Addr) -> Result<(), Error> {
        self.leave(Group::V4(group, interface))
    }

    /// Joins an IPv6 group on the interface of this index; 0 means the system's choice.
    ///
    /// # Errors
    ///
    /// As for [`join_v4`](Self::join_v4).
    pub fn join_v6(&mut self, group: Ipv6Addr, interface: u32) -> Result<(), Error> {
        self.join(Group::V6(group, interface))
    }

    /// Leaves an IPv6 group.
    ///
    /// # Errors
    ///
    /// As for [`join_v4`](Self::join_v4).
    pub fn leave_v6(&mut self, group: Ipv6Addr, interface: u32) -> Result<(), Error> {
        self.leave(Group::V6(group, interface))
    }

    fn join(&mut self, group: Group) -> Result<(), Error> {
        check_group(&group, self.state.local)?;
        let joined = self.wire.join(&group);
        joined.map_err(|error| Error::io(format!("cannot join {group}"), error))
    }

    fn leave(&mut self, group: Group) -> Result<(), Error> {
        check_group(&group, self.state.local)?;
        let left = self.wire.leave(&group);
        left.map_err(|error| Error::io(format!("cannot leave {group}"), error))
    }
}

fn misuse(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misuse, text)
}

impl fmt::Debug for DatagramContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramContext")
            .field("local", &self.state.local)
            .field("peer", &self.state.peer)
            .finish_non_exhaustive()
    }
}
