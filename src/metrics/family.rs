//! The figures by name: one table that every form of the metrics is made from.

use super::{Metrics, WorkerMetrics};
use crate::histogram::Histogram;

/// Whether a figure only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// A figure of one `T`.
pub(super) struct Family<T> {
    /// Without the prefix, and without the suffix of a counter.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) value: fn(&T) -> u64,
}

/// A histogram of one worker, in seconds.
pub(super) struct Times {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) of: fn(&WorkerMetrics) -> &Histogram,
}

const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> u64) -> Family<T> {
    let kind = Kind::Counter;
    Family {
        name,
        help,
        kind,
        value,
    }
}

const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> u64) -> Family<T> {
    let kind = Kind::Gauge;
    Family {
        name,
        help,
        kind,
        value,
    }
}

/// What each worker tells, but for closes, which have a reason, and times.
pub(super) const OF_WORKERS: &[Family<WorkerMetrics>] = &[
    gauge(
        "connections",
        "Connections open, or on their way to the worker.",
        |w| w.connections,
    ),
    counter("accepted", "Connections let in.", |w| w.stats.accepted),
    counter("connected", "Connections dialled and established.", |w| {
        w.stats.connected
    }),
    counter(
        "received_bytes",
        "Bytes read, of connections and datagrams.",
        |w| w.stats.bytes_in,
    ),
    counter(
        "sent_bytes",
        "Bytes written, of connections and datagrams.",
        |w| w.stats.bytes_out,
    ),
    counter(
        "received_messages",
        "Messages decoded; raw bytes: reads.",
        |w| w.stats.messages_in,
    ),
    counter(
        "sent_messages",
        "Messages encoded; raw bytes: writes.",
        |w| w.stats.messages_out,
    ),
    counter("received_datagrams", "Datagrams received.", |w| {
        w.stats.datagrams_in
    }),
    counter("sent_datagrams", "Datagrams sent.", |w| {
        w.stats.datagrams_out
    }),
    counter(
        "truncated_datagrams",
        "Datagrams longer than their socket's bound.",
        |w| w.stats.datagrams_truncated,
    ),
    counter(
        "datagram_errors",
        "Datagrams that the system refused, and its errors of earlier ones.",
        |w| w.stats.datagram_errors,
    ),
    counter(
        "decode_errors",
        "Frames and datagrams that broke the protocol.",
        |w| w.stats.decode_errors,
    ),
    counter(
        "stale_events",
        "Events, timers and replies for connections that had gone.",
        |w| w.stats.stale_events,
    ),
    counter(
        "panics",
        "Panics caught in handlers, stages, codecs, jobs and factories.",
        |w| w.stats.panics,
    ),
    counter("turns", "Turns of the loop.", |w| w.stats.loop_turns),
    counter("turns_idle", "Turns that found nothing to do.", |w| {
        w.turns_idle
    }),
    counter("sleeps", "Waits in which the worker could sleep.", |w| {
        w.sleeps
    }),
    counter(
        "stalls_warned",
        "Turns so long that the watchdog has warned of them.",
        |w| w.stalls_warned,
    ),
    counter(
        "stalls_failed",
        "Turns so long that the watchdog has told them as errors.",
        |w| w.stalls_failed,
    ),
    gauge("timers", "Timers armed.", |w| w.stats.timers_live),
    gauge(
        "mailbox_messages",
        "Messages of handles and pools that wait in the worker.",
        |w| w.mailbox_messages,
    ),
    gauge("mailbox_commands", "Words to the worker that wait.", |w| {
        w.mailbox_commands
    }),
    gauge(
        "spare_buffers",
        "Buffers kept for the next connection that needs one.",
        |w| w.buffers_spare,
    ),
];

/// How the workers' time passes.
pub(super) const TIMES: &[Times] = &[
    Times {
        name: "turn_seconds",
        help: "How long turns took, without the waits between them.",
        of: |worker| &worker.turns,
    },
    Times {
        name: "poll_delay_seconds",
        help: "How much later than asked for waits ended that were to end at a timer.",
        of: |worker| &worker.poll_delays,
    },
];

/// What is counted once a reactor.
pub(super) const OF_REACTOR: &[Family<Metrics>] = &[
    counter("refused", "Connections turned away by a limit.", |all| {
        all.stats.refused
    }),
    counter("accept_errors", "Errors of accept.", |all| {
        all.stats.accept_errors
    }),
    counter(
        "acceptor_panics",
        "Panics caught in the choice of a worker.",
        |all| {
            let workers = all.workers.iter().map(|worker| worker.stats.panics);
            all.stats.panics.saturating_sub(workers.sum())
        },
    ),
    gauge(
        "pool_queued",
        "Messages and jobs waiting or running in the pools in use.",
        |all| all.stats.pool_queued,
    ),
    gauge(
        "uptime_seconds",
        "Time since the reactor was started.",
        |all| all.uptime.as_secs(),
    ),
];
