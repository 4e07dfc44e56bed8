//! What one link keeps over all its connections, behind one lock.
//!
//! # Locks
//!
//! `turn`, then `state`. `turn` is held while a handler runs an acknowledged message, so that its repeat, which has
//! come over the next connection meanwhile, waits for the outcome. `state` is held for a few instructions: no code
//! of the program runs under it but a spool, which must not wait; no task of the network is made or dropped, and no
//! handle of a connection.

#[cfg(feature = "caviar")]
use std::any::Any;
#[cfg(feature = "caviar")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use log::warn;

use super::call::{CallError, SendError, Waiter};
use super::intake::Intake;
use super::keeping::Keeping;
use super::outbox::{Outbox, Until};
use super::position::fresh_epoch;
use super::requests::Requests;
use super::rules::LinkRules;
use super::spool::{Cursor, Kept, Progress, Spool};
use super::stats::LinkStats;
use super::wire::Wire;
use crate::clock::Instant;
use crate::error::{Error, ErrorKind};
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
    pub(super) state: Mutex<State<W>>,
    pub(super) changed: Condvar,
    /// Told when messages have become safe, or will not.
    pub(super) kept: Condvar,
    /// Whether the outbox is crowded; written under the lock, see [`Self::may_be_crowded`].
    pub(super) crowded: AtomicBool,
    /// Called when the link closes, with no lock held.
    closer: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Told, with no lock held, when nothing was heard of the other side for as long as its messages are kept.
    pub(super) on_forgotten: Option<Box<dyn Fn() + Send + Sync>>,
    /// What a protocol keeps with the link.
    #[cfg(feature = "caviar")]
    pub(super) companion: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// What is behind the lock.
pub(super) struct State<W: Wire> {
    pub(super) outbox: Outbox<W::Frame>,
    pub(super) intake: Intake,
    pub(super) requests: Requests<Waiter<W::Frame>>,
    pub(super) spool: Option<Box<dyn Spool<W::Frame>>>,
    pub(super) keeping: Keeping,
    pub(super) connection: Option<ConnectionHandle<W::Frame>>,
    pub(super) parted: Option<Instant>,
    pub(super) alarm: Option<(Instant, Option<TaskId>)>,
    pub(super) alarms: u64,
    pub(super) closed: bool,
    /// Whether it closes once what it was given has left.
    pub(super) closing: bool,
    /// Whether an engine waits for room.
    pub(super) waits: bool,
    /// Whether the engine is going to look at the outbox without being told to.
    pub(super) attended: bool,
    pub(super) dropped: u64,
    pub(super) rtt: Option<Duration>,
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
        let shared = Arc::new(Self {
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
                keeping: Keeping::default(),
                connection: None,
                parted: None,
                alarm: None,
                alarms: 0,
                closed: false,
                closing: false,
                waits: false,
                attended: false,
                dropped: 0,
                rtt: None,
            }),
            changed: Condvar::new(),
            kept: Condvar::new(),
            crowded: AtomicBool::new(false),
            closer: Mutex::default(),
            on_forgotten,
            #[cfg(feature = "caviar")]
            companion: OnceLock::new(),
        });
        shared.watch_spool();
        Ok(shared)
    }

    /// The spool tells the link, as long as there is one.
    fn watch_spool(self: &Arc<Self>) {
        let link = Arc::downgrade(self);
        let progress = Progress::new(move |told| {
            if let Some(shared) = link.upgrade() {
                match told {
                    Ok(seq) => shared.handle_safe(seq),
                    Err(error) => shared.handle_unsafe(&error),
                }
            }
        });
        if let Some(spool) = &mut lock(&self.state).spool {
            spool.watch(progress);
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.net.network().now()
    }
}

/// Where the ids of questions begin: a number of chance above, and one below.
const fn first_id(seed: u64) -> u64 {
    (seed >> 33 << 32) | 1
}

/// What programs ask for, on any thread.
impl<W: Wire> Shared<W> {
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
                Ok((seq, _)) => {
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
            self.to_tell(&state)
        };
        nudge(connection);
        self.arm();
        Ok(())
    }

    /// Who is to be told that something was pushed.
    pub(super) fn to_tell(&self, state: &State<W>) -> Option<ConnectionHandle<W::Frame>> {
        if state.outbox.is_crowded() {
            self.crowded.store(true, Ordering::Relaxed);
        }
        if state.attended {
            return None;
        }
        state.connection.clone()
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

    /// Whether a message is kept, or a call waits.
    pub(super) fn keeps_any(&self) -> bool {
        let state = lock(&self.state);
        state.outbox.len() + state.requests.len() > 0
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

    /// Ends the link for good once all that was accepted has left; at once where there is no connection.
    pub(super) fn close_after_flush(&self) {
        let connection = {
            let mut state = lock(&self.state);
            state.closing = true;
            state.connection.clone()
        };
        match connection {
            Some(connection) => nudge(Some(connection)),
            None => self.close(),
        }
    }

    /// Whether the link is to close, and nothing waits any more.
    pub(super) fn has_said_all(&self) -> bool {
        let state = lock(&self.state);
        state.closing && state.outbox.waiting() == 0
    }

    /// Ends the link for good: nothing is taken any more, and every call is told so.
    pub(super) fn close(&self) {
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
            connection.close();
        }
        for (_, waiter) in waiting {
            waiter.settle(Err(CallError::Closed));
        }
        let closer = lock(&self.closer).take();
        if let Some(closer) = closer {
            closer();
        }
    }

    /// Calls `closer` when the link closes; at once when it has.
    pub(super) fn on_close(&self, closer: Box<dyn FnOnce() + Send>) {
        *lock(&self.closer) = Some(closer);
        let late = self
            .is_closed()
            .then(|| lock(&self.closer).take())
            .flatten();
        if let Some(closer) = late {
            closer();
        }
    }
}

impl<W: Wire> State<W> {
    pub(super) fn push(
        &mut self,
        wire: &W,
        frame: W::Frame,
        until: Until,
    ) -> Result<(u64, Kept), SendError<W::Frame>> {
        if self.closed || self.closing {
            return Err(SendError::Closed(frame));
        }
        let (bytes, urgent) = (wire.weigh(&frame), wire.is_urgent(&frame));
        if !self.outbox.has_room(bytes) {
            return Err(SendError::Full(frame));
        }
        let kept = match &mut self.spool {
            None => Kept::Safe,
            Some(spool) => match spool.append(self.outbox.next_seq(), &frame) {
                Ok(kept) => kept,
                Err(error) if error.kind() == ErrorKind::OverLimit => {
                    return Err(SendError::Full(frame));
                }
                Err(error) => return Err(SendError::Unsendable(frame, error)),
            },
        };
        let seq = self.outbox.push(frame, bytes, until, urgent);
        let seq = seq.map_err(SendError::Full)?;
        if kept == Kept::Safe {
            self.outbox.handle_safe(seq);
        }
        Ok((seq, kept))
    }

    /// Nobody waits for a question any more: what is left of it here need not go. One that the peer may have, and
    /// will acknowledge, stays, unless its answer has come.
    pub(super) fn withdraw(&mut self, seq: u64, answered: bool) {
        let kept = self.outbox.position(seq).is_some();
        if (!kept || answered || self.outbox.is_unsent(seq)) && self.outbox.withdraw(seq).is_some()
        {
            self.forget([seq]);
        }
    }

    pub(super) fn forget(&mut self, seqs: impl IntoIterator<Item = u64>) {
        let Some(spool) = &mut self.spool else { return };
        for seq in seqs {
            if let Err(error) = spool.forget(seq) {
                warn!(target: "netwheel::link", "a spool keeps message {seq}, which is done: {error}");
            }
        }
    }

    pub(super) fn next_timeout(&self, rules: &LinkRules, forgets: bool) -> Option<Instant> {
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
pub(super) fn nudge<F: Send + 'static>(connection: Option<ConnectionHandle<F>>) {
    if let Some(connection) = connection {
        connection.0.announce();
    }
}
