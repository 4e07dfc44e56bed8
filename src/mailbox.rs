//! What other threads want of a worker, and how they wake it.
//!
//! ```text
//!   any thread: push ──> [ commands ] ──> worker: take, once a turn
//!                  └─ wakes the worker's poll, only if it sleeps
//! ```
//! Bounded by construction: a connection or datagram socket has at most one [`Command::Ready`] in here
//! (its outbox keeps the messages and a flag), arrivals are announced at most once per batch and channel, broadcasts at
//! most once per burst, lists of connections once for each of a bounded number, and a shutdown is one command. Messages of connections' outboxes are counted here as well
//! ([`Mailbox::admit`]), which bounds them over all connections of the worker. Nobody ever waits for room,
//! so two workers that send to each other cannot lock up.
//!
//! # Why no wake-up is lost
//!
//! The worker sets `sleeping` and *then* looks at the queue under its lock; a sender queues under the
//! lock and *then* looks at `sleeping`. Whoever takes the lock second sees the other: if that is the
//! worker, it finds the command and does not sleep; if that is the sender, the lock has carried the
//! store of `sleeping` over to it, and it wakes. The flag is only ever swapped, so its values are one
//! chain in which everybody who changes it sees all that came before; of many senders one wakes.
//! Likewise `owed`: who pays swaps, and so sees the sleep that those saw who relied on the payment.
//! `tests/loom.rs` explores every interleaving of this.

use std::collections::VecDeque;
use std::fmt;

use crate::id::Key;
use crate::planted::{Bug, is_planted};
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, lock};

/// Ends a worker's wait; may be called from any thread, any number of times.
pub(crate) trait Wake: Send + Sync {
    /// Makes the current or the next wait return at once.
    fn wake(&self);
}

/// What a worker is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// The outbox of this connection, or datagram socket, has something for it.
    Ready(Key),
    /// The board has frames for members of groups.
    Broadcasts,
    /// The driver has new sockets.
    Arrivals,
    /// Somebody wants to know of the worker's connections.
    Inspect,
    /// Services have been told to end; look at each connection's service.
    Shutdown,
    /// The worker's thread ends after this turn.
    Stop,
}

/// The queue of commands into one worker.
pub(crate) struct Mailbox {
    commands: Mutex<VecDeque<Command>>,
    sleeping: AtomicBool,
    /// Whether somebody who pushed quietly is going to see to the wake-up.
    owed: AtomicBool,
    messages: AtomicUsize,
    messages_max: usize,
    wake: Box<dyn Wake>,
}

impl Mailbox {
    pub(crate) fn new(wake: Box<dyn Wake>, messages_max: usize) -> Self {
        Self {
            commands: Mutex::new(VecDeque::new()),
            sleeping: AtomicBool::new(false),
            owed: AtomicBool::new(false),
            messages: AtomicUsize::new(0),
            messages_max,
            wake,
        }
    }

    /// Queues a command and wakes the worker if it sleeps. Threads: any. Never blocks for room.
    pub(crate) fn push(&self, command: Command) {
        lock(&self.commands).push_back(command);
        self.wake_if_asleep();
    }

    /// Queues a command and leaves the wake-up to [`pay`](Self::pay), which the
    /// caller sees to; `true` when one is owed, and nobody else owes it yet. Threads: any.
    pub(crate) fn push_quietly(&self, command: Command) -> bool {
        lock(&self.commands).push_back(command);
        self.sleeping.load(Ordering::Relaxed) && !self.owed.swap(true, Ordering::AcqRel)
    }

    /// Pays the wake-up that quiet pushes owe. Threads: any.
    pub(crate) fn pay(&self) {
        // Cleared first: a push after this owes a wake-up of its own. Swapped: whoever relied on this
        // one may have seen a later sleep than the caller has.
        self.owed.swap(false, Ordering::AcqRel);
        self.wake_if_asleep();
    }

    fn wake_if_asleep(&self) {
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            self.wake.wake();
        }
    }

    /// Counts a message into the worker, unless it holds the most it may. Threads: any.
    pub(crate) fn admit(&self) -> bool {
        let admitted = self.messages.fetch_add(1, Ordering::Relaxed) < self.messages_max;
        if !admitted {
            self.release(1);
        }
        admitted
    }

    /// Counts messages into the worker that must not be refused: answers to messages let in before, and
    /// what waited for a connect.
    pub(crate) fn admit_always(&self, count: usize) {
        self.messages.fetch_add(count, Ordering::Relaxed);
    }

    /// Whether no connection of the worker has messages that wait. What a thread had counted in before it
    /// queued something that the worker has taken since is seen here.
    pub(crate) fn holds_no_messages(&self) -> bool {
        self.messages.load(Ordering::Relaxed) == 0
    }

    /// Messages of handles that wait. Threads: any.
    pub(crate) fn messages_waiting(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// Commands that wait. Threads: any.
    pub(crate) fn commands_waiting(&self) -> usize {
        lock(&self.commands).len()
    }

    /// Counts messages out again.
    pub(crate) fn release(&self, count: usize) {
        let before = self.messages.fetch_sub(count, Ordering::Relaxed);
        debug_assert!(
            before >= count,
            "a message is counted in before it is counted out"
        );
    }

    /// Moves all commands behind those in `into`, an emptied queue in the usual case. Worker only.
    pub(crate) fn take(&self, into: &mut VecDeque<Command>) {
        let mut commands = lock(&self.commands);
        if into.is_empty() {
            std::mem::swap(&mut *commands, into);
        } else {
            into.append(&mut commands);
        }
    }

    /// Announces that the worker is about to sleep; `false` when there is something to do first. Worker only.
    pub(crate) fn may_sleep(&self) -> bool {
        self.sleeping.swap(true, Ordering::AcqRel);
        let empty = is_planted(Bug::LostWakeUp) || lock(&self.commands).is_empty();
        if !empty {
            self.awake();
        }
        empty
    }

    /// The worker has woken, for whatever reason. Worker only.
    pub(crate) fn awake(&self) {
        self.sleeping.swap(false, Ordering::AcqRel);
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

// Loom, which compiles this file against its own types, has models instead.
#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Bell(Arc<AtomicUsize>);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn mailbox(messages_max: usize) -> (Mailbox, impl Fn() -> usize) {
        let bell = Bell::default();
        let rung = Arc::clone(&bell.0);
        let rings = move || rung.load(Ordering::SeqCst);
        (Mailbox::new(Box::new(bell), messages_max), rings)
    }

    #[test]
    fn only_a_worker_that_sleeps_is_woken_and_only_once() {
        let (mailbox, rings) = mailbox(8);
        mailbox.push(Command::Arrivals);
        assert_eq!((rings(), mailbox.commands_waiting()), (0, 1));
        assert!(!mailbox.may_sleep(), "there is something to do");
        let mut taken = VecDeque::from([Command::Stop]);
        mailbox.take(&mut taken);
        assert_eq!(taken, [Command::Stop, Command::Arrivals]);
        assert!(mailbox.may_sleep());
        mailbox.push(Command::Broadcasts);
        mailbox.push(Command::Broadcasts);
        assert_eq!((rings(), mailbox.commands_waiting()), (1, 2));
        mailbox.awake();
        mailbox.push(Command::Broadcasts);
        assert_eq!(rings(), 1);
    }

    #[test]
    fn a_quiet_push_is_paid_for_by_one() {
        let (mailbox, rings) = mailbox(8);
        assert!(!mailbox.push_quietly(Command::Arrivals), "it is awake");
        let mut taken = VecDeque::new();
        mailbox.take(&mut taken);
        assert!(mailbox.may_sleep());
        assert!(mailbox.push_quietly(Command::Arrivals));
        assert!(!mailbox.push_quietly(Command::Arrivals), "another owes it");
        assert_eq!(rings(), 0);
        mailbox.pay();
        mailbox.pay();
        assert_eq!(rings(), 1);
    }

    #[test]
    fn messages_are_counted_in_up_to_the_limit_and_out_again() {
        let (mailbox, _) = mailbox(2);
        assert!(mailbox.holds_no_messages());
        assert!(mailbox.admit() && mailbox.admit());
        assert!(!mailbox.admit(), "full");
        assert_eq!(mailbox.messages_waiting(), 2);
        mailbox.admit_always(3);
        assert_eq!(mailbox.messages_waiting(), 5);
        mailbox.release(4);
        assert!(!mailbox.holds_no_messages());
        assert!(mailbox.admit());
        mailbox.release(2);
        assert!(mailbox.holds_no_messages());
    }
}
