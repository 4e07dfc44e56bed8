//! What one link keeps over all its connections, behind one lock.
//!
//! # Locks
//!
//! `turn`, then `state`. `turn` is held while a handler runs an acknowledged message, so that its repeat, which has
//! come over the next connection meanwhile, waits for the outcome. `state` is held for a few instructions: no code
//! of the program runs under it, no task of the network is made or dropped, and no handle of a connection.

#[cfg(feature = "caviar")]
use std::any::Any;
#[cfg(feature = "caviar")]
use std::sync::OnceLock;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;

use log::{debug, error, warn};

use super::call::{CallError, SendError, Waiter};
use super::intake::Intake;
use super::outbox::{Outbox, Until};
use super::position::{Position, fresh_epoch};
use super::requests::Requests;
use super::rules::LinkRules;
use super::spool::{Cursor, Spool};
use super::wire::{Stamp, Wire};
use crate::clock::Instant;
use crate::error::{CloseReason, Error};
use crate::handle::ConnectionHandle;
use crate::net::Net;
use crate::schedule::TaskId;
use crate::sync::lock;

pub(super) struct Shared<W: Wire> {
    pub(super) wire: Arc<W>,
    pub(super) rules: LinkRules,
    pub(super) net: Net,
    /// The other side, for logs and cursors.
    pub(super) name: String,
    pub(super) cursor: Option<Arc<dyn Cursor>>,
    pub(super) turn: Mutex<()>,
    state: Mutex<State<W>>,
    pub(super) changed: Condvar,
    /// Told, with no lock held, when nothing was heard of the other side for as long as its messages are kept.
    on_forgotten: Option<Box<dyn Fn() + Send + Sync>>,
    /// What a protocol keeps with the link.
    #[cfg(feature = "caviar")]
    pub(super) companion: OnceLock<Arc<dyn Any + Send + Sync>>,
}

struct State<W: Wire> {
    outbox: Outbox<W::Frame>,
    intake: Intake,
    requests: Requests<Waiter<W::Frame>>,
    spool: Option<Box<dyn Spool<W::Frame>>>,
    connection: Option<ConnectionHandle<W::Frame>>,
    parted: Option<Instant>,
    alarm: Option<(Instant, Option<TaskId>)>,
    alarms: u64,
    closed: bool,
    dropped: u64,
    rtt: Option<Duration>,
}

/// What a link has counted. A snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Messages that are kept.
    pub kept: usize,
    /// Bytes that they count for.
    pub kept_bytes: usize,
    /// Messages that no connection has been given yet, of those that are kept.
    pub waiting: usize,
    /// Messages that were handed to a second connection or a later one.
    pub resent: u64,
    /// Messages that were kept too long, and given up.
    pub dropped: u64,
    /// Repeats that came from the other side, and were dropped.
    pub duplicates: u64,
    /// Calls that wait for their answers.
    pub calls: usize,
    /// Answers that nobody waited for any more.
    pub late_answers: u64,
    /// How long the last ping took to be answered.
    pub rtt: Option<Duration>,
}

/// What a link is made of besides its wire and rules.
pub(super) struct Parts<W: Wire> {
    pub(super) name: String,
    pub(super) cursor: Option<Arc<dyn Cursor>>,
    pub(super) spool: Option<Box<dyn Spool<W::Frame>>>,
    pub(super) on_forgotten: Option<Box<dyn Fn() + Send + Sync>>,
}

impl<W: Wire> Shared<W> {
    pub(super) fn new(
        wire: &Arc<W>,
        rules: &LinkRules,
        net: &Net,
        parts: Parts<W>,
    ) -> Result<Arc<Self>, Error> {
        let Parts {
            name,
            cursor,
            mut spool,
            on_forgotten,
        } = parts;
        let seed = net.network().seed();
        let mut outbox = Outbox::new(rules.outbox.clone(), fresh_epoch(seed));
        if let Some(spool) = &mut spool {
            let kept = spool.load()?;
            outbox = Outbox::new(rules.outbox.clone(), kept.epoch);
            let weighed = kept.messages.into_iter().map(|(seq, frame)| {
                let bytes = wire.weigh(&frame);
                (seq, frame, bytes)
            });
            outbox.restore(weighed, kept.next);
        }
        let mut intake = Intake::new(rules.ack_delay, rules.ack_messages);
        if let Some(cursor) = &cursor {
            intake.restore(cursor.load(&name)?);
        }
        Ok(Arc::new(Self {
            wire: Arc::clone(wire),
            rules: rules.clone(),
            net: net.clone(),
            name,
            cursor,
            turn: Mutex::new(()),
            state: Mutex::new(State {
                outbox,
                intake,
                // The answers that an earlier process asked for are not taken for ours.
                requests: Requests::new(first_id(seed), rules.calls_max),
                spool,
                connection: None,
                parted: None,
                alarm: None,
                alarms: 0,
                closed: false,
                dropped: 0,
                rtt: None,
            }),
            changed: Condvar::new(),
            on_forgotten,
            #[cfg(feature = "caviar")]
            companion: OnceLock::new(),
        }))
    }

    fn now(&self) -> Instant {
        self.net.network().now()
    }
}

/// Where the ids of questions begin: a number of chance above, and one below.
const fn first_id(seed: u64) -> u64 {
    (seed >> 33 << 32) | 1
}

/// What programs ask for, on any thread.
impl<W: Wire> Shared<W> {
    pub(super) fn send(&self, frame: W::Frame) -> Result<(), SendError<W::Frame>> {
        if let Err(error) = self.wire.check(&frame) {
            return Err(SendError::Unsendable(frame, error));
        }
        let connection = {
            let mut state = lock(&self.state);
            state.push(&*self.wire, frame, Until::Sent)?;
            state.connection.clone()
        };
        nudge(connection);
        Ok(())
    }

    /// Asks; `waiter` is told once, unless the question comes back.
    pub(super) fn call(
        self: &Arc<Self>,
        mut frame: W::Frame,
        timeout: Duration,
        waiter: Waiter<W::Frame>,
    ) -> Result<(), SendError<W::Frame>> {
        if let Err(error) = self.wire.check(&frame) {
            waiter.forget();
            return Err(SendError::Unsendable(frame, error));
        }
        let now = self.now();
        let connection = {
            let mut state = lock(&self.state);
            let until = if waiter.retries {
                Until::Answered
            } else {
                Until::Sent
            };
            let id = match state.requests.begin(now, timeout, waiter) {
                Ok(id) => id,
                Err(waiter) => {
                    drop(state);
                    waiter.forget();
                    return Err(SendError::Full(frame));
                }
            };
            self.wire.set_question(&mut frame, id);
            match state.push(&*self.wire, frame, until) {
                Ok(seq) => {
                    if let Some(waiter) = state.requests.waiter_mut(id) {
                        waiter.seq = seq;
                    }
                }
                Err(refused) => {
                    let waiter = state.requests.take(id);
                    drop(state);
                    waiter.into_iter().for_each(Waiter::forget);
                    return Err(refused);
                }
            }
            state.connection.clone()
        };
        nudge(connection);
        self.arm();
        Ok(())
    }

    pub(super) fn is_up(&self) -> bool {
        lock(&self.state).connection.is_some()
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Waits until the link is up or closed; `false` when neither came in time.
    pub(super) fn wait_up(&self, timeout: Duration) -> bool {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, timeout, |state| {
            state.connection.is_none() && !state.closed
        });
        let (state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        state.connection.is_some() || state.closed
    }

    pub(super) fn stats(&self) -> LinkStats {
        let state = lock(&self.state);
        LinkStats {
            kept: state.outbox.len(),
            kept_bytes: state.outbox.bytes(),
            waiting: state.outbox.waiting(),
            resent: state.outbox.resent(),
            dropped: state.dropped,
            duplicates: state.intake.duplicates(),
            calls: state.requests.len(),
            late_answers: state.requests.late(),
            rtt: state.rtt,
        }
    }

    pub(super) fn connection(&self) -> Option<ConnectionHandle<W::Frame>> {
        lock(&self.state).connection.clone()
    }

    /// Ends the link for good: nothing is taken any more, and every call is told so.
    pub(super) fn close(&self, after_flush: bool) {
        let (connection, waiting, alarm) = {
            let mut state = lock(&self.state);
            if std::mem::replace(&mut state.closed, true) {
                return;
            }
            state.alarms += 1;
            let waiting = state.requests.close(|_| true);
            let alarm = state.alarm.take().and_then(|(_, task)| task);
            (state.connection.clone(), waiting, alarm)
        };
        self.changed.notify_all();
        if let Some(task) = alarm {
            self.net.network().cancel(task);
        }
        if let Some(connection) = connection {
            if after_flush {
                connection.close_after_flush();
            } else {
                connection.close();
            }
        }
        for (_, waiter) in waiting {
            waiter.settle(Err(CallError::Closed));
        }
    }
}

/// What its connections tell and ask, each on its worker.
impl<W: Wire> Shared<W> {
    /// A connection has logged in; answers its number. One that was there before is out.
    pub(super) fn attach(&self, connection: ConnectionHandle<W::Frame>) -> u64 {
        let (number, old) = {
            let mut state = lock(&self.state);
            let number = state.outbox.begin_link();
            state.intake.begin_link(number);
            state.parted = None;
            (number, state.connection.replace(connection))
        };
        drop(old);
        self.changed.notify_all();
        number
    }

    /// A connection has ended.
    pub(super) fn detach(self: &Arc<Self>, number: u64, now: Instant, reason: CloseReason) {
        let (old, ended) = {
            let mut state = lock(&self.state);
            if state.outbox.link() != number {
                return;
            }
            state.outbox.end_link(number, now);
            state.parted = Some(now);
            let ended = state.requests.close(|waiter| !waiter.retries);
            for (_, waiter) in &ended {
                state.withdraw(waiter.seq, false);
            }
            (state.connection.take(), ended)
        };
        drop(old);
        self.changed.notify_all();
        for (_, waiter) in ended {
            waiter.settle(Err(CallError::Down(reason)));
        }
        match &self.on_forgotten {
            // Nothing is kept, so nothing is waited for: its listener closes the link.
            Some(tell) if self.rules.outbox.age_max == Some(Duration::ZERO) => tell(),
            _ => self.arm(),
        }
    }

    /// The next frame for this connection, stamped; `None` when there is none, or another has its place.
    pub(super) fn next_frame(&self, number: u64) -> Option<(u64, W::Frame)> {
        let mut state = lock(&self.state);
        if state.outbox.link() != number {
            return None;
        }
        let mut out = state.outbox.next()?;
        if let Some(position) = state.outbox.position(out.seq) {
            let stamp = Stamp {
                position: Some(position),
                ack: state.intake.take_ack(),
            };
            self.wire.stamp(&mut out.message, stamp);
        }
        Some((out.seq, out.message))
    }

    pub(super) fn handle_left(&self, number: u64, seq: u64) {
        lock(&self.state).outbox.handle_left(number, seq);
    }

    pub(super) fn handle_ack(&self, number: u64, seq: u64) {
        let mut state = lock(&self.state);
        if state.outbox.link() == number {
            let gone = state.outbox.handle_ack(seq);
            state.forget(gone);
        }
    }

    /// A message has come; answers whether it is to be handled.
    pub(super) fn arrive(&self, now: Instant, number: u64, at: Position) -> bool {
        lock(&self.state).intake.arrive(now, number, at)
    }

    pub(super) fn is_new(&self, at: Position) -> bool {
        lock(&self.state).intake.is_new(at)
    }

    /// A message has been handled. Answers whether its worker has to see to the acknowledgement.
    pub(super) fn handle_handled(&self, at: Position) -> Result<(), Error> {
        let now = self.now();
        let mut state = lock(&self.state);
        let due = state.intake.next_timeout();
        state.intake.handle_handled(now, at);
        let changed = state.intake.next_timeout() != due;
        let reached = state.intake.cursor();
        let connection = state.connection.clone().filter(|_| changed);
        drop(state);
        nudge(connection);
        match (&self.cursor, reached) {
            (Some(cursor), Some(reached)) => cursor.store(&self.name, reached),
            _ => Ok(()),
        }
    }

    pub(super) fn poll_ack(&self, now: Instant) -> Option<u64> {
        lock(&self.state).intake.poll_ack(now)
    }

    pub(super) fn ack_at(&self) -> Option<Instant> {
        lock(&self.state).intake.next_timeout()
    }

    /// An answer has come: whoever asked is told.
    pub(super) fn handle_answer(&self, id: u64, frame: W::Frame) {
        let waiter = {
            let mut state = lock(&self.state);
            let waiter = state.requests.answer(id);
            if let Some(waiter) = &waiter {
                state.withdraw(waiter.seq, true);
            }
            waiter
        };
        match waiter {
            Some(waiter) => waiter.settle(Ok(frame)),
            None => debug!(target: "netwheel::link", "{}: a late answer to {id}", self.name),
        }
    }

    pub(super) fn tell_rtt(&self, rtt: Option<Duration>) {
        lock(&self.state).rtt = rtt;
    }
}

impl<W: Wire> State<W> {
    fn push(
        &mut self,
        wire: &W,
        frame: W::Frame,
        until: Until,
    ) -> Result<u64, SendError<W::Frame>> {
        if self.closed {
            return Err(SendError::Closed(frame));
        }
        let (bytes, urgent) = (wire.weigh(&frame), wire.is_urgent(&frame));
        if !self.outbox.has_room(bytes) {
            return Err(SendError::Full(frame));
        }
        if let Some(spool) = &mut self.spool {
            // Before it is taken: what was taken is safe.
            if let Err(error) = spool.append(self.outbox.next_seq(), &frame) {
                return Err(SendError::Unsendable(frame, error));
            }
        }
        self.outbox
            .push(frame, bytes, until, urgent)
            .map_err(SendError::Full)
    }

    /// Nobody waits for a question any more: what is left of it here need not go. One that the peer may have, and
    /// will acknowledge, stays, unless its answer has come.
    fn withdraw(&mut self, seq: u64, answered: bool) {
        let kept = self.outbox.position(seq).is_some();
        if (!kept || answered || self.outbox.is_unsent(seq)) && self.outbox.withdraw(seq).is_some()
        {
            self.forget([seq]);
        }
    }

    fn forget(&mut self, seqs: impl IntoIterator<Item = u64>) {
        let Some(spool) = &mut self.spool else { return };
        for seq in seqs {
            if let Err(error) = spool.forget(seq) {
                warn!(target: "netwheel::link", "a spool keeps message {seq}, which is done: {error}");
            }
        }
    }

    fn next_timeout(&self, rules: &LinkRules, forgets: bool) -> Option<Instant> {
        let calls = self.requests.next_timeout();
        let kept = self.outbox.next_timeout();
        let forgotten = match (self.parted, rules.outbox.age_max) {
            (Some(parted), Some(age)) if forgets => Some(parted + age),
            _ => None,
        };
        [calls, kept, forgotten].into_iter().flatten().min()
    }
}

/// Makes the worker look at what there is to send.
fn nudge<F: Send + 'static>(connection: Option<ConnectionHandle<F>>) {
    if let Some(connection) = connection {
        connection.0.announce();
    }
}

/// What is due when there may be no connection: told by the network's schedule.
impl<W: Wire> Shared<W> {
    /// Sees to it that the alarm rings no later than something is due; the caller holds nothing.
    fn arm(self: &Arc<Self>) {
        let now = self.now();
        let (after, number, old) = {
            let mut state = lock(&self.state);
            let forgets = self.on_forgotten.is_some();
            let Some(next) = state.next_timeout(&self.rules, forgets) else {
                return;
            };
            if state.closed || state.alarm.as_ref().is_some_and(|(at, _)| *at <= next) {
                return;
            }
            state.alarms += 1;
            let old = state.alarm.replace((next, None));
            (
                next.since(now),
                state.alarms,
                old.and_then(|(_, task)| task),
            )
        };
        if let Some(task) = old {
            self.net.network().cancel(task);
        }
        let alarm = Alarm {
            shared: Arc::downgrade(self),
            number,
            rung: false,
        };
        match self
            .net
            .network()
            .schedule(after, Box::new(move || alarm.ring()))
        {
            Ok(task) => {
                let mut state = lock(&self.state);
                let current = state.alarms == number;
                match &mut state.alarm {
                    Some((_, id)) if current => *id = Some(task),
                    _ => {
                        drop(state);
                        self.net.network().cancel(task);
                    }
                }
            }
            Err((error, task)) => {
                error!(target: "netwheel::link", "{}: {error}", self.name);
                drop(task);
            }
        }
    }

    fn ring(self: &Arc<Self>, number: u64) {
        let now = self.now();
        let (timed_out, forgotten) = {
            let mut state = lock(&self.state);
            if state.alarms != number || state.closed {
                return;
            }
            state.alarm = None;
            let mut timed_out = Vec::new();
            while let Some((_, waiter)) = state.requests.poll_timed_out(now) {
                state.withdraw(waiter.seq, false);
                timed_out.push(waiter);
            }
            while state.outbox.poll_expired(now).is_some() {
                state.dropped += 1;
            }
            let age = self.rules.outbox.age_max;
            let forgotten = state
                .parted
                .zip(age)
                .is_some_and(|(at, age)| at + age <= now);
            if forgotten {
                state.parted = None;
            }
            (timed_out, forgotten)
        };
        for waiter in timed_out {
            waiter.settle(Err(CallError::TimedOut));
        }
        match &self.on_forgotten {
            Some(tell) if forgotten => tell(),
            _ => self.arm(),
        }
    }
}

/// Rings once; dropped before, while it counts, the network has ended.
struct Alarm<W: Wire> {
    shared: Weak<Shared<W>>,
    number: u64,
    rung: bool,
}

impl<W: Wire> Alarm<W> {
    fn ring(mut self) {
        self.rung = true;
        if let Some(shared) = self.shared.upgrade() {
            shared.ring(self.number);
        }
    }
}

impl<W: Wire> Drop for Alarm<W> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade().filter(|_| !self.rung) else {
            return;
        };
        let counts = {
            let state = lock(&shared.state);
            state.alarms == self.number && !state.closed
        };
        if counts {
            shared.close(false);
        }
    }
}
