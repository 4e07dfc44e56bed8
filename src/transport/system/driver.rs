//! A worker's driver on mio.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use log::warn;
use mio::{Events, Poll, Token, Waker};

use super::admission::Admission;
use super::datagrams::Datagrams;
use super::open_listener::{Entrance, OpenListener};
use super::send_file::can_send_files;
#[cfg(target_os = "linux")]
use super::send_file::send_file;
use super::socket::{Listener, Stream};
use crate::address::Peer;
use crate::buffer::Room;
use crate::clock::Clock;
use crate::connection::Listens;
#[cfg(target_os = "linux")]
use crate::file_region::FileRegion;
use crate::id::Key;
use crate::limits::ACCEPT_BATCH;
use crate::mailbox::Wake;
use crate::transport::{Arrival, Driver, EndpointArrival, Readiness};

/// The token of the wake-up; no connection has it, because a slab never has 2^32 - 1 slots.
const WAKE: Token = Token(usize::MAX);
/// The tokens of shared-port listeners: the last slot, counting generations.
const LISTENER_SLOT: u32 = u32::MAX - 1;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("netwheel packs a slot and its generation into a 64-bit poll token");

/// What other threads hand to a worker's driver.
pub(crate) enum Inbound {
    Socket(Arrival<Stream>),
    /// A listener of the worker's own, on a port that it shares with the others'.
    Listener(Listener, Listens, Arc<Admission>),
    Datagrams(EndpointArrival<Datagrams>),
}

/// Sockets and readiness of one worker, by mio.
pub(crate) struct SystemDriver {
    poll: Poll,
    events: Events,
    clock: Clock,
    inbound: Receiver<Inbound>,
    listeners: Vec<(OpenListener, Arc<Admission>)>,
    listeners_seen: u32,
    /// Datagram sockets that have come with the latest arrivals.
    endpoints: VecDeque<EndpointArrival<Datagrams>>,
    /// Tries to accept that are left in this turn.
    tries_left: usize,
    stats: Arc<crate::stats::WorkerStats>,
    sends_files: bool,
}

struct PollWaker(Waker);

impl Wake for PollWaker {
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
            warn!(target: "netwheel::worker", "wake: {error}");
        }
    }
}

impl SystemDriver {
    pub(crate) fn new(
        clock: Clock,
        events: usize,
        inbound: Receiver<Inbound>,
        stats: Arc<crate::stats::WorkerStats>,
    ) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(events),
            clock,
            inbound,
            listeners: Vec::new(),
            listeners_seen: 0,
            endpoints: VecDeque::new(),
            tries_left: 0,
            stats,
            sends_files: can_send_files(),
        })
    }

    pub(crate) fn waker(&self) -> io::Result<Box<dyn Wake>> {
        Ok(Box::new(PollWaker(Waker::new(self.poll.registry(), WAKE)?)))
    }

    fn add_listener(&mut self, listener: Listener, listens: Listens, admission: Arc<Admission>) {
        let generation = self.listeners_seen;
        self.listeners_seen += 1;
        let token = token(Key {
            slot: LISTENER_SLOT,
            generation,
        });
        match OpenListener::new(listener, listens, self.poll.registry(), token) {
            Ok(open) => self.listeners.push((open, admission)),
            Err(error) => warn!(target: "netwheel::acceptor", "register listener: {error}"),
        }
    }

    /// Accepts one connection from the first listener that has one.
    fn accept(&mut self) -> Option<Arrival<Stream>> {
        if self.listeners_are_quiet() {
            return None;
        }
        let (now, pressed) = (self.clock.now(), self.stats.is_pressed());
        for (open, admission) in &mut self.listeners {
            let entrance = Entrance {
                now,
                admission,
                pressed,
                registry: self.poll.registry(),
            };
            while self.tries_left > 0 && open.is_ready(&entrance) {
                self.tries_left -= 1;
                let Some(arrival) = open.accept(&entrance) else {
                    continue;
                };
                self.stats.connections.enter();
                return Some(arrival);
            }
        }
        None
    }

    /// Closes the listeners of services that are ending.
    fn drop_ended_listeners(&mut self) {
        let registry = self.poll.registry();
        self.listeners
            .retain_mut(|(open, _)| open.goes_on(registry));
    }

    /// Whether there are none, or only their events can bring anything: the rule, and it spares readings of
    /// the clock.
    fn listeners_are_quiet(&self) -> bool {
        self.listeners.iter().all(|(open, _)| open.is_quiet())
    }

    /// How long a wait may take: none at all where tries were used up with connections left.
    fn timeout_of_listeners(&self) -> Option<Duration> {
        if self.listeners_are_quiet() {
            return None;
        }
        let now = self.clock.now();
        self.listeners
            .iter()
            .filter_map(|(open, _)| open.timeout(now))
            .min()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a token has 64 bits, checked above"
)]
fn token(key: Key) -> Token {
    Token(key.to_bits() as usize)
}

impl Driver for SystemDriver {
    type Stream = Stream;
    type Datagrams = Datagrams;

    // On Windows mio emulates readiness and re-arms it only by `WouldBlock`.
    const SHORT_READ_DRAINS: bool = cfg!(unix);

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let timeout = match self.timeout_of_listeners() {
            Some(rest) => Some(timeout.map_or(rest, |timeout| timeout.min(rest))),
            None => timeout,
        };
        self.tries_left = ACCEPT_BATCH;
        self.poll.poll(&mut self.events, timeout)?;
        for event in &self.events {
            let token = event.token();
            if token == WAKE {
                continue;
            }
            let key = Key::from_bits(token.0 as u64);
            if key.slot == LISTENER_SLOT {
                self.listeners
                    .iter_mut()
                    .filter(|(open, _)| open.token() == token)
                    .for_each(|(open, _)| open.note_ready());
                continue;
            }
            ready.push(Readiness {
                key,
                readable: event.is_readable(),
                writable: event.is_writable(),
                read_closed: event.is_read_closed() || event.is_error(),
                error: event.is_error(),
            });
        }
        Ok(())
    }

    fn arrival(&mut self) -> Option<Arrival<Stream>> {
        loop {
            match self.inbound.try_recv() {
                Ok(Inbound::Socket(arrival)) => return Some(arrival),
                Ok(Inbound::Listener(listener, listens, admission)) => {
                    self.add_listener(listener, listens, admission);
                }
                Ok(Inbound::Datagrams(arrival)) => self.endpoints.push_back(arrival),
                Err(_) => break,
            }
        }
        if self.listeners.is_empty() {
            return None;
        }
        self.drop_ended_listeners();
        self.accept()
    }

    fn register(&mut self, stream: &mut Stream, key: Key, writable: bool) -> io::Result<()> {
        stream.register(self.poll.registry(), token(key), writable)
    }

    fn register_writable(&mut self, stream: &mut Stream, key: Key) -> io::Result<()> {
        stream.reregister(self.poll.registry(), token(key))
    }

    fn finish_connect(&mut self, stream: &mut Stream) -> io::Result<Option<Peer>> {
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer() {
            Ok(peer) => Ok(Some(peer)),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take_error(&mut self, stream: &mut Stream) -> Option<io::Error> {
        stream.take_error().ok().flatten()
    }

    fn read(&mut self, stream: &mut Stream, into: Room<'_>) -> io::Result<usize> {
        stream.read(into)
    }

    fn write(&mut self, stream: &mut Stream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        stream.write(from)
    }

    fn sends_files(&self) -> bool {
        self.sends_files
    }

    #[cfg(target_os = "linux")]
    fn send_file(
        &mut self,
        stream: &mut Stream,
        region: &FileRegion,
        count: usize,
    ) -> io::Result<usize> {
        send_file(stream, region, count)
    }

    fn shutdown_write(&mut self, stream: &mut Stream) -> io::Result<()> {
        stream.shutdown_write()
    }

    /// Leaves the poll by being dropped: on Linux, closing the only descriptor of a socket does that
    /// (epoll(7)), and saves a short connection one of its seven calls.
    #[cfg(target_os = "linux")]
    fn close(&mut self, stream: Stream) {
        drop(stream);
    }

    #[cfg(not(target_os = "linux"))]
    fn close(&mut self, mut stream: Stream) {
        let _ = stream.deregister(self.poll.registry());
    }

    fn refuse(&mut self, stream: Stream) {
        stream.reset();
    }

    fn endpoint_arrival(&mut self) -> Option<EndpointArrival<Datagrams>> {
        self.endpoints.pop_front()
    }

    fn register_endpoint(&mut self, wire: &mut Datagrams, key: Key) -> io::Result<()> {
        wire.register(self.poll.registry(), token(key))
    }

    fn watch_endpoint(&mut self, wire: &mut Datagrams, key: Key, writable: bool) -> io::Result<()> {
        wire.reregister(self.poll.registry(), token(key), writable)
    }

    fn close_endpoint(&mut self, mut wire: Datagrams) {
        wire.deregister(self.poll.registry());
    }
}
