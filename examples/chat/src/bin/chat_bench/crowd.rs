//! What all users share: what they were told to do, and what came of it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;
use netwheel::{Clock, Instant};

use crate::Flags;
use crate::support::Outcome;

/// The slowest delivery that is told apart: a minute.
const SLOWEST_MICROS: u64 = 60_000_000;

/// What all users share.
pub(crate) struct Crowd {
    pub(crate) flags: Flags,
    pub(crate) clock: Clock,
    pub(crate) start: Instant,
    pub(crate) talking: AtomicBool,
    pub(crate) logged_in: AtomicUsize,
    pub(crate) joined: AtomicUsize,
    /// Said, and answered by the server.
    pub(crate) said: AtomicU64,
    pub(crate) kept: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Deliveries that are due for what was said, and those that came.
    pub(crate) due: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) heartbeats: AtomicU64,
    pub(crate) echoes: AtomicU64,
    /// Everything that went wrong, and the first few of that in words.
    pub(crate) fault_count: AtomicU64,
    faults: Mutex<Vec<String>>,
    /// Whether it makes no sense to go on: a user is not there.
    pub(crate) over: AtomicBool,
    pub(crate) times: Mutex<Histogram<u64>>,
}

impl Crowd {
    pub(crate) fn new(flags: Flags) -> Self {
        let clock = Clock::system();
        Self {
            flags,
            start: clock.now(),
            clock,
            talking: AtomicBool::new(false),
            logged_in: AtomicUsize::new(0),
            joined: AtomicUsize::new(0),
            said: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            due: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            heartbeats: AtomicU64::new(0),
            echoes: AtomicU64::new(0),
            fault_count: AtomicU64::new(0),
            faults: Mutex::default(),
            over: AtomicBool::new(false),
            times: Mutex::new(times()),
        }
    }

    /// A user is refused, or its connection has ended: nobody waits for the rest.
    pub(crate) fn give_up(&self, text: String) {
        self.fault(text);
        self.over.store(true, Ordering::Relaxed);
    }

    /// What has gone wrong, if something has.
    pub(crate) fn verdict(&self) -> Outcome {
        let (due, delivered) = (&self.due, self.delivered.load(Ordering::Relaxed));
        let missing = due.load(Ordering::Relaxed).saturating_sub(delivered);
        let count = self.fault_count.load(Ordering::Relaxed);
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match (faults.first(), missing) {
            (None, 0) => Ok(()),
            (None, _) => Err(format!("{missing} deliveries are missing").into()),
            (Some(first), 0) => Err(format!("{count} faults, the first: {first}").into()),
            (Some(first), _) => Err(format!(
                "{missing} deliveries are missing, and there are {count} faults, the first: {first}"
            )
            .into()),
        }
    }

    pub(crate) fn fault(&self, text: String) {
        self.fault_count.fetch_add(1, Ordering::Relaxed);
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < 10 {
            faults.push(text);
        }
    }

    pub(crate) fn now_micros(&self) -> u64 {
        let since = self.clock.now().since(self.start);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn rooms(&self) -> usize {
        self.flags.users.div_ceil(self.flags.room_members)
    }

    /// Members of the room of a user.
    pub(crate) fn members(&self, user: usize) -> usize {
        let rooms = self.rooms();
        self.flags.users / rooms + usize::from(user % rooms < self.flags.users % rooms)
    }

    pub(crate) fn in_rooms(&self) -> bool {
        self.flags.room_share > 0.0
    }
}

/// Times in microseconds.
pub(crate) fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, SLOWEST_MICROS, 2).expect("bounds that make sense")
}
