//! The datagram sockets of a worker: when each is received from, flushed, told of its timers, and closed.
//!
//! The same edge-triggered rules as for connections, with two differences. Only `WouldBlock` drains a socket,
//! since a datagram says nothing of the next. And events of writing are asked for while it is full only.

use std::collections::VecDeque;

use log::error;

use super::driver::{Driver, EndpointArrival, Readiness};
use crate::clock::Instant;
use crate::connection::Listens;
use crate::datagram::{Endpoint, Used, Wire};
use crate::error::CloseReason;
use crate::id::Key;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::pipeline::Turn;
use crate::slots::Slots;
use crate::wheel::{TimerId, Wheel};

/// The datagram sockets of one worker. Outside of here their keys are marked, so that poll, wheel and mailbox
/// serve both kinds (`Key::is_endpoint`).
pub(super) struct Endpoints<W> {
    slots: Slots<Entry<W>>,
    /// Those that stopped early and are served next turn.
    ready: VecDeque<Key>,
    /// What is received lies here while it is handled; empty as long as there is no socket.
    buffer: Vec<u8>,
}

/// A datagram socket, and what is known of its readiness.
struct Entry<W> {
    wire: W,
    endpoint: Endpoint,
    timer: Option<(TimerId, Instant)>,
    readable: bool,
    in_ready: bool,
    /// Whether events of writing are reported.
    watches: bool,
    used: Used,
    listens: Listens,
}

/// What a worker lends.
pub(super) struct Ground<'a, D> {
    pub(super) driver: &'a mut D,
    pub(super) turn: &'a mut Turn,
    pub(super) wheel: &'a mut Wheel<Key>,
}

impl<W: Wire> Endpoints<W> {
    pub(super) const fn new() -> Self {
        Self {
            slots: Slots::new(),
            ready: VecDeque::new(),
            buffer: Vec::new(),
        }
    }

    /// Whether some are to be served without an event.
    pub(super) fn is_busy(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn take_in<D>(&mut self, ground: &mut Ground<'_, D>, arrival: EndpointArrival<W>)
    where
        D: Driver<Datagrams = W>,
    {
        let EndpointArrival {
            mut wire,
            seed,
            listens,
        } = arrival;
        let local = seed.local;
        if listens.service().is_ending() {
            return ground.driver.close_endpoint(wire);
        }
        let endpoint = Endpoint::new(seed, ground.turn);
        // One more than is told of any datagram, so that one that is too long shows.
        self.buffer.resize(DATAGRAM_BYTES_MAX + 1, 0);
        let mut registered = Ok(());
        let key = self.slots.insert_with(|key| {
            registered = ground
                .driver
                .register_endpoint(&mut wire, key.into_endpoint());
            Entry {
                wire,
                endpoint,
                timer: None,
                readable: true,
                in_ready: false,
                watches: false,
                used: Used::default(),
                listens,
            }
        });
        let Some(entry) = self.slots.get_mut(key) else {
            return;
        };
        match registered {
            Ok(()) => entry
                .endpoint
                .open(&mut entry.wire, ground.turn, key.into_endpoint()),
            Err(error) => {
                error!(target: "netwheel::udp", "{local}: register: {error}");
                entry.endpoint.break_off(CloseReason::IoError);
            }
        }
        self.settle(ground, key);
    }

    pub(super) fn serve_event<D>(&mut self, ground: &mut Ground<'_, D>, event: Readiness)
    where
        D: Driver<Datagrams = W>,
    {
        let key = event.key.of_endpoint();
        let Some(entry) = self.slots.get_mut(key) else {
            return ground.turn.stats.stale_events.add(1);
        };
        // An error is told by the next call, whichever it is.
        entry.readable |= event.readable || event.read_closed || event.error;
        if event.writable || event.error {
            entry.endpoint.note_writable();
        }
        self.serve(ground, key);
    }

    pub(super) fn serve_ready<D>(&mut self, ground: &mut Ground<'_, D>)
    where
        D: Driver<Datagrams = W>,
    {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            if let Some(entry) = self.slots.get_mut(key) {
                entry.in_ready = false;
                self.serve(ground, key);
            }
        }
    }

    /// Other threads want something of a socket.
    pub(super) fn serve_handles<D>(&mut self, ground: &mut Ground<'_, D>, key: Key)
    where
        D: Driver<Datagrams = W>,
    {
        let key = key.of_endpoint();
        let Some(entry) = self.slots.get_mut(key) else {
            return ground.turn.stats.stale_events.add(1);
        };
        entry.endpoint.handle_ready();
        self.settle(ground, key);
    }

    pub(super) fn fire_timer<D>(&mut self, ground: &mut Ground<'_, D>, key: Key)
    where
        D: Driver<Datagrams = W>,
    {
        let key = key.of_endpoint();
        let Some(entry) = self.slots.get_mut(key) else {
            return ground.turn.stats.stale_events.add(1);
        };
        entry.timer = None;
        entry.endpoint.handle_timeout(&mut entry.wire, ground.turn);
        self.settle(ground, key);
    }

    /// Ends the sockets of services that were told to end.
    pub(super) fn end_services<D>(&mut self, ground: &mut Ground<'_, D>)
    where
        D: Driver<Datagrams = W>,
    {
        for key in self.keys() {
            let Some(entry) = self.slots.get_mut(key) else {
                continue;
            };
            if entry.listens.service().is_aborting() {
                self.close(ground, key, CloseReason::Shutdown);
            } else if entry.listens.service().is_ending() {
                entry.endpoint.handle_shutdown(&mut entry.wire, ground.turn);
                self.settle(ground, key);
            }
        }
    }

    /// Closes every socket at once, those that are still on their way too.
    pub(super) fn close_all<D>(&mut self, ground: &mut Ground<'_, D>)
    where
        D: Driver<Datagrams = W>,
    {
        while let Some(arrival) = ground.driver.endpoint_arrival() {
            ground.driver.close_endpoint(arrival.wire);
        }
        for key in self.keys() {
            self.close(ground, key, CloseReason::Shutdown);
        }
    }

    /// The sockets of this moment.
    fn keys(&self) -> Vec<Key> {
        self.slots.keys().collect()
    }

    /// Receives until drained or over the turn's budget.
    fn serve<D>(&mut self, ground: &mut Ground<'_, D>, key: Key)
    where
        D: Driver<Datagrams = W>,
    {
        let Some(entry) = self.slots.get_mut(key) else {
            return;
        };
        if entry.readable {
            let (wire, used) = (&mut entry.wire, &mut entry.used);
            let drained = entry
                .endpoint
                .receive(wire, ground.turn, &mut self.buffer, used);
            entry.readable = !drained;
        }
        self.settle(ground, key);
    }

    /// After anything was done to a socket: flushes it, then ends it or puts it on the lists it belongs on.
    fn settle<D>(&mut self, ground: &mut Ground<'_, D>, key: Key)
    where
        D: Driver<Datagrams = W>,
    {
        let Some(entry) = self.slots.get_mut(key) else {
            return;
        };
        if entry.endpoint.wants_call() {
            entry.endpoint.flush(&mut entry.wire, ground.turn);
        }
        if entry.endpoint.is_blocked() != entry.watches {
            entry.watch(ground, key);
        }
        if let Some(reason) = entry.endpoint.fate() {
            return self.close(ground, key, reason);
        }
        let more = entry.readable && entry.endpoint.is_live();
        if (more || entry.endpoint.wants_flush()) && !entry.in_ready {
            entry.in_ready = true;
            self.ready.push_back(key);
        }
        if let Some(at) = entry.endpoint.next_timeout()
            && entry.timer.is_none_or(|(_, armed)| at < armed)
        {
            entry.arm(ground.wheel, key, at);
        }
    }

    fn close<D>(&mut self, ground: &mut Ground<'_, D>, key: Key, reason: CloseReason)
    where
        D: Driver<Datagrams = W>,
    {
        let Some(mut entry) = self.slots.remove(key) else {
            return;
        };
        if let Some((timer, _)) = entry.timer {
            ground.wheel.cancel(timer);
        }
        let Entry { wire, endpoint, .. } = &mut entry;
        endpoint.close(wire, ground.turn, reason);
        ground.driver.close_endpoint(entry.wire);
        if self.slots.len() == 0 {
            self.buffer = Vec::new();
        }
    }
}

impl<W: Wire> Entry<W> {
    /// Asks for events of writing while the socket is full.
    fn watch<D>(&mut self, ground: &mut Ground<'_, D>, key: Key)
    where
        D: Driver<Datagrams = W>,
    {
        let (wire, blocked) = (&mut self.wire, self.endpoint.is_blocked());
        match ground
            .driver
            .watch_endpoint(wire, key.into_endpoint(), blocked)
        {
            Ok(()) => self.watches = blocked,
            Err(error) => {
                error!(target: "netwheel::udp", "{}: register: {error}", self.endpoint.local());
                self.endpoint.break_off(CloseReason::IoError);
            }
        }
    }

    /// Arms the one timer, or moves it; a later moment than the armed one waits for that to pass.
    fn arm(&mut self, wheel: &mut Wheel<Key>, key: Key, at: Instant) {
        let timer = match self.timer {
            Some((timer, _)) if wheel.rearm(timer, at) => timer,
            _ => wheel.arm(at, key.into_endpoint()),
        };
        self.timer = Some((timer, at));
    }
}
