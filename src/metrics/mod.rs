//! What a reactor measures, as one value: per worker and in all, for people, Prometheus and programs.
//!
//! ```text
//!   counters, gauges, histograms of each worker ──read──> Metrics ──> prometheus() · to_json() · publish()
//! ```
//! Whatever is told of a worker stands in one table, [`family::OF_WORKERS`], so no form forgets a figure.

#[cfg(feature = "metrics")]
mod facade;
mod family;
mod json;
mod prometheus;

use crate::clock::Instant;
use crate::histogram::Histogram;
use crate::mailbox::Mailbox;
use crate::stats::{Stats, WorkerStats};

/// What a reactor, or a server with one of its own, measures: a snapshot.
///
/// Counters of different workers are read one after the other, as in [`Stats`]. All of them count from the
/// start of the reactor.
///
/// ```
/// # fn main() -> netwheel::Result<()> {
/// let reactor = netwheel::Reactor::builder().workers(2).start()?;
/// let metrics = reactor.metrics();
/// assert_eq!(metrics.workers.len(), 2);
/// println!("p99 of a turn: {:?}", metrics.turns().quantile(0.99));
/// assert!(metrics.prometheus().contains("netwheel_turns_total{worker=\"0\"}"));
/// # Ok(())
/// # }
/// ```
///
/// Threads: any. Cost: about 20 KiB and 10 us a worker; nothing on the path of a message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// Time since the reactor's clock started.
    pub uptime: std::time::Duration,
    /// What all workers and whoever accepts have counted.
    pub stats: Stats,
    /// Each worker, in order.
    pub workers: Vec<WorkerMetrics>,
}

/// What one worker measures; part of [`Metrics`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// What it has counted. (`pool_queued` is that of the pools its connections use, which others may use too.)
    pub stats: Stats,
    /// How long its turns took, without the waits between them.
    pub turns: Histogram,
    /// How much later than asked for a wait ended, where it was to end at a timer: how late timers are. The
    /// system waits for whole milliseconds, rounded up, so less than one is its own.
    pub poll_delays: Histogram,
    /// Waits in which it could sleep.
    pub sleeps: u64,
    /// Turns that found nothing to do. Few, but for a worker with
    /// [`busy_poll`](crate::ReactorBuilder::busy_poll), and for a wake-up that came too late to be needed.
    pub turns_idle: u64,
    /// Turns of which the watchdog has warned, and those that it has told as errors.
    pub stalls_warned: u64,
    /// See `stalls_warned`.
    pub stalls_failed: u64,
    /// Connections on it at this moment, with those on their way to it.
    pub connections: u64,
    /// Messages of handles and pools that wait in it at this moment.
    pub mailbox_messages: u64,
    /// Words to it that wait at this moment: at most one a connection, whatever its messages.
    pub mailbox_commands: u64,
    /// Buffers that it keeps for the next connection that needs one.
    pub buffers_spare: u64,
}

impl Metrics {
    /// How long the turns of all workers took.
    #[must_use]
    pub fn turns(&self) -> Histogram {
        self.merged(|worker| &worker.turns)
    }

    /// How much later than asked for the waits of all workers ended.
    #[must_use]
    pub fn poll_delays(&self) -> Histogram {
        self.merged(|worker| &worker.poll_delays)
    }

    /// Turns of which the watchdog has told, as warnings and as errors.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        let of = |worker: &WorkerMetrics| worker.stalls_warned + worker.stalls_failed;
        self.workers.iter().map(of).sum()
    }

    fn merged(&self, of: fn(&WorkerMetrics) -> &Histogram) -> Histogram {
        let mut sum = Histogram::default();
        for worker in &self.workers {
            sum.merge(of(worker));
        }
        sum
    }

    pub(crate) fn read<'a>(
        now: Instant,
        stats: Stats,
        workers: impl IntoIterator<Item = (&'a WorkerStats, &'a Mailbox)>,
    ) -> Self {
        let workers = workers.into_iter();
        Self {
            uptime: now.since(Instant::START),
            stats,
            workers: workers
                .map(|(stats, mailbox)| WorkerMetrics::read(stats, mailbox))
                .collect(),
        }
    }
}

impl WorkerMetrics {
    fn read(stats: &WorkerStats, mailbox: &Mailbox) -> Self {
        Self {
            stats: Stats::of_workers([stats]),
            turns: stats.turn_times.read(),
            poll_delays: stats.poll_delays.read(),
            sleeps: stats.sleeps.value(),
            turns_idle: stats.turns_idle.value(),
            stalls_warned: stats.stalls_warned.value(),
            stalls_failed: stats.stalls_failed.value(),
            connections: stats.connections.count() as u64,
            mailbox_messages: mailbox.messages_waiting() as u64,
            mailbox_commands: mailbox.commands_waiting() as u64,
            buffers_spare: stats.buffers_spare.value(),
        }
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Metrics {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use crate::error::CloseReason;

    let (stats, idle) = (WorkerStats::default(), WorkerStats::default());
    stats.accepted.add(3);
    stats.closes[CloseReason::Reset as usize].add(1);
    stats.loop_turns.add(5);
    stats.connections.enter();
    for micros in [10, 20, 400] {
        stats.turn_times.record_nanos(micros * 1_000);
    }
    idle.pool_panics.fetch_add(1, Ordering::Relaxed);
    let mailbox = Mailbox::new(Box::new(Nobody), 8);
    assert!(mailbox.admit());
    let total = Stats::of_workers([&stats, &idle]);
    let now = Instant::START + Duration::from_millis(61_500);
    Metrics::read(now, total, [(&stats, &mailbox), (&idle, &mailbox)])
}

#[cfg(test)]
struct Nobody;

#[cfg(test)]
impl crate::mailbox::Wake for Nobody {
    fn wake(&self) {}
}
