//! What names a message over all connections of its sender.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Names one acknowledged message of a peer, also after a reconnect.
///
/// Threads: any. Cost: 16 bytes, `Copy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Position {
    /// The life of the sender: another one after each restart that lost what it had to send.
    pub epoch: u64,
    /// The message's place in that life, counted from 1.
    pub seq: u64,
}

impl Position {
    /// The place `seq` in the life `epoch`.
    #[must_use]
    pub const fn new(epoch: u64, seq: u64) -> Self {
        Self { epoch, seq }
    }
}

/// An epoch that no other process has, as far as 64 bits of chance can tell.
pub(super) fn fresh_epoch(seed: u64) -> u64 {
    RandomState::new().hash_one(seed)
}
