//! What one datagram socket counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::Counter;

/// The counters of one socket; written by its worker, but for the one that handles write.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) received: Counter,
    pub(super) sent: Counter,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    pub(super) truncated: Counter,
    pub(super) refused: Counter,
    pub(super) refused_to_handles: AtomicU64,
    pub(super) errors: Counter,
    pub(super) decode_errors: Counter,
    pub(super) failures: Counter,
}

/// What a UDP socket has counted so far; of one that shares its port, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpStats {
    /// Datagrams received, the truncated among them.
    pub received: u64,
    /// Datagrams that the system took.
    pub sent: u64,
    /// Bytes of what was received.
    pub bytes_in: u64,
    /// Bytes of what was sent.
    pub bytes_out: u64,
    /// Datagrams that were longer than [`datagram_bytes_max`](crate::limits::DatagramLimits::datagram_bytes_max).
    pub truncated: u64,
    /// Datagrams that came back to their sender because a queue was full.
    pub refused: u64,
    /// Datagrams that the system refused to send, and errors that it reported of earlier ones.
    pub errors: u64,
    /// Datagrams that the [codec](crate::Udp::codec) could not read; dropped.
    pub decode_errors: u64,
    /// Callbacks that failed: each cost its datagram.
    pub failures: u64,
}

impl UdpStats {
    pub(crate) fn add(&mut self, counters: &Counters) {
        self.received += counters.received.value();
        self.sent += counters.sent.value();
        self.bytes_in += counters.bytes_in.value();
        self.bytes_out += counters.bytes_out.value();
        self.truncated += counters.truncated.value();
        let of_handles = counters.refused_to_handles.load(Ordering::Relaxed);
        self.refused += counters.refused.value() + of_handles;
        self.errors += counters.errors.value();
        self.decode_errors += counters.decode_errors.value();
        self.failures += counters.failures.value();
    }
}
