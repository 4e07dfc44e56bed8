//! One I/O thread's loop: the turn.
//!
//! ```text
//!   wait ─> read the clock ─> events ─> leftovers ─> mailbox ─> new sockets ─> timers ─> flush
//! ```
//! Every step is bounded: events by the poll's batch, each connection by its budgets, commands and
//! timers by their limits. What is left over makes the next wait return at once. Each connection that
//! has output is flushed once, at the end; earlier only above the high water mark or when asked. Its
//! budgets are those of the whole turn, however often it is served in it.

mod evict;
mod fan_out;
mod inspect;
mod pressure;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, error, info, trace};

use self::fan_out::Fan;
use self::inspect::Inspection;
use self::pressure::Pressure;
use super::driver::{Arrival, Driver, Readiness};
use super::endpoints::{Endpoints, Ground};
use super::entry::{Entry, Io, Phase, bytes_u32};
use crate::address::Peer;
use crate::buffer::Inbox;
use crate::clock::Instant;
use crate::connection::{Connection, Fate, Service};
use crate::error::CloseReason;
use crate::id::{ConnectionId, Key};
use crate::limits::{ACCEPT_BATCH, WorkerLimits};
use crate::mailbox::{Command, Mailbox};
use crate::pipeline::Turn;
use crate::planted::{Bug, is_planted};
use crate::slots::Slots;
use crate::stats::WorkerStats;
use crate::wheel::Wheel;
use crate::whereabouts::Label;

/// What a worker is made from, inside its own thread: pipelines never leave it.
pub(crate) struct WorkerSeed {
    pub(crate) index: u16,
    pub(crate) limits: WorkerLimits,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) stats: Arc<WorkerStats>,
}

/// The state of one I/O thread.
pub(crate) struct Worker<D: Driver> {
    index: u16,
    limits: WorkerLimits,
    driver: D,
    slots: Slots<Entry<D::Stream>>,
    /// Datagram sockets, which stand beside the connections.
    endpoints: Endpoints<D::Datagrams>,
    wheel: Wheel<Key>,
    inbox: Inbox,
    turn: Turn,
    events: Vec<Readiness>,
    commands: VecDeque<Command>,
    /// Connections that stopped early and are served next turn.
    ready: VecDeque<Key>,
    /// Connections with output, to be flushed at the end of the turn.
    dirty: Vec<Key>,
    /// Those that are being flushed; empty in between.
    flushing: Vec<Key>,
    /// What is being fanned out, and to whom; empty in between.
    fan: Fan,
    inspection: Inspection,
    /// What the connections hold together.
    pressure: Pressure,
    more_arrivals: bool,
    /// Where the next search for an idle connection begins.
    evict_from: usize,
    last_event: Instant,
    /// When the last turn ended and the wait for this one began.
    ended: Instant,
    stopping: bool,
}

impl<D: Driver> Worker<D> {
    pub(crate) fn new(seed: WorkerSeed, driver: D) -> Self {
        let turn = Turn::new(
            driver.clock().clone(),
            seed.mailbox,
            seed.stats,
            seed.limits.broadcast_bytes_max,
        );
        Self {
            index: seed.index,
            inbox: Inbox::new(seed.limits.read_buffer_bytes),
            limits: seed.limits,
            slots: Slots::new(),
            endpoints: Endpoints::new(),
            wheel: Wheel::new(),
            events: Vec::new(),
            commands: VecDeque::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            flushing: Vec::new(),
            fan: Fan::default(),
            inspection: Inspection::default(),
            pressure: Pressure::default(),
            more_arrivals: false,
            evict_from: 0,
            last_event: turn.now,
            ended: turn.now,
            stopping: false,
            driver,
            turn,
        }
    }

    #[cfg(test)]
    pub(crate) fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Turns until told to stop, then closes what is left.
    pub(crate) fn run(&mut self) {
        while !self.stopping {
            let timeout = self.timeout_at(self.ended);
            self.turn(timeout);
        }
        self.turn.begin();
        self.close_all();
        self.turn.stats.whereabouts.end_turn();
    }

    /// One turn, which waits for at most `timeout`.
    pub(crate) fn turn(&mut self, timeout: Option<Duration>) {
        let due = timeout.map(|timeout| self.ended + timeout);
        let slept = self.wait(timeout);
        self.turn.begin();
        self.note_wait(slept, due);
        let left_over = self.has_left_over();
        self.inbox.rewind();
        self.serve_events();
        self.serve_ready();
        self.take_commands();
        self.take_arrivals();
        self.take_endpoints();
        self.inspect();
        let fired = self.fire_timers();
        self.turn.call_pools();
        self.flush_dirty();
        self.turn.call_pools();
        self.relieve();
        self.end_turn(left_over || fired);
    }

    /// Counts a wait that could sleep, and how much later than it was to end it did.
    fn note_wait(&self, slept: bool, due: Option<Instant>) {
        if !slept {
            return;
        }
        let stats = &self.turn.stats;
        stats.sleeps.add(1);
        if let Some(due) = due
            && self.turn.now >= due
            && self.events.is_empty()
        {
            stats.poll_delays.record(due, self.turn.now);
        }
    }

    /// Counts the turn; `busy` when it had something to do besides what came from outside.
    fn end_turn(&mut self, busy: bool) {
        self.ended = self.turn.clock.now();
        let stats = &self.turn.stats;
        stats.turn_times.record(self.turn.now, self.ended);
        if !busy && self.last_event != self.turn.now {
            stats.turns_idle.add(1);
        }
        stats.timers_live.set(self.wheel.len() as u64);
        stats.buffers_spare.set(self.turn.spare.len() as u64);
        stats.whereabouts.end_turn();
    }

    /// Whether something waits for the next turn that no event will tell of.
    fn has_left_over(&self) -> bool {
        self.more_arrivals
            || self.turn.has_broadcasts()
            || !self.ready.is_empty()
            || !self.dirty.is_empty()
            || !self.commands.is_empty()
            || self.endpoints.is_busy()
            || self.inspection.is_busy()
    }

    /// How long the next wait may take.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout_at(self.driver.clock().now())
    }

    fn timeout_at(&self, now: Instant) -> Option<Duration> {
        if self.has_left_over() {
            return Some(Duration::ZERO);
        }
        if !self.limits.busy_poll.is_zero()
            && self.turn.now.since(self.last_event) < self.limits.busy_poll
        {
            return Some(Duration::ZERO);
        }
        let timer = self.wheel.next_expiry().map(|at| at.since(now));
        let look = self.pressure.timeout(self.limits.worker_bytes_max, now);
        timer.into_iter().chain(look).min()
    }

    /// Waits for events; answers whether it could sleep.
    fn wait(&mut self, timeout: Option<Duration>) -> bool {
        let sleeps = timeout.is_none_or(|timeout| !timeout.is_zero());
        let sleeps = sleeps && self.turn.mailbox.may_sleep();
        let timeout = if sleeps {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let outcome = self.driver.wait(timeout, &mut self.events);
        if sleeps {
            self.turn.mailbox.awake();
        }
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                error!(target: "netwheel::worker", "worker {}: poll: {error}", self.index);
            }
            _ => {}
        }
        sleeps
    }

    fn serve_events(&mut self) {
        if !self.events.is_empty() {
            self.last_event = self.turn.now;
        }
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.serve_event(event);
        }
        self.events = events;
    }

    fn serve_event(&mut self, event: Readiness) {
        if event.key.is_endpoint() {
            let (endpoints, mut ground) = self.endpoints();
            return endpoints.serve_event(&mut ground, event);
        }
        if is_planted(Bug::StaleSlot) {
            self.close_tenant(event.key);
        }
        let Some((entry, mut io)) = self.entry(event.key) else {
            return;
        };
        if event.readable || event.read_closed {
            entry.note_readable(event.read_closed);
        }
        if event.writable {
            entry.note_writable();
        }
        match entry.phase {
            Phase::Connecting => self.finish_connect(event.key),
            Phase::Lingering(_) => {
                if !entry.linger(&mut io) {
                    self.free(event.key);
                }
            }
            Phase::Open => {
                if entry.wants_flush() {
                    entry.flush(&mut io);
                }
                entry.serve(&mut io);
                if event.error {
                    entry.check_error(&mut io);
                }
                self.settle(event.key);
            }
        }
    }

    /// An entry and what serves it; counts the stale ones.
    fn entry(&mut self, key: Key) -> Option<(&mut Entry<D::Stream>, Io<'_, D>)> {
        let Some(entry) = self.slots.get_mut(key) else {
            self.turn.stats.stale_events.add(1);
            return None;
        };
        let io = Io {
            driver: &mut self.driver,
            turn: &mut self.turn,
            inbox: &mut self.inbox,
            key,
        };
        Some((entry, io))
    }

    /// The datagram sockets and what serves them.
    fn endpoints(&mut self) -> (&mut Endpoints<D::Datagrams>, Ground<'_, D>) {
        let ground = Ground {
            driver: &mut self.driver,
            turn: &mut self.turn,
            wheel: &mut self.wheel,
        };
        (&mut self.endpoints, ground)
    }

    fn finish_connect(&mut self, key: Key) {
        let Some((entry, io)) = self.entry(key) else {
            return;
        };
        match io.driver.finish_connect(&mut entry.stream) {
            Ok(None) => {}
            Ok(Some(peer)) => {
                entry.phase = Phase::Open;
                let timer = entry.timer.take();
                io.turn.stats.connected.add(1);
                entry.connection.set_peer(peer);
                entry.connection.open(io.turn);
                if let Some((timer, _)) = timer {
                    self.wheel.cancel(timer);
                }
                // Data may have come with the same edge as the end of the handshake.
                let Some((entry, mut io)) = self.entry(key) else {
                    return;
                };
                entry.note_readable(false);
                entry.serve(&mut io);
                self.settle(key);
            }
            Err(error) => {
                info!(target: "netwheel::connection", "connect to {}: {error}",
                    entry.connection.peer().address);
                self.close(key, CloseReason::of_io(&error));
            }
        }
    }

    fn serve_ready(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            // A connection that has closed since is no stale event: nobody else named it.
            let Some(entry) = self.slots.get_mut(key) else {
                continue;
            };
            entry.in_ready = false;
            let Some((entry, mut io)) = self.entry(key) else {
                continue;
            };
            if entry.wants_flush() {
                entry.flush(&mut io);
            }
            entry.serve(&mut io);
            self.settle(key);
        }
        if self.endpoints.is_busy() {
            let (endpoints, mut ground) = self.endpoints();
            endpoints.serve_ready(&mut ground);
        }
    }

    fn take_commands(&mut self) {
        self.fan_out();
        self.turn.mailbox.take(&mut self.commands);
        for _ in 0..self.limits.mailbox_commands_per_turn {
            let Some(command) = self.commands.pop_front() else {
                return;
            };
            self.last_event = self.turn.now;
            match command {
                Command::Ready(key) => self.serve_handles(key),
                Command::Broadcasts | Command::Arrivals => {}
                Command::Inspect => self.inspection.begin(),
                Command::Shutdown => self.end_services(),
                Command::Stop => self.stopping = true,
            }
        }
    }

    fn serve_handles(&mut self, key: Key) {
        if key.is_endpoint() {
            let (endpoints, mut ground) = self.endpoints();
            return endpoints.serve_handles(&mut ground, key);
        }
        if is_planted(Bug::StaleSlot) {
            self.close_tenant(key);
        }
        let Some((entry, io)) = self.entry(key) else {
            return;
        };
        if matches!(entry.phase, Phase::Lingering(_)) {
            return;
        }
        entry.connection.handle_ready(io.turn);
        self.settle(key);
    }

    /// What the planted bug does: what was meant for a connection that has gone ends the next tenant of its slot.
    fn close_tenant(&mut self, stale: Key) {
        if let Some(tenant) = self.slots.tenant(stale) {
            self.close(tenant, CloseReason::Local);
        }
    }

    /// Ends the connections of services that were told to end.
    fn end_services(&mut self) {
        let (endpoints, mut ground) = self.endpoints();
        endpoints.end_services(&mut ground);
        for key in self.keys() {
            let Some((entry, io)) = self.entry(key) else {
                continue;
            };
            if entry.service.is_aborting() {
                match entry.phase {
                    Phase::Lingering(_) => self.free(key),
                    _ => self.close(key, CloseReason::Shutdown),
                }
            } else if entry.service.is_ending() {
                match entry.phase {
                    Phase::Connecting => self.close(key, CloseReason::Shutdown),
                    Phase::Lingering(_) => {}
                    Phase::Open => {
                        entry.connection.handle_shutdown(io.turn);
                        self.settle(key);
                    }
                }
            }
        }
    }

    fn take_arrivals(&mut self) {
        self.more_arrivals = true;
        for _ in 0..ACCEPT_BATCH {
            let Some(arrival) = self.driver.arrival() else {
                self.more_arrivals = false;
                return;
            };
            self.last_event = self.turn.now;
            self.take_in(arrival);
        }
    }

    fn take_endpoints(&mut self) {
        while let Some(arrival) = self.driver.endpoint_arrival() {
            self.last_event = self.turn.now;
            let (endpoints, mut ground) = self.endpoints();
            endpoints.take_in(&mut ground, arrival);
        }
    }

    /// Makes a connection of a new socket.
    fn take_in(&mut self, arrival: Arrival<D::Stream>) {
        let Arrival {
            mut stream,
            peer,
            service,
            connect_timeout,
            evicts,
        } = arrival;
        // Asked first, so that no pipeline is made in vain. Who is told to end from here on is told once more
        // of its new connection, by `Command::Shutdown`.
        if service.is_ending() {
            return self.turn_away(stream, &peer, &service);
        }
        if evicts && !self.evict_idle(&service) {
            self.turn.stats.refused.add(1);
            self.driver.refuse(stream);
            return self.leave(&peer, &service);
        }
        let whereabouts = &self.turn.stats.whereabouts;
        whereabouts.enter_for(peer.address, Label::FACTORY);
        let made = service.make(&peer);
        whereabouts.leave();
        let Ok(pipeline) = made else {
            error!(target: "netwheel::worker", "{}: the pipeline's factory panicked", peer.address);
            self.turn.stats.panics.add(1);
            return self.turn_away(stream, &peer, &service);
        };
        let connecting = connect_timeout.is_some();
        let (worker, driver) = (self.index, &mut self.driver);
        let mut registered = Ok(());
        let key = self.slots.insert_with(|key| {
            registered = driver.register(&mut stream, key, connecting);
            let id = ConnectionId::new(worker, key);
            let options = Arc::clone(&service.options);
            let connection = Connection::new(id, peer, options, pipeline);
            Entry::new(stream, connection, Arc::clone(&service), connecting)
        });
        if !connecting {
            self.turn.stats.accepted.add(1);
        }
        let Some((entry, io)) = self.entry(key) else {
            return;
        };
        entry.connection.attach(io.turn);
        if let Err(error) = registered {
            error!(target: "netwheel::worker", "{}: register: {error}", peer.address);
            return self.close(key, CloseReason::of_io(&error));
        }
        trace!(target: "netwheel::connection", "{} {}: taken in", entry.connection.id(), peer.address);
        match connect_timeout {
            Some(timeout) => self.arm(key, self.turn.clock.now() + timeout),
            None => entry.connection.open(io.turn),
        }
        self.settle(key);
    }

    fn turn_away(&mut self, stream: D::Stream, peer: &Peer, service: &Service) {
        self.driver.close(stream);
        self.leave(peer, service);
    }

    fn leave(&self, peer: &Peer, service: &Service) {
        service.leave(peer);
        self.turn.stats.connections.leave();
    }

    /// Fires the timers that are due; answers whether there was anything to do.
    fn fire_timers(&mut self) -> bool {
        let mut budget = self.limits.timers_per_turn;
        // What the budget leaves behind makes `next_expiry` a moment that has passed.
        while let Some(key) = self.wheel.expire(self.turn.now, &mut budget) {
            if key.is_endpoint() {
                let (endpoints, mut ground) = self.endpoints();
                endpoints.fire_timer(&mut ground, key);
                continue;
            }
            let Some((entry, io)) = self.entry(key) else {
                continue;
            };
            entry.timer = None;
            match entry.phase {
                Phase::Connecting => {
                    info!(target: "netwheel::connection", "connect to {}: timed out",
                        entry.connection.peer().address);
                    self.close(key, CloseReason::HandshakeTimeout);
                }
                Phase::Lingering(_) => self.free(key),
                Phase::Open => {
                    entry.connection.handle_timeout(io.turn);
                    self.settle(key);
                }
            }
        }
        budget < self.limits.timers_per_turn
    }

    fn flush_dirty(&mut self) {
        // Flushing may make callbacks write more, or bring more from handles: that leaves next turn.
        let empty = std::mem::take(&mut self.flushing);
        let mut flushing = std::mem::replace(&mut self.dirty, empty);
        for key in flushing.drain(..) {
            let Some(entry) = self.slots.get_mut(key) else {
                continue;
            };
            entry.in_dirty = false;
            let Some((entry, mut io)) = self.entry(key) else {
                continue;
            };
            if entry.wants_flush() {
                entry.flush(&mut io);
            }
            self.settle(key);
        }
        self.flushing = flushing;
    }

    /// After anything was done to a connection: ends it, or puts it on the lists it belongs on.
    fn settle(&mut self, key: Key) {
        let Some(entry) = self.slots.get_mut(key) else {
            return;
        };
        if entry.connection.asks_for_flush() {
            entry.go_on(&mut Io {
                driver: &mut self.driver,
                turn: &mut self.turn,
                inbox: &mut self.inbox,
                key,
            });
        }
        self.pressure.weigh(entry);
        match (entry.phase, entry.connection.fate()) {
            // Its handler has been told already; only the socket is left.
            (Phase::Lingering(_), _) => return,
            (_, Fate::Broken(reason)) => return self.close(key, reason),
            (Phase::Connecting, _) => return,
            (Phase::Open, Fate::Finished(reason)) => return self.finish(key, reason),
            (Phase::Open, Fate::Live | Fate::Ending) => {}
        }
        if entry.wants_flush() && !entry.in_dirty {
            entry.in_dirty = true;
            self.dirty.push(key);
        }
        if (entry.wants_read() || entry.connection.wants_decode()) && !entry.in_ready {
            entry.in_ready = true;
            self.ready.push_back(key);
        }
        if let Some(at) = entry.connection.next_timeout()
            && entry.timer.is_none_or(|(_, armed)| at < armed)
        {
            self.arm(key, at);
        }
    }

    /// Arms the entry's one timer, or moves it; a later moment than the armed one waits for that to pass.
    fn arm(&mut self, key: Key, at: Instant) {
        let Some(entry) = self.slots.get_mut(key) else {
            return;
        };
        let timer = match entry.timer {
            Some((timer, _)) if self.wheel.rearm(timer, at) => timer,
            _ => self.wheel.arm(at, key),
        };
        entry.timer = Some((timer, at));
    }

    /// Everything has left: waits for the peer's FIN, if it has not come, before the socket goes.
    fn finish(&mut self, key: Key, reason: CloseReason) {
        let Some((entry, mut io)) = self.entry(key) else {
            return;
        };
        let linger = entry.service.limits().linger_timeout;
        if entry.connection.is_eof() || linger.is_zero() {
            return self.close(key, reason);
        }
        if io.driver.shutdown_write(&mut entry.stream).is_err() {
            return self.close(key, reason);
        }
        entry.phase = Phase::Lingering(bytes_u32(entry.service.limits().linger_bytes_max));
        entry.service.begin_linger();
        entry.close_reason = reason;
        // What stopped reading early may have left bytes that no event will tell of again.
        entry.note_readable(false);
        entry.connection.close(io.turn, reason);
        if entry.linger(&mut io) {
            self.arm(key, self.turn.clock.now() + linger);
        } else {
            self.free(key);
        }
    }

    /// Tells the handler, and frees the slot.
    fn close(&mut self, key: Key, reason: CloseReason) {
        let Some((entry, io)) = self.entry(key) else {
            return;
        };
        entry.close_reason = reason;
        entry.connection.close(io.turn, reason);
        self.free(key);
    }

    /// Frees the slot of a connection whose handler has been told.
    fn free(&mut self, key: Key) {
        let Some(entry) = self.slots.remove(key) else {
            return;
        };
        if let Some((timer, _)) = entry.timer {
            self.wheel.cancel(timer);
        }
        self.pressure.note_freed(entry.held);
        let (reason, stats) = (entry.close_reason, &self.turn.stats);
        debug!(target: "netwheel::connection", "{} {}: closed: {reason}",
            entry.connection.id(), entry.connection.peer().address);
        // A connect that failed was never open, so it is not counted as closed.
        if entry.accepted || entry.phase != Phase::Connecting {
            stats.closes[reason as usize].add(1);
        }
        self.driver.close(entry.stream);
        self.leave(&entry.connection.peer(), &entry.service);
        if matches!(entry.phase, Phase::Lingering(_)) {
            entry.service.end_linger();
        }
    }

    /// The connections of this moment; the slots may change while they are gone through.
    fn keys(&self) -> Vec<Key> {
        self.slots.keys().collect()
    }

    /// Closes every connection at once.
    pub(crate) fn close_all(&mut self) {
        self.turn.board.close();
        self.end_inspections();
        while let Some(arrival) = self.driver.arrival() {
            self.turn_away(arrival.stream, &arrival.peer, &arrival.service);
        }
        let (endpoints, mut ground) = self.endpoints();
        endpoints.close_all(&mut ground);
        for key in self.keys() {
            match self.slots.get_mut(key).map(|entry| entry.phase) {
                Some(Phase::Lingering(_)) => self.free(key),
                Some(_) => self.close(key, CloseReason::Shutdown),
                None => {}
            }
        }
    }
}
