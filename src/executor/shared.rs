//! What the handles, the lanes and the threads of a pool share: its counts, its queues, its work.
//!
//! The threads hold this and not the [`Pool`](super::Pool), which holds them: else one of them could be
//! the last to let go of the pool, and nobody would wait for its work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, TryRecvError};
use log::error;

use super::Work;
use super::parking::Parking;
use super::waiting::Waiters;
use crate::mailbox::Mailbox;
use crate::stats::Gauge;
use crate::sync::lock;

/// Lanes after which a thread pays the wake-ups that it owes, however much work there still is.
const LANES_OWED_MAX: usize = 16;

pub(super) struct Shared {
    pub(super) receiver: Receiver<Work>,
    pub(super) parking: Parking,
    pub(super) waiters: Waiters,
    queued: AtomicUsize,
    queued_max: usize,
    /// Workers that are to be woken: at most one entry for each.
    owed: Mutex<Vec<Arc<Mailbox>>>,
    owes: AtomicBool,
}

impl Shared {
    pub(super) fn new(receiver: Receiver<Work>, queued_max: usize) -> Self {
        Self {
            receiver,
            parking: Parking::default(),
            waiters: Waiters::default(),
            queued: AtomicUsize::new(0),
            queued_max,
            owed: Mutex::default(),
            owes: AtomicBool::new(false),
        }
    }

    /// Messages and jobs that wait or run.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Lets in up to `want` messages of a newcomer, who queues up behind those who wait.
    pub(super) fn acquire_new(&self, want: usize) -> usize {
        if self.waiters.any() {
            return 0;
        }
        self.acquire(want)
    }

    /// Lets in up to `want` messages; answers how many.
    fn acquire(&self, want: usize) -> usize {
        let mut granted = 0;
        let _ = self
            .queued
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |queued| {
                granted = want.min(self.queued_max.saturating_sub(queued));
                Some(queued + granted)
            });
        granted
    }

    /// Counts out what has been handled, which makes room for those who wait.
    pub(super) fn release(&self, count: usize) {
        self.queued.fetch_sub(count, Ordering::SeqCst);
        self.serve();
    }

    /// Gives room to those who wait, first come first served, as far as there is some.
    pub(super) fn serve(&self) {
        while self.waiters.any() {
            let Some(who) = self.waiters.grant(|want| self.acquire(want)) else {
                return;
            };
            who.ready();
        }
    }

    /// Notes that a worker is to be woken, by the next thread that pays.
    ///
    /// # Why no wake-up waits for a handler that blocks
    ///
    /// The debt is noted first, and then it is asked whether a thread is on its way. If none is, the
    /// debt is paid here. If one is, somebody ends its search after that question: it does so itself
    /// when it finds work or none, or another thread does that finds work before it. And whoever ends
    /// a search ([`Parking::work_found`], [`Parking::search_ended`]) pays after it and before it runs
    /// anything or sleeps; or it sees another thread on its way, for which the same holds. No
    /// handler runs in between, so no debt waits for one. Threads that are on their way follow each
    /// other only while each has found work and quiet lanes are bounded, so somebody does pay.
    pub(super) fn owe(&self, mailbox: Arc<Mailbox>) {
        lock(&self.owed).push(mailbox);
        self.owes.store(true, Ordering::SeqCst);
        if !self.parking.is_one_coming() {
            self.pay();
        }
    }

    /// Wakes the workers that are owed it.
    pub(super) fn pay(&self) {
        if self.owes.swap(false, Ordering::SeqCst) {
            for mailbox in lock(&self.owed).drain(..) {
                mailbox.pay();
            }
        }
    }

    /// Whether work waits that nobody has taken.
    pub(super) fn has_work(&self) -> bool {
        !self.receiver.is_empty()
    }

    /// Whether wake-ups are owed.
    pub(super) fn owes(&self) -> bool {
        self.owes.load(Ordering::SeqCst)
    }

    /// A thread of the pool: ends once the last handle has gone and all that was let in is done.
    pub(super) fn run_until_closed(&self) {
        let mut lanes_owed = 0;
        loop {
            match self.receiver.try_recv() {
                Ok(work) => {
                    self.parking.work_found(|| !self.receiver.is_empty());
                    // Nobody else may come for a long while, and this handler may block.
                    let quiet = self.parking.is_one_coming();
                    if !quiet || lanes_owed >= LANES_OWED_MAX {
                        self.pay();
                        lanes_owed = 0;
                    }
                    lanes_owed += usize::from(quiet);
                    self.run(work, quiet);
                }
                Err(nothing) => {
                    self.parking.search_ended();
                    self.pay();
                    lanes_owed = 0;
                    if nothing == TryRecvError::Disconnected {
                        return;
                    }
                    self.parking.park(|| !self.receiver.is_empty());
                    // Whoever called this thread may be in a handler that blocks by now.
                    self.pay();
                }
            }
        }
    }

    /// Does a piece of work. No panic in it, or in a destructor of what it holds, ends the thread.
    pub(super) fn run(&self, work: Work, quiet: bool) {
        let counted = usize::from(matches!(work, Work::Task(_)));
        let outcome = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Lane(lane) => lane.run(quiet),
            Work::Task(task) => task(),
        }));
        if outcome.is_err() {
            error!(target: "netwheel::executor", "a job of the pool, or a destructor on it, panicked");
        }
        // A lane counts its messages out itself.
        if counted > 0 {
            self.release(counted);
        }
    }
}

impl Gauge for Shared {
    fn value(&self) -> u64 {
        self.queued() as u64
    }
}
