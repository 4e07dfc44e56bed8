//! A worker's driver on mio.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use log::warn;
use mio::{Events, Poll, Token, Waker};

use super::socket::{Listener, Stream, rest_after};
use crate::address::Peer;
use crate::clock::{Clock, Instant};
use crate::connection::Lease;
use crate::id::Key;
use crate::limits::ACCEPT_BACKOFF;
use crate::mailbox::Wake;
use crate::transport::{Arrival, Driver, Readiness};

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
    Listener(Listener, Lease),
}

// The listener goes before the word that it is there.
struct Shared {
    listener: Listener,
    service: Lease,
    token: Token,
    ready: bool,
    rests_until: Option<Instant>,
}

/// Sockets and readiness of one worker, by mio.
pub(crate) struct SystemDriver {
    poll: Poll,
    events: Events,
    clock: Clock,
    inbound: Receiver<Inbound>,
    listeners: Vec<Shared>,
    listeners_seen: u32,
    stats: Arc<crate::stats::WorkerStats>,
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
            stats,
        })
    }

    pub(crate) fn waker(&self) -> io::Result<Box<dyn Wake>> {
        Ok(Box::new(PollWaker(Waker::new(self.poll.registry(), WAKE)?)))
    }

    fn add_listener(&mut self, mut listener: Listener, service: Lease) {
        let generation = self.listeners_seen;
        self.listeners_seen += 1;
        let token = token(Key {
            slot: LISTENER_SLOT,
            generation,
        });
        if let Err(error) = listener.register(self.poll.registry(), token) {
            return warn!(target: "netwheel::acceptor", "register listener: {error}");
        }
        self.listeners.push(Shared {
            listener,
            service,
            token,
            ready: true,
            rests_until: None,
        });
    }

    /// Accepts one connection from the first listener that has one.
    fn accept(&mut self) -> Option<Arrival<Stream>> {
        let now = self.clock.now();
        for shared in &mut self.listeners {
            if shared.rests_until.is_some_and(|until| now >= until) {
                (shared.rests_until, shared.ready) = (None, true);
            }
            while shared.ready {
                match shared.listener.accept(&shared.service.options) {
                    Ok((stream, peer)) => {
                        shared.service.enter();
                        self.stats.connections.enter();
                        let service = Arc::clone(&shared.service);
                        return Some(Arrival {
                            stream,
                            peer,
                            service,
                            connect_timeout: None,
                        });
                    }
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock => shared.ready = false,
                        io::ErrorKind::Interrupted => {}
                        _ => {
                            self.stats.accept_errors.add(1);
                            if let Some(rest) = rest_after(&error, ACCEPT_BACKOFF) {
                                warn!(target: "netwheel::acceptor", "accept: {error}");
                                shared.ready = false;
                                shared.rests_until = Some(now + rest);
                            }
                        }
                    },
                }
            }
        }
        None
    }

    /// Closes the listeners of services that are ending.
    fn drop_ended_listeners(&mut self) {
        let registry = self.poll.registry();
        self.listeners.retain_mut(|shared| {
            let keep = !shared.service.is_ending();
            if !keep {
                shared.listener.deregister(registry);
            }
            keep
        });
    }

    fn rest_of_listeners(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.listeners
            .iter()
            .filter_map(|shared| shared.rests_until)
            .min()
            .map(|at| at.since(now))
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

    // On Windows mio emulates readiness and re-arms it only by `WouldBlock`.
    const SHORT_READ_DRAINS: bool = cfg!(unix);

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let timeout = match self.rest_of_listeners() {
            Some(rest) => Some(timeout.map_or(rest, |timeout| timeout.min(rest))),
            None => timeout,
        };
        self.poll.poll(&mut self.events, timeout)?;
        for event in &self.events {
            let token = event.token();
            if token == WAKE {
                continue;
            }
            let key = Key::from_bits(token.0 as u64);
            if key.slot == LISTENER_SLOT {
                for shared in self
                    .listeners
                    .iter_mut()
                    .filter(|shared| shared.token == token)
                {
                    shared.ready = shared.rests_until.is_none();
                }
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
                Ok(Inbound::Listener(listener, service)) => self.add_listener(listener, service),
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

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<usize> {
        stream.read(into)
    }

    fn write(&mut self, stream: &mut Stream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        stream.write(from)
    }

    fn shutdown_write(&mut self, stream: &mut Stream) -> io::Result<()> {
        stream.shutdown_write()
    }

    fn close(&mut self, mut stream: Stream) {
        // mio asks for it, though closing the only descriptor removes it from the poll on Linux.
        let _ = stream.deregister(self.poll.registry());
    }
}
