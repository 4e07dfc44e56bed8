//! One I/O thread's loop: the turn.
//!
//! ```text
//!   wait ─> read the clock ─> events ─> leftovers ─> mailbox ─> new sockets ─> timers ─> flush
//! ```
//! Every step is bounded: events by the poll's batch, each connection by its budgets, commands and
//! timers by their limits. What is left over makes the next wait return at once. Each connection that
//! has output is flushed once, at the end; earlier only above the high water mark or when asked. Its
//! budgets are those of the whole turn, however often it is served in it.

mod arrivals;
mod ending;
mod evict;
mod fan_out;
mod inspect;
mod pressure;
mod wait;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use log::info;

use self::fan_out::Fan;
use self::inspect::Inspection;
use self::pressure::Pressure;
use super::driver::{Driver, Readiness};
use super::endpoints::{Endpoints, Ground};
use super::entry::{Entry, Io, Phase};
use crate::buffer::Inbox;
use crate::clock::Instant;
use crate::connection::Fate;
use crate::error::CloseReason;
use crate::id::Key;
use crate::limits::WorkerLimits;
use crate::mailbox::{Command, Mailbox};
use crate::pipeline::Turn;
use crate::planted::{Bug, is_planted};
use crate::slots::Slots;
use crate::stats::WorkerStats;
use crate::wheel::Wheel;

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

    /// The connections of this moment; the slots may change while they are gone through.
    fn keys(&self) -> Vec<Key> {
        self.slots.keys().collect()
    }
}
