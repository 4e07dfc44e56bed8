//! A datagram socket, as seen from any thread.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::counters::UdpStats;
use super::outbox::Outbox;
use crate::error::{CloseReason, Error, ErrorKind, TrySendError};
use crate::thread_role;

/// A UDP socket, as seen from any thread. A clone is the same socket; dropping it closes nothing.
///
/// Threads: any. Cost: a lock a datagram, and for the first of a burst a wake-up of the worker.
/// Limit: [`queue_datagrams_max`](crate::limits::DatagramLimits::queue_datagrams_max) and
/// [`queue_bytes_max`](crate::limits::DatagramLimits::queue_bytes_max) on their way to the worker.
#[derive(Clone)]
pub struct UdpHandle(Arc<Shared>);

struct Shared {
    local: SocketAddr,
    peer: Option<SocketAddr>,
    /// One a socket: several where the port is shared.
    outboxes: Vec<Arc<Outbox>>,
}

impl UdpHandle {
    /// A handle to one or, where the port is shared, several sockets.
    pub(crate) fn new(
        local: SocketAddr,
        peer: Option<SocketAddr>,
        outboxes: Vec<Arc<Outbox>>,
    ) -> Self {
        Self(Arc::new(Shared {
            local,
            peer,
            outboxes,
        }))
    }

    /// Where it is bound, with the real port.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.0.local
    }

    /// The peer of a connected socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// Gives the worker a datagram to send.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] when too much is on its way, [`TrySendError::Closed`] when the socket has ended or
    /// is about to; the datagram comes back.
    ///
    /// # Panics
    ///
    /// On a connected socket, which sends to its peer only: see [`try_send`](Self::try_send).
    pub fn try_send_to(
        &self,
        bytes: impl Into<Bytes>,
        to: SocketAddr,
    ) -> Result<(), TrySendError<Bytes>> {
        if let Some(peer) = self.0.peer {
            panic!(
                "the socket is connected to {peer}; call try_send, or bind one that is not connected"
            );
        }
        self.0.outboxes[0].accept(bytes.into(), Some(to))
    }

    /// Gives the worker a datagram for the peer of a connected socket.
    ///
    /// # Errors
    ///
    /// As for [`try_send_to`](Self::try_send_to).
    ///
    /// # Panics
    ///
    /// On a socket that is not connected.
    pub fn try_send(&self, bytes: impl Into<Bytes>) -> Result<(), TrySendError<Bytes>> {
        assert!(
            self.0.peer.is_some(),
            "the socket has no peer; call try_send_to, or connect it"
        );
        self.0.outboxes[0].accept(bytes.into(), None)
    }

    /// Ends the socket once what was accepted has left, which may take
    /// [`LINGER_TIMEOUT`](crate::limits::LINGER_TIMEOUT) where it is full. Returns at once.
    pub fn close(&self) {
        for outbox in &self.0.outboxes {
            outbox.close();
        }
    }

    /// Why the socket has ended, once it has; the first reason, where there are several sockets.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        let ends = self.0.outboxes.iter().map(|outbox| outbox.closed());
        // All of them, or it is still open.
        ends.collect::<Option<Vec<_>>>()?.first().copied()
    }

    /// Waits until the socket has ended and its port is free.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when `timeout` passed first.
    ///
    /// # Panics
    ///
    /// On an I/O thread of the crate, which would wait for itself.
    pub fn wait_closed(&self, timeout: Duration) -> Result<CloseReason, Error> {
        thread_role::assert_may_wait("wait for the end of a socket");
        let mut ended = None;
        for outbox in &self.0.outboxes {
            let reason = outbox.wait_closed(timeout).ok_or_else(|| {
                Error::new(ErrorKind::Timeout, "the socket did not close in time")
            })?;
            ended.get_or_insert(reason);
        }
        Ok(ended.unwrap_or(CloseReason::Local))
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> UdpStats {
        let mut stats = UdpStats::default();
        for outbox in &self.0.outboxes {
            stats.add(&outbox.counters);
        }
        stats
    }
}

impl fmt::Debug for UdpHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpHandle")
            .field("local", &self.0.local)
            .field("peer", &self.0.peer)
            .finish_non_exhaustive()
    }
}
