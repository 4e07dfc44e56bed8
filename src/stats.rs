//! What a reactor counts, without a shared cache line on the path of a message.
//!
//! Every worker has counters of its own that only it writes; whoever asks adds them up.

use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, Weak};

pub(crate) use crate::counter::Counter;
use crate::error::CloseReason;
use crate::histogram::Recorder;
use crate::inspection::Desk;
use crate::sync::lock;
use crate::whereabouts::Whereabouts;

/// The counters of one worker; aligned so that no two workers write one cache line (or pair of them).
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct WorkerStats {
    pub(crate) accepted: Counter,
    pub(crate) connected: Counter,
    /// Turned away when they had been handed over already.
    pub(crate) refused: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) messages_in: Counter,
    pub(crate) messages_out: Counter,
    pub(crate) datagrams_in: Counter,
    pub(crate) datagrams_out: Counter,
    pub(crate) datagrams_truncated: Counter,
    pub(crate) datagram_errors: Counter,
    pub(crate) decode_errors: Counter,
    pub(crate) stale_events: Counter,
    pub(crate) timers_live: Counter,
    pub(crate) panics: Counter,
    /// Caught on threads of pools, which write it; hence not a [`Counter`].
    pub(crate) pool_panics: AtomicU64,
    pub(crate) loop_turns: Counter,
    /// Waits in which the worker could sleep.
    pub(crate) sleeps: Counter,
    /// Turns that found nothing to do.
    pub(crate) turns_idle: Counter,
    /// How long turns took, without the wait before them.
    pub(crate) turn_times: Recorder,
    /// How long after its moment a wait ended that nothing ended before.
    pub(crate) poll_delays: Recorder,
    /// Buffers to write from, and for messages that arrive in parts, that no connection holds.
    pub(crate) buffers_spare: Counter,
    /// Turns that the watchdog has warned of, and told as errors; written by its thread.
    pub(crate) stalls_warned: Counter,
    pub(crate) stalls_failed: Counter,
    /// What the worker does at this moment.
    pub(crate) whereabouts: Whereabouts,
    /// Where those wait who want to know of the worker's connections.
    pub(crate) desk: Desk,
    pub(crate) closes: [Counter; CloseReason::ALL.len()],
    /// The pools that connections of the worker use, or have used.
    pools: Mutex<Vec<Weak<dyn Gauge>>>,
    /// Bytes that its connections hold at this moment.
    pub(crate) held_bytes: Counter,
    /// Whether that is too much to let anybody in.
    pressed: AtomicBool,
    /// Connections on the worker and on their way to it. Written by the acceptor too, hence not a [`Counter`].
    pub(crate) connections: Connections,
}

impl fmt::Debug for WorkerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerStats").finish_non_exhaustive()
    }
}

/// A figure that somebody else keeps, of this moment.
pub(crate) trait Gauge: Send + Sync {
    fn value(&self) -> u64;
}

impl WorkerStats {
    /// Whether the worker holds so much memory that it is to get no more connections.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    pub(crate) fn set_pressed(&self, pressed: bool) {
        self.pressed.store(pressed, Ordering::Relaxed);
    }

    /// Remembers a pool, for as long as it lives: once a connection, never once a message.
    pub(crate) fn know_pool(&self, pool: Weak<dyn Gauge>) {
        let mut pools = lock(&self.pools);
        if !pools.iter().any(|known| is_same(known, &pool)) {
            pools.retain(|known| known.strong_count() > 0);
            pools.push(pool);
        }
    }
}

/// Whether both are the same pool; its address does not change while somebody knows it.
fn is_same(one: &Weak<dyn Gauge>, other: &Weak<dyn Gauge>) -> bool {
    ptr::addr_eq(one.as_ptr(), other.as_ptr())
}

/// Connections on one worker, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Connections(AtomicUsize);

impl Connections {
    pub(crate) fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted where connections come in, by whichever thread.
#[derive(Debug, Default)]
pub(crate) struct AcceptStats {
    pub(crate) refused: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) panics: AtomicU64,
}

/// What a reactor or server has counted so far; the keys are those of the stats files.
///
/// Counters of different workers are read one after the other, so a busy reactor's figures may be off
/// by what happened meanwhile; at rest they add up: accepted + connected = closed + active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections let in.
    pub accepted: u64,
    /// Connections dialled and established.
    pub connected: u64,
    /// Connections that ended, of either kind.
    pub closed: u64,
    /// Connections turned away by a limit, those that were to be dialled too; not in `accepted`.
    pub refused: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Messages decoded (raw bytes: reads).
    pub messages_in: u64,
    /// Messages encoded (raw bytes: writes).
    pub messages_out: u64,
    /// Datagrams received. Their bytes count in `bytes_in`.
    pub datagrams_in: u64,
    /// Datagrams sent. Their bytes count in `bytes_out`.
    pub datagrams_out: u64,
    /// Datagrams longer than their socket's bound, of which the end was lost.
    pub datagrams_truncated: u64,
    /// Datagrams that the system refused to send, and errors that it reported of earlier ones.
    pub datagram_errors: u64,
    /// Frames that broke the protocol, and datagrams that could not be decoded.
    pub decode_errors: u64,
    /// Errors of accept.
    pub accept_errors: u64,
    /// Events, timers and replies for a connection that had gone.
    pub stale_events: u64,
    /// Timers armed at this moment.
    pub timers_live: u64,
    /// Bytes that connections hold at this moment: arrived and not decoded, waiting to leave.
    pub held_bytes: u64,
    /// Messages and jobs waiting or running, at this moment, in the pools that connections have used:
    /// all of a pool's, also where it serves others too.
    pub pool_queued: u64,
    /// Panics caught in handlers, stages, codecs, jobs, factories and the choice of a worker.
    pub panics: u64,
    /// Turns of all loops.
    pub loop_turns: u64,
    closes: [u64; CloseReason::ALL.len()],
}

impl Stats {
    /// Connections that ended for `reason`.
    #[must_use]
    pub fn closes(&self, reason: CloseReason) -> u64 {
        self.closes[reason as usize]
    }

    /// Connections open at this moment.
    #[must_use]
    pub fn active(&self) -> u64 {
        (self.accepted + self.connected).saturating_sub(self.closed)
    }

    /// What these workers have counted, and what waits in their pools, each counted once.
    pub(crate) fn of_workers<'a, W>(workers: W) -> Self
    where
        W: IntoIterator<Item = &'a WorkerStats>,
    {
        let (mut stats, mut pools) = (Self::default(), Vec::new());
        for worker in workers {
            stats.add_worker(worker);
            for pool in lock(&worker.pools).iter() {
                if !pools.iter().any(|known| is_same(known, pool)) {
                    pools.push(Weak::clone(pool));
                }
            }
        }
        let live = pools.iter().filter_map(Weak::upgrade);
        stats.pool_queued = live.map(|pool| pool.value()).sum();
        stats
    }

    fn add_worker(&mut self, worker: &WorkerStats) {
        self.accepted += worker.accepted.value();
        self.connected += worker.connected.value();
        self.refused += worker.refused.value();
        self.bytes_in += worker.bytes_in.value();
        self.bytes_out += worker.bytes_out.value();
        self.messages_in += worker.messages_in.value();
        self.messages_out += worker.messages_out.value();
        self.datagrams_in += worker.datagrams_in.value();
        self.datagrams_out += worker.datagrams_out.value();
        self.datagrams_truncated += worker.datagrams_truncated.value();
        self.datagram_errors += worker.datagram_errors.value();
        self.decode_errors += worker.decode_errors.value();
        self.stale_events += worker.stale_events.value();
        self.timers_live += worker.timers_live.value();
        self.held_bytes += worker.held_bytes.value();
        self.panics += worker.panics.value() + worker.pool_panics.load(Ordering::Relaxed);
        self.loop_turns += worker.loop_turns.value();
        for (sum, counter) in self.closes.iter_mut().zip(&worker.closes) {
            *sum += counter.value();
            self.closed += counter.value();
        }
    }

    pub(crate) fn add_acceptor(&mut self, acceptor: &AcceptStats) {
        self.refused += acceptor.refused.load(Ordering::Relaxed);
        self.accept_errors += acceptor.accept_errors.load(Ordering::Relaxed);
        self.panics += acceptor.panics.load(Ordering::Relaxed);
    }
}

/// `key value` lines, as in the stats files of the examples.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = [
            ("accepted", self.accepted),
            ("connected", self.connected),
            ("closed", self.closed),
            ("active", self.active()),
            ("refused", self.refused),
            ("bytes_in", self.bytes_in),
            ("bytes_out", self.bytes_out),
            ("messages_in", self.messages_in),
            ("messages_out", self.messages_out),
            ("datagrams_in", self.datagrams_in),
            ("datagrams_out", self.datagrams_out),
            ("datagrams_truncated", self.datagrams_truncated),
            ("datagram_errors", self.datagram_errors),
            ("decode_errors", self.decode_errors),
            ("accept_errors", self.accept_errors),
            ("stale_events", self.stale_events),
            ("timers_live", self.timers_live),
            ("held_bytes", self.held_bytes),
            ("pool_queued", self.pool_queued),
            ("panics", self.panics),
            ("loop_turns", self.loop_turns),
        ];
        for (key, value) in figures {
            writeln!(f, "{key} {value}")?;
        }
        for reason in CloseReason::ALL {
            writeln!(f, "close.{reason} {}", self.closes(reason))?;
        }
        Ok(())
    }
}
