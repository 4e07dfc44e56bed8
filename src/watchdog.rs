//! Tells of turns that take too long while they still do, and what hangs in them.
//!
//! ```text
//!   worker: turn began, connection, stage ──plain stores──> [ Whereabouts ] <──looks── guard thread
//!                                                   counters, a line in the log, the program's callback
//! ```
//! Nobody else would: a handler that blocks its worker blocks everything that the worker could report
//! with. The guard looks twice in the time that is worth a warning, so a turn half as long again as that
//! is always told of; the exact lengths of all turns are in the worker's own histogram.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{Level, error, log};

use crate::address::Address;
use crate::clock::{Clock, Instant};
use crate::error::Error;
use crate::id::ConnectionId;
use crate::limits::WorkerLimits;
use crate::panics::contain;
use crate::stats::WorkerStats;
use crate::sync::lock;
use crate::thread_role;
use crate::whereabouts::{Sight, StallPlace};

const MINUTE: Duration = Duration::from_secs(60);
/// Shortest time between two looks, whatever the bounds: the guard is not to be the load.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// How long a turn has taken already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StallLevel {
    /// As long as is worth a warning: [`TURN_WARN`](crate::limits::TURN_WARN) unless configured.
    Warn,
    /// So long that peers have noticed: [`TURN_ERROR`](crate::limits::TURN_ERROR) unless configured.
    Error,
}

/// A worker that hangs in one turn; what [`ReactorBuilder::on_stall`](crate::ReactorBuilder::on_stall) is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// The worker. Every other connection on it waits.
    pub worker: usize,
    /// The connection whose code it is in, where it is one's.
    pub connection: Option<ConnectionId>,
    /// The connection's peer; of a UDP socket, where that is bound.
    pub address: Option<Address>,
    /// The code it is in.
    pub place: StallPlace,
    /// How long the turn has taken so far.
    pub elapsed: Duration,
    /// Whether that is worth a warning or an error; a stall is told of at most once as each.
    pub level: StallLevel,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.elapsed.as_millis();
        write!(
            f,
            "worker {} hangs for {millis} ms in {}",
            self.worker, self.place
        )?;
        if let Some(connection) = self.connection {
            write!(f, " of {connection}")?;
        }
        self.address
            .map_or(Ok(()), |address| write!(f, ", {address}"))
    }
}

/// What the program wants to be called with.
pub(crate) type OnStall = Arc<dyn Fn(&Stall) + Send + Sync>;

/// Looks at workers and tells of those that hang.
pub(crate) struct Watchdog {
    clock: Clock,
    workers: Vec<Watched>,
    warn: Duration,
    error: Duration,
    lines: Lines,
    on_stall: Option<OnStall>,
}

struct Watched {
    stats: Arc<WorkerStats>,
    /// The turn last told of, by its beginning, and as what.
    told: Option<(Instant, StallLevel)>,
}

impl Watchdog {
    pub(crate) fn new(
        clock: Clock,
        workers: Vec<Arc<WorkerStats>>,
        limits: &WorkerLimits,
        on_stall: Option<OnStall>,
    ) -> Self {
        let watched = |stats| Watched { stats, told: None };
        Self {
            clock,
            workers: workers.into_iter().map(watched).collect(),
            warn: limits.turn_warn,
            error: limits.turn_error,
            lines: Lines::new(limits.watchdog_lines_per_minute),
            on_stall,
        }
    }

    /// Looks at every worker, once.
    pub(crate) fn look(&mut self) {
        for index in 0..self.workers.len() {
            let now = self.clock.now();
            let watched = &mut self.workers[index];
            let Some(sight) = watched.stats.whereabouts.look() else {
                continue;
            };
            let elapsed = now.since(sight.began);
            let level = match elapsed {
                long if long >= self.error => StallLevel::Error,
                long if long >= self.warn => StallLevel::Warn,
                _ => continue,
            };
            if watched.is_news(sight.began, level) {
                watched.count(level);
                self.tell(now, &stall(index, sight, elapsed, level));
            }
        }
    }

    fn tell(&mut self, now: Instant, stall: &Stall) {
        if let Some(untold) = self.lines.pass(now) {
            let level = match stall.level {
                StallLevel::Warn => Level::Warn,
                StallLevel::Error => Level::Error,
            };
            let more = Untold(untold);
            log!(target: "netwheel::watchdog", level, "{stall}: nothing else on it is served{more}");
        }
        let Some(on_stall) = &self.on_stall else {
            return;
        };
        if contain(|| on_stall(stall)).is_err() {
            error!(target: "netwheel::watchdog", "the callback that is told of stalls panicked");
        }
    }

    /// Time between two looks.
    fn interval(&self) -> Duration {
        (self.warn.min(self.error) / 2).max(LOOK_INTERVAL_MIN)
    }
}

impl Watched {
    /// Whether this has not been told of yet, nor anything worse of the same turn.
    fn is_news(&mut self, began: Instant, level: StallLevel) -> bool {
        let is_known = |(turn, told)| turn == began && told >= level;
        let is_news = !self.told.is_some_and(is_known);
        if is_news {
            self.told = Some((began, level));
        }
        is_news
    }

    fn count(&self, level: StallLevel) {
        match level {
            StallLevel::Warn => self.stats.stalls_warned.add(1),
            StallLevel::Error => self.stats.stalls_failed.add(1),
        }
    }
}

fn stall(worker: usize, sight: Sight, elapsed: Duration, level: StallLevel) -> Stall {
    let index = u16::try_from(worker).expect("at most 65,535 workers");
    Stall {
        worker,
        connection: sight.key.map(|key| ConnectionId::new(index, key)),
        address: sight.address,
        place: sight.place,
        elapsed,
        level,
    }
}

/// Lines of the log, so many a minute and the rest counted.
struct Lines {
    per_minute: u32,
    minute_began: Option<Instant>,
    written: u32,
    untold: u64,
}

impl Lines {
    const fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            minute_began: None,
            written: 0,
            untold: 0,
        }
    }

    /// Whether a line may be written now, and how many were not since the last.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let in_same = |began| now.since(began) < MINUTE;
        if !self.minute_began.is_some_and(in_same) {
            (self.minute_began, self.written) = (Some(now), 0);
        }
        if self.written == self.per_minute {
            self.untold += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

/// Lines that were not written, as the next one tells of them.
struct Untold(u64);

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} stalls before it were not told of)"),
        }
    }
}

/// The thread of a watchdog; ends, and is waited for, when it is dropped.
pub(crate) struct Guard {
    leash: Arc<Leash>,
    thread: Option<JoinHandle<()>>,
}

/// What the guard's thread sleeps on.
#[derive(Default)]
struct Leash {
    ended: Mutex<bool>,
    pulled: Condvar,
}

impl Guard {
    /// Starts the thread; none where no turn is ever too long.
    pub(crate) fn start(mut watchdog: Watchdog) -> Result<Self, Error> {
        let leash = Arc::new(Leash::default());
        let own = Arc::clone(&leash);
        let body = move || {
            thread_role::become_io_thread();
            while own.sleep(watchdog.interval()) {
                watchdog.look();
            }
        };
        let builder = thread::Builder::new().name("netwheel-watch".into());
        let thread = builder
            .spawn(body)
            .map_err(|error| Error::io("cannot start a thread", error))?;
        Ok(Self {
            leash,
            thread: Some(thread),
        })
    }

    /// Ends the thread without waiting for it.
    pub(crate) fn let_go(mut self) {
        self.thread = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        *lock(&self.leash.ended) = true;
        self.leash.pulled.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!(target: "netwheel::watchdog", "the watchdog panicked");
        }
    }
}

impl Leash {
    /// Sleeps for so long; `false` when the thread is to end.
    fn sleep(&self, time: Duration) -> bool {
        let ended = lock(&self.ended);
        let (ended, _) = self
            .pulled
            .wait_timeout_while(ended, time, |ended| !*ended)
            .unwrap_or_else(PoisonError::into_inner);
        !*ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{KeptPeer, Peer};
    use crate::id::Key;

    const MILLI: Duration = Duration::from_millis(1);

    /// A watchdog over one worker, on a clock that the test moves, and what it tells.
    struct Scene {
        clock: Clock,
        stats: Arc<WorkerStats>,
        watchdog: Watchdog,
        told: Arc<Mutex<Vec<Stall>>>,
    }

    fn scene() -> Scene {
        let (clock, stats) = (Clock::manual(), Arc::new(WorkerStats::default()));
        let told: Arc<Mutex<Vec<Stall>>> = Arc::default();
        let notes = Arc::clone(&told);
        let on_stall: OnStall = Arc::new(move |stall| lock(&notes).push(stall.clone()));
        let workers = vec![Arc::new(WorkerStats::default()), Arc::clone(&stats)];
        let limits = WorkerLimits::default();
        let watchdog = Watchdog::new(clock.clone(), workers, &limits, Some(on_stall));
        Scene {
            clock,
            stats,
            watchdog,
            told,
        }
    }

    impl Scene {
        /// Lets time pass, looks, and answers what was told.
        fn pass(&mut self, time: Duration) -> Vec<Stall> {
            self.clock.advance(time);
            self.watchdog.look();
            std::mem::take(&mut *lock(&self.told))
        }

        fn begin_turn(&self) {
            self.clock.advance(MILLI);
            self.stats.whereabouts.begin_turn(self.clock.now());
        }
    }

    #[test]
    fn a_turn_is_told_of_once_as_a_warning_and_once_as_an_error() {
        let mut scene = scene();
        scene.begin_turn();
        assert!(scene.pass(99 * MILLI).is_empty());
        let told = scene.pass(MILLI);
        assert_eq!((told.len(), told[0].level), (1, StallLevel::Warn));
        assert_eq!((told[0].worker, told[0].elapsed), (1, 100 * MILLI));
        assert!(scene.pass(899 * MILLI).is_empty());
        assert_eq!(scene.pass(MILLI)[0].level, StallLevel::Error);
        assert!(scene.pass(5_000 * MILLI).is_empty());
        assert_eq!(scene.stats.stalls_warned.value(), 1);
        assert_eq!(scene.stats.stalls_failed.value(), 1);
        scene.stats.whereabouts.end_turn();
        assert!(scene.pass(5_000 * MILLI).is_empty(), "it sleeps");
        scene.begin_turn();
        assert_eq!(scene.pass(2_000 * MILLI)[0].level, StallLevel::Error);
        assert_eq!(
            scene.stats.stalls_warned.value(),
            1,
            "told as the worse only"
        );
    }

    #[test]
    fn a_stall_names_connection_peer_and_stage() {
        let mut scene = scene();
        scene.begin_turn();
        let address = Address::Inet("10.0.0.7:4711".parse().expect("an address"));
        let key = Key {
            slot: 3,
            generation: 9,
        };
        let whereabouts = &scene.stats.whereabouts;
        let login = whereabouts.label_of("login");
        whereabouts.enter(key, &KeptPeer::from(Peer::new(address, address)), login);
        let told = scene.pass(150 * MILLI);
        assert_eq!(told[0].place, StallPlace::Stage(Some("login")));
        assert_eq!(
            told[0].to_string(),
            "worker 1 hangs for 150 ms in the stage \"login\" of w1:3.9, 10.0.0.7:4711"
        );
    }

    #[test]
    fn a_callback_that_panics_is_called_again_for_the_next_stall() {
        let mut scene = scene();
        let calls: Arc<Mutex<u32>> = Arc::default();
        let count = Arc::clone(&calls);
        scene.watchdog.on_stall = Some(Arc::new(move |_| {
            *lock(&count) += 1;
            std::panic::resume_unwind(Box::new("planned"));
        }));
        for _ in 0..2 {
            scene.begin_turn();
            scene.pass(200 * MILLI);
        }
        assert_eq!(*lock(&calls), 2);
    }

    #[test]
    fn so_many_lines_are_written_a_minute_and_the_rest_counted() {
        let (mut lines, start) = (Lines::new(2), Instant::START);
        assert_eq!(lines.pass(start), Some(0));
        assert_eq!(lines.pass(start), Some(0));
        assert_eq!(lines.pass(start), None);
        assert_eq!(lines.pass(start + (MINUTE - MILLI)), None);
        assert_eq!(lines.pass(start + MINUTE), Some(2));
        assert_eq!(lines.pass(start + MINUTE), Some(0));
        assert_eq!(lines.pass(start + MINUTE), None);
    }
}
