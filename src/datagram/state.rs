//! What is known of one datagram socket, besides its handler.

use std::io;
use std::net::SocketAddr;

use log::warn;

use super::outbox::{Outbox, Tied};
use super::queue::Queue;
use super::wire::Wire;
use crate::error::{CloseReason, Failure};
use crate::limits::{DatagramLimits, LINGER_TIMEOUT};
use crate::pipeline::{Due, OWNER_LIBRARY, Timers, Turn};
use crate::repeated::Repeated;

/// The part of an endpoint that its callbacks reach.
#[derive(Debug)]
pub(super) struct State {
    pub(super) local: SocketAddr,
    /// Of a connected socket.
    pub(super) peer: Option<SocketAddr>,
    pub(super) limits: DatagramLimits,
    pub(super) queue: Queue,
    pub(super) timers: Timers,
    pub(super) outbox: Tied,
    /// Whether the outbox may hold something.
    pub(super) outbox_waits: bool,
    /// Whether the socket takes nothing until an event says so.
    pub(super) blocked: bool,
    /// Whether the handler is to hear of room.
    pub(super) tells_writable: bool,
    /// Why the socket closes once everything has left.
    pub(super) ends: Option<CloseReason>,
    /// Why it closes at once.
    pub(super) broken: Option<CloseReason>,
    /// The latest error that the handler has not heard of.
    pub(super) untold: Option<(io::Error, Option<SocketAddr>)>,
    log: Repeated,
}

/// What became of a datagram that was to leave.
pub(super) enum Sent {
    /// It has left, or waits for room.
    Taken,
    /// It would have to wait, and too many do.
    Full,
    Failed(io::Error),
}

impl State {
    pub(super) fn new(
        local: SocketAddr,
        peer: Option<SocketAddr>,
        limits: DatagramLimits,
        outbox: Tied,
    ) -> Self {
        Self {
            local,
            peer,
            limits,
            queue: Queue::default(),
            timers: Timers::default(),
            outbox,
            outbox_waits: true,
            blocked: false,
            tells_writable: false,
            ends: None,
            broken: None,
            untold: None,
            log: Repeated::default(),
        }
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox.outbox
    }

    /// Sends at once, where nothing waits before it; else lets it wait, where there is room.
    pub(super) fn send(
        &mut self,
        wire: &mut dyn Wire,
        turn: &Turn,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> Sent {
        if !self.blocked && self.queue.is_empty() {
            match self.transmit(wire, turn, bytes, to) {
                Ok(()) => return Sent::Taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) => {
                    self.count_error(turn, &error, to);
                    return Sent::Failed(error);
                }
            }
        }
        self.tells_writable = true;
        if self.queue.admits(bytes.len(), &self.limits) {
            self.queue.push(bytes, to);
            Sent::Taken
        } else {
            self.outbox().counters.refused.add(1);
            Sent::Full
        }
    }

    /// Gives a datagram to the system, and counts it.
    fn transmit(
        &mut self,
        wire: &mut dyn Wire,
        turn: &Turn,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> io::Result<()> {
        match send_past_signals(wire, bytes, to) {
            Err(error) if is_of_earlier(&error) => {
                // Told instead of sending: it is an earlier datagram that did not arrive. This one may.
                self.note_error(turn, error, self.peer);
                send_past_signals(wire, bytes, to)?;
            }
            outcome => outcome?,
        }
        let counters = &self.outbox().counters;
        counters.sent.add(1);
        counters.bytes_out.add(bytes.len() as u64);
        turn.stats.datagrams_out.add(1);
        turn.stats.bytes_out.add(bytes.len() as u64);
        Ok(())
    }

    /// Sends what waits, of callbacks first, then of handles; at most `budget` datagrams.
    pub(super) fn flush(&mut self, wire: &mut dyn Wire, turn: &Turn, mut budget: usize) {
        while budget > 0 && self.wants_flush() {
            budget -= 1;
            if self.queue.is_empty() {
                self.flush_outbox(wire, turn);
            } else {
                self.flush_queue(wire, turn);
            }
        }
    }

    fn flush_queue(&mut self, wire: &mut dyn Wire, turn: &Turn) {
        let mut queue = std::mem::take(&mut self.queue);
        if let Some((bytes, to)) = queue.front() {
            match self.transmit(wire, turn, bytes, to) {
                Ok(()) => queue.pop(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) => {
                    self.note_error(turn, error, to);
                    queue.pop();
                }
            }
        }
        self.queue = queue;
    }

    fn flush_outbox(&mut self, wire: &mut dyn Wire, turn: &Turn) {
        let Some(outgoing) = self.outbox().take() else {
            self.outbox_waits = false;
            // Asked for while the outbox was being emptied: nobody says so again.
            if self.outbox().closes() {
                self.end(turn, CloseReason::Local);
            }
            return;
        };
        match self.transmit(wire, turn, &outgoing.bytes, outgoing.to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                self.queue.push(&outgoing.bytes, outgoing.to);
            }
            Err(error) => self.note_error(turn, error, outgoing.to),
        }
    }

    /// Whether something waits that the socket may take.
    pub(super) fn wants_flush(&self) -> bool {
        !self.blocked && self.has_output()
    }

    pub(super) fn has_output(&self) -> bool {
        self.outbox_waits || !self.queue.is_empty()
    }

    /// Closes the socket once what waits has left, which it may do for [`LINGER_TIMEOUT`].
    pub(super) fn end(&mut self, turn: &Turn, reason: CloseReason) {
        if self.ends.is_some() {
            return;
        }
        self.ends = Some(reason);
        self.outbox().refuse_more();
        let at = turn.clock.now() + LINGER_TIMEOUT;
        self.timers.arm(at, OWNER_LIBRARY, Due::Close(reason));
    }

    /// Counts an error, and keeps it for the handler.
    pub(super) fn note_error(&mut self, turn: &Turn, error: io::Error, to: Option<SocketAddr>) {
        self.count_error(turn, &error, to);
        self.untold = Some((error, to));
    }

    fn count_error(&mut self, turn: &Turn, error: &io::Error, to: Option<SocketAddr>) {
        self.outbox().counters.errors.add(1);
        turn.stats.datagram_errors.add(1);
        let local = self.local;
        self.warn(turn, || match to {
            Some(to) => format!("{local}: datagram to {to}: {error}"),
            None => format!("{local}: {error}"),
        });
    }

    /// A callback has failed, which costs no more than its datagram.
    pub(super) fn note_failure(&mut self, turn: &Turn, failure: &Failure) {
        self.outbox().counters.failures.add(1);
        let local = self.local;
        self.warn(turn, || format!("{local}: a callback failed: {failure}"));
    }

    /// A datagram that the codec could not read.
    pub(super) fn note_undecoded(&mut self, turn: &Turn, failure: &Failure, peer: SocketAddr) {
        self.outbox().counters.decode_errors.add(1);
        turn.stats.decode_errors.add(1);
        let local = self.local;
        self.warn(turn, || {
            format!("{local}: dropped a datagram of {peer}: {failure}")
        });
    }

    /// One line in a while; what a peer may have put into it is escaped.
    fn warn(&mut self, turn: &Turn, text: impl FnOnce() -> String) {
        if let Some(more) = self.log.pass(turn.now) {
            let text = text();
            let text = text.escape_debug();
            warn!(target: "netwheel::udp", "{text} ({more} more since the last line)");
        }
    }
}

fn send_past_signals(wire: &mut dyn Wire, bytes: &[u8], to: Option<SocketAddr>) -> io::Result<()> {
    loop {
        match wire.send(bytes, to) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Whether an error tells of a datagram that was sent before: ICMP says that nobody listens there.
pub(super) fn is_of_earlier(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}
