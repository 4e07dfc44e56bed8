//! One datagram socket without its socket: every call into its handler, and its end.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;

use log::{debug, error, trace};

use super::context::DatagramContext;
use super::handler::{Datagram, DatagramHandler};
use super::outbox::Tied;
use super::state::State;
use super::wire::Wire;
use crate::address::Address;
use crate::clock::Instant;
use crate::error::{CloseReason, Result};
use crate::id::Key;
use crate::limits::DatagramLimits;
use crate::panics::{Panicked, contain};
use crate::pipeline::{Due, Turn};
use crate::whereabouts::Label;

/// Makes the handler of one socket, on its worker.
pub(crate) type MakeHandler = Box<dyn FnOnce() -> Box<dyn DatagramHandler> + Send>;

/// Errors of receiving one behind the other after which the socket is left alone until its next event.
const ERRORS_TOGETHER_MAX: usize = 16;

/// What an endpoint is made from, on its worker.
pub(crate) struct EndpointSeed {
    pub(crate) make: MakeHandler,
    pub(crate) limits: DatagramLimits,
    pub(crate) local: SocketAddr,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) outbox: Tied,
}

/// What a socket has used up of its budgets in one turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Which turn that is.
    turn: u32,
    datagrams: usize,
    bytes: usize,
}

impl Used {
    /// What has been used up in the present turn.
    fn in_turn(&mut self, turn: u32) -> &mut Self {
        if self.turn != turn {
            *self = Self {
                turn,
                ..Self::default()
            };
        }
        self
    }

    fn add(&mut self, bytes: usize) {
        self.datagrams += 1;
        self.bytes += bytes;
    }

    fn may_receive(&self, limits: &DatagramLimits) -> bool {
        self.datagrams < limits.datagrams_per_turn && self.bytes < limits.bytes_per_turn
    }
}

/// A handler and the state of its socket.
pub(crate) struct Endpoint {
    /// Absent once it has panicked.
    handler: Option<Box<dyn DatagramHandler>>,
    state: State,
}

/// Life.
impl Endpoint {
    /// Makes the handler; where that panics, the endpoint is to close at once.
    pub(crate) fn new(seed: EndpointSeed, turn: &Turn) -> Self {
        let mut state = State::new(seed.local, seed.peer, seed.limits, seed.outbox);
        let handler = contain(seed.make).ok();
        if handler.is_none() {
            error!(target: "netwheel::udp", "{}: making the handler panicked", state.local);
            turn.stats.panics.add(1);
            state.broken = Some(CloseReason::Panic);
        }
        Self { handler, state }
    }

    /// The socket is registered under this key.
    pub(crate) fn open(&mut self, wire: &mut dyn Wire, turn: &mut Turn, key: Key) {
        self.state.outbox().attach(&turn.mailbox, key);
        let mut failed = None;
        self.call(wire, turn, |handler, cx| {
            failed = handler.on_open(cx).err();
            Ok(())
        });
        if let Some(failure) = failed {
            self.state.note_failure(turn, &failure);
            self.break_off(failure.reason());
        }
        trace!(target: "netwheel::udp", "{}: open", self.state.local);
    }

    /// Receives until the socket is drained, which it answers, or its budget is used up, or it ends.
    pub(crate) fn receive(
        &mut self,
        wire: &mut dyn Wire,
        turn: &mut Turn,
        buffer: &mut [u8],
        used: &mut Used,
    ) -> bool {
        let bytes_max = self.state.limits.datagram_bytes_max;
        // One byte more than is told, which only a datagram that is too long fills. Where the system calls such
        // a one an error and drops it, there is room for any.
        let room = if cfg!(windows) {
            buffer.len()
        } else {
            buffer.len().min(bytes_max + 1)
        };
        let (used, mut errors) = (used.in_turn(turn.number), 0);
        while self.is_live() && used.may_receive(&self.state.limits) {
            match wire.receive(&mut buffer[..room]) {
                Ok((len, peer)) => {
                    (errors, _) = (0, used.add(len));
                    let told = len.min(bytes_max);
                    let datagram = Datagram::new(&mut buffer[..told], peer, len > bytes_max);
                    self.deliver(wire, turn, datagram);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    (errors, _) = (errors + 1, used.add(0));
                    self.state.note_error(turn, error, self.state.peer);
                    self.call(wire, turn, |_, _| Ok(()));
                    if errors == ERRORS_TOGETHER_MAX {
                        return true;
                    }
                }
            }
        }
        false
    }

    fn deliver(&mut self, wire: &mut dyn Wire, turn: &mut Turn, datagram: Datagram<'_>) {
        let (counters, bytes) = (&self.state.outbox().counters, datagram.bytes.len() as u64);
        counters.received.add(1);
        counters.bytes_in.add(bytes);
        turn.stats.datagrams_in.add(1);
        turn.stats.bytes_in.add(bytes);
        if datagram.truncated {
            counters.truncated.add(1);
            turn.stats.datagrams_truncated.add(1);
        }
        self.call(wire, turn, |handler, cx| handler.on_datagram(cx, datagram));
    }

    /// Sends what waits, within the turn's budget, and tells the handler of room.
    pub(crate) fn flush(&mut self, wire: &mut dyn Wire, turn: &mut Turn) {
        let budget = self.state.limits.datagrams_per_turn;
        self.state.flush(wire, turn, budget);
        if self.state.tells_writable && !self.state.blocked && self.state.queue.is_empty() {
            self.state.tells_writable = false;
            self.call(wire, turn, |handler, cx| handler.on_writable(cx));
        }
        if self.state.untold.is_some() {
            self.call(wire, turn, |_, _| Ok(()));
        }
    }

    /// Other threads want something.
    pub(crate) fn handle_ready(&mut self) {
        self.state.outbox_waits = true;
    }

    /// A moment has come for which a timer was armed.
    pub(crate) fn handle_timeout(&mut self, wire: &mut dyn Wire, turn: &mut Turn) {
        // As many as are due now: what they arm for at once waits for the next turn.
        for _ in 0..self.state.timers.count_due(turn.now) {
            match self.state.timers.take_due(turn.now) {
                Some((_, Due::Tell(key))) => {
                    self.call(wire, turn, |handler, cx| handler.on_timer(cx, key));
                }
                Some((_, Due::Close(reason))) => self.break_off(reason),
                // Datagrams have no valve and no frames, and wait in no stream.
                Some((_, Due::Open(_) | Due::Frame | Due::Reader(_))) => {}
                None => return,
            }
        }
    }

    /// The service ends.
    pub(crate) fn handle_shutdown(&mut self, wire: &mut dyn Wire, turn: &mut Turn) {
        if self.state.ends.is_none() {
            self.call(wire, turn, |handler, cx| handler.on_shutdown(cx));
            self.state.end(turn, CloseReason::Shutdown);
        }
    }

    /// The end: tells the handler. The handles hear of it when the endpoint is dropped, behind its socket.
    pub(crate) fn close(&mut self, wire: &mut dyn Wire, turn: &mut Turn, reason: CloseReason) {
        self.state.broken = None;
        self.call(wire, turn, |handler, cx| {
            handler.on_close(cx, reason);
            Ok(())
        });
        let reason = self.state.broken.unwrap_or(reason);
        self.drop_handler();
        debug!(target: "netwheel::udp", "{}: closed: {reason}", self.state.local);
        self.state.outbox.reason = reason;
    }
}

/// What the worker asks.
impl Endpoint {
    /// Why the socket is to close now, if it is.
    pub(crate) fn fate(&self) -> Option<CloseReason> {
        let ended = self.state.ends.filter(|_| !self.state.has_output());
        self.state.broken.or(ended)
    }

    /// Whether it takes what arrives.
    pub(crate) fn is_live(&self) -> bool {
        self.state.broken.is_none() && self.state.ends.is_none()
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.state.blocked
    }

    pub(crate) fn note_writable(&mut self) {
        self.state.blocked = false;
    }

    pub(crate) fn wants_flush(&self) -> bool {
        self.state.wants_flush()
    }

    /// Whether a flush has something to do, were it only to tell.
    pub(crate) fn wants_call(&self) -> bool {
        self.wants_flush() || (self.state.tells_writable && !self.state.blocked)
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.state.timers.next()
    }

    pub(crate) fn break_off(&mut self, reason: CloseReason) {
        self.state.broken.get_or_insert(reason);
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.state.local
    }
}

/// Calling the handler.
impl Endpoint {
    /// One callback, and behind it the word of an error that came up in it. Panics stop here.
    fn call(
        &mut self,
        wire: &mut dyn Wire,
        turn: &mut Turn,
        callback: impl FnOnce(&mut dyn DatagramHandler, &mut DatagramContext<'_>) -> Result<()>,
    ) {
        self.call_once(wire, turn, callback);
        if self.state.untold.is_some() {
            self.tell_error(wire, turn);
        }
    }

    #[cold]
    fn tell_error(&mut self, wire: &mut dyn Wire, turn: &mut Turn) {
        if let Some((error, peer)) = self.state.untold.take() {
            self.call_once(wire, turn, |handler, cx| handler.on_error(cx, &error, peer));
        }
    }

    fn call_once(
        &mut self,
        wire: &mut dyn Wire,
        turn: &mut Turn,
        callback: impl FnOnce(&mut dyn DatagramHandler, &mut DatagramContext<'_>) -> Result<()>,
    ) {
        let Some(handler) = &mut self.handler else {
            return;
        };
        let state = &mut self.state;
        let local = Address::Inet(state.local);
        turn.stats.whereabouts.enter_for(local, Label::DATAGRAMS);
        let outcome =
            contain(|| callback(&mut **handler, &mut DatagramContext { wire, state, turn }));
        turn.stats.whereabouts.leave();
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => self.state.note_failure(turn, &failure),
            Err(Panicked) => {
                error!(target: "netwheel::udp", "{}: the handler panicked", self.state.local);
                turn.stats.panics.add(1);
                self.break_off(CloseReason::Panic);
                self.drop_handler();
            }
        }
    }

    fn drop_handler(&mut self) {
        let handler = self.handler.take();
        if contain(|| drop(handler)).is_err() {
            error!(target: "netwheel::udp", "{}: the handler panicked while it was dropped", self.state.local);
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("local", &self.state.local)
            .finish_non_exhaustive()
    }
}
