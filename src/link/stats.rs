//! What a link has counted.

use std::time::Duration;

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
